//! Taking the input in: what a line asks for becomes work to be done.

use std::io::Write;
use std::sync::Arc;

use super::planning::{Line, Planned, StreamPlan};
use super::survey::Reading;
use super::{Kept, Load, Work};
use crate::map::Task;
use crate::rejects::Reject;

/// A stream whose SCHEMA has come.
pub(super) struct Stream {
    pub(super) plan: Arc<StreamPlan>,
    pub(super) reading: Reading,
}

impl<W: Write> Load<'_, W> {
    /// Takes one line in. A failure is kept, not returned: what came before it still has to be written.
    pub(super) fn take(&mut self, line: u64, read: Line) {
        match read {
            Line::Schema { stream, warnings } => self.schema(stream, warnings),
            Line::Record(planned) => self.record(*planned),
            Line::State(state) => self.ack.state(state),
            Line::ActivateVersion { stream, version } => self.activate(line, stream, version),
            Line::Nothing => {
                tracing::warn!("line {line}: an entry that was gone, not a record: it is passed over");
            }
            // It comes after every record begun so far.
            Line::Failed(error) => self.fail(u64::MAX - 1, error),
        }
    }

    fn schema(&mut self, plan: Arc<StreamPlan>, warnings: Vec<String>) {
        let name = plan.name.clone();
        for warning in warnings {
            tracing::warn!(stream = &*name, "{warning}");
        }
        self.streams.insert(name.clone(), Stream { plan, reading: Reading::default() });
        self.watch.began(&name);
        self.counts.entry(name).or_default();
    }

    /// Takes a record in: of a RECORD, or of the batch in hand.
    pub(super) fn record(&mut self, planned: Planned) {
        let Planned { stream, line, in_file, version, about, record, outcome, warnings } = planned;
        let name = &stream.name;
        for warning in warnings {
            tracing::warn!(stream = &**name, "{warning}");
        }
        let number = self.ack.begin();
        let (task, key) = match outcome {
            Ok(planned) => planned,
            Err(error) => {
                if self.config.process_activate_version {
                    self.versions.unknown_came(name, version);
                }
                let (reason, in_file) = (error.reason(), in_file.as_ref());
                let record = &record.unwrap_or_default();
                let reject =
                    Reject { stream: name, line, in_file, dn: None, answer: None, reason: &reason, record };
                return self.reject(number, &reject, &stream.origin, error.in_file(in_file));
            }
        };
        self.counts.entry(name.clone()).or_default().records += 1;
        if task == Task::Nothing {
            return self.ack.done(number);
        }
        if let Task::Upsert { wanted, .. } = &task {
            if !self.directory.takes_unknown_attributes() {
                self.unknown_classes.look(name, wanted, self.directory.schema());
            }
            if self.config.process_activate_version {
                self.versions.came(name, version, &key);
            }
            self.think_of_an_inventory(name, &task, &key);
        }
        let origin = &stream.origin;
        let kept = record.filter(|_| self.rejects.is_some());
        let kept = kept.map(|record| Kept { record: Arc::new(record), origin: origin.clone() });
        let work = Work::new(number, line, name.clone(), task, key, about.into());
        let work = Box::new(Work { version, kept, in_file, ..work });
        if self.order.is_empty() && self.running.is_empty() {
            self.start_alone(work);
        } else {
            self.order.submit(number, work.claim(), work.kind(), work);
        }
    }
}
