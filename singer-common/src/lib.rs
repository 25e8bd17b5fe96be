//! What `tap-ldap` and `target-ldap` share: Singer messages, settings, directories and their schema.

pub mod change;
pub mod directory;
pub mod dn;
pub mod entry;
pub mod filter;
pub mod schema;
