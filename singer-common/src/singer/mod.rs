//! The Singer specification: messages, STATE, catalog and METRIC lines, read and written.
//!
//! - [`reader`], [`message`], [`record`]: a target's input, from lines to records.
//! - [`catalog`], [`state`]: a tap's selection and its bookmarks.
//! - [`deletion`]: the marker of deleted records.
//! - [`writer`], [`metrics`]: messages on stdout, METRIC lines on stderr.

pub mod catalog;
pub mod deletion;
pub mod message;
pub mod metrics;
pub mod reader;
pub mod record;
pub mod state;
pub mod writer;
