//! Recovery after a lost connection, and after an answer that the server cannot now.
//!
//! Reads are repeated. A change is repeated if the server refused it temporarily, or if its answer was lost and reading shows that it was
//! not made ([`super::verify`]).

use crate::error::ConnectErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Attempts;
use super::verify::ChangeState;
use crate::change::Change;
use crate::client::LdapDirectory;
use crate::client::asked::Asked;
use crate::client::connect::{self, ActiveServer, Candidate, Failure};
use crate::client::connection::Connection;
use crate::client::shared_connection::Reply;
use crate::client::write_connections::Lane;
use crate::config::{DirectoryConfig, ServerUrl};
use crate::directory::{Access, Scope};
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::protocol::message::{Answer, Control, LdapResult, SEARCH_REQUEST};
use crate::protocol::request;
use crate::protocol::result_code;
use crate::root_dse::RootDse;
use crate::schema::Schema;

/// The time in which a server notices a lost connection, and finishes what it had begun: before, reading does not show whether a change
/// was made.
const SETTLE: Duration = Duration::from_millis(250);

impl LdapDirectory {
    /// Returns the attempts for one operation, as configured.
    pub fn attempts(&self) -> Attempts {
        Attempts::new(self.config())
    }

    /// Waits after a lost connection, or an answer that the server cannot now, and restores the connection.
    ///
    /// # Errors
    /// Returns the error itself if it is another one or no attempt is left; or the error of the reconnection.
    pub async fn recover(
        &self,
        error: DirectoryError,
        attempts: &mut Attempts,
    ) -> Result<(), DirectoryError> {
        if !error.is_retried() || !attempts.wait(&error).await {
            return Err(error);
        }
        self.pool().clear();
        // The result does not matter: the request restores the connection.
        self.ask("search", "", probe, &[]).await.map(|_| ())
    }

    /// Returns the server in use, with its address.
    pub fn serving(&self) -> String {
        let link = self.link();
        link.address.map_or_else(|| link.server.to_text(), |a| format!("{} ({a})", link.server.to_text()))
    }

    /// Connects and binds again, at once and without retry.
    ///
    /// # Errors
    /// Fails if no server can be reached or accepts the bind.
    pub async fn reconnect(&self) -> Result<(), DirectoryError> {
        let config = DirectoryConfig { retry_attempts: 0, ..self.config().clone() };
        self.replace(self.link().number, false, &config).await
    }

    /// Replaces the connection with this number, unless it was already replaced.
    async fn replace(
        &self,
        lost: u64,
        elsewhere: bool,
        config: &DirectoryConfig,
    ) -> Result<(), DirectoryError> {
        let _one_at_a_time = self.shared.replacing.lock().await;
        let old = self.link();
        if old.number != lost {
            return Ok(());
        }
        let candidates = candidates(&old, &config.servers, elsewhere);
        let link = Box::pin(connect::connect(config, &candidates, old.number + 1, Some(self))).await?;
        let (before, now) = (old.server.to_text(), link.server.to_text());
        if before == now {
            tracing::info!("connected to {now} again");
        } else {
            tracing::warn!("{now} is used in place of {before} from here on");
        }
        let number = link.number;
        *self.shared.link.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(link);
        self.pool().clear();
        self.shared.writes.follow(number);
        Ok(())
    }

    /// Checks a server before it takes over in the middle of a run. Returns its identity.
    pub(crate) async fn accept(&self, connection: &mut Connection) -> Result<Vec<String>, Failure> {
        if !self.shared.is_known {
            return Ok(Vec::new());
        }
        let url = connection.url().to_owned();
        let first = self.root_dse();
        let found = match self.who_is(connection).await {
            Ok(found) => found,
            // The first one could not be read either, so there is nothing to compare.
            Err(e) if e.code().is_some() && !e.is_transient() && first.is_blank() => {
                return Ok(Vec::new());
            }
            Err(error) if error.code().is_some() => {
                return Err(Failure { curable: error.is_transient(), error });
            }
            Err(e) => return Err(Failure::passing(ConnectErrorKind::OtherServer, &url, e.to_string())),
        };
        if let Some(reason) = self.takes_over(&found) {
            return Err(Failure::lasting(ConnectErrorKind::OtherServer, &url, reason.into()));
        }
        // Change numbers of one server must not be compared with those of another.
        if self.shared.access == Access::Read
            && first.vendor.has_per_server_usns()
            && found.server_id != first.server_id
        {
            let reason = format!(
                "each {} counts changes for itself: another one does not take over in the middle of a run. Run again",
                first.vendor.name()
            );
            return Err(Failure::lasting(ConnectErrorKind::OtherServer, &url, reason));
        }
        Ok(found.server_id)
    }

