//! The directory that is written to, with what accompanies each change: the plan, the undo journal, the limits.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, CompactEntry, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::ldif::writer::LdifWriteError;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::secret::Secret;
use ldap_directory::{Directory, DirectoryError, Vendor, WriteControl};
use singer_common::operations::signals;
use tokio::sync::Semaphore;

use crate::map::ENTRY_UUID;
use crate::rules::names::{ENTRY_IDS, to_ask};
use crate::write::change_label::CHANGE_LABEL;
use crate::write::claims::DeletePermit;
use crate::write::counts::{Counts, RecordOutcome};
use crate::write::gate::ChangeGate;
use crate::write::guard::Tally;
use crate::write::inverse::{are_apart, inverse, needs};
use crate::write::plan_output::{PlanOutput, PlannedChange, RefusedRecord};
use crate::write::undo::change_note::{self, ChangeNote, is_list_of_entries};
use crate::write::undo::{Announced, Undo, UndoError};

mod sending;

/// Marks a change in the journal as made or void. If it was sent and has no answer, it stays unknown: the server may still make it.
fn told(
    undo: &Undo,
    announced: Announced,
    result: &Result<(), DirectoryError>,
    id: Option<&(String, String)>,
) {
    match result {
        Ok(()) => undo.made(announced, id),
        Err(e) if e.is_outcome_unknown() => {}
        Err(_) => undo.void(announced),
    }
}

fn unwritable(error: LdifWriteError) -> DirectoryError {
    let (path, reason) = ("stdout".to_owned(), error.to_string());
    DirectoryError::File { path, reason, unreachable: false, cause: Some(error.into()) }
}

fn unpermitted(dn: &str) -> DirectoryError {
    let reason = "internal error: a deletion that nobody gave leave for".to_owned();
    DirectoryError::File { path: dn.to_owned(), reason, unreachable: false, cause: None }
}

/// Returns controls with a condition in addition: a server accepts one assertion (RFC 4528).
fn asserting(controls: &[WriteControl], condition: Filter) -> Vec<WriteControl> {
    let mut all = vec![condition];
    let mut others = Vec::new();
    for control in controls {
        match control {
            WriteControl::Assertion(filter) => all.push(filter.clone()),
            WriteControl::RelaxRules => others.push(control.clone()),
        }
    }
    let filter = match <[Filter; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(all) => Filter::And(all),
    };
    others.push(WriteControl::Assertion(filter));
    others
}

/// Returns the values that a change removes, if it only adds and removes single values of lists of entries.
fn values_removed(change: &Change, schema: &Schema) -> Option<Vec<Attribute>> {
    let Change::Modify { changes, .. } = change else { return None };
    let is_single = |step: &Modification| {
        let by_value = matches!(step.kind, ModificationKind::Add | ModificationKind::Delete);
        by_value && !step.values.is_empty() && is_list_of_entries(&step.description, schema)
    };
    let all: Vec<&Modification> = changes.iter().collect();
    let names: BTreeSet<String> =
        changes.iter().map(|step| schema.normal_description(&step.description)).collect();
    let is_apart = |name: &String| {
        let of: Vec<&Modification> =
            all.iter().copied().filter(|step| schema.same_description(&step.description, name)).collect();
        are_apart(&of, schema)
    };
    if !changes.iter().all(is_single) || !names.iter().all(is_apart) {
        return None;
    }
    let removed = names.into_iter().map(|name| {
        let of = |step: &&Modification| {
            step.kind == ModificationKind::Delete && schema.same_description(&step.description, &name)
        };
        let values = changes.iter().filter(of).flat_map(|step| step.values.iter().cloned()).collect();
        Attribute::new(name.clone(), values)
    });
    Some(removed.collect())
}

/// A directory to write to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    directory: Directory,
    undo: Option<Arc<Undo>>,
    plan: Option<Arc<PlanOutput>>,
    tally: Option<Arc<Tally>>,
    gate: Option<Arc<dyn ChangeGate>>,
    /// Whether changes of single values are noted without reading the others.
    notes_values: bool,
    /// A permit for each write in flight.
    writes: Arc<Semaphore>,
}

impl Deref for Destination {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl Destination {
    /// Returns a destination without a plan or a journal.
    pub fn new(directory: Directory) -> Self {
        let writes = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { directory, undo: None, plan: None, tally: None, gate: None, notes_values: false, writes }
    }

