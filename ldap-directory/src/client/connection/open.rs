//! Opening a connection: TCP to one of the addresses, TLS, bind. Each address has its own timeout.

use std::net::SocketAddr;
use std::time::Instant;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Connection, KEEPALIVE, Stream};
use crate::client::PasswordState;
use crate::client::addresses::{self, Race};
use crate::client::authenticate::outcome;
use crate::client::connect::Failure;
use crate::client::probe::TlsFacts;
use crate::client::tls;
use crate::config::{AuthMethod, DirectoryConfig, ServerUrl};
use crate::error::{ConnectErrorKind, DirectoryError, in_words};
use crate::oid;
use crate::protocol::message::{self, Answer, Control, LdapResult, Message};
use crate::protocol::password_policy::PolicyResponse;
use crate::protocol::{request, result_code};

impl Connection {
    /// Connects to one server and binds as configured, with `connect_timeout` for each of its addresses. `address` selects one of them: a
    /// name may stand for several servers, and positions in the log of one are not valid on another.
    pub(crate) async fn open(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        Self::open_observed(config, server, address, Some(&config.auth)).await
    }

    /// As [`Self::open`], without a bind.
    pub(crate) async fn open_for_binds(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        Self::open_observed(config, server, address, None).await
    }

    async fn open_observed(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
        auth: Option<&AuthMethod>,
    ) -> Result<Self, Failure> {
        let watch = config.observer.connecting(server);
        let mut result = Self::open_somewhere(config, server, address, auth).await;
        if let Some(watch) = watch {
            watch.done(result.as_ref().map(|_| ()).map_err(|failure| &failure.error));
        }
        if let Ok(connection) = &mut result {
            connection.counted = config.observer.connected(&connection.url);
        }
        result
    }

    /// Tries each address of the server, unless one is selected. Each also has its own timeout after TCP: a server may accept a connection
    /// and never answer.
    async fn open_somewhere(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
        auth: Option<&AuthMethod>,
    ) -> Result<Self, Failure> {
        let ServerUrl::Ldap { host, port, .. } = server else {
            return in_time(config, server, Self::open_bound(config, server, None, auth)).await;
        };
        let addresses = match address {
            Some(address) => vec![address],
            None => addresses::lookup(config, server, host, *port).await?,
        };
        let mut race = Race::of(addresses, config.connect_timeout);
        let mut failures = Vec::new();
        while let Some((address, reached)) = race.next().await {
            let opened = match reached {
                Some(Ok(tcp)) => {
                    in_time(config, server, Self::open_bound(config, server, Some(tcp), auth)).await
                }
                Some(Err(e)) => Err(Failure::of_io(&server.to_text(), e)),
                None => Err(silent(config, server)),
            };
            match opened {
                // The next server would only count it against the account.
                Err(Failure { error: error @ DirectoryError::Bind { .. }, curable: false }) => {
                    return Err(Failure { error, curable: false });
                }
                Err(failure) => failures.push((address, failure)),
                Ok(connection) => return Ok(connection),
            }
        }
        Err(addresses::one_of(&server.to_text(), failures))
    }

    async fn open_bound(
        config: &DirectoryConfig,
        server: &ServerUrl,
        tcp: Option<TcpStream>,
        auth: Option<&AuthMethod>,
    ) -> Result<Self, Failure> {
        let Some(auth) = auth else { return Self::over(config, server, tcp).await };
        config.refused_binds.check(Instant::now())?;
        let mut connection = Self::over(config, server, tcp).await?;
        connection.bind_once(config, auth, server).await?;
        Ok(connection)
    }

    /// Connects to an address, including TLS, without a bind, within `connect_timeout`.
    pub(crate) async fn open_unbound(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let opening = async {
            let tcp = match address {
                Some(address) => Some(
                    TcpStream::connect(address).await.map_err(|e| Failure::of_io(&server.to_text(), e))?,
                ),
                None => None,
            };
            Self::over(config, server, tcp).await
        };
        in_time(config, server, opening).await
    }

