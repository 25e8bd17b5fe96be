//! Applies one task: a record's entry is written, deleted, or only looked for.

use std::sync::Arc;

use ldap_directory::change::{Change, Modification};
use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::filter::Filter;
use ldap_directory::{DirectoryError, Vendor};

use super::applier::Applier;
use super::claims::{Claimant, DeleteDenied};
use super::locate::{Located, MatchedNames};
use super::outcome::{Attempt, AttemptContext, WriteOutcome};
use super::upsert::Upsert;
use crate::map::wanted::WantedEntry;
use crate::map::{DeleteAction, Task, WritePolicy};
use crate::plan::is_same_on_ad;

/// An entry that is to be removed.
struct Removal<'t> {
    dn: &'t str,
    /// The DN that its record gives it.
    named: Option<&'t str>,
    action: &'t DeleteAction,
    /// The filter that it must match.
    condition: Option<&'t Arc<Filter>>,
}

impl Applier {
    /// Applies one task. `claimant`: its record, or `None` for a deletion by ACTIVATE_VERSION. `key`: the key of its entry, if the
    /// record names it.
    ///
    /// # Errors
    /// The directory refused the task, or is not reachable.
    pub async fn apply(
        &self,
        claimant: Option<&Claimant<'_>>,
        task: &Task,
        key: &DnKey,
        context: &AttemptContext,
    ) -> Result<Attempt, DirectoryError> {
        match task {
            // Memberships are collected by group: `write_members`.
            Task::Membership(_) | Task::Nothing => Ok(WriteOutcome::Ignored.into()),
            Task::Find { dn, filter, write_policy } => {
                let Some(filter) = filter else {
                    return Ok(WriteOutcome::Found(MatchedNames::whole(Vec::new())).into());
                };
                Box::pin(self.find(claimant, dn.as_deref(), filter, write_policy, context)).await
            }
            Task::Delete { dn: named, filter, action, condition, write_policy } => {
                let dn = match filter {
                    None => named.clone().unwrap_or_default(),
                    Some(filter) => {
                        match Box::pin(self.find_to_delete(
                            claimant,
                            named.as_deref(),
                            filter,
                            write_policy,
                            context,
                        ))
                        .await?
                        {
                            Ok(dn) => dn,
                            Err(outcome) => return Ok(outcome.into()),
                        }
                    }
                };
                let named = named.as_deref().filter(|_| claimant.is_some());
                let removal = Removal { dn: &dn, named, action, condition: condition.as_ref() };
                Box::pin(self.delete_entry(claimant, &removal, write_policy)).await
            }
            Task::Upsert { wanted, filter, write_policy } if !wanted.references.is_empty() => {
                let filter = filter.as_deref();
                Box::pin(self.write_with_references(claimant, wanted, key, filter, write_policy, context))
                    .await
            }
            Task::Upsert { wanted, filter, write_policy } => {
                self.write_entry(claimant, wanted, key, filter.as_deref(), write_policy, context).await
            }
        }
    }

    /// Finds the entries of a rejected record, which are then protected from deletion.
    async fn find(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        context: &AttemptContext,
    ) -> Result<Attempt, DirectoryError> {
        let match_lock = self.match_lock.read().await;
        let place = self.locate(dn, filter, write_policy, context, &["1.1".into()]).await?.0;
        self.protect_matches(claimant, dn, filter, write_policy, &place).await?;
        drop(match_lock);
        Ok(WriteOutcome::Found(match place {
            Located::Nowhere | Located::Taken(_) => MatchedNames::whole(Vec::new()),
            Located::Several(names) => names,
            Located::Hidden(_) => MatchedNames::default(),
            Located::NotLocked(dn) => MatchedNames::whole(vec![dn]),
            Located::Named(entry) | Located::Elsewhere(entry) => MatchedNames::whole(vec![entry.dn]),
        })
        .into())
    }

    /// Returns the DN of the one entry that a deletion's filter matches, or the outcome if there is none to delete now.
    async fn find_to_delete(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        context: &AttemptContext,
    ) -> Result<Result<String, WriteOutcome>, DirectoryError> {
        let match_lock = self.match_lock.read().await;
        let mut place = self.locate_match(dn, filter, write_policy, context, &["1.1".into()]).await?;
        if matches!(place, Located::Nowhere)
            && let Some(unreadable) = Box::pin(self.hidden_from_match(dn, filter, write_policy)).await?
        {
            place = Located::Hidden(unreadable);
        }
        self.protect_matches(claimant, dn, filter, write_policy, &place).await?;
        drop(match_lock);
        Ok(match place {
            Located::Nowhere | Located::Taken(_) => Err(WriteOutcome::Unchanged),
            Located::Hidden(unreadable) => Err(WriteOutcome::Unreadable(unreadable)),
            Located::Several(names) => Err(WriteOutcome::Several(names)),
            Located::NotLocked(dn) => Err(WriteOutcome::NotLocked(dn)),
            Located::Named(entry) | Located::Elsewhere(entry) => Ok(entry.dn),
        })
    }

