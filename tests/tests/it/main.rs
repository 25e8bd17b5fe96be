//! The pair against real servers: one test binary, so that the executables are built once.

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
mod input;
mod ldif;
mod mapping;
mod observability;
mod pair;
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
