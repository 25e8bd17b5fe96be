//! `undo_file`: undoes a run.
//!
//! Each change is announced in a journal beside the file; the announcement is on disk before the change is sent. Then the
//! journal records whether the change was made. At the end of the run, however it ends, the file is made from the journal. A
//! journal without an end is that of a killed run: the next run makes a separate file from it ([`recovery`]). `target-ldap
//! undo` applies both ([`command`]), and checks each entry first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::ldif::writer::LdifWriteError;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError};
use singer_common::operations::file::{self, JOURNAL, with_suffix};
use singer_common::operations::logging;
use singer_common::operations::signals;

pub mod change_note;
pub mod command;
pub mod entities;
pub mod expected;
mod freed;
pub mod journal;
mod legacy;
pub mod names;
pub mod owed;
pub mod recovery;
pub mod revert;
mod take_back;
#[cfg(test)]
mod tests;

use crate::config::undo_file::UndoFile;
use crate::write::maintained::{TakenWithEntries, taken_with_entries};

use change_note::ChangeNote;
use journal::{ChangeStatus, EntryId, Header, JournalReader};
use owed::{KeptJournal, OwedLock};

/// The undo file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("undo_file {path}: {reason}")]
pub struct UndoError {
    path: String,
    reason: String,
}

impl From<UndoError> for DirectoryError {
    fn from(error: UndoError) -> Self {
        let (path, reason) = ("undo_file".to_owned(), error.to_string());
        DirectoryError::File { path, reason, unreachable: false, cause: Some(error.into()) }
    }
}

#[derive(Debug)]
struct Journal {
    file: Arc<File>,
    end: u64,
    /// The start, length and status of each frame.
    places: Vec<journal::FrameEntry>,
    committed: bool,
}

/// A change that was announced.
#[derive(Debug, Clone, Copy)]
pub struct Announced {
    number: u64,
    end: u64,
}

/// A run's undo file.
#[derive(Debug)]
pub struct Undo {
    path: PathBuf,
    header: Header,
    journal: Mutex<Journal>,
    /// The octets of the journal that are on disk.
    synced: AtomicU64,
    /// One flush at a time: waiters find theirs done.
    syncing: tokio::sync::Mutex<()>,
    /// Whether deleted entries get their IDs back.
    keeps_ids: bool,
    /// The changes after which disabled accounts are not known to be disabled again, with the DNs.
    unlocked: Mutex<BTreeMap<u64, String>>,
    /// The locks that earlier runs owe, by their DNs.
    earlier: Mutex<Vec<(DnKey, OwedLock)>>,
    /// What the server takes out of other entries with a deleted one, once that was asked.
    taken: tokio::sync::OnceCell<Option<TakenWithEntries>>,
}

impl Undo {
    /// Begins a journal. There must be none: see [`recovery::recover`].
    ///
    /// `keeps_ids`: deleted entries get their IDs back (`preserve_uuid`).
    pub fn create(path: &Path, directory: &Directory, keeps_ids: bool) -> Result<Undo, UndoError> {
        let header = Header::new(logging::run_id(), directory.location(), !directory.applies_at_once());
        Self::begin(path, header, keeps_ids)
    }

    /// The same for a program that gives no entry a name that a group has: its undo takes the names that it frees out of groups.
    pub fn create_clearing_names(path: &Path, directory: &Directory) -> Result<Undo, UndoError> {
        let mut header = Header::new(logging::run_id(), directory.location(), !directory.applies_at_once());
        header.clears_names = true;
        Self::begin(path, header, false)
    }

    fn begin(path: &Path, header: Header, keeps_ids: bool) -> Result<Undo, UndoError> {
        let fail = |e: &dyn std::fmt::Display| failure(path, e);
        let name = with_suffix(path, JOURNAL);
        let mut options = File::options();
        options.create_new(true).read(true).write(true);
        // It may contain secrets.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&name).map_err(|e| fail(&e))?;
        // A run that has the file by another name (a hard link) finds it in use. It cannot be locked yet.
        #[cfg(unix)]
        let _ = file.try_lock();
        let line = header.journal_line();
        file.write_all(line.as_bytes()).map_err(|e| fail(&e))?;
        file.sync_all().and_then(|()| file::sync_folder(file::folder(&name))).map_err(|e| fail(&e))?;
        let end = line.len() as u64;
        let journal = Journal { file: Arc::new(file), end, places: Vec::new(), committed: false };
        Ok(Undo {
            path: path.to_owned(),
            header,
            journal: Mutex::new(journal),
            synced: AtomicU64::new(end),
            syncing: tokio::sync::Mutex::default(),
            keeps_ids,
            unlocked: Mutex::default(),
            earlier: Mutex::default(),
            taken: tokio::sync::OnceCell::new(),
        })
    }

