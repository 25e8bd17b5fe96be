//! Where groups are, and which names a change set gives to them.

use std::collections::HashSet;

use ldap_directory::dn::{DnKey, parent, split_first};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};
use target_ldap::rules::names;

use super::MOST_GROUPS;
use crate::config::{Config, RoleName, RoleRule};
use crate::filter::names_in;
use crate::members::{self, MEMBER_UID, UID};

/// The most names of an import's own groups that are remembered, of 16 octets each.
const MOST_GIVEN: usize = 4_000_000;

/// Where groups are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    bases: Vec<(String, Scope)>,
    pub(super) users: String,
}

impl Places {
    pub(crate) fn of(config: &Config) -> Places {
        let mut bases: Vec<(String, Scope)> = Vec::new();
        bases.extend(config.groups.iter().map(|groups| (groups.base_dn.clone(), Scope::Subtree)));
        for rule in &config.roles {
            match &rule.role {
                RoleName::Below { below, .. } => bases.push((below.clone(), Scope::Subtree)),
                RoleName::Groups { groups, .. } => {
                    bases.extend(groups.iter().map(|dn| (dn.clone(), Scope::Base)));
                }
            }
        }
        Places { bases, users: config.users.base_dn.clone() }
    }

    /// Returns the entries that `roles`, `users.filter` and `groups.filter` name, with their settings.
    pub(crate) fn named(config: &Config) -> Vec<(String, String)> {
        let rules = config.roles.iter().enumerate();
        let of_rule = |(n, rule): (usize, &RoleRule)| match &rule.role {
            RoleName::Below { below, .. } => vec![(below.clone(), format!("roles[{n}].below"))],
            RoleName::Groups { groups, .. } => {
                let groups = groups.iter().enumerate();
                groups.map(|(m, dn)| (dn.clone(), format!("roles[{n}].groups[{m}]"))).collect()
            }
        };
        let filters = std::iter::once(("users.filter", &config.users.filter));
        let filters = filters.chain(config.groups.iter().map(|groups| ("groups.filter", &groups.filter)));
        let of_filters = filters.flat_map(|(setting, filter)| {
            names_in(filter.usual()).into_iter().map(move |dn| (dn, setting.to_owned()))
        });
        rules.flat_map(of_rule).chain(of_filters).collect()
    }

    /// Returns the places of which none is within another.
    pub(super) fn apart(&self, directory: &Directory) -> Vec<(String, Scope)> {
        let key = |dn: &str| DnKey::parse(dn, directory.schema()).unwrap_or_default();
        let mut kept: Vec<(DnKey, String, Scope)> = Vec::new();
        for (dn, scope) in &self.bases {
            let own = key(dn);
            let covers = |(other, _, of): &(DnKey, String, Scope)| {
                *other == own && of == scope || *of == Scope::Subtree && own.is_within(other)
            };
            if !kept.iter().any(covers) {
                kept.push((own, dn.clone(), *scope));
            }
        }
        kept.into_iter().map(|(_, dn, scope)| (dn, scope)).collect()
    }
}

/// Names that a change set itself gives to groups.
///
/// A name counts once the record that gives it is carried out, and for the group of that record alone: a record that is refused gives
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct GivenNames {
    /// The groups to which records give names, whether they are carried out or not.
    promised: HashSet<u64>,
    /// Names with their groups, of records that were carried out.
    made: HashSet<u64>,
}

/// The names that one record gives to a group.
#[derive(Debug, Default)]
pub(crate) struct Gift {
    group: DnKey,
    names: Vec<u64>,
}

impl Gift {
    /// Returns what a record gives: `values` are the attributes that it adds to the entry of `dn`. `None`: it names no member.
    pub(crate) fn of<'v>(
        dn: &str,
        values: impl Iterator<Item = (&'v str, &'v [Vec<u8>])>,
        directory: &Directory,
    ) -> Option<Gift> {
        let schema = directory.schema();
        let is = |description: &str, name: &str| members::is_of(description, name, schema);
        let names_of = members::by_dn(None, directory.root_dse().vendor, schema);
        let is_members = |d: &str| is(d, MEMBER_UID) || names_of.iter().any(|member| is(d, member));
        let members: Vec<_> = values.filter(|(description, _)| is_members(description)).collect();
        if members.is_empty() {
            return None;
        }
        let group = DnKey::parse(dn, schema).ok()?;
        let mut names = Vec::new();
        for (description, values) in members {
            if is(description, MEMBER_UID) {
                names.extend(values.iter().map(|uid| hash(&group, MEMBER_UID, uid)));
            } else {
                let keys =
                    values.iter().filter_map(|v| DnKey::parse(&String::from_utf8_lossy(v), schema).ok());
                names.extend(keys.map(|key| hash(&group, "", key.as_octets())));
            }
        }
        Some(Gift { group, names }).filter(|gift| !gift.names.is_empty())
    }
}

impl GivenNames {
    /// Notes that a record of the change set names members of a group.
    pub(crate) fn promise(&mut self, gift: &Gift) {
        if self.promised.len() < MOST_GIVEN {
            self.promised.insert(hash(&gift.group, "", &[]));
        }
    }

    /// Notes that such a record was carried out.
    pub(crate) fn made(&mut self, gift: &Gift) {
        let room = MOST_GIVEN.saturating_sub(self.made.len());
        self.made.extend(gift.names.iter().take(room));
    }

    /// Whether records of the change set name members of all of these groups.
    pub(crate) fn are_promised(&self, groups: &[String], directory: &Directory) -> bool {
        let key = |dn: &String| DnKey::parse(dn, directory.schema()).ok();
        groups.iter().all(|dn| key(dn).is_some_and(|key| self.promised.contains(&hash(&key, "", &[]))))
    }

    /// Whether a group was given this DN.
    pub(super) fn has_dn(&self, group: &DnKey, key: &DnKey) -> bool {
        self.made.contains(&hash(group, "", key.as_octets()))
    }

    /// Whether a group was given this user name.
    pub(super) fn has_uid(&self, group: &DnKey, uid: &[u8]) -> bool {
        self.made.contains(&hash(group, MEMBER_UID, uid))
    }
}

fn hash(group: &DnKey, kind: &str, value: &[u8]) -> u64 {
    // Keyed: nobody can choose a name with the hash of another one.
    names::hash(&(group.as_octets(), kind, value))
}

/// Returns the DN of an entry below another one that was renamed.
pub(super) fn moved(dn: &str, levels: usize, new_above: &str) -> Option<String> {
    let (mut rest, mut own) = (dn.to_owned(), Vec::new());
    for _ in 0..levels {
        own.push(split_first(&rest).ok()?.0.to_owned());
        rest = parent(&rest);
    }
    own.push(new_above.to_owned());
    Some(own.join(","))
}

pub(super) fn uids(entry: Option<&Entry>) -> Vec<Vec<u8>> {
    entry.map(|entry| entry.values(UID).to_vec()).unwrap_or_default()
}

/// Returns all groups of a base, page by page, one more than the most at most.
pub(super) async fn pages(
    directory: &Directory,
    base: &str,
    scope: Scope,
    filter: Filter,
) -> Result<Vec<Entry>, DirectoryError> {
    let request = SearchRequest::new(base, scope, filter, &["1.1"]);
    let mut search = directory.search(SearchRequest { paging: Paging::Configured, ..request }).await?;
    let mut found = Vec::new();
    while let Some(group) = search.next_entry().await? {
        found.push(group);
        if found.len() > MOST_GROUPS {
            search.abandon().await?;
            break;
        }
    }
    Ok(found)
}
