//! The numbers of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use singer_common::operations::observe::{self, Change};
use singer_common::operations::signals::Signal;

/// The result of a run that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSummary {
    /// The signal that stopped it.
    pub stopped: Option<Signal>,
    /// Records that were rejected.
    pub rejected: u64,
    /// Records of a reject file that later runs have overtaken, and that were not written.
    pub overtaken: u64,
    /// The sum over all streams.
    pub total: Counts,
}

/// The outcomes of a stream's records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records accepted.
    pub records: u64,
    /// Entries added.
    pub added: u64,
    /// Entries modified.
    pub modified: u64,
    /// Entries renamed, and possibly modified.
    pub renamed: u64,
    /// Entries moved instead of deleted.
    pub moved: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Entries that needed no change.
    pub unchanged: u64,
    /// Entries that a disallowed operation would have changed.
    pub left_alone: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// Entries that a version did not have: their outcomes are among the numbers above, and they are not records.
    pub by_version: u64,
    /// Deletions not made, because the entry belongs to another record of the run, left the scope, or is where it would be moved: they
    /// are among the unchanged.
    pub kept: u64,
    /// Entries deleted or moved with one above them: they are among these, and no outcomes of records.
    pub below: u64,
    /// Entries that a version did not have, and that are protected: no deletion was tried, and they are not among the numbers above.
    pub protected: u64,
}

/// The outcome of a record. Each record has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RecordOutcome {
    Added,
    Modified,
    Renamed,
    Moved,
    Deleted,
    Unchanged,
    /// The rule does not allow the operation.
    Ignored,
    Rejected,
}

impl Counts {
    fn of(&mut self, outcome: RecordOutcome) -> &mut u64 {
        match outcome {
            RecordOutcome::Added => &mut self.added,
            RecordOutcome::Modified => &mut self.modified,
            RecordOutcome::Renamed => &mut self.renamed,
            RecordOutcome::Moved => &mut self.moved,
            RecordOutcome::Deleted => &mut self.deleted,
            RecordOutcome::Unchanged => &mut self.unchanged,
            RecordOutcome::Ignored => &mut self.left_alone,
            RecordOutcome::Rejected => &mut self.rejected,
        }
    }

    /// Counts the outcome of a record. `before`: the outcome counted earlier, while a part of it was deferred.
    pub(crate) fn count(&mut self, outcome: RecordOutcome, before: Option<RecordOutcome>) {
        if let Some(before) = before {
            let count = self.of(before);
            *count = count.saturating_sub(1);
        }
        *self.of(outcome) += 1;
    }

    /// Counts entries that were deleted with one above them; `moved`: that were moved.
    pub(crate) fn count_below(&mut self, entries: u64, moved: bool) {
        *(if moved { &mut self.moved } else { &mut self.deleted }) += entries;
        self.below += entries;
    }

    /// Whether each accepted record, and each entry that a version did not have, has exactly one outcome.
    pub(crate) fn is_balanced(&self) -> bool {
        self.records + self.by_version == self.done()
    }

    /// Returns the number of records with an outcome.
    pub(crate) fn done(&self) -> u64 {
        let all = self.added
            + self.modified
            + self.renamed
            + self.moved
            + self.deleted
            + self.unchanged
            + self.left_alone
            + self.rejected;
        all.saturating_sub(self.below)
    }

    /// Returns the number of records accepted.
    pub(crate) fn accepted(&self) -> u64 {
        (self.records + self.by_version).max(self.done())
    }

    /// Logs the counts of a stream.
    pub(crate) fn log(&self, stream: &str, planned: &str) {
        let Counts {
            added,
            modified,
            renamed,
            moved,
            deleted,
            unchanged,
            left_alone,
            rejected,
            kept,
            protected,
            ..
        } = *self;
        tracing::info!(
            stream,
            added,
            modified,
            renamed,
            moved,
            deleted,
            unchanged,
            ignored = left_alone,
            rejected,
            kept,
            protected,
            "{stream}{planned}: {self}"
        );
    }

    pub(crate) fn plus(self, other: &Counts) -> Counts {
        Counts {
            records: self.records + other.records,
            added: self.added + other.added,
            modified: self.modified + other.modified,
            renamed: self.renamed + other.renamed,
            moved: self.moved + other.moved,
            deleted: self.deleted + other.deleted,
            unchanged: self.unchanged + other.unchanged,
            left_alone: self.left_alone + other.left_alone,
            rejected: self.rejected + other.rejected,
            by_version: self.by_version + other.by_version,
            kept: self.kept + other.kept,
            below: self.below + other.below,
            protected: self.protected + other.protected,
        }
    }
}

/// Brings the metrics up to date. `shown`: the numbers that they show so far.
pub(crate) fn show(counts: &BTreeMap<Arc<str>, Counts>, shown: &mut BTreeMap<Arc<str>, Counts>) {
    for (stream, now) in counts {
        let before = shown.get(stream).copied();
        if before.as_ref() == Some(now) {
            continue;
        }
        let before = before.unwrap_or_default();
        // An outcome may change once the deferred part of a record is written; a counter must not decrease.
        let highest = |now: u64, before: u64| now.max(before);
        shown.insert(
            stream.clone(),
            Counts {
                added: highest(now.added, before.added),
                modified: highest(now.modified, before.modified),
                renamed: highest(now.renamed, before.renamed),
                unchanged: highest(now.unchanged, before.unchanged),
                ..*now
            },
        );
        observe::records(stream, now.records.saturating_sub(before.records));
        observe::rejected(stream, now.rejected.saturating_sub(before.rejected));
        for (change, now, before) in [
            (Change::Added, now.added, before.added),
            (Change::Modified, now.modified, before.modified),
            (Change::Renamed, now.renamed, before.renamed),
            (Change::Moved, now.moved, before.moved),
            (Change::Deleted, now.deleted, before.deleted),
            (Change::Unchanged, now.unchanged, before.unchanged),
            (Change::LeftAlone, now.left_alone, before.left_alone),
        ] {
            observe::changes(stream, change, now.saturating_sub(before));
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts {
            added,
            modified,
            renamed,
            moved,
            deleted,
            unchanged,
            left_alone,
            rejected,
            kept,
            protected,
            ..
        } = self;
        write!(
            f,
            "{added} added, {modified} modified, {renamed} renamed, {deleted} deleted, {unchanged} unchanged"
        )?;
        if *moved > 0 {
            write!(f, ", {moved} moved")?;
        }
        if *left_alone > 0 {
            write!(f, ", {left_alone} left as they are (operations)")?;
        }
        if *kept > 0 {
            write!(f, ", {kept} of the unchanged not deleted (see the warnings)")?;
        }
        if *protected > 0 {
            write!(f, ", {protected} protected from deletion")?;
        }
        if *rejected > 0 { write!(f, ", {rejected} rejected") } else { Ok(()) }
    }
}
