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
pub type Id = u64;

/// What an operation does to its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Makes it what it is to be.
    Upsert,
    /// Takes it away.
    Delete,
}

#[derive(Debug)]
struct Item<T> {
    key: DnKey,
    kind: Kind,
    /// How many operations it waits for.
    waits_for: usize,
    /// What to run; gone while it runs.
    payload: Option<T>,
    parked: bool,
}

/// Operations that have not ended, and what each waits for.
#[derive(Debug)]
pub struct Order<T> {
    items: HashMap<Id, Item<T>>,
    /// The operations on each entry, oldest first.
    by_key: BTreeMap<DnKey, Vec<Id>>,
    /// For an operation, those that wait for it.
    dependents: HashMap<Id, Vec<Id>>,
    ready: BTreeSet<Id>,
    parked: BTreeSet<Id>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            by_key: BTreeMap::new(),
            dependents: HashMap::new(),
            ready: BTreeSet::new(),
            parked: BTreeSet::new(),
        }
    }
}

impl<T> Order<T> {
    /// Takes an operation. It waits for all earlier ones on its entry, above it and below it.
    pub fn submit(&mut self, id: Id, key: DnKey, kind: Kind, payload: T) {
        let (mut related, below) = self.related_ids(&key);
        related.extend(below);
        related.retain(|r| !self.lets_pass(*r, kind, &key));
        for earlier in &related {
            self.dependents.entry(*earlier).or_default().push(id);
        }
        if related.is_empty() {
            self.ready.insert(id);
        }
        self.by_key.entry(key.clone()).or_default().push(id);
        let item = Item { key, kind, waits_for: related.len(), payload: Some(payload), parked: false };
        self.items.insert(id, item);
    }

    /// The operations above an entry, and those on it and below it.
    fn related_ids(&self, key: &DnKey) -> (Vec<Id>, Vec<Id>) {
        let ids = |key: DnKey| self.by_key.get(&key).into_iter().flatten().copied();
        let above = std::iter::successors(key.parent(), DnKey::parent).flat_map(ids).collect();
        let below = self.by_key.range(key.subtree()).flat_map(|(_, ids)| ids).copied().collect();
        (above, below)
    }

    /// Whether an operation may run ahead of an earlier one that is stuck: parked, or behind one that is, which needs
    /// the later one first. A parent goes before its child, a child's deletion before its parent's.
    fn lets_pass(&self, earlier: Id, kind: Kind, key: &DnKey) -> bool {
        let Some(item) = self.items.get(&earlier).filter(|item| item.parked || item.waits_for > 0) else {
            return false;
        };
        let parked = |at: &DnKey| {
            let ids = self.by_key.get(at).into_iter().flatten();
            ids.filter_map(|id| self.items.get(id)).any(|other| other.parked && other.kind == kind)
        };
        match kind {
            // From the stuck operation's entry up to right below the parent.
            Kind::Upsert => std::iter::successors(Some(item.key.clone()), DnKey::parent)
                .take_while(|at| key.is_ancestor_of(at))
                .any(|at| parked(&at)),
            // From right above the child up to the stuck operation's entry.
            Kind::Delete => std::iter::successors(key.parent(), DnKey::parent)
                .take_while(|at| at.is_within(&item.key))
                .any(|at| parked(&at)),
        }
    }

    /// The next operation that may run now, oldest first.
    pub fn next_ready(&mut self) -> Option<(Id, T)> {
        let id = self.ready.pop_first()?;
        let payload = self.items.get_mut(&id)?.payload.take()?;
        Some((id, payload))
    }

