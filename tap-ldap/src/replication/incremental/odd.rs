//! Entries whose value of the replication key is none by which a position may be taken: it is no valid one, or lies in the
//! future. They are emitted, and told.

use std::collections::HashSet;

use crate::discovery::tally::hash;
use crate::stream::key_order::Odd;

/// How many there are, and the first.
#[derive(Debug, Default)]
pub(super) struct OddEntries {
    /// Hashes of the DNs of those without a place in the order.
    invalid: HashSet<u64>,
    /// How many lie in the future.
    future: u64,
    first: Option<String>,
}

impl OddEntries {
    /// Notes one.
    pub(super) fn add(&mut self, dn: &str, odd: Odd<'_>) {
        let value = match odd {
            Odd::Invalid(value) => {
                self.invalid.insert(hash(dn.as_bytes()));
                value
            }
            Odd::Future(value) => {
                self.future += 1;
                value
            }
        };
        self.first.get_or_insert_with(|| format!("`{dn}`: {:?}", String::from_utf8_lossy(value)));
    }

    /// Whether an entry was noted as one without a place in the order.
    pub(super) fn has(&self, dn: &str) -> bool {
        self.invalid.contains(&hash(dn.as_bytes()))
    }

    /// Warns of them, if there are any.
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
