//! Decides which tasks may run at the same time: not two on one entry, or on an entry and one of its ancestors. Pure.
//!
//! Servers process pipelined operations in any order (slapd fails a fifth of children sent right after their parents). So a
//! task that depends on another one waits here until that one has ended.
//!
//! A task can turn out to be too early: an entry whose parent is not added yet, or a deletion of an entry that still has
//! children. It is parked. Tasks that it depends on pass it; all other related tasks still wait.

mod parking;

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::dn::DnKey;
use rustc_hash::FxHashMap;

/// The ID of a task. Later tasks have larger ones.
pub type TaskId = u64;

/// What a task does to its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Adds or changes it.
    Upsert,
    /// Deletes it.
    Delete,
}

/// The lock that a task needs: on DNs and their subtrees and ancestors, and on an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnLock {
    /// The DNs of the entry: the wanted, current and former ones.
    pub keys: Vec<DnKey>,
    /// What identifies the entry, if its DN does not: tasks of one identity run in the order of their records, whatever the DN
    /// is meanwhile.
    pub identity: Option<String>,
}

impl DnLock {
    /// Returns the lock of one entry, identified by its DN.
    pub fn of(key: DnKey) -> Self {
        Self { keys: vec![key], identity: None }
    }
}

#[derive(Debug)]
struct ScheduledTask<T> {
    lock: DnLock,
    kind: TaskKind,
    /// The number of tasks that it waits for.
    waits_for: usize,
    /// What to run; `None` while it runs.
    payload: Option<T>,
    parked: bool,
    /// The wanted DN, which another entry still has.
    waits_for_name: Option<DnKey>,
}

/// A task that was too early.
#[derive(Debug)]
pub struct Parked<'o, T> {
    /// The task.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// The DN that it waits for, if it does.
    pub name: Option<&'o DnKey>,
    /// What is to run.
    pub payload: &'o T,
}

/// Tasks that have not ended, and what they wait for.
#[derive(Debug)]
pub struct Scheduler<T> {
    items: FxHashMap<TaskId, ScheduledTask<T>>,
    /// The tasks on each entry, oldest first.
    by_key: BTreeMap<DnKey, Vec<TaskId>>,
    by_identity: foldhash::HashMap<String, Vec<TaskId>>,
    /// The tasks that wait for a task.
    dependents: FxHashMap<TaskId, Vec<TaskId>>,
    /// The tasks that wait for the next try of a task, not for its end.
    held: FxHashMap<TaskId, Vec<TaskId>>,
    ready: BTreeSet<TaskId>,
    parked: BTreeSet<TaskId>,
    /// Tasks that are parked until a DN is free.
    by_awaited_name: BTreeMap<DnKey, Vec<TaskId>>,
    /// Parked deletions of entries that have lost a descendant since.
    woken: BTreeSet<TaskId>,
    /// Deletions of entries whose DNs later tasks want.
    wanted_back: BTreeSet<TaskId>,
}

impl<T> Default for Scheduler<T> {
    fn default() -> Self {
        Self {
            items: FxHashMap::default(),
            by_key: BTreeMap::new(),
            by_identity: foldhash::HashMap::default(),
            dependents: FxHashMap::default(),
            held: FxHashMap::default(),
            ready: BTreeSet::new(),
            parked: BTreeSet::new(),
            by_awaited_name: BTreeMap::new(),
            woken: BTreeSet::new(),
            wanted_back: BTreeSet::new(),
        }
    }
}

impl<T> Scheduler<T> {
    /// Submits a task. It waits for all earlier ones on its entries, their ancestors and subtrees, and on its identity.
    pub fn submit(&mut self, id: TaskId, lock: DnLock, kind: TaskKind, payload: T) {
        let mut related = self.related_ids(&lock);
        related.retain(|r| !self.lets_pass(*r, kind, &lock));
        for earlier in &related {
            self.dependents.entry(*earlier).or_default().push(id);
        }
        if related.is_empty() {
            self.ready.insert(id);
        }
        let waits_for = related.len();
        self.insert(id, lock, kind, waits_for, Some(payload));
    }

    /// Submits a task that is already running. Only while there is no other.
    pub fn submit_running(&mut self, id: TaskId, lock: DnLock, kind: TaskKind) {
        debug_assert!(self.is_empty(), "what it has to do with would not be waited for");
        self.insert(id, lock, kind, 0, None);
    }

