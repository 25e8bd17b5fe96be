//! The Singer specification: messages, STATE, catalog, metrics; read and written.

pub mod catalog;
pub mod deletion;
pub mod message;
pub mod metrics;
pub mod reader;
pub mod record;
pub mod state;
pub mod writer;
