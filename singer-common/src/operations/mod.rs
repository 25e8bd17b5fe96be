//! Operating a run: errors and exit codes, logs, metrics, traces, progress, signals, files, pages.

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
