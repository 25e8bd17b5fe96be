//! The octet stream of a connection: TCP, a Unix socket, TLS, or a security layer of SASL.

use std::io;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A stream of octets to a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {
    /// Returns whether nothing waits to be read: no octets, no error, and not the end. It asks the system, which may know more than the
    /// runtime, whose readiness lags behind.
    fn is_quiet(&self) -> bool;
}

/// Returns whether nothing waits to be read from a socket.
fn socket_is_quiet(socket: &SockRef<'_>) -> bool {
    let peeked = socket.peek(&mut [MaybeUninit::uninit(); 1]);
    peeked.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

impl Stream for TcpStream {
    fn is_quiet(&self) -> bool {
        socket_is_quiet(&SockRef::from(self))
    }
}

#[cfg(unix)]
impl Stream for tokio::net::UnixStream {
    fn is_quiet(&self) -> bool {
        socket_is_quiet(&SockRef::from(self))
    }
}

impl<S: Stream> Stream for tokio_rustls::client::TlsStream<S> {
    fn is_quiet(&self) -> bool {
        self.get_ref().0.is_quiet()
    }
}

impl Stream for Box<dyn Stream> {
    fn is_quiet(&self) -> bool {
        self.as_ref().is_quiet()
    }
}

/// In memory: for tests, and in place of a stream that is being replaced.
impl Stream for DuplexStream {
    fn is_quiet(&self) -> bool {
        true
    }
}
