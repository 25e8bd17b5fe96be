//! A directory in an LDIF file (RFC 2849): read as a whole, searched and changed in memory, replaced in one rename.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::change::Change;
use crate::directory::{Access, ExcludedSubtrees, Scope, SearchItem, SearchRequest};
use crate::dn::DnKey;
use crate::entry::{CompactEntry, Entry, UNKNOWN, base_type};
use crate::error::DirectoryError;
use crate::file::Stamp;
use crate::protocol::result_code;
use crate::root_dse::{RootDse, Vendor};
use crate::schema::{AttributeType, Schema};
use crate::secret::SecretAttributes;
use crate::write_control::{self, WriteControl};

mod load;
pub mod reader;
mod replication_state;
mod search;
mod store;
pub mod writer;

use load::{Said, Unread, load};
pub use reader::{Shortfall, Stated, StatedSearch};
pub use replication_state::ReplicationState;
pub use search::LdifSearch;
use store::Store;
use writer::{LdifWriteError, LdifWriter};

/// The kind of records in a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdifFormat {
    /// Every entry, parents first.
    #[default]
    Content,
    /// Change records that produce the entries from an empty directory; new changes are appended.
    Changes,
}

/// Rules for the entries of a file that is written. A file has neither a suffix nor a schema of its own, so the default is
/// lenient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LdifRules {
    /// Whether an entry can be added without its parent.
    pub takes_orphans: bool,
    /// Whether entries must conform to the schema: classes and attributes are defined, mandatory attributes are present, and all
    /// others are allowed.
    pub checks_schema: bool,
}

/// A file that was read. Clones share it.
///
/// Most programs use it through [`Directory`](crate::Directory).
///
/// ```
/// use ldap_directory::Access;
/// use ldap_directory::ldif::LdifDirectory;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, "dn: cn=Ada,dc=x\nobjectClass: person\ncn: Ada\nsn: Lovelace\n")?;
/// let directory = LdifDirectory::open(file.path(), Access::Read)?;
/// let ada = directory.read("CN=ada, DC=x", &["sn"])?.unwrap();
/// assert_eq!(ada.first_text("sn"), Some("Lovelace"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LdifDirectory {
    shared: Arc<Shared>,
    /// What this clone may do.
    access: Access,
    /// What this clone leaves out, as a [`Directory`](crate::Directory).
    pub(crate) excluded: Option<Arc<ExcludedSubtrees>>,
}

/// The names that occur in a file, whether or not a schema defines them.
#[derive(Debug, Clone, Default)]
pub struct NamesInUse {
    /// Attribute types, without options.
    pub attributes: BTreeSet<String>,
    /// Values of `objectClass`.
    pub classes: BTreeSet<String>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    location: String,
    root_dse: RootDse,
    schema: Arc<Schema>,
    secrets: SecretAttributes,
    access: Access,
    store: Mutex<Store>,
    said: Said,
    /// The file's stamp when it was read, or written last.
    stamp: Mutex<Stamp>,
}

impl Shared {
    /// Returns the format in which the file is written.
    fn format(&self) -> LdifFormat {
        match self.access {
            Access::Read => LdifFormat::Content,
            Access::Write(format) => format,
        }
    }
}

