//! Entries of one stream that have the same key: downstream the record of one replaces the other's, and nobody is told.
//!
//! Of each record of a whole read a 64-bit hash of its key is kept, and nothing else. Those that occur twice may also be one
//! entry that was read twice or renamed meanwhile, so that a second look at the keys of the stream tells, if there are any.
//!
//! Not kept where keys cannot be the same: `dn`, and the immutable id that a server gives. A file may hold anything.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use singer_common::catalog::CatalogEntry;
use singer_common::directory::{DirectoryError, Paging, Vendor};
use singer_common::entry::EntryView;
use singer_common::secret::is_secret_attribute;
use singer_common::summary::{self, Count};

use super::StreamRun;
use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;
use crate::discovery::tally::hash;
use crate::stream::entries::Entries;

/// The most keys that the second look counts the entries of.
const MOST: usize = 10_000;

/// The keys of a whole read, by their hashes.
#[derive(Debug, Default)]
pub(crate) struct SameKeys {
    names: Vec<String>,
    hashes: Vec<u64>,
    scratch: Vec<u8>,
}

impl SameKeys {
    /// For a stream whose keys may be the same; `None` for others.
    pub(crate) fn of(context: &DirectoryContext, source: &Source, stream: &CatalogEntry) -> Option<SameKeys> {
        let is_file = context.directory.root_dse().vendor == Vendor::Ldif;
        let is_own = |name: &String| !is_file && context.ids.key.as_deref() == Some(name);
        let names = &stream.key_properties;
        let is_unique = names.iter().any(|name| name == "dn" || is_own(name));
        // The rows of a group are no entries.
        let may_be_same = !names.is_empty() && !is_unique && !matches!(source, Source::Members(_));
        may_be_same.then(|| SameKeys { names: names.clone(), ..SameKeys::default() })
    }

    /// Notes the key of a record.
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

    /// The hashes that occur more than once, up to [`MOST`] of them, and how many records are beyond the first of theirs.
    fn repeated(&mut self) -> (HashSet<u64>, u64) {
        self.hashes.sort_unstable();
        let pairs = self.hashes.windows(2).filter_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        });
        let (mut repeated, mut count) = (HashSet::new(), 0);
        for hash in pairs {
            count += 1;
            if repeated.len() < MOST {
                repeated.insert(hash);
            }
        }
        (repeated, count)
    }
}

/// Entries with a key that others have, too.
#[derive(Debug, Default)]
struct Found {
    /// Those beyond the first of each key.
    count: u64,
    /// The first such key, and two entries that have it.
    first: Option<(String, String, String)>,
}

/// Warns once of entries of a whole read that have the same key.
pub(crate) async fn warn(run: &mut StreamRun<'_>) -> Result<(), DirectoryError> {
    let Some(mut keys) = run.same_keys.take() else { return Ok(()) };
    let (repeated, count) = keys.repeated();
    if repeated.is_empty() {
        return Ok(());
    }
    keys.hashes = Vec::new();
    let found = match look(run, &mut keys, &repeated).await {
        Ok(found) => found,
        // The records are printed: a limit is no reason to fail now.
        Err(e) if e.code().is_some() => Found { count, first: None },
        Err(e) => return Err(e),
    };
    if found.count == 0 {
        return Ok(());
    }
    let Found { count, first } = found;
    summary::add(Count::BooksSameKey, count);
    let stream = run.stream.stream.as_str();
    let first = first.map(|(key, one, other)| format!(" (the first: {key} of `{one}` and `{other}`)"));
    tracing::warn!(
        stream,
        same_key = count,
        "{stream}: {count} entries have the key of another entry of the stream{}: downstream only one of them is left. Choose key_properties that tell all entries apart, such as dn",
        first.unwrap_or_default()
    );
    Ok(())
}

/// Reads the keys of the stream again, for those that occurred more than once.
async fn look(
    run: &StreamRun<'_>,
    keys: &mut SameKeys,
    repeated: &HashSet<u64>,
) -> Result<Found, DirectoryError> {
    let mut found = Found::default();
    let mut seen: HashMap<u64, String> = HashMap::new();
    let mut entries = Entries::open(run.context, run.source, &keys.names, Paging::Configured).await?;
    while entries.advance().await? {
        let entry = entries.entry();
        let hash = keys.hash(&entry);
        if !repeated.contains(&hash) {
            continue;
        }
        match seen.get(&hash) {
            None => {
                seen.insert(hash, entry.dn().to_owned());
            }
            // Once more, as when a search began again.
            Some(other) if other == entry.dn() => {}
            Some(other) => {
                found.count += 1;
                if found.first.is_none() {
                    let values = run.key_of(&entry);
                    let parts = keys.names.iter().zip(&values).map(|(name, value)| part(name, value));
                    let key = parts.collect::<Vec<_>>().join(" and ");
                    found.first = Some((key, other.clone(), entry.dn().to_owned()));
                }
            }
        }
    }
    entries.discard_count();
    Ok(found)
}

fn part(name: &str, value: &Value) -> String {
    if is_secret_attribute(name) { format!("a {name}") } else { format!("{name} {value}") }
}
