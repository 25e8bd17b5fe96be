//! Handles the lines of the input: from mapped lines to submitted work.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap_directory::dn::DnKey;
use singer_common::operations::facts::Warning;

use super::Load;
use super::line_mapper::InputLine;
use super::memberships::CollectedRow;
use super::prefetch::Prefetch;
use super::prefetch::PrefetchState;
use super::refusals::Rejected;
use super::stream::{MappedRecord, StreamDefinition};
use super::work::{RejectContext, Work};
use crate::map::Task;
use crate::write::Generating;
use crate::write::claims::Claimant;
use crate::write::counts::RecordOutcome;

/// An open input is quiet after this time without a line: what waits is tried as it is.
const QUIET: Duration = Duration::from_millis(500);

/// A stream whose SCHEMA has arrived.
pub(super) struct Stream {
    pub(super) definition: Arc<StreamDefinition>,
    pub(super) prefetch: PrefetchState,
}

/// The state of the input.
pub(super) struct InputState {
    pub(super) streams: foldhash::HashMap<Arc<str>, Stream>,
    /// Whether a message arrived.
    pub(super) has_messages: bool,
    /// When the last line arrived.
    pub(super) last_line: Instant,
    /// Entries to prefetch, as soon as no task is in progress.
    pub(super) prefetch: Option<Prefetch>,
}

impl Default for InputState {
    fn default() -> Self {
        Self {
            streams: foldhash::HashMap::default(),
            has_messages: false,
            last_line: Instant::now(),
            prefetch: None,
        }
    }
}

impl InputState {
    /// Whether no line arrives at present.
    pub(super) fn is_quiet(&self) -> bool {
        self.last_line.elapsed() > QUIET
    }
}

