//! Stage 2, map: from a record to the entry that it asks for. Pure: the same record always gives the same task.
//!
//! [`mapping_new`] builds a [`Mapping`] for each SCHEMA, from the rule ([`naming`], [`column`], [`references`], [`generated`], [`account`], [`shape`]). It
//! warns of unknown names ([`template_names`], [`filters`], [`unknown_names`]). A record is [validated](validate); then
//! [`record`] maps it to a [`Task`], with what templates [make](made); [`membership`] that of a rule with `membership`.

mod account;
mod attributes;
mod column;
mod filters;
pub mod generated;
mod made;
mod mapping;
mod mapping_new;
mod membership;
mod naming;
mod record;
mod references;
mod shape;
mod task;
mod template_names;
pub mod unknown_names;
pub mod validate;
pub mod wanted;

pub use mapping::{Mapping, StreamQuery};
pub(crate) use membership::PRIMARY_GROUP;
pub use task::{
    AsideRule, DeleteAction, Extent, GracePolicy, MembershipPolicy, MembershipRow, NamedEntry, SetAside,
    Task, WritePolicy,
};

/// The attribute that identifies an entry for life (RFC 4530).
pub(crate) const ENTRY_UUID: &str = "entryUUID";
