//! Records that are not taken: each ends the run, or is left out (`on_error`).

use std::io::Write;
use std::sync::Arc;

use super::{Kept, Load, LoadError, Told, Work};
use crate::config::OnError;
use crate::map::Task;
use crate::order::{Kind, Parked};
use crate::rejects::{Answer, Origin, Reject};
use crate::write::Names;

impl<W: Write> Load<'_, W> {
    /// What came too early, and whose time never came: the oldest of it ends the run, or all of it is left out.
    pub(super) fn refuse_parked(&mut self, is_meant: impl Fn(&Self, &Parked<'_, Box<Work>>) -> bool) {
        while let Some((mut work, error)) = self.first_refused(&is_meant) {
            self.order.ended(work.number);
            if self.take_back(&mut work) {
                self.refused(&work, error);
            }
        }
    }

    /// The oldest of what came too early, and what is wrong with it.
    pub(super) fn first_refused(
        &self,
        is_meant: impl Fn(&Self, &Parked<'_, Box<Work>>) -> bool,
    ) -> Option<(Work, LoadError)> {
        let Parked { kind, name, payload: work, .. } =
            self.order.parked_items().find(|parked| is_meant(self, parked))?;
        let count = self.order.parked();
        let dn = work.dn().unwrap_or_default();
        let reason = match kind {
            _ if name.is_some() => {
                let owner = self.applier.books().owner(&work.key);
                let owner = owner.map_or_else(String::new, |owner| format!(", that of {owner}"));
                format!(
                    "`{dn}` is another entry{owner} (match does not fit it), and no record gives that one another name or deletes it"
                )
            }
            Kind::Upsert if work.waits_for_value => {
                let said = work.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default();
                format!(
                    "`{dn}` wants a value that another entry has, and no record gives that one another: {said}"
                )
            }
            Kind::Upsert => format!(
                "`{dn}` cannot be added: an entry above it is not there, no record made it, and it cannot be made from its name alone (create_parents); {count} record(s) wait like this one"
            ),
            Kind::Delete => format!("`{dn}` cannot be deleted: entries that no record deletes lie below it"),
        };
        let error = LoadError::Record { line: work.line, stream: work.stream.to_string(), reason };
        Some((Work::clone(work), error))
    }

    /// A record that the directory did not take.
    pub(super) fn refused(&mut self, work: &Work, error: LoadError) {
        if matches!(work.task, Task::Find { .. }) {
            return self.fail(work.number, error);
        }
        if work.by_version {
            self.activations.under_way = self.activations.under_way.saturating_sub(1);
        } else {
            self.protect(work);
        }
        if work.left.is_some() || work.gave_up.is_some() {
            self.aside.push(work.clone());
        }
        let error = error.in_file(work.in_file.as_ref());
        let Some(Kept { record, origin }) = &work.kept else { return self.fail(work.number, error) };
        let answer = error.of_directory().and_then(Answer::of).or_else(|| work.answer.clone());
        let reason = error.reason();
        let reject = Reject {
            stream: &work.stream,
            line: work.line,
            in_file: work.in_file.as_ref(),
            dn: work.dn(),
            answer: answer.as_ref(),
            reason: &reason,
            record,
            is_unmapped: false,
        };
        self.reject(work.number, &reject, origin, error, work.told);
    }

    /// Leaves a record out, or ends the run when that is not the record's own fault, or one too many.
    pub(super) fn reject(
        &mut self,
        number: u64,
        reject: &Reject<'_>,
        origin: &Arc<Origin>,
        error: LoadError,
        told: Option<Told>,
    ) {
        let OnError::Skip { max, .. } = self.config.on_error else { return self.fail(number, error) };
        let Some(file) = &mut self.rejects else { return self.fail(number, error) };
        if !error.is_records_fault() {
            return self.fail(number, error);
        }
        if let Some(max) = max.filter(|max| self.rejected >= *max) {
            return self.fail(number, LoadError::TooManyRejects { max, error: Box::new(error) });
        }
        let line = reject.to_line(origin, self.directory.schema());
        if let Err(e) = file.write(reject.stream, origin, &line) {
            return self.fail(number, e.into());
        }
        tracing::warn!(
            stream = reject.stream,
            "line {}, stream `{}`: rejected: {}",
            reject.line,
            reject.stream,
            reject.safe_reason(origin)
        );
        self.rejected += 1;
        self.counts.entry(reject.stream.into()).or_default().tell(Told::Rejected, told);
        self.ack.done(number);
    }

    /// What a rejected record is about is not deleted by the run, whoever says so.
    fn protect(&self, work: &Work) {
        let books = self.applier.books();
        books.rejected(&work.who(), &work.key);
        if let Some(key) = work.now.found.as_deref().and_then(|dn| self.applier.key(dn).ok()) {
            books.rejected(&work.who(), &key);
        }
    }

    /// The entries that a rejected record's filter fits are not deleted by the run.
    pub(super) fn protect_found(&mut self, work: &Work, found: &Names) {
        for name in &found.names {
            if let Ok(key) = self.applier.key(name) {
                self.applier.books().rejected(&work.who(), &key);
            }
        }
        if !found.is_whole {
            self.versions.unknown_came(&work.stream, work.version);
        }
    }
}
