//! The directory that is written to, with what accompanies each change: the plan, the undo journal, the limits.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{CompactEntry, Entry};
use ldap_directory::ldif::writer::LdifWriteError;
use ldap_directory::secret::Secret;
use ldap_directory::{Directory, DirectoryError, Vendor, WriteControl};
use singer_common::operations::signals;
use tokio::sync::Semaphore;

use crate::map::ENTRY_UUID;
use crate::rules::names::{ENTRY_IDS, to_ask};
use crate::write::change_label::CHANGE_LABEL;
use crate::write::claims::DeletePermit;
use crate::write::gate::ChangeGate;
use crate::write::guard::Tally;
use crate::write::held_plan::recorder::PlanRecorder;
use crate::write::identity::StreamMatches;
use crate::write::inverse::{inverse, needs};
use crate::write::left_names::LeftNames;
use crate::write::plan_output::{PlanOutput, PlannedChange};
use crate::write::protection::{Admitted, OwnEntries, Protection};
use crate::write::undo::change_note::{self, ChangeNote};
use crate::write::undo::{Announced, Undo, UndoError};

mod counting;
mod form;
mod identities;
mod recording;
mod sender;
mod sending;
mod showing;
mod taken_out;

use form::{asserting, values_removed};
use sender::Sender;
use sending::HeldLock;

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

fn not_made(error: UndoError) -> DirectoryError {
    let (path, reason) = ("undo_file".to_owned(), format!("{error}; the change was not made"));
    DirectoryError::File { path, reason, unreachable: false, cause: Some(error.into()) }
}

fn unwritable(error: LdifWriteError) -> DirectoryError {
    let (path, reason) = ("stdout".to_owned(), error.to_string());
    DirectoryError::File { path, reason, unreachable: false, cause: Some(error.into()) }
}

fn unpermitted(dn: &str) -> DirectoryError {
    let reason = "internal error: a deletion that nobody gave leave for".to_owned();
    DirectoryError::File { path: dn.to_owned(), reason, unreachable: false, cause: None }
}

