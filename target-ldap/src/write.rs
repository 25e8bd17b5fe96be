//! Stage 4, write: applies tasks to the directory, or to an LDIF file.
//!
//! [`apply`] checks with [`claims`] whether the record may have the entry. [`locate`] finds it; [`upsert`] or [`delete`] writes
//! it. Every change passes the [`destination`]: it asks the [`protection`], notes how to [`undo`] the change, or prints it for the plan of a dry run
//! ([`plan_output`]). [`guard`] holds a rehearsed run to its limits, and [`removal`] while it writes. [`displaced`] follows
//! entries whose ancestors are renamed. [`lockout`] finds out whether OpenLDAP heeds a lock. [`gate`] is for programs that use this
//! crate as a library. [`readable`] knows what the bound user may read.

mod account;
mod applier;
mod apply;
pub mod change_label;
pub mod claims;
pub mod counts;
pub(crate) mod delete;
pub mod destination;
mod displaced;
pub(crate) mod exchange;
pub mod gate;
mod groups;
pub mod guard;
pub mod inverse;
pub mod ldap_result;
mod locate;
pub mod lockout;
mod nearest;
mod outcome;
mod parents;
pub mod plan_output;
pub mod protection;
mod readable;
mod references;
pub mod removal;
mod rename;
pub mod undo;
mod unmatched;
mod upsert;

pub use account::NO_PASSWORD_YET;
pub use applier::Applier;
pub use exchange::Exchange;
pub use locate::MatchedNames;
pub use outcome::{Attempt, AttemptContext, WriteOutcome, several};
pub use readable::Unreadable;
pub use references::DeferredReference;
pub use unmatched::UnmatchedEntries;
