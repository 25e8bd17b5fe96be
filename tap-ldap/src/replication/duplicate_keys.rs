//! Entries of one stream that have the same key: downstream, the record of one silently replaces that of the other.
//!
//! A whole read keeps a 64-bit hash of the key of each record, and nothing else. A hash that occurs twice may also be one entry
//! that was read twice or renamed meanwhile: then the keys of the stream are read again.
//!
//! Not checked if keys are unique: `dn`, and the immutable id that a server assigns. A file may contain anything.

use std::collections::{HashMap, HashSet};

use ldap_directory::entry::EntryView;
use ldap_directory::{DirectoryError, EntryRef, Paging, Vendor};
use serde_json::Value;
use singer_common::operations::secret::is_secret_attribute;
use singer_common::operations::summary::{self, Count};
use singer_common::singer::catalog::CatalogEntry;

use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;
use crate::discovery::tally::hash;
use crate::stream::entries::Entries;

/// The most keys whose entries the second pass counts.
const MAX_KEYS: usize = 10_000;

/// The keys of a whole read, by their hashes.
#[derive(Debug, Default)]
pub(crate) struct DuplicateKeys {
    names: Vec<String>,
    hashes: Vec<u64>,
    scratch: Vec<u8>,
}

impl DuplicateKeys {
    /// Returns an empty set for a stream whose keys may not be unique; `None` for others.
    pub(crate) fn of(
        context: &DirectoryContext,
        source: &Source,
        stream: &CatalogEntry,
    ) -> Option<DuplicateKeys> {
        let is_file = context.directory.root_dse().vendor == Vendor::Ldif;
        let is_own = |name: &String| !is_file && context.ids.key.as_deref() == Some(name);
        let names = &stream.key_properties;
        let is_unique = names.iter().any(|name| name == "dn" || is_own(name));
        // Membership records are not entries.
        let may_repeat = !names.is_empty() && !is_unique && !matches!(source, Source::Members(_));
        may_repeat.then(|| DuplicateKeys { names: names.clone(), ..DuplicateKeys::default() })
    }

    /// Adds the key of a record.
    pub(crate) fn add(&mut self, entry: &impl EntryView) {
        let hash = self.hash(entry);
        self.hashes.push(hash);
    }

    fn hash(&mut self, entry: &impl EntryView) -> u64 {
        self.scratch.clear();
        for name in &self.names {
            for value in entry.position(name).into_iter().flat_map(|at| entry.values_at(at)) {
                self.scratch.extend_from_slice(&value.len().to_le_bytes());
                self.scratch.extend_from_slice(value);
            }
            self.scratch.extend_from_slice(&usize::MAX.to_le_bytes());
        }
        hash(&self.scratch)
    }

    /// Returns the hashes that occur more than once, up to [`MAX_KEYS`], and the number of records beyond the first of each.
    fn repeated(&mut self) -> (HashSet<u64>, u64) {
        self.hashes.sort_unstable();
        let pairs = self.hashes.windows(2).filter_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        });
        let (mut repeated, mut count) = (HashSet::new(), 0);
        for hash in pairs {
            count += 1;
            if repeated.len() < MAX_KEYS {
                repeated.insert(hash);
            }
        }
        (repeated, count)
    }
}

/// Entries that share their key with another one.
#[derive(Debug, Default)]
struct Duplicates {
    /// The number of entries beyond the first of each key.
    count: u64,
    /// The first such key, and two entries with it.
    first: Option<(String, String, String)>,
}

impl DuplicateKeys {
    /// Warns once of entries of a whole read that have the same key. `key_of` returns the key of an entry as in its record.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub(crate) async fn warn(
        mut self,
        context: &DirectoryContext,
        source: &Source,
        stream: &str,
        key_of: &dyn Fn(&EntryRef<'_>) -> Vec<Value>,
    ) -> Result<(), DirectoryError> {
        let (repeated, count) = self.repeated();
        if repeated.is_empty() {
            return Ok(());
        }
        self.hashes = Vec::new();
        let found = match self.count_duplicates(context, source, key_of, &repeated).await {
            Ok(found) => found,
            // The records are printed already: a limit is not a reason to fail now.
            Err(e) if e.code().is_some() => Duplicates { count, first: None },
            Err(e) => return Err(e),
        };
        if found.count == 0 {
            return Ok(());
        }
        let Duplicates { count, first } = found;
        summary::add(Count::BooksSameKey, count);
        let first = first.map(|(key, one, other)| format!(" (the first: {key} of `{one}` and `{other}`)"));
        tracing::warn!(
            stream,
            same_key = count,
            "{stream}: {count} entries have the key of another entry of the stream{}: downstream only one of them is left. Choose key_properties that tell all entries apart, such as dn",
            first.unwrap_or_default()
        );
        Ok(())
    }

    /// Reads the keys of the stream again, and counts the entries of those that occurred more than once.
    async fn count_duplicates(
        &mut self,
        context: &DirectoryContext,
        source: &Source,
        key_of: &dyn Fn(&EntryRef<'_>) -> Vec<Value>,
        repeated: &HashSet<u64>,
    ) -> Result<Duplicates, DirectoryError> {
        let mut found = Duplicates::default();
        let mut seen: HashMap<u64, String> = HashMap::new();
        let mut entries = Entries::open(context, source, &self.names, Paging::Configured).await?;
        while entries.advance().await? {
            let entry = entries.entry();
            let hash = self.hash(&entry);
            if !repeated.contains(&hash) {
                continue;
            }
            match seen.get(&hash) {
                None => {
                    seen.insert(hash, entry.dn().to_owned());
                }
                // The same entry again, for example because a search was restarted.
                Some(other) if other == entry.dn() => {}
                Some(other) => {
                    found.count += 1;
                    if found.first.is_none() {
                        let values = key_of(&entry);
                        let parts = self.names.iter().zip(&values).map(|(name, value)| part(name, value));
                        let key = parts.collect::<Vec<_>>().join(" and ");
                        found.first = Some((key, other.clone(), entry.dn().to_owned()));
                    }
                }
            }
        }
        entries.discard_count();
        Ok(found)
    }
}

fn part(name: &str, value: &Value) -> String {
    if is_secret_attribute(name) { format!("a {name}") } else { format!("{name} {value}") }
}
