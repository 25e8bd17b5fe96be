//! Attributes that the bound user may not see. A server answers as if they were not there, so an attribute that an entry does not show
//! proves nothing.
//!
//! A filter tells both apart. Where the user may not search an attribute, a comparison with it is Undefined, and so is its negation (RFC 4511
//! section 4.5.1.7): `(!(a=*))` matches an entry that lacks `a`, and only if that may be known. Where it may search and not read, the entry
//! matches `(a=*)` and shows nothing.
//!
//! A file hides nothing. A preview is asked about the directory below it.

use std::collections::{BTreeMap, HashSet};

use crate::directory::{Directory, Scope};
use crate::entry::{Entry, base_type};
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::lookup::{self, find};
use crate::schema::Schema;
use crate::search_request::SearchRequest;

mod undecided;

pub use undecided::{Judgement, judge, undecided_below};

/// The entries in one filter.
const AT_ONCE: usize = 50;
/// The most entries of which it is checked one by one why a filter did not match them.
const SINGLY: usize = 20;

/// How often an entry is looked at that is changed meanwhile.
const TRIES: usize = 5;

/// An attribute that the bound user may not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// An entry of which it may not see it.
    pub dn: String,
    /// The attribute.
    pub attribute: String,
}

/// Returns the server that is asked; `None`: nothing is hidden, or the schema is not known.
fn server(directory: &Directory) -> Option<&Directory> {
    let directory = match directory {
        Directory::Preview(preview) => preview.below(),
        other => other,
    };
    (matches!(directory, Directory::Ldap(_)) && !directory.schema().is_assumed()).then_some(directory)
}

/// Returns the server that is to be asked, and the names that its schema has; `None`: there is nothing to ask.
fn to_ask<'d, 'n>(directory: &'d Directory, names: &[&'n str]) -> Option<(&'d Directory, Vec<&'n str>)> {
    let directory = server(directory)?;
    let schema = directory.schema();
    let names: Vec<&str> =
        names.iter().copied().filter(|name| schema.attribute_type(name).is_some()).collect();
    (!names.is_empty()).then_some((directory, names))
}

/// Returns whether an entry shows an attribute, be it with options or as a subtype.
pub fn shows(entry: &Entry, name: &str, schema: &Schema) -> bool {
    entry.attributes.iter().any(|a| !a.values.is_empty() && schema.is_subtype(&a.description, name))
}

/// Returns the attributes of the schema that an entry does not show.
fn missing<'n>(entry: &Entry, names: &[&'n str], schema: &Schema) -> Vec<&'n str> {
    let mut missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| schema.attribute_type(name).is_some() && !shows(entry, base_type(name), schema))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn present(name: &str) -> Filter {
    Filter::Present(name.to_owned())
}

fn absent(name: &str) -> Filter {
    Filter::Not(Box::new(present(name)))
}

fn lacks(names: &[&str]) -> Filter {
    Filter::And(names.iter().map(|name| absent(name)).collect())
}

/// Returns a filter that every entry matches, unless the user may not search one of these attributes of it.
fn known(names: &[&str]) -> Filter {
    let either = |name: &&str| Filter::Or(vec![present(name), absent(name)]);
    Filter::And(names.iter().map(either).collect())
}

/// Returns an attribute that an entry, which was read with these attributes, may have though it does not show it.
///
/// One search, if there is none.
///
/// # Errors
/// A search fails.
pub async fn hidden(
    directory: &Directory,
    entry: &Entry,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    Ok(hidden_of(directory, entry, names, 1).await?.pop())
}

/// The same for at most `most` attributes.
async fn hidden_of(
    directory: &Directory,
    entry: &Entry,
    names: &[&str],
    most: usize,
) -> Result<Vec<Hidden>, DirectoryError> {
    let mut all = Vec::new();
    let Some(directory) = server(directory) else { return Ok(all) };
    let schema = directory.schema();
    let first = missing(entry, names, schema);
    if first.is_empty() {
        return Ok(all);
    }
    let is_so = async |names: &[&str]| {
        let found = find(directory, &entry.dn, Scope::Base, lacks(names), &["1.1"], 1).await?;
        Ok::<_, DirectoryError>(!found.is_empty())
    };
    if is_so(&first).await? {
        return Ok(all);
    }
    // It may have been changed meanwhile. A filter matches what the server computes, too.
    let shown = directory.as_shown();
    for name in first {
        if stays_unmatched(&shown, &entry.dn, &absent(name), Some(name)).await? {
            all.push(Hidden { dn: entry.dn.clone(), attribute: name.to_owned() });
            if all.len() >= most {
                break;
            }
        }
    }
    Ok(all)
}

