//! The directory that is written to, and what goes with each change: the plan that is shown, the file that takes it back.

use std::ops::Deref;
use std::sync::Arc;

use singer_common::change::Change;
use singer_common::directory::{Directory, DirectoryError};

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
        Self { directory, undo: None, plan: None }
    }

    /// What takes each change back is written to this file.
    #[must_use]
    pub fn with_undo(mut self, undo: Option<Arc<Undo>>) -> Self {
        self.undo = undo;
        self
    }

    /// Each change is shown.
    #[must_use]
    pub fn with_plan(mut self, plan: Arc<Plan>) -> Self {
        self.plan = Some(plan);
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

    async fn make(&self, change: &Change) -> Result<(), DirectoryError> {
        self.directory.apply(change).await?;
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
