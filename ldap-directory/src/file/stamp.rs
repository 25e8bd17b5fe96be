//! What a file is known by while somebody works on what was read of it.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// A file at a moment: another one in its place, or another content, has another stamp, as far as the file system's clock tells
/// two moments apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<Of>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Of {
    /// The device and the file's number on it.
    identity: (u64, u64),
    octets: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// Of a file that is not there.
    pub const ABSENT: Stamp = Stamp(None);

    /// Returns the stamp of an open file.
    ///
    /// # Errors
    /// Fails if the system does not say.
    pub fn of(file: &File) -> io::Result<Stamp> {
        Ok(Stamp(Some(Of::new(&file.metadata()?))))
    }

    /// Returns the stamp of what a path leads to: [`Stamp::ABSENT`] where nothing is there.
    ///
    /// # Errors
    /// Fails if the system does not say.
    pub fn at(path: &Path) -> io::Result<Stamp> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Stamp(Some(Of::new(&metadata)))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Stamp::ABSENT),
            Err(e) => Err(e),
        }
    }
}

impl Of {
    fn new(metadata: &Metadata) -> Of {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let identity = (0, 0);
        Of { identity, octets: metadata.len(), modified: metadata.modified().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_and_another_file_have_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(Stamp::at(&path).unwrap(), Stamp::ABSENT);
        std::fs::write(&path, "one").unwrap();
        let first = Stamp::at(&path).unwrap();
        assert_eq!(Stamp::of(&File::open(&path).unwrap()).unwrap(), first);
        std::fs::write(&path, "three").unwrap();
        let second = Stamp::at(&path).unwrap();
        assert_ne!(first, second);
        let other = dir.path().join("b");
        std::fs::write(&other, "three").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::at(&path).unwrap(), second);
    }
}
