//! A stream whose octets are sealed by a GSS-API context: each buffer is preceded by its length (RFC 4422 section 3.7).

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use libgssapi::context::{ClientCtx, SecurityContext as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;

/// The maximum size of a sealed buffer.
pub(crate) const MOST: usize = 0xff_ffff;
/// The amount that is sealed at once, if the server accepts it.
const AT_ONCE: usize = 32 * 1024;
/// The maximum overhead of a mechanism. Kerberos adds less than 80 octets (RFC 4121 section 4.2.4).
const OVERHEAD: usize = 256;
/// The size of one read from the socket.
const READ: usize = 64 * 1024;

/// A sealed stream.
pub(crate) struct Sealed {
    inner: Box<dyn Stream>,
    /// One thread at a time, as the library requires.
    context: Mutex<ClientCtx>,
    /// Received, not yet unsealed.
    inbox: Vec<u8>,
    /// Unsealed, not yet consumed, from `taken` on.
    open: Vec<u8>,
    taken: usize,
    /// Sealed, not yet written.
    outbox: Vec<u8>,
    /// The amount that may be sealed at once.
    at_once: usize,
}

/// Returns the amount that may be sealed at once for a server with this maximum size of sealed buffers (RFC 4752 section 3.1). 0 means
/// that the server accepts none, and is ignored.
fn at_once(server_takes: usize) -> usize {
    if server_takes == 0 {
        return AT_ONCE;
    }
    // Even for a very small limit, something must be sent: the server reports the error.
    server_takes.saturating_sub(OVERHEAD).clamp(1, AT_ONCE)
}

impl Sealed {
    /// Returns the sealed stream. `server_takes` is the maximum size of a sealed buffer that the server accepts, 0 if unknown.
    pub(crate) fn new(inner: Box<dyn Stream>, context: ClientCtx, server_takes: usize) -> Self {
        let context = Mutex::new(context);
        let at_once = at_once(server_takes);
        Self { inner, context, inbox: Vec::new(), open: Vec::new(), taken: 0, outbox: Vec::new(), at_once }
    }

    fn context(&mut self) -> &mut ClientCtx {
        self.context.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unseals the next buffer, if it has arrived completely. Returns whether it had.
    fn open_next(&mut self) -> io::Result<bool> {
        let Some((length, rest)) = self.inbox.split_first_chunk::<4>() else { return Ok(false) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MOST {
            return Err(io::Error::other("a sealed buffer is larger than was agreed on"));
        }
        let Some(buffer) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(false) };
        let opened = self.context().unwrap(&buffer);
        let opened =
            opened.map_err(|e| io::Error::other(format!("a sealed buffer cannot be opened ({e})")))?;
        self.open.clear();
        self.taken = 0;
        self.open.extend_from_slice(&opened);
        self.inbox.drain(..length + 4);
        Ok(true)
    }

    /// Writes sealed octets.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.outbox))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for Sealed {
    fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.taken == self.open.len() && self.inner.is_quiet()
    }
}

impl AsyncRead for Sealed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let waiting = self.open.get(self.taken..).unwrap_or_default();
            if !waiting.is_empty() {
                let part = waiting.get(..buffer.remaining().min(waiting.len())).unwrap_or_default();
                buffer.put_slice(part);
                self.taken += part.len();
                return Poll::Ready(Ok(()));
            }
            if self.open_next()? {
                continue;
            }
            let mut scratch = vec![0; READ];
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // The end of the stream.
                return Poll::Ready(Ok(()));
            }
            self.inbox.extend_from_slice(read.filled());
        }
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_empty(cx))?;
        let part = octets.get(..octets.len().min(self.at_once)).unwrap_or_default();
        let sealed =
            self.context().wrap(true, part).map_err(|e| io::Error::other(format!("sealing: {e}")))?;
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        self.outbox.extend_from_slice(&length.to_be_bytes());
        self.outbox.extend_from_slice(&sealed);
        // What cannot be written now is written by the next write or flush.
        if let Poll::Ready(Err(e)) = self.poll_empty(cx) {
            return Poll::Ready(Err(e));
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_sealed_than_the_server_takes() {
        for (server_takes, expected) in
            [(0, AT_ONCE), (1, 1), (1024, 768), (65_536, AT_ONCE), (0xff_ffff, AT_ONCE), (8_192, 7_936)]
        {
            assert_eq!(at_once(server_takes), expected, "{server_takes}");
        }
    }
}
