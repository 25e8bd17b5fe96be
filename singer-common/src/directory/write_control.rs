//! What goes along with one change.

use crate::filter::Filter;

/// OID of the assertion control (RFC 4528).
pub(super) const ASSERTION: &str = "1.3.6.1.1.12";
/// OID of the relax rules control (draft-zeilenga-ldap-relax-03): OpenLDAP calls it both Relax and Manage DIT.
pub const RELAX_RULES: &str = "1.3.6.1.4.1.4203.666.5.12";

/// A control of a change. All are sent critical: a server that would leave one out is to make no change at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteControl {
    /// Only if the entry matches this filter (RFC 4528); otherwise the change fails with assertionFailed (122).
    Assertion(Filter),
    /// Attributes that the server keeps itself may be given, such as the entryUUID of a new entry.
    RelaxRules,
}