/// The same for many entries below a base: those that lack the same attributes are asked about together, by their identifiers.
///
/// # Errors
/// A search fails.
pub async fn hidden_of_many(
    directory: &Directory,
    base: &str,
    entries: &[&Entry],
    id: &str,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    let Some(directory) = server(directory) else { return Ok(None) };
    let schema = directory.schema();
    let mut by_missing: BTreeMap<Vec<&str>, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        by_missing.entry(missing(entry, names, schema)).or_default().push(entry);
    }
    by_missing.retain(|missing, _| !missing.is_empty());
    for (missing, entries) in by_missing {
        for some in entries.chunks(AT_ONCE) {
            let filter = Filter::And(vec![Filter::Or(by_id(some, id, schema)), lacks(&missing)]);
            let most = u32::try_from(some.len()).unwrap_or(u32::MAX);
            let found = find(directory, base, Scope::Subtree, filter, &["1.1"], most).await?;
            if found.len() >= some.len() {
                continue;
            }
            for entry in some.iter().filter(|entry| found.iter().all(|other| other.dn != entry.dn)) {
                if let Some(hidden) = hidden(directory, entry, &missing).await? {
                    return Ok(Some(hidden));
                }
            }
        }
    }
    Ok(None)
}

fn by_id(entries: &[&Entry], id: &str, schema: &Schema) -> Vec<Filter> {
    let ids = entries.iter().filter_map(|entry| schema.values_of(entry, id).first());
    ids.map(|value| Filter::equality(id, value.clone())).collect()
}

/// Returns all attributes that some of these entries, which were read with these attributes, may have though they do not show them; each
/// attribute once, with an entry.
///
/// One search for 50 entries, if there is none: an attribute that none of them shows is absent from all of them, the others are only
/// checked for the right to search them.
///
/// # Errors
/// A search fails.
pub async fn hidden_in_sample(
    directory: &Directory,
    base: &str,
    entries: &[Entry],
    id: &str,
    names: &[&str],
) -> Result<Vec<Hidden>, DirectoryError> {
    let mut all: Vec<Hidden> = Vec::new();
    let Some(directory) = server(directory) else { return Ok(all) };
    let schema = directory.schema();
    let mut names: Vec<&str> =
        names.iter().copied().filter(|name| schema.attribute_type(name).is_some()).collect();
    let has_id = |entry: &&Entry| !schema.values_of(entry, id).is_empty();
    let (with_id, without_id): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(has_id);
    for some in with_id.chunks(AT_ONCE) {
        while !names.is_empty() {
            let is_absent = |name: &&&str| !some.iter().any(|entry| shows(entry, base_type(name), schema));
            let (none, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_absent(name));
            // An empty conjunction (RFC 4526) is not known to every server.
            let parts = [(lacks(&none), none.is_empty()), (known(&others), others.is_empty())];
            let parts = parts.into_iter().filter(|(_, is_empty)| !is_empty).map(|(filter, _)| filter);
            let filter =
                Filter::And(std::iter::once(Filter::Or(by_id(some, id, schema))).chain(parts).collect());
            let most = u32::try_from(some.len()).unwrap_or(u32::MAX);
            let found = find(directory, base, Scope::Subtree, filter, &["1.1"], most).await?;
            let mut more = Vec::new();
            for entry in some.iter().filter(|entry| found.iter().all(|other| other.dn != entry.dn)) {
                more = hidden_of(directory, entry, &names, usize::MAX).await?;
                if !more.is_empty() {
                    break;
                }
            }
            if more.is_empty() {
                break;
            }
            names.retain(|name| more.iter().all(|hidden| hidden.attribute != *name));
            all.extend(more);
        }
    }
    for entry in without_id.into_iter().take(SINGLY) {
        let more = hidden_of(directory, entry, &names, usize::MAX).await?;
        names.retain(|name| more.iter().all(|hidden| hidden.attribute != *name));
        all.extend(more);
    }
    Ok(all)
}

