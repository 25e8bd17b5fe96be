//! Whether an account that a write disables is disabled: OpenLDAP ignores its lock unless a password policy says otherwise.

use ldap_directory::{Directory, DirectoryError};
use target_ldap::map::Task;
use target_ldap::map::wanted::Wanted;
use target_ldap::rules::accounts::AccountLock;
use target_ldap::write::lockout::{self, BeforeLock, Lockout};

use super::{WriteError, WriteErrorKind, refusal};

/// The check of one write that disables an account.
#[derive(Debug)]
pub(crate) struct LockCheck(BeforeLock);

/// Whether a task disables an account.
fn disables(task: &Task, directory: &Directory) -> bool {
    let name = AccountLock::PwdAccountLockedTime.attribute();
    let is_lock = |wanted: &Wanted| {
        directory.schema().same_description(&wanted.description, name) && !wanted.values.is_empty()
    };
    match task {
        Task::Upsert { wanted, .. } => {
            wanted.account.enabled == Some(false) || wanted.attributes.iter().any(is_lock)
        }
        Task::Delete { action, .. } => action.set().iter().any(is_lock),
        _ => false,
    }
}

fn ignored(dn: &str, why: &str) -> WriteError {
    let detail = format!("`{dn}` would not be disabled, and could still bind: {why}");
    tracing::warn!(dn, "a write is refused: {detail}");
    WriteError::new(WriteErrorKind::Invalid, detail)
}

impl LockCheck {
    /// Returns the check of a task; `None`: it disables no account, or every lock counts. `found`: the DN of an existing entry.
    ///
    /// # Errors
    /// The lock is known to be ignored, or the directory cannot be asked: nothing was written.
    pub(crate) async fn of(
        task: &Task,
        directory: &Directory,
        found: Option<&str>,
    ) -> Result<Option<LockCheck>, WriteError> {
        if !lockout::depends_on_policies(directory) || !disables(task, directory) {
            return Ok(None);
        }
        let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
        let before = BeforeLock::of(directory, found).await.map_err(failed)?;
        match before.policy() {
            Lockout::Ignored(why) => Err(ignored(found.or(task.dn()).unwrap_or_default(), why)),
            Lockout::Effective | Lockout::Unknown(_) => Ok(Some(LockCheck(before))),
        }
    }

    /// Checks the lock that was written.
    ///
    /// # Errors
    /// The server ignores it: it is to be taken back. That it is not known is a warning.
    pub(crate) async fn check(&self, directory: &Directory, dn: &str) -> Result<(), WriteError> {
        let after = self.0.after(directory, dn).await;
        match after.map_err(|e| refusal::of_directory(&e, directory.schema()))? {
            Lockout::Effective => Ok(()),
            Lockout::Ignored(why) => Err(ignored(dn, &why)),
            Lockout::Unknown(why) => {
                tracing::warn!(
                    dn,
                    "`{dn}` is locked, and whether the server heeds that is not known (a policy with `pwdLockout: TRUE`): {why}"
                );
                Ok(())
            }
        }
    }
}
