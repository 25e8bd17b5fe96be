//! Records with values that reference later entries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap_directory::dn::DnKey;

use super::Load;
use super::loader::MAX_WAITING;
use super::work::Work;
use crate::load::scheduler::{Parked, TaskKind};
use crate::map::wanted::WantedAccount;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::map::{Task, WritePolicy};
use crate::rules::policy::Policy;
use crate::rules::rule::Operations;
use crate::write::DeferredReference;

/// After this time values are tried although their entries are missing: an endless source would hold STATE back forever.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this time without input a source is quiet: what waits is tried as it is.
const QUIET: Duration = Duration::from_millis(500);
/// The most dangling references that are logged singly.
const REPORTED: u64 = 20;

/// A record that is written except for some values.
#[derive(Debug)]
struct DeferredRecord {
    work: Box<Work>,
    deferred: Vec<DeferredReference>,
    /// The missing entries.
    missing: BTreeSet<DnKey>,
    since: Instant,
    /// Whether it was submitted again.
    submitted: bool,
    /// Whether the server refused the dangling references.
    refused: bool,
}

/// Records that wait for entries, by record number.
#[derive(Debug, Default)]
pub(super) struct DeferredReferences {
    records: BTreeMap<u64, DeferredRecord>,
    /// The records that wait for an entry, including those that are not written at all.
    by_missing: BTreeMap<DnKey, BTreeSet<u64>>,
    /// The deferred records of an entry.
    by_entry: HashMap<DnKey, BTreeSet<u64>>,
    reported: u64,
}

impl DeferredReferences {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn defer(&mut self, work: Box<Work>, deferred: Vec<DeferredReference>, refused: bool) {
        let number = work.number;
        let missing: BTreeSet<DnKey> = deferred.iter().map(|h| h.key.clone()).collect();
        self.wait(number, missing.iter().cloned());
        self.by_entry.entry(work.key.clone()).or_default().insert(number);
        let since = self.records.remove(&number).map_or_else(Instant::now, |record| record.since);
        self.records
            .insert(number, DeferredRecord { work, deferred, missing, since, submitted: false, refused });
    }

    fn wait(&mut self, number: u64, keys: impl Iterator<Item = DnKey>) {
        for key in keys {
            self.by_missing.entry(key).or_default().insert(number);
        }
    }

    fn take(&mut self, number: u64) -> Option<DeferredRecord> {
        let record = self.records.remove(&number)?;
        for key in &record.missing {
            if let Some(numbers) = self.by_missing.get_mut(key) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_missing.remove(key);
                }
            }
        }
        if let Some(numbers) = self.by_entry.get_mut(&record.work.key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_entry.remove(&record.work.key);
            }
        }
        Some(record)
    }

    /// Notes that an entry exists. Returns the records that wait for no other entry now.
    fn wake_referencing(&mut self, key: &DnKey) -> Vec<u64> {
        let numbers = self.by_missing.remove(key).unwrap_or_default();
        let is_complete = |number: &u64| match self.records.get_mut(number) {
            None => true,
            Some(record) => record.missing.remove(key) && record.missing.is_empty(),
        };
        numbers.into_iter().filter(is_complete).collect()
    }

    /// Drops deferred values of attributes that a later record sets; `None`: of all attributes. Returns the records that are
    /// done.
    fn drop_superseded(&mut self, key: &DnKey, attributes: Option<&[Wanted]>) -> Vec<u64> {
        let numbers: Vec<u64> = self.by_entry.get(key).into_iter().flatten().copied().collect();
        let is_said = |deferred: &DeferredReference| {
            attributes.is_none_or(|all| {
                all.iter().any(|a| a.policy == Policy::Force && a.description == deferred.description)
            })
        };
        let mut done = Vec::new();
        for number in numbers {
            let Some(record) = self.records.get_mut(&number) else { continue };
            record.deferred.retain(|h| !is_said(h));
            if record.deferred.is_empty() && !record.submitted {
                self.take(number);
                done.push(number);
            }
        }
        done
    }
}

