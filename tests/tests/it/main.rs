//! The pair against real servers: one test binary, so that the executables are built once.
//!
//! A test is in the module of its feature:
//!
//! | module | about |
//! |---|---|
//! | [`cli`] | exit codes, wrong settings, `init`, `doctor`, messages |
//! | [`completeness`] | every entry is in one stream, and the run says so |
//! | [`connections`] | lost connections, failover, referrals, TLS, Kerberos |
//! | [`deletions`] | `_sdc_deleted_at`, `on_delete`, ACTIVATE_VERSION |
//! | [`discovery`] | the catalog and the HTML report |
//! | [`extraction`] | full reads |
//! | [`faults`] | full disks, signals, closed streams |
//! | [`harness`] | the harness itself |
//! | [`held`] | runs that are held back: `limits`, `plan_file`, `target-ldap apply` |
//! | [`input`] | Singer lines, BATCH |
//! | [`ldif`] | LDIF files as directories |
//! | [`mapping`] | records become entries |
//! | [`observability`] | log, progress, metrics, traces |
//! | [`pair`] | `tap-ldap | target-ldap` |
//! | [`plan`] | `--dry-run` |
//! | [`regressions`] | faults that were found |
//! | [`rejects`] | `on_error: skip` |
//! | [`replication`] | INCREMENTAL, LOG_BASED, `follow` |
//! | [`rules`] | templates, `match`, SCHEMA |
//! | [`security`] | injection, secrets |
//! | [`servers`] | the same on each kind of server |
//! | [`singer`] | the SDK, Meltano, wheels |
//! | [`support`] | shared helpers |
//! | [`tap_model`] | the tap against a reference, with random input |
//! | [`undo`] | `undo_file`, `target-ldap undo` |
//! | [`writing`] | changes to entries |
//!
//! Assertions are about the fields of the log (`Output::reports`, `counts`, `reports_setting`): the wording may change.
//! `Output::says` is for the few texts that are the feature.

// A panic here is a failed test; and what a test is for is in its name.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod cli;
mod completeness;
mod connections;
mod deletions;
mod discovery;
mod extraction;
mod faults;
mod harness;
mod held;
mod input;
mod ldap_library;
mod ldif;
mod mapping;
mod observability;
mod pair;
mod persisted_files;
mod plan;
mod regressions;
mod rejects;
mod replication;
mod rules;
mod security;
mod servers;
mod singer;
mod support;
mod tap_model;
mod undo;
mod writing;