    /// Returns what the server takes out of other entries with a deleted one.
    pub(in crate::write) async fn taken_with_entries(
        &self,
        directory: &Directory,
    ) -> Result<Option<&TakenWithEntries>, DirectoryError> {
        Ok(self.taken.get_or_try_init(|| taken_with_entries(directory)).await?.as_ref())
    }

    /// Whether deleted entries get their IDs back.
    pub fn keeps_ids(&self) -> bool {
        self.keeps_ids
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how to undo a change. The change may be sent after [`Self::wait_until_durable`].
    pub fn announce(&self, note: &ChangeNote, back: &[Change]) -> Result<Announced, UndoError> {
        let mut journal = self.journal();
        let number = journal.places.len() as u64;
        let octets = journal::announcement(number, note, back).map_err(|e| failure(&self.path, &e))?;
        let start = journal.end;
        journal.append(&octets).map_err(|e| failure(&self.path, &e))?;
        let length = octets.len() as u64;
        journal.places.push(journal::FrameEntry { start, length, status: ChangeStatus::Unknown, id: None });
        if note.lock.is_some() {
            self.unlocked().insert(number, note.dn.clone());
        }
        Ok(Announced { number, end: journal.end })
    }

    /// Waits until an announcement is on disk. Concurrent announcements share a flush. If all changes are committed at once,
    /// this does nothing: see [`Self::sync`].
    pub async fn wait_until_durable(&self, announced: Announced) -> Result<(), UndoError> {
        if self.header.atomic {
            return Ok(());
        }
        let _one = self.syncing.lock().await;
        if self.synced.load(Ordering::Acquire) >= announced.end {
            return Ok(());
        }
        let (file, end) = {
            let journal = self.journal();
            (journal.file.clone(), journal.end)
        };
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        synced.map_err(io::Error::other).flatten().map_err(|e| failure(&self.path, &e))?;
        self.synced.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Flushes the journal to disk.
    pub fn sync(&self) -> Result<(), UndoError> {
        let (file, end) = {
            let journal = self.journal();
            (journal.file.clone(), journal.end)
        };
        if self.synced.load(Ordering::Acquire) < end {
            file.sync_data().map_err(|e| failure(&self.path, &e))?;
            self.synced.fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Marks the change as made. `id`: the attribute and the value's digest of an added entry's ID.
    pub fn made(&self, announced: Announced, id: Option<&(String, String)>) {
        let id = id.and_then(|(name, digest)| EntryId::of(name, digest));
        self.mark(announced, ChangeStatus::Made, id, &journal::made(announced.number, id));
    }

    fn unlocked(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        // A panic elsewhere leaves an account in it, which is looked at once more.
        self.unlocked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an account is disabled again after the last change that set its password.
    pub(super) fn is_locked_again(&self, dn: &str) {
        // Not held while the journal is: an announcement locks them the other way round.
        let last = {
            let mut unlocked = self.unlocked();
            let last = unlocked.iter().rev().find(|(_, other)| *other == dn).map(|(number, _)| *number);
            last.inspect(|number| drop(unlocked.remove(number)))
        };
        if let Some(number) = last {
            // Without it, the next run looks at the account once more if this one is killed.
            let _ = self.journal().append(journal::locked(number).as_bytes());
        }
    }

    /// Sets the locks that earlier runs owe.
    pub fn knows_owed(&self, owed: &[OwedLock], schema: &Schema) {
        let keyed = owed.iter().map(|owed| (entities::key(&owed.dn, schema), owed.clone()));
        *self.earlier.lock().unwrap_or_else(PoisonError::into_inner) = keyed.collect();
    }

    /// Notes that a record enables an account: an earlier run owes it no lock any more.
    pub(super) fn is_enabled(&self, dn: &str, schema: &Schema) {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if earlier.is_empty() {
            return;
        }
        let key = entities::key(dn, schema);
        earlier.retain(|(of, owed)| *of != key || owed.settle().is_err());
    }

    /// Marks the change as not made.
    pub fn void(&self, announced: Announced) {
        self.unlocked().remove(&announced.number);
        self.mark(announced, ChangeStatus::Void, None, &journal::void(announced.number));
    }

    fn mark(&self, announced: Announced, status: ChangeStatus, id: Option<EntryId>, line: &str) {
        let mut journal = self.journal();
        let place = usize::try_from(announced.number).ok().and_then(|n| journal.places.get_mut(n));
        if let Some(place) = place {
            place.status = status;
            place.id = id;
        }
        // If the disk is full and the run is killed as well, the directory shows what was made.
        let _ = journal.append(line.as_bytes());
    }

    /// Marks all changes as committed.
    pub fn committed(&self) -> Result<(), UndoError> {
        {
            let mut journal = self.journal();
            journal.committed = true;
            let _ = journal.append(journal::committed().as_bytes());
        }
        self.sync()
    }

    /// Makes the file from the journal, with the last change first. A run without changes leaves the file of the last run that
    /// had some. Unknown changes are looked up. If locks of accounts are owed, the journal stays for them: they are returned.
    pub async fn finish(&self, names: &UndoFile, directory: &Directory) -> Result<Vec<OwedLock>, UndoError> {
        let fail = |e: &dyn std::fmt::Display| failure(&self.path, e);
        let name = with_suffix(&self.path, JOURNAL);
        let mut reading = {
            let journal = self.journal();
            let places = (0..).zip(journal.places.iter().copied()).collect();
            JournalReader::of(
                journal.file.try_clone().map_err(|e| fail(&e))?,
                self.header.clone(),
                places,
                journal.committed,
            )
        };
        if reading.header.atomic && !reading.committed {
            // The file is as it was: no change was made.
            reading.places.clear();
        }
        let unlocked: BTreeSet<u64> = self.unlocked().keys().copied().collect();
        let mut locked = owed::Locked::default();
        if !unlocked.is_empty() {
            locked = owed::lock_again(&mut reading, directory, &name, Some(&unlocked)).await;
        }
        recovery::look_up(&mut reading, directory).await;
        let _uninterrupted = signals::uninterrupted();
        if !reading.is_empty() {
            file::replace_private(&self.path, |out| reading.write(false, out))
                .map_err(|e: LdifWriteError| fail(&e))?;
            for old in names.surplus(&self.path) {
                remove_own(&old);
            }
        }
        if locked.owed.is_empty() {
            return std::fs::remove_file(&name).map(|()| Vec::new()).map_err(|e| fail(&e));
        }
        let lines: String = locked.settled.iter().map(|number| journal::locked(*number)).collect();
        let lines = format!("{lines}{}\n", journal::FINISHED);
        self.journal().append(lines.as_bytes()).map_err(|e| fail(&e))?;
        self.sync()?;
        let server = self.header.server.clone();
        Ok(KeptJournal { server, is_foreign: false, owed: locked.owed }.told(&name, directory))
    }
}

impl Journal {
    /// Appends all octets, or none.
    fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        let _uninterrupted = signals::uninterrupted();
        let mut file = &*self.file;
        let written = file.seek(SeekFrom::Start(self.end)).and_then(|_| file.write_all(octets));
        match written {
            Ok(()) => self.end += octets.len() as u64,
            // A full disk takes a part of them. Other changes in flight may still find room.
            Err(_) => drop(file.set_len(self.end)),
        }
        written
    }
}

/// Removes an undo file of an earlier run, if it is one.
fn remove_own(path: &Path) {
    if JournalReader::is_one(path)
        && let Err(e) = std::fs::remove_file(path)
    {
        tracing::warn!("undo_keep: {} could not be removed: {e}", path.display());
    }
}

fn failure(path: &Path, error: &dyn std::fmt::Display) -> UndoError {
    UndoError { path: path.display().to_string(), reason: error.to_string() }
}
