//! `tap-ldap`: reads an LDAP directory, or an LDIF file, and prints Singer messages.
//!
//! # The way of a record
//! [`run`] connects and finds the [`discovery::context::DirectoryContext`]. [`discover`] samples each stream and describes it in
//! a catalog. [`sync`] reads the selected streams, each by a method of [`replication`]: [`stream::entries`] searches the
//! directory, [`stream::convert`] writes each entry as a RECORD line, and [`output`] prints it, together with the STATE.
//!
//! # The stages
//! A stage imports only the stages before it; `singer-common/tests/layers.rs` checks this.
//! - [`settings`], [`config`]: the settings, as documented, and as resolved.
//! - [`discovery`]: what the directory holds, and which streams that makes.
//! - [`stream`]: the entries of a stream, and the records made of them.
//! - `key_index`: the file of the keys that were emitted (`track_deletions`).
//! - [`output`]: messages, the STATE, batch files, stream maps.
//! - [`replication`]: `FULL_TABLE`, `INCREMENTAL`, `LOG_BASED`: what is read, and from which position.
//! - [`report`]: the HTML page about a directory (`--report`).
//! - [`discover`], [`init`], [`sync`], [`run`]: the modes of the executable, and its command line.

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
