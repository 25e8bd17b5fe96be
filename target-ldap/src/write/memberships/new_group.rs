//! Adds a group that does not exist, if the rule says of which classes.

use std::sync::Arc;

use ldap_directory::DirectoryError;
use ldap_directory::dn::Dn;

use super::super::ldap_result::is_records_fault;
use super::super::outcome::{AttemptContext, WriteOutcome};
use super::{MemberError, MemberOutcome, WantedMembers, Writing};
use crate::map::wanted::{Wanted, WantedAccount, WantedEntry};
use crate::map::{Task, WritePolicy};
use crate::rules::policy::{Compare, Policy};
use crate::rules::rule::Operations;

/// The most members that a new group is added with; the others follow.
const MOST_AT_FIRST: usize = 1_000;

impl Writing<'_> {
    /// Handles a group that does not exist: it is added, if the rule says of which classes. `false`: it was.
    pub(super) async fn without_group(&mut self) -> Result<bool, DirectoryError> {
        let open = self.open();
        let policy = &self.wanted.policy;
        let given: Vec<usize> = open
            .iter()
            .copied()
            .filter(|at| self.wanted.members.get(*at).is_some_and(|m| m.is_member))
            .collect();
        // Nobody is a member of a group that is not there.
        for at in open.iter().copied().filter(|at| !given.contains(at)) {
            self.set(at, MemberOutcome::Unchanged);
        }
        if given.is_empty() {
            return Ok(true);
        }
        if !policy.new_classes.is_empty() && policy.operations.create && !self.written.is_added {
            return self.add_group(&given).await;
        }
        for at in given {
            self.set(at, MemberOutcome::Missing(format!("there is no group `{}`", self.wanted.dn)));
        }
        Ok(true)
    }

    /// Adds the group with its first members. `false`: it was added, and is read for the others.
    async fn add_group(&mut self, given: &[usize]) -> Result<bool, DirectoryError> {
        let WantedMembers { dn, key, attribute, policy, .. } = self.wanted;
        let of = |description: &str, values: Vec<Vec<u8>>, policy| Wanted {
            description: description.to_owned(),
            values,
            policy,
            compare: Compare::Schema,
        };
        let members = given.iter().take(MOST_AT_FIRST).filter_map(|at| self.wanted.members.get(*at));
        let members = members.map(|member| member.value.clone()).collect();
        let classes = policy.new_classes.iter().map(|class| class.clone().into_bytes()).collect();
        let mut attributes = vec![of("objectClass", classes, Policy::Merge)];
        let rdn = Dn::parse(dn).ok().and_then(|dn| dn.rdn().cloned());
        for ava in rdn.into_iter().flat_map(|rdn| rdn.avas) {
            attributes.push(of(&ava.attribute, vec![ava.value], Policy::Merge));
        }
        attributes.push(of(attribute, members, Policy::Merge));
        let wanted = WantedEntry {
            dn: dn.clone(),
            attributes,
            account: WantedAccount::default(),
            references: Vec::new(),
        };
        let operations = Operations { rename: false, delete: false, ..policy.operations };
        let write_policy = Arc::new(WritePolicy { operations, ..WritePolicy::default() });
        let task = Task::Upsert { wanted, filter: None, write_policy };
        let is_last_try = given.iter().filter_map(|at| self.wanted.members.get(*at)).all(|m| m.is_last);
        let context = AttemptContext { is_last_try, ..AttemptContext::default() };
        let attempt = match Box::pin(self.applier.apply(None, &task, key, &context)).await {
            Ok(attempt) => attempt,
            Err(e) if is_records_fault(&e) => {
                self.fail_all(&MemberError::Directory(e));
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        let outcome = match attempt.outcome {
            WriteOutcome::Added => {
                self.written.is_added = true;
                return Ok(false);
            }
            // Somebody else was faster.
            WriteOutcome::Unchanged | WriteOutcome::Modified if self.may_retry() => {
                self.tries += 1;
                return Ok(false);
            }
            WriteOutcome::Refused(reason) => MemberError::Refused(reason),
            WriteOutcome::NeedsEntries(_) | WriteOutcome::TooEarly(_) => {
                let what = format!(
                    "there is no group `{dn}`, and it cannot be added without its members and the entry above it"
                );
                for at in self.open() {
                    self.set(at, MemberOutcome::Missing(what.clone()));
                }
                return Ok(true);
            }
            other => MemberError::Refused(format!("the group `{dn}` could not be added: {other:?}")),
        };
        self.fail_all(&outcome);
        Ok(true)
    }
}
