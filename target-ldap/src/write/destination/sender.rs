//! The only holder of the directory that changes can be sent to. It takes nothing but changes that passed the
//! [protection](crate::write::protection).

use ldap_directory::entry::CompactEntry;
use ldap_directory::secret::Secret;
use ldap_directory::{Directory, DirectoryError, WriteControl};
use singer_common::operations::file;

use crate::write::protection::{Admitted, AdmittedKey};

/// Sends changes.
#[derive(Debug, Clone)]
pub(super) struct Sender(Directory);

impl Sender {
    pub(super) fn new(directory: Directory) -> Self {
        Self(directory)
    }

    /// Sends a change with controls.
    pub(super) async fn apply(
        &self,
        admitted: Admitted<'_>,
        controls: &[WriteControl],
    ) -> Result<(), DirectoryError> {
        self.0.apply_with(admitted.change(), controls).await
    }

    /// Sends a Password Modify operation, which was checked as a change of the entry.
    pub(super) async fn set_password(
        &self,
        admitted: Admitted<'_>,
        password: &Secret,
    ) -> Result<(), DirectoryError> {
        self.0.set_password(admitted.change().dn(), password).await
    }

    /// Sends the deletion of an entry with its subtree, which was checked as a deletion.
    pub(super) async fn delete_tree(&self, admitted: Admitted<'_>) -> Result<bool, DirectoryError> {
        self.0.delete_tree(admitted.change().dn()).await
    }

    /// Adds an entry to a file in memory.
    pub(super) fn add_in_memory(
        &self,
        admitted: AdmittedKey<'_>,
        entry: impl FnOnce() -> CompactEntry,
    ) -> Option<Result<(), DirectoryError>> {
        self.0.add_in_memory(admitted.key(), entry)
    }

    /// Commits the changes.
    pub(super) fn commit(&self) -> Result<(), DirectoryError> {
        file::commit(&self.0)
    }
}
