//! Cursors: the paged searches (RFC 2696) that are open between two requests.
//!
//! A server keeps the position of a paged search with the connection, and none of slapd, 389 DS and Samba sorts every answer by an
//! immutable id and continues behind one without reading all of it again. So each open search keeps its connection, their number is
//! bounded, and those that nobody continues are closed. A cursor is used once. It is signed, so that nobody finds out about those of others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use http::StatusCode;
use ldap_directory::entry::Entry;
use ldap_directory::{Directory, DirectoryConfig, SearchStream, ServerUrl};
use sha2::Sha256;

use super::page::{self, Warning};
use super::question::Question;
use crate::directory::DirectoryHandle;
use crate::error::ApiError;
use crate::fit::OwnFilters;
use crate::lookup;
use crate::unseen::Unread;

/// The most open searches between two pages.
const MOST: usize = 32;
/// The references to other servers that are counted.
const MOST_REFERRALS: u32 = 1_000;
/// The most of one caller.
const MOST_OF_CALLER: usize = 16;
/// The connections for searches that are at work, beside the open ones.
const AT_WORK: usize = 8;
/// The time after which a search that nobody continues is closed.
const IDLE: Duration = Duration::from_secs(300);
/// How often that is looked for.
const SWEEP: Duration = Duration::from_secs(15);

const ID: usize = 16;
const PAGE: usize = 4;
const MAC: usize = 16;

/// A search, during a request or between two.
#[derive(Debug)]
pub(super) struct OpenSearch {
    pub(super) directory: Directory,
    pub(super) question: Arc<Question>,
    pub(super) stream: SearchStream,
    /// An entry that was read, and belongs to the next page.
    pub(super) ahead: Option<Entry>,
    /// For the next page.
    pub(super) warnings: Vec<Warning>,
    pub(super) unread: Unread,
    caller: String,
    id: [u8; ID],
    page: u32,
    used: Instant,
}

impl OpenSearch {
    /// Begins a search.
    pub(super) async fn begin(
        directory: Directory,
        question: Arc<Question>,
        caller: &str,
    ) -> Result<Self, ApiError> {
        let mut id = [0; ID];
        getrandom::fill(&mut id).map_err(|_| no_randomness())?;
        let unread = question.unread(&directory);
        let referrals = lookup::referrals(&directory, question.base_dn(), MOST_REFERRALS);
        let found = directory.search(question.request(unread.request()));
        let (stream, referrals) = tokio::try_join!(found, referrals)?;
        tracing::debug!(caller, base = %question.base(), "a search begins");
        let mut warnings = question.warnings.clone();
        warnings.extend(page::references(referrals.len().try_into().unwrap_or(u64::MAX)));
        let caller = caller.to_owned();
        Ok(Self {
            directory,
            question,
            stream,
            ahead: None,
            warnings,
            unread,
            caller,
            id,
            page: 0,
            used: Instant::now(),
        })
    }
}

fn no_randomness() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error: no random numbers")
}

/// Returns 410 for a cursor that cannot be continued.
pub(super) fn expired(why: &str) -> ApiError {
    let detail = format!("the cursor is not valid any more: {why}; begin the search again");
    ApiError::new(StatusCode::GONE, "cursor_expired", detail)
}

/// A cursor whose signature is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    id: [u8; ID],
    page: u32,
}

/// The key that signs cursors.
struct CursorKey([u8; 32]);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(***)")
    }
}

impl CursorKey {
    /// Returns the key as a block of the hash, which has 64 octets.
    fn block(&self) -> [u8; 64] {
        let mut block = [0; 64];
        block.iter_mut().zip(self.0).for_each(|(octet, of_key)| *octet = of_key);
        block
    }

    /// Returns the signature of a cursor.
    fn mac(&self, ticket: Ticket, caller: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.block().into());
        mac.update(b"search cursor\0");
        mac.update(&ticket.id);
        mac.update(&ticket.page.to_be_bytes());
        mac.update(caller.as_bytes());
        mac
    }

    /// Returns the text of a cursor.
    fn sign(&self, ticket: Ticket, caller: &str) -> String {
        let mac = self.mac(ticket, caller).finalize().into_bytes();
        let octets = ticket.id.into_iter().chain(ticket.page.to_be_bytes()).chain(mac.into_iter().take(MAC));
        URL_SAFE_NO_PAD.encode(octets.collect::<Vec<u8>>())
    }

    /// Returns the cursor of a text, if this key signed it for this caller.
    fn verify(&self, text: &str, caller: &str) -> Option<Ticket> {
        let octets: [u8; ID + PAGE + MAC] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (id, rest) = octets.split_first_chunk::<ID>()?;
        let (page, mac) = rest.split_first_chunk::<PAGE>()?;
        let ticket = Ticket { id: *id, page: u32::from_be_bytes(*page) };
        self.mac(ticket, caller).verify_truncated_left(mac).ok().map(|()| ticket)
    }
}

type Open = Mutex<VecDeque<OpenSearch>>;

