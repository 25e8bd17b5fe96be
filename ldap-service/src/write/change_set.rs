//! Undo files: one for each change set, which is a request that writes.
//!
//! The file is `FOLDER/YYYY-MM-DD/TIME-KIND-NUMBER.ldif` in target-ldap's format. While the request runs it is a journal beside that
//! path. The journal of a process that was killed becomes `….ldif.killed` when the next process has opened the directory, and an error
//! in the log names the file and what is half done.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use ldap_directory::Directory;
use ldap_directory::text::printable_line;
use singer_common::operations::file::{self, JOURNAL, Lock, with_suffix};
use target_ldap::config::undo_file::UndoFile;
use target_ldap::write::protection::Protection;
use target_ldap::write::undo::Undo;
use target_ldap::write::undo::change_note::{ChangeKind, ChangeNote};
use target_ldap::write::undo::journal::{ChangeStatus, JournalReader};
use target_ldap::write::undo::recovery::{self, Recovered};

use super::memberships::{GivenNames, Memberships};
use super::owed::Owed;
use super::{WriteError, WriteErrorKind, Writer};

/// The most entries that the log names of a change set that was not finished.
const MOST_NAMED: usize = 10;

/// An open change set.
#[derive(Debug)]
pub(crate) struct ChangeSet {
    undo: Arc<Undo>,
    path: PathBuf,
    /// The path from `write.undo_dir`.
    relative: String,
    _lock: Option<Lock>,
    /// Where the journal is noted if it stays.
    owed: Arc<Owed>,
}

fn unusable(error: &dyn std::fmt::Display) -> WriteError {
    // The caller is not told where the files are.
    tracing::error!(setting = "write.undo_dir", "write.undo_dir: {error}; nothing is written");
    let detail =
        "the undo file cannot be written, and nothing was changed; the reason is in the service's log";
    WriteError::new(WriteErrorKind::Undo, detail)
}

fn lost(_: tokio::task::JoinError) -> WriteError {
    WriteError::new(WriteErrorKind::Internal, "internal error: a thread ended without a result")
}

impl ChangeSet {
    /// Begins a change set. `label` is a part of its name: `users`, `import`.
    ///
    /// # Errors
    /// The journal cannot be written: nothing may be changed.
    pub(crate) async fn begin(
        folder: &Path,
        label: &'static str,
        directory: &Directory,
    ) -> Result<ChangeSet, WriteError> {
        let (folder, directory) = (folder.to_owned(), directory.clone());
        let begin = move || {
            let now = Utc::now();
            let day = now.format("%Y-%m-%d").to_string();
            let mut number = [0; 4];
            getrandom::fill(&mut number).map_err(|e| unusable(&e))?;
            let number = u32::from_be_bytes(number);
            let name = format!("{}-{label}-{number:08x}.ldif", now.format("%H%M%S%3f"));
            let of_day = folder.join(&day);
            if !of_day.is_dir() {
                file::make_private_folder(&of_day).map_err(|e| unusable(&e))?;
                file::sync_folder(&folder).map_err(|e| unusable(&e))?;
            }
            let path = of_day.join(&name);
            let lock = Lock::try_of(&path).map_err(|e| unusable(&e))?;
            let lock = lock.map_err(|_| unusable(&"the name of a new file is in use"))?;
            let undo = Undo::create_clearing_names(&path, &directory).map_err(|e| unusable(&e))?;
            let (undo, relative) = (Arc::new(undo), format!("{day}/{name}"));
            Ok(ChangeSet { undo, path, relative, _lock: lock, owed: Arc::default() })
        };
        tokio::task::spawn_blocking(begin).await.map_err(lost)?
    }

    /// Sets where the journal is noted if it stays, for it owes locks of accounts.
    pub(crate) fn owing(self, owed: Arc<Owed>) -> ChangeSet {
        ChangeSet { owed, ..self }
    }

    /// Returns the journal.
    pub(crate) fn undo(&self) -> Arc<Undo> {
        self.undo.clone()
    }

    /// Takes the changes back at once. Returns the entries that are not as before, with the reasons.
    pub(crate) async fn take_back(
        &self,
        directory: &Directory,
        protection: Arc<Protection>,
    ) -> Vec<(String, String)> {
        match Box::pin(self.undo.take_back(directory, protection)).await {
            Ok(left) => left,
            Err(error) => vec![(String::new(), error.to_string())],
        }
    }

