//! Files that are replaced whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

mod stamp;

pub use stamp::Stamp;

/// The size of one write.
const BUFFER: usize = 64 * 1024;

/// The permissions of a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Readable by the owner's group, because the content of a directory is not public.
    Group,
    /// Readable by the owner only.
    Owner,
}

/// Replaces a file: writes a temporary file next to it, and renames it. Readers see the old file or the new one, and a failure keeps
/// the old one. Once this returns, the new file survives a power failure.
///
/// The new file has the mode of the old one; without an old one, at most the group can read it. Links are followed.
///
/// # Errors
/// Fails if `write` fails, if the path is not a regular file or is a standard stream of this process, or if the file system fails.
///
/// ```
/// use std::io;
///
/// use ldap_directory::file;
///
/// # fn main() -> io::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("report.txt");
/// file::replace::<io::Error>(&path, |out| out.write_all(b"first"))?;
/// let failed = file::replace::<io::Error>(&path, |out| {
///     out.write_all(b"half of the sec")?;
///     Err(io::Error::other("out of data"))
/// });
/// assert!(failed.is_err());
/// assert_eq!(file::read_text(&path)?, "first");
/// # Ok(())
/// # }
/// ```
pub fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let path = real(path);
    let file = written(&path, Readers::Group, write)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(sync_folder(folder(&path))?)
}

/// Replaces a file by one that only its owner can read.
///
/// # Errors
/// As [`replace`].
pub fn replace_private<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let path = real(path);
    let file = written(&path, Readers::Owner, write)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(sync_folder(folder(&path))?)
}

/// Creates a file that only its owner can read, as [`replace`] does.
///
/// # Errors
/// As [`replace`]; also if the file exists ([`io::ErrorKind::AlreadyExists`]).
pub fn create_private<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let file = written(path, Readers::Owner, write)?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(sync_folder(folder(path))?)
}

/// Returns why no file can be created in a folder, without the name of a temporary file.
fn of_folder(folder: &Path, error: &io::Error) -> io::Error {
    std::fs::metadata(folder).err().unwrap_or_else(|| error.kind().into())
}

/// The maximum size of a file that [`read`] reads, because devices such as `/dev/zero` have no end.
const MOST_READ: u64 = 256 << 20;

/// Reads a whole file, as [`std::fs::read`] does, with a limit.
///
/// # Errors
/// Fails if it cannot be read, or is larger than 256 MiB ([`io::ErrorKind::FileTooLarge`]).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(MOST_READ + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MOST_READ {
        let text = format!("it has more than {} MiB", MOST_READ >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(octets)
}

/// Reads a whole text file, without a byte order mark (U+FEFF).
///
/// # Errors
/// As [`read`]; also if it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let octets = read(path)?;
    let text = String::from_utf8(octets).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 from octet {at} on"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

/// Returns whether a path is a device that discards what is written to it.
pub fn swallows(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        let device = |path: &Path| {
            let there = std::fs::metadata(path).ok().filter(|there| there.file_type().is_char_device());
            there.map(|there| there.rdev())
        };
        let it = device(path);
        it.is_some() && ["/dev/null", "/dev/zero"].iter().any(|name| device(Path::new(name)) == it)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Checks that a file can be created in the folder of another.
///
/// # Errors
/// Fails with the reason if it cannot. The error does not name a temporary file.
pub fn can_be_made_beside(path: &Path) -> io::Result<()> {
    beside(path).map(|_| ())
}

/// Returns a temporary file in the folder of another, which is deleted when dropped.
fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = folder(path);
    tempfile::Builder::new().prefix(".singer-ldap-").tempfile_in(folder).map_err(|e| of_folder(folder, &e))
}

fn written<E: From<io::Error>>(
    path: &Path,
    readers: Readers,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<tempfile::NamedTempFile, E> {
    may_be_replaced(path)?;
    let file = beside(path)?;
    let mut out = BufWriter::with_capacity(BUFFER, file);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    set_permissions(path, file.as_file(), readers);
    file.as_file().sync_all()?;
    Ok(file)
}

/// Checks that a file can be replaced: it must not be a device, a pipe or a folder, nor a standard stream of this process.
///
/// # Errors
/// Fails with the reason if it cannot.
pub fn may_be_replaced(path: &Path) -> io::Result<()> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(()) };
    let why = if !there.is_file() {
        "it is not a regular file, and would be replaced by one"
    } else if is_standard_stream(&there) {
        "standard input, output or error is this file, and would be lost"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

#[cfg(unix)]
fn is_standard_stream(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_it = |of: &str| {
        std::fs::metadata(of).is_ok_and(|stream| (stream.dev(), stream.ino()) == (file.dev(), file.ino()))
    };
    ["/dev/stdin", "/dev/stdout", "/dev/stderr"].into_iter().any(is_it)
}

#[cfg(not(unix))]
fn is_standard_stream(_: &std::fs::Metadata) -> bool {
    false
}

/// Makes created, renamed and removed names in a folder survive a power failure.
///
/// # Errors
/// Fails if the folder cannot be synchronized. File systems that do not support it are not an error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some file systems do not support it, and some folders are writable but not readable.
        Err(e)
            if !matches!(
                e.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Err(e);
        }
        _ => {}
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Creates a folder and its parents if they do not exist. New ones are accessible by their owner only.
///
/// # Errors
/// Fails if it does not exist and cannot be created.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Returns the file that a path leads to, without links and relative parts, whether it exists or not.
pub fn real(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // A link to a missing file is followed by hand.
    for _ in 0..40 {
        if let Ok(real) = path.canonicalize() {
            return real;
        }
        match std::fs::read_link(&path) {
            Ok(to) => path = folder(&path).join(to),
            Err(_) => break,
        }
    }
    match (folder(&path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Returns a path with a suffix at its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the folder of a file.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Sets the mode of a temporary file, which is private at first.
fn set_permissions(path: &Path, file: &File, readers: Readers) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = match readers {
            Readers::Group => 0o640,
            Readers::Owner => 0o600,
        };
        let there = std::fs::metadata(path).map(|m| m.permissions().mode());
        let mode = match (there, readers) {
            // It is never public, even if the old file was.
            (Ok(there), Readers::Owner) => there & 0o770,
            (Ok(there), Readers::Group) => there,
            (Err(_), _) => mode,
        };
        let _ = file.set_permissions(std::fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = (path, file, readers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.html");
        replace::<io::Error>(&path, |out| out.write_all(b"old")).unwrap();
        let failed = replace::<io::Error>(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "disk full");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        replace::<io::Error>(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        use std::os::unix::fs::FileTypeExt as _;

        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for path in [&socket, &link] {
            let failed = replace::<io::Error>(path, |out| out.write_all(b"new")).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::InvalidInput);
        }
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
