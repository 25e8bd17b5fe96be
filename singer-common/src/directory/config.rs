//! The settings of a directory, resolved from the settings' values and checked against each other.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ldap::tls;
use crate::facts::Warning;
use crate::secret::{self, Secret};
use crate::settings::{SettingsError, typed};

/// Where a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerUrl {
    /// `ldap://host:port`.
    Ldap {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
        /// TLS from the first byte: `ldaps://`.
        tls: bool,
    },
    /// `ldapi://` and the path of a socket, decoded.
    Ldapi(String),
    /// `ldif:PATH`.
    Ldif(PathBuf),
}

impl ServerUrl {
    /// Reads a URL as the setting `server_url` takes it.
    pub fn parse(text: &str) -> Result<ServerUrl, SettingsError> {
        let fail = |problem: String| {
            SettingsError::value(
                "server_url",
                problem,
                "ldap://host:port, ldaps://host:port, ldapi://%2Fpath%2Fto%2Fsocket or ldif:PATH",
            )
        };
        if let Some(path) = text.strip_prefix("ldif:") {
            if path.is_empty() {
                return Err(fail("`ldif:` without a path".into()));
            }
            return Ok(ServerUrl::Ldif(PathBuf::from(path)));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| fail(format!("`{text}` is not a URL of a directory")))?;
        let authority = rest.trim_end_matches('/');
        match scheme.to_ascii_lowercase().as_str() {
            "ldapi" => {
                let path = percent_encoding::percent_decode_str(authority)
                    .decode_utf8()
                    .map_err(|_| fail(format!("the path in `{text}` is not UTF-8")))?;
                if path.is_empty() {
                    return Err(fail("`ldapi://` without the path of a socket".into()));
                }
                Ok(ServerUrl::Ldapi(path.into_owned()))
            }
            scheme @ ("ldap" | "ldaps") => {
                if authority.contains('@') {
                    return Err(fail(
                        "credentials do not belong into the URL (use bind_dn and bind_password)".into(),
                    ));
                }
                if authority.contains(['/', '?', '#']) {
                    return Err(fail(format!("`{text}` has a path (the base DN is the setting base_dn)")));
                }
                let tls = scheme == "ldaps";
                let (host, port) = host_and_port(authority)
                    .ok_or_else(|| fail(format!("`{text}` has no valid host and port")))?;
                Ok(ServerUrl::Ldap { host, port: port.unwrap_or(if tls { 636 } else { 389 }), tls })
            }
            other => Err(fail(format!("unknown scheme `{other}`"))),
        }
    }

    /// The URL as text.
    pub fn to_text(&self) -> String {
        match self {
            ServerUrl::Ldap { host, port, tls } => {
                let scheme = if *tls { "ldaps" } else { "ldap" };
                if host.contains(':') {
                    format!("{scheme}://[{host}]:{port}")
                } else {
                    format!("{scheme}://{host}:{port}")
                }
            }
            ServerUrl::Ldapi(path) => {
                format!(
                    "ldapi://{}",
                    percent_encoding::utf8_percent_encode(path, percent_encoding::NON_ALPHANUMERIC)
                )
            }
            ServerUrl::Ldif(path) => format!("ldif:{}", path.display()),
        }
    }

    /// Whether what is sent there leaves this machine.
    pub fn leaves_this_machine(&self) -> bool {
        match self {
            ServerUrl::Ldap { host, .. } => {
                host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            ServerUrl::Ldapi(_) | ServerUrl::Ldif(_) => false,
        }
    }
}

fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, after.strip_prefix(':').or(if after.is_empty() { Some("") } else { None })?)
    } else {
        authority.split_once(':').unwrap_or((authority, ""))
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|p| *p != 0)?) };
    Some((host.to_owned(), port))
}

/// How to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthMethod {
    /// A DN and a password.
    Simple {
        /// Who.
        dn: String,
        /// The proof.
        password: Secret,
    },
    /// Nobody in particular.
    Anonymous,
    /// SASL EXTERNAL: the client certificate, or the peer of an `ldapi` socket.
    External,
    /// SASL GSSAPI (RFC 4752): the Kerberos ticket of whoever runs this.
    Gssapi,
    /// NTLM in SASL GSS-SPNEGO ([MS-NLMP], [MS-ADTS] 5.1.1.1.2).
    Ntlm {
        /// `DOMAIN\user` or `user@domain`.
        user: String,
        /// The proof.
        password: Secret,
    },
}

