//! The entries that references may be, read in one search: a reference then needs no search of its own.
//!
//! An index knows which entry has a value. What this run writes to is read from the directory, except for entries that it added.
//!
//! Other tasks write while it is read. So an index is complete only by the end of its own [`Reading`]: what makes it void meanwhile also ends
//! that. Writes in progress when the reading begins are as unknown as those that begin later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ldap_directory::dn::DnKey;
use ldap_directory::entry::EntryView;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use rustc_hash::FxHashMap;

use super::entry_digests::{Hashes, LookupBudget};
use crate::map::wanted::WantedEntry;
use crate::rules::names::hash;

/// The most entries that an index has, of about 150 octets each.
const MOST: usize = 1_000_000;
/// The most entries and values that a run may have written. With more nothing is known.
const MOST_WRITTEN: usize = 500_000;

/// The entries that one filter finds, by the value that it compares.
#[derive(Debug)]
pub struct ReferenceIndex {
    base: String,
    base_key: DnKey,
    /// The filter that matches all of them.
    all: String,
    parsed: Option<Filter>,
    attribute: String,
    /// Held by the writes that began before there was this index, which they do not notify.
    earlier_writes: Vec<Weak<()>>,
    state: Mutex<Indexed>,
}

#[derive(Debug, Default)]
struct Indexed {
    budget: LookupBudget,
    written: Written,
    contents: Contents,
    /// The number of the last reading.
    reading: u64,
}

/// What was read. Only [`Reading::end`] makes it complete.
#[derive(Debug, Default)]
enum Contents {
    /// Nothing, or what was read is out of date.
    #[default]
    Unread,
    /// It is being read, by the reading of this number.
    Partial(u64, Entries),
    /// All entries.
    Complete(Entries),
    /// Too much was written: nothing is known until [`ReferenceIndexes::again`].
    Lost,
    /// An index is impossible.
    GivenUp,
}

#[derive(Debug, Default)]
struct Entries {
    by_value: FxHashMap<u64, Holder>,
    /// The ancestors of these.
    above: Hashes,
}

/// What this run writes: of these entries and values the directory knows more. Those whose write is over before a reading begins are taken out.
#[derive(Debug, Default)]
struct Written {
    keys: Hashes,
    /// The values, with the entry that gets each; `None`: several get it.
    values: FxHashMap<u64, Option<u64>>,
    /// Entries that are renamed or deleted with what is below them.
    trees: Hashes,
}

/// Who has a value.
#[derive(Debug, Clone)]
enum Holder {
    One { key: u64, dn: Arc<str> },
    Several,
}

/// A reading of all entries. Without [`Reading::end`] nothing is known of them.
#[derive(Debug)]
pub struct Reading<'a> {
    index: &'a ReferenceIndex,
    number: u64,
}

/// What an index knows of a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This entry has it.
    One(Arc<str>),
    /// No entry has it.
    Nothing,
    /// The directory knows.
    Unknown,
}

impl ReferenceIndex {
    fn new(base: &str, all: &str, attribute: &str, earlier_writes: Vec<Weak<()>>, schema: &Schema) -> Self {
        Self {
            base: base.to_owned(),
            base_key: DnKey::parse(base, schema).unwrap_or_default(),
            all: all.to_owned(),
            parsed: Filter::parse(all).ok(),
            attribute: attribute.to_owned(),
            earlier_writes,
            state: Mutex::default(),
        }
    }

    fn indexed(&self) -> MutexGuard<'_, Indexed> {
        // A panic elsewhere leaves at most one entry unknown.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the base, the filter and the attribute of the search.
    pub fn search(&self) -> (&str, &str, &str) {
        (&self.base, &self.all, &self.attribute)
    }

    fn value(&self, value: &[u8], schema: &Schema) -> u64 {
        hash(schema.equality(&self.attribute).normalize(value, schema).as_ref())
    }

    /// Counts a look-up. `Some(n)`: to read up to `n` entries pays now.
    pub fn due(&self) -> Option<u64> {
        let mut indexed = self.indexed();
        match indexed.contents {
            Contents::Unread | Contents::Partial(..) => indexed.budget.record(),
            Contents::Complete(_) | Contents::Lost | Contents::GivenUp => None,
        }
    }

