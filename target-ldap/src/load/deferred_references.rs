//! Records with values that reference later entries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::time::{Duration, Instant};

use ldap_directory::dn::DnKey;
use ldap_directory::entry::base_type;

use super::Load;
use super::loader::MAX_WAITING;
use super::work::{Work, in_place, remaining};
use crate::load::scheduler::{Parked, TaskKind};
use crate::map::Task;
use crate::map::wanted::WantedAccount;
use crate::rules::policy::Policy;
use crate::write::counts::RecordOutcome;
use crate::write::{DeferredReference, FoundReferences};

/// After this time values are tried although their entries are missing: an endless source would hold STATE back forever.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most records that wait for entries which filters are to find. With more, the oldest is tried as it is.
const MOST_AWAITING: usize = 500_000;
/// The most dangling references that are logged singly.
const REPORTED: u64 = 20;

/// A record that waits for entries that it references.
#[derive(Debug)]
struct DeferredRecord {
    /// Its task is what remains to be written.
    work: Box<Work>,
    deferred: Vec<DeferredReference>,
    /// What the entries have that its filters are to find.
    awaited: Vec<u64>,
    /// What later records of the same entry say.
    superseded: Option<Superseded>,
    /// The missing entries.
    missing: BTreeSet<DnKey>,
    since: Instant,
    /// Whether it was submitted again.
    submitted: bool,
    /// Whether the server refused the dangling references.
    refused: bool,
    /// Whether a later record has deleted its entry: nothing of it is written any more, whatever comes after the deletion.
    is_over: bool,
}

/// What later records of an entry say, so that an earlier one that waits no longer does.
#[derive(Debug, Default)]
struct Superseded {
    attributes: BTreeSet<String>,
    account: bool,
    /// Whether they also say what the entry has of an attribute under options.
    with_options: bool,
}

impl Superseded {
    fn says(&self, description: &str) -> bool {
        self.attributes.contains(description)
            || self.with_options && self.attributes.contains(base_type(description))
    }
}

/// What identifies an entry: two records that have one in common are about the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum EntryName {
    Key(DnKey),
    /// The filter of `match`, with its base.
    Match(String),
}

fn entry_names(work: &Work) -> Vec<EntryName> {
    let lock = work.dn_lock();
    lock.keys.into_iter().map(EntryName::Key).chain(lock.identity.map(EntryName::Match)).collect()
}

/// Records that wait for entries, by record number.
#[derive(Debug, Default)]
pub(super) struct DeferredReferences {
    records: BTreeMap<u64, DeferredRecord>,
    /// The records that wait for an entry, including those that are not written at all.
    by_missing: BTreeMap<DnKey, BTreeSet<u64>>,
    /// The same by what an entry has that a filter is to find.
    by_awaited: HashMap<u64, BTreeSet<u64>>,
    /// The deferred records of an entry.
    by_entry: HashMap<EntryName, BTreeSet<u64>>,
    reported: u64,
}

impl DeferredReferences {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn defer(&mut self, work: Box<Work>, deferred: Vec<DeferredReference>, awaited: Vec<u64>, refused: bool) {
        let number = work.number;
        self.await_values(number, &awaited);
        let missing: BTreeSet<DnKey> = deferred.iter().map(|h| h.key.clone()).collect();
        self.wait(number, missing.iter().cloned());
        for name in entry_names(&work) {
            self.by_entry.entry(name).or_default().insert(number);
        }
        let since = self.records.remove(&number).map_or_else(Instant::now, |record| record.since);
        let (superseded, submitted, is_over) = (None, false, false);
        self.records.insert(
            number,
            DeferredRecord {
                work,
                deferred,
                awaited,
                superseded,
                missing,
                since,
                submitted,
                refused,
                is_over,
            },
        );
    }

    fn wait(&mut self, number: u64, keys: impl Iterator<Item = DnKey>) {
        for key in keys {
            self.by_missing.entry(key).or_default().insert(number);
        }
    }

    /// Notes that a record waits for entries with these values.
    pub(super) fn await_values(&mut self, number: u64, awaited: &[u64]) {
        for value in awaited {
            self.by_awaited.entry(*value).or_default().insert(number);
        }
    }

