//! A task in progress: what the record asks for, and the results of its tries.

use std::sync::Arc;
use std::time::Instant;

use ldap_directory::DirectoryError;
use ldap_directory::change::Modification;
use ldap_directory::dn::DnKey;
use serde_json::Value;

use super::LoadError;
use super::in_file::InFile;
use super::rejects::RejectSchema;
use super::scheduler::{DnLock, TaskKind};
use super::spill::SpillSlot;
use crate::map::wanted::Wanted;
use crate::map::{Task, WritePolicy};
use crate::rules::policy::Policy;
use crate::rules::rule::Operations;
use crate::write::change_label::ChangeLabel;
use crate::write::claims::{Claimant, KeyKind};
use crate::write::counts::RecordOutcome;
use crate::write::ldap_result::LdapResult;
use crate::write::{
    Attempt, AttemptContext, DeferredReference, Generating, InAnotherScope, PreviousValues, RenameMade,
    Unfound, Unreadable, identity,
};

/// What is kept of a record in case it is rejected.
#[derive(Debug, Clone)]
pub(super) struct RejectContext {
    pub(super) record: Arc<Value>,
    pub(super) reject_schema: Arc<RejectSchema>,
}

/// A task in progress.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the task")]
pub(super) struct Work {
    pub(super) number: u64,
    pub(super) line: u64,
    pub(super) stream: Arc<str>,
    pub(super) task: Task,
    /// The key of the wanted DN; that of the root if the record does not name it.
    pub(super) key: DnKey,
    /// The record's key, for messages.
    pub(super) about: Arc<str>,
    pub(super) version: Option<i64>,
    /// With `on_error: skip`.
    pub(super) kept: Option<RejectContext>,
    /// Why it was too early at its last try.
    pub(super) answer: Option<LdapResult>,
    pub(super) context: AttemptContext,
    /// How often its entry had another DN.
    pub(super) moves: u32,
    /// The DN that it gave up for another entry.
    pub(super) left: Option<String>,
    /// When its try began ([`Rechecks`](super::rechecks::Rechecks)).
    pub(super) began: u64,
    /// Whether it compares the references of a record again.
    pub(super) is_recheck: bool,
    /// Whether it writes what waited for entries that the record references: its whole, or the rest of an entry that was added.
    pub(super) is_deferred_part: bool,
    /// Whether it is the rest of an entry that was added.
    pub(super) is_rest: bool,
    /// Whether a later record of the same entry was written meanwhile.
    pub(super) is_superseded: bool,
    /// The outcome that was counted, while a part of it is deferred.
    pub(super) recorded: Option<RecordOutcome>,
    pub(super) key_kind: KeyKind,
    /// Whether it is a deletion by ACTIVATE_VERSION, without a record.
    pub(super) by_version: bool,
    pub(super) is_last_try: bool,
    /// An entry in the scope of another rule that its filter fits.
    pub(super) in_another_scope: Option<InAnotherScope>,
    /// Whether this run would delete that entry.
    pub(super) is_doubtful_move: bool,
    /// Whether no entry is to come any more that its references wait for.
    pub(super) is_settled: bool,
    /// Whether it waits as a whole for entries that filters are to find.
    pub(super) waits_for_references: bool,
    /// The hash of the references that were found for it.
    pub(super) found: Option<u64>,
    /// What its entry had before of the references that were written.
    pub(super) previous: Arc<Vec<PreviousValues>>,
    /// The location of the record in a batch.
    pub(super) in_file: Option<InFile>,
    /// The deferred values that are being written.
    pub(super) values: Vec<DeferredReference>,
    /// The entry that gave up values for others, and the modifications that restore them; without modifications: it was asked
    /// in vain.
    pub(super) gave_up: Option<(String, Vec<Modification>)>,
    /// Whether its entry was renamed at an earlier try.
    pub(super) was_renamed: bool,
    /// The rename of its entry that stands, while the record is not done.
    pub(super) renamed: Option<RenameMade>,
    /// A rename of an earlier try that was taken back.
    pub(super) renamed_back: Option<RenameMade>,
    /// The value that `match` would compare of the entry that has its DN; empty if unknown.
    pub(super) taken_by: String,
    /// Whether it waits for a unique value that another entry has.
    pub(super) waits_for_value: bool,
    /// Whether its entry is still to be added: it has no value to give up.
    pub(super) is_addition: bool,
    /// The values that it is to write, as hashes, while it waits for one.
    pub(super) wants: Vec<u64>,
    /// The number of unique attributes known when it was last asked to give up its values; `None`: not asked yet.
    pub(super) asked_with: Option<usize>,
    /// Since when it waits, and when it was last tried.
    pub(super) waits_since: Option<Instant>,
    pub(super) tried: Option<Instant>,
    pub(super) is_wait_logged: bool,
    /// The choice of values for its entry, until that is made.
    pub(super) generating: Option<Box<Generating>>,
    /// Where its values are, while it waits.
    pub(super) spilled: Option<Arc<SpillSlot>>,
    /// Their size, while it is ready or in progress.
    pub(super) weight: Option<Arc<SpillSlot>>,
}

impl Work {
    /// Returns the failure of its record.
    pub(super) fn bad(&self, reason: String) -> LoadError {
        let (line, stream, key) = (self.line, self.stream.to_string(), self.about.to_string());
        LoadError::Record { line, stream, key, reason, nearest: None }
    }

