//! The users: whether there are some, what they have, and whether all of them are people.

use ldap_directory::client::probe::Grade;
use ldap_directory::filter::Filter;
use ldap_directory::lookup::sample;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor, oid};
use singer_common::plugin::settings::SettingsError;

use super::{Finding, SAMPLE};
use crate::config::Config;
use crate::login;

/// The computers that are counted.
const MOST_COUNTED: u32 = 1_000;

fn fault(grade: Grade, setting: &str, problem: &str, expected: &str) -> Finding {
    Finding::fault("users", grade, SettingsError::value(setting, problem, expected))
}

/// Whether some users, as the service's user sees them, have what logins and SCIM need.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Option<Finding>, DirectoryError> {
    let (users, vendor) = (&config.users, directory.root_dse().vendor);
    let (ids, logins) = (vendor.immutable_ids(), login::login_attributes(users, vendor));
    let login = logins.first().map(String::as_str).unwrap_or_default();
    let attributes: Vec<&str> = ids.iter().copied().chain([login]).collect();
    let place = (users.base_dn.as_str(), Scope::Subtree);
    let entries = match sample(directory, place, users.filter.on(vendor).clone(), &attributes, SAMPLE).await {
        Err(error) if error.is_connection() => return Err(error),
        Err(error) => {
            return Ok(Some(fault(
                Grade::Unknown,
                "users",
                &error.to_string(),
                "users that can be searched",
            )));
        }
        Ok(entries) => entries,
    };
    if entries.is_empty() && directory.read(&users.base_dn, &["1.1"]).await?.is_none() {
        // Another check tells it.
        return Ok(None);
    }
    if entries.is_empty() {
        let problem =
            "no entry below users.base_dn matches users.filter, or the service's user may not see one";
        return Ok(Some(fault(Grade::Warning, "users.filter", problem, "the filter of the users")));
    }
    let has = |name: &str| entries.iter().any(|entry| !directory.schema().values_of(entry, name).is_empty());
    if !ids.iter().any(|id| has(id)) {
        let problem =
            "the service's user may not see the immutable id of users: logins fail, and SCIM shows nobody";
        let expected = format!("the right to read {}", ids.join(" or "));
        return Ok(Some(fault(Grade::Failed, "bind_dn", problem, &expected)));
    }
    if config.auth_enabled && !has(login) {
        let problem = format!(
            "no user that was looked at has `{login}`, or the service's user may not see it: nobody can log in"
        );
        let expected = "an attribute that users have";
        return Ok(Some(fault(Grade::Failed, "users.login_attributes[0]", &problem, expected)));
    }
    if let Some(found) = no_people(config, directory).await? {
        return Ok(Some(found));
    }
    Ok(Some(Finding::well("users", "users have a login name and an id")))
}

/// Returns a warning of the accounts of Active Directory that count as users, and are of computers, services or trusts.
async fn no_people(config: &Config, directory: &Directory) -> Result<Option<Finding>, DirectoryError> {
    if directory.root_dse().vendor != Vendor::ActiveDirectory {
        return Ok(None);
    }
    // INTERDOMAIN_TRUST_ACCOUNT of [MS-ADTS] 2.2.16.
    let trust = Filter::Extensible {
        rule: Some(oid::BIT_AND_MATCH.to_owned()),
        attribute: Some("userAccountControl".to_owned()),
        dn: false,
        value: b"2048".to_vec(),
    };
    // Managed service accounts are a kind of computer.
    let others = Filter::Or(vec![Filter::equality("objectClass", "computer"), trust]);
    let filter = Filter::And(vec![config.users.filter.on(Vendor::ActiveDirectory).clone(), others]);
    let place = (config.users.base_dn.as_str(), Scope::Subtree);
    let found = sample(directory, place, filter, &["1.1"], MOST_COUNTED).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let count = found.len();
    let at_least = if count < MOST_COUNTED as usize { "" } else { "at least " };
    let problem = format!(
        "it matches {at_least}{count} accounts of computers, services or trusts, for example `{}`: they are listed as users, and who disables or deletes users that it does not know takes them out of the domain",
        first.dn
    );
    let expected = "no filter of your own: the default leaves them out";
    Ok(Some(fault(Grade::Warning, "users.filter", &problem, expected)))
}
