//! What a plan or a list said of an entry is checked again here, right before the entry is deleted or moved away.
//!
//! Time passes between the plan of a run and its changes, and between a list of entries and the last deletion from it.
//! - The plan counted the removals of the run. They are counted again as they are made, a subtree as a whole before anything of it is
//!   removed: [`RunLimits`].
//! - A list has the entries that matched its filter. The filter is the condition of each deletion from it
//!   ([`DeletePermit::while_it_matches`]): an assertion (RFC 4528), or a search right before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest};
use singer_common::operations::facts::Facts;
use tokio::sync::Notify;

use super::applier::Applier;
use super::outcome::WriteOutcome;
use crate::config::limits::LimitKind;
use crate::write::change_label::CHANGE_LABEL;
use crate::write::claims::DeletePermit;
use crate::write::guard::{LimitUse, Tally};

/// A removal that would exceed a limit of the run, though the plan of the run was within it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting}: the run would {verb} {count}, more than {limit}, with {what}; nothing of that was removed, and the run ends: the directory is no longer as it was when the run was planned. Look at what is left to do with --dry-run; if that is what is meant, raise {setting}"
)]
pub struct LimitReached {
    setting: String,
    verb: &'static str,
    dn: String,
    /// The entry, and how many are below it.
    what: String,
    count: u64,
    limit: String,
}

impl LimitReached {
    /// Returns the fields for the log.
    pub(crate) fn facts(&self) -> Facts {
        Facts { dn: Some(self.dn.clone()), ..Facts::of_setting(&self.setting) }
    }
}

/// Entries that are removed (deleted, moved away or set by `on_delete`), and the changes that this takes.
#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    entries: u64,
    changes: u64,
}

impl Amount {
    fn plus(self, other: Amount) -> Amount {
        Amount { entries: self.entries + other.entries, changes: self.changes + other.changes }
    }

