//! Groups the changes of a run by entry. Pure.

use std::collections::{BTreeMap, HashMap};

use ldap_directory::dn::{DnKey, split};
use ldap_directory::schema::Schema;

use super::change_note::ChangeKind;
use super::journal::{ChangeStatus, JournalReader, ReadError};

/// One change.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number in the file.
    pub number: u64,
    /// The index of its entry in [`Entities::steps_of`].
    pub entity: usize,
    /// Whether it is known to be made.
    pub is_made: bool,
    /// Its kind.
    pub kind: ChangeKind,
    /// The DN of the entry before it.
    pub dn: String,
    /// The DN after it, if it is a rename.
    pub to: Option<String>,
}

/// The changes of a run, by entry.
#[derive(Debug, Default)]
pub struct Entities {
    /// In the order in which they were made.
    pub steps: Vec<Step>,
    /// The steps of each entry, in their order.
    pub steps_of: Vec<Vec<usize>>,
    /// The renames among the steps.
    pub renamings: Vec<usize>,
    /// The entries by the DN that they had before the run.
    owners: HashMap<DnKey, usize>,
    /// Whether the rules set no password: one that the journal does not have was set since.
    pub without_passwords: bool,
}

pub(super) fn key(dn: &str, schema: &Schema) -> DnKey {
    DnKey::parse(dn, schema).unwrap_or_default()
}

/// Returns a DN after its ancestor was renamed. `None`: it is not below the ancestor.
pub fn moved(dn: &str, from: &str, to: &str, schema: &Schema) -> Option<String> {
    if !key(dn, schema).is_within(&key(from, schema)) {
        return None;
    }
    let (parts, below) = (split(dn).ok()?, split(from).ok()?.len());
    let kept = parts.get(..parts.len().checked_sub(below)?)?;
    Some(kept.iter().copied().chain([to]).collect::<Vec<_>>().join(","))
}

impl Entities {
    /// Returns all DNs of the entries that the run changed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| [Some(step.dn.as_str()), step.to.as_deref()]).flatten()
    }

    /// Returns the DNs of the entries that the run added.
    pub(crate) fn added(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.kind == ChangeKind::Add).map(|step| step.dn.as_str())
    }

    /// Groups all changes of a file that were, or may have been, made.
    pub fn of(reading: &mut JournalReader, schema: &Schema) -> Result<Entities, ReadError> {
        let mut all = Entities::default();
        // The entries so far, by their current DN.
        let mut names: BTreeMap<DnKey, (usize, String)> = BTreeMap::new();
        // Whether each entry exists after its changes so far, if known.
        let mut there: Vec<Option<bool>> = Vec::new();
        let numbers: Vec<u64> = reading.places.keys().copied().collect();
        for number in numbers {
            let status = reading.status(number);
            if status == ChangeStatus::Void {
                continue;
            }
            let (note, _) = reading.load(number)?;
            // Refused, or without effect, such as the deletion of a missing entry.
            if status == ChangeStatus::Unknown && note.is_idle() {
                continue;
            }
            let at = key(&note.dn, schema);
            let known = names.get(&at).map(|(entity, _)| *entity);
            let entity = known.unwrap_or_else(|| {
                all.steps_of.push(Vec::new());
                there.push(None);
                let new = all.steps_of.len() - 1;
                if note.of != ChangeKind::Add {
                    all.owners.insert(at.clone(), new);
                }
                new
            });
            // An existing entry cannot be added, and a missing one cannot be changed: the change was probably refused.
            let is_there = there.get(entity).copied().flatten();
            if status == ChangeStatus::Unknown
                && is_there.is_some_and(|there| there == (note.of == ChangeKind::Add))
            {
                continue;
            }
            if let Some(slot) = there.get_mut(entity) {
                *slot = (status == ChangeStatus::Made).then_some(note.of != ChangeKind::Delete);
            }
            names.insert(at.clone(), (entity, note.dn.clone()));
            if let Some(to) = &note.to {
                let below: Vec<DnKey> = names.range(at.subtree()).map(|(k, _)| k.clone()).collect();
                let left: Vec<_> = below.iter().filter_map(|k| names.remove(k)).collect();
                for (entity, dn) in left {
                    if let Some(dn) = moved(&dn, &note.dn, to, schema) {
                        names.insert(key(&dn, schema), (entity, dn));
                    }
                }
                all.renamings.push(all.steps.len());
            }
            if let Some(steps) = all.steps_of.get_mut(entity) {
                steps.push(all.steps.len());
            }
            let is_made = status == ChangeStatus::Made;
            all.steps.push(Step { number, entity, is_made, kind: note.of, dn: note.dn, to: note.to });
        }
        Ok(all)
    }

    /// Whether another entry had a DN at any time in the run.
    pub fn is_borne_by_another(&self, dn: &str, entity: usize, schema: &Schema) -> bool {
        let name = key(dn, schema);
        let has = |dn: &String| key(dn, schema) == name;
        self.steps.iter().any(|s| s.entity != entity && (has(&s.dn) || s.to.as_ref().is_some_and(has)))
    }

    /// Returns the entry that had a DN before the run, and was renamed or deleted.
    pub fn owner(&self, dn: &str, schema: &Schema) -> Option<usize> {
        self.owners.get(&key(dn, schema)).copied()
    }
}
