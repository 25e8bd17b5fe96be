//! Settings that can never work, or not as they look, as the directory shows.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ldap_directory::client::probe::Grade;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::lookup::{find, sample};
use ldap_directory::text::printable_line;
use ldap_directory::{Directory, DirectoryError, KnownNames, Scope, Vendor, conflict};
use singer_common::plugin::settings::SettingsError;

use super::{AT_ONCE, Finding, role_names};
use crate::config::{Config, GroupsConfig, RoleName};
use crate::login;
use crate::lookup::referrals as referrals_below;
use crate::scim::mapping::{NONE, ResourceType};
use crate::write::AttributeGuard;

/// The entries that are counted.
pub(super) const MOST: u32 = 1_000;

pub(super) fn warning(
    name: &'static str,
    setting: impl Into<String>,
    problem: String,
    expected: &str,
) -> Finding {
    Finding::fault(name, Grade::Warning, SettingsError::value(setting, problem, expected))
}

/// Returns a number of entries, of which no more than [`MOST`] are counted.
fn count(found: &[Entry]) -> String {
    let at_least = if found.len() < MOST as usize { "" } else { "at least " };
    format!("{at_least}{}", found.len())
}

/// Entries below a base that match. A base that is not there, or a limit, is the business of another check.
async fn some(directory: &Directory, base: &str, filter: Filter) -> Result<Vec<Entry>, DirectoryError> {
    match sample(directory, (base, Scope::Subtree), filter, &["1.1"], MOST).await {
        Err(error) if error.is_connection() => Err(error),
        found => Ok(found.unwrap_or_default()),
    }
}

/// Checks the names of attributes: whether the directory can compare and write them as the settings say.
pub(super) fn names(config: &Config, directory: &Directory, found: &mut Vec<Finding>) {
    let (schema, vendor) = (directory.schema(), directory.root_dse().vendor);
    if schema.is_assumed() {
        return;
    }
    // Active Directory's schema has no matching rules.
    let compares = |name: &str| vendor == Vendor::ActiveDirectory || schema.equality_name(name).is_some();
    let logins = login::login_attributes(&config.users, vendor);
    let wrong = logins
        .iter()
        .enumerate()
        .filter(|(_, name)| schema.attribute_type(name).is_some() && !compares(name));
    for (n, name) in wrong.filter(|_| config.auth_enabled) {
        let problem = format!(
            "`{name}` has no rule by which the directory compares values: no login name is found by it"
        );
        let fault = SettingsError::value(
            format!("users.login_attributes[{n}]"),
            problem,
            "an attribute with an EQUALITY rule",
        );
        found.push(Finding::fault("login_attributes", Grade::Failed, fault));
    }
    if config.write.is_none() {
        return;
    }
    let (guard, known) = (AttributeGuard::of(directory), KnownNames::new(directory));
    let groups = config.groups.as_ref().map(|groups| (ResourceType::Group, &groups.scim));
    for (resource, scim) in std::iter::once((ResourceType::User, &config.users.scim)).chain(groups) {
        for (key, name) in scim.iter().filter(|(_, name)| name != NONE && known.attribute(name).is_ok()) {
            let reason = if schema.same_description(name, "objectClass") {
                Some("the classes of an entry are those of the rule (object_classes)".to_owned())
            } else {
                guard.guarded(name).map(|guarded| guarded.reason(name))
            };
            if let Some(reason) = reason {
                let problem = format!("`{name}` is read, and never written: {reason}");
                let setting = format!("{}.{key}", resource.setting());
                found.push(warning("scim", setting, problem, "an attribute that clients may write, or none"));
            }
        }
    }
}

/// Checks what takes searches.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn of(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let mut found = Vec::new();
    if config.auth_enabled && !matches!(directory, Directory::Ldap(_)) {
        let problem = "a file checks no password, so that no login succeeds".to_owned();
        found.push(warning("logins", "server_url", problem, "a server, or auth_enabled: false"));
    }
    found.extend(referrals(config, directory).await?);
    found.extend(conflicts(config, directory).await?);
    found.extend(far_days(config, directory).await?);
    if let Some(groups) = &config.groups {
        found.extend(both(config, groups, directory).await?);
        found.extend(unseen_groups(config, groups, directory).await?);
        found.extend(namesakes(config, groups, directory).await?);
        found.extend(role_names::of(config, groups, directory).await?);
    }
    Ok(found)
}

