//! Entries with a replication key value that cannot be a position: it is invalid, or in the future. They are emitted, with a
//! warning.

use std::collections::HashSet;

use crate::discovery::tally::hash;
use crate::stream::key_order::UnusableValue;

/// The number of such entries, and the first.
#[derive(Debug, Default)]
pub(super) struct UnusableValues {
    /// Hashes of the DNs of entries with invalid values.
    invalid: HashSet<u64>,
    /// The number of values in the future.
    future: u64,
    first: Option<String>,
}

impl UnusableValues {
    /// Adds an entry.
    pub(super) fn add(&mut self, dn: &str, value: UnusableValue<'_>) {
        let value = match value {
            UnusableValue::Invalid(value) => {
                self.invalid.insert(hash(dn.as_bytes()));
                value
            }
            UnusableValue::Future(value) => {
                self.future += 1;
                value
            }
        };
        self.first.get_or_insert_with(|| format!("`{dn}`: {:?}", String::from_utf8_lossy(value)));
    }

    /// Returns whether an entry was added as one with an invalid value.
    pub(super) fn has(&self, dn: &str) -> bool {
        self.invalid.contains(&hash(dn.as_bytes()))
    }

    /// Warns of the entries, if there are any.
    pub(super) fn warn(&self, stream: &str, key: &str) {
        let Some(first) = &self.first else { return };
        let invalid = u64::try_from(self.invalid.len()).unwrap_or(u64::MAX);
        tracing::warn!(
            stream,
            odd_values = invalid + self.future,
            "{stream}: {} entries have a value of replication_key `{key}` that has no place in its order ({invalid} not valid, {} more than a day in the future; the first is {first}): they are emitted, and the bookmark does not move by them. Correct the values, or the clock",
            invalid + self.future,
            self.future
        );
    }
}
