//! Searches of a file: scope, filter and selected attributes (RFC 4511 section 4.5.1).

use std::collections::HashSet;
use std::ops::Bound;

use super::{LdifDirectory, no_such_object};
use crate::directory::{Scope, SearchItem, SearchRequest};
use crate::dn::DnKey;
use crate::entry::{Attribute, Entry, UNKNOWN};
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::schema::Schema;

impl LdifDirectory {
    /// Begins a search. A file need not contain the parents of its entries: the base of a subtree or one-level search may be a
    /// DN without an entry, if there are entries below it.
    ///
    /// # Errors
    /// Fails if the base is not a DN, if neither it nor an entry below it exists, or if the filter is not valid.
    pub fn search(&self, request: &SearchRequest) -> Result<LdifSearch, DirectoryError> {
        let protocol = |reason: String| DirectoryError::Protocol {
            operation: "search",
            dn: request.base.clone(),
            reason,
            outcome_unknown: false,
        };
        let filter = request
            .filter
            .get()
            .cloned()
            .map_err(|e| protocol(format!("`{}` is not a search filter: {e}", request.filter)))?;
        let base =
            DnKey::parse(&request.base, self.schema()).map_err(|e| protocol(format!("not a DN: {e}")))?;
        let is_there = {
            let store = self.store();
            base.is_root()
                || store.contains(&base)
                || request.scope != Scope::Base && store.has_children(&base)
        };
        if !is_there {
            return Err(no_such_object("search", &request.base));
        }
        let filter_passes_all =
            matches!(&filter, Filter::Present(name) if name.eq_ignore_ascii_case("objectClass"));
        Ok(LdifSearch {
            directory: self.clone(),
            next: Bound::Included(base.clone()),
            base,
            scope: request.scope,
            filter,
            selection: Selection::new(&request.attributes, self.schema()),
            names_only: request.attributes.iter().any(|a| a == "1.1")
                && request.attributes.len() == 1
                && filter_passes_all,
            reference: 0,
            with_undecided: false,
        })
    }
}

/// A search in progress. It reads each entry in the state of the moment when it reaches it.
#[derive(Debug)]
pub struct LdifSearch {
    directory: LdifDirectory,
    base: DnKey,
    next: Bound<DnKey>,
    scope: Scope,
    filter: Filter,
    selection: Selection,
    /// Whether only DNs are requested, of all entries: then no entry is unpacked.
    names_only: bool,
    /// The index of the next reference of the file.
    reference: usize,
    /// Whether it also returns entries for which the filter is Undefined.
    with_undecided: bool,
}

impl LdifSearch {
    /// Returns the next item, or `None` at the end. References come last: the file does not tell their position in the tree.
    pub fn advance(&mut self) -> Option<SearchItem> {
        self.advance_judged().map(|(item, _)| item)
    }

    /// Makes it return entries for which the filter is Undefined, too.
    pub(crate) fn with_undecided(self) -> Self {
        Self { with_undecided: true, ..self }
    }

    /// The same as [`Self::advance`], and whether the filter matches the entry; `false`: it is Undefined.
    pub(crate) fn advance_judged(&mut self) -> Option<(SearchItem, bool)> {
        if let Some((entry, is_match)) = self.next_entry() {
            return Some((SearchItem::Entry(entry), is_match));
        }
        if self.scope == Scope::Base {
            return None;
        }
        let urls = self.directory.shared.said.references.get(self.reference)?;
        self.reference += 1;
        Some((SearchItem::Reference(urls.clone()), true))
    }

    fn next_entry(&mut self) -> Option<(Entry, bool)> {
        let schema = self.directory.schema().clone();
        loop {
            let store = self.directory.store();
            let (key, entry) = store.first_from(&self.next)?;
            if !key.is_within(&self.base) {
                return None;
            }
            self.next = Bound::Excluded(key.clone());
            let in_scope = match self.scope {
                Scope::Base if *key != self.base => return None,
                Scope::OneLevel => key.depth() == self.base.depth() + 1,
                Scope::Base | Scope::Subtree => true,
            };
            if !in_scope {
                continue;
            }
            if self.names_only {
                return Some((Entry { dn: entry.dn().to_owned(), attributes: Vec::new() }, true));
            }
            let entry = entry.to_entry();
            let is_match = self.filter.matches(&entry, &schema);
            if is_match == Some(true) || is_match.is_none() && self.with_undecided {
                let selected = self.selection.apply(&entry, &schema, || store.has_children(key));
                return Some((selected, is_match == Some(true)));
            }
        }
    }
}

/// The requested attributes (RFC 4511 section 4.5.1.8): descriptions with their subtypes and options, `*`, `+` (RFC 3673).
///
/// `*` selects all attributes of the file. An attribute that is operational on one server (`memberOf`, `aci`, `nsAccountLock`)
/// is not on another, and the file does not tell which server it came from.
#[derive(Debug)]
struct Selection {
    user: bool,
    operational: bool,
    /// Whether `hasSubordinates` is requested, which is computed from the tree.
    has_subordinates: bool,
    /// Types, by their canonical names in lower case.
    types: HashSet<String>,
    /// Descriptions with options, in lower case.
    descriptions: HashSet<String>,
}

impl Selection {
    fn new(wanted: &[String], schema: &Schema) -> Self {
        let (descriptions, types): (Vec<&String>, Vec<&String>) =
            wanted.iter().partition(|w| w.contains(';'));
        Self {
            user: wanted.is_empty() || wanted.iter().any(|w| w == "*"),
            operational: wanted.iter().any(|w| w == "+"),
            has_subordinates: wanted.iter().any(|w| w.eq_ignore_ascii_case("hasSubordinates")),
            types: types.into_iter().map(|w| schema.canonical_name(w).to_ascii_lowercase()).collect(),
            descriptions: descriptions.into_iter().map(|w| w.to_ascii_lowercase()).collect(),
        }
    }

    fn takes(&self, description: &str, schema: &Schema) -> bool {
        self.user
            || description == UNKNOWN
            || self.operational && schema.is_operational(description)
            || self.types.contains(&schema.canonical_name(description).to_ascii_lowercase())
            || description.contains(';') && self.descriptions.contains(&description.to_ascii_lowercase())
    }

    fn apply(&self, entry: &Entry, schema: &Schema, has_children: impl FnOnce() -> bool) -> Entry {
        let mut attributes: Vec<Attribute> =
            entry.attributes.iter().filter(|a| self.takes(&a.description, schema)).cloned().collect();
        if self.has_subordinates && entry.attribute("hasSubordinates").is_none() {
            let value: &[u8] = if has_children() { b"TRUE" } else { b"FALSE" };
            attributes.push(Attribute::new("hasSubordinates", vec![value.to_vec()]));
        }
        Entry { dn: entry.dn.clone(), attributes }
    }
}
