//! The pair against real servers: one binary, so that the executables are built once.

// A panic here is a failed test; and what a test is for is in its name.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod accesslog;
mod accounts;
mod activate;
mod apacheds;
mod assertions;
mod batch;
mod books;
mod bulk;
mod connections;
mod deletions;
mod differences;
mod discover;
mod docs;
mod doctor;
mod exit_codes;
mod faults;
mod golden;
mod harness;
mod in_flight;
mod init;
mod injection;
mod inventory;
#[cfg(feature = "gssapi")]
mod kerberos;
mod kill_target;
mod ldif;
mod least_writes;
mod limits;
mod logs;
mod mapping;
mod meltano;
mod memory;
mod metrics;
mod mirror;
mod moves;
mod on_delete;
mod pages;
mod partitions;
mod passwords;
mod plan_page;
mod plan_property;
mod policies;
mod progress;
mod provider;
mod references;
mod referrals;
mod regressions;
mod rehearsal;
mod rejects;
mod replication;
mod report;
mod rules;
mod sdk;
mod secrets;
mod streams;
mod support;
mod sync;
mod syntaxes;
mod tls;
mod traces;
mod uuid;
mod vendors;
mod wheels;
