//! The key of sessions: of `login.session_key_file`, or a random one.

use std::path::Path;

use hmac::Hmac;
use hmac::Mac as _;
use sha2::{Digest as _, Sha256};
use singer_common::plugin::settings::SettingsError;

/// The least octets of `login.session_key_file`.
const SHORTEST_KEY: usize = 32;
/// The most octets of `login.session_key_file`.
const LONGEST_KEY: u64 = 64 * 1024;

/// Reads a file with a key. A device would never end, and a pipe would stop a reload.
///
/// # Errors
/// It is not a regular file of a bounded size, or cannot be read.
fn key_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() || about.len() > LONGEST_KEY {
        return Err(std::io::Error::other("not a regular file of at most 64 KiB"));
    }
    std::fs::read(path)
}

/// A key, ready to sign.
#[derive(Clone)]
pub(super) struct Key(pub(super) Hmac<Sha256>);

impl Key {
    /// Reads the file of `login.session_key_file`.
    ///
    /// # Errors
    /// It cannot be read, or is too short.
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let expected = "a file with a random key of 32 octets or more, for example by `openssl rand -hex 32`";
        let wrong = |problem: String| {
            let problem = format!("{}: {problem}", path.display());
            SettingsError::value("login.session_key_file", problem, expected)
        };
        let mut octets = key_file(path).map_err(|e| wrong(e.to_string()))?;
        while octets.last().is_some_and(|c| matches!(c, b'\n' | b'\r')) {
            octets.pop();
        }
        if octets.len() < SHORTEST_KEY {
            return Err(wrong(format!("{} octets", octets.len())));
        }
        Ok(Key::of(&octets))
    }

    /// Returns a key that nobody knows.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(super) fn random() -> Result<Self, SettingsError> {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets).map_err(|e| {
            let problem = format!("not set, and there are no random numbers: {e}");
            SettingsError::value("login.session_key_file", problem, "a file")
        })?;
        Ok(Key::of(&octets))
    }

    fn of(octets: &[u8]) -> Self {
        // The hash fits every key into the block of HMAC.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block.iter_mut().zip(Sha256::digest(octets)).for_each(|(octet, of_hash)| *octet = of_hash);
        Self(Hmac::new(&block))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
