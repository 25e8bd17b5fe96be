//! A group that would have no member, though its class demands one (`empty_group`).

use ldap_directory::DirectoryError;
use ldap_directory::change::ModificationKind;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;

use super::super::claims::DeleteDenied;
use super::super::groups::demanded;
use super::super::ldap_result::is_records_fault;
use super::super::outcome::WriteOutcome;
use super::sending::{Of, Step};
use super::{MemberError, MemberOutcome, WantedMembers, Writing};
use crate::map::wanted::{WantedAccount, WantedEntry};
use crate::rules::rule::EmptyGroup;

impl Writing<'_> {
    /// Applies `empty_group`, and removes the placeholder of a group that has other members. `false`: nothing is left to do.
    pub(super) async fn check_empty_group(
        &mut self,
        group: &Entry,
        steps: &mut Vec<Step>,
    ) -> Result<bool, DirectoryError> {
        let applier = self.applier;
        let WantedMembers { dn, key, attribute, policy, .. } = self.wanted;
        let schema = applier.directory.schema();
        let there = schema.values_of(group, attribute);
        let count = |kind| steps.iter().filter(|step| step.kind == kind).count();
        let left =
            (there.len() + count(ModificationKind::Add)).saturating_sub(count(ModificationKind::Delete));
        let placeholder = self.placeholder();
        let held = there.iter().find(|value| {
            placeholder.as_ref().is_some_and(|p| applier.normal_member(attribute, value) == *p)
        });
        let is_named = |value: &Vec<u8>| {
            let normal = applier.normal_member(attribute, value);
            self.wanted.members.iter().any(|m| applier.normal_member(attribute, &m.value) == normal)
        };
        if let Some(value) = held.filter(|value| left > 1 && !steps.is_empty() && !is_named(value)) {
            steps.push(Step { kind: ModificationKind::Delete, value: value.clone(), of: Of::Placeholder });
            return Ok(true);
        }
        let is_checked = applier.directory.ldif_rules().is_none_or(|rules| rules.checks_schema);
        let none = WantedEntry {
            dn: dn.clone(),
            attributes: Vec::new(),
            account: WantedAccount::default(),
            references: Vec::new(),
        };
        let is_demanded = || {
            demanded(&none, Some(group), schema).iter().any(|name| schema.same_description(name, attribute))
        };
        if left > 0
            || there.is_empty()
            || policy.empty_group == EmptyGroup::NotSaid && !is_checked
            || !is_demanded()
        {
            return Ok(true);
        }
        match &policy.empty_group {
            EmptyGroup::Placeholder(dn) => {
                let value = dn.clone().into_bytes();
                steps.push(Step { kind: ModificationKind::Add, value, of: Of::Placeholder });
            }
            EmptyGroup::KeepLast => {
                if let Some(Step { of, .. }) = steps.pop() {
                    match of {
                        Of::Row(at) => self.set(at, MemberOutcome::Kept),
                        _ => self.written.kept += 1,
                    }
                }
            }
            EmptyGroup::Delete => {
                self.delete_group(dn, key, steps).await?;
                return Ok(false);
            }
            EmptyGroup::Fail | EmptyGroup::NotSaid => {
                let reason = format!(
                    "`{dn}` would be without a `{attribute}`, which its class demands: empty_group says what is to become of it (keep_last, delete, or the DN of a placeholder)"
                );
                self.fail_all(&MemberError::Refused(reason));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes a group that would have no member (`empty_group: delete`).
    async fn delete_group(&mut self, dn: &str, key: &DnKey, steps: &[Step]) -> Result<(), DirectoryError> {
        let error = match self.applier.permit(None, dn, key, false).await? {
            Ok(permit) => match Box::pin(self.applier.delete(&permit)).await {
                Ok(WriteOutcome::Deleted | WriteOutcome::Unchanged) => None,
                Ok(WriteOutcome::LimitReached(limit)) => Some(MemberError::Limit(limit)),
                Ok(other) => Some(MemberError::Refused(format!("`{dn}` could not be deleted: {other:?}"))),
                Err(e) if is_records_fault(&e) => Some(MemberError::Directory(e)),
                Err(e) => return Err(e),
            },
            Err(DeleteDenied::Error(reason) | DeleteDenied::Kept(reason)) => {
                Some(MemberError::Refused(reason))
            }
        };
        if let Some(error) = error {
            self.fail_all(&error);
            return Ok(());
        }
        self.written.is_deleted = true;
        for step in steps {
            self.made(&step.of, step.kind);
        }
        Ok(())
    }
}
