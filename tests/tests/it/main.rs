//! The pair against real servers: one binary, so that the executables are built once.

// A panic here is a failed test; and what a test is for is in its name.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod accounts;
mod activate;
mod assertions;
mod deletions;
mod differences;
mod discover;
mod docs;
mod exit_codes;
mod golden;
mod harness;
mod ldif;
mod limits;
mod mapping;
mod meltano;
mod memory;
mod mirror;
mod on_delete;
mod passwords;
mod policies;
mod provider;
mod regressions;
mod rehearsal;
mod rejects;
mod replication;
mod report;
mod streams;
mod support;
mod sync;
mod syntaxes;
mod uuid;
mod vendors;
