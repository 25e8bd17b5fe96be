//! Values of an import that are not written for a caller, and are as they are already: only a change of them is refused.

use ldap_directory::DirectoryError;
use ldap_directory::change::{Change, Modification};
use ldap_directory::entry::Entry;

use target_ldap::write::counts::RecordOutcome;

use super::{Attempt, Outcome};
use crate::write::{EntryId, Guarded, WriteError, WriteErrorKind, of_directory};

/// Returns the error of an entry of Active Directory's own.
pub(super) fn own_account(dn: &str) -> WriteError {
    let detail = format!("`{dn}` is one of Active Directory's own accounts");
    WriteError::new(WriteErrorKind::Protected, detail)
}

impl Attempt {
    fn refused(&self, error: &DirectoryError) -> WriteError {
        of_directory(error, self.directory.schema())
    }

    /// Returns a change without the steps that give an entry the values that it has, as far as these are not written for a caller.
    ///
    /// # Errors
    /// The entry cannot be read.
    pub(super) async fn without_same(&self, change: Change) -> Result<Change, WriteError> {
        let Change::Modify { dn, mut changes } = change else { return Ok(change) };
        let is_comparable = |step: &&Modification| self.territory.attributes.is_comparable(step);
        let names: Vec<&str> = changes.iter().filter(is_comparable).map(|s| s.description.as_str()).collect();
        if !names.is_empty() {
            let there = self.destination.read(&dn, &names).await.map_err(|e| self.refused(&e))?;
            changes.retain(|step| {
                let is_same = there.as_ref().is_some_and(|there| self.has_values(there, step));
                !(is_same && self.territory.attributes.is_comparable(step))
            });
        }
        Ok(Change::Modify { dn, changes })
    }

    /// Returns the outcome of a modification of nothing, be it of an entry that is not there.
    pub(super) async fn unchanged(&self, dn: &str) -> Outcome {
        match self.destination.read(dn, &["1.1"]).await {
            Ok(Some(_)) => Outcome::Done(RecordOutcome::Unchanged),
            Ok(None) => {
                let detail = format!("there is no entry `{dn}`");
                Outcome::Rejected(WriteError::new(WriteErrorKind::NotFound, detail))
            }
            Err(error) => super::ended(self.refused(&error)),
        }
    }

    fn has_values(&self, there: &Entry, step: &Modification) -> bool {
        let schema = self.directory.schema();
        let now = there.values(&step.description);
        let is_there = |value: &Vec<u8>| now.iter().any(|n| schema.values_match(&step.description, n, value));
        now.len() == step.values.len() && !now.is_empty() && step.values.iter().all(is_there)
    }

    /// Returns why an entry of a record of content is not changed, if it is there and differs.
    ///
    /// # Errors
    /// It is not there, and no such entry is added.
    pub(super) async fn protected(&self, entry: &Entry) -> Result<Option<WriteError>, WriteError> {
        let protected = EntryId::is_protected_by_directory(&self.directory, &entry.dn).await;
        if protected.map_err(|e| self.refused(&e))? {
            return Ok(Some(own_account(&entry.dn)));
        }
        let mut classes = self.directory.schema().values_of(entry, "objectClass").iter();
        if !classes.any(|class| self.territory.attributes.is_policy(class)) {
            return Ok(None);
        }
        let error = Guarded::Policy.error("objectClass");
        let is_there = self.destination.read(&entry.dn, &["1.1"]).await.map_err(|e| self.refused(&e))?;
        if is_there.is_some() { Ok(Some(error)) } else { Err(error) }
    }
}
