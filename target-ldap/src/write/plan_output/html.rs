//! The plan as a page: one row for each entry with all that happens to it, those that leave first.
//!
//! What a row shows is kept in a file until the end, when everything is known: a plan may have a hundred thousand changes. Memory
//! holds the names of the entries.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use maud::{Markup, html};
use tempfile::SpooledTempFile;

use self::row::{Part, Piece, Row};
pub(super) use self::values::TELLING;
use super::{PlannedChange, RefusedRecord};
use crate::write::change_label::ChangeLabel;
use crate::write::counts::{Counts, RecordOutcome};
use crate::write::guard::LimitUse;

mod render;
mod row;
mod values;

/// Octets of the rows that are kept in memory.
const IN_MEMORY: usize = 1024 * 1024;

/// The origin of a plan.
#[derive(Debug, Clone, Default)]
pub struct PlanHeader {
    /// The server's URL, or the file. Without credentials.
    pub server: String,
    /// The kind of server.
    pub vendor: String,
    /// When the plan was made, as text.
    pub date: String,
    /// The command that carries it out. Without secrets.
    pub command: String,
    /// The command that carries out the plan that it leaves if it is held back; empty: it leaves none.
    pub apply_command: String,
    /// What else is needed to carry it out.
    pub command_note: &'static str,
    /// Whether it is the plan that a held run has left, which the command carries out as it is.
    pub is_held: bool,
    /// Whether a run ends at its first rejected record (`on_error: fail`).
    pub ends_at_reject: bool,
    /// The schema of the directory, which says which names are the same.
    pub schema: Option<Arc<Schema>>,
}

impl PlanHeader {
    /// Returns the header of a plan for a directory, made now.
    pub fn of(directory: &Directory) -> PlanHeader {
        let root = directory.root_dse();
        PlanHeader {
            server: directory.location().to_owned(),
            vendor: [root.vendor.name(), &root.version].join(" ").trim().to_owned(),
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            schema: Some(directory.schema().clone()),
            ..PlanHeader::default()
        }
    }
}

/// A page that is being built.
pub(super) struct Page {
    header: PlanHeader,
    rows: Vec<Row>,
    /// The rows by the current names of their entries.
    by_name: BTreeMap<DnKey, usize>,
    /// The row of each task, which is that of its last change, and the task's outcome.
    tasks: HashMap<u64, (usize, Option<RecordOutcome>)>,
    /// Outcomes that change an entry without a change that was shown.
    unseen: u64,
    /// The outcomes of the streams' records, if they were reported.
    counts: BTreeMap<String, Counts>,
    /// The limits, if the whole run was rehearsed.
    limits: Vec<LimitUse>,
    spool: SpooledTempFile,
    end: u64,
}

impl Page {
    pub(super) fn new(header: PlanHeader) -> Self {
        Self {
            header,
            rows: Vec::new(),
            by_name: BTreeMap::new(),
            tasks: HashMap::new(),
            unseen: 0,
            counts: BTreeMap::new(),
            limits: Vec::new(),
            spool: SpooledTempFile::new(IN_MEMORY),
            end: 0,
        }
    }

    /// Adds a change.
    pub(super) fn change(&mut self, planned: &PlannedChange<'_>) -> io::Result<()> {
        let PlannedChange { change, before, label, .. } = *planned;
        let key = self.key(change.dn());
        let is_add = matches!(change, Change::Add(_));
        let at = self.row(change.dn(), key.as_ref().filter(|_| !is_add), label);
        match change {
            Change::Add(entry) => {
                self.note(at, Part::Added);
                self.block(at, &html! { (values::digest(entry)) (values::whole(entry, true)) })?;
            }
            Change::Delete { .. } => {
                self.note(at, Part::Deleted);
                let body = html! {
                    @if let Some(entry) = before {
                        (values::digest(entry)) (values::whole(entry, false))
                    } @else {
                        p.quiet { "The entry, whatever it has." }
                    }
                };
                self.block(at, &body)?;
                if let Some(key) = &key {
                    self.by_name.remove(key);
                }
            }
            Change::Modify { changes, .. } => {
                self.introduce(at, before)?;
                self.note(at, Part::Values);
                self.lines(at, &values::modified(changes, before))?;
            }
            Change::Rename { dn, new_rdn, new_superior, .. } => {
                self.introduce(at, before)?;
                let lines = values::renamed(dn, new_rdn, new_superior.as_deref());
                for line in &lines {
                    self.note(at, if line.name == "parent" { Part::Parent } else { Part::Name });
                }
                self.lines(at, &lines)?;
                let now = change.new_dn().and_then(|now| self.key(&now));
                if let (Some(from), Some(to)) = (&key, now) {
                    self.renamed(from, &to);
                }
            }
        }
        Ok(())
    }

