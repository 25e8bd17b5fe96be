//! Changes that are too large for the server.
//!
//! A server reads the length at the beginning of a request. If it is too large, the server closes the connection, without an answer, and
//! with all other operations in progress. So a large change has a connection of its own. If that is lost, only the length is sent again,
//! and a small one for comparison: if only the large one closes the connection, the request is the cause, not the network. This changes
//! nothing, because no request is sent completely.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::LdapDirectory;
use crate::change::Change;
use crate::config::AuthMethod;
use crate::error::DirectoryError;
use crate::protocol::message::{Control, LdapResult, envelope, frame};
use crate::root_dse::{RootDse, Vendor};

/// Changes of this size have a connection of their own: less than any server's default limit (slapd accepts 256 KiB from anonymous
/// users), more than nearly all entries.
const ALONE: usize = 128 * 1024;
/// Smaller ones are never the cause: every server accepts them.
const SUSPECT: usize = 16 * 1024;
/// A size that every server accepts.
const SMALL: usize = 1024;
/// The time in which a server closes a connection for an excessive length, in addition to the latency.
const PATIENCE: Duration = Duration::from_secs(1);
/// The number of octets sent of a request: its length, and enough for servers that wait for some of it.
const BEGINNING: usize = 24;

/// The known limits of request sizes.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// The smallest size known to be refused.
    refused: AtomicUsize,
    /// The largest size known to be accepted.
    taken: AtomicUsize,
    /// Held during a test: one at a time.
    looking: tokio::sync::Mutex<()>,
}

impl Default for Sizes {
    fn default() -> Self {
        let (refused, taken) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(SUSPECT));
        Self { refused, taken, looking: tokio::sync::Mutex::default() }
    }
}

impl Sizes {
    /// Returns whether requests of this size are known to be refused.
    pub(crate) fn are_refused(&self, octets: usize) -> bool {
        octets >= self.refused.load(Ordering::Relaxed)
    }

    /// Returns whether requests of this size are known to be accepted.
    fn are_taken(&self, octets: usize) -> bool {
        octets <= self.taken.load(Ordering::Relaxed)
    }
}

impl LdapDirectory {
    /// Sends a large change over a connection of its own. `None` if it must use the shared one.
    pub(crate) async fn change_alone(
        &self,
        operation: &'static str,
        dn: &str,
        request: &[u8],
        controls: &[Control],
    ) -> Option<Result<LdapResult, DirectoryError>> {
        if request.len() < ALONE {
            return None;
        }
        let mut leased = self.lease().await?;
        let watch = self.config().observer.operation(operation);
        let timeout = self.config().operation_timeout;
        let asked = tokio::time::timeout(timeout, leased.connection.change(request, controls)).await;
        let asked = match asked {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(DirectoryError::Lost { reason, .. })) => {
                let reason = format!("{reason}, while it took {} octets", request.len());
                Err(DirectoryError::lost(operation, dn, reason))
            }
            Ok(Err(other)) => Err(other),
            Err(_) => Err(DirectoryError::timeout(operation, dn, timeout)),
        };
        let asked = asked.map_err(|e| e.of_sent_change(operation, dn));
        if let Some(watch) = watch {
            watch.done(leased.connection.url(), asked.as_ref().map(|result| result.code));
        }
        if asked.is_ok() {
            self.sizes().taken.fetch_max(request.len(), Ordering::Relaxed);
            self.give_back(leased);
        }
        Some(asked)
    }

    /// Returns whether the connection of this request was closed for its size. `false` in doubt.
    pub(crate) async fn is_too_large(&self, request: &[u8], controls: &[Control]) -> bool {
        let (sizes, octets) = (self.sizes(), request.len());
        let _one_at_a_time = sizes.looking.lock().await;
        if sizes.are_refused(octets) || sizes.are_taken(octets) {
            return sizes.are_refused(octets);
        }
        let small = vec![request.first().copied().unwrap_or_default(); SMALL];
        // Twice: a network may fail at the same moment.
        for (asked, is_cut) in [(request, true), (&small, false), (request, true)] {
            match self.is_cut(asked, controls).await {
                Ok(cut) if cut == is_cut => {}
                Ok(_) if is_cut => {
                    sizes.taken.fetch_max(octets, Ordering::Relaxed);
                    return false;
                }
                Ok(_) => return false,
                Err(error) => {
                    tracing::debug!("whether the server takes {octets} octets cannot be found out: {error}");
                    return false;
                }
            }
        }
        sizes.refused.fetch_min(octets, Ordering::Relaxed);
        true
    }

    /// Returns whether the server closes a connection on which this request begins.
    async fn is_cut(&self, request: &[u8], controls: &[Control]) -> Result<bool, DirectoryError> {
        let started = Instant::now();
        let mut connection = self.open_connection().await?;
        let patience = PATIENCE + started.elapsed();
        let whole = envelope(i32::from(u8::MAX), request, controls);
        let content = frame(&whole).map_or(0, |content| content.start);
        let beginning = whole.get(..content + BEGINNING).unwrap_or(&whole);
        Ok(connection.is_cut_by(beginning, patience).await)
    }

    /// Returns the error of a change that is too large.
    pub(crate) fn too_large(
        &self,
        operation: &'static str,
        change: &Change,
        octets: usize,
    ) -> DirectoryError {
        let largest = largest(change)
            .map_or_else(String::new, |(name, octets)| format!(", {octets} of them in `{name}`"));
        let limit = limit(self.root_dse(), matches!(self.config().auth, AuthMethod::Anonymous));
        DirectoryError::TooLarge { operation, dn: change.dn().to_owned(), octets, largest, limit }
    }

    fn sizes(&self) -> &Sizes {
        &self.shared.sizes
    }

    /// Returns whether a change of this size need not be sent.
    pub(crate) fn is_known_as_too_large(&self, octets: usize) -> bool {
        self.sizes().are_refused(octets)
    }
}

