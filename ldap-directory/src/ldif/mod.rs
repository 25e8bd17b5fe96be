//! A directory kept in an LDIF file (RFC 2849): read whole, searched and changed in memory, written back in one rename.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::change::Change;
use crate::directory::{Access, Scope, SearchItem, SearchRequest};
use crate::dn::DnKey;
use crate::entry::{Attribute, CompactEntry, Entry, base_type};
use crate::error::DirectoryError;
use crate::file::Stamp;
use crate::filter::Filter;
use crate::protocol::result_code;
use crate::root_dse::{RootDse, Vendor};
use crate::schema::{AttributeType, Schema};
use crate::secret::SecretAttributes;
use crate::write_control::WriteControl;

mod load;
pub mod reader;
mod store;
pub mod writer;

use load::{Said, Unread, load};
pub use reader::Shortfall;
use store::Store;
use writer::{LdifWriteError, LdifWriter};

/// What a file holds that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdifFormat {
    /// Every entry, parents first.
    #[default]
    Content,
    /// The change records that lead there from an empty directory; a run's changes are appended.
    Changes,
}

/// What is asked of the entries of a file that is written. A file has neither a suffix nor a schema of its own: nothing, unless
/// somebody wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LdifRules {
    /// Whether an entry may be added though there is none right above it.
    pub takes_orphans: bool,
    /// Whether entries have to go with the schema: their classes and attributes are known, what the classes demand is there, and
    /// nothing besides what they allow.
    pub checks_schema: bool,
}

/// A file, read. Clones share it.
#[derive(Debug, Clone)]
pub struct LdifDirectory {
    shared: Arc<Shared>,
}

/// What occurs in a file, whether or not a schema knows it.
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
    format: LdifFormat,
    store: Mutex<Store>,
    said: Said,
    /// The file as it was when it was read, or written last.
    stamp: Mutex<Stamp>,
}

impl LdifDirectory {
    /// Reads the file. Content records are entries, change records are carried out.
    pub fn open(path: &Path, access: Access) -> Result<Self, DirectoryError> {
        let fail = |reason: String, unreachable| DirectoryError::File {
            path: path.display().to_string(),
            reason,
            unreachable,
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
        // One that nobody writes to (a pipe) is not waited for.
        let is_odd = std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
        if is_odd && access != Access::Read {
            return Err(no_ordinary());
        }
        match File::open(path) {
            Ok(file) => {
                let unknown = |e: std::io::Error| fail(e.to_string(), true);
                stamp = Stamp::of(&file).map_err(unknown)?;
                let kind = file.metadata().map_err(unknown)?.file_type();
                let is_file = kind.is_file();
                if kind.is_dir() {
                    return Err(fail("is a folder; expected a file of LDIF".to_owned(), true));
                }
                // It is replaced at the end, and read again before.
                if !is_file && access != Access::Read {
                    return Err(no_ordinary());
                }
                let again = file.try_clone().map_err(unknown)?;
                said = load(file, &mut store, access == Access::Read).map_err(|unread| {
                    let Unread { line, reason } = unread;
                    DirectoryError::Ldif { path: path.display().to_string(), line, reason }
                })?;
                if is_file && Stamp::of(&again).map_err(unknown)? != stamp {
                    return Err(fail(
                        "was changed by another program while it was read; wait until it is whole, or give a copy".to_owned(),
                        false,
                    ));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => store.mark_changed(),
            Err(e) => return Err(fail(e.to_string(), true)),
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
                format,
                store,
                said,
                stamp: Mutex::new(stamp),
            }),
        })
    }

