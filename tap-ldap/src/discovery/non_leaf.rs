//! The entries that are no containers and have entries below them: where a container with others nested in it has to be
//! looked into, beyond what lies right below it.

use std::collections::BTreeMap;

use singer_common::directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest, Vendor};
use singer_common::dn::DnKey;

use crate::discovery::containers::Containers;
use crate::discovery::dn;
use singer_common::directory::MATCH_ALL;

/// So many of them are kept in mind. Where there are more, one look at everything costs less than a search for each.
pub const MOST: usize = 5_000;

/// The entries below containers with others nested in them that have entries below them and are no containers.
/// Containers without others nested in them are read as one subtree, and nobody asks what is inner there.
#[derive(Debug, Default)]
pub struct NonLeafEntries {
    /// Their DNs, parents first.
    by_key: BTreeMap<DnKey, String>,
    /// Continuation references that were left out while they were looked up.
    pub references: u64,
}

/// The filter of entries that have entries below them, where the server has one that is cheap: slapd's `hasSubordinates`
/// is not stored, but looks a name up; of 389's `numSubordinates` the presence is indexed. Who may not see the attribute
/// on 389 DS finds nothing by it, and is not told why.
fn filter(vendor: Vendor) -> Option<&'static str> {
    match vendor {
        Vendor::OpenLdap => Some("(hasSubordinates=TRUE)"),
        Vendor::Ds389 => Some("(&(numSubordinates=*)(numSubordinates>=1))"),
        Vendor::ActiveDirectory | Vendor::Ldif | Vendor::Other => None,
    }
}

impl NonLeafEntries {
    /// Looks them up in one pass over names: of entries that have entries below them, where the server tells, else of
    /// all entries, whose parents they are. `None` when they are more than `most`.
    pub async fn find(
        directory: &Directory,
        base: &str,
        containers: &Containers,
        most: usize,
    ) -> Result<Option<NonLeafEntries>, DirectoryError> {
        let schema = directory.schema();
        // The base, with containers below it, passes: when it does not, this user is not told.
        let filter = match filter(directory.root_dse().vendor) {
            Some(filter) if passes(directory, base, filter).await? => Some(filter),
            _ => None,
        };
        let request = SearchRequest::new(base, Scope::Sub, filter.unwrap_or(MATCH_ALL), &["1.1"]).repeating();
        let mut search = directory.search(request).await?;
        let mut inner = NonLeafEntries::default();
        while let Some(item) = search.next().await? {
            let entry = match item {
                SearchItem::Entry(entry) => entry,
                SearchItem::Reference(_) => {
                    inner.references += 1;
                    continue;
                }
                // Those below it have such names, too.
                SearchItem::Unreadable(_) => continue,
            };
            let key = dn::key(&entry.dn, schema)?;
            let (key, dn) = match (filter, key.parent()) {
                (Some(_), _) => (key, entry.dn),
                (None, Some(parent)) => (parent, dn::parent(&entry.dn)),
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

    /// Those that are known already.
    pub(crate) fn of(by_key: BTreeMap<DnKey, String>) -> NonLeafEntries {
        NonLeafEntries { by_key, references: 0 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether an entry is one.
    pub fn contains(&self, key: &DnKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Those whose nearest container this is, parents first.
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

    use singer_common::directory::Access;
    use singer_common::directory::ldif::LdifDirectory;

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
