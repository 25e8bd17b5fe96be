//! The attributes that a change touches, and those that a caller may write.

use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::change::Change;
use ldap_directory::dn::{DnError, first_rdn};
use ldap_directory::entry::base_type;
use ldap_directory::schema::Schema;
use ldap_directory::secret::SecretAttributes;

use super::{WriteError, WriteErrorKind};

/// Attributes that servers keep themselves, though their schema does not say so.
const KEPT: [&str; 1] = ["memberOf"];

/// Attributes of Active Directory that grant rights over an entry, or let another account stand for it ([MS-ADTS] 5.1.3, [MS-KILE]).
const RIGHTS: [&str; 7] = [
    "nTSecurityDescriptor",
    "sIDHistory",
    "adminCount",
    "altSecurityIdentities",
    "msDS-AllowedToDelegateTo",
    "msDS-AllowedToActOnBehalfOfOtherIdentity",
    "msDS-KeyCredentialLink",
];

/// Why an attribute is not written for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// The schema does not know it.
    Unknown,
    /// It holds passwords or keys.
    Secret,
    /// It is operational: locks, access rules, policies.
    Operational,
    /// It grants rights.
    Rights,
    /// The server maintains it.
    Kept,
}

impl Guarded {
    /// Returns why an attribute is not written; `None`: it may be.
    pub(crate) fn of(description: &str, directory: &Directory) -> Option<Guarded> {
        AttributeGuard::of(directory).guarded(description)
    }

    /// Returns the reason for people.
    pub(crate) fn reason(self, description: &str) -> String {
        let why = match self {
            Guarded::Unknown => "the directory's schema does not know it",
            Guarded::Secret => "it holds a secret; passwords are set by the property `password`",
            Guarded::Operational => "it is an operational attribute",
            Guarded::Rights => "it grants rights",
            Guarded::Kept => "the directory maintains it",
        };
        format!("`{description}` cannot be written: {why}")
    }

    /// Returns the error.
    pub(crate) fn error(self, description: &str) -> WriteError {
        WriteError::new(WriteErrorKind::Mutability, self.reason(description)).of_attribute(description)
    }
}

/// What is known of a directory's attributes.
#[derive(Debug, Clone)]
pub(crate) struct AttributeGuard {
    pub(crate) schema: Arc<Schema>,
    pub(crate) secrets: SecretAttributes,
    pub(crate) takes_unknown: bool,
}

impl AttributeGuard {
    pub(crate) fn of(directory: &Directory) -> AttributeGuard {
        AttributeGuard {
            schema: directory.schema().clone(),
            secrets: directory.secret_attributes().clone(),
            takes_unknown: directory.takes_unknown_attributes(),
        }
    }

    /// Returns why an attribute is not written; `None`: it may be.
    pub(crate) fn guarded(&self, description: &str) -> Option<Guarded> {
        let schema = &self.schema;
        if self.secrets.contains(description) || self.secrets.contains(schema.canonical_name(description)) {
            return Some(Guarded::Secret);
        }
        let is_of =
            |names: &[&str]| names.iter().any(|name| schema.same_description(name, base_type(description)));
        if is_of(&RIGHTS) {
            return Some(Guarded::Rights);
        }
        if is_of(&KEPT) {
            return Some(Guarded::Kept);
        }
        match schema.attribute_type(description) {
            None => (!self.takes_unknown).then_some(Guarded::Unknown),
            // Active Directory marks objectClass as maintained, and still requires it.
            Some(_) if schema.same_description(description, "objectClass") => None,
            Some(known) if known.no_user_modification => Some(Guarded::Kept),
            Some(_) => schema.is_operational(description).then_some(Guarded::Operational),
        }
    }

    /// Checks all attributes that a change touches. `own`: those that the service's rule writes; they name no entry.
    ///
    /// # Errors
    /// It touches one that is not written for a caller.
    pub(crate) fn check(&self, change: &Change, own: &[String]) -> Result<(), WriteError> {
        let touched = touched(change).map_err(|e| {
            WriteError::new(WriteErrorKind::Invalid, format!("`{}` is not a valid DN: {e}", change.dn()))
        })?;
        for Touched { description, place, is_unprintable } in touched {
            // 389 Directory Server stores such a name as another one, which no undo finds.
            if is_unprintable {
                let detail = format!("`{description}`: a name with a control character is not written");
                return Err(WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(description));
            }
            let is_own =
                || own.iter().any(|o| self.schema.same_description(base_type(o), base_type(&description)));
            match self.guarded(&description) {
                None => {}
                Some(_) if place == Place::Value && is_own() => {}
                // 389 Directory Server names entries in conflict by nsUniqueId: a rename ends that.
                Some(Guarded::Kept) if place == Place::OldRdn => {}
                Some(guarded) => return Err(guarded.error(&description)),
            }
        }
        Ok(())
    }
}

/// Where a change touches an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Value,
    /// The RDN that the entry gets.
    Rdn,
    /// The RDN whose values it loses.
    OldRdn,
}

/// An attribute that a change touches.
struct Touched {
    description: String,
    place: Place,
    /// Whether it is of a new name, and has a control character.
    is_unprintable: bool,
}

/// Returns all attributes that a change touches: of a new entry and a modification, and those of RDNs, whose values are added and
/// removed with a name (RFC 4511 sections 4.7 and 4.9).
fn touched(change: &Change) -> Result<Vec<Touched>, DnError> {
    let value = |description: &String| {
        let (description, place) = (description.clone(), Place::Value);
        Touched { description, place, is_unprintable: false }
    };
    let has_control = |value: &[u8]| String::from_utf8_lossy(value).chars().any(char::is_control);
    let of_rdn = |dn: &str, place| -> Result<Vec<Touched>, DnError> {
        let avas = first_rdn(dn)?.into_iter().flat_map(|rdn| rdn.avas);
        let touched = avas.map(|ava| {
            let is_unprintable = place == Place::Rdn && has_control(&ava.value);
            Touched { description: ava.attribute, place, is_unprintable }
        });
        Ok(touched.collect())
    };
    Ok(match change {
        Change::Delete { .. } => Vec::new(),
        Change::Modify { changes, .. } => changes.iter().map(|step| value(&step.description)).collect(),
        Change::Add(entry) => {
            let mut all = of_rdn(&entry.dn, Place::Rdn)?;
            all.extend(entry.attributes.iter().map(|attribute| value(&attribute.description)));
            all
        }
        Change::Rename { dn, new_rdn, delete_old_rdn, .. } => {
            let mut all = of_rdn(new_rdn, Place::Rdn)?;
            if *delete_old_rdn {
                all.extend(of_rdn(dn, Place::OldRdn)?);
            }
            all
        }
    })
}
