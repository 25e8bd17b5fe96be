//! An LDAP directory.

pub mod change;
pub mod client;
pub mod config;
pub mod directory;
pub mod dn;
pub mod entry;
pub mod error;
pub mod file;
pub mod filter;
pub mod json;
pub mod ldif;
pub mod nearest;
pub mod observer;
pub mod oid;
pub mod protocol;
pub mod root_dse;
pub mod schema;
pub mod search_request;
pub mod secret;
pub mod text;
pub mod time;
pub mod write_control;

pub use config::{AuthMethod, DirectoryConfig, Referrals, ServerUrl};
pub use directory::*;
pub use error::{ConnectErrorKind, DirectoryError, ErrorKind};
pub use protocol::controls::SearchControl;
pub use root_dse::{ChangeLog, MATCH_ALL, RootDse, Vendor};
pub use write_control::WriteControl;

/// The modules of this library, by which a program may set what is logged: targets of `tracing` begin with them.
pub const MODULES: &[&str] = &[
    "change",
    "client",
    "config",
    "directory",
    "dn",
    "entry",
    "error",
    "file",
    "filter",
    "json",
    "ldif",
    "nearest",
    "observer",
    "oid",
    "protocol",
    "root_dse",
    "schema",
    "secret",
    "text",
    "time",
    "write_control",
];