    fn insert(&mut self, id: TaskId, lock: DnLock, kind: TaskKind, waits_for: usize, payload: Option<T>) {
        for key in &lock.keys {
            let there = self.by_key.entry(key.clone()).or_default();
            if kind == TaskKind::Upsert {
                let is_deletion =
                    |id: &TaskId| self.items.get(id).is_some_and(|item| item.kind == TaskKind::Delete);
                self.wanted_back.extend(there.iter().copied().filter(is_deletion));
            }
            there.push(id);
        }
        if let Some(identity) = &lock.identity {
            self.by_identity.entry(identity.clone()).or_default().push(id);
        }
        self.items.insert(
            id,
            ScheduledTask { lock, kind, waits_for, payload, parked: false, waits_for_name: None },
        );
    }

    /// Returns the tasks that a lock conflicts with, each once.
    fn related_ids(&self, lock: &DnLock) -> Vec<TaskId> {
        let mut ids = BTreeSet::new();
        for key in &lock.keys {
            self.add_ids_above(key, &mut ids);
            ids.extend(self.by_key.range(key.subtree()).flat_map(|(_, ids)| ids));
        }
        if let Some(identity) = &lock.identity {
            ids.extend(self.by_identity.get(identity).into_iter().flatten());
        }
        ids.into_iter().collect()
    }

    /// Adds the tasks on the ancestors of an entry. Only ancestors with a task are visited: a DN may have thousands.
    fn add_ids_above(&self, key: &DnKey, ids: &mut BTreeSet<TaskId>) {
        let mut at = key.parent();
        while let Some(above) = at {
            let Some((found, there)) = self.by_key.range(..=&above).next_back() else { return };
            at = if above.is_within(found) {
                ids.extend(there);
                found.parent()
            } else {
                // Keys sort by their RDNs from the root on: there is no task between what both have in common and this ancestor.
                Some(above.common(found))
            };
        }
    }

    /// Whether a task may pass an earlier one that is parked, or waits for a parked one, and needs the later one first. A
    /// parent passes its child, a child's deletion its parent's, and a task that frees a DN the one that wants it.
    fn lets_pass(&self, earlier: TaskId, kind: TaskKind, lock: &DnLock) -> bool {
        let Some(item) = self.items.get(&earlier).filter(|item| item.parked || item.waits_for > 0) else {
            return false;
        };
        if item.parked && item.waits_for_name.is_some() {
            let same = item.lock.identity.is_some() && item.lock.identity == lock.identity;
            return !same && lock.keys.iter().any(|key| item.lock.keys.contains(key));
        }
        // A task that may rename its entry waits for tasks below it; but a parked deletion does not keep it, whose DN it takes
        // over.
        let keeps_name = lock.identity.is_none() || item.parked && item.kind == TaskKind::Delete;
        let parked = |at: &DnKey| {
            let ids = self.by_key.get(at).into_iter().flatten();
            let is_passed = |other: &ScheduledTask<T>| {
                other.kind == kind || keeps_name && kind == TaskKind::Upsert && other.waits_for_name.is_none()
            };
            ids.filter_map(|id| self.items.get(id)).any(|other| other.parked && is_passed(other))
        };
        let pairs = lock.keys.iter().flat_map(|key| item.lock.keys.iter().map(move |stuck| (key, stuck)));
        pairs.into_iter().any(|(key, stuck)| match kind {
            // From the blocked task's entry up to just below the parent.
            TaskKind::Upsert => std::iter::successors(Some(stuck.clone()), DnKey::parent)
                .take_while(|at| key.is_ancestor_of(at))
                .any(|at| parked(&at)),
            // From just above the child up to the blocked task's entry.
            TaskKind::Delete => std::iter::successors(key.parent(), DnKey::parent)
                .take_while(|at| at.is_within(stuck))
                .any(|at| parked(&at)),
        })
    }

    /// Returns the next task that may run, oldest first.
    pub fn next_ready(&mut self) -> Option<(TaskId, T)> {
        let id = self.ready.pop_first()?;
        let payload = self.items.get_mut(&id)?.payload.take()?;
        Some((id, payload))
    }