/// Returns an attribute that the user may not search of an entry, or, with the subtree, of one at or below it. One search for an entry, two for
/// a subtree, if there is none. An entry that is not there has none. `counts`: whether it matters of an entry, by its DN.
///
/// # Errors
/// A search fails.
pub async fn unsearchable_at(
    directory: &Directory,
    dn: &str,
    with_subtree: bool,
    names: &[&str],
    counts: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Option<Hidden>, DirectoryError> {
    let Some((directory, names)) = to_ask(directory, names) else { return Ok(None) };
    let mut unclear = Vec::new();
    if with_subtree {
        let known = all_dns(directory, dn, known(&names)).await?;
        let all = all_dns(directory, dn, present("objectClass")).await?;
        unclear.extend(all.into_iter().filter(|dn| !known.contains(dn)));
    } else if find(directory, dn, Scope::Base, known(&names), &["1.1"], 1).await?.is_empty() {
        unclear.push(dn.to_owned());
    }
    for dn in unclear.into_iter().filter(|dn| counts(dn)) {
        if let Some(hidden) = unsearchable_of(directory, &dn, &names).await? {
            return Ok(Some(hidden));
        }
    }
    Ok(None)
}

/// Whether the user may search these attributes of all entries below a base. `most`: of more entries, it is not known; then `false`.
///
/// # Errors
/// A search fails.
pub async fn may_search_all(
    directory: &Directory,
    base: &str,
    names: &[&str],
    most: usize,
) -> Result<bool, DirectoryError> {
    let Some((directory, names)) = to_ask(directory, names) else { return Ok(true) };
    let mut counts = Vec::new();
    for filter in [known(&names), present("objectClass")] {
        let request = SearchRequest::new(base, Scope::Subtree, filter, &["1.1"]).repeating();
        let (mut search, mut count) = (directory.search(request).await?, 0_usize);
        while search.next_entry().await?.is_some() {
            count += 1;
            if count > most {
                search.abandon().await?;
                return Ok(false);
            }
        }
        counts.push(count);
    }
    Ok(counts.windows(2).all(|two| matches!(two, [known, all] if known == all)))
}

/// Returns the DNs at and below an entry that match a filter.
async fn all_dns(directory: &Directory, dn: &str, filter: Filter) -> Result<HashSet<String>, DirectoryError> {
    let mut all = HashSet::new();
    let request = SearchRequest::new(dn, Scope::Subtree, filter, &["1.1"]).repeating();
    let found = async {
        let mut search = directory.search(request).await?;
        while let Some(entry) = search.next_entry().await? {
            all.insert(entry.dn);
        }
        Ok::<_, DirectoryError>(())
    };
    match found.await {
        Err(error) if !error.is_no_such_object() => Err(error),
        _ => Ok(all),
    }
}

/// Returns an attribute that the user may not search, of some entries that match a filter: comparisons with it are Undefined, and the entries
/// are not found by them.
///
/// # Errors
/// A search fails. A base that is not there has no entries.
pub async fn unsearchable(
    directory: &Directory,
    (base, scope): (&str, Scope),
    sample: &Filter,
    names: &[&str],
    most: u32,
) -> Result<Option<Hidden>, DirectoryError> {
    let Some((directory, names)) = to_ask(directory, names) else { return Ok(None) };
    let (id, schema) = (immutable_id(directory), directory.schema());
    let entries = lookup::sample(directory, (base, scope), sample.clone(), &[id], most).await?;
    let ids = by_id(&entries.iter().collect::<Vec<_>>(), id, schema);
    if ids.len() == entries.len() && ids.len() > 1 {
        let filter = Filter::And(vec![Filter::Or(ids), known(&names)]);
        if find(directory, base, scope, filter, &["1.1"], most).await?.len() >= entries.len() {
            return Ok(None);
        }
    }
    for entry in &entries {
        if let Some(hidden) = unsearchable_of(directory, &entry.dn, &names).await? {
            return Ok(Some(hidden));
        }
    }
    Ok(None)
}

async fn unsearchable_of(
    directory: &Directory,
    dn: &str,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    for name in names {
        if stays_unmatched(directory, dn, &known(&[name]), None).await? {
            return Ok(Some(Hidden { dn: dn.to_owned(), attribute: (*name).to_owned() }));
        }
    }
    Ok(None)
}

/// Returns the attribute that identifies entries, or what asks for none.
fn immutable_id(directory: &Directory) -> &'static str {
    let known = |id: &&&str| directory.schema().attribute_type(id).is_some();
    directory.root_dse().vendor.immutable_ids().iter().find(known).copied().unwrap_or("1.1")
}

