//! The run: lines in, tasks out to the directory, STATE back.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use singer_common::directory::{Directory, DirectoryError};
use singer_common::dn::DnKey;
use singer_common::message::{Message, MessageError, RecordMessage, SchemaMessage};
use singer_common::metrics::Metrics;
use singer_common::reader::LineReader;
use singer_common::settings::SettingsError;
use singer_common::signals::{Signal, Stop};
use singer_common::writer::{SingerWriter, WriteError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::ack::Ack;
use crate::config::TargetConfig;
use crate::map::{MapError, Mapping, Task};
use crate::order::{Kind, Order};
use crate::validate::RecordValidator;
use crate::write::{Applier, Effect};

/// Lines that wait between the reader's thread and the run.
const LINES_AHEAD: usize = 64;
/// Tasks taken in for each that may be outstanding: related ones have to wait without stopping the others.
const TASKS_AHEAD: usize = 4;
/// Records that may wait, for parents to come and for children to go, before the input is taken for wrong.
const MAX_WAITING: usize = 100_000;
/// STATE is printed at most this often; what is safe in between is printed with the next one.
const STATE_INTERVAL: Duration = Duration::from_millis(200);

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A line that is no message.
    #[error("line {line}: {error}")]
    Message {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        error: MessageError,
    },
    /// A record that cannot be taken.
    #[error("line {line}, stream `{stream}`: {reason}")]
    Record {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record that makes no entry.
    #[error("line {line}, stream `{stream}`: {error}")]
    Map {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// What is wrong with it.
        error: MapError,
    },
    /// A task the directory refused.
    #[error("line {line}, stream `{stream}`: {error}")]
    Write {
        /// Counted from 1.
        line: u64,
        /// The record's stream.
        stream: String,
        /// What the directory said.
        #[source]
        error: DirectoryError,
    },
    /// A configuration that does not fit the stream.
    #[error("line {line}: {error}")]
    Settings {
        /// Counted from 1.
        line: u64,
        /// The setting.
        #[source]
        error: SettingsError,
    },
    /// Reading the input failed.
    #[error("reading the input: {0}")]
    Input(#[from] std::io::Error),
    /// The directory could not be completed.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// Printing STATE failed.
    #[error("{0}")]
    Output(#[from] WriteError),
}

/// What was done to a stream's entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records taken in.
    pub records: u64,
    /// Entries added.
    pub added: u64,
    /// Entries modified.
    pub modified: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Entries that were right already.
    pub unchanged: u64,
}

/// A stream, once its SCHEMA is known.
struct Stream {
    mapping: Mapping,
    validator: Option<RecordValidator>,
    key_properties: Vec<String>,
}

/// A task on its way.
#[derive(Debug, Clone)]
struct Work {
    number: u64,
    line: u64,
    stream: String,
    task: Task,
    key: DnKey,
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
}

impl<'a, W: Write> Load<'a, W> {
    /// A run into an open directory.
    pub fn new(
        config: &'a TargetConfig,
        directory: Directory,
        writer: &'a mut SingerWriter<W>,
        stop: Stop,
    ) -> Self {
        let applier = Applier::new(directory.clone(), config.create_parents);
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
        }
    }

    /// Reads the input to its end (or to a failure, or a signal), and leaves everything taken in written or refused.
    pub async fn run(mut self, input: Box<dyn BufRead + Send>) -> Result<Option<Signal>, LoadError> {
        let started = Instant::now();
        let metrics = Metrics::new(self.config.metrics);
        let result = self.consume(input).await;
        for (stream, counts) in &self.counts {
            metrics.record_count(stream, counts.records);
            tracing::info!(
                stream = stream.as_str(),
                "{stream}: {} added, {} modified, {} deleted, {} unchanged",
                counts.added,
                counts.modified,
                counts.deleted,
                counts.unchanged
            );
        }
        metrics.job_duration(started.elapsed(), matches!(result, Ok(None)));
        result
    }

    async fn consume(&mut self, input: Box<dyn BufRead + Send>) -> Result<Option<Signal>, LoadError> {
        let mut lines = read_lines(input);
        let mut stopped = None;
        let mut open = true;
        let mut tick = tokio::time::interval(STATE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.start_ready();
            let given_up = stopped.is_some() || self.failure.is_some();
            let idle = self.running.is_empty() && !self.order.has_ready();
            open &= !given_up;
            if !open && idle && (given_up || self.order.is_empty() || !self.try_again()) {
                break;
            }
            tokio::select! {
                line = lines.recv(), if open && self.wants_more(idle) => match line {
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
            self.refuse_parked();
            return false;
        }
        idle || self.order.len() - self.order.parked() < self.config.max_in_flight * TASKS_AHEAD
    }

    /// The input has ended: what came too early is tried again, as long as that leads anywhere. `false` when all is
    /// said and done.
    fn try_again(&mut self) -> bool {
        if self.progress_at_last_try == Some(self.progress) {
            self.refuse_parked();
            return false;
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
                let result = applier.apply(&work.task).await;
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
            Ok(Effect::Deleted) => counts.deleted += 1,
            Ok(Effect::Unchanged) => counts.unchanged += 1,
            Ok(Effect::Ignored) => {}
            Ok(Effect::NoParent | Effect::HasChildren) => {
                self.order.park(work.number, work);
                return;
            }
            Err(error) => {
                let Work { number, line, stream, .. } = work;
                self.order.ended(number);
                self.fail(number, LoadError::Write { line, stream, error });
                return;
            }
        }
        self.order.ended(work.number);
        self.progress += 1;
        self.ack.done(work.number);
    }

    /// What came too early, and whose time never came.
    fn refuse_parked(&mut self) {
        let count = self.order.parked();
        let Some((kind, work)) = self.order.first_parked() else { return };
        let Work { number, line, stream, task, .. } = work.clone();
        let dn = task.dn().unwrap_or_default();
        let reason = match kind {
            Kind::Upsert => format!(
                "`{dn}` cannot be added: an entry above it is not there, no record made it, and it cannot be made from its name alone (create_parents); {count} record(s) wait like this one"
            ),
            Kind::Delete => format!("`{dn}` cannot be deleted: entries that no record deletes lie below it"),
        };
        self.fail(number, LoadError::Record { line, stream, reason });
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
            self.writer.line(state.get())?;
            self.printed = Instant::now();
        }
        Ok(())
    }

    /// Takes one line in. A failure is kept, not returned: what came before it still has to be written.
    fn take(&mut self, line: u64, text: &[u8]) {
        // A failure of this line comes after every record begun so far.
        let here = u64::MAX - 1;
        let result = match Message::parse(text) {
            Ok(Message::Schema(schema)) => self.schema(line, &schema),
            Ok(Message::Record(record)) => self.record(line, &record),
            Ok(Message::State(state)) => {
                self.ack.state(state);
                Ok(())
            }
            Ok(Message::ActivateVersion { stream, version }) => {
                tracing::debug!("ACTIVATE_VERSION {version} of `{stream}`: nothing is deleted by it");
                Ok(())
            }
            Ok(Message::Batch { stream }) => Err(LoadError::Record {
                line,
                stream,
                reason: "BATCH messages cannot be read by this version; let the tap send RECORD messages"
                    .into(),
            }),
            Err(error) => Err(LoadError::Message { line, error }),
        };
        if let Err(error) = result {
            self.fail(here, error);
        }
    }

    fn schema(&mut self, line: u64, message: &SchemaMessage) -> Result<(), LoadError> {
        let bad = |reason| LoadError::Record { line, stream: message.stream.clone(), reason };
        let validator = if self.config.validate_records {
            let validator = RecordValidator::new(&message.schema)
                .map_err(|e| bad(format!("the SCHEMA is no JSON schema: {e}")))?;
            Some(validator)
        } else {
            None
        };
        let mut warnings = Vec::new();
        let mapping = Mapping::new(
            message,
            self.config,
            self.directory.schema(),
            self.directory.takes_unknown_attributes(),
            &mut warnings,
        )
        .map_err(|error| LoadError::Settings { line, error })?;
        for warning in warnings {
            tracing::warn!(stream = message.stream.as_str(), "{warning}");
        }
        let stream = Stream { mapping, validator, key_properties: message.key_properties.clone() };
        self.streams.insert(message.stream.clone(), stream);
        self.counts.entry(message.stream.clone()).or_default();
        Ok(())
    }

    fn record(&mut self, line: u64, message: &RecordMessage) -> Result<(), LoadError> {
        let bad = |reason| LoadError::Record { line, stream: message.stream.clone(), reason };
        let Some(stream) = self.streams.get(&message.stream) else {
            return Err(bad("a RECORD came before the stream's SCHEMA".into()));
        };
        if let Some(key) = stream.key_properties.iter().find(|k| message.record.get(k.as_str()).is_none()) {
            return Err(bad(format!("the record lacks its key property `{key}`")));
        }
        if let Some(validator) = &stream.validator {
            validator.check(&message.record).map_err(bad)?;
        }
        let task = stream
            .mapping
            .map(&message.record, self.directory.schema())
            .map_err(|error| LoadError::Map { line, stream: message.stream.clone(), error })?;
        let key = task.dn().map(|dn| self.applier.key(dn)).transpose().map_err(|e| bad(e.to_string()))?;
        let number = self.ack.begin();
        self.counts.entry(message.stream.clone()).or_default().records += 1;
        let Some(key) = key else {
            self.ack.done(number);
            return Ok(());
        };
        let kind = if matches!(task, Task::Delete { .. }) { Kind::Delete } else { Kind::Upsert };
        let work = Work { number, line, stream: message.stream.clone(), task, key: key.clone() };
        self.order.submit(number, key, kind, work);
        Ok(())
    }
}

/// Reads lines on a thread of its own: a pipe that stalls must not stop the writes under way.
fn read_lines(input: Box<dyn BufRead + Send>) -> mpsc::Receiver<std::io::Result<(u64, Vec<u8>)>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut reader = LineReader::new(input);
        loop {
            let item = match reader.next_line() {
                Ok(Some(line)) => Ok(line),
                Ok(None) => return,
                Err(e) => Err(e),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
