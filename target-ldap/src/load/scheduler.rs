//! Which operations may run at the same time: all but those on one entry, or on an entry and one above it. Pure.
//!
//! Servers run pipelined operations in any order they like (slapd fails a fifth of children sent right behind their
//! parents), so that what depends on another operation is held back here until that one has ended.
//!
//! An operation can turn out to be too early: an entry whose parent is still to come, a deletion of an entry that
//! still has others below it. It is parked. What it depended on runs ahead of it; all else that is related still waits.

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

    /// Says that an operation ran and was too early. It has not ended.
    pub fn park(&mut self, id: TaskId, payload: T) {
        self.park_for(id, payload, None);
    }

    /// Says that an operation ran, and that the name it is to give its entry is taken. It has not ended.
    pub fn park_for_name(&mut self, id: TaskId, payload: T, name: DnKey) {
        self.park_for(id, payload, Some(name));
    }

    fn park_for(&mut self, id: TaskId, payload: T, name: Option<DnKey>) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.parked = true;
        item.payload = Some(payload);
        item.waits_for_name.clone_from(&name);
        self.parked.insert(id);
        if let Some(name) = name {
            self.by_awaited_name.entry(name).or_default().push(id);
        }
        let lock = item.lock.clone();
        // What this one waits for now must not wait for it, nor for what is stuck behind it.
        for stuck in self.related_ids(&lock) {
            let waiting = self.dependents.remove(&stuck).unwrap_or_default();
            let (ahead, behind): (Vec<TaskId>, Vec<TaskId>) = waiting.into_iter().partition(|dependent| {
                let dependent = self.items.get(dependent);
                dependent.is_some_and(|other| self.lets_pass(stuck, other.kind, &other.lock))
            });
            if !behind.is_empty() {
                self.dependents.insert(stuck, behind);
            }
            for dependent in ahead {
                self.release(dependent);
            }
        }
    }

    /// Makes parked operations on an entry and below it ready again. Not those that wait for a name: who has that may be
    /// leaving it right now, and two that have to do with one another must not run at once.
    pub fn unpark_below(&mut self, key: &DnKey) {
        if self.parked.is_empty() {
            return;
        }
        let below = self.by_key.range(key.subtree()).flat_map(|(_, ids)| ids).copied();
        let is_meant = |id: &TaskId| self.items.get(id).is_some_and(|item| item.waits_for_name.is_none());
        for id in below.filter(is_meant).collect::<Vec<_>>() {
            self.unpark(id);
        }
    }

    /// Something below these entries has gone: parked deletions of entries above it are worth another try, once nothing else
    /// is to be done ([`Self::unpark_woken`]).
    pub fn wake_above(&mut self, key: &DnKey) {
        if self.parked.is_empty() {
            return;
        }
        for above in std::iter::successors(key.parent(), DnKey::parent) {
            for id in self.by_key.get(&above).into_iter().flatten() {
                let is_meant = |item: &ScheduledTask<T>| {
                    item.parked && item.kind == TaskKind::Delete && item.waits_for_name.is_none()
                };
                if self.items.get(id).is_some_and(is_meant) {
                    self.woken.insert(*id);
                }
            }
        }
    }

    /// Makes the deletions ready again for which something has gone since. Whether there is one.
    pub fn unpark_woken(&mut self) -> bool {
        let woken = std::mem::take(&mut self.woken);
        for id in &woken {
            self.unpark(*id);
        }
        !woken.is_empty()
    }

    /// The parked deletions strictly below an entry.
    pub fn parked_deletions_below(&self, key: &DnKey) -> Vec<TaskId> {
        if self.parked.is_empty() {
            return Vec::new();
        }
        let below = self.by_key.range(key.subtree()).filter(|(at, _)| *at != key).flat_map(|(_, ids)| ids);
        let is_meant = |item: &ScheduledTask<T>| item.parked && item.kind == TaskKind::Delete;
        below.copied().filter(|id| self.items.get(id).is_some_and(is_meant)).collect()
    }

    /// Says that a parked operation is on an entry under another name, too.
    pub fn add_key(&mut self, id: TaskId, key: DnKey) {
        let Some(item) = self.items.get_mut(&id) else { return };
        if !item.lock.keys.contains(&key) {
            item.lock.keys.push(key.clone());
            self.by_key.entry(key).or_default().push(id);
        }
    }

    /// What is parked, oldest first.
    pub fn parked_items(&self) -> impl Iterator<Item = Parked<'_, T>> {
        self.parked.iter().filter_map(|id| {
            let item = self.items.get(id)?;
            let (kind, name) = (item.kind, item.waits_for_name.as_ref());
            Some(Parked { id: *id, kind, name, payload: item.payload.as_ref()? })
        })
    }

    /// How many operations wait for one.
    pub fn waiting_for(&self, id: TaskId) -> usize {
        self.dependents.get(&id).map_or(0, Vec::len)
    }

    /// Makes operations ready again that wait for the name of an entry that has left, or of one that went with it.
    pub fn name_is_free(&mut self, key: &DnKey) {
        let free = self.by_awaited_name.range(key.subtree()).flat_map(|(_, ids)| ids).copied();
        for id in free.collect::<Vec<_>>() {
            self.unpark(id);
        }
    }

    /// Makes an operation ready again, if it is parked.
    pub fn try_parked(&mut self, id: TaskId) {
        self.unpark(id);
    }

    /// Changes what is to run of an operation that waits for others, but does not run. Nothing of one that may run now.
    pub fn change_waiting(&mut self, id: TaskId, change: impl FnOnce(&mut T)) {
        if self.items.get(&id).is_some_and(|item| item.waits_for > 0) {
            self.change(id, change);
        }
    }

    /// Changes what is to run.
    pub fn change(&mut self, id: TaskId, change: impl FnOnce(&mut T)) {
        if let Some(payload) = self.items.get_mut(&id).and_then(|item| item.payload.as_mut()) {
            change(payload);
        }
    }

    /// What does not run.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.items.values().filter_map(|item| item.payload.as_ref())
    }

    /// Makes all parked operations ready again.
    pub fn unpark_all(&mut self) {
        let all: Vec<TaskId> = self.parked.iter().copied().collect();
        for id in all {
            self.unpark(id);
        }
    }

    /// The same, but for additions below others that are parked: theirs come first.
    pub fn unpark_topmost(&mut self) {
        let is_upsert = |id: &TaskId| {
            self.items
                .get(id)
                .is_some_and(|item| item.kind == TaskKind::Upsert && item.waits_for_name.is_none())
        };
        let waits = |key: &DnKey| {
            self.by_key.get(key).into_iter().flatten().any(|id| self.parked.contains(id) && is_upsert(id))
        };
        let is_below_one = |id: &TaskId| {
            let keys = self.items.get(id).map(|item| item.lock.keys.as_slice()).unwrap_or_default();
            keys.iter()
                .any(|key| std::iter::successors(key.parent(), DnKey::parent).any(|above| waits(&above)))
        };
        let topmost = self.parked.iter().copied().filter(|id| !is_upsert(id) || !is_below_one(id));
        for id in topmost.collect::<Vec<_>>() {
            self.unpark(id);
        }
    }

    /// Makes a parked operation ready again.
    fn unpark(&mut self, id: TaskId) {
        if self.unpark_one(id) {
            self.ready.insert(id);
        }
    }

    fn unpark_one(&mut self, id: TaskId) -> bool {
        if !self.parked.remove(&id) {
            return false;
        }
        self.woken.remove(&id);
        let Some(item) = self.items.get_mut(&id) else { return false };
        item.parked = false;
        if let Some(name) = item.waits_for_name.take()
            && let Some(ids) = self.by_awaited_name.get_mut(&name)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_awaited_name.remove(&name);
            }
        }
        true
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use singer_common::schema::Schema;

    fn key(name: &str) -> DnKey {
        let dn: Vec<String> = name.split(',').map(|p| format!("ou={p}")).collect();
        DnKey::parse(&dn.join(","), Schema::standard()).unwrap()
    }

    proptest! {
        /// However many run at once and in whatever order they end: nothing begins before every earlier operation on
        /// the same entry, above it and below it has ended, and everything runs.
        #[test]
        fn related_operations_never_overlap(
            names in proptest::collection::vec("[ab](,[ab]){0,3}", 1..40),
            picks in proptest::collection::vec(any::<proptest::sample::Index>(), 40),
        ) {
            let keys: Vec<DnKey> = names.iter().map(|n| key(n)).collect();
            let mut order = Scheduler::default();
            for (id, key) in (0..).zip(&keys) {
                order.submit(id, DnLock::of(key.clone()), TaskKind::Upsert, ());
            }
            let mut running: Vec<TaskId> = Vec::new();
            let mut ended = BTreeSet::new();
            let mut picks = picks.iter();
            loop {
                while let Some((id, ())) = order.next_ready() {
                    let key = &keys[usize::try_from(id).unwrap()];
                    for (earlier, other) in (0..id).zip(&keys) {
                        let related = key.is_within(other) || other.is_within(key);
                        prop_assert!(!related || ended.contains(&earlier), "{id} began before {earlier} ended");
                    }
                    running.push(id);
                }
                if running.is_empty() {
                    break;
                }
                let id = running.remove(picks.next().map_or(0, |p| p.index(running.len())));
                ended.insert(id);
                order.ended(id);
            }
            prop_assert_eq!(ended.len(), keys.len());
            prop_assert!(order.is_empty());
        }

        /// A directory played by a set: whatever the order of the records, additions end where their parents are,
        /// deletions where nothing lies below, operations on one entry run in their order, and nothing is forgotten.
        #[test]
        fn what_came_too_early_is_done_in_time(
            steps in proptest::collection::vec(("[ab](,[ab]){0,3}", any::<bool>()), 1..40),
        ) {
            let mut order = Scheduler::default();
            let mut there: BTreeSet<DnKey> = BTreeSet::from([DnKey::root()]);
            let mut last: BTreeMap<DnKey, TaskId> = BTreeMap::new();
            for (id, (name, delete)) in (0..).zip(&steps) {
                let kind = if *delete { TaskKind::Delete } else { TaskKind::Upsert };
                order.submit(id, DnLock::of(key(name)), kind, (key(name), kind));
            }
            loop {
                let before = order.len();
                while let Some((id, (key, kind))) = order.next_ready() {
                    prop_assert!(last.get(&key).is_none_or(|l| *l < id), "{id} ran behind a later one");
                    let early = match kind {
                        TaskKind::Upsert => !there.contains(&key.parent().unwrap()),
                        TaskKind::Delete => there.range(key.subtree()).any(|k| *k != key),
                    };
                    if early {
                        order.park(id, (key, kind));
                        continue;
                    }
                    last.insert(key.clone(), id);
                    order.ended(id);
                    if kind == TaskKind::Upsert {
                        there.insert(key.clone());
                        order.unpark_below(&key);
                    } else {
                        there.remove(&key);
                        order.wake_above(&key);
                    }
                }
                // By what happened alone: nothing waits for the input to end.
                if !order.unpark_woken() {
                    break;
                }
                prop_assert!(order.len() <= before);
            }
            // What is left was never possible: the oldest one still is not.
            if let Some(Parked { kind, payload: (key, _), .. }) = order.parked_items().next() {
                let impossible = match kind {
                    TaskKind::Upsert => !there.contains(&key.parent().unwrap()),
                    TaskKind::Delete => there.range(key.subtree()).any(|k| k != key),
                };
                prop_assert!(impossible);
            } else {
                prop_assert!(order.is_empty());
            }
        }
    }

    proptest! {
        /// Entries turn out to be elsewhere, too: still no two run at the same time that have to do with one another, and
        /// everything runs.
        #[test]
        fn what_is_found_elsewhere_is_left_to_one(
            steps in proptest::collection::vec(("[ab](,[ab]){0,2}", proptest::option::of("[ab](,[ab]){0,2}")), 1..30),
            picks in proptest::collection::vec(any::<proptest::sample::Index>(), 100),
        ) {
            let mut order = Scheduler::default();
            for (id, (name, _)) in (0..).zip(&steps) {
                order.submit(id, DnLock::of(key(name)), TaskKind::Upsert, vec![key(name)]);
            }
            let related = |a: &[DnKey], b: &[DnKey]| {
                a.iter().any(|a| b.iter().any(|b| a.is_within(b) || b.is_within(a)))
            };
            let mut running: Vec<(TaskId, Vec<DnKey>)> = Vec::new();
            let mut ended = 0;
            for pick in &picks {
                while let Some((id, keys)) = order.next_ready() {
                    for (other, others) in &running {
                        prop_assert!(!related(&keys, others), "{id} began while {other} runs");
                    }
                    running.push((id, keys));
                }
                if running.is_empty() {
                    break;
                }
                let (id, mut keys) = running.remove(pick.index(running.len()));
                match &steps[usize::try_from(id).unwrap()].1 {
                    Some(other) if keys.len() == 1 => {
                        keys.push(key(other));
                        order.lock_also(id, key(other), keys);
                    }
                    _ => {
                        order.ended(id);
                        ended += 1;
                    }
                }
            }
            prop_assert_eq!(ended, steps.len());
            prop_assert!(order.is_empty());
        }
    }

    #[test]
    fn a_deletion_is_woken_by_what_goes_below_it_and_holds_nothing_up_above_it() {
        let mut order = Scheduler::default();
        order.submit(1, DnLock::of(key("c,p")), TaskKind::Delete, "delete c");
        let (id, payload) = order.next_ready().unwrap();
        order.park(id, payload);
        // On its own entry, and below that one: behind it.
        order.submit(2, DnLock::of(key("c,p")), TaskKind::Upsert, "add c again");
        assert!(order.next_ready().is_none());
        // Above it, and beside it.
        order.submit(3, DnLock::of(key("p")), TaskKind::Upsert, "p");
        assert_eq!(order.next_ready(), Some((3, "p")));
        order.ended(3);
        order.submit(4, DnLock::of(key("d,p")), TaskKind::Upsert, "d");
        assert_eq!(order.next_ready(), Some((4, "d")));
        order.ended(4);
        // Found by a filter: it may rename the entry, and what waits for its name goes first.
        let found = DnLock { keys: vec![key("p")], identity: Some("id=1".to_owned()) };
        order.submit(5, found, TaskKind::Upsert, "p, found");
        assert!(order.next_ready().is_none());
        order.submit(6, DnLock::of(key("x,c,p")), TaskKind::Delete, "delete x");
        assert_eq!(order.next_ready(), Some((6, "delete x")));
        order.ended(6);
        order.wake_above(&key("x,c,p"));
        assert!(order.next_ready().is_none() && order.unpark_woken());
        let mut seen = Vec::new();
        while let Some((id, payload)) = order.next_ready() {
            seen.push(payload);
            order.ended(id);
        }
        assert_eq!(seen, ["delete c", "add c again", "p, found"]);
        assert!(order.is_empty() && !order.unpark_woken());
    }

    #[test]
    fn a_later_deletion_waits_for_an_addition_that_waits_for_its_parent() {
        let mut order = Scheduler::default();
        order.submit(1, DnLock::of(key("x,p")), TaskKind::Upsert, "add x");
        order.submit(2, DnLock::of(key("x,p")), TaskKind::Delete, "delete x");
        let (id, payload) = order.next_ready().unwrap();
        order.park(id, payload);
        assert!(order.next_ready().is_none(), "the deletion must not run ahead");
        order.submit(3, DnLock::of(key("p")), TaskKind::Upsert, "add p");
        order.submit(4, DnLock::of(key("p")), TaskKind::Delete, "delete p");
        let mut seen = Vec::new();
        while let Some((id, payload)) = order.next_ready() {
            seen.push(payload);
            order.ended(id);
            if payload == "add p" {
                order.unpark_below(&key("p"));
            }
        }
        assert_eq!(seen, ["add p", "add x", "delete x", "delete p"]);
    }
}
