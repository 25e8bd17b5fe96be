//! The run: lines in, tasks out to the directory, STATE back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use singer_common::directory::{Directory, DirectoryError};
use singer_common::dn::DnKey;
use singer_common::metrics::Metrics;
use singer_common::signals::{Signal, Stop};
use singer_common::writer::SingerWriter;
use tokio::task::JoinSet;

use crate::ack::Ack;
use crate::config::{OnError, TargetConfig};
use crate::destination::{ABOUT, Destination};
use crate::differences::UnknownClasses;
use crate::map::Task;
use crate::order::Order;
use crate::rejects::{Answer, Origin, RejectFile};
use crate::versions::Versions;
use crate::write::{Applier, Effect};

mod counts;
mod error;
mod gone;
mod intake;
mod refused;

pub use counts::{Counts, Ending};
pub use error::LoadError;
use gone::{Activation, Gone};
use intake::{Stream, read_lines};

/// Tasks taken in for each that may be outstanding: related ones have to wait without stopping the others.
const TASKS_AHEAD: usize = 4;
/// Records that may wait, for parents to come and for children to go, before the input is taken for wrong.
const MAX_WAITING: usize = 100_000;
/// STATE is printed at most this often; what is safe in between is printed with the next one.
const STATE_INTERVAL: Duration = Duration::from_millis(200);

/// What is kept of a record while it is on its way, should it be rejected.
#[derive(Debug, Clone)]
struct Kept {
    record: Arc<Value>,
    origin: Arc<Origin>,
}

/// A task on its way.
#[derive(Debug, Clone)]
struct Work {
    number: u64,
    line: u64,
    stream: String,
    task: Task,
    key: DnKey,
    /// The record's key, for people.
    about: String,
    /// Only under `on_error: skip`.
    kept: Option<Kept>,
    /// Why it was too early at its last try.
    answer: Option<Answer>,
}

type Finished = (Work, Result<Effect, DirectoryError>);

/// A run's parts.
pub struct Load<'a, W: Write> {
    config: &'a TargetConfig,
    directory: Directory,
    applier: Applier,
    writer: &'a mut SingerWriter<W>,
    stop: Stop,
    streams: HashMap<String, Stream>,
    counts: BTreeMap<String, Counts>,
    ack: Ack,
    order: Order<Work>,
    running: JoinSet<Finished>,
    /// What each running task is about, should it end without a result.
    running_works: HashMap<tokio::task::Id, (u64, u64, String)>,
    /// Tasks that have ended, ever: whether another try of those that came too early can make sense.
    progress: u64,
    progress_at_last_try: Option<u64>,
    failure: Option<(u64, LoadError)>,
    printed: Instant,
    /// Under `on_error: skip`.
    rejects: Option<RejectFile>,
    rejected: u64,
    retry_rejects: bool,
    /// With `process_activate_version`.
    versions: Versions,
    activation: Option<Activation>,
    /// What an activation found gone, before it is taken up.
    gone: VecDeque<Gone>,
    unknown_classes: UnknownClasses,
}

impl<'a, W: Write> Load<'a, W> {
    /// A run into an open directory. `rejects` is where records go under `on_error: skip`; with `retry_rejects` such
    /// a file is the input.
    pub fn new(
        config: &'a TargetConfig,
        destination: &Destination,
        writer: &'a mut SingerWriter<W>,
        stop: Stop,
        rejects: Option<RejectFile>,
        retry_rejects: bool,
    ) -> Self {
        let applier =
            Applier::new(destination.clone(), config.create_parents).asserting(config.assert_unchanged);
        let directory = Directory::clone(destination);
        Self {
            config,
            directory,
            applier,
            writer,
            stop,
            streams: HashMap::new(),
            counts: BTreeMap::new(),
            ack: Ack::default(),
            order: Order::default(),
            running: JoinSet::new(),
            running_works: HashMap::new(),
            progress: 0,
            progress_at_last_try: None,
            failure: None,
            printed: Instant::now(),
            rejects,
            rejected: 0,
            retry_rejects,
            versions: Versions::default(),
            activation: None,
            gone: VecDeque::new(),
            unknown_classes: UnknownClasses::default(),
        }
    }

    /// Reads the input to its end (or to a failure, or a signal), and leaves everything taken in written or refused.
    pub async fn run(mut self, input: Box<dyn BufRead + Send>) -> Result<Ending, LoadError> {
        let started = Instant::now();
        let metrics = Metrics::new(self.config.metrics);
        let result = self.consume(input).await;
        let planned = if self.config.dry_run { " (planned)" } else { "" };
        for (stream, counts) in &self.counts {
            metrics.record_count(stream, counts.records);
            tracing::info!(stream = stream.as_str(), "{stream}{planned}: {counts}");
        }
        for (stream, text) in self.unknown_classes.report() {
            tracing::warn!(stream, "{text}");
        }
        metrics.job_duration(started.elapsed(), matches!(result, Ok(None)));
        match &self.config.on_error {
            OnError::Skip { .. } if self.rejected > 0 && self.config.dry_run => {
                tracing::warn!("{} record(s) would be rejected", self.rejected);
            }
            OnError::Skip { file, .. } if self.rejected > 0 => {
                tracing::warn!("{} record(s) were rejected: see {}", self.rejected, file.display());
            }
            _ => {}
        }
        let total = self.counts.values().fold(Counts::default(), Counts::plus);
        result.map(|stopped| Ending { stopped, rejected: self.rejected, total })
    }

