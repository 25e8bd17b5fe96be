//! What an entry is to have that depends on what is there, beside its attributes: a password, and whether the account may
//! be used.

use ldap_directory::DirectoryError;

use crate::password::{Mode, NewPassword, When};

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
    /// Whether nothing of it is about an entry that is there: then it is not looked at for it.
    pub fn is_for_new_entries_only(&self) -> bool {
        let password = |p: &NewPassword| p.when == When::CreateOnly && p.mode != Mode::Exop;
        self.enabled.is_none() && self.password.as_ref().is_none_or(password)
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

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
