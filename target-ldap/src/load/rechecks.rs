//! Records whose references to other entries are compared once more, after the renames of the run.
//!
//! A group names its members by DN, and a record says which DNs it has at the end. When an entry is renamed, many servers rename it in
//! the groups as well (Active Directory, slapo-refint, 389 DS's referential integrity): a group that was compared before is changed
//! behind the record's back, and the next run would find a difference. So a record with references is kept after its comparison. If a
//! rename of the run touched one of its names, or was in progress meanwhile, the record is compared again when nothing else is left to
//! do. A server without referential integrity has nothing to change then.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use ldap_directory::DirectoryError;
use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use rustc_hash::{FxHashMap, FxHashSet};
use singer_common::operations::error::Classified as _;

use super::Load;
use super::work::{Work, in_place};
use crate::config::TargetConfig;
use crate::load::scheduler::TaskKind;
use crate::map::Task;
use crate::map::wanted::{Wanted, WantedAccount};
use crate::rules::names::hash;
use crate::rules::policy::Policy;
use crate::write::counts::RecordOutcome;
use crate::write::{AttemptContext, PreviousValues};

/// The most records that are kept.
const MOST: usize = 100_000;
/// The same if rules look references up.
const MOST_FOUND: usize = 500_000;
/// How often references are looked up again: filters may ask for what references are, and never find the same.
const MOST_ROUNDS: u32 = 8;
/// The most entries that the log names.
const NAMED: usize = 10;

/// A record that was compared.
#[derive(Debug)]
struct ComparedRecord {
    /// What is to be compared again: the attributes with references.
    work: Box<Work>,
    /// The named entries and their ancestors, as hashes.
    names: Box<[u64]>,
    /// The times of the comparison.
    began: u64,
    ended: u64,
    /// Whether a filter did not find its entry.
    is_open: bool,
}

/// The records that were compared, and the renames of the run. Times are numbers of finished tasks.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the run")]
pub(super) struct Rechecks {
    /// Whether records may rename entries, so that those which name others are kept.
    is_on: bool,
    /// Whether rules look references up, so that records with such are kept.
    finds: bool,
    /// When something was written that may change what a filter finds, and whether entries were deleted.
    written: u64,
    has_deleted: bool,
    /// How often references were looked up again.
    rounds: u32,
    now: u64,
    /// By the hash of stream and key: a later record of the same key replaces an earlier one.
    records: FxHashMap<u64, ComparedRecord>,
    /// When a DN was renamed last.
    renamed: FxHashMap<u64, u64>,
    /// The renames, by the time of their ends, with the times at which they began.
    spans: BTreeMap<u64, u64>,
    /// Whether there were renames since the last look.
    is_due: bool,
    left_out: u64,
    /// The entries that must not be corrected: their number, and the first of them.
    forbidden: (u64, Vec<String>),
}

impl Rechecks {
    pub(super) fn new(config: &TargetConfig, is_server: bool) -> Self {
        let renames = config.rules.values().any(|rule| {
            rule.matching.is_some() && rule.operations.rename
                || rule.on_delete.move_to().is_some() && rule.operations.delete
        });
        let finds = config.rules.values().any(|rule| !rule.references.is_empty());
        Self { is_on: is_server && renames, finds, ..Self::default() }
    }

    /// Returns the time at which a task begins.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Notes that a task has ended.
    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    /// Notes that an entry no longer has this DN. `began`: when the task began that renamed it.
    pub(super) fn renamed(&mut self, key: &DnKey, began: u64) {
        if self.is_on {
            self.renamed.insert(hash(key), self.now);
            let earliest = self.spans.entry(self.now).or_insert(began);
            *earliest = began.min(*earliest);
            self.is_due = true;
        }
    }

    /// Notes that a task has written something that may change what a filter finds. `has_deleted`: an entry is gone.
    pub(super) fn wrote(&mut self, has_deleted: bool) {
        if self.finds {
            self.written = self.now;
            self.has_deleted |= has_deleted;
            self.is_due = true;
        }
    }

    /// Returns the references that a record had before, if nothing else of it is to be compared again.
    pub(super) fn expected(&self, work: &Work) -> Option<u64> {
        let Task::Upsert { wanted, .. } = &work.task else { return None };
        // A server may have removed the name of a deleted entry.
        work.found.filter(|_| work.is_recheck && wanted.attributes.is_empty() && !self.has_deleted)
    }

