//! Finds the entry of each of many filters: by a search for many of them at once, or by one for each, several in parallel.

use std::collections::HashMap;
use std::sync::Arc;

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::lookup;
use ldap_directory::{DirectoryError, Scope, Vendor};
use tokio::task::JoinSet;

use super::applier::Applier;
use super::locate::SHOWN;

/// The filters of one search.
const AT_ONCE: usize = 100;
/// The most entries of one search; with more, each filter is searched by itself.
const MOST: u32 = 400;
/// The searches in parallel for single filters.
const IN_PARALLEL: usize = 32;

/// The entry that a filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundEntry {
    /// None.
    Nowhere,
    /// This one.
    One(Arc<str>),
    /// Several: the first of them.
    Several(Vec<String>),
}

impl Applier {
    /// Returns the base of searches: this one, else the naming context.
    pub fn members_base(&self, base: Option<&str>) -> String {
        match base {
            Some(base) => base.to_owned(),
            None if self.directory.root_dse().vendor == Vendor::Ldif => String::new(),
            None => self.directory.root_dse().default_base().unwrap_or_default().to_owned(),
        }
    }

    /// Returns the entries that filters match.
    ///
    /// # Errors
    /// A search fails.
    pub async fn find_all(
        &self,
        base: &str,
        filters: Vec<String>,
    ) -> Result<HashMap<String, FoundEntry>, DirectoryError> {
        let mut found = HashMap::new();
        for part in filters.chunks(AT_ONCE) {
            let at_once = match part {
                [_] => None,
                part => self.find_at_once(base, part).await?,
            };
            if let Some(of_part) = at_once {
                found.extend(of_part);
            } else {
                let filters: Vec<&str> = part.iter().map(String::as_str).collect();
                found.extend(part.iter().cloned().zip(self.find_each(base, &filters).await?));
            }
        }
        for entry in found.values() {
            // Who was found need not be looked for again before becoming a member.
            if let FoundEntry::One(dn) = entry
                && let Ok(key) = self.key(dn)
            {
                self.note_present(&key);
            }
        }
        Ok(found)
    }

    /// Searches for several filters at once. `None`: it is not known which entry belongs to which filter.
    async fn find_at_once(
        &self,
        base: &str,
        texts: &[String],
    ) -> Result<Option<HashMap<String, FoundEntry>>, DirectoryError> {
        let mut filters = Vec::with_capacity(texts.len());
        for text in texts {
            match Filter::parse(text) {
                Ok(filter) if !filter.is_approximate() => filters.push(filter),
                _ => return Ok(None),
            }
        }
        let mut names: Vec<String> =
            filters.iter().flat_map(|filter| filter.attributes()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let any = Filter::Or(filters.clone());
        let entries = match lookup::find(&self.directory, base, Scope::Subtree, any, &names, MOST).await {
            Ok(entries) => entries,
            Err(e) if e.is_connection() => return Err(e),
            Err(_) => return Ok(None),
        };
        if entries.len() >= usize::try_from(MOST).unwrap_or(usize::MAX) {
            return Ok(None);
        }
        let schema = self.directory.schema();
        let mut found: Vec<Vec<String>> = filters.iter().map(|_| Vec::new()).collect();
        for entry in &entries {
            let mut is_known = false;
            for (filter, names) in filters.iter().zip(&mut found) {
                match filter.matches(entry, schema) {
                    Some(true) => {
                        is_known = true;
                        names.push(entry.dn.clone());
                    }
                    Some(false) => {}
                    // Only the server knows it.
                    None => return Ok(None),
                }
            }
            // The bound user may search an attribute, and not read it; or the server has rules of its own.
            if !is_known {
                return Ok(None);
            }
        }
        // So it may with one of several attributes of a filter, by which the server finds an entry that another filter has found.
        let shows = |entry: &Entry| names.iter().all(|name| !schema.values_of(entry, name).is_empty());
        if found.iter().any(Vec::is_empty) && !entries.iter().all(shows) {
            return Ok(None);
        }
        Ok(Some(texts.iter().cloned().zip(found.into_iter().map(found_entry)).collect()))
    }

    /// Returns what each filter matches, by a search of its own.
    pub(super) async fn find_each(
        &self,
        base: &str,
        filters: &[&str],
    ) -> Result<Vec<FoundEntry>, DirectoryError> {
        let mut found = vec![FoundEntry::Nowhere; filters.len()];
        let mut searches = JoinSet::new();
        let mut rest = filters.iter().enumerate();
        loop {
            while searches.len() < IN_PARALLEL
                && let Some((at, filter)) = rest.next()
            {
                let (applier, base, filter) = (self.clone(), base.to_owned(), (*filter).to_owned());
                searches.spawn(async move { (at, applier.find_one(&base, &filter).await) });
            }
            let Some(joined) = searches.join_next().await else { return Ok(found) };
            // Lost by a panic, which ends the run.
            let Ok((at, one)) = joined else { return Err(super::references::lost()) };
            if let Some(place) = found.get_mut(at) {
                *place = one?;
            }
        }
    }

    async fn find_one(&self, base: &str, filter: &str) -> Result<FoundEntry, DirectoryError> {
        let names = ["1.1".to_owned()];
        let (found, _) = self.matching(base, Scope::Subtree, filter, &names, SHOWN).await?;
        Ok(found_entry(found.into_iter().map(|entry| entry.dn).collect()))
    }
}

fn found_entry(mut names: Vec<String>) -> FoundEntry {
    match names.pop() {
        None => FoundEntry::Nowhere,
        Some(only) if names.is_empty() => FoundEntry::One(only.into()),
        Some(last) => {
            names.push(last);
            names.truncate(SHOWN + 1);
            FoundEntry::Several(names)
        }
    }
}
