//! The entries of a stream and the records made of them.

pub mod convert;
pub mod entries;
pub mod key_order;
pub mod members;
pub(crate) mod partition;
pub(crate) mod selection;
