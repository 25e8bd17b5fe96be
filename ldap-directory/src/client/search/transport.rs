//! The transport of a search: the choice of a connection, and the requests for pages.

use std::borrow::Cow;
use std::time::Instant;

use super::buffered::BufferedSearch;
use super::pages::paged_cookie;
use super::streaming::StreamingSearch;
use super::{Event, LdapSearch, OPERATION, PageRequest, Transport};
use crate::client::pool::{Place, PooledConnection};
use crate::client::{LdapDirectory, result_code};
use crate::directory::{Paging, Scope, SearchRequest};
use crate::error::DirectoryError;
use crate::filter::Filter;

impl LdapSearch {
    /// Returns the connection to the pool.
    pub(super) fn give_back(&mut self) {
        if let Transport::Streaming(bulk) = std::mem::replace(&mut self.transport, Transport::None) {
            self.directory.give_back(bulk.into_leased());
        }
    }

    /// Requests a page, or waits for octets: what the next event needs.
    pub(super) async fn wait(&mut self) -> Result<Option<Event>, DirectoryError> {
        if matches!(self.transport, Transport::None) {
            let is_long = self.request.scope != Scope::Base && !self.is_small();
            if self.watch.is_none() {
                self.watch = self.directory.config().observer.search(
                    self.directory.location(),
                    &self.request.base,
                    is_long,
                );
            }
            self.transport = self.choose().await?;
        }
        let result = self.wait_over_transport().await;
        let is_stale = match (&self.transport, &result) {
            (Transport::Streaming(bulk), Err(DirectoryError::Lost { .. })) => bulk.may_be_stale(),
            _ => false,
        };
        if is_stale
            && let Transport::Streaming(bulk) = std::mem::replace(&mut self.transport, Transport::None)
        {
            // The server closed it while it was idle. Without another one, the next step chooses again.
            if let Some(leased) = self.directory.renew(bulk.into_leased()).await {
                self.transport = self.over(leased)?;
            }
            return Ok(None);
        }
        result
    }

    async fn wait_over_transport(&mut self) -> Result<Option<Event>, DirectoryError> {
        let is_paged = self.is_paged();
        match &mut self.transport {
            Transport::Buffered(search) => {
                if let Some(event) = search.next() {
                    return Ok(Some(event));
                }
                // A sample is followed by pages, and pages by smaller ones.
                if is_paged && !search.is_paged() {
                    self.transport = self.choose().await?;
                }
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
            Transport::None | Transport::Streaming(_) => {}
        }
        let is_first = self.cookie.is_empty();
        if !is_first && self.page_size > 0 && !self.refusal.is_again() {
            // The end of the page arrived while the consumer was busy, so the next one was not requested ahead of time.
            self.page_size = self.growth.next(self.page_size, Instant::now());
        }
        let controls = self.controls(&self.cookie);
        let request = PageRequest { search: &self.request, size_limit: self.limit, controls, is_first };
        match &mut self.transport {
            Transport::None => {}
            Transport::Buffered(search) => {
                let filter = filter_for(&self.directory, &self.request)?;
                search.begin(&self.directory, &filter, &request).await?;
            }
            Transport::Streaming(bulk) => bulk.begin(&request).await?,
        }
        self.entries_of_page = 0;
        Ok(None)
    }

    /// Requests the next page as soon as the end of this one has arrived, even behind unread entries: the server works meanwhile.
    async fn ask_ahead(&mut self) -> Result<(), DirectoryError> {
        let Transport::Streaming(bulk) = &self.transport else { return Ok(()) };
        if self.page_size == 0 || self.limit > 0 || matches!(self.request.paging, Paging::Stepwise(_)) {
            return Ok(());
        }
        let Some((result, controls)) = bulk.peek_end() else { return Ok(()) };
        // Other meanings of the end are handled when it is reached.
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

    /// Returns whether the answer is known to be small.
    fn is_small(&self) -> bool {
        matches!(self.request.paging, Paging::Off | Paging::Limited(_))
    }

    /// Returns whether the next request is for a page.
    fn is_paged(&self) -> bool {
        self.page_size > 0 && self.limit == 0
    }

    /// Chooses the transport. A small answer does not justify a new connection.
    async fn choose(&self) -> Result<Transport, DirectoryError> {
        if self.request.scope == Scope::Base || self.is_small() {
            return Ok(Transport::Buffered(BufferedSearch::default()));
        }
        if self.is_paged() {
            return match self.directory.lease_paged(&self.request.base).await? {
                Place::Own(leased) => self.over(leased),
                Place::Shared(paging) => Ok(Transport::Buffered(BufferedSearch::paged(paging))),
            };
        }
        match self.directory.lease().await {
            Some(leased) => self.over(leased),
            None => Ok(Transport::Buffered(BufferedSearch::default())),
        }
    }

    /// Returns the transport over a connection.
    fn over(&self, leased: PooledConnection) -> Result<Transport, DirectoryError> {
        let filter = match filter_for(&self.directory, &self.request) {
            Ok(filter) => filter.into_owned(),
            Err(e) => {
                self.directory.give_back(leased);
                return Err(e);
            }
        };
        let timeout = self.directory.config().operation_timeout;
        Ok(Transport::Streaming(Box::new(StreamingSearch::new(leased, filter, timeout))))
    }
}

/// Returns the filter of a request.
fn filter_for<'r>(
    directory: &LdapDirectory,
    request: &'r SearchRequest,
) -> Result<Cow<'r, Filter>, DirectoryError> {
    let filter = directory.wire_filter(&request.filter);
    filter.map_err(|e| DirectoryError::invalid_filter(OPERATION, &request.base, &request.filter, &e))
}
