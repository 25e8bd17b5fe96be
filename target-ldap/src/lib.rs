//! `target-ldap`: makes an LDAP directory, or an LDIF file, match a Singer stream.
//!
//! The stages, in the order of the way of a record. A stage imports only from those before it (`singer-common/tests/layers.rs`).
//!
//! 1. [`rules`]: what the setting `mapping_rules` says, with templates, passwords and accounts. [`config`] holds the rules and
//!    all other settings.
//! 2. [`map`]: from a record to a task: the wanted entry, or a deletion. Pure.
//! 3. [`plan`]: the fewest modifications from the existing entry to the wanted one. Pure.
//! 4. [`write`](mod@write): locates the entry, writes it, and notes how to undo that.
//! 5. [`load`]: reads the input, schedules the tasks, and prints STATE once all that it covers is written.
//!
//! [`run`] is the command line, [`init`] its questions, and [`settings`] the table of all settings.

pub mod config;
pub mod init;
pub mod load;
pub mod map;
pub mod plan;
pub mod rules;
pub mod run;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod write;
