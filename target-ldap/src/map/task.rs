//! What a record asks for, and why it may ask for nothing.

use std::sync::Arc;

use ldap_directory::dn::DnKey;

use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::rule::{EmptyGroup, Operations};

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// The entry is to be there, like this.
    Upsert {
        /// The entry.
        wanted: WantedEntry,
        /// The filter that finds it (RFC 4515), whatever it is called; `None`: it is found by its name.
        filter: Option<String>,
        /// How it is found and changed.
        write_policy: Arc<WritePolicy>,
    },
    /// The entry is not to be there.
    Delete {
        /// Its name, where the record says it.
        dn: Option<String>,
        /// As for an upsert.
        filter: Option<String>,
        /// What is done about it.
        action: Arc<DeleteAction>,
        /// How it is found, and whether anything may be done.
        write_policy: Arc<WritePolicy>,
    },
    /// Nothing, but to look which entries are meant: those of a record that is rejected.
    Find {
        /// As for a deletion.
        dn: Option<String>,
        /// As for an upsert.
        filter: Option<String>,
        /// How they are found.
        write_policy: Arc<WritePolicy>,
    },
    /// Nothing.
    Nothing,
}

impl Task {
    /// The name of the entry it is about, where the record says it.
    pub fn dn(&self) -> Option<&str> {
        match self {
            Task::Upsert { wanted, .. } => Some(&wanted.dn),
            Task::Delete { dn, .. } | Task::Find { dn, .. } => dn.as_deref(),
            Task::Nothing => None,
        }
    }

    /// The filter that finds the entry, where that is not its name's business.
    pub fn filter(&self) -> Option<&str> {
        match self {
            Task::Upsert { filter, .. } | Task::Delete { filter, .. } | Task::Find { filter, .. } => {
                filter.as_deref()
            }
            Task::Nothing => None,
        }
    }
}

/// How the entries of a rule are found and changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WritePolicy {
    /// What may be done.
    pub operations: Operations,
    /// Whether the values of its old name leave an entry that is renamed.
    pub delete_old_rdn: bool,
    /// What happens to a group that would lose its last member.
    pub empty_group: EmptyGroup,
    /// Where entries are looked for that are found by a filter; `None`: where the directory has its data.
    pub base: Option<String>,
    /// The attributes whose values in that filter are the record's: an entry without any of them is nobody's yet.
    pub match_attributes: Vec<String>,
}

/// What a deletion does to an entry, if it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteAction {
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

impl DeleteAction {
    /// Whether what lies below an entry goes with it.
    pub fn takes_subtree(&self) -> bool {
        matches!(self, DeleteAction::Tree | DeleteAction::MoveTo(_))
    }
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
    pub action: Arc<DeleteAction>,
    /// Whether anything may be done.
    pub write_policy: Arc<WritePolicy>,
}
