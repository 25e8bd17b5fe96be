//! SCIM 2.0 (RFC 7643, RFC 7644, RFC 9865) over a directory, without HTTP.
//!
//! 1. [`filter`] parses filters and paths.
//! 2. [`definitions`] has the core schemas, and [`mapping`] which of their attributes is held in which LDAP attribute.
//! 3. [`translate`] makes a search filter of a filter.
//! 4. [`resource`] makes a resource of an entry, and [`projection`] leaves out what was not requested.
//! 5. [`record`] checks a resource that was sent, and makes a record for the writer.
//! 6. [`patch`] applies operations to a resource, or finds the single members that they change.
//! 7. [`documents`] has the discovery documents, and [`listing`] the order, pages and cursors of lists.
//! 8. [`store`] finds, lists and changes resources in the directory.

pub mod definitions;
pub mod documents;
pub mod error;
pub mod filter;
pub mod listing;
pub mod mapping;
pub mod patch;
pub mod projection;
pub mod record;
pub mod resource;
pub mod store;
pub mod translate;
pub mod values;
