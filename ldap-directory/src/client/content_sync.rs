//! Content synchronization (RFC 4533): what changed and what was deleted since a cookie, and then every change as it happens.
//!
//! ```no_run
//! use ldap_directory::client::LdapDirectory;
//! use ldap_directory::client::content_sync::{SyncItem, SyncMode, SyncRequest};
//! use ldap_directory::filter::Filter;
//! use ldap_directory::{Access, DirectoryConfig, Scope, ServerUrl};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = DirectoryConfig::new([ServerUrl::parse("ldap://localhost")?]);
//! let server = LdapDirectory::open(&config, Access::Read).await?;
//! let request = SyncRequest {
//!     base: "dc=example,dc=com".into(),
//!     scope: Scope::Subtree,
//!     filter: Filter::parse("(objectClass=person)")?,
//!     attributes: vec!["*".into()],
//!     mode: SyncMode::RefreshAndPersist,
//!     cookie: None,
//! };
//! let mut connection = server.sync_connection().await?;
//! connection.start(&request).await?;
//! loop {
//!     match connection.next().await?.1 {
//!         SyncItem::Entry { state, uuid, entry } => println!("{state:?} {uuid} {}", entry.dn),
//!         SyncItem::Cookie(cookie) => println!("continue from {} octets", cookie.len()),
//!         SyncItem::End(end) => break println!("the server ended it: {end:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use crate::oid;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::LdapDirectory;
use super::asked::Asked;
use crate::client::connection::Connection;
use crate::config::Referrals;
use crate::directory::Scope;
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::observer::{Observing, SearchObserver};
use crate::protocol::ber::{BOOLEAN, ENUMERATED, OCTET_STRING, Reader, SEQUENCE, SET, Writer};
use crate::protocol::message::{Answer, Control, LdapResult, Message, SEARCH_REQUEST};
use crate::protocol::result_code;
use crate::schema::Schema;

/// The mode of a content synchronization (RFC 4533 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Ends when the client is up to date.
    RefreshOnly,
    /// Continues with changes as they happen, without end.
    RefreshAndPersist,
}

/// A content synchronization to start.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The DN of the base entry.
    pub base: String,
    /// The scope.
    pub scope: Scope,
    /// The filter.
    pub filter: Filter,
    /// The requested attributes.
    pub attributes: Vec<String>,
    /// The mode.
    pub mode: SyncMode,
    /// The cookie of an earlier synchronization; `None` begins with all entries.
    pub cookie: Option<Vec<u8>>,
}

/// The state in an entry's Sync State Control (RFC 4533 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// Present: unchanged.
    Present,
    /// Added or modified: servers often report every change as an addition.
    Changed,
    /// Deleted.
    Deleted,
}

/// One item of a content synchronization.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncItem {
    /// An entry: with its attributes if it changed, otherwise with its DN only.
    Entry {
        /// Its state.
        state: SyncState,
        /// Its entryUUID.
        uuid: Uuid,
        /// The entry.
        entry: Entry,
    },
    /// Entries that were all deleted, or are all present and unchanged (`syncIdSet`).
    Set {
        /// Whether they were deleted.
        deleted: bool,
        /// Their entryUUIDs.
        uuids: Vec<Uuid>,
    },
    /// A cookie to continue from, once everything before it is processed.
    Cookie(Vec<u8>),
    /// The end of a phase of the refresh (`refreshDelete`, `refreshPresent`, or the end of a `RefreshOnly`).
    PhaseEnd {
        /// Whether deleted entries were listed, so that all others are still present. Otherwise, present entries were listed, and all
        /// others were deleted.
        names_deleted: bool,
        /// Whether this is the end of the refresh.
        complete: bool,
    },
    /// A reference to another server.
    Reference(Vec<String>),
    /// An entry whose DN is not UTF-8: the DN, with the invalid octets escaped.
    Unreadable(String),
    /// The end of the search, after which it has no more items. An error is a result code of the server.
    End(Result<(), EndCode>),
}

/// The unsuccessful result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndCode {
    /// The result code.
    pub code: u32,
    /// The server's matchedDN.
    pub matched: String,
    /// The server's diagnostic message.
    pub text: String,
}

impl From<LdapResult> for EndCode {
    fn from(LdapResult { code, matched, text, .. }: LdapResult) -> Self {
        Self { code, matched, text }
    }
}

