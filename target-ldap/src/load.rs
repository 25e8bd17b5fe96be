//! The run: lines in, tasks out to the directory, STATE back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
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
use crate::config::{OnError, TargetConfig};
use crate::destination::{ABOUT, Destination};
use crate::map::{MapError, Mapping, Task};
use crate::order::{Kind, Order};
use crate::rejects::{self, Answer, Origin, Reject, RejectFile, RejectFileError, is_records_fault};
use crate::validate::RecordValidator;
use crate::versions::Versions;
use crate::write::{Applier, Effect};

mod gone;
mod refused;

use gone::{Activation, Gone};

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
    /// A line of a reject file, which nobody said the input is.
    #[error("line {line}: a line of a reject file; --retry-rejects has its record tried again")]
    Reject {
        /// Counted from 1.
        line: u64,
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
    /// More records were rejected than may be.
    #[error("{error} (and max_rejects: {max} record(s) are rejected already)")]
    TooManyRejects {
        /// The limit.
        max: u64,
        /// What is wrong with the record that is one too many.
        error: Box<LoadError>,
    },
    /// A rejected record could not be kept.
    #[error("{0}")]
    RejectFile(#[from] RejectFileError),
    /// Printing STATE failed.
    #[error("{0}")]
    Output(#[from] WriteError),
}

impl LoadError {
    /// The directory's error, when it is one record's.
    fn of_directory(&self) -> Option<&DirectoryError> {
        match self {
            LoadError::Write { error, .. } => Some(error),
            _ => None,
        }
    }

    /// What is wrong, without the line and the stream.
    fn reason(&self) -> String {
        match self {
            LoadError::Record { reason, .. } => reason.clone(),
            LoadError::Map { error, .. } => error.to_string(),
            LoadError::Write { error, .. } => error.to_string(),
            other => other.to_string(),
        }
    }

    /// Whether the record alone is to blame, and others may well be written.
    fn is_records_fault(&self) -> bool {
        match self {
            LoadError::Record { .. } | LoadError::Map { .. } => true,
            LoadError::Write { error, .. } => is_records_fault(error),
            _ => false,
        }
    }
}

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The signal that stopped it.
    pub stopped: Option<Signal>,
    /// Records that were rejected.
    pub rejected: u64,
    /// What was done in all.
    pub total: Counts,
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
    /// Entries moved.
    pub moved: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Entries that were right already.
    pub unchanged: u64,
    /// Entries that an operation that is switched off would have changed.
    pub left_alone: u64,
    /// Records that were rejected.
    pub rejected: u64,
}

impl Counts {
    fn plus(self, other: &Counts) -> Counts {
        Counts {
            records: self.records + other.records,
            added: self.added + other.added,
            modified: self.modified + other.modified,
            moved: self.moved + other.moved,
            deleted: self.deleted + other.deleted,
            unchanged: self.unchanged + other.unchanged,
            left_alone: self.left_alone + other.left_alone,
            rejected: self.rejected + other.rejected,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { added, modified, moved, deleted, unchanged, left_alone, rejected, records: _ } = self;
        write!(f, "{added} added, {modified} modified, {deleted} deleted, {unchanged} unchanged")?;
        if *moved > 0 {
            write!(f, ", {moved} moved")?;
        }
        if *left_alone > 0 {
            write!(f, ", {left_alone} left as they are (operations)")?;
        }
        if *rejected > 0 { write!(f, ", {rejected} rejected") } else { Ok(()) }
    }
}

/// A stream, once its SCHEMA is known.
struct Stream {
    mapping: Mapping,
    validator: Option<RecordValidator>,
    key_properties: Vec<String>,
    origin: Arc<Origin>,
}

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
        let applier = Applier::new(destination.clone(), config.create_parents);
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

    /// Takes one line in. A failure is kept, not returned: what came before it still has to be written.
    fn take(&mut self, line: u64, text: &[u8]) {
        // A failure of this line comes after every record begun so far.
        let here = u64::MAX - 1;
        let retried = if self.retry_rejects { rejects::read_line(text) } else { None };
        let message = match retried {
            Some(Ok(retried)) => {
                let stream = retried.message.as_ref().map_or("", |m| m.stream.as_str());
                for property in &retried.still_masked {
                    tracing::warn!(
                        stream,
                        "line {line}, stream `{stream}`: `{property}` is masked, and is left out: put the value in for it to be written"
                    );
                }
                let Some(message) = retried.message else {
                    tracing::warn!("line {line}: an entry that was gone, not a record: it is passed over");
                    return;
                };
                Ok(Message::Record(message))
            }
            Some(Err(error)) => Err(error),
            None => Message::parse(text),
        };
        let result = match message {
            Ok(Message::Schema(schema)) => self.schema(line, &schema),
            Ok(Message::Record(record)) => self.record(line, record),
            Ok(Message::State(state)) => {
                self.ack.state(state);
                Ok(())
            }
            Ok(Message::ActivateVersion { stream, version }) => {
                self.activate(line, stream, version);
                Ok(())
            }
            Ok(Message::Batch { stream }) => Err(LoadError::Record {
                line,
                stream,
                reason: "BATCH messages cannot be read by this version; let the tap send RECORD messages"
                    .into(),
            }),
            Err(MessageError::UnknownType(kind)) if kind == rejects::KIND => Err(LoadError::Reject { line }),
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
        let origin = Arc::new(Origin::new(message, mapping.secret_properties()));
        let stream = Stream { mapping, validator, key_properties: message.key_properties.clone(), origin };
        self.streams.insert(message.stream.clone(), stream);
        self.counts.entry(message.stream.clone()).or_default();
        Ok(())
    }

    fn record(&mut self, line: u64, message: RecordMessage) -> Result<(), LoadError> {
        let RecordMessage { stream: name, record, version } = message;
        let Some(stream) = self.streams.get(&name) else {
            let reason = "a RECORD came before the stream's SCHEMA".into();
            return Err(LoadError::Record { line, stream: name, reason });
        };
        let planned = self.plan(line, &name, stream, &record);
        let origin = stream.origin.clone();
        let about = about(&stream.key_properties, &record);
        let number = self.ack.begin();
        let (task, key) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                if self.config.process_activate_version {
                    self.versions.unknown_came(&name, version);
                }
                let reason = error.reason();
                let reject =
                    Reject { stream: &name, line, dn: None, answer: None, reason: &reason, record: &record };
                self.reject(number, &reject, &origin, error);
                return Ok(());
            }
        };
        self.counts.entry(name.clone()).or_default().records += 1;
        let Some(key) = key else {
            self.ack.done(number);
            return Ok(());
        };
        let kind = if matches!(task, Task::Delete { .. }) { Kind::Delete } else { Kind::Upsert };
        if self.config.process_activate_version && kind == Kind::Upsert {
            self.versions.came(&name, version, &key);
        }
        let kept = self.rejects.is_some().then(|| Kept { record: Arc::new(record), origin });
        let work = Work { number, line, stream: name, task, key: key.clone(), about, kept, answer: None };
        self.order.submit(number, key, kind, work);
        Ok(())
    }

    /// What a record asks for, and the entry it is about.
    fn plan(
        &self,
        line: u64,
        name: &str,
        stream: &Stream,
        record: &Value,
    ) -> Result<(Task, Option<DnKey>), LoadError> {
        let bad = |reason| LoadError::Record { line, stream: name.to_owned(), reason };
        if let Some(key) = stream.key_properties.iter().find(|k| record.get(k.as_str()).is_none()) {
            return Err(bad(format!("the record lacks its key property `{key}`")));
        }
        if let Some(validator) = &stream.validator {
            validator.check(record).map_err(bad)?;
        }
        let task = stream.mapping.map(record, self.directory.schema()).map_err(|error| LoadError::Map {
            line,
            stream: name.to_owned(),
            error,
        })?;
        let key = task.dn().map(|dn| self.applier.key(dn)).transpose().map_err(|e| bad(e.to_string()))?;
        Ok((task, key))
    }
}

/// A record's key, for people: `id=7`.
fn about(key_properties: &[String], record: &Value) -> String {
    let part = |name: &String| match record.get(name.as_str()) {
        Some(Value::String(text)) => format!("{name}={text}"),
        Some(other) => format!("{name}={other}"),
        None => format!("{name}="),
    };
    key_properties.iter().map(part).collect::<Vec<_>>().join(", ")
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
