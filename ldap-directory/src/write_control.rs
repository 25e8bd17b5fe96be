//! Controls of updates.

use crate::change::Change;
use crate::error::DirectoryError;
use crate::filter::Filter;
/// A control of an update. All are critical: a server that does not support one refuses the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteControl {
    /// The entry must match this filter (RFC 4528); otherwise the change fails with assertionFailed (122).
    Assertion(Filter),
    /// Attributes that the server maintains can be set, such as the entryUUID of a new entry (draft-zeilenga-ldap-relax).
    RelaxRules,
}

/// Checks the filters of controls.
pub(crate) fn check(change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
    controls.iter().try_for_each(|control| match control {
        WriteControl::Assertion(filter) => filter
            .check()
            .map_err(|e| DirectoryError::invalid_filter(change.operation(), change.dn(), filter, &e)),
        WriteControl::RelaxRules => Ok(()),
    })
}