    /// Deletes an entry as `on_delete` says, if the rule and the other records of the run allow it.
    async fn delete_entry(
        &self,
        claimant: Option<&Claimant<'_>>,
        removal: &Removal<'_>,
        write_policy: &WritePolicy,
    ) -> Result<Attempt, DirectoryError> {
        let Removal { dn, named, action, condition } = *removal;
        let attempt: Attempt = if write_policy.operations.delete {
            let key = self.key(dn).unwrap_or_default();
            match self.permit(claimant, dn, &key, action.takes_subtree()).await? {
                Ok(permit) => {
                    self.digest_caches.forget(&key, true);
                    self.remove(&permit.while_it_matches(condition), named, action).await?
                }
                Err(DeleteDenied::Error(reason)) => WriteOutcome::Refused(reason).into(),
                Err(DeleteDenied::Kept(reason)) => WriteOutcome::Kept(reason).into(),
            }
        } else if self.directory.read(dn, &["1.1"]).await?.is_some() {
            WriteOutcome::LeftAlone.into()
        } else {
            WriteOutcome::Unchanged.into()
        };
        if matches!(attempt.outcome, WriteOutcome::Deleted | WriteOutcome::Moved) {
            self.present.remove(&self.key(dn).unwrap_or_default());
        }
        Ok(attempt)
    }

    /// Deletes an entry that a record added that is refused for a part of its values. An entry that cannot be deleted stays, which is logged.
    pub async fn remove_added(&self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) {
        let removed = match self.permit(Some(claimant), dn, key, false).await {
            Ok(Ok(permit)) => self.directory.delete(&permit).await.map_err(|e| e.to_string()),
            Ok(Err(DeleteDenied::Error(reason) | DeleteDenied::Kept(reason))) => Err(reason),
            Err(error) => Err(error.to_string()),
        };
        match removed {
            Ok(()) => {
                self.present.remove(key);
                self.digest_caches.forget(key, true);
                tracing::info!(dn, "`{dn}` is removed again: its record is refused for a part of its values");
            }
            Err(reason) => {
                tracing::warn!(
                    dn,
                    "`{dn}` stays without the values that its record is refused for: {reason}"
                );
            }
        }
    }

