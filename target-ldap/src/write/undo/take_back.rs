//! Takes the changes of a write back at once, because a later one failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

use ldap_directory::Directory;
use singer_common::operations::file::{JOURNAL, with_suffix};

use super::change_note::ChangeKind;
use super::entities::Entities;
use super::journal::{ChangeStatus, JournalReader};
use super::revert::{RevertOutcome, Reverter};
use super::{Announced, Undo};
use crate::write::destination::Destination;
use crate::write::protection::Protection;

impl Undo {
    /// Undoes all changes so far, the last one first, each only if its entry is still as the change left it. What is undone counts as
    /// not made, and is not in the undo file. Returns the entries that are not as before, with the reasons.
    ///
    /// # Errors
    /// The directory fails, or the journal cannot be read: the undo file has what remains.
    pub async fn take_back(
        &self,
        directory: &Directory,
        protection: Arc<Protection>,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let (places, committed) = {
            let journal = self.journal();
            (journal.places.clone(), journal.committed)
        };
        if !places.iter().any(|place| place.status == ChangeStatus::Made) {
            return Ok(Vec::new());
        }
        // With a position of its own: others append meanwhile.
        let file = File::open(with_suffix(&self.path, JOURNAL))?;
        let places: BTreeMap<u64, _> = (0..).zip(places).collect();
        let mut reading = JournalReader::of(file, self.header.clone(), places, committed);
        let entities = Entities::of(&mut reading, directory.schema())?;
        let destination = Destination::new(directory.clone(), protection)
            .having_added(entities.added())
            .taking_back(entities.changed());
        let reverter = Reverter {
            reading: &mut reading,
            entities: &entities,
            directory: &destination,
            skip: &BTreeSet::new(),
            again: &BTreeMap::new(),
            noted_in: None,
            names: None,
        };
        let report = { reverter }.run().await?;
        let mut left: Vec<(String, String)> = report.refused.into_values().collect();
        for (number, outcome) in &report.outcomes {
            let is_made = reading.places.get(number).is_some_and(|place| place.status == ChangeStatus::Made);
            // They are in the order of their numbers.
            let step = entities.steps.binary_search_by_key(number, |step| step.number);
            let step = step.ok().and_then(|at| entities.steps.get(at));
            if let Some(step) = step.filter(|step| step.kind == ChangeKind::Add && is_made)
                && *outcome == RevertOutcome::NotInEffect
            {
                // The server has said that it added the entry. What is not shown now may be there.
                let reason = "the directory added it, and does not show it now";
                left.push((step.dn.clone(), reason.to_owned()));
                continue;
            }
            if *outcome == RevertOutcome::TakenBack || *outcome == RevertOutcome::NotInEffect && is_made {
                self.void(Announced { number: *number, end: 0 });
            }
        }
        for (dn, names) in report.lost {
            let names: Vec<String> = names.into_iter().collect();
            left.push((dn, format!("the old value of {} could not be read", names.join(", "))));
        }
        Ok(left)
    }

    /// Marks all changes as not made: the caller has taken them back by itself.
    pub fn forget(&self) {
        let count = self.journal().places.len() as u64;
        (0..count).for_each(|number| self.void(Announced { number, end: 0 }));
    }
}
