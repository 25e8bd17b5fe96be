//! Unique values that records of a run exchange: one entry gives up its values for the time being.

use std::collections::HashSet;
use std::hash::Hasher as _;
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};
use rustc_hash::FxHasher;

use super::ldap_result::is_taken_value;
use super::{Applier, Attempt, WriteOutcome};
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::names::hash;
use crate::rules::policy::Policy;

/// What an entry does with values that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It gives them up.
    GiveUp {
        /// The attributes that the server has refused for a taken value in this run, in lower case; empty: it names none.
        unique: Vec<String>,
        /// The other entries that wait for values.
        waiting: Vec<DnKey>,
        /// The values that these are to have, as [`wanted_values`] returns them.
        wanted: Arc<HashSet<u64>>,
    },
    /// It takes them back, because the exchange is not possible.
    TakeBack(Vec<Modification>),
}

/// Returns hashes of the values that a record is to write, to be compared with those that another entry has.
pub(crate) fn wanted_values(wanted: &WantedEntry, schema: &Schema) -> Vec<u64> {
    let exchangeable = wanted.attributes.iter().filter(|attribute| is_exchangeable(attribute, schema));
    let hashes =
        |a: &Wanted| a.values.iter().map(|v| value_hash(&a.description, v, schema)).collect::<Vec<_>>();
    exchangeable.flat_map(hashes).collect()
}

/// Returns the hash of a value of an attribute.
pub(crate) fn value_hash(description: &str, value: &[u8], schema: &Schema) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(schema.normal_description(description).as_bytes());
    hasher.write_u8(0);
    hasher.write(&schema.equality(description).normalize(value, schema));
    hasher.finish()
}

/// Whether the values of an attribute may be unique, and may be given up.
fn is_exchangeable(attribute: &Wanted, schema: &Schema) -> bool {
    let name = &attribute.description;
    attribute.policy == Policy::Force
        && schema.has_equality(name)
        && ValueKind::of(schema, name) != ValueKind::Binary
}

impl Applier {
    /// Removes values that other entries are waiting for, if one of those has a value that this one wants. A value that the entry
    /// must have is replaced by another. Or restores what was removed.
    pub(super) async fn exchange(
        &self,
        dn: &str,
        wanted: &WantedEntry,
        current: &Entry,
        exchange: &Exchange,
    ) -> Result<Attempt, DirectoryError> {
        let schema = self.directory.schema();
        let (unique, waiting, others) = match exchange {
            Exchange::GiveUp { unique, waiting, wanted } => (unique, waiting, wanted),
            Exchange::TakeBack(changes) => {
                return Ok(WriteOutcome::TookBack(self.take_back(dn, changes).await?).into());
            }
        };
        let contested = contested(wanted, dn, unique, schema);
        let (mut changes, mut back) = (Vec::new(), Vec::new());
        let must = self.required(dn).await?;
        for attribute in &contested {
            let name = attribute.description.as_str();
            let there = schema.values_of(current, name);
            let is_kept =
                |value: &Vec<u8>| attribute.values.iter().any(|w| schema.values_match(name, w, value));
            let lost: Vec<Vec<u8>> = there.iter().filter(|value| !is_kept(value)).cloned().collect();
            if !lost.iter().any(|value| others.contains(&value_hash(name, value, schema))) {
                continue;
            }
            if must.iter().any(|m| schema.same_description(m, name)) {
                let stand_in = stand_in(dn);
                changes.push(Modification::new(ModificationKind::Replace, name, vec![stand_in]));
                back.push(Modification::new(ModificationKind::Replace, name, there.to_vec()));
            } else {
                changes.push(Modification::new(ModificationKind::Delete, name, lost.clone()));
                back.extend(
                    lost.into_iter().map(|v| Modification::new(ModificationKind::Add, name, vec![v])),
                );
            }
        }
        if changes.is_empty() || !self.is_held_by_waiting(&contested, current, waiting).await? {
            return Ok(WriteOutcome::NotGivenUp.into());
        }
        let names: Vec<&str> = changes.iter().map(|c| c.description.as_str()).collect();
        tracing::info!("`{dn}` is without its {} until its new value is free", names.join(", "));
        self.directory.apply(&Change::Modify { dn: dn.to_owned(), changes }).await?;
        Ok(WriteOutcome::GaveUp { dn: dn.to_owned(), back }.into())
    }

    /// Restores values that an entry gave up, each by itself. Returns those that another entry has now.
    pub(crate) async fn take_back(
        &self,
        dn: &str,
        changes: &[Modification],
    ) -> Result<Vec<Modification>, DirectoryError> {
        let mut taken = Vec::new();
        for one in changes {
            let change = Change::Modify { dn: dn.to_owned(), changes: vec![one.clone()] };
            match self.directory.apply(&change).await {
                Err(e) if is_taken_value(&e) => taken.push(one.clone()),
                result => result?,
            }
        }
        Ok(taken)
    }