/// Entries that refer to other servers: what is behind them is not found.
async fn referrals(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let groups = config.groups.as_ref().map(|groups| ("groups.base_dn".to_owned(), &groups.base_dn));
    let belows = config.roles.iter().enumerate().filter_map(|(n, rule)| match &rule.role {
        RoleName::Below { below, .. } => Some((format!("roles[{n}].below"), below)),
        RoleName::Groups { .. } => None,
    });
    let users = std::iter::once(("users.base_dn".to_owned(), &config.users.base_dn));
    let mut findings = Vec::new();
    for (setting, base) in users.chain(groups).chain(belows) {
        let found = match referrals_below(directory, base, MOST).await {
            Err(error) if error.is_connection() => return Err(error),
            found => found.unwrap_or_default(),
        };
        let Some(first) = found.first() else { continue };
        let problem = format!(
            "{} entries below it refer to other servers, for example `{}`: nobody behind them is found, neither by a login nor by SCIM",
            count(&found),
            first.dn
        );
        findings.push(warning(
            "referrals",
            setting,
            problem,
            "a base without referrals, or `referrals: follow`",
        ));
    }
    Ok(findings)
}

/// Users and groups that replication left in conflict: each is there twice.
async fn conflicts(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let Some(in_conflict) = conflict::filter(directory) else { return Ok(Vec::new()) };
    let vendor = directory.root_dse().vendor;
    let users = Some(("users.base_dn", &config.users.base_dn, &config.users.filter));
    let groups = config.groups.as_ref().map(|groups| ("groups.base_dn", &groups.base_dn, &groups.filter));
    let mut findings = Vec::new();
    for (setting, base, filter) in users.into_iter().chain(groups) {
        let filter = Filter::And(vec![filter.on(vendor).clone(), in_conflict.clone()]);
        let found = some(directory, base, filter).await?;
        let Some(first) = found.first() else { continue };
        let problem = format!(
            "{} entries below it are left over from a conflict of replication, for example `{}`: each is listed beside the entry whose name it had",
            count(&found),
            printable_line(&first.dn)
        );
        let expected = "a directory without such entries: merge each with the other one, and delete it";
        findings.push(warning("conflicts", setting, problem, expected));
    }
    Ok(findings)
}

/// Users with a first or last day that OpenLDAP does not compare as it stands: it has 32 bits for it, so that some of these days are past.
async fn far_days(config: &Config, directory: &Directory) -> Result<Option<Finding>, DirectoryError> {
    const FIRST: &[u8] = b"21060207062816Z";
    let (vendor, schema) = (directory.root_dse().vendor, directory.schema());
    let names = ["pwdEndTime", "pwdStartTime"];
    if vendor != Vendor::OpenLdap || names.iter().any(|name| schema.attribute_type(name).is_none()) {
        return Ok(None);
    }
    let far = names.map(|name| Filter::GreaterOrEqual { attribute: name.to_owned(), value: FIRST.to_vec() });
    let filter = Filter::And(vec![config.users.filter.on(vendor).clone(), Filter::Or(far.to_vec())]);
    let found = some(directory, &config.users.base_dn, filter).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let problem = format!(
        "{} users have a pwdEndTime or pwdStartTime after 7 February 2106, for example `{}`: OpenLDAP takes some of these for the past, and binds are refused or accepted otherwise than SCIM shows it",
        count(&found),
        printable_line(&first.dn)
    );
    Ok(Some(warning("users", "users", problem, "no such attribute for accounts without a last day")))
}

/// Entries that are users and groups.
async fn both(
    config: &Config,
    groups: &GroupsConfig,
    directory: &Directory,
) -> Result<Option<Finding>, DirectoryError> {
    let (schema, vendor) = (directory.schema(), directory.root_dse().vendor);
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
    let (users, of_groups) = (key(&config.users.base_dn), key(&groups.base_dn));
    let base = match (users.is_within(&of_groups), of_groups.is_within(&users)) {
        (true, _) => &config.users.base_dn,
        (_, true) => &groups.base_dn,
        _ => return Ok(None),
    };
    let filter = Filter::And(vec![config.users.filter.on(vendor).clone(), groups.filter.on(vendor).clone()]);
    let found = some(directory, base, filter).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let problem = format!(
        "{} entries match users.filter, too, for example `{}`: each is a user and a group",
        count(&found),
        first.dn
    );
    Ok(Some(warning("groups.filter", "groups.filter", problem, "filters of which each entry matches one")))
}

