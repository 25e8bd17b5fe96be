//! `tap-ldap | target-ldap`.

mod mirror;
mod mirror_computed;
mod mirror_history;
mod mirror_locks;
mod mirror_options;
mod unreadable_values;
