//! Carries out an import, or plans it.
//!
//! Records are started in the order of the file. One waits for those before it that are about the same entry, or one above or below
//! it; all others run at once, at most [`IN_FLIGHT`]. So parents are added before their children.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::ldif::reader::Record;
use target_ldap::write::change_label::{CHANGE_LABEL, ChangeLabel};
use target_ldap::write::counts::RecordOutcome;
use target_ldap::write::destination::Destination;
use target_ldap::write::plan_output::{PlanOutput, RefusedRecord};
use target_ldap::write::{Applier, claims::EntryClaims};
use tokio::task::JoinSet;

use super::attempt::{Attempt, Outcome, internal};
use super::records::{self, Action, Numbered, ReadEvent};
use super::report::{LeftOut, Reject, Report};
use crate::write::{
    Gift, GivenNames, IN_FLIGHT, ImportRules, LoginNames, Memberships, Territory, WriteError, WriteErrorKind,
    Writer, of_directory,
};

/// The name of an import in plans and undo files.
const LABEL: &str = "import";

/// Why an import ended early.
#[derive(Debug)]
pub struct ImportError {
    /// Why.
    pub error: WriteError,
    /// What was done until then; `None`: nothing.
    pub report: Option<Box<Report>>,
}

impl From<WriteError> for ImportError {
    fn from(error: WriteError) -> Self {
        ImportError { error, report: None }
    }
}

fn unreadable(error: &std::io::Error) -> WriteError {
    tracing::error!("import: the temporary file: {error}");
    WriteError::new(WriteErrorKind::Internal, "the uploaded file cannot be read again")
}

