//! Locks: one run at a time for a file or directory that a run writes.
//!
//! The lock is the system's (flock(2), LockFileEx), on a small file beside the locked path.
//! The locked file itself may be replaced by a rename, which would drop a lock on it.
//! The system releases the lock when the process ends, even if it is killed. The content of the lock file is only information.
//!
//! A file may have several names (hard links), each with its own lock file.
//! An existing file is therefore locked itself, too: that lock belongs to its device and inode.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LOCK, real, with_suffix};
use crate::operations::settings_error::SettingsError;

/// Attempts to create a lock file that its owner removes at the same moment.
const ATTEMPTS: u32 = 100;
/// The time for an owner to write its process id.
const PATIENCE: Duration = Duration::from_millis(10);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// The locked path.
    of: PathBuf,
    /// The file at that path when the lock was acquired, or created since ([`Lock::hold`]).
    itself: Option<File>,
}

/// The lock is held by another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockConflict {
    /// The locked path, links resolved.
    pub path: PathBuf,
    /// The process that holds it, if known.
    pub pid: Option<u32>,
}

impl LockConflict {
    /// Returns the error of a setting that names the file.
    pub fn error(&self, setting: &str) -> SettingsError {
        let path = self.path.display();
        let (who, expected) = match self.pid {
            Some(pid) if pid == std::process::id() => {
                ("this run itself, for another setting".to_owned(), "a file of its own for each setting")
            }
            Some(pid) => (format!("the process {pid}"), "one run after the other, or another file for each"),
            None => ("another process".to_owned(), "one run after the other, or another file for each"),
        };
        SettingsError::value(setting, format!("{path} is in use by {who}"), expected)
    }
}

impl Lock {
    /// Acquires the lock of a file or directory that a setting names. All names of one file share its lock.
    ///
    /// Returns `None`, with a warning, if the file system has no locks or the lock file cannot be created: the run continues.
    /// Files that are not regular (a pipe, a terminal) are not locked.
    ///
    /// # Errors
    /// Another run holds the lock: [`LockConflict::error`].
    pub fn of(setting: &str, path: &Path) -> Result<Option<Lock>, SettingsError> {
        match Self::try_of(path) {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(held)) => Err(held.error(setting)),
            Err(e) => {
                tracing::warn!(
                    "{setting}: {} could not be locked: {e}; make sure that no two runs use it at the same time",
                    path.display()
                );
                Ok(None)
            }
        }
    }

    /// Acquires the lock and returns the reason for a failure, for callers that handle it themselves.
    pub fn try_of(path: &Path) -> io::Result<Result<Option<Lock>, LockConflict>> {
        let path = real(path);
        let beside = match std::fs::metadata(&path) {
            Ok(it) if it.is_dir() => path.join(LOCK),
            Ok(it) if !it.is_file() => return Ok(Ok(None)),
            _ => with_suffix(&path, LOCK),
        };
        for _ in 0..ATTEMPTS {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
            let mut file = options.open(&beside)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Ok(Err(LockConflict { pid: owner(&mut file), path }));
                }
                Err(TryLockError::Error(e)) => {
                    // An empty lock file without a lock is not left behind.
                    if file.metadata().is_ok_and(|m| m.len() == 0) {
                        let _ = std::fs::remove_file(&beside);
                    }
                    return Err(e);
                }
            }
            // The last owner may have removed the file between this open and its release.
            if is_still(&file, &beside) {
                let itself = match lock_itself(&path) {
                    Ok(itself) => itself,
                    Err(pid) => {
                        let _ = std::fs::remove_file(&beside);
                        return Ok(Err(LockConflict { path, pid }));
                    }
                };
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(Ok(Some(Lock { file, path: beside, of: path, itself })));
            }
        }
        Err(io::Error::other("its lock file is made and removed all the time"))
    }

    /// Locks the file itself, too, if this run created it after the lock was acquired: other names may lead to it.
    ///
    /// # Errors
    /// Another run has locked the file by another name since it was created.
    pub fn hold(&mut self, setting: &str) -> Result<(), SettingsError> {
        if self.itself.is_none() {
            let held = |pid| LockConflict { path: self.of.clone(), pid }.error(setting);
            self.itself = lock_itself(&self.of).map_err(held)?;
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while the lock is held: a process that has just opened it notices, and creates another.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Locks a file itself, if it exists and its file system supports that.
/// The error is the process that holds the lock by another name, if known.
#[cfg(unix)]
fn lock_itself(path: &Path) -> Result<Option<File>, Option<u32>> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    if !file.metadata().is_ok_and(|it| it.is_file()) {
        return Ok(None);
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(owner_of_inode(&file)),
        // NFS locks only files that are open for writing; the lock beside the file is held in any case.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// On other systems such a lock would prevent writes by this process, too.
#[cfg(not(unix))]
fn lock_itself(_: &Path) -> Result<Option<File>, Option<u32>> {
    Ok(None)
}

/// Returns the process that holds the lock of a file: proc_locks(5), by device and inode.
#[cfg(unix)]
fn owner_of_inode(file: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = file.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // `1: FLOCK  ADVISORY  WRITE 708 08:01:1234 0 EOF`.
    // Btrfs and overlay file systems report other device numbers there, so only the inode is compared.
    let of = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid) = (words.next()?, words.nth(2)?);
        let at = words.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
        (kind == "FLOCK" && at == inode).then(|| pid.parse().ok()).flatten()
    };
    let mut found = locks.lines().filter_map(of);
    // If two devices have a file with this inode, the owner is ambiguous.
    found.next().filter(|_| found.next().is_none())
}

/// Returns the process id in a lock file.
fn owner(file: &mut File) -> Option<u32> {
    for _ in 0..10 {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        if read.is_ok() && text.ends_with('\n') {
            return text.trim().parse().ok();
        }
        std::thread::sleep(PATIENCE);
    }
    None
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(a), Ok(b)) if a.dev() == b.dev() && a.ino() == b.ino())
}

