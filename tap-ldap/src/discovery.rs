//! What a directory holds: containers, classes, names, replication keys, samples.

pub(crate) mod bases;
pub mod census;
pub mod classes;
pub mod container;
pub mod non_leaf;
pub(crate) mod replication_keys;
pub mod sample;
pub(crate) mod setting_names;
pub(crate) mod tally;
