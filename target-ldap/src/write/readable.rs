//! What the bound user may read. An attribute that an entry does not show may be hidden: then it is not known what a record adds to, replaces
//! or keeps, whether a null has anything to remove, and whom `match` would find.
//!
//! A result is remembered for each attribute and container of entries, so that most records need no search. Before a change that keeps
//! values or depends on the lock of an account, the entry itself is asked about. Before an entry is added because `match` finds none,
//! the entries below the scope are looked through once; so are those of a scope before a version deletes what it does not have.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ldap_directory::change::Modification;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::unseen::{self, Hidden};
use ldap_directory::{DirectoryError, Scope};
use rustc_hash::FxHashSet;

use super::Applier;
use super::account::ModifyPlan;
use crate::map::WritePolicy;
use crate::map::wanted::WantedEntry;
use crate::rules::accounts::AccountLock;
use crate::rules::names::hash;
use crate::rules::policy::Policy;

/// The most searches for what may be read in a container. Beyond, an attribute that may be read in one counts as readable in all.
const MOST_CHECKS: u64 = 1_000;
/// The most sets of attributes that are remembered; then they are made again from the single ones.
const MOST_SETS: usize = 100_000;
/// The most entries below a scope that are looked through for those that `match` cannot find.
const MOST_MATCHED: u32 = 10_000;
/// The attribute whose change makes a server drop the lock of an account.
const PASSWORD: &str = "userPassword";

/// An attribute that the bound user may not see, and on which a record depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The attribute, and an entry of which it is hidden.
    pub hidden: Hidden,
    /// Whether `match` compares it, so that the record's entry is not known.
    pub is_matched: bool,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hidden { dn, attribute } = &self.hidden;
        if self.is_matched {
            write!(
                f,
                "bind_dn: the bound user may not search `{attribute}` of `{dn}`: match would not find that entry, and another one would be added for its record; let the user read and search `{attribute}`, or leave the entry out of the scope (scope_base)"
            )
        } else {
            write!(
                f,
                "bind_dn: the bound user may not read `{attribute}` of `{dn}`: whether it has a value is not known, and nothing is written; let the user read and search `{attribute}`, or take it out of the rule"
            )
        }
    }
}

/// What the run has found out.
#[derive(Debug, Default)]
pub(super) struct Readable {
    known: Mutex<Known>,
    /// Held while it is found out: the tasks that begin a run would all ask for the same.
    checking: tokio::sync::Mutex<()>,
    /// What hides entries from `match`, by base, classes and attributes.
    matched: tokio::sync::Mutex<HashMap<u64, Option<Hidden>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Hashes of a container and all attributes that an entry in it lacks.
    sets: FxHashSet<u64>,
    /// Hashes of a container and an attribute, and of attributes alone.
    attributes: FxHashSet<u64>,
    checks: u64,
}

impl Known {
    fn has(&self, container: Option<&DnKey>, attribute: &str) -> bool {
        self.attributes.contains(&hash(&(container, attribute)))
            || self.checks >= MOST_CHECKS && self.attributes.contains(&hash(attribute))
    }

    fn add(&mut self, set: u64, container: Option<&DnKey>, attributes: &[&str]) {
        if self.sets.len() >= MOST_SETS {
            self.sets.clear();
        }
        self.sets.insert(set);
        for attribute in attributes {
            self.attributes.extend([hash(&(container, *attribute)), hash(*attribute)]);
        }
    }
}

