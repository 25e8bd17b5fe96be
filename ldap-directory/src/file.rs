//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

mod stamp;

pub use stamp::Stamp;

/// Octets that are given to the system at once.
const BUFFER: usize = 64 * 1024;

/// Who may read a file that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// The owner's group, too: what a directory holds is not for everybody.
    Group,
    /// The owner alone: it may hold what others may not read.
    Owner,
}

/// Writes a file next to where it goes, then puts it in its place in one rename: whoever reads it sees the old one
/// or the new one, and a failure leaves the old one as it was. Once this returns, the new one survives a power failure.
///
/// The file it replaces keeps its mode. Without one to follow it is readable by the group at most. Where the path is a
/// link, the file that it leads to is replaced.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let path = real(path);
    let file = written(&path, Readers::Group, write)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(sync_folder(folder(&path))?)
}

/// The same for a file that only its owner may read.
pub fn replace_private<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let path = real(path);
    let file = written(&path, Readers::Owner, write)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(sync_folder(folder(&path))?)
}

/// Writes a file that only its owner may read, under a name that no file has: as [`replace`], but one that is there is an
/// error ([`io::ErrorKind::AlreadyExists`]).
pub fn create_private<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let file = written(path, Readers::Owner, write)?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(sync_folder(folder(path))?)
}

/// Why no file can be made in a folder, without the name of a temporary one that nobody has heard of.
fn of_folder(folder: &Path, error: &io::Error) -> io::Error {
    std::fs::metadata(folder).err().unwrap_or_else(|| error.kind().into())
}

/// The most that is read of a file that a setting or a flag names. Whatever has more is none of these files (`/dev/zero`).
const MOST_READ: u64 = 256 << 20;

/// Reads a whole file, as [`std::fs::read`] does, unless it has no end.
///
/// # Errors
/// It cannot be read, or is larger than 256 MiB ([`io::ErrorKind::FileTooLarge`]).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(MOST_READ + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MOST_READ {
        let text = format!("it has more than {} MiB", MOST_READ >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(octets)
}

/// The same of a text. The mark by which Windows begins one (U+FEFF) is no part of it.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let octets = read(path)?;
    let text = String::from_utf8(octets).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 from octet {at} on"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

/// Whether what is written to a path is gone: the system's devices that throw it away.
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

/// Checks that a file can be made in the folder of another.
///
/// # Errors
/// It cannot; why, without the name of the file that was tried.
pub fn can_be_made_beside(path: &Path) -> io::Result<()> {
    beside(path).map(|_| ())
}

/// A temporary file in the folder of another, which goes when it is dropped.
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

/// Checks that a file may be put in a place: a device, a pipe or a folder is not replaced by one, nor is what this process reads
/// from or writes to.
///
/// # Errors
/// It may not.
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

/// Makes the names in a folder survive a power failure: of a file that was made, renamed or removed there.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some file systems know nothing of the kind, and some folders may be written but not read.
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

/// Makes a folder, and those above it, where it is not there. One that is made is its owner's alone.
///
/// # Errors
/// Fails if it is not there and cannot be made.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The file that a path leads to, without links and relative parts, whether it is there or not.
pub fn real(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // A link to what is not there yet is followed by hand.
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

/// A path with something behind its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder a file is in.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file is private to its user.
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
            // Whatever it was before, it is not for everybody.
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
