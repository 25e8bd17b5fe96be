//! Searches of all data of a directory for entries that have names of others: DNs, and user names (RFC 2307).

use ldap_directory::dn::first_rdn;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};

/// The attribute of groups with user names, and that of the users.
pub(super) const MEMBER_UID: &str = "memberUid";
pub(super) const UID: &str = "uid";

/// Which values of an entry are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// Those that the server returns.
    Returned,
    /// Also those that it returns only if they are asked for in parts (`member;range=1500-*`).
    All,
}

/// Returns the user names in the first RDN of a DN.
pub(super) fn uids_of(dn: &str, schema: &Schema) -> impl Iterator<Item = Vec<u8>> {
    let avas = first_rdn(dn).ok().flatten().into_iter().flat_map(|rdn| rdn.avas);
    avas.filter(|ava| schema.same_description(&ava.attribute, UID)).map(|ava| ava.value)
}

/// Hands over all entries of a directory's data that a filter matches, one by one. After a lost connection some are repeated.
pub(super) async fn for_each(
    directory: &Directory,
    filter: &Filter,
    names: &[&str],
    values: Values,
    mut then: impl FnMut(Entry),
) -> Result<(), DirectoryError> {
    for base in directory.root_dse().data_bases() {
        let request = SearchRequest::new(base, Scope::Subtree, filter.clone(), names).repeating();
        let mut search = match directory.search(request).await {
            Err(e) if e.is_no_such_object() => continue,
            search => search?,
        };
        while let Some(mut entry) = search.next_entry().await? {
            if values == Values::All {
                directory.complete_ranges(&mut entry).await?;
            }
            then(entry);
        }
    }
    Ok(())
}
