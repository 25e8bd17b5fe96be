//! Detection of changes of a file by other programs.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// The identity and version of a file at one moment. Another file, or another content, has another stamp, within the resolution of
/// the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<Of>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Of {
    /// The device, and the number of the file on it.
    identity: (u64, u64),
    octets: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of a missing file.
    pub const ABSENT: Stamp = Stamp(None);

    /// Returns the stamp of an open file.
    ///
    /// # Errors
    /// Fails if the metadata cannot be read.
    pub fn of(file: &File) -> io::Result<Stamp> {
        Ok(Stamp(Some(Of::new(&file.metadata()?))))
    }

    /// Returns the stamp of the file at a path, or [`Stamp::ABSENT`] if there is none.
    ///
    /// # Errors
    /// Fails if the metadata cannot be read.
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
