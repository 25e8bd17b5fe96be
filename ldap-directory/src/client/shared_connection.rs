//! The shared connection: many updates, small searches and extended operations at a time.
//!
//! A task owns the connection. It writes all waiting requests together, so that many outstanding operations need few system calls.
//! Answers are dispatched by message id, in any order.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::client::PASSWORD_MODIFY;
use crate::client::connection::Connection;
use crate::config::DirectoryConfig;
use crate::directory::Scope;
use crate::entry::{Attribute, Entry};
use crate::error::DirectoryError;
use crate::observer::Observing;
use crate::protocol::message::{Answer, Control, LdapResult, Message, SEARCH_REQUEST, abandon, limits};
use crate::protocol::request::EXTENDED_REQUEST;
use crate::protocol::result_code;

/// A command for the task.
enum Request {
    /// Sends an operation, whose answer is expected on a channel.
    Operation { ticket: u64, operation: Vec<u8>, controls: Vec<Control>, reply: oneshot::Sender<Answered> },
    /// Forgets the operation with this ticket: its caller is gone.
    GiveUp(u64),
    /// Unbinds, and confirms.
    Close(oneshot::Sender<()>),
}

/// The complete answer to one operation.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The entries of a search, in their order.
    pub(crate) entries: Vec<Entry>,
    /// Its search result references.
    pub(crate) references: Vec<Vec<String>>,
    /// The DNs that are not UTF-8, escaped.
    pub(crate) unreadable: Vec<String>,
    pub(crate) result: LdapResult,
    /// The value of an extended response.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) controls: Vec<Control>,
    /// The controls of the entries of a search.
    pub(crate) of_entries: Vec<Control>,
}

/// The result of an operation.
type Answered = Result<Reply, Fault>;

/// Why an answer is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It belongs to another operation.
    Foreign,
    /// It does not end: more arrived than was requested, or than can be kept.
    Endless(Bound),
}

/// The maximum size of an answer. Every answer over this connection is kept in memory, and an endless one would fill it. The bound is
/// derived from the request, so that no caller can forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    /// The number of entries and references.
    items: usize,
    octets: usize,
    /// Whether the request has a size limit. Some servers ignore it, and then the limit is applied here.
    is_limited: bool,
}

/// Slightly more than requested: some proxies return an entry once for each server behind them.
const SPARE_ITEMS: usize = 16;
/// The maximum size of one entry, and of one message ([`crate::client::connection`]).
const FEW_OCTETS: usize = 256 * 1024 * 1024;
/// The maximum size of an answer with any number of entries.
const MANY_OCTETS: usize = 1024 * 1024 * 1024;

impl Bound {
    /// Returns the bound of a request: a search of one entry, of a number of entries, or of any number.
    fn of(request: &[u8]) -> Bound {
        let (items, is_limited) = match limits(request) {
            Some((Scope::Base, _)) => (1, false),
            Some((_, limit)) if limit > 0 => (usize::try_from(limit).unwrap_or(usize::MAX), true),
            Some(_) => return Bound { items: usize::MAX, octets: MANY_OCTETS, is_limited: false },
            // Not a search: only the result is kept.
            None => (0, false),
        };
        Bound { items: items.saturating_add(SPARE_ITEMS), octets: FEW_OCTETS, is_limited }
    }
}

/// Returns the size of an entry in memory, in octets.
fn size_of(entry: &Entry) -> usize {
    let attribute = |a: &Attribute| a.description.len() + a.values.iter().map(Vec::len).sum::<usize>();
    entry.dn.len() + entry.attributes.iter().map(attribute).sum::<usize>()
}

/// Returns whether a request changes the directory.
fn changes_something(request: &[u8], operation: &str) -> bool {
    match request.first() {
        Some(&SEARCH_REQUEST) => false,
        Some(&EXTENDED_REQUEST) => operation == PASSWORD_MODIFY,
        _ => true,
    }
}

/// A connection for many operations. Clones share it; it is closed with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct SharedConnection {
    requests: mpsc::UnboundedSender<Request>,
    timeout: Duration,
    observer: Observing,
    url: String,
    /// Why the connection ended, once it has.
    end: Arc<OnceLock<String>>,
    /// The ticket of the next operation.
    tickets: Arc<AtomicU64>,
}

