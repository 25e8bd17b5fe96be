//! `target-ldap`: makes a directory match a Singer stream.
//!
//! read → validate → map → plan → write → ack. Data walks one way, and `ack` alone releases STATE.

pub mod config;
pub mod init;
pub mod load;
pub mod map;
pub mod plan;
pub mod rules;
pub mod run;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod write;
