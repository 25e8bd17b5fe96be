//! Locks of names and entries, among the services that share `write.undo_dir`.
//!
//! A name is looked up, then written; an entry is read, then changed as a whole. In one process the locks of both keep others out meanwhile
//! ([`super::locks`]); between processes locks of files in the folder do, of a few for all names and entries.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::locks::LockKey;
use super::{WriteError, WriteErrorKind, Writer};

/// The number of files for names.
const NAMES: u8 = 16;
/// The number of files for entries.
const ENTRIES: u8 = 64;

/// Locks that are held until they are dropped.
#[derive(Debug)]
pub(crate) struct SharedLocks(
    #[allow(dead_code, reason = "they are locked until they are closed")] Vec<File>,
);

fn path(folder: &Path, (of, files): (&str, u8), key: &LockKey) -> PathBuf {
    // Not the hash of the standard library: it may differ between versions of the service.
    let sum = key.iter().fold(5381_u32, |sum, octet| sum.wrapping_mul(33) ^ u32::from(*octet));
    let number = sum % u32::from(files);
    folder.join(format!("{of}-{number}.lock"))
}

fn locked(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    file.lock()?;
    Ok(file)
}

impl Writer {
    /// Waits until no other process writes one of these names or entries (or one that has the same file). All of a write are locked at
    /// once, in one order for all, so that no two wait for each other. `all`: DNs, identifiers, and the `names` among them.
    ///
    /// # Errors
    /// A file cannot be locked: nothing may be written.
    pub(crate) async fn lock_shared(
        &self,
        all: &BTreeSet<LockKey>,
        names: &BTreeSet<LockKey>,
    ) -> Result<SharedLocks, WriteError> {
        let folder = self.undo_dir()?;
        let of = |key| {
            path(folder, if names.contains(key) { ("names", NAMES) } else { ("entries", ENTRIES) }, key)
        };
        let paths: BTreeSet<PathBuf> = all.iter().map(of).collect();
        let lock = move || paths.iter().map(|path| locked(path)).collect::<io::Result<Vec<File>>>();
        let files = tokio::task::spawn_blocking(lock).await;
        files.map_err(io::Error::other).flatten().map(SharedLocks).map_err(|error| {
            let folder = folder.display();
            tracing::error!(setting = "write.undo_dir", "{folder}: a lock: {error}; nothing is written");
            let detail = "nothing can be locked in write.undo_dir, and nothing was changed; the reason is in the service's log";
            WriteError::new(WriteErrorKind::Undo, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_file_and_two_do_not_hold_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |key: &LockKey| path(folder.path(), ("names", NAMES), key);
        let ada = path(&b"value\0uid\0ada".to_vec());
        assert_eq!(ada, path(&b"value\0uid\0ada".to_vec()));
        let held = locked(&ada).unwrap();
        assert!(File::options().write(true).open(&ada).unwrap().try_lock().is_err());
        drop(held);
        assert!(File::options().write(true).open(&ada).unwrap().try_lock().is_ok());
        let files: BTreeSet<PathBuf> = (0..200_u8).map(|n| path(&vec![n, n / 2])).collect();
        assert!((2..=usize::from(NAMES)).contains(&files.len()));
    }
}
