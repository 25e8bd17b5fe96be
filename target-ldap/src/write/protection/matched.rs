//! The entries that the filter of `protect` matches, and those that Active Directory marks.
//!
//! The directory evaluates the filters: it knows rules that this program does not (`memberOf` with a chain). The first changes are
//! checked one by one. For more, all matching entries are read at once, and again after [`LEAST_AGE`]: an entry that is protected
//! meanwhile is found then, and a change of a long run costs no search.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ldap_directory::dn::DnKey;
use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};
use tokio::sync::Mutex;

/// The changes that are checked one by one before the entries are read at once.
const SINGLY: u32 = 16;
/// For how long the entries that were read are relied on, at least.
const LEAST_AGE: Duration = Duration::from_secs(60);
/// Reading takes this share of the time at most.
const SHARE: u32 = 20;
/// The most entries that are kept of a base. If there are more, each change is checked by itself.
const MOST: usize = 200_000;

/// A filter, and its setting.
#[derive(Debug)]
pub(super) struct FilterRule {
    pub(super) setting: String,
    pub(super) filter: Filter,
}

/// A protected entry, at or below the one that is to be changed.
#[derive(Debug)]
pub(super) struct Found<'f> {
    pub(super) key: DnKey,
    pub(super) dn: String,
    pub(super) setting: &'f str,
    pub(super) filter: &'f Filter,
}

fn found_by(key: DnKey, dn: String, rule: &FilterRule) -> Found<'_> {
    Found { key, dn, setting: &rule.setting, filter: &rule.filter }
}

/// The entries that filters match.
#[derive(Debug)]
pub(super) struct MatchedEntries {
    rules: Vec<FilterRule>,
    /// Where changes are made: the topmost entries.
    bases: Vec<(DnKey, String)>,
    known: Mutex<Known>,
}

/// What was read.
#[derive(Debug, Default)]
struct Known {
    /// When it was read, and how long that took.
    read: Option<(Instant, Duration)>,
    /// The changes that were checked one by one since.
    singly: u32,
    /// The bases of which all matching entries are known.
    searched: Vec<DnKey>,
    /// The entries, with the number of the rule.
    entries: BTreeMap<DnKey, usize>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.read.is_some_and(|(at, took)| at.elapsed() < LEAST_AGE.max(took * SHARE))
    }
}

impl MatchedEntries {
    pub(super) fn new(rules: Vec<FilterRule>, bases: Vec<(DnKey, String)>) -> Self {
        Self { rules, bases, known: Mutex::default() }
    }

    /// Whether a filter compares an attribute.
    pub(super) fn names(&self, description: &str, schema: &Schema) -> bool {
        let mut names = self.rules.iter().flat_map(|rule| rule.filter.attributes());
        names.any(|name| schema.same_description(base_type(name), base_type(description)))
    }

