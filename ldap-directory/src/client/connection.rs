//! A bound connection: sends and receives messages.
//!
//! Nothing is read before a message is requested. So a slow consumer slows the server down (TCP's backpressure), and memory is bounded by
//! one message, even if an answer is long or endless (streaming searches, content synchronization by RFC 4533, change notification).
//! Several searches may run at once; their answers arrive as the server interleaves them.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::probe::TlsFacts;
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::observer::ConnectionObserver;
use crate::oid;
use crate::protocol::message::{self, Answer, Control, LdapResult, Message};
use crate::protocol::{ber, result_code};

mod exchange;
mod open;
#[cfg(feature = "gssapi")]
mod sasl;
#[cfg(feature = "gssapi")]
mod sealed;
mod stream;

use stream::Stream;

/// The maximum size of a message: larger than any entry that a server allows (slapd's sockbuf_max_incoming_auth is 16 MiB), small enough that
/// a forged length does not exhaust memory.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;
/// TCP keepalive, which detects a lost peer.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
/// The minimum buffer space of one read from the socket.
const READ: usize = 64 * 1024;
/// The buffer capacity that is kept after a larger message.
const KEPT: usize = 4 * READ;
/// How long octets accumulate ([`Connection::let_collect`]): the resolution of tokio's clock. A server that writes entry by entry writes
/// about a hundred of them meanwhile, which fit into the socket's buffer.
const COLLECT: Duration = Duration::from_millis(1);

/// Returns the end of a period from now on; far in the future if the clock has no such time.
pub(crate) fn deadline(period: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(period).unwrap_or_else(|| now + FAR)
}

/// A bound connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// Octets received and not yet consumed, from `taken` on.
    inbox: Vec<u8>,
    taken: usize,
    last_id: i32,
    /// The greatest id so far.
    greatest_id: i32,
    url: String,
    /// The server's address, if it has one.
    peer: Option<SocketAddr>,
    /// The size of the last read.
    last_read: usize,
    /// Requests to send ([`Self::exchange`]).
    outbox: Vec<u8>,
    /// Whether the stream may hold unflushed octets.
    unflushed: bool,
    /// The result of TLS negotiation, with TLS.
    tls: Option<TlsFacts>,
    /// The observer of the connection, once it is bound.
    counted: Option<Box<dyn ConnectionObserver>>,
    /// The channel binding by the server's certificate (RFC 5929 section 4).
    #[cfg_attr(not(feature = "gssapi"), allow(dead_code, reason = "only GSS-API binds to it"))]
    end_point: Option<Vec<u8>>,
}

