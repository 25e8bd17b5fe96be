//! Entries that their own `match` does not match, because nothing gives them the value that it compares.
//!
//! They are still written, by their DN; but when their DN changes, a second entry is added.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;

use crate::map::wanted::WantedEntry;
use crate::rules::names::hash;
use crate::write::claims::Claimant;

/// The entries of one stream: hashes of their DNs (a record may be tried several times), and one DN.
#[derive(Debug)]
struct OfStream {
    seen: HashSet<u64>,
    first: String,
}

/// Entries by stream.
#[derive(Debug, Default)]
pub struct UnmatchedEntries {
    streams: Mutex<BTreeMap<String, OfStream>>,
}

impl UnmatchedEntries {
    /// Checks whether the filter will match an entry that it did not match before. `there`: the entry at the wanted DN.
    pub(super) fn check(
        &self,
        claimant: &Claimant<'_>,
        wanted: &WantedEntry,
        key: &DnKey,
        there: Option<&Entry>,
        filter: &str,
        schema: &Schema,
    ) {
        let Ok(parsed) = Filter::parse(filter) else { return };
        let mut entry = there.cloned().unwrap_or_default();
        let given = wanted.attributes.iter().filter(|a| !a.values.is_empty());
        entry.attributes.extend(given.map(|a| Attribute::new(&*a.description, a.values.clone())));
        // Undefined: the matching rule is not implemented here.
        if parsed.matches(&entry, schema) != Some(false) {
            return;
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || OfStream { seen: HashSet::new(), first: wanted.dn.clone() };
        streams.entry(claimant.stream.to_owned()).or_insert_with(new).seen.insert(hash(key));
    }

    /// Returns the number of entries of each stream, with one DN.
    pub fn report(&self) -> Vec<(String, usize, String)> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().map(|(stream, all)| (stream.clone(), all.seen.len(), all.first.clone())).collect()
    }
}
