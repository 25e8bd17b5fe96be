//! What only a server has: rights, connections that are lost, several servers.

use super::Directory;
use crate::client as ldap;
use crate::error::DirectoryError;

impl Directory {
    /// Returns the bound user's rights on an entry, as letters, if the server publishes them (389 DS).
    ///
    /// # Errors
    /// Fails if the server refuses the search.
    pub async fn effective_rights(&self, dn: &str) -> Result<Option<String>, DirectoryError> {
        match self {
            Directory::Ldap(d) => d.effective_rights(dn).await,
            Directory::Ldif(_) | Directory::Preview(_) => Ok(None),
        }
    }

    /// Waits after a lost connection, or an answer that the server cannot now, and restores the connection. `attempts` is `None` at first,
    /// and is set by this method.
    ///
    /// # Errors
    /// Returns the error itself if it is another one or no attempt is left; or the error of the reconnection.
    pub async fn recover(
        &self,
        error: DirectoryError,
        attempts: &mut Option<ldap::Attempts>,
    ) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(d) => d.recover(error, attempts.get_or_insert_with(|| d.attempts())).await,
            Directory::Ldif(_) | Directory::Preview(_) => Err(error),
        }
    }

    /// Returns why another server would not take over from the one in use; `None`: it holds the same directory.
    pub fn takes_over(&self, other: &ldap::LdapDirectory) -> Option<&'static str> {
        match self {
            Directory::Ldap(d) => d.takes_over(other.root_dse()),
            Directory::Ldif(_) | Directory::Preview(_) => None,
        }
    }

    /// Returns what the server reported about the password of the own bind: that it expires, or has expired.
    pub fn own_password(&self) -> Option<ldap::PasswordReport> {
        match self {
            Directory::Ldap(d) => d.own_password(),
            Directory::Ldif(_) | Directory::Preview(_) => None,
        }
    }

    /// Returns the server in use with its address. After a failover, it is not the first one.
    pub fn serving(&self) -> String {
        match self {
            Directory::Ldap(d) => d.serving(),
            Directory::Ldif(_) | Directory::Preview(_) => self.location().to_owned(),
        }
    }
}
