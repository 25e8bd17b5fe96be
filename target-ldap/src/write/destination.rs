//! The directory that is written to, and what goes with each change: the plan that is shown, the file that takes it back.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{CompactEntry, Entry};
use ldap_directory::ldif::writer::LdifWriteError;
use ldap_directory::{Directory, DirectoryError, WriteControl};
use singer_common::operations::secret::Secret;
use singer_common::operations::signals;
use tokio::sync::Semaphore;

use crate::map::ENTRY_UUID;
use crate::rules::names::to_ask;
use crate::write::claims::DeletePermit;
use crate::write::counts::Counts;
use crate::write::guard::Tally;
use crate::write::inverse::{inverse, needs};
use crate::write::plan_output::{PlanOutput, PlannedChange, RefusedRecord};
use crate::write::undo::change_note::{self, ChangeNote, IDS};
use crate::write::undo::{Announced, Undo, UndoError};

tokio::task_local! {
    /// What the change in hand is made for: stream and key of the record.
    pub static CHANGE_LABEL: ChangeLabel;
}

/// What a change is made for, for people.
#[derive(Debug, Clone)]
pub struct ChangeLabel {
    /// The record's stream.
    pub stream: Arc<str>,
    /// The record's line, from 1.
    pub line: u64,
    /// The record's key: `id=7`.
    pub record: Arc<str>,
    /// Whether its entry is to leave: deleted, moved away or disabled, as `on_delete` says.
    pub is_leaving: bool,
}

impl fmt::Display for ChangeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.stream, self.line, self.record)
    }
}

/// Says in the journal what became of a change. Of one whose answer was lost that is not known.
fn told(
    undo: &Undo,
    announced: Announced,
    result: &Result<(), DirectoryError>,
    id: Option<&(String, String)>,
) {
    match result {
        Ok(()) => undo.made(announced, id),
        Err(e) if e.is_connection() => {}
        Err(_) => undo.void(announced),
    }
}

fn unwritable(error: &LdifWriteError) -> DirectoryError {
    DirectoryError::File { path: "stdout".to_owned(), reason: error.to_string(), unreachable: false }
}

fn unpermitted(dn: &str) -> DirectoryError {
    let reason = "internal error: a deletion that nobody gave leave for".to_owned();
    DirectoryError::File { path: dn.to_owned(), reason, unreachable: false }
}

/// A directory to be written to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    directory: Directory,
    undo: Option<Arc<Undo>>,
    plan: Option<Arc<PlanOutput>>,
    tally: Option<Arc<Tally>>,
    /// One for each write that may be outstanding.
    writes: Arc<Semaphore>,
}

impl Deref for Destination {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl Destination {
    /// A directory whose changes are written down nowhere.
    pub fn new(directory: Directory) -> Self {
        let writes = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { directory, undo: None, plan: None, tally: None, writes }
    }

    /// No more writes than these are outstanding at once.
    #[must_use]
    pub fn with_max_in_flight(mut self, writes: usize) -> Self {
        self.writes = Arc::new(Semaphore::new(writes));
        self
    }

    /// What takes each change back is written to this file.
    #[must_use]
    pub fn with_undo(mut self, undo: Option<Arc<Undo>>) -> Self {
        self.undo = undo;
        self
    }

    /// Each change is shown.
    #[must_use]
    pub fn with_plan(mut self, plan: Option<Arc<PlanOutput>>) -> Self {
        self.plan = plan;
        self
    }

    /// Each change is counted.
    #[must_use]
    pub fn with_tally(mut self, tally: Arc<Tally>) -> Self {
        self.tally = Some(tally);
        self
    }

