//! Many operations at a time over one connection: changes, small searches and extended operations.
//!
//! A task of its own has the connection. It takes all requests that wait at once and writes them together, so that a run
//! with many operations outstanding costs few system calls; answers find who asked by their id, in any order.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::result_code;
use super::wire::request::EXTENDED_REQUEST;
use super::wire::{Answer, Connection, Control, LdapResult, Message, SEARCH_REQUEST};
use crate::directory::error::DirectoryError;
use crate::entry::Entry;
use crate::observe;

/// What the task is asked for.
enum Request {
    /// An operation, and who waits for its answer.
    Operation { operation: Vec<u8>, controls: Vec<Control>, reply: oneshot::Sender<Answered> },
    /// To unbind, and to say when that is done.
    Close(oneshot::Sender<()>),
}

/// All of the answer to one operation.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// A search's entries, in the order they came.
    pub(super) entries: Vec<Entry>,
    /// Its continuation references.
    pub(super) references: Vec<Vec<String>>,
    pub(super) result: LdapResult,
    /// What an extended operation answers.
    pub(super) value: Option<Vec<u8>>,
    pub(super) controls: Vec<Control>,
}

/// What came of an operation; `None`: an answer that makes no sense.
type Answered = Option<Reply>;

/// A connection for many operations. Clones share it; it is closed with the last of them.
#[derive(Debug, Clone)]
pub(super) struct Session {
    requests: mpsc::UnboundedSender<Request>,
    timeout: Duration,
    url: String,
    /// Why the connection ended, once it has.
    end: Arc<OnceLock<String>>,
}

impl Session {
    /// Begins to use a connection that is bound. `timeout` is for each operation.
    pub(super) fn start(connection: Connection, timeout: Duration) -> Self {
        let url = connection.url().to_owned();
        // Unbounded, but for who asks: each waits for an answer before the next.
        let (requests, waiting) = mpsc::unbounded_channel();
        let end: Arc<OnceLock<String>> = Arc::default();
        let why = end.clone();
        tokio::spawn(async move {
            drive(connection, waiting, &why).await;
        });
        Self { requests, timeout, url, end }
    }

    /// Sends a request and waits for all of its answer. `operation` and `dn` are for messages.
    pub(super) async fn ask(
        &self,
        operation: &'static str,
        dn: &str,
        request: Vec<u8>,
        controls: Vec<Control>,
    ) -> Result<Reply, DirectoryError> {
        let watch = observe::asking(operation);
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
        let lost = || DirectoryError::Lost {
            operation,
            dn: dn.to_owned(),
            reason: self.end.get().cloned().unwrap_or_else(|| format!("{} closed it", self.url)),
        };
        self.requests.send(Request::Operation { operation: request, controls, reply }).map_err(|_| lost())?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) => Err(DirectoryError::Protocol {
                operation,
                dn: dn.to_owned(),
                reason: format!(
                    "{} gave the answer of another operation; whether it was done is not known",
                    self.url
                ),
            }),
            Ok(Err(_)) => Err(lost()),
            Err(_) => {
                Err(DirectoryError::Timeout { operation, dn: dn.to_owned(), seconds: self.timeout.as_secs() })
            }
        }
    }
}

impl Session {
    /// Unbinds.
    pub(super) async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).is_ok() {
            // Whoever cannot be told is gone already.
            let _ = closed.await;
        }
    }
}

/// Who waits for an answer, and what came of it so far.
struct Waiting {
    reply: oneshot::Sender<Answered>,
    /// The request's tag, which says what may be its answer.
    asked: u8,
    so_far: Reply,
}

/// Until nobody has requests any more, or the connection is lost: then whoever waits is told by its channel, and `end` says
/// why.
async fn drive(
    mut connection: Connection,
    mut requests: mpsc::UnboundedReceiver<Request>,
    end: &OnceLock<String>,
) {
    let mut waiting: HashMap<i64, Waiting> = HashMap::new();
    match until_the_end(&mut connection, &mut requests, &mut waiting).await {
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
            // Before anybody is told: nobody else sets it.
            let _ = end.set(reason);
        }
    }
}

async fn until_the_end(
    connection: &mut Connection,
    requests: &mut mpsc::UnboundedReceiver<Request>,
    waiting: &mut HashMap<i64, Waiting>,
) -> Result<Option<oneshot::Sender<()>>, DirectoryError> {
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        tokio::select! {
            request = requests.recv(), if is_open => {
                let mut next = request;
                is_open = next.is_some();
                while let Some(request) = next {
                    match request {
                        Request::Operation { operation, controls, reply } => {
                            let asked = operation.first().copied().unwrap_or_default();
                            let id = connection.queue(&operation, &controls);
                            waiting.insert(id, Waiting { reply, asked, so_far: Reply::default() });
                        }
                        Request::Close(done) => return Ok(Some(done)),
                    }
                    // All that waits goes out together.
                    next = requests.try_recv().ok();
                }
            }
            exchanged = connection.exchange() => exchanged?,
        }
        while let Some(message) = connection.take_message()? {
            dispatch(waiting, message);
        }
    }
    Ok(None)
}

fn dispatch(waiting: &mut HashMap<i64, Waiting>, message: Message) {
    let Message { id, answer, controls } = message;
    let Some(one) = waiting.get_mut(&id) else { return };
    let is_search = one.asked == SEARCH_REQUEST;
    let mut value = None;
    let (result, is_its_own) = match answer {
        Answer::Entry(entry) if is_search => return one.so_far.entries.push(entry),
        Answer::Reference(urls) if is_search => return one.so_far.references.push(urls),
        Answer::Intermediate { .. } => return,
        Answer::Done(result) => (Some(result), is_search),
        Answer::Changed(result) => (Some(result), !is_search && one.asked != EXTENDED_REQUEST),
        Answer::Extended { result, value: answered, .. } => {
            value = answered;
            (Some(result), one.asked == EXTENDED_REQUEST)
        }
        Answer::Bind(result) => (Some(result), false),
        Answer::Entry(_) | Answer::Reference(_) | Answer::Other(_) => (None, false),
    };
    let Some(Waiting { reply, so_far, .. }) = waiting.remove(&id) else { return };
    // An answer of another kind is taken for what it says where it says no: Samba refuses unknown critical controls by an
    // extended response, whatever was asked for. That something was done it cannot say.
    let result = result.filter(|r| is_its_own || r.code != result_code::SUCCESS);
    // Who gave up waiting does not want it any more.
    let _ = reply.send(result.map(|result| Reply { result, value, controls, ..so_far }));
}
