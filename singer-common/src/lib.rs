//! What `tap-ldap` and `target-ldap` share, in four groups; each may use those before it, and [`ldap_directory`].

pub mod maps;
pub mod operations;
pub mod plugin;
pub mod singer;
