//! The tasks in progress: starts those that are ready, and hands over their results.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ldap_directory::{DirectoryError, Vendor};
use rustc_hash::FxHashMap;
use tokio::task::JoinSet;

use super::turns::Turns;
use super::work::{Finished, Work};
use super::{Load, LoadError};
use crate::write::change_label::CHANGE_LABEL;
use crate::write::claims::Claimant;
use crate::write::counts::RecordOutcome;
use crate::write::ldap_result::{is_records_fault, is_taken_value};
use crate::write::{Applier, Attempt, Choice, WriteOutcome};

/// The most tasks that are started before the input, results and signals are handled again.
const STARTS: usize = 256;
/// Tasks in progress for each write in flight: a task first searches for its entry, without a write.
const TASKS_PER_WRITE: usize = 3;
/// Tasks accepted for each that may be in progress: related tasks must wait without blocking the others.
const TASKS_AHEAD: usize = 2;
/// The most tasks beside those that write. Servers limit pending requests (slapd 1,000 of a session, `conn_max_pending_auth`).
const MOST_BESIDE: usize = 256;

/// A task in progress, with its result.
type Running = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// A task in progress: its number, and the line, stream and key of its record.
pub(super) type TaskLabel = (u64, u64, Arc<str>, Arc<str>);

/// The tasks in progress.
#[derive(Default)]
pub(super) struct Executor {
    pub(super) running: JoinSet<Finished>,
    /// The label of each, in case it ends without a result.
    pub(super) labels: FxHashMap<tokio::task::Id, TaskLabel>,
    /// The number of tasks that have ended. Another try of early tasks makes sense only if it has grown.
    pub(super) ended: u64,
    pub(super) ended_at_last_try: Option<u64>,
    /// Whether no further entry will be added.
    pub(super) is_last_try: bool,
    /// Whether nothing frees a value any more: a record whose value is taken is refused.
    pub(super) is_final_try: bool,
    /// Whether the loop makes progress.
    pub(super) turns: Turns,
}

impl<W: Write> Load<'_, W> {
    /// Starts tasks that are ready, up to a limit.
    pub(super) fn start_ready(&mut self) {
        for _ in 0..STARTS {
            if !self.can_start() {
                return;
            }
            let Some((_, mut work)) = self.scheduler.next_ready() else { return };
            if !self.restore(&mut work) {
                self.scheduler.ended(work.number);
                return;
            }
            if work.is_deferred_part {
                if !self.begin_deferred(&mut work) {
                    self.scheduler.ended(work.number);
                    self.committer.ack.done(work.number);
                    self.executor.ended += 1;
                    continue;
                }
            } else if !work.is_recheck {
                self.supersede(&work);
            }
            self.start(work);
        }
    }

    pub(super) fn can_start(&self) -> bool {
        self.scheduler.has_ready()
            && self.executor.running.len() < self.most_running()
            && (self.executor.running.is_empty() || !self.spill_buffer.is_full())
    }

    /// Returns the most tasks in progress. With one write at a time it is one.
    fn most_running(&self) -> usize {
        match self.config.max_in_flight {
            1 => 1,
            writes => (writes * TASKS_PER_WRITE).min(writes + MOST_BESIDE),
        }
    }

    /// Whether enough tasks are accepted that waiting ones do not block the others.
    pub(super) fn has_enough(&self) -> bool {
        self.scheduler.len() - self.scheduler.parked() >= self.most_running() * TASKS_AHEAD
            || self.spill_buffer.has_enough()
    }

    fn start(&mut self, work: Box<Work>) {
        let about = (work.number, work.line, work.stream.clone(), work.about.clone());
        let mut running = self.prepare(work);
        // A task in memory ends at once, and need not be spawned.
        match poll_once(&mut running) {
            Ok(Poll::Ready(finished)) => self.handle_finished(finished),
            Ok(Poll::Pending) => self.spawn(running, about),
            Err(()) => self.fail_task(about),
        }
    }

    /// Starts a task while no other is in progress, and once it has superseded what it makes needless: it is submitted to the scheduler only if it does not end at once.
    pub(super) fn start_alone(&mut self, work: Box<Work>) {
        let (number, kind) = (work.number, work.kind());
        let about = (number, work.line, work.stream.clone(), work.about.clone());
        let lock = work.dn_lock();
        let mut running = self.prepare(work);
        let polled = poll_once(&mut running);
        if !matches!(&polled, Ok(Poll::Ready((_, Ok(attempt)))) if attempt.is_final()) {
            self.scheduler.submit_running(number, lock, kind);
        }
        match polled {
            Ok(Poll::Ready(finished)) => self.handle_finished(finished),
            Ok(Poll::Pending) => self.spawn(running, about),
            Err(()) => self.fail_task(about),
        }
    }

    fn prepare(&self, mut work: Box<Work>) -> Running {
        work.context.is_last_try = self.executor.is_last_try || work.is_last_try;
        work.context.is_settled = self.executor.is_final_try || work.is_settled;
        work.context.expects = self.waiting.rechecks.expected(&work);
        if work.is_recheck {
            work.context.previous = self.followed(&work.previous);
        }
        // A rename may have changed what other entries name since they were read.
        let is_outdated = work.is_recheck
            || self.waiting.rechecks.has_renamed() && work.has_references(self.directory.schema());
        let streams = self.input.streams.get(&*work.stream).filter(|_| !is_outdated);
        work.context.digest_cache = streams.and_then(|s| s.prefetch.digest_cache.clone());
        work.began = self.waiting.rechecks.now();
        let applier = self.applier.clone();
        let (may_wait, waits_for_value) = (self.may_wait_for_entries(&work), self.may_wait_for_value(&work));
        Box::pin(async move {
            let label = work.label();
            let attempt = async {
                let result = apply(&applier, &mut work).await;
                let is_refused = match &result {
                    Ok(attempt) => {
                        matches!(attempt.outcome, WriteOutcome::Refused(_) | WriteOutcome::Unreadable(_))
                    }
                    Err(error) => {
                        is_records_fault(error) && !may_wait && !(waits_for_value && is_taken_value(error))
                    }
                };
                if is_refused {
                    Box::pin(take_back(&applier, &mut work)).await;
                }
                result
            };
            let result = CHANGE_LABEL.scope(label, attempt).await;
            (work, result)
        })
    }

    fn spawn(&mut self, running: Running, about: TaskLabel) {
        let handle = self.executor.running.spawn(running);
        self.executor.labels.insert(handle.id(), about);
    }

    pub(super) fn handle_joined(
        &mut self,
        joined: Result<(tokio::task::Id, Finished), tokio::task::JoinError>,
    ) {
        match joined {
            Ok((id, finished)) => {
                self.executor.labels.remove(&id);
                self.handle_finished(finished);
            }
            // A panic, which is a fault of this program: the task and its result are lost.
            Err(e) => match self.executor.labels.remove(&e.id()) {
                Some(about) => self.fail_task(about),
                None => self.fail(0, LoadError::Internal("a task that is not known has ended")),
            },
        }
    }

    /// Fails a task that ended without a result.
    fn fail_task(&mut self, (number, line, stream, key): TaskLabel) {
        self.scheduler.ended(number);
        let reason = "a fault of this program; whether the change was made is not known".into();
        self.fail(number, LoadError::record(line, &stream, reason).of_key(&key));
    }
}

