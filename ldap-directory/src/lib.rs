//! An LDAP directory: a server (RFC 4511) or an LDIF file (RFC 2849), behind one interface.
//!
//! [`Directory::open`] connects and binds, or reads a file. Every operation is a method of the [`Directory`] it returns:
//! [`search`](Directory::search), [`read`](Directory::read), [`apply`](Directory::apply), [`commit`](Directory::commit).
//!
//! ```no_run
//! use ldap_directory::{Access, AuthMethod, Directory, DirectoryConfig, Scope, SearchRequest, ServerUrl};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = DirectoryConfig::new([ServerUrl::parse("ldaps://ldap.example.com")?])
//!         .auth(AuthMethod::simple("cn=reader,dc=example,dc=com", "secret"));
//!     let directory = Directory::open(&config, Access::Read).await?;
//!     let request = SearchRequest::new("dc=example,dc=com", Scope::Subtree, "(mail=*)", &["cn", "mail"]);
//!     let mut people = directory.search(request).await?;
//!     while let Some(person) = people.next_entry().await? {
//!         println!("{} {:?}", person.dn, person.first_text("mail"));
//!     }
//!     directory.close().await;
//!     Ok(())
//! }
//! ```
//!
//! # The way of a search
//! 1. [`config`]: a [`DirectoryConfig`] names the servers, the bind, TLS and the limits.
//! 2. [`client`]: connects to the first server that accepts the bind, and reads its root DSE and its schema.
//! 3. [`search_request`]: a [`SearchRequest`] holds base, scope, [`filter`](mod@filter), attributes and paging.
//! 4. [`protocol`]: encodes the request, and finds the parts of each answer in place.
//! 5. [`directory`]: a [`SearchStream`] returns entries one by one; [`retry`](DirectoryConfig::retry) repeats what is transient.
//! 6. [`schema`] and [`dn`] compare what was read as the server would.
//!
//! # Modules
//! **Operations**
//!
//! | module | what is there |
//! |---|---|
//! | [`directory`] | [`Directory`], the interface to a server, a file, or a preview of changes; [`SearchStream`]. |
//! | [`client`] | The server: connections, pool, failover, retry, pages, [binds of users](client::LdapDirectory::authenticate), [content synchronization](client::content_sync) (RFC 4533), [change notices](client::change_notices), [a connection step by step](client::probe). |
//! | [`ldif`] | The file: [reader](ldif::reader), [writer](ldif::writer), and a directory in memory that is committed in one rename. |
//! | [`search_request`] | What a search asks for. |
//! | [`change`] | What an update does: add, delete, modify, rename. |
//! | [`write_control`] | Controls of an update: assertion (RFC 4528), relaxed rules. |
//!
//! **Data**
//!
//! | module | what is there |
//! |---|---|
//! | [`dn`] | Distinguished names (RFC 4514), and the key by which they compare and sort. |
//! | [`entry`] | Entries: owned, in one allocation, or in place in the buffer that they arrived in. |
//! | [`filter`](mod@filter) | Search filters (RFC 4515): parsed, built, printed, evaluated. |
//! | [`schema`] | Attribute types, object classes, matching rules (RFC 4512, 4517, 4518); JSON forms of values; conformance. |
//! | [`time`] | GeneralizedTime and UTCTime, exact to the last digit of the fraction. |
//! | [`root_dse`] | What a server publishes about itself; its vendor. |
//! | [`secret`] | Passwords that never print, and the attributes that hold them. |
//! | [`unseen`] | Which attributes the bound user may not read or search: what an entry does not show may be hidden. |
//! | [`conflict`] | Entries that replication left in conflict. |
//! | [`oid`] | Object identifiers of controls, operations, features and syntaxes. |
//!
//! **Around them**
//!
//! | module | what is there |
//! |---|---|
//! | [`config`] | Everything needed to open a directory, with defaults. |
//! | [`error`] | [`DirectoryError`], its [kind](DirectoryError::kind), and whether it is [transient](DirectoryError::is_transient). |
//! | [`observer`] | Callbacks for metrics and traces. |
//! | [`protocol`] | LDAP messages as octets; [result codes](protocol::result_code) and [search controls](protocol::controls). |
//! | [`file`](mod@file) | Files that are replaced whole or not at all. |
//! | [`json`], [`text`], [`nearest`] | JSON strings from octets, text that is safe on a terminal, suggestions for misspelled names. |
//!
//! # Features
//! None is on by default.
//!
//! * `gssapi`: binds by Kerberos (SASL GSSAPI, RFC 4752). Needs libgssapi_krb5 at run time, and libclang at build time.
//! * `ntlm`: binds by NTLM, through the same library with its plugin gss-ntlmssp.
//!
//! # Runtime
//! Operations are futures for tokio, with its I/O and time drivers enabled; one thread is enough.
//! A [`Directory`] belongs to the runtime that opened it: its connection is driven by a task there. On another runtime, operations wait
//! until that one runs.
//!
//! Reading is cancel safe, changing is not: a change whose future is dropped may be made nevertheless.
//! Searches that are open take connections: see [`DirectoryConfig::pool_size`](config::DirectoryConfig::pool_size).
//!
//! # Health
//! `directory.read("", &["1.1"])` asks the server for its root DSE: it succeeds, after a reconnection if necessary, or fails within the
//! timeouts and retries of the configuration. [`who_am_i`](client::LdapDirectory::who_am_i) tells also as whom the connection is bound.
//! [`open_by_steps`](client::LdapDirectory::open_by_steps) opens a connection of its own without retry, and tells which step failed:
//! name, address, TLS, bind.
//!
//! Logs are events of `tracing`. Nothing is printed, and the library keeps no global state beyond the built-in schema.

#![warn(clippy::missing_errors_doc)]

pub mod change;
pub mod client;
pub mod config;
pub mod conflict;
pub mod directory;
pub mod dn;
pub mod entry;
pub mod error;
pub mod file;
pub mod filter;
pub mod json;
pub mod ldif;
pub mod lookup;
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
pub mod unseen;
pub mod write_control;

pub use config::{AuthMethod, DirectoryConfig, Referrals, ServerUrl};
pub use directory::*;
pub use error::{ConnectErrorKind, DirectoryError, ErrorKind};
pub use protocol::controls::SearchControl;
pub use root_dse::{ChangeLog, MATCH_ALL, RootDse, Vendor};
pub use write_control::WriteControl;

/// The quick start of the README, compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The modules by which a program may choose what is logged: the target of an event of `tracing` begins with the name of the crate
/// and one of these.
pub const MODULES: &[&str] = &[
    "change",
    "client",
    "config",
    "conflict",
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
    "unseen",
    "write_control",
];
