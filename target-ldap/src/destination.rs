//! The directory that is written to, and what goes with each change: the plan that is shown, the file that takes it back.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use singer_common::change::{Change, Modification, ModificationKind};
use singer_common::directory::ldif::writer::LdifWriteError;
use singer_common::directory::{Directory, DirectoryError, WriteControl};
use singer_common::dn::DnKey;
use singer_common::entry::{Entry, Packed};
use singer_common::secret::Secret;
use tokio::sync::Semaphore;

use crate::guard::Tally;
use crate::inverse::{inverse, needs};
use crate::show::Plan;
use crate::undo::{Undo, UndoError};

tokio::task_local! {
    /// What the change in hand is made for: stream and key of the record.
    pub static ABOUT: About;
}

/// What a change is made for, for people.
#[derive(Debug, Clone)]
pub struct About {
    /// The record's stream.
    pub stream: Arc<str>,
    /// The record's line, from 1.
    pub line: u64,
    /// The record's key: `id=7`.
    pub record: Arc<str>,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.stream, self.line, self.record)
    }
}

fn unwritable(error: &LdifWriteError) -> DirectoryError {
    DirectoryError::File { path: "stdout".to_owned(), reason: error.to_string(), unreachable: false }
}

/// A directory to be written to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    directory: Directory,
    undo: Option<Arc<Undo>>,
    plan: Option<Arc<Plan>>,
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
    pub fn with_plan(mut self, plan: Option<Arc<Plan>>) -> Self {
        self.plan = plan;
        self
    }

    /// Each change is counted.
    #[must_use]
    pub fn with_tally(mut self, tally: Arc<Tally>) -> Self {
        self.tally = Some(tally);
        self
    }

    /// Carries out one change.
    pub async fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[]).await
    }

    /// Carries out one change under controls.
    pub async fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        // Ahead of what takes it back: a killed run should not leave that of changes it had not begun.
        let _permit = self.writes.acquire().await;
        let Some(undo) = &self.undo else { return self.make(change, controls).await };
        let number = self.note(undo, change).await?;
        let result = self.make(change, controls).await;
        // Whether a change whose answer was lost was made is not known: then it may be taken back in vain.
        if result.as_ref().is_err_and(|e| !e.is_connection()) {
            undo.void(number);
        }
        result
    }

    /// Adds an entry to a file in memory. `None` where it is for [`Self::apply_with`]. `key` is its name's.
    pub fn add_in_memory(
        &self,
        key: &DnKey,
        entry: impl FnOnce() -> Packed,
    ) -> Option<Result<(), DirectoryError>> {
        let is_noted = self.undo.is_some() || self.plan.is_some() || self.tally.is_some();
        (!is_noted).then(|| self.directory.add_in_memory(key, entry)).flatten()
    }

    /// Deletes an entry and all below it in one operation. `false` where the server does not offer that, or where each
    /// deletion is to be written down.
    pub async fn delete_tree(&self, dn: &str) -> Result<bool, DirectoryError> {
        if self.undo.is_some() || self.plan.is_some() || self.tally.is_some() {
            return Ok(false);
        }
        let _permit = self.writes.acquire().await;
        self.directory.delete_tree(dn).await
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
        if let (Err(error), Some((undo, number))) = (&result, number)
            && !error.is_connection()
        {
            undo.void(number);
        }
        result?;
        if let Some(tally) = self.tally.as_ref().filter(|_| counts) {
            tally.count(&change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let about = ABOUT.try_with(About::to_string).unwrap_or_default();
        plan.show_password(dn, &about).map_err(|e| unwritable(&e))
    }

    async fn make(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let before = match &self.plan {
            Some(plan) if plan.shows_before() => self.before(change).await?,
            _ => None,
        };
        self.directory.apply_with(change, controls).await?;
        if let Some(tally) = &self.tally {
            tally.count(change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let about = ABOUT.try_with(About::to_string).unwrap_or_default();
        let relaxed = controls.contains(&WriteControl::RelaxRules);
        plan.show(change, before.as_ref(), relaxed, &about).map_err(|e| unwritable(&e))
    }

    async fn note(&self, undo: &Undo, change: &Change) -> Result<usize, DirectoryError> {
        let before = self.before(change).await?;
        undo.write(&inverse(change, before.as_ref(), self.directory.schema())).map_err(|e: UndoError| {
            DirectoryError::File {
                path: "undo_file".to_owned(),
                reason: format!("{e}; the change was not made"),
                unreachable: false,
            }
        })
    }

    /// What a change takes the place of.
    async fn before(&self, change: &Change) -> Result<Option<Entry>, DirectoryError> {
        let Some(names) = needs(change) else { return Ok(None) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut entry = self.directory.read(change.dn(), &names).await?;
        if let Some(entry) = &mut entry {
            self.directory.complete_ranges(entry).await?;
        }
        Ok(entry)
    }
}
