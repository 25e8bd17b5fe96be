//! Checking a user's password by exactly one simple bind, on a connection that is used for nothing else.
//!
//! A program that lets users log in searches for the entry as itself ([`Directory::search`](crate::Directory::search)) and then calls
//! [`LdapDirectory::authenticate`] with its DN. The bind never happens on a connection of other operations: those keep their identity.

mod connections;
pub(in crate::client) mod outcome;
#[cfg(test)]
mod tests;

use std::time::Duration;

use zeroize::Zeroizing;

use super::LdapDirectory;
use crate::dn::Dn;
use crate::error::DirectoryError;
use crate::oid;
use crate::protocol::message::{self, Control, LdapResult};
use crate::protocol::password_policy::PolicyResponse;
use crate::secret::NonEmptyPassword;

pub(crate) use connections::BindConnections;

/// The name of the operation in messages.
const OPERATION: &str = "bind";

/// The server's answer to a user's bind.
///
/// To whoever sent the password, [`WrongCredentials`](Self::WrongCredentials) and [`Locked`](Self::Locked) must look alike: neither
/// proves that the password was right.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// The password is right, and the server accepted the bind.
    Accepted(PasswordState),
    /// The password is wrong, or nothing shows that it is right: invalidCredentials (49) without a reason that only follows a right
    /// password. Also inappropriateAuthentication (48), if the entry has no password, and noSuchObject (32).
    WrongCredentials,
    /// The password is right, and the server refused the bind nevertheless.
    Refused(Refusal),
    /// The account is locked or inactivated, and the server reports it without comparing the password: OpenLDAP with `ppolicy_use_lockout`,
    /// 389 DS (also for `nsAccountLock`), Active Directory's `data 775`.
    Locked,
    /// The entry is kept by another server (RFC 4511 section 4.1.10). Referrals of a bind are never followed.
    Referral(Vec<String>),
    /// The server cannot check it now: busy (51), unavailable (52), or Active Directory's own codes for these.
    Unavailable {
        /// The result code.
        code: u32,
        /// The server's diagnostic message.
        text: String,
    },
}

/// What the server reports about a password that it accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PasswordState {
    /// The time until the password expires, if the server warns of it.
    pub expires_in: Option<Duration>,
    /// The number of further binds that an expired password allows; `None` if it has not expired.
    pub grace_logins: Option<u32>,
    /// Whether the user may do nothing but change the password, for example because an administrator set it.
    pub must_change: bool,
}

/// Why a bind with the right password was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The password has expired.
    PasswordExpired,
    /// The password must be changed before the first bind.
    MustChange,
    /// The account is disabled.
    Disabled,
    /// The account has expired.
    AccountExpired,
    /// The account may not bind at this hour.
    LogonHours,
    /// The account may not bind from this host.
    Workstation,
}

impl LdapDirectory {
    /// Checks a user's password by one simple bind. Returns the server's answer.
    ///
    /// The bind has a connection of its own, without the identity of this directory, and with the same TLS. Such connections are kept
    /// for further binds, at most [`bind_connections`](crate::DirectoryConfig::bind_connections), and each for at most
    /// [`bind_idle_limit`](crate::DirectoryConfig::bind_idle_limit) without one. If a connection cannot be opened, nothing was sent, and
    /// the next server of the configuration is tried. Once the bind is sent, it is never repeated, and no other server receives it: each
    /// bind with a wrong password counts against the account.
    ///
    /// The password policy control accompanies the bind, so that expiry, grace logins and a required change become known without a second
    /// bind.
    ///
    /// Not cancel safe: if the future is dropped, the bind may have been counted by the server. Its connection is closed.
    ///
    /// # Errors
    /// Fails if the DN is empty, if no server can be reached, if all connections remain in use for `connect_timeout`, or if the server
    /// refuses the bind for a reason that is not the user's, such as confidentialityRequired (13). If the connection is lost
    /// or the answer does not arrive within `operation_timeout`, the outcome is unknown
    /// ([`is_outcome_unknown`](DirectoryError::is_outcome_unknown)): this is not a wrong password.
    ///
    /// ```no_run
    /// use ldap_directory::client::{Authentication, LdapDirectory, Refusal};
    /// use ldap_directory::secret::NonEmptyPassword;
    ///
    /// # async fn example(directory: &LdapDirectory, given: String) -> Result<(), ldap_directory::DirectoryError> {
    /// let Some(password) = NonEmptyPassword::new(given) else {
    ///     println!("no password");
    ///     return Ok(());
    /// };
    /// match directory.authenticate("uid=ada,ou=people,dc=example,dc=com", &password).await? {
    ///     Authentication::Accepted(state) if !state.must_change => println!("welcome"),
    ///     Authentication::Accepted(_) | Authentication::Refused(Refusal::MustChange) => println!("change the password"),
    ///     Authentication::Refused(why) => println!("the password is right, but the account cannot be used: {why:?}"),
    ///     Authentication::WrongCredentials | Authentication::Locked => println!("the name or the password is wrong"),
    ///     _ => println!("try again later"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn authenticate(
        &self,
        dn: &str,
        password: &NonEmptyPassword,
    ) -> Result<Authentication, DirectoryError> {
        // An empty DN would be anonymous, whatever the password (RFC 4513 section 5.1.1).
        if dn.trim().is_empty() || Dn::parse(dn).is_ok_and(|dn| dn.is_empty()) {
            let reason = "a user's bind needs a DN".to_owned();
            return Err(DirectoryError::Protocol {
                operation: OPERATION,
                dn: dn.to_owned(),
                reason,
                outcome_unknown: false,
            });
        }
        let mut leased = self.bind_connection().await?;
        let watch = self.config().observer.operation(OPERATION);
        let answer = self.bind_on(&mut leased.connection, dn, password).await;
        let server = leased.connection.url().to_owned();
        if let Some(watch) = watch {
            watch.done(&server, answer.as_ref().map(|(result, _)| result.code));
        }
        let (result, policy) = answer?;
        let LdapResult { code, text, .. } = &result;
        tracing::debug!(code, "bind of a user at {server}");
        let outcome = outcome::of(&result, &policy);
        // A server that is shutting down closes the connection soon.
        if !matches!(outcome, Some(Authentication::Unavailable { .. }) | None) {
            leased.give_back();
        }
        outcome.ok_or_else(|| DirectoryError::Bind {
            server,
            method: "simple",
            identity: dn.to_owned(),
            code: *code,
            text: text.clone(),
        })
    }

    /// Sends the bind, and waits for its answer.
    async fn bind_on(
        &self,
        connection: &mut super::connection::Connection,
        dn: &str,
        password: &NonEmptyPassword,
    ) -> Result<(LdapResult, PolicyResponse), DirectoryError> {
        let request = Zeroizing::new(message::simple_bind(dn, password.octets()));
        let controls = [Control { oid: oid::PASSWORD_POLICY.to_owned(), critical: false, value: None }];
        let limit = self.config().operation_timeout;
        let asked = tokio::time::timeout(limit, connection.ask_bind(&request, &controls)).await;
        match asked {
            Ok(Ok((result, controls))) => Ok((result, PolicyResponse::of(&controls))),
            Ok(Err(error)) => Err(error.of_sent_change(OPERATION, dn)),
            Err(_) => Err(DirectoryError::timeout(OPERATION, dn, limit).of_sent_change(OPERATION, dn)),
        }
    }
}
