//! Values that reference other entries (`member`, `manager`, …). Values that reference later entries wait for them.
//!
//! Some servers refuse a dangling reference (Active Directory). Others accept it, and it may reference another entry later. So
//! it is written once the entry exists. If it never does, the value is tried at the end, with a warning.
//!
//! A new entry is added without such a value. Of an entry that exists nothing is changed before (except its DN, which others may
//! wait for): a refused reference must not leave a group without its members.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ldap_directory::DirectoryError;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::schema::syntax::ValueKind;
use rustc_hash::FxHashSet;
use tokio::task::JoinSet;

use super::Applier;
use super::groups::demanded;
use crate::map::Task;
use crate::map::wanted::WantedEntry;
use crate::rules::names::hash;
use crate::rules::policy::Policy;
use crate::rules::rule::EmptyGroup;

/// A value that waits for the entry that it references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredReference {
    /// The attribute.
    pub description: String,
    /// The value.
    pub value: Vec<u8>,
    /// The referenced entry.
    pub key: DnKey,
}

/// The most searches in parallel for one record.
const LOOKUPS: usize = 32;
/// The most entries that are remembered, of 16 bytes each.
const REMEMBERED: usize = 200_000;

/// Entries that are known to exist.
#[derive(Debug, Default)]
pub(super) struct KnownEntries(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    entries: FxHashSet<u64>,
    /// The ancestors of these.
    above: FxHashSet<u64>,
}

impl KnownEntries {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves the sets whole, or an entry unknown.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, key: &DnKey) {
        let mut known = self.known();
        if known.entries.len() + known.above.len() >= REMEMBERED {
            *known = Known::default();
        }
        if !known.entries.insert(hash(key)) {
            return;
        }
        let mut above = key.parent();
        while let Some(key) = above.filter(|key| known.above.insert(hash(key))) {
            above = key.parent();
        }
    }

    /// Removes an entry with its subtree. If entries below it are known, all are forgotten, because only hashes are kept.
    pub(super) fn remove(&self, key: &DnKey) {
        let mut known = self.known();
        let key = hash(key);
        if known.above.contains(&key) {
            *known = Known::default();
        }
        known.entries.remove(&key);
    }

    pub(super) fn contains(&self, key: &DnKey) -> bool {
        self.known().entries.contains(&hash(key))
    }
}

pub(super) fn lost() -> DirectoryError {
    let reason = "internal error: a look-up has ended without a result".to_owned();
    DirectoryError::File { path: "references".to_owned(), reason, unreachable: false, cause: None }
}

impl Applier {
    /// Returns the new values of a wanted entry that reference missing entries.
    pub(super) async fn missing_references(
        &self,
        wanted: &WantedEntry,
        current: Option<&Entry>,
    ) -> Result<Vec<DeferredReference>, DirectoryError> {
        let schema = self.directory.schema();
        let mut new = Vec::new();
        for attribute in &wanted.attributes {
            if attribute.values.is_empty() || !ValueKind::of(schema, &attribute.description).is_name() {
                continue;
            }
            let there = current.map(|e| schema.values_of(e, &attribute.description)).unwrap_or_default();
            match attribute.policy {
                Policy::Keep if !there.is_empty() => continue,
                Policy::CreateOnly if current.is_some() => continue,
                _ => {}
            }
            let rule = schema.equality(&attribute.description);
            let there: HashSet<Vec<u8>> =
                there.iter().map(|v| rule.normalize(v, schema).into_owned()).collect();
            let description = &attribute.description;
            new.extend(
                attribute
                    .values
                    .iter()
                    .filter(|v| !there.contains(rule.normalize(v, schema).as_ref()))
                    .filter_map(|value| {
                        let key = self.named(value)?;
                        Some(DeferredReference {
                            description: description.clone(),
                            value: value.clone(),
                            key,
                        })
                    }),
            );
        }
        self.missing(new).await
    }

    /// Returns the entry that a value references, if it can be in this directory.
    pub(super) fn named(&self, value: &[u8]) -> Option<DnKey> {
        let text = std::str::from_utf8(value).ok()?;
        let schema = self.directory.schema();
        // NameAndOptionalUID (RFC 4517 section 3.3.21).
        let name = match text.rsplit_once('#') {
            Some((name, uid)) if uid.starts_with('\'') && uid.ends_with("'B") => name,
            _ => text,
        };
        let key = DnKey::parse(name, schema).ok().filter(|key| !key.is_root())?;
        (!self.directory.root_dse().is_outside(&key, schema)).then_some(key)
    }

