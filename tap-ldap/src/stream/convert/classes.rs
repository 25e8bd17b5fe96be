//! Classes that come with entries and that discovery did not see: their attributes are in no property of the stream.
//!
//! The entries of a stream have the same few classes, mostly in the same order. So the classes met are kept in the order they
//! come in, and the next one is nearly always the one after the last.

use std::collections::HashSet;

use singer_common::catalog::CatalogEntry;
use singer_common::entry::{EntryView, base_type};
use singer_common::schema::Schema;

/// So many classes are kept in mind. A file that makes them up costs time, not memory.
const REMEMBERED: usize = 1_024;
/// So many classes are named.
const NAMED: usize = 10;

/// The classes met in a stream.
#[derive(Debug)]
pub(super) struct Classes {
    /// The attributes that the stream has a property for, or was told to leave out; in lower case.
    foreseen: HashSet<String>,
    /// The classes met, as the server spelt them.
    met: Vec<Box<[u8]>>,
    unforeseen: Vec<String>,
    /// The classes of the last entry, as they came.
    last: Vec<u8>,
}

impl Classes {
    /// Of a stream of the catalog.
    pub(super) fn of(stream: &CatalogEntry, excluded: &[String], schema: &Schema) -> Self {
        let properties = stream.properties().map(|(name, _)| name).chain(excluded);
        let foreseen =
            properties.map(|name| schema.canonical_name(base_type(name)).to_ascii_lowercase()).collect();
        Self { foreseen, met: Vec::new(), unforeseen: Vec::new(), last: Vec::new() }
    }

    /// Looks at the classes of an entry, which are in this place of it. Most entries have those of the one before.
    #[inline]
    pub(super) fn look(&mut self, entry: &impl EntryView, place: usize, schema: &Schema) {
        if entry.encoded_values(place).is_none_or(|encoded| encoded != self.last) {
            self.look_at_each(entry, place, schema);
        }
    }

    #[inline(never)]
    fn look_at_each(&mut self, entry: &impl EntryView, place: usize, schema: &Schema) {
        self.last.clear();
        self.last.extend_from_slice(entry.encoded_values(place).unwrap_or_default());
        let mut at = 0;
        for class in entry.values_at(place) {
            if self.met.get(at).is_some_and(|expected| **expected == *class) {
                at += 1;
            } else if let Some(place) = self.met.iter().position(|met| **met == *class) {
                at = place + 1;
            } else {
                self.meet(class, schema);
                if self.met.len() < REMEMBERED {
                    at = at.min(self.met.len());
                    self.met.insert(at, class.into());
                    at += 1;
                }
            }
        }
    }

    #[cold]
    fn meet(&mut self, class: &[u8], schema: &Schema) {
        let Ok(class) = std::str::from_utf8(class) else { return };
        // What an unknown class brings nobody knows.
        let Some(known) = schema.object_class(class) else { return };
        let name = known.name();
        let (must, may) = schema.must_may([name]);
        let is_new = must.iter().chain(&may).any(|a| !self.foreseen.contains(&a.to_ascii_lowercase()));
        if is_new && self.unforeseen.len() < NAMED && !self.unforeseen.iter().any(|n| n == name) {
            self.unforeseen.push(name.to_owned());
        }
    }

    /// The classes of which the stream lacks attributes, the first ones.
    pub(super) fn unforeseen(&self) -> &[String] {
        &self.unforeseen
    }
}
