//! `target-ldap`: makes a directory match a Singer stream.

pub mod template;
