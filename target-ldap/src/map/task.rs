//! What a record asks for, and why it may ask for nothing.

use std::sync::Arc;

use singer_common::dn::DnKey;

use crate::plan::{Wanted, WantedEntry};
use crate::rule::Operations;
use crate::template::RenderError;

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// The entry is to be there, like this.
    Upsert {
        /// The entry.
        wanted: WantedEntry,
        /// What may be done to have it.
        operations: Operations,
    },
    /// The entry is not to be there.
    Delete {
        /// Its name.
        dn: String,
        /// What is done about it.
        removal: Arc<Removal>,
        /// Whether anything may be done.
        allowed: bool,
    },
    /// Nothing.
    Nothing,
}

impl Task {
    /// The entry it is about.
    pub fn dn(&self) -> Option<&str> {
        match self {
            Task::Upsert { wanted, .. } => Some(&wanted.dn),
            Task::Delete { dn, .. } => Some(dn),
            Task::Nothing => None,
        }
    }
}

/// What a deletion does to an entry, if it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It goes.
    Delete,
    /// It goes, and all that lies below it.
    Tree,
    /// It goes below this one.
    MoveTo(String),
    /// It gets these values.
    Set(Vec<Wanted>),
    /// Nothing.
    Nothing,
}

/// Where a stream's entries are, and what happens to those that are gone.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Below this entry.
    pub base: String,
    /// Those that this filter fits (RFC 4515).
    pub filter: String,
    /// But not what lies in the scope of a rule further down: an entry is of the stream that is nearest.
    pub others: Vec<DnKey>,
    /// What a deletion does.
    pub removal: Arc<Removal>,
    /// Whether anything may be done.
    pub allowed: bool,
}

/// Why a record makes no entry. Never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A value cannot be brought into the attribute's syntax.
    #[error("property `{property}` cannot become a value of `{attribute}`: {reason}")]
    Value {
        /// The record's property.
        property: String,
        /// The attribute.
        attribute: String,
        /// What would be right.
        reason: String,
    },
    /// A template cannot be filled in.
    #[error("{part}: {error}")]
    Template {
        /// Which template.
        part: String,
        /// Why.
        error: RenderError,
    },
    /// No name can be made.
    #[error("{0}")]
    Name(String),
}
