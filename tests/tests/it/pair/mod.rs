//! `tap-ldap | target-ldap`.

mod mirror;
mod unreadable_values;
