//! Searches, with pages (RFC 2696) if the answer may be long.
//!
//! This module advances a search and begins it again after transient errors. [`transport`] chooses a connection and requests pages,
//! [`pages`] interprets their ends, [`limits`] chooses their size after a refusal, [`events`] handles what arrives. Octets arrive over a connection of their own ([`streaming`]), or over
//! the shared one ([`buffered`]), where at most one page of entries is in memory; the [`pool`](super::pool) says which.

use std::collections::{HashSet, VecDeque};

use super::asked::Asked;
use super::referral::Target;
use super::{Attempts, LdapDirectory};
use crate::directory::{Found, Paging, Scope, SearchItem, SearchRequest};
use crate::entry::{Entry, EntryView as _};
use crate::error::DirectoryError;
use crate::observer::SearchObserver;
use crate::protocol::controls::{DirSyncEnd, SearchControl};
use crate::protocol::entry::WireEntry;
use crate::protocol::message::{Control, LdapResult};
use crate::root_dse::Vendor;

mod buffered;
mod events;
mod limits;
mod pages;
mod streaming;
mod transport;

use buffered::BufferedSearch;
pub(crate) use limits::KnownLimits;
use limits::Refusal;
use pages::Growth;
pub(crate) use pages::paged_cookie;
use streaming::StreamingSearch;

/// The maximum number of entries in an unpaged sample, which are kept in memory: larger samples are read in pages.
const LARGEST_UNPAGED: u32 = 5_000;
const OPERATION: &str = "search";

/// A search in progress. A connection can run one paged search at a time: OpenLDAP keeps one cookie.
pub struct LdapSearch {
    directory: LdapDirectory,
    request: SearchRequest,
    /// What its entries must be part of.
    asked: Asked,
    /// The current page size; 0 is unpaged.
    page_size: u32,
    /// The size limit to request (RFC 4511 section 4.5.1.4), with which a sample begins; 0 is none. slapd finds the next page of a subtree
    /// by iterating over the ids of all entries; an unpaged search iterates over the subtree only.
    limit: u32,
    /// The DNs returned under the size limit: the paged search after it begins anew, and skips them.
    given: HashSet<String>,
    cookie: Vec<u8>,
    transport: Transport,
    state: Progress,
    empty_pages: u32,
    /// The server's refusal of a page, if the search continues in another size.
    refusal: Refusal,
    /// Whether this search is unpaged because other searches of this directory had to be.
    is_unpaged_by_others: bool,
    /// Whether an entry may be one that was already returned, or has to be remembered as returned.
    recalls: bool,
    entries_of_page: u32,
    growth: Growth,
    dirsync: Option<DirSyncEnd>,
    /// The observer of this search, from the first request on.
    watch: Option<Box<dyn SearchObserver>>,
    /// A transient error, before it is handled.
    fault: Option<DirectoryError>,
    attempts: Option<Attempts>,
    /// References to follow once this server's answer is complete, each with its chain.
    to_follow: VecDeque<Follow>,
    /// The search of the current reference.
    following: Option<Box<LdapSearch>>,
    /// The servers and bases of the chain of referrals.
    chain: Vec<String>,
    /// The DN of the first entry of the current page.
    first_of_page: String,
    /// How often the answer began again after it had returned entries.
    beginnings: u32,
}

/// A reference to follow.
struct Follow {
    target: Target,
    chain: Vec<String>,
    /// Whether it continues an answer, instead of replacing it.
    is_continued: bool,
}

/// The connection of an answer.
enum Transport {
    /// Not chosen yet.
    None,
    /// A connection of its own.
    Streaming(Box<StreamingSearch>),
    /// The shared connection.
    Buffered(BufferedSearch),
}

/// The request for a page.
struct PageRequest<'r> {
    search: &'r SearchRequest,
    size_limit: u32,
    controls: Vec<Control>,
    /// Whether it is the first page.
    is_first: bool,
}

/// An item of the answer.
enum Event {
    Entry(Incoming),
    Reference(Vec<String>),
    /// An entry whose DN is not UTF-8, escaped.
    Unreadable(String),
    End {
        result: LdapResult,
        controls: Vec<Control>,
    },
    /// An entry with too many attributes.
    TooMany(String),
    /// An entry with an attribute description that is not UTF-8, escaped.
    NotText {
        dn: String,
        description: String,
    },
    /// A message of the search that is not well-formed.
    Malformed,
}

/// An entry that arrived.
enum Incoming {
    /// It remains in the receive buffer.
    InPlace,
    Whole(Entry),
}

/// The result of an event.
enum Step {
    Found(Found),
    /// Continue with the next event.
    Next,
    /// A page is complete, and the caller decides about the next one ([`Paging::Stepwise`]).
    Pause,
    /// The answer is complete.
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    /// Between two pages ([`Paging::Stepwise`]).
    Paused,
    Done,
}

