//! Makes undo files from the journals of killed runs, without replacing other files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ldap_directory::Directory;
use ldap_directory::ldif::writer::LdifWriteError;
use singer_common::operations::error::full_text;
use singer_common::operations::file::{JOURNAL, Lock, create_private, killed, with_suffix};

use super::entities::Entities;
use super::journal::{ChangeStatus, JournalReader, ReadError};
use super::revert::{RevertOutcome, rehearse};
use super::{UndoError, failure};
use crate::config::undo_file::UndoFile;
use crate::write::protection::Protection;

/// The most such files.
const MOST: u32 = 10_000;

/// Makes undo files from the journals of killed runs: of the run before if all runs share one file, else of any.
pub async fn recover(names: &UndoFile, path: &Path, directory: &Directory) -> Result<(), UndoError> {
    if with_suffix(path, JOURNAL).exists() {
        of_journal(path, directory).await?;
    }
    for other in names.with_journals(path) {
        // A locked journal is that of a run in progress.
        if let Ok(Ok(Some(_lock))) = Lock::try_of(&other) {
            of_journal(&other, directory).await?;
        }
    }
    Ok(())
}

/// Makes an undo file (`PATH.killed`) from the journal of the undo file `path`, whose run was killed, and removes the journal. The
/// caller holds the lock of `path`. Returns the new file; `None` if the run had changed nothing.
///
/// # Errors
/// The journal cannot be read, or the file not written.
pub async fn of_journal(path: &Path, directory: &Directory) -> Result<Option<PathBuf>, UndoError> {
    let fail = |e: &dyn std::fmt::Display| failure(path, e);
    let journal = with_suffix(path, JOURNAL);
    let killed = match JournalReader::open(&journal) {
        Ok(mut reading) => {
            if reading.header.damaged {
                tracing::warn!(
                    "{} is damaged: changes of the run are missing in it, and cannot be taken back",
                    journal.display()
                );
            }
            look_up(&mut reading, directory).await;
            if reading.is_empty() {
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
    } else {
        tracing::info!("a run with this undo_file was killed before it had changed anything");
    }
    std::fs::remove_file(&journal).map_err(|e| fail(&e))?;
    Ok(killed)
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
