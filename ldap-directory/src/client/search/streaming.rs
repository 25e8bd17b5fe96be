//! A search over a connection of its own. Octets are read into one buffer only when the next entry is requested and has not arrived, so
//! that a slow consumer slows the server down; entries are decoded in place.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::{Event, Incoming, OPERATION, PageRequest};
use crate::client::connection::{self, deadline};
use crate::client::pool::PooledConnection;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::protocol::entry::{EntryPlaces, Flaw, WireEntry};
use crate::protocol::message::{Answer, Control, LdapResult, SEARCH_REQUEST};

/// The distance from both ends of a page within which octets are not left to accumulate: a small answer is never delayed.
const COLLECT_AFTER: u32 = 64;

/// More consecutive messages than an extension leaves.
const MOST_STRAYS: u32 = 1_000_000;

/// A search in progress on its own connection.
#[derive(Debug)]
pub(crate) struct StreamingSearch {
    leased: PooledConnection,
    filter: Filter,
    /// The id of the current page.
    page: Option<i64>,
    /// The id of the next page, which is requested as soon as the end of the current one has arrived.
    next_page: Option<i64>,
    /// Whether anything arrived since the search has the connection.
    is_heard: bool,
    /// The position of the current entry.
    entry: Range<usize>,
    places: EntryPlaces,
    /// The deadline of the next message. Messages of an extension do not extend it.
    deadline: Option<Instant>,
    /// The number of such messages since the last expected one: there may always be one to read.
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

    /// Requests a page, unless it was requested ahead of time.
    pub(crate) async fn begin(&mut self, request: &PageRequest<'_>) -> Result<(), DirectoryError> {
        self.page = match self.next_page.take() {
            Some(page) => Some(page),
            None => Some(self.ask(request).await?),
        };
        Ok(())
    }

    /// Requests the page after the current one.
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

    /// Advances to the page that was requested ahead of time. Returns whether there is one.
    pub(crate) fn take_next_page(&mut self) -> bool {
        self.page = self.next_page.take();
        self.page.is_some()
    }

    /// Returns whether a page is in progress.
    pub(crate) fn is_under_way(&self) -> bool {
        self.page.is_some()
    }

    /// Returns the next event, if it has arrived completely.
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
                        Err(Flaw::Description { dn, description }) => Event::NotText { dn, description },
                        Err(Flaw::Form) => Event::Malformed,
                    }));
                }
                connection::Incoming::Other(message) => {
                    // No other operation is in progress here: the next page begins after this one.
                    if message.id != page {
                        return Err(self.leased.connection.foreign(message.id));
                    }
                    if matches!(message.answer, Answer::Intermediate { .. }) {
                        self.strays = self.strays.saturating_add(1);
                        if self.strays > MOST_STRAYS {
                            return Ok(None);
                        }
                        continue;
                    }
                    (self.deadline, self.strays) = (None, 0);
                    let event = match message.answer {
                        Answer::Reference(urls) => Event::Reference(urls),
                        answer => match answer.into_end(SEARCH_REQUEST) {
                            Some((result, _)) => {
                                self.page = None;
                                Event::End { result, controls: message.controls }
                            }
                            None => Event::Malformed,
                        },
                    };
                    return Ok(Some(event));
                }
            }
        }
    }

    /// Waits for more octets. `more` is the number of entries of the page still to come, as far as known, `had` the number so far.
    pub(crate) async fn wait(&mut self, had: u32, more: Option<u32>) -> Result<(), DirectoryError> {
        let is_amid = had >= COLLECT_AFTER && more.is_none_or(|more| more >= COLLECT_AFTER);
        if is_amid {
            self.leased.connection.let_collect().await;
        }
        let deadline = *self.deadline.get_or_insert_with(|| deadline(self.operation_timeout));
        if self.strays > MOST_STRAYS {
            return Err(self.timeout());
        }
        match tokio::time::timeout_at(deadline, self.leased.connection.fill()).await {
            Ok(filled) => filled,
            Err(_) => Err(self.timeout()),
        }
    }

    /// Reads more of the current answer, unless it has arrived completely. Returns whether something was read.
    pub(crate) async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        let Some(last) = self.next_page.or(self.page) else { return Ok(false) };
        if self.leased.connection.peek_end(last).is_some() {
            return Ok(false);
        }
        self.leased.connection.fill().await?;
        self.deadline = None;
        Ok(true)
    }

    /// Returns the end of the current page, if it has arrived behind unread entries.
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

    /// Returns the current entry.
    pub(crate) fn in_place(&self) -> WireEntry<'_> {
        self.places.entry(self.leased.connection.octets(&self.entry))
    }

    /// Returns whether the server may have closed the connection before this search began: it was used before, and nothing arrived since.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.leased.is_used && !self.is_heard
    }

    /// Returns the connection, without a search in progress.
    pub(crate) fn into_leased(self) -> PooledConnection {
        self.leased
    }

    fn timeout(&self) -> DirectoryError {
        DirectoryError::timeout(OPERATION, "", self.operation_timeout)
    }
}
