//! What an entry is to have that depends on what is there, beside its attributes: a password, and whether the account may
//! be used.

use singer_common::directory::DirectoryError;

use crate::password::NewPassword;

/// What is wanted of an account. Nothing, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Its password.
    pub password: Option<NewPassword>,
    /// Whether it may be used.
    pub enabled: Option<bool>,
    /// Whether a password that is set now has to be changed at the next logon.
    pub must_change: Option<bool>,
}

impl Login {
    /// An error without the password, should a server have repeated it.
    pub fn scrub(&self, error: DirectoryError) -> DirectoryError {
        match (error, &self.password) {
            (DirectoryError::Operation { operation, dn, code, matched, text }, Some(password)) => {
                DirectoryError::Operation { operation, dn, code, matched, text: password.scrub(&text) }
            }
            (error, _) => error,
        }
    }
}
