//! Secret attributes of this run: one rule for plans, rejects, reports, undo files and catalogs.

use std::sync::{PoisonError, RwLock};

use ldap_directory::Directory;
use ldap_directory::secret::SecretAttributes;

/// The rule, extended by the configuration and the server's schema.
static RULE: RwLock<SecretAttributes> = RwLock::new(SecretAttributes::new());

/// Whether the values of an attribute, or of a record's property, are secret.
pub fn is_secret_attribute(description: &str) -> bool {
    RULE.read().unwrap_or_else(PoisonError::into_inner).contains(description)
}

/// Whether a server may never return an attribute's values, so that an empty answer does not prove their absence.
pub fn is_write_only(description: &str) -> bool {
    RULE.read().unwrap_or_else(PoisonError::into_inner).is_write_only(description)
}

/// Adds attributes to the rule of this run: those that receive the value of a secret property.
pub fn add(names: &[String]) {
    RULE.write().unwrap_or_else(PoisonError::into_inner).add(names);
}

/// Adds a directory's secret attributes to the rule of this run.
pub fn learn(directory: &Directory) {
    RULE.write().unwrap_or_else(PoisonError::into_inner).extend(directory.secret_attributes());
}
