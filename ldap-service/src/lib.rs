//! skeleton
pub mod write;
