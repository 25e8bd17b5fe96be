//! The pair against real servers.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)] // a panic here is a failed test
mod harness;
