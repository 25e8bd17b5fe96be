//! What came with a stream's version, and so what is gone once it is whole (ACTIVATE_VERSION). Pure.
//!
//! Of an entry only a hash of its name is kept, and one of each name above it: 16 bytes an entry, whatever its name. Two
//! names with one hash would let an entry stay that is gone; none is deleted by it.

use std::collections::{BTreeMap, HashMap, HashSet};

use singer_common::dn::DnKey;

use crate::names::hash;

/// What came with one version.
#[derive(Debug, Default)]
struct Came {
    names: HashSet<u64>,
    above: HashSet<u64>,
    /// A record's entry is not known: it could be any.
    unknown: bool,
}

/// Why nothing is to be deleted though a version is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// An empty source is taken for a fault, not for an empty directory.
    #[error("no record of the stream came with it")]
    NoRecord,
    /// A record was rejected before its entry was known.
    #[error("a record was rejected whose entry is not known")]
    Unknown,
}

/// The records of a run by stream and version. Records without a version belong to every one.
#[derive(Debug, Default)]
pub struct Versions {
    streams: HashMap<String, BTreeMap<Option<i64>, Came>>,
}

impl Versions {
    fn of(&mut self, stream: &str, version: Option<i64>) -> &mut Came {
        self.streams.entry(stream.to_owned()).or_default().entry(version).or_default()
    }

    /// An entry came.
    pub fn came(&mut self, stream: &str, version: Option<i64>, key: &DnKey) {
        let came = self.of(stream, version);
        came.names.insert(hash(key));
        // The names above one that is known are known.
        let mut above = key.parent();
        while let Some(key) = above.filter(|key| came.above.insert(hash(key))) {
            above = key.parent();
        }
    }

    /// A record came whose entry nobody knows.
    pub fn unknown_came(&mut self, stream: &str, version: Option<i64>) {
        self.of(stream, version).unknown = true;
    }

    /// A version is whole: earlier ones no longer count. Whether what did not come is gone.
    pub fn activate(&mut self, stream: &str, version: i64) -> Result<(), Doubt> {
        let versions = self.streams.entry(stream.to_owned()).or_default();
        versions.retain(|other, _| other.is_none_or(|other| other >= version));
        let whole: Vec<&Came> = [Some(version), None].iter().filter_map(|v| versions.get(v)).collect();
        if whole.iter().any(|came| came.unknown) {
            return Err(Doubt::Unknown);
        }
        if whole.iter().all(|came| came.names.is_empty()) {
            return Err(Doubt::NoRecord);
        }
        Ok(())
    }

    /// Whether an entry stays: it came, with whatever stream, or lies above one that did.
    pub fn keep(&self, key: &DnKey) -> bool {
        let hash = hash(key);
        let mut all = self.streams.values().flat_map(BTreeMap::values);
        all.any(|came| came.names.contains(&hash) || came.above.contains(&hash))
    }
}

/// Of names in their order, those that lie below no other.
pub fn topmost(names: BTreeMap<DnKey, String>) -> Vec<(DnKey, String)> {
    let mut top: Vec<(DnKey, String)> = Vec::new();
    for (key, name) in names {
        if !top.last().is_some_and(|(above, _)| above.is_ancestor_of(&key)) {
            top.push((key, name));
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use singer_common::schema::Schema;
    use std::collections::BTreeSet;

    fn key(name: &str) -> DnKey {
        let dn: Vec<String> = name.split(',').map(|p| format!("ou={p}")).collect();
        DnKey::parse(&dn.join(","), Schema::standard()).unwrap()
    }

    #[test]
    fn a_stream_without_records_and_one_with_an_unknown_one_delete_nothing() {
        let mut versions = Versions::default();
        assert_eq!(versions.activate("s", 1), Err(Doubt::NoRecord));
        versions.came("other", Some(1), &key("a"));
        versions.came("s", Some(1), &key("a"));
        assert_eq!(versions.activate("s", 2), Err(Doubt::NoRecord), "they are an earlier version's");
        versions.came("s", Some(3), &key("a"));
        assert_eq!(versions.activate("s", 3), Ok(()));
        versions.unknown_came("s", Some(4));
        versions.came("s", Some(4), &key("a"));
        assert_eq!(versions.activate("s", 4), Err(Doubt::Unknown));
        versions.came("s", Some(5), &key("a"));
        assert_eq!(versions.activate("s", 5), Ok(()));
        versions.came("t", None, &key("a"));
        assert_eq!(versions.activate("t", 9), Ok(()), "without a version they belong to every one");
    }

    #[test]
    fn what_an_earlier_version_had_is_gone_and_what_another_stream_has_is_not() {
        let mut versions = Versions::default();
        versions.came("s", Some(1), &key("a"));
        versions.came("s", Some(2), &key("b"));
        versions.came("other", Some(7), &key("c"));
        assert!(["a", "b", "c"].iter().all(|n| versions.keep(&key(n))));
        assert_eq!(versions.activate("s", 2), Ok(()));
        assert_eq!(["a", "b", "c"].map(|n| versions.keep(&key(n))), [false, true, true]);
    }

    proptest! {
        /// What stays is what came, and what lies above it; what goes is the rest, and the topmost of it cover it.
        #[test]
        fn what_came_stays_with_all_above_it(
            came in proptest::collection::btree_set("[abc](,[abc]){0,3}", 1..10),
            there in proptest::collection::btree_set("[abc](,[abc]){0,3}", 0..30),
        ) {
            let mut versions = Versions::default();
            for name in &came {
                versions.came("s", Some(1), &key(name));
            }
            prop_assert_eq!(versions.activate("s", 1), Ok(()));
            let came: BTreeSet<DnKey> = came.iter().map(|n| key(n)).collect();
            let mut gone = BTreeMap::new();
            for name in &there {
                let key = key(name);
                let stays = came.iter().any(|c| c.is_within(&key));
                prop_assert_eq!(versions.keep(&key), stays, "{}", name);
                if !stays {
                    gone.insert(key, name.clone());
                }
            }
            let top = topmost(gone.clone());
            for key in gone.keys() {
                prop_assert_eq!(top.iter().filter(|(t, _)| key.is_within(t)).count(), 1);
            }
        }
    }
}
