//! The result of an import, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

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
    /// The undo file, relative to `write.undo_dir`; `null`: nothing was changed.
    pub undo_file: Option<String>,
}

impl Report {
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
