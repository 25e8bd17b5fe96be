//! Unit tests.

use super::*;
use ldap_directory::schema::Schema;
use proptest::prelude::*;

fn key(name: &str) -> DnKey {
    let dn: Vec<String> = name.split(',').map(|p| format!("ou={p}")).collect();
    DnKey::parse(&dn.join(","), Schema::standard()).unwrap()
}

proptest! {
    /// However many tasks run at once, and in whatever order they end: none starts before every earlier one on the same entry,
    /// above it and below it has ended, and all run.
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

    /// A set plays the directory. For every order of the records, additions end with their parents, deletions end without
    /// children, tasks on one entry run in order, and none is lost.
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
            // Woken only by outcomes: nothing waits for the end of the input.
            if !order.unpark_woken() {
                break;
            }
            prop_assert!(order.len() <= before);
        }
        // The rest was never possible: the oldest one still is not.
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
    /// Entries may have other DNs: still no two related tasks run at the same time, and all run.
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
    // On its own entry, and below it: behind it.
    order.submit(2, DnLock::of(key("c,p")), TaskKind::Upsert, "add c again");
    assert!(order.next_ready().is_none());
    // Above it, and beside it.
    order.submit(3, DnLock::of(key("p")), TaskKind::Upsert, "p");
    assert_eq!(order.next_ready(), Some((3, "p")));
    order.ended(3);
    order.submit(4, DnLock::of(key("d,p")), TaskKind::Upsert, "d");
    assert_eq!(order.next_ready(), Some((4, "d")));
    order.ended(4);
    // Located by a filter: it may rename the entry, and the task that waits for its DN runs first.
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
