//! Whether an entry lies where a stream's entries are.

use ldap_directory::entry::Entry;
use ldap_directory::{DirectoryError, Scope};

use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;
use crate::discovery::{containers, dn};

impl DirectoryContext {
    /// Whether a DN is in the scope of a source: its base, and how far below it. Its filter is not looked at.
    ///
    /// # Errors
    /// It is not a DN.
    pub(crate) fn is_in_scope(&self, source: &Source, dn: &str) -> Result<bool, DirectoryError> {
        let schema = self.directory.schema();
        let key = dn::key(dn, schema)?;
        if self.directory.excluded().is_some_and(|excluded| excluded.has(&key)) {
            return Ok(false);
        }
        let below = |base: &str, scope: Scope| -> Result<bool, DirectoryError> {
            let base = dn::key(base, schema)?;
            Ok(match scope {
                Scope::Base => key == base,
                Scope::OneLevel => key.parent().as_ref() == Some(&base),
                Scope::Subtree => key.is_within(&base),
            })
        };
        match source {
            Source::Search(s) => below(s.base_dn.as_deref().unwrap_or(&self.base), s.scope),
            Source::Container { dn } => {
                let own = dn::key(dn, schema)?;
                Ok(!self.containers.contains(&key) && self.containers.nearest(&key) == Some(own))
            }
            Source::Class { .. } | Source::Containers | Source::Members(_) => {
                below(&self.base, Scope::Subtree)
            }
        }
    }

    /// Whether an entry in the scope of a source's search, which its filter matches, belongs to the source.
    ///
    /// # Errors
    /// Its DN is not valid.
    pub(crate) fn has_entry(&self, source: &Source, entry: &Entry) -> Result<bool, DirectoryError> {
        if self.is_excluded(&entry.dn) {
            return Ok(false);
        }
        match source {
            Source::Container { .. } => self.is_in_scope(source, &entry.dn),
            Source::Containers => {
                let (directory, schema) = (&self.directory, self.directory.schema());
                Ok(containers::is_container(directory.root_dse().vendor, entry)
                    || dn::key(&entry.dn, schema)? == dn::key(&self.base, schema)?)
            }
            _ => Ok(true),
        }
    }
}
