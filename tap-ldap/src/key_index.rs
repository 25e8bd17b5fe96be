//! `track_deletions`: the keys and names of a stream, kept in a file.
//!
//! Where there is no log, keys that a complete read did not show are gone. Where there is one, the file knows what an entry
//! was called that the log names by its id alone, or calls by another name than before.
//!
//! What is gone stays in the file until a STATE that was printed after it comes back with a later run: a run that was
//! killed, or whose output was lost, tells of it again.
//!
//! No STATE is printed before the file holds, durably, every key that was printed before it, and no change that a log tells
//! leaves the process before: [`Indexes`] is the only way to open a file, and [`crate::output::Output`] commits first. Where a
//! stream is read whole, one commit for each buffer would cost more than the read: a run that was killed there leaves a note.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use singer_common::signals;
use uuid::Uuid;

pub(crate) use self::shared::{Indexes, SharedIndex};

mod file;
mod shared;
#[cfg(test)]
mod tests;

/// A key in JSON, in which pass over the directory it was seen last, and the entry's name then.
const KEYS: TableDefinition<'_, &str, (u128, &str)> = TableDefinition::new("keys");
/// A key in JSON and a name that its entry had, and in which run it was found to be gone.
const GONE: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("gone");
/// The key in JSON of an entry that a pass over the keys met and that was to be read because of it, and in which run. It stays
/// until a STATE that was printed after it comes back: until then nobody knows that its record arrived.
const RETURNED: TableDefinition<'_, &str, u64> = TableDefinition::new("returned");
/// The number of the last run that found anything gone.
const RUN: TableDefinition<'_, (), u64> = TableDefinition::new("run");
/// What tells this file from one that was made anew.
const ID: TableDefinition<'_, (), u128> = TableDefinition::new("id");
/// How many durable commits there were that changed what is known: fewer than a bookmark says, and the file is an older copy.
const COMMITS: TableDefinition<'_, (), u64> = TableDefinition::new("commits");

/// The stream's key properties, as a JSON list: of what the keys of this file are made. Files of earlier versions have none.
const OF: TableDefinition<'_, (), &str> = TableDefinition::new("of");
/// How earlier versions noted that a log's records were printed of which the file does not hold all keys.
const UNSETTLED: TableDefinition<'_, (), bool> = TableDefinition::new("unsettled");
/// What the last run with a log had begun and not ended: a number of [`Stage`].
const STAGE: TableDefinition<'_, (), u64> = TableDefinition::new("stage");

/// What a run that prints what a log tells has begun and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing.
    Settled,
    /// It printed changes. The file holds each of them before it leaves the process.
    Following,
    /// It read the stream whole. What it printed the file may not hold.
    ReadingWhole,
}

impl Stage {
    fn number(self) -> u64 {
        match self {
            Stage::Settled => 0,
            Stage::Following => 1,
            Stage::ReadingWhole => 2,
        }
    }

    fn of(number: u64) -> Stage {
        match number {
            0 => Stage::Settled,
            1 => Stage::Following,
            _ => Stage::ReadingWhole,
        }
    }
}

/// The pass of entries that none has shown yet.
const NO_PASS: u128 = 0;
/// Keys put into the file at once.
const BATCH: usize = 10_000;

/// The file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the index of keys {path} (state_dir): {reason}")]
pub(crate) struct IndexError {
    path: String,
    reason: String,
}

/// What a bookmark says of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Which file it is about.
    id: Uuid,
    /// The run whose deletions were printed before it.
    run: u64,
    /// How many durable commits there were before it; 0 in bookmarks of versions that did not count them.
    #[serde(default)]
    commits: u64,
}

impl Mark {
    /// The same deletions, and the file as it was committed by then.
    pub(crate) fn at(&self, commits: u64) -> Mark {
        Mark { commits, ..self.clone() }
    }
}

/// A change of the file that is to be made.
#[derive(Debug)]
enum Change {
    /// The entry is there, under this name.
    There(String),
    /// The entry was met under this name, by its key alone.
    Met(String),
    /// The entry was printed under this name; whether it is there the pass has to show.
    Printed(String),
    /// The entry is gone; it had this name.
    Gone(String),
    /// The entry is there, but no longer has this name.
    Renamed(String),
}

