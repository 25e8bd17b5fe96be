//! Whether users that SCIM makes have a login name.

use ldap_directory::Directory;
use ldap_directory::client::probe::Grade;
use singer_common::plugin::settings::SettingsError;

use super::Finding;
use crate::config::Config;
use crate::login;

/// Returns a finding if `userName` is mapped to an attribute that no login name is compared with.
pub(super) fn of(config: &Config, directory: &Directory) -> Option<Finding> {
    let (schema, vendor) = (directory.schema(), directory.root_dse().vendor);
    let is_user_name = |key: &str| key.rsplit(':').next().is_some_and(|n| n.eq_ignore_ascii_case("userName"));
    let (key, attribute) = config.users.scim.iter().find(|(key, _)| is_user_name(key))?;
    let logins = login::login_attributes(&config.users, vendor);
    let is_login = logins.iter().any(|login| schema.same_description(login, attribute));
    if is_login || config.write.is_none() || !config.auth_enabled {
        return None;
    }
    let problem = format!(
        "`{attribute}`: login names are compared with {}, so that users whom SCIM makes may have none",
        logins.join(", ")
    );
    let expected = format!("one of users.login_attributes, or `{attribute}` as one of them");
    let fault = SettingsError::value(format!("users.scim.{key}"), problem, expected);
    Some(Finding::fault("scim", Grade::Warning, fault))
}
