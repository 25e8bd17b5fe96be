//! Makes undo files from the journals of killed runs, without replacing other files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ldap_directory::ldif::writer::LdifWriteError;
use ldap_directory::{Directory, ServerUrl};
use singer_common::operations::error::full_text;
use singer_common::operations::file::{self, JOURNAL, create_private, killed, with_suffix};

use super::entities::Entities;
use super::journal::{ChangeStatus, JournalReader, ReadError};
use super::owed::{self, KeptJournal, OwedLock, is_place};
use super::revert::{RevertOutcome, rehearse};
use super::{UndoError, failure};
use crate::config::undo_file::UndoFile;
use crate::write::protection::Protection;

/// The most such files.
const MOST: u32 = 10_000;

/// What became of a journal.
#[derive(Debug)]
pub enum Recovered {
    /// The run had changed nothing, or had made its undo file itself.
    Nothing,
    /// The undo file.
    Killed(PathBuf),
    /// It stays: it is of another directory, or it owes locks of accounts that could not be written now.
    Kept(KeptJournal),
}

/// Makes undo files from the journals of killed runs: of the run before if all runs share one file, else of any. Returns the locks that are
/// still owed. A journal that stays, and is in the way of this run's, gets a number: `PATH.2.journal`.
///
/// `servers`: the alternatives of the directory.
pub async fn recover(
    names: &UndoFile,
    path: &Path,
    directory: &Directory,
    servers: &[ServerUrl],
) -> Result<Vec<OwedLock>, UndoError> {
    let mut owed = Vec::new();
    for other in names.with_journals(path) {
        // A locked journal is that of a run in progress.
        if let Ok(Ok(Some(_lock))) = file::Lock::try_of(&other)
            && let Recovered::Kept(kept) = of_journal(&other, directory, servers).await?
        {
            owed.extend(kept.told(&with_suffix(&other, JOURNAL), directory));
        }
    }
    let own = with_suffix(path, JOURNAL);
    if own.exists()
        && let Recovered::Kept(kept) = of_journal(path, directory, servers).await?
    {
        let aside = set_aside(path).map_err(|e| failure(&own, &e))?;
        owed.extend(kept.told(&aside, directory));
    }
    Ok(owed)
}

/// Names the locks that are owed, as [`recover`] does, and writes nothing.
pub async fn look_for_owed(
    names: &UndoFile,
    path: &Path,
    directory: &Directory,
    servers: &[ServerUrl],
) -> Vec<OwedLock> {
    let mut owed = Vec::new();
    for path in names.with_journals(path).into_iter().chain([path.to_owned()]) {
        let journal = with_suffix(&path, JOURNAL);
        // That of a run in progress is locked.
        let Ok(file) = File::open(&journal) else { continue };
        if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            continue;
        }
        drop(file);
        let Ok(mut reading) = JournalReader::open(&journal) else { continue };
        let server = reading.header.server.clone();
        let is_foreign = !is_place(&server, directory, servers);
        let of_it = if is_foreign {
            owed::of_foreign(&mut reading, directory, &journal)
        } else {
            owed::look(&mut reading, directory, &journal).await
        };
        owed.extend(KeptJournal { server, is_foreign, owed: of_it }.told(&journal, directory));
    }
    owed
}

/// Gives the journal of `path` another name, under which later runs find it.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 2..MOST {
        let aside = with_suffix(path, &format!(".{number}{JOURNAL}"));
        if !aside.exists() {
            std::fs::rename(with_suffix(path, JOURNAL), &aside)?;
            file::sync_folder(file::folder(&aside))?;
            return Ok(aside);
        }
    }
    Err(io::Error::other("there are thousands of journals that could not be recovered"))
}

