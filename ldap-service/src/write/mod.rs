//! Every change of the directory: through target-ldap's rules, a plan, guards and an undo file.
//!
//! A [`Writer`] is made of the settings `write.*`, `users.*` and `groups.*`. Each of its methods takes an open
//! [`Directory`] and does, in this order:
//!
//! 1. **Map** the record by the rule of its kind (`write.mapping_rules.users` or `.groups`, target-ldap's form). A key that the
//!    rule does not have is filled with a default ([`rules`]): `{}` is a complete rule.
//! 2. **Check**: the entry is below the base of its kind; it is not the base, the bound user's own entry, or an entry above one of
//!    these; no secret or operational attribute is named.
//! 3. **Plan**: the change is made on a preview of the directory, which refuses what the server's schema forbids. With
//!    [`WriteOptions::dry_run`] this is the end.
//! 4. **Guard**: deletions count against `write.max_deletes` in each hour ([`guard`]), also across restarts.
//! 5. **Write**: each change is announced in a journal in `write.undo_dir` first, on disk, then sent. At the end the journal
//!    becomes an undo file, which `target-ldap undo FILE` accepts.
//! 6. **All or nothing**: if a change is refused, those before it are taken back at once, by the journal. A deletion is not: its
//!    entry would come back as another one.
//!
//! 7. **Look again**: an entry that the filter of its kind does not match any more is a failure, too: it would be in no list.
//!
//! What a record asks for is compared with the plan, and with the entry after the write: a rule that leaves something out is an error
//! (`asked`).
//!
//! Writes to one entry are serialized in the process; writes to different entries run at once, at most [`IN_FLIGHT`]. A write
//! runs in a task of its own: a caller that goes away does not interrupt it.
//!
//! # Names of properties
//! The properties of a record are the names of LDAP attributes as `users.scim` and `groups.scim` have them (`uid`, `mail`,
//! `member`), `password` (clear text), and `active` (boolean). A property that is null or an empty list removes the attribute; one
//! that is absent leaves it alone. Binary values are base64.

use ldap_directory::change::Change;
use ldap_directory::filter::Filter;

mod asked;
mod attributes;
mod bound;
mod change_set;
mod disabled;
mod emptied;
mod entries;
pub mod error;
mod fence;
mod guard;
mod imported;
mod locks;
mod logins;
mod mapped;
mod memberships;
mod named;
mod namesakes;
mod owed;
mod plan;
mod primary_groups;
mod reference;
mod refusal;
mod reserved;
pub mod rules;
mod shared_names;
mod spelling;
#[cfg(test)]
mod tests;
mod upsert;
mod values;
mod whole;
mod writer;

pub use error::{WriteError, WriteErrorKind};
pub use reference::{UNDO_FILE, noting_undo_files};
pub use writer::{WriteState, Writer};

#[allow(unused_imports, reason = "for the import of LDIF")]
pub(crate) use self::{
    attributes::{AttributeGuard, Guarded},
    change_set::ChangeSet,
    disabled::LockCheck,
    emptied::{change_first, of as emptied_by, take_back},
    fence::{Fence, Territory},
    imported::{ImportRules, KeptDeletion},
    locks::of_dn,
    logins::{GivenLogins, LoginNames},
    memberships::{Followed, Gift, GivenNames, Memberships, Watch},
    primary_groups::check_deletion,
    refusal::of_directory,
    whole::{check_kept, place_of, without_nothing},
};

/// The most writes in progress at once.
pub const IN_FLIGHT: usize = 32;

/// The kind of an entry: which base it is below, and which rule writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// Below `users.base_dn`, by the rule `users`.
    Users,
    /// Below `groups.base_dn`, by the rule `groups`.
    Groups,
}

impl ResourceKind {
    /// Returns the name of the rule: `users` or `groups`.
    pub fn stream(self) -> &'static str {
        match self {
            ResourceKind::Users => "users",
            ResourceKind::Groups => "groups",
        }
    }

    /// Returns the name of a setting of its rule.
    pub(crate) fn rule_setting(self, key: &str) -> String {
        format!("write.mapping_rules.{}.{key}", self.stream())
    }
}

/// The identifier that a server gives an entry for life: `entryUUID` (RFC 4530), `objectGUID`, `nsUniqueId`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryId {
    /// The attribute.
    pub attribute: String,
    /// Its value, as the server returns it.
    pub value: Vec<u8>,
}

/// An existing entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRef {
    /// Its DN when it was read.
    pub dn: String,
    /// Its identifier: the entry is written even if it has another DN meanwhile, and no other entry that has its DN.
    pub id: EntryId,
}

/// What an upsert writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A new entry. An existing one is never changed: it is [`WriteErrorKind::Taken`].
    New,
    /// An existing entry. It is never added again: a missing one is [`WriteErrorKind::NotFound`].
    Existing(EntryRef),
}

/// The options of a write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The entry must match this filter (`If-Match`), else it is [`WriteErrorKind::Precondition`]. It is sent as an assertion
    /// control (RFC 4528) with the first change if the server supports that; else it is checked right before.
    pub condition: Option<Filter>,
    /// Whether only the plan is made, and nothing is written.
    pub dry_run: bool,
    /// What an upsert does with the DN of an existing entry.
    pub placement: Placement,
    /// Properties of the record that are there for the DN alone, and are not written: they are as the entry has them.
    pub for_name_only: Vec<String>,
    /// Whether an upsert may leave an entry that the filter of its kind (`users.filter`, `groups.filter`) does not match: an account that
    /// is disabled. Any other is taken back, for nobody would find it.
    pub may_leave: bool,
    /// Attributes of a new entry that the service's user must be able to read: the answer depends on them. If not, the entry is taken
    /// back.
    pub must_show: Vec<String>,
    /// The members that an upsert takes out of a group: it must not have them afterwards, under whatever description.
    pub taken_out: Vec<TakenOut>,
    /// What an upsert asks for: the writer fills it in.
    pub(crate) asked: asked::Asked,
}

/// A member that a write takes out of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOut {
    /// The attribute description that has it.
    pub description: String,
    /// Its value there.
    pub value: Vec<u8>,
}

/// What an upsert does with the DN of an existing entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// It becomes that of the rule.
    #[default]
    Rule,
    /// It gets the RDN of the rule, and stays below the same entry.
    SameParent,
    /// It stays.
    Same,
}

/// What happened to an entry, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It was added.
    Added,
    /// It was modified.
    Modified,
    /// It was renamed, and possibly modified.
    Renamed,
    /// It was deleted.
    Deleted,
    /// It was moved instead of deleted (`on_delete`).
    Moved,
    /// It was as it should be. There is no undo file.
    Unchanged,
}

impl Effect {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Effect::Added => "added",
            Effect::Modified => "modified",
            Effect::Renamed => "renamed",
            Effect::Deleted => "deleted",
            Effect::Moved => "moved",
            Effect::Unchanged => "unchanged",
        }
    }
}

/// The result of a write.
#[derive(Debug, Clone)]
pub struct WriteOutcome {
    /// What happened.
    pub effect: Effect,
    /// The DN of the entry from now on; of a deleted one, the last.
    pub dn: String,
    /// Its identifier; `None` for a planned or deleted entry, or if the server shows none.
    pub id: Option<EntryId>,
    /// The changes that were made (or planned), in order. Values of secret attributes are removed.
    pub changes: Vec<Change>,
    /// The same as LDIF change records, with comments for what is not shown.
    pub plan: String,
    /// The undo file, as a path relative to `write.undo_dir`. `None` if nothing was changed.
    pub undo_file: Option<String>,
}