    /// Returns the file with attributes that are secret besides those known. Once it is shared, it stays as it is.
    pub(crate) fn with_secret_attributes(mut self, names: &[String]) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.secrets = SecretAttributes::of(names, &shared.schema);
        }
        self
    }

    /// The attributes whose values must not be shown.
    pub fn secret_attributes(&self) -> &SecretAttributes {
        &self.shared.secrets
    }

    /// What is asked of entries.
    pub(crate) fn rules(&self) -> LdifRules {
        self.store().rules()
    }

    /// Asks this of entries from now on.
    pub(crate) fn set_rules(&self, rules: LdifRules) {
        self.store().set_rules(rules);
    }

    /// Whether the file holds entries, not changes.
    pub(crate) fn holds_entries(&self) -> bool {
        self.shared.format == LdifFormat::Content
    }

    /// Entries in memory alone, none to begin with.
    pub(crate) fn in_memory(schema: Arc<Schema>, root_dse: RootDse, location: &str) -> Self {
        let store = Mutex::new(Store::new(false));
        let (path, location, format) = (PathBuf::new(), location.to_owned(), LdifFormat::Content);
        let (said, stamp) = (Said::default(), Mutex::new(Stamp::ABSENT));
        let secrets = SecretAttributes::new();
        Self {
            shared: Arc::new(Shared {
                path,
                location,
                root_dse,
                schema,
                secrets,
                format,
                store,
                said,
                stamp,
            }),
        }
    }

    /// Takes an entry as it is, wherever it stands.
    pub(crate) fn insert(&self, entry: Entry) -> Result<(), DirectoryError> {
        self.store().load(entry)
    }

    /// What follows from the entries.
    pub fn root_dse(&self) -> &RootDse {
        &self.shared.root_dse
    }

    /// The built-in standard schema, completed by the data.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.shared.schema
    }

    /// Returns why the file is not all of what it was made from, as far as it says so itself; empty for a whole one, and for
    /// one that is written.
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shared.said.shortfalls
    }

    /// Returns how many references to other servers the file has.
    pub fn references(&self) -> usize {
        self.shared.said.references.len()
    }

    /// Returns the attribute types and object classes that occur in the entries, as they are spelt there.
    pub fn names_in_use(&self) -> NamesInUse {
        let mut names = NamesInUse::default();
        for (description, values) in self.store().entries().flat_map(CompactEntry::attributes) {
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

    /// `ldif:PATH`.
    pub fn location(&self) -> &str {
        &self.shared.location
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic elsewhere cannot leave the map half changed: every change is checked before it is made.
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a search. A file need not hold its parents: a search of a subtree or of one level may begin at a name that
    /// is no entry itself, as long as entries lie below it.
    pub fn search(&self, request: &SearchRequest) -> Result<LdifSearch, DirectoryError> {
        let protocol = |reason: String| DirectoryError::Protocol {
            operation: "search",
            dn: request.base.clone(),
            reason,
        };
        let filter = request
            .filter
            .get()
            .cloned()
            .map_err(|e| protocol(format!("`{}` is not a search filter: {e}", request.filter)))?;
        let base =
            DnKey::parse(&request.base, self.schema()).map_err(|e| protocol(format!("not a DN: {e}")))?;
        let is_there = {
            let store = self.store();
            base.is_root()
                || store.contains(&base)
                || request.scope != Scope::Base && store.has_children(&base)
        };
        if !is_there {
            return Err(no_such_object("search", &request.base));
        }
        let filter_passes_all =
            matches!(&filter, Filter::Present(name) if name.eq_ignore_ascii_case("objectClass"));
        Ok(LdifSearch {
            directory: self.clone(),
            next: Bound::Included(base.clone()),
            base,
            scope: request.scope,
            filter,
            selection: Selection::new(&request.attributes, self.schema()),
            names_only: request.attributes.iter().any(|a| a == "1.1")
                && request.attributes.len() == 1
                && filter_passes_all,
            reference: 0,
        })
    }

    /// Reads one entry; `None` when there is none of that name.
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

    /// Carries out one change, in memory.
    pub fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[])
    }

    /// Adds an entry, in memory.
    pub(crate) fn add(&self, entry: CompactEntry, key: DnKey) -> Result<(), DirectoryError> {
        self.store().add_new(entry, key, self.schema())
    }

    /// Whether a search may begin at a name: it is an entry, or entries lie below it.
    pub(crate) fn begins_at(&self, dn: &str) -> bool {
        self.search(&SearchRequest::new(dn, Scope::Subtree, "(objectClass=*)", &["1.1"])).is_ok()
    }

    /// Whether there is an entry of this name.
    pub(crate) fn holds(&self, key: &DnKey) -> bool {
        self.store().contains(key)
    }

    /// Carries out one change under controls, in memory.
    pub fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
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

    /// Writes the file, when anything changed: next to it first, then in its place in one rename.
    pub fn commit(&self) -> Result<(), DirectoryError> {
        let mut store = self.store();
        if !store.changed() {
            return Ok(());
        }
        let path = &self.shared.path;
        let fail = |reason: String| DirectoryError::File {
            path: path.display().to_string(),
            reason: format!("could not be written ({reason}); what was there before is untouched"),
            unreachable: false,
        };
        // No `version: 1` line: slapadd refuses it, and everybody reads LDIF without it.
        let mut stamp = self.shared.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let written: Result<(), LdifWriteError> = crate::file::replace(path, |out| {
            let mut writer = LdifWriter::new(out);
            match self.shared.format {
                LdifFormat::Content => store.entries().try_for_each(|entry| writer.packed(entry))?,
                LdifFormat::Changes => store.log().iter().try_for_each(|change| writer.change(change))?,
            }
            // What another program wrote in the meantime would be lost.
            if Stamp::at(path)? == *stamp {
                return Ok(());
            }
            Err(std::io::Error::other("another program changed it since it was read: run again").into())
        });
        written.map_err(|e| fail(e.to_string()))?;
        *stamp = Stamp::at(path).map_err(|e| fail(e.to_string()))?;
        store.committed();
        Ok(())
    }
}

