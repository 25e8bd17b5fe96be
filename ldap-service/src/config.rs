//! The service's configuration: the settings, parsed and checked before the first connection is accepted.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use ldap_directory::{AuthMethod, DirectoryConfig};
use serde_json::{Map, Value};
use singer_common::operations::facts::Warning;
use singer_common::plugin::directory_settings::directory_config;
use singer_common::plugin::settings::SettingsError;
use target_ldap::config::protection::ProtectionSettings;

mod algorithm;
mod callers;
mod exposed;
mod listener;
mod never;
mod own_filter;
mod parts;
mod people;
mod secret;

pub use algorithm::Algorithm;
pub use callers::{ApiToken, CertificateMatch, ClientCertificate, JwtConfig, Scope};
pub(crate) use callers::{is_loopback, provider_url};
pub use listener::ListenTls;
pub use own_filter::OwnFilter;
pub(crate) use people::active_attribute;
pub use people::{GroupsConfig, LoginConfig, Nested, RoleName, RoleRule, UnknownMembers, UsersConfig};

/// The longest pause before the directory is tried again while a caller waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often an operation is tried again while a caller waits; without an attempt, a lost connection would stay lost.
const MOST_ATTEMPTS: u32 = 2;

/// Longer times are as this one: the sum with the present must be a time.
const FAR: Duration = Duration::from_secs(100 * 366 * 86_400);

/// The service's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory.
    pub directory: DirectoryConfig,
    /// The address of the service.
    pub listen: SocketAddr,
    /// The URL of the service for its clients, without a slash at its end.
    pub public_url: Option<String>,
    /// TLS of the service; `None`: without.
    pub tls: Option<ListenTls>,
    /// Proxies whose headers about the client are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the service has the routes of login.
    pub auth_enabled: bool,
    /// The users.
    pub users: UsersConfig,
    /// The groups, if they are set.
    pub groups: Option<GroupsConfig>,
    /// Roles by group.
    pub roles: Vec<RoleRule>,
    /// Limits of logins and sessions.
    pub login: LoginConfig,
    /// Bearer tokens of an identity provider, if they are accepted.
    pub jwt: Option<JwtConfig>,
    /// Programs with a token.
    pub api_tokens: Vec<ApiToken>,
    /// Programs with a client certificate.
    pub client_certificates: Vec<ClientCertificate>,
    /// Changes; `None`: nothing is written.
    pub write: Option<WriteConfig>,
    /// Bounds of a request.
    pub limits: Limits,
}

/// The setting `write`.
#[derive(Debug, Clone)]
pub struct WriteConfig {
    /// Rules in the form of target-ldap, for `users` and `groups`. An empty rule means the default one.
    pub mapping_rules: Map<String, Value>,
    /// The most deletions in an hour. Default: 10.
    pub max_deletes: u64,
    /// The folder of the files that undo what was done.
    pub undo_dir: std::path::PathBuf,
    /// What is never changed.
    pub protection: ProtectionSettings,
}

/// The setting `limits`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The most entries in an answer. Default: 1,000.
    pub count: u32,
    /// The most octets of a request's body, other than an import. Default: 1 MiB.
    pub request_bytes: usize,
    /// The longest time of a request, in seconds, other than an import or export. Default: 10.
    pub request_seconds: u64,
    /// The most requests at work; further ones wait. Default: 64.
    pub concurrent: usize,
    /// The most open connections. Default: 1,024.
    pub connections: usize,
    /// The most comparisons in a filter. Default: 64.
    pub filter_terms: usize,
    /// The most octets of a header that the service makes. Default: 4,096.
    pub header_bytes: usize,
    /// The most octets of an import. Default: 1 GiB.
    pub import_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            count: 1000,
            request_bytes: 1 << 20,
            request_seconds: 10,
            concurrent: 64,
            connections: 1024,
            filter_terms: 64,
            header_bytes: 4096,
            import_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// Returns the longest time of a request.
    pub fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_seconds).min(FAR)
    }

    const KEYS: &'static [&'static str] = &[
        "count",
        "request_bytes",
        "request_seconds",
        "concurrent",
        "connections",
        "filter_terms",
        "header_bytes",
        "import_bytes",
    ];

    fn check(&self) -> Result<(), SettingsError> {
        let zero = [
            ("count", self.count == 0),
            ("request_bytes", self.request_bytes == 0),
            ("request_seconds", self.request_seconds == 0),
            ("concurrent", self.concurrent == 0),
            ("connections", self.connections == 0),
            ("filter_terms", self.filter_terms == 0),
            ("header_bytes", self.header_bytes == 0),
            ("import_bytes", self.import_bytes == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => {
                Err(SettingsError::value(format!("limits.{name}"), "0", "a whole number of at least 1"))
            }
            None => Ok(()),
        }
    }
}

#[derive(serde::Deserialize)]
struct RawWrite {
    #[serde(default)]
    mapping_rules: Map<String, Value>,
    #[serde(default = "ten")]
    max_deletes: u64,
    undo_dir: Option<std::path::PathBuf>,
}