impl<W: Write> Load<'_, W> {
    /// Handles one line. A failure is kept, not returned: earlier records must still be written.
    pub(super) fn handle_line(&mut self, line: u64, read: InputLine) {
        self.input.has_messages = true;
        match read {
            InputLine::Schema { stream, warnings } => self.schema(stream, warnings),
            InputLine::Record(planned) => {
                let wanted = self.wanted_alone(*planned);
                if let Some(planned) = wanted.and_then(|planned| self.not_overtaken(planned)) {
                    self.record(planned);
                }
            }
            InputLine::State(state) => {
                if state.get() == "null" && !std::mem::replace(&mut self.committer.is_null_state_logged, true)
                {
                    tracing::warn!("line {line}: the value of a STATE is null; it is not printed");
                }
                // It would cover records that were passed over.
                if self.only.is_some() {
                    return;
                }
                self.activations.note_state();
                self.expiry.note_state(state.get());
                self.committer.ack.state(state);
            }
            InputLine::ActivateVersion { .. } if self.only.is_some() => {}
            InputLine::ActivateVersion { stream, version } => self.activate(line, stream, version),
            InputLine::Nothing => {
                tracing::warn!("line {line}: an entry that was gone, not a record: it is passed over");
            }
            // It comes after every record so far.
            InputLine::Failed(error) => self.fail(u64::MAX - 1, error),
        }
    }

    /// Warns at the end of an input without a message: most likely its tap failed.
    pub(super) fn warn_of_an_empty_input(&self) {
        if !self.input.has_messages {
            tracing::warn!(
                messages = 0,
                "the input has no message, so nothing is written or deleted; look at the tap's log and exit code"
            );
        }
    }

    fn schema(&mut self, definition: Arc<StreamDefinition>, warnings: Vec<Warning>) {
        let name = definition.name.clone();
        self.expiry.note_message(&name, &definition.mapping);
        if self.input.streams.get(&name).is_some_and(|stream| Arc::ptr_eq(&stream.definition, &definition)) {
            return;
        }
        for warning in warnings {
            warning.in_stream(&name).log();
        }
        self.input.streams.insert(name.clone(), Stream { definition, prefetch: PrefetchState::default() });
        self.progress.begin_stream(&name);
        self.counters.by_stream.entry(name).or_default();
    }

    /// Handles the record of a RECORD or a batch.
    pub(super) fn record(&mut self, planned: MappedRecord) {
        let MappedRecord { stream, line, in_file, version, about, record, outcome, warnings, .. } = planned;
        let (identity, generated) = (planned.identity, planned.generated);
        let name = &stream.name;
        for warning in warnings {
            warning.in_stream(name).log();
        }
        let number = self.committer.ack.begin();
        self.expiry.note_message(name, &stream.mapping);
        self.counters.by_stream.entry(name.clone()).or_default().records += 1;
        let (task, key) = match outcome {
            Ok(planned) => planned,
            Err(error) => {
                let (record, in_file) = (&record.unwrap_or_default(), in_file.as_ref());
                let (dn, answer, recorded) = (None, None, None);
                let key = &about;
                let rejected =
                    Rejected { number, stream: name, line, in_file, key, dn, answer, record, recorded };
                self.reject(&rejected, &stream.reject_schema, error.in_file(in_file));
                return self.protect_rejected(&stream, line, version, about, identity);
            }
        };
        if matches!(task, Task::Nothing | Task::Membership(_)) {
            self.note_ended(name, &about, number);
        }
        if task == Task::Nothing {
            self.counters.by_stream.entry(name.clone()).or_default().count(RecordOutcome::Ignored, None);
            return self.committer.ack.done(number);
        }
        let reject_schema = stream.reject_schema.clone();
        let keep = |record| RejectContext { record: Arc::new(record), reject_schema };
        if let Task::Membership(row) = task {
            let kept = record.filter(|_| self.rejects.file.is_some()).map(keep);
            let (stream, about, row) = (name.clone(), about.into(), *row);
            let row = CollectedRow {
                number,
                line,
                stream,
                about,
                kept,
                in_file,
                row,
                member_was: None,
                since: Instant::now(),
                period: self.memberships.period(),
            };
            return self.collect_membership(row, version);
        }
        if let Task::Upsert { wanted, .. } = &task {
            if !self.directory.takes_unknown_attributes() {
                self.counters.unknown_classes.check(name, wanted, self.directory.schema());
            }
            if self.config.process_activate_version {
                self.activations.versions.count_record(name, version);
                self.activations.note_record(name, version);
                let base = || stream.mapping.extent().and_then(|extent| self.applier.key(&extent.base).ok());
                self.activations.note_entry(name, &key, base);
            }
            self.consider_prefetch(name, &task, &key);
        }
        let kept = record.filter(|_| self.rejects.file.is_some()).map(keep);
        let work = Work::new(number, line, name.clone(), task, key, about.into());
        let generating = generated.map(|generated| Box::new(Generating::new(generated)));
        let key_kind = stream.key_kind;
        let work = Box::new(Work { version, kept, key_kind, in_file, generating, ..work });
        if let Some(work) = self.defer_deletion(work) {
            self.submit(work);
        }
    }

    fn submit(&mut self, mut work: Box<Work>) {
        let number = work.number;
        let is_alone = self.scheduler.is_empty() && self.executor.running.is_empty();
        if is_alone {
            self.supersede(&work);
        }
        // What that has woken was there before it.
        if is_alone && self.scheduler.is_empty() {
            self.start_alone(work);
        } else {
            self.spill_buffer.is_ready(&mut work);
            self.scheduler.submit(number, work.dn_lock(), work.kind(), work);
            self.spill_if_waiting(number);
        }
    }

    /// Protects the entry of a rejected record from deletion, as far as it is known.
    fn protect_rejected(
        &mut self,
        stream: &StreamDefinition,
        line: u64,
        version: Option<i64>,
        about: String,
        identity: Option<(Task, DnKey)>,
    ) {
        let name = &stream.name;
        if self.config.process_activate_version {
            self.activations.note_record(name, version);
            self.activations.versions.count_record(name, version);
        }
        if stream.mapping.has_memberships() {
            return self.memberships.note_unknown(name);
        }
        let Some((task, key)) = identity.filter(|(task, key)| task.filter().is_some() || !key.is_root())
        else {
            return self.activations.versions.note_unknown_entry(name, version);
        };
        let claimant = Claimant { stream: name, key: &about, kind: stream.key_kind };
        self.applier.claims().protect(&claimant, &key);
        if task.filter().is_some() {
            // STATE after the record waits for the search as well.
            let number = self.committer.ack.begin();
            let work = Work::new(number, line, name.clone(), task, key, about.into());
            let work = Box::new(Work { version, key_kind: stream.key_kind, ..work });
            if let Some(work) = self.defer_deletion(work) {
                self.submit(work);
            }
        }
    }
}
