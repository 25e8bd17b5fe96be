//! The loop of a run: lines in, tasks out to the directory, STATE back.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use ldap_directory::Directory;
use singer_common::operations::observe;
use singer_common::operations::signals::{Signal, Stop};
use singer_common::singer::metrics::Metrics;
use singer_common::singer::writer::SingerWriter;

use super::LoadError;
use super::activation::Activations;
use super::committer::{Committer, STATE_INTERVAL};
use super::counters::Counters;
use super::executor::Executor;
use super::expiry::Expiry;
use super::input::InputState;
use super::line_mapper::{InputEvent, LineMapper, read_lines};
use super::lookups::LookedUp;
use super::memberships::Memberships;
use super::only::Only;
use super::progress::LoadProgress;
use super::rechecks::Rechecks;
use super::refusals::Rejects;
use super::rejects::RejectFile;
use super::scheduler::Scheduler;
use super::spill::SpillBuffer;
use super::waits::Waiting;
use super::work::Work;
use crate::config::TargetConfig;
use crate::rules::rule::Rule;
use crate::write::Applier;
use crate::write::claims::EntryClaims;
use crate::write::counts::{Counts, LoadSummary};
use crate::write::destination::Destination;
use crate::write::removal::RunLimits;

/// The most records that may wait, for a parent to be added or for children to be deleted. With more the run fails.
pub(super) const MAX_WAITING: usize = 100_000;

/// A run.
pub struct Load<'a, W: Write> {
    pub(super) config: &'a TargetConfig,
    pub(super) directory: Directory,
    pub(super) applier: Applier,
    pub(super) stop: Stop,
    pub(super) input: InputState,
    pub(super) scheduler: Scheduler<Box<Work>>,
    pub(super) executor: Executor,
    pub(super) spill_buffer: SpillBuffer,
    pub(super) waiting: Waiting,
    /// With `process_activate_version`.
    pub(super) activations: Activations,
    /// Rows of streams with `membership`.
    pub(super) memberships: Memberships,
    pub(super) expiry: Expiry,
    /// With `--only`.
    pub(super) only: Option<Only>,
    pub(super) committer: Committer<'a, W>,
    pub(super) counters: Counters,
    pub(super) rejects: Rejects,
    /// The failure of the earliest record that failed, with its number.
    pub(super) failure: Option<(u64, LoadError)>,
    /// Whether the log says what a stop waits for.
    stop_announced: bool,
    pub(super) progress: LoadProgress,
}