/// An operation whose answer is expected.
struct Asked<'s> {
    session: &'s SharedConnection,
    ticket: u64,
    is_answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            // If the connection has ended, the task is gone.
            let _ = self.session.requests.send(Request::GiveUp(self.ticket));
        }
    }
}

impl SharedConnection {
    /// Starts the task for a bound connection. The operation timeout applies to each operation.
    pub(crate) fn start(connection: Connection, config: &DirectoryConfig) -> Self {
        let url = connection.url().to_owned();
        // Unbounded, but limited by the callers: each waits for an answer before its next request.
        let (requests, waiting) = mpsc::unbounded_channel();
        let end: Arc<OnceLock<String>> = Arc::default();
        let why = end.clone();
        tokio::spawn(async move {
            drive(connection, waiting, &why).await;
        });
        let (timeout, observer) = (config.operation_timeout, config.observer.clone());
        Self { requests, timeout, observer, url, end, tickets: Arc::default() }
    }

    /// Returns whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request and waits for its complete answer. `operation` and `dn` are for messages.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        dn: &str,
        request: Vec<u8>,
        controls: Vec<Control>,
    ) -> Result<Reply, DirectoryError> {
        let watch = self.observer.operation(operation);
        let asked = self.ask_unwatched(operation, dn, request, controls).await;
        if let Some(watch) = watch {
            watch.done(&self.url, asked.as_ref().map(|reply| reply.result.code));
        }
        asked
    }

    async fn ask_unwatched(
        &self,
        operation: &'static str,
        dn: &str,
        request: Vec<u8>,
        controls: Vec<Control>,
    ) -> Result<Reply, DirectoryError> {
        let (reply, answer) = oneshot::channel();
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let lost = || {
            let reason = self.end.get().cloned().unwrap_or_else(|| format!("{} closed it", self.url));
            DirectoryError::lost(operation, dn, reason)
        };
        let is_change = changes_something(&request, operation);
        let request = Request::Operation { ticket, operation: request, controls, reply };
        // Nothing was sent yet.
        self.requests.send(request).map_err(|_| lost())?;
        // If this future is dropped, the operation is forgotten.
        let mut asked = Asked { session: self, ticket, is_answered: false };
        let answered = tokio::time::timeout(self.timeout, answer).await;
        asked.is_answered = answered.is_ok();
        drop(asked);
        let error = match answered {
            Ok(Ok(Ok(reply))) => return Ok(reply),
            Ok(Ok(Err(fault))) => {
                let reason = match fault {
                    Fault::Foreign => format!("{} gave the answer of another operation", self.url),
                    Fault::Endless(bound) => format!(
                        "the answer of {} has no end: more than {} entries or {} MiB came, and it was given up",
                        self.url,
                        bound.items,
                        bound.octets >> 20
                    ),
                };
                DirectoryError::Protocol { operation, dn: dn.to_owned(), reason, outcome_unknown: false }
            }
            Ok(Err(_)) => lost(),
            Err(_) => DirectoryError::timeout(operation, dn, self.timeout),
        };
        Err(if is_change { error.of_sent_change(operation, dn) } else { error })
    }
}

impl SharedConnection {
    /// Unbinds and closes the connection.
    pub(crate) async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).is_ok() {
            // If the task is gone, so is the connection.
            let _ = closed.await;
        }
    }
}

/// A pending operation, and its answer so far.
struct Waiting {
    reply: oneshot::Sender<Answered>,
    /// The ticket that its caller knows.
    ticket: u64,
    /// The request's tag, which determines the expected answer.
    asked: u8,
    so_far: Reply,
    bound: Bound,
    octets: usize,
}

impl Waiting {
    fn is_search(&self) -> bool {
        self.asked == SEARCH_REQUEST
    }

    /// Adds the size of a part of the answer, and detects an excess.
    fn keep(&mut self, octets: usize, keep: impl FnOnce(&mut Reply)) -> Result<(), Bound> {
        self.octets = self.octets.saturating_add(octets);
        keep(&mut self.so_far);
        let items = {
            let Reply { entries, references, unreadable, .. } = &self.so_far;
            entries.len() + references.len() + unreadable.len()
        };
        if items > self.bound.items || self.octets > self.bound.octets { Err(self.bound) } else { Ok(()) }
    }
}

