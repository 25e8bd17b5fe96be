//! The connections for binds of users: opened on demand, kept for a while, bounded in number, never used for anything else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::client::LdapDirectory;
use crate::client::connection::Connection;
use crate::client::retry::reconnect::candidates;
use crate::config::DirectoryConfig;
use crate::error::{ConnectErrorKind, DirectoryError, in_words};

/// The connections of a directory for binds of users.
#[derive(Debug)]
pub(crate) struct BindConnections {
    /// The most recently used last.
    idle: Mutex<Vec<Idle>>,
    /// One permit for each connection in use.
    places: Arc<Semaphore>,
    idle_limit: Duration,
    /// Whether a task closes connections that are idle for too long.
    is_swept: AtomicBool,
}

/// A connection without a bind in progress.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// The number of the link at the time when it was opened: a later one may lead to another server.
    of_link: u64,
    since: Instant,
}

/// A connection for one bind. It is closed when it is dropped, unless it is given back.
#[derive(Debug)]
pub(super) struct LeasedConnection {
    pub(super) connection: Connection,
    of_link: u64,
    home: Arc<BindConnections>,
    /// Frees the place.
    _place: OwnedSemaphorePermit,
}

impl BindConnections {
    pub(crate) fn new(config: &DirectoryConfig) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(config.bind_connections.min(Semaphore::MAX_PERMITS))),
            idle_limit: config.bind_idle_limit,
            is_swept: AtomicBool::new(false),
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A panic elsewhere leaves the list consistent.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an idle connection of this link that the server has not closed.
    fn take(&self, link: u64) -> Option<Connection> {
        let mut closed = Vec::new();
        let mut idle = self.idle();
        let mut found = None;
        while let Some(last) = idle.pop() {
            let is_usable =
                last.of_link == link && last.since.elapsed() < self.idle_limit && last.connection.is_quiet();
            if is_usable {
                found = Some(last.connection);
                break;
            }
            closed.push(last);
        }
        // Closing takes a while, and needs no lock.
        drop(idle);
        found
    }

    fn take_back(self: &Arc<Self>, connection: Connection, of_link: u64) {
        if self.idle_limit.is_zero() {
            return;
        }
        self.idle().push(Idle { connection, of_link, since: Instant::now() });
        if !self.is_swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Removes the connections that are idle for too long. Returns them, and how long until the next one is; `None` if none is left.
    fn overdue(&self) -> (Vec<Idle>, Option<Duration>) {
        let mut idle = self.idle();
        let (old, kept) = std::mem::take(&mut *idle)
            .into_iter()
            .partition::<Vec<_>, _>(|i| i.since.elapsed() >= self.idle_limit);
        *idle = kept;
        let next = idle.iter().map(|i| self.idle_limit.saturating_sub(i.since.elapsed())).min();
        if next.is_none() {
            // Under the lock: the next connection that is given back begins anew.
            self.is_swept.store(false, Ordering::Release);
        }
        (old, next)
    }

    /// Unbinds and closes the idle connections.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for one in idle {
            one.connection.close().await;
        }
    }

    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.idle().len()
    }
}

/// Closes connections that are idle for too long, until none is left.
async fn sweep(of: Weak<BindConnections>) {
    loop {
        let Some(home) = of.upgrade() else { return };
        let (old, next) = home.overdue();
        drop(home);
        for one in old {
            one.connection.close().await;
        }
        let Some(next) = next else { return };
        tokio::time::sleep(next).await;
    }
}

impl LeasedConnection {
    /// Keeps the connection for another bind. No operation is in progress on it.
    pub(super) fn give_back(self) {
        let Self { connection, of_link, home, _place } = self;
        home.take_back(connection, of_link);
    }
}

impl LdapDirectory {
    /// Returns a connection for one bind: an idle one, or a new one to the server in use, or to another one if it cannot be reached.
    pub(super) async fn bind_connection(&self) -> Result<LeasedConnection, DirectoryError> {
        let home = self.shared.binds.clone();
        let (config, link) = (self.config(), self.link());
        let limit = config.connect_timeout;
        let waiting = tokio::time::timeout(limit, home.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = waiting else {
            return Err(DirectoryError::Connect {
                server: link.server.to_text(),
                kind: ConnectErrorKind::Timeout,
                reason: format!(
                    "all {} connections for binds of users were in use for {} (`bind_connections`)",
                    config.bind_connections,
                    in_words(limit)
                ),
                lasting: false,
                cause: None,
            });
        };
        let lease = |connection| LeasedConnection {
            connection,
            of_link: link.number,
            home: home.clone(),
            _place: place,
        };
        if let Some(connection) = home.take(link.number) {
            return Ok(lease(connection));
        }
        let mut failed: Option<DirectoryError> = None;
        for (server, address) in candidates(&link, &config.servers, false) {
            match Connection::open_for_binds(config, &server, address).await {
                Ok(connection) => return Ok(lease(connection)),
                Err(failure) => {
                    tracing::debug!("no connection for a bind: {}", failure.error);
                    failed.get_or_insert(failure.error);
                }
            }
        }
        // There is at least the server in use.
        Err(failed
            .unwrap_or_else(|| DirectoryError::lost("connect", link.server.to_text(), "there is no server")))
    }
}
