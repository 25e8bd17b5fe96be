//! Stage 1, rules: what the setting `mapping_rules` says, parsed before the first record.
//!
//! [`rule_settings`] parses a [`rule`] with its [`template`]s, [`password`] and [`accounts`]. [`policy`], [`encoding`],
//! [`error`], [`keys`] and [`names`] are small types that later stages use as well. [`secrets`] finds the attributes that are made of
//! secret properties.

pub mod accounts;
pub mod encoding;
pub mod error;
pub mod keys;
pub mod names;
pub mod password;
pub mod policy;
pub mod rule;
pub(crate) mod rule_settings;
pub mod secrets;
pub mod template;
