//! A connection, bound: octets out and in, messages one by one.
//!
//! For answers that are long or have no end (streamed searches, content synchronisation by RFC 4533, change notification)
//! nothing is read before somebody asks for it, so that a slow reader of stdout slows the server down (TCP's own backpressure) and memory
//! stays what one message takes. Several searches may run at once; their answers come as the server interleaves them.

use crate::error::ConnectErrorKind;
use crate::oid;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::addresses::{self, Race};
use super::connect::Failure;
use super::probe::TlsFacts;
use super::tls;
use crate::config::{AuthMethod, DirectoryConfig, ServerUrl};
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::observer::ConnectionObserver;
use crate::protocol::message::{self, Answer, Control, LdapResult, Message};
use crate::protocol::{ber, request, result_code};

mod exchange;
#[cfg(feature = "gssapi")]
mod sasl;
#[cfg(feature = "gssapi")]
mod sealed;

/// The largest message taken: larger than any entry a server allows (slapd's sockbuf_max_incoming_auth is 4 MiB), small
/// enough that a length made up by an attacker does not fill the memory.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;
/// After so much silence the other side is asked whether it is still there.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
/// What one read from the socket takes at least.
const READ: usize = 64 * 1024;
/// The room for octets that is kept when a larger message is through.
const KEPT: usize = 4 * READ;
/// How long octets are left to collect ([`Connection::let_collect`]): the least that tokio's clock counts. A server that
/// writes entry by entry writes some hundred of them meanwhile, and what it writes has room in the socket.
const COLLECT: Duration = Duration::from_millis(1);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// A connection, bound.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// Octets read and not yet taken, from `taken` on.
    inbox: Vec<u8>,
    taken: usize,
    last_id: i32,
    url: String,
    /// Where the connection goes to exactly, where that is an address.
    peer: Option<SocketAddr>,
    /// How much the last read brought.
    last_read: usize,
    /// Requests to be sent ([`Self::exchange`]).
    outbox: Vec<u8>,
    /// Whether the stream may keep octets back that it took.
    unflushed: bool,
    /// What TLS agreed on, where there is TLS.
    tls: Option<TlsFacts>,
    /// Counts it, and what comes over it, once it is bound.
    counted: Option<Box<dyn ConnectionObserver>>,
    /// How the TLS connection is known by its server's certificate (RFC 5929 section 4).
    #[cfg_attr(not(feature = "gssapi"), allow(dead_code, reason = "only GSS-API binds to it"))]
    end_point: Option<Vec<u8>>,
}

