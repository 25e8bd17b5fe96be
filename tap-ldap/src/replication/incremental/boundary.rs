//! The records at the end of the range that was read, so that unchanged ones are not emitted again.
//!
//! For each of the last moments: the hashes of up to [`LISTED`] records in all. If there are more (a bulk load in one
//! second), only their number and the sum of their hashes.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The most hashes that are listed: about 12 KB of a bookmark.
const LISTED: usize = 500;

/// A hash of a record, long enough that two different records never have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Hash(u128);

impl Hash {
    fn of(record: &[u8]) -> Self {
        let digest = Sha256::digest(record);
        Self(digest.iter().take(16).fold(0, |n, b| (n << 8) | u128::from(*b)))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0.to_be_bytes()))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octets = BASE64.decode(text).map_err(serde::de::Error::custom)?;
        let octets = octets.try_into().map_err(|_| serde::de::Error::custom("a hash has 16 octets"))?;
        Ok(Self(u128::from_be_bytes(octets)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Moment {
    count: u64,
    sum: Hash,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    hashes: BTreeSet<Hash>,
    /// Whether the current records have the same sum.
    #[serde(skip)]
    confirmed: bool,
}

/// The records at the end of a range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Boundary {
    moments: BTreeMap<String, Moment>,
}

impl Boundary {
    pub(super) fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// Returns whether there are moments of which only the sum is known.
    pub(super) fn is_digest(&self) -> bool {
        self.moments.values().any(Moment::is_digest)
    }

    pub(super) fn has(&self, moment: &str) -> bool {
        self.moments.contains_key(moment)
    }

    /// Adds a record.
    pub(super) fn add(&mut self, moment: &str, record: &[u8]) {
        let hash = Hash::of(record);
        let listed: usize = self.moments.values().map(|m| m.hashes.len()).sum();
        let entry = self.moments.entry(moment.to_owned()).or_default();
        let was_listed = !entry.is_digest();
        entry.count += 1;
        entry.sum = Hash(entry.sum.0.wrapping_add(hash.0));
        if was_listed && listed < LISTED {
            entry.hashes.insert(hash);
        } else {
            entry.hashes.clear();
        }
    }

    /// Removes the moments before this one.
    pub(super) fn prune(&mut self, keep_from: &str) {
        if self.moments.first_key_value().is_some_and(|(first, _)| first.as_str() < keep_from) {
            self.moments = self.moments.split_off(keep_from);
        }
    }

    /// Compares the sums with those of the current records.
    pub(super) fn confirm(&mut self, current: &Boundary) {
        for (name, moment) in &mut self.moments {
            let now = current.moments.get(name);
            moment.confirmed = now.is_some_and(|now| (now.count, now.sum) == (moment.count, moment.sum));
        }
    }

    /// Returns whether a record is one of these.
    pub(super) fn contains(&self, moment: &str, record: &[u8]) -> bool {
        self.moments
            .get(moment)
            .is_some_and(|m| if m.is_digest() { m.confirmed } else { m.hashes.contains(&Hash::of(record)) })
    }
}

impl Moment {
    fn is_digest(&self) -> bool {
        self.count > 0 && self.hashes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(boundary: &Boundary) -> Boundary {
        serde_json::from_str(&serde_json::to_string(boundary).unwrap()).unwrap()
    }

    #[test]
    fn few_are_known_one_by_one() {
        let mut boundary = Boundary::default();
        boundary.add("1", b"a");
        boundary.add("2", b"b");
        let mut boundary = saved(&boundary);
        assert!(boundary.contains("1", b"a") && boundary.contains("2", b"b"));
        assert!(!boundary.contains("2", b"a") && !boundary.contains("3", b"b"));
        boundary.prune("2");
        assert!(!boundary.contains("1", b"a") && boundary.contains("2", b"b"));
    }

    #[test]
    fn many_are_known_by_their_sum_in_a_bookmark_that_stays_small() {
        let mut boundary = Boundary::default();
        let record = |n: usize| n.to_string().into_bytes();
        (0..100_000).for_each(|n| boundary.add("1", &record(n)));
        assert!(serde_json::to_string(&boundary).unwrap().len() < 200);
        let mut boundary = saved(&boundary);
        assert!(boundary.is_digest());
        assert!(!boundary.contains("1", &record(3)), "not before it is confirmed");
        let mut there = Boundary::default();
        // In another order.
        (0..100_000).rev().for_each(|n| there.add("1", &record(n)));
        boundary.confirm(&there);
        assert!(boundary.contains("1", &record(3)));
        let mut changed = Boundary::default();
        (0..100_000).for_each(|n| changed.add("1", &record(n + 1)));
        boundary.confirm(&changed);
        assert!(!boundary.contains("1", &record(3)));
    }
}