pub(crate) fn no_such_object(operation: &'static str, dn: &str) -> DirectoryError {
    store::failure(operation, dn, result_code::NO_SUCH_OBJECT, "there is no such entry in the file")
}

/// The standard schema, and for each attribute it does not know whose values are not all text: octets.
fn complete_schema(store: &Store) -> Schema {
    let mut schema = Schema::standard().clone();
    // By their names in lower case: as they are spelled first, and whether all their values are texts.
    let mut unknown = std::collections::BTreeMap::<String, (String, bool)>::new();
    for (description, mut values) in store.entries().flat_map(CompactEntry::attributes) {
        let name = base_type(description);
        if Schema::standard().attribute_type(name).is_none() {
            let text = values.all(|v| std::str::from_utf8(v).is_ok());
            let there = unknown.entry(name.to_ascii_lowercase()).or_insert_with(|| (name.to_owned(), true));
            there.1 &= text;
        }
    }
    let octets = unknown.into_values().filter(|(_, text)| !text).filter_map(|(name, _)| {
        // RFC 4517 section 3.3.25, Octet String.
        let definition = format!("( {name}-oid NAME '{name}' SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )");
        AttributeType::parse(&definition).ok()
    });
    schema.add_attribute_types(octets);
    schema
}

/// A search under way. It sees each entry as it is when its turn comes.
#[derive(Debug)]
pub struct LdifSearch {
    directory: LdifDirectory,
    base: DnKey,
    next: Bound<DnKey>,
    scope: Scope,
    filter: Filter,
    selection: Selection,
    /// Whether nothing but the names of all entries is wanted: then no entry is taken apart.
    names_only: bool,
    /// The next of the file's references.
    reference: usize,
}

impl LdifSearch {
    /// The next item; `None` at the end. References come last: where below the base they belong, the file does not say.
    pub fn advance(&mut self) -> Option<SearchItem> {
        if let Some(entry) = self.next_entry() {
            return Some(SearchItem::Entry(entry));
        }
        if self.scope == Scope::Base {
            return None;
        }
        let urls = self.directory.shared.said.references.get(self.reference)?;
        self.reference += 1;
        Some(SearchItem::Reference(urls.clone()))
    }

