//! The settings of a directory, resolved and checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use ldap_directory::client::tls::{self, TlsFile};
use ldap_directory::config::{InvalidUrl, TlsConfig, host_and_port};
use ldap_directory::secret::{self, Secret};
use ldap_directory::{Access, AuthMethod, Directory, DirectoryConfig, DirectoryError, Referrals, ServerUrl};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::operations::facts::Warning;
use crate::operations::observe::RunObserver;
use crate::operations::secret::learn;
use crate::plugin::settings::{SettingsError, typed};

impl From<InvalidUrl> for SettingsError {
    fn from(error: InvalidUrl) -> Self {
        let expected = "ldap://host:port, ldaps://host:port, ldapi://%2Fpath%2Fto%2Fsocket or ldif:PATH";
        SettingsError::value("server_url", error.problem, expected)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are the settings, as they are")]
struct Raw {
    server_url: Option<OneOrMany>,
    host: Option<String>,
    port: Option<u16>,
    use_ssl: bool,
    auth_method: Option<String>,
    bind_dn: Option<String>,
    bind_password: Option<Secret>,
    bind_password_file: Option<PathBuf>,
    start_tls: bool,
    tls_ca_file: Option<PathBuf>,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    tls_verify: bool,
    require_tls: bool,
    connect_timeout_seconds: u64,
    operation_timeout_seconds: u64,
    retry_attempts: u32,
    retry_max_wait_seconds: u64,
    page_size: u32,
    follow_referrals: Referrals,
    #[serde(default)]
    referral_hosts: Option<Vec<String>>,
    connection_pool_size: usize,
    #[serde(default)]
    secret_attributes: Vec<String>,
}

/// Opens a directory, and adds the secret attributes of its configuration and schema to the rule of this run. Warns if a file says
/// that it is not complete.
///
/// # Errors
/// As [`Directory::open`].
pub async fn open(config: &DirectoryConfig, access: Access) -> Result<Directory, DirectoryError> {
    let directory = Directory::open(config, access).await?;
    learn(&directory);
    warn_of_shortfalls(&directory, access);
    Ok(directory)
}

fn warn_of_shortfalls(directory: &Directory, access: Access) {
    let shortfalls = directory.shortfalls();
    let Some(first) = shortfalls.first() else { return };
    let more = match shortfalls.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    // A value that was cut would be kept.
    let consequence = match access {
        Access::Read => {
            "what is there is read, no ACTIVATE_VERSION is sent and nothing is deleted downstream"
        }
        Access::Write(_) => {
            "the run takes it for the directory as it is, and writes it anew: look at its end first"
        }
    };
    tracing::warn!(
        setting = "server_url",
        shortfalls = shortfalls.len(),
        "{} is not whole: {first}{more}; {consequence}",
        directory.location()
    );
}

/// Resolves the settings of a directory. `fallback` is used if no server is set. Warnings are for the log.
///
/// # Errors
/// A setting is missing, invalid, or contradicts another; a TLS file cannot be read.
pub fn directory_config(
    values: &Map<String, Value>,
    fallback: Option<ServerUrl>,
    warnings: &mut Vec<Warning>,
) -> Result<DirectoryConfig, SettingsError> {
    let raw: Raw = typed("(directory)", Value::Object(values.clone()))?;
    let servers = servers(&raw, fallback, warnings)?;
    let referral_hosts = raw.referral_hosts.clone().unwrap_or_default();
    if raw.follow_referrals == Referrals::Follow && referral_hosts.is_empty() {
        return Err(SettingsError::value(
            "referral_hosts",
            "empty or not set, though follow_referrals is `follow`",
            "the hosts that may be shown bind_dn and bind_password, as `host` or `host:port`",
        ));
    }
    if raw.follow_referrals != Referrals::Follow && !referral_hosts.is_empty() {
        let text = "`referral_hosts` is not used: follow_referrals is not `follow`";
        warnings.push(Warning::of_setting("referral_hosts", text));
    }
    let is_plain = |server: &ServerUrl| matches!(server, ServerUrl::Ldap { tls: false, .. });
    if raw.start_tls && !servers.iter().any(is_plain) {
        let text = "`start_tls` is not used: no server's URL begins with ldap://";
        warnings.push(Warning::of_setting("start_tls", text));
    }
    let auth = auth(&raw, &servers, warnings)?;
    let tls = tls_config(&raw, warnings)?;
    let config = DirectoryConfig::new(servers)
        .auth(auth)
        .tls(tls)
        .connect_timeout(Duration::from_secs(raw.connect_timeout_seconds))
        .operation_timeout(Duration::from_secs(raw.operation_timeout_seconds))
        .retry(raw.retry_attempts, Duration::from_secs(raw.retry_max_wait_seconds))
        .page_size(raw.page_size)
        .referrals(raw.follow_referrals, referral_hosts)
        .pool_size(raw.connection_pool_size)
        .secret_attributes(raw.secret_attributes)
        .observer(RunObserver);
    check_encryption(&config, raw.require_tls, warnings)?;
    Ok(config)
}

/// Resolves the settings of TLS. Its files are read now, before any connection.
fn tls_config(raw: &Raw, warnings: &mut Vec<Warning>) -> Result<TlsConfig, SettingsError> {
    let identity = match (&raw.tls_cert_file, &raw.tls_key_file) {
        (Some(cert), Some(key)) => {
            warnings.extend(
                secret::exposure(key)
                    .map(|said| Warning::of_setting("tls_key_file", format!("tls_key_file: {said}"))),
            );
            Some((cert.clone(), key.clone()))
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err(SettingsError::value("tls_key_file", "not set", "the key of tls_cert_file"));
        }
        (None, Some(_)) => {
            return Err(SettingsError::value("tls_cert_file", "not set", "the certificate of tls_key_file"));
        }
    };
    let config = TlsConfig::default()
        .start_tls(raw.start_tls)
        .ca_file(raw.tls_ca_file.clone())
        .identity(identity)
        .verify(raw.tls_verify);
    tls::check_files(&config).map_err(|e| {
        let setting = match e.file {
            TlsFile::Authorities => "tls_ca_file",
            TlsFile::Certificate => "tls_cert_file",
            TlsFile::Key => "tls_key_file",
        };
        SettingsError::value(setting, e.problem, "a file in PEM that can be read")
    })?;
    Ok(config)
}

/// Checks for a password in clear text to another machine: a warning, or an error if `require_tls` is set.
fn check_encryption(
    config: &DirectoryConfig,
    require_tls: bool,
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    if matches!(config.auth, AuthMethod::Simple { .. })
        && let Some(server) = config.unencrypted_servers().find(|s| s.leaves_this_machine())
    {
        let server = server.to_text();
        if require_tls {
            return Err(SettingsError::value(
                "require_tls",
                format!("the password would go to {server} in clear text"),
                "an ldaps:// URL, or start_tls: true",
            ));
        }
        let text = format!(
            "the password goes to {server} in clear text; use ldaps:// or start_tls, and set require_tls to make sure"
        );
        warnings.push(Warning::of_setting("require_tls", text));
    }
    Ok(())
}

fn servers(
    raw: &Raw,
    fallback: Option<ServerUrl>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<ServerUrl>, SettingsError> {
    let urls: Vec<&str> = match &raw.server_url {
        Some(OneOrMany::One(url)) => vec![url.as_str()],
        Some(OneOrMany::Many(urls)) => urls.iter().map(String::as_str).collect(),
        None => vec![],
    };
    if let (Some(host), true) = (&raw.host, urls.is_empty()) {
        let port = raw.port.unwrap_or(if raw.use_ssl { 636 } else { 389 });
        // IPv6 addresses are set without brackets.
        let bare: Result<std::net::Ipv6Addr, _> = host.parse();
        let bracketed = if bare.is_ok() { format!("[{host}]") } else { host.clone() };
        return match host_and_port(&bracketed) {
            Some((host, None)) if !bracketed.contains('/') => {
                Ok(vec![ServerUrl::Ldap { host, port, tls: raw.use_ssl }])
            }
            _ => Err(SettingsError::value(
                "host",
                // The text before an @ may be a password.
                format!(
                    "`{}` is no host name",
                    host.rsplit_once('@').map_or(host.as_str(), |(_, rest)| rest)
                ),
                "a name or an address alone; the port is the setting `port`, a URL is the setting `server_url`",
            )),
        };
    }
    if raw.use_ssl && urls.iter().any(|u| u.to_ascii_lowercase().starts_with("ldap:")) && !raw.start_tls {
        return Err(SettingsError::value(
            "use_ssl",
            "true, and server_url says ldap:// (clear text)",
            "an ldaps:// URL, or start_tls: true (use_ssl goes with `host`)",
        ));
    }
    if raw.host.is_some() || raw.port.is_some() {
        warnings.push(Warning::of_setting("host", "`host` and `port` are not used: server_url is set"));
    }
    if urls.is_empty() {
        return fallback.map(|f| vec![f]).ok_or_else(|| {
            SettingsError::value(
                "server_url",
                "not set",
                "where the directory is, for example ldap://ldap.example.com or ldif:people.ldif (or the setting host); the subcommand init asks for it and writes a configuration",
            )
        });
    }
    let servers = urls.into_iter().map(ServerUrl::parse).collect::<Result<Vec<_>, _>>()?;
    if servers.len() > 1 && servers.iter().any(|s| matches!(s, ServerUrl::Ldif(_))) {
        return Err(SettingsError::value("server_url", "a list with an LDIF file", "one LDIF file, alone"));
    }
    Ok(servers)
}

/// Checks that a bind method is built in: it needs a library of the system, so its feature is optional.
fn built(is_there: bool, feature: &str) -> Result<(), SettingsError> {
    if is_there {
        return Ok(());
    }
    Err(SettingsError::value(
        "auth_method",
        format!("`{feature}`, which this executable was built without"),
        format!(
            "one that was built with `--features {feature}` (cargo build --release --features {feature}; it needs the machine's libgssapi_krb5), or another auth_method"
        ),
    ))
}

/// Checks that a password is not without the name that it belongs to: an anonymous run sees less, and what it does not see would be gone. A
/// file has no users.
fn check_anonymous(
    raw: &Raw,
    servers: &[ServerUrl],
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    let has_name = raw.bind_dn.as_deref().is_some_and(|dn| !dn.trim().is_empty());
    let has_password = raw.bind_password.as_ref().is_some_and(|password| !password.reveal().is_empty());
    let set = if has_password {
        "bind_password"
    } else if raw.bind_password_file.is_some() {
        "bind_password_file"
    } else {
        "bind_dn"
    };
    if servers.iter().all(|server| matches!(server, ServerUrl::Ldif(_))) || !has_name && set == "bind_dn" {
        return Ok(());
    }
    if raw.auth_method.is_some() {
        let text = format!("`{set}` is not used: auth_method is `anonymous`");
        warnings.push(Warning::of_setting(set, text));
        return Ok(());
    }
    Err(SettingsError::value(
        "bind_dn",
        format!("empty or not set, though {set} is"),
        "the DN to bind as (or auth_method: anonymous, to read only what is public)",
    ))
}

fn auth(raw: &Raw, servers: &[ServerUrl], warnings: &mut Vec<Warning>) -> Result<AuthMethod, SettingsError> {
    if matches!(raw.auth_method.as_deref(), None | Some("anonymous"))
        && (raw.auth_method.is_some() || raw.bind_dn.as_deref().is_none_or(|dn| dn.trim().is_empty()))
    {
        return check_anonymous(raw, servers, warnings).map(|()| AuthMethod::Anonymous);
    }
    let mut simple = || -> Result<AuthMethod, SettingsError> {
        let dn = raw.bind_dn.clone().filter(|d| !d.trim().is_empty()).ok_or_else(|| {
            SettingsError::value("bind_dn", "empty or not set", "the DN to bind as (auth_method is simple)")
        })?;
        let password = match (&raw.bind_password, &raw.bind_password_file) {
            (Some(password), file) => {
                if file.is_some() {
                    let text =
                        "bind_password_file is not used: bind_password is set, too; leave one of them out";
                    warnings.push(Warning::of_setting("bind_password_file", text));
                }
                password.clone()
            }
            (None, Some(path)) => {
                warnings.extend(secret::exposure(path).map(|said| {
                    Warning::of_setting("bind_password_file", format!("bind_password_file: {said}"))
                }));
                Secret::from_file(path).map_err(|e| {
                    // A single word may be the password itself.
                    let is_path = path.components().count() > 1;
                    let file = if is_path { path.display().to_string() } else { "the file".to_owned() };
                    SettingsError::value(
                        "bind_password_file",
                        format!("{file}: {e}"),
                        "a readable file with the password",
                    )
                })?
            }
            (None, None) => Secret::new(""),
        };
        // RFC 4513 section 5.1.2: a simple bind with an empty password is unauthenticated, and succeeds on many servers.
        if password.reveal().is_empty() {
            return Err(SettingsError::value(
                "bind_password",
                "empty or not set, though bind_dn is",
                "the password (or bind_password_file, or auth_method anonymous)",
            ));
        }
        Ok(AuthMethod::Simple { dn, password })
    };
    match raw.auth_method.as_deref() {
        Some("external") => Ok(AuthMethod::External),
        Some("gssapi") => built(cfg!(feature = "gssapi"), "gssapi").map(|()| AuthMethod::Gssapi),
        Some("ntlm") => {
            built(cfg!(feature = "ntlm"), "ntlm")?;
            let AuthMethod::Simple { dn, password } = simple()? else { return Ok(AuthMethod::Anonymous) };
            Ok(AuthMethod::Ntlm { user: dn, password })
        }
        _ => simple(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolved(settings: &Value) -> Result<(DirectoryConfig, Vec<Warning>), SettingsError> {
        const TABLE: crate::plugin::settings::Table =
            crate::plugin::settings::Table { prefix: "TAP_LDAP", own: &[], without: &[] };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), settings.to_string()).unwrap();
        let mut resolved = TABLE.resolve(&[file.path().display().to_string()], &[].into())?;
        directory_config(&resolved.values, None, &mut resolved.warnings)
            .map(|config| (config, resolved.warnings))
    }

    fn with_password(more: &Value) -> Value {
        let mut settings = json!({"bind_dn": "cn=etl,dc=example,dc=com", "bind_password": "hunter2"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    }

    #[test]
    fn clear_text_password_is_a_warning_or_with_require_tls_an_error() {
        for (more, clear) in [
            (json!({"server_url": "ldap://ldap.example.com"}), true),
            (json!({"host": "ldap.example.com"}), true),
            (json!({"server_url": ["ldaps://a.example.com", "ldap://b.example.com"]}), true),
            (json!({"server_url": "ldap://ldap.example.com", "start_tls": true}), false),
            (json!({"server_url": "ldaps://ldap.example.com"}), false),
            (json!({"host": "ldap.example.com", "use_ssl": true}), false),
            (json!({"server_url": "ldap://127.0.0.1"}), false),
            (json!({"server_url": "ldapi://%2Frun%2Fldapi"}), false),
            (json!({"server_url": "ldap://ldap.example.com", "auth_method": "anonymous"}), false),
        ] {
            let mut settings = with_password(&more);
            let (config, warnings) = resolved(&settings).unwrap();
            let unused = more["auth_method"] == "anonymous";
            assert_eq!(warnings.len(), usize::from(clear || unused), "{more}: {warnings:?}");
            assert!(
                warnings
                    .iter()
                    .all(|w| w.text.contains("require_tls") == clear && !w.text.contains("hunter2")),
                "{warnings:?}"
            );
            assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
            settings["require_tls"] = json!(true);
            match resolved(&settings) {
                Ok((_, warnings)) => {
                    assert!(!clear && warnings.len() == usize::from(unused), "{more}: {warnings:?}");
                }
                Err(e) => assert!(clear && e.to_string().contains("setting `require_tls`"), "{more}: {e}"),
            }
        }
    }

    #[test]
    fn bind_dn_without_a_password_is_an_error() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(empty.path(), "\n").unwrap();
        for more in [
            json!({"bind_password": null}),
            json!({"bind_password": ""}),
            json!({"bind_password": null, "bind_password_file": empty.path()}),
        ] {
            let mut settings = with_password(&more);
            settings["server_url"] = json!("ldaps://ldap.example.com");
            let error = resolved(&settings).unwrap_err().to_string();
            assert!(error.contains("setting `bind_password`"), "{error}");
            settings["auth_method"] = json!("anonymous");
            assert_eq!(resolved(&settings).unwrap().0.auth, AuthMethod::Anonymous);
        }
    }
    #[test]
    fn a_password_without_bind_dn_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        for name in [json!({}), json!({"bind_dn": null}), json!({"bind_dn": ""}), json!({"bind_dn": " "})] {
            for password in [json!({"bind_password": "hunter2"}), json!({"bind_password_file": file.path()})]
            {
                let mut settings = json!({"server_url": "ldaps://ldap.example.com"});
                settings.as_object_mut().unwrap().extend(name.as_object().unwrap().clone());
                settings.as_object_mut().unwrap().extend(password.as_object().unwrap().clone());
                let error = resolved(&settings).unwrap_err().to_string();
                assert!(error.contains("setting `bind_dn`") && !error.contains("hunter2"), "{error}");
                settings["auth_method"] = json!("simple");
                assert!(resolved(&settings).is_err(), "{settings}");
                for method in ["anonymous", "external"] {
                    settings["auth_method"] = json!(method);
                    let (config, warnings) = resolved(&settings).unwrap();
                    assert_eq!(config.auth == AuthMethod::Anonymous, method == "anonymous");
                    assert_eq!(warnings.len(), usize::from(method == "anonymous"), "{warnings:?}");
                }
                settings["auth_method"] = json!(null);
                settings["server_url"] = json!("ldif:people.ldif");
                assert_eq!(resolved(&settings).unwrap().0.auth, AuthMethod::Anonymous);
            }
        }
        let anonymous = json!({"server_url": "ldaps://ldap.example.com", "bind_password": ""});
        assert!(resolved(&anonymous).unwrap().1.is_empty());
    }
}
