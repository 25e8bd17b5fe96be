//! Which operations may run at the same time: all but those on one entry, or on an entry and one above it. Pure.
//!
//! Servers run pipelined operations in any order they like (slapd fails a fifth of children sent right behind their
//! parents), so that what depends on another operation is held back here until that one has ended.

use std::collections::{BTreeMap, HashMap, VecDeque};

use singer_common::dn::DnKey;

/// Identifies an operation.
pub type Id = u64;

#[derive(Debug)]
struct Held<T> {
    payload: T,
    /// How many operations it waits for.
    waits_for: usize,
}

/// Operations that have not ended, and what each waits for.
#[derive(Debug)]
pub struct Order<T> {
    /// The operations on each entry that have not ended, oldest first.
    by_key: BTreeMap<DnKey, Vec<Id>>,
    keys: HashMap<Id, DnKey>,
    held: HashMap<Id, Held<T>>,
    /// For an operation, those that wait for it.
    dependents: HashMap<Id, Vec<Id>>,
    ready: VecDeque<(Id, T)>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            keys: HashMap::new(),
            held: HashMap::new(),
            dependents: HashMap::new(),
            ready: VecDeque::new(),
        }
    }
}

impl<T> Order<T> {
    /// Takes an operation on an entry. It waits for all earlier ones on that entry, above it and below it.
    pub fn submit(&mut self, id: Id, key: DnKey, payload: T) {
        let mut before: Vec<Id> = Vec::new();
        let mut above = key.parent();
        while let Some(ancestor) = above {
            before.extend(self.by_key.get(&ancestor).into_iter().flatten());
            above = ancestor.parent();
        }
        for (_, ids) in self.by_key.range(key.subtree()) {
            before.extend(ids);
        }
        for earlier in &before {
            self.dependents.entry(*earlier).or_default().push(id);
        }
        self.by_key.entry(key.clone()).or_default().push(id);
        self.keys.insert(id, key);
        if before.is_empty() {
            self.ready.push_back((id, payload));
        } else {
            self.held.insert(id, Held { payload, waits_for: before.len() });
        }
    }

    /// The next operation that may run now, oldest first.
    pub fn next_ready(&mut self) -> Option<(Id, T)> {
        self.ready.pop_front()
    }

    /// Says that an operation has ended; what waited for it may become ready.
    pub fn ended(&mut self, id: Id) {
        if let Some(key) = self.keys.remove(&id)
            && let Some(ids) = self.by_key.get_mut(&key)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
        for dependent in self.dependents.remove(&id).unwrap_or_default() {
            let Some(held) = self.held.get_mut(&dependent) else { continue };
            held.waits_for -= 1;
            if held.waits_for == 0
                && let Some(held) = self.held.remove(&dependent)
            {
                self.ready.push_back((dependent, held.payload));
            }
        }
    }

    /// Drops what has not begun and does not pass the test; those dropped count as ended.
    pub fn drop_unless(&mut self, keep: impl Fn(&T) -> bool) {
        let mut dropped: Vec<Id> =
            self.held.iter().filter(|(_, h)| !keep(&h.payload)).map(|(id, _)| *id).collect();
        for id in &dropped {
            self.held.remove(id);
        }
        let ready = std::mem::take(&mut self.ready);
        for (id, payload) in ready {
            if keep(&payload) {
                self.ready.push_back((id, payload));
            } else {
                dropped.push(id);
            }
        }
        for id in dropped {
            self.ended(id);
        }
    }

    /// Operations that have not ended.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use singer_common::schema::Schema;

    proptest! {
        /// However many run at once and in whatever order they end: nothing begins before every earlier operation on
        /// the same entry, above it and below it has ended, and everything runs.
        #[test]
        fn related_operations_never_overlap(
            names in proptest::collection::vec("[ab](,[ab]){0,3}", 1..40),
            picks in proptest::collection::vec(any::<proptest::sample::Index>(), 40),
        ) {
            let keys: Vec<DnKey> = names
                .iter()
                .map(|n| {
                    let dn: Vec<String> = n.split(',').map(|p| format!("ou={p}")).collect();
                    DnKey::parse(&dn.join(","), Schema::standard()).unwrap()
                })
                .collect();
            let mut order = Order::default();
            for (id, key) in (0..).zip(&keys) {
                order.submit(id, key.clone(), ());
            }
            let mut running: Vec<Id> = Vec::new();
            let mut ended = std::collections::BTreeSet::new();
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
    }
}
