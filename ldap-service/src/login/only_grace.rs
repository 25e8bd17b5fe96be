//! Passwords that have expired, and are accepted for a few more binds: HTTP Basic, which binds for each request, must not use these up.
//!
//! What is remembered is a digest of name and password with a key of this process: a refusal without a bind tells nothing to whoever does
//! not have the password.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ldap_directory::Directory;
use ldap_directory::secret::NonEmptyPassword;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Login, find, not_usable};
use crate::config::Config;
use crate::error::ApiError;
use ldap_directory::client::{PasswordState, Refusal};

/// How long a password is not tried again. It may be extended meanwhile; a new password is tried at once.
const QUIET: Duration = Duration::from_secs(3600);
/// The most that are remembered.
const MOST: usize = 10_000;

/// The passwords that were seen to be accepted for a few more binds only. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct OnlyGrace {
    key: Arc<[u8; 32]>,
    seen: Arc<Mutex<HashMap<[u8; 32], Instant>>>,
}

impl OnlyGrace {
    pub(super) fn new() -> Self {
        let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let mut key = [0; 32];
        let octets = halves.iter().flat_map(uuid::Uuid::as_bytes);
        key.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        Self { key: Arc::new(key), seen: Arc::default() }
    }

    fn digest(&self, name: &[u8], password: &NonEmptyPassword) -> [u8; 32] {
        let inner = Sha256::new()
            .chain_update(&self.key[..])
            .chain_update(name.len().to_be_bytes())
            .chain_update(name)
            .chain_update(password.octets())
            .finalize();
        Sha256::new().chain_update(&self.key[..]).chain_update(inner).finalize().into()
    }

    fn contains(&self, digest: &[u8; 32]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).is_some_and(|at| at.elapsed() < QUIET)
    }

    fn add(&self, digest: [u8; 32]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, at| at.elapsed() < QUIET);
        }
        if seen.len() < MOST {
            seen.insert(digest, Instant::now());
        }
    }
}

/// A check of a password by HTTP Basic.
#[derive(Debug)]
pub(crate) struct BasicCheck<'l> {
    known: &'l OnlyGrace,
    digest: [u8; 32],
}

impl Login {
    /// Returns the check of a password that came with HTTP Basic, before it is sent to the directory.
    ///
    /// # Errors
    /// 403 `password_expired`: it was accepted a short time ago, for a few more binds only, and is not sent again.
    pub(crate) fn begin_basic(
        &self,
        config: &Config,
        directory: &Directory,
        name: &str,
        password: &NonEmptyPassword,
    ) -> Result<BasicCheck<'_>, ApiError> {
        let name = find::canonical_name(&config.users, directory, name);
        let check = BasicCheck { known: &self.only_grace, digest: self.only_grace.digest(&name, password) };
        if check.known.contains(&check.digest) {
            return Err(not_usable(Refusal::PasswordExpired));
        }
        Ok(check)
    }
}

impl BasicCheck<'_> {
    /// Refuses a password that was accepted for a few more binds only: those are for the login page, where one is enough.
    ///
    /// # Errors
    /// 403 `password_expired`.
    pub(crate) fn end(self, state: &PasswordState) -> Result<(), ApiError> {
        if state.grace_logins.is_none() {
            return Ok(());
        }
        self.known.add(self.digest);
        Err(not_usable(Refusal::PasswordExpired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_or_password_is_tried() {
        let known = OnlyGrace::new();
        let digest = |known: &OnlyGrace, name: &str, password: &str| {
            known.digest(name.as_bytes(), &NonEmptyPassword::new(password).unwrap())
        };
        known.add(digest(&known, "ada", "old"));
        for (name, password, is_known) in
            [("ada", "old", true), ("ada", "new", false), ("eve", "old", false), ("ad", "aold", false)]
        {
            assert_eq!(
                known.clone().contains(&digest(&known, name, password)),
                is_known,
                "{name} {password}"
            );
        }
        let other = OnlyGrace::new();
        assert_ne!(digest(&known, "ada", "old"), digest(&other, "ada", "old"), "a key of the process");
        for n in 0..2 * MOST {
            known.add(digest(&known, &n.to_string(), "x"));
        }
        assert!(known.seen.lock().unwrap().len() <= MOST);
    }
}
