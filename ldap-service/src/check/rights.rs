//! Whether the service's user may read what answers depend on: what it may not read looks like what is not there.

use ldap_directory::client::probe::Grade;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::lookup::sample;
use ldap_directory::{Directory, DirectoryError, Scope};
use singer_common::plugin::settings::SettingsError;

use super::{Finding, SAMPLE, context};
use crate::config::Config;
use crate::login;
use crate::scim::mapping::{Active, Mapping, NONE, ResourceType};
use crate::unseen::{self, Hidden};

/// The groups that are read: they may have many members.
const FEW: u32 = 3;

/// Returns the attributes that SCIM reads of a kind.
fn mapped(resource: ResourceType, given: &[(String, String)], directory: &Directory) -> Vec<String> {
    // Another check tells what is wrong with the mapping.
    let Ok(mapping) = Mapping::new(resource, given, &context(directory)) else { return Vec::new() };
    let mut names: Vec<String> = mapping.fields.iter().map(|f| f.attribute.clone()).collect();
    names.extend(mapping.member_attributes().into_iter().map(str::to_owned));
    let has_lock = !given.iter().any(|(key, to)| key == "active" && to == NONE);
    if let (Some(Active::Lock(lock)), true) = (mapping.active, has_lock) {
        names.push(lock.attribute().to_owned());
        names.extend(login::days(lock).iter().map(|name| (*name).to_owned()));
    }
    names
}

/// Returns an attribute that the service's user may not read of some entries.
pub(super) async fn hidden(
    directory: &Directory,
    base: &str,
    filter: &Filter,
    names: &[String],
    most: u32,
) -> Result<Option<Hidden>, DirectoryError> {
    let ids = directory.root_dse().vendor.immutable_ids();
    let id = ids.iter().copied().find(|id| directory.schema().attribute_type(id).is_some());
    let id = id.unwrap_or("entryUUID");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let read: Vec<&str> = names.iter().copied().chain([id]).collect();
    let mut entries = sample(directory, (base, Scope::Subtree), filter.clone(), &read, most).await?;
    // A part of the values is enough.
    entries.iter_mut().flat_map(|entry| &mut entry.attributes).for_each(|a| a.values.truncate(1));
    let entries: Vec<&Entry> = entries.iter().collect();
    unseen::hidden_of_many(directory, base, &entries, id, &names).await
}

/// Checks some users and groups.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let users = &config.users;
    let mut names = mapped(ResourceType::User, &users.scim, directory);
    if config.auth_enabled {
        names.extend(login::deciding(config, directory));
    }
    let vendor = directory.root_dse().vendor;
    let own = users.filter.on(vendor);
    let filter = unseen::unsearchable_below(directory, &users.base_dn, own, &[]).await;
    let mut results = vec![filter, hidden(directory, &users.base_dn, own, &names, SAMPLE).await];
    if let Some(groups) = &config.groups {
        let names = mapped(ResourceType::Group, &groups.scim, directory);
        let own = groups.filter.on(vendor);
        results.push(hidden(directory, &groups.base_dn, own, &names, FEW).await);
        results.push(unseen::unsearchable_below(directory, &groups.base_dn, own, &[]).await);
        results.push(login::unsearchable(config, directory).await);
    }
    let mut found = Vec::new();
    let expected = "the right to read and search it, or `none` in users.scim or groups.scim";
    for result in results {
        let (grade, problem) = match result {
            Ok(None) => continue,
            Ok(Some(hidden)) => {
                let effect = "what depends on it is answered with 500 misconfigured";
                (Grade::Failed, format!("{}: {effect}", unseen::problem(&hidden)))
            }
            Err(error) if error.is_connection() => return Err(error),
            // Another check tells it.
            Err(error) if error.is_no_such_object() || error.is_limit() => continue,
            Err(error) => (Grade::Unknown, error.to_string()),
        };
        let fault = SettingsError::value("bind_dn", problem, expected);
        let finding = Finding::fault("rights", grade, fault);
        if found.iter().all(|known: &Finding| known.text != finding.text) {
            found.push(finding);
        }
    }
    if found.is_empty() {
        found.push(Finding::well("rights", "the service's user may read what answers depend on"));
    }
    Ok(found)
}