    /// Says whom or what an entry is about, once, if its name does not.
    fn introduce(&mut self, at: usize, before: Option<&Entry>) -> io::Result<()> {
        let is_new = self.rows.get(at).is_some_and(|row| row.parts.is_empty());
        let digest = before.filter(|_| is_new).map(values::digest);
        digest.filter(|digest| !digest.0.is_empty()).map_or(Ok(()), |digest| self.block(at, &digest))
    }

    /// Adds a password that is set by an operation of its own.
    pub(super) fn password(&mut self, dn: &str, label: Option<&ChangeLabel>, how: &str) -> io::Result<()> {
        let key = self.key(dn);
        let at = self.row(dn, key.as_ref(), label);
        self.note(at, Part::Password);
        self.lines(at, &[values::password(how)])
    }

    /// Adds a record that would be refused.
    pub(super) fn refused(&mut self, refused: &RefusedRecord<'_>) {
        let RefusedRecord { number, stream, line, record, dn, reason, .. } = *refused;
        let found = self.tasks.get(&number).map(|(at, _)| *at);
        let at = found.unwrap_or(self.rows.len());
        if found.is_none() {
            self.rows.push(Row {
                dn: dn.unwrap_or_default().to_owned(),
                stream: stream.into(),
                record: Some((line, record.into())),
                task: Some(number),
                tasks: 1,
                ..Row::default()
            });
        }
        if let Some(row) = self.rows.get_mut(at) {
            row.reason = Some(reason.to_owned());
        }
        self.tasks.insert(number, (at, Some(RecordOutcome::Rejected)));
    }

    /// Sets the outcome of a task, as it is counted.
    pub(super) fn outcome(&mut self, number: u64, outcome: RecordOutcome) {
        let is_change = !matches!(outcome, RecordOutcome::Unchanged | RecordOutcome::Ignored);
        match self.tasks.get_mut(&number) {
            Some((_, last)) => *last = is_change.then_some(outcome),
            None => self.unseen += u64::from(is_change),
        }
    }

    /// Sets the outcomes of a stream's records.
    pub(super) fn count(&mut self, stream: &str, counts: &Counts) {
        self.counts.insert(stream.to_owned(), *counts);
    }

    /// Sets how much of the limits is used.
    pub(super) fn limits(&mut self, limits: &[LimitUse]) {
        self.limits = limits.to_vec();
    }

    fn key(&self, dn: &str) -> Option<DnKey> {
        DnKey::parse(dn, self.header.schema.as_deref().unwrap_or(Schema::standard())).ok()
    }

    /// Returns the row of an entry. `key`: its name; `None`: it has no row yet.
    fn row(&mut self, dn: &str, key: Option<&DnKey>, label: Option<&ChangeLabel>) -> usize {
        let found = key.and_then(|key| self.by_name.get(key)).copied();
        let at = found.unwrap_or(self.rows.len());
        if found.is_none() {
            self.rows.push(Row { dn: dn.to_owned(), ..Row::default() });
            if let Some(key) = self.key(dn) {
                self.by_name.insert(key, at);
            }
        }
        if let (Some(row), Some(label)) = (self.rows.get_mut(at), label) {
            if row.record.is_none() {
                row.stream = label.stream.clone();
                row.record = Some((label.line, label.record.clone()));
            }
            if row.task != Some(label.number) {
                (row.task, row.tasks) = (Some(label.number), row.tasks + 1);
            }
            row.is_leaving |= label.is_leaving;
            let outcome = self.tasks.get(&label.number).and_then(|(_, outcome)| *outcome);
            self.tasks.insert(label.number, (at, outcome));
        }
        at
    }

    /// An entry has another name, and so have those below it.
    fn renamed(&mut self, from: &DnKey, to: &DnKey) {
        let below: Vec<DnKey> = self.by_name.range(from.subtree()).map(|(key, _)| key.clone()).collect();
        for key in below.into_iter().chain([from.clone()]) {
            if let (Some(at), Some(now)) = (self.by_name.remove(&key), key.rebased(from, to)) {
                self.by_name.insert(now, at);
            }
        }
    }

    fn note(&mut self, at: usize, part: Part) {
        if let Some(row) = self.rows.get_mut(at) {
            row.note(part);
        }
    }

    fn lines(&mut self, at: usize, lines: &[values::Line]) -> io::Result<()> {
        for line in lines {
            let piece = self.keep(&values::row(line))?;
            if let Some(row) = self.rows.get_mut(at) {
                row.lines.push(piece);
            }
        }
        Ok(())
    }

    fn block(&mut self, at: usize, block: &Markup) -> io::Result<()> {
        let piece = self.keep(block)?;
        if let Some(row) = self.rows.get_mut(at) {
            row.blocks.push(piece);
        }
        Ok(())
    }

    fn keep(&mut self, markup: &Markup) -> io::Result<Piece> {
        self.spool.write_all(markup.0.as_bytes())?;
        let start = self.end;
        self.end += u64::try_from(markup.0.len()).unwrap_or_default();
        Ok(start..self.end)
    }
}

#[cfg(test)]
mod tests;
