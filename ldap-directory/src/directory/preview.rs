//! A preview: changes are made in memory, on top of a directory that is read and never written.
//!
//! A whole entry is copied into memory when it is first changed; unchanged entries are read from the directory below each time.
//! A copy has what the server maintains, too, so that filters find it as the server would; where they cannot be evaluated here, the server is
//! asked ([`search`]).
//! So memory grows with the number of changed entries, not with the directory.

mod references;
mod search;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ldif::{LdifDirectory, LdifRules};
use super::{
    Access, Answer, Directory, DirectoryError, ExcludedSubtrees, Paging, Scope, SearchItem, SearchRequest,
    WriteControl,
};
use crate::change::{Change, Modification, ModificationKind};
use crate::dn::{DnKey, split};
use crate::entry::Entry;
use crate::protocol::result_code;
use crate::schema::{Coverage, Schema, Usage, conformance};
use crate::secret::Secret;

pub use references::MaintainedReferences;
use references::References;
pub use search::PreviewSearch;
use search::{Asked, as_server};

/// The user attributes of an entry.
const WHOLE: &[&str] = &["*"];
const EVERYTHING: &str = "(objectClass=*)";

/// A directory on top of another. Clones share their changes.
#[derive(Debug, Clone)]
pub struct PreviewDirectory {
    below: Box<Directory>,
    /// The changed entries, and their siblings.
    changed: LdifDirectory,
    /// The DNs that are looked up in `changed` alone, whether they exist or not.
    known: Arc<Mutex<Known>>,
    /// Whether violations of the schema are refused, as by the server below.
    checks_schema: bool,
    /// The attributes of an entry that are copied.
    copied: Arc<[String]>,
    /// The renames that the values of other entries follow; `None`: no value does.
    references: Option<Arc<References>>,
    /// What this clone may do.
    access: Access,
    /// What this clone leaves out, in addition to what the directory below does.
    pub(super) excluded: Option<Arc<ExcludedSubtrees>>,
}

/// A search keeps the set of its beginning; the set is copied only if it changes meanwhile.
type Known = Arc<BTreeSet<DnKey>>;

impl PreviewDirectory {
    /// Returns a preview without changes.
    pub fn new(below: Directory) -> Self {
        let changed =
            LdifDirectory::in_memory(below.schema().clone(), below.root_dse().clone(), below.location());
        if let Some(rules) = below.ldif_rules() {
            changed.set_rules(rules);
        }
        let copied = copied(&below);
        Self {
            below: Box::new(below),
            changed,
            known: Arc::default(),
            checks_schema: false,
            copied,
            references: None,
            access: Access::WRITE,
            excluded: None,
        }
    }

    /// Returns a preview in which DNs in the values of these attributes follow the renames of their entries, as on the server below.
    #[must_use]
    pub fn with_references(mut self, which: Option<MaintainedReferences>) -> Self {
        self.references = which.map(|which| Arc::new(References::new(which)));
        self
    }

    /// Returns a preview that refuses what the server below would refuse by its schema. It has no effect if the schema is not
    /// known completely, or on a file, which accepts everything.
    #[must_use]
    pub fn with_schema_check(mut self) -> Self {
        let schema = self.below.schema();
        self.checks_schema = matches!(*self.below, Directory::Ldap(_))
            && schema.coverage() == Coverage::Whole
            && !schema.is_assumed();
        self
    }

    /// Returns the rules for entries, if a file is below.
    pub(super) fn ldif_rules(&self) -> Option<LdifRules> {
        self.below.ldif_rules().map(|_| self.changed.rules())
    }

    /// Sets the rules for entries, if a file is below.
    pub(super) fn set_ldif_rules(&self, rules: LdifRules) {
        if self.below.ldif_rules().is_some() {
            self.changed.set_rules(rules);
        }
    }

    /// Returns the same preview for reading.
    pub(super) fn reader(&self) -> Self {
        Self { access: Access::Read, ..self.clone() }
    }

    /// Returns the same preview over the same directory, which is read in another way.
    pub(super) fn over(&self, below: Directory) -> Self {
        Self { below: Box::new(below), ..self.clone() }
    }

    /// Returns the directory below.
    pub fn below(&self) -> &Directory {
        &self.below
    }

