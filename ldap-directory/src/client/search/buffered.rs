//! A search over the shared connection: for small answers, and for long ones if no other connection is available. A page is received
//! completely before its first entry is returned.

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
        // A base search has one entry: no server needs to send more.
        let is_base = search.scope == Scope::Base;
        let size_limit = if is_base { 1 } else { request.size_limit };
        let octets = || message::search(&search.base, search.scope, &filter, &search.attributes, size_limit);
        let reply = if request.is_first {
            directory.ask(OPERATION, &search.base, octets, &request.controls).await?
        } else {
            // A cookie is valid for the connection that it arrived on.
            directory.session().ask(OPERATION, &search.base, octets(), request.controls.clone()).await?
        };
        let Reply { entries, references, unreadable, mut result, controls, .. } = reply;
        // Some servers report the limit as soon as it is reached.
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

    /// Returns the next event; none follows [`Event::End`].
    pub(crate) fn next(&mut self) -> Event {
        self.0.pop_front().unwrap_or(Event::Malformed)
    }
}
