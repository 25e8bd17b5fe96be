//! Searches for few entries.

pub(crate) use ldap_directory::lookup::find;
