//! The settings of writes.

use std::path::PathBuf;

use ldap_directory::DirectoryConfig;
use serde_json::{Map, Value};

/// Where the entries of a kind are, and how they are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeConfig {
    /// The base: `users.base_dn`, `groups.base_dn`.
    pub base_dn: String,
    /// The attribute of the RDN of new entries: that of `userName` in `users.scim`, of `displayName` in `groups.scim`.
    pub naming_attribute: String,
    /// The attribute of a group's members: `member`. For users it is not used.
    pub member_attribute: Option<String>,
}

/// The settings of writes.
#[derive(Debug, Clone)]
pub struct WriteConfig {
    /// The connection: it determines the bound user, and whether passwords may be sent.
    pub directory: DirectoryConfig,
    /// The users; `None`: users cannot be written.
    pub users: Option<ScopeConfig>,
    /// The groups; `None`: groups cannot be written.
    pub groups: Option<ScopeConfig>,
    /// `write.mapping_rules`, in target-ldap's form.
    pub mapping_rules: Map<String, Value>,
    /// `write.max_deletes`: the most deletions in an hour; `None`: no limit.
    pub max_deletes: Option<u64>,
    /// `write.undo_dir`; `None`: every write is refused.
    pub undo_dir: Option<PathBuf>,
}
