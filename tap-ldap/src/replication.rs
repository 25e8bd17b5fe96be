//! Replication: what of a stream is read in a run, and from which position.
//!
//! - [`method`]: the replication method of a stream, and whether the server supports it.
//! - `stream_run`: one stream in a run: what is known of its entries, its records and deletions.
//! - [`full`]: `FULL_TABLE`: every entry.
//! - [`incremental`]: `INCREMENTAL`: entries at or above the bookmark's replication key value.
//! - [`content_sync`], [`dirsync`]: `LOG_BASED`: changes and deletions from the server's log; [`follow`] waits for them.
//! - [`verify`], `completeness`, `conclude`: whether a whole read returned every entry, and what follows from it.
//! - `bookmark`, `log_bookmark`, `fingerprint`: positions in the STATE, and what they depend on.
//! - `witness`: whether the directory was restored from a backup since the position.
//! - `container_renames`, `moved_out`: entries that change, or leave the stream, with an entry above them.
//! - `origin`: who read, from which server, and of which part a file is: what another one does not show is not gone; `reads_from` finds it out.
//! - `hidden_attributes`: attributes that the bound user may not read, or that are not in a file, of which nothing is said.
//! - `undecided`: entries of which the bound user may not search what the filter of the stream compares: they are not gone.
//! - `computed`: values that the server computes, whose changes no run by changes sees.
//! - `only`: one entry alone (`--only-dn`).
//! - `recovery`: transient errors in the middle of a stream.
//! - `known_ids`, `duplicate_keys`: the keys of a stream's entries.

pub(crate) mod bookmark;
pub(crate) mod completeness;
pub(crate) mod computed;
mod conclude;
mod container_renames;
pub mod content_sync;
pub mod dirsync;
mod duplicate_keys;
mod fingerprint;
pub mod follow;
pub mod full;
pub(crate) mod hidden_attributes;
pub mod incremental;
mod known_ids;
mod log_bookmark;
pub mod method;
mod moved_out;
pub(crate) mod only;
pub(crate) mod origin;
pub(crate) mod reads_from;
mod recovery;
pub(crate) mod stream_run;
mod undecided;
pub mod verify;
mod witness;
