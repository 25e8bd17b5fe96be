//! A search over the ldap3 crate, which multiplexes it with other operations on the first connection: small answers, and
//! long ones where no connection of our own is to be had.

use ldap3::asn1::{PL, StructureTag, TagClass};
use ldap3::controls::RawControl;
use ldap3::{LdapError, ResultEntry, SearchOptions, SearchStream};

use super::{Event, Incoming, OPERATION, PageRequest};
use crate::directory::Scope;
use crate::directory::error::DirectoryError;
use crate::directory::ldap::LdapDirectory;
use crate::directory::ldap::wire::{Control, LdapResult};
use crate::entry::{Attribute, Entry};

/// A page under way.
pub(super) struct Page(SearchStream<'static, String, Vec<String>>);

impl Page {
    pub(super) async fn begin(
        directory: &LdapDirectory,
        request: &PageRequest<'_>,
    ) -> Result<Page, DirectoryError> {
        let mut ldap = directory.handle();
        if !request.controls.is_empty() {
            let raw =
                |c: &Control| RawControl { ctype: c.oid.clone(), crit: c.critical, val: c.value.clone() };
            ldap.with_controls(request.controls.iter().map(raw).collect::<Vec<_>>());
        }
        if request.size_limit > 0 {
            let limit = i32::try_from(request.size_limit).unwrap_or(i32::MAX);
            ldap.with_search_options(SearchOptions::new().sizelimit(limit));
        }
        let scope = match request.search.scope {
            Scope::Base => ldap3::Scope::Base,
            Scope::One => ldap3::Scope::OneLevel,
            Scope::Sub => ldap3::Scope::Subtree,
        };
        let (base, filter) = (&request.search.base, &request.search.filter);
        let begun = ldap.streaming_search(base, scope, filter, request.search.attributes.clone()).await;
        begun.map(Page).map_err(|e| match e {
            LdapError::FilterParsing => DirectoryError::Protocol {
                operation: OPERATION,
                dn: base.clone(),
                reason: format!("`{filter}` is not a search filter (RFC 4515)"),
            },
            e => directory.lost(OPERATION, base, &e),
        })
    }

    /// The next event; after [`Event::End`] there is none.
    pub(super) async fn next(
        &mut self,
        directory: &LdapDirectory,
        base: &str,
    ) -> Result<Event, DirectoryError> {
        loop {
            match self.0.next().await {
                Ok(Some(item)) if item.is_intermediate() => {}
                Ok(Some(item)) => return Ok(event(item)),
                Ok(None) => {
                    let end = self.0.finish().await;
                    let control = |c: &ldap3::controls::Control| Control {
                        oid: c.1.ctype.clone(),
                        critical: c.1.crit,
                        value: c.1.val.clone(),
                    };
                    let controls = end.ctrls.iter().map(control).collect();
                    let result = LdapResult { code: end.rc, matched: end.matched, text: end.text };
                    return Ok(Event::End { result, controls });
                }
                Err(e) => return Err(directory.lost(OPERATION, base, &e)),
            }
        }
    }
}

fn event(item: ResultEntry) -> Event {
    if item.is_ref() {
        return references(item.0).map_or(Event::Malformed, Event::Reference);
    }
    entry(item.0).map_or(Event::Malformed, |e| Event::Entry(Incoming::Whole(e)))
}

/// SearchResultEntry (RFC 4511 section 4.5.2): name, then attributes with their sets of values.
fn entry(tag: StructureTag) -> Option<Entry> {
    let mut parts = tag.match_class(TagClass::Application)?.match_id(4)?.expect_constructed()?.into_iter();
    let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let attributes = parts.next()?.expect_constructed()?.into_iter().map(attribute).collect::<Option<_>>()?;
    Some(Entry { dn, attributes })
}

fn attribute(tag: StructureTag) -> Option<Attribute> {
    let mut parts = tag.expect_constructed()?.into_iter();
    let description = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let values = parts
        .next()?
        .expect_constructed()?
        .into_iter()
        .map(StructureTag::expect_primitive)
        .collect::<Option<_>>()?;
    Some(Attribute { description, values })
}

/// SearchResultReference (RFC 4511 section 4.5.3): a sequence of URLs.
fn references(tag: StructureTag) -> Option<Vec<String>> {
    let PL::C(urls) = tag.payload else { return None };
    urls.into_iter().map(|u| String::from_utf8(u.expect_primitive()?).ok()).collect()
}