    /// Returns a protected entry with this DN, or, with the subtree, at or below it. `is_own`: an entry that is so by a change of this
    /// run, and does not count.
    ///
    /// # Errors
    /// The directory does not say it.
    pub(super) async fn find(
        &self,
        directory: &Directory,
        dn: &str,
        key: &DnKey,
        with_subtree: bool,
        is_own: &(dyn Fn(&DnKey) -> bool + Sync),
    ) -> Result<Option<Found<'_>>, DirectoryError> {
        let mut known = self.known.lock().await;
        if !known.is_fresh() {
            if known.read.is_some() {
                *known = Known::default();
            }
            if known.singly < SINGLY {
                known.singly += 1;
            } else {
                *known = self.read(directory).await?;
            }
        }
        let base =
            self.bases.iter().filter(|(base, _)| key.is_within(base)).max_by_key(|(base, _)| base.depth());
        if known.is_fresh() && base.is_some_and(|(base, _)| known.searched.contains(base)) {
            let found = if with_subtree {
                known.entries.range(key.subtree()).find(|(key, _)| !is_own(key))
            } else {
                known.entries.get_key_value(key).filter(|(key, _)| !is_own(key))
            };
            return Ok(found.and_then(|(found, rule)| {
                let dn = if found == key { dn.to_owned() } else { found.to_string() };
                Some(found_by(found.clone(), dn, self.rules.get(*rule)?))
            }));
        }
        drop(known);
        self.find_there(directory, dn, with_subtree, is_own).await
    }

    /// Asks the directory about one entry.
    async fn find_there(
        &self,
        directory: &Directory,
        dn: &str,
        with_subtree: bool,
        is_own: &(dyn Fn(&DnKey) -> bool + Sync),
    ) -> Result<Option<Found<'_>>, DirectoryError> {
        let (scope, paging) =
            if with_subtree { (Scope::Subtree, Paging::Configured) } else { (Scope::Base, Paging::Off) };
        for rule in &self.rules {
            if let Some((key, dn)) = first(directory, dn, scope, &rule.filter, paging, is_own).await? {
                return Ok(Some(found_by(key, dn, rule)));
            }
        }
        Ok(None)
    }

    /// Reads all matching entries.
    async fn read(&self, directory: &Directory) -> Result<Known, DirectoryError> {
        let began = Instant::now();
        let mut known = Known::default();
        for (key, base) in &self.bases {
            let mut is_whole = true;
            for (number, rule) in self.rules.iter().enumerate() {
                match all(directory, base, &rule.filter, number, &mut known.entries).await {
                    Ok(whole) => is_whole &= whole,
                    Err(e) if e.is_no_such_object() => {}
                    // There each change is checked by itself: the server refuses a search of everything, not one of a single entry.
                    Err(e) if e.code().is_some() && !e.is_transient() => is_whole = false,
                    Err(e) => return Err(e),
                }
            }
            if is_whole {
                known.searched.push(key.clone());
            }
        }
        known.read = Some((began, began.elapsed()));
        Ok(known)
    }

    /// Returns the filters of a setting that match no entry at all.
    pub(super) async fn idle(&self, directory: &Directory, setting: &str) -> Vec<&Filter> {
        let mut idle = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.setting == setting) {
            let mut is_idle = true;
            for (_, base) in &self.bases {
                // What cannot be searched as a whole is asked for each change.
                let found =
                    first(directory, base, Scope::Subtree, &rule.filter, Paging::Limited(1), &|_| false)
                        .await;
                is_idle &= matches!(found, Ok(None));
            }
            if is_idle {
                idle.push(&rule.filter);
            }
        }
        idle
    }
}

/// Returns the first entry that a filter matches, and that does not belong to the run itself.
async fn first(
    directory: &Directory,
    base: &str,
    scope: Scope,
    filter: &Filter,
    paging: Paging,
    is_own: &(dyn Fn(&DnKey) -> bool + Sync),
) -> Result<Option<(DnKey, String)>, DirectoryError> {
    let request = SearchRequest { paging, ..SearchRequest::new(base, scope, filter.clone(), &["1.1"]) };
    let found = async {
        let mut search = directory.search(request).await?;
        while let Some(entry) = search.next_entry().await? {
            let key = DnKey::parse(&entry.dn, directory.schema()).unwrap_or_default();
            if !is_own(&key) {
                search.abandon().await?;
                return Ok(Some((key, entry.dn)));
            }
        }
        Ok(None)
    };
    match found.await {
        Err(e) if DirectoryError::is_no_such_object(&e) => Ok(None),
        found => found,
    }
}

/// Adds all entries that a filter matches, with the number of its rule. `false`: there are too many.
async fn all(
    directory: &Directory,
    base: &str,
    filter: &Filter,
    number: usize,
    entries: &mut BTreeMap<DnKey, usize>,
) -> Result<bool, DirectoryError> {
    let request = SearchRequest::new(base, Scope::Subtree, filter.clone(), &["1.1"]).repeating();
    let mut search = directory.search(request).await?;
    while let Some(entry) = search.next_entry().await? {
        if entries.len() >= MOST {
            search.abandon().await?;
            return Ok(false);
        }
        if let Ok(key) = DnKey::parse(&entry.dn, directory.schema()) {
            entries.entry(key).or_insert(number);
        }
    }
    Ok(true)
}
