//! LDIF files (RFC 2849): reading and writing.

pub mod reader;
pub mod writer;
