//! Parked tasks: those that were too early, and what makes them ready again.

use ldap_directory::dn::DnKey;

use super::{Parked, ScheduledTask, Scheduler, TaskId, TaskKind};

impl<T> Scheduler<T> {
    /// Parks a task that ran and was too early.
    pub fn park(&mut self, id: TaskId, payload: T) {
        self.park_for(id, payload, None);
    }

    /// Parks a task that ran, until the DN that it wants is free.
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
        // Tasks that this one waits for now must not wait for it, nor for tasks behind it.
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
        self.release_held(id);
    }

    /// Wakes a parked task, and makes the tasks that wait for `ended` wait for its next try as well.
    pub fn try_before_dependents(&mut self, id: TaskId, ended: TaskId) {
        let dependents = self.dependents.get(&ended).cloned().unwrap_or_default();
        if !self.parked.contains(&id) {
            return;
        }
        for dependent in dependents {
            if let Some(item) = self.items.get_mut(&dependent).filter(|_| dependent > id) {
                item.waits_for += 1;
                self.held.entry(id).or_default().push(dependent);
            }
        }
        self.unpark(id);
    }

    /// Releases the tasks that waited for a try of this one.
    pub(super) fn release_held(&mut self, id: TaskId) {
        for dependent in self.held.remove(&id).unwrap_or_default() {
            self.release(dependent);
        }
    }

    /// Wakes parked tasks on an entry and below it. Not those that wait for a DN: its holder may be giving it up right now, and
    /// related tasks must not run at once.
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

    /// Notes that a descendant of these entries is gone: parked deletions of its ancestors may succeed, once nothing else is to
    /// be done ([`Self::unpark_woken`]).
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

    /// Wakes the deletions noted by [`Self::wake_above`]. Returns whether there is one.
    pub fn unpark_woken(&mut self) -> bool {
        let woken = std::mem::take(&mut self.woken);
        for id in &woken {
            self.unpark(*id);
        }
        !woken.is_empty()
    }

    /// Returns the deletions that wait, each with whether a later task wants the DN of its entry. None, if no task was too early: then
    /// all of them will run.
    pub fn stuck_deletions(&self) -> Vec<(TaskId, bool, &T)> {
        if self.parked.is_empty() {
            return Vec::new();
        }
        let is_stuck = |item: &ScheduledTask<T>| {
            item.kind == TaskKind::Delete
                && (item.parked || item.waits_for > 0)
                && item.waits_for_name.is_none()
        };
        let all = self.items.iter().filter(|(_, item)| is_stuck(item));
        let mut all: Vec<_> = all
            .filter_map(|(id, item)| Some((*id, self.wanted_back.contains(id), item.payload.as_ref()?)))
            .collect();
        all.sort_unstable_by_key(|(id, ..)| *id);
        all
    }

    /// Returns the parked deletions strictly below an entry.
    pub fn parked_deletions_below(&self, key: &DnKey) -> Vec<TaskId> {
        if self.parked.is_empty() {
            return Vec::new();
        }
        let below = self.by_key.range(key.subtree()).filter(|(at, _)| *at != key).flat_map(|(_, ids)| ids);
        let is_meant = |item: &ScheduledTask<T>| item.parked && item.kind == TaskKind::Delete;
        below.copied().filter(|id| self.items.get(id).is_some_and(is_meant)).collect()
    }

    /// Adds a DN to the lock of a parked task.
    pub fn add_key(&mut self, id: TaskId, key: DnKey) {
        let Some(item) = self.items.get_mut(&id) else { return };
        if !item.lock.keys.contains(&key) {
            item.lock.keys.push(key.clone());
            self.by_key.entry(key).or_default().push(id);
        }
    }

    /// Returns the parked tasks, oldest first.
    pub fn parked_items(&self) -> impl Iterator<Item = Parked<'_, T>> {
        self.parked.iter().filter_map(|id| {
            let item = self.items.get(id)?;
            let (kind, name) = (item.kind, item.waits_for_name.as_ref());
            Some(Parked { id: *id, kind, name, payload: item.payload.as_ref()? })
        })
    }

    /// Returns the number of tasks that wait for one.
    pub fn waiting_for(&self, id: TaskId) -> usize {
        self.dependents.get(&id).map_or(0, Vec::len)
    }

    /// Wakes tasks that wait for a DN that is now free, or for one below it.
    pub fn release_name(&mut self, key: &DnKey) {
        let free = self.by_awaited_name.range(key.subtree()).flat_map(|(_, ids)| ids).copied();
        for id in free.collect::<Vec<_>>() {
            self.unpark(id);
        }
    }

    /// Wakes a task, if it is parked.
    pub fn try_parked(&mut self, id: TaskId) {
        self.unpark(id);
    }

    /// Changes the payload of a task that waits for others. Does nothing if it may run now.
    pub fn change_waiting(&mut self, id: TaskId, change: impl FnOnce(&mut T)) {
        if self.items.get(&id).is_some_and(|item| item.waits_for > 0) {
            self.change(id, change);
        }
    }

    /// Changes the payload of a task.
    pub fn change(&mut self, id: TaskId, change: impl FnOnce(&mut T)) {
        if let Some(payload) = self.items.get_mut(&id).and_then(|item| item.payload.as_mut()) {
            change(payload);
        }
    }

    /// Returns the payloads of tasks that do not run.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.items.values().filter_map(|item| item.payload.as_ref())
    }

    /// Wakes all parked tasks.
    pub fn unpark_all(&mut self) {
        let all: Vec<TaskId> = self.parked.iter().copied().collect();
        for id in all {
            self.unpark(id);
        }
    }

    /// Wakes parked tasks, except additions below other parked ones: their parents come first.
    pub fn unpark_topmost(&mut self) {
        let is_upsert = |id: &TaskId| self.items.get(id).is_some_and(|item| item.kind == TaskKind::Upsert);
        let topmost = self.parked.iter().copied().filter(|id| !is_upsert(id) || !self.is_below_parked(*id));
        for id in topmost.collect::<Vec<_>>() {
            self.unpark(id);
        }
    }

    /// Whether a task is on an entry below that of a parked addition or change, which does not wait for a DN.
    pub fn is_below_parked(&self, id: TaskId) -> bool {
        let is_meant = |id: &TaskId| {
            self.parked.contains(id)
                && self
                    .items
                    .get(id)
                    .is_some_and(|item| item.kind == TaskKind::Upsert && item.waits_for_name.is_none())
        };
        let waits = |key: &DnKey| self.by_key.get(key).into_iter().flatten().any(is_meant);
        let keys = self.items.get(&id).map(|item| item.lock.keys.as_slice()).unwrap_or_default();
        keys.iter().any(|key| std::iter::successors(key.parent(), DnKey::parent).any(|above| waits(&above)))
    }

    /// Wakes a parked task.
    pub(super) fn unpark(&mut self, id: TaskId) {
        if self.unpark_one(id) {
            self.ready.insert(id);
        }
    }

    pub(super) fn unpark_one(&mut self, id: TaskId) -> bool {
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
}
