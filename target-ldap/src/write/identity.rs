//! Whom a change means that is made later: by a held plan, or by an undo.
//!
//! A change names entries by their DNs, and means those that had the DNs when it was noted. Somebody else may have got such a DN since,
//! or the person of an entry that is added may have got another one. So the note of a change has, beside the DN, the ID of each entry
//! that it names ([`NamedEntry`]), and by what an entry that is added would have been found ([`MatchedBy`]). Both are compared before the
//! change is made.

use std::collections::{BTreeMap, HashSet};

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Scope, lookup};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::generate::base_of;
use crate::config::TargetConfig;
use crate::rules::names::ENTRY_IDS;
use crate::rules::template::FilterTemplate;
use crate::write::undo::change_note::{id, is_list_of_entries, value_digest};

/// The part of a rename that names the entry above the new DN (RFC 4511 section 4.9).
pub(crate) const NEW_SUPERIOR: &str = "newSuperior";
/// No entry has a name that one had when it was noted.
pub(crate) const GONE: &str = "no entry has that name any more";
/// Another entry has a name.
pub(crate) const ANOTHER: &str = "another entry has that name since";
/// An entry does not show its ID.
pub(crate) const HIDDEN: &str =
    "whether it is the same entry cannot be seen: it does not show its ID to the bound user";

/// The reads in parallel for the names of one change.
const IN_PARALLEL: usize = 16;
/// The entries that are read to find another account of a person.
const MOST_ACCOUNTS: u32 = 20;

/// An entry that a change names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedEntry {
    /// The attribute with the name, or `newSuperior`.
    pub attribute: String,
    /// The name.
    pub dn: String,
    /// The attribute and the value's digest that identify the entry.
    pub id: (String, String),
    /// Whether the name is taken out of the attribute.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_taken: bool,
}

/// What finds an entry: the base and the filter of its rule's `match`, with its own values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedBy {
    /// The base of the search.
    pub base: String,
    /// The filter.
    pub filter: String,
}

/// How the streams of a run find their entries (`match`).
#[derive(Debug, Default)]
pub struct StreamMatches(BTreeMap<String, (Option<String>, FilterTemplate)>);

impl StreamMatches {
    /// Returns those of a configuration.
    pub(crate) fn of(config: &TargetConfig) -> Self {
        let rules = config.rules.iter();
        Self(
            rules
                .filter_map(|(name, rule)| {
                    Some((name.clone(), (rule.scope_base.clone(), rule.matching.clone()?)))
                })
                .collect(),
        )
    }

    /// Returns what finds an entry of a stream.
    pub(crate) fn of_entry(&self, stream: &str, entry: &Entry, directory: &Directory) -> Option<MatchedBy> {
        let (base, template) = self.0.get(stream).or_else(|| self.0.get("*"))?;
        let filter = template.of_entry(entry, directory.schema())?;
        // An entry above that of a record is not found by it.
        (filter.matches(entry, directory.schema()) == Some(true)).then(|| MatchedBy {
            base: base_of(directory, &entry.dn, base.as_deref()),
            filter: filter.to_string(),
        })
    }
}

/// Whether an attribute has names of entries.
pub(crate) fn is_of_names(name: &str, schema: &Schema) -> bool {
    is_list_of_entries(name, schema) || ValueKind::of(schema, name).is_name()
}

/// A name that a change gives or takes.
pub(crate) struct Naming {
    attribute: String,
    dn: String,
    /// Whether it is taken.
    pub(crate) is_taken: bool,
}

/// Returns the names that a change gives to an entry or takes from it, given the entry before.
pub(crate) fn names_of(change: &Change, before: Option<&Entry>, schema: &Schema) -> Vec<Naming> {
    let mut names = Vec::new();
    let mut add = |attribute: &str, values: Vec<&Vec<u8>>, is_taken: bool| {
        for value in values {
            let dn = std::str::from_utf8(value).ok().filter(|dn| DnKey::parse(dn, schema).is_ok());
            names.extend(dn.map(|dn| Naming { attribute: attribute.into(), dn: dn.into(), is_taken }));
        }
    };
    match change {
        Change::Add(entry) => {
            for attribute in entry.attributes.iter().filter(|a| is_of_names(&a.description, schema)) {
                add(&attribute.description, attribute.values.iter().collect(), false);
            }
        }
        Change::Modify { changes, .. } => {
            for step in changes.iter().filter(|step| is_of_names(&step.description, schema)) {
                let name = &*step.description;
                let there = before.map(|entry| schema.values_of(entry, name)).unwrap_or_default();
                let rule = schema.equality(name);
                let normal = |value: &Vec<u8>| rule.normalize(value, schema).into_owned();
                match step.kind {
                    ModificationKind::Add => add(name, step.values.iter().collect(), false),
                    ModificationKind::Delete if step.values.is_empty() => {
                        add(name, there.iter().collect(), true);
                    }
                    ModificationKind::Delete => add(name, step.values.iter().collect(), true),
                    ModificationKind::Replace => {
                        let (old, new): (HashSet<_>, HashSet<_>) =
                            (there.iter().map(normal).collect(), step.values.iter().map(normal).collect());
                        add(name, step.values.iter().filter(|v| !old.contains(&normal(v))).collect(), false);
                        add(name, there.iter().filter(|v| !new.contains(&normal(v))).collect(), true);
                    }
                    ModificationKind::Increment => {}
                }
            }
        }
        Change::Rename { new_superior: Some(above), .. } => {
            add(NEW_SUPERIOR, vec![&above.clone().into_bytes()], false);
        }
        Change::Rename { .. } | Change::Delete { .. } => {}
    }
    names
}