/// On other systems an open file cannot be removed.
#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &Path) -> LockConflict {
        Lock::try_of(path).unwrap().unwrap_err()
    }

    #[test]
    fn lock_names_its_holder_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("undo.ldif");
        let lock = Lock::of("undo_file", &path).unwrap().unwrap();
        assert_eq!(held(&path).pid, Some(std::process::id()));
        drop(lock);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        Lock::of("undo_file", &path).unwrap().unwrap();
    }

    #[test]
    fn lock_of_a_killed_run_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("undo.ldif");
        std::fs::write(with_suffix(&path, LOCK), "1\n").unwrap();
        let lock = Lock::of("undo_file", &path).unwrap();
        assert!(lock.is_some());
        assert_eq!(held(&path).pid, Some(std::process::id()));
    }

    #[cfg(unix)]
    #[test]
    fn lock_is_shared_by_all_links() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        symlink("real", at("linked")).unwrap();
        symlink(at("linked/undo.ldif"), at("link")).unwrap();
        symlink("link", at("link-to-link")).unwrap();
        // The file does not exist yet.
        let lock = Lock::of("undo_file", &at("real/undo.ldif")).unwrap();
        for name in ["real/../real/./undo.ldif", "linked/undo.ldif", "link", "link-to-link"] {
            assert_eq!(held(&at(name)).pid, Some(std::process::id()), "{name}");
        }
        drop(lock);
        std::fs::write(at("real/undo.ldif"), "x").unwrap();
        let _lock = Lock::of("undo_file", &at("link-to-link")).unwrap();
        held(&at("real/undo.ldif"));
        assert!(Lock::of("undo_file", &at("real")).unwrap().is_some(), "a folder has one of its own");
    }

    #[cfg(unix)]
    #[test]
    fn lock_is_shared_by_hard_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("other")).unwrap();
        std::fs::write(at("rejects.jsonl"), "x").unwrap();
        std::fs::hard_link(at("rejects.jsonl"), at("other/undo.ldif")).unwrap();
        let lock = Lock::of("reject_file", &at("rejects.jsonl")).unwrap().unwrap();
        let error = Lock::of("undo_file", &at("other/undo.ldif")).unwrap_err().to_string();
        assert!(error.contains("undo.ldif") && error.contains("in use"), "{error}");
        assert!(!at("other/undo.ldif.lock").exists(), "what is refused leaves nothing");
        #[cfg(target_os = "linux")]
        assert_eq!(held(&at("other/undo.ldif")).pid, Some(std::process::id()));
        drop(lock);
        // A file that is created after its lock was acquired.
        let mut lock = Lock::of("reject_file", &at("made.jsonl")).unwrap().unwrap();
        std::fs::write(at("made.jsonl"), "x").unwrap();
        lock.hold("reject_file").unwrap();
        std::fs::hard_link(at("made.jsonl"), at("other/made.jsonl")).unwrap();
        held(&at("other/made.jsonl"));
        drop(lock);
        let _lock = Lock::of("undo_file", &at("other/undo.ldif")).unwrap().unwrap();
        // A file that replaces it by a rename needs no lock of its own: the name has one.
        std::fs::write(at("new"), "y").unwrap();
        std::fs::rename(at("new"), at("other/undo.ldif")).unwrap();
        held(&at("other/undo.ldif"));
    }

    #[cfg(unix)]
    #[test]
    fn lock_is_skipped_for_special_files() {
        assert!(Lock::of("reject_file", Path::new("/dev/null")).unwrap().is_none());
        assert!(Lock::of("reject_file", Path::new("/nowhere/at/all")).unwrap().is_none());
    }

    #[test]
    fn lock_is_acquired_by_one_of_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let (inside, most) = (std::sync::atomic::AtomicU32::new(0), std::sync::atomic::AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(Ok(Some(lock))) = Lock::try_of(&path) {
                            let now = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                            most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }
}
