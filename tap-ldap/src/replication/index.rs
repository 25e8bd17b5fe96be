//! `track_deletions`: the keys and names of a stream, kept in a file.
//!
//! Where there is no log, keys that a complete read did not show are gone. Where there is one, the file knows what an entry
//! was called that the log names by its id alone, or calls by another name than before.
//!
//! What is gone stays in the file until a STATE that was printed after it comes back with a later run: a run that was
//! killed, or whose output was lost, tells of it again.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A key in JSON, in which pass over the directory it was seen last, and the entry's name then.
const KEYS: TableDefinition<'_, &str, (u128, &str)> = TableDefinition::new("keys");
/// A key in JSON and a name that its entry had, and in which run it was found to be gone.
const GONE: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("gone");
/// The number of the last run that found anything gone.
const RUN: TableDefinition<'_, (), u64> = TableDefinition::new("run");
/// What tells this file from one that was made anew.
const ID: TableDefinition<'_, (), u128> = TableDefinition::new("id");

/// The pass of entries that none has shown yet.
const NO_PASS: u128 = 0;
/// Keys put into the file at once.
const BATCH: usize = 10_000;
/// What the file's pages may take in memory, in octets.
const CACHE: usize = 8 * 1024 * 1024;

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
}

/// A change of the file that is to be made.
#[derive(Debug)]
enum Change {
    /// The entry is there, under this name.
    There(String),
    /// The entry was printed under this name; whether it is there the pass has to show.
    Printed(String),
    /// The entry is gone; it had this name.
    Gone(String),
    /// The entry is there, but no longer has this name.
    Renamed(String),
}

/// The keys of one stream.
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
    /// Whether anything was found to be gone since the run was counted.
    found: bool,
}

impl KeyIndex {
    /// Opens the file of a stream, or makes it.
    pub(crate) fn open(folder: &Path, stream: &str) -> Result<KeyIndex, IndexError> {
        let name: String = stream.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let hash = BASE64.encode(Sha256::digest(stream).get(..6).unwrap_or_default());
        let path = folder.join(format!("{name}-{hash}.keys"));
        let open = || -> Result<_, redb::Error> {
            std::fs::create_dir_all(folder)?;
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            // The names of a directory's entries are not for everybody.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
            let database = Database::builder()
                .set_cache_size(CACHE)
                .create_with_backend(FileBackend::new(options.open(&path)?)?)?;
            let change = database.begin_write()?;
            let (id, run) = {
                change.open_table(KEYS)?;
                change.open_table(GONE)?;
                let mut ids = change.open_table(ID)?;
                let known = ids.get(())?.map(|id| id.value());
                let id = known.unwrap_or_else(|| Uuid::new_v4().as_u128());
                ids.insert((), id)?;
                let run = change.open_table(RUN)?.get(())?.map_or(0, |run| run.value());
                (Uuid::from_u128(id), run)
            };
            change.commit()?;
            Ok((database, id, run))
        };
        let (database, id, run) = open().map_err(|e| fail(&path, &e))?;
        Ok(KeyIndex {
            database,
            path,
            id,
            run,
            pass: Uuid::new_v4().as_u128(),
            waiting: Vec::new(),
            names: HashMap::new(),
            found: false,
        })
    }

    /// What a bookmark has to say before anything new was found to be gone.
    pub(crate) fn mark(&self) -> Mark {
        Mark { id: self.id, run: self.run }
    }

    /// Takes note of what a bookmark says: deletions that were printed before it need not be told again. Whether the
    /// bookmark is about this file; if not, what was deleted since it nobody knows.
    pub(crate) fn confirm(&mut self, mark: &Mark) -> Result<bool, IndexError> {
        // A bookmark of a later run than the file's: the file is an old copy.
        if mark.id != self.id || mark.run > self.run {
            return Ok(false);
        }
        self.change(|change| {
            change.open_table(GONE)?.retain(|_, run| run > mark.run)?;
            Ok(())
        })?;
        Ok(true)
    }