/// Returns whether an entry does not match a filter though nothing changed it meanwhile: one read before the search and one after it show
/// the same entry. `lacks`: an attribute that both do not show. An entry that is renamed is not found under its DN, and another one may have
/// that DN soon after.
async fn stays_unmatched(
    directory: &Directory,
    dn: &str,
    filter: &Filter,
    lacks: Option<&str>,
) -> Result<bool, DirectoryError> {
    let is_matched = async || {
        Ok::<_, DirectoryError>(
            !find(directory, dn, Scope::Base, filter.clone(), &["1.1"], 1).await?.is_empty(),
        )
    };
    // Almost always.
    if is_matched().await? {
        return Ok(false);
    }
    let names: Vec<&str> = [immutable_id(directory)].into_iter().chain(lacks).collect();
    for _ in 0..TRIES {
        let Some(before) = directory.read(dn, &names).await? else { return Ok(false) };
        if lacks.is_some_and(|name| shows(&before, base_type(name), directory.schema()))
            || is_matched().await?
        {
            return Ok(false);
        }
        if directory.read(dn, &names).await?.as_ref() == Some(&before) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns an attribute of a filter, or of these, that the user may not search in entries below a base: the filter would find nobody. `most`:
/// the entries that are looked at.
///
/// # Errors
/// A search fails.
pub async fn unsearchable_below(
    directory: &Directory,
    base: &str,
    filter: &Filter,
    names: &[&str],
    most: u32,
) -> Result<Option<Hidden>, DirectoryError> {
    let mut all: Vec<&str> = filter.attributes().into_iter().chain(names.iter().copied()).collect();
    // Without it, no entry is found.
    all.retain(|name| !name.eq_ignore_ascii_case("objectClass"));
    all.sort_unstable();
    all.dedup();
    let any = present("objectClass");
    unsearchable(directory, (base, Scope::Subtree), &any, &all, most).await
}

/// Returns an attribute that the user may not search, of one of many entries below a base: two searches for DNs alone, in pages. The first
/// matches the entries, the second those of them of which all attributes may be searched. A limit of the server ends the look, not the program.
///
/// # Errors
/// A search fails. A base that is not there has no entries.
pub async fn unsearchable_among(
    directory: &Directory,
    base: &str,
    entries: &Filter,
    names: &[&str],
    most: u32,
) -> Result<Option<Hidden>, DirectoryError> {
    let Some((directory, names)) = to_ask(directory, names) else { return Ok(None) };
    let all = dns(directory, base, entries.clone(), most).await?;
    let searchable = Filter::And(vec![entries.clone(), known(&names)]);
    let searchable: HashSet<String> = dns(directory, base, searchable, most).await?.into_iter().collect();
    for dn in all.iter().filter(|dn| !searchable.contains(*dn)).take(SINGLY) {
        if let Some(hidden) = unsearchable_of(directory, dn, &names).await? {
            return Ok(Some(hidden));
        }
    }
    Ok(None)
}

/// Returns the DNs of some entries that a filter matches.
async fn dns(
    directory: &Directory,
    base: &str,
    filter: Filter,
    most: u32,
) -> Result<Vec<String>, DirectoryError> {
    let found = lookup::sample(directory, (base, Scope::Subtree), filter, &["1.1"], most).await?;
    Ok(found.into_iter().map(|entry| entry.dn).collect())
}