/// Runs until no requests can follow, or the connection is lost: then all callers are notified by their channels, and `end` has the
/// reason.
async fn drive(
    mut connection: Connection,
    mut requests: mpsc::UnboundedReceiver<Request>,
    end: &OnceLock<String>,
) {
    // Dropped after the reason is known: its end notifies the callers.
    let mut operations = Operations::default();
    match until_the_end(&mut connection, &mut requests, &mut operations).await {
        Ok(done) => {
            connection.close().await;
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
        Err(error) => {
            tracing::debug!("the connection ended: {error}");
            let reason = match error {
                DirectoryError::Lost { reason, .. } => reason,
                other => other.to_string(),
            };
            // Before any caller is notified. Nothing else sets it.
            let _ = end.set(reason);
        }
    }
}

async fn until_the_end(
    connection: &mut Connection,
    requests: &mut mpsc::UnboundedReceiver<Request>,
    operations: &mut Operations,
) -> Result<Option<oneshot::Sender<()>>, DirectoryError> {
    let mut is_open = true;
    while is_open || !operations.waiting.is_empty() {
        tokio::select! {
            request = requests.recv(), if is_open => {
                let mut next = request;
                is_open = next.is_some();
                while let Some(request) = next {
                    match request {
                        Request::Operation { ticket, operation, controls, reply } => {
                            let asked = operation.first().copied().unwrap_or_default();
                            let bound = Bound::of(&operation);
                            let id = connection.queue(&operation, &controls);
                            let so_far = Reply::default();
                            let one = Waiting { reply, ticket, asked, so_far, bound, octets: 0 };
                            operations.waiting.insert(id, one);
                        }
                        Request::GiveUp(ticket) => {
                            if let Some(id) = operations.forget(ticket) {
                                connection.queue(&abandon(id), &[]);
                            }
                        }
                        Request::Close(done) => return Ok(Some(done)),
                    }
                    // All waiting requests are sent together.
                    next = requests.try_recv().ok();
                }
            }
            exchanged = connection.exchange() => exchanged?,
        }
        while let Some(message) = connection.take_message()? {
            let dispatched = operations.dispatch(message);
            if let Some(endless) = dispatched.map_err(|id| connection.foreign(id))? {
                connection.queue(&abandon(endless), &[]);
            }
        }
    }
    Ok(None)
}

/// The operations that were sent.
#[derive(Default)]
struct Operations {
    /// Those whose answers are expected.
    waiting: HashMap<i64, Waiting>,
    /// Those whose late answers are skipped.
    forgotten: HashSet<i64>,
}

impl Operations {
    /// Forgets an operation: its late answer is skipped. Returns the id to abandon for a search. A change is left to the server, which may
    /// have begun it.
    fn forget(&mut self, ticket: u64) -> Option<i32> {
        let id = self.waiting.iter().find(|(_, one)| one.ticket == ticket).map(|(id, _)| *id)?;
        let one = self.remove(id)?;
        one.is_search().then(|| i32::try_from(id).ok())?
    }

    fn remove(&mut self, id: i64) -> Option<Waiting> {
        self.forgotten.insert(id);
        self.waiting.remove(&id)
    }

    /// Dispatches a message. Returns the id of an operation to abandon, because its answer does not end.
    ///
    /// # Errors
    /// Fails with the message's id if it belongs to none of them.
    fn dispatch(&mut self, message: Message) -> Result<Option<i32>, i64> {
        let Message { id, answer, controls } = message;
        let Some(one) = self.waiting.get_mut(&id) else {
            return if self.forgotten.contains(&id) { Ok(None) } else { Err(id) };
        };
        let kept = match answer {
            Answer::Entry(entry) if one.is_search() => {
                let more: usize = controls.iter().filter_map(|c| c.value.as_ref()).map(Vec::len).sum();
                let octets = size_of(&entry).saturating_add(more);
                one.keep(octets, |reply| {
                    reply.entries.push(entry);
                    reply.of_entries.extend(controls);
                })
            }
            Answer::Reference(urls) if one.is_search() => {
                let octets = urls.iter().map(String::len).sum();
                one.keep(octets, |reply| reply.references.push(urls))
            }
            Answer::Unreadable(dn) if one.is_search() => {
                one.keep(dn.len(), |reply| reply.unreadable.push(dn))
            }
            Answer::Intermediate { .. } => Ok(()),
            answer => {
                let end = answer.into_end(one.asked);
                if end.is_none() {
                    // More of it may arrive.
                    self.forgotten.insert(id);
                }
                let Some(Waiting { reply, so_far, .. }) = self.waiting.remove(&id) else { return Ok(None) };
                let answered = end.map(|(result, value)| Reply { result, value, controls, ..so_far });
                // The caller may be gone.
                let _ = reply.send(answered.ok_or(Fault::Foreign));
                return Ok(None);
            }
        };
        Ok(self.give_up(id, kept))
    }

    /// Reports an answer without end to its caller, and returns the id to abandon. An answer beyond the size limit of its request ends as if
    /// the server had honored that.
    fn give_up(&mut self, id: i64, kept: Result<(), Bound>) -> Option<i32> {
        let bound = kept.err()?;
        let one = self.remove(id)?;
        let answered = if bound.is_limited && one.octets <= bound.octets {
            let result = LdapResult { code: result_code::SIZE_LIMIT_EXCEEDED, ..LdapResult::default() };
            Ok(Reply { result, ..one.so_far })
        } else {
            Err(Fault::Endless(bound))
        };
        // The caller may be gone.
        let _ = one.reply.send(answered);
        i32::try_from(id).ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::filter::Filter;
    use crate::protocol::message::{envelope, frame, head, search};

    /// Returns the next message that the server receives: its id, its tag and its content.
    async fn next(server: &mut DuplexStream, inbox: &mut Vec<u8>) -> (i64, u8, Vec<u8>) {
        loop {
            if let Ok(at) = frame(inbox)
                && at.end <= inbox.len()
            {
                let message: Vec<u8> = inbox.drain(..at.end).skip(at.start).collect();
                let head = head(&message).unwrap();
                let content = message.get(head.operation).unwrap().to_vec();
                return (head.id, head.tag, content);
            }
            assert!(server.read_buf(inbox).await.unwrap() > 0);
        }
    }

    #[tokio::test]
    async fn a_search_that_nobody_waits_for_is_abandoned_and_what_comes_of_it_is_kept_by_nobody() {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let session = SharedConnection::start(
            Connection::over_stream(client),
            &DirectoryConfig::new([]).operation_timeout(Duration::from_millis(50)),
        );
        let ask = || search("dc=x", Scope::Subtree, &Filter::Present("cn".into()), &[], 0);
        let late = session.ask("search", "dc=x", ask(), Vec::new()).await;
        assert!(matches!(late, Err(DirectoryError::Timeout { .. })));
        let mut inbox = Vec::new();
        let (asked, tag, _) = next(&mut server, &mut inbox).await;
        assert_eq!(tag, SEARCH_REQUEST);
        let (_, tag, content) = next(&mut server, &mut inbox).await;
        let id = u8::try_from(asked).unwrap();
        assert_eq!((tag, content), (0x50, vec![id]), "AbandonRequest (RFC 4511 section 4.11)");

        // Dropping the future forgets the operation too.
        let dropped = session.ask("search", "dc=x", ask(), Vec::new());
        assert!(tokio::time::timeout(Duration::from_millis(10), dropped).await.is_err());
        let (second, ..) = next(&mut server, &mut inbox).await;
        let (_, tag, content) = next(&mut server, &mut inbox).await;
        assert_eq!((tag, content), (0x50, vec![u8::try_from(second).unwrap()]));

        // A late answer is skipped, and the next one reaches its caller.
        let done =
            |id: i64| envelope(i32::try_from(id).unwrap(), b"\x65\x07\x0a\x01\x00\x04\x00\x04\x00", &[]);
        server.write_all(&done(asked)).await.unwrap();
        let answer = async {
            let (id, ..) = next(&mut server, &mut inbox).await;
            server.write_all(&done(id)).await.unwrap();
        };
        let (reply, ()) = tokio::join!(session.ask("search", "dc=x", ask(), Vec::new()), answer);
        assert_eq!(reply.unwrap().result.code, result_code::SUCCESS);

        // A change is left to the server.
        let change = [0x4a, 4, b'd', b'c', b'=', b'x'].to_vec();
        assert!(session.ask("delete", "dc=x", change, Vec::new()).await.is_err());
        let (_, tag, _) = next(&mut server, &mut inbox).await;
        assert_eq!(tag, 0x4a);
        session.close().await;
        assert_eq!(next(&mut server, &mut inbox).await.1, 0x42, "UnbindRequest, and no other message");
    }
}
