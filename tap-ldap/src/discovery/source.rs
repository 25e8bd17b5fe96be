//! The source of a stream's entries.

use crate::config::StreamConfig;

/// Where the entries of a stream come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The container entries themselves.
    Containers,
    /// The entries that have this container as their nearest container.
    Container {
        /// The container's DN.
        dn: String,
    },
    /// The entries of a structural class.
    Class {
        /// The filter that matches these entries and no others.
        filter: String,
    },
    /// A search from the setting `schemas`.
    Search(Box<StreamConfig>),
    /// The members of the groups of another source.
    Members(Box<Source>),
}