/// Content synchronizations that share a connection of their own. Nothing is read before an item is requested.
#[derive(Debug)]
pub struct SyncConnection {
    connection: Connection,
    manages_dsa_it: bool,
    /// Asks for own values only.
    own_values: Option<Control>,
    observer: Observing,
    referrals: Referrals,
    operation_timeout: Duration,
    running: HashMap<i64, Asked>,
    /// Those that were abandoned: a message of one may still arrive.
    abandoned: HashSet<i64>,
    schema: Arc<Schema>,
    /// The observers of the running ones.
    watches: HashMap<i64, Box<dyn SearchObserver>>,
    /// Pending items of a message with several.
    ready: VecDeque<(i64, SyncItem)>,
    /// The time, and the number of items, without progress of a refresh.
    waited: Duration,
    idle: u32,
    /// The number of entryUUIDs in sets since the last entry.
    named: usize,
}

/// The maximum number of consecutive cookies and phases. There may always be one to read, so that no time passes waiting.
const MOST_IDLE: u32 = 100_000;
/// The maximum number of entryUUIDs in consecutive sets: more than the entries of any directory.
const MOST_NAMED: usize = 1 << 28;

impl LdapDirectory {
    /// Opens a connection for content synchronizations, to the server in use.
    ///
    /// # Errors
    /// Fails if the connection cannot be opened.
    pub async fn sync_connection(&self) -> Result<SyncConnection, DirectoryError> {
        let connection = self.open_connection().await?;
        Ok(SyncConnection {
            connection,
            manages_dsa_it: self.manages_dsa_it(),
            own_values: self.own_values_control(),
            observer: self.config().observer.clone(),
            referrals: self.config().referrals,
            operation_timeout: self.config().operation_timeout,
            running: HashMap::new(),
            abandoned: HashSet::new(),
            schema: self.schema().clone(),
            watches: HashMap::new(),
            ready: VecDeque::new(),
            waited: Duration::ZERO,
            idle: 0,
            named: 0,
        })
    }
}

impl SyncConnection {
    /// Starts a content synchronization. Returns the id of its items.
    ///
    /// # Errors
    /// Fails if the filter is not valid ([`Filter::check`]), or if the connection is lost.
    pub async fn start(&mut self, request: &SyncRequest) -> Result<i64, DirectoryError> {
        let filter = &request.filter;
        filter
            .check()
            .map_err(|e| DirectoryError::invalid_filter("synchronisation", &request.base, filter, &e))?;
        let value = Writer::build(|w| {
            w.constructed(SEQUENCE, |w| {
                w.integer(ENUMERATED, if request.mode == SyncMode::RefreshOnly { 1 } else { 3 });
                request.cookie.iter().for_each(|c| w.octets(c));
                // reloadHint: notice of a due refresh is more useful than a list of all present entries.
                w.boolean(true);
            });
        });
        let mut controls =
            vec![Control { oid: oid::SYNC_REQUEST.into(), critical: true, value: Some(value) }];
        if self.manages_dsa_it {
            controls.push(Control { oid: oid::MANAGE_DSA_IT.into(), critical: false, value: None });
        }
        controls.extend(self.own_values.clone());
        let SyncRequest { base, scope, filter, attributes, .. } = request;
        let id = self.connection.search(base, *scope, filter, attributes, 0, &controls).await?;
        self.running.insert(id, Asked::new(base, *scope));
        if let Some(watch) = self.observer.search(self.connection.url(), base, true) {
            self.watches.insert(id, watch);
        }
        Ok(id)
    }

    /// Returns the next item of any synchronization, with its id. Cancel safe. It waits as long as nothing changes.
    ///
    /// # Errors
    /// Fails if the connection is lost, if a message violates RFC 4533, or at a reference if referrals are an error.
    pub async fn next(&mut self) -> Result<(i64, SyncItem), DirectoryError> {
        self.gets_on();
        self.receive().await
    }

