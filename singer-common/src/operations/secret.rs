//! Secrets of this run: which attributes hold them is one rule for plans, rejects, reports, undo files and catalogs.

use std::sync::{PoisonError, RwLock};

pub use ldap_directory::secret::{Secret, SecretAttributes, exposure};
use ldap_directory::{Access, Directory, DirectoryConfig, DirectoryError};

/// The rule, with what the configuration and the server's schema add.
static RULE: RwLock<SecretAttributes> = RwLock::new(SecretAttributes::new());

/// Whether the values of an attribute, or of a record's property, must never be shown.
pub fn is_secret_attribute(description: &str) -> bool {
    RULE.read().unwrap_or_else(PoisonError::into_inner).contains(description)
}

/// Whether a server may keep the values of an attribute from everybody, so that an empty answer does not mean that there are none.
pub fn is_write_only(description: &str) -> bool {
    RULE.read().unwrap_or_else(PoisonError::into_inner).is_write_only(description)
}

/// Adds what a directory calls secret to the rule of this run.
pub fn learn(directory: &Directory) {
    RULE.write().unwrap_or_else(PoisonError::into_inner).extend(directory.secret_attributes());
}

/// Opens a directory. What its configuration and its schema say of secret attributes holds for all that this run shows.
///
/// # Errors
/// As [`Directory::open`].
pub async fn open(config: &DirectoryConfig, access: Access) -> Result<Directory, DirectoryError> {
    let directory = Directory::open(config, access).await?;
    learn(&directory);
    Ok(directory)
}
