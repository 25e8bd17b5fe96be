//! A connection attempt step by step, for diagnosis: name lookup, TCP, TLS, bind.
//!
//! [`LdapDirectory::open_by_steps`](super::LdapDirectory::open_by_steps) returns the steps.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::addresses::{lookup, one_of};
use super::connect::{Failure, explain_io};
use crate::client::connection::Connection;
use crate::config::{AuthMethod, DirectoryConfig, ServerUrl};
use crate::error::{ConnectErrorKind, DirectoryError, in_words};

/// A certificate with fewer days left gets a warning.
const SOON: i64 = 30;

/// The result of TLS negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFacts {
    /// `TLSv1_3`
    pub(crate) version: String,
    /// The server's certificate in DER.
    pub(crate) certificate: Vec<u8>,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As expected.
    Ok,
    /// Usable, but with a problem.
    Warning,
    /// Failed.
    Failed,
    /// Cannot be determined.
    Unknown,
}

impl Grade {
    /// Returns `ok`, `warning`, `failed` or `unknown`.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Failed => "failed",
            Grade::Unknown => "unknown",
        }
    }
}

/// A step, its result, and advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `resolve`, `connect`, `tls`, `bind`, …
    pub name: &'static str,
    /// The result.
    pub grade: Grade,
    /// A sentence on the result.
    pub text: String,
    /// Advice; empty if nothing needs to be done.
    pub advice: String,
}

impl Step {
    /// Returns a step without advice.
    pub fn new(name: &'static str, grade: Grade, text: impl Into<String>) -> Step {
        Step { name, grade, text: text.into(), advice: String::new() }
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Step {
        self.advice = advice.into();
        self
    }
}

/// Opens a connection step by step, up to the first step that fails. The error is that of the step.
pub(crate) async fn probe(
    config: &DirectoryConfig,
    server: &ServerUrl,
) -> (Vec<Step>, Result<Connection, DirectoryError>) {
    let mut steps = Vec::new();
    let result = steps_to(config, server, &mut steps).await;
    (steps, result)
}

async fn steps_to(
    config: &DirectoryConfig,
    server: &ServerUrl,
    steps: &mut Vec<Step>,
) -> Result<Connection, DirectoryError> {
    let url = server.to_text();
    let failed = |name, reason: &str| {
        (
            Step::new(name, Grade::Failed, reason),
            DirectoryError::Connect {
                server: url.clone(),
                kind: ConnectErrorKind::Unsupported,
                reason: reason.to_owned(),
                lasting: true,
                cause: None,
            },
        )
    };
    let mut addresses = Vec::new();
    if let ServerUrl::Ldap { host, port, .. } = server {
        addresses = match lookup(config, server, host, *port).await {
            Ok(found) => found,
            Err(failure) => {
                let (step, error) = failed("resolve", &reason_of(&failure.error));
                steps.push(step.advise(format!(
                    "check the name in the URL, and that this machine's resolver knows `{host}`"
                )));
                return Err(error);
            }
        };
        let texts: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
        steps.push(Step::new("resolve", Grade::Ok, format!("`{host}` is {}", texts.join(", "))));
        let (step, reached) = tcp(config, &addresses).await;
        steps.push(step);
        addresses = match reached {
            Ok(reached) => reached,
            Err(reason) => return Err(failed("connect", &reason).1),
        };
    }
    let is_tls = matches!(server, ServerUrl::Ldap { tls: true, .. }) || config.tls.start_tls;
    let mut connection = match open(config, server, &addresses).await {
        Ok(connection) => connection,
        Err(failure) => {
            let name = if is_tls { "tls" } else { "connect" };
            let reason = reason_of(&failure.error);
            let mut step = Step::new(name, Grade::Failed, reason);
            if is_tls && let Some(facts) = unverified(config, server, &addresses).await {
                step.text.push_str("; ");
                step.text.push_str(&describe(&facts).0);
                step = step.advise("ask the administrator for a certificate that is valid and names this host, or for the authority that signed it, and trust that one");
            }
            steps.push(step);
            return Err(failure.error);
        }
    };
    steps.push(encryption(config, server, &connection));
    match connection.bind_in_time(config, server).await {
        Ok(()) => {
            let text = match &config.auth {
                AuthMethod::Simple { dn, .. } => format!("bound as `{dn}`"),
                AuthMethod::Anonymous => "bound as nobody (anonymous)".to_owned(),
                AuthMethod::External => "bound by SASL EXTERNAL".to_owned(),
                AuthMethod::Gssapi => "bound by Kerberos (GSSAPI)".to_owned(),
                AuthMethod::Ntlm { .. } => "bound by NTLM".to_owned(),
            };
            let step = if let Some(report) = config.own_password.of(&url) {
                let text = format!("{text}; {}", report.text(std::time::SystemTime::now()));
                Step::new("bind", Grade::Warning, text)
                    .advise("ask the administrator for a new password, before no bind is accepted any more")
            } else if config.auth == AuthMethod::Anonymous {
                Step::new("bind", Grade::Warning, text)
                    .advise("bind with a DN and a password: most directories show little to anonymous users")
            } else {
                Step::new("bind", Grade::Ok, text)
            };
            steps.push(step);
            Ok(connection)
        }
        Err(failure) => {
            steps.push(Step::new("bind", Grade::Failed, failure.error.to_string()));
            Err(failure.error)
        }
    }
}

/// Tries every address: one of several servers behind a name may be down.
async fn tcp(config: &DirectoryConfig, addresses: &[SocketAddr]) -> (Step, Result<Vec<SocketAddr>, String>) {
    let mut reached = Vec::new();
    let mut lost = Vec::new();
    for address in addresses {
        match tokio::time::timeout(config.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(_)) => reached.push(*address),
            Ok(Err(e)) => lost.push(format!("{address}: {}", explain_io(&e))),
            Err(_) => lost.push(format!(
                "{address}: no answer within {}; a firewall in between?",
                in_words(config.connect_timeout)
            )),
        }
    }
    let lost_text = lost.join("; ");
    if reached.is_empty() {
        let advice =
            "is the server running, is the port right, and does a firewall let this machine through?";
        return (Step::new("connect", Grade::Failed, lost_text.clone()).advise(advice), Err(lost_text));
    }
    let texts: Vec<String> = reached.iter().map(ToString::to_string).collect();
    let text = format!("{} answers", texts.join(", "));
    if lost.is_empty() {
        (Step::new("connect", Grade::Ok, text), Ok(reached))
    } else {
        (Step::new("connect", Grade::Warning, format!("{text}; but {lost_text}")), Ok(reached))
    }
}

