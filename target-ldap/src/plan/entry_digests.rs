//! Digests of a stream's entries, read in one search: a record that changes nothing then needs no search of its own.
//!
//! Only hashes are kept: of each DN, and of each attribute's normalized values (8 bytes an attribute). So the cache can say
//! that nothing differs, or that it does not know. What it does not know, and what this run writes to, is read from the
//! directory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::dn::{Above, DnKey};
use ldap_directory::entry::{Attribute, Entry, EntryView, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::schema::{Equality, Schema};
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::reference_index::ReferenceIndexes;
use crate::map::wanted::WantedAccount;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::names::{hash, to_ask};
use crate::rules::policy::{Compare, Policy};

/// Entries read for each record that was looked up singly, before a prefetch counts as too large for now. An entry in a large
/// result costs a server about a tenth of a search.
const READ_PER_LOOKUP: u64 = 10;
/// Records of a stream that are looked up singly before a prefetch is considered.
const FIRST_LOOKUPS: u64 = 200;
/// After a prefetch that was too large, another is tried once the number of records has grown by this factor.
const PATIENCE: u64 = 4;
/// The most digests that are kept, of 8 bytes each.
const MOST_NUMBERS: usize = 2_000_000;
/// The most entries that a run may have written to. With more it is no longer known what is absent: 16 bytes each.
const MOST_TOUCHED: usize = 500_000;

/// No value can be compared: the server did not return all of them.
const UNKNOWN: u64 = 0;
const ABSENT: u64 = 1;

/// The entries of one stream, as they were read.
#[derive(Debug)]
pub struct EntryDigestCache {
    /// The attributes that are compared, as the mapping names them.
    names: Vec<String>,
    position: FxHashMap<String, usize>,
    /// How the values of each are compared.
    compare: Vec<Compare>,
    /// The rule of each.
    rules: OnceLock<Vec<Equality>>,
    matched_by: Option<String>,
    /// Whether values under options that are not among the attributes are removed.
    removes_options: bool,
    /// The base of the search.
    base: OnceLock<DnKey>,
    state: Mutex<CachedEntries>,
}

/// Hashes are hashed well already.
type ByHash<T> = HashMap<u64, T, FxBuildHasher>;
pub(super) type Hashes = HashSet<u64, FxBuildHasher>;

#[derive(Debug, Default)]
struct CachedEntries {
    /// The parents of entries have their keys already.
    parents: Above,
    /// The index in `digests` of an entry.
    by_key: ByHash<u32>,
    digests: Vec<u64>,
    /// The index in `class_sets` of each entry's classes; there are few different sets.
    classes: Vec<u32>,
    class_sets: Vec<BTreeSet<Vec<u8>>>,
    /// The ancestors of the entries.
    above: Hashes,
    /// The entries by the values that `match` compares.
    matched: ByHash<MatchTarget>,
    /// What this run wrote to since: DNs, and values that `match` compared.
    touched: Hashes,
    /// Whether there was no more room: an entry that is not here may exist.
    is_lost: bool,
}

/// What an entry differs in, as far as the cache knows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CachedChanges<'w> {
    /// The modifications: none if nothing differs.
    pub changes: Vec<Modification>,
    /// The attributes that were taken for absent: the bound user must be allowed to read them.
    pub absent: Vec<&'w str>,
}

/// The entries that a value matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MatchTarget {
    One(u64),
    Several,
}

impl EntryDigestCache {
    /// Returns an empty cache for these attributes. `matched_by`: the attribute that `match` compares.
    pub fn new(names: Vec<(String, Compare)>, matched_by: Option<String>) -> Self {
        let (names, compare): (Vec<String>, Vec<Compare>) = names.into_iter().unzip();
        let position = names.iter().enumerate().map(|(n, name)| (name.clone(), n)).collect();
        let (rules, base) = (OnceLock::new(), OnceLock::new());
        let state = Mutex::default();
        Self { names, position, compare, rules, matched_by, removes_options: false, base, state }
    }

    /// Returns the cache of a stream that removes values under options that its records do not have, or leaves them.
    #[must_use]
    pub fn with_options(self, removes_options: bool) -> Self {
        Self { removes_options, ..self }
    }

