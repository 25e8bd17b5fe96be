//! What follows from the result of a task: counts, claims, records that wait for it, and STATE.

use std::io::Write;
use std::ops::ControlFlow;

use ldap_directory::dn::DnKey;

use super::work::{Finished, Work};
use super::{Load, LoadError};
use crate::map::Task;
use crate::write::counts::RecordOutcome;
use crate::write::ldap_result::is_records_fault;
use crate::write::{Attempt, MatchedNames, WriteOutcome, several};

impl<W: Write> Load<'_, W> {
    /// Handles the result of a task.
    pub(super) fn handle_finished(&mut self, (mut work, result): Finished) {
        if let Some(spans) =
            self.counters.spans.as_mut().filter(|_| !work.is_deferred_part && !work.is_recheck)
        {
            spans.record(&work.stream, result.is_ok());
        }
        self.waiting.rechecks.tick();
        self.note_renames(&mut work, result.as_ref().ok());
        let Attempt { outcome, deferred, below, found } = match result {
            Ok(attempt) => attempt,
            // The value references an entry that does not exist (yet): the record has no other fault left to find.
            Err(error) if self.may_wait_for_entries(&work) && is_records_fault(&error) => {
                return self.defer_refused(work);
            }
            Err(error) if error.is_forbidden() && work.by_version => {
                let reason = format!("no longer in the stream, and stays: {error}");
                Attempt::from(WriteOutcome::Kept(reason))
            }
            Err(error) if error.is_forbidden() && work.is_recheck => {
                return self.leave_uncorrected(&work, &error);
            }
            Err(error) if self.may_become_free(&work, &error) => return self.park_for_value(work, &error),
            Err(error) => {
                let error = self.explained(&work, error);
                return self.refuse_task(&work, error);
            }
        };
        work.waits_for_value = false;
        let mut found = found.map(|found| *found).unwrap_or_default();
        let is_kept = matches!(outcome, WriteOutcome::Kept(_) | WriteOutcome::NotMoved(_));
        if below > 0 {
            let moved = outcome == WriteOutcome::Moved;
            self.counters.by_stream.entry(work.stream.clone()).or_default().count_below(below, moved);
        }
        let ControlFlow::Continue((mut work, recorded)) = self.final_outcome(work, outcome) else { return };
        let there = work.context.found.as_deref().and_then(|dn| self.applier.key(dn).ok());
        let was = there.unwrap_or_else(|| work.key.clone());
        let is_deletion = matches!(work.task, Task::Delete { .. });
        if is_deletion && recorded == RecordOutcome::Unchanged && !is_kept && self.config.writes_changes() {
            *self.counters.unwritten_deletions.entry(work.stream.clone()).or_default() += 1;
        }
        if !is_kept {
            self.update_claims(&work, recorded, &was);
        }
        self.wake(&work, recorded, &was);
        self.note_lookups(&mut work, recorded, &was, &mut found);
        self.wake_who_gave_up(work.number);
        if matches!(recorded, RecordOutcome::Renamed | RecordOutcome::Moved) {
            self.waiting.rechecks.renamed(&was, work.began);
            if recorded == RecordOutcome::Renamed {
                self.memberships.note_rename();
            }
        }
        self.count_outcome(&mut work, recorded);
        if deferred.is_empty() && (!found.is_held || work.is_recheck) || recorded == RecordOutcome::Added {
            self.keep_references(&work, recorded);
            self.waiting.rechecks.leave_open(&work);
        }
        if work.by_version {
            self.activations.under_way = self.activations.under_way.saturating_sub(1);
        }
        self.scheduler.ended(work.number);
        if deferred.is_empty() && found.pending.is_empty() {
            self.executor.ended += 1;
            self.record_done(&work);
        } else {
            if !work.is_deferred_part {
                self.executor.ended += 1;
            }
            self.defer(work, deferred, found, recorded);
        }
    }

    /// Returns the outcome to count if the task is done. Otherwise the task waits, or was refused here.
    fn final_outcome(
        &mut self,
        mut work: Box<Work>,
        outcome: WriteOutcome,
    ) -> ControlFlow<(), (Box<Work>, RecordOutcome)> {
        let recorded = match outcome {
            WriteOutcome::Added => RecordOutcome::Added,
            WriteOutcome::Renamed => RecordOutcome::Renamed,
            WriteOutcome::Modified => RecordOutcome::Modified,
            WriteOutcome::Unchanged => RecordOutcome::Unchanged,
            WriteOutcome::LeftAlone | WriteOutcome::Ignored => RecordOutcome::Ignored,
            WriteOutcome::Moved => RecordOutcome::Moved,
            WriteOutcome::Deleted => RecordOutcome::Deleted,
            WriteOutcome::Kept(reason) => {
                self.warn_of_undeleted(&work, &reason);
                RecordOutcome::Unchanged
            }
            WriteOutcome::NotMoved(reason) => {
                self.warn_of_unmoved(&work, &reason);
                RecordOutcome::Unchanged
            }
            WriteOutcome::LimitReached(error) => {
                let error = LoadError::limit(work.line, &work.stream, *error).of_key(&work.about);
                self.refuse_task(&work, error);
                return ControlFlow::Break(());
            }
            WriteOutcome::TooEarly(answer) => {
                work.answer = Some(answer);
                Self::note_wait(&mut work);
                self.park(work);
                return ControlFlow::Break(());
            }
            WriteOutcome::SteppedAside(dn) => {
                self.executor.ended += 1;
                self.stepped_aside(work, dn);
                return ControlFlow::Break(());
            }
            WriteOutcome::GaveUp { dn, back } => {
                self.executor.ended += 1;
                self.gave_up(work, dn, back);
                return ControlFlow::Break(());
            }
            WriteOutcome::NotGivenUp => {
                self.gave_up(work, String::new(), Vec::new());
                return ControlFlow::Break(());
            }
            WriteOutcome::TookBack(taken) => {
                work.gave_up =
                    work.gave_up.take().map(|(dn, _)| (dn, taken)).filter(|(_, left)| !left.is_empty());
                self.gave_up(work, String::new(), Vec::new());
                return ControlFlow::Break(());
            }
            WriteOutcome::Several(names) => {
                self.protect_found(&work, &names);
                let error = work.bad(several(&names.names));
                self.refuse_task(&work, error);
                return ControlFlow::Break(());
            }
            WriteOutcome::Found(names) => {
                self.protect_found(&work, &names);
                self.scheduler.ended(work.number);
                self.executor.ended += 1;
                self.committer.ack.done(work.number);
                return ControlFlow::Break(());
            }
            outcome @ (WriteOutcome::Unfound(_) | WriteOutcome::NeedsReferences(_)) => {
                self.end_lookup(work, outcome);
                return ControlFlow::Break(());
            }
            WriteOutcome::Refused(reason) => {
                let error = work.bad(reason);
                self.refuse_task(&work, error);
                return ControlFlow::Break(());
            }
            WriteOutcome::Unreadable(unreadable) => {
                // Its entry may be one that `match` cannot find: any.
                if unreadable.is_matched {
                    self.protect_found(&work, &MatchedNames::default());
                }
                let error = work.unreadable(unreadable);
                self.refuse_task(&work, error);
                return ControlFlow::Break(());
            }
            WriteOutcome::NeedsEntries(missing) => {
                self.defer_whole(work, missing);
                return ControlFlow::Break(());
            }
            WriteOutcome::NotLocked(dn) => {
                self.found_elsewhere(work, dn);
                return ControlFlow::Break(());
            }
            WriteOutcome::InAnotherScope(found) => {
                self.found_in_another_scope(work, found);
                return ControlFlow::Break(());
            }
            WriteOutcome::NameTaken(by) => {
                self.name_taken(work, by);
                return ControlFlow::Break(());
            }
        };
        ControlFlow::Continue((work, recorded))
    }

    /// Warns of an entry that is not deleted, for it belongs to another record.
    fn warn_of_undeleted(&mut self, work: &Work, reason: &str) {
        let Work { line, stream, .. } = work;
        tracing::warn!(stream = &**stream, dn = work.dn(), "line {line}, stream `{stream}`: {reason}");
        self.counters.by_stream.entry(stream.clone()).or_default().kept += 1;
    }

    /// Warns of an entry that is where its deletion would move it, though no earlier deletion did.
    fn warn_of_unmoved(&mut self, work: &Work, reason: &str) {
        let rule = if self.config.rules.contains_key(&*work.stream) { &*work.stream } else { "*" };
        let record = (!work.about.is_empty()).then_some(&*work.about);
        tracing::warn!(
            setting = format!("mapping_rules.{rule}.on_delete"),
            stream = &*work.stream,
            line = work.line,
            record,
            dn = work.dn(),
            "line {}, stream `{}`: {reason}",
            work.line,
            work.stream
        );
        self.counters.by_stream.entry(work.stream.clone()).or_default().kept += 1;
    }

    /// Counts the outcome of a record once. The deferred values of an entry that was added count with it.
    pub(super) fn count_outcome(&mut self, work: &mut Work, recorded: RecordOutcome) {
        if !work.is_recheck && !work.by_version {
            self.note_ended(&work.stream, &work.about, work.number);
        }
        if (work.is_rest || work.is_recheck)
            && !(recorded == RecordOutcome::Modified && work.recorded == Some(RecordOutcome::Unchanged))
        {
            return;
        }
        let is_less = matches!(recorded, RecordOutcome::Modified | RecordOutcome::Unchanged);
        let recorded = if work.was_renamed && is_less { RecordOutcome::Renamed } else { recorded };
        self.counters.by_stream.entry(work.stream.clone()).or_default().count(recorded, work.recorded);
        work.recorded = Some(recorded);
        self.applier.directory().show_outcome(work.number, recorded);
    }

    /// Updates the claims on a record's entry. `was`: its former DN.
    fn update_claims(&self, work: &Work, recorded: RecordOutcome, was: &DnKey) {
        let claims = self.applier.claims();
        match (&work.task, recorded) {
            (Task::Upsert { .. }, RecordOutcome::Renamed) => {
                claims.renamed(was, &work.key);
                claims.claim(&work.claimant(), &work.key);
            }
            // The record releases it, whatever `on_delete` does; or an empty group was deleted.
            (_, RecordOutcome::Deleted | RecordOutcome::Moved)
            | (Task::Delete { .. }, RecordOutcome::Modified)
            | (Task::Delete { filter: None, .. }, RecordOutcome::Unchanged) => {
                claims.release((!work.by_version).then(|| work.claimant()).as_ref(), was);
            }
            // Nothing was written: another record may have the DN, and nothing may delete what is there.
            (Task::Upsert { .. }, RecordOutcome::Ignored) => claims.protect(&work.claimant(), was),
            // An entry that may not be renamed was written all the same.
            (Task::Upsert { .. }, _) => claims.claim(&work.claimant(), was),
            _ => {}
        }
    }

    /// Wakes the records that wait for this outcome.
    fn wake(&mut self, work: &Work, recorded: RecordOutcome, was: &DnKey) {
        match recorded {
            RecordOutcome::Added => {
                // First the children that were too early, then the records that reference the entry.
                self.scheduler.unpark_below(&work.key);
                self.wake_referencing(&work.key, false);
            }
            RecordOutcome::Renamed => {
                self.scheduler.unpark_below(&work.key);
                self.scheduler.release_name(was);
                self.scheduler.wake_above(was);
                self.follow_rename(was, &work.key, work.task.dn().unwrap_or_default());
                self.wake_referencing(&work.key, true);
            }
            RecordOutcome::Moved | RecordOutcome::Deleted => {
                self.drop_deferred(work, was);
                self.scheduler.release_name(was);
                self.scheduler.wake_above(was);
            }
            _ => {}
        }
    }

    /// Marks a record as done. One that was compared again is so already.
    fn record_done(&mut self, work: &Work) {
        if !work.is_recheck {
            self.committer.ack.done(work.number);
        }
    }

    pub(super) fn refuse_task(&mut self, work: &Work, error: LoadError) {
        if work.is_rest {
            // An entry that was added may be gone again.
            self.waiting.rechecks.wrote(true);
        }
        self.scheduler.ended(work.number);
        self.executor.ended += 1;
        self.refused(work, error);
    }
}