    /// Says that an operation has ended; what waited for it may become ready.
    pub fn ended(&mut self, id: Id) {
        let Some(item) = self.items.remove(&id) else { return };
        self.ready.remove(&id);
        self.parked.remove(&id);
        if let Some(ids) = self.by_key.get_mut(&item.key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(&item.key);
            }
        }
        for dependent in self.dependents.remove(&id).unwrap_or_default() {
            self.release(dependent);
        }
    }

    fn release(&mut self, id: Id) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.waits_for -= 1;
        if item.waits_for == 0 {
            self.ready.insert(id);
        }
    }

    /// Says that an operation ran and was too early. It has not ended.
    pub fn park(&mut self, id: Id, payload: T) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.parked = true;
        item.payload = Some(payload);
        self.parked.insert(id);
        let key = item.key.clone();
        // What this one waits for now must not wait for it, nor for what is stuck behind it.
        let (above, below) = self.related_ids(&key);
        for stuck in above.into_iter().chain(below) {
            let waiting = self.dependents.remove(&stuck).unwrap_or_default();
            let (ahead, behind): (Vec<Id>, Vec<Id>) = waiting.into_iter().partition(|dependent| {
                self.items.get(dependent).is_some_and(|other| self.lets_pass(stuck, other.kind, &other.key))
            });
            if !behind.is_empty() {
                self.dependents.insert(stuck, behind);
            }
            for dependent in ahead {
                self.release(dependent);
            }
        }
    }

    /// Makes parked operations on an entry and below it ready again.
    pub fn unpark_below(&mut self, key: &DnKey) {
        if self.parked.is_empty() {
            return;
        }
        let below: Vec<Id> = self.by_key.range(key.subtree()).flat_map(|(_, ids)| ids).copied().collect();
        for id in below {
            self.unpark(id);
        }
    }

    /// Makes all parked operations ready again.
    pub fn unpark_all(&mut self) {
        let all: Vec<Id> = self.parked.iter().copied().collect();
        for id in all {
            self.unpark(id);
        }
    }

    fn unpark(&mut self, id: Id) {
        if self.parked.remove(&id) {
            self.ready.insert(id);
            if let Some(item) = self.items.get_mut(&id) {
                item.parked = false;
            }
        }
    }

    /// The oldest parked operation.
    pub fn first_parked(&self) -> Option<(Kind, &T)> {
        let item = self.items.get(self.parked.first()?)?;
        Some((item.kind, item.payload.as_ref()?))
    }

    /// Drops what does not run and does not pass the test; those dropped count as ended.
    pub fn drop_unless(&mut self, keep: impl Fn(&T) -> bool) {
        let dropped: Vec<Id> = self
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
            let mut order = Order::default();
            for (id, key) in (0..).zip(&keys) {
                order.submit(id, key.clone(), Kind::Upsert, ());
            }
            let mut running: Vec<Id> = Vec::new();
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
            let mut order = Order::default();
            let mut there: BTreeSet<DnKey> = BTreeSet::from([DnKey::root()]);
            let mut last: BTreeMap<DnKey, Id> = BTreeMap::new();
            for (id, (name, delete)) in (0..).zip(&steps) {
                let kind = if *delete { Kind::Delete } else { Kind::Upsert };
                order.submit(id, key(name), kind, (key(name), kind));
            }
            loop {
                let before = order.len();
                while let Some((id, (key, kind))) = order.next_ready() {
                    prop_assert!(last.get(&key).is_none_or(|l| *l < id), "{id} ran behind a later one");
                    let early = match kind {
                        Kind::Upsert => !there.contains(&key.parent().unwrap()),
                        Kind::Delete => there.range(key.subtree()).any(|k| *k != key),
                    };
                    if early {
                        order.park(id, (key, kind));
                        continue;
                    }
                    last.insert(key.clone(), id);
                    order.ended(id);
                    if kind == Kind::Upsert {
                        there.insert(key.clone());
                        order.unpark_below(&key);
                    } else {
                        there.remove(&key);
                    }
                }
                if order.len() == before {
                    break;
                }
                order.unpark_all();
            }
            // What is left was never possible: the oldest one still is not.
            if let Some((kind, (key, _))) = order.first_parked() {
                let impossible = match kind {
                    Kind::Upsert => !there.contains(&key.parent().unwrap()),
                    Kind::Delete => there.range(key.subtree()).any(|k| k != key),
                };
                prop_assert!(impossible);
            } else {
                prop_assert!(order.is_empty());
            }
        }
    }

    #[test]
    fn a_later_deletion_waits_for_an_addition_that_waits_for_its_parent() {
        let mut order = Order::default();
        order.submit(1, key("x,p"), Kind::Upsert, "add x");
        order.submit(2, key("x,p"), Kind::Delete, "delete x");
        let (id, payload) = order.next_ready().unwrap();
        order.park(id, payload);
        assert!(order.next_ready().is_none(), "the deletion must not run ahead");
        order.submit(3, key("p"), Kind::Upsert, "add p");
        order.submit(4, key("p"), Kind::Delete, "delete p");
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
