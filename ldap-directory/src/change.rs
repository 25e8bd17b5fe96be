//! Changes to a directory, one per update operation of RFC 4511 and per change record of RFC 2849.
//!
//! A change says what to do, not how: the LDAP writer, the planner and the LDIF reader and writer share it.

use crate::entry::Entry;

/// One change to one entry. Names are RFC 4514 strings, as their source spelt them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Add an entry (RFC 4511 section 4.7).
    Add(Entry),
    /// Delete a leaf entry (RFC 4511 section 4.8).
    Delete {
        /// The entry to delete.
        dn: String,
    },
    /// Change the attributes of an entry (RFC 4511 section 4.6): all of `changes` in their order, or none.
    Modify {
        /// The entry to change.
        dn: String,
        /// What to change, in order.
        changes: Vec<Modification>,
    },
    /// Rename or move an entry, and what lies below it (RFC 4511 section 4.9).
    Rename {
        /// The entry to rename, under its old name.
        dn: String,
        /// Its new relative distinguished name.
        new_rdn: String,
        /// Whether the values of the old RDN leave the entry.
        delete_old_rdn: bool,
        /// Its new parent; `None` leaves it where it is.
        new_superior: Option<String>,
    },
}

impl Change {
    /// The name of the entry this is about; for a rename, its old name.
    pub fn dn(&self) -> &str {
        match self {
            Self::Add(entry) => &entry.dn,
            Self::Delete { dn } | Self::Modify { dn, .. } | Self::Rename { dn, .. } => dn,
        }
    }
}

/// What a modification does with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModificationKind {
    /// Add the values (RFC 4511 section 4.6); at least one.
    Add,
    /// Delete the values, or the whole attribute when there are none (RFC 4511 section 4.6).
    Delete,
    /// Make these the only values; none deletes the attribute, there or not (RFC 4511 section 4.6).
    Replace,
    /// Add one integer to every value (RFC 4525 section 3).
    Increment,
}

impl ModificationKind {
    /// Every kind, in the order of its LDAP number.
    pub const ALL: [Self; 4] = [Self::Add, Self::Delete, Self::Replace, Self::Increment];

    /// Its keyword in LDIF (RFC 2849; `increment`: RFC 4525 section 4).
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Replace => "replace",
            Self::Increment => "increment",
        }
    }

    /// The kind with this LDIF keyword; keywords compare without regard to case.
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.keyword().eq_ignore_ascii_case(keyword))
    }

    /// What is wrong with this many values for this kind, if anything.
    pub fn objection(self, values: usize) -> Option<&'static str> {
        match (self, values) {
            (Self::Add, 0) => Some("`add` needs at least one value"),
            (Self::Increment, n) if n != 1 => Some("`increment` takes exactly one value"),
            _ => None,
        }
    }
}

/// One step of a [`Change::Modify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modification {
    /// What to do.
    pub kind: ModificationKind,
    /// The attribute description (RFC 4512 section 2.5).
    pub description: String,
    /// The values, as octets.
    pub values: Vec<Vec<u8>>,
}

impl Modification {
    /// A modification.
    pub fn new(kind: ModificationKind, description: impl Into<String>, values: Vec<Vec<u8>>) -> Self {
        Self { kind, description: description.into(), values }
    }
}
