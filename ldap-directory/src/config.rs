//! The configuration of a directory: servers, bind, TLS and limits, with their defaults.

mod check;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use check::InvalidConfig;

use crate::client::tls::Built;
use crate::client::{OwnPassword, RefusedBinds};
use crate::observer::{Observer, Observing};
use crate::secret::Secret;

/// The location of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerUrl {
    /// `ldap://host:port`.
    Ldap {
        /// The host name or address; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether the connection begins with TLS: `ldaps://`.
        tls: bool,
    },
    /// `ldapi://` and the decoded path of a Unix socket.
    Ldapi(String),
    /// `ldif:PATH`.
    Ldif(PathBuf),
}

/// Why a text is not the URL of a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidUrl {
    /// What is wrong. It never contains a password of the URL.
    pub problem: String,
}

impl ServerUrl {
    /// Parses `ldap://host:port`, `ldaps://host:port`, `ldapi://%2Fpath%2Fto%2Fsocket` or `ldif:PATH`. The default port is 389,
    /// or 636 with TLS.
    ///
    /// # Errors
    /// Fails if the text is not one of these forms, or has a base DN (which belongs into the request) or credentials.
    ///
    /// ```
    /// use ldap_directory::ServerUrl;
    ///
    /// let url = ServerUrl::parse("ldaps://ldap.example.com")?;
    /// assert_eq!(url.to_text(), "ldaps://ldap.example.com:636");
    /// assert!(ServerUrl::parse("http://ldap.example.com").is_err());
    /// # Ok::<(), ldap_directory::config::InvalidUrl>(())
    /// ```
    pub fn parse(text: &str) -> Result<ServerUrl, InvalidUrl> {
        let fail = |problem: String| InvalidUrl { problem };
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
                if path.contains('\0') {
                    return Err(fail("the path of a socket with a NUL".into()));
                }
                Ok(ServerUrl::Ldapi(path.into_owned()))
            }
            scheme @ ("ldap" | "ldaps") => {
                if authority.contains('@') {
                    return Err(fail(
                        "credentials do not belong into the URL (bind with a DN and a password)".into(),
                    ));
                }
                if authority.contains(['/', '?', '#']) {
                    return Err(fail(format!("`{text}` has a path (the base DN is not a part of it)")));
                }
                let tls = scheme == "ldaps";
                let (host, port) = host_and_port(authority)
                    .ok_or_else(|| fail(format!("`{text}` has no valid host and port")))?;
                Ok(ServerUrl::Ldap { host, port: port.unwrap_or(if tls { 636 } else { 389 }), tls })
            }
            other => Err(fail(format!("unknown scheme `{other}`"))),
        }
    }

    /// Returns the URL as text.
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

    /// Returns whether traffic to the server leaves this machine.
    pub fn leaves_this_machine(&self) -> bool {
        match self {
            ServerUrl::Ldap { host, .. } => {
                host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            ServerUrl::Ldapi(_) | ServerUrl::Ldif(_) => false,
        }
    }
}

/// Parses `host`, `host:port` or `[IPv6]:port`; returns `None` for other texts.
pub fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, after.strip_prefix(':').or(if after.is_empty() { Some("") } else { None })?)
    } else {
        authority.split_once(':').unwrap_or((authority, ""))
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
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
        /// The bind DN.
        dn: String,
        /// The password.
        password: Secret,
    },
    /// Anonymous.
    Anonymous,
    /// SASL EXTERNAL: the client certificate, or the credentials of the peer of an `ldapi` socket.
    External,
    /// SASL GSSAPI (RFC 4752): the Kerberos ticket in the user's credential cache.
    Gssapi,
    /// NTLM in SASL GSS-SPNEGO ([MS-NLMP], [MS-ADTS] 5.1.1.1.2).
    Ntlm {
        /// `DOMAIN\user` or `user@domain`.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl AuthMethod {
    /// Returns the simple bind of a DN with its password.
    ///
    /// ```
    /// use ldap_directory::AuthMethod;
    ///
    /// let auth = AuthMethod::simple("cn=reader,dc=example", "hunter2");
    /// assert!(!format!("{auth:?}").contains("hunter2"));
    /// ```
    pub fn simple(dn: impl Into<String>, password: impl Into<String>) -> Self {
        AuthMethod::Simple { dn: dn.into(), password: Secret::new(password) }
    }

    /// Returns whether the bind encrypts the connection itself, without TLS.
    pub fn seals(&self) -> bool {
        matches!(self, AuthMethod::Gssapi | AuthMethod::Ntlm { .. })
    }
}

/// What to do with a referral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Referrals {
    /// Referrals are not followed. Referral entries are read as entries if the server has ManageDsaIT (RFC 3296).
    Ignore,
    /// Referrals to hosts in `referral_hosts` are followed; others are ignored.
    Follow,
    /// A referral is an error.
    Fail,
}