    /// Returns why a server with this root DSE does not take over; `None`: it may.
    pub(crate) fn takes_over(&self, found: &RootDse) -> Option<&'static str> {
        let first = self.root_dse();
        let holds = |context: &String| found.naming_contexts.iter().any(|c| c.eq_ignore_ascii_case(context));
        let is_same = found.is_of_kind(first) && first.naming_contexts.iter().all(holds);
        (!is_same).then_some("it holds another directory than the server before, and does not take over")
    }

    /// Reads the root DSE over a connection without other operations.
    pub(crate) async fn who_is(&self, connection: &mut Connection) -> Result<RootDse, DirectoryError> {
        let attributes: Vec<String> = RootDse::ATTRIBUTES.iter().map(|a| (*a).to_owned()).collect();
        let filter = Filter::Present("objectClass".to_owned());
        let answer = async {
            let id = connection.search("", Scope::Base, &filter, &attributes, 0, &[]).await?;
            let mut found = Entry::default();
            loop {
                let message = connection.receive().await?;
                if message.id != id {
                    return Err(connection.foreign(message.id));
                }
                if let Answer::Entry(entry) = message.answer {
                    Asked::new("", Scope::Base).check("search", &entry.dn, Schema::standard())?;
                    found = entry;
                    continue;
                }
                if let Some((end, _)) = message.answer.into_end(SEARCH_REQUEST) {
                    return if is_complete(end.code, &found) {
                        Ok(found)
                    } else {
                        Err(refusal("search", "", end))
                    };
                }
            }
        };
        let limit = self.config().connect_timeout;
        let found = tokio::time::timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(DirectoryError::timeout("search", "", limit)));
        found.map(|entry| RootDse::from_entry(&entry))
    }

    /// Waits before another attempt, and restores the connection if necessary. Returns the error if no attempt is left.
    async fn cure(
        &self,
        link: &ActiveServer,
        error: DirectoryError,
        attempts: &mut Attempts,
    ) -> Result<(), DirectoryError> {
        let Some(pause) = attempts.next() else { return Err(error) };
        self.config().observer.retried(&error);
        // Logged once for all operations in progress.
        if self.shared.told.swap(link.number, Ordering::Relaxed) == link.number {
            tracing::debug!("{error}; trying again in {} ms", pause.as_millis());
        } else {
            tracing::warn!("{error}; trying again in {} ms", pause.as_millis());
        }
        tokio::time::sleep(pause).await;
        let is_lost = error.is_connection();
        if !is_lost && self.config().servers.len() == 1 {
            return Ok(());
        }
        match self.replace(link.number, !is_lost, self.config()).await {
            Ok(()) => Ok(()),
            // No failover: the server in use answered that it may succeed later.
            Err(_) if !is_lost => Ok(()),
            // The server is there, and refuses: that is the reason.
            Err(again @ DirectoryError::Operation { .. })
                if !again.is_transient() && !error.is_outcome_unknown() =>
            {
                Err(again)
            }
            Err(again) => Err(match error {
                DirectoryError::Lost { operation, dn, reason, outcome_unknown } => {
                    let reason = format!("{reason}, and no other was to be had: {again}");
                    DirectoryError::Lost { operation, dn, reason, outcome_unknown }
                }
                other => other,
            }),
        }
    }

    /// Sends a request that can be repeated, and repeats it if that may help.
    pub(crate) async fn ask(
        &self,
        operation: &'static str,
        dn: &str,
        request: impl Fn() -> Vec<u8>,
        controls: &[Control],
    ) -> Result<Reply, DirectoryError> {
        self.ask_over(operation, dn, request, controls).await.map(|(reply, _)| reply)
    }

    /// Does the same, and returns the link of the answer, too.
    pub(crate) async fn ask_over(
        &self,
        operation: &'static str,
        dn: &str,
        request: impl Fn() -> Vec<u8>,
        controls: &[Control],
    ) -> Result<(Reply, Arc<ActiveServer>), DirectoryError> {
        let mut attempts = self.attempts();
        loop {
            let link = self.link();
            let error = match link.session.ask(operation, dn, request(), controls.to_vec()).await {
                Ok(reply) if !result_code::may_be_retried(reply.result.code, &reply.result.text) => {
                    return Ok((reply, link));
                }
                Ok(reply) if attempts.are_used_up() => return Ok((reply, link)),
                Ok(reply) => refusal(operation, dn, reply.result),
                Err(e) if e.is_retried() => e,
                Err(e) => return Err(e),
            };
            self.cure(&link, error, &mut attempts).await?;
        }
    }

    /// Applies one change with controls, once.
    pub(crate) async fn change(
        &self,
        change: &Change,
        controls: &[Control],
    ) -> Result<LdapResult, DirectoryError> {
        let (operation, dn) = (change.operation(), change.dn());
        let mut attempts = self.attempts();
        let mut in_doubt = false;
        loop {
            let link = self.link();
            let asked = request::change(change);
            let octets = asked.len();
            if !in_doubt && self.is_known_as_too_large(octets) {
                return Err(self.too_large(operation, change, octets));
            }
            let (result, way) = self.send(&link, change, asked, controls).await;
            let error = match result {
                Ok(result) if result_code::may_be_retried(result.code, &result.text) => {
                    refusal(operation, dn, result)
                }
                // It may have been refused because it was already made.
                Ok(result) if in_doubt && result.code != result_code::SUCCESS => {
                    let state = self.verify(change).await.map_err(|e| e.of_sent_change(operation, dn))?;
                    let is_done = state == ChangeState::Done;
                    return Ok(if is_done { LdapResult::default() } else { result });
                }
                Ok(result) => return Ok(result),
                Err(e @ DirectoryError::Lost { .. }) => e,
                Err(e) => return Err(e),
            };
            // Then the server has not even read it.
            if error.is_connection() && self.is_too_large(&request::change(change), controls).await {
                return Err(self.too_large(operation, change, octets));
            }
            if !error.is_connection() {
                self.cure(&link, error, &mut attempts).await?;
                continue;
            }
            let was_sent = error.is_outcome_unknown();
            let unknown = || {
                let reason = "with the answer, and reading the entry does not tell";
                DirectoryError::lost(operation, dn, reason).of_sent_change(operation, dn)
            };
            match way {
                // The shared connection is not affected.
                Way::Alone => {
                    self.pool().clear();
                    if !attempts.wait(&error).await {
                        return Err(error);
                    }
                }
                Way::Lane(lane) if lane.is_further() => lane.recover(self, error, &mut attempts).await?,
                Way::Lane(_) => self.cure(&link, error, &mut attempts).await?,
            }
            if !was_sent {
                continue;
            }
            tokio::time::sleep(SETTLE).await;
            in_doubt = true;
            match self.verify(change).await.map_err(|e| e.of_sent_change(operation, dn))? {
                ChangeState::Done => {
                    tracing::debug!("{operation} `{dn}`: it was done, only the answer was lost");
                    return Ok(LdapResult::default());
                }
                ChangeState::NotDone => {}
                ChangeState::Unknown => return Err(unknown()),
            }
        }
    }

    /// Sends a change once: over a connection of its own if it is large, else over one of the connections for changes.
    async fn send(
        &self,
        link: &Arc<ActiveServer>,
        change: &Change,
        request: Vec<u8>,
        controls: &[Control],
    ) -> (Result<LdapResult, DirectoryError>, Way) {
        let (operation, dn) = (change.operation(), change.dn());
        if let Some(result) = self.change_alone(operation, dn, &request, controls).await {
            return (result, Way::Alone);
        }
        let lane = self.lane(link);
        let asked = lane.session().ask(operation, dn, request, controls.to_vec()).await;
        let mut result = asked.map(|reply| reply.result);
        if result.as_ref().is_ok_and(|result| result.code == result_code::SUCCESS)
            && let Err(error) = self.settle(&lane, change).await
        {
            result = Err(error);
        }
        (result, Way::Lane(lane))
    }

    /// Sends a request that must not be repeated, except if the server refused it temporarily.
    pub(crate) async fn ask_once(
        &self,
        operation: &'static str,
        dn: &str,
        request: impl Fn() -> Vec<u8>,
    ) -> Result<Reply, DirectoryError> {
        let mut attempts = self.attempts();
        loop {
            let link = self.link();
            let reply = link.session.ask(operation, dn, request(), Vec::new()).await?;
            if !result_code::may_be_retried(reply.result.code, &reply.result.text) || attempts.are_used_up() {
                return Ok(reply);
            }
            self.cure(&link, refusal(operation, dn, reply.result), &mut attempts).await?;
        }
    }
}

