//! What a run did, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use singer_common::operations::observe::{self, Change};
use singer_common::operations::signals::Signal;

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSummary {
    /// The signal that stopped it.
    pub stopped: Option<Signal>,
    /// Records that were rejected.
    pub rejected: u64,
    /// What was done in all.
    pub total: Counts,
}

/// What was done to a stream's entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records taken in.
    pub records: u64,
    /// Entries added.
    pub added: u64,
    /// Entries modified.
    pub modified: u64,
    /// Entries renamed, and modified where they had to be.
    pub renamed: u64,
    /// Entries moved away in place of being deleted.
    pub moved: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Entries that were right already.
    pub unchanged: u64,
    /// Entries that an operation that is switched off would have changed.
    pub left_alone: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// Entries that a version no longer had: what became of them is among the numbers above, and no record.
    pub by_version: u64,
    /// Deletions that were not made, for another record of the run has the entry: they are among the unchanged.
    pub kept: u64,
}

/// What became of a record. Each has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RecordOutcome {
    Added,
    Modified,
    Renamed,
    Moved,
    Deleted,
    Unchanged,
    /// A switch of the rule says not to do it.
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

    /// Puts down what became of a record. `before`: what was put down of it earlier, when a part of it still waited.
    pub(crate) fn count(&mut self, outcome: RecordOutcome, before: Option<RecordOutcome>) {
        if let Some(before) = before {
            let count = self.of(before);
            *count = count.saturating_sub(1);
        }
        *self.of(outcome) += 1;
    }

    /// Whether each record taken in, and each entry that a version no longer had, ended as exactly one thing.
    pub(crate) fn is_balanced(&self) -> bool {
        self.records + self.by_version == self.done()
    }

    /// Records of which it is known how they ended.
    pub(crate) fn done(&self) -> u64 {
        self.added
            + self.modified
            + self.renamed
            + self.moved
            + self.deleted
            + self.unchanged
            + self.left_alone
            + self.rejected
    }

    /// What was taken in.
    pub(crate) fn accepted(&self) -> u64 {
        (self.records + self.by_version).max(self.done())
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
        }
    }
}

/// Brings the metrics up to date. `shown` is what they show so far.
pub(crate) fn show(counts: &BTreeMap<Arc<str>, Counts>, shown: &mut BTreeMap<Arc<str>, Counts>) {
    for (stream, now) in counts {
        let before = shown.get(stream).copied();
        if before.as_ref() == Some(now) {
            continue;
        }
        let before = before.unwrap_or_default();
        // It may become another thing once the rest of a record is written; a counter never goes back.
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
            added, modified, renamed, moved, deleted, unchanged, left_alone, rejected, kept, ..
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
            write!(f, ", {kept} of the unchanged not deleted (other records of the run have them)")?;
        }
        if *rejected > 0 { write!(f, ", {rejected} rejected") } else { Ok(()) }
    }
}
