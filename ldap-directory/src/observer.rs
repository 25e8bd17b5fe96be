//! Callbacks for metrics and traces: connections, operations, searches, retries.
//!
//! The library has no metrics of its own. [`DirectoryConfig::observer`](crate::DirectoryConfig::observer) sets an [`Observer`];
//! each of its methods may return an object that is notified of the end. Methods are called for pages, operations and
//! connections, never for an individual entry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ServerUrl;
use crate::error::DirectoryError;

/// Receives the events of a directory. Every method has a default that does nothing.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use ldap_directory::observer::{ConnectionObserver, Observer};
/// use ldap_directory::{DirectoryConfig, ServerUrl};
///
/// /// Counts the octets received from all servers.
/// #[derive(Debug, Clone, Default)]
/// struct Octets(Arc<AtomicU64>);
///
/// impl Observer for Octets {
///     fn connected(&self, _server: &str) -> Option<Box<dyn ConnectionObserver>> {
///         Some(Box::new(self.clone()))
///     }
/// }
///
/// impl ConnectionObserver for Octets {
///     fn received(&self, octets: usize) {
///         self.0.fetch_add(octets as u64, Ordering::Relaxed);
///     }
/// }
///
/// let octets = Octets::default();
/// let config = DirectoryConfig::new([ServerUrl::parse("ldap://localhost")?]).observer(octets.clone());
/// # Ok::<(), ldap_directory::config::InvalidUrl>(())
/// ```
pub trait Observer: Send + Sync + fmt::Debug {
    /// A connection to a server begins.
    fn connecting(&self, server: &ServerUrl) -> Option<Box<dyn ConnectObserver>> {
        let _ = server;
        None
    }

    /// A connection is open and bound, until the returned object is dropped.
    fn connected(&self, server: &str) -> Option<Box<dyn ConnectionObserver>> {
        let _ = server;
        None
    }

    /// An operation begins (`search`, `add`, `modify`, `modify dn`, `delete`, `password modify`, …) over the shared connection.
    fn operation(&self, operation: &'static str) -> Option<Box<dyn OperationObserver>> {
        let _ = operation;
        None
    }

    /// A search or a content synchronization begins. `is_long` means that the answer may have many entries.
    fn search(&self, server: &str, base: &str, is_long: bool) -> Option<Box<dyn SearchObserver>> {
        let _ = (server, base, is_long);
        None
    }

    /// The library waits for a server, until the returned object is dropped.
    fn awaiting(&self) -> Option<Box<dyn Waiting>> {
        None
    }

    /// An error occurred, and the operation is retried. Its [`is_transient`](DirectoryError::is_transient) is true, or it is a change whose
    /// outcome is not known yet, and the entry is read first.
    fn retried(&self, error: &DirectoryError) {
        let _ = error;
    }

    /// An entry is left out because its DN is not UTF-8. Called once for each such DN.
    fn unreadable(&self, dn: &str) {
        let _ = dn;
    }
}

/// Is notified of the end of a connection attempt.
pub trait ConnectObserver: Send + Sync + fmt::Debug {
    /// The connection is open and bound, or the attempt failed.
    fn done(self: Box<Self>, result: Result<(), &DirectoryError>);
}

/// Is notified of octets that arrive over a connection.
pub trait ConnectionObserver: Send + Sync + fmt::Debug {
    /// Octets arrived.
    fn received(&self, octets: usize);
}

/// Is notified of the end of an operation.
pub trait OperationObserver: Send + Sync + fmt::Debug {
    /// The server answered with a result code (RFC 4511 section 4.1.9), or the operation failed.
    fn done(self: Box<Self>, server: &str, outcome: Result<u32, &DirectoryError>);
}

/// Is notified of the pages and the end of a search. It is dropped without a call of `done` if the caller stopped reading.
pub trait SearchObserver: Send + Sync + fmt::Debug {
    /// The library waited for the current page.
    fn waited(&mut self, time: Duration);

    /// A page arrived. `code` is its result code if it has a connection of its own; over the shared connection, the code was
    /// reported to the [`OperationObserver`].
    fn page(&mut self, entries: u32, code: Option<u32>);

    /// More entries of a content synchronization (RFC 4533) arrived, which has no pages.
    fn synchronized(&mut self, entries: usize);

    /// A content synchronization ended with a result code.
    fn synchronization_ended(self: Box<Self>, code: u32);

    /// The search ended.
    fn done(self: Box<Self>, result: Result<(), &DirectoryError>);
}

/// A period of waiting for a server, which ends when this is dropped.
pub trait Waiting: Send + Sync + fmt::Debug {}

/// The observer of a configuration, if any.
#[derive(Debug, Clone, Default)]
pub struct Observing(Option<Arc<dyn Observer>>);

impl Observing {
    /// Returns a configuration's observer.
    pub fn by(observer: impl Observer + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    pub(crate) fn connecting(&self, server: &ServerUrl) -> Option<Box<dyn ConnectObserver>> {
        self.0.as_ref()?.connecting(server)
    }

    pub(crate) fn connected(&self, server: &str) -> Option<Box<dyn ConnectionObserver>> {
        self.0.as_ref()?.connected(server)
    }

    pub(crate) fn operation(&self, operation: &'static str) -> Option<Box<dyn OperationObserver>> {
        self.0.as_ref()?.operation(operation)
    }

    pub(crate) fn search(&self, server: &str, base: &str, is_long: bool) -> Option<Box<dyn SearchObserver>> {
        self.0.as_ref()?.search(server, base, is_long)
    }

    pub(crate) fn awaiting(&self) -> Option<Box<dyn Waiting>> {
        self.0.as_ref()?.awaiting()
    }

    pub(crate) fn retried(&self, error: &DirectoryError) {
        if let Some(observer) = &self.0 {
            observer.retried(error);
        }
    }

    pub(crate) fn unreadable(&self, dn: &str) {
        if let Some(observer) = &self.0 {
            observer.unreadable(dn);
        }
    }
}
