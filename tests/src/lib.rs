//! The harness of the integration tests: real servers, the freshly built executables, and independent eyes.
//!
//! Nothing here uses `singer-common`: what a test compares with must not share a mistake with what it tests.

// A harness that cannot do its work must say so and stop the test at once: a panic here is a failed test.
// `exits` and its kin are assertions that may be chained, and need not be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, clippy::return_self_not_must_use)]

pub mod apacheds;
pub mod balancer;
pub mod bind;
pub mod browser;
pub mod certificates;
pub mod client;
pub mod cutter;
pub mod ds389;
pub mod fake;
pub mod hostile;
pub mod krb5;
pub mod ldif;
pub mod meltano;
pub mod memory;
pub mod otlp;
pub mod pty;
pub mod relay;
pub mod run;
pub mod samba;
pub mod server;
pub mod slapd;
