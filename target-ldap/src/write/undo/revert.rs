//! Undoes changes, the last one first, each only if the entry is still as the change left it.
//!
//! The changes of an entry are undone together, or not at all. Going back through them, the first change after which the entry
//! would be as it is now shows how many are undone already: an interrupted undo continues there. If there is none, another
//! client has changed the entry, and it is left as it is.
//!
//! If a run gave one DN to several entries, a repeated undo may consider one of them changed: it is reported and left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn;
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Vendor};

mod given_back;
mod making;

pub(in crate::write) use given_back::PASSWORD;
use making::is_older;
pub(in crate::write) use making::make_now;

use super::change_note::{ChangeKind, ChangeNote};
use super::entities::{Entities, Step, key, moved};
use super::expected::Expected;
use super::journal::JournalReader;
use super::names::Names;
use crate::write::destination::Destination;
use crate::write::guard::Tally;
use crate::write::protection::Protection;

/// The outcome for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevertOutcome {
    /// It was undone.
    TakenBack,
    /// It was not in effect.
    NotInEffect,
    /// It was left as it is.
    Refused,
}

/// The outcomes for all changes.
#[derive(Debug, Default)]
pub struct Report {
    /// By the number of the change.
    pub outcomes: BTreeMap<u64, RevertOutcome>,
    /// Entries that were left as they are, with their DNs and the reasons.
    pub refused: BTreeMap<usize, (String, String)>,
    /// Those among them with changes that are undone already.
    pub in_part: BTreeSet<usize>,
    /// Attributes that could not be restored, by entry.
    pub lost: BTreeMap<String, BTreeSet<String>>,
    /// Entries whose passwords may have been changed since.
    pub unseen: BTreeSet<String>,
    /// Groups with names that were neither given nor taken, and why.
    pub withheld: BTreeMap<String, BTreeSet<String>>,
    /// Accounts that were added again, and have no password.
    pub without_password: BTreeSet<String>,
    /// Groups that have names of entries that are gone.
    pub named: BTreeMap<String, String>,
    /// Entries that cannot be undone, for a group would be left without a member.
    pub(super) blocked: BTreeMap<usize, (String, String)>,
}

/// The position within an entry's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// None of them is known to be in effect yet.
    Looking,
    /// This one and those before it are.
    InEffect,
    /// Nothing more is done.
    Left,
}

/// Undoes the changes of entries.
pub struct Reverter<'a> {
    /// The file.
    pub reading: &'a mut JournalReader,
    /// Its changes, by entry.
    pub entities: &'a Entities,
    /// Where the changes were made.
    pub directory: &'a Destination,
    /// Entries that are left as they are.
    pub skip: &'a BTreeSet<usize>,
    /// Entries that an undo added again: the digests of their new IDs by the old ones.
    pub again: &'a BTreeMap<String, String>,
    /// The file in which entries that are added again are noted.
    pub noted_in: Option<&'a Path>,
    /// The names of the file's entries in groups; `None`: they are not looked at.
    pub names: Option<&'a Names>,
}

/// Whether one change was refused, and the next may be accepted.
pub(in crate::write) fn is_refusal(error: &DirectoryError) -> bool {
    matches!(error, DirectoryError::Operation { .. } | DirectoryError::Forbidden { .. })
}

/// Whether an entry cannot be deleted because others are below it.
fn has_subordinates(error: &DirectoryError) -> bool {
    error.code() == Some(result_code::NOT_ALLOWED_ON_NON_LEAF)
}