/// How TLS is used.
///
/// ```
/// use ldap_directory::config::TlsConfig;
/// use ldap_directory::{DirectoryConfig, ServerUrl};
///
/// let tls = TlsConfig::default().start_tls(true).ca_file(Some("/etc/ssl/our-ca.pem".into()));
/// let config = DirectoryConfig::new([ServerUrl::parse("ldap://ldap.example.com")?]).tls(tls);
/// assert_eq!(config.unencrypted_servers().count(), 0);
/// # Ok::<(), ldap_directory::config::InvalidUrl>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whether StartTLS (RFC 4511 section 4.14) is sent on `ldap://`. Default: `false`.
    pub(crate) start_tls: bool,
    /// A PEM file of certificate authorities to trust instead of the system's. Default: none.
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM files of the client's certificate and its key. Default: none.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whether the server's certificate is checked. Default: `true`.
    pub(crate) verify: bool,
    pub(crate) built: Built,
}

impl TlsConfig {
    /// Sets whether StartTLS is sent on `ldap://`.
    #[must_use]
    pub fn start_tls(self, start_tls: bool) -> Self {
        Self { start_tls, ..self }
    }

    /// Sets the PEM file of certificate authorities to trust instead of the system's.
    #[must_use]
    pub fn ca_file(self, ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, built: Built::default(), ..self }
    }

    /// Sets the PEM files of the client's certificate and its key.
    #[must_use]
    pub fn identity(self, identity: Option<(PathBuf, PathBuf)>) -> Self {
        Self { identity, built: Built::default(), ..self }
    }

    /// Sets whether the server's certificate is checked.
    #[must_use]
    pub fn verify(self, verify: bool) -> Self {
        Self { verify, built: Built::default(), ..self }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { start_tls: false, ca_file: None, identity: None, verify: true, built: Built::default() }
    }
}

/// The default of [`DirectoryConfig::page_size`]. With it, pages grow if the server is slow to begin one (high latency).
pub const DEFAULT_PAGE_SIZE: u32 = 1000;

/// Everything needed to open a directory. [`DirectoryConfig::new`] has the defaults; a method for each key sets it.
///
/// ```
/// use std::time::Duration;
///
/// use ldap_directory::{AuthMethod, DirectoryConfig, ServerUrl};
///
/// let config = DirectoryConfig::new([ServerUrl::parse("ldaps://ldap.example.com")?])
///     .auth(AuthMethod::simple("cn=reader,dc=example,dc=com", "secret"))
///     .operation_timeout(Duration::from_secs(30))
///     .page_size(500);
/// assert_eq!(config.page_size, 500);
/// # Ok::<(), ldap_directory::config::InvalidUrl>(())
/// ```
#[derive(Debug, Clone)]
pub struct DirectoryConfig {
    /// Servers that hold the same directory, at least one, tried in order. An LDIF file stands alone.
    pub servers: Vec<ServerUrl>,
    /// How to bind. Default: anonymous.
    pub auth: AuthMethod,
    /// TLS. Default: the system's authorities, the certificate checked, no StartTLS.
    pub tls: TlsConfig,
    /// The timeout of a connection attempt (TCP, TLS and bind), for each address of a server. Default: 10 seconds.
    pub connect_timeout: Duration,
    /// The timeout of an answer; in a search, of the next entry. A paged search that finds all connections taken waits as long for one.
    /// Default: 300 seconds.
    pub operation_timeout: Duration,
    /// How often a transient error is retried. Default: 5.
    pub retry_attempts: u32,
    /// The longest pause between two attempts; the first is short, and each doubles. Default: 30 seconds.
    pub retry_max_wait: Duration,
    /// Entries per page (RFC 2696); 0 disables paging. Default: [`DEFAULT_PAGE_SIZE`].
    pub page_size: u32,
    /// What to do with referrals. Default: [`Referrals::Ignore`].
    pub referrals: Referrals,
    /// With [`Referrals::Follow`]: the hosts that may receive the credentials, as `host` or `host:port`. Default: none.
    pub referral_hosts: Vec<String>,
    /// The maximum number of open connections; at least 1. Each paged search that is open takes one; on most servers only one of them can
    /// use the connection that all other operations share. Further ones wait for a connection, up to `operation_timeout`
    /// ([`PoolExhausted`](crate::DirectoryError::PoolExhausted)). So a task that begins a search while it keeps another one open needs
    /// more than one connection, as with a pool of database connections. Default: 4.
    pub pool_size: usize,
    /// The maximum number of connections for changes, at least 1, all to the same server; the first is the one that all other operations
    /// share. Further ones are opened while several changes are in progress, and are not counted in `pool_size`. A server that publishes
    /// nothing to be recognized by, or another one behind the same address, gets changes over one connection: the log says so. Default: 1.
    pub write_connections: usize,
    /// The maximum number of connections for binds of users ([`authenticate`](crate::client::LdapDirectory::authenticate)), which are used
    /// for nothing else; at least 1. They are not counted in `pool_size`. Default: 32.
    pub bind_connections: usize,
    /// How long such a connection is kept without a bind. Default: 10 seconds.
    pub bind_idle_limit: Duration,
    /// Secret attributes in addition to [those known](crate::secret::SecretAttributes). Default: none.
    pub secret_attributes: Vec<String>,
    /// The observer of connections, operations and searches. Default: none.
    pub observer: Observing,
    /// What is known about refusals of `auth`: after invalidCredentials, it is not shown again for 2 seconds, then for 5 minutes, then for
    /// 15, and connections fail without a bind. Otherwise, a program that reconnects would lock its account. Each server that referrals lead
    /// to is counted by itself.
    pub refused_binds: RefusedBinds,
    /// What servers reported about the password of `auth`: that it expires, or has expired.
    pub own_password: OwnPassword,
}

