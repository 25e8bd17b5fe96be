//! What is checked before a write of one entry, and after it.

use ldap_directory::change::Change;
use ldap_directory::filter::Filter;
use ldap_directory::text::printable_line;
use ldap_directory::{DirectoryError, Scope};
use target_ldap::map::Task;
use target_ldap::write::WriteOutcome as TaskOutcome;

use super::Job;
use crate::write::disabled::LockCheck;
use crate::write::{Effect, WriteError, WriteErrorKind, named, namesakes, refusal, whole};
use crate::{lookup, members};

impl Job<'_> {
    /// Returns the error of a failure. Not found is the entry itself alone, not another one that the change needs.
    pub(super) async fn failed(&self, error: &DirectoryError, refused: Option<WriteError>) -> WriteError {
        let refused = self.error(error, refused);
        if refused.kind == WriteErrorKind::Taken {
            let found = self.found.as_deref();
            let taken = Box::pin(namesakes::taken_account_name(&self.task, self.directory, found)).await;
            return match taken {
                Some(taken) => WriteError { result_code: refused.result_code, ..taken },
                None => refused,
            };
        }
        if self.found.is_none() || refused.kind != WriteErrorKind::NotFound || self.is_gone().await {
            return refused;
        }
        WriteError { kind: WriteErrorKind::Refused, ..refused }
    }

    /// Whether the entry that was there does not exist any more.
    pub(super) async fn is_gone(&self) -> bool {
        let (Some(_), Some(identity)) = (&self.found, &self.identity) else { return false };
        let base = &self.rule.base_dn;
        let there = lookup::find(self.directory, base, Scope::Subtree, identity.clone(), &["1.1"], 1).await;
        there.is_ok_and(|there| there.is_empty())
    }

    /// Returns what an outcome means. An entry that was deleted meanwhile is not added again: that is no lack of permission.
    pub(super) async fn effect(&self, outcome: TaskOutcome) -> Result<Effect, WriteError> {
        if matches!(outcome, TaskOutcome::LeftAlone) && self.is_gone().await {
            let dn = self.found.as_deref().unwrap_or(&self.dn);
            let detail = format!("the entry `{dn}` does not exist any more");
            return Err(WriteError::new(WriteErrorKind::NotFound, detail));
        }
        refusal::effect(outcome, &self.dn, self.is_new())
    }

    /// Checks that no other entry of the kind has the name.
    pub(super) async fn check_unique(&self) -> Result<(), WriteError> {
        let Some((name, value)) = &self.unique else { return Ok(()) };
        let filter = Filter::equality(name.clone(), value.clone());
        let Some(other) = self.find_other(filter.clone()).await? else { return Ok(()) };
        let mut detail = format!("another entry has this value of `{name}`: `{}`", printable_line(&other));
        if let Some(of_kind) = self.writer.filter(self.rule.kind)
            && self.find_other(Filter::And(vec![of_kind.clone(), filter])).await?.is_none()
        {
            let setting = format!("{}.filter", self.rule.kind.stream());
            detail = format!("{detail}, and {setting} leaves it out: it is in no list");
            tracing::warn!(setting, dn = other, "{detail}");
        }
        let error = WriteError::new(WriteErrorKind::Taken, detail).of_attribute(name.clone());
        Err(WriteError { entry: Some(other), ..error })
    }

    /// Returns the DN of another entry below the base that matches a filter.
    pub(super) async fn find_other(&self, filter: Filter) -> Result<Option<String>, WriteError> {
        let found =
            lookup::find(self.directory, &self.rule.base_dn, Scope::Subtree, filter, &["1.1"], 2).await;
        let found = found.map_err(|e| refusal::of_directory(&e, self.directory.schema()))?;
        let own = self.found.as_deref().and_then(|dn| self.territory.key(dn).ok());
        Ok(found.into_iter().map(|entry| entry.dn).find(|dn| self.territory.key(dn).ok() != own))
    }

    /// Checks that what was written is what the answer says.
    pub(super) async fn check_made(
        &self,
        effect: Effect,
        made: &[Change],
        lock: Option<&LockCheck>,
    ) -> Result<(), WriteError> {
        if let Some(lock) = lock {
            Box::pin(lock.check(self.directory, &self.dn_after(effect, made))).await?;
        }
        self.check_listed(effect).await?;
        let taken_out = &self.options.taken_out;
        if taken_out.is_empty() {
            return Ok(());
        }
        let (directory, dn) = (self.directory, self.dn_after(effect, &[]));
        let vendor = directory.root_dse().vendor;
        let attributes = members::by_dn(Some(&self.rule.members), vendor, directory.schema());
        named::check_taken_out(directory, &dn, &attributes, made, taken_out).await
    }

    /// Checks that the entry is one of those that the service shows, unless it was disabled.
    pub(super) async fn check_listed(&self, effect: Effect) -> Result<(), WriteError> {
        if matches!(self.task, Task::Delete { .. }) {
            return self.check_gone(effect).await;
        }
        let (kind, dn) = (self.rule.kind, self.dn_after(effect, &[]));
        if let Some(filter) = self.writer.filter(kind).filter(|_| !self.options.may_leave) {
            whole::check_listed(self.directory, kind, &dn, filter).await?;
        }
        if let Task::Upsert { wanted, .. } = &self.task
            && let Some(enabled) = wanted.account.enabled
        {
            whole::check_active(self.directory, &dn, enabled).await?;
        }
        whole::check_readable(self.directory, &dn, &self.options.must_show).await
    }

    /// Checks that a deletion that keeps the entry leaves none that the service shows, or one that cannot log in.
    pub(super) async fn check_gone(&self, effect: Effect) -> Result<(), WriteError> {
        let (Task::Delete { .. }, Some(identity)) = (&self.task, &self.identity) else { return Ok(()) };
        let Some(filter) = self.writer.filter(self.rule.kind).filter(|_| effect != Effect::Deleted) else {
            return Ok(());
        };
        let listed = Filter::And(vec![filter.clone(), identity.clone()]);
        let (kind, base) = (self.rule.kind, &self.rule.base_dn);
        whole::check_gone(self.directory, kind, base, listed, self.writer.own_mark(kind)).await
    }
}
