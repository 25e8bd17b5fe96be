//! What `tap-ldap` and `target-ldap` share, in four groups; each may use those before it, and [`ldap_directory`].

pub mod maps;
pub mod operations;
pub mod plugin;
pub mod singer;

pub use ldap_directory::{change, dn, entry, filter, json, schema, text, time};
pub use operations::*;
pub use plugin::*;
pub use singer::*;

/// For the time being.
pub mod directory {
    pub use ldap_directory::client as ldap;
    pub use ldap_directory::oid::RELAX_RULES;
    pub use ldap_directory::*;
}
