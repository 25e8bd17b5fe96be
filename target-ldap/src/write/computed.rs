//! What a server shows in place of what was written: 389 Directory Server computes values by classes of service and roles. The entry has what
//! its record asks for, and nobody sees it: that is said in each run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::{Directory, DirectoryError};

use super::Applier;
use crate::map::wanted::{Wanted, WantedAccount, WantedEntry};
use crate::rules::accounts::AccountLock;
use crate::rules::policy::{Compare, Policy};

/// The entries of an attribute that are named.
const NAMED: u64 = 20;

/// How many entries show other values than they have, by attribute.
#[derive(Debug, Default)]
pub(super) struct Computed(Mutex<BTreeMap<String, u64>>);

impl Computed {
    /// Returns the numbers.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, attribute: &str) -> u64 {
        // A panic elsewhere leaves a number that is too small.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(attribute.to_owned()).or_default();
        *count += 1;
        *count
    }
}

impl Applier {
    /// Warns of an entry that the server shows otherwise than its record asks for, though it has what the record asks for.
    pub(super) async fn watch_shown(&self, wanted: &WantedEntry) {
        let Some(computed) = &self.computed else { return };
        if !matches!(*self.directory, Directory::Ldap(_)) || !self.directory.tells_own_values() {
            return;
        }
        match self.differing(wanted).await {
            Ok(differing) => differing.into_iter().for_each(|name| warn(computed, &wanted.dn, name)),
            Err(error) => tracing::debug!(dn = wanted.dn, "whether values are computed: {error}"),
        }
    }

    /// The same for a modification: its entry is to have the values that it gives.
    pub async fn watch_change(&self, change: &Change) {
        let Change::Modify { dn, changes } = change else { return };
        let given = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
        let attributes = given.map(|step| Wanted {
            description: step.description.clone(),
            values: step.values.clone(),
            policy: Policy::Force,
            compare: Compare::Schema,
        });
        let (dn, attributes) = (dn.clone(), attributes.collect());
        self.watch_shown(&WantedEntry {
            dn,
            attributes,
            account: WantedAccount::default(),
            references: Vec::new(),
        })
        .await;
    }

    /// Returns how many entries the server shows otherwise than they were written, by attribute.
    pub fn shown_otherwise(&self) -> BTreeMap<String, u64> {
        self.computed.as_ref().map(|computed| computed.counts()).unwrap_or_default()
    }

    /// Returns the attributes of an entry that are as wanted, and are shown otherwise.
    async fn differing<'w>(&self, wanted: &'w WantedEntry) -> Result<Vec<&'w str>, DirectoryError> {
        let is_compared = |a: &&Wanted| a.policy == Policy::Force && !a.values.is_empty();
        let compared: Vec<&Wanted> = wanted.attributes.iter().filter(is_compared).collect();
        let lock = self.lock().filter(|_| wanted.account.enabled.is_some());
        let names = compared.iter().map(|a| a.description.as_str());
        let names: Vec<&str> = names.chain(lock.map(AccountLock::attribute)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let schema = self.directory.schema();
        let lacks = |entry: &Entry, a: &Wanted| {
            let there = schema.values_of(entry, &a.description);
            let has = |value: &Vec<u8>| there.iter().any(|t| schema.values_match(&a.description, t, value));
            !a.values.iter().all(has)
        };
        let is_locked_otherwise = |entry: &Entry| {
            lock.is_some_and(|lock| {
                lock.is_enabled(entry).is_some_and(|is| Some(is) != wanted.account.enabled)
            })
        };
        let Some(shown) = self.directory.as_shown().read(&wanted.dn, &names).await? else {
            return Ok(Vec::new());
        };
        let mut differing: Vec<&Wanted> = compared.into_iter().filter(|a| lacks(&shown, a)).collect();
        if differing.is_empty() && !is_locked_otherwise(&shown) {
            return Ok(Vec::new());
        }
        // What it does not have either was refused, or changed by somebody else.
        let Some(own) = self.directory.read(&wanted.dn, &names).await? else { return Ok(Vec::new()) };
        differing.retain(|a| !lacks(&own, a));
        let of_lock = lock.filter(|_| is_locked_otherwise(&shown) && !is_locked_otherwise(&own));
        let differing = differing.into_iter().map(|a| a.description.as_str());
        Ok(differing.chain(of_lock.map(AccountLock::attribute)).collect())
    }
}

fn warn(computed: &Computed, dn: &str, name: &str) {
    let count = computed.count(name);
    if count > NAMED {
        tracing::debug!(dn, attribute = name, "`{dn}`: `{name}` is shown otherwise than it was written");
        return;
    }
    let more = if count == NAMED { "; further entries are not named" } else { "" };
    tracing::warn!(
        dn,
        attribute = name,
        "`{dn}`: the entry has `{name}` as its record asks, and the server shows it otherwise: it is computed by a class of service or a role, and changes there{more}"
    );
}