    /// Returns the attribute types of which an entry has values under other options than those that are compared.
    fn with_other_options<'e>(&self, entry: &'e impl EntryView, schema: &Schema) -> Vec<&'e str> {
        let all = (0..entry.len()).filter(|_| self.removes_options);
        let with = all.filter(|at| entry.description(*at).contains(&b';'));
        let names = with.filter_map(|at| std::str::from_utf8(entry.description(at)).ok());
        names
            .filter(|other| !self.names.iter().any(|n| schema.same_description(n, other)))
            .map(base_type)
            .collect()
    }

    /// Returns the attributes to request.
    pub fn attributes(&self) -> Vec<String> {
        let names = self.names.iter().chain(&self.matched_by).map(String::as_str);
        to_ask(vec!["objectClass".to_owned()], names)
    }

    fn rules(&self, schema: &Schema) -> &[Equality] {
        let rule = |(name, compare): (&String, &Compare)| compare.rule(name, schema);
        self.rules.get_or_init(|| self.names.iter().zip(&self.compare).map(rule).collect())
    }

    fn entries(&self) -> MutexGuard<'_, CachedEntries> {
        // A panic elsewhere leaves at most one entry unknown.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry. `false`: there is no room for more.
    pub fn insert(&self, entry: &impl EntryView, schema: &Schema) -> bool {
        let mut entries = self.entries();
        let entries = &mut *entries;
        let Ok(key) = entries.parents.key(entry.dn(), schema) else { return true };
        if entries.digests.len() + self.names.len() + entries.by_key.len() * 6 > MOST_NUMBERS {
            return false;
        }
        let Ok(place) = u32::try_from(entries.classes.len()) else { return false };
        // Values in parts (`;range=0-1499`): those of which attribute is not asked here.
        let absent = if entry.has_values_in_options() { UNKNOWN } else { ABSENT };
        let others = self.with_other_options(entry, schema);
        let is_other = |name: &str| others.iter().any(|of| schema.same_description(of, base_type(name)));
        let names = self.names.iter().zip(self.rules(schema));
        entries.digests.extend(names.map(|(name, rule)| match place_of(entry, name, schema) {
            _ if is_other(name) => UNKNOWN,
            None => absent,
            Some(at) => match digest(*rule, entry.values_at(at), schema) {
                ABSENT => absent,
                digest => digest,
            },
        }));
        let classes = place_of(entry, "objectClass", schema);
        let classes = classes.into_iter().flat_map(|at| entry.values_at(at));
        let count = classes.clone().count();
        let is_same =
            |set: &BTreeSet<Vec<u8>>| set.len() == count && classes.clone().all(|c| set.contains(c));
        let number = entries.class_sets.iter().position(is_same).unwrap_or_else(|| {
            entries.class_sets.push(classes.clone().map(<[u8]>::to_vec).collect());
            entries.class_sets.len() - 1
        });
        entries.classes.push(u32::try_from(number).unwrap_or(u32::MAX));
        let hashed = hash(&key);
        entries.by_key.insert(hashed, place);
        let mut above = key.parent();
        while let Some(key) = above.filter(|key| entries.above.insert(hash(key))) {
            above = key.parent();
        }
        if let Some(matched_by) = &self.matched_by {
            let rule = schema.equality(matched_by);
            let values = place_of(entry, matched_by, schema);
            for value in values.into_iter().flat_map(|at| entry.values_at(at)) {
                let value = hash(rule.normalize(value, schema).as_ref());
                entries
                    .matched
                    .entry(value)
                    .and_modify(|f| *f = MatchTarget::Several)
                    .or_insert(MatchTarget::One(hashed));
            }
        }
        true
    }

    /// Returns the modifications of an existing entry with this DN, which its filter, if it has one, matches: none if nothing
    /// differs. `None`: not known.
    ///
    /// Differences are known only for single values that replace all others. Lists are compared value by value, for which the
    /// entry must be read.
    pub fn changes<'w>(
        &self,
        wanted: &'w WantedEntry,
        key: &DnKey,
        filter: Option<&str>,
        schema: &Schema,
    ) -> Option<CachedChanges<'w>> {
        let value = filter.map(|filter| self.asserted(filter, schema));
        let entries = self.entries();
        let key = hash(key);
        if value
            .is_some_and(|value| value.and_then(|v| entries.matched.get(&v)) != Some(&MatchTarget::One(key)))
        {
            return None;
        }
        let place = usize::try_from(*entries.by_key.get(&key)?).ok()?;
        let start = place * self.names.len();
        let digests = entries.digests.get(start..start + self.names.len())?;
        let (mut changes, mut absent) = (Vec::new(), Vec::new());
        for attribute in wanted.attributes.iter().filter(|a| a.policy != Policy::CreateOnly) {
            let Wanted { description, values, policy, .. } = attribute;
            if description == "objectClass" {
                let number = usize::try_from(*entries.classes.get(place)?).ok()?;
                if !classes_stay(attribute, entries.class_sets.get(number)?, schema) {
                    return None;
                }
                continue;
            }
            let there = *digests.get(*self.position.get(description)?)?;
            if there == ABSENT && attribute.needs_to_know() {
                absent.push(description.as_str());
            }
            let is_same = match (there, policy) {
                (UNKNOWN, _) => return None,
                (ABSENT, _) => values.is_empty(),
                (_, Policy::Keep) => true,
                (_, Policy::Merge) if values.is_empty() => true,
                (there, _) => {
                    let values = values.iter().map(Vec::as_slice);
                    there == digest(attribute.rule(schema), values, schema)
                }
            };
            if is_same {
                continue;
            }
            let is_single = *policy == Policy::Force && values.len() <= 1;
            let kind = ValueKind::of(schema, description);
            if !is_single || kind.is_name() || values.is_empty() && kind.no_time(description).is_some() {
                return None;
            }
            let kind = if values.is_empty() { ModificationKind::Delete } else { ModificationKind::Replace };
            changes.push(Modification::new(kind, description.clone(), values.clone()));
        }
        Some(CachedChanges { changes, absent })
    }

    /// Returns the hash of the value that a record's filter asserts.
    fn asserted(&self, filter: &str, schema: &Schema) -> Option<u64> {
        let matched_by = self.matched_by.as_ref()?;
        let filter = Filter::parse(filter).ok()?;
        let value = equalities(&filter).find(|(name, _)| schema.same_description(name, matched_by))?.1;
        Some(hash(schema.equality(matched_by).normalize(value, schema).as_ref()))
    }

    /// Whether no entry has this DN, and the filter matches none.
    pub fn is_absent(&self, key: &DnKey, filter: Option<&str>, schema: &Schema) -> bool {
        if !self.covers(key) {
            return false;
        }
        let value = filter.map(|filter| self.asserted(filter, schema));
        let entries = self.entries();
        let is_new = |number: u64| !entries.touched.contains(&number);
        let key = hash(key);
        let is_found = match value {
            None => false,
            Some(None) => true,
            Some(Some(value)) => entries.matched.contains_key(&value) || !is_new(value),
        };
        !is_found && is_new(key) && !entries.by_key.contains_key(&key)
    }

    /// Marks the entry of a record as changed.
    pub fn touch(&self, key: &DnKey, filter: Option<&str>, schema: &Schema) {
        let value = filter.and_then(|filter| self.asserted(filter, schema));
        self.forget(key, false);
        let mut entries = self.entries();
        // From now on nothing is known to be absent.
        if entries.is_lost {
            return;
        }
        entries.touched.extend([hash(key)].into_iter().chain(value));
        if entries.touched.len() > MOST_TOUCHED {
            entries.is_lost = true;
            entries.touched = Hashes::default();
        }
    }

    /// Marks the cache as complete: all entries below this base were added.
    pub fn complete(&self, base: DnKey) {
        let _ = self.base.set(base);
    }

    /// Returns the number of entries.
    pub fn len(&self) -> u64 {
        u64::try_from(self.entries().by_key.len()).unwrap_or(u64::MAX)
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the cache would contain an entry with this DN.
    pub fn covers(&self, key: &DnKey) -> bool {
        self.base.get().is_some_and(|base| key.is_within(base)) && !self.entries().is_lost
    }

    /// Forgets an entry that is written to or deleted, and its subtree.
    pub fn forget(&self, key: &DnKey, with_subtree: bool) {
        let mut entries = self.entries();
        let key = hash(key);
        if with_subtree && entries.above.contains(&key) {
            *entries = CachedEntries { is_lost: true, ..CachedEntries::default() };
        }
        entries.by_key.remove(&key);
    }
}