impl LdifDirectory {
    /// Does the same as [`Self::open`]. A pipe waits for its writer on another thread, so that dropping the future ends the waiting.
    pub(crate) async fn open_interruptibly(path: &Path, access: Access) -> Result<Self, DirectoryError> {
        if std::fs::metadata(path).is_ok_and(|there| there.is_file()) {
            return Self::open(path, access);
        }
        let owned = path.to_owned();
        match tokio::task::spawn_blocking(move || Self::open(&owned, access)).await {
            Ok(opened) => opened,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The program ends.
                Err(stopped) => {
                    Err(DirectoryError::lost("read", path.display().to_string(), stopped.to_string()))
                }
            },
        }
    }

    /// Reads a file. Content records are entries; change records are applied.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not valid LDIF, has a change record that cannot be applied, or changes while it is
    /// read. With [`Access::Write`], it also fails if the file is not a regular one.
    pub fn open(path: &Path, access: Access) -> Result<Self, DirectoryError> {
        let fail = |reason: String, unreachable| DirectoryError::File {
            path: path.display().to_string(),
            reason,
            unreachable,
            cause: None,
        };
        let io = |error: std::io::Error| DirectoryError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
            unreachable: true,
            cause: Some(error.into()),
        };
        let (format, must_exist) = match access {
            Access::Read => (LdifFormat::Content, true),
            Access::Write(format) => (format, false),
        };
        let mut store = Store::new(format == LdifFormat::Changes);
        let mut said = Said::default();
        let mut stamp = Stamp::ABSENT;
        let no_ordinary =
            || fail("is no ordinary file, and could not be replaced by a new one".to_owned(), true);
        // Opening a pipe without a writer would block.
        let is_odd = std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
        if is_odd && access != Access::Read {
            return Err(no_ordinary());
        }
        match File::open(path) {
            Ok(file) => {
                stamp = Stamp::of(&file).map_err(io)?;
                let kind = file.metadata().map_err(io)?.file_type();
                let is_file = kind.is_file();
                if kind.is_dir() {
                    return Err(fail("is a folder; expected a file of LDIF".to_owned(), true));
                }
                // Only a regular file can be replaced at the end.
                if !is_file && access != Access::Read {
                    return Err(no_ordinary());
                }
                let again = file.try_clone().map_err(io)?;
                said = load(file, &mut store, access == Access::Read).map_err(|unread| {
                    let Unread { line, reason, cause } = unread;
                    let path = path.display().to_string();
                    match cause {
                        None => DirectoryError::Ldif { path, line, reason },
                        Some(e) => {
                            let cause = Some(e.into());
                            DirectoryError::File { path, reason, unreachable: false, cause }
                        }
                    }
                })?;
                if is_file && Stamp::of(&again).map_err(io)? != stamp {
                    return Err(fail(
                        "was changed by another program while it was read; wait until it is whole, or give a copy".to_owned(),
                        false,
                    ));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                // Otherwise, the first error would be at the end.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if folder.is_some_and(|folder| !folder.is_dir()) {
                    return Err(fail("its folder does not exist".to_owned(), true));
                }
                store.mark_changed();
            }
            Err(e) => return Err(io(e)),
        }
        store.loaded();
        let schema = Arc::new(complete_schema(&store));
        let root_dse = RootDse {
            vendor: Vendor::Ldif,
            naming_contexts: store.naming_contexts(),
            default_naming_context: store.common_base(),
            ..RootDse::default()
        };
        let location = format!("ldif:{}", path.display());
        let store = Mutex::new(store);
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                location,
                root_dse,
                secrets: SecretAttributes::of(&[], &schema),
                schema,
                access,
                store,
                said,
                stamp: Mutex::new(stamp),
            }),
            access,
            excluded: None,
        })
    }

    /// Adds secret attributes. Has no effect once the file is shared.
    pub(crate) fn with_secret_attributes(mut self, names: &[String]) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.secrets = SecretAttributes::of(names, &shared.schema);
        }
        self
    }

    /// Returns the attributes whose values must not be shown.
    pub fn secret_attributes(&self) -> &SecretAttributes {
        &self.shared.secrets
    }

    /// Returns the rules for entries.
    pub(crate) fn rules(&self) -> LdifRules {
        self.store().rules()
    }

    /// Sets the rules for entries.
    pub(crate) fn set_rules(&self, rules: LdifRules) {
        self.store().set_rules(rules);
    }

    /// Returns whether the file holds entries, not changes.
    pub(crate) fn holds_entries(&self) -> bool {
        self.shared.format() == LdifFormat::Content
    }

    /// Returns an empty directory in memory, without a file.
    pub(crate) fn in_memory(schema: Arc<Schema>, root_dse: RootDse, location: &str) -> Self {
        let store = Mutex::new(Store::new(false));
        let (path, location, access) = (PathBuf::new(), location.to_owned(), Access::WRITE);
        let (said, stamp) = (Said::default(), Mutex::new(Stamp::ABSENT));
        let secrets = SecretAttributes::new();
        Self {
            shared: Arc::new(Shared {
                path,
                location,
                root_dse,
                schema,
                secrets,
                access,
                store,
                said,
                stamp,
            }),
            access,
            excluded: None,
        }
    }

    /// Inserts an entry without any check of its place in the tree.
    pub(crate) fn insert(&self, entry: Entry) -> Result<(), DirectoryError> {
        self.store().load(entry)
    }

    /// Returns a root DSE derived from the entries.
    pub fn root_dse(&self) -> &RootDse {
        &self.shared.root_dse
    }

    /// Returns the built-in standard schema, completed by the entries.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.shared.schema
    }

    /// Returns why the file may be incomplete, according to its own content, such as a last line without a line end. It has only been read:
    /// [`Self::commit`] makes a cut value permanent.
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shared.said.shortfalls
    }

    /// Returns what the file states about its content, if it is only read.
    pub fn stated(&self) -> &Stated {
        &self.shared.said.stated
    }

    /// Returns the number of references to other servers in the file.
    pub fn references(&self) -> usize {
        self.shared.said.references.len()
    }

    /// Returns the attribute types and object classes that occur in the entries, in the spelling of the file.
    pub fn names_in_use(&self) -> NamesInUse {
        let mut names = NamesInUse::default();
        for (description, values) in self.store().entries().flat_map(CompactEntry::attributes) {
            if description == UNKNOWN {
                continue;
            }
            let name = base_type(description);
            if Schema::standard().canonical_name(name).eq_ignore_ascii_case("objectClass") {
                for class in values.filter_map(|v| std::str::from_utf8(v).ok()) {
                    if !names.classes.contains(class) {
                        names.classes.insert(class.to_owned());
                    }
                }
            }
            if !names.attributes.contains(name) {
                names.attributes.insert(name.to_owned());
            }
        }
        names
    }

    /// Returns the stamp that the file had when it was read, or written last.
    pub fn stamp(&self) -> Stamp {
        *self.shared.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the file's stamp now, if another program has changed, replaced or removed it since it was read, or written last.
    ///
    /// # Errors
    /// Fails if the file cannot be looked at.
    pub fn changed_by_others(&self) -> std::io::Result<Option<Stamp>> {
        // Held, so that a commit of this program is no change of another. While one writes and syncs, nothing is said: the next call does.
        let known = match self.shared.stamp.try_lock() {
            Ok(known) => known,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let now = Stamp::at(&self.shared.path)?;
        Ok(Some(now).filter(|now| *now != *known))
    }

    /// Returns `ldif:PATH`.
    pub fn location(&self) -> &str {
        &self.shared.location
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic elsewhere cannot leave the store half changed: every change is checked before it is made.
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one entry, or returns `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the DN is not valid.
    pub fn read(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        match self.search(&SearchRequest::new(dn, Scope::Base, "(objectClass=*)", attributes)) {
            Ok(mut search) => Ok(search.advance().and_then(|item| match item {
                SearchItem::Entry(entry) => Some(entry),
                SearchItem::Reference(_) | SearchItem::Unreadable(_) => None,
            })),
            Err(e) if e.is_no_such_object() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Applies one change, in memory.
    ///
    /// # Errors
    /// Fails with a server's result code if the change is not possible, or if the file was opened with [`Access::Read`].
    pub fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[])
    }

    /// Adds an entry, in memory.
    pub(crate) fn add(&self, entry: CompactEntry, key: DnKey) -> Result<(), DirectoryError> {
        self.access.may_change("add", entry.dn())?;
        self.store().add_new(entry, key, self.schema())
    }

    /// Returns the same directory for reading.
    pub(crate) fn reader(&self) -> Self {
        Self { access: Access::Read, ..self.clone() }
    }

    /// Returns whether a DN can be the base of a search: it is an entry, or has entries below it.
    pub(crate) fn begins_at(&self, dn: &str) -> bool {
        self.search(&SearchRequest::new(dn, Scope::Subtree, "(objectClass=*)", &["1.1"])).is_ok()
    }

    /// Returns whether an entry exists.
    pub(crate) fn holds(&self, key: &DnKey) -> bool {
        self.store().contains(key)
    }

    /// Applies one change with controls, in memory.
    ///
    /// # Errors
    /// As [`Self::apply`]; also if an assertion does not hold.
    pub fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        self.access.may_change(change.operation(), change.dn())?;
        write_control::check(change, controls)?;
        let mut store = self.store();
        for control in controls {
            match control {
                WriteControl::Assertion(filter) => store.assert(change, filter, self.schema())?,
                // A file has no rules to relax.
                WriteControl::RelaxRules => {}
            }
        }
        store.apply(change, self.schema())
    }

    /// Writes the file if anything changed: a temporary file next to it, then one rename.
    ///
    /// # Errors
    /// Fails if the file was opened with [`Access::Read`], if it cannot be written, or if another program changed it since it was read. The file is then unchanged.
    pub fn commit(&self) -> Result<(), DirectoryError> {
        self.access.may_change("commit", &self.shared.location)?;
        let mut store = self.store();
        if !store.changed() {
            return Ok(());
        }
        let path = &self.shared.path;
        let fail = |error: LdifWriteError| DirectoryError::File {
            path: path.display().to_string(),
            reason: format!("could not be written ({error}); what was there before is untouched"),
            unreachable: false,
            cause: Some(error.into()),
        };
        // No `version: 1` line: slapadd refuses it, and every reader accepts LDIF without it.
        let mut stamp = self.shared.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let written: Result<(), LdifWriteError> = crate::file::replace(path, |out| {
            let mut writer = LdifWriter::new(out);
            match self.shared.format() {
                LdifFormat::Content => store.entries().try_for_each(|entry| writer.packed(entry))?,
                LdifFormat::Changes => store.log().iter().try_for_each(|change| writer.change(change))?,
            }
            // The changes of another program would be lost.
            if Stamp::at(path)? == *stamp {
                return Ok(());
            }
            Err(std::io::Error::other("another program changed it since it was read: run again").into())
        });
        written.map_err(fail)?;
        *stamp = Stamp::at(path).map_err(|e| fail(e.into()))?;
        store.committed();
        Ok(())
    }
}

pub(crate) fn no_such_object(operation: &'static str, dn: &str) -> DirectoryError {
    store::failure(operation, dn, result_code::NO_SUCH_OBJECT, "there is no such entry in the file")
}

/// Returns the standard schema, extended by an Octet String type for each undefined attribute with values that are not text. The others have
/// the spelling that the file has first.
fn complete_schema(store: &Store) -> Schema {
    let mut schema = Schema::standard().clone();
    // By their names in lower case: the first spelling, and whether all values are text.
    let mut unknown = std::collections::BTreeMap::<String, (String, bool)>::new();
    for (description, mut values) in store.entries().flat_map(CompactEntry::attributes) {
        let name = base_type(description);
        if Schema::standard().attribute_type(name).is_none() {
            let text = values.all(|v| std::str::from_utf8(v).is_ok());
            let there = unknown.entry(name.to_ascii_lowercase()).or_insert_with(|| (name.to_owned(), true));
            there.1 &= text;
        }
    }
    let (texts, octets): (Vec<_>, Vec<_>) = unknown.into_iter().partition(|(_, (_, is_text))| *is_text);
    // An OID has one spelling of its own, without `oid.`.
    let named = texts.into_iter().filter(|(lower, _)| crate::entry::as_oid(lower).is_none());
    schema.undefined = named.map(|(lower, (name, _))| (lower, name)).collect();
    let octets = octets.into_iter().filter_map(|(_, (name, _))| {
        // RFC 4517 section 3.3.25, Octet String.
        let definition = format!("( {name}-oid NAME '{name}' SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )");
        AttributeType::parse(&definition).ok()
    });
    schema.add_attribute_types(octets);
    schema
}

#[cfg(test)]
mod tests;
