//! Searching, with pages (RFC 2696) where the answer may be long: what is asked for, page by page, and what the end of a
//! page means. How octets come and go is another matter: over a connection of their own ([`bulk`]), or over the one for
//! everything else ([`over_session`]), where one page of entries is the most that waits in memory.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::referral::Target;
use super::{Attempts, LdapDirectory, result_code};
use crate::config::Referrals;
use crate::directory::{Found, Paging, Scope, SearchItem, SearchRequest};
use crate::dn::DnKey;
use crate::entry::{Entry, EntryView as _};
use crate::error::DirectoryError;
use crate::observer::SearchObserver;
use crate::protocol::controls::{DirSyncEnd, SearchControl};
use crate::protocol::entry::{MOST_ATTRIBUTES, WireEntry};
use crate::protocol::message::{Control, LdapResult};
use crate::root_dse::Vendor;
use crate::schema::Schema;

mod buffered;
mod pages;
mod streaming;

use pages::Growth;
pub(crate) use pages::paged_cookie;
use streaming::StreamingSearch;

/// The most entries that may come without pages, and wait in memory: larger samples are read by pages.
const LARGEST_UNPAGED: u32 = 5_000;
const OPERATION: &str = "search";

/// A search under way. Only one paged search at a time may run on a connection: OpenLDAP keeps one cookie.
pub struct LdapSearch {
    directory: LdapDirectory,
    request: SearchRequest,
    /// The page size in use; 0 is unpaged.
    page_size: u32,
    /// The size limit to ask for (RFC 4511 section 4.5.1.4), which is how a sample begins; 0 is none. slapd finds the
    /// next page of a subtree by walking through the ids of all entries, whatever lies in between; an unpaged search
    /// walks through the subtree alone.
    limit: u32,
    /// The DNs that came under the size limit: what follows begins anew, and they are left out of it.
    given: HashSet<String>,
    cookie: Vec<u8>,
    transport: Transport,
    state: Progress,
    empty_pages: u32,
    /// What the server answered when it was asked for pages, and is read without: said once it answers that.
    without_pages: Option<(u32, String)>,
    entries_of_page: u32,
    growth: Growth,
    dirsync: Option<DirSyncEnd>,
    /// Where somebody wants to see it, from the first request on.
    watch: Option<Box<dyn SearchObserver>>,
    /// A fault that may pass, before it is dealt with.
    fault: Option<DirectoryError>,
    attempts: Option<Attempts>,
    /// References that are followed once this server has said all, each with its chain.
    to_follow: VecDeque<Follow>,
    /// The reference in hand.
    following: Option<Box<LdapSearch>>,
    /// The servers and bases by which referrals led here.
    chain: Vec<String>,
    /// The name of the first entry of the page in hand.
    first_of_page: String,
    /// How often the answer began again after entries had come.
    beginnings: u32,
}

/// A reference to follow.
struct Follow {
    target: Target,
    chain: Vec<String>,
    /// Whether it continues an answer, and does not stand in its place.
    is_continued: bool,
}

/// What the answer comes over.
enum Transport {
    /// Not chosen yet.
    None,
    /// A connection of our own.
    Streaming(Box<StreamingSearch>),
    /// The first connection; the page under way.
    Buffered(Option<Box<buffered::Page>>),
}

/// A page to ask for.
struct PageRequest<'r> {
    search: &'r SearchRequest,
    size_limit: u32,
    controls: Vec<Control>,
    /// Whether it is the first page.
    is_first: bool,
}

/// What came.
enum Event {
    Entry(Incoming),
    Reference(Vec<String>),
    /// An entry whose name is not UTF-8, escaped.
    Unreadable(String),
    End {
        result: LdapResult,
        controls: Vec<Control>,
    },
    /// An entry of more attributes than are taken.
    TooMany(String),
    /// Something of the search that is not well-formed.
    Malformed,
}

/// An entry that came.
enum Incoming {
    /// It stays where it is.
    InPlace,
    Whole(Entry),
}

/// What an event led to.
enum Step {
    Found(Found),
    /// On to the next event.
    Next,
    /// The answer is complete.
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Done,
}

