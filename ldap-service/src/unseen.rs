//! What the service's own user may not see. A server answers as if it was not there, so that an attribute that an entry does not show proves
//! nothing: an account without a lock, a group without members, a user without an address.
//!
//! A filter tells both apart. Where the user may not search an attribute, a comparison with it is Undefined, and so is its negation (RFC 4511
//! section 4.5.1.7): `(!(a=*))` matches an entry that lacks `a`, and only if that may be known.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Scope};

use crate::error::ApiError;
use crate::lookup::{self, find};

/// The entries that are looked at.
const SAMPLE: u32 = 20;
/// The entries in one filter.
const AT_ONCE: usize = 50;
/// How long a result counts.
const AGE: Duration = Duration::from_secs(10);
/// The most results that are kept.
const MOST: usize = 1_000;

/// An attribute that the service's user may not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// An entry of which it may not see it.
    pub(crate) dn: String,
    /// The attribute.
    pub(crate) attribute: String,
}

impl Hidden {
    /// Returns the problem, for the setting `bind_dn`.
    pub(crate) fn problem(&self) -> String {
        format!("the service's user may not read `{}`, for example of `{}`", self.attribute, self.dn)
    }
}

impl From<Hidden> for ApiError {
    fn from(hidden: Hidden) -> Self {
        let Hidden { dn, attribute } = hidden;
        tracing::error!(setting = "bind_dn", dn, attribute, "the service's user may not read `{attribute}`");
        let detail = format!(
            "bind_dn: the service's user may not read `{attribute}` of all entries, and the answer depends on it"
        );
        ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail)
    }
}

