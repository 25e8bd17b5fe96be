//! Sending and receiving at the same time, for many operations.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::Connection;
use crate::error::DirectoryError;
use crate::protocol::message::{self, Control, Message};

/// The maximum size of one read: answers to changes are small.
const READ: usize = 16 * 1024;

impl Connection {
    /// Returns the URL of the connection.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Queues a request for [`Self::exchange`]. Returns the id of its answers.
    pub(crate) fn queue(&mut self, operation: &[u8], controls: &[Control]) -> i64 {
        let id = self.next_id();
        self.outbox.extend_from_slice(&message::envelope(id, operation, controls));
        i64::from(id)
    }

    /// Sends queued requests and receives answers, until either made progress. Cancel safe.
    ///
    /// Both at once: a server that waits until its answers are read does not read requests.
    pub(crate) async fn exchange(&mut self) -> Result<(), DirectoryError> {
        self.forget_taken();
        std::future::poll_fn(|cx| self.poll_exchange(cx)).await.map_err(|e| self.lost(&e.to_string()))
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut got_on = false;
        while !self.outbox.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.outbox)? {
                Poll::Ready(0) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.outbox.drain(..count);
                    self.unflushed = true;
                    got_on = true;
                }
                Poll::Pending => break,
            }
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        // Not zeroed first: a message is often much shorter.
        let mut scratch = [const { MaybeUninit::<u8>::uninit() }; READ];
        let mut read = ReadBuf::uninit(&mut scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read)? {
            Poll::Ready(()) if read.filled().is_empty() => {
                return Poll::Ready(Err(std::io::Error::other("the server closed it")));
            }
            Poll::Ready(()) => {
                self.inbox.extend_from_slice(read.filled());
                self.count(read.filled().len());
                got_on = true;
            }
            Poll::Pending => {}
        }
        if got_on { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Returns the next message, if it has arrived completely.
    pub(crate) fn take_message(&mut self) -> Result<Option<Message>, DirectoryError> {
        while let Some(content) = self.next_content()? {
            if let Some(message) = self.message(content)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}
