//! Where groups are, and which names a change set gives to them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ldap_directory::dn::{DnKey, parent, split_first};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};

use super::MOST_GROUPS;
use crate::config::{Config, RoleName};
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
#[derive(Debug, Default)]
pub(crate) struct GivenNames(HashSet<u64>);

impl GivenNames {
    /// Notes the members that an entry or a change names.
    pub(crate) fn note(&mut self, description: &str, values: &[Vec<u8>], directory: &Directory) {
        let schema = directory.schema();
        let is = |name: &str| schema.same_description(description, name);
        let names = members::by_dn(None, directory.root_dse().vendor, schema);
        let room = MOST_GIVEN.saturating_sub(self.0.len());
        for value in values.iter().take(room) {
            if is(MEMBER_UID) {
                self.0.insert(hash(MEMBER_UID, value));
            } else if names.iter().any(|name| is(name))
                && let Ok(key) = DnKey::parse(&String::from_utf8_lossy(value), schema)
            {
                self.0.insert(hash("", key.as_octets()));
            }
        }
    }
    /// Whether it gives this DN.
    pub(super) fn has_dn(&self, key: &DnKey) -> bool {
        self.0.contains(&hash("", key.as_octets()))
    }

    /// Whether it gives this user name.
    pub(super) fn has_uid(&self, uid: &[u8]) -> bool {
        self.0.contains(&hash(MEMBER_UID, uid))
    }
}

fn hash(kind: &str, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, value).hash(&mut hasher);
    hasher.finish()
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
