//! Several connections for changes, all to the server in use.
//!
//! The shared connection carries changes, too. A further one is opened in the background, once a change finds all of them with a change in
//! progress. Whoever sends a change that depends on another one waits for that one's answer, so the order between connections does not
//! matter, if the server is the same. Three things make sure of that:
//!
//! - A further connection leads to the address of the shared one, and its server publishes the same identity. A server without an
//!   identity gets one connection.
//! - The first changes of a further connection are looked at over both: the shared connection must show the same entry at once.
//! - With the shared connection, the further ones are replaced. A change that is answered after that, or after another server was
//!   found, is reported as made only once the shared connection shows it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::LdapDirectory;
use super::asked::Asked;
use super::connect::ActiveServer;
use super::connection::Connection;
use super::retry::{Attempts, ChangeState, refusal};
use super::shared_connection::SharedConnection;
use crate::change::Change;
use crate::directory::Scope;
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::protocol::{message, result_code};
use crate::root_dse::{RootDse, Vendor};
use crate::schema::Schema;

/// How many changes of a further connection must be shown by the shared one, before its changes are no longer looked at.
const LOOKED_AT: u32 = 8;
/// How long a further connection is kept without a change: a firewall may drop a silent one, and nobody would notice.
const IDLE: Duration = Duration::from_secs(30);
/// The pause after a further connection could not be opened.
const REOPEN: Duration = Duration::from_secs(5);
/// How long a change of another server is waited for.
const REPLICATED: Duration = Duration::from_secs(10);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// The attributes that are other ones after each change.
const TRACES: [&str; 2] = ["entryCSN", "modifyTimestamp"];

/// The connections for changes.
#[derive(Debug, Default)]
pub(crate) struct WriteConnections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the link that the connections belong to.
    of_link: u64,
    further: Vec<Arc<Further>>,
    /// The changes in progress over the shared connection.
    shared: Arc<AtomicUsize>,
    /// The identity of the server of the link, once it was asked.
    identity: Option<Identity>,
    is_opening: bool,
    /// Whether a failure to open one was logged.
    is_told: bool,
    /// When the next one may be opened, after a failure.
    open_from: Option<Instant>,
    /// Whether no further one is opened any more.
    is_off: bool,
}

/// What a server publishes to tell itself from others: its kind, and its names or the time of its start.
type Identity = (Vendor, Vec<String>);

/// A further connection.
#[derive(Debug)]
struct Further {
    session: SharedConnection,
    /// The changes in progress.
    changes: AtomicUsize,
    /// How many changes must still be shown by the shared connection.
    to_look_at: AtomicU32,
    last_used: Mutex<Instant>,
    /// Whether its loss was logged.
    told: AtomicBool,
}

impl Further {
    fn new(session: SharedConnection) -> Arc<Self> {
        Arc::new(Self {
            session,
            changes: AtomicUsize::new(0),
            to_look_at: AtomicU32::new(LOOKED_AT),
            last_used: Mutex::new(Instant::now()),
            told: AtomicBool::new(false),
        })
    }

    fn last_used(&self) -> MutexGuard<'_, Instant> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self) -> bool {
        let is_idle = self.changes.load(Ordering::Relaxed) == 0 && self.last_used().elapsed() > IDLE;
        !self.session.is_closed() && !is_idle
    }
}

/// Why there is no further connection.
enum Refusal {
    /// The server publishes no identity.
    Unknown,
    /// Another server answers at the same address.
    Other,
    Failed(DirectoryError),
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        Refusal::Failed(error)
    }
}

/// A connection for one change, which counts as in progress until this is dropped.
pub(crate) struct Lane {
    link: Arc<ActiveServer>,
    shared: Arc<AtomicUsize>,
    further: Option<Arc<Further>>,
}

impl Lane {
    pub(crate) fn session(&self) -> &SharedConnection {
        self.further.as_ref().map_or(&self.link.session, |further| &further.session)
    }

