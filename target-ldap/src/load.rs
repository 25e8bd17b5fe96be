//! The run: lines in, tasks out to the directory, STATE back.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use singer_common::change::Modification;
use singer_common::directory::{Directory, DirectoryError};
use singer_common::dn::DnKey;
use singer_common::metrics::Metrics;
use singer_common::observe;
use singer_common::signals::{Signal, Stop};
use singer_common::writer::SingerWriter;
use tokio::task::JoinSet;

use crate::config::{OnError, TargetConfig};
use crate::load::ack::Ack;
use crate::load::rejects::{RejectFile, RejectSchema};
use crate::load::scheduler::{DnLock, Scheduler, TaskKind};
use crate::load::versions::Versions;
use crate::map::unknown_names::UnknownClasses;
use crate::map::{Task, WritePolicy};
use crate::rules::rule::Rule;
use crate::write::claims::{Claimant, EntryClaims, KeyKind};
use crate::write::counts::{self, Counts, LoadSummary, RecordOutcome};
use crate::write::destination::{ChangeLabel, Destination};
use crate::write::ldap_result::{LdapResult, is_records_fault};
use crate::write::{Applier, Attempt, AttemptContext, DeferredReference, WriteOutcome, several};

pub mod ack;
mod activation;
mod batch;
mod deferred_deletions;
mod deferred_references;
mod error;
mod executor;
pub mod in_file;
mod input;
mod line_mapper;
mod prefetch;
mod progress;
mod refusals;
mod reject_log;
pub mod rejects;
mod renames;
pub mod requirements;
pub mod scheduler;
mod spill;
mod stream_maps;
pub mod versions;
mod waits;

use activation::{AbsentEntry, Activations};
pub use batch::BatchError;
use deferred_deletions::DeferredDeletions;
use deferred_references::DeferredReferences;
pub use error::LoadError;
use in_file::InFile;
use input::Stream;
use line_mapper::{InputEvent, LineMapper, read_lines};
use prefetch::Prefetch;
pub use progress::LoadProgress;
use reject_log::RejectLog;
use spill::{SpillBuffer, SpillSlot};
use waits::Waits;

/// Records that may wait, for parents to come and for children to go, before the input is taken for wrong.
const MAX_WAITING: usize = 100_000;
/// STATE is printed at most this often; what is safe in between is printed with the next one.
const STATE_INTERVAL: Duration = Duration::from_millis(200);

/// What is kept of a record while it is on its way, should it be rejected.
#[derive(Debug, Clone)]
struct RejectContext {
    record: Arc<Value>,
    reject_schema: Arc<RejectSchema>,
}

/// A task on its way.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the task")]
struct Work {
    number: u64,
    line: u64,
    stream: Arc<str>,
    task: Task,
    /// The name that its entry is to have; the root's where the record does not say it.
    key: DnKey,
    /// The record's key, for people.
    about: Arc<str>,
    version: Option<i64>,
    /// Only under `on_error: skip`.
    kept: Option<RejectContext>,
    /// Why it was too early at its last try.
    answer: Option<LdapResult>,
    context: AttemptContext,
    /// How often its entry was found elsewhere.
    moves: u32,
    /// The name it left for another entry.
    left: Option<String>,
    /// Whether it is about what was held back of a record that is written.
    is_rest: bool,
    /// What was put down of it, while a part of it still waits.
    recorded: Option<RecordOutcome>,
    key_kind: KeyKind,
    /// Whether no record says so, but a version.
    by_version: bool,
    is_last_try: bool,
    /// Where a batch has the record.
    in_file: Option<InFile>,
    /// The values of the rest that is under way.
    values: Vec<DeferredReference>,
    /// What gives values back that it gave up for others, and the name of the entry; no modifications: it was asked in vain.
    gave_up: Option<(String, Vec<Modification>)>,
    /// Whether its entry got its name at an earlier try.
    was_renamed: bool,
    /// What the entry that has its name is known by; empty where that is not known.
    taken_by: String,
    /// Whether it waits for a value that the server has once only, and another entry has.
    waits_for_value: bool,
    /// Since when it waits for others, and when it was last tried.
    waits_since: Option<Instant>,
    tried: Option<Instant>,
    is_wait_logged: bool,
    /// Where its values are, while it waits.
    spilled: Option<Arc<SpillSlot>>,
    /// What they count while it is ready to begin, or under way.
    weight: Option<Arc<SpillSlot>>,
}

