//! Identifiers that several entries have: a copied database, or a restored machine. Nobody can say whom such an id means.

use std::collections::HashMap;

use ldap_directory::client::probe::Grade;
use ldap_directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest};
use singer_common::plugin::settings::SettingsError;

use super::Finding;
use crate::config::Config;
use crate::login;

const NAME: &str = "identifiers";
/// The most entries that are remembered.
const MOST: usize = 1_000_000;

/// Checks the users, then the groups.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Option<Finding>, DirectoryError> {
    let users = Some(("users", &config.users.base_dn, &config.users.filter));
    let groups = config.groups.as_ref().map(|groups| ("groups", &groups.base_dn, &groups.filter));
    for (kind, base, filter) in users.into_iter().chain(groups) {
        let ids = directory.root_dse().vendor.immutable_ids();
        let mut known: HashMap<String, String> = HashMap::new();
        let request = SearchRequest::new(
            base.as_str(),
            Scope::Subtree,
            filter.on(directory.root_dse().vendor).clone(),
            ids,
        )
        .repeating();
        let mut search = match directory.search(request).await {
            Err(e) if e.is_no_such_object() => continue,
            search => search?,
        };
        loop {
            let item = match search.next().await {
                Err(e) if e.is_no_such_object() => None,
                item => item?,
            };
            let Some(item) = item else { break };
            let SearchItem::Entry(entry) = item else { continue };
            let Some(id) = login::id(directory, &entry).filter(|_| known.len() < MOST) else { continue };
            if let Some(other) = known.insert(id, entry.dn.clone()).filter(|other| *other != entry.dn) {
                let problem =
                    format!("`{other}` and `{}` have one identifier ({})", entry.dn, ids.join(", "));
                let expected = "entries with identifiers of their own: export one of the two, delete it, and add it again without its identifier";
                let fault = SettingsError::value(format!("{kind}.base_dn"), problem, expected);
                return Ok(Some(Finding::fault(NAME, Grade::Failed, fault)));
            }
        }
    }
    Ok(None)
}
