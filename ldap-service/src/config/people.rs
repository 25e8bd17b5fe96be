//! The settings `users`, `groups`, `roles` and `login`.

use std::path::PathBuf;
use std::time::Duration;

use ldap_directory::filter::Filter;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::plugin::settings::SettingsError;

use super::callers::Scope;
use super::{FAR, OwnFilter, parts};

/// The setting `users`.
#[derive(Debug, Clone)]
pub struct UsersConfig {
    /// The base DN of the users.
    pub base_dn: String,
    /// The filter of the users. Default: `(objectClass=person)`; on Active Directory, its accounts without those of computers, services and
    /// trusts.
    pub filter: OwnFilter,
    /// The attributes that a login name is compared with. Empty: `sAMAccountName` on Active Directory, else `uid`.
    pub login_attributes: Vec<String>,
    /// SCIM attribute to LDAP attribute, in the order of the setting. Empty: the default mapping.
    pub scim: Vec<(String, String)>,
}

/// The setting `groups`.
#[derive(Debug, Clone)]
pub struct GroupsConfig {
    /// The base DN of the groups.
    pub base_dn: String,
    /// The filter of the groups. Default: the group classes of LDAP servers and Active Directory.
    pub filter: OwnFilter,
    /// Whether groups in groups count.
    pub nested: Nested,
    /// SCIM attribute to LDAP attribute, in the order of the setting. Empty: the default mapping.
    pub scim: Vec<(String, String)>,
    /// What SCIM does with the id of a new member that no user or group has.
    pub unknown_members: UnknownMembers,
}

/// What SCIM does with the id of a new member that no user or group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownMembers {
    /// The request is refused, with the ids.
    #[default]
    Refuse,
    /// The id is left out, with a line in the log.
    Ignore,
}

/// Whether groups in groups count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nested {
    /// They count: by the means of the server, else by a search for each level.
    #[default]
    Auto,
    /// Only direct members count.
    Off,
}

/// An element of `roles`.
#[derive(Debug, Clone)]
pub struct RoleRule {
    /// The role.
    pub role: RoleName,
    /// The scopes of its members that call with a JWT.
    pub scopes: Vec<Scope>,
}

/// Which groups give a role.
#[derive(Debug, Clone)]
pub enum RoleName {
    /// The role of the members of these groups.
    Groups {
        /// The role.
        role: String,
        /// The DNs of the groups.
        groups: Vec<String>,
    },
    /// A role of each group below a DN, named by an attribute of the group.
    Below {
        /// The attribute: `cn` for `{cn}`.
        attribute: String,
        /// The DN.
        below: String,
    },
}

/// The setting `login`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LoginConfig {
    /// The most wrong passwords of one user in the window; 0: no bound. Default: 3.
    pub max_failures: u32,
    /// The window, in seconds. Default: 900.
    pub window_seconds: u64,
    /// The most failed logins from one address in a minute; 0: no bound. Default: 30.
    pub per_address_per_minute: u32,
    /// How long a session lasts, in minutes. Default: 480.
    pub session_minutes: u64,
    /// The file with the key of session cookies. Default: a random key.
    pub session_key_file: Option<PathBuf>,
    /// The hosts to which the login page may lead back. Default: none but its own.
    pub return_hosts: Vec<String>,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            max_failures: 3,
            window_seconds: 900,
            per_address_per_minute: 30,
            session_minutes: 480,
            session_key_file: None,
            return_hosts: Vec::new(),
        }
    }
}

impl LoginConfig {
    /// Returns how long a session lasts.
    pub fn session_time(&self) -> Duration {
        Duration::from_secs(self.session_minutes.saturating_mul(60)).min(FAR)
    }

    /// Returns the window in which wrong passwords count.
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds).min(FAR)
    }

    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Self, SettingsError> {
        let known = [
            "max_failures",
            "window_seconds",
            "per_address_per_minute",
            "session_minutes",
            "session_key_file",
            "return_hosts",
        ];
        let login: LoginConfig = parts::object(values, "login", &known)?.unwrap_or_default();
        let zero = [("window_seconds", login.window_seconds), ("session_minutes", login.session_minutes)];
        match zero.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => {
                Err(SettingsError::value(format!("login.{name}"), "0", "a whole number of at least 1"))
            }
            None => Ok(login),
        }
    }

    /// Returns the bounds of wrong passwords that are off, with what that means.
    pub(super) fn unbounded(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let off = [
            (self.max_failures, "login.max_failures", "wrong passwords of one user are not bounded"),
            (
                self.per_address_per_minute,
                "login.per_address_per_minute",
                "wrong passwords from one address are not bounded",
            ),
        ];
        off.into_iter().filter(|(most, _, _)| *most == 0).map(|(_, setting, effect)| (setting, effect))
    }
}

#[derive(Deserialize)]
struct RawUsers {
    base_dn: Option<String>,
    filter: Option<String>,
    #[serde(default)]
    login_attributes: Vec<String>,
    #[serde(default)]
    scim: Map<String, Value>,
}

#[derive(Deserialize)]
struct RawGroups {
    base_dn: Option<String>,
    filter: Option<String>,
    #[serde(default)]
    nested: Nested,
    #[serde(default)]
    scim: Map<String, Value>,
    #[serde(default)]
    unknown_members: UnknownMembers,
}

