//! The entries of a stream, and the records made of them.
//!
//! - [`entries`]: reads the entries of a [`crate::discovery::source::Source`], one by one.
//! - [`sampling`]: reads a few of them, for discovery.
//! - [`convert`]: an entry becomes a RECORD message.
//! - [`members`]: a group becomes one RECORD message per member.
//! - `partition`: divides a stream into parts that are read in parallel.
//! - [`key_order`]: compares the values of a replication key.
//! - `selection`: checks the catalog that selects streams and properties.

pub mod convert;
pub mod entries;
pub mod key_order;
pub mod members;
pub(crate) mod partition;
pub mod sampling;
pub(crate) mod selection;
