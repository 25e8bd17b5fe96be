//! Entries for which a filter is Undefined (RFC 4511 section 4.5.1.7) because the bound user may not search what it compares: neither the
//! filter nor its negation matches them, so that they are missing from a result without being different.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::{Hidden, SINGLY, TRIES, present, stays_unmatched, to_ask, unsearchable_of};
use crate::directory::{Directory, Scope};
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::lookup::find;
use crate::search_request::SearchRequest;

/// Returns a filter that every entry matches for which this one is true or false.
fn decided(filter: &Filter) -> Filter {
    Filter::Or(vec![filter.clone(), Filter::Not(Box::new(filter.clone()))])
}

/// How the server evaluates a filter for one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The entry matches.
    Matches,
    /// The entry does not match.
    Differs,
    /// There is no such entry, or the user may not see it.
    Gone,
    /// Neither, and the entry is there: with an attribute of the filter that the user may not search, if that is the reason.
    Undefined(Option<Hidden>),
}

/// Returns how the server evaluates a filter for the entry with a DN, which may be one of Active Directory's (`<GUID=…>`). One search if the
/// entry does not match.
///
/// # Errors
/// A search fails.
pub async fn judge(directory: &Directory, dn: &str, filter: &Filter) -> Result<Judgement, DirectoryError> {
    let is_matched = async |filter: Filter| {
        let found = find(directory, dn, Scope::Base, filter, &["1.1"], 1).await?;
        Ok::<_, DirectoryError>(!found.is_empty())
    };
    for _ in 0..TRIES {
        if is_matched(Filter::Not(Box::new(filter.clone()))).await? {
            return Ok(Judgement::Differs);
        }
        if is_matched(filter.clone()).await? {
            return Ok(Judgement::Matches);
        }
        if !is_matched(present("objectClass")).await? {
            return Ok(Judgement::Gone);
        }
        // Otherwise it was changed between the searches.
        if stays_unmatched(directory, dn, &decided(filter), None).await? {
            break;
        }
    }
    let attributes = filter.attributes();
    let hidden = match to_ask(directory, &attributes) {
        Some((directory, names)) => unsearchable_of(directory, dn, &names).await?,
        None => None,
    };
    Ok(Judgement::Undefined(hidden))
}

/// Returns an entry below a base that a filter may be true for and does not match, because the user may not search one of its attributes:
/// two searches for DNs, or four where their results differ. What the user may not search does not count where the rest of the filter decides. `most`: the entries that are
/// looked at; `None`: all. A limit of the server ends the look, not the program.
///
/// # Errors
/// A search fails for another reason. A base that is not there has no entries.
pub async fn undecided_below(
    directory: &Directory,
    (base, scope): (&str, Scope),
    filter: &Filter,
    most: Option<usize>,
) -> Result<Option<Hidden>, DirectoryError> {
    let attributes = filter.attributes();
    let Some((directory, names)) = to_ask(directory, &attributes) else { return Ok(None) };
    if filter.is_match_all() {
        return Ok(None);
    }
    let most = most.unwrap_or(usize::MAX);
    let hasher = RandomState::new();
    // Nearly always all entries are decided: the same names, in whatever order, have the same sum, and none is kept.
    let (mut of_decided, mut of_all) = (0_u64, 0_u64);
    let place = (base, scope);
    let add = |sum: &mut u64, dn: String| {
        *sum = sum.wrapping_add(hasher.hash_one(&dn));
        true
    };
    each(directory, place, decided(filter), most, |dn| add(&mut of_decided, dn)).await?;
    each(directory, place, present("objectClass"), most, |dn| add(&mut of_all, dn)).await?;
    if of_decided == of_all {
        return Ok(None);
    }
    let mut known = HashSet::new();
    each(directory, place, decided(filter), most, |dn| {
        known.insert(hasher.hash_one(&dn));
        true
    })
    .await?;
    // What is added meanwhile is among the second and not the first, and is asked about by itself.
    let mut unclear = Vec::new();
    each(directory, place, present("objectClass"), most, |dn| {
        if !known.contains(&hasher.hash_one(&dn)) {
            unclear.push(dn);
        }
        unclear.len() < SINGLY
    })
    .await?;
    for dn in unclear {
        if stays_unmatched(directory, &dn, &decided(filter), None).await?
            && let Some(hidden) = unsearchable_of(directory, &dn, &names).await?
        {
            return Ok(Some(hidden));
        }
    }
    Ok(None)
}

/// Calls a function with the DN of each entry that a filter matches, at most `most`, until it returns `false`.
async fn each(
    directory: &Directory,
    (base, scope): (&str, Scope),
    filter: Filter,
    most: usize,
    mut take: impl FnMut(String) -> bool,
) -> Result<(), DirectoryError> {
    let is_end = |e: &DirectoryError| e.is_no_such_object() || e.is_limit();
    let request = SearchRequest::new(base, scope, filter, &["1.1"]).repeating();
    let mut search = match directory.search(request).await {
        Err(e) if is_end(&e) => return Ok(()),
        search => search?,
    };
    let mut count = 0;
    loop {
        match search.next_entry().await {
            Ok(Some(entry)) => count += usize::from(take(entry.dn)),
            Ok(None) => return Ok(()),
            Err(e) if is_end(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
        if count >= most {
            return search.abandon().await;
        }
    }
}
