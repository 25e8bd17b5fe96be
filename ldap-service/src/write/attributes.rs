//! The attributes that a caller may write.

use ldap_directory::Directory;
use ldap_directory::entry::base_type;

use super::{WriteError, WriteErrorKind};

/// Attributes that servers keep themselves, though their schema does not say so.
const KEPT: [&str; 1] = ["memberOf"];

/// Why an attribute is not written for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// The schema does not know it.
    Unknown,
    /// It holds passwords or keys.
    Secret,
    /// It is operational: locks, access rules, policies.
    Operational,
    /// The server maintains it.
    Kept,
}

impl Guarded {
    /// Returns why an attribute is not written; `None`: it may be.
    pub(crate) fn of(description: &str, directory: &Directory) -> Option<Guarded> {
        let schema = directory.schema();
        if directory.secret_attributes().contains(description) {
            return Some(Guarded::Secret);
        }
        if KEPT.iter().any(|kept| schema.same_description(kept, base_type(description))) {
            return Some(Guarded::Kept);
        }
        match schema.attribute_type(description) {
            None => (!directory.takes_unknown_attributes()).then_some(Guarded::Unknown),
            // Active Directory marks objectClass as maintained, and still requires it.
            Some(_) if schema.same_description(description, "objectClass") => None,
            Some(known) if known.no_user_modification => Some(Guarded::Kept),
            Some(_) => schema.is_operational(description).then_some(Guarded::Operational),
        }
    }

    /// Returns the reason for people.
    pub(crate) fn reason(self, description: &str) -> String {
        let why = match self {
            Guarded::Unknown => "the directory's schema does not know it",
            Guarded::Secret => "it holds a secret; passwords are set by the property `password`",
            Guarded::Operational => "it is an operational attribute",
            Guarded::Kept => "the directory maintains it",
        };
        format!("`{description}` cannot be written: {why}")
    }

    /// Returns the error.
    pub(crate) fn error(self, description: &str) -> WriteError {
        WriteError::new(WriteErrorKind::Mutability, self.reason(description)).of_attribute(description)
    }
}