    /// Returns the failure of its record that depends on an attribute which the bound user may not see.
    pub(super) fn unreadable(&self, unreadable: Unreadable) -> LoadError {
        let (line, stream, key) = (self.line, self.stream.to_string(), self.about.to_string());
        LoadError::Unreadable { line, stream, key, unreadable: Box::new(unreadable) }
    }

    /// Returns the failure of its record whose references were not found.
    pub(super) fn unfound(&self, unfound: Unfound) -> LoadError {
        let (line, stream, key) = (self.line, self.stream.to_string(), self.about.to_string());
        let Unfound { setting, mut reason, hidden } = unfound;
        if self.recorded.is_some() {
            reason.push_str("; everything else that the record says is written");
        }
        LoadError::Reference { line, stream, key, setting, reason, hidden: hidden.map(Box::new) }
    }

    /// Returns the failure of its record that the directory refused.
    pub(super) fn refused_by(&self, error: DirectoryError, hint: &str) -> LoadError {
        LoadError::write(self.line, &self.stream, error).of_key(&self.about).noting(hint)
    }

    pub(super) fn new(
        number: u64,
        line: u64,
        stream: Arc<str>,
        task: Task,
        key: DnKey,
        about: Arc<str>,
    ) -> Self {
        Self {
            number,
            line,
            stream,
            task,
            key,
            about,
            version: None,
            kept: None,
            answer: None,
            context: AttemptContext::default(),
            moves: 0,
            left: None,
            began: 0,
            is_recheck: false,
            is_deferred_part: false,
            is_rest: false,
            is_superseded: false,
            recorded: None,
            key_kind: KeyKind::Key,
            by_version: false,
            is_last_try: false,
            in_another_scope: None,
            is_doubtful_move: false,
            is_settled: false,
            waits_for_references: false,
            found: None,
            previous: Arc::default(),
            in_file: None,
            values: Vec::new(),
            gave_up: None,
            was_renamed: false,
            renamed: None,
            renamed_back: None,
            taken_by: String::new(),
            waits_for_value: false,
            is_addition: false,
            wants: Vec::new(),
            asked_with: None,
            waits_since: None,
            tried: None,
            is_wait_logged: false,
            generating: None,
            spilled: None,
            weight: None,
        }
    }

    /// Returns the lock that it needs, as far as its record says.
    pub(super) fn dn_lock(&self) -> DnLock {
        let key = Some(self.key.clone()).filter(|key| !key.is_root());
        let found = |write_policy: &WritePolicy| write_policy.base.clone().unwrap_or_default();
        let base = match &self.task {
            Task::Upsert { write_policy, .. }
            | Task::Delete { write_policy, .. }
            | Task::Find { write_policy, .. } => found(write_policy),
            Task::Membership(_) | Task::Nothing => String::new(),
        };
        let identity = self.task.filter().map(|filter| identity(&base, filter));
        DnLock { keys: key.into_iter().collect(), identity }
    }

    /// Returns the current DN of its entry.
    pub(super) fn dn(&self) -> Option<&str> {
        self.task.dn().or(self.context.found.as_deref())
    }

    /// Returns the label of its changes.
    pub(super) fn label(&self) -> ChangeLabel {
        let record = match &self.in_file {
            Some(place) => format!("{} ({place})", self.about).into(),
            None => self.about.clone(),
        };
        let is_leaving = matches!(self.task, Task::Delete { .. });
        ChangeLabel { number: self.number, stream: self.stream.clone(), line: self.line, record, is_leaving }
    }

    /// Returns the record that claims its entry.
    pub(super) fn claimant(&self) -> Claimant<'_> {
        Claimant { stream: &self.stream, key: &self.about, kind: self.key_kind }
    }

    pub(super) fn kind(&self) -> TaskKind {
        if matches!(self.task, Task::Delete { .. }) { TaskKind::Delete } else { TaskKind::Upsert }
    }
}

/// Returns the attributes that add deferred values to an entry that was added with the other values of these attributes.
pub(super) fn remaining(deferred: &[DeferredReference], wanted: &[Wanted]) -> Vec<Wanted> {
    let mut attributes: Vec<Wanted> = Vec::new();
    for DeferredReference { description, value, .. } in deferred {
        if let Some(there) = attributes.iter_mut().find(|a| a.description == *description) {
            there.values.push(value.clone());
        } else {
            attributes.push(Wanted::merged(description.clone(), value.clone()));
        }
    }
    // The entry was added without the attribute: a later record may have written it.
    for attribute in &mut attributes {
        let is_whole =
            |a: &&Wanted| a.description == attribute.description && a.values.len() == attribute.values.len();
        if wanted.iter().find(is_whole).is_some_and(|a| a.policy == Policy::Keep) {
            attribute.policy = Policy::Keep;
        }
    }
    attributes
}

/// Returns the policy of a record whose entry is only changed where it is.
pub(super) fn in_place(write_policy: &WritePolicy) -> Arc<WritePolicy> {
    let operations = Operations { create: false, rename: false, ..write_policy.operations };
    Arc::new(WritePolicy { operations, ..WritePolicy::clone(write_policy) })
}

/// A task that was tried, with its result.
pub(super) type Finished = (Box<Work>, Result<Attempt, DirectoryError>);