    /// Notes that an entry has a value. Returns the records that wait for one.
    pub(super) fn wake_awaiting(&mut self, value: u64) -> BTreeSet<u64> {
        if self.by_awaited.is_empty() {
            BTreeSet::new()
        } else {
            self.by_awaited.remove(&value).unwrap_or_default()
        }
    }

    fn take(&mut self, number: u64) -> Option<DeferredRecord> {
        let record = self.records.remove(&number)?;
        for value in &record.awaited {
            if let Some(numbers) = self.by_awaited.get_mut(value) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_awaited.remove(value);
                }
            }
        }
        for key in &record.missing {
            if let Some(numbers) = self.by_missing.get_mut(key) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_missing.remove(key);
                }
            }
        }
        for name in entry_names(&record.work) {
            if let Some(numbers) = self.by_entry.get_mut(&name) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_entry.remove(&name);
                }
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

    /// Drops what a later record of the same entry says. Returns the records that wait for nothing now.
    fn drop_superseded(&mut self, later: &Work) -> Vec<u64> {
        let Task::Upsert { wanted: said, write_policy, .. } = &later.task else { return Vec::new() };
        let names = entry_names(later);
        let numbers: BTreeSet<u64> =
            names.iter().filter_map(|name| self.by_entry.get(name)).flatten().copied().collect();
        let mut woken = Vec::new();
        for number in numbers.into_iter().filter(|number| *number < later.number) {
            let Some(record) = self.records.get_mut(&number).filter(|record| !record.is_over) else {
                continue;
            };
            let superseded = record.superseded.get_or_insert_default();
            // Values that are added do not replace others, and those of other policies may not be written at all.
            let replacing = said.attributes.iter().filter(|a| a.policy == Policy::Force);
            superseded.attributes.extend(replacing.map(|a| a.description.clone()));
            let found = said.references.iter().filter(|r| r.policy == Policy::Force);
            superseded.attributes.extend(found.map(|r| r.description.clone()));
            superseded.account |= !said.account.is_empty();
            superseded.with_options |= write_policy.known_options.is_some();
            record.deferred.retain(|h| !superseded.says(&h.description));
            let waits = matches!(&record.work.task, Task::Upsert { wanted, .. } if wanted.references.iter().any(|r| !superseded.says(&r.description)));
            if record.deferred.is_empty() && !waits {
                woken.push(number);
            }
        }
        woken
    }

    /// Drops what waits of an entry that a later record has deleted. Returns the records that are done.
    fn drop_all(&mut self, deletion: &Work, key: &DnKey) -> Vec<u64> {
        let mut names = entry_names(deletion);
        names.push(EntryName::Key(key.clone()));
        let numbers: BTreeSet<u64> =
            names.iter().filter_map(|name| self.by_entry.get(name)).flatten().copied().collect();
        let mut done = Vec::new();
        for number in numbers.into_iter().filter(|number| *number < deletion.number) {
            let Some(record) = self.records.get_mut(&number) else { continue };
            record.deferred.clear();
            record.is_over = true;
            if !record.submitted {
                self.take(number);
                done.push(number);
            }
        }
        done
    }
}