/// The keys of one stream.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the file")]
pub(crate) struct KeyIndex {
    database: Database,
    path: PathBuf,
    id: Uuid,
    run: u64,
    /// This pass over the directory.
    pass: u128,
    /// What is to be put into the file, by key in JSON.
    waiting: Vec<(String, Change)>,
    /// The names these changes lead to.
    names: HashMap<String, Option<String>>,
    /// Keys and names of entries that were met and are to be read.
    unread: Vec<(String, String)>,
    /// Whether anything was found to be gone, or to be read, since the run was counted.
    found: bool,
    /// Whether there are changes that a crash would take back.
    dirty: bool,
    /// Whether any of them is more than that an entry was seen again.
    learned: bool,
    commits: u64,
    stage: Stage,
    /// The key that the file was of before, where it was another one. It was made anew.
    other_key: Option<String>,
}

impl KeyIndex {
    /// Opens the file of a stream with these key properties, or makes it. One of another key is made anew: by its keys every
    /// entry would be gone.
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
            waiting: Vec::new(),
            names: HashMap::new(),
            unread: Vec::new(),
            found: false,
            dirty: false,
            learned: false,
            commits: found.commits,
            stage: found.stage,
            other_key: found.other_key,
        })
    }

    /// The key properties that the file was of before, where they were others.
    pub(crate) fn other_key(&self) -> Option<&str> {
        self.other_key.as_deref()
    }

    /// How many keys it holds.
    pub(crate) fn count(&self) -> Result<u64, IndexError> {
        let read = || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(KEYS)?.len()?) };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// What a bookmark has to say before anything new was found to be gone.
    pub(crate) fn mark(&self) -> Mark {
        Mark { id: self.id, run: self.run, commits: self.commits }
    }

    /// Takes note of what a bookmark says: deletions that were printed before it need not be told again. Whether the
    /// bookmark is about this file; if not, what was deleted since it nobody knows.
    pub(crate) fn confirm(&mut self, mark: &Mark) -> Result<bool, IndexError> {
        // A bookmark of a later run or commit than the file's: the file is an old copy.
        if mark.id != self.id || mark.run > self.run || mark.commits > self.commits {
            return Ok(false);
        }
        self.change(Durability::Immediate, |change| {
            change.open_table(GONE)?.retain(|_, run| run > mark.run)?;
            change.open_table(RETURNED)?.retain(|_, run| run > mark.run)?;
            Ok(())
        })?;
        Ok(true)
    }

    /// An entry is there, under this name.
    pub(crate) fn seen(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, Change::There(dn.to_owned()))
    }

    /// An entry is there, as its key shows. One that was never printed, or not under this name, is to be read.
    pub(crate) fn met(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, Change::Met(dn.to_owned()))
    }

    /// Whether entries that were met are to be read.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes the keys and names of the entries to be read.
    pub(crate) fn take_unread(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.unread)
    }

    /// An entry was printed. If the pass does not show it, it is gone again.
    pub(crate) fn printed(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, Change::Printed(dn.to_owned()))
    }

    /// An entry is gone; it had this name.
    pub(crate) fn forget(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.found = true;
        self.put(key, Change::Gone(dn.to_owned()))
    }

    /// An entry no longer has this name.
    pub(crate) fn renamed(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.found = true;
        self.put(key, Change::Renamed(dn.to_owned()))
    }

    /// The name an entry had when it was seen last; `None` for one that never was, or is known to be gone.
    pub(crate) fn name_of(&self, key: &str) -> Result<Option<String>, IndexError> {
        if let Some(name) = self.names.get(key) {
            return Ok(name.clone());
        }
        let read = || -> Result<_, redb::Error> {
            let keys = self.database.begin_read()?.open_table(KEYS)?;
            Ok(keys.get(key)?.map(|row| row.value().1.to_owned()))
        };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// Notes that changes of a log are printed. From now on [`Self::commit_ahead`] makes each of them last before it leaves the
    /// process: what a run printed that was killed, a later one knows by its names.
    pub(crate) fn follow(&mut self) -> Result<(), IndexError> {
        if self.stage >= Stage::Following {
            return Ok(());
        }
        self.begin_stage(Stage::Following, Durability::None)
    }

    /// Notes, durably, that the stream of a log is read whole: what is printed is in the file at the end only.
    pub(crate) fn read_whole(&mut self) -> Result<(), IndexError> {
        if self.stage == Stage::ReadingWhole {
            return Ok(());
        }
        self.begin_stage(Stage::ReadingWhole, Durability::Immediate)
    }

    /// Whether the last run printed what a log tells and did not come to its end.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.stage != Stage::Settled
    }

    /// Whether the last run may have printed what the file does not hold.
    pub(crate) fn lacks_printed(&self) -> bool {
        self.stage == Stage::ReadingWhole
    }

    /// The log was gone through to its end: with the next commit nothing is open.
    pub(crate) fn settle(&mut self) -> Result<(), IndexError> {
        if self.stage == Stage::Settled {
            return Ok(());
        }
        self.write_waiting()?;
        self.begin_stage(Stage::Settled, Durability::None)
    }

    fn begin_stage(&mut self, stage: Stage, durability: Durability) -> Result<(), IndexError> {
        self.change(durability, |change| {
            change.open_table(STAGE)?.insert((), stage.number())?;
            Ok(())
        })?;
        self.stage = stage;
        Ok(())
    }

    /// Before records leave the process: makes their keys last, unless everything is read.
    pub(crate) fn commit_ahead(&mut self) -> Result<(), IndexError> {
        if self.stage == Stage::Following {
            self.commit()?;
        }
        Ok(())
    }

    fn put(&mut self, key: String, change: Change) -> Result<(), IndexError> {
        match &change {
            Change::There(dn) | Change::Met(dn) | Change::Printed(dn) => {
                drop(self.names.insert(key.clone(), Some(dn.clone())));
            }
            Change::Gone(_) => drop(self.names.insert(key.clone(), None)),
            Change::Renamed(_) => {}
        }
        self.waiting.push((key, change));
        if self.waiting.len() >= BATCH { self.write_waiting() } else { Ok(()) }
    }

    fn write_waiting(&mut self) -> Result<(), IndexError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.names.clear();
        let (pass, run) = (self.pass, self.run + 1);
        let (mut learned, mut unread) = (false, Vec::new());
        self.change(Durability::None, |change| {
            let mut returned = change.open_table(RETURNED)?;
            let mut any_returned = !returned.is_empty()?;
            let mut keys = change.open_table(KEYS)?;
            let mut gone = change.open_table(GONE)?;
            let mut any_gone = !gone.is_empty()?;
            for (key, change) in &waiting {
                let key = key.as_str();
                match change {
                    Change::There(dn) => {
                        let before = keys.insert(key, (pass, dn.as_str()))?;
                        learned |= before.is_none_or(|row| row.value().1 != dn.as_str());
                        if any_gone {
                            gone.remove((key, dn.as_str()))?;
                        }
                    }
                    Change::Met(dn) => {
                        let before = keys.insert(key, (pass, dn.as_str()))?;
                        let is_new = before.is_none_or(|row| row.value().1 != dn.as_str());
                        // It may be that an earlier run was killed before its record went out.
                        if is_new || (any_returned && returned.get(key)?.is_some()) {
                            returned.insert(key, run)?;
                            unread.push((key.to_owned(), dn.clone()));
                            (any_returned, learned) = (true, true);
                        }
                        if any_gone {
                            gone.remove((key, dn.as_str()))?;
                        }
                    }
                    Change::Printed(dn) => {
                        let before = keys.insert(key, (NO_PASS, dn.as_str()))?;
                        learned |= before.is_none_or(|row| row.value().1 != dn.as_str());
                    }
                    Change::Gone(dn) => {
                        keys.remove(key)?;
                        gone.insert((key, dn.as_str()), run)?;
                        (any_gone, learned) = (true, true);
                    }
                    Change::Renamed(dn) => {
                        gone.insert((key, dn.as_str()), run)?;
                        (any_gone, learned) = (true, true);
                    }
                }
            }
            Ok(())
        })?;
        self.learned |= learned;
        self.found |= !unread.is_empty();
        self.unread.append(&mut unread);
        Ok(())
    }

    /// Makes all that was noted last, whatever happens to this process or this machine. How often that was done so far.
    pub(crate) fn commit(&mut self) -> Result<u64, IndexError> {
        self.write_waiting()?;
        if self.dirty {
            // A run in which nothing changed leaves a bookmark as it was.
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

    /// The same, and counts what was found to be gone as told. Gives what the bookmark has to say.
    pub(crate) fn save(&mut self) -> Result<Mark, IndexError> {
        self.write_waiting()?;
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
        Ok(self.mark())
    }

    /// The read was complete: what was not seen in it is gone. Gives what the bookmark has to say.
    pub(crate) fn complete(&mut self) -> Result<Mark, IndexError> {
        self.write_waiting()?;
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
        // Nothing that is seen from now on is of this pass.
        self.pass = Uuid::new_v4().as_u128();
        self.save()
    }

    /// What is gone and was not yet told for certain: keys in JSON, and names, up to `count` of them after one. With
    /// `renamed`, names that entries had which are there under another one, too.
    pub(crate) fn gone_after(
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

    /// Changes the file. What is not durable is so after the next [`Self::commit`].
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

/// What a file holds when it is opened.
struct Found {
    id: Uuid,
    run: u64,
    commits: u64,
    stage: Stage,
    other_key: Option<String>,
}

/// Makes the tables that are not there, and empties those of another key.
fn prepare(database: &Database, key: &[String]) -> Result<Found, redb::Error> {
    let key = Value::from(key).to_string();
    let _uninterrupted = signals::uninterrupted();
    let change = database.begin_write()?;
    let before = change.open_table(OF)?.get(())?.map(|of| of.value().to_owned());
    let other_key = match before {
        Some(before) => (before != key).then_some(before),
        None => is_of_another_key(&change, &key)?.then(|| "another key".to_owned()),
    };
    if other_key.is_some() {
        change.delete_table(KEYS)?;
        change.delete_table(GONE)?;
        change.delete_table(RETURNED)?;
        change.delete_table(ID)?;
        change.delete_table(RUN)?;
        change.delete_table(COMMITS)?;
        change.delete_table(UNSETTLED)?;
        change.delete_table(STAGE)?;
    }
    let found = {
        change.open_table(OF)?.insert((), key.as_str())?;
        change.open_table(KEYS)?;
        change.open_table(GONE)?;
        change.open_table(RETURNED)?;
        let mut ids = change.open_table(ID)?;
        let known = ids.get(())?.map(|id| id.value());
        let id = known.unwrap_or_else(|| Uuid::new_v4().as_u128());
        ids.insert((), id)?;
        let run = change.open_table(RUN)?.get(())?.map_or(0, |run| run.value());
        let commits = change.open_table(COMMITS)?.get(())?.map_or(0, |commits| commits.value());
        let unsettled = change.open_table(UNSETTLED)?.remove(())?.is_some_and(|row| row.value());
        let mut stages = change.open_table(STAGE)?;
        let stage = stages.get(())?.map(|stage| Stage::of(stage.value()));
        // Earlier versions printed changes, too, before the file held them.
        let stage = stage.unwrap_or(if unsettled { Stage::ReadingWhole } else { Stage::Settled });
        stages.insert((), stage.number())?;
        Found { id: Uuid::from_u128(id), run, commits, stage, other_key }
    };
    change.commit()?;
    Ok(found)
}

/// Whether the keys of a file that does not say of which key it is cannot be of this one, by one of them.
fn is_of_another_key(change: &redb::WriteTransaction, key: &str) -> Result<bool, redb::Error> {
    let keys = change.open_table(KEYS)?;
    let Some((row, seen)) = keys.first()? else { return Ok(false) };
    let names: Vec<String> = serde_json::from_str(key).unwrap_or_default();
    let values: Vec<Value> = serde_json::from_str(row.value()).unwrap_or_default();
    let dn = seen.value().1;
    let differs = |(name, value): (&String, &Value)| {
        let is_name = value.as_str() == Some(dn);
        // `entryDN` and `distinguishedName` say the same.
        let may_be_name = name.to_ascii_lowercase().ends_with("dn") || name == "distinguishedName";
        if name == "dn" { !is_name } else { is_name && !may_be_name }
    };
    Ok(names.len() != values.len() || names.iter().zip(&values).any(differs))
}

fn fail(path: &Path, error: &redb::Error) -> IndexError {
    let reason = match error {
        redb::Error::DatabaseAlreadyOpen => "another run is using it".to_owned(),
        // The next run makes a new one, and says so.
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