/// Returns the equality assertions that a filter requires.
fn equalities(filter: &Filter) -> Box<dyn Iterator<Item = (&str, &[u8])> + '_> {
    match filter {
        Filter::And(all) => Box::new(all.iter().flat_map(equalities)),
        Filter::Equality { attribute, value } => {
            Box::new(std::iter::once((attribute.as_str(), value.as_slice())))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn classes_stay(wanted: &Wanted, there: &BTreeSet<Vec<u8>>, schema: &Schema) -> bool {
    if wanted.values.len() == there.len() && wanted.values.iter().all(|class| there.contains(class)) {
        return true;
    }
    let values = there.iter().cloned().collect();
    let current = Entry { dn: String::new(), attributes: vec![Attribute::new("objectClass", values)] };
    let entry = WantedEntry {
        dn: String::new(),
        attributes: vec![wanted.clone()],
        references: Vec::new(),
        account: WantedAccount::default(),
    };
    entry.changes(&current, schema).is_empty()
}

/// Returns the position of an attribute, in any spelling of its description.
fn place_of(entry: &impl EntryView, name: &str, schema: &Schema) -> Option<usize> {
    let is_it = |at: &usize| {
        std::str::from_utf8(entry.description(*at)).is_ok_and(|other| schema.same_description(other, name))
    };
    entry.position(name).or_else(|| (0..entry.len()).find(is_it))
}

/// Returns the digest of normalized values, in any order.
fn digest<'v>(rule: Equality, values: impl Iterator<Item = &'v [u8]>, schema: &Schema) -> u64 {
    let (mut count, mut sum) = (0_usize, 0_u64);
    for value in values {
        count += 1;
        sum = sum.wrapping_add(hash(rule.normalize(value, schema).as_ref()));
    }
    if count == 0 { ABSENT } else { hash(&(count, sum)).max(ABSENT + 1) }
}

/// Decides when a prefetch pays: as soon as single lookups have cost as much as reading all entries.
#[derive(Debug, Clone, Copy)]
pub struct LookupBudget {
    records: u64,
    due: u64,
}

impl Default for LookupBudget {
    fn default() -> Self {
        Self { records: 0, due: FIRST_LOOKUPS }
    }
}

impl LookupBudget {
    /// Counts a record. `Some(n)`: a prefetch of up to `n` entries pays now.
    pub fn record(&mut self) -> Option<u64> {
        self.records += 1;
        if self.records < self.due {
            return None;
        }
        self.due = self.records.saturating_mul(PATIENCE);
        Some(self.records * READ_PER_LOOKUP)
    }

    /// Lets the next record pay for a prefetch, if there were enough.
    pub fn again(&mut self) {
        self.due = self.records.max(FIRST_LOOKUPS);
    }

    /// Notes a prefetch of this many entries. A wider one, if records lie elsewhere, may cost as much again.
    pub fn read(&mut self, entries: u64) {
        self.due = self.records + FIRST_LOOKUPS.max(entries / READ_PER_LOOKUP);
    }
}

/// The digest caches of a run, all of which are notified of every write.
#[derive(Debug, Clone, Default)]
pub struct EntryDigestCaches(Arc<Mutex<Vec<Weak<EntryDigestCache>>>>, ReferenceIndexes);

impl EntryDigestCaches {
    fn all(&self) -> MutexGuard<'_, Vec<Weak<EntryDigestCache>>> {
        // A panic elsewhere leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a cache, which is notified of writes from now on.
    pub fn add(&self, digest_cache: &Arc<EntryDigestCache>) {
        let mut all = self.all();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(digest_cache));
    }

    /// Returns the indexes of references.
    pub fn references(&self) -> &ReferenceIndexes {
        &self.1
    }

    /// Announces a change to an entry that a filter may have located.
    pub fn touch(&self, key: &DnKey, filter: Option<&str>, schema: &Schema) {
        for digest_cache in self.all().iter().filter_map(Weak::upgrade) {
            digest_cache.touch(key, filter, schema);
        }
    }

    /// Announces that an entry was, or may have been, written to.
    pub fn forget(&self, key: &DnKey, with_subtree: bool) {
        for digest_cache in self.all().iter().filter_map(Weak::upgrade) {
            digest_cache.forget(key, with_subtree);
        }
        self.1.forget(key, with_subtree);
    }
}

#[cfg(test)]
mod tests;