/// Applies a task. The values of `unique` and `next` are chosen, until the entry is made.
async fn apply(applier: &Applier, work: &mut Work) -> Result<Attempt, DirectoryError> {
    // The values of what waited may be superseded: it is not made anew.
    let is_whole = !work.is_deferred_part && !work.is_recheck && work.context.exchange.is_none();
    let Some(mut generating) = work.generating.take_if(|_| is_whole && !work.context.steps_aside) else {
        let claimant = (!work.by_version).then(|| work.claimant());
        return applier.apply(claimant.as_ref(), &work.task, &work.key, &work.context).await;
    };
    let (stream, about) = (work.stream.clone(), work.about.clone());
    let claimant = Claimant { stream: &stream, key: &about, kind: work.key_kind };
    let Work { task, key, context, .. } = work;
    let choice = Choice { task, key, context, generating: &mut generating };
    let result = Box::pin(applier.apply_choosing(Some(&claimant), choice)).await;
    if !result.as_ref().is_ok_and(|attempt| attempt.outcome.is_done()) {
        work.generating = Some(generating);
    }
    result
}

/// Takes back what was done for a record before it was refused: an entry that it added does not stay, and one that it renamed has its
/// name again. A rename of an earlier try is taken back only where the server keeps the names in other entries right: records may
/// have written the new one.
async fn take_back(applier: &Applier, work: &mut Work) {
    let Some(dn) = work.task.dn().map(str::to_owned) else { return };
    if work.is_rest {
        if !work.is_superseded && work.recorded == Some(RecordOutcome::Added) {
            applier.remove_added(&work.claimant(), &dn, &work.key).await;
        }
        return;
    }
    if let Some(made) = work.context.take_renamed()
        && let Err(error) = applier.rename_back(&made).await
    {
        tracing::warn!(dn, "`{dn}` cannot have its name `{}` again: {error}", made.from);
        return work.context.note_renamed(made);
    }
    let keeps_names = applier.directory().root_dse().vendor == Vendor::ActiveDirectory;
    if let Some(made) = work.renamed.take_if(|_| keeps_names && !work.is_superseded) {
        match applier.rename_back(&made).await {
            Ok(()) => work.renamed_back = Some(made),
            Err(error) => {
                tracing::warn!(dn, "`{dn}` cannot have its name `{}` again: {error}", made.from);
                work.renamed = Some(made);
            }
        }
    }
}

/// Polls a task once. The error: it panicked.
fn poll_once(running: &mut Running) -> Result<Poll<Finished>, ()> {
    // The spawned task is polled again with a real waker.
    let mut context = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context))).map_err(drop)
}
