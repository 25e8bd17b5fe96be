//! Entries that their own `match` does not find again: nothing gives them what it asks for.
//!
//! They are written all the same, by their names; but with the next change of its name such an entry becomes a second one.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;

use crate::map::wanted::WantedEntry;
use crate::rules::names::hash;
use crate::write::claims::Claimant;

/// Those of one stream: hashes of their names (a record may be tried several times), and one of them.
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
    /// Looks whether an entry that the filter did not find is one that it finds from now on. `there`: what is at its name.
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
        // Undefined: what such a rule compares is not known here.
        if parsed.matches(&entry, schema) != Some(false) {
            return;
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || OfStream { seen: HashSet::new(), first: wanted.dn.clone() };
        streams.entry(claimant.stream.to_owned()).or_insert_with(new).seen.insert(hash(key));
    }

    /// Returns the number of entries of each stream, and the name of one.
    pub fn report(&self) -> Vec<(String, usize, String)> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().map(|(stream, all)| (stream.clone(), all.seen.len(), all.first.clone())).collect()
    }
}
