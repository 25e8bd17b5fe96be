//! A search over the connection for everything else: small answers, and long ones where no connection of their own is to be
//! had. A page is here as a whole before its first entry is looked at.

use std::collections::VecDeque;

use super::{Event, Incoming, OPERATION, PageRequest};
use crate::client::shared_connection::Reply;
use crate::client::{LdapDirectory, result_code};
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::protocol::message;
use crate::protocol::message::LdapResult;

/// A page.
pub(crate) struct Page(VecDeque<Event>);

impl Page {
    pub(crate) async fn begin(
        directory: &LdapDirectory,
        request: &PageRequest<'_>,
    ) -> Result<Page, DirectoryError> {
        let search = request.search;
        let filter = directory.wire_filter(&search.filter).map_err(|e| DirectoryError::Protocol {
            operation: OPERATION,
            dn: search.base.clone(),
            reason: format!("`{}` is not a search filter (RFC 4515): {e}", search.filter),
        })?;
        // A base search has one entry: no server has to send more.
        let is_base = search.scope == Scope::Base;
        let size_limit = if is_base { 1 } else { request.size_limit };
        let octets = || message::search(&search.base, search.scope, &filter, &search.attributes, size_limit);
        let reply = if request.is_first {
            directory.ask(OPERATION, &search.base, octets, &request.controls).await?
        } else {
            // A cookie is good for the connection that it came over.
            directory.session().ask(OPERATION, &search.base, octets(), request.controls.clone()).await?
        };
        let Reply { entries, references, unreadable, mut result, controls, .. } = reply;
        // Some servers say that the limit was reached as soon as it is.
        if is_base && result.code == result_code::SIZE_LIMIT_EXCEEDED && !entries.is_empty() {
            result = LdapResult::default();
        }
        let entries = entries.into_iter().map(|e| Event::Entry(Incoming::Whole(e)));
        let mut events: VecDeque<Event> = entries.collect();
        events.extend(unreadable.into_iter().map(Event::Unreadable));
        events.extend(references.into_iter().map(Event::Reference));
        events.push_back(Event::End { result, controls });
        Ok(Page(events))
    }

    /// The next event; after [`Event::End`] there is none.
    pub(crate) fn next(&mut self) -> Event {
        self.0.pop_front().unwrap_or(Event::Malformed)
    }
}