#[derive(Deserialize)]
struct RawRole {
    role: String,
    groups: Option<Vec<String>>,
    below: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

/// Returns the pairs of a `scim` part.
fn scim(path: &str, map: Map<String, Value>) -> Result<Vec<(String, String)>, SettingsError> {
    let pair = |(name, value): (String, Value)| match value {
        Value::String(attribute) if !attribute.trim().is_empty() => Ok((name, attribute)),
        _ => {
            Err(SettingsError::value(format!("{path}.{name}"), "not a text", "the name of an LDAP attribute"))
        }
    };
    let pairs: Vec<(String, String)> = map.into_iter().map(pair).collect::<Result<_, _>>()?;
    for (at, (name, attribute)) in pairs.iter().enumerate() {
        let is_same = |(_, other): &&(String, String)| other.eq_ignore_ascii_case(attribute);
        let mut before = pairs.iter().take(at).filter(|_| attribute != "none");
        // Of two, a change of one would be undone by the other.
        if let Some((other, _)) = before.find(is_same) {
            let problem = format!("`{attribute}` is the attribute of `{other}` already");
            return Err(SettingsError::value(
                format!("{path}.{name}"),
                problem,
                "an LDAP attribute of its own, or none",
            ));
        }
    }
    Ok(pairs)
}

/// Returns the attribute of one's own in which a `scim` part keeps `active`: TRUE, or FALSE for a disabled account.
pub(crate) fn active_attribute(scim: &[(String, String)]) -> Option<&str> {
    let is_active =
        |key: &str| key.rsplit(':').next().is_some_and(|name| name.eq_ignore_ascii_case("active"));
    let (_, attribute) = scim.iter().rev().find(|(key, _)| is_active(key))?;
    Some(attribute.as_str()).filter(|attribute| *attribute != "none")
}

impl UsersConfig {
    /// The login attribute unless others are given: of other directories, and of Active Directory.
    pub const USUAL_LOGIN_ATTRIBUTES: [&str; 2] = ["uid", "sAMAccountName"];

    /// Returns the attribute of one's own that marks disabled accounts by FALSE, beside the server's own mark.
    pub fn active_attribute(&self) -> Option<&str> {
        active_attribute(&self.scim)
    }

    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Self, SettingsError> {
        let known = ["base_dn", "filter", "login_attributes", "scim"];
        let Some(raw) = parts::object::<RawUsers>(values, "users", &known)? else {
            let expected =
                "an object with base_dn, for example {\"base_dn\": \"ou=people,dc=example,dc=com\"}";
            return Err(SettingsError::value("users", "not set", expected));
        };
        for (n, name) in raw.login_attributes.iter().enumerate() {
            if !is_attribute(name) {
                let setting = format!("users.login_attributes[{n}]");
                let expected = "the name of an LDAP attribute, for example uid";
                return Err(SettingsError::value(setting, format!("`{name}`"), expected));
            }
        }
        Ok(Self {
            base_dn: parts::dn("users.base_dn".into(), raw.base_dn)?,
            filter: parts::own_filter("users.filter", raw.filter, OwnFilter::users())?,
            login_attributes: raw.login_attributes,
            scim: scim("users.scim", raw.scim)?,
        })
    }
}

impl GroupsConfig {
    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Option<Self>, SettingsError> {
        let known = ["base_dn", "filter", "nested", "scim", "unknown_members"];
        let Some(raw) = parts::object::<RawGroups>(values, "groups", &known)? else { return Ok(None) };
        Ok(Some(Self {
            base_dn: parts::dn("groups.base_dn".into(), raw.base_dn)?,
            filter: parts::own_filter("groups.filter", raw.filter, OwnFilter::groups())?,
            nested: raw.nested,
            scim: scim("groups.scim", raw.scim)?,
            unknown_members: raw.unknown_members,
        }))
    }
}

impl RoleRule {
    pub(super) fn from_settings(
        values: &Map<String, Value>,
        has_groups: bool,
    ) -> Result<Vec<Self>, SettingsError> {
        let raw = parts::objects::<RawRole>(values, "roles", &["role", "groups", "below", "scopes"])?;
        if !raw.is_empty() && !has_groups {
            let problem = "not set, though roles are: they are found by the groups of a user";
            return Err(SettingsError::value("groups", problem, "an object with base_dn"));
        }
        raw.into_iter().map(|(path, raw)| raw.checked(&path)).collect()
    }
}

/// Whether a text is an attribute description.
fn is_attribute(text: &str) -> bool {
    Filter::Present(text.to_owned()).check().is_ok()
}

impl RawRole {
    fn checked(self, path: &str) -> Result<RoleRule, SettingsError> {
        let scopes = Scope::list(&format!("{path}.scopes"), &self.scopes)?;
        if self.role.trim() != self.role || self.role.contains(char::is_control) {
            let expected =
                "a name without blanks at its ends and control characters: what asks for a role has none";
            return Err(SettingsError::value(
                format!("{path}.role"),
                format!("`{}`", self.role.escape_debug()),
                expected,
            ));
        }
        let placeholder = self.role.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let role = match (placeholder, self.groups, self.below) {
            (None, Some(groups), None) if !groups.is_empty() && !self.role.trim().is_empty() => {
                let dn = |(n, dn): (usize, String)| parts::dn(format!("{path}.groups[{n}]"), Some(dn));
                let groups = groups.into_iter().enumerate().map(dn).collect::<Result<_, _>>()?;
                RoleName::Groups { role: self.role, groups }
            }
            (Some(attribute), None, Some(below)) if is_attribute(attribute) => RoleName::Below {
                attribute: attribute.to_owned(),
                below: parts::dn(format!("{path}.below"), Some(below))?,
            },
            _ => {
                let expected = "a name with `groups`, or an attribute in braces with `below`: {\"role\": \"{cn}\", \"below\": DN}";
                return Err(SettingsError::value(path, "not a rule for roles", expected));
            }
        };
        Ok(RoleRule { role, scopes })
    }
}
