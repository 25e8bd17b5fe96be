//! Writes passwords and account states.

use std::sync::atomic::Ordering;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::client::PASSWORD_MODIFY;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::protocol::result_code;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor, WriteControl};

use super::Applier;
use super::inverse::inverse;
use super::ldap_result::is_records_fault;
use super::lockout::{self, BeforeLock, Lockout};
use crate::map::wanted::WantedEntry;
use crate::plan::assertion::unchanged;
use crate::plan::{StepOnAd, step_on_ad};
use crate::rules::accounts::{AccountLock, PWD_LAST_SET, pwd_last_set};
use crate::rules::names::ENTRY_IDS;
use crate::rules::password::{NewPassword, PasswordMode, PasswordPolicy};

/// What is added to a server's text if it refuses the password of an entry that was added.
pub const NO_PASSWORD_YET: &str =
    "; the entry was added and has no password yet: the next run that brings the record sets it";

/// The changes to an existing entry.
#[derive(Debug, Default)]
pub(super) struct ModifyPlan {
    /// The modifications.
    pub(super) changes: Vec<Modification>,
    /// The password to set by an operation of its own, after the modifications.
    pub(super) exop: Option<NewPassword>,
    /// The modifications to make once the password is set.
    pub(super) last: Vec<Modification>,
}

impl ModifyPlan {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.exop.is_none()
    }
}

fn refused(dn: &str, code: u32, text: &str) -> DirectoryError {
    DirectoryError::Operation {
        operation: "modify",
        dn: dn.to_owned(),
        code,
        matched: String::new(),
        text: text.to_owned(),
    }
}

impl Applier {
    pub(super) fn lock(&self) -> Option<AccountLock> {
        AccountLock::of(self.directory.root_dse().vendor, self.directory.schema())
    }

