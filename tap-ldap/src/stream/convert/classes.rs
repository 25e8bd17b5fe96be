//! Classes that discovery did not see: some of their attributes have no property in the stream.
//!
//! The entries of a stream have the same few classes, mostly in the same order. So classes are kept in the order of their
//! occurrence, and the next one is usually the one after the last.

use std::collections::HashSet;

use ldap_directory::entry::{EntryView, base_type};
use ldap_directory::schema::Schema;
use singer_common::singer::catalog::CatalogEntry;

/// The most classes that are kept. A file with more costs time, not memory.
const REMEMBERED: usize = 1_024;
/// The most classes that are named.
const NAMED: usize = 10;

/// The classes seen in a stream.
#[derive(Debug)]
pub(super) struct SeenClasses {
    /// The attributes that have a property, or are excluded; in lower case.
    foreseen: HashSet<String>,
    /// The classes seen, as the server spelled them.
    seen: Vec<Box<[u8]>>,
    unforeseen: Vec<String>,
    /// The encoded classes of the last entry.
    last: Vec<u8>,
}

impl SeenClasses {
    /// Starts watching a stream of the catalog.
    pub(super) fn of(stream: &CatalogEntry, excluded: &[String], schema: &Schema) -> Self {
        let properties = stream.properties().map(|(name, _)| name).chain(excluded);
        let foreseen =
            properties.map(|name| schema.canonical_name(base_type(name)).to_ascii_lowercase()).collect();
        Self { foreseen, seen: Vec::new(), unforeseen: Vec::new(), last: Vec::new() }
    }

    /// Checks the classes of an entry, which are at this place. Most entries have those of the entry before.
    #[inline]
    pub(super) fn check(&mut self, entry: &impl EntryView, place: usize, schema: &Schema) {
        if entry.encoded_values(place).is_none_or(|encoded| encoded != self.last) {
            self.check_each(entry, place, schema);
        }
    }

    #[inline(never)]
    fn check_each(&mut self, entry: &impl EntryView, place: usize, schema: &Schema) {
        self.last.clear();
        self.last.extend_from_slice(entry.encoded_values(place).unwrap_or_default());
        let mut at = 0;
        for class in entry.values_at(place) {
            if self.seen.get(at).is_some_and(|expected| **expected == *class) {
                at += 1;
            } else if let Some(place) = self.seen.iter().position(|seen| **seen == *class) {
                at = place + 1;
            } else {
                self.add(class, schema);
                if self.seen.len() < REMEMBERED {
                    at = at.min(self.seen.len());
                    self.seen.insert(at, class.into());
                    at += 1;
                }
            }
        }
    }

    #[cold]
    fn add(&mut self, class: &[u8], schema: &Schema) {
        let Ok(class) = std::str::from_utf8(class) else { return };
        // The attributes of an unknown class are not known.
        let Some(known) = schema.object_class(class) else { return };
        let name = known.name();
        let (must, may) = schema.must_may([name]);
        let is_new = must.iter().chain(&may).any(|a| !self.foreseen.contains(&a.to_ascii_lowercase()));
        if is_new && self.unforeseen.len() < NAMED && !self.unforeseen.iter().any(|n| n == name) {
            self.unforeseen.push(name.to_owned());
        }
    }

    /// Returns the first classes with attributes that the stream lacks.
    pub(super) fn unforeseen(&self) -> &[String] {
        &self.unforeseen
    }
}
