//! The one interface to a directory, and its kinds.

pub mod ldif;
