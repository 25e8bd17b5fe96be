//! A gate that each change has to pass, for programs that use this crate as a library.

use std::fmt;

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::filter::Filter;

/// Decides about each change before it is noted or sent, and learns its result.
pub trait ChangeGate: fmt::Debug + Send + Sync {
    /// Returns the condition under which the change may be made, to be sent as an assertion (RFC 4528); `None`: it may be made
    /// in any case. A Password Modify operation is shown as a replacement of `userPassword` without values; its condition is
    /// not sent.
    ///
    /// # Errors
    /// The change must not be made.
    fn admit(&self, change: &Change) -> Result<Option<Filter>, DirectoryError>;

    /// Learns the result of a change that was admitted. It may have been made even with an error
    /// ([`DirectoryError::is_outcome_unknown`]).
    fn made(&self, change: &Change, result: &Result<(), DirectoryError>);

    /// Learns that a password may have been set on another entry than the one that was meant, which has its DN by now.
    fn misplaced(&self, _dn: &str, _problem: &str) {}
}
