//! The configuration against the directory: whether what the settings name is there. For `--test`, `doctor`, `/api/v1/health` and the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::{Directory, DirectoryError, KnownNames, UnknownName, Vendor};
use serde_json::{Value, json};
use singer_common::operations::error::Classified as _;
use singer_common::plugin::settings::SettingsError;

use crate::config::{Config, OwnFilter, RoleName};
use crate::fit::can_match;
use crate::login;
use crate::scim::mapping::{Context, Mapping, NONE, ResourceType};
use crate::service::Service;
use crate::write::Writer;

pub mod bind_password;
mod identifiers;
mod limits;
mod lockout;
mod rights;
mod role_names;
mod secrets;
mod settings;
mod user_name;
mod users;

/// The longest time of the checks when the directory is opened.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest time of searches of all users.
const SEARCHING: Duration = Duration::from_secs(15);
/// The users that are looked at.
const SAMPLE: u32 = 20;
/// The entries that are looked for at once.
const AT_ONCE: usize = 8;

/// What was found about a setting.
#[derive(Debug)]
pub struct Finding {
    /// The name of the check.
    pub name: &'static str,
    /// Whether it fails.
    pub grade: Grade,
    /// What is well.
    text: String,
    /// What is not well.
    fault: Option<SettingsError>,
}

impl Finding {
    fn well(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, grade: Grade::Ok, text: text.into(), fault: None }
    }

    /// Returns a warning that is in the log already.
    fn noted(name: &'static str, text: String) -> Self {
        Self { name, grade: Grade::Warning, text, fault: None }
    }

    fn fault(name: &'static str, grade: Grade, fault: SettingsError) -> Self {
        Self { name, grade, text: fault.to_string(), fault: Some(fault) }
    }

    /// Returns it as a step of `doctor`.
    pub fn step(&self) -> Step {
        Step::new(self.name, self.grade, self.text.clone())
    }

    /// Returns it as a check of the health report: `name`, `ok`, `detail`, `result`.
    pub fn to_json(&self) -> Value {
        let ok = self.grade != Grade::Failed;
        json!({"name": self.name, "ok": ok, "detail": self.text, "result": self.grade.word()})
    }

    /// Logs what is not well.
    pub fn log(&self) {
        let Some(fault) = &self.fault else { return };
        match self.grade {
            Grade::Failed => fault.facts().error(&self.text),
            _ => fault.facts().warn(&self.text),
        }
    }

    /// Returns the fault, if the check fails.
    pub fn failure(self) -> Option<SettingsError> {
        self.fault.filter(|_| self.grade == Grade::Failed)
    }
}

/// Checks all that the configuration names.
///
/// # Errors
/// The directory cannot be asked.
pub async fn all(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let mut found = logins(config, directory).await?;
    found.extend(bind_password::of(directory));
    names(config, directory, &mut found);
    scim(config, directory, &mut found);
    rules(config, directory, &mut found);
    settings::names(config, directory, &mut found);
    found.extend(settings::groups_of_roles(config, directory).await?);
    found.extend(config.write.as_ref().map(|write| undo_dir(&write.undo_dir)));
    entries(config, directory, &mut found).await?;
    found.extend(placeholder(config, directory).await?);
    Ok(found)
}

/// Checks the same, and what may take long: searches of all users.
///
/// # Errors
/// The directory cannot be asked.
pub async fn thorough(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let mut found = all(config, directory).await?;
    found.extend(settings::of(config, directory).await?);
    if let Ok(policies) = tokio::time::timeout(SEARCHING, lockout::of(config, directory)).await {
        found.extend(policies?);
    } else {
        found.push(lockout::too_slow());
    }
    if let Ok(limits) = tokio::time::timeout(SEARCHING, limits::of(config, directory)).await {
        found.extend(limits?);
    }
    if let Ok(identifiers) = tokio::time::timeout(SEARCHING, identifiers::of(config, directory)).await {
        found.extend(identifiers?);
    }
    Ok(found)
}

/// Checks the same, for `--test` and `doctor`, what a running service logs by itself (settings that protect nothing), and what
/// a look at all attributes of some users shows.
///
/// # Errors
/// The directory cannot be asked.
pub async fn from_outside(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let mut found = thorough(config, directory).await?;
    if let Ok(secrets) = tokio::time::timeout(SEARCHING, secrets::of(config, directory)).await {
        found.extend(secrets?);
    }
    let Ok(protection) = tokio::time::timeout(SEARCHING, Writer::protection_of(config, directory)).await
    else {
        return Ok(found);
    };
    match protection {
        Ok(warnings) => found.extend(warnings.into_iter().map(|text| Finding::noted("protect", text))),
        Err(error) => match error.downcast::<DirectoryError>() {
            Ok(error) => return Err(error),
            Err(error) => {
                let fault = error.downcast::<SettingsError>().unwrap_or_else(|error| {
                    SettingsError::value("write.protect", error.to_string(), "names that the directory knows")
                });
                found.push(Finding::fault("protect", Grade::Failed, fault));
            }
        },
    }
    Ok(found)
}