    /// Opens a connection over TCP, or over a Unix socket.
    async fn over(
        config: &DirectoryConfig,
        server: &ServerUrl,
        tcp: Option<TcpStream>,
    ) -> Result<Self, Failure> {
        let url = server.to_text();
        let io = |e: std::io::Error| Failure::of_io(&url, e);
        Ok(match server {
            ServerUrl::Ldap { host, tls, .. } => {
                let tcp = tcp.ok_or_else(|| {
                    Failure::lasting(ConnectErrorKind::Resolve, &url, "it has no address".into())
                })?;
                tcp.set_nodelay(true).map_err(io)?;
                let peer = tcp.peer_addr().ok();
                // A client that waits for changes sends nothing, and would never notice a lost peer.
                SockRef::from(&tcp).set_tcp_keepalive(&KEEPALIVE).map_err(io)?;
                if *tls {
                    Self::secured(handshake(config, host, tcp, &url).await?, &url, peer)
                } else if config.tls.start_tls {
                    Self::new(Box::new(tcp), &url, peer).start_tls(config, host).await?
                } else {
                    Self::new(Box::new(tcp), &url, peer)
                }
            }
            #[cfg(unix)]
            ServerUrl::Ldapi(path) => {
                Self::new(Box::new(tokio::net::UnixStream::connect(path).await.map_err(io)?), &url, None)
            }
            #[cfg(not(unix))]
            ServerUrl::Ldapi(_) => {
                return Err(Failure::lasting(
                    ConnectErrorKind::Unsupported,
                    &url,
                    "this system has no sockets in files".into(),
                ));
            }
            ServerUrl::Ldif(_) => {
                return Err(Failure::lasting(
                    ConnectErrorKind::Unsupported,
                    &url,
                    "a file is no server".into(),
                ));
            }
        })
    }

    /// Binds within `connect_timeout`.
    pub(crate) async fn bind_in_time(
        &mut self,
        config: &DirectoryConfig,
        server: &ServerUrl,
    ) -> Result<(), Failure> {
        let binding = self.bind_once(config, &config.auth, server);
        let bound = tokio::time::timeout(config.connect_timeout, binding).await;
        bound.unwrap_or_else(|_| {
            let limit = in_words(config.connect_timeout);
            Err(Failure::passing(
                ConnectErrorKind::Timeout,
                &self.url,
                format!("no answer to the bind within {limit}"),
            ))
        })
    }

