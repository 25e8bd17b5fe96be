//! What a server does not do as asked: assertions that it cannot evaluate, and locks that it drops with a password.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::oid;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::unseen::{self, Hidden};
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor, WriteControl};

use super::Destination;
use crate::rules::accounts::AccountLock;
use crate::write::protection::Admitted;
use crate::write::undo::change_note::{is_list_of_entries, value_digest};

/// The attribute whose change makes a server drop the lock of an account.
const PASSWORD: &str = "userPassword";

/// The most members whose IDs are noted for a change.
const MOST_MEMBERS: usize = 64;

/// The lock of an account before a password is set.
pub(super) struct HeldLock {
    lock: AccountLock,
    value: Vec<u8>,
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

    /// Returns the IDs of the entries that an undo would put into lists, by the digests of their names; of many, none.
    pub(super) async fn members_of(
        &self,
        back: &[Change],
    ) -> Result<BTreeMap<String, (String, String)>, DirectoryError> {
        let schema = self.directory.schema();
        let mut named = Vec::new();
        for change in back {
            let lists: Vec<(&str, &Vec<Vec<u8>>)> = match change {
                Change::Add(entry) => {
                    entry.attributes.iter().map(|a| (a.description.as_str(), &a.values)).collect()
                }
                Change::Modify { changes, .. } => {
                    let given = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
                    given.map(|step| (step.description.as_str(), &step.values)).collect()
                }
                Change::Delete { .. } | Change::Rename { .. } => Vec::new(),
            };
            let lists = lists.into_iter().filter(|(name, _)| is_list_of_entries(name, schema));
            named.extend(lists.flat_map(|(name, values)| values.iter().map(move |value| (name, value))));
        }
        let mut members = BTreeMap::new();
        if named.len() > MOST_MEMBERS {
            return Ok(members);
        }
        for (name, value) in named {
            let Some(dn) = std::str::from_utf8(value).ok().filter(|dn| DnKey::parse(dn, schema).is_ok())
            else {
                continue;
            };
            if let Some(id) = Box::pin(self.id(dn)).await {
                members.insert(value_digest(name, value, schema), id);
            }
        }
        Ok(members)
    }

    /// Whether an entry matches a filter.
    async fn is_as(&self, dn: &str, filter: &Filter) -> Result<bool, DirectoryError> {
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
        let values = match of_it.next_back() {
            Some(step) if step.kind == ModificationKind::Delete => Vec::new(),
            Some(step) => step.values.clone(),
            None => {
                let name = lock.attribute();
                let entry = Box::pin(self.directory.read(dn, &[name])).await?;
                if let Some(entry) = entry.as_ref().filter(|_| !is_new)
                    && let Some(hidden) = Box::pin(unseen::hidden(&self.directory, entry, &[name])).await?
                {
                    return Err(unreadable(&hidden));
                }
                entry.map(|entry| entry.values(name).to_vec()).unwrap_or_default()
            }
        };
        Ok(values.into_iter().find(|value| is_disabling(lock, value)).map(|value| HeldLock { lock, value }))
    }

    /// Gives an account its lock back, if a password took it away. That is no change: the account was disabled, and stays so.
    pub(super) async fn lock_again(&self, dn: &str, lock: Option<HeldLock>) -> Result<(), DirectoryError> {
        match lock {
            None => Ok(()),
            Some(held) => Box::pin(self.restore(dn, held)).await,
        }
    }

    async fn restore(&self, dn: &str, held: HeldLock) -> Result<(), DirectoryError> {
        let HeldLock { lock, value } = held;
        let name = lock.attribute();
        let result = async {
            let now = self.directory.read(dn, &[name]).await?;
            if now.is_none_or(|now| now.values(name).iter().any(|value| is_disabling(lock, value))) {
                return Ok(());
            }
            let step = Modification::new(ModificationKind::Replace, name, vec![value]);
            let change = Change::Modify { dn: dn.to_owned(), changes: vec![step] };
            self.sender.apply(self.check(&change).await?, &[]).await
        };
        let Err(error) = result.await else { return Ok(()) };
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
