//! References by look-up (`references`): finds the entries that a record names by their values, and writes their DNs.
//!
//! A filter that finds no entry, or several, may find one once other records are written: until then its attribute waits. When no record is
//! left that could change that, what is missing is an error of the record or a warning.

use std::sync::Arc;

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::unseen::Hidden;
use ldap_directory::{DirectoryError, Found, Scope, SearchRequest, Vendor};
use rustc_hash::FxHashSet;

use super::Applier;
use super::claims::Claimant;
use super::find::FoundEntry;
use super::generate::base_of;
use super::ldap_result::is_records_fault;
use super::locate::SHOWN;
use super::outcome::{
    Attempt, AttemptContext, FoundReferences, PendingReference, ReferenceContext, Unfound, WriteOutcome,
};
use crate::map::WritePolicy;
use crate::map::wanted::{Find, Wanted, WantedEntry, WantedReference};
use crate::plan::reference_index::{Answer, Reading, ReferenceIndex};
use crate::rules::names::hash;
use crate::rules::policy::Policy;
use crate::rules::references::Missing;

/// The most filters that a message names.
const NAMED: usize = 5;

/// What the filters of a record find.
#[derive(Debug)]
struct Resolved {
    /// The entry with the DNs that were found.
    wanted: WantedEntry,
    context: ReferenceContext,
    warnings: Vec<Unfound>,
    /// What is an error of the record.
    faults: Vec<Unfound>,
    /// Whether nothing of the record is written for it.
    fails: bool,
    digest: u64,
}

/// Returns hashes of what an entry has that a filter finds: of each attribute that it compares with the record, and the value.
pub(crate) fn awaited(filter: &str, attributes: &[String], schema: &Schema) -> Vec<u64> {
    fn equalities<'f>(filter: &'f Filter, all: &mut Vec<(&'f str, &'f [u8])>) {
        match filter {
            Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|f| equalities(f, all)),
            Filter::Not(inner) => equalities(inner, all),
            Filter::Equality { attribute, value } => all.push((attribute, value)),
            _ => {}
        }
    }
    let Ok(filter) = Filter::parse(filter) else { return Vec::new() };
    let mut all = Vec::new();
    equalities(&filter, &mut all);
    let compared = |name: &str| attributes.iter().find(|other| schema.same_description(name, other));
    all.into_iter().filter_map(|(name, value)| Some(held(compared(name)?, value, schema))).collect()
}

/// Returns the hash of an attribute and a value.
pub(crate) fn held(attribute: &str, value: &[u8], schema: &Schema) -> u64 {
    let value = schema.equality(attribute).normalize(value, schema);
    hash(&(schema.normal_description(attribute), value.as_ref()))
}

impl Applier {
    /// Forgets the entries that were read for references: what is asked from now on is what the directory has now.
    pub(crate) fn refresh_references(&self) {
        self.digest_caches.references().again();
    }

