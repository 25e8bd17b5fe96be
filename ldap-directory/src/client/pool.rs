//! Connections of our own for streamed searches: opened when they are needed, kept for the next search, and never more
//! than the user allows.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::LdapDirectory;
use crate::client::connection::Connection;
use crate::error::{ConnectErrorKind, DirectoryError};

/// The connections that nobody uses, and a count of all.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<PooledConnection>>,
    /// Each connection holds a clone.
    slots: Arc<()>,
    /// Whether somebody was told why searches go over the first connection.
    told: AtomicBool,
}

/// A connection that goes back to the pool when a search is complete, and is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    pub(crate) connection: Connection,
    /// Whether it served before: the server may have closed it meanwhile.
    pub(crate) is_used: bool,
    /// The number of the link it was opened beside ([`ActiveServer::number`]): of another one it may go to another server.
    of_link: u64,
    _slot: Arc<()>,
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PooledConnection>> {
        // A panic elsewhere leaves the list whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection back that has no search under way. One from before another server took over is closed.
    fn take_back(&self, mut leased: PooledConnection, link: u64) {
        if leased.of_link == link {
            leased.is_used = true;
            self.idle().push(leased);
        }
    }

    /// A connection that nobody uses, opened beside the link with this number. Others are closed.
    fn take(&self, link: u64) -> Option<PooledConnection> {
        let mut idle = self.idle();
        idle.retain(|leased| leased.of_link == link);
        idle.pop()
    }

    /// Forgets the connections that nobody uses.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// Unbinds those that nobody uses.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for leased in idle {
            leased.connection.close().await;
        }
    }
}

impl LdapDirectory {
    /// Gives a connection back that has no search under way.
    pub(crate) fn give_back(&self, leased: PooledConnection) {
        self.pool().take_back(leased, self.link().number);
    }

    /// A connection for a streamed search. `None` where the search has to go over the first connection, as all others do:
    /// the reason is logged.
    pub(crate) async fn lease(&self) -> Option<PooledConnection> {
        let idle = self.pool().take(self.link().number);
        match idle {
            Some(leased) => Some(leased),
            None => self.lease_new().await,
        }
    }

    /// The same, and one that did not serve before.
    ///
    /// Boxed: to find out who the other side is takes a search, which could call this again, for all the compiler knows.
    pub(crate) fn lease_new(&self) -> Pin<Box<dyn Future<Output = Option<PooledConnection>> + Send + '_>> {
        Box::pin(self.open_leased())
    }

    async fn open_leased(&self) -> Option<PooledConnection> {
        let pool = self.pool();
        let slot = pool.slots.clone();
        // The pool's own, this one, and the first connection.
        if Arc::strong_count(&pool.slots) > self.config().pool_size {
            self.tell(&format!("connection_pool_size is {}", self.config().pool_size));
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
            self.give_back(one);
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
