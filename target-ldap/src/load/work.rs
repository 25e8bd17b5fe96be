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
use crate::map::{Task, WritePolicy};
use crate::write::change_label::ChangeLabel;
use crate::write::claims::{Claimant, KeyKind};
use crate::write::counts::RecordOutcome;
use crate::write::ldap_result::LdapResult;
use crate::write::{Attempt, AttemptContext, DeferredReference, Unreadable};

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
    /// Whether it writes the deferred values of a record.
    pub(super) is_deferred_part: bool,
    /// The outcome that was counted, while a part of it is deferred.
    pub(super) recorded: Option<RecordOutcome>,
    pub(super) key_kind: KeyKind,
    /// Whether it is a deletion by ACTIVATE_VERSION, without a record.
    pub(super) by_version: bool,
    pub(super) is_last_try: bool,
    /// The location of the record in a batch.
    pub(super) in_file: Option<InFile>,
    /// The deferred values that are being written.
    pub(super) values: Vec<DeferredReference>,
    /// The entry that gave up values for others, and the modifications that restore them; without modifications: it was asked
    /// in vain.
    pub(super) gave_up: Option<(String, Vec<Modification>)>,
    /// Whether its entry was renamed at an earlier try.
    pub(super) was_renamed: bool,
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

    /// Returns the failure of its record that the directory refused.
    pub(super) fn refused_by(&self, error: DirectoryError, hint: String) -> LoadError {
        let (line, stream, key) = (self.line, self.stream.to_string(), self.about.to_string());
        LoadError::Write { line, stream, key, error, hint, nearest: None }
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
            recorded: None,
            key_kind: KeyKind::Key,
            by_version: false,
            is_last_try: false,
            in_file: None,
            values: Vec::new(),
            gave_up: None,
            was_renamed: false,
            taken_by: String::new(),
            waits_for_value: false,
            is_addition: false,
            wants: Vec::new(),
            asked_with: None,
            waits_since: None,
            tried: None,
            is_wait_logged: false,
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
            Task::Nothing => String::new(),
        };
        // A DN has no NUL.
        let identity = self.task.filter().map(|filter| format!("{base}\0{filter}"));
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

/// A task that was tried, with its result.
pub(super) type Finished = (Box<Work>, Result<Attempt, DirectoryError>);