/// The placeholder of groups without members: an entry of its name has their rights.
async fn placeholder(config: &Config, directory: &Directory) -> Result<Option<Finding>, DirectoryError> {
    let follows = directory.root_dse().vendor == Vendor::ActiveDirectory;
    let Some(dn) = Writer::placeholder_of(config, directory).filter(|_| !follows) else { return Ok(None) };
    let is_there = match directory.read(&dn, &["1.1"]).await {
        Err(error) if error.is_connection() => return Err(error),
        found => found.is_ok_and(|entry| entry.is_some()),
    };
    if !is_there {
        return Ok(None);
    }
    let setting = "write.mapping_rules.groups.empty_group";
    let problem = format!("`{dn}` is an entry, and has the rights of every group without another member");
    let fault = SettingsError::value(setting, problem, "a name that no entry has");
    Ok(Some(Finding::fault("empty_group", Grade::Failed, fault)))
}

/// Checks what every login needs: known attributes, and users that can be told apart.
///
/// # Errors
/// The directory cannot be asked.
pub async fn logins(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let mut found = Vec::new();
    if config.auth_enabled {
        login_attributes(config, directory, &mut found);
    }
    found.extend(username_attribute(config, directory));
    let names = KnownNames::new(directory);
    // What is unknown has been told, or is by `names`: it needs no consequence.
    let is_known = directory.schema().is_assumed()
        || can_match(config.users.filter.on(directory.root_dse().vendor), &names);
    if found.iter().all(|finding| finding.grade == Grade::Ok) && is_known {
        found.extend(users::of(config, directory).await?);
        found.extend(rights::of(config, directory).await?);
    }
    Ok(found)
}

/// Checks what every request needs: what logins need, filters that can match, and bases that are there.
///
/// # Errors
/// The directory cannot be asked.
pub async fn essential(config: &Config, directory: &Directory) -> Result<Vec<Finding>, DirectoryError> {
    let mut found = logins(config, directory).await?;
    names(config, directory, &mut found);
    let bare = Config { roles: Vec::new(), write: None, ..config.clone() };
    entries(&bare, directory, &mut found).await?;
    Ok(found)
}

/// Returns the first fault of a configuration that the earlier one, over its own directory, does not have.
pub async fn worse(service: &Service, earlier: &Service) -> Option<SettingsError> {
    let faults = async |service: &Service| {
        let directory = service.directory.any()?;
        let checked = tokio::time::timeout(LONGEST, all(&service.config, &directory)).await;
        let found = checked.ok()?.ok()?;
        Some(found.into_iter().filter_map(Finding::failure).collect::<Vec<_>>())
    };
    let new = faults(service).await?;
    if new.is_empty() {
        return None;
    }
    let old: Vec<String> = faults(earlier).await?.iter().map(ToString::to_string).collect();
    new.into_iter().find(|fault| !old.contains(&fault.to_string()))
}

/// Checks the configuration once the directory is open, and logs what is not well.
pub fn log_when_open(service: &Arc<Service>) {
    let (config, opened) = (service.config.clone(), service.directory.opened());
    tokio::spawn(async move {
        let Some(directory) = opened.await else { return };
        match tokio::time::timeout(LONGEST, thorough(&config, &directory)).await {
            Ok(Ok(found)) => found.iter().for_each(Finding::log),
            Ok(Err(error)) => tracing::warn!("the configuration could not be checked: {error}"),
            Err(_) => {
                tracing::warn!("the configuration could not be checked within {} s", LONGEST.as_secs());
            }
        }
    });
}

/// Returns the fault of an unknown name.
fn unknown(setting: impl Into<String>, unknown: &UnknownName, effect: &str) -> SettingsError {
    let problem = format!("the directory has no {} `{}`: {effect}", unknown.what, unknown.name);
    SettingsError::value(setting, problem, "a name of the directory's schema")
        .near(unknown.near.first().map(String::as_str))
}

/// Returns an attribute that the directory does not know. A schema that could not be read does not tell.
fn unknown_attribute(directory: &Directory, names: &KnownNames<'_>, name: &str) -> Option<UnknownName> {
    if directory.schema().is_assumed() {
        return None;
    }
    names.attribute(name).err()
}