fn ten() -> u64 {
    10
}

impl WriteConfig {
    fn from_settings(values: &Map<String, Value>) -> Result<Option<Self>, SettingsError> {
        let known = [&["mapping_rules", "max_deletes", "undo_dir"][..], &ProtectionSettings::NAMES].concat();
        let Some(raw) = parts::object::<RawWrite>(values, "write", &known)? else {
            return Ok(None);
        };
        let own = values.get("write").and_then(Value::as_object).cloned().unwrap_or_default();
        let protection = ProtectionSettings::parse(&own, "write.")?;
        for (stream, rule) in &raw.mapping_rules {
            let setting = format!("write.mapping_rules.{stream}");
            if !["users", "groups"].contains(&stream.as_str()) {
                let near = ldap_directory::nearest::nearest(stream, ["users", "groups"].into_iter());
                return Err(
                    SettingsError::value(setting, "not one of the service's", "users or groups").near(near)
                );
            }
            if !rule.is_object() {
                return Err(SettingsError::value(
                    setting,
                    "not an object",
                    "a rule as of target-ldap, or {}",
                ));
            }
        }
        let undo_dir = raw.undo_dir.clone().filter(|dir| !dir.as_os_str().is_empty()).ok_or_else(|| {
            let problem = "not set: what the service changes could not be undone";
            SettingsError::value(
                "write.undo_dir",
                problem,
                "a folder, for example /var/lib/ldap-service/undo",
            )
        })?;
        let RawWrite { mapping_rules, max_deletes, .. } = raw;
        Ok(Some(Self { mapping_rules, max_deletes, undo_dir, protection }))
    }
}

/// Checks for passwords of users in clear text to another machine, however the service itself binds: the encryption of its own Kerberos
/// bind does not cover theirs. (A simple bind of the service is checked with the directory's settings.)
fn check_encryption(
    directory: &DirectoryConfig,
    values: &Map<String, Value>,
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    if matches!(directory.auth, AuthMethod::Simple { .. }) {
        return Ok(());
    }
    let of_users = directory.clone().auth(AuthMethod::Anonymous);
    let Some(server) = of_users.unencrypted_servers().find(|server| server.leaves_this_machine()) else {
        return Ok(());
    };
    let server = server.to_text();
    if values.get("require_tls").and_then(Value::as_bool) == Some(true) {
        let problem = format!("the passwords of users would go to {server} in clear text");
        let expected = "an ldaps:// URL, or start_tls: true; or auth_enabled: false";
        return Err(SettingsError::value("require_tls", problem, expected));
    }
    let text = format!(
        "the passwords of users who log in go to {server} in clear text; use ldaps:// or start_tls, and set require_tls to make sure"
    );
    warnings.push(Warning::of_setting("require_tls", text));
    Ok(())
}