/// Groups below `roles[].below` whose members are not found: those that `groups.filter` does not match, and dynamic ones.
async fn unseen_groups(
    config: &Config,
    groups: &GroupsConfig,
    directory: &Directory,
) -> Result<Vec<Finding>, DirectoryError> {
    const URL: &str = "memberURL";
    const CLASSES: [&str; 8] = [
        "groupOfNames",
        "groupOfUniqueNames",
        "groupOfMembers",
        "groupOfURLs",
        "group",
        "posixGroup",
        "organizationalRole",
        "nsRoleDefinition",
    ];
    let (schema, vendor) = (directory.schema(), directory.root_dse().vendor);
    let not = |filter: Filter| Filter::Not(Box::new(filter));
    let classes = CLASSES.iter().filter(|class| schema.object_class(class).is_some());
    let of_class = Filter::Or(classes.map(|class| Filter::equality("objectClass", *class)).collect());
    let mut unseen = vec![Filter::And(vec![of_class, not(groups.filter.on(vendor).clone())])];
    if schema.attribute_type(URL).is_some() {
        let present = |name: &str| Filter::Present(name.to_owned());
        let names = ["member", "uniqueMember", "memberUid"];
        let known = names.iter().filter(|name| schema.attribute_type(name).is_some());
        let has_members = Filter::Or(known.map(|name| present(name)).collect());
        unseen.push(Filter::And(vec![present(URL), not(has_members)]));
    }
    let mut findings = Vec::new();
    for (n, rule) in config.roles.iter().enumerate() {
        let RoleName::Below { below, .. } = &rule.role else { continue };
        let mut found = some(directory, below, Filter::Or(unseen.clone())).await?;
        let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
        found.retain(|group| key(&group.dn) != key(below));
        let Some(first) = found.first() else { continue };
        let problem = format!(
            "{} groups below it have no members for the service, for example `{}`: groups.filter does not match them, or the directory computes their members ({URL}). They give no role",
            count(&found),
            first.dn
        );
        let expected = "groups that groups.filter matches, with member, uniqueMember or memberUid";
        findings.push(warning("roles", format!("roles[{n}].below"), problem, expected));
    }
    Ok(findings)
}

/// Groups below `roles[].below` whose name is a role of groups that a rule names, and groups there that SCIM may create.
async fn namesakes(
    config: &Config,
    groups: &GroupsConfig,
    directory: &Directory,
) -> Result<Vec<Finding>, DirectoryError> {
    let (schema, vendor) = (directory.schema(), directory.root_dse().vendor);
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
    let mut findings = Vec::new();
    for (n, rule) in config.roles.iter().enumerate() {
        let RoleName::Below { attribute, below } = &rule.role else { continue };
        let setting = format!("roles[{n}].below");
        for (m, other) in config.roles.iter().enumerate() {
            let RoleName::Groups { role, groups: dns } = &other.role else { continue };
            let named: BTreeSet<DnKey> = dns.iter().map(|dn| key(dn)).collect();
            let of_name = Filter::equality(attribute.as_str(), role.as_bytes());
            let filter = Filter::And(vec![groups.filter.on(vendor).clone(), of_name]);
            let mut found = some(directory, below, filter).await?;
            found.retain(|group| !named.contains(&key(&group.dn)) && key(&group.dn) != key(below));
            let Some(first) = found.first() else { continue };
            let problem = format!(
                "`{}` has the name of the role `{role}`, which roles[{m}] gives to groups that it names: it does not give the role",
                first.dn
            );
            findings.push(warning(
                "roles",
                setting.clone(),
                problem,
                "another name for the group, or for the role",
            ));
        }
        let Some(write) = &config.write else { continue };
        let (place, base) = (key(below), key(&groups.base_dn));
        let is_protected = write.protection.below.iter().any(|dn| place.is_within(&key(dn)));
        if !is_protected && (place.is_within(&base) || base.is_within(&place)) {
            let problem = format!(
                "groups below `{below}` are written by SCIM and imports: whoever may create a group gives a role of its name"
            );
            findings.push(warning(
                "roles",
                setting,
                problem,
                "groups outside of groups.base_dn, or an element of write.protect.below",
            ));
        }
    }
    Ok(findings)
}

/// Checks that the groups of roles are groups: other entries have no members.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn groups_of_roles(
    config: &Config,
    directory: &Directory,
) -> Result<Vec<Finding>, DirectoryError> {
    let Some(groups) = &config.groups else { return Ok(Vec::new()) };
    let filter = groups.filter.on(directory.root_dse().vendor);
    let mut named = Vec::new();
    for (n, rule) in config.roles.iter().enumerate() {
        if let RoleName::Groups { groups, .. } = &rule.role {
            named.extend(groups.iter().enumerate().map(|(m, dn)| (format!("roles[{n}].groups[{m}]"), dn)));
        }
    }
    let checks: Vec<_> = named
        .into_iter()
        .map(|(setting, dn)| async move {
            let is_group = find(directory, dn, Scope::Base, filter.clone(), &["1.1"], 1).await;
            let is_there = async || directory.read(dn, &["1.1"]).await;
            match is_group {
                Err(error) if error.is_connection() => Err(error),
                Ok(found) if found.is_empty() && is_there().await.is_ok_and(|entry| entry.is_some()) => {
                    let problem = format!("`{dn}` is no group by groups.filter: nobody has the role by it");
                    Ok(Some(warning("roles", setting, problem, "the DN of a group")))
                }
                // Another check tells a fault of the directory, and what is not there.
                _ => Ok(None),
            }
        })
        .collect();
    let found: Vec<Option<Finding>> = stream::iter(checks).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