    /// Begins a reading. `None`: it was read meanwhile, or must not be read now.
    pub fn begin(&self) -> Option<Reading<'_>> {
        let mut indexed = self.indexed();
        let has_earlier_writes = self.earlier_writes.iter().any(|writes| writes.strong_count() > 0);
        if has_earlier_writes || !matches!(indexed.contents, Contents::Unread) {
            return None;
        }
        indexed.reading += 1;
        indexed.contents = Contents::Partial(indexed.reading, Entries::default());
        Some(Reading { index: self, number: indexed.reading })
    }

    /// Returns what is known of the entry with a value.
    pub fn answer(&self, value: &[u8], schema: &Schema) -> Answer {
        let value = self.value(value, schema);
        let indexed = self.indexed();
        let Contents::Complete(entries) = &indexed.contents else { return Answer::Unknown };
        if indexed.written.values.contains_key(&value) {
            return Answer::Unknown;
        }
        match entries.by_value.get(&value) {
            Some(Holder::One { key, dn }) if !indexed.written.keys.contains(key) => Answer::One(dn.clone()),
            Some(_) => Answer::Unknown,
            None => Answer::Nothing,
        }
    }

    /// Notes that an entry is written to, before it is. Returns the values that it gets.
    fn touch(&self, key: &DnKey, wanted: &WantedEntry, schema: &Schema) -> Vec<u64> {
        let values = self.values(wanted, schema);
        let mut indexed = self.indexed();
        indexed.written.note(hash(key), &values);
        indexed.check_size();
        values
    }

    /// Notes that a write is over, whose effect is known. `is_added`: it added the entry.
    fn wrote(&self, key: &DnKey, wanted: &WantedEntry, values: &[u64], is_added: bool, schema: &Schema) {
        let is_one = is_added
            && key.is_within(&self.base_key)
            && self.parsed.as_ref().is_some_and(|all| all.matches(&wanted.to_entry(), schema) == Some(true));
        let mut indexed = self.indexed();
        let Indexed { contents, written, .. } = &mut *indexed;
        match contents {
            Contents::Partial(_, entries) | Contents::Complete(entries) => {
                // The entry may have been read before it was written.
                if !is_one {
                    return;
                }
                let dn: Arc<str> = wanted.dn.as_str().into();
                for value in values {
                    entries.add(*value, key, &dn);
                }
            }
            Contents::Unread | Contents::Lost | Contents::GivenUp => {}
        }
        written.take_out(hash(key), values);
    }

    fn values(&self, wanted: &WantedEntry, schema: &Schema) -> Vec<u64> {
        let compared =
            wanted.attributes.iter().filter(|a| schema.is_subtype(&a.description, &self.attribute));
        compared.flat_map(|a| &a.values).map(|value| self.value(value, schema)).collect()
    }

    /// Notes that an entry is renamed or deleted, with its subtree: of the entries below it nothing is known any more.
    fn forget(&self, key: &DnKey, with_subtree: bool) {
        let mut indexed = self.indexed();
        let key = hash(key);
        indexed.written.keys.insert(key);
        if with_subtree {
            indexed.written.trees.insert(key);
            match &indexed.contents {
                Contents::Partial(_, entries) | Contents::Complete(entries)
                    if entries.above.contains(&key) =>
                {
                    indexed.contents = Contents::Unread;
                }
                _ => {}
            }
        }
        indexed.check_size();
    }

    /// While nothing is written.
    fn again(&self) {
        let mut indexed = self.indexed();
        indexed.budget.again();
        indexed.written = Written::default();
        if !matches!(indexed.contents, Contents::GivenUp) {
            indexed.contents = Contents::Unread;
        }
    }
}

impl Reading<'_> {
    /// Adds an entry. `false`: there is no room for more, or what was read is out of date.
    pub fn insert(&self, entry: &impl EntryView, schema: &Schema) -> bool {
        let Ok(key) = DnKey::parse(entry.dn(), schema) else { return true };
        let mut indexed = self.index.indexed();
        let Indexed { contents, written, .. } = &mut *indexed;
        let Contents::Partial(number, entries) = contents else { return false };
        if *number != self.number {
            return false;
        }
        if written.moves(&key) {
            written.keys.insert(hash(&key));
        }
        let dn: Arc<str> = entry.dn().into();
        for at in 0..entry.len() {
            let Ok(name) = std::str::from_utf8(entry.description(at)) else { continue };
            if !schema.is_subtype(name, &self.index.attribute) {
                continue;
            }
            for value in entry.values_at(at) {
                entries.add(self.index.value(value, schema), &key, &dn);
            }
        }
        entries.by_value.len() <= MOST
    }

    fn become_of(&self, then: impl FnOnce(Entries) -> Contents) -> bool {
        let mut indexed = self.index.indexed();
        match std::mem::take(&mut indexed.contents) {
            Contents::Partial(number, entries) if number == self.number => {
                indexed.contents = then(entries);
                true
            }
            other => {
                indexed.contents = other;
                false
            }
        }
    }

    /// Completes the index: all entries were inserted. `false`: what was read is out of date.
    pub fn end(self) -> bool {
        self.become_of(Contents::Complete)
    }

    /// The index is not read again.
    pub fn give_up(self) {
        self.become_of(|_| Contents::GivenUp);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.become_of(|_| Contents::Unread);
    }
}

