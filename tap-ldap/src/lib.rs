//! `tap-ldap`: reads any directory and prints Singer messages.
//!
//! config → connect → discover/select → search → convert → emit. Data walks one way.

pub(crate) mod bases;
pub mod batches;
pub(crate) mod books;
pub mod census;
pub mod classes;
pub mod config;
pub mod container;
pub mod convert;
pub mod discover;
pub mod init;
pub mod inner;
pub mod members;
pub(crate) mod names;
pub mod output;
pub(crate) mod partition;
pub mod replication;
pub mod report;
pub mod rewrite;
pub mod run;
pub mod sample;
pub(crate) mod selection;
pub mod settings;
pub mod shrink;
pub mod source;
pub mod sync;
