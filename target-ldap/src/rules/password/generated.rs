//! A first password that is generated, and delivered to a file.
//!
//! It is made when it is written, once for a record. Its line is on disk before it is sent: a killed run loses none. A line whose entry was
//! not made, or whose password was refused, is followed by one that withdraws it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ldap_directory::file;
use ldap_directory::secret::Secret;
use serde::Deserialize;
use serde_json::json;

/// The shortest and the longest password.
pub(super) const SHORTEST: usize = 12;
pub(super) const LONGEST: usize = 128;

/// Characters that are hard to confuse, by class: a password has one of each, which Active Directory's rule for complex passwords wants.
const CLASSES: [&[u8]; 4] =
    [b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"abcdefghijkmnopqrstuvwxyz", b"23456789", b"-_.:+=%@#"];

/// How a password is generated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateSettings {
    /// Its number of characters.
    #[serde(default = "usual_length")]
    pub length: usize,
}

fn usual_length() -> usize {
    20
}

/// Where a generated password is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySettings {
    /// The file that a line is appended to.
    pub file: PathBuf,
}

/// A password that is generated when it is written. `Debug` does not show it.
#[derive(Debug)]
pub struct Generated {
    length: usize,
    file: PathBuf,
    secret: OnceLock<Secret>,
    is_delivered: Mutex<bool>,
}

/// A record asks for the same as another one if both ask for a password.
impl PartialEq for Generated {
    fn eq(&self, other: &Self) -> bool {
        (self.length, &self.file) == (other.length, &other.file)
    }
}

impl Eq for Generated {}

impl Generated {
    pub(super) fn new(length: usize, file: PathBuf) -> Self {
        Self { length, file, secret: OnceLock::new(), is_delivered: Mutex::new(false) }
    }

    /// Returns the password; `None`: it is not made yet.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.get()
    }

    /// Returns the file that it is delivered to.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Makes the password, if it is not made yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn make(&self) -> io::Result<()> {
        if self.secret.get().is_none() {
            let _ = self.secret.set(generate(self.length)?);
        }
        Ok(())
    }

    /// Delivers the password of an entry, once. When this returns, it is on disk.
    ///
    /// # Errors
    /// The file cannot be written, or others may read it.
    pub fn deliver(&self, dn: &str) -> io::Result<()> {
        let mut is_delivered = self.is_delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(secret) = self.secret.get().filter(|_| !*is_delivered) else { return Ok(()) };
        append(&self.file, &json!({"time": now(), "dn": dn, "password": secret.reveal()}))?;
        *is_delivered = true;
        Ok(())
    }

    /// Says that a delivered password was not set.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn withdraw(&self, dn: &str) -> io::Result<()> {
        let mut is_delivered = self.is_delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_delivered {
            return Ok(());
        }
        *is_delivered = false;
        append(&self.file, &json!({"time": now(), "dn": dn, "withdrawn": true}))
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Appends a line, in one write, and waits until it is on disk.
fn append(path: &Path, line: &serde_json::Value) -> io::Result<()> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        options.mode(0o600);
        if let Ok(there) = path.metadata()
            && there.permissions().mode() & 0o077 != 0
            && there.is_file()
        {
            return Err(io::Error::other(
                "others than its owner may read it, or write to it: give it the mode 0600",
            ));
        }
    }
    let mut to = options.open(path)?;
    to.write_all(format!("{line}\n").as_bytes())?;
    to.sync_all()?;
    if is_new { file::sync_folder(file::folder(path)) } else { Ok(()) }
}

fn generate(length: usize) -> io::Result<Secret> {
    let all: Vec<u8> = CLASSES.concat();
    loop {
        let mut password = String::with_capacity(length);
        while password.len() < length {
            password.push(char::from(random_of(&all)?));
        }
        // Drawn again as a whole: all passwords of all classes are equally likely.
        if CLASSES.iter().all(|class| password.bytes().any(|b| class.contains(&b))) {
            return Ok(Secret::new(password));
        }
    }
}

fn random_of(all: &[u8]) -> io::Result<u8> {
    let count = u8::try_from(all.len()).map_err(io::Error::other)?;
    let fair = u8::MAX - u8::MAX % count;
    loop {
        let mut octet = [0];
        getrandom::fill(&mut octet).map_err(io::Error::other)?;
        let [octet] = octet;
        if octet < fair
            && let Some(chosen) = all.get(usize::from(octet % count))
        {
            return Ok(*chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_has_all_classes_and_shows_itself_to_nobody() {
        for length in [SHORTEST, 20, LONGEST] {
            let secret = generate(length).unwrap();
            assert_eq!(secret.reveal().len(), length);
            assert!(CLASSES.iter().all(|class| secret.reveal().bytes().any(|b| class.contains(&b))));
        }
        assert_ne!(generate(20).unwrap(), generate(20).unwrap());
        let generated = Generated::new(20, "x".into());
        generated.make().unwrap();
        assert!(!format!("{generated:?}").contains(generated.secret().unwrap().reveal()));
    }

    #[cfg(unix)]
    #[test]
    fn a_line_is_there_once_for_its_owner_alone_until_it_is_withdrawn() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.jsonl");
        let generated = Generated::new(20, path.clone());
        generated.make().unwrap();
        generated.deliver("cn=a").unwrap();
        generated.deliver("cn=a").unwrap();
        generated.withdraw("cn=a").unwrap();
        generated.withdraw("cn=a").unwrap();
        generated.deliver("cn=a").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), text.matches("withdrawn").count()), (3, 1), "{text}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let other = Generated::new(20, path);
        other.make().unwrap();
        assert!(other.deliver("cn=b").is_err());
    }
}