impl<W: Write> Load<'_, W> {
    /// Defers values of a record that is otherwise written.
    pub(super) fn defer(&mut self, mut work: Box<Work>, deferred: Vec<DeferredReference>) {
        let number = work.number;
        // All other attributes are written.
        if let Task::Upsert { wanted, .. } = &mut work.task {
            wanted.attributes = Vec::new();
        }
        self.spill(&mut work);
        let came = deferred.iter().all(|h| self.applier.is_known(&h.key));
        self.waiting.references.defer(work, deferred, false);
        if came {
            self.submit_deferred(number);
        }
        if self.waiting.references.records.len() > MAX_WAITING
            && let Some(oldest) = self.waiting.references.records.keys().next().copied()
        {
            self.give_up_waiting(oldest);
        }
    }

    /// The server refused a dangling reference: the values keep waiting for their entries.
    pub(super) fn defer_refused(&mut self, mut work: Box<Work>) {
        let deferred = std::mem::take(&mut work.values);
        work.is_last_try = false;
        self.scheduler.ended(work.number);
        self.waiting.references.defer(work, deferred, true);
    }

    /// Defers a record that cannot be written before these entries exist.
    pub(super) fn defer_whole(&mut self, mut work: Box<Work>, missing: Vec<DnKey>) {
        Self::note_wait(&mut work);
        let number = work.number;
        let came = missing.iter().all(|key| self.applier.is_known(key));
        self.waiting.references.wait(number, missing.into_iter());
        self.park(work);
        if came {
            self.scheduler.try_parked(number);
        }
    }

    /// Wakes records that reference an entry, or its subtree.
    pub(super) fn wake_referencing(&mut self, key: &DnKey, with_subtree: bool) {
        if self.waiting.references.by_missing.is_empty() {
            return;
        }
        let mut keys = vec![key.clone()];
        if with_subtree {
            keys.extend(self.waiting.references.by_missing.range(key.subtree()).map(|(k, _)| k.clone()));
        }
        for number in
            keys.iter().flat_map(|k| self.waiting.references.wake_referencing(k)).collect::<Vec<_>>()
        {
            self.scheduler.try_parked(number);
            self.submit_deferred(number);
        }
    }

    fn submit_deferred(&mut self, number: u64) {
        let Some(record) = self.waiting.references.records.get_mut(&number).filter(|r| !r.submitted) else {
            return;
        };
        record.submitted = true;
        let work = Box::new(Work { is_deferred_part: true, ..Work::clone(&record.work) });
        self.scheduler.submit(number, work.dn_lock(), TaskKind::Upsert, work);
    }

    /// Returns the task for the deferred values of a record; `None`: none are left.
    pub(super) fn deferred_task(&mut self, work: &mut Work) -> Option<Task> {
        let DeferredRecord { deferred, .. } = self.waiting.references.take(work.number)?;
        work.values.clone_from(&deferred);
        let Task::Upsert { wanted, filter, write_policy } = &work.task else { return None };
        let mut attributes: Vec<Wanted> = Vec::new();
        for DeferredReference { description, value, .. } in deferred {
            if let Some(there) = attributes.iter_mut().find(|a| a.description == description) {
                there.values.push(value);
            } else {
                attributes.push(Wanted::merged(description, value));
            }
        }
        if attributes.is_empty() {
            return None;
        }
        let operations = Operations { create: false, rename: false, ..write_policy.operations };
        let write_policy = Arc::new(WritePolicy { operations, ..WritePolicy::clone(write_policy) });
        let wanted = WantedEntry { dn: wanted.dn.clone(), attributes, account: WantedAccount::default() };
        Some(Task::Upsert { wanted, filter: filter.clone(), write_policy })
    }

    /// Drops deferred values that a later record of the same entry replaces.
    pub(super) fn supersede(&mut self, work: &Work) {
        if self.waiting.references.is_empty() {
            return;
        }
        let attributes = match &work.task {
            Task::Upsert { wanted, .. } => Some(wanted.attributes.as_slice()),
            _ => None,
        };
        for number in self.waiting.references.drop_superseded(&work.key, attributes) {
            self.committer.ack.done(number);
        }
    }

    /// Submits all deferred values.
    pub(super) fn submit_all_deferred(&mut self) {
        for number in self.waiting.references.records.keys().copied().collect::<Vec<_>>() {
            self.submit_deferred(number);
        }
    }

    /// Warns of dangling references at the end of the input; they are then written as they are.
    pub(super) fn report_missing(&mut self) {
        for number in self.waiting.references.records.keys().copied().collect::<Vec<_>>() {
            self.report(number);
        }
        self.report_whole();
        let reported = self.waiting.references.reported;
        if reported > REPORTED {
            tracing::warn!("{reported} values in all name entries that are not there");
        }
    }

    /// Warns of dangling references of records that wait as a whole.
    fn report_whole(&mut self) {
        let mut missing: BTreeMap<u64, Vec<DnKey>> = BTreeMap::new();
        for (key, numbers) in &self.waiting.references.by_missing {
            for number in
                numbers.iter().filter(|number| !self.waiting.references.records.contains_key(number))
            {
                missing.entry(*number).or_default().push(key.clone());
            }
        }
        for parked in self.scheduler.parked_items() {
            for name in missing.get(&parked.id).into_iter().flatten() {
                self.waiting.references.reported += 1;
                if self.waiting.references.reported > REPORTED {
                    continue;
                }
                let Work { line, stream, .. } = parked.payload.as_ref();
                let dn = parked.payload.dn().unwrap_or_default();
                let name = self.applier.spelled(&parked.payload.task, name);
                tracing::warn!(
                    stream = &**stream,
                    line,
                    dn = %dn,
                    name = %name,
                    "line {line}, stream `{stream}`: `{dn}` names `{name}`, which is not there; it is written all the same"
                );
            }
        }
    }

    fn report(&mut self, number: u64) {
        let Some(record) = self.waiting.references.records.get(&number) else { return };
        let Work { line, stream, .. } = &*record.work;
        let dn = record.work.task.dn().unwrap_or_default();
        for DeferredReference { description, value, .. } in &record.deferred {
            self.waiting.references.reported += 1;
            if self.waiting.references.reported <= REPORTED {
                let value = String::from_utf8_lossy(value);
                tracing::warn!(
                    stream = &**stream,
                    line,
                    dn = %dn,
                    name = %value,
                    "line {line}, stream `{stream}`: `{description}` of `{dn}` names `{value}`, which is not there; it is written all the same"
                );
            }
        }
    }

    fn give_up_waiting(&mut self, number: u64) {
        self.report(number);
        if let Some(record) = self.waiting.references.records.get_mut(&number) {
            record.work.is_last_try = true;
        }
        self.submit_deferred(number);
    }

    /// Tries values that have waited for too long, and all of them if the source is quiet: a live mirror copies dangling
    /// references as well. If the server refuses them, they wait for the end of the input.
    pub(super) fn give_up_waiting_for_long(&mut self) {
        let is_quiet = self.executor.running.is_empty()
            && !self.scheduler.has_ready()
            && self.input.last_line.elapsed() > QUIET;
        let due = |(number, record): (&u64, &DeferredRecord)| {
            let due = is_quiet || record.since.elapsed() > PATIENCE;
            (due && !record.submitted && !record.refused).then_some(*number)
        };
        for number in self.waiting.references.records.iter().filter_map(due).collect::<Vec<_>>() {
            self.give_up_waiting(number);
        }
        if is_quiet && self.scheduler.is_empty() && self.waiting.references.is_empty() {
            self.submit_rechecks();
        }
        if is_quiet {
            let whole = self.waiting.references.by_missing.values().flatten().copied();
            let whole: BTreeSet<u64> =
                whole.filter(|n| !self.waiting.references.records.contains_key(n)).collect();
            // No record will give up a value either, or add a missing parent.
            let waits = |parked: &Parked<'_, Box<Work>>| {
                parked.kind == TaskKind::Upsert && parked.name.is_none() && !parked.payload.is_last_try
            };
            let others: Vec<u64> =
                self.scheduler.parked_items().filter(waits).map(|parked| parked.id).collect();
            let is_over = self.waiting.deletions.is_empty() && !self.activations.has_announced();
            for number in whole.into_iter().chain(others.into_iter().filter(|_| is_over)) {
                self.scheduler.change(number, |work| work.is_last_try = true);
                self.scheduler.try_parked(number);
            }
        }
    }
}
