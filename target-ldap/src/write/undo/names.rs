//! Names of entries in groups. An undo gives them back only together with the entry that they belong to, never to another entry of the
//! name, and leaves no name behind that it frees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::time::generalized::GeneralizedTime;
use ldap_directory::{Directory, DirectoryError};

use super::change_note::{ChangeKind, id, value_digest};
use super::entities::{Entities, key};
use super::journal::{JournalReader, ReadError};
use crate::rules::names::{ENTRY_IDS, to_ask};
use crate::write::all_data::{MEMBER_UID, UID, Values, for_each, uids_of};
use crate::write::identity::{ANOTHER, GONE, HIDDEN, has_id, is_of_names};

const NOT_TAKEN_BACK: &str = "the change of the entry that it belongs to is not taken back";

/// The names that the entries of an undo file had.
#[derive(Debug, Default)]
pub struct Names {
    /// The entries that were added, deleted or renamed, by their DNs.
    dns: BTreeMap<DnKey, BTreeSet<usize>>,
    /// The same by their user names.
    uids: BTreeMap<Vec<u8>, BTreeSet<usize>>,
    /// When the run began.
    started: Option<DateTime<Utc>>,
    /// The digests of the IDs of entries that an undo added again.
    made_again: BTreeSet<String>,
    /// The IDs of entries that were members, by the digests of their names; an undo may have added them again with other ones.
    members: HashMap<String, (String, String)>,
    again: BTreeMap<String, String>,
    /// Entries that are not taken back: their names stay where they are.
    withheld: BTreeSet<usize>,
    /// Whether DNs and user names are of entries that were made after the run.
    newcomers: Mutex<HashMap<Vec<u8>, bool>>,
}

/// What remains of a change.
pub(super) struct Filtered {
    /// `None`: nothing.
    pub(super) change: Option<Change>,
    /// What was left out: the attribute, the value, and the reason.
    pub(super) withheld: Vec<String>,
}

/// Whether an attribute has names of members: DNs, or user names.
enum Holds {
    Dns,
    Uids,
    Others,
}

fn holds(name: &str, schema: &Schema) -> Holds {
    if schema.same_description(name, MEMBER_UID) {
        Holds::Uids
    } else if is_of_names(name, schema) {
        Holds::Dns
    } else {
        Holds::Others
    }
}

/// Returns the digest of a name, in whatever attribute it is.
fn name_digest(value: &[u8], schema: &Schema) -> String {
    value_digest("distinguishedName", value, schema)
}

pub(super) fn dn_of(value: &[u8], schema: &Schema) -> Option<DnKey> {
    DnKey::parse(std::str::from_utf8(value).ok()?, schema).ok()
}

/// Returns all entries of a directory's data that a filter matches, with the values that the server returns.
pub(super) async fn find(
    directory: &Directory,
    filter: &Filter,
    names: &[&str],
) -> Result<Vec<Entry>, DirectoryError> {
    let mut found = Vec::new();
    for_each(directory, filter, names, Values::Returned, |entry| found.push(entry)).await?;
    Ok(found)
}

impl Names {
    /// Returns the names in an undo file. `again`: the new IDs of entries that an undo added again.
    pub fn of(
        reading: &mut JournalReader,
        entities: &Entities,
        again: &BTreeMap<String, String>,
        schema: &Schema,
    ) -> Result<Names, ReadError> {
        let started = DateTime::parse_from_rfc3339(&reading.header.started).ok();
        let mut all = Names {
            started: started.map(|time| time.with_timezone(&Utc)),
            made_again: again.values().cloned().collect(),
            again: again.clone(),
            ..Names::default()
        };
        for step in &entities.steps {
            let (note, back) = reading.load(step.number)?;
            for (digest, id) in note.members {
                all.members.entry(digest).or_insert(id);
            }
            for named in note.named {
                all.members.entry(name_digest(named.dn.as_bytes(), schema)).or_insert(named.id);
            }
            let mut uids = Vec::new();
            if note.of != ChangeKind::Modify {
                for dn in [Some(&note.dn), note.to.as_ref()].into_iter().flatten() {
                    all.dns.entry(key(dn, schema)).or_default().insert(step.entity);
                    uids.extend(uids_of(dn, schema));
                }
            }
            for change in &back {
                match change {
                    Change::Add(entry) => uids.extend(schema.values_of(entry, UID).iter().cloned()),
                    Change::Modify { changes, .. } => {
                        let of = changes.iter().filter(|m| schema.same_description(&m.description, UID));
                        uids.extend(of.flat_map(|m| m.values.clone()));
                    }
                    Change::Delete { .. } | Change::Rename { .. } => {}
                }
            }
            for uid in uids {
                all.uids.entry(uid.to_ascii_lowercase()).or_default().insert(step.entity);
            }
        }
        Ok(all)
    }

