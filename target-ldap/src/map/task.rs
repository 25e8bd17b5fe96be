//! A task: what a record asks for.

use std::sync::Arc;

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;

use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::rule::{EmptyGroup, Operations};

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// The entry is added, or changed to be like this.
    Upsert {
        /// The entry.
        wanted: WantedEntry,
        /// The filter that locates the entry (RFC 4515); `None`: its DN does.
        filter: Option<String>,
        /// How the entry is located and changed.
        write_policy: Arc<WritePolicy>,
    },
    /// The entry is deleted.
    Delete {
        /// Its DN, if the record names it.
        dn: Option<String>,
        /// As for an upsert.
        filter: Option<String>,
        /// What the deletion does.
        action: Arc<DeleteAction>,
        /// The filter that the entry must still match, if it comes from a list; `None`: it was just located.
        condition: Option<Arc<Filter>>,
        /// How the entry is located, and what is allowed.
        write_policy: Arc<WritePolicy>,
    },
    /// The matching entries are only looked up: those of a rejected record.
    Find {
        /// As for a deletion.
        dn: Option<String>,
        /// As for an upsert.
        filter: Option<String>,
        /// How they are located.
        write_policy: Arc<WritePolicy>,
    },
    /// No change.
    Nothing,
}

impl Task {
    /// Returns the DN of the entry, if the record names it.
    pub fn dn(&self) -> Option<&str> {
        match self {
            Task::Upsert { wanted, .. } => Some(&wanted.dn),
            Task::Delete { dn, .. } | Task::Find { dn, .. } => dn.as_deref(),
            Task::Nothing => None,
        }
    }

    /// Returns the filter that locates the entry, if the rule has `match`.
    pub fn filter(&self) -> Option<&str> {
        match self {
            Task::Upsert { filter, .. } | Task::Delete { filter, .. } | Task::Find { filter, .. } => {
                filter.as_deref()
            }
            Task::Nothing => None,
        }
    }
}

/// How the entries of a rule are located and changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WritePolicy {
    /// The allowed operations.
    pub operations: Operations,
    /// Whether a rename removes the values of the old RDN.
    pub delete_old_rdn: bool,
    /// Whether an entry is renamed as well if its RDN is to be spelled in another way: in another case, with other blanks.
    pub exact_rdn: bool,
    /// What happens to a group that would lose its last member.
    pub empty_group: EmptyGroup,
    /// The base of searches by `match`; `None`: the naming context.
    pub base: Option<String>,
    /// The attributes that `match` compares with the record. An entry without any of them may be taken over.
    pub match_attributes: Vec<String>,
    /// The object classes of the rule. Empty: they are the records'.
    pub object_classes: Vec<String>,
}

/// What a deletion does to an existing entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteAction {
    /// Deletes it.
    Delete,
    /// Deletes it and its subtree.
    Tree,
    /// Moves it below this entry.
    MoveTo(String),
    /// Sets these values.
    Set(Vec<Wanted>),
    /// Nothing.
    Nothing,
}

impl DeleteAction {
    /// Whether the subtree is removed with the entry.
    pub fn takes_subtree(&self) -> bool {
        matches!(self, DeleteAction::Tree | DeleteAction::MoveTo(_))
    }
}

/// Where a stream's entries are, and what happens to those that a version does not have.
#[derive(Debug, Clone)]
pub struct Extent {
    /// The entry that they are below.
    pub base: String,
    /// The filter that they match (RFC 4515).
    pub filter: String,
    /// Scopes of other rules below the base: an entry belongs to the nearest scope.
    pub others: Vec<DnKey>,
    /// What a deletion does.
    pub action: Arc<DeleteAction>,
    /// What is allowed.
    pub write_policy: Arc<WritePolicy>,
}
