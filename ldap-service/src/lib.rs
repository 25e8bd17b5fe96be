//! `ldap-service`: login, forward authentication, SCIM 2.0, search and LDIF over an LDAP directory, by HTTP.
//!
//! In the order of imports; a module imports only those before it (`singer-common/tests/layers.rs`).
//!
//! 1. [`settings`] is the table of all settings, and [`config`] what they say.
//! 2. [`error`] is what a caller gets when something is wrong; [`metrics`] counts; [`gate`] bounds what is at work.
//! 3. `fit` compares the filters of the configuration with the schema; `lookup` searches for few entries; `unseen` finds out what the service's user may not read; [`directory`] opens the directory in the background; [`filter`] lets no caller's filter ask about a secret; `members` has the
//!    attributes in which groups name their members.
//! 4. [`write`](mod@write) makes every change: by rules, with a plan, guards and an undo file.
//! 5. [`login`] checks names and passwords, and knows users with their roles; [`sessions`] is what browsers keep; [`tokens`] verifies
//!    the JWTs of an identity provider; [`search`] answers searches, and keeps those that are open between two pages.
//! 6. [`service`] is all that a request needs, and is replaced as a whole at a reload; [`caller`] says who calls.
//! 7. [`scim`] is SCIM without HTTP, and [`ldif`] reads and writes LDIF; [`check`] compares the configuration with the directory.
//! 8. [`routes`] is the table of routes, and [`server`] the listener.
//!
//! [`run`] is the command line, and [`init`] its questions.

pub mod caller;
pub mod check;
pub mod config;
pub mod directory;
pub mod error;
pub mod filter;
mod fit;
pub mod gate;
pub mod init;
pub mod ldif;
pub mod login;
mod lookup;
mod members;
pub mod metrics;
pub mod routes;
pub mod run;
pub mod scim;
pub mod search;
pub mod server;
pub mod service;
pub mod sessions;
pub mod settings;
pub mod tokens;
mod unseen;
pub mod write;
