//! What `tap-ldap` and `target-ldap` share: Singer messages, settings, directories and their schema.

pub mod about;
pub mod catalog;
pub mod change;
pub mod cli;
pub mod directory;
pub mod dn;
pub mod entry;
pub mod error;
pub mod file;
pub mod filter;
pub mod init;
pub mod json;
pub mod logging;
pub mod message;
pub mod metrics;
pub mod page;
pub mod progress;
pub mod reader;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod signals;
pub mod state;
pub mod summary;
pub mod writer;