impl Work {
    /// What is wrong with its record.
    fn bad(&self, reason: String) -> LoadError {
        let (line, stream, key) = (self.line, self.stream.to_string(), self.about.to_string());
        LoadError::Record { line, stream, key, reason, nearest: None }
    }

    /// What the directory said to its record.
    fn refused_by(&self, error: DirectoryError, hint: String) -> LoadError {
        let (line, stream, key) = (self.line, self.stream.to_string(), self.about.to_string());
        LoadError::Write { line, stream, key, error, hint, nearest: None }
    }

    fn new(number: u64, line: u64, stream: Arc<str>, task: Task, key: DnKey, about: Arc<str>) -> Self {
        Self {
            number,
            line,
            stream,
            task,
            key,
            about,
            version: None,
            kept: None,
            answer: None,
            context: AttemptContext::default(),
            moves: 0,
            left: None,
            is_rest: false,
            recorded: None,
            key_kind: KeyKind::Key,
            by_version: false,
            is_last_try: false,
            in_file: None,
            values: Vec::new(),
            gave_up: None,
            was_renamed: false,
            taken_by: String::new(),
            waits_for_value: false,
            waits_since: None,
            tried: None,
            is_wait_logged: false,
            spilled: None,
            weight: None,
        }
    }

    /// What it touches, as far as its record says.
    fn dn_lock(&self) -> DnLock {
        let key = Some(self.key.clone()).filter(|key| !key.is_root());
        let found = |write_policy: &WritePolicy| write_policy.base.clone().unwrap_or_default();
        let base = match &self.task {
            Task::Upsert { write_policy, .. }
            | Task::Delete { write_policy, .. }
            | Task::Find { write_policy, .. } => found(write_policy),
            Task::Nothing => String::new(),
        };
        // No DN has a NUL.
        let identity = self.task.filter().map(|filter| format!("{base}\0{filter}"));
        DnLock { keys: key.into_iter().collect(), identity }
    }

    /// The entry it is about, as it is called now.
    fn dn(&self) -> Option<&str> {
        self.task.dn().or(self.context.found.as_deref())
    }

    /// What a change in its name is made for.
    fn label(&self) -> ChangeLabel {
        let record = match &self.in_file {
            Some(place) => format!("{} ({place})", self.about).into(),
            None => self.about.clone(),
        };
        let is_leaving = matches!(self.task, Task::Delete { .. });
        ChangeLabel { stream: self.stream.clone(), line: self.line, record, is_leaving }
    }

    /// Whose it is.
    fn claimant(&self) -> Claimant<'_> {
        Claimant { stream: &self.stream, key: &self.about, kind: self.key_kind }
    }

    fn kind(&self) -> TaskKind {
        if matches!(self.task, Task::Delete { .. }) { TaskKind::Delete } else { TaskKind::Upsert }
    }
}

type Finished = (Box<Work>, Result<Attempt, DirectoryError>);

