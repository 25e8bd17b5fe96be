//! Connecting and binding, with failover over the list of servers.

use std::net::SocketAddr;
use std::time::Duration;

use super::session::Session;
use super::wire::{Connection, LdapResult};
use super::{result_code, tls};
use crate::directory::config::{DirectoryConfig, ServerUrl};
use crate::directory::error::DirectoryError;
use crate::observe;

/// The first pause between two attempts; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A connection, bound.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) session: Session,
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
        observe::retried("connect");
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

/// Why a connection did not come about.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: DirectoryError,
    /// Whether trying again may help.
    pub(super) curable: bool,
}

impl Failure {
    /// Of the network, or of TLS.
    pub(super) fn of_io(url: &str, error: &std::io::Error) -> Self {
        let curable = !matches!(error.kind(), std::io::ErrorKind::NotFound)
            && tls_error(error).is_none()
            && !is_lookup(error);
        Self { error: refused(url, explain_io(error)), curable }
    }

    /// One that no other attempt cures.
    pub(super) fn lasting(url: &str, reason: String) -> Self {
        Self { error: refused(url, reason), curable: false }
    }

    /// One that may pass.
    pub(super) fn passing(url: &str, reason: String) -> Self {
        Self { error: refused(url, reason), curable: true }
    }

    /// Of a bind that the server refused.
    pub(super) fn of_bind(url: &str, method: &'static str, identity: &str, result: LdapResult) -> Self {
        Self {
            curable: result_code::may_be_retried(result.code),
            error: DirectoryError::Bind {
                server: url.to_owned(),
                method,
                identity: identity.to_owned(),
                code: result.code,
                text: result.text,
            },
        }
    }
}

fn refused(url: &str, reason: String) -> DirectoryError {
    DirectoryError::Connect { server: url.to_owned(), reason }
}

async fn open(config: &DirectoryConfig, server: &ServerUrl) -> Result<Link, Failure> {
    let connection = Connection::open(config, server, None).await?;
    let address = connection.peer();
    Ok(Link { session: Session::start(connection, config.operation_timeout), address })
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