    /// Whether what was read of references before may be out of date.
    pub(super) fn has_renamed(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Notes the references of a record whose rest was written.
    fn completed(&mut self, id: u64, rest: &Work) {
        let Some(record) = self.records.get_mut(&id) else { return };
        let count = |work: &Work| match &work.task {
            Task::Upsert { wanted, .. } => wanted.references.len(),
            _ => 0,
        };
        if rest.found.is_some() && count(&record.work) == count(rest) {
            record.work.found = rest.found;
        }
        record.work.recorded = rest.recorded;
        prefer(&mut record.work.previous, &rest.previous, false);
    }

    /// Forgets a record that is refused.
    pub(super) fn forget(&mut self, work: &Work) {
        if self.finds {
            self.records.remove(&identity(work));
        }
    }

    /// Notes that a record was looked up again in vain.
    pub(super) fn leave_open(&mut self, work: &Work) {
        if !work.is_recheck || !work.finds() || work.found.is_some() {
            return;
        }
        if let Some(record) = self.records.get_mut(&identity(work)) {
            record.is_open = true;
            self.is_due = true;
        }
    }

    /// Takes the records that a rename may have touched since their comparison.
    fn take_touched(&mut self, with_finds: bool, is_final: bool) -> Vec<Work> {
        if !std::mem::take(&mut self.is_due) {
            return Vec::new();
        }
        let with_finds = with_finds && self.rounds < MOST_ROUNDS;
        // The earliest begin of all renames that ended at this time or later.
        let mut earliest = u64::MAX;
        let mut by_end: Vec<(u64, u64)> = Vec::with_capacity(self.spans.len());
        for (end, began) in self.spans.iter().rev() {
            earliest = earliest.min(*began);
            by_end.push((*end, earliest));
        }
        by_end.reverse();
        let is_touched = |record: &ComparedRecord| {
            let later = by_end.partition_point(|(end, _)| *end <= record.began);
            let overlaps = by_end.get(later).is_some_and(|(_, began)| *began < record.ended);
            let is_renamed = |name: &u64| self.renamed.get(name).is_some_and(|time| *time > record.ended);
            let finds = with_finds && record.work.finds();
            let is_changed = self.written > record.began || record.is_open && is_final;
            finds && is_changed || self.is_on && (overlaps || record.names.iter().any(is_renamed))
        };
        let touched: Vec<u64> =
            self.records.iter().filter(|(_, record)| is_touched(record)).map(|(id, _)| *id).collect();
        let mut works: Vec<Work> =
            touched.iter().filter_map(|id| self.records.remove(id)).map(|record| *record.work).collect();
        works.sort_by_key(|work| work.number);
        // Those that are looked up later are not forgotten.
        self.is_due = self.finds && !is_final && !self.records.is_empty();
        works
    }
}

/// Adds values that an entry had. `is_earlier`: they are from an earlier record, and replace those of a later one.
fn prefer(previous: &mut Arc<Vec<PreviousValues>>, others: &[PreviousValues], is_earlier: bool) {
    if others.is_empty() {
        return;
    }
    let previous = Arc::make_mut(previous);
    for (name, values) in others {
        match previous.iter_mut().find(|(there, _)| there == name) {
            Some((_, there)) if is_earlier => there.clone_from(values),
            Some(_) => {}
            None => previous.push((name.clone(), values.clone())),
        }
    }
}

/// Whether an attribute has references that are to be as the record says.
fn is_reference(attribute: &Wanted, schema: &Schema) -> bool {
    !attribute.values.is_empty()
        && matches!(attribute.policy, Policy::Force | Policy::Merge)
        && ValueKind::of(schema, &attribute.description).is_name()
}

/// Returns what identifies the entry of a record.
fn identity(work: &Work) -> u64 {
    if work.about.is_empty() { hash(&work.key) } else { hash(&(&*work.stream, &*work.about)) }
}

/// Returns the hashes of the named entries, and of those above them.
fn named(attributes: &[Wanted], schema: &Schema) -> Box<[u64]> {
    let mut names = FxHashSet::default();
    let values = attributes.iter().flat_map(|attribute| &attribute.values);
    for key in values.filter_map(|value| DnKey::parse(std::str::from_utf8(value).ok()?, schema).ok()) {
        let mut at = Some(key);
        while let Some(key) = at.filter(|key| !key.is_root() && names.insert(hash(key))) {
            at = key.parent();
        }
    }
    names.into_iter().collect()
}

impl Work {
    /// Whether it has references that are to be as its record says.
    pub(super) fn has_references(&self, schema: &Schema) -> bool {
        self.finds()
            || matches!(&self.task, Task::Upsert { wanted, .. } if wanted.attributes.iter().any(|a| is_reference(a, schema)))
    }

    /// Whether it has references that are looked up.
    pub(super) fn finds(&self) -> bool {
        matches!(&self.task, Task::Upsert { wanted, .. } if !wanted.references.is_empty())
    }