    fn schema(&self) -> &Schema {
        self.below.schema()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves the set whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, dn: &str) -> Result<DnKey, DirectoryError> {
        DnKey::parse(dn, self.schema()).map_err(|e| DirectoryError::Protocol {
            operation: "preview",
            dn: dn.to_owned(),
            reason: e.to_string(),
            outcome_unknown: false,
        })
    }

    /// Whether the file below has entries below a DN, and none of the DN itself.
    fn begins_without_entry(&self, dn: &str) -> bool {
        let Directory::Ldif(file) = &*self.below else { return false };
        file.begins_at(dn) && file.read(dn, &["1.1"]).is_ok_and(|entry| entry.is_none())
    }

    /// Reads one entry, or returns `None` if it would not exist.
    ///
    /// # Errors
    /// Fails if the DN is not valid, or if the directory below fails.
    pub async fn read(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        let key = self.key(dn)?;
        let is_known = self.known().contains(&key);
        let mut entry = if is_known {
            let asked = Asked::of(attributes, self.schema());
            self.changed.read(dn, attributes)?.map(|entry| asked.of_copy(entry, self.schema()))
        } else {
            Box::pin(self.below.read(dn, attributes)).await?
        };
        if let (Some(references), Some(entry)) = (&self.references, &mut entry) {
            references.follow(entry, &key, is_known, self.schema());
        }
        Ok(entry)
    }

    /// Brings the values of a changed entry up to date, before it is changed again.
    fn catch_up(&self, dn: &str) -> Result<(), DirectoryError> {
        let Some(references) = &self.references else { return Ok(()) };
        let key = self.key(dn)?;
        let names: Vec<&str> = self.copied();
        let Some(mut entry) = self.changed.read(dn, &names)? else { return Ok(()) };
        let followed = references.follow(&mut entry, &key, true, self.schema());
        let changes: Vec<Modification> = followed
            .into_iter()
            .map(|name| {
                let values = entry.values(&name).to_vec();
                Modification::new(ModificationKind::Replace, name, values)
            })
            .collect();
        if !changes.is_empty() {
            self.changed.apply(&Change::Modify { dn: dn.to_owned(), changes })?;
        }
        references.is_current(&key);
        Ok(())
    }

    /// Begins a search. Changed entries come first.
    ///
    /// # Errors
    /// Fails if the base is not a DN or would not exist, or if the directory below fails.
    pub(crate) async fn search(&self, request: SearchRequest) -> Result<Answer, DirectoryError> {
        let base = self.key(&request.base)?;
        if request.scope != Scope::Base {
            // What is changed below the base is only found below the base.
            self.take_in(&request.base).await?;
        }
        let (known, base_is_known) = {
            let known = self.known();
            (Arc::clone(&known), known.contains(&base))
        };
        let is_of_server = matches!(*self.below, Directory::Ldap(_));
        let changed = if is_of_server {
            self.changed.search(&as_server(&request)).map(super::ldif::LdifSearch::with_undecided)
        } else {
            self.changed.search(&request)
        };
        // A file may have entries below a DN that it has no entry for.
        let begins_below = || request.scope != Scope::Base && self.begins_without_entry(&request.base);
        let base_is_there = !base_is_known || changed.is_ok() || begins_below();
        if !base_is_there {
            return changed.map(|s| Answer::Ldif(Box::new(s)));
        }
        let names: Vec<&str> = request.attributes.iter().map(String::as_str).collect();
        let asked = Asked::of(&names, self.schema());
        let server = is_of_server.then(|| ((*self.below).clone(), request.filter.clone()));
        let below = if base_is_known && request.scope == Scope::Base {
            None
        } else {
            // Changes may have deleted some of a limited number of entries.
            let paging = match request.paging {
                Paging::Limited(_) => Paging::Off,
                Paging::Stepwise(_) => Paging::Configured,
                other => other,
            };
            let request = SearchRequest { paging, ..request };
            match Box::pin(self.below.search(request)).await {
                // A change adds it.
                Err(e) if base_is_known && e.is_no_such_object() => None,
                below => Some(Box::new(below?)),
            }
        };
        let changed = changed.ok().map(Box::new);
        let schema = self.below.schema().clone();
        let references = self.references.clone();
        let search =
            PreviewSearch { changed, below, known, schema, base_is_known, references, asked, server };
        Ok(Answer::Preview(Box::new(search)))
    }

