//! What occurs in a stream: the object classes and attributes of the entries read at discovery.

use std::collections::HashMap;

use ldap_directory::Vendor;
use ldap_directory::entry::{Entry, UNKNOWN};
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;

use crate::discovery::identity::IdentityAttributes;
use crate::discovery::replication_keys::{self, Growth};

/// How often an attribute occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The attribute description with its options; the type is spelled as in the schema.
    pub description: String,
    /// Entries that have it.
    pub entries: u64,
    /// Entries that have more than one value of it.
    pub several: u64,
}

/// What occurs in the entries read.
#[derive(Debug, Default)]
pub struct Sample {
    /// Entries read.
    pub entries: u64,
    /// Whether these are all entries of the stream.
    pub complete: bool,
    /// Object classes with the number of entries that have them, in the order of their first occurrence.
    pub classes: Vec<(String, u64)>,
    /// Attributes, in the order of their first occurrence.
    pub attributes: Vec<Occurrence>,
    /// Entries without the immutable id.
    pub without_id: u64,
    /// The DN of the first of them.
    pub first_without_id: Option<String>,
    class_index: HashMap<String, usize>,
    attribute_index: HashMap<String, usize>,
}

impl Sample {
    /// Returns the best replication key of the stream: one that marks every change, and that every sampled entry has.
    pub fn change_key<'i>(&self, vendor: Vendor, ids: &'i IdentityAttributes) -> Option<&'i String> {
        let entries = |key: &str| self.occurrence(key).map_or(0, |o| o.entries);
        let is_everywhere = |key: &&String| {
            let others = [replication_keys::fallback(vendor, key), replication_keys::second_key(vendor, key)];
            let mut names = std::iter::once(key.as_str()).chain(others.into_iter().flatten());
            names.any(|name| entries(name) == self.entries)
        };
        let mut changes =
            ids.change_keys.iter().filter(|key| replication_keys::growth(key) == Growth::Changed);
        changes.clone().find(is_everywhere).or_else(|| changes.next())
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, entry: &Entry, ids: &IdentityAttributes, schema: &Schema) {
        self.entries += 1;
        if lacks_id(ids, entry, schema) {
            self.without_id += 1;
            self.first_without_id.get_or_insert_with(|| entry.dn.clone());
        }
        for class in entry.values("objectClass") {
            let class = String::from_utf8_lossy(class);
            let next = self.classes.len();
            let at = *self.class_index.entry(class.to_ascii_lowercase()).or_insert(next);
            if at == next {
                let name = schema.object_class(&class).map_or(&*class, |c| c.name());
                self.classes.push((name.to_owned(), 0));
            }
            if let Some((_, count)) = self.classes.get_mut(at) {
                *count += 1;
            }
        }
        for attribute in &entry.attributes {
            if attribute.description == UNKNOWN {
                let names = attribute.values.iter().filter(|name| name.as_slice() != UNKNOWN.as_bytes());
                names.for_each(|name| self.occurs(&String::from_utf8_lossy(name), false, schema));
            } else {
                self.occurs(&attribute.description, attribute.values.len() > 1, schema);
            }
        }
    }

    fn occurs(&mut self, description: &str, has_several: bool, schema: &Schema) {
        let description = schema.spell(description);
        let next = self.attributes.len();
        let at = *self.attribute_index.entry(any_order(&description)).or_insert(next);
        if at == next {
            self.attributes.push(Occurrence { description, entries: 0, several: 0 });
        }
        if let Some(occurrence) = self.attributes.get_mut(at) {
            occurrence.entries += 1;
            occurrence.several += u64::from(has_several);
        }
    }

    /// Returns how often an attribute occurs, or `None` if it does not.
    pub fn occurrence(&self, description: &str) -> Option<&Occurrence> {
        self.attributes.get(*self.attribute_index.get(&any_order(description))?)
    }
}

/// Returns a description in the form that it shares with those that have its options in another order or case: they are the same (RFC
/// 4512 section 2.5).
pub(crate) fn any_order(description: &str) -> String {
    let lower = description.to_ascii_lowercase();
    let Some((name, options)) = lower.split_once(';').filter(|(_, options)| options.contains(';')) else {
        return lower;
    };
    let mut options: Vec<&str> = options.split(';').collect();
    options.sort_unstable();
    [name, &options.join(";")].join(";")
}

/// Returns whether an entry has no immutable id, or one that its syntax does not allow.
fn lacks_id(ids: &IdentityAttributes, entry: &Entry, schema: &Schema) -> bool {
    let is_id = |name: &str, value: &[u8]| {
        ValueKind::emitted(schema, name).write_json(value, &mut Vec::new()).is_ok()
    };
    ids.key.as_ref().is_some_and(|key| !entry.values(key).first().is_some_and(|value| is_id(key, value)))
}
