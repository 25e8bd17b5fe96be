//! The ids of the entries of a `LOG_BASED` stream, kept in its bookmark if there is no index of keys (`state_dir`).
//!
//! A server's log also names entries that the stream never had: those outside its base, and changed ones that do not match its
//! filter. A deletion of such an id would create a row downstream.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};

/// The most ids that are kept: they take 213,000 octets of a bookmark that is printed many times.
pub(crate) const MOST: usize = 20_000;

/// The format of the text; its prefix.
const FORMAT: &str = "1:";

/// The first 64 bits of a hash of each id. Two of 20,000 ids collide once in ninety billion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownIds(HashSet<u64>);

impl KnownIds {
    /// Adds the id of an entry in the stream. Returns whether there was room for it.
    pub(crate) fn insert(&mut self, key: &str) -> bool {
        self.0.insert(short(key));
        self.0.len() <= MOST
    }

    /// Returns whether an id is in the stream.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains(&short(key))
    }

    /// Removes the id of a deleted entry. Returns whether it was in the stream.
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

    /// Reads the text of a bookmark; `None` if this version does not know its format.
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
        // As the first version wrote it: the hash of an id never changes.
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