    /// Returns a DN as the task's values or its rule spell it, else in its normal form.
    pub(crate) fn spelled(&self, task: &Task, key: &DnKey) -> String {
        let Task::Upsert { wanted, write_policy, .. } = task else { return key.to_string() };
        if let EmptyGroup::Placeholder(dn) = &write_policy.empty_group
            && self.named(dn.as_bytes()).as_ref() == Some(key)
        {
            return dn.clone();
        }
        let mut values = wanted.attributes.iter().flat_map(|attribute| &attribute.values);
        let found = values.find(|value| self.named(value).as_ref() == Some(key));
        found.map_or_else(|| key.to_string(), |value| String::from_utf8_lossy(value).into_owned())
    }

    /// Returns the values whose entries do not exist.
    pub(super) async fn missing(
        &self,
        values: Vec<DeferredReference>,
    ) -> Result<Vec<DeferredReference>, DirectoryError> {
        let mut missing = Vec::new();
        let mut lookups = JoinSet::new();
        let mut values = values.into_iter().filter(|deferred| !self.present.contains(&deferred.key));
        loop {
            while lookups.len() < LOOKUPS
                && let Some(deferred) = values.next()
            {
                let directory = self.directory.clone();
                lookups.spawn(async move {
                    let name = String::from_utf8_lossy(&deferred.value).into_owned();
                    let name = match name.rsplit_once("#'") {
                        Some((name, _)) => name.to_owned(),
                        None => name,
                    };
                    let there = directory.read(&name, &["1.1"]).await;
                    (deferred, there)
                });
            }
            let Some(joined) = lookups.join_next().await else { return Ok(missing) };
            // Lost by a panic, which ends the run.
            let Ok((deferred, there)) = joined else { return Err(lost()) };
            match there {
                Ok(Some(_)) => self.present.insert(&deferred.key),
                Ok(None) => missing.push(deferred),
                // A reference that the server does not resolve cannot be waited for: an alias, a referral, an invalid DN.
                Err(e) if e.code().is_some() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Returns the missing entries, if without them a new entry would lack an attribute that its classes require.
    pub(super) fn missing_required(
        &self,
        wanted: &WantedEntry,
        deferred: &[DeferredReference],
    ) -> Option<Vec<DnKey>> {
        if deferred.is_empty() {
            return None;
        }
        let schema = self.directory.schema();
        let is_left_out = |name: &str| {
            let is_it = |description: &str| schema.same_description(name, description);
            let of = wanted.attributes.iter().find(|a| is_it(&a.description));
            of.is_some_and(|attribute| attribute.values.is_empty())
                && deferred.iter().any(|h| is_it(&h.description))
        };
        demanded(wanted, None, schema)
            .iter()
            .any(|name| is_left_out(name))
            .then(|| deferred.iter().map(|h| h.key.clone()).collect())
    }
}

/// Removes deferred values from a wanted entry.
pub(super) fn without(wanted: &mut Cow<'_, WantedEntry>, missing: &[DeferredReference]) {
    if missing.is_empty() {
        return;
    }
    for attribute in &mut wanted.to_mut().attributes {
        let deferred: HashSet<&Vec<u8>> =
            missing.iter().filter(|h| h.description == attribute.description).map(|h| &h.value).collect();
        if !deferred.is_empty() {
            attribute.values.retain(|v| !deferred.contains(v));
        }
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::schema::Schema;

    use super::*;

    #[test]
    fn what_goes_takes_what_lies_below_it_out_of_memory_and_nothing_else() {
        let key = |dn: &str| DnKey::parse(dn, Schema::standard()).unwrap();
        let present = KnownEntries::default();
        for dn in ["uid=a,ou=u,dc=x", "uid=b,ou=u,dc=x", "uid=c,ou=w,dc=x"] {
            present.insert(&key(dn));
        }
        present.remove(&key("uid=a,ou=u,dc=x"));
        present.remove(&key("uid=never,ou=u,dc=x"));
        assert!(!present.contains(&key("uid=a,ou=u,dc=x")));
        assert!(present.contains(&key("uid=b,ou=u,dc=x")) && present.contains(&key("uid=c,ou=w,dc=x")));
        present.remove(&key("ou=u,dc=x"));
        assert!(!present.contains(&key("uid=b,ou=u,dc=x")));
        for n in 0..=REMEMBERED {
            present.insert(&key(&format!("uid={n}")));
        }
        assert!(present.known().entries.len() <= REMEMBERED);
    }
}
