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
use crate::load::rejects::{Origin, RejectFile};
use crate::load::scheduler::{Claim, Kind, Order};
use crate::load::versions::Versions;
use crate::map::unknown_names::UnknownClasses;
use crate::map::{Manner, Task};
use crate::rules::rule::Rule;
use crate::write::answer::{Answer, is_records_fault};
use crate::write::claims::{Books, KeyKind, Who};
use crate::write::counts::{self, Counts, Ending, Told};
use crate::write::destination::{About, Destination};
use crate::write::{Applier, Circumstances, Effect, Held, Outcome, several};

pub mod ack;
mod batch;
mod error;
mod executor;
mod gone;
pub mod in_file;
mod input;
mod late;
mod mapped;
mod moves;
mod planning;
mod prefetch;
mod progress;
mod references;
mod refused;
pub mod rejects;
pub mod requirements;
mod said;
pub mod scheduler;
mod shelf;
pub mod versions;
mod waits;

pub use batch::BatchError;
pub use error::LoadError;
use gone::{Activations, Gone};
use in_file::InFile;
use input::Stream;
use late::Late;
use planning::{Input, Planner, read_lines};
use prefetch::Survey;
pub use progress::Watch;
use references::References;
use said::Said;
use shelf::{Place, Shelf};
use waits::Waits;

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
    kept: Option<Kept>,
    /// Why it was too early at its last try.
    answer: Option<Answer>,
    now: Circumstances,
    /// How often its entry was found elsewhere.
    moves: u32,
    /// The name it left for another entry.
    left: Option<String>,
    /// Whether it is about what was held back of a record that is written.
    is_rest: bool,
    /// What was put down of it, while a part of it still waits.
    told: Option<Told>,
    key_kind: KeyKind,
    /// Whether no record says so, but a version.
    by_version: bool,
    is_last_try: bool,
    /// Where a batch has the record.
    in_file: Option<InFile>,
    /// The values of the rest that is under way.
    values: Vec<Held>,
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
    is_wait_said: bool,
    /// Where its values are, while it waits.
    shelved: Option<Arc<Place>>,
    /// What they count while it is ready to begin, or under way.
    weight: Option<Arc<Place>>,
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
            now: Circumstances::default(),
            moves: 0,
            left: None,
            is_rest: false,
            told: None,
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
            is_wait_said: false,
            shelved: None,
            weight: None,
        }
    }

    /// What it touches, as far as its record says.
    fn claim(&self) -> Claim {
        let key = Some(self.key.clone()).filter(|key| !key.is_root());
        let found = |manner: &Manner| manner.base.clone().unwrap_or_default();
        let base = match &self.task {
            Task::Upsert { manner, .. } | Task::Delete { manner, .. } | Task::Find { manner, .. } => {
                found(manner)
            }
            Task::Nothing => String::new(),
        };
        // No DN has a NUL.
        let identity = self.task.filter().map(|filter| format!("{base}\0{filter}"));
        Claim { keys: key.into_iter().collect(), identity }
    }

    /// The entry it is about, as it is called now.
    fn dn(&self) -> Option<&str> {
        self.task.dn().or(self.now.found.as_deref())
    }

    /// What a change in its name is made for.
    fn label(&self) -> About {
        let record = match &self.in_file {
            Some(place) => format!("{} ({place})", self.about).into(),
            None => self.about.clone(),
        };
        let is_leaving = matches!(self.task, Task::Delete { .. });
        About { stream: self.stream.clone(), line: self.line, record, is_leaving }
    }

    /// Whose it is.
    fn who(&self) -> Who<'_> {
        Who { stream: &self.stream, key: &self.about, kind: self.key_kind }
    }

    fn kind(&self) -> Kind {
        if matches!(self.task, Task::Delete { .. }) { Kind::Delete } else { Kind::Upsert }
    }
}