    /// Gives the entry of a refused record, for each of these attributes, the values that its record has for it, and nothing else of the
    /// record: its former values are another entry's now, and without this it would be without a value for ever, or have a temporary
    /// one as its login name. What was done, and what could not be, is logged.
    pub(crate) async fn write_alone(&self, dn: &str, wanted: &WantedEntry, attributes: &[&str]) {
        let schema = self.directory.schema();
        for &name in attributes {
            let is_it = |a: &&Wanted| schema.same_description(&a.description, name) && !a.values.is_empty();
            let values = wanted.attributes.iter().find(is_it).map(|a| a.values.clone());
            let written = match values {
                None => Err("its record has no value for it".to_owned()),
                Some(values) => {
                    let changes = vec![Modification::new(ModificationKind::Replace, name, values)];
                    let change = Change::Modify { dn: dn.to_owned(), changes };
                    self.directory.apply(&change).await.map_err(|e| e.to_string())
                }
            };
            let Err(reason) = written else {
                tracing::warn!(
                    dn,
                    attribute = name,
                    "`{dn}` has got `{name}` from its record, and nothing else of it: the record is refused, and another entry has the value of `{name}` that this one gave up"
                );
                continue;
            };
            let now = self.directory.read(dn, &[name]).await.ok().flatten();
            let now = now.and_then(|entry| schema.values_of(&entry, name).first().cloned());
            let has = match now.filter(|value| is_stand_in(value)) {
                Some(value) => format!("has the temporary value `{}`", String::from_utf8_lossy(&value)),
                None => "is without the value that it had".to_owned(),
            };
            tracing::error!(
                dn,
                attribute = name,
                "`{dn}` {has} in `{name}`: another entry has its value now, and its own new one cannot be written ({reason}). Correct its record and run again, or write `{name}` by hand"
            );
        }
    }

    /// Ends what an earlier run left: an entry with a temporary value, whose record is refused, gets the value of its record.
    pub(super) async fn mend_stand_ins(&self, dn: &str, wanted: &WantedEntry, current: &Entry) {
        let schema = self.directory.schema();
        let is_left = |a: &&Wanted| {
            let there = schema.values_of(current, &a.description);
            is_exchangeable(a, schema)
                && matches!(there, [only] if is_stand_in(only) && !a.values.contains(only))
        };
        let left: Vec<&str> =
            wanted.attributes.iter().filter(is_left).map(|a| a.description.as_str()).collect();
        if !left.is_empty() {
            self.write_alone(dn, wanted, &left).await;
        }
    }

    /// Returns the attributes that an entry must have.
    async fn required(&self, dn: &str) -> Result<Vec<String>, DirectoryError> {
        let classes = self.directory.read(dn, &["objectClass"]).await?.unwrap_or_default();
        let classes: Vec<String> =
            classes.values("objectClass").iter().filter_map(|v| String::from_utf8(v.clone()).ok()).collect();
        let (must, _) = self.directory.schema().must_may(classes.iter().map(String::as_str));
        let mut must: Vec<String> = must.into_iter().map(str::to_owned).collect();
        if self.directory.root_dse().vendor == Vendor::ActiveDirectory {
            must.push("sAMAccountName".to_owned());
        }
        Ok(must)
    }

    /// Whether a waiting entry has one of the values.
    async fn is_held_by_waiting(
        &self,
        contested: &[&Wanted],
        current: &Entry,
        waiting: &[DnKey],
    ) -> Result<bool, DirectoryError> {
        let schema = self.directory.schema();
        let mut any = Vec::new();
        for attribute in contested {
            let name = &attribute.description;
            let there = schema.values_of(current, name);
            let is_new = |value: &&Vec<u8>| !there.iter().any(|t| schema.values_match(name, t, value));
            any.extend(
                attribute
                    .values
                    .iter()
                    .filter(is_new)
                    .map(|value| Filter::Equality { attribute: name.clone(), value: value.clone() }),
            );
        }
        let Some(base) = self.directory.root_dse().default_base().filter(|_| !any.is_empty()) else {
            return Ok(false);
        };
        let mut request = SearchRequest::new(base, Scope::Subtree, Filter::Or(any).to_string(), &["1.1"]);
        request.paging = Paging::AtMost(100);
        let mut search = self.directory.search(request).await?;
        let mut is_had = false;
        while let Some(entry) = search.next_entry().await? {
            is_had |= self.key(&entry.dn).is_ok_and(|key| waiting.contains(&key));
        }
        Ok(is_had)
    }
}

/// Returns the temporary value of an entry that must have one.
fn stand_in(dn: &str) -> Vec<u8> {
    format!("tmp{:012x}", hash(&dn) & 0xffff_ffff_ffff).into_bytes()
}

/// Whether a value has the form of [`stand_in`]: an entry may have another DN since.
fn is_stand_in(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"tmp").unwrap_or_default();
    digits.len() == 12 && digits.iter().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(d))
}

/// Returns the attributes whose values the entry may exchange: those that the server has named, or all.
fn contested<'w>(wanted: &'w WantedEntry, dn: &str, unique: &[String], schema: &Schema) -> Vec<&'w Wanted> {
    let rdn = Dn::parse(dn).ok().and_then(|name| name.rdn().cloned());
    let is_meant = |attribute: &&Wanted| {
        let name = &attribute.description;
        let is_naming =
            rdn.iter().flat_map(|rdn| &rdn.avas).any(|ava| schema.same_description(&ava.attribute, name));
        let is_unique = unique.is_empty() || unique.contains(&name.to_ascii_lowercase());
        is_unique && !is_naming && is_exchangeable(attribute, schema)
    };
    wanted.attributes.iter().filter(is_meant).collect()
}
