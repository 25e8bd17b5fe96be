//! The outcome of a task, and the context of an attempt.

use std::sync::{Arc, Mutex, PoisonError};

use ldap_directory::change::Modification;
use ldap_directory::dn::DnKey;
use ldap_directory::unseen::Hidden;

use super::exchange::Exchange;
use super::ldap_result::LdapResult;
use super::locate::{MatchedNames, SHOWN};
use super::readable::Unreadable;
use super::references::DeferredReference;
use super::removal::LimitReached;
use super::rename::RenameMade;
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
    /// Not done yet: its class requires an attribute whose values are not found. What entries that may be these would have, as hashes.
    NeedsReferences(Vec<u64>),
    /// Not done yet: the entry has this DN, which is not locked.
    NotLocked(String),
    /// Not done yet: another entry has the DN. The value that `match` would compare of that one: `employeeNumber=7`; empty if
    /// unknown.
    NameTaken(String),
    /// Not done yet: the rule's scope has no entry for the record, and that of another rule has.
    InAnotherScope(InAnotherScope),
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
    /// Refused: references were not found. What else the record says is written.
    Unfound(Box<Unfound>),
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

/// An entry in the scope of another rule that the filter of a record fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InAnotherScope {
    /// Its DN.
    pub dn: String,
    /// The filter.
    pub filter: String,
    /// What a deletion by the same filter in that scope has as its identity.
    pub identity: String,
}

impl std::fmt::Display for InAnotherScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no entry in the scope of its rule fits {}, but `{}` in that of another rule does, and this run would delete it: if this is one person who has moved, both rules need a scope_base that has both places, with a scope_filter each; if these are two people, match has to compare more",
            ldap_directory::text::printable(&self.filter),
            ldap_directory::text::printable(&self.dn),
        )
    }
}

impl WriteOutcome {
    /// Whether the entry is as its record says, or its DN is.
    pub(crate) fn is_done(&self) -> bool {
        matches!(
            self,
            WriteOutcome::Added
                | WriteOutcome::Modified
                | WriteOutcome::Renamed
                | WriteOutcome::Deleted
                | WriteOutcome::LeftAlone
                | WriteOutcome::Unchanged
        )
    }
}

/// The result of one attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The outcome.
    pub outcome: WriteOutcome,
    /// Values that reference missing entries, and for which the record waits. An entry that exists has nothing of its record yet but its
    /// DN; one that was added has everything else.
    pub deferred: Vec<DeferredReference>,
    /// The number of entries below it that were deleted, or moved, with it.
    pub below: u64,
    /// The references that were looked up; `None`: the record has none.
    pub found: Option<Box<FoundReferences>>,
}

/// What was found of the references of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundReferences {
    /// The attributes that wait for entries. The rest of the record is written.
    pub pending: Vec<PendingReference>,
    /// Whether nothing of the record is written, because an attribute waits.
    pub is_held: bool,
    /// What was not found, where that is no error.
    pub warnings: Vec<Unfound>,
    /// A hash of the DNs that were found.
    pub digest: u64,
    /// The values that the entry had before of attributes that were written.
    pub previous: Vec<PreviousValues>,
}

/// An attribute with the values that an entry had.
pub type PreviousValues = (String, Vec<Vec<u8>>);

/// An attribute that waits for entries which a filter is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingReference {
    /// The attribute.
    pub description: String,
    /// What such entries have, as hashes of an attribute and a value.
    pub awaited: Vec<u64>,
    /// Whether nothing of the record is written before (`missing: fail`).
    pub holds: bool,
}

/// References that were not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfound {
    /// The setting that says how they are found.
    pub setting: String,
    /// What was not found.
    pub reason: String,
    /// The attribute by which an entry may not be found, and the entry: the bound user may not search it.
    pub hidden: Option<Hidden>,
}

/// The references of a record, for the attempt to write the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceContext {
    /// The attributes that wait.
    pub pending: Vec<PendingReference>,
    /// The attributes whose values were found.
    pub found: Vec<String>,
    /// The attributes that are left out: no value was found.
    pub left_out: Vec<String>,
    /// The attributes that are an error of the record.
    pub faulty: Vec<String>,
    /// Whether no entry is to come any more.
    pub is_settled: bool,
}

impl Attempt {
    /// Returns the attributes that wait for entries which a filter is to find.
    pub fn pending(&self) -> &[PendingReference] {
        self.found.as_ref().map(|found| found.pending.as_slice()).unwrap_or_default()
    }

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
            | WriteOutcome::Unfound(_)
            | WriteOutcome::Several(_)
            | WriteOutcome::Kept(_)
            | WriteOutcome::NotMoved(_)
            | WriteOutcome::LimitReached(_)
            | WriteOutcome::Found(_) => true,
            WriteOutcome::TooEarly(_)
            | WriteOutcome::NeedsEntries(_)
            | WriteOutcome::NeedsReferences(_)
            | WriteOutcome::NotLocked(_)
            | WriteOutcome::NameTaken(_)
            | WriteOutcome::InAnotherScope(_)
            | WriteOutcome::SteppedAside(_)
            | WriteOutcome::GaveUp { .. }
            | WriteOutcome::NotGivenUp
            | WriteOutcome::TookBack(_) => false,
        };
        is_final && self.deferred.is_empty() && self.pending().is_empty()
    }
}

impl From<WriteOutcome> for Attempt {
    fn from(outcome: WriteOutcome) -> Self {
        Self { outcome, deferred: Vec::new(), below: 0, found: None }
    }
}

/// What is known when a task is tried.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the attempt")]
pub struct AttemptContext {
    /// The current DN of the entry, if it is not the wanted one. It is locked for this task.
    pub found: Option<String>,
    /// Whether the entry must give up its DN to another entry, which gives up the one that this entry wants.
    pub steps_aside: bool,
    /// Whether the entry gave up values in this run: it gets them, or others, at its end at the latest.
    pub gave_up: bool,
    /// What the entry does with values that others wait for, instead of what its record asks for.
    pub exchange: Option<Exchange>,
    /// Whether its entry was just looked for and does not exist, and has values that were chosen for it.
    pub is_new: bool,
    /// Whether no further entry will be added that it could wait for.
    pub is_last_try: bool,
    /// Whether the record has no entry in the scopes of other rules.
    pub passes_scopes: bool,
    /// Whether no entry will come any more that a filter could find.
    pub is_settled: bool,
    /// The hash of the references that were found before, if nothing else is to be compared.
    pub expects: Option<u64>,
    /// What the entry had before the run of references that may be missing after all.
    pub previous: Arc<Vec<PreviousValues>>,
    /// The references, while the rest is written.
    pub references: Option<Arc<ReferenceContext>>,
    /// The entries of the stream, as they were read in advance.
    pub digest_cache: Option<Arc<EntryDigestCache>>,
    /// The rename that this attempt made, even if it failed later.
    pub renamed: Arc<Mutex<Option<RenameMade>>>,
}

impl AttemptContext {
    /// Returns the rename that the attempt made, once.
    pub(crate) fn take_renamed(&self) -> Option<RenameMade> {
        self.renamed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes a rename.
    pub(crate) fn note_renamed(&self, made: RenameMade) {
        *self.renamed.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    }
}

/// Returns the problem of a record whose filter matches several entries.
pub fn several(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let more = if names.len() > SHOWN { " and more" } else { "" };
    format!("match fits several entries: {}{more}; it has to fit one", shown.join(", "))
}
