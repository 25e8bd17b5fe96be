//! Secrets: passwords that never print, and the attributes that hold them.

use std::path::Path;
use std::{fmt, io};

use zeroize::Zeroizing;

pub mod attributes;
mod password;

pub use attributes::SecretAttributes;
pub use password::{NonEmptyPassword, UnusablePassword};

/// A text that prints as `***` in every format, and whose memory is wiped when it is dropped.
///
/// ```
/// use ldap_directory::secret::Secret;
///
/// let secret = Secret::new("hunter2");
/// assert_eq!(format!("{secret} {secret:?}"), "*** ***");
/// assert_eq!(secret.reveal(), "hunter2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Reads a secret from a file, without one line end at the end of the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not UTF-8, or is larger than 256 MiB.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let mut text = Zeroizing::new(crate::file::read_text(path)?);
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(Self(text))
    }

    /// Returns the text. This is the only access to it, so that every use can be found by this name.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Returns a warning if others than the owner can use a file that holds a secret; `None` if they cannot, or if the file has no
/// such permissions. Its group may read it: containers receive secrets in this way.
pub fn exposure(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        let mode = mode(path)?;
        let whose = match mode {
            _ if mode & 0o002 != 0 => "anybody on this machine may change it",
            _ if mode & 0o004 != 0 => "anybody on this machine may read it",
            _ if mode & 0o020 != 0 => "its whole group may change it",
            _ => return None,
        };
        Some(format!("{} has the mode {mode:04o}, so {whose}: `chmod 600` it (or 640)", path.display()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Returns a warning if others than the owner and its group can change a file or folder that decides about rights; `None` if they cannot, or
/// if it has no such permissions.
pub fn open_to_changes(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        let mode = mode(path)?;
        // In a sticky folder nobody replaces the files of others, but anybody adds one.
        (mode & 0o002 != 0).then(|| {
            format!(
                "{} has the mode {mode:04o}, so anybody on this machine may change it: `chmod o-w` it",
                path.display()
            )
        })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Returns the permissions of a file. Links are followed. One without readable metadata cannot be read either, which is reported elsewhere.
#[cfg(unix)]
fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_stars_however_it_is_formatted() {
        let secret = Secret::new("hunter2");
        for text in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
        }
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_file_loses_one_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, secret) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("", "")]
        {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(Secret::from_file(file.path()).unwrap().reveal(), secret, "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_or_change_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, word) in [
            (0o600, None),
            (0o400, None),
            (0o640, None),
            (0o440, None),
            (0o644, Some("read")),
            (0o604, Some("read")),
            (0o660, Some("its whole group may change")),
            (0o666, Some("anybody on this machine may change")),
            (0o602, Some("change")),
        ] {
            file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            let said = exposure(file.path());
            assert_eq!(said.is_some(), word.is_some(), "{mode:o}: {said:?}");
            if let (Some(said), Some(word)) = (said, word) {
                assert!(said.contains(word) && said.contains(&format!("0{mode:o}")), "{said}");
            }
        }
    }
}
