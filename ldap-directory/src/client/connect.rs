//! Connecting and binding, with failover over the list of servers.

use std::net::SocketAddr;

use super::retry::Attempts;
use super::{LdapDirectory, result_code, tls};
use crate::client::connection::Connection;
use crate::client::shared_connection::SharedConnection;
use crate::config::{DirectoryConfig, ServerUrl};
use crate::error::{ConnectErrorKind, DirectoryError};
use crate::protocol::message::LdapResult;

/// The server in use, with its bound connection.
#[derive(Clone)]
pub(crate) struct ActiveServer {
    pub(crate) session: SharedConnection,
    /// The server's URL.
    pub(crate) server: ServerUrl,
    /// Its address, if it has one: further connections use the same one, not another server behind the name.
    pub(crate) address: Option<SocketAddr>,
    /// The number of the connection, by which its loss is reported once.
    pub(crate) number: u64,
    /// Identifies the server among others with the same directory.
    pub(crate) server_id: Vec<String>,
}

/// A server to try, with its address if that matters.
pub(crate) type Candidate = (ServerUrl, Option<SocketAddr>);

/// Connects to the first server that answers and binds.
///
/// Servers are tried in order. If none can be reached and one failure is transient, the list is tried again after a pause. A refused
/// bind ends it at once: the next server would only count it against the account. A server that takes over from one `before` is
/// checked first.
pub(crate) async fn connect(
    config: &DirectoryConfig,
    servers: &[Candidate],
    number: u64,
    before: Option<&LdapDirectory>,
) -> Result<ActiveServer, DirectoryError> {
    let mut attempts = Attempts::new(config);
    loop {
        let mut failures: Vec<Failure> = Vec::new();
        for (server, address) in servers {
            match open(config, server, *address, number, before).await {
                Ok(link) => return Ok(link),
                Err(Failure { error: error @ DirectoryError::Bind { .. }, curable: false }) => {
                    return Err(error);
                }
                Err(failure) => {
                    if servers.len() > 1 {
                        tracing::warn!("{}", failure.error);
                    }
                    failures.push(failure);
                }
            }
        }
        let curable = failures.iter().any(|f| f.curable);
        // A permanent failure is more informative than a transient one.
        failures.sort_by_key(|f| f.curable);
        let Some(Failure { mut error, .. }) = failures.into_iter().next() else {
            return Err(DirectoryError::Connect {
                server: "(no server)".into(),
                kind: ConnectErrorKind::Unsupported,
                reason: "there is no server to connect to".into(),
                lasting: true,
                cause: None,
            });
        };
        // One of the others may be back later.
        if let DirectoryError::Connect { lasting, .. } = &mut error {
            *lasting &= !curable;
        }
        if !curable || !attempts.wait(&error).await {
            return Err(error);
        }
    }
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: DirectoryError,
    /// Whether a retry may help.
    pub(crate) curable: bool,
}

impl Failure {
    /// Returns the failure of a network or TLS error.
    pub(crate) fn of_io(url: &str, error: std::io::Error) -> Self {
        let curable = !matches!(error.kind(), std::io::ErrorKind::NotFound) && tls_error(&error).is_none();
        let kind = match error.kind() {
            _ if tls_error(&error).is_some_and(tls::is_certificate) => ConnectErrorKind::Certificate,
            _ if tls_error(&error).is_some() => ConnectErrorKind::Tls,
            std::io::ErrorKind::ConnectionRefused => ConnectErrorKind::Refused,
            _ => ConnectErrorKind::Network,
        };
        Self { error: refused(kind, url, explain_io(&error), !curable), curable }.caused_by(error)
    }

    /// Returns a permanent failure.
    pub(crate) fn lasting(kind: ConnectErrorKind, url: &str, reason: String) -> Self {
        Self { error: refused(kind, url, reason, true), curable: false }
    }

    /// Returns a transient failure.
    pub(crate) fn passing(kind: ConnectErrorKind, url: &str, reason: String) -> Self {
        Self { error: refused(kind, url, reason, false), curable: true }
    }

    /// Adds the cause, for [`std::error::Error::source`].
    pub(crate) fn caused_by(mut self, error: std::io::Error) -> Self {
        if let DirectoryError::Connect { cause, .. } = &mut self.error {
            *cause = Some(error.into());
        }
        self
    }

    /// Returns the failure of a bind that the server refused.
    pub(crate) fn of_bind(url: &str, method: &'static str, identity: &str, result: LdapResult) -> Self {
        Self {
            curable: result_code::may_be_retried(result.code, &result.text),
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

fn refused(kind: ConnectErrorKind, url: &str, reason: String, lasting: bool) -> DirectoryError {
    DirectoryError::Connect { server: url.to_owned(), kind, reason, lasting, cause: None }
}

async fn open(
    config: &DirectoryConfig,
    server: &ServerUrl,
    address: Option<SocketAddr>,
    number: u64,
    before: Option<&LdapDirectory>,
) -> Result<ActiveServer, Failure> {
    let mut connection = Connection::open(config, server, address).await?;
    let own = match before {
        Some(directory) => directory.accept(&mut connection).await?,
        None => Vec::new(),
    };
    let address = connection.peer();
    let session = SharedConnection::start(connection, config);
    Ok(ActiveServer { session, server: server.clone(), address, number, server_id: own })
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|e| e.downcast_ref())
}

/// Describes a network or TLS error.
pub(crate) fn explain_io(error: &std::io::Error) -> String {
    if let Some(tls_error) = tls_error(error) {
        return tls::explain(tls_error);
    }
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there; check host and port".into()
        }
        std::io::ErrorKind::NotFound => "there is no such socket".into(),
        std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection; does it speak TLS on this port?".into()
        }
        _ => error.to_string(),
    }
}