    /// Sets the gate that each change has to pass.
    #[must_use]
    pub fn with_gate(mut self, gate: Option<Arc<dyn ChangeGate>>) -> Self {
        self.gate = gate;
        self
    }

    /// Sets whether additions and deletions of single values in lists of entries (`member`) are noted without reading the whole
    /// list. This relies on the server: a change that adds an existing value, or deletes a missing one, must be refused as a
    /// whole (RFC 4511 section 4.6). Active Directory is asked not to refuse it, so there the list is read in any case.
    #[must_use]
    pub fn noting_values(mut self, notes_values: bool) -> Self {
        self.notes_values = notes_values;
        self
    }

    /// Sets the most writes in flight.
    #[must_use]
    pub fn with_max_in_flight(mut self, writes: usize) -> Self {
        self.writes = Arc::new(Semaphore::new(writes));
        self
    }

    /// Sets the journal that notes how to undo each change.
    #[must_use]
    pub fn with_undo(mut self, undo: Option<Arc<Undo>>) -> Self {
        self.undo = undo;
        self
    }

    /// Sets the plan that shows each change.
    #[must_use]
    pub fn with_plan(mut self, plan: Option<Arc<PlanOutput>>) -> Self {
        self.plan = plan;
        self
    }

    /// Sets the tally that counts each change.
    #[must_use]
    pub fn with_tally(mut self, tally: Arc<Tally>) -> Self {
        self.tally = Some(tally);
        self
    }

