//! The bulk reader: a search over a connection of our own. Octets are read into one buffer when somebody asks for the
//! next entry and none is there, so that a slow reader of stdout slows the server down; entries are looked at where they
//! lie. See docs/decisions/0006-bulk-reader.md.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::{Event, Incoming, OPERATION, PageRequest};
use crate::client::connection;
use crate::client::pool::PooledConnection;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::protocol::entry::{EntryPlaces, Flaw, WireEntry};
use crate::protocol::message::{Answer, Control, LdapResult};

/// A page is so far from both its ends before octets are left to collect: a small answer is never held up.
const COLLECT_AFTER: u32 = 64;

/// More messages than an abandoned search or an extension leaves, in a row.
const MOST_STRAYS: u32 = 1_000_000;

/// A search under way on a connection that is its own.
#[derive(Debug)]
pub(crate) struct StreamingSearch {
    leased: PooledConnection,
    filter: Filter,
    /// The id of the page under way.
    page: Option<i64>,
    /// The id of the page after it, asked for as soon as the end of the one before was seen to be here.
    next_page: Option<i64>,
    /// Whether anything came over the connection since the search has it.
    is_heard: bool,
    /// Where the entry in hand is.
    entry: Range<usize>,
    places: EntryPlaces,
    /// When the next message has to be here. What is of another search, or of an extension, is not waited for, and puts nothing off.
    deadline: Option<Instant>,
    /// Messages that were not waited for, since the last one that was: there may always be one to read.
    strays: u32,
    operation_timeout: Duration,
}

impl StreamingSearch {
    pub(crate) fn new(
        leased: PooledConnection,
        filter: Filter,
        operation_timeout: Duration,
    ) -> StreamingSearch {
        StreamingSearch {
            leased,
            filter,
            page: None,
            next_page: None,
            is_heard: false,
            entry: 0..0,
            places: EntryPlaces::default(),
            deadline: None,
            strays: 0,
            operation_timeout,
        }
    }

    /// Asks for a page, unless that was done ahead of time.
    pub(crate) async fn begin(&mut self, request: &PageRequest<'_>) -> Result<(), DirectoryError> {
        self.page = match self.next_page.take() {
            Some(page) => Some(page),
            None => Some(self.ask(request).await?),
        };
        Ok(())
    }

    /// Asks for the page after the one under way.
    pub(crate) async fn begin_next(&mut self, request: &PageRequest<'_>) -> Result<(), DirectoryError> {
        if self.next_page.is_none() {
            self.next_page = Some(self.ask(request).await?);
        }
        Ok(())
    }

    async fn ask(&mut self, request: &PageRequest<'_>) -> Result<i64, DirectoryError> {
        let PageRequest { search, size_limit, controls, .. } = request;
        let sending = self.leased.connection.search(
            &search.base,
            search.scope,
            &self.filter,
            &search.attributes,
            *size_limit,
            controls,
        );
        match tokio::time::timeout(self.operation_timeout, sending).await {
            Ok(id) => id,
            Err(_) => Err(self.timeout()),
        }
    }

    /// Goes on to the page that was asked for ahead of time. Whether there is one.
    pub(crate) fn take_next_page(&mut self) -> bool {
        self.page = self.next_page.take();
        self.page.is_some()
    }

    /// Whether a page is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.page.is_some()
    }

    /// The next event, if all of it is here.
    pub(crate) fn next_at_once(&mut self) -> Result<Option<Event>, DirectoryError> {
        let Some(page) = self.page else { return Ok(None) };
        loop {
            let Some(incoming) = self.leased.connection.take_incoming(page)? else { return Ok(None) };
            self.is_heard = true;
            match incoming {
                connection::Incoming::Entry(at) => {
                    (self.deadline, self.strays) = (None, 0);
                    let octets = self.leased.connection.octets(&at);
                    let found = self.places.find(octets);
                    self.entry = at;
                    return Ok(Some(match found {
                        Ok(()) => Event::Entry(Incoming::InPlace),
                        Err(Flaw::Name(dn)) => Event::Unreadable(dn),
                        Err(Flaw::Attributes(dn)) => Event::TooMany(dn),
                        Err(Flaw::Form) => Event::Malformed,
                    }));
                }
                connection::Incoming::Other(message) => {
                    // What was abandoned may still go on for a while.
                    if message.id != page || matches!(message.answer, Answer::Intermediate { .. }) {
                        self.strays = self.strays.saturating_add(1);
                        if self.strays > MOST_STRAYS {
                            return Ok(None);
                        }
                        continue;
                    }
                    (self.deadline, self.strays) = (None, 0);
                    let event = match message.answer {
                        Answer::Reference(urls) => Event::Reference(urls),
                        Answer::Done(result) | Answer::Extended { result, .. } => {
                            self.page = None;
                            Event::End { result, controls: message.controls }
                        }
                        Answer::Intermediate { .. }
                        | Answer::Entry(_)
                        | Answer::Unreadable(_)
                        | Answer::Bind(_)
                        | Answer::Changed(_)
                        | Answer::Other(_) => Event::Malformed,
                    };
                    return Ok(Some(event));
                }
            }
        }
    }

    /// Waits for more octets. `more` is how many entries of the page are still to come, as far as is known, `had` how many
    /// there were.
    pub(crate) async fn wait(&mut self, had: u32, more: Option<u32>) -> Result<(), DirectoryError> {
        let is_amid = had >= COLLECT_AFTER && more.is_none_or(|more| more >= COLLECT_AFTER);
        if is_amid {
            self.leased.connection.let_collect().await;
        }
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.operation_timeout);
        if self.strays > MOST_STRAYS {
            return Err(self.timeout());
        }
        match tokio::time::timeout_at(deadline, self.leased.connection.fill()).await {
            Ok(filled) => filled,
            Err(_) => Err(self.timeout()),
        }
    }

    /// Reads more of what was asked for, unless all of it is here. Whether something was read.
    pub(crate) async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        let Some(last) = self.next_page.or(self.page) else { return Ok(false) };
        if self.leased.connection.peek_end(last).is_some() {
            return Ok(false);
        }
        self.leased.connection.fill().await?;
        self.deadline = None;
        Ok(true)
    }

    /// The end of the page under way, if it is here already, behind what is not looked at yet.
    pub(crate) fn peek_end(&self) -> Option<(LdapResult, Vec<Control>)> {
        if self.next_page.is_some() {
            return None;
        }
        let message = self.leased.connection.peek_end(self.page?)?;
        match message.answer {
            Answer::Done(result) => Some((result, message.controls)),
            _ => None,
        }
    }

    /// The entry in hand.
    pub(crate) fn in_place(&self) -> WireEntry<'_> {
        self.places.entry(self.leased.connection.octets(&self.entry))
    }

    /// Whether the connection may have been closed by the server before this search began: one that served before, over
    /// which nothing came since.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.leased.is_used && !self.is_heard
    }

    /// The connection, with nothing under way on it.
    pub(crate) fn into_leased(self) -> PooledConnection {
        self.leased
    }

    fn timeout(&self) -> DirectoryError {
        DirectoryError::Timeout {
            operation: OPERATION,
            dn: String::new(),
            seconds: self.operation_timeout.as_secs(),
        }
    }
}
