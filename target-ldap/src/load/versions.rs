//! What came of each stream's versions, and so whether one is whole (ACTIVATE_VERSION). Pure.
//!
//! Which entries came is in the [books](crate::books): whatever came in the run stays, whichever stream and version brought
//! it.

use std::collections::BTreeMap;

use ldap_directory::dn::DnKey;

/// What came with one version.
#[derive(Debug, Default)]
struct VersionRecords {
    records: u64,
    /// A record's entry is not known: it could be any.
    unknown: bool,
}

/// Why nothing is to be deleted though a version was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// An empty source is taken for a fault, not for an empty directory.
    #[error("no record of the stream came with it")]
    NoRecord,
    /// Records of it came, but all of them after it.
    #[error(
        "it came before the first record of its version, and no ACTIVATE_VERSION after them; a version is announced behind its records"
    )]
    TooEarly,
    /// A record was rejected before its entry was known.
    #[error("a record was rejected whose entry is not known")]
    Unknown,
    /// The input ended right behind a record of the version, without another ACTIVATE_VERSION or STATE.
    #[error(
        "the input broke off: records of the version came after it, and neither an ACTIVATE_VERSION nor a STATE after them"
    )]
    BrokenOff,
    /// A quiet time came in the middle of it.
    #[error(
        "the version was carried out when the input was quiet, and what came before that is not known any more; set activate_when_quiet_seconds to more than the longest pause within a version"
    )]
    CarriedOut,
}

/// The records of a run by stream and version. Records without a version belong to every one.
#[derive(Debug, Default)]
pub struct Versions {
    streams: BTreeMap<String, BTreeMap<Option<i64>, VersionRecords>>,
    /// Versions that were carried out before the input ended.
    carried_out: BTreeMap<String, i64>,
}

impl Versions {
    fn of(&mut self, stream: &str, version: Option<i64>) -> &mut VersionRecords {
        self.streams.entry(stream.to_owned()).or_default().entry(version).or_default()
    }

    /// A record came.
    pub fn came(&mut self, stream: &str, version: Option<i64>) {
        if let Some(came) = self.streams.get_mut(stream).and_then(|s| s.get_mut(&version)) {
            came.records += 1;
        } else {
            self.of(stream, version).records += 1;
        }
    }

    /// A record came whose entry is not known.
    pub fn unknown_came(&mut self, stream: &str, version: Option<i64>) {
        self.of(stream, version).unknown = true;
    }

    /// A version is carried out, and the input goes on: records of it that come from now on are a part of it.
    pub fn carried_out(&mut self, stream: &str, version: i64) {
        self.carried_out.insert(stream.to_owned(), version);
    }

    /// A version is announced as whole: earlier ones no longer count.
    ///
    /// # Errors
    /// None of its records came so far, or only a part of them since it was carried out.
    pub fn activate(&mut self, stream: &str, version: i64) -> Result<(), SkipReason> {
        if self.carried_out.get(stream) == Some(&version) {
            return Err(SkipReason::CarriedOut);
        }
        let versions = self.streams.entry(stream.to_owned()).or_default();
        versions.retain(|other, _| other.is_none_or(|other| other >= version));
        let whole = [Some(version), None];
        let has_come = |came: &VersionRecords| came.records > 0 || came.unknown;
        if whole.iter().filter_map(|v| versions.get(v)).any(has_come) {
            Ok(())
        } else {
            Err(SkipReason::NoRecord)
        }
    }

    /// Why nothing is deleted for a version that had no record when it was announced, now that nothing more comes.
    pub fn skip_reason(&self, stream: &str, version: i64, skip_reason: SkipReason) -> SkipReason {
        let versions = self.streams.get(stream);
        let has_come =
            |v: Option<i64>| versions.and_then(|all| all.get(&v)).is_some_and(|came| came.records > 0);
        if skip_reason == SkipReason::NoRecord && (has_come(Some(version)) || has_come(None)) {
            SkipReason::TooEarly
        } else {
            skip_reason
        }
    }

    /// Whether a record was rejected whose entry is not known, of whichever stream: any entry could be meant.
    pub fn has_unknown(&self) -> bool {
        self.streams.values().flat_map(BTreeMap::values).any(|came| came.unknown)
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

    #[test]
    fn a_stream_without_records_and_an_unknown_one_delete_nothing() {
        let mut versions = Versions::default();
        assert_eq!(versions.activate("s", 1), Err(SkipReason::NoRecord));
        versions.came("other", Some(1));
        versions.came("s", Some(1));
        assert_eq!(versions.activate("s", 2), Err(SkipReason::NoRecord), "they are an earlier version's");
        assert_eq!(versions.skip_reason("s", 2, SkipReason::NoRecord), SkipReason::NoRecord);
        versions.came("s", Some(3));
        assert_eq!(versions.skip_reason("s", 3, SkipReason::NoRecord), SkipReason::TooEarly);
        assert_eq!(versions.activate("s", 3), Ok(()));
        versions.unknown_came("s", Some(4));
        assert!(versions.activate("s", 4).is_ok() && versions.has_unknown());
        versions.came("s", Some(5));
        assert_eq!(versions.activate("s", 5), Ok(()));
        assert!(!versions.has_unknown());
        versions.came("t", None);
        assert_eq!(versions.activate("t", 9), Ok(()), "without a version they belong to every one");
    }
}
