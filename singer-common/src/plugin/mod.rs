//! A Meltano plugin: settings, command line, `--about`, `init`, `doctor`.
//!
//! - [`settings`]: the table of settings; [`directory_settings`]: those of the directory, as the library's configuration.
//! - [`cli`]: the command line and the frame of a run.
//! - [`about`], [`definition`]: descriptions of an executable for people and for Meltano Hub.
//! - [`init`], [`doctor`]: a first configuration, and its check against the server.

pub mod about;
pub mod cli;
pub mod definition;
pub mod directory_settings;
pub mod doctor;
pub mod init;
pub mod settings;
