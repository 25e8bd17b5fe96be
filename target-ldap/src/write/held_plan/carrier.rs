//! Carries out a plan, entry by entry: an entry that changed since the plan was made is left as it is.
//!
//! The changes of an entry are made together, or not at all. The last of them whose result the entry shows tells how many are made
//! already: an interrupted apply continues there. If the entry is neither as the plan saw it nor as the plan leaves it, another client
//! has changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::{Directory, DirectoryError, MaintainedReferences, PreviewDirectory};

use super::name_index::NameIndex;
use super::reader::{PlanError, PlanReader};
use super::{PlanPart, PlannedNote, unique};
use crate::write::change_label::CHANGE_LABEL;
use crate::write::destination::Destination;
use crate::write::identity;
use crate::write::protection::Protection;
use crate::write::rename::is_respelled;
use crate::write::undo::change_note::{ChangeKind, ChangeNote};
use crate::write::undo::entities::Entities;
use crate::write::undo::expected::{Difference, Expected};
use crate::write::undo::revert::{is_refusal, make_now};

/// An entry that is left as it is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Its DN, as the plan has it.
    pub dn: String,
    /// The stream of its record.
    pub stream: Option<String>,
    /// The attribute that changed.
    pub attribute: Option<String>,
    /// The reason.
    pub reason: String,
}

/// What was done with the secrets of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftSecrets {
    /// The attributes.
    pub names: BTreeSet<String>,
    /// Whether no later run sets them.
    pub is_lost: bool,
}

/// The outcome of a plan.
#[derive(Debug, Default)]
pub struct CarriedOut {
    /// Changes that were made.
    pub made: u64,
    /// Changes that were made already.
    pub already: u64,
    /// Entries that are left as they are.
    pub refused: BTreeMap<usize, Objection>,
    /// Those among them of which a part was made, by this run.
    pub in_part: BTreeSet<usize>,
    /// Secrets that are not in the plan, by entry.
    pub secrets: BTreeMap<String, LeftSecrets>,
}

/// Where an entry is among its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    NotLooked,
    /// So many of its changes are made.
    After(usize),
    Left,
}

/// Carries out a plan.
struct Carrier<'a> {
    plan: &'a mut PlanReader,
    entities: &'a Entities,
    directory: &'a Destination,
    names: &'a NameIndex,
    /// Entries that are left as they are.
    skip: &'a BTreeMap<usize, Objection>,
}

/// An entry's notes, in the order of its changes.
struct Notes {
    notes: Vec<ChangeNote>,
    /// What only the plan has of each.
    parts: Vec<PlanPart>,
}

