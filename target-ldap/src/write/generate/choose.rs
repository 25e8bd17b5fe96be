//! Finds the first candidate that is free, in few searches.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ldap_directory::filter::Filter;
use ldap_directory::unseen::{self, Hidden};
use ldap_directory::{DirectoryError, Scope, SearchRequest};
use rustc_hash::FxHashSet;

use super::{base_of, other_holder};
use crate::map::generated::GeneratedAttribute;
use crate::rules::names::hash;
use crate::write::applier::Applier;
use crate::write::readable::Unreadable;

/// The candidates of the first search with numbers.
const FIRST_NUMBERS: usize = 8;
/// The most candidates of one search: servers limit the entries of an answer (slapd: 500).
const MOST_NUMBERS: usize = 256;
/// The candidates that an error names.
const SHOWN: usize = 8;
/// The entries that are looked through for those of which the attribute may not be searched.
const MOST_LOOKED_AT: u32 = 10_000;

/// What the run knows to be taken.
#[derive(Debug, Default)]
pub(in crate::write) struct TakenValues {
    known: Mutex<Known>,
    /// Held while a number is claimed from a counter.
    pub(super) claiming: tokio::sync::Mutex<()>,
    /// What hides values, by base and attribute.
    hidden: tokio::sync::Mutex<HashMap<u64, Option<Hidden>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Hashes of a base, an attribute and a value that an entry has, or that was given to a record.
    taken: FxHashSet<u64>,
    /// The lowest number that is not taken, by the hash of a base, an attribute and the text around the number.
    lowest: HashMap<u64, u64>,
    /// The settings of which it was logged that their range is nearly used up.
    logged: FxHashSet<u64>,
}

impl TakenValues {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves at most one value out.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no value is chosen.
pub(super) enum NoneFree {
    /// The record is refused.
    Refused(String),
    /// It is not known what is taken.
    Unreadable(Unreadable),
}

impl GeneratedAttribute {
    /// Whether there is no candidate.
    pub(super) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.numbered.is_none()
    }
}

impl Applier {
    /// Chooses a value, and reserves it.
    pub(super) async fn choose(
        &self,
        one: &GeneratedAttribute,
        dn: &str,
    ) -> Result<Result<String, NoneFree>, DirectoryError> {
        if one.is_empty() {
            let reason = format!("{}: the record has no value for any of the templates", one.setting);
            return Ok(Err(NoneFree::Refused(reason)));
        }
        let base = base_of(&self.directory, dn, one.base.as_deref());
        if let Some(hidden) = Box::pin(self.hidden_values(one, &base)).await? {
            return Ok(Err(NoneFree::Unreadable(Unreadable { hidden, is_matched: false })));
        }
        if let Some(counter) = &one.counter {
            return Box::pin(self.claim_number(one, &base, counter)).await;
        }
        Ok(self.first_free(one, &base, None).await?.ok_or_else(|| none_free(one, &base)))
    }

    /// Returns the first candidate that is free, reserved. `from`: the lowest number.
    pub(super) async fn first_free(
        &self,
        one: &GeneratedAttribute,
        base: &str,
        from: Option<u64>,
    ) -> Result<Option<String>, DirectoryError> {
        let mut numbers = FIRST_NUMBERS;
        loop {
            let candidates = self.candidates(one, base, from, numbers);
            if candidates.is_empty() {
                return Ok(None);
            }
            let free = self.free_among(one, base, &candidates).await?;
            if let Some(chosen) = self.reserve(one, base, free) {
                self.warn_if_nearly_used_up(one, &chosen);
                return Ok(Some(chosen));
            }
            numbers = (numbers * 4).min(MOST_NUMBERS);
        }
    }

    fn hash_of(&self, one: &GeneratedAttribute, base: &str, value: &str) -> u64 {
        let schema = self.directory.schema();
        hash(&(base, &one.key, schema.equality(&one.description).normalize(value.as_bytes(), schema)))
    }

    /// Returns the next candidates that are not known to be taken.
    fn candidates(
        &self,
        one: &GeneratedAttribute,
        base: &str,
        from: Option<u64>,
        numbers: usize,
    ) -> Vec<String> {
        let mut known = self.taken.known();
        let mut all: Vec<String> = Vec::new();
        for text in &one.fixed {
            if !known.taken.contains(&self.hash_of(one, base, text)) && !all.contains(text) {
                all.push(text.clone());
            }
        }
        let Some(numbered) = &one.numbered else { return all };
        let pattern = hash(&(base, &one.key, numbered.text(0)));
        let lowest = known.lowest.get(&pattern).copied().unwrap_or(numbered.first);
        let mut number = from.map_or(lowest, |from| from.max(lowest));
        let (mut is_low, mut left) = (number == lowest, numbers);
        while number <= numbered.last && left > 0 {
            let text = numbered.text(number);
            let is_taken = known.taken.contains(&self.hash_of(one, base, &text));
            if is_low && !is_taken {
                known.lowest.insert(pattern, number);
                is_low = false;
            }
            if !is_taken {
                all.push(text);
                left -= 1;
            }
            number += 1;
        }
        if is_low {
            known.lowest.insert(pattern, number);
        }
        all
    }