/// An import.
pub struct Import {
    /// The writer.
    pub writer: Writer,
    /// The directory.
    pub directory: Directory,
    /// The uploaded file.
    pub file: File,
    /// Whether the service is stopping: no further record is begun.
    pub is_stopping: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Import {
    /// Checks the whole file without the directory. Returns the number of deletions, and notes the groups whose members it names.
    async fn check(&self, territory: &Territory, memberships: &Memberships) -> Result<u64, WriteError> {
        let mut events = records::read(&self.file, None).map_err(|e| unreadable(&e))?;
        let (mut deletes, mut any) = (0, false);
        while let Some(event) = events.recv().await {
            match event {
                ReadEvent::Record(read) => {
                    any = true;
                    match read.record {
                        Err(error) if error.is_fatal() => {
                            return Err(WriteError::new(WriteErrorKind::Invalid, error.to_string()));
                        }
                        Err(_) => {}
                        Ok(record) => {
                            let is_delete = matches!(record, Record::Change(Change::Delete { .. }));
                            let gift = gift(&record, &self.directory);
                            let is_asked = is_delete || gift.is_some();
                            if is_asked && records::prepare(record, &self.directory, territory).is_ok() {
                                deletes += u64::from(is_delete);
                                // What is refused here already promises nothing.
                                if let (Some(gift), Some(mut given)) = (gift, memberships.given()) {
                                    given.promise(&gift);
                                }
                            }
                        }
                    }
                }
                ReadEvent::End(shortfalls, state) => {
                    any |= state.deleted_entries > 0;
                    if let Some(first) = shortfalls.first() {
                        let detail = format!("the file is not whole: {first}");
                        return Err(WriteError::new(WriteErrorKind::Invalid, detail));
                    }
                    if !any {
                        return Err(WriteError::new(WriteErrorKind::Invalid, "the file has no record"));
                    }
                    return Ok(deletes);
                }
            }
        }
        Err(internal("the reader ended before the file did"))
    }

    /// Plans the import on a preview of the directory.
    ///
    /// # Errors
    /// The file is not LDIF or not whole, or the directory fails.
    pub async fn plan(mut self, output: Option<Arc<PlanOutput>>) -> Result<Report, ImportError> {
        self.directory = self.directory.own_values();
        self.writer.undo_dir()?;
        let territory = self.writer.territory(&self.directory).await?;
        let memberships = Memberships::new(&self.writer, &self.directory, GivenNames::default())?;
        let kept = Memberships::of_kept(&self.writer, &self.directory)?;
        let deletes = self.check(&territory, &memberships).await?;
        let preview = self.directory.clone().checked_preview();
        let destination = Destination::new(preview, territory.protection.clone()).with_plan(output.clone());
        let rules = ImportRules::of(&self.writer, &self.directory)?;
        let mut runner = Runner::new(&self, territory, destination, 1, (memberships, kept), rules);
        runner.is_plan = true;
        runner.report.dry_run = true;
        let result = runner.run(&self.file).await;
        let mut report = runner.report;
        runner.destination.show_counts(LABEL, &report.counts());
        result?;
        report.complete = true;
        if let Some(held) = self.writer.guard().objection(deletes).await {
            tracing::info!("import: a run would be held back: {}", held.detail);
        }
        Ok(report)
    }

    /// Carries out the import.
    ///
    /// # Errors
    /// The file is not LDIF or not whole; a guard refuses; the undo file cannot be written; or the directory fails: then
    /// [`ImportError::report`] says what was done.
    pub async fn carry_out(mut self) -> Result<Report, ImportError> {
        self.directory = self.directory.own_values();
        let territory = self.writer.territory(&self.directory).await?;
        self.writer.undo_dir()?;
        let memberships = Memberships::new(&self.writer, &self.directory, GivenNames::default())?;
        let kept = Memberships::of_kept(&self.writer, &self.directory)?;
        let deletes = self.check(&territory, &memberships).await?;
        let rules = ImportRules::of(&self.writer, &self.directory)?;
        let reservation = self.writer.guard().reserve(deletes).await?;
        let change_set = match self.writer.begin(LABEL, &self.directory).await {
            Ok(change_set) => change_set,
            Err(error) => {
                self.writer.guard().release(reservation, deletes).await;
                return Err(error.into());
            }
        };
        let destination = Destination::new(self.directory.clone(), territory.protection.clone())
            .with_undo(Some(change_set.undo()))
            .with_max_in_flight(IN_FLIGHT);
        let mut runner = Runner::new(&self, territory, destination, IN_FLIGHT, (memberships, kept), rules);
        let mut result = runner.run(&self.file).await;
        if !self.directory.applies_at_once()
            && let Err(error) = runner.destination.commit()
        {
            result = result.and(Err(of_directory(&error, self.directory.schema())));
        }
        let (mut report, left) = (runner.report, runner.left);
        // A deletion whose outcome is not known counts.
        let unused = deletes.saturating_sub(report.deleted + left + report.unknown);
        self.writer.guard().release(reservation, unused).await;
        report.undo_file = change_set.finish(&self.directory).await;
        report.complete = result.is_ok();
        report.log();
        match result {
            Ok(()) => Ok(report),
            Err(error) => {
                let undo_file = report.undo_file.clone();
                Err(ImportError { error: WriteError { undo_file, ..error }, report: Some(Box::new(report)) })
            }
        }
    }
}

/// Returns the members that a record names.
fn gift(record: &Record, directory: &Directory) -> Option<Gift> {
    match record {
        Record::Entry(entry) | Record::Change(Change::Add(entry)) => {
            let values = entry.attributes.iter().map(|a| (a.description.as_str(), a.values.as_slice()));
            Gift::of(&entry.dn, values, directory)
        }
        Record::Change(change) => gift_of_change(change, directory),
    }
}

/// Returns the members that a modification names.
pub(super) fn gift_of_change(change: &Change, directory: &Directory) -> Option<Gift> {
    let Change::Modify { dn, changes } = change else { return None };
    let steps = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
    let values = steps.map(|step| (step.description.as_str(), step.values.as_slice()));
    Gift::of(dn, values, directory)
}

/// A try of a record that has ended.
struct Finished {
    number: u64,
    line: u64,
    dn: String,
    outcome: Outcome,
}

/// All passes of an import.
struct Runner {
    writer: Writer,
    directory: Directory,
    territory: Arc<Territory>,
    destination: Destination,
    applier: Applier,
    most: usize,
    is_plan: bool,
    memberships: Arc<Memberships>,
    kept_memberships: Arc<Memberships>,
    logins: Option<LoginNames>,
    rules: ImportRules,
    /// Entries that were moved or changed in place of a deletion.
    left: u64,
    is_stopping: Arc<dyn Fn() -> bool + Send + Sync>,
    report: Report,
    running: JoinSet<Finished>,
    /// The DNs of records in progress.
    busy: BTreeMap<u64, Vec<DnKey>>,
    /// Records to be tried again.
    again: BTreeSet<u64>,
    /// What was done of a record in an earlier pass.
    partly: BTreeMap<u64, RecordOutcome>,
    failure: Option<WriteError>,
}

impl Runner {
    fn new(
        import: &Import,
        territory: Arc<Territory>,
        destination: Destination,
        most: usize,
        (memberships, kept_memberships): (Memberships, Memberships),
        rules: ImportRules,
    ) -> Runner {
        Runner {
            writer: import.writer.clone(),
            directory: import.directory.clone(),
            territory,
            applier: Applier::new(destination.clone(), false, EntryClaims::default())
                .checking_rights()
                .watching_shown(),
            destination,
            most,
            is_plan: false,
            memberships: Arc::new(memberships),
            kept_memberships: Arc::new(kept_memberships),
            logins: LoginNames::of(&import.writer, &import.directory),
            rules,
            left: 0,
            is_stopping: import.is_stopping.clone(),
            report: Report::default(),
            running: JoinSet::new(),
            busy: BTreeMap::new(),
            again: BTreeSet::new(),
            partly: BTreeMap::new(),
            failure: None,
        }
    }

