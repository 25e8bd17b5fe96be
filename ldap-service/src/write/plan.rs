//! The plan of a write: it is made on a preview of the directory, and shown as LDIF.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ldap_directory::Directory;
use ldap_directory::change::Change;
use target_ldap::config::limits::{Guards, Limit};
use target_ldap::write::destination::Destination;
use target_ldap::write::guard::Tally;
use target_ldap::write::plan_output::{PlanFormat, PlanOutput};

use super::fence::Fence;
use super::{WriteError, refusal};

/// A buffer that several writers share.
#[derive(Debug, Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A plan in the making.
pub(crate) struct Planning {
    pub(crate) destination: Destination,
    fence: Arc<Fence>,
    tally: Arc<Tally>,
    text: SharedBuffer,
}

/// A plan.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The changes, in order, with secret values.
    pub(crate) changes: Vec<Change>,
    /// The same as LDIF without secret values.
    pub(crate) text: String,
    /// The entries that would be removed.
    pub(crate) deletes: u64,
    /// Those of the changes that are made first.
    pub(crate) first: Vec<Change>,
}

impl Planning {
    /// Begins a plan on a preview of the directory.
    pub(crate) fn new(directory: &Directory, fence: Fence) -> Planning {
        let (fence, tally, text) = (Arc::new(fence), Arc::new(Tally::default()), SharedBuffer::default());
        let output = PlanOutput::new(PlanFormat::Ldif, false, Box::new(text.clone()));
        let destination = Destination::new(directory.clone().checked_preview(), fence.protection())
            .with_plan(Some(Arc::new(output)))
            .with_tally(tally.clone())
            .with_gate(Some(fence.clone()));
        Planning { destination, fence, tally, text }
    }

    /// Returns the changes until now.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.fence.changes()
    }

    /// Returns the fence's own refusal of a change, if it refused one.
    pub(crate) fn refusal(&self) -> Option<WriteError> {
        self.fence.refusal()
    }

    /// Returns the plan.
    ///
    /// # Errors
    /// Never for a limit that is a number.
    pub(crate) async fn end(self) -> Result<Plan, WriteError> {
        let deletes = deletes(&self.tally, &self.destination).await?;
        let text = std::mem::take(&mut *self.text.0.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Plan { changes: self.fence.changes(), text, deletes, first: Vec::new() })
    }
}

/// Returns the number of entries that were removed.
pub(crate) async fn deletes(tally: &Tally, directory: &Directory) -> Result<u64, WriteError> {
    let guards = Guards { max_deletes: Some(Limit::Count(u64::MAX)), max_changes: None };
    let used = guards.used(tally, directory, &[]).await.map_err(|e| refusal::of_settings(&e))?;
    let [deletes, _] = used;
    Ok(deletes.used)
}