/// Returns the names of entries that show an ID, with it.
///
/// # Errors
/// The directory does not answer.
pub(crate) async fn identified(
    directory: &Directory,
    names: Vec<Naming>,
) -> Result<Vec<NamedEntry>, DirectoryError> {
    let mut ids = BTreeMap::new();
    let dns: HashSet<&String> = names.iter().map(|name| &name.dn).collect();
    let mut rest = dns.into_iter().cloned();
    let mut reads = JoinSet::new();
    loop {
        while reads.len() < IN_PARALLEL
            && let Some(dn) = rest.next()
        {
            let directory = directory.clone();
            reads.spawn(async move {
                let read = read(&directory, &dn).await;
                (dn, read)
            });
        }
        let Some(joined) = reads.join_next().await else { break };
        // Lost by a panic, which ends the run.
        let Ok((dn, read)) = joined else { return Err(super::references::lost()) };
        if let Some(id) = read?.and_then(|entry| id(&entry, directory.schema())) {
            ids.insert(dn, id);
        }
    }
    let found = names.into_iter().filter_map(|name| {
        let id = ids.get(&name.dn)?.clone();
        Some(NamedEntry { attribute: name.attribute, dn: name.dn, id, is_taken: name.is_taken })
    });
    Ok(found.collect())
}

/// Reads the IDs of an entry. One that the server does not show is none.
async fn read(directory: &Directory, dn: &str) -> Result<Option<Entry>, DirectoryError> {
    match directory.read(dn, &ENTRY_IDS).await {
        Err(e) if e.code().is_some() && !e.is_transient() => Ok(None),
        entry => entry,
    }
}

/// Whether an entry has an ID; `None`: it does not show it.
pub(crate) fn has_id(entry: &Entry, (name, digest): &(String, String), schema: &Schema) -> Option<bool> {
    let value = entry.values(name).first()?;
    Some(value_digest(name, value, schema) == *digest)
}

/// Returns why a name does not mean the entry any more that had it; `None`: it does. A name that is taken away may have no entry.
///
/// # Errors
/// The directory does not answer.
pub(crate) async fn objection(
    directory: &Directory,
    named: &NamedEntry,
) -> Result<Option<&'static str>, DirectoryError> {
    Ok(match read(directory, &named.dn).await? {
        None => (!named.is_taken).then_some(GONE),
        Some(entry) => match has_id(&entry, &named.id, directory.schema()) {
            Some(true) => None,
            Some(false) => Some(ANOTHER),
            None => Some(HIDDEN),
        },
    })
}

/// Returns an entry other than these that is found as one would be that is to be added: its person has an account.
///
/// # Errors
/// The directory does not answer.
pub(crate) async fn other_account(
    directory: &Directory,
    matched: &MatchedBy,
    is_excepted: impl Fn(&DnKey) -> bool,
) -> Result<Option<String>, DirectoryError> {
    let Ok(filter) = Filter::parse(&matched.filter) else { return Ok(None) };
    let found =
        lookup::find(directory, &matched.base, Scope::Subtree, filter, &["1.1"], MOST_ACCOUNTS).await?;
    let is_other =
        |entry: &Entry| !DnKey::parse(&entry.dn, directory.schema()).is_ok_and(|key| is_excepted(&key));
    Ok(found.into_iter().find(is_other).map(|entry| entry.dn))
}

/// Returns the text about another account of the person of an entry.
pub(crate) fn told_account(other: &str, matched: &MatchedBy) -> String {
    format!(
        "`{other}` is the entry of the same record by now ({}): a second one would be made",
        matched.filter
    )
}
