//! Rows of streams with `membership`: they are collected, and written group by group.
//!
//! They are written when the input has ended and all other records are done, so that their groups and members exist. On an input that
//! stays open they are written when it is quiet, after a minute, or when many are collected; a row whose group or member does not
//! exist yet waits for the next time. STATE after a row waits until it is written.
//!
//! [`groups`] puts them into groups, [`writing`] writes these. [`brought`] keeps which members a version has, and [`by_version`] takes the others
//! away.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap_directory::DirectoryError;
use ldap_directory::dn::DnKey;
use singer_common::operations::signals::Signal;

use super::in_file::InFile;
use super::refusals::Rejected;
use super::work::RejectContext;
use super::{Load, LoadError};
use crate::map::{MembershipRow, NamedEntry};
use crate::write::counts::RecordOutcome;
use brought::Brought;

mod brought;
mod by_version;
mod groups;
mod writing;

/// The most rows that are collected before they are written, and the most that wait for a group or a member.
const MOST: usize = 100_000;
/// After this time without input they are written, unless `activate_when_quiet_seconds` is less.
const QUIET: Duration = Duration::from_secs(5);
/// After this time they are written on a busy input as well. Those that wait for a group or a member are refused, if the input is quiet.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this time they are refused on a busy input as well: STATE after them waits as long.
const LONGEST: Duration = Duration::from_secs(600);

/// A row.
#[derive(Debug)]
pub(super) struct CollectedRow {
    pub(super) number: u64,
    pub(super) line: u64,
    pub(super) stream: Arc<str>,
    /// Its key, for messages.
    pub(super) about: Arc<str>,
    /// With `on_error: skip`.
    pub(super) kept: Option<RejectContext>,
    pub(super) in_file: Option<InFile>,
    pub(super) row: MembershipRow,
    /// The DN of its member before deletions of the run, if a filter found it.
    pub(super) member_was: Option<String>,
    /// When it arrived.
    pub(super) since: Instant,
    /// In which period that was.
    pub(super) period: u64,
}

/// What a message says of a row.
#[derive(Debug, Clone)]
struct RowFacts {
    number: u64,
    line: u64,
    stream: Arc<str>,
    about: Arc<str>,
    in_file: Option<InFile>,
}

impl CollectedRow {
    fn facts(&self) -> RowFacts {
        RowFacts {
            number: self.number,
            line: self.line,
            stream: self.stream.clone(),
            about: self.about.clone(),
            in_file: self.in_file.clone(),
        }
    }
}

/// The rows of a run.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    rows: Vec<CollectedRow>,
    /// How many of them have been tried, and wait.
    waiting: usize,
    /// When they were last written, or when the first one arrived.
    since: Option<Instant>,
    is_due: bool,
    /// What the records of the run have.
    brought: Brought,
    /// The number of entries that the run has renamed.
    renamed: u64,
    /// The signal that interrupted the writing.
    pub(super) stopped: Option<Signal>,
}

impl Memberships {
    /// Whether rows are to be written now.
    pub(super) fn is_due(&self) -> bool {
        self.is_due || self.rows.len() >= MOST + self.waiting
    }

    /// Whether no row is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Notes that an entry was renamed: rows that were written before may have its former name.
    pub(super) fn note_rename(&mut self) {
        self.renamed += 1;
    }

    /// Notes a row that was rejected before its group was known.
    pub(super) fn note_unknown(&mut self, stream: &str) {
        let period = self.brought.period();
        self.brought.of(stream, period).is_unknown = true;
    }

    /// Returns the number of this period.
    pub(super) fn period(&self) -> u64 {
        self.brought.period()
    }

    /// Ends the period, with which versions of these streams are decided. Returns its number.
    pub(super) fn end_period<'a>(&mut self, streams: impl Iterator<Item = &'a str>) -> u64 {
        self.brought.end_period(streams)
    }

    /// Notes that all versions that were decided are carried out.
    pub(super) fn carried_out(&mut self) {
        self.brought.carried_out();
    }

    /// Decides on an input that stays open. `quiet`: since its last line.
    pub(super) fn poll(&mut self, quiet: Duration, activate_when_quiet: Option<Duration>) {
        let limit = activate_when_quiet.map_or(QUIET, |limit| limit.min(QUIET));
        let is_late = self.since.is_some_and(|since| since.elapsed() >= PATIENCE);
        self.is_due |= self.has_new() && quiet >= limit || is_late;
    }

    fn has_new(&self) -> bool {
        self.rows.len() > self.waiting
    }

    /// Whether rows are to be written before entries are deleted.
    pub(super) fn come_first(&mut self) -> bool {
        self.is_due |= self.has_new();
        self.is_due
    }
}