    /// Returns the part of it that is compared again.
    fn references(&self, recorded: RecordOutcome, schema: &Schema) -> Option<Box<Work>> {
        let Task::Upsert { wanted, filter, write_policy } = &self.task else { return None };
        let attributes: Vec<Wanted> =
            wanted.attributes.iter().filter(|a| is_reference(a, schema)).cloned().collect();
        let mut references = wanted.references.clone();
        // What an entry has that this run added is what its record says.
        for reference in references.iter_mut().filter(|_| recorded == RecordOutcome::Added) {
            reference.policy = Policy::Force;
        }
        if attributes.is_empty() && references.is_empty() {
            return None;
        }
        let write_policy = in_place(write_policy);
        let (dn, account) = (wanted.dn.clone(), WantedAccount::default());
        let wanted = crate::map::wanted::WantedEntry { dn, attributes, references, account };
        let task = Task::Upsert { wanted, filter: filter.clone(), write_policy };
        let (stream, about) = (self.stream.clone(), self.about.clone());
        let mut again = Work::new(self.number, self.line, stream, task, self.key.clone(), about);
        again.version = self.version;
        again.kept.clone_from(&self.kept);
        again.in_file.clone_from(&self.in_file);
        again.key_kind = self.key_kind;
        again.recorded = Some(recorded);
        again.found = self.found;
        again.previous.clone_from(&self.previous);
        again.is_recheck = true;
        again.context = AttemptContext::default();
        Some(Box::new(again))
    }
}

impl<W: Write> Load<'_, W> {
    /// Keeps a record that was compared, in case a rename touches what it names. The outcome is that of its whole record.
    pub(super) fn keep_references(&mut self, work: &Work, recorded: RecordOutcome) {
        let finds = self.waiting.rechecks.finds;
        if !self.waiting.rechecks.is_on
            && !(finds && (work.finds() || matches!(work.task, Task::Delete { .. })))
        {
            return;
        }
        let id = identity(work);
        if matches!(work.task, Task::Delete { .. }) {
            self.waiting.rechecks.records.remove(&id);
            return;
        }
        if work.is_rest {
            return self.waiting.rechecks.completed(id, work);
        }
        if matches!(recorded, RecordOutcome::Ignored | RecordOutcome::Rejected) {
            return;
        }
        let schema = self.directory.schema().clone();
        let recorded = work.recorded.unwrap_or(recorded);
        let Some(mut again) = work.references(recorded, &schema) else { return };
        self.keep_what_is_not_said(id, work, &mut again, &schema);
        let Task::Upsert { wanted, .. } = &again.task else { return };
        let names = named(&wanted.attributes, &schema);
        let most = if finds { MOST_FOUND } else { MOST };
        if self.waiting.rechecks.records.len() >= most {
            self.waiting.rechecks.left_out += 1;
            return;
        }
        self.spill(&mut again);
        let (began, ended) = (work.began, self.waiting.rechecks.now);
        self.waiting
            .rechecks
            .records
            .insert(id, ComparedRecord { work: again, names, began, ended, is_open: false });
    }

    /// Adds the references of an earlier record of the same key that this one does not mention.
    fn keep_what_is_not_said(&mut self, id: u64, work: &Work, again: &mut Work, schema: &Schema) {
        let Some(mut earlier) = self.waiting.rechecks.records.remove(&id) else { return };
        if !self.restore(&mut earlier.work) {
            return;
        }
        prefer(&mut again.previous, &earlier.work.previous, true);
        let (Task::Upsert { wanted: said, .. }, Task::Upsert { wanted: before, .. }) =
            (&work.task, &earlier.work.task)
        else {
            return;
        };
        let is_said = |description: &str| {
            let of_references = said.references.iter().map(|r| &r.description);
            let mut said = said.attributes.iter().map(|a| &a.description).chain(of_references);
            said.any(|name| schema.same_description(description, name))
        };
        let rest = before.attributes.iter().filter(|a| !is_said(&a.description));
        if let Task::Upsert { wanted, .. } = &mut again.task {
            wanted.attributes.extend(rest.cloned());
            let found = before.references.iter().filter(|r| !is_said(&r.description));
            wanted.references.extend(found.cloned());
        }
    }

    /// Submits the records that a rename touched after their comparison. Only while no other record waits. Returns whether there is one.
    /// `with_finds`: also those whose references may be found otherwise now. `is_final`: what is not found then is missing.
    pub(super) fn submit_rechecks(&mut self, with_finds: bool, is_final: bool) -> bool {
        let touched = self.waiting.rechecks.take_touched(with_finds, is_final);
        let count = touched.len();
        if touched.iter().any(Work::finds) {
            self.applier.refresh_references();
            self.waiting.rechecks.rounds += 1;
        }
        for mut work in touched {
            work.is_settled = is_final;
            self.scheduler.submit(work.number, work.dn_lock(), TaskKind::Upsert, Box::new(work));
        }
        if count > 0 {
            tracing::debug!(
                records = count,
                "{count} record(s) name entries that were renamed meanwhile, and are compared again"
            );
            self.executor.turns.advance();
        }
        count > 0
    }