/// Returns the largest attribute of a change.
fn largest(change: &Change) -> Option<(&str, usize)> {
    let octets = |values: &[Vec<u8>]| values.iter().map(Vec::len).sum::<usize>();
    let sizes: Vec<(&str, usize)> = match change {
        Change::Add(entry) => {
            entry.attributes.iter().map(|a| (a.description.as_str(), octets(&a.values))).collect()
        }
        Change::Modify { changes, .. } => {
            changes.iter().map(|m| (m.description.as_str(), octets(&m.values))).collect()
        }
        Change::Delete { .. } | Change::Rename { .. } => Vec::new(),
    };
    sizes.into_iter().max_by_key(|(_, octets)| *octets)
}

/// Returns the server's setting that limits requests, and its default.
fn limit(server: &RootDse, is_anonymous: bool) -> String {
    match server.vendor {
        // slapd.conf(5), slapd-config(5), except for the default of authenticated sessions: 2^24 - 1 in its source and by trial (2.5),
        // 4194303 in the manual.
        Vendor::OpenLdap if is_anonymous => {
            "`sockbuf_max_incoming` of OpenLDAP (olcSockbufMaxIncoming in cn=config; 262143 octets unless it is set)".into()
        }
        Vendor::OpenLdap => {
            "`sockbuf_max_incoming_auth` of OpenLDAP (olcSockbufMaxIncomingAuth in cn=config; 16777215 octets unless it is set)".into()
        }
        // Red Hat Directory Server 12, Configuration and schema reference, 2.1.79.
        Vendor::Ds389 => {
            "`nsslapd-maxbersize` of 389 Directory Server (in cn=config; 2097152 octets unless it is set)".into()
        }
        // smb.conf(5).
        Vendor::ActiveDirectory if server.version.contains("Samba") => {
            "`ldap max authenticated request size` of Samba (in smb.conf; 16777216 octets unless it is set)".into()
        }
        // [MS-ADTS] 3.1.1.3.4.6.
        Vendor::ActiveDirectory => {
            "`MaxReceiveBuffer` of Active Directory (in its query policy; 10485760 octets unless it is set)".into()
        }
        Vendor::Ldif | Vendor::Other => "the largest request that this server takes".into(),
    }
}
