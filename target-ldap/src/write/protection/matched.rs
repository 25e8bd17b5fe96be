//! The entries that the filter of `protect` matches, and those that Active Directory marks.
//!
//! The directory evaluates the filters: it knows rules that this program does not (`memberOf` with a chain). The first changes are
//! checked one by one. For more, all matching entries are read at once, and again after [`LEAST_AGE`]: an entry that is protected
//! meanwhile is found then, and a change of a long run costs no search.
//!
//! A filter does not match an entry of which the bound user may not search its attributes, and neither does its negation: whether the entry
//! is protected is not known, so it counts as protected. That is asked for each change, unless it is known of all entries of a base.
//!
//! Which groups are administrative (Active Directory) is looked up again after [`GROUPS_AGE`]: groups come, are renamed, and go.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ldap_directory::dn::DnKey;
use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::unseen;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};
use tokio::sync::Mutex;

use super::admins::administrative;

/// The changes that are checked one by one before the entries are read at once.
const SINGLY: u32 = 16;
/// For how long the entries that were read are relied on, at least.
const LEAST_AGE: Duration = Duration::from_secs(60);
/// For how long the administrative groups are relied on.
const GROUPS_AGE: Duration = Duration::from_secs(10);
/// Reading takes this share of the time at most.
const SHARE: u32 = 20;
/// The most entries that are kept of a base. If there are more, each change is checked by itself.
const MOST: usize = 200_000;

/// A filter, and its setting.
#[derive(Debug, Clone)]
pub(super) struct FilterRule {
    pub(super) setting: String,
    pub(super) filter: Arc<Filter>,
    /// Whether an entry counts as protected of which the bound user may not search the attributes.
    pub(super) asks_rights: bool,
    /// Whether the filter has the administrative groups, as they are now.
    pub(super) is_administrative: bool,
}

/// A protected entry, at or below the one that is to be changed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: DnKey,
    pub(super) dn: String,
    pub(super) setting: String,
    pub(super) filter: Arc<Filter>,
    /// The attribute by which it is not known whether the filter matches.
    pub(super) hidden: Option<String>,
}

fn found_by(key: DnKey, dn: String, rule: &FilterRule) -> Found {
    Found { key, dn, setting: rule.setting.clone(), filter: rule.filter.clone(), hidden: None }
}

