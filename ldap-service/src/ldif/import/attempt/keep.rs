//! A deletion that keeps its entry (`on_delete`).

use ldap_directory::Scope;
use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use target_ldap::map::Task;
use target_ldap::write::counts::RecordOutcome;
use target_ldap::write::destination::Destination;

use super::super::records::Action;
use super::{Attempt, Outcome, back, ended};
use crate::write::{
    Fence, Followed, KeptDeletion, LockCheck, ResourceKind, Watch, WriteError, check_kept, of_directory,
    place_of,
};

/// What is known before an entry is changed that a deletion keeps.
struct Before {
    /// The entry, as far as it is changed.
    entry: Entry,
    lock: Option<LockCheck>,
    watch: Watch,
}

impl Attempt {
    /// Does what `on_delete` says in place of a deletion: first the groups lose the name. If the deletion is refused, also by what it has
    /// come to, all of it is taken back.
    pub(super) async fn keep(
        &self,
        kept: KeptDeletion,
        keys: Vec<DnKey>,
        destination: &Destination,
        fence: &Fence,
    ) -> Outcome {
        let KeptDeletion { task, rule } = kept;
        let dn = task.dn().unwrap_or_default().to_owned();
        match self.check_protected(&Action::Delete(dn.clone())).await {
            Ok(None) => {}
            Ok(Some(refusal)) => return Outcome::Rejected(refusal),
            Err(error) => return self.failed(&error, fence),
        }
        let Before { entry, lock, watch } = match self.before_keeping(&task, &dn, destination).await {
            Ok(before) => before,
            Err(error) => return ended(error),
        };
        let followed = Box::pin(self.kept_memberships.follow(&watch, destination, false)).await;
        let Followed { mut made, result } = followed;
        let outcome = if let Err(error) = result {
            ended(error)
        } else {
            let applied = self.apply(destination, Action::Task(task), keys).await;
            let outcome = applied.unwrap_or_else(|error| self.failed(&error, fence));
            // The entry may be moved or changed.
            if outcome.is_unknown() {
                return outcome;
            }
            let own = fence.changes();
            let now = own.iter().rev().find_map(Change::new_dn).unwrap_or(dn);
            made.extend(own);
            match outcome {
                Outcome::Done(done) => {
                    match self.check_left(rule.kind, &now, lock.as_ref(), destination).await {
                        Ok(()) if done == RecordOutcome::Unchanged => Outcome::Done(done),
                        Ok(()) => Outcome::Left(done),
                        Err(error) => ended(error),
                    }
                }
                other => other,
            }
        };
        back::taken_back(outcome, &made, &entry, destination).await
    }

    /// Finds out what the checks after it need, and checks the names in groups.
    async fn before_keeping(
        &self,
        task: &Task,
        dn: &str,
        destination: &Destination,
    ) -> Result<Before, WriteError> {
        let mut names = vec!["1.1"];
        if let Task::Delete { action, .. } = task {
            names.extend(action.set().iter().map(|wanted| wanted.description.as_str()));
        }
        let entry = destination.read_whole(dn, &names).await;
        let entry = entry.map_err(|e| of_directory(&e, destination.schema()))?;
        let lock = match &entry {
            Some(_) => Box::pin(LockCheck::of(task, &self.directory, Some(dn))).await?,
            None => None,
        };
        let watch = Box::pin(self.kept_memberships.watch_kept(destination, dn, place_of(task))).await?;
        Ok(Before { entry: entry.unwrap_or_default(), lock: lock.filter(|_| !self.is_plan), watch })
    }

    /// Checks an entry that was kept, and has this DN now.
    async fn check_left(
        &self,
        kind: ResourceKind,
        dn: &str,
        lock: Option<&LockCheck>,
        destination: &Destination,
    ) -> Result<(), WriteError> {
        let key = self.territory.key(dn)?;
        if !self.territory.bases.iter().any(|(of, base)| *of == kind && key.is_within(base)) {
            return Ok(());
        }
        let (place, any) = ((dn, Scope::Base), Filter::Present("objectClass".to_owned()));
        check_kept((&self.writer, destination), kind, lock.map(|lock| (lock, dn)), (place, any)).await
    }
}