    /// Returns the attributes to read beside the wanted ones.
    pub(super) fn account_attributes(&self, wanted: &WantedEntry) -> Vec<&'static str> {
        let mut names = Vec::new();
        if wanted.account.enabled.is_some() {
            let lock = self.lock();
            names.extend(lock.map(AccountLock::attribute));
            names.extend(lock.into_iter().flat_map(AccountLock::bar_attributes));
            if lock == Some(AccountLock::UserAccountControl) {
                names.push(PWD_LAST_SET);
            }
        }
        let by_dn = wanted.account.password.as_ref().filter(|p| p.mode == PasswordMode::Exop);
        // The operation names the entry by its DN alone.
        names.extend(by_dn.iter().flat_map(|_| ENTRY_IDS));
        match wanted.account.password.as_ref().map(|p| (p.mode, p.when)) {
            Some((PasswordMode::Exop, PasswordPolicy::CreateOnly)) => {
                names.extend(["userPassword", "createTimestamp", "modifyTimestamp"]);
            }
            // unicodePwd can never be read.
            None | Some((PasswordMode::UnicodePwd, _) | (_, PasswordPolicy::CreateOnly)) => {}
            Some((_, PasswordPolicy::Keep | PasswordPolicy::Force)) => names.push("userPassword"),
        }
        names
    }

    /// Returns the entry to add.
    pub(super) async fn new_entry(&self, wanted: &WantedEntry) -> Result<Entry, DirectoryError> {
        let mut entry = wanted.to_entry();
        let account = &wanted.account;
        if let Some(password) = &account.password {
            self.prepare(&wanted.dn, password, password.mode != PasswordMode::Exop).await?;
        }
        if let Some(password) = &account.password
            && let Some(values) = self.values(&wanted.dn, password).await?
        {
            entry.attributes.push(Attribute::new(password.mode.attribute(), values));
        }
        entry.attributes.extend(account.enabled.and_then(|enabled| self.lock()?.for_new(enabled)));
        if account.enabled == Some(true) && account.password.is_none() {
            self.warn_of_no_password(&wanted.dn, &Entry::default());
        }
        if let Some(must_change) = account.must_change {
            entry.attributes.push(Attribute::new(PWD_LAST_SET, vec![pwd_last_set(must_change).into()]));
        }
        Ok(entry)
    }

    /// Does what remains to be done after the add.
    pub(super) async fn after_add(&self, wanted: &WantedEntry) -> Result<(), DirectoryError> {
        let Some(password) = wanted.account.password.as_ref().filter(|p| p.mode == PasswordMode::Exop) else {
            return Ok(());
        };
        match self.set_password(&wanted.dn, password, None).await {
            Ok(()) => match self.lock().filter(|l| l.goes_with_a_password()) {
                Some(lock) if wanted.account.enabled == Some(false) => {
                    let changes = lock.changes(false, &Entry::default()).unwrap_or_default();
                    self.directory.apply(&Change::Modify { dn: wanted.dn.clone(), changes }).await
                }
                _ => Ok(()),
            },
            Err(DirectoryError::Operation { operation, dn, code, matched, text }) => {
                let text = format!("{text}{NO_PASSWORD_YET}");
                Err(DirectoryError::Operation { operation, dn, code, matched, text })
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the differences between an existing entry and the wanted one.
    pub(super) async fn planned(
        &self,
        wanted: &WantedEntry,
        current: &Entry,
    ) -> Result<ModifyPlan, DirectoryError> {
        let mut changes = wanted.changes(current, self.directory.schema());
        if self.directory.root_dse().vendor == Vendor::ActiveDirectory {
            changes = self.on_active_directory(&wanted.dn, changes, current)?;
        }
        let mut exop = None;
        let mut last = Vec::new();
        let mut is_set = false;
        let account = &wanted.account;
        if let Some(password) = &account.password
            && self.is_due(password, current).await?
        {
            is_set = true;
            self.prepare(&wanted.dn, password, false).await?;
            let name = password.mode.attribute();
            match self.values(&wanted.dn, password).await? {
                None => exop = Some(password.clone()),
                Some(values) => {
                    changes.push(Modification::new(ModificationKind::Replace, name, values));
                    if let Some(must_change) = account.must_change {
                        let value = pwd_last_set(must_change).into();
                        changes.push(Modification::new(ModificationKind::Replace, PWD_LAST_SET, vec![value]));
                    }
                }
            }
        }
        if account.enabled == Some(true) {
            self.directory.note_enabled(&current.dn);
        }
        if let (Some(enabled), Some(lock)) = (account.enabled, self.lock()) {
            if is_set && !enabled && lock.goes_with_a_password() {
                last = lock.changes(false, &Entry::default()).unwrap_or_default();
                return Ok(ModifyPlan { changes, exop, last });
            }
            let steps = lock.changes(enabled, current).ok_or_else(|| {
                let text = format!(
                    "accounts.enabled: `{}` cannot be read, and its other bits are not to be lost",
                    lock.attribute()
                );
                refused(&wanted.dn, result_code::INSUFFICIENT_ACCESS_RIGHTS, &text)
            })?;
            if enabled && !is_set && !steps.is_empty() {
                self.warn_of_no_password(&wanted.dn, current);
            }
            changes.extend(steps);
        }
        Ok(ModifyPlan { changes, exop, last })
    }

    /// Warns that an account is enabled that never had a password, as far as Active Directory lets that be seen: a domain controller
    /// of Microsoft refuses it, Samba does not.
    fn warn_of_no_password(&self, dn: &str, current: &Entry) {
        if self.lock().is_some_and(|lock| lock.lacks_password(current)) {
            tracing::warn!(
                dn,
                "`{dn}` is enabled by accounts.enabled, and has no password: nobody can log on with it until it gets one (the rule's `password`)"
            );
        }
    }

    /// Warns that an account was disabled and can still bind, for OpenLDAP ignores its lock.
    pub(super) async fn watch_lock(&self, dn: &str) {
        let Some(told) =
            self.watches_locks.as_ref().filter(|_| lockout::depends_on_policies(&self.directory))
        else {
            return;
        };
        let found = async {
            let before = BeforeLock::of(&self.directory, Some(dn)).await?;
            before.after(&self.directory, dn).await
        };
        match found.await {
            Ok(Lockout::Effective) => {}
            Ok(Lockout::Ignored(why)) => {
                tracing::warn!(dn, "`{dn}` is disabled by accounts.enabled, and can still bind: {why}");
            }
            Ok(Lockout::Unknown(why)) => {
                if !told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        dn,
                        "`{dn}` is disabled by accounts.enabled, and whether the server heeds that is not known (a policy with `pwdLockout: TRUE`): {why}"
                    );
                }
            }
            Err(error) => tracing::debug!(dn, "whether the lock of an account counts: {error}"),
        }
    }

    /// Returns modifications as Active Directory accepts them.
    fn on_active_directory(
        &self,
        dn: &str,
        changes: Vec<Modification>,
        current: &Entry,
    ) -> Result<Vec<Modification>, DirectoryError> {
        let mut accepted = Vec::with_capacity(changes.len());
        for step in changes {
            match step_on_ad(&step, current, self.directory.schema()) {
                StepOnAd::Same => accepted.push(step),
                StepOnAd::Nothing => {}
                StepOnAd::Other(other) => accepted.push(other),
                StepOnAd::Refused => {
                    let text = format!(
                        "`{}` is null, and Active Directory deletes no value of it: leave the property out of such records, or give it a value",
                        step.description
                    );
                    return Err(refused(dn, result_code::UNWILLING_TO_PERFORM, &text));
                }
            }
        }
        Ok(accepted)
    }

    /// Makes the modifications.
    pub(super) async fn modify(
        &self,
        dn: &str,
        planned: ModifyPlan,
        read: &Entry,
    ) -> Result<(), DirectoryError> {
        let ModifyPlan { changes, exop, last } = planned;
        let dn = || dn.to_owned();
        let schema = self.directory.schema();
        let mut back = Vec::new();
        if !changes.is_empty() {
            let condition = self.assert_unchanged.then(|| unchanged(&changes, read, schema)).flatten();
            let controls: Vec<WriteControl> = condition.into_iter().collect();
            let change = Change::Modify { dn: dn(), changes };
            if exop.is_some() {
                back = inverse(&change, Some(read), schema);
            }
            self.directory.apply_with(&change, &controls).await?;
        }
        if let Some(password) = &exop
            && let Err(error) = self.set_password(&dn(), password, Some(read)).await
        {
            if is_records_fault(&error) {
                self.modify_back(&back).await;
            }
            return Err(error);
        }
        if !last.is_empty() {
            self.directory.apply(&Change::Modify { dn: dn(), changes: last }).await?;
        }
        Ok(())
    }

    /// Takes the modifications of a record back whose password was refused. What cannot be taken back is logged.
    async fn modify_back(&self, back: &[Change]) {
        let Some(dn) = back.first().map(Change::dn) else { return };
        match Box::pin(self.undo_changes(back)).await {
            Ok(()) => tracing::info!(dn, "`{dn}` is as before: its record is refused for its password"),
            Err(error) => tracing::warn!(
                dn,
                "`{dn}` has all of its record but the password, for which the record is refused: {error}"
            ),
        }
    }

    /// Whether an existing entry gets the password.
    async fn is_due(&self, password: &NewPassword, current: &Entry) -> Result<bool, DirectoryError> {
        let there = self.directory.schema().values_of(current, "userPassword");
        let dn = &current.dn;
        match (password.when, password.mode) {
            (PasswordPolicy::Force, PasswordMode::UnicodePwd) => Ok(true),
            (PasswordPolicy::Force, _) => {
                let (password, there) = (password.clone(), there.to_vec());
                Ok(!background(dn, move || password.is_among(&there)).await?)
            }
            _ if !there.is_empty() => Ok(false),
            (PasswordPolicy::Keep, _) => match self.has_password(dn).await? {
                Some(has) => Ok(!has),
                None => Err(refused(
                    dn,
                    result_code::INSUFFICIENT_ACCESS_RIGHTS,
                    "password.policy keep: whether the entry has a password cannot be seen; the bound user needs the right to search by userPassword, or the policy is to be create_only",
                )),
            },
            // The add and the Password Modify are two operations. If the second failed, or the run was killed in between, the
            // entry is as it was added, without a password: it gets one now. An entry whose password was removed deliberately
            // has been modified since.
            (PasswordPolicy::CreateOnly, PasswordMode::Exop) => {
                let added = current.first_text("createTimestamp");
                let untouched = added.is_some() && added == current.first_text("modifyTimestamp");
                Ok(untouched && self.has_password(dn).await? == Some(false))
            }
            (PasswordPolicy::CreateOnly, _) => Ok(false),
        }
    }

    /// Whether an entry has a `userPassword`, readable or not; `None`: the bound user may not know. Without the right to search
    /// by an attribute, its filters are Undefined, negated or not (RFC 4511 section 4.5.1.7).
    async fn has_password(&self, dn: &str) -> Result<Option<bool>, DirectoryError> {
        for (filter, answer) in [("(!(userPassword=*))", false), ("(userPassword=*)", true)] {
            let request = SearchRequest {
                paging: Paging::Off,
                ..SearchRequest::new(dn, Scope::Base, filter, &["1.1"])
            };
            let mut search = self.directory.search(request).await?;
            let mut found = false;
            while search.next_entry().await?.is_some() {
                found = true;
            }
            if found {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Sets a password by an operation of its own. A generated one is on disk before it is sent, and withdrawn if the server
    /// refuses it. `current`: the entry, if it was there before.
    pub(super) async fn set_password(
        &self,
        dn: &str,
        password: &NewPassword,
        current: Option<&Entry>,
    ) -> Result<(), DirectoryError> {
        self.prepare(dn, password, true).await?;
        let Some(secret) = password.clear_text() else { return Ok(()) };
        let done = self.directory.set_password(dn, secret, current.is_some(), current).await;
        if let Err(DirectoryError::Operation { .. }) = &done {
            self.withdraw(dn, Some(password)).await;
        }
        done
    }

    /// Makes a generated password, and delivers it if it is sent now. A rehearsal delivers none.
    async fn prepare(&self, dn: &str, password: &NewPassword, is_sent: bool) -> Result<(), DirectoryError> {
        let Some(generated) = password.generated.clone() else { return Ok(()) };
        let is_sent = is_sent && !matches!(*self.directory, Directory::Preview(_));
        let name = dn.to_owned();
        let done = background(dn, move || {
            generated.make()?;
            if is_sent { generated.deliver(&name) } else { Ok(()) }
        });
        done.await?.map_err(|e| DirectoryError::Protocol {
            operation: PASSWORD_MODIFY,
            dn: dn.to_owned(),
            reason: format!(
                "password.deliver.file: the generated password is not set, for it cannot be delivered: {e}"
            ),
            outcome_unknown: false,
        })
    }

    /// Says in the file of delivered passwords that this one was not set.
    pub(super) async fn withdraw(&self, dn: &str, password: Option<&NewPassword>) {
        let Some(generated) = password.and_then(|password| password.generated.clone()) else { return };
        let (name, file) = (dn.to_owned(), generated.file().display().to_string());
        if let Ok(Err(error)) = background(dn, move || generated.withdraw(&name)).await {
            tracing::warn!(
                dn,
                "password.deliver.file: `{file}` has a password for `{dn}` that was not set: {error}"
            );
        }
    }

    /// Returns the values to write; `None` with `exop`.
    async fn values(&self, dn: &str, password: &NewPassword) -> Result<Option<Vec<Vec<u8>>>, DirectoryError> {
        // A rehearsal does not show the hash, and need not spend 20 ms on each.
        if matches!(*self.directory, Directory::Preview(_)) && password.mode == PasswordMode::Argon2id {
            return Ok(password.clear_text().map(|text| vec![text.reveal().as_bytes().to_vec()]));
        }
        let password = password.clone();
        background(dn, move || password.to_values()).await?.map_err(|e| DirectoryError::Protocol {
            operation: PASSWORD_MODIFY,
            dn: dn.to_owned(),
            reason: e.to_string(),
            outcome_unknown: false,
        })
    }
}

/// Runs on a thread of its own: Argon2 takes long enough for the connection's responses to pile up.
async fn background<T: Send + 'static>(
    dn: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DirectoryError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| DirectoryError::Protocol {
        operation: PASSWORD_MODIFY,
        dn: dn.to_owned(),
        reason: e.to_string(),
        outcome_unknown: false,
    })
}