    fn minus(self, other: Amount) -> Amount {
        let (entries, changes) = (self.entries, self.changes);
        Amount {
            entries: entries.saturating_sub(other.entries),
            changes: changes.saturating_sub(other.changes),
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Used {
    done: Amount,
    /// Removals in progress, which may turn out to have nothing to remove.
    pending: Amount,
}

/// What was removed, in all and by stream.
#[derive(Debug, Default)]
struct AllUsed {
    total: Used,
    streams: BTreeMap<Arc<str>, Used>,
}

impl AllUsed {
    /// Applies a function to the total and to what a stream has used.
    fn each(&mut self, stream: &Arc<str>, change: impl Fn(&mut Used)) {
        change(&mut self.total);
        change(self.streams.entry(stream.clone()).or_default());
    }
}

/// Returns the stream of the record that is being written; empty: of none.
fn current_stream() -> Arc<str> {
    CHANGE_LABEL.try_with(|label| label.stream.clone()).unwrap_or_else(|_| "".into())
}

/// `max_deletes`, `max_changes` and `limits` while a run writes. The changes other than removals count as they were planned: how a record is
/// written in parts may differ from its plan.
#[derive(Debug)]
pub struct RunLimits {
    limits: Vec<LimitUse>,
    used: Mutex<AllUsed>,
    /// A removal in progress has ended.
    ended: Notify,
}

impl RunLimits {
    /// Returns the limits of a run that was planned: how much of them the plan uses, and what it counted.
    pub fn new(limits: Vec<LimitUse>, planned: &Tally) -> RunLimits {
        let of = |changes| Used { done: Amount { entries: 0, changes }, pending: Amount::default() };
        let streams = planned.by_stream();
        let used = AllUsed {
            total: of(planned.total().other_changes()),
            streams: streams.into_iter().map(|(stream, tally)| (stream, of(tally.other_changes()))).collect(),
        };
        RunLimits { limits, used: Mutex::new(used), ended: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, AllUsed> {
        // A panic elsewhere ends the run.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the limit that a removal would exceed, with the number that the run would reach. `used` selects what counts as used.
    fn exceeded(
        &self,
        all: &AllUsed,
        stream: &str,
        removal: Amount,
        used: impl Fn(&Used) -> Amount,
    ) -> Option<(&LimitUse, u64)> {
        let of_stream = all.streams.get(stream).copied().unwrap_or_default();
        let number = |limit: &LimitUse| {
            let so_far = match &limit.stream {
                None => used(&all.total),
                Some(_) => used(&of_stream),
            };
            let then = so_far.plus(removal);
            match limit.kind {
                LimitKind::Delete => Some(then.entries),
                LimitKind::Change => Some(then.changes),
                // Removals are none of these.
                LimitKind::Add | LimitKind::Modify | LimitKind::Rename => None,
            }
        };
        let concerned =
            self.limits.iter().filter(|limit| limit.stream.as_deref().is_none_or(|s| s == stream));
        concerned
            .filter_map(|limit| Some((limit, number(limit)?)))
            .find(|(limit, number)| limit.allowed.as_ref().is_some_and(|(most, _)| number > most))
    }

    fn check(
        &self,
        all: &AllUsed,
        stream: &str,
        removal: Amount,
        dn: &str,
        what: impl FnOnce() -> String,
    ) -> Result<(), LimitReached> {
        let Some((limit, count)) = self.exceeded(all, stream, removal, |used| used.done) else {
            return Ok(());
        };
        let (dn, what, text) = (dn.to_owned(), what(), limit.allowed_text().to_owned());
        let setting = limit.setting.to_string();
        Err(LimitReached { setting, verb: limit.verb(), dn, what, count, limit: text })
    }

    /// Counts a removal before it is made. If those in progress leave no room, it waits until they have ended.
    async fn hold(self: &Arc<Self>, dn: &str, removal: Amount) -> Result<HeldRemoval, LimitReached> {
        let what = || match removal {
            Amount { entries: members, changes: 0 } => format!("{members} member(s) of `{dn}`"),
            Amount { entries: 0 | 1, .. } => format!("`{dn}`"),
            Amount { entries: all, .. } => format!("`{dn}` and {} entries below it", all - 1),
        };
        let stream = current_stream();
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let mut used = self.lock();
                self.check(&used, &stream, removal, dn, what)?;
                let with_pending = |used: &Used| used.done.plus(used.pending);
                if self.exceeded(&used, &stream, removal, with_pending).is_none() {
                    used.each(&stream, |used| used.pending = used.pending.plus(removal));
                    return Ok(HeldRemoval(Some((self.clone(), stream, removal))));
                }
            }
            ended.await;
        }
    }
}

/// A removal that is counted. What was not made when this is dropped counts no longer.
#[derive(Debug)]
pub(super) struct HeldRemoval(Option<(Arc<RunLimits>, Arc<str>, Amount)>);

impl HeldRemoval {
    /// One entry was deleted.
    pub(super) fn made_one(&mut self) {
        self.made(Amount { entries: 1, changes: 1 });
    }

    /// All of it was made.
    pub(super) fn made_all(mut self) {
        if let Some((.., rest)) = &self.0 {
            self.made(*rest);
        }
    }

    fn made(&mut self, part: Amount) {
        let Some((limits, stream, rest)) = &mut self.0 else { return };
        limits.lock().each(stream, |used| {
            used.done = used.done.plus(part);
            used.pending = used.pending.minus(part);
        });
        *rest = rest.minus(part);
    }
}

impl Drop for HeldRemoval {
    fn drop(&mut self) {
        if let Some((limits, stream, rest)) = &self.0 {
            limits.lock().each(stream, |used| used.pending = used.pending.minus(*rest));
            limits.ended.notify_waiters();
        }
    }
}

impl Applier {
    /// Counts the removal of an entry, with so many below it, before it is made.
    pub(super) async fn hold(
        &self,
        dn: &str,
        below: u64,
        changes: u64,
    ) -> Result<HeldRemoval, Box<LimitReached>> {
        match &self.limits {
            None => Ok(HeldRemoval(None)),
            Some(limits) => {
                let removal = Amount { entries: 1 + below, changes };
                Box::pin(limits.hold(dn, removal)).await.map_err(Box::new)
            }
        }
    }

    /// Counts members that a modification takes from a group, before it is made. The modification is counted as planned.
    pub(super) async fn hold_members(
        &self,
        dn: &str,
        members: u64,
    ) -> Result<HeldRemoval, Box<LimitReached>> {
        match self.limits.as_ref().filter(|_| members > 0) {
            None => Ok(HeldRemoval(None)),
            Some(limits) => {
                let removal = Amount { entries: members, changes: 0 };
                Box::pin(limits.hold(dn, removal)).await.map_err(Box::new)
            }
        }
    }

    /// Checks that so many members, which are all still to be taken from groups, are within the limits.
    ///
    /// # Errors
    /// They are not: then none of them is to be taken away.
    pub(crate) fn check_members(
        &self,
        stream: &str,
        base: &str,
        groups: usize,
        members: u64,
    ) -> Result<(), LimitReached> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let removal = Amount { entries: members, changes: 0 };
        limits.check(&limits.lock(), stream, removal, base, || {
            format!("{members} member(s) of {groups} group(s) that are no longer in the stream")
        })
    }

    /// Checks that so many deletions, which are all still to be made, are within the limits.
    ///
    /// # Errors
    /// They are not: then none of them is to be made.
    pub(crate) fn check_list(&self, stream: &str, base: &str, entries: u64) -> Result<(), LimitReached> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let removal = Amount { entries, changes: entries };
        limits.check(&limits.lock(), stream, removal, base, || {
            format!("{entries} entries below `{base}` that are no longer in the stream")
        })
    }

    /// Whether the condition of a deletion does not hold any more; then the outcome. For ways to remove an entry that take no assertion.
    pub(super) async fn departed(
        &self,
        permit: &DeletePermit,
    ) -> Result<Option<WriteOutcome>, DirectoryError> {
        let Some(condition) = permit.condition() else { return Ok(None) };
        let request = SearchRequest {
            paging: Paging::Off,
            ..SearchRequest::new(permit.dn(), Scope::Base, condition.clone(), &["1.1"])
        };
        let is_met = async {
            let mut search = self.directory.search(request).await?;
            let mut is_met = false;
            while search.next_entry().await?.is_some() {
                is_met = true;
            }
            Ok(is_met)
        };
        match is_met.await {
            Ok(true) => Ok(None),
            Ok(false) => self.outcome_of_departed(permit).await.map(Some),
            Err(e) if DirectoryError::is_no_such_object(&e) => Ok(Some(WriteOutcome::Unchanged)),
            Err(e) => Err(e),
        }
    }

    /// Returns the outcome of a deletion whose condition does not hold: the entry stays, or is gone already.
    pub(super) async fn outcome_of_departed(
        &self,
        permit: &DeletePermit,
    ) -> Result<WriteOutcome, DirectoryError> {
        let dn = permit.dn();
        if self.directory.read(dn, &["1.1"]).await?.is_none() {
            return Ok(WriteOutcome::Unchanged);
        }
        let condition = permit.condition().map(ToString::to_string).unwrap_or_default();
        Ok(WriteOutcome::Kept(format!(
            "`{dn}` stays: it left the scope of the stream after the scope was read, for it does not match {condition} any more"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(deletes: u64) -> Arc<RunLimits> {
        let one = |setting: &'static str, kind, stream: Option<&str>, most: Option<u64>| {
            let allowed = most.map(|most| (most, most.to_string()));
            LimitUse { setting: setting.into(), kind, stream: stream.map(Into::into), used: 0, allowed }
        };
        let limits = vec![
            one("max_deletes", LimitKind::Delete, None, Some(deletes)),
            one("max_changes", LimitKind::Change, None, None),
            one("limits.users.delete", LimitKind::Delete, Some("users"), Some(1)),
        ];
        Arc::new(RunLimits::new(limits, &Tally::default()))
    }

    const ONE: Amount = Amount { entries: 1, changes: 1 };

    #[tokio::test]
    async fn a_removal_waits_for_those_in_progress_and_is_refused_for_those_made() {
        let limits = limits(2);
        let mut first = limits.hold("a", ONE).await.unwrap();
        let second = limits.hold("b", ONE).await.unwrap();
        let third = tokio::spawn({
            let limits = limits.clone();
            async move { limits.hold("c", ONE).await.map(HeldRemoval::made_all) }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        first.made_one();
        // There was no entry `b`.
        drop(second);
        third.await.unwrap().unwrap();
        let refused = limits.hold("d", ONE).await.unwrap_err();
        assert_eq!((refused.setting.as_str(), refused.dn.as_str(), refused.count), ("max_deletes", "d", 3));
    }

    #[tokio::test]
    async fn a_subtree_counts_as_a_whole_before_anything_of_it_goes() {
        let limits = limits(5);
        let tree = Amount { entries: 6, changes: 6 };
        assert_eq!(limits.hold("a", tree).await.unwrap_err().count, 6);
        let mut held = limits.hold("a", Amount { entries: 5, changes: 5 }).await.unwrap();
        held.made_one();
        drop(held);
        assert_eq!(limits.lock().total.done.entries, 1);
        assert_eq!(limits.lock().total.pending.entries, 0);
    }

    #[tokio::test]
    async fn a_limit_of_a_stream_counts_what_that_stream_removes() {
        let limits = limits(9);
        let label = |stream: &str| crate::write::change_label::ChangeLabel {
            number: 1,
            stream: stream.into(),
            line: 1,
            record: "id=1".into(),
            is_leaving: true,
        };
        let remove = async |stream: &str, dn: &str| {
            CHANGE_LABEL.scope(label(stream), limits.hold(dn, ONE)).await.map(HeldRemoval::made_all)
        };
        remove("groups", "a").await.unwrap();
        remove("users", "b").await.unwrap();
        remove("groups", "c").await.unwrap();
        let refused = remove("users", "d").await.unwrap_err();
        assert_eq!((refused.setting.as_str(), refused.count), ("limits.users.delete", 2));
    }
}
