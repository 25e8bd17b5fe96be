//! The file of an index: it is created atomically, and a damaged one is renamed.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Error};
use singer_common::operations::file;
use singer_common::operations::signals;

/// The page cache of a file, in octets.
const CACHE: usize = 8 * 1024 * 1024;
/// The first octets of a database (redb, docs/design.md).
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
/// The largest file that is checked when it is opened, in octets. Damage in larger ones is found later.
const CHECKED: u64 = 32 * 1024 * 1024;
/// Attempts to open the file, if a file was renamed or another run created one.
const ATTEMPTS: u32 = 3;

/// Opens the file, or creates it under another name first, so that a killed run leaves no file or a complete one. `prepare`
/// creates the tables. A damaged file, or one that is not a database, is renamed with a warning.
pub(super) fn open<T>(
    path: &Path,
    prepare: impl Fn(&Database) -> Result<T, Error>,
) -> Result<(Database, T), Error> {
    file::make_private_folder(file::folder(path))?;
    let mut result = Err(Error::DatabaseAlreadyOpen);
    for _ in 0..ATTEMPTS {
        result = match File::options().read(true).write(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
                // Its target may be on a disk that is not mounted, and have more than a new file.
                Ok(to) => {
                    let reason = format!(
                        "it is a link to {}, which is not there: bring that back, or remove the link",
                        to.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::NotFound, reason).into());
                }
                Err(_) => create(path, &prepare),
            },
            Err(e) => return Err(e.into()),
            Ok(file) => existing(file, &prepare),
        };
        match &result {
            Err(e) if is_damaged(e) => {
                let kept = set_aside(path)?;
                tracing::warn!(
                    "the index of keys {} (state_dir) is damaged ({e}): it was renamed to {}, and a new one is made",
                    path.display(),
                    kept.display()
                );
            }
            // Another run created one at the same time: it is opened, or in use.
            Err(Error::DatabaseAlreadyOpen) if !path.exists() => {}
            _ => break,
        }
    }
    result
}

/// Creates the file under another name, and renames it once it is complete.
fn create<T>(path: &Path, prepare: &impl Fn(&Database) -> Result<T, Error>) -> Result<(Database, T), Error> {
    let _uninterrupted = signals::uninterrupted();
    let new = path.with_extension("keys.new");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    // The DNs of a directory are not public.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&new)?;
    lock(&file)?;
    // The previous holder of the lock may have created it.
    if path.exists() || !is_file_at(&file, &new) {
        return Err(Error::DatabaseAlreadyOpen);
    }
    // Left by a killed run.
    file.set_len(0)?;
    let database = guarded(|| database(file))?;
    let found = prepare(&database)?;
    fs::rename(&new, path)?;
    file::sync_folder(file::folder(path))?;
    Ok((database, found))
}

fn existing<T>(
    mut file: File,
    prepare: &impl Fn(&Database) -> Result<T, Error>,
) -> Result<(Database, T), Error> {
    lock(&file)?;
    let mut head = Vec::new();
    io::Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut head)?;
    if head != MAGIC {
        return Err(Error::Corrupted("not a database".to_owned()));
    }
    let is_checked = file.metadata()?.len() <= CHECKED;
    guarded(|| {
        let mut database = database(file)?;
        if is_checked {
            // Whether it was repaired does not matter: the number of commits shows what that undid.
            database.check_integrity()?;
        }
        let found = prepare(&database)?;
        Ok((database, found))
    })
}

fn database(file: File) -> Result<Database, Error> {
    Ok(Database::builder().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?)?)
}

/// Takes the lock that a database holds while it is open; redb requests it again by the same descriptor.
fn lock(file: &File) -> Result<(), Error> {
    file.try_lock().map_err(|e| match e {
        fs::TryLockError::WouldBlock => Error::DatabaseAlreadyOpen,
        fs::TryLockError::Error(e) => e.into(),
    })
}

#[cfg(unix)]
fn is_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let here = file.metadata().map(|m| (m.dev(), m.ino()));
    let there = fs::metadata(path).map(|m| (m.dev(), m.ino()));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

#[cfg(not(unix))]
fn is_file_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Returns whether an error means that the file can never be used again, and not that it is in use, or that the disk is full.
pub(super) fn is_damaged(error: &Error) -> bool {
    match error {
        Error::Io(e) => matches!(
            e.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
        ),
        Error::Corrupted(_)
        | Error::UpgradeRequired(_)
        | Error::RepairAborted
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TypeDefinitionChanged { .. } => true,
        _ => false,
    }
}

/// Renames an unusable file. Returns its new name.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, io::Error> {
    let to = path.with_extension("keys.damaged");
    fs::rename(path, &to)?;
    Ok(to)
}

/// Runs an operation and treats a panic as damage: redb panics on damage that it does not check for.
pub(super) fn guarded<T>(what: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    singer_common::operations::panics::caught(what)
        .unwrap_or_else(|| Err(Error::Corrupted("it cannot be read".to_owned())))
}