impl<W: Write> Load<'_, W> {
    /// Defers what remains of a record: of an entry that was added the values that wait, else the whole of it.
    pub(super) fn defer(
        &mut self,
        mut work: Box<Work>,
        deferred: Vec<DeferredReference>,
        found: FoundReferences,
        recorded: RecordOutcome,
    ) {
        let FoundReferences { pending, is_held, .. } = found;
        let number = work.number;
        let is_added = recorded == RecordOutcome::Added;
        if let Task::Upsert { wanted, write_policy, .. } = &mut work.task
            && (is_added || !is_held && !pending.is_empty())
        {
            work.is_rest = true;
            wanted.attributes = remaining(&deferred, &wanted.attributes);
            wanted.references.retain(|r| pending.iter().any(|p| p.description == r.description));
            // The entry was added without them.
            for reference in wanted.references.iter_mut().filter(|_| is_added) {
                if reference.policy == Policy::CreateOnly {
                    reference.policy = Policy::Merge;
                }
            }
            wanted.account = WantedAccount::default();
            *write_policy = in_place(write_policy);
        }
        self.spill(&mut work);
        let awaited: Vec<u64> = pending.into_iter().flat_map(|pending| pending.awaited).collect();
        let came = !deferred.is_empty() && deferred.iter().all(|h| self.applier.is_known(&h.key))
            || self.waiting.lookups.came(&awaited, work.began);
        self.waiting.references.defer(work, deferred, awaited, false);
        if came {
            self.submit_deferred(number);
        }
        let most = if self.waiting.lookups.is_on() { MOST_AWAITING } else { MAX_WAITING };
        if self.waiting.references.records.len() > most
            && let Some(oldest) = self.waiting.references.records.keys().next().copied()
        {
            self.give_up_waiting(oldest, true);
        }
    }

    /// The server refused a dangling reference: the record keeps waiting for the entries.
    pub(super) fn defer_refused(&mut self, mut work: Box<Work>) {
        let deferred = std::mem::take(&mut work.values);
        work.is_last_try = false;
        self.scheduler.ended(work.number);
        self.spill(&mut work);
        self.waiting.references.defer(work, deferred, Vec::new(), true);
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

    pub(super) fn submit_deferred(&mut self, number: u64) {
        let Some(record) = self.waiting.references.records.get_mut(&number).filter(|r| !r.submitted) else {
            return;
        };
        record.submitted = true;
        let work = Box::new(Work { is_deferred_part: true, ..Work::clone(&record.work) });
        self.scheduler.submit(number, work.dn_lock(), TaskKind::Upsert, work);
    }

    /// Makes a deferred record ready to be tried. `false`: nothing of it remains.
    pub(super) fn begin_deferred(&mut self, work: &mut Work) -> bool {
        // It was begun before, and is tried again.
        let Some(record) = self.waiting.references.take(work.number) else { return true };
        if record.is_over {
            return false;
        }
        work.values = record.deferred;
        let Task::Upsert { wanted, write_policy, .. } = &mut work.task else { return false };
        if let Some(superseded) = record.superseded {
            wanted.attributes.retain(|a| !superseded.says(&a.description));
            wanted.references.retain(|r| !superseded.says(&r.description));
            if superseded.account {
                wanted.account = WantedAccount::default();
            }
            *write_policy = in_place(write_policy);
            work.is_superseded = true;
        }
        !wanted.attributes.is_empty() || !wanted.references.is_empty() || !wanted.account.is_empty()
    }

    /// Drops deferred values that a later record of the same entry replaces. A deletion may find that its entry is another record's by now:
    /// only one that was made drops values ([`Self::drop_deferred`]).
    pub(super) fn supersede(&mut self, work: &Work) {
        if self.waiting.references.is_empty() {
            return;
        }
        let woken = self.waiting.references.drop_superseded(work);
        for number in woken {
            self.submit_deferred(number);
        }
    }

    /// Drops what waits of an entry that a record has deleted.
    pub(super) fn drop_deferred(&mut self, deletion: &Work, key: &DnKey) {
        if !self.waiting.references.is_empty() {
            for number in self.waiting.references.drop_all(deletion, key) {
                self.committer.ack.done(number);
            }
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

    /// Lets a record be tried as it is. `is_settled`: what its filters do not find is missing.
    fn give_up_waiting(&mut self, number: u64, is_settled: bool) {
        self.report(number);
        if let Some(record) = self.waiting.references.records.get_mut(&number) {
            record.work.is_last_try = true;
            record.work.is_settled = is_settled;
        }
        self.submit_deferred(number);
    }

    /// Tries values that have waited for too long, and all of them if the source is quiet: a live mirror copies dangling
    /// references as well. If the server refuses them, they wait for the end of the input.
    pub(super) fn give_up_waiting_for_long(&mut self) {
        let is_quiet =
            self.executor.running.is_empty() && !self.scheduler.has_ready() && self.input.is_quiet();
        let due = |(number, record): (&u64, &DeferredRecord)| {
            let due = is_quiet || record.since.elapsed() > PATIENCE;
            // What a filter is to find wakes its record.
            let names = !record.deferred.is_empty();
            (due && names && !record.submitted && !record.refused).then_some(*number)
        };
        for number in self.waiting.references.records.iter().filter_map(due).collect::<Vec<_>>() {
            self.give_up_waiting(number, false);
        }
        if is_quiet && self.scheduler.is_empty() && self.waiting.references.is_empty() {
            self.submit_rechecks(true, false);
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
