//! Controls of updates.

use crate::filter::Filter;
/// A control of an update. All are critical: a server that does not support one refuses the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteControl {
    /// The entry must match this filter (RFC 4528); otherwise the change fails with assertionFailed (122).
    Assertion(Filter),
    /// Attributes that the server maintains can be set, such as the entryUUID of a new entry (draft-zeilenga-ldap-relax).
    RelaxRules,
}