/// The open searches.
#[derive(Debug)]
pub struct Cursors {
    key: CursorKey,
    config: DirectoryConfig,
    filters: OwnFilters,
    /// Open searches keep connections, so they have some of their own. Opened by the first search.
    directory: OnceLock<DirectoryHandle>,
    /// The least recently used first.
    open: Arc<Open>,
}

impl Cursors {
    /// Returns no open searches. `key` signs the cursors.
    pub(crate) fn new(config: &DirectoryConfig, filters: OwnFilters, key: [u8; 32]) -> Self {
        let mut config = config.clone();
        config.pool_size = MOST + AT_WORK + 1;
        let open = Arc::new(Open::default());
        tokio::spawn(sweep(Arc::downgrade(&open)));
        Self { key: CursorKey(key), config, filters, directory: OnceLock::new(), open }
    }

    /// Sets the directory of searches, if it is a file: it needs no connections, and is what it is for all.
    #[must_use]
    pub(crate) fn sharing_a_file(self, handle: &DirectoryHandle) -> Self {
        if matches!(self.config.servers.first(), Some(ServerUrl::Ldif(_))) {
            let _ = self.directory.set(handle.shared());
        }
        self
    }

    /// Returns the directory of searches.
    ///
    /// # Errors
    /// 503 if it cannot be opened now.
    pub(super) async fn directory(&self) -> Result<Directory, ApiError> {
        let handle = self.directory.get_or_init(|| DirectoryHandle::open(&self.config, self.filters.clone()));
        handle.first_attempt(self.config.connect_timeout).await;
        handle.get()
    }

