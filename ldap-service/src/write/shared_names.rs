//! Names that must be unique, among the services that share `write.undo_dir`.
//!
//! A name is looked up, then written. In one process the lock of the name keeps others out meanwhile ([`super::locks`]); between
//! processes a lock of a file in the folder does, one of a few for all names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::locks::LockKey;
use super::{WriteError, WriteErrorKind};

/// The number of files.
const FILES: u8 = 16;

/// The lock of a name, until it is dropped.
#[derive(Debug)]
pub(super) struct SharedName(#[allow(dead_code, reason = "it is locked until it is closed")] File);

fn path(folder: &Path, name: &LockKey) -> PathBuf {
    // Not the hash of the standard library: it may differ between versions of the service.
    let sum = name.iter().fold(5381_u32, |sum, octet| sum.wrapping_mul(33) ^ u32::from(*octet));
    let number = sum % u32::from(FILES);
    folder.join(format!("names-{number}.lock"))
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

/// Waits until no other process writes a name that has the same file.
///
/// # Errors
/// The file cannot be locked: nothing may be written.
pub(super) async fn lock(folder: &Path, name: &LockKey) -> Result<SharedName, WriteError> {
    let path = path(folder, name);
    let of_path = path.clone();
    let file = tokio::task::spawn_blocking(move || locked(&of_path)).await;
    file.map_err(io::Error::other).flatten().map(SharedName).map_err(|error| {
        tracing::error!(setting = "write.undo_dir", "{}: {error}; nothing is written", path.display());
        let detail = "names cannot be locked in write.undo_dir, and nothing was changed; the reason is in the service's log";
        WriteError::new(WriteErrorKind::Undo, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_file_and_two_do_not_hold_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let ada = path(folder.path(), &b"value\0uid\0ada".to_vec());
        assert_eq!(ada, path(folder.path(), &b"value\0uid\0ada".to_vec()));
        let held = locked(&ada).unwrap();
        assert!(File::options().write(true).open(&ada).unwrap().try_lock().is_err());
        drop(held);
        assert!(File::options().write(true).open(&ada).unwrap().try_lock().is_ok());
        let files: std::collections::BTreeSet<PathBuf> =
            (0..200_u8).map(|n| path(folder.path(), &vec![n, n / 2])).collect();
        assert!((2..=usize::from(FILES)).contains(&files.len()));
    }
}