    /// Returns whether it is not the shared connection.
    pub(crate) fn is_further(&self) -> bool {
        self.further.is_some()
    }

    /// Waits after the loss of a further connection. Returns the error if no attempt is left.
    pub(crate) async fn recover(
        &self,
        directory: &LdapDirectory,
        error: DirectoryError,
        attempts: &mut Attempts,
    ) -> Result<(), DirectoryError> {
        let Some(pause) = attempts.next() else { return Err(error) };
        directory.config().observer.retried(&error);
        // Logged once for all changes in progress.
        let is_told = self.further.as_ref().is_some_and(|f| f.told.swap(true, Ordering::Relaxed));
        if is_told {
            tracing::debug!("{error}; trying again in {} ms", pause.as_millis());
        } else {
            tracing::warn!("{error}; trying again in {} ms", pause.as_millis());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let count = self.further.as_ref().map_or(&*self.shared, |further| &further.changes);
        count.fetch_sub(1, Ordering::Relaxed);
        if let Some(further) = &self.further {
            *further.last_used() = Instant::now();
        }
    }
}

impl WriteConnections {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections of links before this one, once their changes are answered.
    pub(crate) fn follow(&self, link: u64) {
        self.state().follow(link);
    }

    /// Opens no further connection any more, and closes those that are open once their changes are answered. Returns whether there was one
    /// to open or to close.
    fn turn_off(&self) -> bool {
        let mut state = self.state();
        state.further.clear();
        !std::mem::replace(&mut state.is_off, true)
    }

    /// Unbinds and closes the further connections.
    pub(crate) async fn close(&self) {
        let further = {
            let mut state = self.state();
            state.is_off = true;
            std::mem::take(&mut state.further)
        };
        for one in further {
            one.session.clone().close().await;
        }
    }
}

impl State {
    fn follow(&mut self, link: u64) {
        if self.of_link < link {
            *self = State { of_link: link, is_off: self.is_off, ..State::default() };
        }
    }

    /// Returns the connection with the fewest changes in progress, the shared one first, and their number.
    fn least(&self) -> (Option<Arc<Further>>, usize) {
        let mut least = (None, self.shared.load(Ordering::Relaxed));
        for further in &self.further {
            let changes = further.changes.load(Ordering::Relaxed);
            if changes < least.1 {
                least = (Some(further), changes);
            }
        }
        (least.0.cloned(), least.1)
    }
}

impl LdapDirectory {
    /// Returns a connection for a change over this link. May begin to open another one, which later changes use.
    pub(crate) fn lane(&self, link: &Arc<ActiveServer>) -> Lane {
        let most = self.config().write_connections;
        let mut state = self.shared.writes.state();
        state.follow(link.number);
        let mut further = None;
        if most > 1 && !state.is_off && state.of_link == link.number {
            state.further.retain(|further| further.is_usable());
            let changes;
            (further, changes) = state.least();
            let may_open = !state.is_opening && state.open_from.is_none_or(|from| from <= Instant::now());
            if changes > 0 && may_open && state.further.len() + 1 < most {
                state.is_opening = true;
                tokio::spawn(self.clone().open_further(link.clone(), state.identity.clone()));
            }
        }
        let lane = Lane { link: link.clone(), shared: state.shared.clone(), further };
        drop(state);
        let count = lane.further.as_ref().map_or(&*lane.shared, |further| &further.changes);
        count.fetch_add(1, Ordering::Relaxed);
        lane
    }

