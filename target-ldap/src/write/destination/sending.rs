//! What a server does not do as asked: assertions that it cannot evaluate, and locks that it drops with a password.

use std::future::Future;
use std::pin::Pin;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::client::PASSWORD_MODIFY;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::oid;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::secret::Secret;
use ldap_directory::unseen::{self, Hidden};
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor, WriteControl};

use super::Destination;
use crate::rules::accounts::{AccountLock, BARS};
use crate::rules::names::ENTRY_IDS;
use crate::write::protection::Admitted;
use crate::write::undo::change_note;

/// The attribute whose change makes a server drop the lock of an account.
const PASSWORD: &str = "userPassword";

/// The lock of an account before a password is set.
pub(super) struct HeldLock {
    lock: AccountLock,
    value: Vec<u8>,
    /// What can bar the account meanwhile, if it has none of it.
    bar: Option<(&'static str, &'static str)>,
}

impl HeldLock {
    /// Returns the attribute and the value, for a note.
    pub(super) fn to_note(&self) -> Option<(String, String)> {
        let value = String::from_utf8(self.value.clone()).ok()?;
        Some((self.lock.attribute().to_owned(), value))
    }

    /// Returns the step that bars the account until its lock is written again. It adds: a value that is there, and hidden, is not lost.
    fn bar(&self) -> Option<Modification> {
        let (name, value) = self.bar?;
        Some(Modification::new(ModificationKind::Add, name, vec![value.into()]))
    }
}

/// Returns the bars that a server knows.
fn bars(schema: &Schema) -> impl Iterator<Item = (&'static str, &'static str)> {
    BARS.into_iter().filter(|(name, _)| schema.attribute_type(name).is_some())
}

