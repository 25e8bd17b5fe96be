//! Entries that are not containers and have subordinates. A container with nested containers must be read below them, too.

use std::collections::BTreeMap;

use ldap_directory::dn::DnKey;
use ldap_directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest, Vendor};

use crate::discovery::containers::Containers;
use crate::discovery::dn;
use ldap_directory::MATCH_ALL;

/// The most that are kept. With more, one read of the whole subtree costs less than a search for each.
pub const MOST: usize = 5_000;

/// The entries with subordinates, that are not containers, below containers with nested containers. Other containers are read
/// as one subtree, and need no such list.
#[derive(Debug, Default)]
pub struct NonLeafEntries {
    /// Their DNs, parents first.
    by_key: BTreeMap<DnKey, String>,
    /// Search result references that were skipped.
    pub references: u64,
}

/// Returns the filter for entries with subordinates, if the server has a cheap one: slapd computes `hasSubordinates` by a
/// lookup; 389 DS indexes the presence of `numSubordinates`. On 389 DS, a user who may not see the attribute silently finds
/// nothing by it.
fn filter(vendor: Vendor) -> Option<&'static str> {
    match vendor {
        Vendor::OpenLdap => Some("(hasSubordinates=TRUE)"),
        Vendor::Ds389 => Some("(&(numSubordinates=*)(numSubordinates>=1))"),
        Vendor::ActiveDirectory | Vendor::Ldif | Vendor::Other => None,
    }
}

impl NonLeafEntries {
    /// Finds them in one pass over DNs: of the entries with subordinates, if the server can search for them; or else of all
    /// entries, by their parents. Returns `None` if there are more than `most`.
    pub async fn find(
        directory: &Directory,
        base: &str,
        containers: &Containers,
        most: usize,
    ) -> Result<Option<NonLeafEntries>, DirectoryError> {
        let schema = directory.schema();
        // The base, which has containers below it, must match. Otherwise the user may not see the attribute.
        let filter = match filter(directory.root_dse().vendor) {
            Some(filter) if passes(directory, base, filter).await? => Some(filter),
            _ => None,
        };
        let request =
            SearchRequest::new(base, Scope::Subtree, filter.unwrap_or(MATCH_ALL), &["1.1"]).repeating();
        let mut search = directory.search(request).await?;
        let mut inner = NonLeafEntries::default();
        while let Some(item) = search.next().await? {
            let entry = match item {
                SearchItem::Entry(entry) => entry,
                SearchItem::Reference(_) => {
                    inner.references += 1;
                    continue;
                }
                // Entries below it have such DNs, too.
                SearchItem::Unreadable(_) => continue,
            };
            let key = dn::key(&entry.dn, schema)?;
            let (key, dn) = match (filter, key.parent()) {
                (Some(_), _) => (key, entry.dn),
                (None, Some(parent)) => (parent, ldap_directory::dn::parent(&entry.dn)),
                (None, None) => continue,
            };
            let is_of_interest = !inner.by_key.contains_key(&key)
                && !containers.contains(&key)
                && containers.nearest(&key).is_some_and(|c| containers.has_nested(&c));
            if is_of_interest {
                inner.by_key.insert(key, dn);
                if inner.by_key.len() > most {
                    search.abandon().await?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(inner))
    }

    /// Creates the list from known entries.
    pub(crate) fn of(by_key: BTreeMap<DnKey, String>) -> NonLeafEntries {
        NonLeafEntries { by_key, references: 0 }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Returns whether an entry is in the list.
    pub fn contains(&self, key: &DnKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns those that have this container as their nearest, parents first.
    pub fn below<'a>(&'a self, container: &DnKey, containers: &Containers) -> Vec<&'a str> {
        self.by_key
            .range(container.subtree())
            .filter(|(key, _)| containers.nearest(key).as_ref() == Some(container))
            .map(|(_, dn)| dn.as_str())
            .collect()
    }
}

async fn passes(directory: &Directory, dn: &str, filter: &str) -> Result<bool, DirectoryError> {
    let request = SearchRequest::new(dn, Scope::Base, filter, &["1.1"]);
    Ok(directory.search(request).await?.next_entry().await?.is_some())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ldap_directory::Access;
    use ldap_directory::ldif::LdifDirectory;

    use super::*;

    const TREE: &str = "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
        dn: ou=a,dc=x\nobjectClass: organizationalUnit\nou: a\n\n\
        dn: ou=b,ou=a,dc=x\nobjectClass: organizationalUnit\nou: b\n\n\
        dn: cn=one,ou=a,dc=x\nobjectClass: device\ncn: one\n\n\
        dn: cn=two\\, too,cn=one,ou=a,dc=x\nobjectClass: device\ncn: two, too\n\n\
        dn: cn=three,cn=two\\, too,cn=one,ou=a,dc=x\nobjectClass: device\ncn: three\n\n\
        dn: ou=deep,cn=one,ou=a,dc=x\nobjectClass: organizationalUnit\nou: deep\n\n\
        dn: cn=four,ou=b,ou=a,dc=x\nobjectClass: device\ncn: four\n\n\
        dn: cn=five,cn=four,ou=b,ou=a,dc=x\nobjectClass: device\ncn: five\n";

    #[tokio::test]
    async fn they_are_what_lies_between_containers_and_leaves() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(TREE.as_bytes()).unwrap();
        let directory = Directory::Ldif(LdifDirectory::open(file.path(), Access::Read).unwrap());
        let containers = Containers::find(&directory, "dc=x").await.unwrap();
        let inner = NonLeafEntries::find(&directory, "dc=x", &containers, 2).await.unwrap().unwrap();
        let key = |dn: &str| dn::key(dn, directory.schema()).unwrap();
        assert_eq!(
            inner.below(&key("ou=a,dc=x"), &containers),
            ["cn=one,ou=a,dc=x", "cn=two\\, too,cn=one,ou=a,dc=x"]
        );
        assert!(inner.below(&key("dc=x"), &containers).is_empty());
        assert!(
            !inner.contains(&key("cn=four,ou=b,ou=a,dc=x")),
            "ou=b has no container in it: nobody asks what lies below what there"
        );
        assert!(
            NonLeafEntries::find(&directory, "dc=x", &containers, 1).await.unwrap().is_none(),
            "one too many"
        );
    }
}