    /// Opens a further connection, unless that is not possible: the reason is logged.
    async fn open_further(self, link: Arc<ActiveServer>, known: Option<Identity>) {
        let opened = self.same_server(&link, known).await;
        let writes = &self.shared.writes;
        let mut state = writes.state();
        if state.of_link != link.number || state.is_off {
            return;
        }
        state.is_opening = false;
        match opened {
            Ok((session, identity)) => {
                state.identity = Some(identity);
                state.further.push(Further::new(session));
                tracing::debug!("changes are sent over {} connections", state.further.len() + 1);
            }
            Err(Refusal::Failed(error)) => {
                state.open_from = Some(Instant::now() + REOPEN);
                // A bind that is refused again and again may lock the account.
                state.is_off = !error.is_transient() && !error.is_connection();
                if std::mem::replace(&mut state.is_told, true) {
                    tracing::debug!("no further connection for changes: {error}");
                } else {
                    tracing::info!(
                        write_connections = state.further.len() + 1,
                        reason = "not_opened",
                        "no further connection for changes ({error}); those that are open are used"
                    );
                }
            }
            Err(Refusal::Unknown) => {
                drop(state);
                if writes.turn_off() {
                    tracing::info!(
                        write_connections = 1,
                        reason = "unknown_server",
                        "changes are sent over one connection: the server publishes nothing that tells it from another one behind the same address"
                    );
                }
            }
            Err(Refusal::Other) => {
                drop(state);
                self.note_other_server();
            }
        }
    }

    fn note_other_server(&self) {
        if self.shared.writes.turn_off() {
            tracing::warn!(
                write_connections = 1,
                reason = "other_server",
                server = self.serving(),
                "changes are sent over one connection from here on: another server answers behind the same address ({}), as behind a load balancer. Name one server, or set write_connections to 1",
                self.serving()
            );
        }
    }

    /// Opens a connection to the server of a link, which must be the same one.
    async fn same_server(
        &self,
        link: &ActiveServer,
        known: Option<Identity>,
    ) -> Result<(SharedConnection, Identity), Refusal> {
        let wanted = match known {
            Some(known) => known,
            None => self.identity(&link.session).await?.ok_or(Refusal::Unknown)?,
        };
        let opened = Connection::open(self.config(), &link.server, link.address).await;
        let connection = opened.map_err(|failure| Refusal::Failed(failure.error))?;
        let session = SharedConnection::start(connection, self.config());
        if self.identity(&session).await?.as_ref() != Some(&wanted) {
            session.close().await;
            return Err(Refusal::Other);
        }
        Ok((session, wanted))
    }

    /// Asks a server who it is; `None` if it does not say.
    async fn identity(&self, session: &SharedConnection) -> Result<Option<Identity>, DirectoryError> {
        let read = async |dn: &str, names: &[&str]| match look(session, dn, names).await {
            // It may not be read.
            Err(error) if error.code().is_some() && !error.is_transient() => Ok(Entry::default()),
            read => read.map(Option::unwrap_or_default),
        };
        let root = RootDse::from_entry(&read("", RootDse::ATTRIBUTES).await?);
        let mut ids = root.server_id;
        if root.vendor == Vendor::OpenLdap {
            // slapd's subschema has the time of its start (slapd: `schema_info`).
            let dn = root.subschema.as_deref().unwrap_or("cn=Subschema");
            let schema = read(dn, &["createTimestamp"]).await?;
            ids.extend(schema.first_text("createTimestamp").map(str::to_owned));
        }
        Ok((!ids.is_empty()).then_some((root.vendor, ids)))
    }