    /// Sets an entry's password in memory, in clear text, which is never shown.
    ///
    /// # Errors
    /// As [`Self::apply_with`].
    pub async fn set_password(&self, dn: &str, password: &Secret) -> Result<(), DirectoryError> {
        let values = vec![password.reveal().as_bytes().to_vec()];
        let changes = vec![Modification::new(ModificationKind::Replace, "userPassword", values)];
        self.apply_with(&Change::Modify { dn: dn.to_owned(), changes }, &[]).await
    }

    /// Applies one change with controls, in memory.
    ///
    /// # Errors
    /// Fails with a server's result code if the change would not be possible, or if the directory below fails.
    pub async fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        let dn = change.dn();
        self.access.may_change(change.operation(), dn)?;
        self.take_in(dn).await?;
        match change {
            Change::Modify { .. } => self.catch_up(dn)?,
            Change::Add(_) => self.take_in_parent(dn).await?,
            Change::Delete { .. } => self.take_in_below(dn, Scope::OneLevel, 1).await?,
            Change::Rename { .. } => {
                self.take_in_below(dn, Scope::Subtree, usize::MAX).await?;
                let destination = change.new_dn().unwrap_or_default();
                self.take_in_parent(&destination).await?;
                self.take_in(&destination).await?;
                self.changed.apply(change)?;
                if let Some(references) = &self.references {
                    references.renamed(&self.key(dn)?, &self.key(&destination)?, &destination);
                }
                return self.know_below(&destination);
            }
        }
        self.checked(change, controls)?;
        if let (Some(references), Change::Add(_)) = (&self.references, change) {
            references.is_current(&self.key(dn)?);
        }
        Ok(())
    }

    /// Applies a change, unless the server would refuse the entry by its schema.
    fn checked(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        if !self.checks_schema || !matches!(change, Change::Add(_) | Change::Modify { .. }) {
            return self.changed.apply_with(change, controls);
        }
        let dn = change.dn();
        if matches!(change, Change::Add(_)) && self.is_outside(dn)? {
            return Err(DirectoryError::Operation {
                operation: "add",
                dn: dn.to_owned(),
                code: result_code::UNWILLING_TO_PERFORM,
                matched: String::new(),
                text: "the DN is in no naming context of the server".to_owned(),
            });
        }
        let before = self.changed.read(dn, WHOLE)?;
        let vendor = self.below.root_dse().vendor;
        let mut brought = Vec::new();
        match self.changed.apply_with(change, controls) {
            // Servers check the schema first: no parent is made for an entry that they refuse.
            Err(e) if e.is_no_such_object() => {
                if let Change::Add(entry) = change {
                    brought = conformance::brought(self.schema(), vendor, None, entry);
                }
                if brought.is_empty() {
                    return Err(e);
                }
            }
            applied => {
                applied?;
                let Some(after) = self.changed.read(dn, WHOLE)? else { return Ok(()) };
                brought = conformance::brought(self.schema(), vendor, before.as_ref(), &after);
                if !brought.is_empty() {
                    self.changed.apply(&as_it_was(change, before.as_ref()))?;
                }
            }
        }
        let Some(first) = brought.first() else { return Ok(()) };
        let operation = if before.is_some() { "modify" } else { "add" };
        let all: Vec<String> = brought.iter().map(ToString::to_string).collect();
        Err(DirectoryError::Operation {
            operation,
            dn: dn.to_owned(),
            code: first.code(),
            matched: String::new(),
            text: all.join("; "),
        })
    }

    /// Whether a DN is in no naming context of the server, and has no parent there either: servers do not list all of them
    /// (`cn=config`).
    fn is_outside(&self, dn: &str) -> Result<bool, DirectoryError> {
        Ok(self.below.root_dse().is_outside(&self.key(dn)?, self.schema())
            && self.changed.read(&parent(dn).unwrap_or_default(), &["1.1"])?.is_none())
    }

    fn copied(&self) -> Vec<&str> {
        self.copied.iter().map(String::as_str).collect()
    }

    /// Copies an entry into memory, or records that it does not exist.
    async fn take_in(&self, dn: &str) -> Result<(), DirectoryError> {
        let key = self.key(dn)?;
        if key.is_root() || self.known().contains(&key) {
            return Ok(());
        }
        let entry = Box::pin(self.below.read(dn, &self.copied())).await?;
        self.insert(key, entry).await
    }

    async fn insert(&self, key: DnKey, entry: Option<Entry>) -> Result<(), DirectoryError> {
        if let Some(mut entry) = entry {
            Box::pin(self.below.complete_ranges(&mut entry)).await?;
            if let Some(references) = &self.references {
                references.follow(&mut entry, &key, false, self.schema());
                references.is_current(&key);
            }
            self.changed.insert(entry)?;
        }
        Arc::make_mut(&mut self.known()).insert(key);
        Ok(())
    }

    /// Records the new DNs of entries that moved with a renamed one.
    fn know_below(&self, dn: &str) -> Result<(), DirectoryError> {
        let mut search =
            self.changed.search(&SearchRequest::new(dn, Scope::Subtree, EVERYTHING, &["1.1"]))?;
        while let Some(item) = search.advance() {
            if let SearchItem::Entry(entry) = item {
                let key = self.key(&entry.dn)?;
                Arc::make_mut(&mut self.known()).insert(key);
            }
        }
        Ok(())
    }

    /// Copies the parent into memory, which must exist for an entry to be added.
    async fn take_in_parent(&self, dn: &str) -> Result<(), DirectoryError> {
        match parent(dn) {
            Some(parent) => self.take_in(&parent).await,
            None => Ok(()),
        }
    }

    /// Copies up to `most` unchanged descendants of an entry into memory.
    async fn take_in_below(&self, dn: &str, scope: Scope, most: usize) -> Result<(), DirectoryError> {
        let request = SearchRequest::new(dn, scope, EVERYTHING, &self.copied());
        let mut search = match Box::pin(self.below.search(request)).await {
            // Only a change added it.
            Err(e) if e.is_no_such_object() => return Ok(()),
            search => search?,
        };
        let mut taken = 0;
        while taken < most {
            let next = match Box::pin(search.next()).await {
                Err(e) if e.is_no_such_object() => return Ok(()),
                next => next?,
            };
            let Some(item) = next else { return Ok(()) };
            let SearchItem::Entry(entry) = item else { continue };
            let key = self.key(&entry.dn)?;
            if !self.known().contains(&key) {
                self.insert(key, Some(entry)).await?;
                taken += 1;
            }
        }
        Box::pin(search.abandon()).await
    }
}

