//! Refused records: each ends the run, or is rejected (`on_error`).

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use ldap_directory::DirectoryError;
use ldap_directory::schema::Coverage;
use ldap_directory::schema::conformance::{Violation, violations};
use serde_json::Value;
use singer_common::operations::facts::Facts;

use super::in_file::InFile;
use super::reject_history::{Place, Retry};
use super::reject_log::RejectLog;
use super::rejects::RejectFile;
use super::work::{RejectContext, Work};
use super::{Load, LoadError};
use crate::config::OnError;
use crate::load::rejects::{Reject, RejectSchema};
use crate::load::scheduler::{Parked, TaskKind};
use crate::map::Task;
use crate::rules::names::hash;
use crate::write::MatchedNames;
use crate::write::counts::RecordOutcome;
use crate::write::ldap_result::LdapResult;
use crate::write::plan_output::RefusedRecord;

/// The rejected records of a run.
pub(super) struct Rejects {
    /// With `on_error: skip`.
    pub(super) file: Option<RejectFile>,
    pub(super) count: u64,
    pub(super) log: RejectLog,
    /// The nearest known name, by a name that the schema does not have: thousands of records may have the same.
    nearest_names: HashMap<String, Option<String>>,
    /// Whether the input is a reject file.
    pub(super) is_retry: bool,
    /// What is known of its records.
    pub(super) retry: Option<Arc<Retry>>,
    /// The records that are written though later runs have overtaken them, as hashes.
    pub(super) outdated: HashSet<u64>,
    /// The records that are not, because later runs have.
    pub(super) overtaken: u64,
}

/// A record that is rejected. What its error says of it, it says in every reject: the reason, the setting that forbids it, and the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rejected<'a> {
    pub(super) number: u64,
    pub(super) stream: &'a str,
    pub(super) line: u64,
    pub(super) in_file: Option<&'a InFile>,
    /// The record's key: `id=7`.
    pub(super) key: &'a str,
    /// The DN of its entry, if known.
    pub(super) dn: Option<&'a str>,
    /// The directory's result, if its error has none.
    pub(super) answer: Option<&'a LdapResult>,
    pub(super) record: &'a Value,
    /// As what it was counted before.
    pub(super) recorded: Option<RecordOutcome>,
}

impl Rejects {
    pub(super) fn new(file: Option<RejectFile>, is_retry: bool) -> Self {
        Self {
            file,
            count: 0,
            log: RejectLog::default(),
            nearest_names: HashMap::new(),
            is_retry,
            retry: None,
            outdated: HashSet::new(),
            overtaken: 0,
        }
    }
}

