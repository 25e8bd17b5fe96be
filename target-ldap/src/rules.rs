//! Stage 1, rules: what the setting `mapping_rules` says, parsed before the first record.
//!
//! [`rule_settings`] parses a [`rule`] with its [`template`]s, [`membership`], [`references`], [`generated`] values, [`password`] and [`accounts`]. [`policy`], [`encoding`],
//! [`error`], [`keys`] and [`names`] are small types that later stages use as well. [`secrets`] finds the attributes that are made of
//! secret properties. [`set_aside`] is `on_delete` as an object; [`sources`] has what the parts of a rule write, and of what.

pub mod accounts;
pub mod encoding;
pub mod error;
pub mod generated;
pub mod keys;
pub mod membership;
pub mod names;
pub mod password;
pub mod policy;
pub mod references;
pub mod rule;
pub(crate) mod rule_settings;
pub mod secrets;
pub mod set_aside;
mod sources;
pub mod template;
