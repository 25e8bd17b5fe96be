//! Tasks under way: what may begin begins, and what has ended is told.

use std::collections::HashMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::JoinSet;

use super::work::{Finished, Work};
use super::{Load, LoadError};
use crate::map::Task;
use crate::write::destination::CHANGE_LABEL;

/// Tasks begun at most before the input, the answers and signals are seen to again.
const STARTS: usize = 256;
/// Tasks under way for each write that may be outstanding: a task looks at its entry first, and no write of its is outstanding
/// meanwhile.
const TASKS_PER_WRITE: usize = 3;
/// Tasks taken in for each that may be under way: related ones have to wait without stopping the others.
const TASKS_AHEAD: usize = 2;
/// No more tasks than so many beside those that write: servers take only so many requests ahead (slapd 1,000 of a session,
/// `conn_max_pending_auth`).
const MOST_BESIDE: usize = 256;

/// A task on its way, and what has become of it in the end.
type Running = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// A task under way: its number, and of its record the line, the stream and the key.
pub(super) type TaskLabel = (u64, u64, Arc<str>, Arc<str>);

/// The tasks under way.
#[derive(Default)]
pub(super) struct Executor {
    pub(super) running: JoinSet<Finished>,
    /// What each of them is about, should it end without a result.
    pub(super) labels: HashMap<tokio::task::Id, TaskLabel>,
    /// Tasks that have ended since the run began: only if there are more can another try of those that were too early succeed.
    pub(super) ended: u64,
    pub(super) ended_at_last_try: Option<u64>,
    /// Whether no further entry will be added.
    pub(super) is_last_try: bool,
}

impl<W: Write> Load<'_, W> {
    /// Begins what may begin; not so much at once that nothing else is seen to.
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
            let rest = if work.is_rest {
                let Some(task) = self.rest_of(&mut work) else {
                    self.scheduler.ended(work.number);
                    self.committer.ack.done(work.number);
                    self.executor.ended += 1;
                    continue;
                };
                Some(task)
            } else {
                self.supersede(&work);
                None
            };
            self.start(work, rest);
        }
    }

    pub(super) fn can_start(&self) -> bool {
        self.scheduler.has_ready()
            && self.executor.running.len() < self.most_running()
            && (self.executor.running.is_empty() || !self.spill_buffer.is_full())
    }

    /// How many tasks may be under way. One at a time stays just that.
    fn most_running(&self) -> usize {
        match self.config.max_in_flight {
            1 => 1,
            writes => (writes * TASKS_PER_WRITE).min(writes + MOST_BESIDE),
        }
    }

    /// Whether so many tasks are taken in that those that have to wait for others do not stop the rest.
    pub(super) fn has_enough(&self) -> bool {
        self.scheduler.len() - self.scheduler.parked() >= self.most_running() * TASKS_AHEAD
            || self.spill_buffer.has_enough()
    }

    fn start(&mut self, work: Box<Work>, rest: Option<Task>) {
        let about = (work.number, work.line, work.stream.clone(), work.about.clone());
        let mut running = self.prepare(work, rest);
        // What is in memory ends here and now, and need not become a task of the runtime's.
        match poll_once(&mut running) {
            Ok(Poll::Ready(finished)) => self.handle_finished(finished),
            Ok(Poll::Pending) => self.spawn(running, about),
            Err(()) => self.fail_task(about),
        }
    }

    /// Begins what nothing else is under way beside: it needs no place in the order unless it does not end at once.
    pub(super) fn start_alone(&mut self, work: Box<Work>) {
        let (number, kind) = (work.number, work.kind());
        let about = (number, work.line, work.stream.clone(), work.about.clone());
        self.supersede(&work);
        let lock = work.dn_lock();
        let mut running = self.prepare(work, None);
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

    fn prepare(&self, mut work: Box<Work>, rest: Option<Task>) -> Running {
        work.context.is_last_try = self.executor.is_last_try || work.is_last_try;
        work.context.digest_cache =
            self.input.streams.get(&*work.stream).and_then(|s| s.prefetch.digest_cache.clone());
        let applier = self.applier.clone();
        Box::pin(async move {
            let task = rest.as_ref().unwrap_or(&work.task);
            let claimant = (!work.by_version).then(|| work.claimant());
            let result = CHANGE_LABEL
                .scope(work.label(), applier.apply(claimant.as_ref(), task, &work.key, &work.context))
                .await;
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
            // A panic, which is a fault of ours: the task is gone, and the answer with it.
            Err(e) => match self.executor.labels.remove(&e.id()) {
                Some(about) => self.fail_task(about),
                None => self.fail(0, LoadError::Internal("a task that is not known has ended")),
            },
        }
    }

    /// A task did not come to an end.
    fn fail_task(&mut self, (number, line, stream, key): TaskLabel) {
        self.scheduler.ended(number);
        let reason = "a fault of this program; whether the change was made is not known".into();
        self.fail(number, LoadError::record(line, &stream, reason).of_key(&key));
    }
}

/// Runs a task as far as it goes without waiting. An error: it panicked.
fn poll_once(running: &mut Running) -> Result<Poll<Finished>, ()> {
    // What it waits for is asked once more when it has become a task of the runtime's, which is then told.
    let mut context = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context))).map_err(drop)
}