    /// Returns after a successful change once the shared connection shows it. Over the shared connection that is at once; a further one is
    /// looked at from time to time.
    ///
    /// # Errors
    /// The server in use does not show the change: another one made it.
    pub(crate) async fn settle(&self, lane: &Lane, change: &Change) -> Result<(), DirectoryError> {
        let Some(further) = &lane.further else { return Ok(()) };
        let is_apart = self.link().number != lane.link.number || self.shared.writes.state().is_off;
        if further.to_look_at.load(Ordering::Relaxed) == 0 && !is_apart {
            return Ok(());
        }
        let new_dn = change.new_dn();
        let dn = new_dn.as_deref().unwrap_or_else(|| change.dn());
        let until = Instant::now() + REPLICATED;
        while Instant::now() < until {
            let link = self.link();
            match differ(&further.session, &link.session, dn).await {
                Ok(false) => {
                    let counted = |n: u32| n.checked_sub(1);
                    // None is left: it is known as the same server.
                    let _ = further.to_look_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
                    return Ok(());
                }
                Ok(true) if link.number == lane.link.number => self.note_other_server(),
                // The further connection ended after its answer, or the entry may not be read. The server is the same one as far as is known.
                Err(_) if !is_apart => return Ok(()),
                Err(_) if self.verify(change).await.is_ok_and(|state| state == ChangeState::Done) => {
                    return Ok(());
                }
                Ok(true) | Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Not a lost answer: sent again, the change would be made on both servers.
        Err(DirectoryError::Protocol {
            operation: change.operation(),
            dn: change.dn().to_owned(),
            reason: "another server answered, and the one in use does not show the change".to_owned(),
            outcome_unknown: true,
        })
    }
}

/// Returns whether a connection shows an entry in another state than the one that changed it. Between two equal looks nobody has changed it
/// there.
async fn differ(
    changed: &SharedConnection,
    other: &SharedConnection,
    dn: &str,
) -> Result<bool, DirectoryError> {
    let before = look(changed, dn, &TRACES).await?;
    Ok(before != look(other, dn, &TRACES).await? && before == look(changed, dn, &TRACES).await?)
}

/// Reads attributes of an entry over a connection; `None` if the server does not show the entry.
async fn look(session: &SharedConnection, dn: &str, names: &[&str]) -> Result<Option<Entry>, DirectoryError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let filter = Filter::Present("objectClass".to_owned());
    let request = message::search(dn, Scope::Base, &filter, &names, 0);
    let reply = session.ask("search", dn, request, Vec::new()).await?;
    let entry = reply.entries.into_iter().next();
    if let Some(entry) = &entry {
        Asked::new(dn, Scope::Base).check("search", &entry.dn, Schema::standard())?;
    }
    match reply.result.code {
        result_code::SUCCESS | result_code::NO_SUCH_OBJECT => Ok(entry),
        _ if entry.is_some() => Ok(entry),
        _ => Err(refusal("search", dn, reply.result)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DirectoryConfig;

    fn session() -> (SharedConnection, tokio::io::DuplexStream) {
        let (client, server) = tokio::io::duplex(1 << 10);
        (SharedConnection::start(Connection::over_stream(client), &DirectoryConfig::new([])), server)
    }

    #[tokio::test]
    async fn a_change_takes_the_connection_with_the_fewest_and_idle_or_lost_ones_are_closed() {
        let ((one, _one), (other, lost)) = (session(), session());
        let mut state = State { further: vec![Further::new(one), Further::new(other)], ..State::default() };
        assert!(state.least().0.is_none(), "the shared one first");
        state.shared.store(2, Ordering::Relaxed);
        state.further[0].changes.store(1, Ordering::Relaxed);
        assert_eq!(state.least().1, 0);
        assert!(Arc::ptr_eq(&state.least().0.unwrap(), &state.further[1]));

        let long_ago = Instant::now().checked_sub(IDLE + Duration::from_secs(1)).unwrap();
        state.further.iter().for_each(|further| *further.last_used() = long_ago);
        assert!(state.further[0].is_usable(), "it has a change in progress");
        assert!(!state.further[1].is_usable());
        *state.further[1].last_used() = Instant::now();
        assert!(state.further[1].is_usable());
        drop(lost);
        while state.further[1].is_usable() {
            tokio::task::yield_now().await;
        }

        state.is_off = true;
        state.follow(0);
        assert_eq!(state.further.len(), 2, "the same link");
        state.follow(1);
        assert!(state.further.is_empty() && state.is_off);
        assert_eq!(state.shared.load(Ordering::Relaxed), 0);
    }
}
