//! Content synchronisation (RFC 4533): what changed and what was deleted since a cookie, and from then on as it happens.

use crate::oid;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::LdapDirectory;
use crate::client::connection::Connection;
use crate::config::Referrals;
use crate::directory::Scope;
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::observer::{Observing, SearchObserver};
use crate::protocol::ber::{BOOLEAN, ENUMERATED, OCTET_STRING, Reader, SEQUENCE, SET, Writer};
use crate::protocol::message::{Answer, Control, LdapResult, Message};
use crate::protocol::result_code;

/// How long to synchronise (RFC 4533 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Until everything is as it is now.
    RefreshOnly,
    /// From then on without end.
    RefreshAndPersist,
}

/// What to synchronise.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// Where to begin.
    pub base: String,
    /// How far to go.
    pub scope: Scope,
    /// Which entries.
    pub filter: Filter,
    /// Which attributes.
    pub attributes: Vec<String>,
    /// How long.
    pub mode: SyncMode,
    /// Where an earlier synchronisation ended; `None` begins with everything.
    pub cookie: Option<Vec<u8>>,
}

/// What an entry's Sync State Control says of it (RFC 4533 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// Unchanged, and still there.
    Present,
    /// New or changed: servers often call every change an addition.
    Changed,
    /// Gone.
    Deleted,
}

/// One item of a synchronisation.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncItem {
    /// An entry, whole if it changed, only its name if not.
    Entry {
        /// What became of it.
        state: SyncState,
        /// What names it for ever.
        uuid: Uuid,
        /// The entry.
        entry: Entry,
    },
    /// Entries that are all gone, or all unchanged and there (`syncIdSet`).
    Set {
        /// Gone, or there.
        deleted: bool,
        /// What names them.
        uuids: Vec<Uuid>,
    },
    /// A place to go on from that is safe once everything before is.
    Cookie(Vec<u8>),
    /// A phase of the refresh is over (`refreshDelete`, `refreshPresent`, or the end of a `RefreshOnly`).
    PhaseEnd {
        /// Whether what is gone was named, so that everything not named is still there. Else what is still there was
        /// named, and everything else is gone.
        names_deleted: bool,
        /// Whether the refresh is over with it.
        complete: bool,
    },
    /// Something kept by another server.
    Reference(Vec<String>),
    /// An entry whose name is not UTF-8: the name, with the octets that are no text escaped.
    Unreadable(String),
    /// The search is over, after which it gives nothing more. An error is one of LDAP's own.
    End(Result<(), EndCode>),
}

/// How a search ended that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndCode {
    /// LDAP's result code.
    pub code: u32,
    /// The server's matchedDN.
    pub matched: String,
    /// The server's diagnostic message.
    pub text: String,
}

impl From<LdapResult> for EndCode {
    fn from(LdapResult { code, matched, text, .. }: LdapResult) -> Self {
        Self { code, matched, text }
    }
}

/// Synchronisations that share a connection of their own. Nothing is read before somebody asks for it.
#[derive(Debug)]
pub struct SyncConnection {
    connection: Connection,
    manages_dsa_it: bool,
    observer: Observing,
    referrals: Referrals,
    operation_timeout: Duration,
    running: HashMap<i64, String>,
    /// Of those that somebody wants to see.
    watches: HashMap<i64, Box<dyn SearchObserver>>,
    /// Items of a message that had several.
    ready: VecDeque<(i64, SyncItem)>,
    /// How long, and with how many items, a refresh has not got on.
    waited: Duration,
    idle: u32,
    /// How many ids sets have named since an entry came.
    named: usize,
}

/// More cookies and phases than come in a row. There may always be one to read, so that no time passes waiting.
const MOST_IDLE: u32 = 100_000;
/// The most ids that sets name one after another: more entries than any directory has.
const MOST_NAMED: usize = 1 << 28;

impl LdapDirectory {
    /// Opens a connection for synchronisations, to the server in use.
    pub async fn sync_connection(&self) -> Result<SyncConnection, DirectoryError> {
        let connection = self.open_connection().await?;
        Ok(SyncConnection {
            connection,
            manages_dsa_it: self.manages_dsa_it(),
            observer: self.config().observer.clone(),
            referrals: self.config().referrals,
            operation_timeout: self.config().operation_timeout,
            running: HashMap::new(),
            watches: HashMap::new(),
            ready: VecDeque::new(),
            waited: Duration::ZERO,
            idle: 0,
            named: 0,
        })
    }
}

impl SyncConnection {
    /// Begins a synchronisation. Gives the id that its items carry.
    pub async fn start(&mut self, request: &SyncRequest) -> Result<i64, DirectoryError> {
        let value = Writer::build(|w| {
            w.constructed(SEQUENCE, |w| {
                w.integer(ENUMERATED, if request.mode == SyncMode::RefreshOnly { 1 } else { 3 });
                request.cookie.iter().for_each(|c| w.octets(c));
                // reloadHint: to be told that a refresh is due serves us better than a list of what is still there.
                w.boolean(true);
            });
        });
        let mut controls =
            vec![Control { oid: oid::SYNC_REQUEST.into(), critical: true, value: Some(value) }];
        if self.manages_dsa_it {
            controls.push(Control { oid: oid::MANAGE_DSA_IT.into(), critical: false, value: None });
        }
        let SyncRequest { base, scope, filter, attributes, .. } = request;
        let id = self.connection.search(base, *scope, filter, attributes, 0, &controls).await?;
        self.running.insert(id, base.clone());
        if let Some(watch) = self.observer.search(self.connection.url(), base, true) {
            self.watches.insert(id, watch);
        }
        Ok(id)
    }