    /// Extends the lock of a task that ran to another DN. It runs again once no running task is on that DN. Tasks that have not
    /// started wait for it.
    pub fn lock_also(&mut self, id: TaskId, key: DnKey, payload: T) {
        let more = DnLock::of(key.clone());
        let related = self.related_ids(&more);
        let Some(item) = self.items.get_mut(&id) else { return };
        item.payload = Some(payload);
        if !item.lock.keys.contains(&key) {
            item.lock.keys.push(key.clone());
            self.by_key.entry(key).or_default().push(id);
        }
        let mut waits_for = 0;
        for other in related.into_iter().filter(|other| *other != id) {
            let Some(item) = self.items.get_mut(&other) else { continue };
            // A parked task runs later, a running one ends soon: neither waits for this one.
            if item.parked {
                continue;
            }
            if item.payload.is_none() {
                waits_for += 1;
                self.dependents.entry(other).or_default().push(id);
            } else if !self.dependents.get(&id).is_some_and(|ids| ids.contains(&other)) {
                item.waits_for += 1;
                self.ready.remove(&other);
                self.dependents.entry(id).or_default().push(other);
            }
        }
        if let Some(item) = self.items.get_mut(&id) {
            item.waits_for = waits_for;
            if waits_for == 0 {
                self.ready.insert(id);
            }
        }
    }

    /// Ends a task; tasks that waited for it may become ready.
    pub fn ended(&mut self, id: TaskId) {
        self.unpark_one(id);
        let Some(item) = self.items.remove(&id) else { return };
        self.ready.remove(&id);
        self.wanted_back.remove(&id);
        for key in &item.lock.keys {
            if let Some(ids) = self.by_key.get_mut(key) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        if let Some(identity) = &item.lock.identity
            && let Some(ids) = self.by_identity.get_mut(identity)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_identity.remove(identity);
            }
        }
        for dependent in self.dependents.remove(&id).unwrap_or_default() {
            self.release(dependent);
        }
        self.release_held(id);
    }

    fn release(&mut self, id: TaskId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.waits_for -= 1;
        if item.waits_for == 0 {
            self.ready.insert(id);
        }
    }

    /// Whether a task waits, through others like it, for a DN that its own entry has: none of them can ever run first.
    pub fn is_in_cycle(&self, id: TaskId) -> bool {
        let awaited = |id: TaskId| self.items.get(&id)?.waits_for_name.as_ref();
        // The task whose entry has the wanted DN, and which waits for another DN.
        let next = |id: TaskId| {
            let holders = self.by_key.get(awaited(id)?)?;
            holders
                .iter()
                .copied()
                .find(|holder| *holder != id && awaited(*holder) != awaited(id) && awaited(*holder).is_some())
        };
        let mut seen = BTreeSet::from([id]);
        let mut at = id;
        while let Some(holder) = next(at) {
            if holder == id {
                return true;
            }
            if !seen.insert(holder) {
                return false;
            }
            at = holder;
        }
        false
    }

    /// Whether a task that has not ended is on this entry, or will add one below it. A task that waits for the DN does not need
    /// the entry.
    pub fn is_wanted(&self, key: &DnKey) -> bool {
        self.by_key.range(key.subtree()).any(|(at, ids)| {
            let is_here = at == key;
            ids.iter().filter_map(|id| self.items.get(id)).any(|item| {
                let waits_for_name = item.waits_for_name.as_ref() == Some(key);
                (is_here && !waits_for_name) || (!is_here && item.kind == TaskKind::Upsert)
            })
        })
    }

    /// Drops the tasks that do not run and fail the test; they count as ended.
    pub fn drop_unless(&mut self, keep: impl Fn(&T) -> bool) {
        let dropped: Vec<TaskId> = self
            .items
            .iter()
            .filter(|(_, item)| item.payload.as_ref().is_some_and(|payload| !keep(payload)))
            .map(|(id, _)| *id)
            .collect();
        for id in dropped {
            self.ended(id);
        }
    }

    /// Whether a task waits until the entry with this DN is gone.
    pub fn awaits_name(&self, key: &DnKey) -> bool {
        let ids = self.by_key.get(key).into_iter().flatten();
        ids.filter_map(|id| self.items.get(id)).any(|item| item.waits_for_name.as_ref() == Some(key))
    }

    /// Returns the number of tasks that have not ended.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether all tasks have ended.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the number of parked tasks.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Whether a task may run now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests;
