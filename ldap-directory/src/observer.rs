//! What a caller may see of a directory at work: connections, operations, searches, and what is tried again.
//!
//! A library has no metrics of its own. Whoever wants to count, to measure or to trace gives the configuration an
//! [`Observer`]; each of its methods may return an object that hears of the end. Nothing is called for each entry, but for pages,
//! operations and connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ServerUrl;
use crate::error::DirectoryError;

/// Is shown what happens. All methods do nothing unless they are written.
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

    /// An operation begins (`search`, `add`, `modify`, `modify dn`, `delete`, `password modify`, …) over a connection with others.
    fn operation(&self, operation: &'static str) -> Option<Box<dyn OperationObserver>> {
        let _ = operation;
        None
    }

    /// A search or a synchronization begins. `is_long` says that the answer may have many entries.
    fn search(&self, server: &str, base: &str, is_long: bool) -> Option<Box<dyn SearchObserver>> {
        let _ = (server, base, is_long);
        None
    }

    /// An answer of a server is waited for, until the returned object is dropped.
    fn awaiting(&self) -> Option<Box<dyn Waiting>> {
        None
    }

    /// Something failed for a while and is tried again.
    fn retried(&self, error: &DirectoryError) {
        let _ = error;
    }

    /// An entry is left out because its DN is not UTF-8. Called once for each such DN.
    fn unreadable(&self, dn: &str) {
        let _ = dn;
    }
}

/// Hears how opening a connection ended.
pub trait ConnectObserver: Send + Sync + fmt::Debug {
    /// The connection is open and bound, or the attempt failed.
    fn done(self: Box<Self>, result: Result<(), &DirectoryError>);
}

/// Hears what arrives over a connection.
pub trait ConnectionObserver: Send + Sync + fmt::Debug {
    /// Octets arrived.
    fn received(&self, octets: usize);
}

/// Hears how an operation ended.
pub trait OperationObserver: Send + Sync + fmt::Debug {
    /// The server answered with a result code (RFC 4511 section 4.1.9), or there was no answer.
    fn done(self: Box<Self>, server: &str, outcome: Result<u32, &DirectoryError>);
}

/// Hears of the pages and the end of a search. Dropped without an end, as much was read as was wanted.
pub trait SearchObserver: Send + Sync + fmt::Debug {
    /// Time was waited for the page under way.
    fn waited(&mut self, time: Duration);

    /// A page has arrived. `code` is its result code where it came over a connection of its own; over a shared one it was reported
    /// to the [`OperationObserver`].
    fn page(&mut self, entries: u32, code: Option<u32>);

    /// More entries of a synchronization (RFC 4533) arrived, which has no pages.
    fn synchronized(&mut self, entries: usize);

    /// A synchronization ended with a result code.
    fn synchronization_ended(self: Box<Self>, code: u32);

    /// The search ended.
    fn done(self: Box<Self>, result: Result<(), &DirectoryError>);
}

/// Time in which a server is waited for: it ends when this is dropped.
pub trait Waiting: Send + Sync + fmt::Debug {}

/// The observer of a configuration, if it has one.
#[derive(Debug, Clone, Default)]
pub struct Observing(Option<Arc<dyn Observer>>);

impl Observing {
    /// Returns the observation by an observer.
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