impl Readable {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves at most one result out.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an entry shows an attribute under this description. If it does under another one, a search finds out.
fn shows(entry: &Entry, name: &str) -> bool {
    entry.attribute(name).is_some_and(|attribute| !attribute.values.is_empty())
}

impl Applier {
    /// Returns the attributes that a comparison with an entry takes for absent.
    fn lacking<'w>(&self, wanted: &'w WantedEntry, current: &Entry) -> Vec<&'w str> {
        let attributes =
            wanted.attributes.iter().filter(|a| !shows(current, &a.description) && a.needs_to_know());
        let mut lacking: Vec<&str> = attributes.map(|a| a.description.as_str()).collect();
        if wanted.account.enabled.is_some() {
            lacking.extend(self.absent_lock(current));
        }
        lacking
    }

    /// Returns the attribute of an account's lock, if an entry does not show it and would count as enabled.
    fn absent_lock(&self, current: &Entry) -> Option<&'static str> {
        // An account of Active Directory always has one.
        let lock = self.lock().filter(|lock| *lock != AccountLock::UserAccountControl)?;
        Some(lock.attribute()).filter(|name| !shows(current, name))
    }

    /// Returns an attribute that an existing entry does not show, and that the bound user may not read.
    pub(super) async fn unreadable(
        &self,
        wanted: &WantedEntry,
        current: &Entry,
        key: &DnKey,
    ) -> Result<Option<Unreadable>, DirectoryError> {
        if self.readable.is_none() {
            return Ok(None);
        }
        let lacking = self.lacking(wanted, current);
        if self.may_read(key, &lacking) {
            return Ok(None);
        }
        Box::pin(self.find_unreadable(&current.dn, key, &lacking)).await
    }

    /// Whether attributes that an entry lacks are known to be readable.
    pub(super) fn may_read(&self, key: &DnKey, lacking: &[&str]) -> bool {
        let Some(readable) = self.readable.as_ref().filter(|_| !lacking.is_empty()) else { return true };
        readable.known().sets.contains(&hash(&(key.parent(), lacking)))
    }

    /// Finds out whether attributes that an entry lacks may be read: one search, if they may.
    pub(super) async fn find_unreadable(
        &self,
        dn: &str,
        key: &DnKey,
        lacking: &[&str],
    ) -> Result<Option<Unreadable>, DirectoryError> {
        let Some(readable) = &self.readable else { return Ok(None) };
        let _one_at_a_time = readable.checking.lock().await;
        let container = key.parent();
        let unknown: Vec<&str> = {
            let known = readable.known();
            lacking.iter().copied().filter(|name| !known.has(container.as_ref(), name)).collect()
        };
        if !unknown.is_empty() {
            let entry = Entry { dn: dn.to_owned(), attributes: Vec::new() };
            if let Some(hidden) = unseen::hidden(&self.directory, &entry, &unknown).await? {
                return Ok(Some(Unreadable { hidden, is_matched: false }));
            }
            readable.known().checks += 1;
        }
        readable.known().add(hash(&(&container, lacking)), container.as_ref(), lacking);
        Ok(None)
    }

    /// The same for what a change relies on: values that are kept if there are some, and the lock of the account. This entry is asked about,
    /// whatever is known of others.
    pub(super) async fn unreadable_for_change(
        &self,
        wanted: &WantedEntry,
        current: &Entry,
        planned: &ModifyPlan,
    ) -> Result<Option<Unreadable>, DirectoryError> {
        if self.readable.is_none() {
            return Ok(None);
        }
        let kept = wanted.attributes.iter().filter(|a| a.policy == Policy::Keep && !a.values.is_empty());
        let kept = kept.map(|a| a.description.as_str()).filter(|name| !shows(current, name));
        let mut names: Vec<&str> = kept.collect();
        let sets_password =
            planned.exop.is_some() && self.lock().is_some_and(AccountLock::goes_with_a_password);
        if wanted.account.enabled.is_some()
            || sets_password
            || planned.changes.iter().any(|step| self.takes_a_lock(step))
        {
            names.extend(self.absent_lock(current));
        }
        if names.is_empty() {
            return Ok(None);
        }
        let hidden = Box::pin(unseen::hidden(&self.directory, current, &names)).await?;
        Ok(hidden.map(|hidden| Unreadable { hidden, is_matched: false }))
    }

    /// Whether a modification makes the server drop the lock of an account.
    pub(super) fn takes_a_lock(&self, step: &Modification) -> bool {
        self.directory.schema().same_description(&step.description, PASSWORD)
            && self.lock().is_some_and(AccountLock::goes_with_a_password)
    }

    /// Returns what hides entries from a record's filter, which found none.
    pub(super) async fn hidden_from_match(
        &self,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
    ) -> Result<Option<Unreadable>, DirectoryError> {
        let base = self.search_base(dn, write_policy);
        let classes = write_policy.object_classes.iter().filter(|class| !class.eq_ignore_ascii_case("top"));
        let classes: Vec<Filter> =
            classes.map(|class| Filter::equality("objectClass", class.as_bytes())).collect();
        let entries =
            if classes.is_empty() { Filter::Present("objectClass".to_owned()) } else { Filter::Or(classes) };
        let hidden = self.hidden_among(&base, &entries, filter).await?;
        Ok(hidden.map(|hidden| Unreadable { hidden, is_matched: true }))
    }

    /// Returns what hides entries below a base from a filter, which found none.
    pub(super) async fn hidden_from_reference(
        &self,
        base: &str,
        filter: &str,
    ) -> Result<Option<Hidden>, DirectoryError> {
        let entries = Filter::Present("objectClass".to_owned());
        self.hidden_among(base, &entries, filter).await
    }

    /// Returns what hides some of `entries` below a base from a filter.
    async fn hidden_among(
        &self,
        base: &str,
        entries: &Filter,
        filter: &str,
    ) -> Result<Option<Hidden>, DirectoryError> {
        let Some(readable) = &self.readable else { return Ok(None) };
        let Ok(parsed) = Filter::parse(filter) else { return Ok(None) };
        let mut names = parsed.attributes();
        // Entries whose classes are hidden are not looked through.
        names.retain(|name| !name.eq_ignore_ascii_case("objectClass"));
        names.sort_unstable();
        names.dedup();
        let number = hash(&(base, entries.to_string(), &names));
        let mut matched = readable.matched.lock().await;
        if let Some(hidden) = matched.get(&number) {
            return Ok(hidden.clone());
        }
        // OpenLDAP keeps one paging state per connection.
        let _one_at_a_time = self.trees.lock().await;
        let search = unseen::unsearchable_among(&self.directory, base, entries, &names, MOST_MATCHED);
        let hidden = Box::pin(search).await?;
        matched.insert(number, hidden.clone());
        Ok(hidden)
    }

    /// Returns an entry below a base that may be one of a scope and that its filter does not find: nothing is deleted of what it has.
    ///
    /// # Errors
    /// A search fails.
    pub async fn undecided_below(
        &self,
        base: &str,
        filter: &Filter,
    ) -> Result<Option<Hidden>, DirectoryError> {
        if self.readable.is_none() {
            return Ok(None);
        }
        let _one_at_a_time = self.trees.lock().await;
        let place = (base, Scope::Subtree);
        Box::pin(unseen::undecided_below(&self.directory, place, filter, None)).await
    }

    /// Returns an attribute that `match` compares, and that an entry may have though it does not show it.
    pub(super) async fn hidden_in_namesake(
        &self,
        entry: &Entry,
        write_policy: &WritePolicy,
    ) -> Result<Option<Unreadable>, DirectoryError> {
        if self.readable.is_none() {
            return Ok(None);
        }
        let names: Vec<&str> = write_policy.match_attributes.iter().map(String::as_str).collect();
        let hidden = unseen::hidden(&self.directory, entry, &names).await?;
        Ok(hidden.map(|hidden| Unreadable { hidden, is_matched: true }))
    }
}