    /// Sets entries that are not taken back. Returns whether that is news.
    pub(super) fn withhold(&mut self, entities: impl IntoIterator<Item = usize>) -> bool {
        let before = self.withheld.len();
        self.withheld.extend(entities);
        self.withheld.len() > before
    }

    /// Returns the entries of the file that a value names: they, or entries below them.
    fn owners(&self, name: &str, value: &[u8], schema: &Schema) -> BTreeSet<usize> {
        match holds(name, schema) {
            Holds::Uids => self.uids.get(&value.to_ascii_lowercase()).cloned().unwrap_or_default(),
            Holds::Dns => self.owners_of_dn(value, schema),
            Holds::Others => BTreeSet::new(),
        }
    }

    fn owners_of_dn(&self, value: &[u8], schema: &Schema) -> BTreeSet<usize> {
        let mut at = dn_of(value, schema);
        let mut owners = BTreeSet::new();
        while let Some(key) = at.filter(|key| !key.is_root()) {
            owners.extend(self.dns.get(&key).into_iter().flatten().copied());
            at = key.parent();
        }
        owners
    }

    /// Whether the file has an entry of this very DN that was added, deleted or renamed.
    pub(super) fn has(&self, value: &[u8], schema: &Schema) -> bool {
        dn_of(value, schema).is_some_and(|key| self.dns.contains_key(&key))
    }

    /// Returns why a name that the server took out is not given back, in whatever attribute; `None`: it is. `refused`: entries that are not
    /// taken back, beside the known.
    pub(super) fn objection_to_gift(
        &self,
        (name, value): (&str, &[u8]),
        refused: impl Fn(&usize) -> bool,
        schema: &Schema,
    ) -> Option<String> {
        let owners = self.owners_of_dn(value, schema);
        let is_left = owners.iter().any(|owner| self.withheld.contains(owner) || refused(owner));
        is_left.then(|| told(name, value, NOT_TAKEN_BACK))
    }

    /// Returns the entries of the file that the values of changes name.
    pub(super) fn named_by(&self, changes: &[Change], schema: &Schema) -> BTreeSet<usize> {
        let mut owners = BTreeSet::new();
        for change in changes {
            let Change::Modify { changes, .. } = change else { continue };
            for step in changes {
                for value in &step.values {
                    owners.extend(self.owners(&step.description, value, schema));
                }
            }
        }
        owners
    }

