//! Roles of one name: applications take those that differ in case for one, too.

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::dn::DnKey;
use ldap_directory::lookup::sample;
use ldap_directory::{Directory, DirectoryError, Scope};

use super::Finding;
use super::settings::{MOST, warning};
use crate::config::{Config, GroupsConfig, RoleName};
use crate::login::role_name;

/// The groups that a message names.
const NAMED: usize = 3;

/// Checks that no two groups below `roles[].below` give roles of one name, and that no two roles differ in case alone: who has one of them
/// has the rights of the other.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(
    config: &Config,
    groups: &GroupsConfig,
    directory: &Directory,
) -> Result<Vec<Finding>, DirectoryError> {
    let schema = directory.schema();
    let filter = groups.filter.on(directory.root_dse().vendor);
    let mut findings = Vec::new();
    let mut spellings: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut below_rules: BTreeMap<String, BTreeMap<DnKey, (usize, String)>> = BTreeMap::new();
    for (n, rule) in config.roles.iter().enumerate() {
        match &rule.role {
            RoleName::Groups { role, .. } => {
                spellings.entry(role.to_lowercase()).or_default().insert(role);
            }
            RoleName::Below { attribute, below } => {
                let place = (below.as_str(), Scope::Subtree);
                let found = match sample(directory, place, filter.clone(), &[attribute.as_str()], MOST).await
                {
                    Err(error) if error.is_connection() => return Err(error),
                    found => found.unwrap_or_default(),
                };
                let above = DnKey::parse(below, schema).unwrap_or_default();
                for group in found {
                    let key = DnKey::parse(&group.dn, schema).ok().filter(|key| above.is_ancestor_of(key));
                    let Some((key, role)) = key.zip(role_name(attribute, &group, schema)) else { continue };
                    below_rules.entry(role.to_lowercase()).or_default().entry(key).or_insert((n, group.dn));
                }
            }
        }
    }
    for names in spellings.values().filter(|names| names.len() > 1) {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let problem =
            format!("{} differ in case alone: many applications take them for one role", names.join(" and "));
        findings.push(warning("roles", "roles", problem, "names that differ in any case, or one name"));
    }
    for (role, groups) in below_rules.iter().filter(|(_, groups)| groups.len() > 1) {
        let dns: Vec<String> = groups.values().take(NAMED).map(|(_, dn)| format!("`{dn}`")).collect();
        let rule = groups.values().next().map(|(n, _)| *n).unwrap_or_default();
        let problem = format!(
            "{} groups give the role `{role}`, for example {}: members of one have the rights of the others",
            groups.len(),
            dns.join(" and ")
        );
        let setting = format!("roles[{rule}].below");
        findings.push(warning("roles", setting, problem, "a place in which each name is that of one group"));
    }
    Ok(findings)
}
