//! Whether the directory shows the service's user as many entries as answers need: size limits of servers are of their users.

use ldap_directory::client::probe::Grade;
use ldap_directory::filter::Filter;
use ldap_directory::lookup::sample;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};
use singer_common::plugin::settings::SettingsError;

use super::{Finding, rights};
use crate::config::Config;
use crate::login;
use crate::lookup::find;
use crate::scim::mapping::ResourceType;

const NAME: &str = "limits";
/// The users whose groups are looked for.
const FEW: u32 = 5;
/// The entries that are read at most.
const MOST: usize = 10_000;
/// The entries of a page of SCIM.
const PAGE: u32 = 200;
/// As many groups as a login looks for at once.
const GROUPS: u32 = 101;

fn fault(grade: Grade, problem: String) -> Finding {
    let expected = "no size limit for the service's user (OpenLDAP: `limits dn.exact=\"…\" size=unlimited`; 389 Directory Server: nsSizeLimit and nsPagedSizeLimit of its entry)";
    Finding::fault(NAME, grade, SettingsError::value("bind_dn", problem, expected))
}

/// Reads what a list of SCIM reads: all that match, and a page of them to see what the service's user may not read.
async fn list(directory: &Directory, base: &str, filter: &Filter) -> Result<(), DirectoryError> {
    // Some have none of these: whether they are hidden is asked for many entries at once.
    let names = ["description", "displayName"].map(str::to_owned);
    rights::hidden(directory, base, filter, &names, PAGE).await?;
    let filter = filter.clone();
    let request = SearchRequest::new(base, Scope::Subtree, filter, &["1.1"]).repeating();
    let mut search = directory.search(request).await?;
    for _ in 0..MOST {
        if search.next_entry().await?.is_none() {
            return Ok(());
        }
    }
    search.abandon().await
}

/// Checks lists of users and groups, and the groups of some users.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let vendor = directory.root_dse().vendor;
    let users = &config.users;
    let users = Some((ResourceType::User, &users.base_dn, users.filter.on(vendor)));
    let groups = config.groups.as_ref();
    let groups = groups.map(|g| (ResourceType::Group, &g.base_dn, g.filter.on(vendor)));
    let mut found = Vec::new();
    if let (true, Some((_, base, filter))) = (config.auth_enabled, groups) {
        let place = (config.users.base_dn.as_str(), Scope::Subtree);
        let names = ["uid", "objectSid", "primaryGroupID"];
        let some = sample(directory, place, config.users.filter.on(vendor).clone(), &names, FEW).await?;
        if let Some((dn, error)) = login::limited(config, directory, &some).await? {
            let problem = format!(
                "the directory does not show it all groups of a user, such as `{dn}`: logins are answered with 500 misconfigured ({error})"
            );
            found.push(fault(Grade::Failed, problem));
        } else if let Err(error) =
            find(directory, base, Scope::Subtree, filter.clone(), &["1.1"], GROUPS).await
        {
            if error.is_connection() {
                return Err(error);
            }
            if error.is_limit() {
                let problem = format!(
                    "the directory shows it fewer groups in a search than a user may have: logins of users with more are answered with 500 misconfigured ({error})"
                );
                found.push(fault(Grade::Warning, problem));
            }
        }
    }
    for (kind, base, filter) in users.into_iter().chain(groups) {
        match list(directory, base, filter).await {
            Err(error) if error.is_connection() => return Err(error),
            Err(error) if error.is_limit() => {
                let problem = format!(
                    "the directory does not show it all {} below `{base}`: SCIM answers lists of them with 422 ({error})",
                    kind.setting()
                );
                found.push(fault(Grade::Warning, problem));
            }
            // Another check tells what is wrong.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(found)
}
