//! `tap-ldap | target-ldap`.

mod mirror;
