//! Unique values that records of a run exchange: one entry gives up its value for the time being.

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};

use super::{Applier, Attempt, WriteOutcome};
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::names::hash;
use crate::rules::policy::Policy;

/// Why an entry must give up values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The server's diagnostic message when the entry was to get its new values; it may name the attribute.
    pub refused_with: String,
    /// The other entries that wait for values.
    pub waiting: Vec<DnKey>,
}

impl Applier {
    /// Removes values that other entries may be waiting for, if one of those has a value that this one wants. A value that the
    /// entry must have is replaced by another.
    pub(super) async fn give_up(
        &self,
        dn: &str,
        wanted: &WantedEntry,
        current: &Entry,
        exchange: &Exchange,
    ) -> Result<Attempt, DirectoryError> {
        let schema = self.directory.schema();
        let contested = contested(wanted, current, dn, &exchange.refused_with, schema);
        if !self.is_held_by_waiting(&contested, current, &exchange.waiting).await? {
            return Ok(WriteOutcome::NotGivenUp.into());
        }
        let classes = self.directory.read(dn, &["objectClass"]).await?.unwrap_or_default();
        let classes: Vec<String> =
            classes.values("objectClass").iter().filter_map(|v| String::from_utf8(v.clone()).ok()).collect();
        let (must, _) = schema.must_may(classes.iter().map(String::as_str));
        let is_needed = |name: &str| {
            must.iter().any(|m| schema.same_description(m, name))
                || self.directory.root_dse().vendor == Vendor::ActiveDirectory
                    && name.eq_ignore_ascii_case("sAMAccountName")
        };
        let (mut changes, mut back) = (Vec::new(), Vec::new());
        for attribute in contested {
            let name = attribute.description.as_str();
            let there = schema.values_of(current, name);
            let kept =
                |value: &&Vec<u8>| attribute.values.iter().any(|w| schema.values_match(name, w, value));
            let lost: Vec<Vec<u8>> = there.iter().filter(|value| !kept(value)).cloned().collect();
            if lost.is_empty() {
                continue;
            }
            if is_needed(name) {
                let stand_in = format!("tmp{:012x}", hash(&dn) & 0xffff_ffff_ffff).into_bytes();
                changes.push(Modification::new(ModificationKind::Replace, name, vec![stand_in]));
                back.push(Modification::new(ModificationKind::Replace, name, there.to_vec()));
            } else {
                changes.push(Modification::new(ModificationKind::Delete, name, lost.clone()));
                back.push(Modification::new(ModificationKind::Add, name, lost));
            }
        }
        if changes.is_empty() {
            return Ok(WriteOutcome::NotGivenUp.into());
        }
        let names: Vec<&str> = changes.iter().map(|c| c.description.as_str()).collect();
        tracing::info!("`{dn}` is without its {} until its new value is free", names.join(", "));
        self.directory.apply(&Change::Modify { dn: dn.to_owned(), changes }).await?;
        Ok(WriteOutcome::GaveUp { dn: dn.to_owned(), back }.into())
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

/// Returns the differing attributes that the server may have refused: those that it names, or all.
fn contested<'w>(
    wanted: &'w WantedEntry,
    current: &Entry,
    dn: &str,
    refused_with: &str,
    schema: &Schema,
) -> Vec<&'w Wanted> {
    let rdn = Dn::parse(dn).ok().and_then(|name| name.rdn().cloned());
    let differs = |attribute: &&Wanted| {
        let name = &attribute.description;
        let there = schema.values_of(current, name);
        let is_naming =
            rdn.iter().flat_map(|rdn| &rdn.avas).any(|ava| schema.same_description(&ava.attribute, name));
        attribute.policy == Policy::Force
            && !is_naming
            && !there.is_empty()
            && schema.has_equality(name)
            && ValueKind::of(schema, name) != ValueKind::Binary
            && attribute.values.iter().any(|v| !there.iter().any(|t| schema.values_match(name, t, v)))
    };
    let all: Vec<&Wanted> = wanted.attributes.iter().filter(differs).collect();
    let text = refused_with.to_ascii_lowercase();
    let named: Vec<&Wanted> =
        all.iter().copied().filter(|a| text.contains(&a.description.to_ascii_lowercase())).collect();
    if named.is_empty() { all } else { named }
}