/// Whether an entry shows an attribute, be it with options or as a subtype.
fn shows(entry: &Entry, name: &str, schema: &Schema) -> bool {
    let is_it = |of: &str| {
        schema.same_description(of, name)
            || schema.type_chain(of).any(|t| t.names.iter().any(|n| schema.same_description(n, name)))
    };
    entry.attributes.iter().any(|a| !a.values.is_empty() && is_it(base_type(&a.description)))
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

fn lacks(names: &[&str]) -> Filter {
    Filter::And(names.iter().map(|name| Filter::Not(Box::new(Filter::Present((*name).to_owned())))).collect())
}

/// Returns an attribute that an entry, which was read with these attributes, may have though it does not show it.
///
/// # Errors
/// A search fails.
pub(crate) async fn hidden(
    directory: &Directory,
    entry: &Entry,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    let schema = directory.schema();
    let first = missing(entry, names, schema);
    if first.is_empty() || !matches!(directory, Directory::Ldap(_)) || schema.is_assumed() {
        return Ok(None);
    }
    let is_so = async |names: &[&str]| {
        let found = find(directory, &entry.dn, Scope::Base, lacks(names), &["1.1"], 1).await?;
        Ok::<_, DirectoryError>(!found.is_empty())
    };
    if is_so(&first).await? {
        return Ok(None);
    }
    // It may have been changed meanwhile, or be gone.
    let Some(again) = directory.read(&entry.dn, &first).await? else { return Ok(None) };
    for name in missing(&again, &first, schema) {
        if !is_so(&[name]).await? {
            return Ok(Some(Hidden { dn: entry.dn.clone(), attribute: name.to_owned() }));
        }
    }
    Ok(None)
}

/// The same for many entries below a base: those that lack the same attributes are asked about together, by their identifiers.
///
/// # Errors
/// A search fails.
pub(crate) async fn hidden_of_many(
    directory: &Directory,
    base: &str,
    entries: &[&Entry],
    id: &str,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    let schema = directory.schema();
    if !matches!(directory, Directory::Ldap(_)) || schema.is_assumed() {
        return Ok(None);
    }
    let mut by_missing: BTreeMap<Vec<&str>, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        by_missing.entry(missing(entry, names, schema)).or_default().push(entry);
    }
    by_missing.retain(|missing, _| !missing.is_empty());
    for (missing, entries) in by_missing {
        for some in entries.chunks(AT_ONCE) {
            let ids = some.iter().filter_map(|entry| schema.values_of(entry, id).first());
            let ids: Vec<Filter> = ids.map(|value| Filter::equality(id, value.clone())).collect();
            let filter = Filter::And(vec![Filter::Or(ids), lacks(&missing)]);
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

/// Returns an attribute that the service's user may not search, of some entries that match a filter: comparisons with it are Undefined, and
/// the entries are not found by them.
///
/// # Errors
/// A search fails. A base that is not there has no entries.
pub(crate) async fn unsearchable(
    directory: &Directory,
    (base, scope): (&str, Scope),
    sample: &Filter,
    names: &[&str],
    most: u32,
) -> Result<Option<Hidden>, DirectoryError> {
    let schema = directory.schema();
    let names: Vec<&str> =
        names.iter().copied().filter(|name| schema.attribute_type(name).is_some()).collect();
    if names.is_empty() || !matches!(directory, Directory::Ldap(_)) || schema.is_assumed() {
        return Ok(None);
    }
    let known = |names: &[&str]| {
        let present = |name: &str| Filter::Present(name.to_owned());
        let either = |name: &&str| Filter::Or(vec![present(name), Filter::Not(Box::new(present(name)))]);
        Filter::And(names.iter().map(either).collect())
    };
    let id = directory.root_dse().vendor.immutable_ids();
    let id = id.iter().copied().find(|id| schema.attribute_type(id).is_some()).unwrap_or("1.1");
    let entries = lookup::sample(directory, base, scope, sample.clone(), &[id], most).await?;
    let ids: Vec<Filter> = entries
        .iter()
        .filter_map(|entry| Some(Filter::equality(id, schema.values_of(entry, id).first()?.clone())))
        .collect();
    if ids.len() == entries.len() && ids.len() > 1 {
        let filter = Filter::And(vec![Filter::Or(ids), known(&names)]);
        if find(directory, base, scope, filter, &["1.1"], most).await?.len() >= entries.len() {
            return Ok(None);
        }
    }
    for entry in &entries {
        for name in &names {
            let found = find(directory, &entry.dn, Scope::Base, known(&[name]), &["1.1"], 1).await?;
            if found.is_empty() && directory.read(&entry.dn, &["1.1"]).await?.is_some() {
                return Ok(Some(Hidden { dn: entry.dn.clone(), attribute: (*name).to_owned() }));
            }
        }
    }
    Ok(None)
}

/// Returns an attribute of a filter, or of these, that the service's user may not search in entries below a base: the filter would find nobody.
///
/// # Errors
/// A search fails.
pub(crate) async fn unsearchable_below(
    directory: &Directory,
    base: &str,
    filter: &Filter,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    let mut all: Vec<&str> = filter.attributes().into_iter().chain(names.iter().copied()).collect();
    // Without it, no entry is found.
    all.retain(|name| !name.eq_ignore_ascii_case("objectClass"));
    all.sort_unstable();
    all.dedup();
    let any = Filter::Present("objectClass".to_owned());
    unsearchable(directory, (base, Scope::Subtree), &any, &all, SAMPLE).await
}

/// Results that count for some seconds: rights seldom change, and every login depends on them.
#[derive(Debug, Default)]
pub(crate) struct Remembered(tokio::sync::Mutex<HashMap<String, (Instant, Option<Hidden>)>>);

impl Remembered {
    /// Returns a result, or finds it out. Those who ask meanwhile wait for the same.
    ///
    /// # Errors
    /// It cannot be found out.
    pub(crate) async fn get(
        &self,
        key: String,
        find_out: impl Future<Output = Result<Option<Hidden>, DirectoryError>>,
    ) -> Result<Option<Hidden>, DirectoryError> {
        let mut known = self.0.lock().await;
        if let Some((when, hidden)) = known.get(&key)
            && when.elapsed() < AGE
        {
            return Ok(hidden.clone());
        }
        let found = find_out.await?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (Instant::now(), found.clone()));
        Ok(found)
    }
}
