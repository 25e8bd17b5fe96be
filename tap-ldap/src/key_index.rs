//! `track_deletions`: the keys and DNs of a stream's entries, kept in a file.
//!
//! Without a log, keys that a complete read did not show are deletions. With a log, the file has the last DN of an entry that the
//! log names only by its id, or by another DN than before.
//!
//! Emitted deletions stay in the file until a later run starts from a STATE that covers them. A run that was killed, or whose
//! output was lost, emits them again.
//!
//! Before a STATE is printed, the file durably has every key emitted before it; before a change from a log leaves the
//! process, the file has its key. [`shared::Indexes`] is the only way to open a file, and [`crate::output::Output`] commits
//! first. During a whole read, one commit per buffer would cost more than the read: the file notes instead that a whole read
//! did not end.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redb::{Database, Durability, ReadableDatabase, ReadableTable as _, ReadableTableMetadata as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use singer_common::operations::signals;
use uuid::Uuid;

use self::tables::{COMMITS, DnBefore, GONE, KEYS, LogPhase, ORIGIN, PHASE, RETURNED, RUN, prepare};
pub(crate) use self::tables::{EntryKey, RenamedKey};

mod file;
mod former;
pub(crate) mod shared;
mod tables;
#[cfg(test)]
mod tests;

/// The pass of entries that no pass has shown yet.
const NO_PASS: u128 = 0;
/// Keys written to the file at once.
const WRITTEN_AT_ONCE: usize = 10_000;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the index of keys {path} (state_dir): {reason}")]
pub(crate) struct IndexError {
    path: String,
    reason: String,
}

/// The position of a bookmark in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexPosition {
    /// The identity of the file.
    id: Uuid,
    /// The run whose deletions were emitted before the bookposition.
    run: u64,
    /// The number of durable commits before the bookmark; 0 in bookmarks of versions that did not count them.
    #[serde(default)]
    commits: u64,
}

impl IndexPosition {
    /// Returns this position with another number of commits.
    pub(crate) fn at(&self, commits: u64) -> IndexPosition {
        IndexPosition { commits, ..self.clone() }
    }
}

/// A pending update of a key.
#[derive(Debug)]
enum KeyUpdate {
    /// The entry exists, with this DN.
    Present(String),
    /// The entry is listed with this DN in a pass over the keys.
    Listed(String),
    /// The entry was emitted with this DN; the pass must show whether it exists.
    Emitted(String),
    /// The entry was deleted; it had this DN.
    Deleted(String),
    /// The entry exists, but no longer has this DN.
    Renamed(String),
}

/// The index of one stream.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the file")]
pub(crate) struct KeyIndex {
    database: Database,
    path: PathBuf,
    id: Uuid,
    run: u64,
    /// The current pass over the directory.
    pass: u128,
    /// Pending updates, by key in JSON.
    pending: Vec<(String, KeyUpdate)>,
    /// The DNs after these updates.
    dns: HashMap<String, Option<String>>,
    /// Keys and DNs of listed entries that must be read.
    unread: Vec<(String, String)>,
    /// Keys and former DNs of entries whose deletions this run emitted.
    settled: HashSet<(String, String)>,
    /// Whether there may be deletions, or former DNs, that no bookmark confirmed.
    may_have_gone: bool,
    /// Whether the file had no key when it was opened.
    began_empty: bool,
    /// Whether a deletion, or an entry to be read, was found since the last counted run.
    found: bool,
    /// Whether there are changes that are not durable.
    dirty: bool,
    /// Whether any of them is more than an entry seen again.
    learned: bool,
    commits: u64,
    phase: LogPhase,
    /// The key properties that the file had before, if they were others. The file was then emptied.
    other_key: Option<String>,
}

impl KeyIndex {
    /// Opens the file of a stream with these key properties, or creates it. A file with another key is emptied: by its keys every
    /// entry would be deleted.
    fn open(folder: &Path, stream: &str, key: &[String]) -> Result<KeyIndex, IndexError> {
        let name: String = stream.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let hash = BASE64.encode(Sha256::digest(stream).get(..6).unwrap_or_default());
        let path = folder.join(format!("{name}-{hash}.keys"));
        let prepare = |database: &Database| prepare(database, key);
        let (database, found) = file::open(&path, prepare).map_err(|e| fail(&path, &e))?;
        Ok(KeyIndex {
            database,
            path,
            id: found.id,
            run: found.run,
            pass: Uuid::new_v4().as_u128(),
            pending: Vec::new(),
            dns: HashMap::new(),
            unread: Vec::new(),
            settled: HashSet::new(),
            may_have_gone: found.has_gone,
            began_empty: !found.has_keys,
            found: false,
            dirty: false,
            learned: false,
            commits: found.commits,
            phase: found.phase,
            other_key: found.other_key,
        })
    }

