//! The result of an import, in numbers.

use std::collections::BTreeMap;

use ldap_directory::ldif::ReplicationState;
use serde::Serialize;
use target_ldap::write::counts::Counts;

use crate::write::WriteError;

/// The most rejects that an answer lists.
pub const MOST_REJECTS: usize = 1_000;

/// A record that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// Its first line in the file, from 1.
    pub line: u64,
    /// Its DN, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dn: Option<String>,
    /// The code of the error.
    pub code: &'static str,
    /// The attribute that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The DN of the other entry that has the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The server's result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_code: Option<u32>,
    /// Why.
    pub reason: String,
    /// The groups that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

impl Reject {
    /// Returns the reject of a record, with its first line and its DN.
    pub fn of(line: u64, dn: Option<String>, error: WriteError) -> Reject {
        let WriteError { kind, detail, attribute, entry, result_code, groups, .. } = error;
        Reject { line, dn, code: kind.code(), attribute, entry, result_code, reason: detail, groups }
    }
}

/// What was left out of a file with the replication state of 389 Directory Server (`db2ldif -r`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The line of the first record with it, from 1.
    pub line: u64,
    /// Values that are deleted.
    pub deleted_values: u64,
    /// Entries that are deleted, which are not counted as records.
    pub deleted_entries: u64,
}

impl LeftOut {
    /// Returns what a reader has taken off; `None`: there was nothing.
    pub(super) fn of(state: ReplicationState) -> Option<LeftOut> {
        let ReplicationState { line, deleted_values, deleted_entries } = state;
        line.map(|line| LeftOut { line, deleted_values, deleted_entries })
    }
}

/// The result of an import. Each record has exactly one outcome, unless the import was stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether it is only a plan.
    pub dry_run: bool,
    /// Whether every record has its outcome.
    pub complete: bool,
    /// Records in the file.
    pub records: u64,
    /// Entries added.
    pub added: u64,
    /// Entries modified.
    pub modified: u64,
    /// Entries renamed or moved.
    pub renamed: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Records that changed nothing.
    pub unchanged: u64,
    /// Records that were not carried out.
    pub rejected: u64,
    /// Records whose outcome is not known: the directory did not answer, and may have carried them out. The undo file has them.
    pub unknown: u64,
    /// The first of the rejects, by line.
    pub rejects: Vec<Reject>,
    /// Attributes that the server maintains, which were passed over, with the number of records.
    pub ignored_attributes: BTreeMap<String, u64>,
    /// Attributes that the server computes, with the number of entries that it shows otherwise than they were written.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shown_otherwise: BTreeMap<String, u64>,
    /// What was left out, for the file says that it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_state: Option<LeftOut>,
    /// The undo file, relative to `write.undo_dir`; `null`: nothing was changed.
    pub undo_file: Option<String>,
}

impl Report {
    /// Logs the numbers.
    pub(super) fn log(&self) {
        let Report { added, modified, renamed, deleted, unchanged, rejected, unknown, .. } = self;
        let complete = self.complete;
        let undo_file = self.undo_file.as_deref();
        tracing::info!(
            added,
            modified,
            renamed,
            deleted,
            unchanged,
            rejected,
            unknown,
            complete,
            undo_file,
            "import: {added} added, {modified} modified, {renamed} renamed, {deleted} deleted, {unchanged} unchanged, {rejected} rejected"
        );
    }

    /// Returns the numbers for a plan.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            records: self.records,
            added: self.added,
            modified: self.modified,
            renamed: self.renamed,
            deleted: self.deleted,
            unchanged: self.unchanged,
            rejected: self.rejected,
            ..Counts::default()
        }
    }

    /// Adds a reject.
    pub fn reject(&mut self, reject: Reject) {
        self.rejected += 1;
        let at = self.rejects.partition_point(|other| other.line <= reject.line);
        if at < MOST_REJECTS {
            self.rejects.insert(at, reject);
            self.rejects.truncate(MOST_REJECTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rejects_are_listed_by_line() {
        let mut report = Report::default();
        for line in (1..=1_500).rev() {
            let (dn, attribute, entry, result_code) = (None, None, None, None);
            report.reject(Reject {
                line,
                dn,
                code: "x",
                attribute,
                entry,
                result_code,
                reason: String::new(),
                groups: Vec::new(),
            });
        }
        assert_eq!((report.rejected, report.rejects.len()), (1_500, MOST_REJECTS));
        assert_eq!((report.rejects[0].line, report.rejects[999].line), (1, 1_000));
    }
}
