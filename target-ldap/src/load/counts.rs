//! What a run did, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use singer_common::observe::{self, Change};
use singer_common::signals::Signal;

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
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
}

impl Counts {
    /// Records of which it is known how they ended.
    pub(super) fn done(&self) -> u64 {
        self.added
            + self.modified
            + self.renamed
            + self.moved
            + self.deleted
            + self.unchanged
            + self.left_alone
            + self.rejected
    }

    /// Records taken in: those that were rejected at once are not among [`Self::records`].
    pub(super) fn taken(&self) -> u64 {
        self.records.max(self.done())
    }

    pub(super) fn plus(self, other: &Counts) -> Counts {
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
        }
    }
}

/// Brings the metrics up to date. `shown` is what they show so far.
pub(super) fn show(counts: &BTreeMap<Arc<str>, Counts>, shown: &mut BTreeMap<Arc<str>, Counts>) {
    for (stream, now) in counts {
        let before = shown.get(stream).copied();
        if before.as_ref() == Some(now) {
            continue;
        }
        let before = before.unwrap_or_default();
        // It may become `modified` once the rest of a record is written; a counter never goes back.
        let unchanged = now.unchanged.max(before.unchanged);
        shown.insert(stream.clone(), Counts { unchanged, ..*now });
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
        let Counts { added, modified, renamed, moved, deleted, unchanged, left_alone, rejected, records: _ } =
            self;
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
        if *rejected > 0 { write!(f, ", {rejected} rejected") } else { Ok(()) }
    }
}