impl<W: Write> Load<'_, W> {
    /// Collects a row.
    pub(super) fn collect_membership(&mut self, row: CollectedRow, version: Option<i64>) {
        if self.config.process_activate_version && row.row.is_member {
            self.activations.versions.count_record(&row.stream, version);
            self.activations.note_record(&row.stream, version);
        }
        self.memberships.since.get_or_insert_with(Instant::now);
        self.memberships.rows.push(row);
    }

    /// Finds the members of rows that take them away, before the run deletes their entries.
    pub(super) async fn find_leaving_members(&mut self) {
        let leaving = self.memberships.rows.iter().filter_map(|row| match &row.row.member {
            NamedEntry::Filter(filter) if !row.row.is_member && row.member_was.is_none() => {
                Some((row, filter.clone()))
            }
            _ => None,
        });
        let (rows, filters): (Vec<&CollectedRow>, Vec<String>) = leaving.unzip();
        let Some(first) = rows.first().map(|row| row.facts()) else { return };
        let base = self.applier.members_base(None);
        let found = match self.applier.find_all(&base, filters).await {
            Ok(found) => found,
            Err(error) => return self.fail_memberships(Some(first), error),
        };
        for row in self.memberships.rows.iter_mut().filter(|row| !row.row.is_member) {
            if let NamedEntry::Filter(filter) = &row.row.member {
                row.member_was = groups::found_name(found.get(filter)).map(str::to_owned);
            }
        }
    }

    /// The directory cannot be asked, or cannot be changed at all: the run ends. `first`: the first row that is not written for it.
    fn fail_memberships(&mut self, first: Option<RowFacts>, error: DirectoryError) {
        let Some(RowFacts { number, line, stream, about, in_file }) = first else {
            return self.fail(u64::MAX - 1, error.into());
        };
        let error = LoadError::write(line, &stream, error).of_key(&about);
        self.fail(number, error.in_file(in_file.as_ref()));
    }

    /// Writes the collected rows. `is_last`: no further entry will be added that a row could wait for.
    pub(super) async fn write_memberships(&mut self, is_last: bool) {
        // There is no room for those that wait.
        let is_last = is_last || self.memberships.waiting >= MOST;
        let patience = if self.input.last_line.elapsed() >= PATIENCE { PATIENCE } else { LONGEST };
        self.memberships.is_due = false;
        self.executor.turns.advance();
        let mut rows = std::mem::take(&mut self.memberships.rows);
        rows.sort_by_key(|row| row.number);
        let first = rows.first().map(CollectedRow::facts);
        let is_last = |row: &CollectedRow| is_last || row.since.elapsed() >= patience;
        let groups = match self.groups_of(rows, is_last).await {
            Ok(groups) => groups,
            Err(error) => return self.fail_memberships(first, error),
        };
        self.write_groups(groups).await;
        self.memberships.waiting = self.memberships.rows.len();
        self.memberships.since = (!self.memberships.rows.is_empty()).then(Instant::now);
    }

    /// Lets a row wait, or refuses it.
    fn membership_missing(
        &mut self,
        row: CollectedRow,
        group: Option<&DnKey>,
        reason: String,
        is_last: bool,
    ) {
        if !is_last {
            return self.memberships.rows.push(row);
        }
        if self.config.process_activate_version {
            let brought = self.memberships.brought.of(&row.stream, row.period);
            // Which member is meant is not known, so none of this group is taken away; nor of any, if the group is not known.
            match group {
                Some(group) => drop(brought.incomplete.insert(group.clone())),
                None => brought.is_unknown = true,
            }
        }
        let error = LoadError::record(row.line, &row.stream, reason);
        self.refuse_membership(&row, None, error);
    }

    /// Counts the outcome of a row.
    fn membership_done(&mut self, row: &CollectedRow, outcome: RecordOutcome) {
        self.counters.by_stream.entry(row.stream.clone()).or_default().count(outcome, None);
        self.committer.ack.done(row.number);
    }

    /// Refuses a row. `dn`: its group.
    fn refuse_membership(&mut self, row: &CollectedRow, dn: Option<&str>, error: LoadError) {
        let error = error.of_key(&row.about).in_file(row.in_file.as_ref());
        let Some(RejectContext { record, reject_schema }) = &row.kept else {
            return self.fail(row.number, error);
        };
        let rejected = Rejected {
            number: row.number,
            stream: &row.stream,
            line: row.line,
            in_file: row.in_file.as_ref(),
            key: &row.about,
            dn,
            answer: None,
            record,
            recorded: None,
        };
        self.reject(&rejected, reject_schema, error);
    }
}