    /// An entry is there, under this name.
    pub(crate) fn seen(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.put(key, Change::There(dn.to_owned()))
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
        read().map_err(|e| fail(&self.path, &e))
    }

    fn put(&mut self, key: String, change: Change) -> Result<(), IndexError> {
        match &change {
            Change::There(dn) | Change::Printed(dn) => drop(self.names.insert(key.clone(), Some(dn.clone()))),
            Change::Gone(_) => drop(self.names.insert(key.clone(), None)),
            Change::Renamed(_) => {}
        }
        self.waiting.push((key, change));
        if self.waiting.len() >= BATCH { self.write_waiting(Durability::None) } else { Ok(()) }
    }

    fn write_waiting(&mut self, durability: Durability) -> Result<(), IndexError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.names.clear();
        let (pass, run) = (self.pass, self.run + 1);
        self.change_with(durability, |change| {
            let mut keys = change.open_table(KEYS)?;
            let mut gone = change.open_table(GONE)?;
            let mut any_gone = !gone.is_empty()?;
            for (key, change) in &waiting {
                let key = key.as_str();
                match change {
                    Change::There(dn) => {
                        keys.insert(key, (pass, dn.as_str()))?;
                        if any_gone {
                            gone.remove((key, dn.as_str()))?;
                        }
                    }
                    Change::Printed(dn) => {
                        keys.insert(key, (NO_PASS, dn.as_str()))?;
                    }
                    Change::Gone(dn) => {
                        keys.remove(key)?;
                        gone.insert((key, dn.as_str()), run)?;
                        any_gone = true;
                    }
                    Change::Renamed(dn) => {
                        gone.insert((key, dn.as_str()), run)?;
                        any_gone = true;
                    }
                }
            }
            Ok(())
        })
    }

    /// Makes what was told last. Gives what the bookmark has to say.
    pub(crate) fn save(&mut self) -> Result<Mark, IndexError> {
        if self.waiting.is_empty() && !self.found {
            return Ok(self.mark());
        }
        self.write_waiting(Durability::None)?;
        let run = if self.found { self.run + 1 } else { self.run };
        self.change(|change| {
            change.open_table(RUN)?.insert((), run)?;
            Ok(())
        })?;
        self.run = run;
        self.found = false;
        Ok(self.mark())
    }

    /// The read was complete: what was not seen in it is gone. Gives what the bookmark has to say.
    pub(crate) fn complete(&mut self) -> Result<Mark, IndexError> {
        self.write_waiting(Durability::None)?;
        let (pass, run) = (self.pass, self.run + 1);
        let mut found = false;
        self.change_with(Durability::None, |change| {
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
        read().map_err(|e| fail(&self.path, &e))
    }

    fn change(
        &self,
        what: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        self.change_with(Durability::Immediate, what)
    }

    fn change_with(
        &self,
        durability: Durability,
        what: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        let change = || -> Result<(), redb::Error> {
            let mut change = self.database.begin_write()?;
            change.set_durability(durability)?;
            what(&change)?;
            change.commit()?;
            Ok(())
        };
        change().map_err(|e| fail(&self.path, &e))
    }
}

fn fail(path: &Path, error: &redb::Error) -> IndexError {
    let reason = match error {
        redb::Error::DatabaseAlreadyOpen => "another run is using it".to_owned(),
        other => other.to_string(),
    };
    IndexError { path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(index: &mut KeyIndex, keys: &[&str]) -> Mark {
        for key in keys {
            index.seen((*key).to_owned(), &format!("cn={key}")).unwrap();
        }
        index.complete().unwrap()
    }

    fn gone(index: &KeyIndex) -> Vec<String> {
        index.gone_after(None, 100, false).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn what_was_not_seen_is_gone_until_a_later_bookmark_says_that_it_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let open = || KeyIndex::open(folder.path(), "ou=people,dc=example,dc=test").unwrap();
        let mut index = open();
        let first = read(&mut index, &["a", "b", "c"]);
        assert!(gone(&index).is_empty());
        drop(index);

        let mut index = open();
        assert!(index.confirm(&first).unwrap());
        let second = read(&mut index, &["a", "c"]);
        assert_eq!(gone(&index), ["b"]);
        assert_eq!(index.gone_after(None, 1, false).unwrap(), [("b".to_owned(), "cn=b".to_owned())]);
        drop(index);

        // The STATE of the second run was lost: it is told again.
        let mut index = open();
        assert!(index.confirm(&first).unwrap());
        read(&mut index, &["a"]);
        assert_eq!(gone(&index), ["b", "c"]);
        drop(index);

        let mut index = open();
        assert!(index.confirm(&second).unwrap());
        assert_eq!(gone(&index), ["c"]);
        // It is back.
        read(&mut index, &["a", "c"]);
        assert!(gone(&index).is_empty());
    }

    #[test]
    fn a_pass_that_was_not_completed_concludes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let open = || KeyIndex::open(folder.path(), "s").unwrap();
        let mut index = open();
        read(&mut index, &["a", "b"]);
        drop(index);
        let mut index = open();
        index.seen("a".to_owned(), "cn=a").unwrap();
        index.write_waiting(Durability::Immediate).unwrap();
        assert!(gone(&index).is_empty());
        drop(index);
        // What the broken pass saw does not count as seen in the next.
        let mut index = open();
        read(&mut index, &["b"]);
        assert_eq!(gone(&index), ["a"]);
    }

    #[test]
    fn names_that_a_log_does_not_tell_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let open = || KeyIndex::open(folder.path(), "s").unwrap();
        let mut index = open();
        let first = read(&mut index, &["a", "b"]);
        assert_eq!(index.name_of("a").unwrap().as_deref(), Some("cn=a"));
        index.renamed("a".into(), "cn=a").unwrap();
        index.seen("a".into(), "cn=z").unwrap();
        index.forget("b".into(), "cn=b").unwrap();
        assert_eq!(index.name_of("a").unwrap().as_deref(), Some("cn=z"), "before it is in the file");
        assert_eq!(index.name_of("b").unwrap(), None);
        let second = index.save().unwrap();
        assert_ne!(first, second);
        assert_eq!(index.save().unwrap(), second, "nothing new");
        drop(index);

        let mut index = open();
        assert_eq!(index.name_of("a").unwrap().as_deref(), Some("cn=z"));
        let told_again = |index: &KeyIndex| index.gone_after(None, 100, true).unwrap();
        assert!(index.confirm(&first).unwrap());
        assert_eq!(told_again(&index), [("a".into(), "cn=a".into()), ("b".into(), "cn=b".into())]);
        assert_eq!(gone(&index), ["b"]);
        assert!(index.confirm(&second).unwrap());
        assert!(told_again(&index).is_empty());
    }

    #[test]
    fn another_file_is_noticed() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mark = read(&mut KeyIndex::open(one.path(), "s").unwrap(), &["a"]);
        assert!(!KeyIndex::open(two.path(), "s").unwrap().confirm(&mark).unwrap());
    }

    #[test]
    fn what_was_printed_and_is_gone_before_the_pass_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut index = KeyIndex::open(folder.path(), "s").unwrap();
        index.printed("short".into(), "cn=short").unwrap();
        index.printed("long".into(), "cn=long").unwrap();
        index.seen("long".into(), "cn=long").unwrap();
        index.complete().unwrap();
        assert_eq!(gone(&index), ["short"]);
    }

    #[test]
    fn more_keys_than_a_batch() {
        let folder = tempfile::tempdir().unwrap();
        let mut index = KeyIndex::open(folder.path(), "s").unwrap();
        for n in 0..BATCH * 2 + 7 {
            index.seen(n.to_string(), "cn=x").unwrap();
        }
        index.complete().unwrap();
        assert!(gone(&index).is_empty());
    }
}
