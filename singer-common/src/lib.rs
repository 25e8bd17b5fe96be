//! Code shared by `tap-ldap` and `target-ldap`, in four groups.
//!
//! A group uses the groups before it, and [`ldap_directory`]; `tests/layers.rs` holds the order.
//!
//! 1. [`operations`]: the operation of a run: exit codes, logs, metrics, traces, progress, signals, files, pages.
//! 2. [`singer`]: the Singer specification: messages, STATE, catalog, METRIC lines.
//! 3. [`maps`]: stream maps and flattening, as in the Meltano SDK.
//! 4. [`plugin`]: a Meltano plugin: settings, command line, `--about`, `init`, `doctor`.
//!
//! An executable starts in [`plugin::cli::run`] and resolves its settings by [`plugin::settings::Table`].
//! The tap emits records through [`singer::writer::SingerWriter`], which applies the [`maps`].
//! The target reads them through [`singer::reader`] and [`singer::message`], and applies the [`maps`] itself.

pub mod maps;
pub mod operations;
pub mod plugin;
pub mod singer;