    fn next_entry(&mut self) -> Option<Entry> {
        let schema = self.directory.schema().clone();
        loop {
            let store = self.directory.store();
            let (key, entry) = store.first_from(&self.next)?;
            if !key.is_within(&self.base) {
                return None;
            }
            self.next = Bound::Excluded(key.clone());
            let in_scope = match self.scope {
                Scope::Base if *key != self.base => return None,
                Scope::OneLevel => key.depth() == self.base.depth() + 1,
                Scope::Base | Scope::Subtree => true,
            };
            if !in_scope {
                continue;
            }
            if self.names_only {
                return Some(Entry { dn: entry.dn().to_owned(), attributes: Vec::new() });
            }
            let entry = entry.to_entry();
            if self.filter.matches(&entry, &schema) == Some(true) {
                let selected = self.selection.apply(&entry, &schema, || store.has_children(key));
                return Some(selected);
            }
        }
    }
}

/// The attributes asked for (RFC 4511 section 4.5.1.8): names with their subtypes and options, `*`, `+` (RFC 3673).
///
/// `*` is all that the file has: it keeps none for itself, and what is operational on one server (`memberOf`, `aci`,
/// `nsAccountLock`) is not so on another one. Which of them it came from it does not say.
#[derive(Debug)]
struct Selection {
    user: bool,
    operational: bool,
    /// The operational attribute that follows from the tree, only when it is asked for by name.
    has_subordinates: bool,
    /// Types, by their usual names in lower case.
    types: HashSet<String>,
    /// Descriptions with options, in lower case.
    descriptions: HashSet<String>,
}

impl Selection {
    fn new(wanted: &[String], schema: &Schema) -> Self {
        let (descriptions, types): (Vec<&String>, Vec<&String>) =
            wanted.iter().partition(|w| w.contains(';'));
        Self {
            user: wanted.is_empty() || wanted.iter().any(|w| w == "*"),
            operational: wanted.iter().any(|w| w == "+"),
            has_subordinates: wanted.iter().any(|w| w.eq_ignore_ascii_case("hasSubordinates")),
            types: types.into_iter().map(|w| schema.canonical_name(w).to_ascii_lowercase()).collect(),
            descriptions: descriptions.into_iter().map(|w| w.to_ascii_lowercase()).collect(),
        }
    }

    fn takes(&self, description: &str, schema: &Schema) -> bool {
        self.user
            || self.operational && schema.is_operational(description)
            || self.types.contains(&schema.canonical_name(description).to_ascii_lowercase())
            || description.contains(';') && self.descriptions.contains(&description.to_ascii_lowercase())
    }

    fn apply(&self, entry: &Entry, schema: &Schema, has_children: impl FnOnce() -> bool) -> Entry {
        let mut attributes: Vec<Attribute> =
            entry.attributes.iter().filter(|a| self.takes(&a.description, schema)).cloned().collect();
        if self.has_subordinates && entry.attribute("hasSubordinates").is_none() {
            let value: &[u8] = if has_children() { b"TRUE" } else { b"FALSE" };
            attributes.push(Attribute::new("hasSubordinates", vec![value.to_vec()]));
        }
        Entry { dn: entry.dn.clone(), attributes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "dn: cn=ada,dc=x\nobjectClass: person\ncn: ada\nsn: L\n";

    #[test]
    fn what_another_program_wrote_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.ldif");
        for there in [Some(ADA), None] {
            let _ = there.map_or_else(|| std::fs::remove_file(&path), |text| std::fs::write(&path, text));
            let directory = LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap();
            let add = Change::Add(Entry {
                dn: "dc=y".into(),
                attributes: vec![Attribute::new("dc", vec![b"y".to_vec()])],
            });
            directory.apply(&add).unwrap();
            let theirs = format!("{ADA}description: by hand\n");
            std::fs::write(&path, &theirs).unwrap();
            assert!(matches!(directory.commit(), Err(DirectoryError::File { .. })));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
        }
        // What it wrote itself is no other program's.
        let directory = LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap();
        for dn in ["dc=y", "dc=z"] {
            let value = dn.as_bytes().get(3..).unwrap().to_vec();
            let add =
                Change::Add(Entry { dn: dn.into(), attributes: vec![Attribute::new("dc", vec![value])] });
            directory.apply(&add).unwrap();
            directory.commit().unwrap();
        }
    }
}
