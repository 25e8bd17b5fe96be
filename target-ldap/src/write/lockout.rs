//! Whether OpenLDAP heeds the lock of an account. Its overlay ppolicy ignores `pwdAccountLockedTime` unless the password policy that is in
//! force for the entry has `pwdLockout: TRUE`: the account can bind as before.
//!
//! The policy is the one that `pwdPolicySubentry` of the entry names, else the default, which is in the configuration of the server. Where
//! the policy cannot be read, the server is asked about the account itself, before and after the lock (its Account Usability control).

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::syntax::truth;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};

use crate::rules::accounts::{AccountLock, is_locked_for_ever};

/// The attribute of an entry with the DN of its password policy.
pub const POLICY: &str = "pwdPolicySubentry";
/// The attribute of a policy by which locks count.
const LOCKOUT: &str = "pwdLockout";

/// Whether a lock counts. The text says why not, or why that is not known; it names the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lockout {
    /// The account cannot bind.
    Effective,
    /// The server ignores it.
    Ignored(String),
    /// It cannot be found out.
    Unknown(String),
}

/// What is known before an account is locked.
#[derive(Debug, Clone)]
pub struct BeforeLock {
    /// What its policy says.
    policy: Lockout,
    /// Whether it could be used, though it was not locked.
    usable: Option<bool>,
}

/// Whether the locks of a directory depend on password policies.
pub fn depends_on_policies(directory: &Directory) -> bool {
    let lock = AccountLock::of(directory.root_dse().vendor, directory.schema());
    matches!(directory, Directory::Ldap(_)) && lock == Some(AccountLock::PwdAccountLockedTime)
}

async fn matches(directory: &Directory, dn: &str, filter: Filter) -> Result<bool, DirectoryError> {
    let request =
        SearchRequest { paging: Paging::Off, ..SearchRequest::new(dn, Scope::Base, filter, &["1.1"]) };
    let mut found = false;
    let result = async {
        let mut search = directory.search(request).await?;
        while search.next_entry().await?.is_some() {
            found = true;
        }
        Ok::<_, DirectoryError>(())
    };
    match result.await {
        Err(error) if !error.is_no_such_object() => Err(error),
        _ => Ok(found),
    }
}

/// Returns what the policy with a DN says.
///
/// # Errors
/// The directory cannot be asked. A policy that may not be read is not an error.
pub async fn of_policy(directory: &Directory, policy: &str) -> Result<Lockout, DirectoryError> {
    let unreadable = Lockout::Unknown(format!(
        "its password policy `{policy}` is not there, or the bound user may not read its `{LOCKOUT}`"
    ));
    let ignored = Lockout::Ignored(format!("its password policy `{policy}` has no `{LOCKOUT}: TRUE`"));
    let known_to_lack = Filter::Not(Box::new(Filter::Present(LOCKOUT.to_owned())));
    let found = match directory.read(policy, &[LOCKOUT]).await {
        Ok(Some(entry)) => match entry.first_text(LOCKOUT).map(truth) {
            Some(Some(true)) => Ok(Lockout::Effective),
            Some(_) => Ok(ignored),
            // What may not be searched is Undefined, negated or not (RFC 4511 section 4.5.1.7).
            None => matches(directory, policy, known_to_lack)
                .await
                .map(|lacks| if lacks { ignored } else { unreadable.clone() }),
        },
        Ok(None) => Ok(unreadable.clone()),
        Err(error) => Err(error),
    };
    match found {
        Err(error) if error.is_connection() || error.is_transient() => Err(error),
        Err(_) => Ok(unreadable),
        found => found,
    }
}

/// Returns what the policy of an entry says, which was read with [`POLICY`]; `None`: one that does not exist yet.
///
/// # Errors
/// As [`of_policy`].
pub async fn of_entry(directory: &Directory, entry: Option<&Entry>) -> Result<Lockout, DirectoryError> {
    match entry.and_then(|entry| entry.first_text(POLICY)) {
        Some(policy) => of_policy(directory, policy).await,
        None => Ok(Lockout::Unknown(format!(
            "it has no `{POLICY}`, and the default password policy is in the configuration of the server"
        ))),
    }
}

async fn usability(directory: &Directory, dn: &str) -> Result<Option<bool>, DirectoryError> {
    match directory {
        Directory::Ldap(server) => match server.account_usability(dn).await {
            Err(error) if error.is_connection() || error.is_transient() => Err(error),
            answer => Ok(answer.unwrap_or_default()),
        },
        Directory::Ldif(_) | Directory::Preview(_) => Ok(None),
    }
}

/// Whether the server shows that no password policy is in force for an entry: it would say whether an account with a password can be used.
///
/// # Errors
/// The directory cannot be asked.
pub async fn has_no_policy(directory: &Directory, dn: &str) -> Result<bool, DirectoryError> {
    let shows = matches!(directory, Directory::Ldap(server) if server.shows_usability());
    if !shows || usability(directory, dn).await?.is_some() {
        return Ok(false);
    }
    // Whoever may search it, may compare it.
    matches(directory, dn, Filter::Present("userPassword".to_owned())).await
}

/// Whether the server says of an account whether it can be used, so that a lock can be checked.
///
/// # Errors
/// The directory cannot be asked.
pub async fn is_shown(directory: &Directory, dn: &str) -> Result<bool, DirectoryError> {
    Ok(usability(directory, dn).await?.is_some())
}

impl BeforeLock {
    /// Finds out what can be known of an entry before it is locked; `None`: of one that does not exist yet.
    ///
    /// # Errors
    /// The directory cannot be asked.
    pub async fn of(directory: &Directory, dn: Option<&str>) -> Result<BeforeLock, DirectoryError> {
        let lock = AccountLock::PwdAccountLockedTime.attribute();
        let entry = match dn {
            Some(dn) => directory.read(dn, &[POLICY, lock]).await?,
            None => None,
        };
        let policy = of_entry(directory, entry.as_ref()).await?;
        let is_locked = |entry: &Entry| entry.first_text(lock).is_some_and(is_locked_for_ever);
        let unlocked = entry.filter(|entry| matches!(policy, Lockout::Unknown(_)) && !is_locked(entry));
        let usable = match unlocked {
            Some(entry) => usability(directory, &entry.dn).await?,
            None => None,
        };
        Ok(BeforeLock { policy, usable })
    }

    /// Returns what is known before the lock.
    pub fn policy(&self) -> &Lockout {
        &self.policy
    }

    /// Finds out whether the lock of an entry counts, now that it is written.
    ///
    /// # Errors
    /// The directory cannot be asked.
    pub async fn after(&self, directory: &Directory, dn: &str) -> Result<Lockout, DirectoryError> {
        let Lockout::Unknown(why) = &self.policy else { return Ok(self.policy.clone()) };
        Ok(match usability(directory, dn).await? {
            Some(true) => Lockout::Ignored(format!(
                "the server says that it can be used all the same, for its policy has no `{LOCKOUT}: TRUE`: {why}"
            )),
            // It was not usable for another reason, which may end.
            Some(false) if self.usable == Some(false) => Lockout::Unknown(why.clone()),
            Some(false) => Lockout::Effective,
            None if has_no_policy(directory, dn).await? => {
                Lockout::Ignored(format!("no password policy is in force for it: {why}"))
            }
            None => Lockout::Unknown(why.clone()),
        })
    }
}