/// Returns the attributes that a copy of an entry needs: those of users, and of a server's operational ones those that a change may name
/// (`pwdAccountLockedTime`, `nsAccountLock`) and those that a filter may compare (`entryUUID`, `memberOf`), which `*` does not return
/// (RFC 4511 section 4.5.1.8). And its ID: a changed entry is the same entry.
fn copied(below: &Directory) -> Arc<[String]> {
    let ids = below.root_dse().vendor.immutable_ids();
    let mut names: Vec<String> = WHOLE.iter().chain(ids).map(|&name| name.to_owned()).collect();
    if !matches!(below, Directory::Ldif(_)) {
        let types = below.schema().attribute_types().iter();
        let changeable = types.filter(|a| a.usage != Usage::UserApplications && !a.no_user_modification);
        names.extend(changeable.filter_map(|a| a.names.first().cloned()));
        names.extend(below.root_dse().gives_all_operational().then(|| "+".to_owned()));
    }
    names.into()
}

/// Returns the change that reverts another one: the attributes of an existing entry are restored.
fn as_it_was(change: &Change, before: Option<&Entry>) -> Change {
    let dn = change.dn().to_owned();
    let (Some(before), Change::Modify { changes, .. }) = (before, change) else {
        return Change::Delete { dn };
    };
    let names: BTreeSet<&str> = changes.iter().map(|c| c.description.as_str()).collect();
    let back = names
        .into_iter()
        .map(|name| Modification::new(ModificationKind::Replace, name, before.values(name).to_vec()))
        .collect();
    Change::Modify { dn, changes: back }
}

fn parent(dn: &str) -> Option<String> {
    let parts = split(dn).ok()?;
    parts.get(1..).filter(|p| !p.is_empty()).map(|p| p.join(","))
}

#[cfg(test)]
mod tests;
