//! Which operations may run at the same time: all but those on one entry, or on an entry and one above it. Pure.
//!
//! Servers run pipelined operations in any order they like (slapd fails a fifth of children sent right behind their
//! parents), so that what depends on another operation is held back here until that one has ended.
//!
//! An operation can turn out to be too early: an entry whose parent is still to come, a deletion of an entry that
//! still has others below it. It is parked. What it depended on runs ahead of it; all else that is related still waits.

mod parking;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use singer_common::dn::DnKey;

/// Identifies an operation. Later operations have larger ones.
pub type TaskId = u64;

/// What an operation does to its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Makes it what it is to be.
    Upsert,
    /// Takes it away.
    Delete,
}

/// What an operation touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnLock {
    /// The entries: the one it is about, and under which other names it is or was.
    pub keys: Vec<DnKey>,
    /// What says whose entry it is, where that is not its name: operations on one thing go in the order of their
    /// records, whatever it is called in between.
    pub identity: Option<String>,
}

impl DnLock {
    /// Of one entry, known by its name.
    pub fn of(key: DnKey) -> Self {
        Self { keys: vec![key], identity: None }
    }
}

#[derive(Debug)]
struct ScheduledTask<T> {
    lock: DnLock,
    kind: TaskKind,
    /// How many operations it waits for.
    waits_for: usize,
    /// What to run; gone while it runs.
    payload: Option<T>,
    parked: bool,
    /// The name it is to give its entry, which another entry still has.
    waits_for_name: Option<DnKey>,
}

/// An operation that was too early.
#[derive(Debug)]
pub struct Parked<'o, T> {
    /// Which it is.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// The name that it waits for, where it does.
    pub name: Option<&'o DnKey>,
    /// What is to run.
    pub payload: &'o T,
}

/// Operations that have not ended, and what each waits for.
#[derive(Debug)]
pub struct Scheduler<T> {
    items: HashMap<TaskId, ScheduledTask<T>>,
    /// The operations on each entry, oldest first.
    by_key: BTreeMap<DnKey, Vec<TaskId>>,
    by_identity: HashMap<String, Vec<TaskId>>,
    /// For an operation, those that wait for it.
    dependents: HashMap<TaskId, Vec<TaskId>>,
    ready: BTreeSet<TaskId>,
    parked: BTreeSet<TaskId>,
    /// Those that are parked until a name is free.
    by_awaited_name: BTreeMap<DnKey, Vec<TaskId>>,
    /// Parked deletions below whose entries something has gone since.
    woken: BTreeSet<TaskId>,
}

impl<T> Default for Scheduler<T> {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            by_key: BTreeMap::new(),
            by_identity: HashMap::new(),
            dependents: HashMap::new(),
            ready: BTreeSet::new(),
            parked: BTreeSet::new(),
            by_awaited_name: BTreeMap::new(),
            woken: BTreeSet::new(),
        }
    }
}

impl<T> Scheduler<T> {
    /// Takes an operation. It waits for all earlier ones on its entries, above them and below them, and on its identity.
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

    /// Takes an operation that runs already. Only while there is no other.
    pub fn submit_running(&mut self, id: TaskId, lock: DnLock, kind: TaskKind) {
        debug_assert!(self.is_empty(), "what it has to do with would not be waited for");
        self.insert(id, lock, kind, 0, None);
    }

    fn insert(&mut self, id: TaskId, lock: DnLock, kind: TaskKind, waits_for: usize, payload: Option<T>) {
        for key in &lock.keys {
            self.by_key.entry(key.clone()).or_default().push(id);
        }
        if let Some(identity) = &lock.identity {
            self.by_identity.entry(identity.clone()).or_default().push(id);
        }
        self.items.insert(
            id,
            ScheduledTask { lock, kind, waits_for, payload, parked: false, waits_for_name: None },
        );
    }

    /// The operations that a claim has to do with, each once.
    fn related_ids(&self, lock: &DnLock) -> Vec<TaskId> {
        let mut ids = BTreeSet::new();
        for key in &lock.keys {
            for above in std::iter::successors(key.parent(), DnKey::parent) {
                ids.extend(self.by_key.get(&above).into_iter().flatten());
            }
            ids.extend(self.by_key.range(key.subtree()).flat_map(|(_, ids)| ids));
        }
        if let Some(identity) = &lock.identity {
            ids.extend(self.by_identity.get(identity).into_iter().flatten());
        }
        ids.into_iter().collect()
    }

    /// Whether an operation may run ahead of an earlier one that is stuck: parked, or behind one that is, which needs
    /// the later one first. A parent goes before its child, a child's deletion before its parent's, and who leaves a name
    /// before who takes it.
    fn lets_pass(&self, earlier: TaskId, kind: TaskKind, lock: &DnLock) -> bool {
        let Some(item) = self.items.get(&earlier).filter(|item| item.parked || item.waits_for > 0) else {
            return false;
        };
        if item.parked && item.waits_for_name.is_some() {
            let same = item.lock.identity.is_some() && item.lock.identity == lock.identity;
            return !same && lock.keys.iter().any(|key| item.lock.keys.contains(key));
        }
        // One that may rename its entry has to wait for what is to run below; but for a deletion that is parked, which takes
        // the new name over.
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
            // From the stuck operation's entry up to right below the parent.
            TaskKind::Upsert => std::iter::successors(Some(stuck.clone()), DnKey::parent)
                .take_while(|at| key.is_ancestor_of(at))
                .any(|at| parked(&at)),
            // From right above the child up to the stuck operation's entry.
            TaskKind::Delete => std::iter::successors(key.parent(), DnKey::parent)
                .take_while(|at| at.is_within(stuck))
                .any(|at| parked(&at)),
        })
    }

    /// The next operation that may run now, oldest first.
    pub fn next_ready(&mut self) -> Option<(TaskId, T)> {
        let id = self.ready.pop_first()?;
        let payload = self.items.get_mut(&id)?.payload.take()?;
        Some((id, payload))
    }

    /// Says that an operation ran and has to do with another entry, too: it is to run again once none of those that run
    /// now is on that one. Whatever has not begun waits for it.
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
            // One that is stuck runs when its time has come, one that runs ends soon: neither can wait for this one.
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

    /// Says that an operation has ended; what waited for it may become ready.
    pub fn ended(&mut self, id: TaskId) {
        self.unpark_one(id);
        let Some(item) = self.items.remove(&id) else { return };
        self.ready.remove(&id);
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
    }

    fn release(&mut self, id: TaskId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.waits_for -= 1;
        if item.waits_for == 0 {
            self.ready.insert(id);
        }
    }

    /// Whether an operation waits, over others like it, for a name that its own entry has: none of them can ever go first.
    pub fn is_in_a_ring(&self, id: TaskId) -> bool {
        let awaited = |id: TaskId| self.items.get(&id)?.waits_for_name.as_ref();
        // Claimant has the name that this one waits for, and waits for another.
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

    /// Whether an operation that has not ended is on this entry, or is to make one below it. One that waits for its name wants
    /// the name, and not the entry.
    pub fn is_wanted(&self, key: &DnKey) -> bool {
        self.by_key.range(key.subtree()).any(|(at, ids)| {
            let is_here = at == key;
            ids.iter().filter_map(|id| self.items.get(id)).any(|item| {
                let waits_for_name = item.waits_for_name.as_ref() == Some(key);
                (is_here && !waits_for_name) || (!is_here && item.kind == TaskKind::Upsert)
            })
        })
    }

    /// Drops what does not run and does not pass the test; those dropped count as ended.
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

    /// Operations that have not ended.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Operations that are parked.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Whether an operation may run now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests;