impl<'a, W: Write> Load<'a, W> {
    /// Prepares a run into an open directory. `rejects`: the file for rejected records (`on_error: skip`). `retry_rejects`: the input
    /// is such a file.
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
            .watching_locks()
            .watching_shown()
            .awaiting_parents(config.rules.values().any(Rule::renames_parents))
            .checking_rights();
        Self {
            config,
            directory: Directory::clone(destination),
            applier,
            stop,
            input: InputState::default(),
            scheduler: Scheduler::default(),
            executor: Executor::default(),
            spill_buffer: SpillBuffer::default(),
            waiting: Waiting::new(
                Rechecks::new(config, destination.ldif_rules().is_none()),
                LookedUp::new(config, destination.schema()),
            ),
            activations: Activations::default(),
            memberships: Memberships::default(),
            expiry: Expiry::default(),
            only: None,
            committer: Committer::new(writer),
            counters: Counters::default(),
            rejects: Rejects::new(rejects, retry_rejects),
            failure: None,
            stop_announced: false,
            progress: LoadProgress::disabled(),
        }
    }

    /// The same, with progress shown.
    #[must_use]
    pub fn with_progress(self, progress: LoadProgress) -> Self {
        Self { progress, ..self }
    }

    /// The same, for the record with this key alone.
    #[must_use]
    pub fn for_only(self, key: Option<&str>) -> Self {
        Self { only: key.map(Only::new), ..self }
    }

    /// The same, with the removals held to limits.
    #[must_use]
    pub fn held_to(mut self, limits: Option<Arc<RunLimits>>) -> Self {
        self.applier = self.applier.held_to(limits);
        self
    }

    /// Reads the input to its end (or to a failure, or a signal), and leaves every record that was accepted written or refused.
    ///
    /// # Errors
    /// The first failure, in the order of the input, that ends the run.
    pub async fn run(mut self, input: Box<dyn BufRead + Send>) -> Result<LoadSummary, LoadError> {
        let started = Instant::now();
        let metrics = Metrics::new(self.config.metrics);
        if !self.config.dry_run {
            let base = self.config.default_base_dn.as_deref().or(self.directory.root_dse().default_base());
            self.counters.spans =
                observe::Batches::begin(self.directory.location(), base.unwrap_or_default());
        }
        let result = self.consume(input).await;
        let took = self.progress.finish(&self.counters.by_stream, self.rejects.count);
        self.show_counts();
        if let Some(spans) = self.counters.spans.take() {
            spans.end();
        }
        self.report_totals(metrics, started, took, result.is_ok(), matches!(result, Ok(None)));
        let total = self.counters.total();
        let (rejected, overtaken) = (self.rejects.count, self.rejects.overtaken);
        result.map(|stopped| LoadSummary { stopped, rejected, overtaken, total })
    }

    async fn consume(&mut self, input: Box<dyn BufRead + Send>) -> Result<Option<Signal>, LoadError> {
        let mut lines =
            read_lines(input, LineMapper::new(self.config, &self.directory, self.rejects.is_retry));
        let mut ahead = VecDeque::new();
        let mut stopped = None;
        let mut open = true;
        let mut tick = tokio::time::interval(STATE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            stopped = stopped.or(self.memberships.stopped.take());
            let given_up = self.has_given_up(stopped.is_some());
            self.submit_absent(given_up);
            self.start_ready();
            let idle = self.executor.running.is_empty() && !self.scheduler.has_ready();
            let nothing_left = self.scheduler.is_empty() && self.waiting.references.is_empty();
            self.decide_when_quiet();
            self.release_state();
            // A task in progress may write an entry that the version has.
            if idle
                && !given_up
                && self.activations.absent.is_empty()
                && let Some(activation) = self.activations.next_due(nothing_left)
            {
                stopped = self.find_absent(activation).await;
                continue;
            }
            if idle
                && !given_up
                && ahead.is_empty()
                && (self.scheduler.unpark_woken() || self.yield_deletions(open))
            {
                continue;
            }
            if idle && !given_up && self.memberships.is_due() {
                Box::pin(self.write_memberships(false)).await;
                continue;
            }
            // A task in progress may change what is read.
            if let Some(prefetch) = self.input.prefetch.take_if(|_| idle && !given_up) {
                stopped = self.prefetch(prefetch).await;
                continue;
            }
            open &= !given_up;
            if !open && idle && self.activations.absent.is_empty() {
                if given_up || !self.conclude(nothing_left).await {
                    break;
                }
                continue;
            }
            let holds_back = !self.activations.absent.is_empty()
                || !self.activations.due.is_empty()
                || self.memberships.is_due()
                || self.input.prefetch.is_some();
            let more = open && !holds_back && self.wants_more(idle);
            if more && let Some((number, line)) = ahead.pop_front() {
                self.input.last_line = Instant::now();
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
                Some(finished) = self.executor.running.join_next_with_id(), if !self.executor.running.is_empty() => {
                    self.handle_joined(finished);
                }
                signal = self.stop.wait(), if stopped.is_none() => stopped = Some(signal),
                _ = tick.tick() => self.tick(),
                () = std::future::ready(()), if self.can_start() => {}
            }
            self.print_state(false)?;
        }
        Box::pin(self.restore_names()).await;
        if stopped.is_none() && self.failure.is_none() {
            Box::pin(self.look_back()).await;
        }
        self.release_state();
        self.check_totals(stopped.is_some());
        // Written changes are kept even if something else failed.
        self.applier.directory().commit()?;
        self.print_state(true)?;
        // What was written is covered by STATE, however long this takes.
        if stopped.is_none() {
            Box::pin(self.applier.directory().warn_of_left_names()).await;
        }
        match self.failure.take() {
            Some((_, failure)) => Err(failure),
            None => Ok(stopped),
        }
    }

    /// What is done again and again while the run waits.
    fn tick(&mut self) {
        self.progress.poll(&self.counters.by_stream);
        self.memberships.poll(self.input.last_line.elapsed(), self.config.activate_when_quiet);
        // A row may name who is deleted.
        if !self.memberships.is_due() {
            self.release_deletions_when_quiet();
        }
        self.give_up_waiting_for_long();
        self.warn_of_held_state();
        self.poll_waits();
        self.scheduler.unpark_woken();
        self.show_counts();
    }

    /// Looks at what the whole input has done, and warns of what is missing or left.
    async fn look_back(&mut self) {
        self.place_displaced().await;
        if let Some(Err(error)) = self.only.as_ref().map(Only::conclude) {
            self.fail(0, error);
        }
        if self.failure.is_none() {
            self.check_scopes().await;
            if self.only.is_none() {
                self.warn_of_missing_versions();
            }
            self.warn_of_an_empty_input();
            self.warn_of_unchecked();
            self.warn_of_uncorrected();
            self.report_unfound();
        }
    }

    /// Takes the next step at the end of the input, while no task runs. `nothing_left`: no record waits. Returns `false` if nothing is
    /// left to do.
    async fn conclude(&mut self, nothing_left: bool) -> bool {
        if let Err(error) = self.check_progress() {
            self.fail(0, error);
            return true;
        }
        if !self.waiting.deletions.is_empty() {
            Box::pin(self.find_leaving_members()).await;
            self.release_deletions();
            return true;
        }
        if nothing_left {
            self.place_displaced().await;
            // Records compared again may wait for entries that they name.
            let is_final = !self.activations.has_announced();
            if self.submit_rechecks(is_final, is_final) {
                return true;
            }
            // Their groups and members are there by now.
            if !self.memberships.is_empty() {
                Box::pin(self.write_memberships(true)).await;
                return true;
            }
            let is_open = self.activations.has_announced();
            if is_open {
                self.decide(true);
                return true;
            }
            return Box::pin(self.expire()).await;
        }
        self.try_again()
    }

    /// Whether no more input is read. Logs once what a stop waits for.
    fn has_given_up(&mut self, stopped: bool) -> bool {
        if stopped && !std::mem::replace(&mut self.stop_announced, true) {
            let unfinished = self.scheduler.len() - self.scheduler.parked();
            tracing::info!(
                unfinished,
                "stopping: {unfinished} record(s) in progress are being finished, and no more input is read; a second signal ends the run at once"
            );
        }
        stopped || self.failure.is_some()
    }

    /// Checks that each record of the input has exactly one outcome.
    fn check_totals(&mut self, stopped: bool) {
        if stopped || self.failure.is_some() {
            return;
        }
        let is_all_done = self.committer.ack.is_done()
            && self.scheduler.is_empty()
            && self.waiting.references.is_empty()
            && self.executor.labels.is_empty()
            && self.memberships.is_empty()
            && self.activations.is_empty();
        if singer_common::operations::panics::happened() {
            self.fail(0, LoadError::Internal("a part of this program has panicked"));
        } else if !is_all_done || !self.counters.by_stream.values().all(Counts::is_balanced) {
            let total = self.counters.total();
            tracing::error!(
                "the books do not balance: {} record(s) taken in, {} outcome(s)",
                total.records,
                total.done()
            );
            self.fail(0, LoadError::Internal("the numbers of the run do not add up"));
        }
    }

    /// Whether another line is accepted: memory is bounded, and waiting records may need the next line.
    fn wants_more(&mut self, idle: bool) -> bool {
        if self.scheduler.len() >= MAX_WAITING {
            // A file need not contain the parents.
            let waits_for_parents = self.directory.ldif_rules().is_some_and(|rules| !rules.takes_orphans);
            if waits_for_parents && self.applier.takes_orphans() {
                self.scheduler.unpark_topmost();
                return false;
            }
            // With `on_error: skip` as well: parents may still arrive, and only the memory for waiting records is used up.
            if let Some((work, error)) = self.first_refused(|_, _| true) {
                self.fail(work.number, error.in_file(work.in_file.as_ref()));
            }
            return false;
        }
        idle || !self.has_enough()
    }

    /// At the end of the input: tries early records again as long as that makes progress, then without waiting for references.
    /// `false`: nothing is left to try.
    fn try_again(&mut self) -> bool {
        let leads_anywhere = self.executor.ended_at_last_try != Some(self.executor.ended);
        let is_exchanging = self.continue_exchange(leads_anywhere)
            || !leads_anywhere && (self.ask_to_give_up() || self.end_exchange());
        if is_exchanging {
            return true;
        }
        if !leads_anywhere && self.executor.is_last_try && self.activations.has_announced() {
            // A record that no deletion can help is refused before anything is deleted.
            self.refuse_parked(Self::is_hopeless);
            // Records may wait for the deletions of a version.
            if self.failure.is_none() && !self.scheduler.has_ready() {
                self.decide(true);
                self.may_ask_again();
                self.executor.ended_at_last_try = None;
            }
            return true;
        }
        if !leads_anywhere && self.executor.is_final_try {
            self.refuse_parked(|_, _| true);
            // Records behind a refused one can start.
            return self.scheduler.has_ready();
        }
        if !leads_anywhere {
            self.executor.turns.advance();
            self.executor.is_final_try = self.executor.is_last_try;
            // What the whole run has written decides which references are missing.
            self.applier.refresh_references();
            if !std::mem::replace(&mut self.executor.is_last_try, true) {
                self.report_missing();
            }
        }
        self.executor.ended_at_last_try = Some(self.executor.ended);
        // Even if entries without parents are accepted, parents come first. A record may rename an entry to the DN of a parent that
        // would be created for others.
        let parents_first = self.directory.ldif_rules().is_some()
            || self.applier.awaits_parents() && !self.executor.is_final_try;
        if self.executor.is_last_try && parents_first {
            self.scheduler.unpark_topmost();
        } else {
            self.scheduler.unpark_all();
        }
        self.submit_all_deferred();
        true
    }

    /// Keeps the failure of the earliest record. Later tasks are dropped, earlier ones continue.
    pub(super) fn fail(&mut self, number: u64, error: LoadError) {
        if self.failure.as_ref().is_none_or(|(earliest, _)| number < *earliest) {
            self.failure = Some((number, error));
            self.scheduler.drop_unless(|work| work.number < number);
        }
    }
}
