//! The directory that is written to, and what goes with each change: the plan that is shown, the file that takes it back.

use std::ops::Deref;
use std::sync::Arc;

use singer_common::change::Change;
use singer_common::directory::{Directory, DirectoryError};

use crate::guard::Tally;
use crate::inverse::{inverse, needs};
use crate::show::Plan;
use crate::undo::{Undo, UndoError};

tokio::task_local! {
    /// What the change in hand is made for: stream and key of the record.
    pub static ABOUT: String;
}

/// A directory to be written to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    directory: Directory,
    undo: Option<Arc<Undo>>,
    plan: Option<Arc<Plan>>,
    tally: Option<Arc<Tally>>,
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
        Self { directory, undo: None, plan: None, tally: None }
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
        let Some(undo) = &self.undo else { return self.make(change).await };
        let number = self.note(undo, change).await?;
        let result = self.make(change).await;
        // Whether a change whose answer was lost was made is not known: then it may be taken back in vain.
        if result.as_ref().is_err_and(|e| !e.is_connection()) {
            undo.void(number);
        }
        result
    }

    /// Deletes an entry and all below it in one operation. `false` where the server does not offer that, or where each
    /// deletion is to be written down.
    pub async fn delete_tree(&self, dn: &str) -> Result<bool, DirectoryError> {
        if self.undo.is_some() || self.plan.is_some() || self.tally.is_some() {
            return Ok(false);
        }
        self.directory.delete_tree(dn).await
    }

    async fn make(&self, change: &Change) -> Result<(), DirectoryError> {
        self.directory.apply(change).await?;
        if let Some(tally) = &self.tally {
            tally.count(change);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let about = ABOUT.try_with(String::clone).unwrap_or_default();
        plan.show(change, &about).map_err(|e| DirectoryError::File {
            path: "stdout".to_owned(),
            reason: e.to_string(),
            unreachable: false,
        })
    }

    async fn note(&self, undo: &Undo, change: &Change) -> Result<usize, DirectoryError> {
        let before = match needs(change) {
            None => None,
            Some(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut entry = self.directory.read(change.dn(), &names).await?;
                if let Some(entry) = &mut entry {
                    self.directory.complete_ranges(entry).await?;
                }
                entry
            }
        };
        undo.write(&inverse(change, before.as_ref(), self.directory.schema())).map_err(|e: UndoError| {
            DirectoryError::File {
                path: "undo_file".to_owned(),
                reason: format!("{e}; the change was not made"),
                unreachable: false,
            }
        })
    }
}