    /// Adds or changes an entry. The digest cache answers first: an entry that does not differ needs no search.
    pub(super) async fn write_entry(
        &self,
        claimant: Option<&Claimant<'_>>,
        wanted: &WantedEntry,
        key: &DnKey,
        filter: Option<&str>,
        write_policy: &WritePolicy,
        context: &AttemptContext,
    ) -> Result<Attempt, DirectoryError> {
        let schema = self.directory.schema();
        if let Some(reason) = changed_silently(&wanted.dn, self.directory.root_dse().vendor) {
            return Ok(WriteOutcome::Refused(reason).into());
        }
        let known = context.digest_cache.as_ref().filter(|_| wanted.account.is_for_new_entries_only());
        let known = known.and_then(|cache| cache.changes(wanted, key, filter, schema));
        if let Some(absent) = known.as_ref().map(|known| &known.absent)
            && write_policy.operations.update
            && !self.may_read(key, absent)
            && let Some(unreadable) = Box::pin(self.find_unreadable(&wanted.dn, key, absent)).await?
        {
            return Ok(WriteOutcome::Unreadable(unreadable).into());
        }
        let vendor = self.directory.root_dse().vendor;
        let changes = known
            .map(|known| known.changes)
            .filter(|all| vendor != Vendor::ActiveDirectory || all.iter().all(is_same_on_ad));
        // If a filter has to find the entry, the claim is checked once the entry is known.
        if (filter.is_none() || changes.is_some())
            && let Some(Err(reason)) =
                claimant.map(|claimant| self.claims.may_write(claimant, &wanted.dn, key))
        {
            return Ok(WriteOutcome::Refused(reason).into());
        }
        if changes.as_ref().is_some_and(Vec::is_empty) {
            self.note_present(key);
            return Ok(WriteOutcome::Unchanged.into());
        }
        // It may have been set aside, under another DN.
        let may_be_absent = write_policy.grace.is_none();
        let is_absent = may_be_absent
            && (context.is_new
                || match self.directory.holds_in_memory(key).filter(|_| filter.is_none()) {
                    Some(is_there) => !is_there,
                    None => {
                        context
                            .digest_cache
                            .as_ref()
                            .is_some_and(|cache| cache.is_absent(key, filter, schema))
                            || filter.is_none() && self.is_below_a_new_one(key)
                    }
                });
        // Before the change is sent: the effect of a change whose answer is lost is not known.
        self.digest_caches.touch(key, filter, schema);
        let write = self.digest_caches.references().touch(key, wanted, schema);
        let is_at_once = write_policy.operations.update && !self.assert_unchanged;
        // Whether a password takes a lock away is found with the entry at hand.
        let is_at_once =
            |all: &Vec<Modification>| is_at_once && !all.iter().any(|step| self.takes_a_lock(step));
        if let Some(changes) = changes.filter(is_at_once) {
            match self.directory.apply(&Change::Modify { dn: wanted.dn.clone(), changes }).await {
                Ok(()) => {
                    write.end(key, wanted, false, schema);
                    Box::pin(self.watch_shown(wanted)).await;
                    return Ok(WriteOutcome::Modified.into());
                }
                Err(e) if e.is_connection() => return Err(e),
                // The entry may have changed since it was cached. A fault of the record is found with the entry at hand.
                Err(_) => {}
            }
        }
        let upsert = Upsert::new(self, claimant, wanted, key, filter, write_policy, context, is_absent);
        let attempt = upsert.run().await.map_err(|e| wanted.account.scrub(e))?;
        write.end(key, wanted, attempt.outcome == WriteOutcome::Added, schema);
        let is_there = matches!(
            attempt.outcome,
            WriteOutcome::Added | WriteOutcome::Modified | WriteOutcome::Renamed | WriteOutcome::Unchanged
        );
        if is_there {
            self.note_present(key);
        }
        let is_written = attempt.outcome == WriteOutcome::Added
            || attempt.outcome != WriteOutcome::Unchanged && attempt.deferred.is_empty();
        if is_there && is_written && wanted.account.enabled == Some(false) {
            Box::pin(self.watch_lock(&wanted.dn)).await;
        }
        if is_there && attempt.deferred.is_empty() {
            Box::pin(self.watch_shown(wanted)).await;
        }
        // Not if the DN is taken: a displaced entry may have it.
        if self.awaits_parents() && (is_there || attempt.outcome == WriteOutcome::LeftAlone) {
            self.displaced.placed(key);
        }
        if attempt.outcome == WriteOutcome::Added && !self.directory.is_written_at_once() {
            self.added.insert(key);
        }
        Ok(attempt)
    }

    /// Remembers that an entry exists, so that references to it need no search. A file that is replaced as a whole needs none.
    pub(super) fn note_present(&self, key: &DnKey) {
        if !self.directory.is_written_at_once() {
            self.present.insert(key);
        }
    }

    /// Whether an entry would be a child of one that this run added: then it hardly exists.
    fn is_below_a_new_one(&self, key: &DnKey) -> bool {
        key.parent().is_some_and(|parent| self.added.contains(&parent)) && !self.added.contains(key)
    }
}

/// Returns why an entry would not get the DN that its record asks for, though the server accepts it. 389 Directory Server stores a
/// NUL in a naming value as the text `00` (`uid=x\\00y` becomes `uid=x00y`): the next run would not find the entry.
fn changed_silently(dn: &str, vendor: Vendor) -> Option<String> {
    let may_have_nul = || dn.contains('\0') || dn.contains("\\00") || dn.contains('#');
    if vendor != Vendor::Ds389 || !may_have_nul() {
        return None;
    }
    let name = Dn::parse(dn).ok()?;
    let ava = name.rdns.iter().flat_map(|rdn| &rdn.avas).find(|ava| ava.value.contains(&0))?;
    Some(format!(
        "`{dn}`: the value of `{}` has a NUL, which {} would store as other characters, without an error",
        ava.attribute,
        vendor.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::claims::EntryClaims;
    use crate::write::destination::Destination;
    use crate::write::protection::Protection;
    use ldap_directory::{Access, Directory, DirectoryConfig, ServerUrl};

    /// The most octets of the future of a task.
    const LARGEST: usize = 4100;

    /// The future is moved into its box for each record: rare ways have boxes of their own.
    #[tokio::test]
    async fn the_future_of_a_task_is_small() {
        let folder = tempfile::tempdir().unwrap();
        let config = DirectoryConfig::new([ServerUrl::Ldif(folder.path().join("d.ldif"))]);
        let directory = Directory::open(&config, Access::WRITE).await.unwrap();
        let applier = Applier::new(
            Destination::new(directory.clone(), Protection::none()),
            false,
            EntryClaims::default(),
        );
        let (key, context) = (DnKey::default(), AttemptContext::default());
        let task = applier.apply(None, &Task::Nothing, &key, &context);
        let size = size_of_val(&task);
        drop(task);
        assert!(size <= LARGEST, "{size}");
    }
}