impl Destination {
    /// Makes a change with its assertion. A server that answers `assertionFailed` for an entry that is as asserted cannot evaluate
    /// assertions: then the condition is checked right before the change, now and later.
    pub(super) fn judged<'a>(
        &'a self,
        admitted: Admitted<'a>,
        controls: &'a [WriteControl],
    ) -> Pin<Box<dyn Future<Output = Result<(), DirectoryError>> + Send + 'a>> {
        Box::pin(async move {
            let change = admitted.change();
            let asserted = controls.iter().find_map(|control| match control {
                WriteControl::Assertion(filter) => Some(filter),
                WriteControl::RelaxRules => None,
            });
            let (Some(filter), Directory::Ldap(_)) = (asserted, &self.directory) else {
                return self.make(admitted, controls).await;
            };
            let without: Vec<WriteControl> =
                controls.iter().filter(|c| !matches!(c, WriteControl::Assertion(_))).cloned().collect();
            let is_taken = self.directory.takes_assertions() && !self.directory.misjudges_assertions();
            if !is_taken || self.reaches_other_entries(change) {
                if !self.is_as(change.dn(), filter).await? {
                    return Err(DirectoryError::Operation {
                        operation: change.operation(),
                        dn: change.dn().to_owned(),
                        code: result_code::ASSERTION_FAILED,
                        matched: String::new(),
                        text: String::new(),
                    });
                }
                return self.make(admitted, &without).await;
            }
            let error = match self.make(admitted, controls).await {
                Err(error) if error.code() == Some(result_code::ASSERTION_FAILED) => error,
                result => return result,
            };
            if !self.is_as(change.dn(), filter).await? {
                return Err(error);
            }
            if self.directory.note_misjudged_assertion() {
                tracing::warn!(
                    control = oid::ASSERTION,
                    dn = change.dn(),
                    "assertion control ({}): the server answers assertionFailed for `{}`, which is as asserted, so it cannot evaluate assertions (OpenLDAP's overlay unique evaluates them on another entry): {error}; from now on conditions are checked right before each change, without the control",
                    oid::ASSERTION,
                    change.dn()
                );
            }
            self.make(admitted, &without).await
        })
    }

    /// Whether the server changes other entries with this one, under the same controls: OpenLDAP's overlays `memberof` and `refint` write to
    /// the entries that a group names, and to those that name a renamed or deleted entry. The assertion would be evaluated on them, and the
    /// overlay fails without a word.
    fn reaches_other_entries(&self, change: &Change) -> bool {
        let schema = self.directory.schema();
        let is_name = |step: &Modification| ValueKind::of(schema, &step.description).is_name();
        self.directory.root_dse().vendor == Vendor::OpenLdap
            && match change {
                Change::Add(_) => false,
                Change::Modify { changes, .. } => changes.iter().any(is_name),
                Change::Rename { .. } | Change::Delete { .. } => true,
            }
    }

    /// Whether an entry matches a filter.
    pub(in crate::write) async fn is_as(&self, dn: &str, filter: &Filter) -> Result<bool, DirectoryError> {
        let request = SearchRequest {
            paging: Paging::Off,
            ..SearchRequest::new(dn, Scope::Base, filter.clone(), &["1.1"])
        };
        let found = async {
            let mut search = self.directory.search(request).await?;
            let mut found = false;
            while search.next_entry().await?.is_some() {
                found = true;
            }
            Ok(found)
        };
        match found.await {
            Err(e) if DirectoryError::is_no_such_object(&e) => Ok(false),
            found => found,
        }
    }

    /// Returns the lock that an account must have after a change, if the server drops it with a password (OpenLDAP's overlay ppolicy).
    /// `is_new`: this run has just added the entry.
    ///
    /// # Errors
    /// A search fails, or the bound user may not read the lock: the password could enable a disabled account.
    pub(super) async fn lock_at_stake(
        &self,
        change: &Change,
        is_new: bool,
    ) -> Result<Option<HeldLock>, DirectoryError> {
        let (Change::Modify { dn, changes }, Directory::Ldap(_)) = (change, &self.directory) else {
            return Ok(None);
        };
        let schema = self.directory.schema();
        if !changes.iter().any(|step| schema.same_description(&step.description, PASSWORD)) {
            return Ok(None);
        }
        let lock = AccountLock::of(self.directory.root_dse().vendor, schema);
        let Some(lock) = lock.filter(|lock| lock.goes_with_a_password()) else { return Ok(None) };
        let mut of_it =
            changes.iter().filter(|step| schema.same_description(&step.description, lock.attribute()));
        let name = lock.attribute();
        let names: Vec<&str> = std::iter::once(name).chain(bars(schema).map(|(name, _)| name)).collect();
        let entry = Box::pin(self.directory.read(dn, &names)).await?;
        let values = match of_it.next_back() {
            Some(step) if step.kind == ModificationKind::Delete => Vec::new(),
            Some(step) => step.values.clone(),
            None => {
                if let Some(entry) = entry.as_ref().filter(|_| !is_new)
                    && let Some(hidden) = Box::pin(unseen::hidden(&self.directory, entry, &[name])).await?
                {
                    return Err(unreadable(&hidden));
                }
                entry.as_ref().map(|entry| entry.values(name).to_vec()).unwrap_or_default()
            }
        };
        let is_free = |bar: &str| entry.as_ref().is_none_or(|entry| entry.values(bar).is_empty());
        let bar = bars(schema).find(|(name, _)| is_free(name));
        let held = values.into_iter().find(|value| is_disabling(lock, value));
        Ok(held.map(|value| HeldLock { lock, value, bar }))
    }

    /// Bars an account before its password is set by an operation of its own, which drops its lock. `true`: it is barred.
    ///
    /// # Errors
    /// It is not known whether it was made.
    pub(super) async fn bar(&self, dn: &str, lock: Option<&HeldLock>) -> Result<bool, DirectoryError> {
        let Some(step) = lock.and_then(HeldLock::bar) else { return Ok(false) };
        let change = Change::Modify { dn: dn.to_owned(), changes: vec![step] };
        match self.sender.apply(self.check(&change).await?, &[]).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_connection() || error.is_transient() => Err(error),
            Err(error) => {
                unbarred(dn, lock, &error);
                Ok(false)
            }
        }
    }

    /// Makes a change that sets a password and drops the lock of an account: the bar is part of it.
    pub(super) async fn barred(
        &self,
        admitted: Admitted<'_>,
        controls: &[WriteControl],
        lock: Option<&HeldLock>,
    ) -> Result<(), DirectoryError> {
        let (Change::Modify { dn, changes }, Some(bar)) = (admitted.change(), lock.and_then(HeldLock::bar))
        else {
            return self.judged(admitted, controls).await;
        };
        let changes = changes.iter().cloned().chain([bar]).collect();
        let with_bar = Change::Modify { dn: dn.clone(), changes };
        let error = match self.judged(self.check(&with_bar).await?, controls).await {
            Err(error) if matches!(error, DirectoryError::Operation { .. }) && !error.is_transient() => error,
            result => return result,
        };
        let dn = dn.clone();
        // What is refused without it as well was not refused for it.
        self.judged(admitted, controls).await?;
        unbarred(&dn, lock, &error);
        Ok(())
    }

    /// Returns the lock of an account that is added, and that gets its password by an operation of its own.
    pub(super) fn lock_in(&self, entry: &Entry) -> Option<(String, String)> {
        let schema = self.directory.schema();
        let lock = AccountLock::of(self.directory.root_dse().vendor, schema)?;
        let values = schema.values_of(entry, lock.attribute());
        let value = values.iter().find(|value| lock.goes_with_a_password() && is_disabling(lock, value))?;
        HeldLock { lock, value: value.clone(), bar: None }.to_note()
    }

    /// Gives an account the lock of a note, if it has none. `true`: it had none; `None`: there is no such entry.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) async fn lock_by_note(
        &self,
        dn: &str,
        (name, value): &(String, String),
    ) -> Result<Option<bool>, DirectoryError> {
        let schema = self.directory.schema();
        let lock = AccountLock::of(self.directory.root_dse().vendor, schema);
        let Some(lock) = lock.filter(|lock| schema.same_description(lock.attribute(), name)) else {
            return Ok(Some(false));
        };
        Box::pin(self.restore(dn, HeldLock { lock, value: value.clone().into_bytes(), bar: None })).await
    }

    /// Sets a password on the entry that is meant. The operation names it by its DN alone, and servers take no assertion with it: its
    /// identifier is compared right before, and after it.
    pub(super) async fn set_on(
        &self,
        admitted: Admitted<'_>,
        password: &Secret,
        read: Option<&Entry>,
    ) -> Result<(), DirectoryError> {
        if !matches!(self.directory, Directory::Ldap(_)) {
            return self.sender.set_password(admitted, password).await;
        }
        let (dn, schema) = (admitted.change().dn().to_owned(), self.directory.schema());
        let now = self.directory.read(&dn, &ENTRY_IDS).await?;
        let now = now.map(|entry| change_note::id(&entry, schema));
        let meant = read.and_then(|entry| change_note::id(entry, schema)).or_else(|| now.clone().flatten());
        let refused = |code, text: &str| DirectoryError::Operation {
            operation: PASSWORD_MODIFY,
            dn: dn.clone(),
            code,
            matched: String::new(),
            text: text.to_owned(),
        };
        match &now {
            // One that was never seen may be one that the bound user may not see.
            None if meant.is_none() => {}
            None => return Err(refused(result_code::NO_SUCH_OBJECT, "")),
            Some(now) if *now != meant => {
                let text = "another entry has its name by now; no password was set";
                return Err(refused(result_code::ASSERTION_FAILED, text));
            }
            Some(_) => {}
        }
        self.sender.set_password(admitted, password).await?;
        let after = match self.directory.read(&dn, &ENTRY_IDS).await {
            Ok(after) => after.map(|entry| change_note::id(&entry, schema)),
            Err(error) => {
                tracing::warn!(
                    dn,
                    "`{dn}`: whether it is still the entry whose password was to be set: {error}"
                );
                return Ok(());
            }
        };
        // One that is gone has been renamed or deleted since.
        if meant.is_none() || after.is_none_or(|after| after == meant) {
            return Ok(());
        }
        let problem = format!(
            "`{dn}` is another entry than the one whose password was to be set: that one was renamed or deleted at the same time, and the password may have been set on the one that has the name now; see that it gets another one"
        );
        tracing::error!(dn, "{problem}");
        if let Some(gate) = &self.gate {
            gate.misplaced(&dn, &problem);
        }
        // The journal keeps it as a change that may have been made.
        Err(DirectoryError::Protocol {
            operation: PASSWORD_MODIFY,
            dn,
            reason: problem,
            outcome_unknown: true,
        })
    }

    /// Whether an account has lost the lock of a note; `None`: there is no such entry.
    ///
    /// # Errors
    /// The directory cannot be asked.
    pub(crate) async fn lacks_lock(
        &self,
        dn: &str,
        (name, _): &(String, String),
    ) -> Result<Option<bool>, DirectoryError> {
        let schema = self.directory.schema();
        let lock = AccountLock::of(self.directory.root_dse().vendor, schema);
        let Some(lock) = lock.filter(|lock| schema.same_description(lock.attribute(), name)) else {
            return Ok(Some(false));
        };
        let name = lock.attribute();
        let now = self.directory.read(dn, &[name]).await?;
        Ok(now.map(|now| !now.values(name).iter().any(|value| is_disabling(lock, value))))
    }

    /// Notes that a record enables an account.
    pub(crate) fn note_enabled(&self, dn: &str) {
        if let Some(undo) = &self.undo {
            undo.is_enabled(dn, self.directory.schema());
        }
    }

    /// Gives an account its lock back, if a password took it away. That is no change: the account was disabled, and stays so.
    pub(super) async fn lock_again(&self, dn: &str, lock: Option<HeldLock>) -> Result<(), DirectoryError> {
        match lock {
            None => Ok(()),
            Some(held) => {
                let restored = Box::pin(self.restore(dn, held)).await?;
                // If the entry is elsewhere by now, it is looked for at the end.
                if let Some(undo) = self.undo.as_ref().filter(|_| restored.is_some()) {
                    undo.is_locked_again(dn);
                }
                Ok(())
            }
        }
    }

    /// Writes the lock if it is gone, and removes the bar with it. `true`: the lock was gone, and is there again; `None`: there is no such
    /// entry.
    async fn restore(&self, dn: &str, held: HeldLock) -> Result<Option<bool>, DirectoryError> {
        let HeldLock { lock, value, .. } = held;
        let name = lock.attribute();
        let schema = self.directory.schema();
        let result = async {
            let names: Vec<&str> = std::iter::once(name).chain(bars(schema).map(|(name, _)| name)).collect();
            let Some(now) = self.directory.read(dn, &names).await? else { return Ok(None) };
            let is_gone = !now.values(name).iter().any(|value| is_disabling(lock, value));
            let mut changes = Vec::new();
            if is_gone {
                changes.push(Modification::new(ModificationKind::Replace, name, vec![value]));
            }
            for (bar, own) in bars(schema) {
                if now.values(bar).iter().any(|value| value == own.as_bytes()) {
                    changes.push(Modification::new(ModificationKind::Delete, bar, vec![own.into()]));
                }
            }
            if changes.is_empty() {
                return Ok(Some(false));
            }
            let change = Change::Modify { dn: dn.to_owned(), changes };
            self.sender.apply(self.check(&change).await?, &[]).await.map(|()| Some(is_gone))
        };
        let error = match result.await {
            Ok(restored) => return Ok(restored),
            Err(error) => error,
        };
        let why = format!(
            "`{dn}` was disabled, the server enabled it when its password was set, and `{name}` cannot be written again"
        );
        tracing::error!(dn, attribute = name, "{why}: {error}");
        Err(match error {
            DirectoryError::Operation { operation, dn, code, matched, text } => {
                DirectoryError::Operation { operation, dn, code, matched, text: format!("{why}: {text}") }
            }
            error => error,
        })
    }
}

/// Warns that an account can be used between a password and its lock.
fn unbarred(dn: &str, lock: Option<&HeldLock>, error: &DirectoryError) {
    let bar = lock.and_then(|lock| lock.bar).map_or("", |(name, _)| name);
    tracing::warn!(
        dn,
        attribute = bar,
        "bind_dn: `{dn}` is disabled, and the server enables it with its password until its lock is written again: the bound user cannot write `{bar}`, which would bar it meanwhile: {error}"
    );
}

fn unreadable(hidden: &Hidden) -> DirectoryError {
    DirectoryError::Operation {
        operation: "modify",
        dn: hidden.dn.clone(),
        code: result_code::INSUFFICIENT_ACCESS_RIGHTS,
        matched: String::new(),
        text: format!(
            "bind_dn: the bound user may not read `{}`: a password would enable the account, if it is disabled",
            hidden.attribute
        ),
    }
}

fn is_disabling(lock: AccountLock, value: &[u8]) -> bool {
    let entry =
        Entry { dn: String::new(), attributes: vec![Attribute::new(lock.attribute(), vec![value.to_vec()])] };
    lock.is_enabled(&entry) == Some(false)
}
