//! A plugin of Meltano: settings, command line, `--about`, `init`, `doctor`.

pub mod about;
pub mod cli;
pub mod definition;
pub mod directory_settings;
pub mod doctor;
pub mod init;
pub mod settings;
