//! Stage 4, write: applies tasks to the directory, or to an LDIF file.
//!
//! [`apply`] checks with [`claims`] whether the record may have the entry. [`locate`] finds it; [`generate`] chooses values for it; [`upsert`] or [`delete`] writes
//! it, once [`lookups`] has found what it references, with [`find`]; [`memberships`] writes the members of a group. Every change passes the [`destination`]: it asks the [`protection`], notes how to [`undo`] the change, or prints it for the plan of a dry run
//! ([`plan_output`]). [`guard`] holds a rehearsed run to its limits, and [`removal`] while it writes; [`held_plan`] is what a held run leaves. [`displaced`] follows
//! entries whose ancestors are renamed. [`lockout`] finds out whether OpenLDAP heeds a lock. [`gate`] is for programs that use this
//! crate as a library. [`readable`] knows what the bound user may read, [`maintained`] which references the server keeps right.
//! [`identity`] knows whom a change means that a plan or an undo makes later. [`all_data`] searches the whole directory for names of entries.
//! [`set_aside`] keeps the entries of deletions for some days. [`computed`] looks at what a server shows in place of what was written.

mod account;
mod all_data;
mod applier;
mod apply;
pub mod change_label;
pub mod claims;
mod computed;
pub mod counts;
pub(crate) mod delete;
pub mod destination;
mod displaced;
pub(crate) mod exchange;
pub(crate) mod find;
pub mod gate;
mod generate;
mod groups;
pub mod guard;
pub mod held_plan;
pub mod identity;
pub mod inverse;
pub mod ldap_result;
mod left_names;
mod locate;
pub mod lockout;
pub(crate) mod lookups;
pub(crate) mod maintained;
pub mod memberships;
mod nearest;
mod outcome;
mod parents;
pub mod plan_output;
pub mod protection;
mod readable;
mod references;
pub mod removal;
mod rename;
pub(crate) mod set_aside;
pub mod undo;
mod unmatched;
mod upsert;

pub use account::NO_PASSWORD_YET;
pub use applier::Applier;
pub use exchange::Exchange;
pub use generate::{Choice, Generating};
pub use locate::MatchedNames;
pub(crate) use locate::identity;
pub use outcome::{
    Attempt, AttemptContext, FoundReferences, InAnotherScope, PendingReference, PreviousValues,
    ReferenceContext, Unfound, WriteOutcome, several,
};
pub use readable::Unreadable;
pub use references::DeferredReference;
pub use rename::RenameMade;
pub use unmatched::UnmatchedEntries;
