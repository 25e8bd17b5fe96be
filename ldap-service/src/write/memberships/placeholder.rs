//! The placeholder of groups that lose their last member: no entry has its name.

use ldap_directory::Directory;
use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::DnKey;

use super::arrivals::Arriving;
use super::{Leaving, Memberships};
use crate::members;
use crate::write::{WriteError, WriteErrorKind, refusal};

impl Memberships {
    /// Returns the placeholder of groups that lose their last member; `None`: there is none, or an entry has its name, and would get the
    /// rights of the group.
    ///
    /// # Errors
    /// An entry would get the name of the placeholder; or the placeholder would be put into a group, and an entry has its name.
    pub(super) async fn placeholder_for(
        &self,
        directory: &Directory,
        changes: &[Change],
        (leaving, arriving): (&[Leaving], &[Arriving]),
        may_exist: bool,
    ) -> Result<Option<String>, WriteError> {
        let Some(dn) = &self.placeholder else { return Ok(None) };
        let Ok(key) = DnKey::parse(dn, directory.schema()) else { return Ok(None) };
        let arrives = arriving.iter().any(|one| one.key.as_ref() == Some(&key));
        let emptied = changes.iter().find(|change| self.is_emptying(change, &key, directory));
        if !arrives && emptied.is_none() && leaving.iter().all(|one| one.new.is_some()) {
            return Ok(Some(dn.clone()));
        }
        let there = directory.read(dn, &["1.1"]).await;
        let there = there.map_err(|e| refusal::of_directory(&e, directory.schema()))?.is_some();
        if arrives && !there {
            let detail = format!(
                "`{dn}` is the placeholder of groups without members (empty_group): an entry of this name would have the rights of each of them"
            );
            return Err(WriteError::new(WriteErrorKind::Protected, detail));
        }
        if let (true, false, Some(change)) = (there, may_exist, emptied) {
            return Err(taken(dn, change.dn()));
        }
        Ok(Some(dn.clone()).filter(|_| !there))
    }

    /// Whether a change gives a group the placeholder, and no other member.
    fn is_emptying(&self, change: &Change, placeholder: &DnKey, directory: &Directory) -> bool {
        let schema = directory.schema();
        let is_member = |name: &str| self.members.iter().any(|known| members::is_of(name, known, schema));
        let is_it = |value: &Vec<u8>| {
            DnKey::parse(&String::from_utf8_lossy(value), schema).is_ok_and(|key| key == *placeholder)
        };
        let values: Vec<&Vec<u8>> = match change {
            Change::Add(entry) => entry
                .attributes
                .iter()
                .filter(|a| is_member(&a.description))
                .flat_map(|a| &a.values)
                .collect(),
            Change::Modify { changes, .. } => {
                let steps = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
                steps.filter(|step| is_member(&step.description)).flat_map(|step| &step.values).collect()
            }
            Change::Delete { .. } | Change::Rename { .. } => Vec::new(),
        };
        !values.is_empty() && values.into_iter().all(is_it)
    }
}

/// Returns the error of a group that would get the placeholder though an entry has its name.
pub(in crate::write) fn taken(placeholder: &str, group: &str) -> WriteError {
    let detail = format!(
        "`{group}` would have no member but the placeholder `{placeholder}` (empty_group), and an entry has this name: it would get the rights of the group; rename the entry, or set another empty_group"
    );
    let error = WriteError::new(WriteErrorKind::LastMember, detail);
    WriteError { groups: vec![group.to_owned()], ..error }
}