    /// Returns why a value is neither added nor removed; `None`: it is.
    async fn objection(
        &self,
        (name, value): (&str, &[u8]),
        is_added: bool,
        refused: &BTreeSet<usize>,
        directory: &Directory,
    ) -> Result<Option<&'static str>, DirectoryError> {
        let schema = directory.schema();
        let owners = self.owners(name, value, schema);
        if owners.iter().any(|owner| self.withheld.contains(owner) || refused.contains(owner)) {
            return Ok(Some(NOT_TAKEN_BACK));
        }
        if !owners.is_empty() || !is_added {
            return Ok(None);
        }
        let known = self.members.get(&name_digest(value, schema));
        if let Some(id) = known.or_else(|| self.members.get(&value_digest(name, value, schema))) {
            let dn = String::from_utf8_lossy(value);
            return self.objection_to_bearer(&dn, id, directory).await;
        }
        let is_new = match holds(name, schema) {
            Holds::Others => false,
            Holds::Dns => self.is_newcomer(value, true, directory).await?,
            Holds::Uids => self.is_newcomer(value, false, directory).await?,
        };
        Ok(is_new.then_some("another entry has that name since: it was made after the run"))
    }

    /// Returns why the entry of a name is not the one that had it; `None`: it is, or it is that entry, added again.
    async fn objection_to_bearer(
        &self,
        dn: &str,
        former: &(String, String),
        directory: &Directory,
    ) -> Result<Option<&'static str>, DirectoryError> {
        let Some(entry) = directory.read(dn, &ENTRY_IDS).await? else { return Ok(Some(GONE)) };
        let schema = directory.schema();
        let (attribute, mut digest) = (&former.0, Some(&former.1));
        // A cycle is not written; each step is another undo.
        for _ in 0..=self.again.len() {
            let Some(this) = digest else { break };
            match has_id(&entry, &(attribute.clone(), this.clone()), schema) {
                Some(true) => return Ok(None),
                Some(false) => digest = self.again.get(this),
                None => return Ok(Some(HIDDEN)),
            }
        }
        Ok(Some(ANOTHER))
    }

    /// Returns why nothing is moved back below an entry; `None`: it is. `refused`: entries that are not taken back, beside the known.
    pub(super) async fn objection_to_superior(
        &self,
        dn: &str,
        refused: impl Fn(&usize) -> bool,
        directory: &Directory,
    ) -> Result<Option<&'static str>, DirectoryError> {
        let schema = directory.schema();
        let owners = self.owners_of_dn(dn.as_bytes(), schema);
        if !owners.is_empty() {
            let is_left = owners.iter().any(|owner| self.withheld.contains(owner) || refused(owner));
            return Ok(is_left.then_some(NOT_TAKEN_BACK));
        }
        match self.members.get(&name_digest(dn.as_bytes(), schema)) {
            Some(id) => self.objection_to_bearer(dn, id, directory).await,
            None => Ok(None),
        }
    }

    /// Whether the entry of a name was made after the run began.
    async fn is_newcomer(
        &self,
        value: &[u8],
        is_dn: bool,
        directory: &Directory,
    ) -> Result<bool, DirectoryError> {
        let known =
            |of: &Self| of.newcomers.lock().unwrap_or_else(PoisonError::into_inner).get(value).copied();
        if let Some(known) = known(self) {
            return Ok(known);
        }
        let names = to_ask(vec!["createTimestamp".to_owned(), "whenCreated".to_owned()], ENTRY_IDS);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let entries = if is_dn {
            let dn = String::from_utf8_lossy(value);
            // A value of another form is no name.
            match dn_of(value, directory.schema()) {
                Some(_) => directory.read(&dn, &names).await?.into_iter().collect(),
                None => Vec::new(),
            }
        } else {
            find(directory, &Filter::equality(UID, value.to_vec()), &names).await?
        };
        let is_new = entries.iter().any(|entry| self.is_new(entry, directory.schema()));
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner).insert(value.to_vec(), is_new);
        Ok(is_new)
    }

    fn is_new(&self, entry: &Entry, schema: &Schema) -> bool {
        if id(entry, schema).is_some_and(|(_, digest)| self.made_again.contains(&digest)) {
            return false;
        }
        let created = entry.first_text("createTimestamp").or_else(|| entry.first_text("whenCreated"));
        let created = created.and_then(GeneralizedTime::read).and_then(|time| time.to_date_time());
        matches!((created, self.started), (Some(created), Some(started)) if created > started)
    }

    /// Returns a change without the names that it may not give or take. `refused`: entries that are not taken back, beside the known.
    pub(super) async fn filtered(
        &self,
        change: &Change,
        refused: &BTreeSet<usize>,
        directory: &Directory,
    ) -> Result<Filtered, DirectoryError> {
        let mut withheld = Vec::new();
        let change = match change {
            Change::Add(entry) => {
                let mut entry = entry.clone();
                for attribute in &mut entry.attributes {
                    let values = std::mem::take(&mut attribute.values);
                    for value in values {
                        let of = (&*attribute.description, &*value);
                        match self.objection(of, true, refused, directory).await? {
                            None => attribute.values.push(value),
                            Some(why) => withheld.push(told(&attribute.description, &value, why)),
                        }
                    }
                }
                entry.attributes.retain(|attribute| !attribute.values.is_empty());
                Some(Change::Add(entry))
            }
            Change::Modify { dn, changes } => {
                let mut steps = Vec::new();
                for step in changes {
                    let before = withheld.len();
                    let rest = self.step(dn, step, refused, directory, &mut withheld).await?;
                    steps.push((step, rest, withheld.len() > before));
                }
                // The one value of such an attribute stays, or is replaced.
                let schema = directory.schema();
                let is_single = |name: &str| schema.is_single_valued(name);
                let kept: BTreeSet<&str> = steps
                    .iter()
                    .filter(|(step, _, is_withheld)| *is_withheld && is_single(&step.description))
                    .map(|(step, ..)| step.description.as_str())
                    .collect();
                let is_kept = |name: &str| kept.iter().any(|kept| schema.same_description(kept, name));
                let steps = steps.into_iter().filter(|(step, ..)| !is_kept(&step.description));
                let steps: Vec<Modification> = steps.filter_map(|(_, rest, _)| rest).collect();
                (!steps.is_empty()).then(|| Change::Modify { dn: dn.clone(), changes: steps })
            }
            Change::Delete { .. } | Change::Rename { .. } => Some(change.clone()),
        };
        Ok(Filtered { change, withheld })
    }

    async fn step(
        &self,
        dn: &str,
        step: &Modification,
        refused: &BTreeSet<usize>,
        directory: &Directory,
        withheld: &mut Vec<String>,
    ) -> Result<Option<Modification>, DirectoryError> {
        let (name, schema) = (step.description.as_str(), directory.schema());
        if matches!(holds(name, schema), Holds::Others) {
            return Ok(Some(step.clone()));
        }
        let mut values = Vec::new();
        if step.kind != ModificationKind::Replace {
            let is_added = step.kind == ModificationKind::Add;
            for value in &step.values {
                match self.objection((name, value), is_added, refused, directory).await? {
                    None => values.push(value.clone()),
                    Some(why) => withheld.push(told(name, value, why)),
                }
            }
            let is_left = !values.is_empty() || step.values.is_empty();
            return Ok(is_left.then(|| Modification { values, ..step.clone() }));
        }
        let entry = directory.read_whole(dn, &[name]).await?;
        let there = entry.map(|entry| schema.values_of(&entry, name).to_vec()).unwrap_or_default();
        let rule = schema.equality(name);
        let normal = |value: &Vec<u8>| rule.normalize(value, schema).into_owned();
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (step.values.iter().map(normal).collect(), there.iter().map(normal).collect());
        for value in &step.values {
            let is_there = new.contains(&normal(value));
            match self.objection((name, value), true, refused, directory).await?.filter(|_| !is_there) {
                None => values.push(value.clone()),
                Some(why) => withheld.push(told(name, value, why)),
            }
        }
        for value in there.iter().filter(|value| !old.contains(&normal(value))) {
            if let Some(why) = self.objection((name, value), false, refused, directory).await? {
                withheld.push(told(name, value, why));
                values.push(value.clone());
            }
        }
        Ok(Some(Modification { values, ..step.clone() }))
    }
}

fn told(name: &str, value: &[u8], why: &str) -> String {
    format!("`{}` in `{name}` stays as it is: {why}", String::from_utf8_lossy(value))
}
