//! Carrying a task out: read what is there, write what differs.

use std::sync::Arc;

use singer_common::change::Change;
use singer_common::directory::ldap::result_code;
use singer_common::directory::{DirectoryError, Vendor};
use singer_common::dn::{Dn, DnKey, split};
use singer_common::entry::{Attribute, Entry, base_type};

use crate::destination::Destination;
use crate::map::Task;
use crate::plan::{Policy, WantedEntry};
use crate::rejects::Answer;
use crate::rule::Operations;

mod removal;

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The entry was added.
    Added,
    /// The entry was modified.
    Modified,
    /// The entry was deleted.
    Deleted,
    /// The entry was moved.
    Moved,
    /// What would have to be done is switched off (`operations`).
    LeftAlone,
    /// Nothing differed.
    Unchanged,
    /// The rule says to do nothing.
    Ignored,
    /// Not done, and may be later: the entry above it is not there, and is none that could be made; or entries lie
    /// below the one to be deleted.
    TooEarly(Answer),
}

/// Carries tasks out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Applier {
    directory: Destination,
    create_parents: bool,
    /// One creation of parents at a time: two children of a missing parent would both try.
    parents: Arc<tokio::sync::Mutex<()>>,
    /// One search for what lies below at a time: OpenLDAP keeps one paging state per connection.
    trees: Arc<tokio::sync::Mutex<()>>,
}

/// How often an entry that appears or disappears between reading and writing is read again.
const ATTEMPTS: u32 = 3;

impl Applier {
    /// An applier to a directory.
    pub fn new(directory: Destination, create_parents: bool) -> Self {
        Self { directory, create_parents, parents: Arc::default(), trees: Arc::default() }
    }

    /// Carries one task out.
    pub async fn apply(&self, task: &Task) -> Result<Effect, DirectoryError> {
        match task {
            Task::Nothing => Ok(Effect::Ignored),
            Task::Delete { dn, removal, allowed: true } => self.remove(dn, removal).await,
            Task::Delete { dn, allowed: false, .. } => {
                let there = self.directory.read(dn, &["1.1"]).await?.is_some();
                Ok(if there { Effect::LeftAlone } else { Effect::Unchanged })
            }
            Task::Upsert { wanted, operations } => self.upsert(wanted, *operations).await,
        }
    }

    async fn upsert(&self, wanted: &WantedEntry, operations: Operations) -> Result<Effect, DirectoryError> {
        let names = names_to_read(wanted);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut attempt = 1;
        loop {
            let Some(current) = self.directory.read(&wanted.dn, &names).await? else {
                if !operations.create {
                    return Ok(Effect::LeftAlone);
                }
                match self.add(wanted).await {
                    // Somebody else was faster: it is an update then.
                    Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) && attempt < ATTEMPTS => {
                        attempt += 1;
                        continue;
                    }
                    result => return result,
                }
            };
            let changes = wanted.changes(&current, self.directory.schema());
            if changes.is_empty() {
                return Ok(Effect::Unchanged);
            }
            if !operations.update {
                return Ok(Effect::LeftAlone);
            }
            match self.directory.apply(&Change::Modify { dn: wanted.dn.clone(), changes }).await {
                Ok(()) => return Ok(Effect::Modified),
                // A value, or the entry, came or went in between: the plan was made of what is no longer so.
                Err(e)
                    if attempt < ATTEMPTS
                        && matches!(
                            e.code(),
                            Some(
                                result_code::NO_SUCH_ATTRIBUTE
                                    | result_code::ATTRIBUTE_OR_VALUE_EXISTS
                                    | result_code::NO_SUCH_OBJECT
                            )
                        ) =>
                {
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn add(&self, wanted: &WantedEntry) -> Result<Effect, DirectoryError> {
        let change = Change::Add(wanted.to_entry());
        match self.directory.apply(&change).await {
            Ok(()) => Ok(Effect::Added),
            Err(e) if e.is_no_such_object() => {
                if self.create_parents(&wanted.dn).await? {
                    self.directory.apply(&change).await.map(|()| Effect::Added)
                } else {
                    Ok(Effect::TooEarly(Answer::of(&e).unwrap_or_default()))
                }
            }
            Err(e) => Err(e),
        }
    }

    /// Makes the missing entries above one. `false` when one of them cannot be made from its name alone.
    async fn create_parents(&self, dn: &str) -> Result<bool, DirectoryError> {
        let _one_at_a_time = self.parents.lock().await;
        let Ok(parts) = split(dn) else { return Ok(false) };
        // From the nearest one up, until one is there or can be added.
        let mut missing: Vec<Entry> = Vec::new();
        for above in 1..parts.len() {
            let name = parts.get(above..).unwrap_or_default().join(",");
            if self.directory.read(&name, &["1.1"]).await?.is_some() {
                break;
            }
            let Some(entry) = self.create_parents.then(|| self.parent_entry(&name)).flatten() else {
                return Ok(false);
            };
            match self.directory.apply(&Change::Add(entry.clone())).await {
                Ok(()) => {
                    tracing::info!("created the parent `{name}`");
                    break;
                }
                Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) => break,
                Err(e) if e.is_no_such_object() && above + 1 < parts.len() => missing.push(entry),
                Err(e) => return Err(e),
            }
        }
        for entry in missing.into_iter().rev() {
            let name = entry.dn.clone();
            self.directory.apply(&Change::Add(entry)).await?;
            tracing::info!("created the parent `{name}`");
        }
        Ok(true)
    }

    /// The entry that a name tells everything about.
    fn parent_entry(&self, dn: &str) -> Option<Entry> {
        let name = Dn::parse(dn).ok()?;
        let [ava] = name.rdn()?.avas.as_slice() else { return None };
        let schema = self.directory.schema();
        let attribute = schema.canonical_name(&ava.attribute).to_ascii_lowercase();
        // RFC 4519 section 3, RFC 4524 section 3.4.
        let class = match attribute.as_str() {
            "ou" => "organizationalUnit",
            "dc" => "domain",
            "o" => "organization",
            "c" => "country",
            "l" | "st" => "locality",
            "cn" if self.directory.root_dse().vendor == Vendor::ActiveDirectory => "container",
            _ => return None,
        };
        Some(Entry {
            dn: dn.to_owned(),
            attributes: vec![
                Attribute::new("objectClass", vec![class.as_bytes().to_vec()]),
                Attribute::new(ava.attribute.clone(), vec![ava.value.clone()]),
            ],
        })
    }

    /// The key of a task's entry, by which tasks are ordered.
    pub fn key(&self, dn: &str) -> Result<DnKey, singer_common::dn::DnError> {
        DnKey::parse(dn, self.directory.schema())
    }
}

/// The attributes to read for a comparison.
fn names_to_read(wanted: &WantedEntry) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(wanted.attributes.len());
    for attribute in wanted.attributes.iter().filter(|a| a.policy != Policy::CreateOnly) {
        let description = attribute.description.as_str();
        // `;binary` has to be asked for (RFC 4522); other options come with their type.
        let name = if description.to_ascii_lowercase().contains(";binary") {
            description
        } else {
            base_type(description)
        };
        if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        names.push("1.1".to_owned());
    }
    names
}
