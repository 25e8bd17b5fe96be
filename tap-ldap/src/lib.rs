//! `tap-ldap`: reads any directory and prints Singer messages.
//!
//! config → connect → discover/select → search → convert → emit. Data walks one way.

pub mod config;
pub mod discover;
pub mod discovery;
pub mod init;
pub(crate) mod key_index;
pub mod output;
pub mod replication;
pub mod report;
pub mod run;
pub mod settings;
pub mod stream;
pub mod sync;
