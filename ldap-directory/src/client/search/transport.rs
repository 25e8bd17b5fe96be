//! The transport of a search: the choice of a connection, and the requests for pages.

use std::time::Instant;

use super::pages::paged_cookie;
use super::streaming::StreamingSearch;
use super::{Event, LdapSearch, PageRequest, Transport, buffered};
use crate::client::pool::PooledConnection;
use crate::client::result_code;
use crate::directory::{Paging, Scope};
use crate::error::DirectoryError;

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
            self.transport = self.choose().await;
        }
        let result = self.wait_over_transport().await;
        if let (Transport::Streaming(bulk), Err(DirectoryError::Lost { .. })) = (&self.transport, &result)
            && bulk.may_be_stale()
        {
            // The server closed it while it was idle.
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
            // The end of the page arrived while the consumer was busy, so the next one was not requested ahead of time.
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

    /// Requests the next page as soon as the end of this one has arrived, even behind unread entries: the server works meanwhile.
    async fn ask_ahead(&mut self) -> Result<(), DirectoryError> {
        let Transport::Streaming(bulk) = &self.transport else { return Ok(()) };
        if self.page_size == 0 || self.limit > 0 {
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

    /// Chooses the transport. A small answer does not justify a new connection.
    async fn choose(&self) -> Transport {
        if self.request.scope == Scope::Base || self.is_small() {
            return Transport::Buffered(None);
        }
        match self.directory.lease().await {
            Some(leased) => self.over(leased).unwrap_or(Transport::Buffered(None)),
            None => Transport::Buffered(None),
        }
    }

    /// Returns the transport over a connection, or `None` for an invalid filter, which the shared connection reports.
    fn over(&self, leased: PooledConnection) -> Option<Transport> {
        let filter = self.directory.wire_filter(&self.request.filter).ok()?.into_owned();
        Some(Transport::Streaming(Box::new(StreamingSearch::new(
            leased,
            filter,
            self.directory.config().operation_timeout,
        ))))
    }
}