impl Carrier<'_> {
    async fn run(&mut self) -> anyhow::Result<CarriedOut> {
        let entities = self.entities;
        let mut done = CarriedOut::default();
        let mut at = vec![At::NotLooked; entities.steps_of.len()];
        for (place, step) in entities.steps.iter().enumerate() {
            let entity = step.entity;
            if self.skip.contains_key(&entity) {
                continue;
            }
            let steps = entities.steps_of.get(entity).map_or(&[][..], Vec::as_slice);
            let Some(slot) = at.get_mut(entity) else { continue };
            if *slot == At::NotLooked {
                *slot = match self.look(entity, steps).await? {
                    Ok(made) => At::After(made),
                    Err(objection) => {
                        done.refused.insert(entity, objection);
                        At::Left
                    }
                };
            }
            let At::After(made) = *slot else { continue };
            let index = steps.iter().position(|other| *other == place).unwrap_or_default();
            let (planned, change) = self.plan.load(step.number)?;
            if !planned.plan.secrets.is_empty() {
                let left = done.secrets.entry(planned.note.dn_after().to_owned()).or_default();
                left.names.extend(planned.plan.secrets.iter().cloned());
                left.is_lost |= planned.plan.is_lost;
            }
            let Some(change) = change else { continue };
            if index < made {
                done.already += 1;
                continue;
            }
            if let Some((attribute, reason)) = self.objection_now(&planned, &change).await? {
                if index > made || steps.first() != Some(&place) && made > 0 {
                    done.in_part.insert(entity);
                }
                *slot = At::Left;
                done.refused.insert(entity, objection(&planned, attribute, reason));
                continue;
            }
            let making = make_now(self.directory, &change, planned.note.relaxed);
            let made_now = match &planned.plan.record {
                Some(record) => CHANGE_LABEL.scope(record.to_label(), making).await,
                None => making.await,
            };
            match made_now {
                Ok(()) => {
                    done.made += 1;
                    *slot = At::After(index + 1);
                }
                Err(e) if is_refusal(&e) => {
                    if index > made || steps.first() != Some(&place) && made > 0 {
                        done.in_part.insert(entity);
                    }
                    *slot = At::Left;
                    done.refused.insert(entity, objection(&planned, None, e.to_string()));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    }

    /// Returns why a change is not made, whatever its own entry is like: the attribute, and the reason.
    async fn objection_now(
        &self,
        planned: &PlannedNote,
        change: &Change,
    ) -> Result<Option<(Option<String>, String)>, DirectoryError> {
        if let Some((attribute, other)) = unique::taken_since(self.directory, planned, change).await? {
            let reason = format!("`{other}` has the value of `{attribute}` by now, which was chosen for it");
            return Ok(Some((Some(attribute), reason)));
        }
        let schema = self.directory.schema();
        if let Some(matched) = &planned.note.matched {
            let own = DnKey::parse(change.dn(), schema).unwrap_or_default();
            if let Some(other) = identity::other_account(self.directory, matched, |key| *key == own).await? {
                return Ok(Some((None, identity::told_account(&other, matched))));
            }
        }
        for named in &planned.note.named {
            if let Some(why) = identity::objection(self.directory, named).await? {
                let reason = format!("`{}` in `{}`: {why}", named.dn, named.attribute);
                return Ok(Some((Some(named.attribute.clone()), reason)));
            }
        }
        Ok(None)
    }

    fn notes(&mut self, steps: &[usize]) -> Result<Notes, PlanError> {
        let mut all = Notes { notes: Vec::new(), parts: Vec::new() };
        for step in steps.iter().filter_map(|place| self.entities.steps.get(*place)) {
            let (PlannedNote { note, plan }, _) = self.plan.load(step.number)?;
            all.notes.push(note);
            all.parts.push(plan);
        }
        Ok(all)
    }

    /// Returns how many of an entry's changes are made already, or why none is made.
    async fn look(&mut self, entity: usize, steps: &[usize]) -> anyhow::Result<Result<usize, Objection>> {
        let all = self.notes(steps)?;
        let mut first = None;
        for made in (0..=all.notes.len()).rev() {
            let difference = self.difference(entity, steps, &all.notes, made).await?;
            match difference {
                // A part that has no result is made with the next one.
                None => {
                    let left = all.parts.iter().skip(made).position(|part| part.is_left);
                    let Some(left) =
                        left.and_then(|left| all.notes.get(made + left).zip(all.parts.get(made + left)))
                    else {
                        return Ok(Ok(made));
                    };
                    let (note, part) = left;
                    let reason = format!(
                        "it cannot be made without {}, which is in no plan: the next run with its record does it",
                        part.secrets.join(", ")
                    );
                    let planned = PlannedNote { note: note.clone(), plan: part.clone() };
                    return Ok(Err(objection(&planned, None, reason)));
                }
                difference => first = difference,
            }
        }
        let difference = first.unwrap_or(Difference { attribute: None, text: "it changed".to_owned() });
        let planned = all.notes.into_iter().next().zip(all.parts.into_iter().next());
        let (note, plan) = planned.unwrap_or_else(|| (ChangeNote::plain(""), PlanPart::default()));
        Ok(Err(objection(&PlannedNote { note, plan }, difference.attribute, difference.text)))
    }

    /// Returns how an entry differs from its state after the first `made` of its changes.
    async fn difference(
        &self,
        entity: usize,
        steps: &[usize],
        notes: &[ChangeNote],
        made: usize,
    ) -> anyhow::Result<Option<Difference>> {
        let schema = self.directory.schema();
        let expected = Expected::new(notes, made, None, schema).of_plan();
        let last = made.checked_sub(1).and_then(|last| notes.get(last));
        let dn = match (last, notes.first()) {
            (Some(note), _) => note.dn_after(),
            (None, first) => first.map_or("", |note| note.dn.as_str()),
        };
        let place = made.checked_sub(1).and_then(|last| steps.get(last)).copied();
        let mut found = None;
        for dn in self.names.since(dn, place, schema) {
            let entry = expected.read(self.directory, &dn).await?;
            let mut difference =
                expected.difference(entry.as_ref(), self.directory.root_dse().vendor, schema);
            if !expected.exists && entry.is_some() && self.is_of_another(entity, &dn, notes).await? {
                difference = None;
            }
            let is_spelled = |entry: &Entry| {
                last.filter(|note| note.of == ChangeKind::Rename)
                    .is_none_or(|note| !is_respelled(&entry.dn, note.dn_after(), schema))
            };
            if difference.is_none() && !entry.as_ref().is_none_or(is_spelled) {
                difference =
                    Some(Difference { attribute: None, text: "its name is spelled otherwise".to_owned() });
            }
            match (expected.exists, difference) {
                (true, None) => return Ok(None),
                // It must be at none of them.
                (false, Some(difference)) => return Ok(Some(difference)),
                (false, None) => found = None,
                (true, difference) => found = found.or(difference),
            }
        }
        Ok(found)
    }

    /// Whether a DN that is to be free has the entry to which the plan gives it later.
    async fn is_of_another(
        &self,
        entity: usize,
        dn: &str,
        notes: &[ChangeNote],
    ) -> Result<bool, DirectoryError> {
        let schema = self.directory.schema();
        let before = Expected::new(notes, 0, None, schema).of_plan();
        if !before.exists || !self.names.is_borne_by_another(dn, entity, schema) {
            return Ok(false);
        }
        let Some(entry) = before.read(self.directory, dn).await? else { return Ok(true) };
        let is_unlike =
            || before.difference(Some(&entry), self.directory.root_dse().vendor, schema).is_some();
        Ok(before.is_another(&entry, schema) || !before.is_the_same(&entry, schema) && is_unlike())
    }
}

fn objection(planned: &PlannedNote, attribute: Option<String>, reason: String) -> Objection {
    let stream = planned.plan.record.as_ref().map(|record| record.stream.clone());
    Objection { dn: planned.note.dn.clone(), stream, attribute, reason }
}

/// Determines in memory which entries are left as they are: an entry of which only a part could be made is left as a whole, and so is
/// what would name it.
///
/// # Errors
/// The directory or the plan cannot be read.
pub async fn rehearse(
    plan: &mut PlanReader,
    entities: &Entities,
    (directory, protection): (&Directory, &Arc<Protection>),
    references: Option<&MaintainedReferences>,
) -> anyhow::Result<BTreeMap<usize, Objection>> {
    let mut skip = BTreeMap::new();
    let names = NameIndex::of(entities, directory.schema());
    loop {
        let preview = PreviewDirectory::new(directory.clone()).with_schema_check();
        let preview = Directory::Preview(preview.with_references(references.cloned()));
        let preview = Destination::new(preview, protection.clone());
        let done = Carrier { plan, entities, directory: &preview, names: &names, skip: &skip }.run().await?;
        let is_partial = !done.in_part.is_empty();
        skip.extend(done.refused);
        let naming = super::names::of_refused(plan, entities, &skip, directory.schema())?;
        if naming.is_empty() && !is_partial {
            return Ok(skip);
        }
        skip.extend(naming);
    }
}

/// Carries out a plan that was rehearsed.
///
/// # Errors
/// The directory or the plan fails. What was made before stays, and is in the undo file.
pub async fn carry_out(
    plan: &mut PlanReader,
    entities: &Entities,
    directory: &Destination,
    skip: &BTreeMap<usize, Objection>,
) -> anyhow::Result<CarriedOut> {
    let names = NameIndex::of(entities, directory.schema());
    let mut done = Carrier { plan, entities, directory, names: &names, skip }.run().await?;
    done.refused.extend(skip.clone());
    Ok(done)
}