/// The way of a change.
enum Way {
    /// A connection of its own.
    Alone,
    Lane(Lane),
}

/// Returns a search that costs a server nothing.
fn probe() -> Vec<u8> {
    let filter = Filter::Present("objectClass".to_owned());
    crate::protocol::message::search("", Scope::Base, &filter, &["1.1".to_owned()], 0)
}

/// Returns whether a base search has its entry, by the result code of its end. Some servers report the size limit of one entry as soon as
/// it is reached.
fn is_complete(code: u32, found: &Entry) -> bool {
    code == result_code::SUCCESS || code == result_code::SIZE_LIMIT_EXCEEDED && !found.attributes.is_empty()
}

/// Returns the error of a result code.
pub(crate) fn refusal(operation: &'static str, dn: &str, result: LdapResult) -> DirectoryError {
    let LdapResult { code, matched, text, .. } = result;
    DirectoryError::Operation { operation, dn: dn.to_owned(), code, matched, text }
}

/// Returns the servers in the order of failover: the one in use first, at its own address, which is best for positions and for reading
/// back; last if it refused temporarily.
pub(crate) fn candidates(old: &ActiveServer, servers: &[ServerUrl], elsewhere: bool) -> Vec<Candidate> {
    let same: (ServerUrl, Option<SocketAddr>) = (old.server.clone(), old.address);
    let others = servers.iter().filter(|s| **s != old.server).map(|s| (s.clone(), None));
    let mut all: Vec<Candidate> = if elsewhere {
        others.chain([same]).collect()
    } else {
        std::iter::once(same).chain(others).collect()
    };
    // The name may resolve to another address by now.
    if let ServerUrl::Ldap { host, .. } = &old.server
        && host.parse::<std::net::IpAddr>().is_err()
    {
        all.push((old.server.clone(), None));
    }
    all
}