    /// The next item of any synchronisation, with its id. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<(i64, SyncItem), DirectoryError> {
        self.gets_on();
        self.receive().await
    }

    async fn receive(&mut self) -> Result<(i64, SyncItem), DirectoryError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            let message = self.connection.receive().await?;
            let id = message.id;
            // What was abandoned may still go on for a while.
            let Some(base) = self.running.get(&id).cloned() else { continue };
            let malformed = |what: &str| DirectoryError::Protocol {
                operation: "search",
                dn: base.clone(),
                reason: format!("the server sent {what} that RFC 4533 does not have"),
            };
            let items = items(message).ok_or_else(|| malformed("something"))?;
            if let Some(SyncItem::Reference(urls)) = items.first()
                && self.referrals == Referrals::Fail
            {
                return Err(DirectoryError::Protocol {
                    operation: "search",
                    dn: base,
                    reason: format!("the server refers to {} and follow_referrals is fail", urls.join(", ")),
                });
            }
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.synchronized(items.iter().filter(|i| matches!(i, SyncItem::Entry { .. })).count());
            }
            if let Some(SyncItem::End(end)) = items.iter().find(|i| matches!(i, SyncItem::End(_))) {
                if let Some(watch) = self.watches.remove(&id) {
                    watch.synchronization_ended(
                        end.as_ref().map_or_else(|e| e.code, |()| result_code::SUCCESS),
                    );
                }
                self.running.remove(&id);
            }
            self.ready.extend(items.into_iter().map(|i| (id, i)));
        }
    }

    /// The same, for a refresh: the server has to get on within `operation_timeout_seconds`. Entries, ids and the end do so;
    /// cookies and phases that follow one another do not. What persists may be silent for as long as nothing changes.
    pub async fn next_in_time(&mut self) -> Result<(i64, SyncItem), DirectoryError> {
        let limit = self.operation_timeout;
        let error = DirectoryError::Timeout {
            operation: "synchronisation",
            dn: self.running.values().next().cloned().unwrap_or_default(),
            seconds: limit.as_secs(),
        };
        let left = limit.saturating_sub(self.waited);
        if self.idle > MOST_IDLE {
            return Err(error);
        }
        let waiting = self.observer.awaiting();
        let began = Instant::now();
        let next = tokio::time::timeout(left, self.receive()).await;
        drop(waiting);
        // What is done meanwhile is not the server's time.
        self.waited += began.elapsed();
        self.idle += 1;
        let Ok(next) = next else { return Err(error) };
        let (id, item) = next?;
        match &item {
            SyncItem::Cookie(_) | SyncItem::PhaseEnd { .. } => {}
            SyncItem::Set { uuids, .. } => {
                self.named = self.named.saturating_add(uuids.len());
                if self.named > MOST_NAMED {
                    return Err(DirectoryError::Protocol {
                        operation: "synchronisation",
                        dn: self.running.get(&id).cloned().unwrap_or_default(),
                        reason: format!(
                            "the server names more than {MOST_NAMED} entries as there, or as gone"
                        ),
                    });
                }
                if !uuids.is_empty() {
                    self.gets_on();
                }
            }
            SyncItem::Entry { .. } | SyncItem::Reference(_) | SyncItem::Unreadable(_) | SyncItem::End(_) => {
                self.gets_on();
                self.named = 0;
            }
        }
        Ok((id, item))
    }

    fn gets_on(&mut self) {
        (self.waited, self.idle) = (Duration::ZERO, 0);
    }

    /// Ends a synchronisation before its end.
    pub async fn abandon(&mut self, id: i64) -> Result<(), DirectoryError> {
        self.running.remove(&id);
        self.watches.remove(&id);
        self.ready.retain(|(other, _)| *other != id);
        self.connection.abandon(id).await
    }

    /// Unbinds.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