/// The entries that filters match.
#[derive(Debug)]
pub(super) struct MatchedEntries {
    rules: RwLock<Arc<Vec<FilterRule>>>,
    /// When the administrative groups were looked up.
    looked_up: Mutex<Instant>,
    /// The attributes that the user must be able to search, each once.
    asked: Vec<String>,
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
    /// The bases of which the bound user may search the attributes of all entries.
    searchable: Vec<DnKey>,
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
        let mut asked: Vec<String> = Vec::new();
        for name in rules.iter().filter(|rule| rule.asks_rights).flat_map(|rule| rule.filter.attributes()) {
            if !asked.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                asked.push(name.to_owned());
            }
        }
        let (rules, looked_up) = (RwLock::new(Arc::new(rules)), Mutex::new(Instant::now()));
        Self { rules, looked_up, asked, bases, known: Mutex::default() }
    }

    fn rules(&self) -> Arc<Vec<FilterRule>> {
        // A panic elsewhere leaves the old rules, or the new ones.
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks the administrative groups up again, once it is time.
    async fn follow_groups(&self, directory: &Directory) -> Result<(), DirectoryError> {
        let rules = self.rules();
        if !rules.iter().any(|rule| rule.is_administrative) {
            return Ok(());
        }
        let mut looked_up = self.looked_up.lock().await;
        if looked_up.elapsed() < GROUPS_AGE {
            return Ok(());
        }
        let filter = Arc::new(administrative(directory).await?);
        *looked_up = Instant::now();
        if rules.iter().any(|rule| rule.is_administrative && rule.filter != filter) {
            let mut rules = (*rules).clone();
            for rule in rules.iter_mut().filter(|rule| rule.is_administrative) {
                rule.filter = filter.clone();
            }
            *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
            *self.known.lock().await = Known::default();
        }
        Ok(())
    }

    /// Whether a filter compares an attribute.
    pub(super) fn names(&self, description: &str, schema: &Schema) -> bool {
        let rules = self.rules();
        let mut names = rules.iter().flat_map(|rule| rule.filter.attributes());
        names.any(|name| schema.same_description(base_type(name), base_type(description)))
    }

    /// Returns a protected entry with this DN, or, with the subtree, at or below it. `is_own`: an entry that is so by a change of this
    /// run, and does not count. `is_added`: an entry that this run has added.
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
        is_added: &(dyn Fn(&DnKey) -> bool + Sync),
    ) -> Result<Option<Found>, DirectoryError> {
        self.follow_groups(directory).await?;
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
            let found = found.and_then(|(found, rule)| {
                let dn = if found == key { dn.to_owned() } else { found.to_string() };
                Some(found_by(found.clone(), dn, self.rules().get(*rule)?))
            });
            if found.is_some() || base.is_some_and(|(base, _)| known.searchable.contains(base)) {
                return Ok(found);
            }
            drop(known);
        } else {
            drop(known);
            if let Some(found) = self.find_there(directory, dn, with_subtree, is_own).await? {
                return Ok(Some(found));
            }
        }
        self.unclear(directory, (dn, key), with_subtree, is_added).await
    }

    /// Returns an entry of which it is not known whether a filter matches it.
    async fn unclear(
        &self,
        directory: &Directory,
        (dn, key): (&str, &DnKey),
        with_subtree: bool,
        is_added: &(dyn Fn(&DnKey) -> bool + Sync),
    ) -> Result<Option<Found>, DirectoryError> {
        if !self.asks_rights() || !with_subtree && is_added(key) {
            return Ok(None);
        }
        let key_of = |dn: &str| DnKey::parse(dn, directory.schema()).unwrap_or_default();
        let counts = |dn: &str| !is_added(&key_of(dn));
        let names = self.asked();
        let hidden = unseen::unsearchable_at(directory, dn, with_subtree, &names, &counts);
        let Some(hidden) = Box::pin(hidden).await? else { return Ok(None) };
        let compares = |rule: &&FilterRule| {
            rule.asks_rights
                && rule.filter.attributes().iter().any(|name| name.eq_ignore_ascii_case(&hidden.attribute))
        };
        let rules = self.rules();
        Ok(rules.iter().find(compares).or(rules.first()).map(|rule| Found {
            hidden: Some(hidden.attribute.clone()),
            ..found_by(key_of(&hidden.dn), hidden.dn.clone(), rule)
        }))
    }

    fn asked(&self) -> Vec<&str> {
        self.asked.iter().map(String::as_str).collect()
    }

    /// Whether it is asked for entries what the bound user may search.
    pub(super) fn asks_rights(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Asks the directory about one entry.
    async fn find_there(
        &self,
        directory: &Directory,
        dn: &str,
        with_subtree: bool,
        is_own: &(dyn Fn(&DnKey) -> bool + Sync),
    ) -> Result<Option<Found>, DirectoryError> {
        let (scope, paging) =
            if with_subtree { (Scope::Subtree, Paging::Configured) } else { (Scope::Base, Paging::Off) };
        for rule in self.rules().iter() {
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
            for (number, rule) in self.rules().iter().enumerate() {
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
                if self.may_search_all(directory, base).await? {
                    known.searchable.push(key.clone());
                }
            }
        }
        known.read = Some((began, began.elapsed()));
        Ok(known)
    }

    async fn may_search_all(&self, directory: &Directory, base: &str) -> Result<bool, DirectoryError> {
        match unseen::may_search_all(directory, base, &self.asked(), MOST).await {
            Err(e) if e.code().is_some() && !e.is_transient() => Ok(false),
            may_search => may_search,
        }
    }

    /// Returns the filters of a setting that match no entry at all.
    pub(super) async fn idle(&self, directory: &Directory, setting: &str) -> Vec<Arc<Filter>> {
        let mut idle = Vec::new();
        for rule in self.rules().iter().filter(|rule| rule.setting == setting) {
            let mut is_idle = true;
            for (_, base) in &self.bases {
                // What cannot be searched as a whole is asked for each change.
                let found =
                    first(directory, base, Scope::Subtree, &rule.filter, Paging::Limited(1), &|_| false)
                        .await;
                is_idle &= matches!(found, Ok(None));
            }
            if is_idle {
                idle.push(rule.filter.clone());
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