    /// Adds or changes an entry with references that are looked up.
    pub(super) async fn write_with_references(
        &self,
        claimant: Option<&Claimant<'_>>,
        wanted: &WantedEntry,
        key: &DnKey,
        filter: Option<&str>,
        write_policy: &WritePolicy,
        context: &AttemptContext,
    ) -> Result<Attempt, DirectoryError> {
        let mut resolved = self.resolve(wanted, context).await?;
        if context.expects == Some(resolved.digest) && resolved.faults.is_empty() {
            return Ok(resolved.attempt(WriteOutcome::Unchanged.into()));
        }
        if resolved.fails {
            return Ok(WriteOutcome::Refused(reasons(&resolved.faults)).into());
        }
        let mut context = context.clone();
        if resolved.context.pending.iter().any(|pending| pending.holds) {
            context.digest_cache = None;
        }
        let mut is_second = false;
        loop {
            context.references = Some(Arc::new(resolved.context.clone()));
            let written = self.write_entry(claimant, &resolved.wanted, key, filter, write_policy, &context);
            match Box::pin(written).await {
                Ok(attempt) => return Ok(resolved.attempt(attempt)),
                // An entry may have been renamed between the search and the write.
                Err(error) if is_records_fault(&error) && !is_second => {
                    is_second = true;
                    let again = self.resolve(wanted, &context).await?;
                    if again.digest == resolved.digest {
                        return Err(error);
                    }
                    resolved = again;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks up all references of a record.
    async fn resolve(
        &self,
        wanted: &WantedEntry,
        tried: &AttemptContext,
    ) -> Result<Resolved, DirectoryError> {
        let is_settled = tried.is_settled;
        let schema = self.directory.schema();
        let rest = WantedEntry { references: Vec::new(), ..wanted.clone() };
        let context = ReferenceContext { is_settled, ..ReferenceContext::default() };
        let mut all = Resolved {
            wanted: rest,
            context,
            warnings: Vec::new(),
            faults: Vec::new(),
            fails: false,
            digest: 0,
        };
        let mut digests: Vec<u64> = Vec::new();
        for reference in &wanted.references {
            let WantedReference { description, find, .. } = reference;
            let base = base_of(&self.directory, &wanted.dn, find.base.as_deref());
            let found = self.find_referenced(&base, reference).await?;
            let mut values = Vec::new();
            let mut seen = FxHashSet::default();
            let mut lacking: Vec<(&str, &FoundEntry)> = Vec::new();
            for (filter, found) in reference.filters.iter().zip(&found) {
                let FoundEntry::One(dn) = found else {
                    lacking.push((filter, found));
                    continue;
                };
                let Ok(key) = self.key(dn) else { continue };
                if seen.insert(hash(&key)) {
                    values.push(dn.as_bytes().to_vec());
                    self.note_present(&key);
                }
            }
            digests.extend([hash(description), hash(&lacking.len())]);
            digests.extend(values.iter().map(|value| hash(value.as_slice())));
            if !lacking.is_empty() && !is_settled {
                let filters = lacking.iter().map(|(filter, _)| *filter);
                all.context.pending.push(PendingReference {
                    description: description.clone(),
                    awaited: filters.flat_map(|f| awaited(f, &find.attributes, schema)).collect(),
                    holds: find.missing == Missing::Fail,
                });
                continue;
            }
            let mut policy = reference.policy;
            if !lacking.is_empty() {
                let reason = self.unfound(&base, reference, &lacking).await?;
                let Reason { text, is_error, hidden } = reason;
                let unfound = Unfound { setting: find.setting.clone(), reason: text, hidden };
                if is_error || find.missing != Missing::Warn {
                    all.fails |= find.missing == Missing::Fail;
                    all.context.faulty.push(description.clone());
                    all.faults.push(unfound);
                    // What this run has written before, and was not to write.
                    if let Some(previous) = self.previous(tried, reference).await? {
                        all.wanted.attributes.push(previous);
                    }
                    continue;
                }
                all.warnings.push(unfound);
                // The existing values stay, except for those that this run has written before.
                if let Some(previous) = self.previous(tried, reference).await? {
                    let is_new = |value: &&Vec<u8>| {
                        let key = std::str::from_utf8(value).ok().and_then(|dn| self.key(dn).ok());
                        key.is_none_or(|key| seen.insert(hash(&key)))
                    };
                    let had: Vec<Vec<u8>> = previous.values.iter().filter(is_new).cloned().collect();
                    let values = values.into_iter().chain(had).collect();
                    all.wanted.attributes.push(Wanted { values, ..previous });
                    continue;
                }
                if policy == Policy::Force {
                    policy = Policy::Merge;
                }
                if values.is_empty() {
                    all.context.left_out.push(description.clone());
                    continue;
                }
            }
            all.context.found.push(description.clone());
            let (description, compare) = (description.clone(), reference.compare);
            all.wanted.attributes.push(Wanted { description, values, policy, compare });
        }
        all.digest = hash(&digests);
        Ok(all)
    }

    /// Returns the values that an entry had of references before the run, if that has written others.
    async fn previous(
        &self,
        tried: &AttemptContext,
        reference: &WantedReference,
    ) -> Result<Option<Wanted>, DirectoryError> {
        let WantedReference { description, compare, .. } = reference;
        let Some((_, previous)) = tried.previous.iter().find(|(name, _)| name == description) else {
            return Ok(None);
        };
        // Active Directory has no name of what does not exist, and refuses it.
        let is_checked = self.directory.root_dse().vendor == Vendor::ActiveDirectory;
        let mut values = Vec::new();
        for value in previous {
            let name = String::from_utf8_lossy(value);
            if !is_checked || self.directory.read(&name, &["1.1"]).await?.is_some() {
                values.push(value.clone());
            }
        }
        let (description, compare) = (description.clone(), *compare);
        Ok(Some(Wanted { description, values, policy: Policy::Force, compare }))
    }

    /// Returns what each filter finds.
    async fn find_referenced(
        &self,
        base: &str,
        reference: &WantedReference,
    ) -> Result<Vec<FoundEntry>, DirectoryError> {
        let mut all: Vec<Option<FoundEntry>> = Vec::with_capacity(reference.filters.len());
        for filter in &reference.filters {
            all.push(self.indexed(base, filter, &reference.find).await?);
        }
        let unknown = reference.filters.iter().zip(&all).filter(|(_, found)| found.is_none());
        let unknown: Vec<&str> = unknown.map(|(filter, _)| filter.as_str()).collect();
        let mut searched = self.find_each(base, &unknown).await?.into_iter();
        let found =
            |known: Option<FoundEntry>| known.or_else(|| searched.next()).unwrap_or(FoundEntry::Nowhere);
        Ok(all.into_iter().map(found).collect())
    }

    /// Returns what a filter finds by the entries that are read at once, if that pays; `None`: not known.
    async fn indexed(
        &self,
        base: &str,
        filter: &str,
        find: &Find,
    ) -> Result<Option<FoundEntry>, DirectoryError> {
        let Some((all, attribute)) = &find.all else { return Ok(None) };
        let schema = self.directory.schema();
        let index = self.digest_caches.references().of(base, all, attribute, schema);
        if let Some(most) = index.due() {
            // OpenLDAP keeps one paging state per connection.
            let _one_at_a_time = self.trees.lock().await;
            if let Some(reading) = index.begin() {
                Box::pin(self.read_index(&index, reading, most)).await?;
            }
        }
        let Ok(parsed) = Filter::parse(filter) else { return Ok(None) };
        let value = match &parsed {
            Filter::Equality { value, .. } => Some(value),
            Filter::And(filters) => filters.iter().find_map(|filter| match filter {
                Filter::Equality { attribute: name, value } if schema.same_description(name, attribute) => {
                    Some(value)
                }
                _ => None,
            }),
            _ => None,
        };
        Ok(match value.map(|value| index.answer(value, schema)) {
            Some(Answer::One(dn)) => Some(FoundEntry::One(dn)),
            Some(Answer::Nothing) => Some(FoundEntry::Nowhere),
            Some(Answer::Unknown) | None => None,
        })
    }

    /// Reads the entries that references may be, at most `most`.
    async fn read_index(
        &self,
        index: &ReferenceIndex,
        reading: Reading<'_>,
        most: u64,
    ) -> Result<(), DirectoryError> {
        let (base, all, attribute) = index.search();
        let schema = self.directory.schema();
        let request = SearchRequest::new(base, Scope::Subtree, all, &[attribute]).repeating();
        let read = async {
            let mut search = self.directory.search(request).await?;
            let mut read = 0;
            loop {
                let has_room = match search.advance().await? {
                    None => return Ok::<_, DirectoryError>(true),
                    Some(Found::Entry(entry)) => reading.insert(&entry, schema),
                    Some(Found::InPlace) => {
                        search.in_place().is_none_or(|entry| reading.insert(&entry, schema))
                    }
                    Some(Found::Reference(_) | Found::Unreadable(_)) => continue,
                };
                read += 1;
                if read > most || !has_room {
                    search.abandon().await?;
                    return Ok(false);
                }
            }
        };
        match read.await {
            Ok(is_whole) => {
                // Else it is void.
                let is_whole = is_whole && reading.end();
                tracing::debug!(
                    is_whole,
                    "the entries below `{base}` that references may be were read at once"
                );
            }
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                tracing::debug!("the entries below `{base}` cannot be read at once for references: {error}");
                reading.give_up();
            }
        }
        Ok(())
    }

    /// Returns why references are not found, now that no entry is to come any more.
    async fn unfound(
        &self,
        base: &str,
        reference: &WantedReference,
        lacking: &[(&str, &FoundEntry)],
    ) -> Result<Reason, DirectoryError> {
        let WantedReference { description, find, .. } = reference;
        let shown = |filter: &str| if find.is_secret { find.setting.clone() } else { filter.to_owned() };
        for (filter, found) in lacking {
            if let FoundEntry::Several(names) = found {
                let names: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
                let text = format!(
                    "`{description}`: {} fits several entries below `{base}`: {}; it has to fit one",
                    shown(filter),
                    names.join(", ")
                );
                return Ok(Reason { text, is_error: true, hidden: None });
            }
        }
        for (filter, _) in lacking.iter().take(1) {
            if let Some(hidden) = Box::pin(self.hidden_from_reference(base, filter)).await? {
                let text = format!(
                    "`{description}`: bind_dn: the bound user may not search `{}` of `{}`, so {} may not find the entry; let the user read and search it, or leave the entry out of the base",
                    hidden.attribute,
                    hidden.dn,
                    shown(filter)
                );
                return Ok(Reason { text, is_error: true, hidden: Some(hidden) });
            }
        }
        let names: Vec<String> = lacking.iter().take(NAMED).map(|(filter, _)| shown(filter)).collect();
        let more = if lacking.len() > NAMED {
            format!(" and {} more", lacking.len() - NAMED)
        } else {
            String::new()
        };
        let no_base = match &find.base {
            Some(base) if !self.directory.begins_at(base).await? => ", which does not exist",
            _ => "",
        };
        let text = format!(
            "`{description}`: no entry below `{base}`{no_base} and no record of the run fits {}{more}",
            names.join(", ")
        );
        Ok(Reason { text, is_error: false, hidden: None })
    }
}

/// Why references are not found.
struct Reason {
    text: String,
    /// Whether it is an error whatever the rule says of missing entries.
    is_error: bool,
    hidden: Option<Hidden>,
}

fn reasons(faults: &[Unfound]) -> String {
    faults.iter().map(|fault| fault.reason.as_str()).collect::<Vec<_>>().join("; ")
}

impl Resolved {
    /// Returns the result of a record of which all that was found was written.
    fn attempt(self, mut attempt: Attempt) -> Attempt {
        let Resolved { context, warnings, faults, digest, .. } = self;
        let is_left = attempt.outcome == WriteOutcome::LeftAlone;
        if (attempt.outcome.is_done() || is_left)
            && let Some(first) = faults.first()
        {
            let unfound = Unfound { reason: reasons(&faults), ..first.clone() };
            attempt.outcome = WriteOutcome::Unfound(Box::new(unfound));
            return attempt;
        }
        let found = attempt.found.get_or_insert_with(|| Box::new(FoundReferences::default()));
        found.digest = digest;
        if attempt.outcome.is_done() && !is_left {
            found.pending.extend(context.pending);
            found.is_held |= !attempt.deferred.is_empty() && attempt.outcome != WriteOutcome::Added;
            found.warnings = warnings;
        }
        attempt
    }
}
