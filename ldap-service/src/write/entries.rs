//! Existing entries: they are found by their identifier, whatever DN they have by now.

use std::iter;

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor};

use super::{EntryId, EntryRef, WriteError, WriteErrorKind, refusal};
use crate::lookup::find;

/// Attributes that mark accounts of Active Directory itself ([MS-ADTS] 3.1.1.5.3.7, 3.1.1.6.1).
const CRITICAL: [&str; 2] = ["isCriticalSystemObject", "adminCount"];

impl EntryId {
    /// Returns the identifier of an entry that was read with [`EntryId::attributes`].
    pub fn of(entry: &Entry, directory: &Directory) -> Option<EntryId> {
        EntryId::attributes(directory).iter().find_map(|name| {
            let value = entry.values(name).first()?.clone();
            Some(EntryId { attribute: (*name).to_owned(), value })
        })
    }

    /// Returns the attributes that may hold the identifier on a server.
    pub fn attributes(directory: &Directory) -> &'static [&'static str] {
        directory.root_dse().vendor.immutable_ids()
    }

    /// Returns the filter that matches the entry.
    pub fn filter(&self) -> Filter {
        Filter::equality(self.attribute.clone(), self.value.clone())
    }

    /// Returns whether an entry is protected by the directory itself: on Active Directory, its own accounts.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn is_protected_by_directory(
        directory: &Directory,
        dn: &str,
    ) -> Result<bool, DirectoryError> {
        if directory.root_dse().vendor != Vendor::ActiveDirectory {
            return Ok(false);
        }
        Ok(directory.read(dn, &CRITICAL).await?.is_some_and(|entry| is_critical(&entry)))
    }
}

fn no_such(entry: &EntryRef) -> WriteError {
    WriteError::new(WriteErrorKind::NotFound, format!("the entry `{}` does not exist any more", entry.dn))
}

/// Returns the current DN of an entry below a base.
///
/// # Errors
/// It does not exist any more, or is one of the directory's own ([`WriteErrorKind::Protected`]).
pub(crate) async fn locate(
    directory: &Directory,
    base: &str,
    entry: &EntryRef,
) -> Result<String, WriteError> {
    let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
    let is_ad = directory.root_dse().vendor == Vendor::ActiveDirectory;
    let names: &[&str] = if is_ad { &CRITICAL } else { &["1.1"] };
    let found = now(directory, &[base], entry, names).await.map_err(failed)?;
    let found = found.ok_or_else(|| no_such(entry))?;
    if is_critical(&found) {
        let detail = format!("`{}` is one of Active Directory's own accounts", found.dn);
        return Err(WriteError::new(WriteErrorKind::Protected, detail));
    }
    Ok(found.dn)
}

/// Returns an entry by its identifier: at its former DN, else below the bases.
pub(crate) async fn now(
    directory: &Directory,
    bases: &[&str],
    entry: &EntryRef,
    names: &[&str],
) -> Result<Option<Entry>, DirectoryError> {
    let places = bases.iter().map(|base| (*base, Scope::Subtree));
    for (base, scope) in iter::once((entry.dn.as_str(), Scope::Base)).chain(places) {
        let mut found = find(directory, base, scope, entry.id.filter(), names, 2).await?;
        match found.len() {
            0 => {}
            1 => return Ok(found.pop()),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Whether Active Directory marks an entry as one of its own, or as an administrator's.
fn is_critical(entry: &Entry) -> bool {
    let is = |name: &str, value: &str| entry.first_text(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
    is("isCriticalSystemObject", "TRUE") || is("adminCount", "1")
}

/// Checks that an entry matches a condition.
///
/// # Errors
/// It does not: [`WriteErrorKind::Precondition`].
pub(crate) async fn check_condition(
    directory: &Directory,
    dn: &str,
    condition: Option<&Filter>,
) -> Result<(), WriteError> {
    let Some(condition) = condition else { return Ok(()) };
    let found = find(directory, dn, Scope::Base, condition.clone(), &["1.1"], 1).await;
    let found = found.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
    if found.is_empty() {
        let detail = "the entry was changed since it was read (If-Match)";
        return Err(WriteError::new(WriteErrorKind::Precondition, detail));
    }
    Ok(())
}
