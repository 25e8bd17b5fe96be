//! What is checked before a write of one entry, and after it.

use ldap_directory::change::Change;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::text::printable_line;
use ldap_directory::{DirectoryError, Scope};
use target_ldap::map::Task;
use target_ldap::write::destination::Destination;
use target_ldap::write::{Attempt, WriteOutcome as TaskOutcome};

use super::Job;
use crate::write::disabled::LockCheck;
use crate::write::plan::Planning;
use crate::write::whole::keeps;
use crate::write::{Effect, EntryId, WriteError, WriteErrorKind, locks, named, namesakes, refusal, whole};
use crate::{lookup, members};

/// Returns the error of an entry that another client has renamed at the same time.
pub(super) fn renamed(dn: &str) -> WriteError {
    let detail = format!("another client has renamed the entry: it is `{dn}` now");
    WriteError { retry_after: Some(1), ..WriteError::new(WriteErrorKind::Unavailable, detail) }
}

impl Job<'_> {
    /// Applies the task. An entry to be deleted that is not there is looked for by its identifier: it may have another name by now, or may
    /// not have been shown. Only one that is found nowhere is deleted.
    pub(super) async fn apply_to_it(&self, destination: &Destination) -> Result<Attempt, DirectoryError> {
        let attempt = self.apply(destination).await?;
        if !matches!((&self.task, &attempt.outcome), (Task::Delete { .. }, TaskOutcome::Unchanged)) {
            return Ok(attempt);
        }
        let Some(dn) = self.whereabouts().await? else { return Ok(attempt) };
        let is_there = self.territory.key(&dn).is_ok_and(|key| key == self.key);
        // One that `on_delete` has moved or marked before stays as it is.
        if is_there && keeps(&self.task) {
            return Ok(attempt);
        }
        Ok(Attempt { outcome: TaskOutcome::NotLocked(dn), ..attempt })
    }

    /// Returns the DN that the entry has by now: at its former place, below the base of its kind, or anywhere in the naming context.
    async fn whereabouts(&self) -> Result<Option<String>, DirectoryError> {
        let (Some(found), Some(identity)) = (&self.found, &self.identity) else { return Ok(None) };
        let base = self.rule.base_dn.as_str();
        let is_above = |context: &&String| {
            let keys = (self.territory.key(context), self.territory.key(base));
            matches!(keys, (Ok(context), Ok(base)) if base.is_within(&context))
        };
        let contexts = self.directory.root_dse().naming_contexts.iter().filter(is_above);
        let contexts = contexts.map(|context| (context.as_str(), Scope::Subtree));
        for (place, scope) in
            [(found.as_str(), Scope::Base), (base, Scope::Subtree)].into_iter().chain(contexts)
        {
            let there = lookup::find(self.directory, place, scope, identity.clone(), &["1.1"], 1).await?;
            if let Some(entry) = there.into_iter().next() {
                return Ok(Some(entry.dn));
            }
        }
        Ok(None)
    }

    /// Goes on with the DN that the entry has by now.
    ///
    /// # Errors
    /// It is to be deleted, and is not one of its kind any more.
    pub(super) fn follow(&mut self, dn: String) -> Result<(), WriteError> {
        let key = self.territory.key(&dn)?;
        self.locks.insert(locks::of_dn(&key));
        if let Task::Delete { dn: of_task, .. } = &mut self.task {
            if !key.is_within(&self.territory.key(&self.rule.base_dn)?) {
                let detail = format!(
                    "the entry is `{dn}` by now, outside {}.base_dn; it was not deleted",
                    self.rule.kind.stream()
                );
                return Err(WriteError::new(WriteErrorKind::NotFound, detail));
            }
            *of_task = Some(dn.clone());
            self.dn.clone_from(&dn);
            self.key = key;
        }
        self.found = Some(dn);
        Ok(())
    }

    /// Whether the write enables an account.
    pub(super) fn enables(&self) -> bool {
        let is_meant =
            matches!(&self.task, Task::Upsert { wanted, .. } if wanted.account.enabled == Some(true));
        is_meant && !self.options.dry_run
    }

    /// Notes that the write has enabled its account.
    pub(super) fn note_enabled(&self, effect: Effect) {
        if self.enables() {
            let state = self.writer.state();
            for dn in [Some(self.dn_after(effect, &[])), self.found.clone()].into_iter().flatten() {
                state.owed.is_enabled(&dn, self.directory.schema());
            }
        }
    }

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

    /// Returns what a plan means, if its entry would have what was asked for.
    pub(super) async fn planned_effect(
        &self,
        outcome: TaskOutcome,
        planning: &Planning,
    ) -> Result<Effect, WriteError> {
        let asked = &self.options.asked;
        // A group without members is not made.
        if self.is_new() && matches!(outcome, TaskOutcome::Unchanged) {
            asked.check_planned(&planning.destination, &self.dn, &self.rule, true).await?;
        }
        let effect = self.effect(outcome).await?;
        let dn = self.dn_after(effect, &planning.changes());
        asked.check_planned(&planning.destination, &dn, &self.rule, self.is_new()).await?;
        Ok(effect)
    }

    /// Checks that no other entry of the kind has the name.
    pub(super) async fn check_unique(&self) -> Result<(), WriteError> {
        let Some((name, value)) = &self.unique else { return Ok(()) };
        let filter = Filter::equality(name.clone(), value.clone());
        let Some(other) = self.find_other(filter.clone()).await? else { return Ok(()) };
        let mut detail = format!("another entry has this value of `{name}`: `{}`", printable_line(&other));
        if let Some(of_kind) = self.writer.filter(self.rule.kind, self.directory)
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

    /// Checks that what was written is what the answer says, and returns the identifier of the entry, if it was seen.
    pub(super) async fn check_made(
        &self,
        effect: Effect,
        made: &[Change],
        lock: Option<&LockCheck>,
    ) -> Result<Option<EntryId>, WriteError> {
        if matches!(self.task, Task::Delete { .. }) {
            return self.check_kept(effect, made, lock).await.map(|()| None);
        }
        let dn = self.dn_after(effect, made);
        if let Some(lock) = lock {
            Box::pin(lock.check(self.directory, &dn)).await?;
        }
        let entry = Box::pin(self.check_listed(effect)).await?;
        if let Some(entry) = &entry {
            self.options.asked.check_made(self.directory, entry, &self.rule).await?;
        }
        let id = entry.and_then(|entry| EntryId::of(&entry, self.directory));
        let taken_out = &self.options.taken_out;
        if taken_out.is_empty() {
            return Ok(id);
        }
        let (directory, dn) = (self.directory, self.dn_after(effect, &[]));
        let vendor = directory.root_dse().vendor;
        let attributes = members::by_dn(Some(&self.rule.members), vendor, directory.schema());
        named::check_taken_out(directory, &dn, &attributes, made, taken_out).await.map(|()| id)
    }

    /// Checks that an entry which is as asked for already is also shown so: a server may compute values.
    pub(super) async fn check_shown(&self, effect: Effect) -> Result<(), WriteError> {
        let Task::Upsert { wanted, .. } = &self.task else { return Ok(()) };
        if !self.directory.tells_own_values() {
            return Ok(());
        }
        let (kind, dn) = (self.rule.kind, self.dn_after(effect, &[]));
        let more = self.options.asked.made_names(self.directory, &self.rule);
        if more.is_empty() && wanted.account.enabled.is_none() {
            return Ok(());
        }
        let entry =
            whole::check_written(self.directory, (kind, &dn), None, wanted.account.enabled, &[], &more)
                .await?;
        match entry {
            Some(entry) => self.options.asked.check_made(self.directory, &entry, &self.rule).await,
            None => Ok(()),
        }
    }

    /// Checks that the entry is one of those that the service shows, unless it was disabled. Returns it with all that is checked of it, so
    /// that it is read once.
    pub(super) async fn check_listed(&self, effect: Effect) -> Result<Option<Entry>, WriteError> {
        let (kind, dn) = (self.rule.kind, self.dn_after(effect, &[]));
        let filter = self.writer.filter(kind, self.directory).filter(|_| !self.options.may_leave);
        let asked = match &self.task {
            Task::Upsert { wanted, .. } => wanted.account.enabled,
            _ => None,
        };
        let must_show = &self.options.must_show;
        let mut more = self.options.asked.made_names(self.directory, &self.rule);
        more.extend(EntryId::attributes(self.directory));
        let entry =
            whole::check_written(self.directory, (kind, &dn), filter, asked, must_show, &more).await?;
        if self.is_new() && !must_show.is_empty() {
            whole::check_id(self.directory, &dn, entry.as_ref())?;
        }
        Ok(entry)
    }

    /// Checks what a deletion that keeps the entry has left of it.
    pub(super) async fn check_kept(
        &self,
        effect: Effect,
        made: &[Change],
        lock: Option<&LockCheck>,
    ) -> Result<(), WriteError> {
        let (true, Some(identity)) = (keeps(&self.task), &self.identity) else { return Ok(()) };
        let dn = self.dn_after(effect, made);
        let (lock, place) = (lock.map(|lock| (lock, dn.as_str())), (&*self.rule.base_dn, Scope::Subtree));
        let of = (self.writer, self.directory);
        whole::check_kept(of, self.rule.kind, lock, (place, identity.clone())).await
    }
}