    async fn run(&mut self, file: &File) -> Result<(), WriteError> {
        let mut wanted: Option<Arc<BTreeSet<u64>>> = None;
        let mut is_last = false;
        loop {
            self.pass(file, wanted.clone(), is_last).await?;
            let before = wanted.as_ref().map_or(usize::MAX, |wanted| wanted.len());
            let again = std::mem::take(&mut self.again);
            if again.is_empty() {
                self.report.shown_otherwise = self.applier.shown_otherwise();
                return Ok(());
            }
            // Nothing more comes: what is missing stays missing.
            is_last = again.len() >= before;
            wanted = Some(Arc::new(again));
        }
    }

    async fn pass(
        &mut self,
        file: &File,
        wanted: Option<Arc<BTreeSet<u64>>>,
        is_last: bool,
    ) -> Result<(), WriteError> {
        let is_first = wanted.is_none();
        let mut events = records::read(file, wanted).map_err(|e| unreadable(&e))?;
        let mut ended = false;
        while let Some(event) = events.recv().await {
            if (self.is_stopping)() {
                let detail = "the service is stopping; send the file again to continue";
                self.fail(WriteError::new(WriteErrorKind::Unavailable, detail));
            }
            if self.failure.is_some() {
                break;
            }
            match event {
                ReadEvent::End(_, state) => {
                    ended = true;
                    if is_first {
                        state.log();
                        self.report.replication_state = LeftOut::of(state);
                    }
                }
                ReadEvent::Record(read) => self.begin(*read, is_first, is_last).await,
            }
        }
        drop(events);
        while !self.running.is_empty() {
            self.wait().await;
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if !ended => Err(internal("the reader ended before the file did")),
            None => Ok(()),
        }
    }

