//! The pool of connections for searches: opened on demand, kept for the next search, limited by the configuration.
//!
//! A server may keep the position of one paged search (RFC 2696) per connection, so such a search has a connection to itself, or the
//! paging of the shared connection. If neither is to be had, it waits.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::LdapDirectory;
use crate::client::connection::{Connection, deadline};
use crate::error::{ConnectErrorKind, DirectoryError};

/// The pause after a connection could not be opened, before a waiting search tries again.
const REOPEN: Duration = Duration::from_secs(5);

/// The idle connections, and the counts of all.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<PooledConnection>>,
    counts: Arc<Counts>,
    /// Held by the paged search that waits, or chooses: one after the other, in their order.
    queue: tokio::sync::Mutex<()>,
    /// Whether the reason for searches over the shared connection was logged.
    told: AtomicBool,
}

/// How much is in use. Not a part of the pool: idle connections hold it, too.
#[derive(Debug, Default)]
struct Counts {
    /// The connections that are open, or being opened.
    open: AtomicUsize,
    /// The paged searches over the shared connection.
    sharing: AtomicUsize,
    /// Told about everything that becomes free.
    freed: Notify,
}

/// Counts one in `count` if there are fewer than `most`.
fn count_one(count: &AtomicUsize, most: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |is| (is < most).then_some(is + 1)).is_ok()
}

/// The place of an open connection in the pool.
#[derive(Debug)]
struct Slot(Arc<Counts>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

/// The permission to run a paged search over the shared connection.
#[derive(Debug)]
pub(crate) struct SharedPaging(Arc<Counts>);

impl Drop for SharedPaging {
    fn drop(&mut self) {
        self.0.sharing.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

/// Where a paged search runs.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once for each search")]
pub(crate) enum Place {
    /// A connection of its own.
    Own(PooledConnection),
    /// The shared connection.
    Shared(SharedPaging),
}

/// What is free for a paged search.
#[expect(clippy::large_enum_variant, reason = "moved once for each search")]
enum Free {
    Idle(PooledConnection),
    /// A further connection may be opened.
    Slot(Slot),
    Shared(SharedPaging),
}

/// A connection that returns to the pool when a search is complete, and is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    pub(crate) connection: Connection,
    /// Whether it was used before: the server may have closed it meanwhile.
    pub(crate) is_used: bool,
    /// The number of the link that it belongs to ([`ActiveServer::number`]): another link may lead to another server.
    of_link: u64,
    slot: Slot,
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
            self.counts.freed.notify_one();
        }
    }

    /// Returns an idle connection of this link. Others are closed.
    fn take(&self, link: u64) -> Option<PooledConnection> {
        let mut idle = self.idle();
        idle.retain(|leased| leased.of_link == link);
        idle.pop()
    }

    /// Returns the place of a further connection, if there are fewer than `most`.
    fn slot(&self, most: usize) -> Option<Slot> {
        count_one(&self.counts.open, most).then(|| Slot(self.counts.clone()))
    }

    /// Returns the paging of the shared connection, if fewer than `most` searches have it.
    fn share(&self, most: usize) -> Option<SharedPaging> {
        count_one(&self.counts.sharing, most).then(|| SharedPaging(self.counts.clone()))
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

    /// Returns a connection for a search, or `None` if the search must use the shared connection: the reason is logged.
    pub(crate) async fn lease(&self) -> Option<PooledConnection> {
        if let Some(leased) = self.pool().take(self.link().number) {
            return Some(leased);
        }
        let Some(slot) = self.pool().slot(self.most_leased()) else {
            self.tell(&self.at_most());
            return None;
        };
        self.open_leased(slot).await
    }

    /// Returns a new connection in the place of one that the server has closed, or `None` as [`Self::lease`].
    pub(crate) async fn renew(&self, closed: PooledConnection) -> Option<PooledConnection> {
        let PooledConnection { connection, slot, .. } = closed;
        drop(connection);
        self.open_leased(slot).await
    }

    /// Returns the place of a paged search. If all are taken, waits for one, as long as for an answer.
    pub(crate) async fn lease_paged(&self, base: &str) -> Result<Place, DirectoryError> {
        let timeout = self.config().operation_timeout;
        let until = deadline(timeout);
        let mut open_from = Instant::now();
        loop {
            match self.free(until, open_from).await {
                Some(Free::Idle(leased)) => return Ok(Place::Own(leased)),
                Some(Free::Shared(paging)) => return Ok(Place::Shared(paging)),
                Some(Free::Slot(slot)) => match self.open_leased(slot).await {
                    Some(leased) => return Ok(Place::Own(leased)),
                    None => open_from = deadline(REOPEN),
                },
                None => {
                    return Err(DirectoryError::PoolExhausted {
                        operation: "search",
                        dn: base.to_owned(),
                        pool_size: self.most_leased() + 1,
                        limit: timeout,
                    });
                }
            }
        }
    }

    /// Waits for a place, until then; `None` if there is none. No connection is opened before `open_from`.
    async fn free(&self, until: Instant, open_from: Instant) -> Option<Free> {
        let pool = self.pool();
        // The first one that waits is the first one that is served.
        let _turn = timeout_at(until, pool.queue.lock()).await.ok()?;
        loop {
            if let Some(leased) = pool.take(self.link().number) {
                return Some(Free::Idle(leased));
            }
            let may_open = Instant::now() >= open_from;
            if may_open && let Some(slot) = pool.slot(self.most_leased()) {
                return Some(Free::Slot(slot));
            }
            if let Some(paging) = pool.share(self.root_dse().vendor.paged_searches_per_connection()) {
                if may_open {
                    self.tell(&self.at_most());
                }
                return Some(Free::Shared(paging));
            }
            let pause = if may_open { until } else { until.min(open_from) };
            let _ = timeout_at(pause, pool.counts.freed.notified()).await;
            if Instant::now() >= until {
                return None;
            }
        }
    }

    /// Returns how many connections the pool may have: all but the shared one.
    fn most_leased(&self) -> usize {
        self.config().pool_size.saturating_sub(1)
    }

    fn at_most(&self) -> String {
        format!("there are {} at most", self.config().pool_size)
    }

    /// Opens a connection. `None` if that fails: the reason is logged.
    ///
    /// Boxed: identifying the server takes a search, which could call this again, as far as the compiler knows.
    fn open_leased(&self, slot: Slot) -> Pin<Box<dyn Future<Output = Option<PooledConnection>> + Send + '_>> {
        Box::pin(async move {
            let of_link = self.link().number;
            let opened = async {
                let mut connection = self.open_connection().await?;
                self.check_identity(&mut connection).await?;
                Ok::<_, DirectoryError>(connection)
            };
            match opened.await {
                Ok(connection) => Some(PooledConnection { connection, is_used: false, of_link, slot }),
                Err(e) => {
                    self.tell(&e.to_string());
                    None
                }
            }
        })
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
            slot: pool.slot(1).unwrap(),
        };
        pool.take_back(leased(1), 2);
        assert!(pool.take(2).is_none(), "leased before a failover, given back after it");
        pool.take_back(leased(2), 2);
        assert!(pool.take(2).is_some_and(|leased| leased.is_used));
        pool.take_back(leased(2), 2);
        assert!(pool.take(3).is_none(), "given back before a failover, asked for after it");
        assert_eq!(pool.counts.open.load(Ordering::Relaxed), 0, "and they are closed");
    }
}
