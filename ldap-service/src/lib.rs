//! skeleton
pub mod scim;