    /// Leaves an entry as it is that names a renamed one, for it must not be changed. The record itself was written before.
    pub(super) fn leave_uncorrected(&mut self, work: &Work, error: &DirectoryError) {
        let dn = match error {
            DirectoryError::Forbidden { dn, .. } => dn.clone(),
            _ => work.dn().unwrap_or_default().to_owned(),
        };
        let mut facts = error.facts();
        facts.stream = Some(work.stream.to_string());
        facts.line = Some(work.line);
        facts.record = Some(work.about.to_string()).filter(|about| !about.is_empty());
        let (count, named) = &mut self.waiting.rechecks.forbidden;
        *count += 1;
        if named.len() < NAMED {
            facts.warn(&format!(
                "line {}, stream `{}`: `{dn}` names an entry that was renamed, and is not corrected: {error}",
                work.line, work.stream
            ));
            named.push(dn);
        }
        self.scheduler.ended(work.number);
        self.executor.ended += 1;
    }

    /// Says how many entries were not corrected.
    pub(super) fn warn_of_uncorrected(&self) {
        let (count, named) = &self.waiting.rechecks.forbidden;
        if *count > 0 {
            tracing::warn!(
                entries = count,
                "{count} entries name renamed ones and were not corrected, for they are protected or outside of write_base: `{}`{}",
                named.join("`, `"),
                if *count > NAMED as u64 { " and more" } else { "" }
            );
        }
    }

    /// Warns of records that could not be kept.
    pub(super) fn warn_of_unchecked(&self) {
        let Rechecks { left_out, .. } = self.waiting.rechecks;
        if left_out > 0 && (self.waiting.rechecks.has_renamed() || self.waiting.rechecks.finds) {
            tracing::warn!(
                records = left_out,
                "{left_out} record(s) name other entries and were not compared again after the changes of this run, which are more than are kept: run again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(began: u64, ended: u64, names: &[u64]) -> ComparedRecord {
        let stream: Arc<str> = "s".into();
        let work = Work::new(ended, 1, stream.clone(), Task::Nothing, DnKey::default(), stream);
        ComparedRecord { work: Box::new(work), names: names.into(), began, ended, is_open: false }
    }

    #[test]
    fn a_rename_touches_what_was_compared_before_it_or_meanwhile() {
        let key = |dn: &str| DnKey::parse(dn, Schema::standard()).unwrap();
        let (a, b) = (key("uid=a"), key("uid=b"));
        let touched = |record: ComparedRecord, renames: &[(&DnKey, u64, u64)]| {
            let mut rechecks = Rechecks { is_on: true, ..Rechecks::default() };
            rechecks.records.insert(1, record);
            for (key, began, ended) in renames {
                rechecks.now = *ended;
                rechecks.renamed(key, *began);
            }
            rechecks.take_touched(true, true).len() == 1
        };
        assert!(touched(at(1, 2, &[hash(&a)]), &[(&a, 3, 4)]), "renamed later");
        assert!(!touched(at(1, 2, &[hash(&a)]), &[(&b, 3, 4)]), "not named");
        assert!(!touched(at(5, 6, &[hash(&a)]), &[(&a, 3, 4)]), "renamed before it was read");
        assert!(touched(at(3, 6, &[hash(&a)]), &[(&b, 2, 5)]), "at the same time");
        assert!(touched(at(3, 6, &[hash(&a)]), &[(&b, 5, 9)]), "at the same time, to the end of the rename");
        assert!(touched(at(3, 6, &[]), &[(&b, 1, 2), (&b, 5, 9), (&b, 8, 10)]));
        assert!(!touched(at(3, 6, &[]), &[(&b, 1, 2), (&b, 7, 9)]));
    }

    #[test]
    fn what_lies_below_a_renamed_entry_is_named_too() {
        let schema = Schema::standard();
        let value = |dn: &str| Wanted {
            description: "member".into(),
            values: vec![dn.into()],
            policy: Policy::Force,
            compare: crate::rules::policy::Compare::Schema,
        };
        let names = named(&[value("uid=a,ou=x,dc=z")], schema);
        for dn in ["uid=A,ou=x,dc=z", "ou=x,dc=z", "dc=z"] {
            assert!(names.contains(&hash(&DnKey::parse(dn, schema).unwrap())), "{dn}");
        }
        assert_eq!(names.len(), 3);
    }
}
