//! `track_deletions`: the keys of a stream, kept in a file, so that what is gone is noticed without any log.
//!
//! After each complete read, keys that were not seen in it are gone. They stay in the file as *gone* until a STATE that was
//! printed after them comes back with a later run: a run that was killed, or whose output was lost, tells of them again.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A key in JSON, in which pass over the directory it was seen last, and the entry's name then.
const KEYS: TableDefinition<'_, &str, (u128, &str)> = TableDefinition::new("keys");
/// A key in JSON, in which run it was found to be gone, and the entry's name before.
const GONE: TableDefinition<'_, &str, (u64, &str)> = TableDefinition::new("gone");
/// The number of the last run that found anything gone.
const RUN: TableDefinition<'_, (), u64> = TableDefinition::new("run");
/// What tells this file from one that was made anew.
const ID: TableDefinition<'_, (), u128> = TableDefinition::new("id");

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

/// The keys of one stream.
pub(crate) struct KeyIndex {
    database: Database,
    path: PathBuf,
    id: Uuid,
    run: u64,
    /// This pass over the directory.
    pass: u128,
    /// Keys and names that are to be put into the file.
    waiting: Vec<(String, String)>,
}

impl KeyIndex {
    /// Opens the file of a stream, or makes it.
    pub(crate) fn open(folder: &Path, stream: &str) -> Result<KeyIndex, IndexError> {
        let name: String = stream.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let hash = BASE64.encode(Sha256::digest(stream).get(..6).unwrap_or_default());
        let path = folder.join(format!("{name}-{hash}.keys"));
        let open = || -> Result<_, redb::Error> {
            std::fs::create_dir_all(folder)?;
            let database = Database::builder().set_cache_size(CACHE).create(&path)?;
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
        Ok(KeyIndex { database, path, id, run, pass: Uuid::new_v4().as_u128(), waiting: Vec::new() })
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
            change.open_table(GONE)?.retain(|_, (run, _)| run > mark.run)?;
            Ok(())
        })?;
        Ok(true)
    }

    /// An entry is there.
    pub(crate) fn seen(&mut self, key: String, dn: &str) -> Result<(), IndexError> {
        self.waiting.push((key, dn.to_owned()));
        if self.waiting.len() >= BATCH { self.write_waiting(Durability::None) } else { Ok(()) }
    }

    fn write_waiting(&mut self, durability: Durability) -> Result<(), IndexError> {
        let waiting = std::mem::take(&mut self.waiting);
        let pass = self.pass;
        self.change_with(durability, |change| {
            let mut keys = change.open_table(KEYS)?;
            let mut gone = change.open_table(GONE)?;
            let any_gone = !gone.is_empty()?;
            for (key, dn) in &waiting {
                keys.insert(key.as_str(), (pass, dn.as_str()))?;
                if any_gone {
                    gone.remove(key.as_str())?;
                }
            }
            Ok(())
        })
    }

    /// The read was complete: what was not seen in it is gone. Gives what the bookmark has to say.
    pub(crate) fn complete(&mut self) -> Result<Mark, IndexError> {
        self.write_waiting(Durability::None)?;
        let (pass, run) = (self.pass, self.run + 1);
        let mut found = false;
        self.change(|change| {
            let mut gone = change.open_table(GONE)?;
            let mut failed = None;
            change.open_table(KEYS)?.retain(|key, (seen, dn)| {
                if seen != pass && failed.is_none() {
                    found = true;
                    failed = gone.insert(key, (run, dn)).err();
                }
                seen == pass || failed.is_some()
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if found {
                change.open_table(RUN)?.insert((), run)?;
            }
            Ok(())
        })?;
        if found {
            self.run = run;
        }
        Ok(self.mark())
    }

    /// What is gone and was not yet told for certain: keys in JSON, and names, up to `count` of them after a key.
    pub(crate) fn gone_after(
        &self,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<(String, String)>, IndexError> {
        use std::ops::Bound;
        let read = || -> Result<_, redb::Error> {
            let gone = self.database.begin_read()?.open_table(GONE)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let range = gone.range::<&str>((from, Bound::Unbounded))?;
            range
                .take(count)
                .map(|row| {
                    let (key, value) = row?;
                    Ok((key.value().to_owned(), value.value().1.to_owned()))
                })
                .collect()
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
        index.gone_after(None, 100).unwrap().into_iter().map(|(key, _)| key).collect()
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
        assert_eq!(index.gone_after(None, 1).unwrap(), [("b".to_owned(), "cn=b".to_owned())]);
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
    fn another_file_is_noticed() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mark = read(&mut KeyIndex::open(one.path(), "s").unwrap(), &["a"]);
        assert!(!KeyIndex::open(two.path(), "s").unwrap().confirm(&mark).unwrap());
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
