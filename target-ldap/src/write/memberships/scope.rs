//! The groups of which a version takes members away, and how many.

use std::collections::HashSet;

use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest, lookup};

use super::super::applier::Applier;
use super::{KeptMembers, WantedMembers, Writing, normal_placeholder};
use crate::map::MembershipPolicy;
use crate::rules::rule::EmptyGroup;

/// A group in the scope of a stream.
#[derive(Debug, Clone)]
pub struct ScopedGroup {
    /// Its DN.
    pub dn: String,
    /// Its key.
    pub key: DnKey,
    /// The attribute.
    pub attribute: String,
    /// The number of its members that no record has.
    pub surplus: u64,
}

impl Writing<'_> {
    /// Returns why a group that a record names by its DN is none of the rule's groups: no version would take the member away again.
    ///
    /// # Errors
    /// The directory cannot be asked.
    pub(super) async fn out_of_scope(&self) -> Result<Option<String>, DirectoryError> {
        let WantedMembers { dn, key, policy, .. } = self.wanted;
        let (Some(base), Some(filter)) = (&policy.base, &policy.scope_filter) else { return Ok(None) };
        if self.applier.key(base).is_ok_and(|base| !key.is_within(&base)) {
            return Ok(Some(format!("the group `{dn}` is not below scope_base, `{base}`")));
        }
        let Ok(parsed) = Filter::parse(filter) else { return Ok(None) };
        let directory = &self.applier.directory;
        if !lookup::find(directory, dn, Scope::Base, parsed.clone(), &[], 1).await?.is_empty() {
            return Ok(None);
        }
        let is_there = directory.read(dn, &["1.1"]).await?.is_some();
        let new =
            || self.new_group().is_some_and(|new| parsed.matches(&new, directory.schema()) == Some(false));
        let problem = format!("the group `{dn}` does not match scope_filter or object_classes: {filter}");
        Ok((is_there || new()).then_some(problem))
    }

    /// Returns the group as it would be added, without its members; `None`: the rule adds none.
    fn new_group(&self) -> Option<Entry> {
        let WantedMembers { dn, policy, .. } = self.wanted;
        let classes = policy.new_classes.iter().map(|class| class.clone().into_bytes()).collect::<Vec<_>>();
        let rdn = Dn::parse(dn).ok()?.rdn()?.clone();
        let names = rdn.avas.into_iter().map(|ava| (ava.attribute, vec![ava.value]));
        let attributes = std::iter::once(("objectClass".to_owned(), classes)).chain(names);
        let attributes = attributes.map(|(description, values)| Attribute { description, values }).collect();
        (!policy.new_classes.is_empty()).then(|| Entry { dn: dn.clone(), attributes })
    }
}

/// Returns the filter of groups with members. `filter`: that of the scope.
pub fn with_members(filter: &str, names: &[String]) -> Filter {
    let any = names.iter().map(|name| Filter::Present(name.clone())).collect();
    match Filter::parse(filter) {
        Ok(filter) => Filter::And(vec![filter, Filter::Or(any)]),
        Err(_) => Filter::Or(any),
    }
}

/// Returns the search for groups with members.
fn request(base: &str, filter: &str, names: &[String]) -> SearchRequest {
    let filter = with_members(filter, names);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    SearchRequest::new(base, Scope::Subtree, filter, &names).repeating()
}

/// Returns the number of members of the groups in a scope. The placeholder of empty groups is none.
///
/// # Errors
/// They cannot be read.
pub async fn members_in_scope(
    directory: &Directory,
    base: &str,
    filter: &str,
    names: &[String],
    empty_group: &EmptyGroup,
) -> Result<u64, DirectoryError> {
    let schema = directory.schema();
    let count_in = |entry: &Entry, name: &String| {
        let placeholder = normal_placeholder(empty_group, name, schema);
        let rule = schema.equality(name);
        let is_member = |value: &&Vec<u8>| {
            placeholder.as_ref().is_none_or(|none| *rule.normalize(value, schema) != **none)
        };
        schema.values_of(entry, name).iter().filter(is_member).count()
    };
    let mut attempts = None;
    loop {
        let counted = async {
            let mut members = 0;
            let mut search = directory.search(request(base, filter, names)).await?;
            while let Some(mut entry) = search.next_entry().await? {
                directory.complete_ranges(&mut entry).await?;
                let of = names.iter().map(|name| count_in(&entry, name));
                members += u64::try_from(of.sum::<usize>()).unwrap_or(u64::MAX);
            }
            Ok::<_, DirectoryError>(members)
        };
        match counted.await {
            Ok(counted) => return Ok(counted),
            Err(e) if e.is_no_such_object() => return Ok(0),
            Err(e) => directory.recover(e, &mut attempts).await?,
        }
    }
}

impl Applier {
    /// Returns the groups below a base that have members which no record has. `has`: whether a record of the stream names the group.
    /// Also returns whether the scope has a group that a record names.
    ///
    /// # Errors
    /// They cannot be read: an incomplete result is not returned.
    pub async fn groups_with_surplus(
        &self,
        base: &str,
        filter: &str,
        names: &[String],
        policy: &MembershipPolicy,
        kept: &KeptMembers,
        has: impl Fn(&DnKey) -> bool,
    ) -> Result<(Vec<ScopedGroup>, bool), DirectoryError> {
        let _one_at_a_time = self.trees.lock().await;
        let (mut groups, mut has_named, mut seen) = (Vec::new(), false, HashSet::new());
        let mut search = match self.directory.search(request(base, filter, names)).await {
            Err(e) if e.is_no_such_object() => return Ok((groups, false)),
            search => search?,
        };
        loop {
            let entry = match search.next_entry().await {
                Err(e) if e.is_no_such_object() && groups.is_empty() => return Ok((groups, false)),
                entry => entry?,
            };
            let Some(mut entry) = entry else { return Ok((groups, has_named)) };
            let Ok(key) = self.key(&entry.dn) else { continue };
            self.directory.complete_ranges(&mut entry).await?;
            has_named |= has(&key);
            for name in names {
                let surplus = self.count_surplus(&entry, &key, name, policy, kept);
                // It may have been returned before: the search begins again after a lost connection.
                if surplus > 0 && seen.insert((key.clone(), name)) {
                    let (dn, key, attribute) = (entry.dn.clone(), key.clone(), name.clone());
                    groups.push(ScopedGroup { dn, key, attribute, surplus });
                }
            }
        }
    }

    /// Returns these groups with the members that no record has.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn surplus_of(
        &self,
        groups: Vec<(DnKey, String)>,
        names: &[String],
        policy: &MembershipPolicy,
        kept: &KeptMembers,
    ) -> Result<Vec<ScopedGroup>, DirectoryError> {
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        for (key, dn) in groups {
            let Some(entry) = self.directory.read_whole(&dn, &asked).await? else { continue };
            for name in names {
                let surplus = self.count_surplus(&entry, &key, name, policy, kept);
                if surplus > 0 {
                    let (dn, key, attribute) = (dn.clone(), key.clone(), name.clone());
                    found.push(ScopedGroup { dn, key, attribute, surplus });
                }
            }
        }
        Ok(found)
    }

    fn count_surplus(
        &self,
        entry: &Entry,
        group: &DnKey,
        name: &str,
        policy: &MembershipPolicy,
        kept: &KeptMembers,
    ) -> u64 {
        let is_surplus = self.surplus(group, name, policy, kept);
        let values = self.directory.schema().values_of(entry, name).iter();
        let surplus = values.filter(|value| is_surplus(&self.normal_member(name, value)));
        u64::try_from(surplus.count()).unwrap_or(u64::MAX)
    }
}
