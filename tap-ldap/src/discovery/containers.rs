//! The containers of a directory, their streams, and which entry belongs to which container.

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest, Vendor};

use crate::discovery::dn;
use crate::discovery::gaps::Gaps;
use ldap_directory::MATCH_ALL;

/// The stream of the container entries themselves.
pub const CONTAINERS_STREAM: &str = "organizational_units";

pub(crate) const CLASS: &str = "objectClass";

/// The classes of container entries (RFC 4519 section 3, RFC 4524 section 3), with nsContainer of 389 DS, which FreeIPA uses
/// for its tree.
const CLASSES: &[&str] =
    &["organizationalUnit", "organization", "domain", "locality", "country", "nsContainer"];

/// The same on Active Directory ([MS-ADSC]); the class of a domain there, domainDNS, is a subclass of domain.
const CLASSES_OF_ACTIVE_DIRECTORY: &[&str] = &["organizationalUnit", "container", "builtinDomain", "domain"];

/// The same for files, which may be from any server.
const CLASSES_OF_FILES: &[&str] = &[
    "organizationalUnit",
    "organization",
    "domain",
    "locality",
    "country",
    "nsContainer",
    "container",
    "builtinDomain",
];

/// Classes of people, accounts and hosts, which are never containers, even if they also have a container class. A mailbox
/// (rFC822localPart) and a DNS host (dNSDomain, one for each host in DNS zones) are subclasses of domain (RFC 4524 section 3.10,
/// RFC 1274 section 8.3.12); 389 DS and files allow several structural classes.
const NEVER: &[&str] = &["person", "account", "posixAccount", "rFC822localPart", "dNSDomain"];

/// A container: an entry of one of the classes above, or the base, even if it is not visible.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its DN as the server spells it.
    pub dn: String,
    /// The name of its stream, unique among the containers.
    pub stream: String,
}

/// All containers at and below a base, parents first.
#[derive(Debug, Clone, Default)]
pub struct Containers {
    by_key: BTreeMap<DnKey, Container>,
    /// What was skipped in the search: a skipped container's entries would be taken for those of the container above.
    pub gaps: Gaps,
}

fn classes(vendor: Vendor) -> &'static [&'static str] {
    match vendor {
        Vendor::ActiveDirectory => CLASSES_OF_ACTIVE_DIRECTORY,
        Vendor::Ldif => CLASSES_OF_FILES,
        Vendor::OpenLdap | Vendor::Ds389 | Vendor::Other => CLASSES,
    }
}

/// Returns whether an entry, read with its classes, is a container.
pub fn is_container(vendor: Vendor, entry: &Entry) -> bool {
    let is = |class: &Vec<u8>| classes(vendor).iter().any(|n| n.as_bytes().eq_ignore_ascii_case(class));
    entry.values(CLASS).iter().any(is) && !is_never(entry)
}

/// Returns the filter for containers.
pub fn filter(vendor: Vendor) -> String {
    let classes = classes(vendor);
    // An unknown class makes its part of the `|` Undefined, which is like false (RFC 4511 section 4.5.1.7). In a `!` it would
    // make the whole filter Undefined: excluded classes are therefore dropped later.
    let any: Vec<String> = classes.iter().map(|c| format!("(objectClass={c})")).collect();
    format!("(|{})", any.concat())
}

/// Returns whether an entry has a class that is never a container.
fn is_never(entry: &Entry) -> bool {
    let is = |class: &Vec<u8>| NEVER.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(class));
    entry.values(CLASS).iter().any(is)
}

/// The container entries of a directory.
#[derive(Debug)]
pub struct ContainerEntries {
    /// The base first, parents before children.
    pub entries: Vec<(DnKey, Entry)>,
    /// What was skipped: containers may be among it.
    pub gaps: Gaps,
}