    /// Returns a connection over TLS.
    fn secured<S: Stream + 'static>(
        stream: tokio_rustls::client::TlsStream<S>,
        url: &str,
        peer: Option<SocketAddr>,
    ) -> Self {
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|c| c.first());
        let end_point = certificate.map(|c| tls::end_point(c));
        let facts = TlsFacts {
            version: session.protocol_version().and_then(|v| v.as_str()).unwrap_or("TLS").to_owned(),
            certificate: certificate.map(|c| c.to_vec()).unwrap_or_default(),
        };
        let secured = Self::new(Box::new(stream), url, peer);
        Self { end_point, tls: Some(facts), ..secured }
    }

    async fn start_tls(mut self, config: &DirectoryConfig, host: &str) -> Result<Self, Failure> {
        let url = self.url.clone();
        let answer = self.greet(&request::extended(oid::START_TLS, None)).await?;
        let Answer::Extended { result, .. } = answer else {
            return Err(Failure::lasting(
                ConnectErrorKind::StartTls,
                &url,
                "the server did not answer StartTLS".into(),
            ));
        };
        if result.code != result_code::SUCCESS {
            let why = format!("StartTLS: {}", result_code::describe(result.code, &result.text));
            return Err(if result_code::may_be_retried(result.code, &result.text) {
                Failure::passing(ConnectErrorKind::StartTls, &url, why)
            } else {
                Failure::lasting(ConnectErrorKind::StartTls, &url, why)
            });
        }
        // RFC 4511 section 4.14.1: nothing may follow the answer in clear text. If something does, an attacker injected it.
        if self.taken < self.inbox.len() {
            let reason = "the server went on in clear text after StartTLS";
            return Err(Failure::lasting(ConnectErrorKind::StartTls, &url, reason.into()));
        }
        let secured = handshake(config, host, self.stream, &url).await?;
        Ok(Self::secured(secured, &url, self.peer))
    }

    /// Binds, and keeps in mind that the credentials were refused, or what the server reports about the password.
    async fn bind_once(
        &mut self,
        config: &DirectoryConfig,
        auth: &AuthMethod,
        server: &ServerUrl,
    ) -> Result<(), Failure> {
        let bound = self.bind(auth, server).await;
        config.refused_binds.note(&bound, Instant::now());
        let state = bound?;
        if let AuthMethod::Simple { dn, .. } = auth {
            if state.must_change {
                let reason = format!(
                    "the server accepts the password of `{dn}`, and allows nothing but to change it: an administrator has set it (pwdReset), and whoever knows it must set another one first"
                );
                return Err(Failure::lasting(ConnectErrorKind::Bind, &self.url, reason));
            }
            config.own_password.note(&self.url, dn, state);
        }
        Ok(())
    }

    async fn bind(&mut self, auth: &AuthMethod, server: &ServerUrl) -> Result<PasswordState, Failure> {
        let (method, identity, request) = match auth {
            AuthMethod::Simple { dn, password } => {
                ("simple", dn.as_str(), message::simple_bind(dn, password.reveal().as_bytes()))
            }
            AuthMethod::Anonymous => ("anonymous", "", message::simple_bind("", b"")),
            AuthMethod::External => ("EXTERNAL", "", message::external_bind()),
            #[cfg(feature = "gssapi")]
            AuthMethod::Gssapi | AuthMethod::Ntlm { .. } => {
                return self.sasl_bind(auth, server).await.map(|()| PasswordState::default());
            }
            #[cfg(not(feature = "gssapi"))]
            AuthMethod::Gssapi | AuthMethod::Ntlm { .. } => {
                let _ = server;
                return Err(Failure::lasting(
                    ConnectErrorKind::Unsupported,
                    &self.url,
                    "built without this bind method".into(),
                ));
            }
        };
        // Without it, a password that expires is not known before it has expired.
        let policy = Control { oid: oid::PASSWORD_POLICY.to_owned(), critical: false, value: None };
        let asked = if matches!(auth, AuthMethod::Simple { .. }) { vec![policy] } else { Vec::new() };
        let Message { answer, controls, .. } = self.greet_with(&request, &asked).await?;
        let policy = PolicyResponse::of(&controls);
        match answer {
            Answer::Bind(result) if result.code == result_code::SUCCESS => Ok(outcome::accepted(&policy)),
            Answer::Bind(result) => {
                let result = with_reason(result, &policy);
                Err(Failure::of_bind(&self.url, method, identity, result))
            }
            _ => {
                let reason = "the server answered the bind with something else";
                Err(Failure::lasting(ConnectErrorKind::Bind, &self.url, reason.into()))
            }
        }
    }

    /// Sends the first request of a connection. If the connection is lost, it could not be opened.
    pub(super) async fn greet(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.greet_with(request, &[]).await.map(|message| message.answer)
    }

    async fn greet_with(&mut self, request: &[u8], controls: &[Control]) -> Result<Message, Failure> {
        let asked = async {
            let id = self.send(request, controls).await?;
            let message = self.receive().await?;
            if message.id == id { Ok(message) } else { Err(self.foreign(message.id)) }
        };
        match asked.await {
            Ok(message) => Ok(message),
            Err(DirectoryError::Lost { reason, .. }) => Err(Failure::passing(
                ConnectErrorKind::Network,
                &self.url,
                format!("during the bind: {reason}; does it speak TLS on this port?"),
            )),
            Err(e) => Err(Failure { error: e, curable: false }),
        }
    }
}

/// Returns the result of a refused bind with the reason of its controls.
fn with_reason(result: LdapResult, policy: &PolicyResponse) -> LdapResult {
    let Some(reason) = outcome::reason(policy) else { return result };
    let parts = [result.text.trim(), reason];
    let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    LdapResult { text, ..result }
}

/// Limits a future to `connect_timeout`.
async fn in_time<T>(
    config: &DirectoryConfig,
    server: &ServerUrl,
    opening: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let opened = tokio::time::timeout(config.connect_timeout, opening).await;
    opened.unwrap_or_else(|_| Err(silent(config, server)))
}

fn silent(config: &DirectoryConfig, server: &ServerUrl) -> Failure {
    let limit = in_words(config.connect_timeout);
    let reason = format!("no answer within {limit} (connect timeout)");
    Failure::passing(ConnectErrorKind::Timeout, &server.to_text(), reason)
}

async fn handshake<S: Stream>(
    config: &DirectoryConfig,
    host: &str,
    stream: S,
    url: &str,
) -> Result<tokio_rustls::client::TlsStream<S>, Failure> {
    let client = tls::client_config(&config.tls)
        .map_err(|reason| Failure::lasting(ConnectErrorKind::Certificate, url, reason))?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|_| {
        Failure::lasting(ConnectErrorKind::Tls, url, format!("`{host}` cannot be the name in a certificate"))
    })?;
    TlsConnector::from(client).connect(name, stream).await.map_err(|e| Failure::of_io(url, e))
}
