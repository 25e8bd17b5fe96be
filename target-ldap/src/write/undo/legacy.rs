//! LDIF without a record of what a run left: of an earlier version, or another program.

use std::io::BufReader;
use std::path::Path;

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::ldif::reader::{LdifReader, Record};
use singer_common::operations::file::JOURNAL;

use super::revert::make_now;
use crate::write::destination::Destination;

/// Returns the records of an earlier version's journal, in the order in which they are applied.
pub(super) fn records_of_journal(octets: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(octets);
    // An incomplete record was being written at the end: its change was not made.
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    let records = whole.split("\n\n").filter(|r| !r.trim().is_empty());
    let mut records: Vec<Vec<u8>> = records.map(|r| format!("{r}\n\n").into_bytes()).collect();
    records.reverse();
    records
}

/// Whether a journal without a complete record may be that of an earlier version that had just begun.
pub(super) fn begins_as_ldif(octets: &[u8]) -> bool {
    let starts = |with: &[u8]| octets.starts_with(with) || with.starts_with(octets);
    starts(b"dn:") || starts(b"#") || starts(b"version:")
}

/// Returns the changes of such a file.
pub(super) fn changes(path: &Path) -> Result<Vec<Change>, String> {
    let is_journal = path.to_str().is_some_and(|p| p.ends_with(JOURNAL));
    let octets = std::fs::read(path).map_err(|e| e.to_string())?;
    let octets = if is_journal { records_of_journal(&octets).concat() } else { octets };
    let mut changes = Vec::new();
    for record in LdifReader::new(BufReader::new(&*octets)) {
        match record {
            Ok(Record::Change(change)) => changes.push(change),
            Ok(Record::Entry(entry)) => {
                return Err(format!("`{}` is an entry, not a change: this takes nothing back", entry.dn));
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    if changes.is_empty() {
        return Err("there is no change in it".to_owned());
    }
    Ok(changes)
}

/// Applies the changes as they are. Returns the DNs of those that the directory refused, with the reasons.
pub(super) async fn carry_out(
    changes: &[Change],
    directory: &Destination,
) -> Result<Vec<(String, String)>, DirectoryError> {
    let mut refused = Vec::new();
    for change in changes {
        match make_now(directory, change, false).await {
            Ok(()) => {}
            Err(e @ (DirectoryError::Operation { .. } | DirectoryError::Forbidden { .. })) => {
                refused.push((change.dn().to_owned(), e.to_string()));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(refused)
}
