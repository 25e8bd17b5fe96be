//! The records of each stream's versions, and whether a version is complete (ACTIVATE_VERSION). Pure.
//!
//! The entries themselves are in the [claims](crate::write::claims): every entry of the run is kept, whatever its stream and
//! version.

use std::collections::BTreeMap;

/// The records of one version.
#[derive(Debug, Default)]
struct VersionRecords {
    records: u64,
    /// Whether a record has an unknown entry: it could be any.
    unknown: bool,
}

/// Why an announced version deletes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// An empty source is considered a fault, not an empty directory.
    #[error("no record of the stream came with it")]
    NoRecord,
    /// All of its records arrived after it.
    #[error(
        "it came before the first record of its version, and no ACTIVATE_VERSION after them; a version is announced behind its records"
    )]
    TooEarly,
    /// A record was rejected before its entry was known.
    #[error("a record was rejected whose entry is not known")]
    Unknown,
    /// The input ended right after a record of the version, without another ACTIVATE_VERSION or STATE.
    #[error(
        "the input broke off: records of the version came after it, and neither an ACTIVATE_VERSION nor a STATE after them"
    )]
    BrokenOff,
    /// The entries of its records are all outside of the scope.
    #[error(
        "no record of the run has an entry below its scope_base, so the scope is not the stream's; compare scope_base with dn_template"
    )]
    Elsewhere,
    /// The input was quiet within the version.
    #[error(
        "the version was carried out when the input was quiet, and what came before that is not known any more; set activate_when_quiet_seconds to more than the longest pause within a version"
    )]
    CarriedOut,
}

/// The records of a run by stream and version. Records without a version belong to all.
#[derive(Debug, Default)]
pub struct Versions {
    streams: BTreeMap<String, BTreeMap<Option<i64>, VersionRecords>>,
    /// Versions that were applied before the input ended.
    carried_out: BTreeMap<String, i64>,
}

impl Versions {
    fn of(&mut self, stream: &str, version: Option<i64>) -> &mut VersionRecords {
        self.streams.entry(stream.to_owned()).or_default().entry(version).or_default()
    }

    /// Counts a record.
    pub fn count_record(&mut self, stream: &str, version: Option<i64>) {
        if let Some(came) = self.streams.get_mut(stream).and_then(|s| s.get_mut(&version)) {
            came.records += 1;
        } else {
            self.of(stream, version).records += 1;
        }
    }

    /// Notes a record whose entry is not known.
    pub fn note_unknown_entry(&mut self, stream: &str, version: Option<i64>) {
        self.of(stream, version).unknown = true;
    }

    /// Notes that a version was applied, and the input continues: later records of it are a part of it.
    pub fn carried_out(&mut self, stream: &str, version: i64) {
        self.carried_out.insert(stream.to_owned(), version);
    }

    /// Announces a version as complete: earlier versions no longer count.
    ///
    /// # Errors
    /// It has no records so far, or only a part of them since it was applied.
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

    /// Returns why a version without records at its announcement deletes nothing, at the end of the input.
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

    /// Whether a record of any stream was rejected whose entry is not known: any entry could be meant.
    pub fn has_unknown(&self) -> bool {
        self.streams.values().flat_map(BTreeMap::values).any(|came| came.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_records_and_an_unknown_one_delete_nothing() {
        let mut versions = Versions::default();
        assert_eq!(versions.activate("s", 1), Err(SkipReason::NoRecord));
        versions.count_record("other", Some(1));
        versions.count_record("s", Some(1));
        assert_eq!(versions.activate("s", 2), Err(SkipReason::NoRecord), "they are an earlier version's");
        assert_eq!(versions.skip_reason("s", 2, SkipReason::NoRecord), SkipReason::NoRecord);
        versions.count_record("s", Some(3));
        assert_eq!(versions.skip_reason("s", 3, SkipReason::NoRecord), SkipReason::TooEarly);
        assert_eq!(versions.activate("s", 3), Ok(()));
        versions.note_unknown_entry("s", Some(4));
        assert!(versions.activate("s", 4).is_ok() && versions.has_unknown());
        versions.count_record("s", Some(5));
        assert_eq!(versions.activate("s", 5), Ok(()));
        assert!(!versions.has_unknown());
        versions.count_record("t", None);
        assert_eq!(versions.activate("t", 9), Ok(()), "without a version they belong to every one");
    }
}
