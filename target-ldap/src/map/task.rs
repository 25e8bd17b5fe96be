//! A task: what a record asks for.

use std::collections::BTreeMap;
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
    /// A member of a group is added to it or taken away.
    Membership(Box<MembershipRow>),
    /// No change.
    Nothing,
}

impl Task {
    /// Returns the DN of the entry, if the record names it.
    pub fn dn(&self) -> Option<&str> {
        match self {
            Task::Upsert { wanted, .. } => Some(&wanted.dn),
            Task::Delete { dn, .. } | Task::Find { dn, .. } => dn.as_deref(),
            Task::Membership(_) | Task::Nothing => None,
        }
    }

    /// Returns the filter that locates the entry, if the rule has `match`.
    pub fn filter(&self) -> Option<&str> {
        match self {
            Task::Upsert { filter, .. } | Task::Delete { filter, .. } | Task::Find { filter, .. } => {
                filter.as_deref()
            }
            Task::Membership(_) | Task::Nothing => None,
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
    /// The scopes of other rules whose `match` compares the same attributes, as far as they are not in this one's.
    pub other_scopes: Vec<String>,
    /// The attributes that `match` compares with the record. An entry without any of them may be taken over.
    pub match_attributes: Vec<String>,
    /// The object classes of the rule. Empty: they are the records'.
    pub object_classes: Vec<String>,
    /// The descriptions with options of which the records may say something, if they also say what an entry has of an attribute under any
    /// other options: it has nothing. `None`: values under other options stay.
    pub known_options: Option<Vec<String>>,
    /// How entries that were set aside are found again, if they are kept for some days only.
    pub grace: Option<Arc<GracePolicy>>,
}

/// For how long entries that were set aside are kept, and how they are found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GracePolicy {
    /// The stream that sets them aside.
    pub stream: String,
    /// The attribute of the marker.
    pub marker: String,
    /// The days after which they are deleted.
    pub days: u32,
    /// The entry below which they are moved.
    pub move_to: Option<String>,
    /// How the rules set entries aside, by their names in `mapping_rules`; `None`: without `then`, or with another marker.
    pub rules: BTreeMap<String, Option<AsideRule>>,
}

impl GracePolicy {
    /// Returns how the rule of a stream sets entries aside.
    pub fn rule_of(&self, stream: &str) -> Option<&AsideRule> {
        self.rules.get(stream).or_else(|| self.rules.get("*"))?.as_ref()
    }
}

/// How a rule with `on_delete.then` sets entries aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideRule {
    /// The entry below which it moves them.
    pub move_to: Option<String>,
    /// The values that it sets.
    pub set: Vec<Wanted>,
    /// The entry below which they were (`scope_base`).
    pub scope: Option<String>,
}

/// What a deletion does to an entry that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The values that it sets.
    pub set: Vec<Wanted>,
    /// The entry below which it moves it.
    pub move_to: Option<String>,
    /// For how long it is kept; `None`: for ever.
    pub grace: Option<Arc<GracePolicy>>,
}

/// One member of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipRow {
    /// The group.
    pub group: NamedEntry<String>,
    /// The attribute description, as the destination's schema spells it.
    pub attribute: String,
    /// The value: the DN of the member, or another one.
    pub member: NamedEntry<Vec<u8>>,
    /// Whether it is a member from now on.
    pub is_member: bool,
    /// How the group is changed.
    pub policy: Arc<MembershipPolicy>,
}

/// An entry by its name, or by the filter that finds it (RFC 4515).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamedEntry<T> {
    /// The name.
    Name(T),
    /// The filter.
    Filter(String),
}

/// How the groups of a rule with `membership` are found and changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipPolicy {
    /// The allowed operations.
    pub operations: Operations,
    /// Whether values are taken away (`on_delete`).
    pub takes_away: bool,
    /// What happens to a group that would lose its last member.
    pub empty_group: EmptyGroup,
    /// The base of searches for groups; `None`: the naming context.
    pub base: Option<String>,
    /// The filter that a group with a DN of the record must match, as one that a version takes members from; `None`: it was found by it,
    /// or there is no scope.
    pub scope_filter: Option<String>,
    /// The object classes of a group that the rule adds; empty: it adds none.
    pub new_classes: Vec<String>,
    /// Whether the DN of a member is the source's own value: it is written also if it names no entry.
    pub takes_dangling: bool,
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
    /// Sets values and moves it, or keeps it for some days only.
    SetAside(SetAside),
    /// Deletes it, for its days are over. An entry with entries below it stays.
    Expire,
    /// Nothing.
    Nothing,
}

impl DeleteAction {
    /// Whether the subtree is removed with the entry.
    pub fn takes_subtree(&self) -> bool {
        matches!(self, DeleteAction::Tree) || self.move_to().is_some()
    }

    /// Returns the entry below which it moves an entry.
    pub fn move_to(&self) -> Option<&str> {
        match self {
            DeleteAction::MoveTo(place) => Some(place),
            DeleteAction::SetAside(aside) => aside.move_to.as_deref(),
            _ => None,
        }
    }

    /// Returns the values that it sets.
    pub fn set(&self) -> &[Wanted] {
        match self {
            DeleteAction::Set(set) => set,
            DeleteAction::SetAside(aside) => &aside.set,
            _ => &[],
        }
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
    /// The attributes of memberships and how they are changed, if the stream has these; then the base may be empty.
    pub memberships: Option<(Vec<String>, Arc<MembershipPolicy>)>,
}