    async fn begin(&mut self, read: Numbered, is_first: bool, is_last: bool) {
        let Numbered { number, line, record } = read;
        if is_first {
            self.report.records += 1;
        }
        let dn = match &record {
            Ok(record) => record.dn().to_owned(),
            Err(error) => error.dn.clone().unwrap_or_default(),
        };
        let prepared = record
            .map_err(|error| WriteError::new(WriteErrorKind::Invalid, error.kind.to_string()))
            .and_then(|record| records::prepare(record, &self.directory, &self.territory));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                return self.finished(Finished { number, line, dn, outcome: Outcome::Rejected(error) });
            }
        };
        if is_first {
            for name in &prepared.ignored {
                *self.report.ignored_attributes.entry(name.clone()).or_default() += 1;
            }
        }
        while self.running.len() >= self.most || self.has_conflict(&prepared.keys) {
            self.wait().await;
        }
        self.busy.insert(number, prepared.keys.clone());
        let attempt = Attempt {
            writer: self.writer.clone(),
            directory: self.directory.clone(),
            destination: self.destination.clone(),
            territory: self.territory.clone(),
            memberships: self.memberships.clone(),
            kept_memberships: self.kept_memberships.clone(),
            applier: self.applier.clone(),
            logins: self.logins.clone(),
            rules: self.rules.clone(),
            is_last,
            is_plan: self.is_plan,
            part: self.partly.get(&number).copied(),
        };
        let label = ChangeLabel {
            number,
            stream: LABEL.into(),
            line,
            record: dn.as_str().into(),
            is_leaving: matches!(prepared.action, Action::Delete(_)),
        };
        self.running.spawn(CHANGE_LABEL.scope(label, async move {
            let outcome = attempt.run(prepared).await;
            Finished { number, line, dn, outcome }
        }));
    }

    /// Whether a record in progress is about one of these entries, or one above or below it.
    fn has_conflict(&self, keys: &[DnKey]) -> bool {
        let related = |a: &DnKey, b: &DnKey| a.is_within(b) || b.is_within(a);
        self.busy.values().flatten().any(|busy| keys.iter().any(|key| related(busy, key)))
    }

    async fn wait(&mut self) {
        match self.running.join_next().await {
            Some(Ok(finished)) => self.finished(finished),
            // A panic: the record is lost.
            Some(Err(_)) => {
                self.busy.clear();
                let detail = "internal error; whether the last change was made is not known";
                self.fail(WriteError::new(WriteErrorKind::OutcomeUnknown, detail));
            }
            None => {}
        }
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { number, line, dn, outcome } = finished;
        self.busy.remove(&number);
        let is_left = matches!(outcome, Outcome::Left(_));
        match outcome {
            Outcome::Done(outcome) | Outcome::Left(outcome) => {
                self.left += u64::from(is_left);
                let outcome = self.partly.remove(&number).unwrap_or(outcome);
                let count = match outcome {
                    RecordOutcome::Added => &mut self.report.added,
                    RecordOutcome::Modified => &mut self.report.modified,
                    RecordOutcome::Renamed | RecordOutcome::Moved => &mut self.report.renamed,
                    RecordOutcome::Deleted => &mut self.report.deleted,
                    _ => &mut self.report.unchanged,
                };
                *count += 1;
                self.destination.show_outcome(number, outcome);
            }
            Outcome::Again(part) => {
                self.again.insert(number);
                if let Some(part) = part.filter(|part| *part != RecordOutcome::Unchanged) {
                    self.partly.entry(number).or_insert(part);
                }
            }
            Outcome::Rejected(error) => self.reject(number, line, dn, error),
            Outcome::Failed(error) => self.fail(error),
        }
    }

    /// Ends the import. The first error is answered, but that a change may have been made outweighs all others.
    fn fail(&mut self, error: WriteError) {
        let is_unknown = |error: &WriteError| error.kind == WriteErrorKind::OutcomeUnknown;
        self.report.unknown += u64::from(is_unknown(&error));
        if !self.failure.as_ref().is_some_and(|first| is_unknown(first) || !is_unknown(&error)) {
            self.failure = Some(error);
        }
    }

    fn reject(&mut self, number: u64, line: u64, dn: String, error: WriteError) {
        let refused = RefusedRecord {
            number,
            stream: LABEL,
            line,
            record: &dn,
            dn: Some(dn.as_str()).filter(|dn| !dn.is_empty()),
            code: error.result_code,
            reason: &error.detail,
        };
        if let Err(e) = self.destination.show_refused(&refused) {
            self.fail(of_directory(&e, self.directory.schema()));
        }
        self.destination.show_outcome(number, RecordOutcome::Rejected);
        let dn = Some(dn).filter(|dn| !dn.is_empty());
        self.report.reject(Reject::of(line, dn, error));
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::Access;
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_change_that_may_have_been_made_outweighs_all_other_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.ldif");
        std::fs::write(&path, "dn: dc=x\nobjectClass: domain\ndc: x\n").unwrap();
        let mut values = crate::settings::TABLE.resolve(&[], &BTreeMap::new()).unwrap().values;
        values.insert("server_url".into(), format!("ldif:{}", path.display()).into());
        values.insert("users".into(), json!({"base_dn": "dc=x"}));
        let config = Config::from_settings(&values, &mut Vec::new()).unwrap();
        let directory = Directory::open(&config.directory, Access::WRITE).await.unwrap();
        let writer = Writer::new(&config, Arc::default()).unwrap();
        let file = tempfile::tempfile().unwrap();
        let import = Import { writer, directory, file, is_stopping: Arc::new(|| false) };
        let territory = import.writer.territory(&import.directory).await.unwrap();
        let memberships = Memberships::new(&import.writer, &import.directory, GivenNames::default()).unwrap();
        let destination = Destination::new(import.directory.clone(), territory.protection.clone());
        let kept = Memberships::of_kept(&import.writer, &import.directory).unwrap();
        let both = (memberships, kept);
        let mut runner = Runner::new(&import, territory, destination, 1, both, ImportRules::default());
        let (unavailable, unknown) = (WriteErrorKind::Unavailable, WriteErrorKind::OutcomeUnknown);
        for (number, kind, ends_with, count) in [
            (0, unavailable, unavailable, 0),
            (1, unknown, unknown, 1),
            (2, unavailable, unknown, 1),
            (3, unknown, unknown, 2),
        ] {
            let outcome = Outcome::Failed(WriteError::new(kind, number.to_string()));
            runner.finished(Finished { number, line: number, dn: String::new(), outcome });
            assert_eq!(runner.failure.as_ref().map(|e| e.kind), Some(ends_with), "{number}");
            assert_eq!(runner.report.unknown, count, "{number}");
        }
        assert_eq!(runner.failure.map(|e| e.detail).as_deref(), Some("1"), "the first of its kind");
    }
}