/// Opens the first of these addresses that succeeds, as in normal operation, or a server without addresses.
async fn open(
    config: &DirectoryConfig,
    server: &ServerUrl,
    addresses: &[SocketAddr],
) -> Result<Connection, Failure> {
    if addresses.is_empty() {
        return Connection::open_unbound(config, server, None).await;
    }
    let mut failures = Vec::new();
    for address in addresses {
        match Connection::open_unbound(config, server, Some(*address)).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failures.push((*address, failure)),
        }
    }
    Err(one_of(&server.to_text(), failures))
}

/// Reads the certificate of a server that is not trusted. Only the handshake is sent.
async fn unverified(
    config: &DirectoryConfig,
    server: &ServerUrl,
    addresses: &[SocketAddr],
) -> Option<TlsFacts> {
    let tls = config.tls.clone().verify(false);
    let connection = open(&DirectoryConfig { tls, ..config.clone() }, server, addresses).await.ok()?;
    connection.tls().cloned()
}

fn reason_of(error: &DirectoryError) -> String {
    match error {
        DirectoryError::Connect { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn encryption(config: &DirectoryConfig, server: &ServerUrl, connection: &Connection) -> Step {
    let Some(facts) = connection.tls() else {
        let has_password = matches!(config.auth, AuthMethod::Simple { .. });
        return if server.leaves_this_machine() {
            let text = if has_password {
                "no TLS: the password and all data go over the network in clear text"
            } else {
                "no TLS: all data go over the network in clear text"
            };
            Step::new("tls", Grade::Warning, text).advise("use ldaps:// or StartTLS")
        } else {
            Step::new("tls", Grade::Ok, "no TLS, and none is needed: the server is on this machine")
        };
    };
    let (text, days) = describe(facts);
    if !config.tls.verify {
        return Step::new(
            "tls",
            Grade::Warning,
            format!("{text}; the certificate is not checked (verification is off)"),
        )
        .advise("trust its authority, and do not switch verification off: anybody in between can read the password");
    }
    match days {
        Some(days) if days < SOON => Step::new("tls", Grade::Warning, text).advise(
            "ask the administrator to renew the certificate: nothing can connect once it has expired",
        ),
        _ => Step::new("tls", Grade::Ok, text),
    }
}

/// Describes the result of TLS negotiation, and returns the days until the certificate expires.
fn describe(facts: &TlsFacts) -> (String, Option<i64>) {
    let version = facts.version.replace("TLSv1_", "TLS 1.");
    let Ok((_, certificate)) = X509Certificate::from_der(&facts.certificate) else {
        return (format!("{version}, and a certificate that cannot be read"), None);
    };
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => names.extend(ip(octets)),
                _ => {}
            }
        }
    }
    let names = if names.is_empty() { certificate.subject().to_string() } else { names.join(", ") };
    let end = certificate.validity().not_after.timestamp();
    let days = (end - chrono::Utc::now().timestamp()).div_euclid(86_400);
    let date = chrono::DateTime::from_timestamp(end, 0)
        .map(|d| d.format("%Y-%m-%d").to_string())
        .unwrap_or_default();
    let expiry = if days < 0 {
        format!("expired on {date}, {} days ago", -days)
    } else {
        format!("expires in {days} days ({date})")
    };
    (
        format!(
            "{version}; the certificate is for {names}, signed by {}, and {expiry}",
            certificate.issuer()
        ),
        Some(days),
    )
}

fn ip(octets: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(octets).ok().map(|six| std::net::Ipv6Addr::from(six).to_string())
}
