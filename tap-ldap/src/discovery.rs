//! What a directory holds, and which streams that makes.
//!
//! - [`context`]: what all streams of a run share, looked up once.
//! - [`identity`]: the immutable id and the change keys of the server.
//! - [`containers`], [`classes`]: the entries that make streams.
//! - [`source`], [`streams`]: the source of a stream's entries, and the streams of a directory.
//! - [`census`], [`non_leaf`], `tally`, [`gaps`]: which DNs exist, so that no entry is missed.
//! - [`sample`], [`catalog`], [`membership`]: what occurs in a stream, and its catalog entry.
//! - `exclusions`: subtrees that are in no stream.
//! - `setting_names`, `missing_base`: names in the settings that the directory does not have.
//! - `scope`: whether an entry lies where a stream's entries are.
//! - `replication_keys`: the keys that servers maintain, and how they grow.
//! - [`conflicts`]: entries that replication left in conflict.
//! - [`doubles`]: values that several entries have, for the report.
//! - [`dn`]: DNs that a server sent.

pub mod catalog;
pub mod census;
pub mod classes;
pub mod conflicts;
pub mod containers;
pub mod context;
pub mod dn;
pub mod doubles;
pub(crate) mod exclusions;
pub mod gaps;
pub mod identity;
pub mod membership;
pub(crate) mod missing_base;
pub mod non_leaf;
pub(crate) mod replication_keys;
pub mod sample;
mod scope;
pub(crate) mod setting_names;
pub mod source;
pub mod streams;
pub(crate) mod tally;