/// A run's parts.
pub struct Load<'a, W: Write> {
    config: &'a TargetConfig,
    directory: Directory,
    applier: Applier,
    writer: &'a mut SingerWriter<W>,
    stop: Stop,
    streams: HashMap<Arc<str>, Stream>,
    counts: BTreeMap<Arc<str>, Counts>,
    ack: Ack,
    scheduler: Scheduler<Box<Work>>,
    spill_buffer: SpillBuffer,
    running: JoinSet<Finished>,
    /// What each running task is about, should it end without a result.
    running_works: HashMap<tokio::task::Id, executor::TaskLabel>,
    /// Tasks that have ended, ever: whether another try of those that came too early can make sense.
    ended_tasks: u64,
    ended_at_last_try: Option<u64>,
    /// Whether no entry will come any more.
    is_last_try: bool,
    references: DeferredReferences,
    /// Those that stepped aside in vain.
    aside: Vec<Work>,
    /// When the input last had something.
    last_line: Instant,
    failure: Option<(u64, LoadError)>,
    printed: Instant,
    /// Under `on_error: skip`.
    rejects: Option<RejectFile>,
    rejected: u64,
    reject_log: RejectLog,
    /// Of names that the schema does not have.
    nearest_names: HashMap<String, Option<String>>,
    retry_rejects: bool,
    /// With `process_activate_version`.
    versions: Versions,
    activations: Activations,
    waits: Waits,
    prefetch: Option<Prefetch>,
    /// What an activation found gone, before it is taken up.
    absent: VecDeque<AbsentEntry>,
    /// Whether it was said that a STATE is null.
    is_null_state_logged: bool,
    /// Deletions that are made last.
    deferred_deletions: DeferredDeletions,
    /// Streams of whose scope it was said that it is not there.
    missing_scopes: BTreeSet<String>,
    /// Deletions, by stream, of entries that a file of changes does not know: nothing was written for them.
    unwritten_deletions: BTreeMap<Arc<str>, u64>,
    unknown_classes: UnknownClasses,
    progress: LoadProgress,
    /// What the metrics show.
    shown: BTreeMap<Arc<str>, Counts>,
    /// Where traces are wanted.
    spans: Option<observe::Batches>,
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
        let applier = Applier::new(destination.clone(), config.create_parents, EntryClaims::default())
            .asserting(config.assert_unchanged)
            .deleting_by_version(config.process_activate_version)
            .awaiting_parents(config.rules.values().any(Rule::renames_parents));
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
            scheduler: Scheduler::default(),
            spill_buffer: SpillBuffer::default(),
            running: JoinSet::new(),
            running_works: HashMap::new(),
            ended_tasks: 0,
            ended_at_last_try: None,
            is_last_try: false,
            references: DeferredReferences::default(),
            aside: Vec::new(),
            last_line: Instant::now(),
            failure: None,
            printed: Instant::now(),
            rejects,
            rejected: 0,
            reject_log: RejectLog::default(),
            nearest_names: HashMap::new(),
            retry_rejects,
            versions: Versions::default(),
            activations: Activations::default(),
            waits: Waits::default(),
            prefetch: None,
            absent: VecDeque::new(),
            is_null_state_logged: false,
            deferred_deletions: DeferredDeletions::default(),
            missing_scopes: BTreeSet::new(),
            unwritten_deletions: BTreeMap::new(),
            unknown_classes: UnknownClasses::default(),
            progress: LoadProgress::disabled(),
            shown: BTreeMap::new(),
            spans: None,
        }
    }

    /// The same, with somebody who looks on.
    #[must_use]
    pub fn with_progress(self, progress: LoadProgress) -> Self {
        Self { progress: progress, ..self }
    }

    /// Reads the input to its end (or to a failure, or a signal), and leaves everything taken in written or refused.
    pub async fn run(mut self, input: Box<dyn BufRead + Send>) -> Result<LoadSummary, LoadError> {
        let started = Instant::now();
        let metrics = Metrics::new(self.config.metrics);
        if !self.config.dry_run {
            let base = self.config.default_base_dn.as_deref().or(self.directory.root_dse().default_base());
            self.spans = observe::Batches::begin(self.directory.location(), base.unwrap_or_default());
        }
        let result = self.consume(input).await;
        let took = self.progress.end(&self.counts, self.rejected);
        self.show_counts();
        if let Some(spans) = self.spans.take() {
            spans.end();
        }
        let planned = if self.config.dry_run { " (planned)" } else { "" };
        for (stream, counts) in &self.counts {
            metrics.record_count(stream, counts.records);
            self.applier.directory().show_counts(stream, counts);
            tracing::info!(stream = &**stream, "{stream}{planned}: {counts}");
        }
        for (stream, took) in took {
            metrics.batch_processing_time(&stream, took, result.is_ok());
        }
        for (stream, text) in self.unknown_classes.report() {
            tracing::warn!(stream, "{text}");
        }
        for (stream, entries, dn) in self.applier.unmatched_entries().report() {
            tracing::warn!(
                stream,
                setting = format!("mapping_rules.{stream}.match"),
                entries,
                dn,
                "setting `mapping_rules.{stream}.match`: {entries} entries, `{dn}` among them, are not what match asks for, so no later run finds them by it: give them its attributes (attribute_mapping, values)"
            );
        }
        for (stream, deletions) in &self.unwritten_deletions {
            tracing::warn!(
                stream = &**stream,
                setting = "ldif_format",
                deletions,
                "stream `{stream}`: {deletions} deletion(s) are not in the file: ldif_format is `changes`, and no change in it makes their entries; whether the directory has them is not known here: write to the directory itself, or to an LDIF file of its entries (ldif_format `content`)"
            );
        }
        if matches!(result, Ok(None)) && !self.retry_rejects {
            let streams: Vec<&str> = self.counts.keys().map(|name| &**name).collect();
            for warning in self.config.unused_rules(&streams) {
                warning.log();
            }
        }
        self.reject_log.report();
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
        result.map(|stopped| LoadSummary { stopped, rejected: self.rejected, total })
    }

    async fn consume(&mut self, input: Box<dyn BufRead + Send>) -> Result<Option<Signal>, LoadError> {
        let mut lines = read_lines(input, LineMapper::new(self.config, &self.directory, self.retry_rejects));
        let mut ahead = VecDeque::new();
        let mut stopped = None;
        let mut open = true;
        let mut tick = tokio::time::interval(STATE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let given_up = stopped.is_some() || self.failure.is_some();
            self.submit_absent(given_up);
            self.start_ready();
            let idle = self.running.is_empty() && !self.scheduler.has_ready();
            self.decide_when_quiet();
            self.release_state();
            // What is under way may give an entry the name under which it came.
            if idle
                && !given_up
                && self.absent.is_empty()
                && let Some(activation) = self.activations.due.pop_front()
            {
                stopped = self.find_absent(activation).await;
                continue;
            }
            if idle && !given_up && ahead.is_empty() && self.scheduler.unpark_woken() {
                continue;
            }
            // What is under way may change what is read.
            if let Some(prefetch) = self.prefetch.take_if(|_| idle && !given_up) {
                stopped = self.prefetch(prefetch).await;
                continue;
            }
            open &= !given_up;
            let nothing_left = self.scheduler.is_empty() && self.references.is_empty();
            if !open && idle && self.absent.is_empty() {
                if given_up {
                    break;
                }
                if !self.deferred_deletions.is_empty() {
                    self.release_deletions();
                } else if nothing_left && self.activations.has_announced() {
                    self.decide(true);
                } else if nothing_left || !self.try_again() {
                    break;
                }
                continue;
            }
            let holds_back =
                !self.absent.is_empty() || !self.activations.due.is_empty() || self.prefetch.is_some();
            let more = open && !holds_back && self.wants_more(idle);
            if more && let Some((number, line)) = ahead.pop_front() {
                self.last_line = Instant::now();
                self.handle_line(number, line);
                self.print_state(false)?;
                continue;
            }
            tokio::select! {
                lines = lines.recv(), if more => match lines {
                    Some(InputEvent::Lines(lines)) => ahead.extend(lines),
                    Some(InputEvent::Failed(e)) => self.fail(u64::MAX, LoadError::Input(e)),
                    Some(InputEvent::End) => open = false,
                    None => self.fail(
                        u64::MAX,
                        LoadError::Internal("the input's reader ended before the input did"),
                    ),
                },
                Some(finished) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.handle_joined(finished);
                }
                signal = self.stop.wait(), if stopped.is_none() => stopped = Some(signal),
                _ = tick.tick() => {
                    self.progress.poll(&self.counts);
                    self.release_deletions_when_quiet();
                    self.give_up_waiting_for_long();
                    self.warn_of_held_state();
                    self.poll_waits();
                    self.scheduler.unpark_woken();
                    self.show_counts();
                }
                () = std::future::ready(()), if self.can_start() => {}
            }
            self.print_state(false)?;
        }
        self.restore_names().await;
        if stopped.is_none() && self.failure.is_none() {
            self.check_scopes().await;
        }
        self.release_state();
        self.check_totals(stopped.is_some());
        // What was done is kept, even when something else failed.
        self.applier.directory().commit()?;
        self.print_state(true)?;
        match self.failure.take() {
            Some((_, failure)) => Err(failure),
            None => Ok(stopped),
        }
    }

    /// The books have to balance: each record of the input has ended as exactly one thing.
    fn check_totals(&mut self, stopped: bool) {
        if stopped || self.failure.is_some() {
            return;
        }
        let is_all_done = self.ack.is_done()
            && self.scheduler.is_empty()
            && self.references.is_empty()
            && self.running_works.is_empty()
            && self.activations.is_empty();
        if singer_common::panics::happened() {
            self.fail(0, LoadError::Internal("a part of this program has panicked"));
        } else if !is_all_done || !self.counts.values().all(Counts::is_balanced) {
            let total = self.counts.values().fold(Counts::default(), Counts::plus);
            tracing::error!(
                "the books do not balance: {} record(s) taken in, {} outcome(s)",
                total.records,
                total.done()
            );
            self.fail(0, LoadError::Internal("the numbers of the run do not add up"));
        }
    }

    /// Whether another line can be taken in: memory stays bounded, and what waits for a line gets it.
    fn wants_more(&mut self, idle: bool) -> bool {
        if self.scheduler.len() >= MAX_WAITING {
            // A file need not hold what lies above.
            let waits_for_parents = self.directory.ldif_rules().is_some_and(|rules| !rules.takes_orphans);
            if waits_for_parents && self.applier.takes_orphans() {
                self.scheduler.unpark_topmost();
                return false;
            }
            // Under `on_error: skip`, too: parents may be still to come, and only the memory for waiting is used up.
            if let Some((work, error)) = self.first_refused(|_, _| true) {
                self.fail(work.number, error.in_file(work.in_file.as_ref()));
            }
            return false;
        }
        idle || !self.has_enough()
    }

    /// The input has ended: what came too early is tried again, as long as that leads anywhere; then without waiting for
    /// entries that are only named. `false` when all is said and done.
    fn try_again(&mut self) -> bool {
        let leads_anywhere = self.ended_at_last_try != Some(self.ended_tasks);
        if !leads_anywhere && self.is_last_try && self.activations.has_announced() {
            // A record that no deletion can help has its say before anything is deleted.
            self.refuse_parked(Self::is_hopeless);
            // What goes with a version may be what others wait for.
            if self.failure.is_none() && !self.scheduler.has_ready() {
                self.decide(true);
                self.ended_at_last_try = None;
            }
            return true;
        }
        if !leads_anywhere && self.is_last_try {
            self.refuse_parked(|_, _| true);
            // What waited behind what was left out can begin.
            return self.scheduler.has_ready();
        }
        if !leads_anywhere && self.ask_to_give_up() {
            return true;
        }
        if !leads_anywhere {
            self.is_last_try = true;
            self.report_missing();
        }
        self.ended_at_last_try = Some(self.ended_tasks);
        // Where an entry is taken without those above it, these still go first.
        if self.is_last_try && self.directory.ldif_rules().is_some() {
            self.scheduler.unpark_topmost();
        } else {
            self.scheduler.unpark_all();
        }
        self.submit_rests();
        true
    }

    /// Brings the metrics up to date.
    fn show_counts(&mut self) {
        if observe::is_metering() && !self.config.dry_run {
            observe::queue_depth(self.scheduler.len());
            counts::show(&self.counts, &mut self.shown);
        }
    }

    fn handle_finished(&mut self, (mut work, result): Finished) {
        if let Some(spans) = self.spans.as_mut().filter(|_| !work.is_rest) {
            spans.record(&work.stream, result.is_ok());
        }
        let is_renamed = work.context.is_renamed.swap(false, Ordering::Relaxed);
        if is_renamed && result.is_err() {
            self.note_rename(&mut work);
        }
        let Attempt { outcome, deferred } = match result {
            Ok(attempt) => attempt,
            // It named what is not there (yet): no other fault of the record's is left to find.
            Err(error)
                if work.is_rest && work.is_last_try && !self.is_last_try && is_records_fault(&error) =>
            {
                return self.defer_refused(work);
            }
            Err(error) if self.may_be_freed(&work, &error) => return self.value_taken(work, &error),
            Err(error) => {
                let error = self.explained(&work, error);
                return self.refuse_task(&work, error);
            }
        };
        work.waits_for_value = false;
        let found = work.context.found.as_deref().and_then(|dn| self.applier.key(dn).ok());
        let was = |work: &Work| found.clone().unwrap_or_else(|| work.key.clone());
        let is_kept = matches!(outcome, WriteOutcome::Kept(_));
        let recorded = match outcome {
            WriteOutcome::TooEarly(answer) => {
                work.answer = Some(answer);
                Self::parks(&mut work);
                return self.park(work);
            }
            WriteOutcome::NeedsEntries(missing) => return self.defer_whole(work, missing),
            WriteOutcome::Elsewhere(dn) => return self.found_elsewhere(work, dn),
            WriteOutcome::NameTaken(by) => return self.name_taken(work, by),
            WriteOutcome::SteppedAside(dn) => {
                self.ended_tasks += 1;
                return self.stepped_aside(work, dn);
            }
            WriteOutcome::GaveUp { dn, back } => {
                self.ended_tasks += 1;
                return self.gave_up(work, dn, back);
            }
            WriteOutcome::NotGivenUp => return self.gave_up(work, String::new(), Vec::new()),
            WriteOutcome::Refused(reason) => {
                let error = work.bad(reason);
                return self.refuse_task(&work, error);
            }
            WriteOutcome::Several(names) => {
                self.protect_found(&work, &names);
                let reason = several(&names.names);
                let error = work.bad(reason);
                return self.refuse_task(&work, error);
            }
            WriteOutcome::Found(names) => {
                self.protect_found(&work, &names);
                self.scheduler.ended(work.number);
                self.ended_tasks += 1;
                return self.ack.done(work.number);
            }
            WriteOutcome::Kept(reason) => {
                tracing::warn!(
                    stream = &*work.stream,
                    "line {}, stream `{}`: {reason}",
                    work.line,
                    work.stream
                );
                self.counts.entry(work.stream.clone()).or_default().kept += 1;
                RecordOutcome::Unchanged
            }
            WriteOutcome::Added => RecordOutcome::Added,
            WriteOutcome::Renamed => RecordOutcome::Renamed,
            WriteOutcome::Modified => RecordOutcome::Modified,
            WriteOutcome::Unchanged => RecordOutcome::Unchanged,
            WriteOutcome::LeftAlone | WriteOutcome::Ignored => RecordOutcome::Ignored,
            WriteOutcome::Moved => RecordOutcome::Moved,
            WriteOutcome::Deleted => RecordOutcome::Deleted,
        };
        let is_deletion = matches!(work.task, Task::Delete { .. });
        if is_deletion && recorded == RecordOutcome::Unchanged && !is_kept && self.config.writes_changes() {
            *self.unwritten_deletions.entry(work.stream.clone()).or_default() += 1;
        }
        if !is_kept {
            self.update_claims(&work, recorded, &was(&work));
        }
        self.wake(&work, recorded, &was(&work));
        // The rest of a record is counted already, as what was done with the record.
        if !work.is_rest
            || recorded == RecordOutcome::Modified && work.recorded == Some(RecordOutcome::Unchanged)
        {
            let is_less = matches!(recorded, RecordOutcome::Modified | RecordOutcome::Unchanged);
            let recorded = if work.was_renamed && is_less { RecordOutcome::Renamed } else { recorded };
            self.counts.entry(work.stream.clone()).or_default().count(recorded, work.recorded);
            work.recorded = Some(recorded);
        }
        if work.by_version {
            self.activations.under_way = self.activations.under_way.saturating_sub(1);
        }
        self.scheduler.ended(work.number);
        if deferred.is_empty() {
            self.ended_tasks += 1;
            self.ack.done(work.number);
        } else {
            if !work.is_rest {
                self.ended_tasks += 1;
            }
            self.defer(work, deferred);
        }
    }

    /// Puts down whose the entry is that a record was about. `was`: where it was.
    fn update_claims(&self, work: &Work, recorded: RecordOutcome, was: &DnKey) {
        let claims = self.applier.claims();
        match (&work.task, recorded) {
            (Task::Upsert { .. }, RecordOutcome::Renamed) => {
                claims.renamed(was, &work.key);
                claims.claim(&work.claimant(), &work.key);
            }
            // Its record let it go, whatever the rule has in place of a deletion; or a group would be empty.
            (_, RecordOutcome::Deleted | RecordOutcome::Moved)
            | (Task::Delete { .. }, RecordOutcome::Modified)
            | (Task::Delete { filter: None, .. }, RecordOutcome::Unchanged) => {
                claims.release((!work.by_version).then(|| work.claimant()).as_ref(), was);
            }
            // Where it may not be renamed it has come all the same.
            (Task::Upsert { .. }, _) => claims.claim(&work.claimant(), was),
            _ => {}
        }
    }

    /// Wakes what waits for what has just been done.
    fn wake(&mut self, work: &Work, recorded: RecordOutcome, was: &DnKey) {
        match recorded {
            RecordOutcome::Added => {
                // Before what waited for this entry: its children that came too early come first.
                self.scheduler.unpark_below(&work.key);
                self.arrived(&work.key, false);
            }
            RecordOutcome::Renamed => {
                self.scheduler.unpark_below(&work.key);
                self.scheduler.name_is_free(was);
                self.scheduler.wake_above(was);
                self.follow_rename(was, &work.key, work.task.dn().unwrap_or_default());
                self.arrived(&work.key, true);
            }
            RecordOutcome::Moved | RecordOutcome::Deleted => {
                self.scheduler.name_is_free(was);
                self.scheduler.wake_above(was);
            }
            _ => {}
        }
    }

    fn refuse_task(&mut self, work: &Work, error: LoadError) {
        self.scheduler.ended(work.number);
        self.ended_tasks += 1;
        self.refused(work, error);
    }

    /// Keeps the failure of the earliest record. What comes after it is not begun; what came before goes on.
    fn fail(&mut self, number: u64, error: LoadError) {
        if self.failure.as_ref().is_none_or(|(earliest, _)| number < *earliest) {
            self.failure = Some((number, error));
            self.scheduler.drop_unless(|work| work.number < number);
        }
    }

    fn print_state(&mut self, last: bool) -> Result<(), LoadError> {
        if singer_common::panics::happened() {
            return Ok(());
        }
        let due = last || self.directory.applies_at_once() && self.printed.elapsed() >= STATE_INTERVAL;
        if due && let Some(state) = self.ack.take_safe() {
            // A STATE says that what it covers is kept somewhere.
            if let Some(file) = &mut self.rejects {
                file.sync()?;
            }
            self.applier.directory().sync_undo().map_err(DirectoryError::from)?;
            singer_common::progress::suspended(|| self.writer.line(state.get()))?;
            self.printed = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