/// What a message says, in order: what it is about first, the cookie that covers it after.
pub(crate) fn items(message: Message) -> Option<Vec<SyncItem>> {
    let Message { answer, controls, .. } = message;
    let control =
        |oid: &str| controls.iter().find(|c| c.oid == oid).map(|c| c.value.as_deref().unwrap_or_default());
    let mut items = Vec::new();
    match answer {
        Answer::Entry(entry) => {
            let mut state = Reader::new(control(oid::SYNC_STATE)?).constructed(SEQUENCE)?;
            let what = match state.integer(ENUMERATED)? {
                0 => SyncState::Present,
                1 | 2 => SyncState::Changed,
                3 => SyncState::Deleted,
                _ => return None,
            };
            let uuid = Uuid::from_slice(state.take(OCTET_STRING)?).ok()?;
            items.push(SyncItem::Entry { state: what, uuid, entry });
            items.extend(cookie(state.take(OCTET_STRING)));
        }
        Answer::Unreadable(dn) => {
            items.push(SyncItem::Unreadable(dn));
            let mut state = Reader::new(control(oid::SYNC_STATE)?).constructed(SEQUENCE)?;
            state.element()?;
            state.element()?;
            items.extend(cookie(state.take(OCTET_STRING)));
        }
        Answer::Reference(urls) => items.push(SyncItem::Reference(urls)),
        Answer::Done(result) => {
            if result.code != result_code::SUCCESS {
                return Some(vec![SyncItem::End(Err(result.into()))]);
            }
            let mut names_deleted = false;
            if let Some(value) = control(oid::SYNC_DONE) {
                let mut done = Reader::new(value).constructed(SEQUENCE)?;
                items.extend(cookie(done.take(OCTET_STRING)));
                names_deleted = flag(done.take(BOOLEAN), false);
            }
            // What the end says of the phase counts before its cookie does.
            items.insert(0, SyncItem::PhaseEnd { names_deleted, complete: true });
            items.push(SyncItem::End(Ok(())));
        }
        Answer::Intermediate { name, value } if name.as_deref() == Some(oid::SYNC_INFO) => {
            let mut info = Reader::new(value.as_deref()?);
            let (tag, content) = info.element()?;
            let mut content_reader = Reader::new(content);
            match tag {
                // newcookie [0]
                0x80 => items.extend(cookie(Some(content))),
                // refreshDelete [1], refreshPresent [2]
                0xa1 | 0xa2 => {
                    let cookie = cookie(content_reader.take(OCTET_STRING));
                    let complete = flag(content_reader.take(BOOLEAN), true);
                    items.push(SyncItem::PhaseEnd { names_deleted: tag == 0xa1, complete });
                    items.extend(cookie);
                }
                // syncIdSet [3]
                0xa3 => {
                    let cookie = cookie(content_reader.take(OCTET_STRING));
                    let deleted = flag(content_reader.take(BOOLEAN), false);
                    let mut set = content_reader.constructed(SET)?;
                    let mut uuids = Vec::new();
                    while !set.is_empty() {
                        uuids.push(Uuid::from_slice(set.take(OCTET_STRING)?).ok()?);
                    }
                    items.push(SyncItem::Set { deleted, uuids });
                    items.extend(cookie);
                }
                _ => return None,
            }
        }
        // Another extension's message is nothing to synchronisation.
        Answer::Intermediate { .. } => {}
        // In place of the search's end: a server that does not know the control may say so in an extended response.
        Answer::Extended { result, .. } => items.push(SyncItem::End(Err(result.into()))),
        Answer::Bind(_) | Answer::Changed(_) | Answer::Other(_) => return None,
    }
    Some(items)
}

/// An empty cookie says nothing.
fn cookie(octets: Option<&[u8]>) -> Option<SyncItem> {
    octets.filter(|c| !c.is_empty()).map(|c| SyncItem::Cookie(c.to_vec()))
}

fn flag(octets: Option<&[u8]>, default: bool) -> bool {
    octets.map_or(default, |b| b != [0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(tag: u8, write: impl FnOnce(&mut Writer)) -> Option<Vec<SyncItem>> {
        let value = Writer::build(|w| w.constructed(tag, write));
        let answer = Answer::Intermediate { name: Some(oid::SYNC_INFO.into()), value: Some(value) };
        items(Message { id: 1, answer, controls: vec![] })
    }

    #[test]
    fn the_messages_of_rfc_4533() {
        let uuid = Uuid::from_u128(7);
        assert_eq!(
            info(0xa3, |w| {
                w.octets("c");
                w.boolean(true);
                w.constructed(SET, |w| w.octets(uuid.as_bytes()));
            }),
            Some(vec![SyncItem::Set { deleted: true, uuids: vec![uuid] }, SyncItem::Cookie(b"c".to_vec())])
        );
        // Defaults: refreshDeletes is FALSE, refreshDone is TRUE.
        assert_eq!(
            info(0xa3, |w| w.constructed(SET, |w| w.octets(uuid.as_bytes()))),
            Some(vec![SyncItem::Set { deleted: false, uuids: vec![uuid] }])
        );
        assert_eq!(
            info(0xa2, |w| w.boolean(false)),
            Some(vec![SyncItem::PhaseEnd { names_deleted: false, complete: false }])
        );
        assert_eq!(
            info(0xa1, |_| {}),
            Some(vec![SyncItem::PhaseEnd { names_deleted: true, complete: true }])
        );
        assert_eq!(info(0xa3, |w| w.constructed(SET, |w| w.octets("short"))), None);
    }

    #[test]
    fn a_search_that_ends_without_the_control_named_nothing_as_deleted() {
        let result = LdapResult::default();
        let message = Message { id: 1, answer: Answer::Done(result), controls: vec![] };
        assert_eq!(
            items(message),
            Some(vec![SyncItem::PhaseEnd { names_deleted: false, complete: true }, SyncItem::End(Ok(()))])
        );
    }
}