    async fn consume(&mut self, input: Box<dyn BufRead + Send>) -> Result<Option<Signal>, LoadError> {
        let mut lines = read_lines(input);
        let mut stopped = None;
        let mut open = true;
        let mut tick = tokio::time::interval(STATE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(activation) = self.activation.take_if(|_| stopped.is_none() && self.failure.is_none())
            {
                stopped = self.find_gone(activation).await;
            }
            let given_up = stopped.is_some() || self.failure.is_some();
            self.take_gone(given_up);
            self.start_ready();
            let idle = self.running.is_empty() && !self.order.has_ready();
            open &= !given_up;
            if !open
                && idle
                && self.gone.is_empty()
                && (given_up || self.order.is_empty() || !self.try_again())
            {
                break;
            }
            tokio::select! {
                line = lines.recv(), if open && self.gone.is_empty() && self.wants_more(idle) => match line {
                    Some(Ok((number, line))) => self.take(number, &line),
                    Some(Err(e)) => self.fail(u64::MAX, LoadError::Input(e)),
                    None => open = false,
                },
                Some(finished) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.joined(finished);
                }
                signal = self.stop.wait(), if stopped.is_none() => stopped = Some(signal),
                _ = tick.tick() => {}
            }
            self.print_state(false)?;
        }
        // What was done is kept, even when something else failed.
        self.directory.commit()?;
        self.print_state(true)?;
        match self.failure.take() {
            Some((_, failure)) => Err(failure),
            None => Ok(stopped),
        }
    }

    /// Whether another line can be taken in: memory stays bounded, and what waits for a line gets it.
    fn wants_more(&mut self, idle: bool) -> bool {
        if self.order.len() >= MAX_WAITING {
            // Under `on_error: skip`, too: parents may be still to come, and only the memory for waiting is used up.
            if let Some((work, error)) = self.first_refused() {
                self.fail(work.number, error);
            }
            return false;
        }
        idle || self.order.len() - self.order.parked() < self.config.max_in_flight * TASKS_AHEAD
    }

    /// The input has ended: what came too early is tried again, as long as that leads anywhere. `false` when all is
    /// said and done.
    fn try_again(&mut self) -> bool {
        if self.progress_at_last_try == Some(self.progress) {
            self.refuse_parked();
            // What waited behind what was left out can begin.
            return self.order.has_ready();
        }
        self.progress_at_last_try = Some(self.progress);
        self.order.unpark_all();
        true
    }

    /// Begins what may begin, as far as writes may be outstanding.
    fn start_ready(&mut self) {
        while self.running.len() < self.config.max_in_flight {
            let Some((_, work)) = self.order.next_ready() else { return };
            let applier = self.applier.clone();
            let about = (work.number, work.line, work.stream.clone());
            let handle = self.running.spawn(async move {
                let about = format!("{}, line {}: {}", work.stream, work.line, work.about);
                let result = ABOUT.scope(about, applier.apply(&work.task)).await;
                (work, result)
            });
            self.running_works.insert(handle.id(), about);
        }
    }

    fn joined(&mut self, joined: Result<(tokio::task::Id, Finished), tokio::task::JoinError>) {
        match joined {
            Ok((id, finished)) => {
                self.running_works.remove(&id);
                self.finished(finished);
            }
            // ldap3 can panic on an answer it does not understand; the task is gone then, and the answer with it.
            Err(e) => {
                if let Some((number, line, stream)) = self.running_works.remove(&e.id()) {
                    self.order.ended(number);
                    let reason = "the server's answer could not be understood; whether the change was made is not known".into();
                    self.fail(number, LoadError::Record { line, stream, reason });
                }
            }
        }
    }

    fn finished(&mut self, (work, result): Finished) {
        let counts = self.counts.entry(work.stream.clone()).or_default();
        match result {
            Ok(Effect::Added) => {
                counts.added += 1;
                // Before what waited for this entry: its children that came too early come first.
                self.order.unpark_below(&work.key);
            }
            Ok(Effect::Modified) => counts.modified += 1,
            Ok(Effect::Moved) => counts.moved += 1,
            Ok(Effect::Deleted) => counts.deleted += 1,
            Ok(Effect::Unchanged) => counts.unchanged += 1,
            Ok(Effect::LeftAlone) => counts.left_alone += 1,
            Ok(Effect::Ignored) => {}
            Ok(Effect::TooEarly(answer)) => {
                self.order.park(work.number, Work { answer: Some(answer), ..work });
                return;
            }
            Err(error) => {
                self.order.ended(work.number);
                self.progress += 1;
                let (line, stream) = (work.line, work.stream.clone());
                self.refused(&work, LoadError::Write { line, stream, error });
                return;
            }
        }
        self.order.ended(work.number);
        self.progress += 1;
        self.ack.done(work.number);
    }

    /// Keeps the failure of the earliest record. What comes after it is not begun; what came before goes on.
    fn fail(&mut self, number: u64, error: LoadError) {
        if self.failure.as_ref().is_none_or(|(earliest, _)| number < *earliest) {
            self.failure = Some((number, error));
            self.order.drop_unless(|work| work.number < number);
        }
    }

    fn print_state(&mut self, last: bool) -> Result<(), LoadError> {
        let due = last || self.directory.applies_at_once() && self.printed.elapsed() >= STATE_INTERVAL;
        if due && let Some(state) = self.ack.take_safe() {
            // A STATE says that what it covers is kept somewhere.
            if let Some(file) = &mut self.rejects {
                file.sync()?;
            }
            self.writer.line(state.get())?;
            self.printed = Instant::now();
        }
        Ok(())
    }
}
