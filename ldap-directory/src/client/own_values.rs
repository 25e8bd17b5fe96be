//! What a clone of a directory may do, and what it reads: what the server shows, or what the entries have of their own.

use super::LdapDirectory;
use crate::directory::Access;
use crate::oid;
use crate::protocol::message::Control;

impl LdapDirectory {
    /// Returns the same directory for reading.
    pub(crate) fn reader(&self) -> Self {
        Self { access: Access::Read, ..self.clone() }
    }

    /// Returns the same directory, whose answers have the entries' own values or what the server shows.
    pub(crate) fn reading_own(&self, reads_own: bool) -> Self {
        Self { reads_own, ..self.clone() }
    }

    /// Whether the server can leave out of an answer what it computes.
    pub(crate) fn tells_own_values(&self) -> bool {
        self.root_dse().supports_control(oid::REAL_ATTRIBUTES_ONLY)
    }

    /// Returns the control by which a search returns own values only; `None`: it returns what the server shows.
    pub(crate) fn own_values_control(&self) -> Option<Control> {
        let control = Control { oid: oid::REAL_ATTRIBUTES_ONLY.to_owned(), critical: false, value: None };
        (self.reads_own && self.tells_own_values()).then_some(control)
    }
}