/// A directory to write to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    /// For reading: it refuses every change.
    directory: Directory,
    sender: Sender,
    protection: Arc<Protection>,
    /// What was made here.
    own: OwnEntries,
    undo: Option<Arc<Undo>>,
    plan: Option<Arc<PlanOutput>>,
    tally: Option<Arc<Tally>>,
    recorder: Option<Arc<PlanRecorder>>,
    matches: Option<Arc<StreamMatches>>,
    gate: Option<Arc<dyn ChangeGate>>,
    left_names: Option<LeftNames>,
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
    /// Returns a destination without a plan or a journal. No change is made that the protection does not allow. It reads what the entries
    /// have of their own: what the server computes is neither compared nor noted, and no change removes it.
    #[allow(clippy::needless_pass_by_value, reason = "it is the destination's from now on")]
    pub fn new(directory: Directory, protection: Arc<Protection>) -> Self {
        let directory = directory.own_values();
        Self {
            directory: directory.reader(),
            sender: Sender::new(directory),
            protection,
            own: OwnEntries::default(),
            undo: None,
            plan: None,
            tally: None,
            recorder: None,
            matches: None,
            gate: None,
            left_names: None,
            notes_values: false,
            writes: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    /// Notes entries that an undone run added: an undo may delete them, also the bases among them.
    #[must_use]
    pub(crate) fn having_added<'d>(self, dns: impl Iterator<Item = &'d str>) -> Self {
        self.protection.note_added(self.keys(dns), &self.own);
        self
    }

    /// Notes entries that the caller has just changed, and takes back: no filter protects them from that.
    #[must_use]
    pub fn taking_back<'d>(self, dns: impl Iterator<Item = &'d str>) -> Self {
        self.protection.note_own(self.keys(dns), &self.own);
        self
    }

    fn keys<'d>(&self, dns: impl Iterator<Item = &'d str>) -> impl Iterator<Item = DnKey> {
        dns.filter_map(|dn| DnKey::parse(dn, self.directory.schema()).ok())
    }

    /// Checks whether a change may be made, without making it.
    ///
    /// # Errors
    /// It is protected, or would leave the bases for changes; or the directory does not say it.
    pub async fn check<'c>(&self, change: &'c Change) -> Result<Admitted<'c>, DirectoryError> {
        self.protection.check(&self.directory, change, &self.own).await
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

    /// Looks, at the end, for entries that still name renamed and deleted ones: see [`Self::warn_of_left_names`].
    #[must_use]
    pub fn noting_left_names(mut self) -> Self {
        self.left_names = Some(LeftNames::default());
        self
    }

    /// Warns of entries that still name entries which were renamed or deleted, because the server has no referential integrity.
    pub async fn warn_of_left_names(&self) {
        if let Some(names) = &self.left_names {
            names.warn(&self.directory).await;
        }
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

    /// Sets the recorder of the plan that a held run leaves.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Option<Arc<PlanRecorder>>) -> Self {
        self.recorder = recorder;
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

    /// Applies a change, including a deletion, of which no record is asked: one that takes another back, or one of an approved plan,
    /// whose rehearsal has asked.
    pub async fn apply_unasked(
        &self,
        change: &Change,
        controls: &[WriteControl],
    ) -> Result<(), DirectoryError> {
        self.carry_out(change, controls).await
    }

    /// Deletes an entry that belongs to no record of the run. If its permit has a condition that does not hold, the error is
    /// assertionFailed. The limits of a run are not asked: see [`removal`](crate::write::removal).
    pub async fn delete(&self, permit: &DeletePermit) -> Result<(), DirectoryError> {
        let condition = permit.condition().map(|filter| WriteControl::Assertion(filter.clone()));
        self.carry_out(&Change::Delete { dn: permit.dn().to_owned() }, condition.as_slice()).await
    }

    async fn carry_out(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let change = &*self.in_the_servers_form(change);
        let admitted = self.check(change).await?;
        // Before the note: a killed run should not leave notes of changes that it had not begun.
        let permit = self.writes.acquire().await;
        let controls = &*self.admitted(change, controls)?;
        let lock = self.lock_at_stake(change, false).await?;
        let Some(undo) = &self.undo else {
            self.passed(change, Box::pin(self.barred(admitted, controls, lock.as_ref())).await)?;
            return self.lock_again(change.dn(), lock).await;
        };
        let taken_out = Box::pin(self.note_taken_out(undo, change)).await?;
        let noted = self.note(undo, change, false, lock.as_ref()).await;
        let announced = noted.inspect_err(|_| taken_out.iter().for_each(|one| undo.void(*one)))?;
        let result = self.passed(change, Box::pin(self.barred(admitted, controls, lock.as_ref())).await);
        // The search for the ID is not a write.
        drop(permit);
        let id = match change {
            Change::Add(entry) if result.is_ok() => self.id(&entry.dn).await,
            _ => None,
        };
        told(undo, announced, &result, id.as_ref());
        for one in taken_out {
            told(undo, one, &result, None);
        }
        result?;
        self.lock_again(change.dn(), lock).await
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
            return self.sender.commit();
        };
        let _uninterrupted = signals::uninterrupted();
        undo.sync()?;
        self.sender.commit()?;
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
        // A refusal is explained by the other way.
        let is_plain = !is_noted && self.protection.knows_no_filter();
        let admitted = self.protection.check_addition(key).filter(|_| is_plain)?;
        let added = self.sender.add_in_memory(admitted, entry)?;
        if added.is_ok() {
            self.protection.note_added(std::iter::once(key.clone()), &self.own);
        }
        Some(added)
    }

    /// Deletes an entry and its subtree in one operation. `false`: the server does not offer it, or each deletion must be
    /// noted.
    ///
    /// # Errors
    /// The server refuses it; or an entry of the subtree is protected: then nothing of it may be deleted, in whatever way.
    pub async fn delete_tree(&self, permit: &DeletePermit) -> Result<bool, DirectoryError> {
        let change = Change::Delete { dn: permit.dn().to_owned() };
        let admitted = self.check(&change).await?;
        if self.undo.is_some() || self.plan.is_some() || self.tally.is_some() || self.gate.is_some() {
            return Ok(false);
        }
        let _permit = self.writes.acquire().await;
        let is_deleted = self.sender.delete_tree(admitted).await?;
        if let Some(names) = self.left_names.as_ref().filter(|_| is_deleted) {
            names.note_subtree(permit.dn(), self.directory.schema());
        }
        Ok(is_deleted)
    }

    /// Sets a password by the Password Modify operation. `counts`: not if it belongs to an add. `read`: the entry as it was read, which is
    /// to get it, and no other that has its DN by now.
    pub async fn set_password(
        &self,
        dn: &str,
        password: &Secret,
        counts: bool,
        read: Option<&Entry>,
    ) -> Result<(), DirectoryError> {
        let _permit = self.writes.acquire().await;
        // It is undone as a change of the attribute.
        let change = Change::Modify {
            dn: dn.to_owned(),
            changes: vec![Modification::new(ModificationKind::Replace, "userPassword", vec![])],
        };
        let checked = self.check(&change).await?;
        // The operation takes no assertion.
        self.admitted(&change, &[])?;
        let lock = self.lock_at_stake(&change, !counts).await?;
        let number = match &self.undo {
            Some(undo) if counts => Some((undo, self.note(undo, &change, true, lock.as_ref()).await?)),
            _ => None,
        };
        let barred = Box::pin(self.bar(dn, lock.as_ref())).await;
        let is_barred = matches!(barred, Ok(true));
        let result = match barred {
            Ok(_) => Box::pin(self.set_on(checked, password, read)).await,
            Err(error) => Err(error),
        };
        let result = self.passed(&change, result);
        if let Some((undo, announced)) = number {
            told(undo, announced, &result, None);
        }
        // A password that was refused leaves the lock, and the bar.
        if result.is_ok() || is_barred {
            let locked = self.lock_again(dn, lock).await;
            result.and(locked)?;
        } else {
            result?;
        }
        if let Some(tally) = self.tally.as_ref().filter(|_| counts) {
            tally.count(&change);
        }
        self.record_password(dn)?;
        let Some(plan) = &self.plan else { return Ok(()) };
        let label = CHANGE_LABEL.try_with(Clone::clone).ok();
        plan.show_password(dn, label.as_ref()).map_err(unwritable)
    }

    async fn make(&self, admitted: Admitted<'_>, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let change = admitted.change();
        let before = match &self.plan {
            Some(plan) if plan.shows_before() => {
                let names = needs(change).map(|names| to_ask(names, plan.telling().iter().copied()));
                self.before(change, names).await?
            }
            _ => None,
        };
        let seen = self.seen(change, controls.contains(&WriteControl::RelaxRules)).await?;
        self.sender.apply(admitted, controls).await?;
        self.record(seen)?;
        self.protection.note_made(change, &self.directory, &self.own);
        if let Some(names) = &self.left_names {
            names.note(change, self.directory.schema());
        }
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

    /// Notes how to undo a change. When this returns, the note is on disk. `sets_password`: it stands for a Password Modify operation,
    /// whose value is not known. `lock`: what the account must have afterwards. If the program is killed before it is written again, whoever
    /// finds the journal writes it.
    async fn note(
        &self,
        undo: &Undo,
        change: &Change,
        sets_password: bool,
        lock: Option<&HeldLock>,
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
        note.lock = match change {
            Change::Add(entry) => self.lock_in(entry),
            _ => lock.and_then(HeldLock::to_note),
        };
        self.identify(&mut note, &back, None, true).await?;
        let id = before.as_ref().and_then(|b| b.attribute(ENTRY_UUID)).filter(|_| with_id);
        if let (Some(id), [Change::Add(entry)]) = (id, &mut *back) {
            entry.attributes.push(id.clone());
            note.relaxed = true;
        }
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
        self.directory.read_whole(change.dn(), &names).await
    }
}
