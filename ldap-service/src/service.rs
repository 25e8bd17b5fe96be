//! What a request needs: the configuration, the directory, and what remembers. Replaced as a whole at a reload.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::extract::FromRequestParts;
use http::request::Parts;
use ldap_directory::dn::DnKey;
use singer_common::plugin::settings::SettingsError;

use crate::config::Config;
use crate::directory::DirectoryHandle;
use crate::error::ApiError;
use crate::fit::OwnFilters;
use crate::gate::Gate;
use crate::login::Login;
use crate::metrics::Metrics;
use crate::search::cursors::Cursors;
use crate::sessions::{Sessions, Site};
use crate::tokens::Tokens;
use crate::write::Writer;

/// One generation of the service.
#[derive(Debug)]
pub struct Service {
    /// The configuration.
    pub config: Config,
    /// The directory.
    pub directory: DirectoryHandle,
    /// How much may be at work at once.
    pub gate: Gate,
    /// Whether the directory answers.
    pub readiness: Readiness,
    /// What logins remember.
    pub login: Login,
    /// Sessions of people in browsers.
    pub sessions: Sessions,
    /// The tokens of the identity provider, if they are accepted.
    pub tokens: Option<Tokens>,
    /// The searches that are open between two pages.
    pub cursors: Cursors,
    /// The way of every change.
    pub writer: Writer,
}

impl Service {
    /// Returns a generation. `earlier`: the one before, whose memory of failed logins and sessions goes on.
    ///
    /// # Errors
    /// A file that a setting names cannot be used.
    pub fn new(config: Config, earlier: Option<&Service>) -> Result<Arc<Self>, SettingsError> {
        let issued_before = earlier.and_then(|earlier| earlier.tokens.as_ref());
        let tokens = config.jwt.as_ref().map(|jwt| Tokens::new(jwt, issued_before)).transpose()?;
        let login = Login::new(&config.login, earlier.map(|earlier| &earlier.login));
        let sessions = Sessions::new(&config.login, earlier.map(|earlier| &earlier.sessions))?;
        let state = earlier.map(|earlier| earlier.writer.state()).unwrap_or_default();
        let writer = Writer::new(&config, state)?;
        let filters = OwnFilters::of(&config);
        let directory = DirectoryHandle::open(&config.directory, filters.clone());
        let gate = Gate::new(&config.limits);
        let readiness = Readiness::default();
        let cursors = Cursors::new(&config.directory, filters, sessions.derived_key("search cursors"))
            .sharing_a_file(&directory);
        Ok(Arc::new(Self { config, directory, gate, readiness, login, sessions, tokens, cursors, writer }))
    }
}

impl Service {
    /// Reads the files that settings name, as a start does, without making or changing one: the service may be at work, and belong to another user.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn check_files(config: &Config) -> Result<(), SettingsError> {
        config.jwt.as_ref().map(|jwt| Tokens::new(jwt, None)).transpose()?;
        Sessions::check(&config.login)
    }
}

/// Whether the directory answers, as it was found out within the last second.
#[derive(Debug, Default)]
pub struct Readiness(tokio::sync::Mutex<Option<(Instant, bool)>>);

impl Readiness {
    /// How long a result counts.
    const AGE: Duration = Duration::from_secs(1);

    /// Returns the last result, or finds out a new one. Those who ask meanwhile wait for the same.
    pub async fn get<F: Future<Output = bool>>(&self, find_out: impl FnOnce() -> F) -> bool {
        let mut last = self.0.lock().await;
        if let Some((when, is_ready)) = *last
            && when.elapsed() < Self::AGE
        {
            return is_ready;
        }
        let is_ready = find_out().await;
        *last = Some((Instant::now(), is_ready));
        is_ready
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
    /// Why the configuration that was read last does not count.
    reload: ArcSwapOption<String>,
}

impl App {
    /// Returns the state with its first generation.
    pub fn new(service: Arc<Service>) -> Self {
        Self(Arc::new(AppState {
            current: ArcSwap::new(service),
            metrics: Metrics::new(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            reload: ArcSwapOption::empty(),
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

    /// Keeps why the configuration that was read last does not count; `None`: it does.
    pub fn note_reload(&self, trouble: Option<String>) {
        self.0.reload.store(trouble.map(Arc::new));
    }

    /// Returns why the configuration that was read last does not count.
    pub fn reload_trouble(&self) -> Option<Arc<String>> {
        self.0.reload.load_full()
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

impl Client {
    /// Returns what the client's browser asks.
    pub fn site(&self) -> Site<'_> {
        Site { host: self.host.as_deref(), is_secure: self.is_secure }
    }
}

/// A client's certificate.
#[derive(Debug)]
pub struct PeerCertificate {
    /// The subject, as a DN (RFC 4514).
    pub subject: String,
    /// The subject, in the form in which DNs compare; `None` if it is empty.
    pub subject_key: Option<DnKey>,
    /// The fingerprint.
    pub sha256: [u8; 32],
    /// When it expires. A connection may outlast that.
    pub not_after: SystemTime,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Client>().cloned().ok_or_else(|| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error: no client")
        })
    }
}