/// Whether pages larger than usual do good and no harm.
fn takes_large_pages(vendor: Vendor) -> bool {
    match vendor {
        // 389 closes a connection that takes nothing for ten seconds (nsslapd-ioblocktimeout): pages have to be small enough to be
        // read whatever becomes of stdout. Active Directory gives no more than its MaxPageSize, 1,000, whatever is asked for.
        Vendor::Ds389 | Vendor::ActiveDirectory => false,
        Vendor::OpenLdap | Vendor::Ldif | Vendor::Other => true,
    }
}

impl std::fmt::Debug for LdapSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapSearch")
            .field("request", &self.request)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl LdapSearch {
    pub(crate) fn new(directory: LdapDirectory, request: SearchRequest) -> Self {
        let configured = directory.config().page_size;
        let page_size = match request.paging {
            // A base search has one entry: a page would only cost. DirSync has pages of its own.
            _ if request.scope == Scope::Base => 0,
            _ if request.controls.iter().any(|c| matches!(c, SearchControl::DirSync { .. })) => 0,
            Paging::Configured => configured,
            Paging::AtMost(limit) => configured.min(limit.max(1)),
            Paging::Off | Paging::Limited(_) => 0,
        };
        let most = directory.size_limit().load(Ordering::Relaxed).min(LARGEST_UNPAGED);
        let limit = match request.paging {
            Paging::AtMost(limit) if request.scope != Scope::Base && limit <= most => limit,
            Paging::Limited(limit) => limit,
            _ => 0,
        };
        // Of a sample the rest of a page would be read for nothing.
        let may_grow = request.paging == Paging::Configured && takes_large_pages(directory.root_dse().vendor);
        let growth = Growth::new(page_size, may_grow);
        Self {
            directory,
            request,
            page_size,
            limit,
            given: HashSet::new(),
            cookie: Vec::new(),
            transport: Transport::None,
            state: Progress::Running,
            empty_pages: 0,
            without_pages: None,
            entries_of_page: 0,
            growth,
            dirsync: None,
            watch: None,
            fault: None,
            attempts: None,
            to_follow: VecDeque::new(),
            following: None,
            chain: Vec::new(),
            first_of_page: String::new(),
            beginnings: 0,
        }
    }

    /// How often the answer began again after entries had come, those of a referred server included.
    pub(crate) fn beginnings(&self) -> u32 {
        self.following.as_ref().map_or(0, |other| other.beginnings()).saturating_add(self.beginnings)
    }

    /// What the answer to [`SearchControl::DirSync`] said at its end, once that was reached.
    pub fn dirsync_end(&self) -> Option<&DirSyncEnd> {
        self.dirsync.as_ref()
    }

    /// The next item; `None` at the end of a complete answer, and ever after.
    pub async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        Ok(match self.advance().await? {
            Some(Found::Entry(entry)) => Some(SearchItem::Entry(entry)),
            Some(Found::InPlace) => self.in_place().map(|e| SearchItem::Entry(e.to_entry())),
            Some(Found::Reference(urls)) => Some(SearchItem::Reference(urls)),
            Some(Found::Unreadable(dn)) => Some(SearchItem::Unreadable(dn)),
            None => None,
        })
    }

    /// The same, and an entry that can be shown where it is stays there.
    pub(crate) async fn advance(&mut self) -> Result<Option<Found>, DirectoryError> {
        while self.state == Progress::Running {
            if let Some(found) = self.advance_at_once()? {
                return Ok(Some(found));
            }
            if let Some(fault) = self.fault.take() {
                self.begin_again(fault).await?;
            } else if self.state == Progress::Running {
                let waited = self.wait().await;
                let step = waited.and_then(|event| event.map_or(Ok(Step::Next), |event| self.take(event)));
                if let Some(found) = self.settle(step)? {
                    return Ok(Some(found));
                }
            }
        }
        loop {
            if let Some(other) = &mut self.following {
                // Boxed: a chain of references is a chain of searches.
                if let Some(found) = Box::pin(other.advance()).await? {
                    return Ok(Some(found));
                }
                self.beginnings = self.beginnings.saturating_add(other.beginnings());
                self.following = None;
            }
            let Some(Follow { target, chain, is_continued }) = self.to_follow.pop_front() else {
                return Ok(None);
            };
            let request = target.request(&self.request, is_continued);
            let other = self.directory.other(&target).await?;
            self.following = Some(Box::new(LdapSearch { chain, ..LdapSearch::new(other, request) }));
        }
    }

    /// The next item, if all of it is here.
    pub(crate) fn advance_at_once(&mut self) -> Result<Option<Found>, DirectoryError> {
        if let Some(other) = &mut self.following {
            return other.advance_at_once();
        }
        while let (Transport::Streaming(bulk), Progress::Running) = (&mut self.transport, self.state) {
            if self.fault.is_some() {
                break;
            }
            let step = match bulk.next_at_once() {
                Ok(None) => break,
                Ok(Some(event)) => self.take(event),
                Err(e) => Err(e),
            };
            if let Some(found) = self.settle(step)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads more of the page under way. Whether there is more to read. Without pages there is no end to what that could be, and
    /// the server has to wait.
    pub(crate) async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        if let Some(other) = &mut self.following {
            return Box::pin(other.absorb()).await;
        }
        match &mut self.transport {
            // What is wrong with the connection is met again by who goes on. Of a page that has grown the server keeps what is
            // not wanted yet.
            Transport::Streaming(bulk)
                if self.limit > 0 || self.page_size > 0 && !self.growth.has_grown(self.page_size) =>
            {
                Ok(bulk.absorb().await.unwrap_or(false))
            }
            Transport::None | Transport::Streaming(_) | Transport::Buffered(_) => Ok(false),
        }
    }

    /// The entry that was found last, where it stayed there.
    pub(crate) fn in_place(&self) -> Option<WireEntry<'_>> {
        match (&self.following, &self.transport) {
            (Some(other), _) => other.in_place(),
            (None, Transport::Streaming(bulk)) => Some(bulk.in_place()),
            (None, Transport::None | Transport::Buffered(_)) => None,
        }
    }

    /// Reads the page in hand to its end, and asks for no other. OpenLDAP keeps one paging state per connection: a
    /// paged search that begins while another's page is still under way is refused ("cookie is invalid or old").
    pub(crate) async fn abandon(mut self) -> Result<(), DirectoryError> {
        if let Some(other) = self.following.take() {
            return Box::pin(other.abandon()).await;
        }
        // All there is may be much: closing the connection is sooner done.
        let is_much = self.page_size == 0 && self.limit == 0 || self.growth.has_grown(self.page_size);
        if matches!(self.transport, Transport::Streaming(_)) && is_much {
            return Ok(());
        }
        match self.abandoning().await {
            // Nothing more was wanted of it.
            Err(e) if e.is_transient() => Ok(()),
            result => result.map_err(|e| self.about_base(e)),
        }
    }

    async fn abandoning(&mut self) -> Result<(), DirectoryError> {
        loop {
            match &mut self.transport {
                Transport::None | Transport::Buffered(_) => return Ok(()),
                Transport::Streaming(bulk) => {
                    while bulk.is_under_way() {
                        if bulk.next_at_once()?.is_none() {
                            bulk.wait(0, None).await?;
                        }
                    }
                    // The page after it may be on its way.
                    if !bulk.take_next_page() {
                        self.give_back();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What a step means for the search: the item it led to, or its end.
    fn settle(&mut self, step: Result<Step, DirectoryError>) -> Result<Option<Found>, DirectoryError> {
        match step {
            Ok(Step::Found(found)) => Ok(Some(found)),
            Ok(Step::Next) => Ok(None),
            Ok(Step::Complete) => {
                self.state = Progress::Done;
                self.give_back();
                if let Some(watch) = self.watch.take() {
                    watch.done(Ok(()));
                }
                Ok(None)
            }
            Err(e) if e.is_transient() && self.may_begin_again() => {
                self.fault = Some(e);
                Ok(None)
            }
            Err(e) => {
                self.state = Progress::Done;
                self.transport = Transport::None;
                if let Some(watch) = self.watch.take() {
                    watch.done(Err(&e));
                }
                Err(self.about_base(e))
            }
        }
    }

    /// Whether nobody is misled when the answer begins again: nothing came of it yet, or what came does no harm a second
    /// time, or is left out then.
    fn may_begin_again(&self) -> bool {
        self.request.may_repeat
            || self.limit > 0
            || self.cookie.is_empty() && self.entries_of_page == 0 && self.given.is_empty()
    }

    /// Begins again after a fault, over another connection. A page's cookie is good for the connection it came over, so that
    /// there is no other place to go on from.
    async fn begin_again(&mut self, fault: DirectoryError) -> Result<(), DirectoryError> {
        self.transport = Transport::None;
        let fault = self.about_base(fault);
        let directory = self.directory.clone();
        let attempts = self.attempts.get_or_insert_with(|| directory.attempts());
        // Boxed: it asks the server, and what asks may come back here, for all the compiler knows.
        if let Err(e) = Box::pin(directory.recover(fault, attempts)).await {
            self.state = Progress::Done;
            if let Some(watch) = self.watch.take() {
                watch.done(Err(&e));
            }
            return Err(self.about_base(e));
        }
        // Under a size limit, what came already is left out.
        let came = !self.cookie.is_empty() || self.entries_of_page > 0;
        self.beginnings += u32::from(came && self.limit == 0 && self.given.is_empty());
        self.cookie.clear();
        self.page_size = self.growth.cut(self.page_size);
        self.to_follow.clear();
        self.limit = 0;
        self.entries_of_page = 0;
        self.empty_pages = 0;
        Ok(())
    }

    /// The connection is for the next search.
    fn give_back(&mut self) {
        if let Transport::Streaming(bulk) = std::mem::replace(&mut self.transport, Transport::None) {
            self.directory.give_back(bulk.into_leased());
        }
    }

    /// A connection's error says nothing of the search.
    fn about_base(&self, error: DirectoryError) -> DirectoryError {
        let dn = self.request.base.clone();
        match error {
            DirectoryError::Lost { reason, .. } => DirectoryError::Lost { operation: OPERATION, dn, reason },
            DirectoryError::Timeout { seconds, .. } => {
                DirectoryError::Timeout { operation: OPERATION, dn, seconds }
            }
            other => other,
        }
    }

    /// Does what has to be done before the next event: asks for a page, or waits for octets.
    async fn wait(&mut self) -> Result<Option<Event>, DirectoryError> {
        if matches!(self.transport, Transport::None) {
            let is_long = self.request.scope != Scope::Base && !self.is_small();
            if self.watch.is_none() {
                self.watch = self.directory.config().observer.search(
                    self.directory.location(),
                    &self.request.base,
                    is_long,
                );
            }
            self.transport = self.choose().await;
        }
        let result = self.wait_over_transport().await;
        if let (Transport::Streaming(bulk), Err(DirectoryError::Lost { .. })) = (&self.transport, &result)
            && bulk.may_be_stale()
        {
            // Closed while nobody used it, as servers do after a time.
            self.transport = match self.directory.lease_new().await {
                Some(leased) => self.over(leased).unwrap_or(Transport::Buffered(None)),
                None => Transport::Buffered(None),
            };
            return Ok(None);
        }
        result
    }

    async fn wait_over_transport(&mut self) -> Result<Option<Event>, DirectoryError> {
        match &mut self.transport {
            Transport::Buffered(Some(page)) => {
                return Ok(Some(page.next()));
            }
            Transport::Streaming(bulk) if bulk.is_under_way() => {
                let of_page = if self.limit > 0 { self.limit } else { self.page_size };
                let more = (of_page > 0).then(|| of_page.saturating_sub(self.entries_of_page));
                let began = Instant::now();
                match &mut self.watch {
                    None => bulk.wait(self.entries_of_page, more).await?,
                    Some(watch) => {
                        let _waiting = self.directory.config().observer.awaiting();
                        let waited = bulk.wait(self.entries_of_page, more).await;
                        watch.waited(began.elapsed());
                        waited?;
                    }
                }
                if self.entries_of_page == 0 {
                    self.growth.waited(began.elapsed());
                }
                return self.ask_ahead().await.map(|()| None);
            }
            Transport::None | Transport::Buffered(None) | Transport::Streaming(_) => {}
        }
        let is_first = self.cookie.is_empty();
        if !is_first && self.page_size > 0 {
            // Its end was not seen ahead: it came while stdout could not be written.
            self.page_size = self.growth.next(self.page_size, Instant::now());
        }
        let controls = self.controls(&self.cookie);
        let request = PageRequest { search: &self.request, size_limit: self.limit, controls, is_first };
        match &mut self.transport {
            Transport::None => {}
            Transport::Buffered(page) => {
                *page = Some(Box::new(buffered::Page::begin(&self.directory, &request).await?));
            }
            Transport::Streaming(bulk) => bulk.begin(&request).await?,
        }
        self.entries_of_page = 0;
        Ok(None)
    }

    /// Asks for the next page as soon as the end of this one is here, though entries before it wait to be dealt with: the
    /// server has something to do meanwhile.
    async fn ask_ahead(&mut self) -> Result<(), DirectoryError> {
        let Transport::Streaming(bulk) = &self.transport else { return Ok(()) };
        if self.page_size == 0 || self.limit > 0 {
            return Ok(());
        }
        let Some((result, controls)) = bulk.peek_end() else { return Ok(()) };
        // What else an end can mean is found out when it is reached.
        let Some(cookie) = paged_cookie(&controls).filter(|c| !c.is_empty()) else { return Ok(()) };
        if result.code != result_code::SUCCESS {
            return Ok(());
        }
        self.page_size = self.growth.next(self.page_size, Instant::now());
        let controls = self.controls(&cookie);
        let request = PageRequest { search: &self.request, size_limit: 0, controls, is_first: false };
        match &mut self.transport {
            Transport::Streaming(bulk) => bulk.begin_next(&request).await,
            Transport::None | Transport::Buffered(_) => Ok(()),
        }
    }

    /// Whether the answer is known to be small.
    fn is_small(&self) -> bool {
        matches!(self.request.paging, Paging::Off | Paging::Limited(_))
    }

    /// What the answer is to come over. Small answers are no reason to open a connection.
    async fn choose(&self) -> Transport {
        if self.request.scope == Scope::Base || self.is_small() {
            return Transport::Buffered(None);
        }
        match self.directory.lease().await {
            Some(leased) => self.over(leased).unwrap_or(Transport::Buffered(None)),
            None => Transport::Buffered(None),
        }
    }

    /// `None` for a filter that we do not understand: the crate says what is wrong with it, if it is wrong.
    fn over(&self, leased: super::pool::PooledConnection) -> Option<Transport> {
        let filter = self.directory.wire_filter(&self.request.filter).ok()?;
        Some(Transport::Streaming(Box::new(StreamingSearch::new(
            leased,
            filter,
            self.directory.config().operation_timeout,
        ))))
    }

    fn take(&mut self, event: Event) -> Result<Step, DirectoryError> {
        match event {
            Event::TooMany(dn) => Err(DirectoryError::Protocol {
                operation: OPERATION,
                dn,
                reason: format!(
                    "the entry has more than {MOST_ATTRIBUTES} attributes, which are not taken; name those to read (`attributes`)"
                ),
            }),
            Event::Malformed => Err(self.protocol("the server sent an entry that is not well-formed".into())),
            Event::Reference(urls) => {
                if self.directory.config().referrals == Referrals::Fail {
                    return Err(self.protocol(format!(
                        "the server refers to {} and follow_referrals is fail",
                        urls.join(", ")
                    )));
                }
                self.entries_of_page = self.entries_of_page.saturating_add(1);
                if self.follow(&urls, true) {
                    return Ok(Step::Next);
                }
                Ok(Step::Found(Found::Reference(urls)))
            }
            Event::Unreadable(dn) => {
                self.entries_of_page = self.entries_of_page.saturating_add(1);
                self.directory.note_unreadable(&dn);
                Ok(Step::Found(Found::Unreadable(dn)))
            }
            Event::Entry(incoming) => {
                if self.entries_of_page == 0 && self.goes_round(&incoming) {
                    let reason = "the server gives the same page again and again: its cookies lead nowhere";
                    return Err(self.protocol(reason.into()));
                }
                if let Some(other) = self.is_of_another_name(&incoming) {
                    let reason = format!("asked for this entry, the server gave another one, `{other}`");
                    return Err(self.protocol(reason));
                }
                self.entries_of_page = self.entries_of_page.saturating_add(1);
                if (self.limit > 0 || !self.given.is_empty()) && self.was_given(&incoming) {
                    return Ok(Step::Next);
                }
                Ok(Step::Found(match incoming {
                    Incoming::InPlace => Found::InPlace,
                    Incoming::Whole(entry) => Found::Entry(entry),
                }))
            }
            Event::End { result, controls } => {
                let is_own = matches!(self.transport, Transport::Streaming(_));
                if let Transport::Buffered(page) = &mut self.transport {
                    *page = None;
                }
                if let Some(watch) = &mut self.watch {
                    watch.page(self.entries_of_page, is_own.then_some(result.code));
                }
                if result.code == result_code::REFERRAL && self.follow(&result.referral, false) {
                    return Ok(Step::Complete);
                }
                Ok(if self.page_ended(result, &controls)? { Step::Next } else { Step::Complete })
            }
        }
    }

    /// Notes a reference that is to be followed. Whether it is one.
    fn follow(&mut self, urls: &[String], is_continued: bool) -> bool {
        let followed = self.directory.followed(urls, &self.request, &self.chain);
        let Some((target, chain)) = followed else { return false };
        self.to_follow.push_back(Follow { target, chain, is_continued });
        true
    }

    /// The name of an entry that is not the one a base search asked for: what is to be done with that one would be done with
    /// another. Aliases are not followed, and a reference has a search of its own.
    fn is_of_another_name(&self, entry: &Incoming) -> Option<String> {
        if self.request.scope != Scope::Base {
            return None;
        }
        let name = match (entry, &self.transport) {
            (Incoming::Whole(entry), _) => entry.dn.clone(),
            (Incoming::InPlace, Transport::Streaming(bulk)) => bulk.in_place().dn().to_owned(),
            (Incoming::InPlace, _) => return None,
        };
        (!is_same_name(&self.request.base, &name, self.directory.schema())).then_some(name)
    }

    /// Whether a page begins as the one before it did.
    fn goes_round(&mut self, first: &Incoming) -> bool {
        let dn = match (first, &self.transport) {
            (Incoming::Whole(entry), _) => entry.dn.clone(),
            (Incoming::InPlace, Transport::Streaming(bulk)) => bulk.in_place().dn().to_owned(),
            (Incoming::InPlace, _) => return false,
        };
        let is_same = !self.cookie.is_empty() && dn == self.first_of_page;
        self.first_of_page = dn;
        is_same
    }

    /// Whether an entry came before, under the size limit; takes note of it while that is in force.
    fn was_given(&mut self, entry: &Incoming) -> bool {
        let in_place;
        let dn = match (entry, &self.transport) {
            (Incoming::Whole(entry), _) => entry.dn.as_str(),
            (Incoming::InPlace, Transport::Streaming(bulk)) => {
                in_place = bulk.in_place();
                in_place.dn()
            }
            (Incoming::InPlace, _) => return false,
        };
        if self.limit > 0 {
            self.given.insert(dn.to_owned());
            return false;
        }
        self.given.remove(dn)
    }

    fn protocol(&self, reason: String) -> DirectoryError {
        DirectoryError::Protocol { operation: OPERATION, dn: self.request.base.clone(), reason }
    }
}

/// Whether two names may be one entry's. Active Directory takes other things than names, too (`<GUID=…>`, `<SID=…>`,
/// `<WKGUID=…>`; [MS-ADTS] 3.1.1.3.1.2.4), and what cannot be taken apart is not told from anything.
fn is_same_name(asked: &str, given: &str, schema: &Schema) -> bool {
    if asked.starts_with('<') || asked.eq_ignore_ascii_case(given) {
        return true;
    }
    // Where the server's schema is not read yet, or not readable, its names may be spelled in other capitals.
    let lower = (asked.to_lowercase(), given.to_lowercase());
    [schema, Schema::standard()].into_iter().any(|schema| {
        match (DnKey::parse(&lower.0, schema), DnKey::parse(&lower.1, schema)) {
            (Ok(asked), Ok(given)) => asked == given,
            _ => true,
        }
    })
}

#[cfg(test)]
mod names {
    use super::*;

    #[test]
    fn one_entry_has_many_spellings() {
        let is_same = |asked, given| is_same_name(asked, given, Schema::standard());
        for (asked, given) in [
            ("", ""),
            ("cn=subschema", "cn=Subschema"),
            ("CN=a\\2cb, OU=X", "cn=A\\,b,ou=x"),
            ("2.5.4.3=a,dc=x", "commonName=a,dc=x"),
            ("a=1+b=2,dc=x", "b=2+a=1,dc=x"),
            ("<GUID=5c8b9d2e00001000800000000000000a>", "cn=a,dc=x"),
            ("unknownAttribute=A,dc=x", "unknownattribute=a,dc=x"),
        ] {
            assert!(is_same(asked, given), "{asked} {given}");
        }
        for (asked, given) in [("cn=a,dc=x", "cn=b,dc=x"), ("cn=a,dc=x", "dc=x"), ("", "dc=x"), ("dc=x", "")]
        {
            assert!(!is_same(asked, given), "{asked} {given}");
        }
    }
}