    /// Returns those of the candidates that no entry has, in their order; the others are noted. One search, unless an entry does not show
    /// which of them it has.
    async fn free_among(
        &self,
        one: &GeneratedAttribute,
        base: &str,
        candidates: &[String],
    ) -> Result<Vec<String>, DirectoryError> {
        let schema = self.directory.schema();
        let equality = |text: &String| Filter::equality(&*one.description, text.as_bytes());
        let filter = match candidates {
            [only] => equality(only),
            all => Filter::Or(all.iter().map(equality).collect()),
        };
        let request = SearchRequest::new(base, Scope::Subtree, filter, &[&one.description]).repeating();
        let except = self.counter_of(one);
        let (mut found, mut is_clear) = (FxHashSet::default(), true);
        let hashed: FxHashSet<u64> = candidates.iter().map(|text| self.hash_of(one, base, text)).collect();
        let searched = async {
            let mut search = self.directory.search(request).await?;
            while let Some(entry) = search.next_entry().await? {
                if !except.is_empty() && self.key(&entry.dn).is_ok_and(|key| except.contains(&key)) {
                    continue;
                }
                let mut is_known = false;
                for value in schema.values_of(&entry, &one.description) {
                    let Ok(text) = std::str::from_utf8(value) else { continue };
                    let hash = self.hash_of(one, base, text);
                    if hashed.contains(&hash) {
                        found.insert(hash);
                        is_known = true;
                    }
                }
                is_clear &= is_known;
            }
            Ok::<_, DirectoryError>(())
        };
        match searched.await {
            Err(e) if !e.is_no_such_object() => return Err(e),
            _ => {}
        }
        let mut free = Vec::new();
        for text in candidates {
            let hash = self.hash_of(one, base, text);
            if found.contains(&hash) {
                continue;
            }
            // The server compares otherwise, or does not show the value: it is asked about each.
            if !is_clear {
                let held = (one.description.as_str(), text.as_bytes());
                if other_holder(&self.directory, base, held, &except).await?.is_some() {
                    found.insert(hash);
                    continue;
                }
                free.push(text.clone());
                break;
            }
            free.push(text.clone());
        }
        self.taken.known().taken.extend(found);
        Ok(free)
    }

    /// Reserves the first of these that no other record was given meanwhile.
    fn reserve(&self, one: &GeneratedAttribute, base: &str, free: Vec<String>) -> Option<String> {
        let mut known = self.taken.known();
        free.into_iter().find(|text| known.taken.insert(self.hash_of(one, base, text)))
    }

    /// Returns what hides values from the search: of all attributes of the rule at once, and once in a run.
    async fn hidden_values(
        &self,
        one: &GeneratedAttribute,
        base: &str,
    ) -> Result<Option<Hidden>, DirectoryError> {
        if self.readable.is_none() {
            return Ok(None);
        }
        let number = hash(&(base, &one.together));
        let mut known = self.taken.hidden.lock().await;
        if let Some(hidden) = known.get(&number) {
            return Ok(hidden.clone());
        }
        // OpenLDAP keeps one paging state per connection.
        let _one_at_a_time = self.trees.lock().await;
        let entries = Filter::Present("objectClass".to_owned());
        let names: Vec<&str> = one.together.iter().map(String::as_str).collect();
        let search = unseen::unsearchable_among(&self.directory, base, &entries, &names, MOST_LOOKED_AT);
        let hidden = Box::pin(search).await?;
        known.insert(number, hidden.clone());
        Ok(hidden)
    }

    /// Warns once that nine tenths of the numbers of `next` are used.
    fn warn_if_nearly_used_up(&self, one: &GeneratedAttribute, chosen: &str) {
        let Some(numbered) =
            one.numbered.as_ref().filter(|numbered| one.fixed.is_empty() && numbered.is_plain())
        else {
            return;
        };
        let (first, last) = (numbered.first, numbered.last);
        let Ok(number) = chosen.parse::<u64>() else { return };
        let (used, all) = (u128::from(number - first) + 1, u128::from(last - first) + 1);
        let is_new = || self.taken.known().logged.insert(hash(&one.setting));
        if used * 10 >= all * 9 && is_new() {
            tracing::warn!(
                setting = one.setting,
                attribute = one.description,
                last,
                "{}: the number {number} is given, and the last one is {last}: nine tenths of the range are used",
                one.setting
            );
        }
    }
}

/// Returns the error of a record for which nothing is free.
pub(super) fn none_free(one: &GeneratedAttribute, base: &str) -> NoneFree {
    let (setting, attribute) = (&one.setting, &one.description);
    let mut tried: Vec<String> = one.fixed.iter().take(SHOWN).map(|text| format!("`{text}`")).collect();
    if one.fixed.len() > SHOWN {
        tried.push("…".to_owned());
    }
    if let Some(numbered) = &one.numbered {
        tried.push(format!("`{}` to `{}`", numbered.text(numbered.first), numbered.text(numbered.last)));
    }
    NoneFree::Refused(format!(
        "{setting}: no value of `{attribute}` is free below `{base}`; tried {}",
        tried.join(", ")
    ))
}
