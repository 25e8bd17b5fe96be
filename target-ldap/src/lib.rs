//! `target-ldap`: makes a directory match a Singer stream.
//!
//! read → validate → map → plan → write → ack. Data walks one way, and `ack` alone releases STATE.

pub mod accounts;
pub mod ack;
pub mod assertion;
pub mod books;
pub mod config;
pub mod destination;
pub mod differences;
pub mod encoding;
pub mod guard;
pub mod init;
pub mod inventory;
pub mod inverse;
pub mod load;
pub mod login;
pub mod map;
pub mod names;
pub mod order;
pub mod password;
pub mod plan;
pub mod rejects;
pub mod requirements;
pub mod rule;
pub mod run;
pub mod settings;
pub mod show;
pub mod template;
#[cfg(test)]
mod testing;
pub mod undo;
pub mod validate;
pub mod versions;
pub mod write;
