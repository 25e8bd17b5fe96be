//! The ids of the entries that a `LOG_BASED` stream has, kept in its bookmark where there is no index (`state_dir`).
//!
//! A server's log also names entries that the stream never had: those of other parts of the tree, and changed ones that do
//! not pass the filter. As a deletion such an id would make a row downstream that nobody knows.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};

/// More ids than this are not kept: a bookmark is printed again and again, and this many take 213,000 octets of it.
pub(crate) const MOST: usize = 20_000;

/// The format of the text, in front of it.
const FORMAT: &str = "1:";

/// Ids in short: the first 64 bits of a hash. Two of 20,000 are alike once in ninety billion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownIds(HashSet<u64>);

impl KnownIds {
    /// Adds the id of an entry that the stream has. Returns whether there was room for it.
    pub(crate) fn insert(&mut self, key: &str) -> bool {
        self.0.insert(short(key));
        self.0.len() <= MOST
    }

    /// Whether the stream has an id.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains(&short(key))
    }

    /// Removes the id of an entry that is gone. Returns whether the stream had it.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        self.0.remove(&short(key))
    }

    /// Returns the text for a bookmark.
    pub(crate) fn to_text(&self) -> String {
        let mut ids: Vec<u64> = self.0.iter().copied().collect();
        ids.sort_unstable();
        let octets: Vec<u8> = ids.into_iter().flat_map(u64::to_be_bytes).collect();
        [FORMAT, &BASE64.encode(octets)].concat()
    }

    /// Reads the text of a bookmark; `None` where it is of a format that this version does not know.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let octets = BASE64.decode(text.strip_prefix(FORMAT)?).ok()?;
        let (ids, rest) = octets.as_chunks::<8>();
        rest.is_empty().then(|| Self(ids.iter().map(|id| u64::from_be_bytes(*id)).collect()))
    }
}

fn short(key: &str) -> u64 {
    let hash = Sha256::digest(key);
    let (first, _) = hash.split_at(8);
    first.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_from_a_bookmark() {
        let mut ids = KnownIds::default();
        for n in 0..100 {
            assert!(ids.insert(&format!("[\"{n}\"]")));
        }
        let mut back = KnownIds::from_text(&ids.to_text()).unwrap();
        assert_eq!(back, ids);
        assert!(back.remove("[\"7\"]") && !back.remove("[\"7\"]") && !back.remove("[\"100\"]"));
        assert_eq!(KnownIds::from_text("2:AAAA"), None);
        assert_eq!(KnownIds::from_text("1:AAAA"), None);
        assert_eq!(KnownIds::from_text("1:"), Some(KnownIds::default()));
        // As it was written first: an id never becomes another one.
        let mut one = KnownIds::default();
        one.insert("[\"a\"]");
        assert_eq!(one.to_text(), "1:DrW41vgbxnc");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut ids = KnownIds::default();
        assert!((0..MOST).all(|n| ids.insert(&n.to_string())));
        assert!(!ids.insert("one more"));
    }
}
