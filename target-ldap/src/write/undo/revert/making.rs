//! How a change is undone: the names of members that it gives, the conditions, and the note of an entry that is added again.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write as _;

use chrono::Utc;
use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::time::generalized::GeneralizedTime;
use ldap_directory::{DirectoryError, WriteControl};

use super::super::change_note::{ChangeKind, ChangeNote};
use super::super::entities::{Step, key};
use super::super::journal;
use super::{At, Report, RevertOutcome, Reverter, is_refusal};
use crate::plan::assertion;
use crate::plan::redated::{marked_attributes, redated};
use crate::write::destination::Destination;
use crate::write::identity;

impl Reverter<'_> {
    /// Notes the new ID of a deleted entry that was added again. The files of earlier runs know the old one.
    pub(super) async fn note_again(&self, note: &ChangeNote) {
        let (Some(file), Some((name, old))) = (self.noted_in, &note.id) else { return };
        let Some((_, new)) = self.directory.id(&note.dn).await.filter(|(n, new)| n == name && new != old)
        else {
            return;
        };
        let line = journal::again(old, &new);
        let written = std::fs::File::options().append(true).open(file);
        if let Err(e) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::warn!(
                "{}: that `{}` has another {name} since could not be noted: {e}; the undo of an earlier run will leave it alone",
                file.display(),
                note.dn
            );
        }
    }

    /// Returns a change without the names of members that it may not give or take; `None`: nothing remains.
    pub(super) async fn allowed<'c>(
        &self,
        change: &'c Change,
        report: &mut Report,
    ) -> Result<Option<Cow<'c, Change>>, DirectoryError> {
        let Some(names) = self.names else { return Ok(Some(Cow::Borrowed(change))) };
        let refused: BTreeSet<usize> = report.refused.keys().copied().collect();
        let filtered = names.filtered(change, &refused, self.directory).await?;
        if !filtered.withheld.is_empty() {
            report.withheld.entry(change.dn().to_owned()).or_default().extend(filtered.withheld);
        }
        Ok(filtered.change.map(Cow::Owned))
    }

    /// Refuses to undo a change that would move its entry below another one than before, or make a second entry of a record. Returns whether
    /// it would.
    pub(super) async fn means_others(
        &self,
        step: &Step,
        (note, back): (&ChangeNote, &[Change]),
        now: At,
        report: &mut Report,
    ) -> Result<bool, DirectoryError> {
        let Some(why) = self.objection(note, back, report).await? else { return Ok(false) };
        if now == At::InEffect {
            report.in_part.insert(step.entity);
        }
        report.refused.insert(step.entity, (note.dn_after().to_owned(), why));
        report.outcomes.insert(step.number, RevertOutcome::Refused);
        Ok(true)
    }

    async fn objection(
        &self,
        note: &ChangeNote,
        back: &[Change],
        report: &Report,
    ) -> Result<Option<String>, DirectoryError> {
        let is_left = |entity: &usize| self.skip.contains(entity) || report.refused.contains_key(entity);
        let schema = self.directory.schema();
        for change in back {
            match change {
                Change::Rename { new_superior: Some(above), .. } => {
                    let Some(names) = self.names else { continue };
                    let objection = names.objection_to_superior(above, is_left, self.directory).await?;
                    if let Some(why) = objection {
                        return Ok(Some(format!("`{above}`, below which it was: {why}")));
                    }
                }
                Change::Add(_) => {
                    let Some(matched) = &note.matched else { continue };
                    let own = key(change.dn(), schema);
                    // Those of the run are undone as well.
                    let is_of_run = |at: &DnKey| {
                        let has = |dn: &String| key(dn, schema) == *at;
                        let mut of_run = self.entities.steps.iter().filter(|step| !is_left(&step.entity));
                        of_run.any(|step| has(&step.dn) || step.to.as_ref().is_some_and(has))
                    };
                    let is_excepted = |at: &DnKey| *at == own || is_of_run(at);
                    let other = identity::other_account(self.directory, matched, is_excepted).await?;
                    if let Some(other) = other {
                        return Ok(Some(identity::told_account(&other, matched)));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether a change of a group follows entries whose deletion or rename is undone later: then it waits for them.
    pub(super) fn follows_later(&self, place: usize, note: &ChangeNote, back: &[Change]) -> bool {
        let Some(names) = self.names.filter(|_| note.of == ChangeKind::Modify) else { return false };
        let all = self.entities;
        let steps_of = |entity: usize| {
            let steps = all.steps_of.get(entity).into_iter().flatten();
            steps.filter_map(|at| all.steps.get(*at).map(|step| (*at, step)))
        };
        let own = all.steps.get(place).map_or(usize::MAX, |step| step.entity);
        let schema = self.directory.schema();
        let at = key(&note.dn, schema);
        let is_moved = |step: &Step| step.to.as_ref().is_some_and(|to| at.is_within(&key(to, schema)));
        // Its DN, and itself, must be the same then.
        if steps_of(own).any(|(_, step)| step.kind != ChangeKind::Modify)
            || all
                .renamings
                .iter()
                .filter(|at| **at < place)
                .any(|at| all.steps.get(*at).is_some_and(is_moved))
        {
            return false;
        }
        let goes = |step: &Step| matches!(step.kind, ChangeKind::Delete | ChangeKind::Rename);
        let owners = names.named_by(back, schema);
        owners.into_iter().any(|entity| steps_of(entity).any(|(at, step)| at < place && goes(step)))
    }

    /// Undoes changes that had to wait for others.
    pub(super) async fn take_back_last(
        &self,
        steps: impl Iterator<Item = (Step, ChangeNote, Vec<Change>)>,
        report: &mut Report,
    ) -> Result<(), DirectoryError> {
        for (step, note, back) in steps {
            match self.take_back(&note, &back, report).await {
                Ok(outcome) => _ = report.outcomes.insert(step.number, outcome),
                Err((_, e)) if is_refusal(&e) => {
                    report.refused.insert(step.entity, (note.dn_after().to_owned(), e.to_string()));
                    report.outcomes.insert(step.number, RevertOutcome::Refused);
                }
                Err((_, e)) => return Err(e),
            }
        }
        Ok(())
    }

    /// Returns entries that are as before a deletion, and yet others: they were made since, with the same values.
    pub(super) async fn strangers(&mut self, report: &Report) -> anyhow::Result<BTreeSet<usize>> {
        let mut strangers = BTreeSet::new();
        if self.names.is_none() {
            return Ok(strangers);
        }
        let all = self.entities;
        for (entity, steps) in all.steps_of.iter().enumerate() {
            let of: Vec<&Step> = steps.iter().filter_map(|at| all.steps.get(*at)).collect();
            let is_back = |step: &&Step| report.outcomes.get(&step.number) == Some(&RevertOutcome::TakenBack);
            let goes = |step: &&Step| matches!(step.kind, ChangeKind::Delete | ChangeKind::Rename);
            let Some(first) = of.first().filter(|_| of.iter().any(goes) && !of.iter().any(is_back)) else {
                continue;
            };
            let expected = self.expected(steps, 0)?;
            let entry = expected.read(self.directory, &first.dn).await?;
            if entry.is_some_and(|entry| expected.is_another(&entry, self.directory.schema())) {
                strangers.insert(entity);
            }
        }
        Ok(strangers)
    }

    pub(super) async fn make(&self, change: &Change, relaxed: bool) -> Result<(), DirectoryError> {
        make_now(self.directory, change, relaxed).await
    }
}

/// Makes a change of an earlier run, an approved one or one that takes another back: the entry was just compared with what is known of it.
/// A marker of `on_delete.then` that it writes is of now.
pub(in crate::write) async fn make_now(
    directory: &Destination,
    change: &Change,
    relaxed: bool,
) -> Result<(), DirectoryError> {
    let names = marked_attributes(change);
    let current = if names.is_empty() || matches!(change, Change::Add(_)) {
        None
    } else {
        directory.read(change.dn(), &names).await?
    };
    let change = &*redated(change, current.as_ref(), Utc::now(), directory.schema());
    let controls = conditions(directory, change, relaxed).await?;
    directory.apply_unasked(change, &controls).await
}

/// Returns the controls of a change whose entry was just compared with what is known of it.
async fn conditions(
    directory: &Destination,
    change: &Change,
    relaxed: bool,
) -> Result<Vec<WriteControl>, DirectoryError> {
    let mut controls = Vec::new();
    match change {
        // No other client may change it between this check and the change.
        Change::Modify { dn, changes } if directory.takes_assertions() => {
            let names =
                crate::rules::names::to_ask(Vec::new(), changes.iter().map(|c| c.description.as_str()));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Some(read) = directory.read_whole(dn, &names).await? {
                controls.extend(assertion::unchanged(changes, &read, directory.schema()));
            }
        }
        Change::Add(_) if relaxed && directory.takes_relaxed_rules() => {
            controls.push(WriteControl::RelaxRules);
        }
        _ => {}
    }
    Ok(controls)
}

/// Whether an entry existed well before a run began, as far as its server says.
pub(super) fn is_older(entry: &Entry, started: &str) -> bool {
    /// Clocks differ.
    const TOLERANCE: chrono::TimeDelta = chrono::TimeDelta::minutes(10);
    let created = entry.first_text("createTimestamp").and_then(GeneralizedTime::read);
    let created = created.and_then(|time| time.to_date_time());
    let started = chrono::DateTime::parse_from_rfc3339(started).ok();
    matches!((created, started), (Some(created), Some(started)) if created + TOLERANCE < started)
}
