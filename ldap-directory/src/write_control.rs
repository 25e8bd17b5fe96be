//! What goes along with one change.

use crate::filter::Filter;
/// A control of a change. All are sent critical: a server that would leave one out is to make no change at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteControl {
    /// Only if the entry matches this filter (RFC 4528); otherwise the change fails with assertionFailed (122).
    Assertion(Filter),
    /// Attributes that the server keeps itself may be given, such as the entryUUID of a new entry.
    RelaxRules,
}
