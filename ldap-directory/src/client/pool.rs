//! The pool of connections for streaming searches: opened on demand, kept for the next search, limited by the configuration.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::LdapDirectory;
use crate::client::connection::Connection;
use crate::error::{ConnectErrorKind, DirectoryError};

/// The idle connections, and a count of all.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<PooledConnection>>,
    /// Each connection holds a clone.
    slots: Arc<()>,
    /// Whether the reason for searches over the shared connection was logged.
    told: AtomicBool,
}

/// A connection that returns to the pool when a search is complete, and is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    pub(crate) connection: Connection,
    /// Whether it was used before: the server may have closed it meanwhile.
    pub(crate) is_used: bool,
    /// The number of the link that it belongs to ([`ActiveServer::number`]): another link may lead to another server.
    of_link: u64,
    _slot: Arc<()>,
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PooledConnection>> {
        // A panic elsewhere leaves the list consistent.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back a connection without a search in progress. One from before a failover is closed.
    fn take_back(&self, mut leased: PooledConnection, link: u64) {
        if leased.of_link == link {
            leased.is_used = true;
            self.idle().push(leased);
        }
    }

    /// Returns an idle connection of this link. Others are closed.
    fn take(&self, link: u64) -> Option<PooledConnection> {
        let mut idle = self.idle();
        idle.retain(|leased| leased.of_link == link);
        idle.pop()
    }

    /// Closes the idle connections.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// Unbinds and closes the idle connections.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for leased in idle {
            leased.connection.close().await;
        }
    }
}

impl LdapDirectory {
    /// Returns a connection without a search in progress to the pool.
    pub(crate) fn give_back(&self, leased: PooledConnection) {
        self.pool().take_back(leased, self.link().number);
    }

    /// Returns a connection for a streaming search, or `None` if the search must use the shared connection: the reason is logged.
    pub(crate) async fn lease(&self) -> Option<PooledConnection> {
        let idle = self.pool().take(self.link().number);
        match idle {
            Some(leased) => Some(leased),
            None => self.lease_new().await,
        }
    }

    /// Returns the same, but always a new connection.
    ///
    /// Boxed: identifying the server takes a search, which could call this again, as far as the compiler knows.
    pub(crate) fn lease_new(&self) -> Pin<Box<dyn Future<Output = Option<PooledConnection>> + Send + '_>> {
        Box::pin(self.open_leased())
    }

    async fn open_leased(&self) -> Option<PooledConnection> {
        let pool = self.pool();
        let slot = pool.slots.clone();
        // The pool's own, this one, and the shared connection.
        if Arc::strong_count(&pool.slots) > self.config().pool_size {
            self.tell(&format!("there are {} at most", self.config().pool_size));
            return None;
        }
        let of_link = self.link().number;
        let opened = async {
            let mut connection = self.open_connection().await?;
            self.check_identity(&mut connection).await?;
            Ok::<_, DirectoryError>(connection)
        };
        match opened.await {
            Ok(connection) => Some(PooledConnection { connection, is_used: false, of_link, _slot: slot }),
            Err(e) => {
                self.tell(&e.to_string());
                None
            }
        }
    }

    /// Opens connections for a number of parallel searches, if there are fewer. Returns how many there are.
    pub async fn reserve(&self, wanted: usize) -> usize {
        let mut leased = Vec::new();
        while leased.len() < wanted {
            let Some(one) = self.lease().await else { break };
            leased.push(one);
        }
        let count = leased.len();
        for one in leased {
            self.give_back(one);
        }
        count
    }

    /// Logs once that searches use the shared connection, which only costs time.
    fn tell(&self, why: &str) {
        if self.pool().told.swap(true, Ordering::Relaxed) {
            tracing::debug!("no further connection ({why})");
        } else {
            tracing::info!("no further connection ({why}); the first one is used, slower");
        }
    }

    /// Checks the server's identity: several may be behind one address. Change numbers (`uSNChanged`) of one must not be compared with those of another.
    async fn check_identity(&self, connection: &mut Connection) -> Result<(), DirectoryError> {
        if !self.root_dse().vendor.has_per_server_usns()
            || self.who_is(connection).await?.server_id == self.link().server_id
        {
            return Ok(());
        }
        Err(DirectoryError::Connect {
            server: self.location().to_owned(),
            kind: ConnectErrorKind::OtherServer,
            reason: "there is another server behind the same address".to_owned(),
            lasting: false,
            cause: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_a_server_before_is_not_for_searches_of_the_one_after() {
        let pool = Pool::default();
        let leased = |of_link| PooledConnection {
            connection: Connection::to_nobody(),
            is_used: false,
            of_link,
            _slot: pool.slots.clone(),
        };
        pool.take_back(leased(1), 2);
        assert!(pool.take(2).is_none(), "leased before a failover, given back after it");
        pool.take_back(leased(2), 2);
        assert!(pool.take(2).is_some_and(|leased| leased.is_used));
        pool.take_back(leased(2), 2);
        assert!(pool.take(3).is_none(), "given back before a failover, asked for after it");
        assert_eq!(Arc::strong_count(&pool.slots), 1, "and they are closed");
    }
}