/// Returns whether larger pages than usual are useful and harmless.
fn takes_large_pages(vendor: Vendor) -> bool {
    match vendor {
        // 389 DS closes a connection whose client reads nothing for ten seconds (nsslapd-ioblocktimeout): pages must be small enough to be
        // read ahead while the consumer is busy. Active Directory returns at most MaxPageSize (1,000) entries, whatever is requested.
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
        let paging = request.paging;
        let wanted = match paging {
            // A base search has one entry, and needs no page. DirSync has its own.
            _ if request.scope == Scope::Base => 0,
            _ if request.controls.iter().any(|c| matches!(c, SearchControl::DirSync { .. })) => 0,
            Paging::Configured => configured,
            Paging::AtMost(limit) => configured.min(limit.max(1)),
            // 0 is configured for a server without pages.
            Paging::Stepwise(size) => {
                if configured == 0 {
                    0
                } else {
                    size.max(1)
                }
            }
            Paging::Off | Paging::Limited(_) => 0,
        };
        let page_size = wanted.min(directory.limits().page());
        let most = directory.limits().unpaged().min(LARGEST_UNPAGED);
        let limit = match request.paging {
            Paging::AtMost(limit) if request.scope != Scope::Base && limit <= most => limit,
            Paging::Limited(limit) => limit,
            _ => 0,
        };
        // The rest of a sample's page would be read in vain.
        let may_grow = request.paging == Paging::Configured && takes_large_pages(directory.root_dse().vendor);
        let mut growth = Growth::new(wanted, may_grow);
        growth.refused_above(directory.limits().page());
        Self {
            directory,
            asked: Asked::new(&request.base, request.scope),
            request,
            page_size,
            limit,
            given: HashSet::new(),
            cookie: Vec::new(),
            transport: Transport::None,
            // 0 would be no limit (RFC 4511 section 4.5.1.4).
            state: if paging == Paging::Limited(0) { Progress::Done } else { Progress::Running },
            empty_pages: 0,
            refusal: Refusal::default(),
            is_unpaged_by_others: wanted > 0 && page_size == 0,
            recalls: limit > 0,
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

    /// Returns how often the answer began again after it had returned entries, including those of referred servers.
    pub(crate) fn beginnings(&self) -> u32 {
        self.following.as_ref().map_or(0, |other| other.beginnings()).saturating_add(self.beginnings)
    }

    /// Returns whether a page is complete and further ones follow.
    pub(crate) fn is_paused(&self) -> bool {
        self.state == Progress::Paused || self.following.as_ref().is_some_and(|other| other.is_paused())
    }

    /// Returns the end of the answer to [`SearchControl::DirSync`], once it is reached.
    pub fn dirsync_end(&self) -> Option<&DirSyncEnd> {
        self.dirsync.as_ref()
    }

    /// Returns the next item, or `None` once the answer is complete.
    ///
    /// # Errors
    /// Fails if the server refuses the search, if the connection is lost and the search cannot begin again, or if there is no message within
    /// `operation_timeout`.
    pub async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        Ok(match self.advance().await? {
            Some(Found::Entry(entry)) => Some(SearchItem::Entry(entry)),
            Some(Found::InPlace) => self.in_place().map(|e| SearchItem::Entry(e.to_entry())),
            Some(Found::Reference(urls)) => Some(SearchItem::Reference(urls)),
            Some(Found::Unreadable(dn)) => Some(SearchItem::Unreadable(dn)),
            None => None,
        })
    }

    /// Returns the same, but an entry remains in the receive buffer if possible.
    pub(crate) async fn advance(&mut self) -> Result<Option<Found>, DirectoryError> {
        if self.state == Progress::Paused {
            self.state = Progress::Running;
        }
        while self.state == Progress::Running {
            if let Some(found) = self.advance_at_once()? {
                return Ok(Some(found));
            }
            if let Some(fault) = self.fault.take() {
                self.begin_again(fault).await?;
            } else if self.state == Progress::Running {
                let waited = self.wait().await;
                let step = waited.and_then(|event| event.map_or(Ok(Step::Next), |event| self.handle(event)));
                if let Some(found) = self.finish(step)? {
                    return Ok(Some(found));
                }
            }
        }
        if self.state == Progress::Paused {
            return Ok(None);
        }
        loop {
            if let Some(other) = &mut self.following {
                // Boxed: a chain of references is a chain of searches.
                if let Some(found) = Box::pin(other.advance()).await? {
                    return Ok(Some(found));
                }
                if other.is_paused() {
                    return Ok(None);
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

    /// Returns the next item, if it has arrived completely.
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
                Ok(Some(event)) => self.handle(event),
                Err(e) => Err(e),
            };
            if let Some(found) = self.finish(step)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads more of the current page into the buffer. Returns whether there is more to read. Without pages, the amount would be unlimited,
    /// so the server has to wait.
    pub(crate) async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        if let Some(other) = &mut self.following {
            return Box::pin(other.absorb()).await;
        }
        match &mut self.transport {
            // The next call reports an error of the connection. The rest of a page that has grown stays at the server.
            Transport::Streaming(bulk)
                if self.limit > 0 || self.page_size > 0 && !self.growth.has_grown(self.page_size) =>
            {
                Ok(bulk.absorb().await.unwrap_or(false))
            }
            Transport::None | Transport::Streaming(_) | Transport::Buffered(_) => Ok(false),
        }
    }

    /// Returns the current entry, if it is in the receive buffer.
    pub(crate) fn in_place(&self) -> Option<WireEntry<'_>> {
        match (&self.following, &self.transport) {
            (Some(other), _) => other.in_place(),
            (None, Transport::Streaming(bulk)) => Some(bulk.in_place()),
            (None, Transport::None | Transport::Buffered(_)) => None,
        }
    }

    /// Reads the current page to its end, and requests no other. OpenLDAP keeps one paging state per connection: it refuses a paged search
    /// that begins during a page of another one ("cookie is invalid or old").
    pub(crate) async fn abandon(mut self) -> Result<(), DirectoryError> {
        if let Some(other) = self.following.take() {
            return Box::pin(other.abandon()).await;
        }
        // The rest may be large: closing the connection is faster.
        let is_much = self.page_size == 0 && self.limit == 0 || self.growth.has_grown(self.page_size);
        if matches!(self.transport, Transport::Streaming(_)) && is_much {
            return Ok(());
        }
        match self.abandoning().await {
            // Nothing more is needed from it.
            Err(e) if e.is_retried() => Ok(()),
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
                    // The next page may have been requested.
                    if !bulk.take_next_page() {
                        self.give_back();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Finishes a step: returns its item, ends the search, or keeps a transient error.
    fn finish(&mut self, step: Result<Step, DirectoryError>) -> Result<Option<Found>, DirectoryError> {
        match step {
            Ok(Step::Found(found)) => Ok(Some(found)),
            Ok(Step::Next) => Ok(None),
            Ok(Step::Pause) => {
                self.state = Progress::Paused;
                Ok(None)
            }
            Ok(Step::Complete) => {
                self.state = Progress::Done;
                self.give_back();
                if let Some(watch) = self.watch.take() {
                    watch.done(Ok(()));
                }
                Ok(None)
            }
            Err(e) if e.is_retried() && self.may_begin_again() => {
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

    /// Returns whether the answer may begin again: nothing was returned yet, the caller accepts repeated entries, or they will be skipped.
    fn may_begin_again(&self) -> bool {
        self.request.may_repeat
            || self.limit > 0
            || self.cookie.is_empty()
                && self.entries_of_page == 0
                && self.given.is_empty()
                && !self.refusal.is_skipping()
    }

    /// Begins again after a transient error, over another connection. A page's cookie is valid for its own connection only, so the answer
    /// cannot be continued.
    async fn begin_again(&mut self, fault: DirectoryError) -> Result<(), DirectoryError> {
        self.transport = Transport::None;
        let fault = self.about_base(fault);
        let directory = self.directory.clone();
        let attempts = self.attempts.get_or_insert_with(|| directory.attempts());
        // Boxed: it sends a search, which could call this, as far as the compiler knows.
        if let Err(e) = Box::pin(directory.recover(fault, attempts)).await {
            self.state = Progress::Done;
            if let Some(watch) = self.watch.take() {
                watch.done(Err(&e));
            }
            return Err(self.about_base(e));
        }
        self.restart();
        Ok(())
    }

    /// Returns to the beginning of the answer.
    fn restart(&mut self) {
        // Under a size limit, returned entries are skipped.
        let came = !self.cookie.is_empty() || self.entries_of_page > 0 || self.refusal.is_skipping();
        self.beginnings += u32::from(came && self.limit == 0 && self.given.is_empty());
        self.cookie.clear();
        self.page_size = self.growth.cut(self.page_size);
        self.to_follow.clear();
        self.limit = 0;
        self.entries_of_page = 0;
        self.empty_pages = 0;
        self.refusal.begin_again();
        self.update_recalls();
    }

    /// Determines whether entries are compared with those that were already returned.
    fn update_recalls(&mut self) {
        self.recalls = self.limit > 0 || !self.given.is_empty() || self.refusal.is_skipping();
    }

    /// Adds the search to an error of the connection.
    fn about_base(&self, error: DirectoryError) -> DirectoryError {
        let dn = &self.request.base;
        match error {
            DirectoryError::Lost { reason, .. } => DirectoryError::lost(OPERATION, dn, reason),
            DirectoryError::Timeout { limit, .. } => DirectoryError::timeout(OPERATION, dn, limit),
            other => other,
        }
    }

    fn protocol(&self, reason: String) -> DirectoryError {
        DirectoryError::Protocol {
            operation: OPERATION,
            dn: self.request.base.clone(),
            reason,
            outcome_unknown: false,
        }
    }
}
