//! What a mapping rule says: how entries are named and made, before any record is read.

pub mod accounts;
pub mod encoding;
pub mod error;
pub mod keys;
pub mod names;
pub mod password;
pub mod policy;
pub mod rule;
pub(crate) mod rule_settings;
pub mod template;