    /// Applies one change. Deletions are refused: see [`Self::delete`].
    pub async fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[]).await
    }

    /// Applies one change with controls. Deletions are refused: see [`Self::delete`].
    pub async fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        if let Change::Delete { dn } = change {
            return Err(unpermitted(dn));
        }
        self.carry_out(change, controls).await
    }

    /// Applies a change of an undo file, including deletions: no records are read that the entries could belong to.
    pub(crate) async fn take_back(
        &self,
        change: &Change,
        controls: &[WriteControl],
    ) -> Result<(), DirectoryError> {
        self.carry_out(change, controls).await
    }

    /// Deletes an entry that belongs to no record of the run.
    pub async fn delete(&self, permit: &DeletePermit) -> Result<(), DirectoryError> {
        self.carry_out(&Change::Delete { dn: permit.dn().to_owned() }, &[]).await
    }

    async fn carry_out(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let change = &*self.in_the_servers_form(change);
        // Before the note: a killed run should not leave notes of changes that it had not begun.
        let permit = self.writes.acquire().await;
        let controls = &*self.admitted(change, controls)?;
        let lock = self.lock_at_stake(change, false).await?;
        let Some(undo) = &self.undo else {
            self.passed(change, self.judged(change, controls).await)?;
            return self.lock_again(change.dn(), lock).await;
        };
        let announced = self.note(undo, change, false).await?;
        let result = self.passed(change, self.judged(change, controls).await);
        // The search for the ID is not a write.
        drop(permit);
        let id = match change {
            Change::Add(entry) if result.is_ok() => self.id(&entry.dn).await,
            _ => None,
        };
        told(undo, announced, &result, id.as_ref());
        result?;
        self.lock_again(change.dn(), lock).await
    }

    /// Returns a change with its times as Active Directory writes them, with a fraction (`20300101100000.0Z`): Samba accepts no other
    /// form ([MS-ADTS] 3.1.1.2.2.2.11 has it as well).
    fn in_the_servers_form<'c>(&self, change: &'c Change) -> Cow<'c, Change> {
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory {
            return Cow::Borrowed(change);
        }
        let schema = self.directory.schema();
        let is_time = |name: &str| ValueKind::of(schema, name) == ValueKind::GeneralizedTime;
        let has_times = match change {
            Change::Add(entry) => entry.attributes.iter().map(|a| &*a.description).any(is_time),
            Change::Modify { changes, .. } => changes.iter().any(|m| is_time(&m.description)),
            Change::Delete { .. } | Change::Rename { .. } => false,
        };
        if !has_times {
            return Cow::Borrowed(change);
        }
        let with_fraction = |values: &mut Vec<Vec<u8>>| {
            for value in values {
                if let Some(seconds) = value.strip_suffix(b"Z")
                    && seconds.len() == 14
                    && seconds.iter().all(u8::is_ascii_digit)
                {
                    *value = [seconds, b".0Z"].concat();
                }
            }
        };
        let mut change = change.clone();
        match &mut change {
            Change::Add(entry) => {
                for attribute in entry.attributes.iter_mut().filter(|a| is_time(&a.description)) {
                    with_fraction(&mut attribute.values);
                }
            }
            Change::Modify { changes, .. } => {
                for modification in changes.iter_mut().filter(|m| is_time(&m.description)) {
                    with_fraction(&mut modification.values);
                }
            }
            Change::Delete { .. } | Change::Rename { .. } => {}
        }
        Cow::Owned(change)
    }

    /// Asks the gate about a change, and returns its controls.
    fn admitted<'c>(
        &self,
        change: &Change,
        controls: &'c [WriteControl],
    ) -> Result<Cow<'c, [WriteControl]>, DirectoryError> {
        match self.gate.as_ref().map(|gate| gate.admit(change)).transpose()?.flatten() {
            None => Ok(Cow::Borrowed(controls)),
            Some(condition) => Ok(Cow::Owned(asserting(controls, condition))),
        }
    }

    /// Informs the gate of the result of a change.
    fn passed(&self, change: &Change, result: Result<(), DirectoryError>) -> Result<(), DirectoryError> {
        if let Some(gate) = &self.gate {
            gate.made(change, &result);
        }
        result
    }

    /// Returns the server's identifier of an entry that was just added, so that another entry with its DN is not taken for it
    /// later. Without one, the entry is recognized by its values.
    pub(crate) async fn id(&self, dn: &str) -> Option<(String, String)> {
        let entry = self.directory.read(dn, &ENTRY_IDS).await.ok().flatten()?;
        change_note::id(&entry, self.directory.schema())
    }

    /// Commits the changes (see [`Directory::commit`]). The journal is on disk before.
    pub fn commit(&self) -> Result<(), DirectoryError> {
        let Some(undo) = self.undo.as_ref().filter(|_| !self.directory.applies_at_once()) else {
            return singer_common::operations::file::commit(&self.directory);
        };
        let _uninterrupted = signals::uninterrupted();
        undo.sync()?;
        singer_common::operations::file::commit(&self.directory)?;
        Ok(undo.committed()?)
    }

    /// Flushes the journal to disk, before a STATE that covers its changes is printed.
    pub fn sync_undo(&self) -> Result<(), UndoError> {
        self.undo.as_ref().map_or(Ok(()), |undo| undo.sync())
    }

    /// Adds an entry to a file in memory. `None`: use [`Self::apply_with`]. `key`: the key of its DN.
    pub fn add_in_memory(
        &self,
        key: &DnKey,
        entry: impl FnOnce() -> CompactEntry,
    ) -> Option<Result<(), DirectoryError>> {
        let is_noted =
            self.undo.is_some() || self.plan.is_some() || self.tally.is_some() || self.gate.is_some();
        (!is_noted).then(|| self.directory.add_in_memory(key, entry)).flatten()
    }

    /// Deletes an entry and its subtree in one operation. `false`: the server does not offer it, or each deletion must be
    /// noted.
    pub async fn delete_tree(&self, permit: &DeletePermit) -> Result<bool, DirectoryError> {
        if self.undo.is_some() || self.plan.is_some() || self.tally.is_some() || self.gate.is_some() {
            return Ok(false);
        }
        let _permit = self.writes.acquire().await;
        self.directory.delete_tree(permit.dn()).await
    }

    /// Whether removed entries are counted.
    pub fn counts_removals(&self) -> bool {
        self.tally.is_some()
    }

    /// Counts entries that were removed by another change than a deletion.
    pub fn removed(&self, entries: u64) {
        if let Some(tally) = &self.tally {
            tally.removed(entries);
        }
    }

    /// Sets a password by the Password Modify operation. `counts`: not if it belongs to an add.
    pub async fn set_password(
        &self,
        dn: &str,
        password: &Secret,
        counts: bool,
    ) -> Result<(), DirectoryError> {
        let _permit = self.writes.acquire().await;
        // It is undone as a change of the attribute.
        let change = Change::Modify {
            dn: dn.to_owned(),
            changes: vec![Modification::new(ModificationKind::Replace, "userPassword", vec![])],
        };
        // The operation takes no assertion.
        self.admitted(&change, &[])?;
        let lock = self.lock_at_stake(&change, !counts).await?;
        let number = match &self.undo {
            Some(undo) if counts => Some((undo, self.note(undo, &change, true).await?)),
            _ => None,
        };
        let result = self.passed(&change, self.directory.set_password(dn, password).await);
        if let Some((undo, announced)) = number {
            told(undo, announced, &result, None);
        }
        result?;
        self.lock_again(dn, lock).await?;
        if let Some(tally) = self.tally.as_ref().filter(|_| counts) {
            tally.count(&change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let label = CHANGE_LABEL.try_with(Clone::clone).ok();
        plan.show_password(dn, label.as_ref()).map_err(unwritable)
    }

    async fn make(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let before = match &self.plan {
            Some(plan) if plan.shows_before() => {
                let names = needs(change).map(|names| to_ask(names, plan.telling().iter().copied()));
                self.before(change, names).await?
            }
            _ => None,
        };
        self.directory.apply_with(change, controls).await?;
        if let Some(tally) = &self.tally {
            tally.count(change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let label = CHANGE_LABEL.try_with(Clone::clone).ok();
        let planned = PlannedChange {
            change,
            before: before.as_ref(),
            relaxed: controls.contains(&WriteControl::RelaxRules),
            label: label.as_ref(),
        };
        plan.show(&planned).map_err(unwritable)
    }

    /// Shows in the plan that a record would be refused.
    pub fn show_refused(&self, refused: &RefusedRecord<'_>) -> Result<(), DirectoryError> {
        self.plan.as_ref().map_or(Ok(()), |plan| plan.show_refused(refused)).map_err(unwritable)
    }

    /// Passes the outcome of a task, as it is counted, to the plan.
    pub fn show_outcome(&self, number: u64, outcome: RecordOutcome) {
        if let Some(plan) = &self.plan {
            plan.outcome(number, outcome);
        }
    }

    /// Passes the outcomes of a stream's records to the plan.
    pub fn show_counts(&self, stream: &str, counts: &Counts) {
        if let Some(plan) = &self.plan {
            plan.count(stream, counts);
        }
    }

    /// Notes how to undo a change. When this returns, the note is on disk. `sets_password`: it stands for a Password Modify operation,
    /// whose value is not known.
    async fn note(
        &self,
        undo: &Undo,
        change: &Change,
        sets_password: bool,
    ) -> Result<Announced, DirectoryError> {
        // With its ID: another entry may have its DN later.
        let names = needs(change).map(|names| to_ask(names, ENTRY_IDS));
        let with_id = undo.keeps_ids() && matches!(change, Change::Delete { .. });
        let names = names.map(|names| if with_id { to_ask(names, [ENTRY_UUID]) } else { names });
        let schema = self.directory.schema();
        let is_light = self.notes_values && self.directory.root_dse().vendor != Vendor::ActiveDirectory;
        let before = match values_removed(change, schema).filter(|_| is_light) {
            None => self.before(change, names).await?,
            // If it succeeds, these values existed, and those to be added did not.
            Some(removed) => {
                let ids = ENTRY_IDS.iter().map(|&name| name.to_owned()).collect();
                let mut before = self.before(change, Some(ids)).await?;
                if let Some(before) = &mut before {
                    before.attributes.extend(removed);
                }
                before
            }
        };
        let mut back = inverse(change, before.as_ref(), schema);
        let mut note = ChangeNote::new(change, before.as_ref(), &back, schema);
        if sets_password {
            note.attributes.values_mut().for_each(|trace| trace.is = None);
        }
        if undo.notes_members() {
            note.members = self.members_of(&back).await?;
        }
        let id = before.as_ref().and_then(|b| b.attribute(ENTRY_UUID)).filter(|_| with_id);
        if let (Some(id), [Change::Add(entry)]) = (id, &mut *back) {
            entry.attributes.push(id.clone());
            note.relaxed = true;
        }
        let not_made = |e: UndoError| DirectoryError::File {
            path: "undo_file".to_owned(),
            reason: format!("{e}; the change was not made"),
            unreachable: false,
            cause: Some(e.into()),
        };
        let announced = undo.announce(&note, &back).map_err(not_made)?;
        undo.wait_until_durable(announced).await.map_err(|e| {
            undo.void(announced);
            not_made(e)
        })?;
        Ok(announced)
    }

    /// Returns the entry before the change, as far as its undo or the plan needs it.
    async fn before(
        &self,
        change: &Change,
        names: Option<Vec<String>>,
    ) -> Result<Option<Entry>, DirectoryError> {
        let Some(names) = names else { return Ok(None) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut entry = self.directory.read(change.dn(), &names).await?;
        if let Some(entry) = &mut entry {
            self.directory.complete_ranges(entry).await?;
        }
        Ok(entry)
    }
}