    /// Returns the key properties that the file had before, if they were others.
    pub(crate) fn other_key(&self) -> Option<&str> {
        self.other_key.as_deref()
    }

    /// Returns the number of keys.
    pub(crate) fn count(&self) -> Result<u64, IndexError> {
        let read = || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(KEYS)?.len()?) };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// Returns where the stream was read from the last time, if it was kept.
    pub(crate) fn origin(&self) -> Result<Option<String>, IndexError> {
        let read = || -> Result<_, redb::Error> {
            Ok(self.database.begin_read()?.open_table(ORIGIN)?.get(())?.map(|row| row.value().to_owned()))
        };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// Keeps where the stream was read from.
    pub(crate) fn keep_origin(&mut self, origin: &str) -> Result<(), IndexError> {
        if self.origin()?.as_deref() == Some(origin) {
            return Ok(());
        }
        self.change(Durability::None, |change| {
            change.open_table(ORIGIN)?.insert((), origin)?;
            Ok(())
        })
    }

    /// Returns the position for a bookmark before any deletion of this run.
    pub(crate) fn position(&self) -> IndexPosition {
        IndexPosition { id: self.id, run: self.run, commits: self.commits }
    }

    /// Compares the file with a bookmark's position: deletions emitted before it need not be repeated. Returns `false` if the
    /// bookmark is not about this file, so that deletions since the bookmark are unknown.
    pub(crate) fn confirm(&mut self, position: &IndexPosition) -> Result<bool, IndexError> {
        // A bookmark of a later run or commit than the file's: the file is an old copy.
        if position.id != self.id || position.run > self.run || position.commits > self.commits {
            return Ok(false);
        }
        let mut is_empty = false;
        self.change(Durability::Immediate, |change| {
            let mut gone = change.open_table(GONE)?;
            gone.retain(|_, run| run > position.run)?;
            is_empty = gone.is_empty()?;
            change.open_table(RETURNED)?.retain(|_, run| run > position.run)?;
            Ok(())
        })?;
        self.may_have_gone = !is_empty;
        Ok(true)
    }

    /// Notes that an entry exists, with this DN.
    pub(crate) fn seen(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, KeyUpdate::Present(dn.to_owned()))
    }

    /// Notes that a pass over the keys listed an entry. If it was never emitted, or with another DN, it must be read.
    pub(crate) fn listed(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, KeyUpdate::Listed(dn.to_owned()))
    }

    /// Returns whether listed entries must be read.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Returns the keys and DNs of the entries that must be read.
    pub(crate) fn take_unread(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.unread)
    }

    /// Notes that an entry was emitted. If the pass does not show it, it was deleted since.
    pub(crate) fn emitted(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, KeyUpdate::Emitted(dn.to_owned()))
    }

    /// Notes that an entry was deleted; it had this DN.
    pub(crate) fn forget(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.found = true;
        self.put(key, KeyUpdate::Deleted(dn.to_owned()))
    }

    /// Notes that an entry no longer has this DN.
    pub(crate) fn renamed(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.found = true;
        self.put(key, KeyUpdate::Renamed(dn.to_owned()))
    }

    /// Returns the last DN of an entry; `None` if it was never seen, or is known to be deleted.
    pub(crate) fn dn_of(&self, key: &str) -> Result<Option<String>, IndexError> {
        if let Some(name) = self.dns.get(key) {
            return Ok(name.clone());
        }
        let read = || -> Result<_, redb::Error> {
            let keys = self.database.begin_read()?.open_table(KEYS)?;
            Ok(keys.get(key)?.map(|row| row.value().1.to_owned()))
        };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// Notes that changes of a log are emitted. From now on [`Self::commit_ahead`] makes each of them durable before it
    /// leaves the process, so that a later run knows what a killed run emitted.
    pub(crate) fn follow(&mut self) -> Result<(), IndexError> {
        if self.phase >= LogPhase::Following {
            return Ok(());
        }
        self.begin_phase(LogPhase::Following, Durability::None)
    }

    /// Notes, durably, that the stream of a log is read whole: the file has the emitted keys only at the end.
    pub(crate) fn read_whole(&mut self) -> Result<(), IndexError> {
        if self.phase == LogPhase::ReadingWhole {
            return Ok(());
        }
        self.begin_phase(LogPhase::ReadingWhole, Durability::Immediate)
    }

    /// Returns whether the last run emitted changes of a log and did not end.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.phase != LogPhase::Ended
    }

    /// Returns whether the last run may have emitted entries that the file does not have.
    pub(crate) fn lacks_printed(&self) -> bool {
        self.phase == LogPhase::ReadingWhole
    }

    /// Notes that the log was read to its end: after the next commit nothing is open.
    pub(crate) fn finish(&mut self) -> Result<(), IndexError> {
        if self.phase == LogPhase::Ended {
            return Ok(());
        }
        self.write_pending()?;
        self.begin_phase(LogPhase::Ended, Durability::None)
    }

    fn begin_phase(&mut self, phase: LogPhase, durability: Durability) -> Result<(), IndexError> {
        self.change(durability, |change| {
            change.open_table(PHASE)?.insert((), phase.number())?;
            Ok(())
        })?;
        self.phase = phase;
        Ok(())
    }

    /// Makes keys durable before their records leave the process, except during a whole read.
    pub(crate) fn commit_ahead(&mut self) -> Result<(), IndexError> {
        if self.phase == LogPhase::Following {
            self.commit()?;
        }
        Ok(())
    }

    fn put(&mut self, key: String, update: KeyUpdate) -> Result<(), IndexError> {
        match &update {
            KeyUpdate::Present(dn) | KeyUpdate::Listed(dn) | KeyUpdate::Emitted(dn) => {
                drop(self.dns.insert(key.clone(), Some(dn.clone())));
            }
            KeyUpdate::Deleted(_) => drop(self.dns.insert(key.clone(), None)),
            KeyUpdate::Renamed(_) => {}
        }
        self.pending.push((key, update));
        if self.pending.len() >= WRITTEN_AT_ONCE { self.write_pending() } else { Ok(()) }
    }

    fn write_pending(&mut self) -> Result<(), IndexError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.dns.clear();
        let (pass, run) = (self.pass, self.run + 1);
        let (mut learned, mut unread, mut renamed, mut has_gone) = (false, Vec::new(), false, false);
        self.change(Durability::None, |change| {
            let mut returned = change.open_table(RETURNED)?;
            let mut any_returned = !returned.is_empty()?;
            let mut keys = change.open_table(KEYS)?;
            let mut gone = change.open_table(GONE)?;
            let mut any_gone = !gone.is_empty()?;
            for (key, update) in &pending {
                let key = key.as_str();
                match update {
                    KeyUpdate::Present(dn) => {
                        let before = DnBefore::of(keys.insert(key, (pass, dn.as_str()))?, dn);
                        learned |= before != DnBefore::Same;
                        if any_gone {
                            gone.remove((key, dn.as_str()))?;
                        }
                        renamed |= before.keep(key, run, &mut gone)?;
                    }
                    KeyUpdate::Listed(dn) => {
                        let before = DnBefore::of(keys.insert(key, (pass, dn.as_str()))?, dn);
                        let is_new = before != DnBefore::Same;
                        // An earlier run may have been killed before it emitted the record.
                        if is_new || (any_returned && returned.get(key)?.is_some()) {
                            returned.insert(key, run)?;
                            unread.push((key.to_owned(), dn.clone()));
                            (any_returned, learned) = (true, true);
                        }
                        if any_gone {
                            gone.remove((key, dn.as_str()))?;
                        }
                        renamed |= before.keep(key, run, &mut gone)?;
                    }
                    KeyUpdate::Emitted(dn) => {
                        let before = DnBefore::of(keys.insert(key, (NO_PASS, dn.as_str()))?, dn);
                        learned |= before != DnBefore::Same;
                        renamed |= before.keep(key, run, &mut gone)?;
                    }
                    KeyUpdate::Deleted(dn) => {
                        keys.remove(key)?;
                        gone.insert((key, dn.as_str()), run)?;
                        (any_gone, learned) = (true, true);
                    }
                    KeyUpdate::Renamed(dn) => {
                        gone.insert((key, dn.as_str()), run)?;
                        (any_gone, learned) = (true, true);
                    }
                }
                any_gone |= renamed;
            }
            has_gone = any_gone;
            Ok(())
        })?;
        self.may_have_gone |= has_gone;
        self.learned |= learned;
        self.found |= renamed || !unread.is_empty();
        self.unread.append(&mut unread);
        Ok(())
    }

    /// Makes all updates durable. Returns the number of commits so far.
    pub(crate) fn commit(&mut self) -> Result<u64, IndexError> {
        self.write_pending()?;
        if self.dirty {
            // If nothing changed in a run, the bookmark stays the same.
            let commits = self.commits + u64::from(self.learned);
            self.change(Durability::Immediate, |change| {
                change.open_table(COMMITS)?.insert((), commits)?;
                Ok(())
            })?;
            self.commits = commits;
            (self.dirty, self.learned) = (false, false);
        }
        Ok(self.commits)
    }

    /// Makes all updates durable, and counts the deletions found as emitted. Returns the position for the bookposition.
    pub(crate) fn save(&mut self) -> Result<IndexPosition, IndexError> {
        self.write_pending()?;
        if self.found {
            let run = self.run + 1;
            self.change(Durability::None, |change| {
                change.open_table(RUN)?.insert((), run)?;
                Ok(())
            })?;
            self.run = run;
            self.found = false;
        }
        self.commit()?;
        Ok(self.position())
    }

    /// Ends a complete read: keys that it did not show are deletions. Returns the position for the bookposition.
    pub(crate) fn complete(&mut self) -> Result<IndexPosition, IndexError> {
        self.write_pending()?;
        let (pass, run) = (self.pass, self.run + 1);
        let mut found = false;
        self.change(Durability::None, |change| {
            let mut gone = change.open_table(GONE)?;
            let mut failed = None;
            change.open_table(KEYS)?.retain(|key, (seen, dn)| {
                if seen != pass && failed.is_none() {
                    found = true;
                    failed = gone.insert((key, dn), run).err();
                }
                seen == pass || failed.is_some()
            })?;
            failed.map_or(Ok(()), |error| Err(error.into()))
        })?;
        self.found |= found;
        self.learned |= found;
        self.may_have_gone |= found;
        // Entries seen from now on belong to a new pass.
        self.pass = Uuid::new_v4().as_u128();
        self.save()
    }

    /// Returns deletions that are not confirmed by a bookmark: keys in JSON and DNs, up to `count` of them after one.
    /// `renamed`: also former DNs of entries that exist with another one.
    pub(crate) fn deletions_after(
        &self,
        after: Option<&(String, String)>,
        count: usize,
        renamed: bool,
    ) -> Result<Vec<(String, String)>, IndexError> {
        use std::ops::Bound;
        let read = || -> Result<_, redb::Error> {
            let database = self.database.begin_read()?;
            let (gone, keys) = (database.open_table(GONE)?, database.open_table(KEYS)?);
            let from =
                after.map_or(Bound::Unbounded, |(key, dn)| Bound::Excluded((key.as_str(), dn.as_str())));
            let mut found = Vec::new();
            for row in gone.range::<(&str, &str)>((from, Bound::Unbounded))? {
                let (row, _) = row?;
                let (key, dn) = row.value();
                if renamed || keys.get(key)?.is_none() {
                    found.push((key.to_owned(), dn.to_owned()));
                }
                if found.len() >= count {
                    break;
                }
            }
            Ok(found)
        };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// Runs a transaction. If it is not durable, it becomes so with the next [`Self::commit`].
    fn change(
        &mut self,
        durability: Durability,
        what: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        let _uninterrupted = signals::uninterrupted();
        let change = || -> Result<(), redb::Error> {
            let mut change = self.database.begin_write()?;
            change.set_durability(durability)?;
            what(&change)?;
            change.commit()?;
            Ok(())
        };
        file::guarded(change).map_err(|e| fail(&self.path, &e))?;
        self.dirty |= matches!(durability, Durability::None);
        Ok(())
    }
}

fn fail(path: &Path, error: &redb::Error) -> IndexError {
    let reason = match error {
        redb::Error::DatabaseAlreadyOpen => "another run is using it".to_owned(),
        // The next run creates a new one, with a message.
        damaged if file::is_damaged(damaged) => {
            let kept = file::set_aside(path).map_or_else(|e| e.to_string(), |to| to.display().to_string());
            format!(
                "it is damaged ({damaged}) and was set aside ({kept}); run again: the next run is a full resync"
            )
        }
        other => other.to_string(),
    };
    IndexError { path: path.display().to_string(), reason }
}
