//! The DNs that the changes of a plan give and take, by DN: a plan may have a hundred thousand of them.

use std::collections::{BTreeSet, HashMap};

use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;

use crate::write::undo::entities::{Entities, moved};

/// A rename, by its place among the changes.
#[derive(Debug)]
struct Renaming {
    place: usize,
    from: String,
    to: String,
}

/// The renames of a plan by the old DN, and its entries by every DN that they have in it.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    renamings: HashMap<DnKey, Vec<Renaming>>,
    bearers: HashMap<DnKey, BTreeSet<usize>>,
}

impl NameIndex {
    /// Builds the index of a plan.
    pub(super) fn of(entities: &Entities, schema: &Schema) -> NameIndex {
        let mut index = NameIndex::default();
        for (place, step) in entities.steps.iter().enumerate() {
            let Ok(key) = DnKey::parse(&step.dn, schema) else { continue };
            index.bearers.entry(key.clone()).or_default().insert(step.entity);
            if let Some(to) = &step.to {
                if let Ok(new) = DnKey::parse(to, schema) {
                    index.bearers.entry(new).or_default().insert(step.entity);
                }
                let renaming = Renaming { place, from: step.dn.clone(), to: to.clone() };
                index.renamings.entry(key).or_default().push(renaming);
            }
        }
        index
    }

    /// Whether another entry has a DN at any time in the plan.
    pub(super) fn is_borne_by_another(&self, dn: &str, entity: usize, schema: &Schema) -> bool {
        let bearers = DnKey::parse(dn, schema).ok().and_then(|key| self.bearers.get(&key));
        bearers.is_some_and(|bearers| bearers.iter().any(|bearer| *bearer != entity))
    }

    /// Returns a DN after the change at `place`, and those that it gets by later renames of entries above it. `None`: before all
    /// changes of its entry.
    pub(super) fn since(&self, dn: &str, place: Option<usize>, schema: &Schema) -> Vec<String> {
        let mut names = vec![dn.to_owned()];
        let Some(mut place) = place else { return names };
        let mut now = dn.to_owned();
        while let Some(renaming) = self.next_above(&now, place, schema) {
            place = renaming.place;
            let Some(next) = moved(&now, &renaming.from, &renaming.to, schema) else { continue };
            names.push(next.clone());
            now = next;
        }
        names
    }

    /// Returns the next rename of an entry above a DN.
    fn next_above(&self, dn: &str, place: usize, schema: &Schema) -> Option<&Renaming> {
        let mut above = DnKey::parse(dn, schema).ok()?.parent();
        let mut next: Option<&Renaming> = None;
        while let Some(key) = above {
            let later = self.renamings.get(&key).into_iter().flatten().find(|r| r.place > place);
            if let Some(later) = later.filter(|later| next.is_none_or(|next| later.place < next.place)) {
                next = Some(later);
            }
            above = key.parent();
        }
        next
    }
}
