//! Connections of our own for streamed searches: opened when they are needed, kept for the next search, and never more
//! than the user allows.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::LdapDirectory;
use super::wire::Connection;
use crate::directory::error::DirectoryError;

/// The connections that nobody uses, and a count of all.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Leased>>,
    /// Each connection holds a clone.
    slots: Arc<()>,
    /// Whether somebody was told why searches go over the first connection.
    told: AtomicBool,
}

/// A connection that goes back to the pool when a search is complete, and is closed when it is dropped.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) connection: Connection,
    /// Whether it served before: the server may have closed it meanwhile.
    pub(super) is_used: bool,
    _slot: Arc<()>,
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Leased>> {
        // A panic elsewhere leaves the list whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection back that has no search under way.
    pub(super) fn give_back(&self, mut leased: Leased) {
        leased.is_used = true;
        self.idle().push(leased);
    }

    /// Forgets the connections that nobody uses.
    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    /// Unbinds those that nobody uses.
    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for leased in idle {
            leased.connection.close().await;
        }
    }
}

impl LdapDirectory {
    /// A connection for a streamed search. `None` where the search has to go over the first connection, as all others do:
    /// the reason is logged.
    pub(super) async fn lease(&self) -> Option<Leased> {
        let idle = self.pool().idle().pop();
        match idle {
            Some(leased) => Some(leased),
            None => self.lease_new().await,
        }
    }

    /// The same, and one that did not serve before.
    ///
    /// Boxed: to find out who the other side is takes a search, which could call this again, for all the compiler knows.
    pub(super) fn lease_new(&self) -> Pin<Box<dyn Future<Output = Option<Leased>> + Send + '_>> {
        Box::pin(self.open_leased())
    }

    async fn open_leased(&self) -> Option<Leased> {
        let pool = self.pool();
        let slot = pool.slots.clone();
        // The pool's own, this one, and the first connection.
        if Arc::strong_count(&pool.slots) > self.config().pool_size {
            self.tell(&format!("connection_pool_size is {}", self.config().pool_size));
            return None;
        }
        let opened = async {
            let mut connection = self.open_connection().await?;
            self.check_identity(&mut connection).await?;
            Ok::<_, DirectoryError>(connection)
        };
        match opened.await {
            Ok(connection) => Some(Leased { connection, is_used: false, _slot: slot }),
            Err(e) => {
                self.tell(&e.to_string());
                None
            }
        }
    }

    /// Opens so many connections for searches that are going to run side by side, if there are not as many. Gives how many
    /// there are; of nothing else they are kept for.
    pub async fn reserve(&self, wanted: usize) -> usize {
        let mut leased = Vec::new();
        while leased.len() < wanted {
            let Some(one) = self.lease().await else { break };
            leased.push(one);
        }
        let count = leased.len();
        for one in leased {
            self.pool().give_back(one);
        }
        count
    }

    /// Once is enough: it costs time, and nothing else.
    fn tell(&self, why: &str) {
        if self.pool().told.swap(true, Ordering::Relaxed) {
            tracing::debug!("no further connection ({why})");
        } else {
            tracing::info!("no further connection ({why}); the first one is used, slower");
        }
    }

    /// Behind one address there may be several servers. What one of them counts (`uSNChanged`) must not be compared with
    /// what another one counts.
    async fn check_identity(&self, connection: &mut Connection) -> Result<(), DirectoryError> {
        if !self.root_dse().vendor.counts_for_itself()
            || self.who_is(connection).await?.own == self.link().own
        {
            return Ok(());
        }
        Err(DirectoryError::Connect {
            server: self.location().to_owned(),
            reason: "there is another server behind the same address".to_owned(),
        })
    }
}