/// `users.login_attributes`
fn login_attributes(config: &Config, directory: &Directory, found: &mut Vec<Finding>) {
    let names = KnownNames::new(directory);
    let logins = login::login_attributes(&config.users, directory.root_dse().vendor);
    let before = found.len();
    for (n, name) in logins.iter().enumerate() {
        if let Some(what) = unknown_attribute(directory, &names, name) {
            let effect = if logins.len() == 1 {
                "every login is refused (401 invalid_credentials)"
            } else {
                "no login name is found by it"
            };
            let fault = unknown(format!("users.login_attributes[{n}]"), &what, effect);
            found.push(Finding::fault("login_attributes", Grade::Failed, fault));
        }
    }
    if found.len() == before {
        found.push(Finding::well(
            "login_attributes",
            format!("a login name is compared with {}", logins.join(", ")),
        ));
    }
}

/// `jwt.username_attribute`, where the kind of directory decides what the login attribute is.
fn username_attribute(config: &Config, directory: &Directory) -> Option<Finding> {
    let attribute = config.jwt.as_ref()?.username_attribute.as_ref()?;
    let logins = login::login_attributes(&config.users, directory.root_dse().vendor);
    if logins.iter().any(|name| name.eq_ignore_ascii_case(attribute)) {
        return None;
    }
    let problem = format!(
        "`{attribute}` is not what users log in by here, which is {}: tokens of users are refused (401)",
        logins.join(", ")
    );
    let fault = SettingsError::value("jwt.username_attribute", problem, "one of users.login_attributes");
    Some(Finding::fault("jwt", Grade::Failed, fault))
}

/// `users.filter`, `groups.filter`, and the attributes of roles.
fn names(config: &Config, directory: &Directory, found: &mut Vec<Finding>) {
    let names = KnownNames::new(directory);
    filter("users.filter", &config.users.filter, directory, &names, found);
    if let Some(groups) = &config.groups {
        filter("groups.filter", &groups.filter, directory, &names, found);
    }
    for (n, rule) in config.roles.iter().enumerate() {
        if let RoleName::Below { attribute, .. } = &rule.role
            && let Some(what) = unknown_attribute(directory, &names, attribute)
        {
            let fault = unknown(format!("roles[{n}].role"), &what, "the rule gives no role");
            found.push(Finding::fault("roles", Grade::Warning, fault));
        }
    }
}

fn filter(
    setting: &'static str,
    own: &OwnFilter,
    directory: &Directory,
    names: &KnownNames<'_>,
    found: &mut Vec<Finding>,
) {
    let before = found.len();
    let filter = own.on(directory.root_dse().vendor);
    if !directory.schema().is_assumed() && !own.is_default() {
        let can_match = can_match(filter, names);
        for what in names.unknown_in(filter) {
            let (grade, effect) = if can_match {
                (Grade::Warning, "a part of the filter matches nothing")
            } else {
                (Grade::Failed, "the filter matches no entry")
            };
            found.push(Finding::fault(setting, grade, unknown(setting, &what, effect)));
        }
    }
    if found.len() == before {
        found.push(Finding::well(setting, format!("`{filter}`")));
    }
}

fn context(directory: &Directory) -> Context<'_> {
    Context {
        vendor: directory.root_dse().vendor,
        schema: directory.schema(),
        secrets: directory.secret_attributes(),
        object_classes: &[],
    }
}

/// `users.scim` and `groups.scim`.
fn scim(config: &Config, directory: &Directory, found: &mut Vec<Finding>) {
    let names = KnownNames::new(directory);
    let groups = config.groups.as_ref().map(|groups| (ResourceType::Group, &groups.scim));
    let before = found.len();
    for (resource, given) in std::iter::once((ResourceType::User, &config.users.scim)).chain(groups) {
        let effect = "every SCIM request is answered with 500 misconfigured";
        let own = given.iter().filter(|(_, attribute)| attribute != NONE).filter_map(|(key, attribute)| {
            let what = unknown_attribute(directory, &names, attribute)?;
            Some(unknown(format!("{}.{key}", resource.setting()), &what, effect))
        });
        let unknown: Vec<SettingsError> = own.collect();
        let context = context(directory);
        for error in Mapping::new(resource, given, &context).err().into_iter().flatten() {
            let (setting, problem) = error.split_once(": ").unwrap_or((resource.setting(), &error));
            let is_known = |fault: &SettingsError| matches!(fault, SettingsError::Value { setting: s, .. } if s == setting);
            if !unknown.iter().any(is_known) {
                let expected = "a SCIM attribute, and an LDAP attribute of the directory";
                let fault = SettingsError::value(setting, format!("{problem}: {effect}"), expected);
                found.push(Finding::fault("scim", Grade::Failed, fault));
            }
        }
        found.extend(unknown.into_iter().map(|fault| Finding::fault("scim", Grade::Failed, fault)));
    }
    found.extend(user_name::of(config, directory));
    if found.len() == before {
        found.push(Finding::well("scim", "the mappings fit the directory's schema"));
    }
}