/// What a message turned out to be, for who reads a search's answer by the million.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// An entry of the search. Where the operation's content is, for [`Connection::octets`]; until the next message is
    /// waited for.
    Entry(Range<usize>),
    /// Anything else.
    Other(Message),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to one server and binds as configured, each of its addresses within `connect_timeout`. `address` is where exactly, where that is
    /// known: a name may stand for many servers, and positions in the log of one mean nothing to another.
    pub(crate) async fn open(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let watch = config.observer.connecting(server);
        let mut result = Self::open_somewhere(config, server, address).await;
        if let Some(watch) = watch {
            watch.done(result.as_ref().map(|_| ()).map_err(|failure| &failure.error));
        }
        if let Ok(connection) = &mut result {
            connection.counted = config.observer.connected(&connection.url);
        }
        result
    }

    /// Tries each address of the server, unless it is given. Each has a limit of its own for what follows TCP, too: a server
    /// may take a connection and never say a word.
    async fn open_somewhere(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let ServerUrl::Ldap { host, port, .. } = server else {
            return in_time(config, server, Self::open_bound(config, server, None)).await;
        };
        let addresses = match address {
            Some(address) => vec![address],
            None => addresses::lookup(config, server, host, *port).await?,
        };
        let mut race = Race::of(addresses, config.connect_timeout);
        let mut failures = Vec::new();
        while let Some((address, reached)) = race.next().await {
            let opened = match reached {
                Some(Ok(tcp)) => in_time(config, server, Self::open_bound(config, server, Some(tcp))).await,
                Some(Err(e)) => Err(Failure::of_io(&server.to_text(), &e)),
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
    ) -> Result<Self, Failure> {
        let mut connection = Self::over(config, server, tcp).await?;
        connection.bind(&config.auth, server).await?;
        Ok(connection)
    }

    /// Connects to an address, TLS included, without a bind and within `connect_timeout`.
    pub(crate) async fn open_unbound(
        config: &DirectoryConfig,
        server: &ServerUrl,
        address: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let opening = async {
            let tcp = match address {
                Some(address) => Some(
                    TcpStream::connect(address).await.map_err(|e| Failure::of_io(&server.to_text(), &e))?,
                ),
                None => None,
            };
            Self::over(config, server, tcp).await
        };
        in_time(config, server, opening).await
    }

    /// Over a TCP connection, or one of its own to a socket of this machine.
    async fn over(
        config: &DirectoryConfig,
        server: &ServerUrl,
        tcp: Option<TcpStream>,
    ) -> Result<Self, Failure> {
        let url = server.to_text();
        let io = |e: std::io::Error| Failure::of_io(&url, &e);
        Ok(match server {
            ServerUrl::Ldap { host, tls, .. } => {
                let tcp = tcp.ok_or_else(|| {
                    Failure::lasting(ConnectErrorKind::Resolve, &url, "it has no address".into())
                })?;
                tcp.set_nodelay(true).map_err(io)?;
                let peer = tcp.peer_addr().ok();
                // Whoever waits for changes sends nothing: a peer that vanished would never be noticed.
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
        let bound = tokio::time::timeout(config.connect_timeout, self.bind(&config.auth, server)).await;
        bound.unwrap_or_else(|_| {
            let seconds = config.connect_timeout.as_secs();
            Err(Failure::passing(
                ConnectErrorKind::Timeout,
                &self.url,
                format!("no answer to the bind within {seconds} s"),
            ))
        })
    }

    /// What TLS agreed on, where there is TLS.
    pub(crate) fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    fn new(stream: Box<dyn Stream>, url: &str, peer: Option<SocketAddr>) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            taken: 0,
            last_id: 0,
            url: url.to_owned(),
            peer,
            last_read: 0,
            outbox: Vec::new(),
            unflushed: false,
            tls: None,
            counted: None,
            end_point: None,
        }
    }

    /// One whose other side is closed.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        Self::over_stream(tokio::io::duplex(1).0)
    }

    /// One to a server of a test's own.
    #[cfg(test)]
    pub(crate) fn over_stream(stream: tokio::io::DuplexStream) -> Self {
        Self::new(Box::new(stream), "ldap://test", None)
    }

    /// Over TLS.
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
            let why = result_code::describe(result.code, &result.text);
            return Err(Failure::lasting(ConnectErrorKind::StartTls, &url, format!("StartTLS: {why}")));
        }
        // RFC 4511 section 4.14.1: nothing may follow the answer in clear text. What does was put there by somebody
        // else.
        if self.taken < self.inbox.len() {
            let reason = "the server went on in clear text after StartTLS";
            return Err(Failure::lasting(ConnectErrorKind::Bind, &url, reason.into()));
        }
        let secured = handshake(config, host, self.stream, &url).await?;
        Ok(Self::secured(secured, &url, self.peer))
    }

    async fn bind(&mut self, auth: &AuthMethod, server: &ServerUrl) -> Result<(), Failure> {
        let (method, identity, request) = match auth {
            AuthMethod::Simple { dn, password } => {
                ("simple", dn.as_str(), message::simple_bind(dn, password.reveal().as_bytes()))
            }
            AuthMethod::Anonymous => ("anonymous", "", message::simple_bind("", b"")),
            AuthMethod::External => ("EXTERNAL", "", message::external_bind()),
            #[cfg(feature = "gssapi")]
            AuthMethod::Gssapi | AuthMethod::Ntlm { .. } => return self.sasl_bind(auth, server).await,
            #[cfg(not(feature = "gssapi"))]
            AuthMethod::Gssapi | AuthMethod::Ntlm { .. } => {
                let _ = server;
                return Err(Failure::lasting(
                    ConnectErrorKind::Unsupported,
                    &self.url,
                    "built without this auth_method".into(),
                ));
            }
        };
        match self.greet(&request).await? {
            Answer::Bind(result) if result.code == result_code::SUCCESS => Ok(()),
            Answer::Bind(result) => Err(Failure::of_bind(&self.url, method, identity, result)),
            _ => {
                let reason = "the server answered the bind with something else";
                Err(Failure::lasting(ConnectErrorKind::Bind, &self.url, reason.into()))
            }
        }
    }

    /// Asks before anything else is under way. A connection that is lost by then has not come about.
    async fn greet(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let asked = async {
            self.send(request, &[]).await?;
            self.receive().await
        };
        match asked.await {
            Ok(message) => Ok(message.answer),
            Err(DirectoryError::Lost { reason, .. }) => Err(Failure::passing(
                ConnectErrorKind::Bind,
                &self.url,
                format!("during the bind: {reason}; does it speak TLS on this port?"),
            )),
            Err(e) => Err(Failure { error: e, curable: false }),
        }
    }

    /// Where the connection goes to, where that is an address.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Begins a search, without a size limit where that is 0. Gives the id that its answers carry.
    pub(crate) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &Filter,
        attributes: &[String],
        size_limit: u32,
        controls: &[Control],
    ) -> Result<i64, DirectoryError> {
        self.send(&message::search(base, scope, filter, attributes, size_limit), controls).await
    }

    /// Ends a search: the server sends nothing more for it, sooner or later.
    pub(crate) async fn abandon(&mut self, id: i64) -> Result<(), DirectoryError> {
        let id = i32::try_from(id).unwrap_or_default();
        self.send(&message::abandon(id), &[]).await.map(|_| ())
    }

    async fn send(&mut self, operation: &[u8], controls: &[Control]) -> Result<i64, DirectoryError> {
        let id = self.next_id();
        let octets = message::envelope(id, operation, controls);
        let result = async {
            self.stream.write_all(&octets).await?;
            self.stream.flush().await
        };
        result.await.map_err(|e| self.lost(&e.to_string()))?;
        Ok(i64::from(id))
    }

    /// Asks for a change while nothing else is under way, and waits for what became of it.
    pub(crate) async fn change(
        &mut self,
        operation: &[u8],
        controls: &[Control],
    ) -> Result<LdapResult, DirectoryError> {
        let id = self.send(operation, controls).await?;
        loop {
            let message = self.receive().await?;
            return match message.answer {
                _ if message.id != id => continue,
                Answer::Intermediate { .. } => continue,
                Answer::Changed(result) => Ok(result),
                // As of any change ([`crate::client::shared_connection`]).
                Answer::Extended { result, .. } | Answer::Done(result)
                    if result.code != result_code::SUCCESS =>
                {
                    Ok(result)
                }
                _ => Err(self.nonsense()),
            };
        }
    }

    /// Sends the beginning of a request, and sees whether the connection is lost by it. Nothing else can be done with it then.
    pub(crate) async fn is_cut_by(&mut self, beginning: &[u8], patience: Duration) -> bool {
        let cut = async {
            self.stream.write_all(beginning).await.ok()?;
            self.stream.flush().await.ok()?;
            loop {
                self.fill().await.ok()?;
            }
        };
        // Never `Some`: it reads for as long as it can.
        let ended: Result<Option<()>, _> = tokio::time::timeout(patience, cut).await;
        ended.is_ok()
    }

    /// RFC 4511 section 4.1.1.1: 0 is the server's. Who comes round again has long had the answers to the first ones.
    fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The next message, whatever search it belongs to. May be dropped while it waits: nothing is lost.
    pub(crate) async fn receive(&mut self) -> Result<Message, DirectoryError> {
        loop {
            if let Some(content) = self.next_content()? {
                if let Some(message) = self.message(content)? {
                    return Ok(message);
                }
            } else {
                self.fill().await?;
            }
        }
    }

    /// The next message if all of it is here already; entries of one search are left where they are.
    pub(crate) fn take_incoming(&mut self, search: i64) -> Result<Option<Incoming>, DirectoryError> {
        while let Some(content) = self.next_content()? {
            let head = message::head(self.octets(&content)).ok_or_else(|| self.nonsense())?;
            if head.tag == message::SEARCH_ENTRY && head.id == search {
                // Only controls may follow, and who reads so asked for none that come with entries.
                let (start, end) = (head.operation.start, head.operation.end);
                return Ok(Some(Incoming::Entry(content.start + start..content.start + end)));
            }
            if let Some(message) = self.message(content)? {
                return Ok(Some(Incoming::Other(message)));
            }
        }
        Ok(None)
    }

    /// Octets that were read.
    pub(crate) fn octets(&self, at: &Range<usize>) -> &[u8] {
        self.inbox.get(at.clone()).unwrap_or_default()
    }

    /// Takes the next message, if all of it is here: where its content is.
    fn next_content(&mut self) -> Result<Option<Range<usize>>, DirectoryError> {
        let unread = self.inbox.get(self.taken..).unwrap_or_default();
        match message::frame(unread) {
            Ok(content) if content.end <= unread.len() => {
                let content = self.taken + content.start..self.taken + content.end;
                self.taken = content.end;
                Ok(Some(content))
            }
            Ok(content) if content.end > MAX_MESSAGE => Err(self.lost(&format!(
                "a message of {} octets is too large: at most {} MiB are taken",
                content.end,
                MAX_MESSAGE >> 20
            ))),
            Err(ber::Incomplete::Malformed) => Err(self.nonsense()),
            Ok(_) | Err(ber::Incomplete::More) => Ok(None),
        }
    }

    /// Reads a message that is for somebody.
    fn message(&self, content: Range<usize>) -> Result<Option<Message>, DirectoryError> {
        let message = message::parse(self.octets(&content)).ok_or_else(|| self.nonsense())?;
        let (0, Answer::Extended { result, name, .. }) = (message.id, &message.answer) else {
            return Ok(Some(message));
        };
        if name.as_deref() == Some(oid::NOTICE_OF_DISCONNECTION) {
            let why = result_code::describe(result.code, &result.text);
            return Err(self.lost(&format!("the server said goodbye: {why}")));
        }
        // RFC 4511 section 4.4: an unsolicited notification nobody knows is to be ignored.
        Ok(None)
    }

    /// Makes room for what comes.
    fn forget_taken(&mut self) {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        if self.inbox.len() < KEPT / 2 && self.inbox.capacity() > KEPT {
            self.inbox.shrink_to(KEPT);
        }
    }

    /// So many octets were read.
    fn count(&self, octets: usize) {
        if let Some(counted) = &self.counted {
            counted.received(octets);
        }
    }

    /// Waits for more octets. May be dropped while it waits: nothing is lost.
    pub(crate) async fn fill(&mut self) -> Result<(), DirectoryError> {
        self.forget_taken();
        self.inbox.reserve(READ);
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) => Err(self.lost("the server closed it")),
            Ok(count) => {
                self.last_read = count;
                self.count(count);
                Ok(())
            }
            Err(e) => Err(self.lost(&e.to_string())),
        }
    }

    /// Lets octets collect for a moment, where a long answer is under way. slapd writes entry by entry; who reads each at
    /// once makes it send a packet, and wake somebody up for each, on this machine and between containers. From far they
    /// come together, and it makes no difference.
    pub(crate) async fn let_collect(&self) {
        // Where a read brings as much as it takes, they have collected.
        if self.last_read < READ / 2 {
            tokio::time::sleep(COLLECT).await;
        }
    }

    /// The result of a search, if its end is here already, behind whatever was not taken yet.
    pub(crate) fn peek_end(&self, search: i64) -> Option<Message> {
        let mut at = self.taken;
        loop {
            let unread = self.inbox.get(at..)?;
            let content = message::frame(unread).ok()?;
            let octets = unread.get(content.clone())?;
            let head = message::head(octets)?;
            if head.tag == message::SEARCH_DONE && head.id == search {
                return message::parse(octets);
            }
            at += content.end;
        }
    }

    /// Whether a whole message is here already, so that [`Self::receive`] would not wait.
    pub(crate) fn has_message(&self) -> bool {
        let unread = self.inbox.get(self.taken..).unwrap_or_default();
        message::frame(unread).is_ok_and(|content| content.end <= unread.len())
    }

    /// Unbinds and closes.
    pub(crate) async fn close(mut self) {
        // The server would notice anyway: whether it still could be told does not matter.
        let goodbye = async {
            let _ = self.send(&message::unbind(), &[]).await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }

    fn nonsense(&self) -> DirectoryError {
        self.lost("what came over it is not LDAP")
    }

    fn lost(&self, reason: &str) -> DirectoryError {
        DirectoryError::Lost { operation: "search", dn: self.url.clone(), reason: reason.to_owned() }
    }
}

/// Within `connect_timeout`.
async fn in_time<T>(
    config: &DirectoryConfig,
    server: &ServerUrl,
    opening: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let opened = tokio::time::timeout(config.connect_timeout, opening).await;
    opened.unwrap_or_else(|_| Err(silent(config, server)))
}

fn silent(config: &DirectoryConfig, server: &ServerUrl) -> Failure {
    let seconds = config.connect_timeout.as_secs();
    let reason = format!("no answer within {seconds} s (connect_timeout_seconds)");
    Failure::passing(ConnectErrorKind::Tls, &server.to_text(), reason)
}

async fn handshake<S: Stream>(
    config: &DirectoryConfig,
    host: &str,
    stream: S,
    url: &str,
) -> Result<tokio_rustls::client::TlsStream<S>, Failure> {
    let client = tls::client_config(&config.tls)
        .map_err(|reason| Failure::lasting(ConnectErrorKind::Tls, url, reason))?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|_| {
        Failure::lasting(ConnectErrorKind::Tls, url, format!("`{host}` cannot be the name in a certificate"))
    })?;
    TlsConnector::from(client).connect(name, stream).await.map_err(|e| Failure::of_io(url, &e))
}