    /// Carries out one change; a deletion is refused: see [`Self::delete`].
    pub async fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[]).await
    }

    /// Carries out one change under controls; a deletion is refused: see [`Self::delete`].
    pub async fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        if let Change::Delete { dn } = change {
            return Err(unpermitted(dn));
        }
        self.carry_out(change, controls).await
    }

    /// Carries out a change of an undo file, deletions included: no records are read beside it whose entries they could be.
    pub(crate) async fn take_back(
        &self,
        change: &Change,
        controls: &[WriteControl],
    ) -> Result<(), DirectoryError> {
        self.carry_out(change, controls).await
    }

    /// Deletes an entry that no record of the run has.
    pub async fn delete(&self, permit: &DeletePermit) -> Result<(), DirectoryError> {
        self.carry_out(&Change::Delete { dn: permit.dn().to_owned() }, &[]).await
    }

    async fn carry_out(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        // Ahead of what takes it back: a killed run should not leave that of changes it had not begun.
        let permit = self.writes.acquire().await;
        let Some(undo) = &self.undo else { return self.make(change, controls).await };
        let announced = self.note(undo, change).await?;
        let result = self.make(change, controls).await;
        // The look for the id is no write.
        drop(permit);
        let id = match change {
            Change::Add(entry) if result.is_ok() => self.id(&entry.dn).await,
            _ => None,
        };
        told(undo, announced, &result, id.as_ref());
        result
    }

    /// The id by which the server knows an entry that was just added, so that nobody's else of that name is taken for it
    /// later. Without one, the entry is known again by what it has.
    pub(crate) async fn id(&self, dn: &str) -> Option<(String, String)> {
        let entry = self.directory.read(dn, &IDS).await.ok().flatten()?;
        change_note::id(&entry, self.directory.schema())
    }

    /// Makes what was applied last (see [`Directory::commit`]); what takes it back is on the disk before.
    pub fn commit(&self) -> Result<(), DirectoryError> {
        let Some(undo) = self.undo.as_ref().filter(|_| !self.directory.applies_at_once()) else {
            return singer_common::operations::file::commit(&self.directory);
        };
        let _uninterrupted = signals::uninterrupted();
        undo.sync()?;
        singer_common::operations::file::commit(&self.directory)?;
        Ok(undo.committed()?)
    }

    /// Puts on the disk what is known of the changes. Before a STATE that covers them is printed.
    pub fn sync_undo(&self) -> Result<(), UndoError> {
        self.undo.as_ref().map_or(Ok(()), |undo| undo.sync())
    }

    /// Adds an entry to a file in memory. `None` where it is for [`Self::apply_with`]. `key` is its name's.
    pub fn add_in_memory(
        &self,
        key: &DnKey,
        entry: impl FnOnce() -> CompactEntry,
    ) -> Option<Result<(), DirectoryError>> {
        let is_noted = self.undo.is_some() || self.plan.is_some() || self.tally.is_some();
        (!is_noted).then(|| self.directory.add_in_memory(key, entry)).flatten()
    }

    /// Deletes an entry and all below it in one operation. `false` where the server does not offer that, or where each
    /// deletion is to be written down.
    pub async fn delete_tree(&self, permit: &DeletePermit) -> Result<bool, DirectoryError> {
        if self.undo.is_some() || self.plan.is_some() || self.tally.is_some() {
            return Ok(false);
        }
        let _permit = self.writes.acquire().await;
        self.directory.delete_tree(permit.dn()).await
    }

    /// Whether it is counted how many entries a run removes.
    pub fn counts_removals(&self) -> bool {
        self.tally.is_some()
    }

    /// Entries were removed by another change than a deletion.
    pub fn removed(&self, entries: u64) {
        if let Some(tally) = &self.tally {
            tally.removed(entries);
        }
    }

    /// Has the server set a password. `counts`: not with the add that it belongs to.
    pub async fn set_password(
        &self,
        dn: &str,
        password: &Secret,
        counts: bool,
    ) -> Result<(), DirectoryError> {
        let _permit = self.writes.acquire().await;
        // What takes it back is what takes back a change of the attribute.
        let change = Change::Modify {
            dn: dn.to_owned(),
            changes: vec![Modification::new(ModificationKind::Replace, "userPassword", vec![])],
        };
        let number = match &self.undo {
            Some(undo) if counts => Some((undo, self.note(undo, &change).await?)),
            _ => None,
        };
        let result = self.directory.set_password(dn, password).await;
        if let Some((undo, announced)) = number {
            told(undo, announced, &result, None);
        }
        result?;
        if let Some(tally) = self.tally.as_ref().filter(|_| counts) {
            tally.count(&change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let about = CHANGE_LABEL.try_with(ChangeLabel::to_string).unwrap_or_default();
        plan.show_password(dn, &about).map_err(|e| unwritable(&e))
    }

    async fn make(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let before = match &self.plan {
            Some(plan) if plan.shows_before() => self.before(change, needs(change)).await?,
            _ => None,
        };
        self.directory.apply_with(change, controls).await?;
        if let Some(tally) = &self.tally {
            tally.count(change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let about = CHANGE_LABEL.try_with(ChangeLabel::to_string).unwrap_or_default();
        let planned = PlannedChange {
            change,
            before: before.as_ref(),
            relaxed: controls.contains(&WriteControl::RelaxRules),
            about: &about,
            is_leaving: CHANGE_LABEL.try_with(|about| about.is_leaving).unwrap_or_default(),
        };
        plan.show(&planned).map_err(|e| unwritable(&e))
    }

    /// Shows, where there is a plan, that a record would be refused.
    pub fn show_refused(&self, refused: &RefusedRecord<'_>) -> Result<(), DirectoryError> {
        self.plan.as_ref().map_or(Ok(()), |plan| plan.show_refused(refused)).map_err(|e| unwritable(&e))
    }

    /// Tells the plan, where there is one, how a stream's records ended.
    pub fn show_counts(&self, stream: &str, counts: &Counts) {
        if let Some(plan) = &self.plan {
            plan.count(stream, counts);
        }
    }

    /// Writes down what takes a change back. Once this returns it is on the disk.
    async fn note(&self, undo: &Undo, change: &Change) -> Result<Announced, DirectoryError> {
        // And its id: another entry may have its name later.
        let names = needs(change).map(|names| to_ask(names, IDS));
        let with_id = undo.keeps_ids() && matches!(change, Change::Delete { .. });
        let names = names.map(|names| if with_id { to_ask(names, [ENTRY_UUID]) } else { names });
        let before = self.before(change, names).await?;
        let schema = self.directory.schema();
        let mut back = inverse(change, before.as_ref(), schema);
        let mut note = ChangeNote::new(change, before.as_ref(), &back, schema);
        let id = before.as_ref().and_then(|b| b.attribute(ENTRY_UUID)).filter(|_| with_id);
        if let (Some(id), [Change::Add(entry)]) = (id, &mut *back) {
            entry.attributes.push(id.clone());
            note.relaxed = true;
        }
        let not_made = |e: UndoError| DirectoryError::File {
            path: "undo_file".to_owned(),
            reason: format!("{e}; the change was not made"),
            unreachable: false,
        };
        let announced = undo.announce(&note, &back).map_err(not_made)?;
        undo.wait_until_durable(announced).await.map_err(|e| {
            undo.void(announced);
            not_made(e)
        })?;
        Ok(announced)
    }

    /// What a change takes the place of.
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
