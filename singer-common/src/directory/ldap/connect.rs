//! Connecting and binding, with failover over the list of servers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, StdStream};
use tokio::net::TcpStream;

use super::{result_code, tls};
use crate::directory::config::{AuthMethod, DirectoryConfig, ServerUrl};
use crate::directory::error::DirectoryError;

/// The first pause between two attempts; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A connection, bound.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) ldap: Ldap,
    /// Where it goes to, where that is an address: further connections go to the same one, and not to whatever server
    /// the name stands for by then.
    pub(super) address: Option<SocketAddr>,
}

/// Connects to the first server that answers and binds. Gives the connection and the URL in use.
///
/// All servers are tried in order; when none could be reached and one of them may be back soon, the list is gone
/// through again after a pause. A refused bind ends it at once: the next server would only count it against the account.
pub(super) async fn connect(config: &DirectoryConfig) -> Result<(Link, String), DirectoryError> {
    let mut wait = FIRST_WAIT;
    let mut attempt = 0;
    loop {
        let mut failures: Vec<Failure> = Vec::new();
        for server in &config.servers {
            match open(config, server).await {
                Ok(link) => return Ok((link, server.to_text())),
                Err(Failure { error: error @ DirectoryError::Bind { .. }, curable: false }) => {
                    return Err(error);
                }
                Err(failure) => {
                    if config.servers.len() > 1 {
                        tracing::warn!("{}", failure.error);
                    }
                    failures.push(failure);
                }
            }
        }
        let curable = failures.iter().any(|f| f.curable);
        // What no retry cures says more than what might pass by itself.
        failures.sort_by_key(|f| f.curable);
        let Some(Failure { error, .. }) = failures.into_iter().next() else {
            return Err(DirectoryError::Connect {
                server: "(no server)".into(),
                reason: "server_url is empty".into(),
            });
        };
        if !curable || attempt >= config.retry_attempts {
            return Err(error);
        }
        attempt += 1;
        let pause = jittered(wait.min(config.retry_max_wait));
        tracing::warn!("{error}; attempt {attempt} of {} in {} ms", config.retry_attempts, pause.as_millis());
        tokio::time::sleep(pause).await;
        wait = wait.saturating_mul(2);
    }
}

/// Between half and the whole of a pause, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let noise = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos() % 1000);
    pause / 2 + pause.mul_f64(f64::from(noise) / 2000.0)
}

struct Failure {
    error: DirectoryError,
    curable: bool,
}

async fn open(config: &DirectoryConfig, server: &ServerUrl) -> Result<Link, Failure> {
    let url = server.to_text();
    let fail = |reason: String, curable: bool| Failure {
        error: DirectoryError::Connect { server: url.clone(), reason },
        curable,
    };
    let mut settings = LdapConnSettings::new()
        .set_conn_timeout(config.connect_timeout)
        .set_starttls(config.tls.start_tls && matches!(server, ServerUrl::Ldap { tls: false, .. }));
    if config.tls.start_tls || matches!(server, ServerUrl::Ldap { tls: true, .. }) {
        let client = tls::client_config(&config.tls).map_err(|reason| fail(reason, false))?;
        // ldap3 looks at `no_tls_verify` again for addresses that are no certificate name.
        settings = settings.set_config(client).set_no_tls_verify(!config.tls.verify);
    }
    let explained = |e: LdapError| {
        let (reason, curable) = explain(&e, config);
        fail(reason, curable)
    };
    let mut address = None;
    if let ServerUrl::Ldap { host, port, .. } = server {
        let started = Instant::now();
        let connecting = TcpStream::connect((host.as_str(), *port));
        let tcp = tokio::time::timeout(config.connect_timeout, connecting)
            .await
            .map_err(|elapsed| explained(LdapError::from(elapsed)))?
            .map_err(|e| explained(LdapError::from(e)))?;
        address = tcp.peer_addr().ok();
        let stream = tcp.into_std().map_err(|e| explained(LdapError::from(e)))?;
        settings = settings
            .set_std_stream(StdStream::Tcp(stream))
            .set_conn_timeout(config.connect_timeout.saturating_sub(started.elapsed()));
    }
    let (connection, mut ldap) = LdapConnAsync::with_settings(settings, &url).await.map_err(explained)?;
    tokio::spawn(async move {
        if let Err(e) = connection.drive().await {
            tracing::debug!("the connection ended: {e}");
        }
    });
    bind(config, &mut ldap, &url).await?;
    Ok(Link { ldap, address })
}

async fn bind(config: &DirectoryConfig, ldap: &mut Ldap, url: &str) -> Result<(), Failure> {
    // The bind is part of getting connected: whoever does not answer it is not there.
    ldap.with_timeout(config.connect_timeout);
    let (method, identity, result): (_, _, Result<LdapResult, LdapError>) = match &config.auth {
        AuthMethod::Simple { dn, password } => {
            ("simple", dn.as_str(), ldap.simple_bind(dn, password.reveal()).await)
        }
        AuthMethod::Anonymous => ("anonymous", "", ldap.simple_bind("", "").await),
        AuthMethod::External => ("EXTERNAL", "", ldap.sasl_external_bind().await),
    };
    match result {
        Ok(result) if result.rc == result_code::SUCCESS => Ok(()),
        Ok(result) => Err(Failure {
            curable: result_code::may_be_retried(result.rc),
            error: DirectoryError::Bind {
                server: url.to_owned(),
                method,
                identity: identity.to_owned(),
                code: result.rc,
                text: result.text,
            },
        }),
        Err(e) => {
            let (reason, curable) = explain(&e, config);
            Err(Failure {
                error: DirectoryError::Connect {
                    server: url.to_owned(),
                    reason: format!("during the bind: {reason}"),
                },
                curable,
            })
        }
    }
}

/// Why a connection did not come about, in words, and whether trying again may help.
fn explain(error: &LdapError, config: &DirectoryConfig) -> (String, bool) {
    match error {
        LdapError::Timeout { .. } => (
            format!("no answer within {} s (connect_timeout_seconds)", config.connect_timeout.as_secs()),
            true,
        ),
        LdapError::Rustls { source } => (tls::explain(source), false),
        LdapError::LdapResult { result } => {
            (format!("StartTLS: {}", result_code::describe(result.rc, &result.text)), false)
        }
        LdapError::Io { source } => {
            let curable = !matches!(source.kind(), std::io::ErrorKind::NotFound)
                && tls_error(source).is_none()
                && !is_lookup(source);
            (explain_io(source), curable)
        }
        LdapError::ResultRecv { .. } | LdapError::OpSend { .. } | LdapError::EndOfStream => {
            ("the server closed the connection; does it speak TLS on this port?".into(), true)
        }
        other => (other.to_string(), false),
    }
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|e| e.downcast_ref())
}

/// tokio and the C library say so in words only.
fn is_lookup(error: &std::io::Error) -> bool {
    error.to_string().contains("lookup")
}

/// Why the network or TLS refused a connection, in words.
pub(super) fn explain_io(error: &std::io::Error) -> String {
    if let Some(tls_error) = tls_error(error) {
        return tls::explain(tls_error);
    }
    let text = error.to_string();
    if is_lookup(error) {
        return format!("the host name cannot be resolved ({text})");
    }
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there; check host and port".into()
        }
        std::io::ErrorKind::NotFound => "there is no such socket".into(),
        std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection; does it speak TLS on this port?".into()
        }
        _ => text,
    }
}
