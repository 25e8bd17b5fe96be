//! The outcome of a task, and the context of an attempt.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ldap_directory::change::Modification;
use ldap_directory::dn::DnKey;

use super::exchange::Exchange;
use super::ldap_result::LdapResult;
use super::locate::{MatchedNames, SHOWN};
use super::readable::Unreadable;
use super::references::DeferredReference;
use super::removal::LimitReached;
use crate::plan::entry_digests::EntryDigestCache;

/// The outcome of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The entry was added.
    Added,
    /// The entry was modified.
    Modified,
    /// The entry was renamed, and possibly modified.
    Renamed,
    /// The entry was deleted.
    Deleted,
    /// The entry was moved instead of deleted.
    Moved,
    /// The rule does not allow the operation (`operations`).
    LeftAlone,
    /// Nothing differed.
    Unchanged,
    /// The rule says to do nothing.
    Ignored,
    /// Not done yet: the parent does not exist, and cannot be created; or the entry to be deleted has children.
    TooEarly(LdapResult),
    /// Not done yet: its class requires an attribute, and all its values reference these missing entries.
    NeedsEntries(Vec<DnKey>),
    /// Not done yet: the entry has this DN, which is not locked.
    NotLocked(String),
    /// Not done yet: another entry has the DN. The value that `match` would compare of that one: `employeeNumber=7`; empty if
    /// unknown.
    NameTaken(String),
    /// The entry gave up its DN to another one, and has this DN for the time being.
    SteppedAside(String),
    /// The entry gave up values that others wait for.
    GaveUp {
        /// Its DN.
        dn: String,
        /// The modifications that restore the values.
        back: Vec<Modification>,
    },
    /// Not done yet: no entry waits for the values that this one would give up.
    NotGivenUp,
    /// Not done yet: the entry has the values again that it gave up in vain, except for these, which another entry has now.
    TookBack(Vec<Modification>),
    /// Refused, not by the directory.
    Refused(String),
    /// Refused: what the record asks for depends on an attribute that the bound user may not see.
    Unreadable(Unreadable),
    /// Refused: the record's filter matches these entries.
    Several(MatchedNames),
    /// Not deleted: the entry belongs to another record of the run, or left the scope of the stream.
    Kept(String),
    /// Not moved: the entry is where `on_delete` would move it, and no earlier deletion put it there.
    NotMoved(String),
    /// Not removed: the run would exceed a limit, and ends.
    LimitReached(Box<LimitReached>),
    /// The entries that a filter matches, which was all that was asked.
    Found(MatchedNames),
}

/// The result of one attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The outcome.
    pub outcome: WriteOutcome,
    /// Values that were not written yet, because they reference missing entries.
    pub deferred: Vec<DeferredReference>,
    /// The number of entries below it that were deleted, or moved, with it.
    pub below: u64,
}

impl Attempt {
    /// Whether nothing is left to do.
    pub fn is_final(&self) -> bool {
        let is_final = match &self.outcome {
            WriteOutcome::Added
            | WriteOutcome::Modified
            | WriteOutcome::Renamed
            | WriteOutcome::Deleted
            | WriteOutcome::Moved
            | WriteOutcome::LeftAlone
            | WriteOutcome::Unchanged
            | WriteOutcome::Ignored
            | WriteOutcome::Refused(_)
            | WriteOutcome::Unreadable(_)
            | WriteOutcome::Several(_)
            | WriteOutcome::Kept(_)
            | WriteOutcome::NotMoved(_)
            | WriteOutcome::LimitReached(_)
            | WriteOutcome::Found(_) => true,
            WriteOutcome::TooEarly(_)
            | WriteOutcome::NeedsEntries(_)
            | WriteOutcome::NotLocked(_)
            | WriteOutcome::NameTaken(_)
            | WriteOutcome::SteppedAside(_)
            | WriteOutcome::GaveUp { .. }
            | WriteOutcome::NotGivenUp
            | WriteOutcome::TookBack(_) => false,
        };
        is_final && self.deferred.is_empty()
    }
}

impl From<WriteOutcome> for Attempt {
    fn from(outcome: WriteOutcome) -> Self {
        Self { outcome, deferred: Vec::new(), below: 0 }
    }
}

/// What is known when a task is tried.
#[derive(Debug, Clone, Default)]
pub struct AttemptContext {
    /// The current DN of the entry, if it is not the wanted one. It is locked for this task.
    pub found: Option<String>,
    /// Whether the entry must give up its DN to another entry, which gives up the one that this entry wants.
    pub steps_aside: bool,
    /// Whether the entry gave up values in this run: it gets them, or others, at its end at the latest.
    pub gave_up: bool,
    /// What the entry does with values that others wait for, instead of what its record asks for.
    pub exchange: Option<Exchange>,
    /// Whether no further entry will be added that it could wait for.
    pub is_last_try: bool,
    /// The entries of the stream, as they were read in advance.
    pub digest_cache: Option<Arc<EntryDigestCache>>,
    /// Whether this attempt renamed the entry, even if it failed later.
    pub is_renamed: Arc<AtomicBool>,
}

/// Returns the problem of a record whose filter matches several entries.
pub fn several(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let more = if names.len() > SHOWN { " and more" } else { "" };
    format!("match fits several entries: {}{more}; it has to fit one", shown.join(", "))
}
