//! The listener: connections, TLS, limits, reload and the graceful stop.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use singer_common::operations::signals::Stop;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::service::App;

mod idle;
mod request;
pub mod tls;
mod unread;

use idle::IdleTimeout;
use request::Peer;
pub use request::Routes;
use tls::Acceptor;

/// The longest time that requests and writes in progress have after a signal. The process ends after 10 seconds in any case.
const GRACE: Duration = Duration::from_secs(8);
/// The time in which the head of a request must have arrived.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The time without an octet in either direction after which a connection is closed.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// The most octets of the head of a request.
const HEAD_BYTES: usize = 64 * 1024;
/// The pause when no further connection can be accepted (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until a signal stops the process. Requests in progress are finished. `routes` is replaced by a reload. Returns when the process
/// should have ended.
pub async fn serve(
    listener: TcpListener,
    app: App,
    acceptor: Option<Acceptor>,
    routes: Routes,
    mut stop: Stop,
) -> Instant {
    let most = app.current().config.limits.connections.min(Semaphore::MAX_PERMITS);
    let connections = Arc::new(Semaphore::new(most));
    let graceful = GracefulShutdown::new();
    loop {
        // A permit first: connections beyond the limit wait in the system's queue.
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit,
            _ = stop.wait() => break,
        };
        let Ok(permit) = permit else { break };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    accept(stream, &app, acceptor.clone(), routes.clone(), &graceful, permit);
                }
                Err(e) => {
                    tracing::warn!("a connection cannot be accepted: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = stop.wait() => break,
        }
    }
    let end = Instant::now() + GRACE;
    app.stop();
    drop(listener);
    tracing::info!(
        connections = app.metrics().connections.get(),
        "stopping: requests in progress are finished"
    );
    if timeout_at(end, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in progress were not finished within {} s", GRACE.as_secs());
    }
    end
}

/// A connection in the metrics, for as long as this exists.
struct Counted(App);

impl Counted {
    fn begin(app: &App) -> Self {
        app.metrics().connections.inc();
        Self(app.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics().connections.dec();
    }
}

/// Serves a connection in a task of its own.
fn accept(
    stream: TcpStream,
    app: &App,
    acceptor: Option<Acceptor>,
    routes: Routes,
    graceful: &GracefulShutdown,
    permit: OwnedSemaphorePermit,
) {
    let Ok(address) = stream.peer_addr() else { return };
    let _ = stream.set_nodelay(true);
    let watcher = graceful.watcher();
    let app = app.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let _counted = Counted::begin(&app);
        let stream = IdleTimeout::new(stream, IDLE_TIME);
        match acceptor {
            None => {
                let peer = Peer::new(address, false, None);
                Box::pin(connection(stream, peer, &app, routes, watcher)).await;
            }
            Some(acceptor) => match acceptor.accept(stream, HEAD_TIME).await {
                Ok((stream, certificate)) => {
                    let peer = Peer::new(address, true, certificate);
                    Box::pin(connection(stream, peer, &app, routes, watcher)).await;
                }
                Err(reason) => tracing::debug!(%address, "TLS: {reason}"),
            },
        }
    });
}

async fn connection<S>(
    stream: S,
    peer: Peer,
    app: &App,
    routes: Routes,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(request::RequestService::new(routes, app.clone(), peer));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!("a connection ended: {error}");
    }
}