/// Makes an undo file (`PATH.killed`) from the journal of the undo file `path`, whose run was killed, and removes the journal, once it owes
/// no lock. The caller holds the lock of `path`. `servers`: the alternatives of the directory.
///
/// # Errors
/// The journal cannot be read, or the file not written.
pub async fn of_journal(
    path: &Path,
    directory: &Directory,
    servers: &[ServerUrl],
) -> Result<Recovered, UndoError> {
    let fail = |e: &dyn std::fmt::Display| failure(path, e);
    let journal = with_suffix(path, JOURNAL);
    let mut is_finished = false;
    let killed = match JournalReader::open(&journal) {
        Ok(mut reading) => {
            if reading.header.damaged {
                tracing::warn!(
                    "{} is damaged: changes of the run are missing in it, and cannot be taken back",
                    journal.display()
                );
            }
            let server = reading.header.server.clone();
            if !is_place(&server, directory, servers) {
                let owed = owed::of_foreign(&mut reading, directory, &journal);
                return Ok(Recovered::Kept(KeptJournal { server, is_foreign: true, owed }));
            }
            let locked = owed::lock_again(&mut reading, directory, &journal, None).await;
            if !locked.owed.is_empty() {
                owed::settle(&journal, &locked.settled).map_err(|e| fail(&e))?;
                return Ok(Recovered::Kept(KeptJournal { server, is_foreign: false, owed: locked.owed }));
            }
            is_finished = reading.later.is_finished;
            look_up(&mut reading, directory).await;
            if reading.is_empty() || is_finished {
                None
            } else {
                let run = reading.header.run.clone();
                let of_it = |p: &Path| JournalReader::open(p).is_ok_and(|r| r.header.run == run);
                Some(
                    write(path, of_it, |out| reading.write(true, out))
                        .map_err(|e: LdifWriteError| fail(&e))?,
                )
            }
        }
        Err(ReadError::Foreign) => {
            let octets = std::fs::read(&journal).map_err(|e| fail(&e))?;
            let records = super::legacy::records_of_journal(&octets);
            if records.is_empty() && !super::legacy::begins_as_ldif(&octets) {
                let why = "it is not a journal of this program, and would be removed: move it away, or set another undo_file";
                return Err(failure(&journal, &why));
            }
            if records.is_empty() {
                None
            } else {
                let all = records.concat();
                let of_it = |p: &Path| std::fs::read(p).is_ok_and(|there| there == all);
                Some(write(path, of_it, |out| out.write_all(&all)).map_err(|e: io::Error| fail(&e))?)
            }
        }
        Err(e) => return Err(failure(&journal, &e)),
    };
    if let Some(killed) = &killed {
        let killed = killed.display();
        tracing::warn!("a run with this undo_file was killed; what takes it back is in {killed}");
    } else if !is_finished {
        tracing::info!("a run with this undo_file was killed before it had changed anything");
    }
    std::fs::remove_file(&journal).map_err(|e| fail(&e))?;
    Ok(killed.map_or(Recovered::Nothing, Recovered::Killed))
}

/// Writes `PATH.killed`, or the first of `PATH.killed.2`, … that does not exist. A run that was killed before it could remove
/// the journal may have written the same file already.
fn write<E: From<io::Error> + std::fmt::Display>(
    path: &Path,
    is_it: impl Fn(&Path) -> bool,
    mut write: impl FnMut(&mut dyn io::Write) -> Result<(), E>,
) -> Result<PathBuf, E> {
    for n in 1..MOST {
        let killed = killed(path, n);
        if killed.exists() {
            if is_it(&killed) {
                return Ok(killed);
            }
            continue;
        }
        create_private(&killed, &mut write)?;
        return Ok(killed);
    }
    Err(io::Error::other("there are thousands of files of killed runs").into())
}

/// Determines whether announced changes were made, as far as the directory shows it.
///
/// An entry that is as before proves nothing on a server: the change may be on its way, or in a queue. It stays unknown, and
/// `target-ldap undo` looks again. In a file it is proven that it was not made.
pub async fn look_up(reading: &mut JournalReader, directory: &Directory) {
    let unknown: Vec<u64> =
        reading.places.keys().copied().filter(|n| reading.status(*n) == ChangeStatus::Unknown).collect();
    if unknown.is_empty() || reading.header.server != directory.location() {
        return;
    }
    match look(reading, &unknown, directory).await {
        Ok(()) => {}
        Err(e) => tracing::warn!(
            "undo_file: whether {} change(s) were made is not known: {}; target-ldap undo looks again",
            unknown.len(),
            full_text(e.as_ref())
        ),
    }
}

async fn look(reading: &mut JournalReader, unknown: &[u64], directory: &Directory) -> anyhow::Result<()> {
    let entities = Entities::of(reading, directory.schema())?;
    let meant = |n: &u64| unknown.contains(n);
    let concerned: BTreeSet<usize> = entities.steps.iter().filter(|s| !s.is_made).map(|s| s.entity).collect();
    let skip: BTreeSet<usize> =
        (0..entities.steps_of.len()).filter(|entity| !concerned.contains(entity)).collect();
    // What was made is asked; nothing is changed.
    let (report, _) =
        rehearse(reading, &entities, (directory, &Protection::none()), &skip, &BTreeMap::new(), None).await?;
    let was_atomic = reading.header.atomic && !reading.committed;
    // Changes that are not among the steps had no effect.
    let steps: BTreeSet<u64> = entities.steps.iter().map(|s| s.number).collect();
    for number in unknown.iter().filter(|n| !steps.contains(n)) {
        if let Some(place) = reading.places.get_mut(number) {
            place.status = ChangeStatus::Void;
        }
    }
    for (number, fate) in report.outcomes.iter().filter(|(n, _)| meant(n)) {
        if let Some(place) = reading.places.get_mut(number) {
            place.status = match fate {
                RevertOutcome::TakenBack => ChangeStatus::Made,
                RevertOutcome::NotInEffect if was_atomic => ChangeStatus::Void,
                RevertOutcome::NotInEffect | RevertOutcome::Refused => ChangeStatus::Unknown,
            };
        }
    }
    if was_atomic {
        // All of them are determined now.
        reading.committed = true;
    }
    Ok(())
}