impl Config {
    /// Builds the configuration from the resolved settings. Warnings are for the log.
    ///
    /// # Errors
    /// A value is missing or not valid, values exclude each other, or a file cannot be read.
    pub fn from_settings(
        values: &Map<String, Value>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Config, SettingsError> {
        let mut directory = directory_config(values, None, warnings)?;
        directory.retry_max_wait = directory.retry_max_wait.min(LONGEST_PAUSE);
        directory.retry_attempts = directory.retry_attempts.clamp(1, MOST_ATTEMPTS);
        let auth_enabled = values.get("auth_enabled").and_then(Value::as_bool).unwrap_or(true);
        if auth_enabled {
            check_encryption(&directory, values, warnings)?;
        }
        let limits = parts::object::<Limits>(values, "limits", Limits::KEYS)?.unwrap_or_default();
        limits.check()?;
        // The library must see that nothing comes before the request ends: it then gives the connection up.
        directory.connect_timeout = directory.connect_timeout.min(limits.request_time() / 2);
        directory.operation_timeout = directory.operation_timeout.min(limits.request_time() / 2);
        let groups = GroupsConfig::from_settings(values)?;
        let roles = RoleRule::from_settings(values, groups.is_some())?;
        let users = UsersConfig::from_settings(values)?;
        secret::check(&directory.secret_attributes, &users, groups.as_ref(), &roles)?;
        let tls = ListenTls::from_settings(values)?;
        let client_certificates = ClientCertificate::from_settings(values, tls.as_ref())?;
        let listen = listener::address(values)?;
        if tls.is_none() && !listen.ip().is_loopback() {
            let text = "setting `listen`: passwords and tokens pass without TLS on an address beyond this machine; set listen_cert_file, or let only a proxy with TLS reach it";
            warnings.push(Warning::of_setting("listen", text));
        }
        let login = LoginConfig::from_settings(values)?;
        for (setting, effect) in login.unbounded() {
            warnings.push(Warning::of_setting(setting, format!("setting `{setting}` is 0: {effect}")));
        }
        let config = Config {
            directory,
            listen,
            public_url: listener::public_url(values)?,
            tls,
            trusted_proxies: listener::proxies(values)?,
            auth_enabled,
            users,
            groups,
            roles,
            login,
            jwt: JwtConfig::from_settings(values)?,
            api_tokens: ApiToken::from_settings(values)?,
            client_certificates,
            write: WriteConfig::from_settings(values)?,
            limits,
        };
        never::check(&config, warnings)?;
        exposed::check(&config, values, warnings);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(more: &Value) -> Map<String, Value> {
        let resolved = crate::settings::TABLE.resolve(&[], &std::collections::BTreeMap::new()).unwrap();
        let mut values = resolved.values;
        values.insert("server_url".into(), json!("ldap://localhost"));
        values.insert("users".into(), json!({"base_dn": "ou=people,dc=example,dc=com"}));
        values.extend(more.as_object().unwrap().clone());
        values
    }

    fn fault(more: &Value) -> String {
        let error = Config::from_settings(&settings(more), &mut Vec::new()).unwrap_err();
        match error {
            SettingsError::Value { setting, .. } => setting,
            other @ SettingsError::File { .. } => other.to_string(),
        }
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = Config::from_settings(&settings(&json!({})), &mut Vec::new()).unwrap();
        assert_eq!(config.limits.count, 1000);
        assert_eq!(config.login.max_failures, 3);
        assert!(config.auth_enabled);
        assert!(config.write.is_none());
    }

    #[test]
    fn the_greatest_numbers_are_limits_too() {
        let (time, count) = (json!({"request_seconds": u64::MAX, "concurrent": usize::MAX}), u64::MAX);
        let login = json!({"window_seconds": count, "session_minutes": count});
        let config =
            Config::from_settings(&settings(&json!({"limits": time, "login": login})), &mut Vec::new())
                .unwrap();
        assert!(tokio::time::Instant::now().checked_add(config.limits.request_time()).is_some());
        let _ = crate::gate::Gate::new(&config.limits);
        let _ = crate::login::Login::new(&config.login, None);
        let _ = crate::sessions::Sessions::new(&config.login, None).unwrap();
    }

    #[test]
    fn passwords_of_users_in_clear_text_are_warned_of_or_refused() {
        let warned = |more: Value| {
            let mut warnings = Vec::new();
            let config = Config::from_settings(&settings(&more), &mut warnings);
            config.map(|_| warnings.len())
        };
        let far = "ldap://ldap.example.com";
        assert_eq!(warned(json!({})).unwrap(), 0);
        assert_eq!(warned(json!({"login": {"max_failures": 0, "per_address_per_minute": 0}})).unwrap(), 2);
        assert_eq!(warned(json!({"server_url": far})).unwrap(), 1);
        assert_eq!(warned(json!({"server_url": far, "auth_enabled": false})).unwrap(), 0);
        assert_eq!(warned(json!({"server_url": far, "start_tls": true})).unwrap(), 0);
        assert_eq!(warned(json!({"server_url": "ldaps://ldap.example.com"})).unwrap(), 0);
        let simple = json!({"server_url": far, "bind_dn": "cn=a,dc=x", "bind_password": "b"});
        assert_eq!(warned(simple).unwrap(), 1, "once");
        assert_eq!(fault(&json!({"server_url": far, "require_tls": true})), "require_tls");
    }

    #[test]
    fn a_wrong_part_is_named() {
        for (more, setting) in [
            (json!({"users": {"base": "dc=x"}}), "users.base"),
            (json!({"users": {"base_dn": "no dn"}}), "users.base_dn"),
            (json!({"users": {"base_dn": "dc=x", "filter": "(uid="}}), "users.filter"),
            (
                json!({"users": {"base_dn": "dc=x", "login_attributes": ["uid", "a)("]}}),
                "users.login_attributes[1]",
            ),
            (json!({"limits": {"count": 0}}), "limits.count"),
            (json!({"login": {"window_seconds": 0}}), "login.window_seconds"),
            (json!({"login": {"session_minutes": 0}}), "login.session_minutes"),
            (json!({"trusted_proxies": ["10.0.0.0/33"]}), "trusted_proxies[0]"),
            (json!({"write": {"mapping_rules": {}}}), "write.undo_dir"),
            (
                json!({"write": {"undo_dir": "/tmp", "mapping_rules": {"user": {}}}}),
                "write.mapping_rules.user",
            ),
            (
                json!({"jwt": {"issuer": "https://a", "audience": "b", "algorithms": ["HS256"]}}),
                "jwt.algorithms[0]",
            ),
            (
                json!({"jwt": {"issuer": "https://a", "audience": "b", "algorithms": ["none"]}}),
                "jwt.algorithms[0]",
            ),
            (
                json!({"api_tokens": [{"name": "a", "scopes": ["scim.raed"], "sha256": "ab".repeat(32)}]}),
                "api_tokens[0].scopes[0]",
            ),
            (json!({"roles": [{"role": "admin", "groups": ["cn=a"]}]}), "groups"),
            (json!({"listen": "localhost"}), "listen"),
        ] {
            assert_eq!(fault(&more), setting, "{more}");
        }
    }
}