impl<W: Write> Load<'_, W> {
    /// Refuses parked records that can no longer succeed: the oldest ends the run, or all are rejected.
    pub(super) fn refuse_parked(&mut self, is_meant: impl Fn(&Self, &Parked<'_, Box<Work>>) -> bool) {
        while let Some((mut work, error)) = self.first_refused(&is_meant) {
            self.scheduler.ended(work.number);
            self.executor.turns.advance();
            if self.restore(&mut work) {
                self.refused(&work, error);
            }
        }
    }

    /// Returns the oldest parked record, with its problem.
    pub(super) fn first_refused(
        &self,
        is_meant: impl Fn(&Self, &Parked<'_, Box<Work>>) -> bool,
    ) -> Option<(Work, LoadError)> {
        let Parked { kind, name, payload: work, .. } =
            self.scheduler.parked_items().find(|parked| is_meant(self, parked))?;
        let count = self.scheduler.parked();
        let dn = work.dn().unwrap_or_default();
        let reason = match kind {
            _ if name.is_some() => {
                let owner = self.applier.claims().owner(&work.key);
                let owner = owner.map_or_else(String::new, |owner| format!(", that of {owner}"));
                let by = if work.taken_by.is_empty() { "another entry" } else { &work.taken_by };
                let property = work.about.split('=').next().filter(|name| !name.is_empty()).unwrap_or("id");
                format!(
                    "the name `{dn}` is taken by {by}{owner} (match does not fit that entry), and no record gives it another name or deletes it. Two of one name? Let dn_template make names that differ, with {{{property}}} in it"
                )
            }
            TaskKind::Upsert if work.waits_for_value => {
                let said = work.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default();
                format!(
                    "`{dn}` wants a value that another entry has, and no record gives that one another: {said}"
                )
            }
            TaskKind::Upsert => {
                let why = if self.config.create_parents {
                    "it cannot be made from its name alone (create_parents)"
                } else {
                    "create_parents is off"
                };
                format!(
                    "`{dn}` cannot be added: an entry above it is not there, no record made it, and {why}; {count} record(s) wait like this one"
                )
            }
            TaskKind::Delete => {
                format!("`{dn}` cannot be deleted: entries that no record deletes lie below it")
            }
        };
        let near = work.answer.as_ref().and_then(|answer| answer.nearest.clone());
        let error = work.bad(reason).near(near);
        Some((Work::clone(work), error))
    }

    /// Adds what the schema says about the reason, and the nearest known name, to a directory's error. The server's own message
    /// is kept for the reject file.
    pub(super) fn explained(&mut self, work: &Work, error: DirectoryError) -> LoadError {
        // Servers return several codes for a DN that is not theirs (10, 32, 53).
        let mut near = self.directory.nearest_context(work.dn().unwrap_or_default()).map(str::to_owned);
        let mut hint = String::new();
        if near.is_some() {
            let contexts = self.directory.root_dse().naming_contexts.join("`, `");
            let _ = write!(
                hint,
                "; it lies in no naming context of this server (`{contexts}`): check dn_template"
            );
        }
        let schema = self.directory.schema().clone();
        if let DirectoryError::Operation { operation, code, text, .. } = &error
            && let Task::Upsert { wanted, .. } = &work.task
            && schema.coverage() == Coverage::Whole
        {
            let found = violations(&schema, self.directory.root_dse().vendor, &wanted.to_entry());
            // An existing entry may have what the record lacks.
            let is_meant =
                |one: &Violation| one.code() == *code && (*operation == "add" || !one.is_of_whole());
            for one in found.into_iter().filter(is_meant) {
                let said = one.to_string();
                // The refusal of a plan consists of it.
                if !text.contains(&said) {
                    let _ = write!(hint, "; {said}");
                }
                if let Some(attribute) = one.attribute()
                    && let Some(property) = self.property_of(&work.stream, attribute)
                {
                    let _ = write!(hint, "; `{attribute}` is from the property `{property}`");
                }
                near = near.or_else(|| {
                    // Thousands of records may have the same.
                    let known = self.rejects.nearest_names.entry(one.unknown()?.to_owned());
                    known.or_insert_with(|| one.nearest(&schema).map(str::to_owned)).clone()
                });
            }
        }
        work.refused_by(error, &hint).near(near)
    }

    /// Returns the property that is written to an attribute.
    fn property_of(&self, stream: &str, attribute: &str) -> Option<&str> {
        self.input.streams.get(stream)?.definition.mapping.property_of(attribute, self.directory.schema())
    }

    /// Handles a record that the directory refused.
    pub(super) fn refused(&mut self, work: &Work, error: LoadError) {
        if matches!(work.task, Task::Find { .. }) {
            return self.fail(work.number, error);
        }
        self.waiting.rechecks.forget(work);
        if work.by_version {
            self.activations.under_way = self.activations.under_way.saturating_sub(1);
        } else {
            self.protect(work);
        }
        if work.left.is_some() || work.gave_up.is_some() {
            self.waiting.set_aside.push(work.clone());
        }
        let error = match &work.renamed {
            Some(made) => error.noting(&format!(
                "; its entry was renamed before, and keeps its new name: `{}` was `{}`",
                made.to, made.from
            )),
            None => error,
        };
        let error = error.in_file(work.in_file.as_ref());
        let Some(RejectContext { record, reject_schema }) = &work.kept else {
            return self.fail(work.number, error);
        };
        let rejected = Rejected {
            number: work.number,
            stream: &work.stream,
            line: work.line,
            in_file: work.in_file.as_ref(),
            key: &work.about,
            dn: work.dn(),
            answer: work.answer.as_ref(),
            record,
            recorded: work.recorded,
        };
        self.reject(&rejected, reject_schema, error);
    }

    /// Rejects a record. The run fails if the record is not at fault, or if it exceeds `max_rejects`.
    pub(super) fn reject(
        &mut self,
        rejected: &Rejected<'_>,
        reject_schema: &Arc<RejectSchema>,
        error: LoadError,
    ) {
        let Rejected { number, stream, line, in_file, key, dn, answer, record, recorded } = *rejected;
        let OnError::Skip { max, .. } = self.config.on_error else { return self.fail(number, error) };
        let Some(file) = &mut self.rejects.file else { return self.fail(number, error) };
        if !error.is_records_fault() {
            return self.fail(number, error);
        }
        if let Some(max) = max.filter(|max| self.rejects.count >= *max) {
            return self.fail(number, LoadError::TooManyRejects { max, error: Box::new(error) });
        }
        let of_error = error.of_directory().and_then(LdapResult::of);
        let (answer, reason) = (of_error.as_ref().or(answer), error.reason());
        let (setting, is_unmapped) = (error.forbidden_by(), error.is_of_unmapped());
        let is_outdated = self.rejects.outdated.contains(&hash(&(stream, key)));
        let run = file.history.run().to_owned();
        let reject = Reject {
            stream,
            line,
            in_file,
            dn,
            answer,
            setting,
            reason: &reason,
            record,
            is_unmapped,
            run: &run,
            is_outdated,
        };
        let text = reject.to_line(reject_schema, self.directory.schema());
        if let Err(e) = file.write(stream, reject_schema, &text) {
            return self.fail(number, e.into());
        }
        // An entry that a version deletes has no record.
        if record.is_object() {
            file.history.rejected(stream, key, Place::of(line, in_file), number);
        }
        let facts = Facts { line: Some(line), stream: Some(stream.to_owned()), ..error.facts() };
        let record = facts.record.clone().unwrap_or_default();
        let reason = reject.safe_reason(reject_schema);
        let refused = RefusedRecord {
            number,
            stream,
            line,
            record: &record,
            dn,
            code: answer.map(|answer| answer.code),
            reason: &reason,
        };
        if let Err(e) = self.applier.directory().show_refused(&refused) {
            return self.fail(number, e.into());
        }
        let what = if self.config.dry_run { "would be refused" } else { "rejected" };
        if self.rejects.log.should_log(stream, &reason, what) {
            let key = if record.is_empty() { String::new() } else { format!(", {record}") };
            facts.warn(&format!("line {line}, stream `{stream}`{key}: {what}: {reason}"));
        }
        self.rejects.count += 1;
        self.counters.by_stream.entry(stream.into()).or_default().count(RecordOutcome::Rejected, recorded);
        self.committer.ack.done(number);
    }

    /// Protects the entry of a rejected record from every deletion of the run.
    fn protect(&self, work: &Work) {
        let claims = self.applier.claims();
        claims.protect(&work.claimant(), &work.key);
        if let Some(key) = work.context.found.as_deref().and_then(|dn| self.applier.key(dn).ok()) {
            claims.protect(&work.claimant(), &key);
        }
    }

    /// Protects the entries that a rejected record's filter matches.
    pub(super) fn protect_found(&mut self, work: &Work, found: &MatchedNames) {
        for name in &found.names {
            if let Ok(key) = self.applier.key(name) {
                self.applier.claims().protect(&work.claimant(), &key);
            }
        }
        if !found.is_whole {
            self.activations.versions.note_unknown_entry(&work.stream, work.version);
        }
    }
}