impl Reverter<'_> {
    /// Undoes all changes.
    pub async fn run(&mut self) -> anyhow::Result<Report> {
        let entities = self.entities;
        let mut report = Report::default();
        let mut at = vec![At::Looking; self.entities.steps_of.len()];
        let mut objections: BTreeMap<usize, String> = BTreeMap::new();
        // Entries that did not exist before, whose DNs are taken, possibly by others of the run.
        let mut waiting: Vec<(usize, String, String)> = Vec::new();
        // Entries that the run added, with entries of the run below them that are undone later: their depth first.
        let mut parents = Vec::new();
        // Changes of groups that follow entries whose own changes are undone later.
        let mut followers = Vec::new();
        for place in (0..self.entities.steps.len()).rev() {
            let Some(step) = self.entities.steps.get(place).cloned() else { continue };
            if self.skip.contains(&step.entity) {
                continue;
            }
            let Some(now) = at.get(step.entity).copied() else { continue };
            let steps = entities.steps_of.get(step.entity).map_or(&[][..], Vec::as_slice);
            let made = steps.iter().position(|s| *s == place).map_or(0, |p| p + 1);
            if now == At::Left {
                report.outcomes.insert(step.number, RevertOutcome::Refused);
                continue;
            }
            let (note, back) = self.reading.load(step.number)?;
            let mut in_effect = now == At::InEffect;
            if now == At::Looking || !step.is_made {
                let expected = if now == At::Looking {
                    self.expected(steps, made)?
                } else {
                    Expected::new(std::slice::from_ref(&note), 1, None, self.schema()).without_id()
                };
                let difference = self.difference(note.dn_after(), &expected, &note, step.is_made).await?;
                in_effect = difference.is_none();
                // A missing entry may be at a DN from before earlier changes, which are undone already.
                if in_effect && now == At::Looking && !expected.exists {
                    in_effect = !self.is_elsewhere(place, &note.dn, steps, made).await?
                        && !self.was_never_there(steps).await?;
                }
                in_effect = in_effect && self.is_name_free(&note).await?;
                if let Some(difference) = difference.filter(|_| now == At::Looking) {
                    objections.entry(step.entity).or_insert(difference);
                }
            }
            // What the server took out is given back with the entry that it names, and after a change of the same group that waits.
            let waits = if note.by_server {
                followers.iter().any(|(waiting, ..): &(Step, _, _)| waiting.entity == step.entity)
            } else {
                self.follows_later(place, &note, &back)
            };
            if in_effect && waits {
                set(&mut at, step.entity, At::InEffect);
                followers.push((step, note, back));
                continue;
            }
            if in_effect && self.means_others(&step, (&note, &back), now, &mut report).await? {
                set(&mut at, step.entity, At::Left);
                continue;
            }
            if in_effect {
                match self.take_back(&note, &back, &mut report).await {
                    Ok(outcome) => {
                        report.outcomes.insert(step.number, outcome);
                        set(&mut at, step.entity, At::InEffect);
                    }
                    // Two records made the same parent at once: entries below it may be in the journal before it.
                    Err((false, e)) if note.of == ChangeKind::Add && has_subordinates(&e) => {
                        parents.push((key(&note.dn, self.schema()).depth(), step, note, back));
                    }
                    Err((is_begun, e)) if is_refusal(&e) => {
                        if is_begun || now == At::InEffect {
                            report.in_part.insert(step.entity);
                        }
                        report.refused.insert(step.entity, (note.dn_after().to_owned(), e.to_string()));
                        report.outcomes.insert(step.number, RevertOutcome::Refused);
                        set(&mut at, step.entity, At::Left);
                    }
                    Err((_, e)) => return Err(e.into()),
                }
                continue;
            }
            report.outcomes.insert(step.number, RevertOutcome::NotInEffect);
            if now == At::InEffect || made > 1 {
                continue;
            }
            // None of its changes is in effect: it is as before the first one, or another client changed it.
            let expected = self.expected(steps, 0)?;
            if self.is_as_before(place, &note, &expected).await? {
                continue;
            }
            let difference = objections.remove(&step.entity).unwrap_or_default();
            // Another entry may have its DN until that one's changes are undone.
            if !expected.exists && entities.is_borne_by_another(&note.dn, step.entity, self.schema()) {
                waiting.push((step.entity, note.dn, difference));
            } else {
                self.leave(&mut report, step.entity, difference);
            }
        }
        parents.sort_by_key(|(depth, ..)| std::cmp::Reverse(*depth));
        let parents = parents.into_iter().map(|(_, step, note, back)| (step, note, back));
        self.take_back_last(parents.chain(followers), &mut report).await?;
        for (entity, dn, difference) in waiting {
            if !self.is_another_again(&dn, entity, &report).await? {
                self.leave(&mut report, entity, difference);
            }
        }
        self.clear_names(&mut report).await?;
        Ok(report)
    }

    /// Whether an entry's DN before a rename is free; else another entry has the new one.
    async fn is_name_free(&self, note: &ChangeNote) -> Result<bool, DirectoryError> {
        Ok(note.of != ChangeKind::Rename
            || key(&note.dn, self.schema()) == key(note.dn_after(), self.schema())
            || self.directory.read(&note.dn, &["1.1"]).await?.is_none())
    }

    /// Whether a DN has no entry, or the one that had it before the run, as it was then.
    async fn is_another_again(&mut self, dn: &str, entity: usize, report: &Report) -> anyhow::Result<bool> {
        if self.directory.read(dn, &["1.1"]).await?.is_none() {
            return Ok(true);
        }
        let entities = self.entities;
        let owner = entities.owner(dn, self.schema());
        let Some(owner) = owner.filter(|o| *o != entity && !report.refused.contains_key(o)) else {
            return Ok(false);
        };
        let steps = entities.steps_of.get(owner).map_or(&[][..], Vec::as_slice);
        let Some(first) = steps.first().and_then(|s| entities.steps.get(*s)) else { return Ok(false) };
        let expected = self.expected(steps, 0)?;
        let (note, _) = self.reading.load(first.number)?;
        Ok(self.difference(&first.dn, &expected, &note, true).await?.is_none())
    }

    fn schema(&self) -> &Schema {
        self.directory.schema()
    }

    fn vendor(&self) -> Vendor {
        self.directory.root_dse().vendor
    }

    fn leave(&self, report: &mut Report, entity: usize, difference: String) {
        let unlike = "it is neither as the run left it nor as it was before; a later run may have changed it";
        let difference = if difference.is_empty() { unlike.to_owned() } else { difference };
        let steps = self.entities.steps_of.get(entity).into_iter().flatten();
        let steps: Vec<_> = steps.filter_map(|s| self.entities.steps.get(*s)).collect();
        let dn = steps.last().map(|s| s.to.as_ref().unwrap_or(&s.dn).clone()).unwrap_or_default();
        for step in steps {
            report.outcomes.insert(step.number, RevertOutcome::Refused);
        }
        report.refused.insert(entity, (dn, difference));
    }

    /// Returns the expected state after the first `made` of an entry's changes.
    fn expected(&mut self, steps: &[usize], made: usize) -> anyhow::Result<Expected> {
        let mut notes: Vec<ChangeNote> = Vec::with_capacity(steps.len());
        let mut deleted: Option<Entry> = None;
        for (n, place) in steps.iter().enumerate() {
            let Some(step) = self.entities.steps.get(*place) else { continue };
            let (note, back) = self.reading.load(step.number)?;
            if n >= made && note.of == ChangeKind::Delete && deleted.is_none() {
                deleted = back.into_iter().find_map(|c| match c {
                    Change::Add(entry) => Some(entry),
                    _ => None,
                });
            }
            notes.push(note);
        }
        let mut expected = Expected::new(&notes, made, deleted.as_ref(), self.directory.schema())
            .without_password(self.entities.without_passwords);
        expected.accept(self.again);
        Ok(expected)
    }

    /// Returns how an entry differs from the expected state.
    async fn difference(
        &self,
        dn: &str,
        expected: &Expected,
        note: &ChangeNote,
        is_made: bool,
    ) -> Result<Option<String>, DirectoryError> {
        let entry = expected.read(self.directory, dn).await?;
        if let Some(difference) = expected.difference(entry.as_ref(), self.vendor(), self.schema()) {
            return Ok(Some(difference.text));
        }
        // Values that the server may have taken out are not compared above, and show whether this change was made.
        if !is_made && note.of == ChangeKind::Modify {
            let alone = Expected::new(std::slice::from_ref(note), 1, None, self.schema()).without_id();
            let entry = alone.read(self.directory, dn).await?;
            if let Some(difference) = alone.difference(entry.as_ref(), self.vendor(), self.schema()) {
                return Ok(Some(difference.text));
            }
        }
        // A similar entry may have existed before, so that the change was refused.
        if !is_made
            && note.of == ChangeKind::Add
            && entry.is_some_and(|e| is_older(&e, &self.reading.header.started))
        {
            return Ok(Some("it is older than the run".to_owned()));
        }
        Ok(None)
    }

    /// Whether an entry is as it was before its first change. If its ancestors have their old DNs again, so has it.
    async fn is_as_before(
        &self,
        place: usize,
        note: &ChangeNote,
        expected: &Expected,
    ) -> Result<bool, DirectoryError> {
        let fits = async |dn: &str| {
            let entry = expected.read(self.directory, dn).await?;
            Ok::<_, DirectoryError>(
                expected.difference(entry.as_ref(), self.vendor(), self.schema()).is_none(),
            )
        };
        if fits(&note.dn).await? {
            return Ok(true);
        }
        if !expected.exists {
            return Ok(false);
        }
        for dn in self.earlier_names(place, &note.dn) {
            if fits(&dn).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the DNs that an entry had before the renames of it and its ancestors that precede a change.
    fn earlier_names(&self, place: usize, dn: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for renaming in self.entities.renamings.iter().rev().filter(|r| **r < place) {
            let Some(step) = self.entities.steps.get(*renaming) else { continue };
            let now = names.last().map_or(dn, String::as_str);
            names.extend(step.to.as_deref().and_then(|to| moved(now, to, &step.dn, self.schema())));
        }
        names
    }

    /// Whether an entry that was added and deleted in the run lacks an ancestor that existed meanwhile: then both are undone
    /// already.
    async fn was_never_there(&mut self, steps: &[usize]) -> anyhow::Result<bool> {
        if self.expected(steps, 0)?.exists {
            return Ok(false);
        }
        for step in steps.iter().filter_map(|s| self.entities.steps.get(*s)) {
            for dn in [Some(&step.dn), step.to.as_ref()].into_iter().flatten() {
                let above = dn::parent(dn);
                if !above.is_empty() && self.directory.read(&above, &["1.1"]).await?.is_none() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether an entry that is to be gone is, at an earlier DN, as it was there.
    async fn is_elsewhere(
        &mut self,
        place: usize,
        dn: &str,
        steps: &[usize],
        made: usize,
    ) -> anyhow::Result<bool> {
        for dn in self.earlier_names(place, dn) {
            for earlier in 0..made {
                let expected = self.expected(steps, earlier)?;
                if !expected.exists {
                    continue;
                }
                let entry = expected.read(self.directory, &dn).await?;
                if expected.difference(entry.as_ref(), self.vendor(), self.schema()).is_none() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn take_back(
        &self,
        note: &ChangeNote,
        back: &[Change],
        report: &mut Report,
    ) -> Result<RevertOutcome, (bool, DirectoryError)> {
        if note.by_server {
            return self.give_back(back, report).await.map_err(|e| (false, e));
        }
        let mut is_made = back.is_empty();
        for (n, change) in back.iter().enumerate() {
            let Some(change) = self.allowed(change, report).await.map_err(|e| (n > 0, e))? else { continue };
            self.make(&change, note.relaxed).await.map_err(|e| (n > 0, e))?;
            is_made = true;
        }
        if !is_made {
            return Ok(RevertOutcome::Refused);
        }
        if note.of == ChangeKind::Delete {
            self.note_again(note).await;
            self.note_password(back, report);
        }
        // The account was disabled before the password was set, whatever has become of its lock since.
        if let Some(lock) = note.lock.as_ref().filter(|_| note.of == ChangeKind::Modify) {
            self.directory.lock_by_note(&note.dn, lock).await.map_err(|e| (true, e))?;
        }
        if !note.lost.is_empty() {
            report.lost.entry(note.dn_after().to_owned()).or_default().extend(note.lost.iter().cloned());
        }
        let unseen = |(name, trace): (&String, &super::change_note::Trace)| {
            trace.is.is_none() && !trace.is_by_value() && !note.lost.contains(name)
        };
        if note.of == ChangeKind::Modify && note.attributes.iter().any(unseen) {
            report.unseen.insert(note.dn_after().to_owned());
        }
        Ok(RevertOutcome::TakenBack)
    }
}

/// Determines in memory what would be undone, and which entries are left as they are.
///
/// An entry of which only a part could be undone is left as a whole, and so is what depends on it.
pub async fn rehearse(
    reading: &mut JournalReader,
    entities: &Entities,
    (directory, protection): (&Directory, &Arc<Protection>),
    skip: &BTreeSet<usize>,
    again: &BTreeMap<String, String>,
    mut names: Option<&mut Names>,
) -> anyhow::Result<(Report, Arc<Tally>)> {
    let mut skip = skip.clone();
    let mut refused = BTreeMap::new();
    loop {
        let tally = Arc::new(Tally::default());
        let preview = Destination::new(directory.clone().preview(), protection.clone());
        let preview = preview.with_tally(tally.clone()).having_added(entities.added());
        let undoing = Reverter {
            reading,
            entities,
            directory: &preview,
            skip: &skip,
            again,
            noted_in: None,
            names: names.as_deref(),
        };
        let mut undoing = undoing;
        let mut report = undoing.run().await?;
        let strangers = undoing.strangers(&report).await?;
        refused.append(&mut report.refused);
        let is_blocked = !report.blocked.is_empty();
        refused.append(&mut report.blocked);
        let left = refused.keys().copied().chain(strangers);
        let is_news = names.as_deref_mut().is_some_and(|names| names.withhold(left));
        if report.in_part.is_empty() && !is_news && !is_blocked {
            for entity in refused.keys() {
                for step in entities.steps_of.get(*entity).into_iter().flatten() {
                    if let Some(step) = entities.steps.get(*step) {
                        report.outcomes.insert(step.number, RevertOutcome::Refused);
                    }
                }
            }
            report.refused = refused;
            return Ok((report, tally));
        }
        skip.extend(refused.keys().copied());
    }
}

fn set(at: &mut [At], entity: usize, value: At) {
    if let Some(slot) = at.get_mut(entity) {
        *slot = value;
    }
}
