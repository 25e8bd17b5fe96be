//! Stage 5, load: reads the input, schedules the tasks, and prints STATE.
//!
//! The way of a record:
//! 1. [`line_mapper`] reads a line on a thread of its own and maps it to a task ([`stream_maps`], [`stream`], [`batch`]).
//! 2. [`input`] numbers it and submits it as [`work`] to the [`scheduler`].
//! 3. [`executor`] starts it once no other task is running on the same entry, or on one above or below it.
//! 4. [`outcomes`] handles the result. The record is done, refused ([`refusals`], [`rejects`], [`reject_log`]), or waits.
//! 5. [`ack`] knows which records are done; [`committer`] prints the STATE that covers them.
//!
//! A record may wait for a parent, a DN or a value ([`waits`], [`renames`],
//! [`exchanges`], [`taken_over`]), for entries that it references
//! ([`deferred_references`]; [`lookups`] knows which of them filters are to find; [`rechecks`] compares references again after renames), or for the end of the input ([`deferred_deletions`]). [`spill`] bounds the memory of waiting
//! records.
//!
//! [`memberships`] collects the rows of groups, and writes them group by group.
//!
//! [`activation`] deletes by ACTIVATE_VERSION, as far as [`versions`] allows; [`expiry`] deletes what was set aside long ago. [`prefetch`] reads the entries of a stream at
//! once. [`requirements`] checks the server before the first record. [`loader`] is the loop, and [`turns`] checks
//! that it makes progress; [`counters`] and [`progress`]
//! report. [`only`] takes one record alone. [`reject_history`] knows which rejected records have come again; a retry passes them over
//! ([`overtaken`]).

pub mod ack;
mod activation;
mod batch;
mod committer;
mod counters;
mod deferred_deletions;
mod deferred_references;
mod error;
mod exchanges;
mod executor;
mod expiry;
pub mod in_file;
mod input;
mod line_mapper;
mod loader;
mod lookups;
mod memberships;
mod moves;
mod only;
mod outcomes;
mod overtaken;
mod prefetch;
mod progress;
mod rechecks;
mod refusals;
pub mod reject_history;
mod reject_log;
pub mod rejects;
mod renames;
pub mod requirements;
pub mod scheduler;
mod spill;
mod stream;
mod stream_maps;
mod taken_over;
mod turns;
pub mod versions;
mod waits;
mod work;

pub use batch::BatchError;
pub use error::LoadError;
pub use loader::Load;
pub use progress::LoadProgress;

#[cfg(test)]
mod tests;
