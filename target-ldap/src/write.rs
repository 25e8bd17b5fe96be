//! Carrying a task out: read what is there, write what differs.

use std::sync::Arc;

use singer_common::change::Change;
use singer_common::directory::ldap::result_code;
use singer_common::directory::{DirectoryError, Vendor, WriteControl};
use singer_common::dn::{Dn, DnKey, split};
use singer_common::entry::{Attribute, Entry, base_type};

use crate::assertion::unchanged;
use crate::destination::Destination;
use crate::map::{ENTRY_UUID, Task};
use crate::plan::{Policy, Wanted, WantedEntry};
use crate::rejects::Answer;
use crate::rule::Operations;

mod login;
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
    /// Whether a modify is made only of what is as it was read.
    assert_unchanged: bool,
}

/// How often an entry that appears or disappears between reading and writing is read again.
const ATTEMPTS: u32 = 3;

impl Applier {
    /// An applier to a directory.
    pub fn new(directory: Destination, create_parents: bool) -> Self {
        let (parents, trees) = (Arc::default(), Arc::default());
        Self { directory, create_parents, parents, trees, assert_unchanged: false }
    }

    /// Modifies an entry only where what it changes is as it was read.
    #[must_use]
    pub fn asserting(self, assert_unchanged: bool) -> Self {
        Self { assert_unchanged, ..self }
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
            Task::Upsert { wanted, operations } => {
                self.upsert(wanted, *operations).await.map_err(|e| wanted.login.scrub(e))
            }
        }
    }

    async fn upsert(&self, wanted: &WantedEntry, operations: Operations) -> Result<Effect, DirectoryError> {
        let names = names_to_read(wanted, &self.login_names(wanted));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut attempt = 1;
        let mut password_is_set = false;
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
            let mut planned = self.planned(wanted, &current).await?;
            planned.exop = planned.exop.filter(|_| !password_is_set);
            if planned.is_empty() {
                return Ok(if password_is_set { Effect::Modified } else { Effect::Unchanged });
            }
            if !operations.update {
                return Ok(Effect::LeftAlone);
            }
            // Ahead of the other changes: they tell that the entry is no longer as it was added.
            if let Some(password) = &planned.exop {
                self.directory.set_password(&wanted.dn, password, true).await?;
                password_is_set = true;
            }
            let (changes, last) = (planned.changes, planned.last);
            if changes.is_empty() {
                return self.finish(wanted, last).await;
            }
            let schema = self.directory.schema();
            let condition = self.assert_unchanged.then(|| unchanged(&changes, &current, schema)).flatten();
            let controls: Vec<WriteControl> = condition.into_iter().collect();
            match self
                .directory
                .apply_with(&Change::Modify { dn: wanted.dn.clone(), changes }, &controls)
                .await
            {
                Ok(()) => return self.finish(wanted, last).await,
                // A value, or the entry, came or went in between: the plan was made of what is no longer so.
                Err(e)
                    if attempt < ATTEMPTS
                        && matches!(
                            e.code(),
                            Some(
                                result_code::NO_SUCH_ATTRIBUTE
                                    | result_code::ATTRIBUTE_OR_VALUE_EXISTS
                                    | result_code::NO_SUCH_OBJECT
                                    | result_code::ASSERTION_FAILED
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
        let entry = self.new_entry(wanted).await?;
        // Only `preserve_uuid` makes it so.
        let has_uuid =
            |a: &Wanted| a.policy == Policy::CreateOnly && a.description.eq_ignore_ascii_case(ENTRY_UUID);
        let controls: &[WriteControl] =
            if wanted.attributes.iter().any(has_uuid) { &[WriteControl::RelaxRules] } else { &[] };
        let change = Change::Add(entry);
        match self.directory.apply_with(&change, controls).await {
            Ok(()) => {}
            Err(e) if e.is_no_such_object() => {
                if !self.create_parents(&wanted.dn).await? {
                    return Ok(Effect::TooEarly(Answer::of(&e).unwrap_or_default()));
                }
                self.directory.apply_with(&change, controls).await?;
            }
            Err(e) => return Err(e),
        }
        self.after_add(wanted).await?;
        Ok(Effect::Added)
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
fn names_to_read(wanted: &WantedEntry, more: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = more.iter().map(|n| (*n).to_owned()).collect();
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