impl DirectoryConfig {
    /// Returns a configuration for servers, or for a file, with defaults.
    pub fn new(servers: impl IntoIterator<Item = ServerUrl>) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            auth: AuthMethod::Anonymous,
            tls: TlsConfig::default(),
            connect_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(300),
            retry_attempts: 5,
            retry_max_wait: Duration::from_secs(30),
            page_size: DEFAULT_PAGE_SIZE,
            referrals: Referrals::Ignore,
            referral_hosts: Vec::new(),
            pool_size: 4,
            write_connections: 1,
            bind_connections: 32,
            bind_idle_limit: Duration::from_secs(10),
            secret_attributes: Vec::new(),
            observer: Observing::default(),
            refused_binds: RefusedBinds::default(),
            own_password: OwnPassword::default(),
        }
    }

    /// Sets how to bind.
    #[must_use]
    pub fn auth(self, auth: AuthMethod) -> Self {
        let (refused_binds, own_password) = (RefusedBinds::default(), OwnPassword::default());
        Self { auth, refused_binds, own_password, ..self }
    }

    /// Sets how TLS is used.
    #[must_use]
    pub fn tls(self, tls: TlsConfig) -> Self {
        Self { tls, ..self }
    }

    /// Sets the timeout of a connection attempt, for each address.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets the timeout of an answer.
    #[must_use]
    pub fn operation_timeout(self, operation_timeout: Duration) -> Self {
        Self { operation_timeout, ..self }
    }

    /// Sets how often a transient error is retried, and the longest pause between two attempts.
    #[must_use]
    pub fn retry(self, attempts: u32, max_wait: Duration) -> Self {
        Self { retry_attempts: attempts, retry_max_wait: max_wait, ..self }
    }

    /// Sets the entries per page; 0 disables paging.
    #[must_use]
    pub fn page_size(self, page_size: u32) -> Self {
        Self { page_size, ..self }
    }

    /// Sets what to do with referrals, and which hosts may receive the credentials.
    #[must_use]
    pub fn referrals(self, referrals: Referrals, hosts: impl IntoIterator<Item = String>) -> Self {
        Self { referrals, referral_hosts: hosts.into_iter().collect(), ..self }
    }

    /// Sets the maximum number of open connections.
    #[must_use]
    pub fn pool_size(self, pool_size: usize) -> Self {
        Self { pool_size, ..self }
    }

    /// Sets the maximum number of connections for changes.
    #[must_use]
    pub fn write_connections(self, write_connections: usize) -> Self {
        Self { write_connections, ..self }
    }

    /// Sets the maximum number of connections for binds of users, and how long one is kept without a bind.
    #[must_use]
    pub fn user_binds(self, connections: usize, idle_limit: Duration) -> Self {
        Self { bind_connections: connections, bind_idle_limit: idle_limit, ..self }
    }

    /// Sets the secret attributes in addition to those known.
    #[must_use]
    pub fn secret_attributes(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { secret_attributes: names.into_iter().collect(), ..self }
    }

    /// Sets the observer of connections, operations and searches.
    #[must_use]
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self { observer: Observing::by(observer), ..self }
    }

    /// Returns the servers whose traffic is not encrypted, neither by TLS nor by SASL. Unix sockets are not among them; loopback
    /// addresses are.
    pub fn unencrypted_servers(&self) -> impl Iterator<Item = &ServerUrl> {
        let is_plain = |s: &&ServerUrl| matches!(s, ServerUrl::Ldap { tls: false, .. });
        let seals = self.tls.start_tls || self.auth.seals();
        self.servers.iter().filter(is_plain).filter(move |_| !seals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_one_connection_unless_more_are_wanted() {
        let config = DirectoryConfig::new([]);
        assert_eq!(config.write_connections, 1, "a program that writes for each request opens no others");
        assert_eq!(config.write_connections(4).write_connections, 4);
    }

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
            assert!(ServerUrl::parse(text).is_err(), "{text}");
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