    /// Makes the undo file. Returns its path from `write.undo_dir`; `None` if nothing was changed.
    pub(crate) async fn finish(self, directory: &Directory) -> Option<String> {
        let directory = directory.clone();
        let runtime = tokio::runtime::Handle::current();
        let finish = move || {
            let ChangeSet { undo, path, relative, _lock, owed } = self;
            let finished =
                UndoFile::parse(&path, None, &mut Vec::new()).map_err(|e| e.to_string()).and_then(|names| {
                    runtime.block_on(undo.finish(&names, &directory)).map_err(|e| e.to_string())
                });
            match finished {
                Ok(locks) => {
                    if !locks.is_empty() {
                        owed.note(&with_suffix(&path, JOURNAL), locks, false);
                    }
                    path.exists().then_some(relative)
                }
                // The changes are made, and the journal is on disk: it can be undone as well.
                Err(error) => {
                    tracing::error!("{error}; the journal {relative}{JOURNAL} undoes the change set, too");
                    Some(format!("{relative}{JOURNAL}"))
                }
            }
        };
        tokio::task::spawn_blocking(finish).await.unwrap_or(None)
    }
}

/// Makes undo files from the journals of processes that were killed, and logs what is half done. Those of running processes are locked.
pub(crate) async fn recover(writer: &Writer, folder: &Path, directory: &Directory) {
    for journal in journals(folder) {
        recover_one(writer, &journal, directory).await;
    }
}

/// The same for one journal. One of another directory stays, and so does one that owes a lock which cannot be written now.
pub(super) async fn recover_one(writer: &Writer, journal: &Path, directory: &Directory) {
    let Some(path) = journal.to_str().and_then(|j| j.strip_suffix(JOURNAL)).map(PathBuf::from) else {
        return;
    };
    let Ok(Ok(Some(_lock))) = Lock::try_of(&path) else { return };
    let state = writer.state();
    match recovery::of_journal(&path, directory, writer.servers()).await {
        Ok(Recovered::Killed(killed)) => {
            state.owed.forget(journal);
            log_unfinished(writer, &killed, directory).await;
        }
        Ok(Recovered::Nothing) => state.owed.forget(journal),
        Ok(Recovered::Kept(kept)) => {
            let is_foreign = kept.is_foreign;
            state.owed.note(journal, kept.told(journal, directory), is_foreign);
        }
        Err(error) => tracing::error!("{error}; target-ldap undo can still read the journal"),
    }
}

/// Logs what a process had done of a change set when it was killed: groups may still have the names that entries had.
async fn log_unfinished(writer: &Writer, killed: &Path, directory: &Directory) {
    let file = killed.display();
    let notes = match notes(killed) {
        Ok(notes) => notes,
        Err(error) => {
            tracing::error!(%file, "{file}: a change set that was not finished, and it cannot be read: {error}");
            return;
        }
    };
    let memberships = Memberships::new(writer, directory, GivenNames::default());
    let (mut done, mut groups) = (Vec::new(), 0);
    let is_modified = |note: &&ChangeNote| note.of == ChangeKind::Modify;
    let all_modified = notes.iter().all(|note| is_modified(&note));
    let named = || notes.iter().filter(|note| all_modified || !is_modified(note));
    for note in named().take(MOST_NAMED) {
        let dn = printable_line(&note.dn);
        let (what, to) = match note.of {
            ChangeKind::Add => ("added", None),
            ChangeKind::Delete => ("deleted", None),
            ChangeKind::Modify => ("modified", None),
            ChangeKind::Rename => ("renamed", note.to.as_deref()),
        };
        let to = to.map(|to| format!(" to `{}`", printable_line(to))).unwrap_or_default();
        let left = match &memberships {
            Ok(memberships) if !matches!(note.of, ChangeKind::Add | ChangeKind::Modify) => {
                memberships.having(directory, &note.dn).await
            }
            _ => Ok(0),
        };
        let left = match left {
            Ok(0) => String::new(),
            Ok(count) => {
                groups += count;
                format!(" ({count} groups still have the name)")
            }
            Err(error) => format!(" (groups may still have the name: {})", error.detail),
        };
        done.push(format!("`{dn}` {what}{to}{left}"));
    }
    let changes = notes.len();
    let done = done.join(", ");
    let dn = named().next().map(|note| note.dn.as_str());
    tracing::error!(
        %file,
        dn,
        changes,
        groups,
        "a change set was not finished, for its process was killed: {done}; {changes} changes were made, or may have been; `target-ldap undo {file}` takes them back"
    );
}

/// Returns the changes of an undo file that were made, or may have been, in their order.
fn notes(path: &Path) -> Result<Vec<ChangeNote>, target_ldap::write::undo::journal::ReadError> {
    let mut reading = JournalReader::open(path)?;
    let made: Vec<u64> = reading.places.keys().copied().collect();
    let made = made.into_iter().filter(|n| reading.status(*n) != ChangeStatus::Void).collect::<Vec<_>>();
    made.into_iter().map(|number| Ok(reading.load(number)?.0)).collect()
}

fn journals(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let days = entries(folder).into_iter().filter(|path| path.is_dir());
    let is_journal = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(JOURNAL));
    let mut found: Vec<PathBuf> = days.flat_map(|day| entries(&day)).filter(is_journal).collect();
    found.sort();
    found
}
