//! Searches of a preview: the changed entries, and then the unchanged ones, which the directory below finds.
//!
//! A filter over a changed entry is evaluated here, and is true, false or not known: an approximate comparison, a matching rule that is not
//! implemented here. Then the server below is asked whether it matches the entry as it was.

use std::sync::Arc;

use super::Known;
use super::references::References;
use crate::directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest, SearchStream};
use crate::dn::DnKey;
use crate::entry::{Entry, base_type};
use crate::filter::Filter;
use crate::ldif::LdifSearch;
use crate::lookup::find;
use crate::schema::Schema;
use crate::search_request::SearchFilter;

/// A matching rule that there is not: a comparison with it is Undefined.
const NO_RULE: &str = "0.0";

/// Returns a search whose filter is Undefined for an entry, evaluated here, where a server may evaluate it in another way.
pub(super) fn as_server(request: &SearchRequest) -> SearchRequest {
    match request.filter.get() {
        Ok(filter) => SearchRequest { filter: of_server(filter).into(), ..request.clone() },
        Err(_) => request.clone(),
    }
}

fn of_server(filter: &Filter) -> Filter {
    let all = |filters: &[Filter]| filters.iter().map(of_server).collect();
    match filter {
        Filter::And(filters) => Filter::And(all(filters)),
        Filter::Or(filters) => Filter::Or(all(filters)),
        Filter::Not(inner) => Filter::Not(Box::new(of_server(inner))),
        // Equal values match approximately (RFC 4511 section 4.5.1.7.6); of others, each server has its own algorithm.
        Filter::Approx { attribute, value } => {
            let rule = Some(NO_RULE.to_owned());
            let (attribute, value) = (attribute.clone(), value.clone());
            let other = Filter::Extensible { rule, attribute: None, dn: false, value: Vec::new() };
            Filter::Or(vec![Filter::Equality { attribute, value }, other])
        }
        other => other.clone(),
    }
}

/// What a search asks for of a copy, which has more than a server returns unasked.
#[derive(Debug)]
pub(super) struct Asked {
    /// Whether the server's own attributes are requested.
    operational: bool,
    /// The attributes that are requested by name, as the schema spells them.
    names: Vec<String>,
}

impl Asked {
    pub(super) fn of(attributes: &[&str], schema: &Schema) -> Self {
        let names = attributes.iter().map(|name| schema.canonical_name(base_type(name)).to_owned());
        Self { operational: attributes.contains(&"+"), names: names.collect() }
    }

    /// Returns a copy without what the server maintains and was not asked for.
    pub(super) fn of_copy(&self, mut entry: Entry, schema: &Schema) -> Entry {
        entry.attributes.retain(|attribute| {
            let name = base_type(&attribute.description);
            let is_maintained = schema.is_operational(name)
                && schema.attribute_type(name).is_some_and(|kind| kind.no_user_modification);
            self.operational
                || !is_maintained
                || self.names.iter().any(|asked| schema.canonical_name(name).eq_ignore_ascii_case(asked))
        });
        entry
    }
}

/// A search of the changed entries, and then of the unchanged ones.
#[derive(Debug)]
pub struct PreviewSearch {
    pub(super) changed: Option<Box<LdifSearch>>,
    pub(super) below: Option<Box<SearchStream>>,
    pub(super) known: Known,
    pub(super) schema: Arc<Schema>,
    /// Whether a change may have added the base: then it is not an error if the directory below lacks it.
    pub(super) base_is_known: bool,
    pub(super) references: Option<Arc<References>>,
    pub(super) asked: Asked,
    /// The server that is asked about what cannot be evaluated here, and the filter.
    pub(super) server: Option<(Directory, SearchFilter)>,
}

impl PreviewSearch {
    /// Returns the next item, or `None` once the answer is complete.
    ///
    /// # Errors
    /// Fails if the directory below fails.
    pub async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        while let Some(changed) = &mut self.changed {
            match changed.advance_judged() {
                Some((item, true)) => return Ok(Some(self.followed(item, true))),
                Some((item, false)) => {
                    if Box::pin(self.matches_below(&item)).await? {
                        return Ok(Some(self.followed(item, true)));
                    }
                }
                None => self.changed = None,
            }
        }
        while let Some(below) = &mut self.below {
            match Box::pin(below.next()).await {
                Err(e) if self.base_is_known && e.is_no_such_object() => self.below = None,
                Err(e) => return Err(e),
                Ok(Some(SearchItem::Entry(entry))) => {
                    let is_known =
                        DnKey::parse(&entry.dn, &self.schema).is_ok_and(|key| self.known.contains(&key));
                    if !is_known {
                        return Ok(Some(self.followed(SearchItem::Entry(entry), false)));
                    }
                }
                Ok(item) => return Ok(item),
            }
        }
        Ok(None)
    }

    /// Whether the server finds an entry, as it is there.
    async fn matches_below(&self, item: &SearchItem) -> Result<bool, DirectoryError> {
        let (SearchItem::Entry(entry), Some((server, filter))) = (item, &self.server) else {
            return Ok(false);
        };
        let Ok(filter) = filter.get() else { return Ok(false) };
        Ok(!find(server, &entry.dn, Scope::Base, filter.clone(), &["1.1"], 1).await?.is_empty())
    }

    fn followed(&self, item: SearchItem, is_changed: bool) -> SearchItem {
        let SearchItem::Entry(mut entry) = item else { return item };
        if is_changed && self.server.is_some() {
            entry = self.asked.of_copy(entry, &self.schema);
        }
        let Some(references) = &self.references else { return SearchItem::Entry(entry) };
        if let Ok(key) = DnKey::parse(&entry.dn, &self.schema) {
            references.follow(&mut entry, &key, is_changed, &self.schema);
        }
        SearchItem::Entry(entry)
    }

    /// Abandons the search.
    pub(in crate::directory) async fn abandon(self) -> Result<(), DirectoryError> {
        match self.below {
            Some(below) => Box::pin(below.abandon()).await,
            None => Ok(()),
        }
    }
}
