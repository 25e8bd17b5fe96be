//! Values that 389 Directory Server computes, by classes of service and roles: when they change, no entry does, and neither INCREMENTAL nor
//! LOG_BASED sees it.

use std::collections::BTreeMap;

use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, Scope, lookup};
use singer_common::singer::catalog::CatalogEntry;

/// The most definitions that are read.
const MOST: u32 = 1_000;
/// The attribute with the roles of an entry.
const ROLES: &str = "nsRole";

/// Warns of properties whose values are computed, in streams that are read by changes.
pub(crate) async fn warn(directory: &Directory, streams: &[&CatalogEntry]) {
    if streams.is_empty() || !directory.tells_own_values() {
        return;
    }
    let computed = computed(directory).await;
    for stream in streams {
        let selected = stream.properties().map(|(name, _)| name);
        let selected = selected.filter(|name| stream.is_property_selected(name));
        for name in selected {
            let Some(by) = computed.get(&base_type(name).to_ascii_lowercase()) else { continue };
            tracing::warn!(
                stream = stream.stream,
                attribute = name.as_str(),
                "{}: `{name}` is computed by {by}: when that changes, no entry does, and a run that reads changes does not see it. Read the stream by FULL_TABLE now and then, or only what the entries have of their own (own_values: true)",
                stream.stream
            );
        }
    }
}

/// Returns the attributes that the server computes, as far as its definitions may be read, with what does.
async fn computed(directory: &Directory) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([(ROLES.to_ascii_lowercase(), "roles".to_owned())]);
    let class = |name: &str| Filter::equality("objectClass", name);
    for base in &directory.root_dse().naming_contexts {
        // Only a filter that asks for subentries finds them.
        let filter = Filter::And(vec![class("ldapSubEntry"), class("cosSuperDefinition")]);
        let found = lookup::sample(directory, (base, Scope::Subtree), filter, &["cosAttribute"], MOST).await;
        for definition in found.unwrap_or_default() {
            for value in definition.values("cosAttribute") {
                let text = String::from_utf8_lossy(value);
                let Some(name) = text.split_whitespace().next() else { continue };
                let by = format!("the class of service `{}`", definition.dn);
                all.entry(name.to_ascii_lowercase()).or_insert(by);
            }
        }
    }
    all
}
