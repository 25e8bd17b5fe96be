//! What a request needs: the configuration, the directory, and what remembers. Replaced as a whole at a reload.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::extract::FromRequestParts;
use http::request::Parts;
use singer_common::plugin::settings::SettingsError;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::directory::DirectoryHandle;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::write::Writer;

/// One generation of the service.
#[derive(Debug)]
pub struct Service {
    /// The configuration.
    pub config: Config,
    /// The directory.
    pub directory: DirectoryHandle,
    /// The way of every change.
    pub writer: Writer,
}

impl Service {
    /// Returns a generation. `earlier`: the one before, whose memory of failed logins and sessions goes on.
    ///
    /// # Errors
    /// A file that a setting names cannot be used.
    pub fn new(config: Config, earlier: Option<&Service>) -> Result<Arc<Self>, SettingsError> {
        let state = earlier.map(|earlier| earlier.writer.state()).unwrap_or_default();
        let writer = Writer::new(&config, state)?;
        let directory = DirectoryHandle::open(&config.directory);
        Ok(Arc::new(Self { config, directory, writer }))
    }
}

/// The state of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App(Arc<AppState>);

#[derive(Debug)]
struct AppState {
    current: ArcSwap<Service>,
    metrics: Metrics,
    started: Instant,
    stopping: AtomicBool,
    /// A permit for each request at work.
    permits: Semaphore,
}

impl App {
    /// Returns the state with its first generation.
    pub fn new(service: Arc<Service>) -> Self {
        let permits = Semaphore::new(service.config.limits.concurrent);
        Self(Arc::new(AppState {
            current: ArcSwap::new(service),
            metrics: Metrics::new(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            permits,
        }))
    }

    /// Returns the current generation.
    pub fn current(&self) -> Arc<Service> {
        self.0.current.load_full()
    }

    /// Replaces the generation. Requests that have begun keep theirs.
    pub fn replace(&self, service: Arc<Service>) {
        self.0.current.store(service);
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Returns when the process began to serve.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Marks the process as stopping: readiness says so.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the process is stopping.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// Returns the permits for requests at work.
    pub fn permits(&self) -> &Semaphore {
        &self.0.permits
    }
}

/// The generation that a request began with.
#[derive(Debug, Clone)]
pub struct Current(pub Arc<Service>);

impl<S: Send + Sync> FromRequestParts<S> for Current {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Current>().cloned().ok_or_else(|| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error: no service")
        })
    }
}

/// Who is at the other end of the connection, and the number of the request.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address: behind trusted proxies, the one that they name.
    pub address: IpAddr,
    /// Whether the client speaks TLS, to the service or to a trusted proxy.
    pub is_secure: bool,
    /// The client's certificate, if it has shown one that an accepted authority has signed.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// The number of the request, for the log and the caller.
    pub request_id: Arc<str>,
    /// The host that the client asked for: of the `Host` header, or of a trusted proxy's `X-Forwarded-Host`.
    pub host: Option<Arc<str>>,
}

/// A client's certificate.
#[derive(Debug)]
pub struct PeerCertificate {
    /// The subject, as a DN (RFC 4514).
    pub subject: String,
    /// The fingerprint.
    pub sha256: [u8; 32],
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Client>().cloned().ok_or_else(|| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error: no client")
        })
    }
}
