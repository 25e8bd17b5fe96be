//! DNs that a server sent: their keys, the root DSE.

use ldap_directory::dn::{DnError, DnKey};
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Vendor};

/// Returns whether a DN is that of the server's root DSE, which is not an entry of the directory (RFC 4512 section 5.1).
/// In a file, the entry with the empty DN is an ordinary entry.
pub(crate) fn is_root_dse(directory: &Directory, dn: &str) -> bool {
    dn.is_empty() && directory.root_dse().vendor != Vendor::Ldif
}

/// Returns the key of a DN that a server sent.
///
/// # Errors
/// Fails if the text is not a DN.
pub fn key(dn: &str, schema: &Schema) -> Result<DnKey, DirectoryError> {
    DnKey::parse(dn, schema).map_err(|e| not_a_dn(dn, &e))
}

/// Returns the error for a text in the place of a DN that is not one.
pub(crate) fn not_a_dn(dn: &str, error: &DnError) -> DirectoryError {
    DirectoryError::Protocol {
        operation: "search",
        dn: dn.to_owned(),
        reason: format!("the server sent a name that is no DN: {error}"),
        outcome_unknown: false,
    }
}
