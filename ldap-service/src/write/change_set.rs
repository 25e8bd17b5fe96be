//! Undo files: one for each change set, which is a request that writes.
//!
//! The file is `FOLDER/YYYY-MM-DD/TIME-KIND-NUMBER.ldif` in target-ldap's format. While the request runs it is a journal beside that
//! path. The journal of a process that was killed becomes `….ldif.killed` when the next process writes for the first time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use ldap_directory::Directory;
use singer_common::operations::file::{self, JOURNAL, Lock};
use target_ldap::config::undo_file::UndoFile;
use target_ldap::write::undo::{Undo, recovery};

use super::{WriteError, WriteErrorKind};

/// An open change set.
#[derive(Debug)]
pub(crate) struct ChangeSet {
    undo: Arc<Undo>,
    path: PathBuf,
    /// The path from `write.undo_dir`.
    relative: String,
    _lock: Option<Lock>,
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
            Ok(ChangeSet { undo: Arc::new(undo), path, relative: format!("{day}/{name}"), _lock: lock })
        };
        tokio::task::spawn_blocking(begin).await.map_err(lost)?
    }

    /// Returns the journal.
    pub(crate) fn undo(&self) -> Arc<Undo> {
        self.undo.clone()
    }

    /// Takes the changes back at once. Returns the entries that are not as before, with the reasons.
    pub(crate) async fn take_back(&self, directory: &Directory) -> Vec<(String, String)> {
        match Box::pin(self.undo.take_back(directory)).await {
            Ok(left) => left,
            Err(error) => vec![(String::new(), error.to_string())],
        }
    }

    /// Makes the undo file. Returns its path from `write.undo_dir`; `None` if nothing was changed.
    pub(crate) async fn finish(self, directory: &Directory) -> Option<String> {
        let directory = directory.clone();
        let runtime = tokio::runtime::Handle::current();
        let finish = move || {
            let ChangeSet { undo, path, relative, _lock } = self;
            let finished =
                UndoFile::parse(&path, None, &mut Vec::new()).map_err(|e| e.to_string()).and_then(|names| {
                    runtime.block_on(undo.finish(&names, &directory)).map_err(|e| e.to_string())
                });
            match finished {
                Ok(()) => path.exists().then_some(relative),
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

/// Makes undo files from the journals of processes that were killed. Those of running processes are locked.
pub(crate) async fn recover(folder: &Path, directory: &Directory) {
    for journal in journals(folder) {
        let Some(path) = journal.to_str().and_then(|j| j.strip_suffix(JOURNAL)).map(PathBuf::from) else {
            continue;
        };
        let Ok(Ok(Some(_lock))) = Lock::try_of(&path) else { continue };
        if let Err(error) = recovery::of_journal(&path, directory).await {
            tracing::error!("{error}; target-ldap undo can still read the journal");
        }
    }
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