    async fn receive(&mut self) -> Result<(i64, SyncItem), DirectoryError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            let message = self.connection.receive().await?;
            let id = message.id;
            let Some(asked) = self.running.get_mut(&id) else {
                if self.abandoned.contains(&id) {
                    continue;
                }
                return Err(self.connection.foreign(id));
            };
            let base = asked.base().to_owned();
            let malformed = |what: &str| DirectoryError::Protocol {
                operation: "search",
                dn: base.clone(),
                reason: format!("the server sent {what} that RFC 4533 does not have"),
                outcome_unknown: false,
            };
            let items = items(message).ok_or_else(|| malformed("something"))?;
            match items.first() {
                // The entry was moved away, perhaps.
                Some(SyncItem::Entry { state: SyncState::Deleted, .. }) => {}
                Some(SyncItem::Entry { entry: Entry { dn, .. }, .. } | SyncItem::Unreadable(dn)) => {
                    asked.check("search", dn, &self.schema)?;
                }
                _ => {}
            }
            if let Some(SyncItem::Reference(urls)) = items.first()
                && self.referrals == Referrals::Fail
            {
                return Err(DirectoryError::Referral { operation: "search", dn: base, to: urls.join(", ") });
            }
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.synchronized(items.iter().filter(|i| matches!(i, SyncItem::Entry { .. })).count());
            }
            if let Some(SyncItem::End(end)) = items.iter().find(|i| matches!(i, SyncItem::End(_))) {
                if let Some(watch) = self.watches.remove(&id) {
                    watch.synchronization_ended(
                        end.as_ref().map_or_else(|e| e.code, |()| result_code::SUCCESS),
                    );
                }
                self.running.remove(&id);
            }
            self.ready.extend(items.into_iter().map(|i| (id, i)));
        }
    }

    /// Returns the next item of a refresh, in which the server must make progress within `operation_timeout`. Entries, entryUUIDs and the
    /// end are progress; consecutive cookies and phases are not. Not for a persist phase, which is silent as long as nothing changes.
    ///
    /// # Errors
    /// As [`Self::next`]; also if there is no progress in time, or sets have too many entryUUIDs.
    pub async fn next_in_time(&mut self) -> Result<(i64, SyncItem), DirectoryError> {
        let limit = self.operation_timeout;
        let dn = self.running.values().next().map(|asked| asked.base().to_owned()).unwrap_or_default();
        let error = DirectoryError::timeout("synchronisation", dn, limit);
        let left = limit.saturating_sub(self.waited);
        if self.idle > MOST_IDLE {
            return Err(error);
        }
        let waiting = self.observer.awaiting();
        let began = Instant::now();
        let next = tokio::time::timeout(left, self.receive()).await;
        drop(waiting);
        // The caller's time between two items does not count.
        self.waited += began.elapsed();
        self.idle += 1;
        let Ok(next) = next else { return Err(error) };
        let (id, item) = next?;
        match &item {
            SyncItem::Cookie(_) | SyncItem::PhaseEnd { .. } => {}
            SyncItem::Set { uuids, .. } => {
                self.named = self.named.saturating_add(uuids.len());
                if self.named > MOST_NAMED {
                    return Err(DirectoryError::Protocol {
                        operation: "synchronisation",
                        dn: self.running.get(&id).map(|asked| asked.base().to_owned()).unwrap_or_default(),
                        reason: format!(
                            "the server names more than {MOST_NAMED} entries as there, or as gone"
                        ),
                        outcome_unknown: false,
                    });
                }
                if !uuids.is_empty() {
                    self.gets_on();
                }
            }
            SyncItem::Entry { .. } | SyncItem::Reference(_) | SyncItem::Unreadable(_) | SyncItem::End(_) => {
                self.gets_on();
                self.named = 0;
            }
        }
        Ok((id, item))
    }

    fn gets_on(&mut self) {
        (self.waited, self.idle) = (Duration::ZERO, 0);
    }

    /// Abandons a content synchronization.
    ///
    /// # Errors
    /// Fails if the connection is lost.
    pub async fn abandon(&mut self, id: i64) -> Result<(), DirectoryError> {
        self.running.remove(&id);
        self.abandoned.insert(id);
        self.watches.remove(&id);
        self.ready.retain(|(other, _)| *other != id);
        self.connection.abandon(id).await
    }

    /// Unbinds and closes the connection.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

