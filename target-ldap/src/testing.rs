//! Helpers for the tests of several modules.

use std::collections::BTreeMap;

use ldap_directory::{Directory, Scope, SearchRequest};

/// Entries by DN, and their values by attribute, sorted.
pub(crate) type Tree = BTreeMap<String, BTreeMap<String, Vec<Vec<u8>>>>;

/// Returns all entries below `dc=x`.
pub(crate) async fn tree(directory: &Directory) -> Tree {
    let request = SearchRequest::new("dc=x", Scope::Subtree, "(objectClass=*)", &["*"]);
    let mut search = directory.search(request).await.unwrap();
    let mut all = Tree::new();
    while let Some(entry) = search.next_entry().await.unwrap() {
        let attributes = entry.attributes.into_iter().filter(|a| !a.values.is_empty()).map(|mut a| {
            a.values.sort();
            (a.description.to_lowercase(), a.values)
        });
        all.insert(entry.dn, attributes.collect());
    }
    all
}
