//! `secret_attributes` against what the service compares and returns. An attribute is one or the other.

use ldap_directory::schema::Schema;
use ldap_directory::secret::SecretAttributes;
use singer_common::plugin::settings::SettingsError;

use super::people::{GroupsConfig, RoleName, RoleRule, UsersConfig};

/// Immutable ids, which each user and group is known by.
const IDS: [&str; 3] = ["entryUUID", "nsUniqueId", "objectGUID"];
/// Attributes of groups with their members.
const MEMBERS: [&str; 3] = ["member", "uniqueMember", "memberUid"];

/// Returns the settings that name an attribute, with the attribute: given ones, and defaults that nothing works without.
fn used(users: &UsersConfig, groups: Option<&GroupsConfig>, roles: &[RoleRule]) -> Vec<(String, String)> {
    let mut used: Vec<(String, String)> = Vec::new();
    let mut add = |setting: String, attribute: &str| used.push((setting, attribute.to_owned()));
    for (n, attribute) in users.login_attributes.iter().enumerate() {
        add(format!("users.login_attributes[{n}]"), attribute);
    }
    if users.login_attributes.is_empty() {
        for name in UsersConfig::USUAL_LOGIN_ATTRIBUTES {
            add("users.login_attributes".to_owned(), name);
        }
    }
    let has = |scim: &[(String, String)], key: &str| scim.iter().any(|(known, _)| known == key);
    users.scim.iter().for_each(|(key, attribute)| add(format!("users.scim.{key}"), attribute));
    if !has(&users.scim, "userName") {
        add("users.scim.userName".to_owned(), "uid");
    }
    for id in IDS {
        add("users".to_owned(), id);
    }
    if let Some(groups) = groups {
        groups.scim.iter().for_each(|(key, attribute)| add(format!("groups.scim.{key}"), attribute));
        if !has(&groups.scim, "displayName") {
            add("groups.scim.displayName".to_owned(), "cn");
        }
        for name in MEMBERS {
            add("groups".to_owned(), name);
        }
    }
    for (n, rule) in roles.iter().enumerate() {
        if let RoleName::Below { attribute, .. } = &rule.role {
            add(format!("roles[{n}].role"), attribute);
        }
    }
    used
}

/// Checks that no attribute is secret which another setting names, or which nothing works without. Other defaults that are secret are left
/// out, and never returned.
///
/// # Errors
/// One is. Both settings are named.
pub(super) fn check(
    secret: &[String],
    users: &UsersConfig,
    groups: Option<&GroupsConfig>,
    roles: &[RoleRule],
) -> Result<(), SettingsError> {
    if secret.is_empty() {
        return Ok(());
    }
    let schema = Schema::standard();
    for (n, name) in secret.iter().enumerate() {
        let own = SecretAttributes::of(std::slice::from_ref(name), schema);
        let is_it = |attribute: &str| {
            attribute.eq_ignore_ascii_case(name) || schema.same_description(attribute, name)
        };
        // Those that are secret anyway are the business of another check.
        let by_default = SecretAttributes::of(&[], schema);
        let is_it =
            |attribute: &str| is_it(attribute) || own.contains(attribute) && !by_default.contains(attribute);
        if let Some((setting, attribute)) = used(users, groups, roles).iter().find(|(_, a)| is_it(a)) {
            let problem = format!("`{name}`: {setting} compares or returns `{attribute}`");
            let expected =
                "attributes that no other setting names: a secret one is neither compared nor returned";
            return Err(SettingsError::value(format!("secret_attributes[{n}]"), problem, expected));
        }
    }
    Ok(())
}