/// Returns the items of a message, in order: its content first, then the cookie that covers it.
pub(crate) fn items(message: Message) -> Option<Vec<SyncItem>> {
    let Message { answer, controls, .. } = message;
    let control =
        |oid: &str| controls.iter().find(|c| c.oid == oid).map(|c| c.value.as_deref().unwrap_or_default());
    let mut items = Vec::new();
    match answer {
        Answer::Entry(entry) => {
            let mut state = Reader::new(control(oid::SYNC_STATE)?).constructed(SEQUENCE)?;
            let what = match state.integer(ENUMERATED)? {
                0 => SyncState::Present,
                1 | 2 => SyncState::Changed,
                3 => SyncState::Deleted,
                _ => return None,
            };
            let uuid = Uuid::from_slice(state.take(OCTET_STRING)?).ok()?;
            items.push(SyncItem::Entry { state: what, uuid, entry });
            items.extend(cookie(state.take(OCTET_STRING)));
        }
        Answer::Unreadable(dn) => {
            items.push(SyncItem::Unreadable(dn));
            let mut state = Reader::new(control(oid::SYNC_STATE)?).constructed(SEQUENCE)?;
            state.element()?;
            state.element()?;
            items.extend(cookie(state.take(OCTET_STRING)));
        }
        Answer::Reference(urls) => items.push(SyncItem::Reference(urls)),
        Answer::Done(result) => {
            if result.code != result_code::SUCCESS {
                return Some(vec![SyncItem::End(Err(result.into()))]);
            }
            let mut names_deleted = false;
            if let Some(value) = control(oid::SYNC_DONE) {
                let mut done = Reader::new(value).constructed(SEQUENCE)?;
                items.extend(cookie(done.take(OCTET_STRING)));
                names_deleted = flag(done.take(BOOLEAN), false);
            }
            // The phase ends before the cookie of the end is valid.
            items.insert(0, SyncItem::PhaseEnd { names_deleted, complete: true });
            items.push(SyncItem::End(Ok(())));
        }
        Answer::Intermediate { name, value } if name.as_deref() == Some(oid::SYNC_INFO) => {
            let mut info = Reader::new(value.as_deref()?);
            let (tag, content) = info.element()?;
            let mut content_reader = Reader::new(content);
            match tag {
                // newcookie [0]
                0x80 => items.extend(cookie(Some(content))),
                // refreshDelete [1], refreshPresent [2]
                0xa1 | 0xa2 => {
                    let cookie = cookie(content_reader.take(OCTET_STRING));
                    let complete = flag(content_reader.take(BOOLEAN), true);
                    items.push(SyncItem::PhaseEnd { names_deleted: tag == 0xa1, complete });
                    items.extend(cookie);
                }
                // syncIdSet [3]
                0xa3 => {
                    let cookie = cookie(content_reader.take(OCTET_STRING));
                    let deleted = flag(content_reader.take(BOOLEAN), false);
                    let mut set = content_reader.constructed(SET)?;
                    let mut uuids = Vec::new();
                    while !set.is_empty() {
                        uuids.push(Uuid::from_slice(set.take(OCTET_STRING)?).ok()?);
                    }
                    items.push(SyncItem::Set { deleted, uuids });
                    items.extend(cookie);
                }
                _ => return None,
            }
        }
        // A message of another extension.
        Answer::Intermediate { .. } => {}
        // Instead of the search's end: a server that does not know the control may answer with an extended response.
        answer => items.push(SyncItem::End(Err(answer.into_end(SEARCH_REQUEST)?.0.into()))),
    }
    Some(items)
}

/// Returns the item of a cookie; an empty one has no meaning.
fn cookie(octets: Option<&[u8]>) -> Option<SyncItem> {
    octets.filter(|c| !c.is_empty()).map(|c| SyncItem::Cookie(c.to_vec()))
}

fn flag(octets: Option<&[u8]>, default: bool) -> bool {
    octets.map_or(default, |b| b != [0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(tag: u8, write: impl FnOnce(&mut Writer)) -> Option<Vec<SyncItem>> {
        let value = Writer::build(|w| w.constructed(tag, write));
        let answer = Answer::Intermediate { name: Some(oid::SYNC_INFO.into()), value: Some(value) };
        items(Message { id: 1, answer, controls: vec![] })
    }

    #[test]
    fn the_messages_of_rfc_4533() {
        let uuid = Uuid::from_u128(7);
        assert_eq!(
            info(0xa3, |w| {
                w.octets("c");
                w.boolean(true);
                w.constructed(SET, |w| w.octets(uuid.as_bytes()));
            }),
            Some(vec![SyncItem::Set { deleted: true, uuids: vec![uuid] }, SyncItem::Cookie(b"c".to_vec())])
        );
        // Defaults: refreshDeletes is FALSE, refreshDone is TRUE.
        assert_eq!(
            info(0xa3, |w| w.constructed(SET, |w| w.octets(uuid.as_bytes()))),
            Some(vec![SyncItem::Set { deleted: false, uuids: vec![uuid] }])
        );
        assert_eq!(
            info(0xa2, |w| w.boolean(false)),
            Some(vec![SyncItem::PhaseEnd { names_deleted: false, complete: false }])
        );
        assert_eq!(
            info(0xa1, |_| {}),
            Some(vec![SyncItem::PhaseEnd { names_deleted: true, complete: true }])
        );
        assert_eq!(info(0xa3, |w| w.constructed(SET, |w| w.octets("short"))), None);
    }

    #[test]
    fn a_search_that_ends_without_the_control_named_nothing_as_deleted() {
        let result = LdapResult::default();
        let message = Message { id: 1, answer: Answer::Done(result), controls: vec![] };
        assert_eq!(
            items(message),
            Some(vec![SyncItem::PhaseEnd { names_deleted: false, complete: true }, SyncItem::End(Ok(()))])
        );
    }
}