/// An incoming message, with entries of a search in place.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// An entry of the search: the position of its content, for [`Connection::octets`], valid until the next wait.
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
    /// Returns the result of TLS negotiation, with TLS.
    pub(crate) fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    fn new(stream: Box<dyn Stream>, url: &str, peer: Option<SocketAddr>) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            taken: 0,
            last_id: 0,
            greatest_id: 0,
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

    /// Returns a connection whose peer is closed.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        Self::over_stream(tokio::io::duplex(1).0)
    }

    /// Returns a connection to a test's server.
    #[cfg(test)]
    pub(crate) fn over_stream(stream: tokio::io::DuplexStream) -> Self {
        Self::new(Box::new(stream), "ldap://test", None)
    }

    /// Returns the server's address, if it has one.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Begins a search; a size limit of 0 is none. Returns the message id of its answers.
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

    /// Abandons a search: the server soon stops sending its answers.
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

    /// Sends a change while no other operation is in progress, and waits for its result.
    pub(crate) async fn change(
        &mut self,
        operation: &[u8],
        controls: &[Control],
    ) -> Result<LdapResult, DirectoryError> {
        self.ask(operation, controls).await.map(|(result, _)| result)
    }

    /// Returns whether the server has neither sent anything since the last answer nor closed the connection, as far as this machine knows.
    /// For a connection without an operation in progress.
    pub(crate) fn is_quiet(&self) -> bool {
        self.taken == self.inbox.len() && self.stream.is_quiet()
    }

    /// Sends a bind while no other operation is in progress, and waits for its result. Returns it with the controls of the answer.
    pub(crate) async fn ask_bind(
        &mut self,
        operation: &[u8],
        controls: &[Control],
    ) -> Result<(LdapResult, Vec<Control>), DirectoryError> {
        self.ask(operation, controls).await
    }

    /// Sends a request that is not a search while no other operation is in progress, and waits for its result, with the controls of the
    /// answer.
    async fn ask(
        &mut self,
        operation: &[u8],
        controls: &[Control],
    ) -> Result<(LdapResult, Vec<Control>), DirectoryError> {
        let id = self.send(operation, controls).await?;
        let request = operation.first().copied().unwrap_or_default();
        loop {
            let Message { id: of, answer, controls } = self.receive().await?;
            if of != id {
                return Err(self.foreign(of));
            }
            if matches!(answer, Answer::Intermediate { .. }) {
                continue;
            }
            return match answer.into_end(request) {
                Some((result, _)) => Ok((result, controls)),
                None => Err(self.lost("it carried the answer of another operation")),
            };
        }
    }

    /// Sends the beginning of a request, and returns whether the server closes the connection. It is not usable afterwards.
    pub(crate) async fn is_cut_by(&mut self, beginning: &[u8], patience: Duration) -> bool {
        let cut = async {
            self.stream.write_all(beginning).await.ok()?;
            self.stream.flush().await.ok()?;
            loop {
                self.fill().await.ok()?;
            }
        };
        // Never `Some`: it reads until the connection fails.
        let ended: Result<Option<()>, _> = tokio::time::timeout(patience, cut).await;
        ended.is_ok()
    }

    /// Returns the next message id. 0 is reserved for the server (RFC 4511 section 4.1.1.1). After an overflow, low ids are free again.
    fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.greatest_id = self.greatest_id.max(self.last_id);
        self.last_id
    }

    /// Returns the next message of any search. Cancel safe.
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

    /// Returns the next message, if it has arrived completely; entries of one search remain in the buffer.
    pub(crate) fn take_incoming(&mut self, search: i64) -> Result<Option<Incoming>, DirectoryError> {
        while let Some(content) = self.next_content()? {
            let head = message::head(self.octets(&content)).ok_or_else(|| self.nonsense())?;
            if head.tag == message::SEARCH_ENTRY && head.id == search {
                // Only controls may follow, and none was requested that accompanies entries.
                let (start, end) = (head.operation.start, head.operation.end);
                return Ok(Some(Incoming::Entry(content.start + start..content.start + end)));
            }
            if let Some(message) = self.message(content)? {
                return Ok(Some(Incoming::Other(message)));
            }
        }
        Ok(None)
    }

    /// Returns received octets.
    pub(crate) fn octets(&self, at: &Range<usize>) -> &[u8] {
        self.inbox.get(at.clone()).unwrap_or_default()
    }

    /// Consumes the next message, if it has arrived completely. Returns the position of its content.
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

    /// Decodes a message. `None` for an unsolicited notification that is ignored.
    ///
    /// A message belongs to a request that was sent. The id 0 is that of unsolicited notifications, which are extended responses (RFC 4511
    /// section 4.4).
    fn message(&self, content: Range<usize>) -> Result<Option<Message>, DirectoryError> {
        let message = message::parse(self.octets(&content)).ok_or_else(|| self.nonsense())?;
        match (message.id, &message.answer) {
            (0, Answer::Extended { result, name, .. }) => {
                if name.as_deref() == Some(oid::NOTICE_OF_DISCONNECTION) {
                    let why = result_code::describe(result.code, &result.text);
                    return Err(self.lost(&format!("the server said goodbye: {why}")));
                }
                // RFC 4511 section 4.4: an unknown unsolicited notification is ignored.
                Ok(None)
            }
            (id, _) if (1..=i64::from(self.greatest_id)).contains(&id) => Ok(Some(message)),
            (id, _) => Err(self.foreign(id)),
        }
    }

    /// Returns the error of a message that belongs to no operation in progress. Its content would be missing from where it belongs, so it is
    /// not skipped.
    pub(crate) fn foreign(&self, id: i64) -> DirectoryError {
        self.lost(&format!(
            "the server sent a message with the id {id}, which is that of no operation in progress"
        ))
    }

    /// Removes consumed octets from the buffer.
    fn forget_taken(&mut self) {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        if self.inbox.len() < KEPT / 2 && self.inbox.capacity() > KEPT {
            self.inbox.shrink_to(KEPT);
        }
    }

    /// Reports received octets to the observer.
    fn count(&self, octets: usize) {
        if let Some(counted) = &self.counted {
            counted.received(octets);
        }
    }

    /// Waits for more octets. Cancel safe.
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

    /// Lets octets accumulate for a moment, during a long answer. slapd writes entry by entry; reading each at once costs a packet and a
    /// wakeup for each, on one machine and between containers. Over a network, they arrive together, and it makes no difference.
    pub(crate) async fn let_collect(&self) {
        // After a large read, they have accumulated.
        if self.last_read < READ / 2 {
            tokio::time::sleep(COLLECT).await;
        }
    }

    /// Returns the result of a search, if its end has arrived behind unread messages.
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

    /// Returns whether a whole message has arrived, so that [`Self::receive`] would not wait.
    pub(crate) fn has_message(&self) -> bool {
        let unread = self.inbox.get(self.taken..).unwrap_or_default();
        message::frame(unread).is_ok_and(|content| content.end <= unread.len())
    }

    /// Unbinds and closes.
    pub(crate) async fn close(mut self) {
        // The server would notice anyway: a failure does not matter.
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
        DirectoryError::lost("search", &self.url, reason)
    }
}