impl AuthMethod {
    /// Whether what goes over the connection is encrypted once bound, where TLS does not do it.
    pub fn seals(&self) -> bool {
        matches!(self, AuthMethod::Gssapi | AuthMethod::Ntlm { .. })
    }
}

/// What to do with a referral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Referrals {
    /// Count it and warn once.
    Ignore,
    /// Ask the server that it names, where that is one of `referral_hosts`; ignore the others.
    Follow,
    /// End with an error.
    Fail,
}

/// TLS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// StartTLS on `ldap://`.
    pub start_tls: bool,
    /// Authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Check the server's certificate.
    pub verify: bool,
}

/// Everything needed to open a directory.
#[derive(Debug, Clone)]
pub struct DirectoryConfig {
    /// At least one; tried in order. An LDIF file stands alone.
    pub servers: Vec<ServerUrl>,
    /// How to bind.
    pub auth: AuthMethod,
    /// TLS.
    pub tls: TlsConfig,
    /// Per connection.
    pub connect_timeout: Duration,
    /// Per operation.
    pub operation_timeout: Duration,
    /// How often connecting is tried again.
    pub retry_attempts: u32,
    /// The longest pause between attempts.
    pub retry_max_wait: Duration,
    /// Entries per page, 0 for unpaged.
    pub page_size: u32,
    /// What to do with referrals.
    pub referrals: Referrals,
    /// With [`Referrals::Follow`]: the hosts that get to see the credentials, by name, or by name and port.
    pub referral_hosts: Vec<String>,
    /// The most connections open at once.
    pub pool_size: usize,
    /// Attributes whose values are never to be shown, beside those known.
    pub secret_attributes: Vec<String>,
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

/// The default of `page_size`: where pages begin that may grow.
pub(super) const DEFAULT_PAGE_SIZE: u32 = 1000;

impl DirectoryConfig {
    /// Resolves the settings. `fallback` is the destination when no server is given at all. Warnings are for the log.
    pub fn from_settings(
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
        let auth = auth(&raw, warnings)?;
        let identity = match (raw.tls_cert_file, raw.tls_key_file) {
            (Some(cert), Some(key)) => {
                warnings.extend(
                    secret::exposure(&key)
                        .map(|said| Warning::of_setting("tls_key_file", format!("tls_key_file: {said}"))),
                );
                Some((cert, key))
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(SettingsError::value("tls_key_file", "not set", "the key of tls_cert_file"));
            }
            (None, Some(_)) => {
                return Err(SettingsError::value(
                    "tls_cert_file",
                    "not set",
                    "the certificate of tls_key_file",
                ));
            }
        };
        let tls = TlsConfig {
            start_tls: raw.start_tls,
            ca_file: raw.tls_ca_file,
            identity,
            verify: raw.tls_verify,
        };
        // Found out now, and not when a server is there to be asked.
        tls::check_files(&tls)
            .map_err(|e| SettingsError::value(e.setting, e.problem, "a file in PEM that can be read"))?;
        if matches!(auth, AuthMethod::Simple { .. })
            && let Some(server) = unencrypted(&servers, raw.start_tls).find(|s| s.leaves_this_machine())
        {
            let server = server.to_text();
            if raw.require_tls {
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
        Ok(DirectoryConfig {
            servers,
            auth,
            tls,
            connect_timeout: Duration::from_secs(raw.connect_timeout_seconds),
            operation_timeout: Duration::from_secs(raw.operation_timeout_seconds),
            retry_attempts: raw.retry_attempts,
            retry_max_wait: Duration::from_secs(raw.retry_max_wait_seconds),
            page_size: raw.page_size,
            referrals: raw.follow_referrals,
            referral_hosts,
            pool_size: raw.connection_pool_size,
            secret_attributes: raw.secret_attributes,
        })
    }
}

impl DirectoryConfig {
    /// The servers to which what is sent is not encrypted: neither TLS nor `ldapi://`. Loopback is among them.
    pub fn unencrypted_servers(&self) -> impl Iterator<Item = &ServerUrl> {
        unencrypted(&self.servers, self.tls.start_tls).filter(|_| !self.auth.seals())
    }
}

fn unencrypted(servers: &[ServerUrl], start_tls: bool) -> impl Iterator<Item = &ServerUrl> {
    servers.iter().filter(move |s| matches!(s, ServerUrl::Ldap { tls: false, .. }) && !start_tls)
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
        // An address of IPv6 is given without brackets here.
        let bare: Result<std::net::Ipv6Addr, _> = host.parse();
        let bracketed = if bare.is_ok() { format!("[{host}]") } else { host.clone() };
        return match host_and_port(&bracketed) {
            Some((host, None)) if !bracketed.contains('/') => {
                Ok(vec![ServerUrl::Ldap { host, port, tls: raw.use_ssl }])
            }
            _ => Err(SettingsError::value(
                "host",
                // What stands before an @ may be a password.
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

/// A method that needs a library of the machine's is built only where that is wanted.
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

fn auth(raw: &Raw, warnings: &mut Vec<Warning>) -> Result<AuthMethod, SettingsError> {
    let mut simple = || -> Result<AuthMethod, SettingsError> {
        let dn = raw.bind_dn.clone().filter(|d| !d.is_empty()).ok_or_else(|| {
            SettingsError::value("bind_dn", "not set", "the DN to bind as (auth_method is simple)")
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
                    // One word may well be the password itself.
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
        // RFC 4513 section 5.1.2: a DN with an empty password succeeds on many servers, as nobody.
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
        Some("anonymous") => Ok(AuthMethod::Anonymous),
        Some("external") => Ok(AuthMethod::External),
        Some("gssapi") => built(cfg!(feature = "gssapi"), "gssapi").map(|()| AuthMethod::Gssapi),
        Some("ntlm") => {
            built(cfg!(feature = "ntlm"), "ntlm")?;
            let AuthMethod::Simple { dn, password } = simple()? else { return Ok(AuthMethod::Anonymous) };
            Ok(AuthMethod::Ntlm { user: dn, password })
        }
        Some("simple") => simple(),
        _ if raw.bind_dn.as_deref().is_some_and(|d| !d.is_empty()) => simple(),
        _ => Ok(AuthMethod::Anonymous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_are_read_and_written() {
        for (text, again) in [
            ("ldap://a.example", "ldap://a.example:389"),
            ("LDAPS://a.example/", "ldaps://a.example:636"),
            ("ldap://[::1]:1389", "ldap://[::1]:1389"),
            ("ldapi://%2Frun%2Fldapi", "ldapi://%2Frun%2Fldapi"),
            ("ldif:out/people.ldif", "ldif:out/people.ldif"),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().to_text(), again);
        }
        for text in [
            "a.example",
            "http://a",
            "ldap://",
            "ldap://a:0",
            "ldap://a:x",
            "ldap://u:p@a",
            "ldap://a/dc=x",
            "ldif:",
            "ldapi://",
        ] {
            let error = ServerUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains("server_url"), "{text}: {error}");
        }
    }

    fn resolved(settings: &Value) -> Result<(DirectoryConfig, Vec<Warning>), SettingsError> {
        const TABLE: crate::settings::Table = crate::settings::Table { prefix: "TAP_LDAP", own: &[] };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), settings.to_string()).unwrap();
        let mut resolved = TABLE.resolve(&[file.path().display().to_string()], &[].into())?;
        DirectoryConfig::from_settings(&resolved.values, None, &mut resolved.warnings)
            .map(|config| (config, resolved.warnings))
    }

    fn with_password(more: &Value) -> Value {
        let mut settings = json!({"bind_dn": "cn=etl,dc=example,dc=com", "bind_password": "hunter2"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    }

    #[test]
    fn a_password_in_clear_text_is_warned_of_and_with_require_tls_refused() {
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
            assert_eq!(warnings.len(), usize::from(clear), "{more}: {warnings:?}");
            assert!(
                warnings.iter().all(|w| w.text.contains("require_tls") && !w.text.contains("hunter2")),
                "{warnings:?}"
            );
            assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
            settings["require_tls"] = json!(true);
            match resolved(&settings) {
                Ok((_, warnings)) => assert!(!clear && warnings.is_empty(), "{more}: {warnings:?}"),
                Err(e) => assert!(clear && e.to_string().contains("setting `require_tls`"), "{more}: {e}"),
            }
        }
    }

    #[test]
    fn a_dn_without_a_password_is_refused_before_it_becomes_nobody() {
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
    fn loopback_stays_here() {
        for (text, leaves) in [
            ("ldap://localhost", false),
            ("ldap://127.0.0.9:3", false),
            ("ldap://[::1]", false),
            ("ldap://192.0.2.1", true),
            ("ldap://localhost.example", true),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().leaves_this_machine(), leaves, "{text}");
        }
    }
}
