//! `undo_file`: LDIF that takes a run back when it is given to `ldapmodify`.
//!
//! What takes a change back is written before the change is sent, to a journal next to the file, in the order of the changes.
//! Changes are taken back last first, so at the end of the run, however it ends, the file is written from the journal in
//! the other order. A journal without its end is one of a run that was killed: the next run makes a file of it first.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use singer_common::change::Change;
use singer_common::directory::ldif::writer::{LdifWriteError, LdifWriter};
use singer_common::file;

/// The undo file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("undo_file {path}: {reason}")]
pub struct UndoError {
    path: String,
    reason: String,
}

/// Where in the journal the changes are that take one change back.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    length: u64,
}

#[derive(Debug)]
struct Journal {
    file: File,
    end: u64,
    spans: Vec<Option<Span>>,
}

/// A run's undo file.
#[derive(Debug)]
pub struct Undo {
    path: PathBuf,
    journal: Mutex<Journal>,
}

impl Undo {
    /// Begins a journal. One that a killed run left becomes `PATH.killed` first.
    pub fn create(path: &Path) -> Result<Undo, UndoError> {
        let fail = |e: &dyn std::fmt::Display| failure(path, e);
        let journal = journal_path(path);
        if let Ok(left) = std::fs::read_to_string(&journal) {
            let killed = with_suffix(path, ".killed");
            // What is not whole was being written when the end came: its change was not made.
            let whole = left.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
            let records: Vec<&str> = whole.split("\n\n").filter(|r| !r.trim().is_empty()).collect();
            write_records(&killed, records.into_iter().rev().map(|r| Ok(format!("{r}\n\n").into_bytes())))
                .map_err(|e| fail(&e))?;
            tracing::warn!("the last run was killed; what takes it back is in {}", killed.display());
        }
        let mut options = File::options();
        options.create(true).truncate(true).read(true).write(true);
        // It may hold what others may not read.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&journal).map_err(|e| fail(&e))?;
        let journal = Mutex::new(Journal { file, end: 0, spans: Vec::new() });
        Ok(Undo { path: path.to_owned(), journal })
    }

    /// Writes what takes a change back, before that is made. Gives what [`Self::void`] takes.
    pub fn write(&self, changes: &[Change]) -> Result<usize, UndoError> {
        let mut record = LdifWriter::new(Vec::new());
        // Read from its end: the changes that take one change back are reversed, too.
        for change in changes.iter().rev() {
            record.change(change).map_err(|e| failure(&self.path, &e))?;
        }
        let octets = record.into_inner();
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.file.write_all(&octets) {
            // A full disk takes a part of it. Other changes, which are under way, may still find room.
            let end = journal.end;
            let _ = journal.file.set_len(end).and_then(|()| journal.file.seek(SeekFrom::Start(end)));
            return Err(failure(&self.path, &error));
        }
        let span = Span { start: journal.end, length: octets.len() as u64 };
        journal.end += span.length;
        journal.spans.push(Some(span));
        Ok(journal.spans.len() - 1)
    }

    /// The change was not made after all.
    pub fn void(&self, number: usize) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = journal.spans.get_mut(number) {
            *span = None;
        }
    }

    /// Writes the file: what takes the last change back comes first. A run that changed nothing leaves the file of the last
    /// one that did.
    pub fn finish(&self) -> Result<(), UndoError> {
        let fail = |e: &dyn std::fmt::Display| failure(&self.path, e);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let spans: Vec<Span> = journal.spans.iter().rev().flatten().copied().collect();
        if !spans.is_empty() {
            let records = spans.into_iter().map(|span| {
                journal.file.seek(SeekFrom::Start(span.start))?;
                let mut octets = Vec::new();
                (&mut journal.file).take(span.length).read_to_end(&mut octets)?;
                Ok(octets)
            });
            write_records(&self.path, records).map_err(|e| fail(&e))?;
        }
        std::fs::remove_file(journal_path(&self.path)).map_err(|e| fail(&e))
    }
}

/// Writes pieces of a journal, each with its own records in reverse.
fn write_records(
    path: &Path,
    pieces: impl Iterator<Item = io::Result<Vec<u8>>>,
) -> Result<(), LdifWriteError> {
    file::replace(path, |out| {
        for piece in pieces {
            let piece = piece?;
            let text = String::from_utf8_lossy(&piece);
            for record in text.split("\n\n").filter(|r| !r.trim().is_empty()).collect::<Vec<_>>().iter().rev()
            {
                out.write_all(record.as_bytes())?;
                out.write_all(b"\n\n")?;
            }
        }
        Ok(())
    })
}

fn journal_path(path: &Path) -> PathBuf {
    with_suffix(path, ".journal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failure(path: &Path, error: &dyn std::fmt::Display) -> UndoError {
    UndoError { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delete(dn: &str) -> Change {
        Change::Delete { dn: dn.into() }
    }

    fn order(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter_map(|l| l.strip_prefix("dn: ")).map(str::to_owned).collect()
    }

    #[test]
    fn the_last_change_is_taken_back_first_and_what_was_not_made_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("undo.ldif");
        let undo = Undo::create(&path).unwrap();
        undo.write(&[delete("cn=1")]).unwrap();
        let second = undo.write(&[delete("cn=2")]).unwrap();
        undo.write(&[delete("cn=3a"), delete("cn=3b")]).unwrap();
        undo.void(second);
        undo.finish().unwrap();
        assert_eq!(order(&path), ["cn=3a", "cn=3b", "cn=1"]);
        // Nothing changed: what takes the last changes back stays.
        Undo::create(&path).unwrap().finish().unwrap();
        assert_eq!(order(&path).len(), 3);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no journal is left");
    }

    #[test]
    fn a_killed_run_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("undo.ldif");
        let killed = Undo::create(&path).unwrap();
        killed.write(&[delete("cn=1")]).unwrap();
        killed.write(&[delete("cn=2a"), delete("cn=2b")]).unwrap();
        drop(killed);
        Undo::create(&path).unwrap().finish().unwrap();
        assert_eq!(order(&folder.path().join("undo.ldif.killed")), ["cn=2a", "cn=2b", "cn=1"]);
    }
}