type Finished = (Box<Work>, Result<Outcome, DirectoryError>);

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
    order: Order<Box<Work>>,
    shelf: Shelf,
    running: JoinSet<Finished>,
    /// What each running task is about, should it end without a result.
    running_works: HashMap<tokio::task::Id, executor::About>,
    /// Tasks that have ended, ever: whether another try of those that came too early can make sense.
    progress: u64,
    progress_at_last_try: Option<u64>,
    /// Whether no entry will come any more.
    is_last_try: bool,
    references: References,
    /// Those that stepped aside in vain.
    aside: Vec<Work>,
    /// When the input last had something.
    last_line: Instant,
    failure: Option<(u64, LoadError)>,
    printed: Instant,
    /// Under `on_error: skip`.
    rejects: Option<RejectFile>,
    rejected: u64,
    said_rejects: Said,
    /// Of names that the schema does not have.
    nearest_names: HashMap<String, Option<String>>,
    retry_rejects: bool,
    /// With `process_activate_version`.
    versions: Versions,
    activations: Activations,
    waits: Waits,
    survey: Option<Survey>,
    /// What an activation found gone, before it is taken up.
    gone: VecDeque<Gone>,
    /// Whether it was said that a STATE is null.
    is_null_state_said: bool,
    /// Deletions that are made last.
    late: Late,
    /// Streams of whose scope it was said that it is not there.
    missing_scopes: BTreeSet<String>,
    /// Deletions, by stream, of entries that a file of changes does not know: nothing was written for them.
    unwritten_deletions: BTreeMap<Arc<str>, u64>,
    unknown_classes: UnknownClasses,
    watch: Watch,
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
        let applier = Applier::new(destination.clone(), config.create_parents, Books::default())
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
            order: Order::default(),
            shelf: Shelf::default(),
            running: JoinSet::new(),
            running_works: HashMap::new(),
            progress: 0,
            progress_at_last_try: None,
            is_last_try: false,
            references: References::default(),
            aside: Vec::new(),
            last_line: Instant::now(),
            failure: None,
            printed: Instant::now(),
            rejects,
            rejected: 0,
            said_rejects: Said::default(),
            nearest_names: HashMap::new(),
            retry_rejects,
            versions: Versions::default(),
            activations: Activations::default(),
            waits: Waits::default(),
            survey: None,
            gone: VecDeque::new(),
            is_null_state_said: false,
            late: Late::default(),
            missing_scopes: BTreeSet::new(),
            unwritten_deletions: BTreeMap::new(),
            unknown_classes: UnknownClasses::default(),
            watch: Watch::nobody(),
            shown: BTreeMap::new(),
            spans: None,
        }
    }

    /// The same, with somebody who looks on.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Reads the input to its end (or to a failure, or a signal), and leaves everything taken in written or refused.
    pub async fn run(mut self, input: Box<dyn BufRead + Send>) -> Result<Ending, LoadError> {
        let started = Instant::now();
        let metrics = Metrics::new(self.config.metrics);
        if !self.config.dry_run {
            let base = self.config.default_base_dn.as_deref().or(self.directory.root_dse().default_base());
            self.spans = observe::Batches::begin(self.directory.location(), base.unwrap_or_default());
        }
        let result = self.consume(input).await;
        let took = self.watch.end(&self.counts, self.rejected);
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
        for (stream, entries, dn) in self.applier.not_found_again().report() {
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
        self.said_rejects.report();
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
        let mut lines = read_lines(input, Planner::new(self.config, &self.directory, self.retry_rejects));
        let mut ahead = VecDeque::new();
        let mut stopped = None;
        let mut open = true;
        let mut tick = tokio::time::interval(STATE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let given_up = stopped.is_some() || self.failure.is_some();
            self.take_gone(given_up);
            self.start_ready();
            let idle = self.running.is_empty() && !self.order.has_ready();
            self.decide_when_quiet();
            self.release_state();
            // What is under way may give an entry the name under which it came.
            if idle
                && !given_up
                && self.gone.is_empty()
                && let Some(activation) = self.activations.due.pop_front()
            {
                stopped = self.find_gone(activation).await;
                continue;
            }
            if idle && !given_up && ahead.is_empty() && self.order.unpark_woken() {
                continue;
            }
            // What is under way may change what is read.
            if let Some(survey) = self.survey.take_if(|_| idle && !given_up) {
                stopped = self.read_inventory(survey).await;
                continue;
            }
            open &= !given_up;
            let nothing_left = self.order.is_empty() && self.references.is_empty();
            if !open && idle && self.gone.is_empty() {
                if given_up {
                    break;
                }
                if !self.late.is_empty() {
                    self.release_deletions();
                } else if nothing_left && self.activations.has_announced() {
                    self.decide(true);
                } else if nothing_left || !self.try_again() {
                    break;
                }
                continue;
            }
            let holds_back =
                !self.gone.is_empty() || !self.activations.due.is_empty() || self.survey.is_some();
            let more = open && !holds_back && self.wants_more(idle);
            if more && let Some((number, line)) = ahead.pop_front() {
                self.last_line = Instant::now();
                self.take(number, line);
                self.print_state(false)?;
                continue;
            }
            tokio::select! {
                lines = lines.recv(), if more => match lines {
                    Some(Input::Lines(lines)) => ahead.extend(lines),
                    Some(Input::Failed(e)) => self.fail(u64::MAX, LoadError::Input(e)),
                    Some(Input::End) => open = false,
                    None => self.fail(
                        u64::MAX,
                        LoadError::Internal("the input's reader ended before the input did"),
                    ),
                },
                Some(finished) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.joined(finished);
                }
                signal = self.stop.wait(), if stopped.is_none() => stopped = Some(signal),
                _ = tick.tick() => {
                    self.watch.look(&self.counts);
                    self.release_deletions_when_quiet();
                    self.give_up_waiting_for_long();
                    self.warn_of_held_state();
                    self.look_at_waits();
                    self.order.unpark_woken();
                    self.show_counts();
                }
                () = std::future::ready(()), if self.can_start() => {}
            }
            self.print_state(false)?;
        }
        self.go_back().await;
        if stopped.is_none() && self.failure.is_none() {
            self.check_scopes().await;
        }
        self.release_state();
        self.check_books(stopped.is_some());
        // What was done is kept, even when something else failed.
        self.applier.directory().commit()?;
        self.print_state(true)?;
        match self.failure.take() {
            Some((_, failure)) => Err(failure),
            None => Ok(stopped),
        }
    }

    /// The books have to balance: each record of the input has ended as exactly one thing.
    fn check_books(&mut self, stopped: bool) {
        if stopped || self.failure.is_some() {
            return;
        }
        let is_all_done = self.ack.is_done()
            && self.order.is_empty()
            && self.references.is_empty()
            && self.running_works.is_empty()
            && self.activations.is_empty();
        if singer_common::panics::happened() {
            self.fail(0, LoadError::Internal("a part of this program has panicked"));
        } else if !is_all_done || !self.counts.values().all(Counts::add_up) {
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
        if self.order.len() >= MAX_WAITING {
            // A file need not hold what lies above.
            let waits_for_parents = self.directory.ldif_rules().is_some_and(|rules| !rules.takes_orphans);
            if waits_for_parents && self.applier.takes_orphans() {
                self.order.unpark_topmost();
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
        let leads_anywhere = self.progress_at_last_try != Some(self.progress);
        if !leads_anywhere && self.is_last_try && self.activations.has_announced() {
            // A record that no deletion can help has its say before anything is deleted.
            self.refuse_parked(Self::is_hopeless);
            // What goes with a version may be what others wait for.
            if self.failure.is_none() && !self.order.has_ready() {
                self.decide(true);
                self.progress_at_last_try = None;
            }
            return true;
        }
        if !leads_anywhere && self.is_last_try {
            self.refuse_parked(|_, _| true);
            // What waited behind what was left out can begin.
            return self.order.has_ready();
        }
        if !leads_anywhere && self.ask_to_give_up() {
            return true;
        }
        if !leads_anywhere {
            self.is_last_try = true;
            self.report_missing();
        }
        self.progress_at_last_try = Some(self.progress);
        // Where an entry is taken without those above it, these still go first.
        if self.is_last_try && self.directory.ldif_rules().is_some() {
            self.order.unpark_topmost();
        } else {
            self.order.unpark_all();
        }
        self.submit_rests();
        true
    }

    /// Brings the metrics up to date.
    fn show_counts(&mut self) {
        if observe::is_metering() && !self.config.dry_run {
            observe::queue_depth(self.order.len());
            counts::show(&self.counts, &mut self.shown);
        }
    }

    fn finished(&mut self, (mut work, result): Finished) {
        if let Some(spans) = self.spans.as_mut().filter(|_| !work.is_rest) {
            spans.record(&work.stream, result.is_ok());
        }
        let is_renamed = work.now.is_renamed.swap(false, Ordering::Relaxed);
        if is_renamed && result.is_err() {
            self.left_its_name(&mut work);
        }
        let Outcome { effect, held } = match result {
            Ok(outcome) => outcome,
            // It named what is not there (yet): no other fault of the record's is left to find.
            Err(error)
                if work.is_rest && work.is_last_try && !self.is_last_try && is_records_fault(&error) =>
            {
                return self.hold_refused(work);
            }
            Err(error) if self.may_be_freed(&work, &error) => return self.value_taken(work, &error),
            Err(error) => {
                let error = self.explained(&work, error);
                return self.not_done(&work, error);
            }
        };
        work.waits_for_value = false;
        let found = work.now.found.as_deref().and_then(|dn| self.applier.key(dn).ok());
        let was = |work: &Work| found.clone().unwrap_or_else(|| work.key.clone());
        let is_kept = matches!(effect, Effect::Kept(_));
        let told = match effect {
            Effect::TooEarly(answer) => {
                work.answer = Some(answer);
                Self::parks(&mut work);
                return self.park(work);
            }
            Effect::NeedsEntries(missing) => return self.hold_whole(work, missing),
            Effect::Elsewhere(dn) => return self.found_elsewhere(work, dn),
            Effect::NameTaken(by) => return self.name_taken(work, by),
            Effect::SteppedAside(dn) => {
                self.progress += 1;
                return self.stepped_aside(work, dn);
            }
            Effect::GaveUp { dn, back } => {
                self.progress += 1;
                return self.gave_up(work, dn, back);
            }
            Effect::NotGivenUp => return self.gave_up(work, String::new(), Vec::new()),
            Effect::Refused(reason) => {
                let error = work.bad(reason);
                return self.not_done(&work, error);
            }
            Effect::Several(names) => {
                self.protect_found(&work, &names);
                let reason = several(&names.names);
                let error = work.bad(reason);
                return self.not_done(&work, error);
            }
            Effect::Found(names) => {
                self.protect_found(&work, &names);
                self.order.ended(work.number);
                self.progress += 1;
                return self.ack.done(work.number);
            }
            Effect::Kept(reason) => {
                tracing::warn!(
                    stream = &*work.stream,
                    "line {}, stream `{}`: {reason}",
                    work.line,
                    work.stream
                );
                self.counts.entry(work.stream.clone()).or_default().kept += 1;
                Told::Unchanged
            }
            Effect::Added => Told::Added,
            Effect::Renamed => Told::Renamed,
            Effect::Modified => Told::Modified,
            Effect::Unchanged => Told::Unchanged,
            Effect::LeftAlone | Effect::Ignored => Told::Ignored,
            Effect::Moved => Told::Moved,
            Effect::Deleted => Told::Deleted,
        };
        let is_deletion = matches!(work.task, Task::Delete { .. });
        if is_deletion && told == Told::Unchanged && !is_kept && self.config.writes_changes() {
            *self.unwritten_deletions.entry(work.stream.clone()).or_default() += 1;
        }
        if !is_kept {
            self.keep_books(&work, told, &was(&work));
        }
        self.wake(&work, told, &was(&work));
        // The rest of a record is counted already, as what was done with the record.
        if !work.is_rest || told == Told::Modified && work.told == Some(Told::Unchanged) {
            let is_less = matches!(told, Told::Modified | Told::Unchanged);
            let told = if work.was_renamed && is_less { Told::Renamed } else { told };
            self.counts.entry(work.stream.clone()).or_default().tell(told, work.told);
            work.told = Some(told);
        }
        if work.by_version {
            self.activations.under_way = self.activations.under_way.saturating_sub(1);
        }
        self.order.ended(work.number);
        if held.is_empty() {
            self.progress += 1;
            self.ack.done(work.number);
        } else {
            if !work.is_rest {
                self.progress += 1;
            }
            self.hold(work, held);
        }
    }

    /// Puts down whose the entry is that a record was about. `was`: where it was.
    fn keep_books(&self, work: &Work, told: Told, was: &DnKey) {
        let books = self.applier.books();
        match (&work.task, told) {
            (Task::Upsert { .. }, Told::Renamed) => {
                books.renamed(was, &work.key);
                books.brought(&work.who(), &work.key);
            }
            // Its record let it go, whatever the rule has in place of a deletion; or a group would be empty.
            (_, Told::Deleted | Told::Moved)
            | (Task::Delete { .. }, Told::Modified)
            | (Task::Delete { filter: None, .. }, Told::Unchanged) => {
                books.gone((!work.by_version).then(|| work.who()).as_ref(), was);
            }
            // Where it may not be renamed it has come all the same.
            (Task::Upsert { .. }, _) => books.brought(&work.who(), was),
            _ => {}
        }
    }

    /// Wakes what waits for what has just been done.
    fn wake(&mut self, work: &Work, told: Told, was: &DnKey) {
        match told {
            Told::Added => {
                // Before what waited for this entry: its children that came too early come first.
                self.order.unpark_below(&work.key);
                self.arrived(&work.key, false);
            }
            Told::Renamed => {
                self.order.unpark_below(&work.key);
                self.order.name_is_free(was);
                self.order.wake_above(was);
                self.follow_rename(was, &work.key, work.task.dn().unwrap_or_default());
                self.arrived(&work.key, true);
            }
            Told::Moved | Told::Deleted => {
                self.order.name_is_free(was);
                self.order.wake_above(was);
            }
            _ => {}
        }
    }

    fn not_done(&mut self, work: &Work, error: LoadError) {
        self.order.ended(work.number);
        self.progress += 1;
        self.refused(work, error);
    }

    /// Keeps the failure of the earliest record. What comes after it is not begun; what came before goes on.
    fn fail(&mut self, number: u64, error: LoadError) {
        if self.failure.as_ref().is_none_or(|(earliest, _)| number < *earliest) {
            self.failure = Some((number, error));
            self.order.drop_unless(|work| work.number < number);
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
