//! A search over the shared connection: for small answers, and for long ones if no other connection is available. A page is received
//! completely before its first entry is returned.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Event, Incoming, OPERATION, PageRequest};
use crate::client::connect::ActiveServer;
use crate::client::pool::SharedPaging;
use crate::client::search::paged_cookie;
use crate::client::shared_connection::Reply;
use crate::client::{LdapDirectory, result_code};
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::protocol::message;
use crate::protocol::message::LdapResult;

/// A search over the shared connection.
#[derive(Default)]
pub(crate) struct BufferedSearch {
    /// What is left of the current page.
    page: Option<VecDeque<Event>>,
    /// The permission to request pages.
    paging: Option<SharedPaging>,
    /// The link of the current page, if another page follows: the cookie is valid there only.
    link: Option<Arc<ActiveServer>>,
}

impl BufferedSearch {
    /// Returns a search that may request pages.
    pub(crate) fn paged(paging: SharedPaging) -> Self {
        Self { paging: Some(paging), ..Self::default() }
    }

    /// Returns whether it may request pages.
    pub(crate) fn is_paged(&self) -> bool {
        self.paging.is_some()
    }

    /// Returns the next event of the current page; `None` if a page has to be requested.
    pub(crate) fn next(&mut self) -> Option<Event> {
        // None follows `Event::End`, at which the page is ended.
        self.page.as_mut().map(|page| page.pop_front().unwrap_or(Event::Malformed))
    }

    /// Ends the current page.
    pub(crate) fn end_page(&mut self) {
        self.page = None;
    }

    /// Requests a page, and waits for all of it.
    pub(crate) async fn begin(
        &mut self,
        directory: &LdapDirectory,
        filter: &Filter,
        request: &PageRequest<'_>,
    ) -> Result<(), DirectoryError> {
        let search = request.search;
        // A base search has one entry: no server needs to send more.
        let is_base = search.scope == Scope::Base;
        let size_limit = if is_base { 1 } else { request.size_limit };
        let octets = || message::search(&search.base, search.scope, filter, &search.attributes, size_limit);
        let (reply, link) = match &self.link {
            Some(link) if !request.is_first => {
                let asked = link.session.ask(OPERATION, &search.base, octets(), request.controls.clone());
                (asked.await?, link.clone())
            }
            _ => directory.ask_over(OPERATION, &search.base, octets, &request.controls).await?,
        };
        let Reply { entries, references, unreadable, mut result, controls, .. } = reply;
        // Some servers report the limit as soon as it is reached.
        if is_base && result.code == result_code::SIZE_LIMIT_EXCEEDED && !entries.is_empty() {
            result = LdapResult::default();
        }
        let is_last = result.code != result_code::SUCCESS
            || paged_cookie(&controls).is_none_or(|cookie| cookie.is_empty());
        self.link = (!is_last).then_some(link);
        if is_last {
            // Another search may have the paging at once.
            self.paging = None;
        }
        let entries = entries.into_iter().map(|e| Event::Entry(Incoming::Whole(e)));
        let mut events: VecDeque<Event> = entries.collect();
        events.extend(unreadable.into_iter().map(Event::Unreadable));
        events.extend(references.into_iter().map(Event::Reference));
        events.push_back(Event::End { result, controls });
        self.page = Some(events);
        Ok(())
    }
}
