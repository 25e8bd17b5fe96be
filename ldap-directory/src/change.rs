//! Updates of a directory: one type for the update operations of RFC 4511 and the change records of RFC 2849.

use crate::dn::{join, parent};
use crate::entry::Entry;

/// One update of one entry. DNs are RFC 4514 strings, in the spelling of their source.
///
/// ```
/// use ldap_directory::change::{Change, Modification, ModificationKind};
///
/// let change = Change::Modify {
///     dn: "uid=ada,dc=example".into(),
///     changes: vec![
///         Modification::new(ModificationKind::Replace, "mail", vec![b"ada@example.com".to_vec()]),
///         Modification::new(ModificationKind::Delete, "description", vec![]),
///     ],
/// };
/// assert_eq!(change.dn(), "uid=ada,dc=example");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds an entry (RFC 4511 section 4.7).
    Add(Entry),
    /// Deletes a leaf entry (RFC 4511 section 4.8).
    Delete {
        /// The entry's DN.
        dn: String,
    },
    /// Modifies the attributes of an entry (RFC 4511 section 4.6): all of `changes` in their order, or none.
    Modify {
        /// The entry's DN.
        dn: String,
        /// The modifications, in order.
        changes: Vec<Modification>,
    },
    /// Renames or moves an entry with its subtree (RFC 4511 section 4.9).
    Rename {
        /// The entry's old DN.
        dn: String,
        /// Its new RDN.
        new_rdn: String,
        /// Whether the values of the old RDN are deleted from the entry.
        delete_old_rdn: bool,
        /// The DN of its new parent; `None` keeps the parent.
        new_superior: Option<String>,
    },
}

impl Change {
    /// Returns the operation, as errors name it: `add`, `modify`, `delete`, `rename`.
    pub fn operation(&self) -> &'static str {
        match self {
            Change::Add(_) => "add",
            Change::Modify { .. } => "modify",
            Change::Delete { .. } => "delete",
            Change::Rename { .. } => "rename",
        }
    }

    /// Returns the DN of the changed entry; for a rename, its old DN.
    pub fn dn(&self) -> &str {
        match self {
            Self::Add(entry) => &entry.dn,
            Self::Delete { dn } | Self::Modify { dn, .. } | Self::Rename { dn, .. } => dn,
        }
    }

    /// Returns the DN that a rename gives to its entry; `None` for other changes.
    ///
    /// ```
    /// use ldap_directory::change::Change;
    ///
    /// let (dn, new_rdn) = ("uid=ada,ou=people,dc=x".to_owned(), "uid=ida".to_owned());
    /// let rename = Change::Rename { dn, new_rdn, delete_old_rdn: true, new_superior: None };
    /// assert_eq!(rename.new_dn().as_deref(), Some("uid=ida,ou=people,dc=x"));
    /// ```
    pub fn new_dn(&self) -> Option<String> {
        let Self::Rename { dn, new_rdn, new_superior, .. } = self else { return None };
        Some(match new_superior {
            Some(superior) => join(new_rdn, superior),
            None => join(new_rdn, &parent(dn)),
        })
    }
}

/// The operation of a modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModificationKind {
    /// Adds the values (RFC 4511 section 4.6); at least one.
    Add,
    /// Deletes the values, or the whole attribute if the list is empty (RFC 4511 section 4.6).
    Delete,
    /// Replaces all values; an empty list deletes the attribute, if it exists (RFC 4511 section 4.6).
    Replace,
    /// Adds one integer to every value (RFC 4525 section 3).
    Increment,
}

impl ModificationKind {
    /// Every kind, in the order of its LDAP number.
    pub const ALL: [Self; 4] = [Self::Add, Self::Delete, Self::Replace, Self::Increment];

    /// Returns its keyword in LDIF (RFC 2849; `increment`: RFC 4525 section 4).
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "delete",
            Self::Replace => "replace",
            Self::Increment => "increment",
        }
    }

    /// Returns the kind with this LDIF keyword, in any case.
    ///
    /// ```
    /// use ldap_directory::change::ModificationKind;
    ///
    /// assert_eq!(ModificationKind::from_keyword("Replace"), Some(ModificationKind::Replace));
    /// assert_eq!(ModificationKind::from_keyword("move"), None);
    /// ```
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.keyword().eq_ignore_ascii_case(keyword))
    }

    /// Returns why this number of values is invalid for this kind, if it is.
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
    /// The operation.
    pub kind: ModificationKind,
    /// The attribute description (RFC 4512 section 2.5).
    pub description: String,
    /// The values, as octets.
    pub values: Vec<Vec<u8>>,
}

impl Modification {
    /// Returns a modification.
    pub fn new(kind: ModificationKind, description: impl Into<String>, values: Vec<Vec<u8>>) -> Self {
        Self { kind, description: description.into(), values }
    }
}