/// Reads the container entries that match a filter. Their classes are always requested.
pub async fn read_entries(
    directory: &Directory,
    base: &str,
    attributes: &[&str],
    only: &str,
) -> Result<ContainerEntries, DirectoryError> {
    let schema = directory.schema();
    let mut found = BTreeMap::new();
    let base_entry = read_base(directory, base, attributes, only).await?;
    let mut wanted = attributes.to_vec();
    if !wanted.iter().any(|a| *a == "*" || a.eq_ignore_ascii_case(CLASS)) {
        wanted.push(CLASS);
    }
    let mut filter = filter(directory.root_dse().vendor);
    if only != MATCH_ALL {
        filter = format!("(&{filter}{only})");
    }
    let mut search =
        directory.search(SearchRequest::new(base, Scope::Subtree, filter, &wanted).repeating()).await?;
    let mut gaps = Gaps::default();
    while let Some(item) = search.next().await? {
        match item {
            SearchItem::Entry(entry) if is_never(&entry) || dn::is_root_dse(directory, &entry.dn) => {}
            SearchItem::Entry(entry) => {
                found.insert(dn::key(&entry.dn, schema)?, entry);
            }
            SearchItem::Reference(_) => gaps.references += 1,
            SearchItem::Unreadable(_) => gaps.unreadable += 1,
        }
    }
    if let Some(entry) = base_entry {
        found.insert(dn::key(&entry.dn, schema)?, entry);
    }
    Ok(ContainerEntries { entries: found.into_iter().collect(), gaps })
}

/// Returns the error of a search at the base; if there is no such entry, it says so.
pub(crate) fn absent_base(error: DirectoryError) -> DirectoryError {
    match error {
        DirectoryError::Operation {
            operation,
            dn,
            code: code @ result_code::NO_SUCH_OBJECT,
            matched,
            ..
        } => {
            let text = "the base (base_dn) is not there".to_owned();
            DirectoryError::Operation { operation, dn, code, matched, text }
        }
        other => other,
    }
}

/// Returns the entry of the base, if it exists and matches a filter. A file need not have it.
async fn read_base(
    directory: &Directory,
    base: &str,
    attributes: &[&str],
    only: &str,
) -> Result<Option<Entry>, DirectoryError> {
    if dn::is_root_dse(directory, base) {
        return Ok(None);
    }
    let found = match directory.search(SearchRequest::new(base, Scope::Base, only, attributes)).await {
        Ok(mut search) => search.next_entry().await,
        Err(e) => Err(e),
    };
    match found {
        Err(e) if e.is_no_such_object() && begins_in_file(directory, base).await? => Ok(None),
        Err(e) => Err(absent_base(e)),
        found => found,
    }
}

/// Returns whether the directory is a file with entries at or below a DN.
async fn begins_in_file(directory: &Directory, dn: &str) -> Result<bool, DirectoryError> {
    Ok(directory.root_dse().vendor == Vendor::Ldif && directory.begins_at(dn).await?)
}

impl Containers {
    /// Finds the containers at and below a base.
    pub async fn find(directory: &Directory, base: &str) -> Result<Containers, DirectoryError> {
        let ContainerEntries { entries, gaps } = read_entries(directory, base, &[CLASS], MATCH_ALL).await?;
        let mut by_key: BTreeMap<DnKey, Container> = entries
            .into_iter()
            .map(|(key, entry)| (key, Container { dn: entry.dn, stream: String::new() }))
            .collect();
        // The base is always a container, even if it is not visible or a file lacks it. A missing base in a file is one only
        // if an entry belongs to it.
        let base_key = dn::key(base, directory.schema())?;
        if !by_key.contains_key(&base_key)
            && (directory.root_dse().vendor != Vendor::Ldif
                || has_entries_of_its_own(directory, base, &by_key).await?)
        {
            by_key.insert(base_key, Container { dn: base.to_owned(), stream: String::new() });
        }
        let keys: Vec<DnKey> = by_key.keys().cloned().collect();
        let dns: Vec<&str> = by_key.values().map(|c| c.dn.as_str()).collect();
        for (key, name) in keys.iter().zip(stream_names(&dns)) {
            if let Some(container) = by_key.get_mut(key) {
                container.stream = name;
            }
        }
        Ok(Containers { by_key, gaps })
    }

    /// Returns the keys of the containers, parents first.
    pub fn keys(&self) -> impl Iterator<Item = &DnKey> {
        self.by_key.keys()
    }

    /// Returns the containers with their keys, parents first.
    pub fn iter_keyed(&self) -> impl Iterator<Item = (&DnKey, &Container)> {
        self.by_key.iter()
    }

    /// Returns the DN of a container as the server spells it.
    pub fn dn_of(&self, key: &DnKey) -> Option<&str> {
        self.by_key.get(key).map(|container| container.dn.as_str())
    }

    /// Returns the containers, parents first.
    pub fn iter(&self) -> impl Iterator<Item = &Container> {
        self.by_key.values()
    }

