//! Operation of a run: errors and exit codes, logs, metrics, traces, progress, signals, files, HTML pages.
//!
//! - [`error`], [`facts`], [`settings_error`], [`panics`]: classes of errors, their exit codes and log fields.
//! - [`logging`], [`color`], [`summary`], [`progress`], [`observe`]: output for people and for monitoring.
//! - [`signals`], [`file`], [`secret`]: graceful shutdown, atomic writes and locks, secret attributes.
//! - [`page`]: the frame of HTML reports.

pub mod color;
pub mod error;
pub mod facts;
pub mod file;
pub mod logging;
pub mod observe;
pub mod page;
pub mod panics;
pub mod progress;
pub mod secret;
pub mod settings_error;
pub mod signals;
pub mod summary;
