//! LDAP messages as octets (RFC 4511), encoded and decoded without any I/O.

pub(crate) mod ber;
pub mod controls;
pub(crate) mod entry;
pub(crate) mod filter;
pub(crate) mod message;
pub(crate) mod password_policy;
pub(crate) mod request;
pub mod result_code;
