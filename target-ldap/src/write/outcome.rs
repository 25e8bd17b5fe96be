//! What a task came to, and what is known when it is tried.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use singer_common::change::Modification;
use singer_common::dn::DnKey;

use super::exchange::Exchange;
use super::ldap_result::LdapResult;
use super::locate::{MatchedNames, SHOWN};
use super::references::DeferredReference;
use crate::plan::entry_digests::EntryDigestCache;

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The entry was added.
    Added,
    /// The entry was modified.
    Modified,
    /// The entry was renamed, and modified where it had to be.
    Renamed,
    /// The entry was deleted.
    Deleted,
    /// The entry was moved away, in place of being deleted.
    Moved,
    /// What would have to be done is switched off (`operations`).
    LeftAlone,
    /// Nothing differed.
    Unchanged,
    /// The rule says to do nothing.
    Ignored,
    /// Not done, and may be later: the entry above it is not there, and is none that could be made; or entries lie
    /// below the one to be deleted.
    TooEarly(LdapResult),
    /// Not done, and may be later: its class demands an attribute all of whose values name entries that are not there.
    /// These are they.
    NeedsEntries(Vec<DnKey>),
    /// Not done: the entry has this name, and nobody saw to it that nothing else is done to that one.
    NotLocked(String),
    /// Not done, and may be later: another entry has the name. What the rule's filter would know that one by, for people:
    /// `employeeNumber=7`; empty where it is not known.
    NameTaken(String),
    /// The entry gave its name up for another one, and has this one for the time being.
    SteppedAside(String),
    /// The entry gave values up that others wait for; these modifications give them back.
    GaveUp {
        /// Its name.
        dn: String,
        /// What gives the values back.
        back: Vec<Modification>,
    },
    /// Not done, and may be later: nobody waits for the values that the entry would give up.
    NotGivenUp,
    /// Not done, for a reason that no directory gave.
    Refused(String),
    /// Not done: the record's filter fits these entries.
    Several(MatchedNames),
    /// A deletion that is not made: another record of the run has the entry.
    Kept(String),
    /// Nothing was to be done but to look which entries a filter fits.
    Found(MatchedNames),
}

/// What became of a task, and what is left to do of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was done.
    pub outcome: WriteOutcome,
    /// Values that were not written, for they name entries that are not there.
    pub deferred: Vec<DeferredReference>,
}

impl Attempt {
    /// Whether nothing is left to do, now or later.
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
            | WriteOutcome::Several(_)
            | WriteOutcome::Kept(_)
            | WriteOutcome::Found(_) => true,
            WriteOutcome::TooEarly(_)
            | WriteOutcome::NeedsEntries(_)
            | WriteOutcome::NotLocked(_)
            | WriteOutcome::NameTaken(_)
            | WriteOutcome::SteppedAside(_)
            | WriteOutcome::GaveUp { .. }
            | WriteOutcome::NotGivenUp => false,
        };
        is_final && self.deferred.is_empty()
    }
}

impl From<WriteOutcome> for Attempt {
    fn from(outcome: WriteOutcome) -> Self {
        Self { outcome, deferred: Vec::new() }
    }
}

/// What is known when a task is tried.
#[derive(Debug, Clone, Default)]
pub struct AttemptContext {
    /// Where the entry is, under which other name than the wanted one: nothing else is done there now.
    pub found: Option<String>,
    /// Whether it is to leave its name to another entry, which leaves it its own.
    pub steps_aside: bool,
    /// Why it is to give up values that others wait for.
    pub gives_up: Option<Exchange>,
    /// Whether no entry will come any more that it could wait for.
    pub is_last_try: bool,
    /// What was there when the stream's entries were read.
    pub digest_cache: Option<Arc<EntryDigestCache>>,
    /// Whether this try gave the entry its name, whatever came after.
    pub is_renamed: Arc<AtomicBool>,
}

/// What is wrong with a record whose filter fits several entries.
pub fn several(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let more = if names.len() > SHOWN { " and more" } else { "" };
    format!("match fits several entries: {}{more}; it has to fit one", shown.join(", "))
}