    /// Checks the text of a cursor.
    ///
    /// # Errors
    /// 400 if this service did not give it to this caller.
    pub(super) fn verify(&self, text: &str, caller: &str) -> Result<Ticket, ApiError> {
        self.key.verify(text, caller).ok_or_else(|| {
            let detail = "`cursor` is not a cursor that this service gave to this caller";
            ApiError::bad_request("invalid_cursor", detail).with("member", "cursor".into())
        })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, VecDeque<OpenSearch>> {
        // A panic elsewhere leaves the list consistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the question of a cursor.
    pub(super) fn question(&self, ticket: &Ticket) -> Result<Arc<Question>, ApiError> {
        let open = self.open();
        open.iter().find(|s| s.is(ticket)).map(|s| s.question.clone()).ok_or_else(not_open)
    }

    /// Takes an open search. Nobody else can continue it.
    pub(super) fn take(&self, ticket: &Ticket) -> Result<OpenSearch, ApiError> {
        let mut open = self.open();
        let at = open.iter().position(|s| s.is(ticket)).ok_or_else(not_open)?;
        open.remove(at).ok_or_else(not_open)
    }

    /// Keeps a search for its next page, and returns the cursor of that. Closes others beyond the bounds.
    pub(super) fn keep(&self, mut search: OpenSearch) -> String {
        search.page += 1;
        search.used = Instant::now();
        let cursor = self.key.sign(Ticket { id: search.id, page: search.page }, &search.caller);
        let mut closed = Vec::new();
        {
            let mut open = self.open();
            let of_caller = |s: &OpenSearch| s.caller == search.caller;
            if open.iter().filter(|s| of_caller(s)).count() >= MOST_OF_CALLER {
                let at = open.iter().position(of_caller);
                closed.extend(at.and_then(|at| open.remove(at)));
            }
            if open.len() >= MOST {
                closed.extend(open.pop_front());
            }
            open.push_back(search);
        }
        for search in closed {
            tracing::info!(caller = search.caller, "a search is closed: too many are open between two pages");
        }
        cursor
    }
}

impl OpenSearch {
    fn is(&self, ticket: &Ticket) -> bool {
        self.id == ticket.id && self.page == ticket.page
    }
}

fn not_open() -> ApiError {
    let why = format!(
        "it was used before, was not used for {} s, gave way to others (at most {MOST_OF_CALLER} of a caller), or the service was restarted",
        IDLE.as_secs()
    );
    expired(&why)
}

/// Closes searches that nobody continues.
async fn sweep(open: Weak<Open>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(open) = open.upgrade() else { return };
        close_idle(&open, Instant::now());
    }
}

fn close_idle(open: &Open, now: Instant) {
    let mut closed = Vec::new();
    {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.front().is_some_and(|s| now.saturating_duration_since(s.used) >= IDLE) {
            closed.extend(open.pop_front());
        }
    }
    // Closed without the lock.
    drop(closed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> CursorKey {
        CursorKey([n; 32])
    }

    proptest! {
        #[test]
        fn a_cursor_is_valid_for_its_key_and_caller_alone(id: [u8; ID], page: u32, caller in "[a-z]{0,8}", other in "[a-z]{0,8}") {
            let ticket = Ticket { id, page };
            let text = key(1).sign(ticket, &caller);
            prop_assert_eq!(key(1).verify(&text, &caller), Some(ticket));
            prop_assert_eq!(key(2).verify(&text, &caller), None);
            if caller != other {
                prop_assert_eq!(key(1).verify(&text, &other), None);
            }
        }

        #[test]
        fn a_cursor_that_was_changed_is_not_valid(id: [u8; ID], page: u32, at in 0..48usize, bit in 0..6u32) {
            let text = key(1).sign(Ticket { id, page }, "hr");
            prop_assert_eq!(text.len(), 48);
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut octets = text.into_bytes();
            let value = alphabet.iter().position(|c| *c == octets[at]).unwrap();
            octets[at] = alphabet[value ^ (1 << bit)];
            prop_assert_eq!(key(1).verify(&String::from_utf8(octets).unwrap(), "hr"), None);
        }

        #[test]
        fn a_text_is_no_cursor(text in ".{0,60}") {
            prop_assert_eq!(key(1).verify(&text, "hr"), None);
        }
    }

    /// A directory of this many people, and its cursors.
    fn of_people(count: usize) -> (tempfile::NamedTempFile, Cursors, crate::config::Config) {
        let file = tempfile::Builder::new().suffix(".ldif").tempfile().unwrap();
        let person = |n| {
            format!(
                "dn: uid=u{n},dc=x\nobjectClass: inetOrgPerson\nuid: u{n}\ncn: U {n}\nsn: S\nuserPassword: pw\n\n"
            )
        };
        let people: String = (0..count).map(person).collect();
        let text = format!("dn: dc=x\nobjectClass: domain\ndc: x\n\n{people}");
        std::fs::write(file.path(), text).unwrap();
        let resolved = crate::settings::TABLE.resolve(&[], &std::collections::BTreeMap::new()).unwrap();
        let mut values = resolved.values;
        values.insert("server_url".into(), format!("ldif:{}", file.path().display()).into());
        values.insert("users".into(), serde_json::json!({"base_dn": "dc=x"}));
        let config = crate::config::Config::from_settings(&values, &mut Vec::new()).unwrap();
        let cursors = Cursors::new(&config.directory, OwnFilters::default(), [7; 32]);
        (file, cursors, config)
    }

    async fn ask(
        cursors: &Cursors,
        config: &crate::config::Config,
        caller: &str,
        body: serde_json::Value,
    ) -> Result<super::super::Page, ApiError> {
        super::super::run(cursors, config, caller, body.as_object().unwrap().clone()).await
    }

    #[tokio::test]
    async fn pages_join_to_the_whole_whatever_their_size() {
        let (_file, cursors, config) = of_people(23);
        for count in [1, 2, 7, 22, 23, 24, 1000] {
            let mut names = Vec::new();
            let mut body = serde_json::json!({"attributes": ["uid"], "count": count});
            loop {
                let page = ask(&cursors, &config, "hr", body).await.unwrap();
                let entries: Vec<serde_json::Value> = serde_json::from_slice(&page.entries).unwrap();
                assert_eq!(entries.len(), usize::try_from(page.count).unwrap());
                assert!(page.count <= count && (page.count == count || page.next_cursor.is_none()));
                names.extend(entries.iter().map(|e| e["uid"][0].as_str().unwrap().to_owned()));
                let Some(cursor) = page.next_cursor else { break };
                body = serde_json::json!({"cursor": cursor});
            }
            assert_eq!(names.len(), 23, "{count}");
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 23, "{count}");
        }
        assert!(cursors.open().is_empty(), "nothing is left open");
    }

    #[tokio::test]
    async fn open_searches_are_bounded_by_caller_number_and_time() {
        let (_file, cursors, config) = of_people(3);
        let body = || serde_json::json!({"count": 1});
        let mut first = None;
        for n in 0..=MOST_OF_CALLER {
            let page = ask(&cursors, &config, "hr", body()).await.unwrap();
            if n == 0 {
                first = page.next_cursor;
            }
        }
        assert_eq!(cursors.open().len(), MOST_OF_CALLER);
        let again =
            ask(&cursors, &config, "hr", serde_json::json!({"cursor": first.unwrap()})).await.unwrap_err();
        assert_eq!((again.status, again.code), (StatusCode::GONE, "cursor_expired"));
        for n in 0..MOST {
            ask(&cursors, &config, &format!("caller{n}"), body()).await.unwrap();
        }
        assert_eq!(cursors.open().len(), MOST);
        assert!(cursors.open().iter().all(|s| s.caller != "hr"), "the least recently used gave way");
        let now = Instant::now();
        close_idle(&cursors.open, now + IDLE / 2);
        assert_eq!(cursors.open().len(), MOST);
        close_idle(&cursors.open, now + IDLE);
        assert!(cursors.open().is_empty());
    }

    #[tokio::test]
    async fn secrets_are_in_no_answer_of_a_file() {
        let (_file, cursors, config) = of_people(2);
        for attributes in [serde_json::json!(["*"]), serde_json::json!(["+", "*"]), serde_json::Value::Null] {
            let page =
                ask(&cursors, &config, "hr", serde_json::json!({"attributes": attributes})).await.unwrap();
            let text = String::from_utf8(page.entries).unwrap();
            assert!(text.contains("\"uid\"") && !text.to_lowercase().contains("userpassword"), "{text}");
        }
    }
}
