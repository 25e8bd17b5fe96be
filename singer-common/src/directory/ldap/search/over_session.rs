//! A search over the connection for everything else: small answers, and long ones where no connection of their own is to be
//! had. A page is here as a whole before its first entry is looked at.

use std::collections::VecDeque;

use super::{Event, Incoming, OPERATION, PageRequest};
use crate::directory::error::DirectoryError;
use crate::directory::ldap::LdapDirectory;
use crate::directory::ldap::session::Reply;
use crate::directory::ldap::wire;
use crate::filter::Filter;

/// A page.
pub(super) struct Page(VecDeque<Event>);

impl Page {
    pub(super) async fn begin(
        directory: &LdapDirectory,
        request: &PageRequest<'_>,
    ) -> Result<Page, DirectoryError> {
        let search = request.search;
        let filter = Filter::parse(&search.filter).map_err(|e| DirectoryError::Protocol {
            operation: OPERATION,
            dn: search.base.clone(),
            reason: format!("`{}` is not a search filter (RFC 4515): {e}", search.filter),
        })?;
        let octets =
            || wire::search(&search.base, search.scope, &filter, &search.attributes, request.size_limit);
        let reply = if request.is_first {
            directory.ask(OPERATION, &search.base, octets, &request.controls).await?
        } else {
            // A cookie is good for the connection that it came over.
            directory.session().ask(OPERATION, &search.base, octets(), request.controls.clone()).await?
        };
        let Reply { entries, references, result, controls, .. } = reply;
        let entries = entries.into_iter().map(|e| Event::Entry(Incoming::Whole(e)));
        let mut events: VecDeque<Event> = entries.collect();
        events.extend(references.into_iter().map(Event::Reference));
        events.push_back(Event::End { result, controls });
        Ok(Page(events))
    }

    /// The next event; after [`Event::End`] there is none.
    pub(super) fn next(&mut self) -> Event {
        self.0.pop_front().unwrap_or(Event::Malformed)
    }
}