    /// Returns whether an entry is a container.
    pub fn contains(&self, key: &DnKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns whether there are containers below a container.
    pub fn has_nested(&self, key: &DnKey) -> bool {
        self.by_key.range(key.subtree()).nth(1).is_some()
    }

    /// Returns whether there are containers below an entry that is not one.
    pub fn has_below(&self, key: &DnKey) -> bool {
        self.by_key.range(key.subtree()).next().is_some()
    }

    /// Returns the nearest container above an entry.
    pub fn nearest(&self, key: &DnKey) -> Option<DnKey> {
        let mut above = key.parent();
        while let Some(candidate) = above {
            if self.contains(&candidate) {
                return Some(candidate);
            }
            above = candidate.parent();
        }
        None
    }
}

/// Returns whether a missing base would be the nearest container of any entry.
async fn has_entries_of_its_own(
    directory: &Directory,
    base: &str,
    by_key: &BTreeMap<DnKey, Container>,
) -> Result<bool, DirectoryError> {
    let schema = directory.schema();
    let mut search = directory.search(SearchRequest::new(base, Scope::Subtree, MATCH_ALL, &["1.1"])).await?;
    while let Some(entry) = search.next_entry().await? {
        let own = dn::key(&entry.dn, schema)?;
        if by_key.contains_key(&own) {
            continue;
        }
        let mut above = own.parent();
        while let Some(candidate) = above.take_if(|candidate| !by_key.contains_key(candidate)) {
            above = candidate.parent();
        }
        if above.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns a text in snake case: `Emea People` and `emeaPeople` become `emea_people`.
pub fn snake_case(text: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in text.chars() {
        if c.is_alphanumeric() {
            if c.is_uppercase() && previous_lower {
                out.push('_');
            }
            previous_lower = c.is_lowercase() || c.is_numeric();
            out.extend(c.to_lowercase());
        } else {
            previous_lower = false;
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
        }
    }
    while out.ends_with('_') {
        out.pop();
    }
    if out.is_empty() { "unnamed".to_owned() } else { out }
}

/// Returns a name for each container: the value of its RDN, with those of its ancestors in front until all names differ.
fn stream_names(dns: &[&str]) -> Vec<String> {
    // For each container: the names of itself and its ancestors, nearest first.
    let paths: Vec<Vec<String>> = dns
        .iter()
        .map(|dn| {
            let name = Dn::parse(dn).unwrap_or_default();
            name.rdns
                .iter()
                .map(|rdn| {
                    let values: Vec<String> =
                        rdn.avas.iter().map(|a| String::from_utf8_lossy(&a.value).into_owned()).collect();
                    snake_case(&values.join(" "))
                })
                .collect()
        })
        .collect();
    let mut taken: Vec<usize> = vec![1; paths.len()];
    let name = |path: &[String], parts: usize| {
        let mut parts: Vec<&str> = path.iter().take(parts).map(String::as_str).collect();
        parts.reverse();
        if parts.is_empty() { "root".to_owned() } else { parts.join("_") }
    };
    loop {
        let names: Vec<String> = paths.iter().zip(&taken).map(|(p, n)| name(p, *n)).collect();
        let mut grew = false;
        for (n, own) in names.iter().enumerate() {
            let clash =
                own == CONTAINERS_STREAM || names.iter().enumerate().any(|(m, other)| m != n && own == other);
            if let (true, Some(path), Some(count)) = (clash, paths.get(n), taken.get_mut(n))
                && *count < path.len()
            {
                *count += 1;
                grew = true;
            }
        }
        if !grew {
            return numbered(names);
        }
    }
}

/// Appends numbers to names that are still equal.
fn numbered(names: Vec<String>) -> Vec<String> {
    let mut used: BTreeSet<String> = BTreeSet::from([CONTAINERS_STREAM.to_owned()]);
    names
        .into_iter()
        .map(|name| {
            let mut candidate = name.clone();
            let mut n = 2;
            while !used.insert(candidate.clone()) {
                candidate = format!("{name}_{n}");
                n += 1;
            }
            candidate
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case_and_differ() {
        assert_eq!(
            stream_names(&[
                "dc=example,dc=test",
                "ou=people,ou=EMEA,dc=example,dc=test",
                "ou=People,ou=Asia Pacific,dc=example,dc=test",
                "ou=serviceAccounts,dc=example,dc=test",
                "ou=Organizational-Units,dc=example,dc=test",
                "ou=\\#\\#,dc=example,dc=test",
                "ou=a b,dc=example,dc=test",
                "ou=a-b,dc=example,dc=test",
            ]),
            [
                "example",
                "emea_people",
                "asia_pacific_people",
                "service_accounts",
                "example_organizational_units",
                "unnamed",
                "test_example_a_b",
                "test_example_a_b_2",
            ]
        );
    }
}
