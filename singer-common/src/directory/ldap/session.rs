//! Many operations at a time over one connection: changes, small searches and extended operations.
//!
//! A task of its own has the connection. It takes all requests that wait at once and writes them together, so that a run
//! with many operations outstanding costs few system calls; answers find who asked by their id, in any order.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::wire::{Answer, Connection, Control, LdapResult, Message};
use crate::directory::error::DirectoryError;
use crate::entry::Entry;
use crate::observe;

/// What the task is asked for.
enum Request {
    /// An operation, and who waits for its answer.
    Operation { operation: Vec<u8>, controls: Vec<Control>, reply: oneshot::Sender<Reply> },
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

/// A connection for many operations. Clones share it; it is closed with the last of them.
#[derive(Debug, Clone)]
pub(super) struct Session {
    requests: mpsc::UnboundedSender<Request>,
    timeout: Duration,
    url: String,
}

impl Session {
    /// Begins to use a connection that is bound. `timeout` is for each operation.
    pub(super) fn start(connection: Connection, timeout: Duration) -> Self {
        let url = connection.url().to_owned();
        // Unbounded, but for who asks: each waits for an answer before the next.
        let (requests, waiting) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            if let Err(error) = drive(connection, waiting).await {
                tracing::debug!("the connection ended: {error}");
            }
        });
        Self { requests, timeout, url }
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
            reason: format!("{} closed it", self.url),
        };
        self.requests.send(Request::Operation { operation: request, controls, reply }).map_err(|_| lost())?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|_| lost()),
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
    reply: oneshot::Sender<Reply>,
    so_far: Reply,
}

/// Until nobody has requests any more, or the connection is lost: then whoever waits is told by its channel.
async fn drive(
    mut connection: Connection,
    mut requests: mpsc::UnboundedReceiver<Request>,
) -> Result<(), DirectoryError> {
    let mut waiting: HashMap<i64, Waiting> = HashMap::new();
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        tokio::select! {
            request = requests.recv(), if is_open => {
                let mut next = request;
                is_open = next.is_some();
                while let Some(request) = next {
                    match request {
                        Request::Operation { operation, controls, reply } => {
                            let id = connection.queue(&operation, &controls);
                            waiting.insert(id, Waiting { reply, so_far: Reply::default() });
                        }
                        Request::Close(done) => {
                            connection.close().await;
                            let _ = done.send(());
                            return Ok(());
                        }
                    }
                    // All that waits goes out together.
                    next = requests.try_recv().ok();
                }
            }
            exchanged = connection.exchange() => exchanged?,
        }
        while let Some(message) = connection.take_message()? {
            dispatch(&mut waiting, message);
        }
    }
    connection.close().await;
    Ok(())
}

fn dispatch(waiting: &mut HashMap<i64, Waiting>, message: Message) {
    let Message { id, answer, controls } = message;
    let Some(one) = waiting.get_mut(&id) else { return };
    let mut extended = None;
    let result = match answer {
        Answer::Entry(entry) => return one.so_far.entries.push(entry),
        Answer::Reference(urls) => return one.so_far.references.push(urls),
        Answer::Intermediate { .. } => return,
        Answer::Bind(result) | Answer::Done(result) | Answer::Changed(result) => result,
        Answer::Extended { result, value, .. } => {
            extended = value;
            result
        }
        // What nobody asks for ends the operation all the same: whether it was done is not known.
        Answer::Other(_) => {
            waiting.remove(&id);
            return;
        }
    };
    if let Some(Waiting { reply, so_far }) = waiting.remove(&id) {
        // Who gave up waiting does not want it any more.
        let _ = reply.send(Reply { result, controls, value: extended, ..so_far });
    }
}
