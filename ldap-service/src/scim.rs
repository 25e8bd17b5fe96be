//! SCIM 2.0 (RFC 7643, RFC 7644, RFC 9865) over a directory, without HTTP.

pub mod filter;