/// `write.mapping_rules`.
fn rules(config: &Config, directory: &Directory, found: &mut Vec<Finding>) {
    if config.write.is_none() {
        return;
    }
    match Writer::check(config, directory) {
        Ok(()) => found.push(Finding::well("mapping_rules", "the rules fit the directory's schema")),
        Err(fault) => found.push(Finding::fault("mapping_rules", Grade::Failed, fault)),
    }
}

/// `write.undo_dir`. A folder that is not there is made at the start, by the user that the service runs as.
fn undo_dir(folder: &Path) -> Finding {
    let shown = folder.display();
    let fault = |grade, problem: String| {
        let expected = "a folder that the service may write to";
        Finding::fault("undo_dir", grade, SettingsError::value("write.undo_dir", problem, expected))
    };
    match tempfile::tempfile_in(folder) {
        Ok(_) => Finding::well("undo_dir", format!("`{shown}` can be written")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let is_parent_there = folder.parent().is_some_and(Path::is_dir);
            let text = format!("`{shown}` is not there yet: the service makes it when it starts");
            if is_parent_there {
                Finding::well("undo_dir", text)
            } else {
                fault(Grade::Warning, format!("{text}, with its parent folder"))
            }
        }
        Err(e) => fault(Grade::Failed, format!("`{shown}`: {e}")),
    }
}

/// The entries: `users.base_dn`, `groups.base_dn`, and those of roles.
async fn entries(
    config: &Config,
    directory: &Directory,
    found: &mut Vec<Finding>,
) -> Result<(), DirectoryError> {
    let mut wanted = vec![(
        "users.base_dn",
        "users.base_dn".to_owned(),
        config.users.base_dn.as_str(),
        Grade::Failed,
        "there are no users",
    )];
    if let Some(groups) = &config.groups {
        let effect = "nobody has groups, and SCIM has none";
        wanted.push((
            "groups.base_dn",
            "groups.base_dn".into(),
            groups.base_dn.as_str(),
            Grade::Failed,
            effect,
        ));
    }
    for (n, rule) in config.roles.iter().enumerate() {
        match &rule.role {
            RoleName::Groups { groups, .. } => {
                wanted.extend(groups.iter().enumerate().map(|(m, dn)| {
                    (
                        "roles",
                        format!("roles[{n}].groups[{m}]"),
                        dn.as_str(),
                        Grade::Warning,
                        "nobody has the role by it",
                    )
                }));
            }
            RoleName::Below { below, .. } => {
                let setting = format!("roles[{n}].below");
                wanted.push(("roles", setting, below.as_str(), Grade::Warning, "the rule gives no role"));
            }
        }
    }
    for (kind, rule) in config.write.iter().flat_map(|write| &write.mapping_rules) {
        let place = rule.get("on_delete").and_then(|action| action.get("move_to")?.as_str());
        let setting = format!("write.mapping_rules.{kind}.on_delete.move_to");
        wanted.extend(place.map(|dn| ("on_delete", setting, dn, Grade::Failed, "deletions are refused")));
    }
    let asked: Vec<_> = wanted.iter().map(|(_, _, dn, _, _)| directory.read(dn, &["1.1"])).collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut has_role = false;
    for ((name, setting, dn, grade, effect), answer) in wanted.into_iter().zip(answers) {
        let is_there = match answer {
            Ok(entry) => entry.is_some(),
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                let fault = SettingsError::value(setting, format!("`{dn}`: {error}"), "the DN of an entry");
                found.push(Finding::fault(name, Grade::Unknown, fault));
                continue;
            }
        };
        if !is_there {
            let problem = format!("`{dn}` is not there, or the service's user may not see it: {effect}");
            let fault = SettingsError::value(setting, problem, "the DN of an entry");
            found.push(Finding::fault(name, grade, fault));
        } else if name == "roles" {
            has_role = true;
        } else {
            found.push(Finding::well(name, format!("`{dn}` is there")));
        }
    }
    if has_role && !found.iter().any(|finding| finding.name == "roles") {
        found.push(Finding::well("roles", "all groups of roles are there"));
    }
    Ok(())
}