impl Indexed {
    fn check_size(&mut self) {
        let Written { keys, values, trees } = &self.written;
        if keys.len() + values.len() + trees.len() > MOST_WRITTEN {
            self.written = Written::default();
            if !matches!(self.contents, Contents::GivenUp) {
                self.contents = Contents::Lost;
            }
        }
    }
}

impl Written {
    fn note(&mut self, key: u64, values: &[u64]) {
        self.keys.insert(key);
        for value in values {
            let by = self.values.entry(*value).or_insert(Some(key));
            *by = by.filter(|by| *by == key);
        }
    }

    fn take_out(&mut self, key: u64, values: &[u64]) {
        self.keys.remove(&key);
        for value in values {
            if self.values.get(value) == Some(&Some(key)) {
                self.values.remove(value);
            }
        }
    }

    /// Whether an entry is below one that is renamed or deleted.
    fn moves(&self, key: &DnKey) -> bool {
        let above = || std::iter::successors(key.parent(), DnKey::parent);
        !self.trees.is_empty() && above().any(|above| self.trees.contains(&hash(&above)))
    }
}

impl Entries {
    fn add(&mut self, value: u64, entry: &DnKey, dn: &Arc<str>) {
        let key = hash(entry);
        let mut above = entry.parent();
        while let Some(parent) = above.filter(|parent| self.above.insert(hash(parent))) {
            above = parent.parent();
        }
        let is_same = |there: &Holder| matches!(there, Holder::One { key: other, .. } if *other == key);
        match self.by_value.get_mut(&value) {
            Some(there) if !is_same(there) => *there = Holder::Several,
            Some(there) => *there = Holder::One { key, dn: dn.clone() },
            None => {
                self.by_value.insert(value, Holder::One { key, dn: dn.clone() });
            }
        }
    }
}

/// The indexes of a run, all of which are notified of every write.
#[derive(Debug, Clone, Default)]
pub struct ReferenceIndexes(Arc<Mutex<Indexes>>);

#[derive(Debug, Default)]
struct Indexes {
    all: HashMap<u64, Arc<ReferenceIndex>>,
    /// Held by the writes that began since the last index was made.
    writes: Arc<()>,
    earlier_writes: Vec<Weak<()>>,
}

/// A write in progress. If it is dropped without [`Write::end`], its effect is not known: its entry and its values stay unknown.
#[derive(Debug)]
#[must_use]
pub struct Write {
    /// The indexes that it notified, and its values there.
    noted: Vec<(Arc<ReferenceIndex>, Vec<u64>)>,
    _since: Arc<()>,
}

impl Write {
    /// Notes that the write is over. `is_added`: it added the entry.
    pub fn end(self, key: &DnKey, wanted: &WantedEntry, is_added: bool, schema: &Schema) {
        for (index, values) in &self.noted {
            index.wrote(key, wanted, values, is_added, schema);
        }
    }
}

impl ReferenceIndexes {
    fn indexes(&self) -> MutexGuard<'_, Indexes> {
        // A panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the index of what this filter matches below a base.
    pub fn of(&self, base: &str, all: &str, attribute: &str, schema: &Schema) -> Arc<ReferenceIndex> {
        let mut indexes = self.indexes();
        let Indexes { all: made, writes, earlier_writes } = &mut *indexes;
        let new = || {
            earlier_writes.push(Arc::downgrade(&std::mem::take(writes)));
            Arc::new(ReferenceIndex::new(base, all, attribute, earlier_writes.clone(), schema))
        };
        made.entry(hash(&(base, all))).or_insert_with(new).clone()
    }

    fn all(&self) -> Vec<Arc<ReferenceIndex>> {
        self.indexes().all.values().cloned().collect()
    }

    /// Announces that an entry is written to.
    pub fn touch(&self, key: &DnKey, wanted: &WantedEntry, schema: &Schema) -> Write {
        let (all, since) = {
            let indexes = self.indexes();
            (indexes.all.values().cloned().collect::<Vec<_>>(), indexes.writes.clone())
        };
        let note = |index: Arc<ReferenceIndex>| {
            let values = index.touch(key, wanted, schema);
            (index, values)
        };
        Write { noted: all.into_iter().map(note).collect(), _since: since }
    }

    /// Announces that an entry is renamed or deleted.
    pub fn forget(&self, key: &DnKey, with_subtree: bool) {
        self.all().iter().for_each(|index| index.forget(key, with_subtree));
    }

    /// Forgets what was read: it is read again if it is asked for. While nothing is written.
    pub fn again(&self) {
        self.all().iter().for_each(|index| index.again());
    }
}

#[cfg(test)]
mod tests;
