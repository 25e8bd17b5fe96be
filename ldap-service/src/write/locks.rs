//! Locks of entries: writes to one entry are serialized in the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ldap_directory::dn::DnKey;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Unused locks are removed when there are this many.
const PURGE_AT: usize = 1024;

/// What is locked: a DN, an identifier, or a name that must be unique.
pub(crate) type LockKey = Vec<u8>;

/// Returns the lock of a DN.
pub(crate) fn of_dn(key: &DnKey) -> LockKey {
    [b"dn\0", key.as_octets()].concat()
}

/// Returns the lock of a value, such as an identifier or a user name.
pub(crate) fn of_value(attribute: &str, value: &[u8]) -> LockKey {
    [b"value\0", attribute.to_ascii_lowercase().as_bytes(), b"\0", value].concat()
}

/// The locks that are in use.
#[derive(Debug, Default)]
pub(crate) struct EntryLocks(Mutex<HashMap<LockKey, Weak<AsyncMutex<()>>>>);

/// Locks that are held until they are dropped.
pub(crate) type HeldLocks = Vec<OwnedMutexGuard<()>>;

impl EntryLocks {
    /// Acquires locks, in one order for all callers, so that no two wait for each other.
    pub(crate) async fn lock(&self, keys: &BTreeSet<LockKey>) -> HeldLocks {
        let mut held = Vec::with_capacity(keys.len());
        for key in keys {
            let lock = self.of(key);
            held.push(lock.lock_owned().await);
        }
        held
    }

    fn of(&self, key: &LockKey) -> Arc<AsyncMutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = all.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        if all.len() >= PURGE_AT {
            all.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(AsyncMutex::new(()));
        all.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writes_to_one_entry_are_serialized_and_others_are_not() {
        let locks = Arc::new(EntryLocks::default());
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..40_u8)
            .map(|n| {
                let (locks, inside, most) = (locks.clone(), inside.clone(), most.clone());
                // Each has the second lock in common, and one of two others.
                let keys = BTreeSet::from([vec![n % 2], vec![9]]);
                tokio::spawn(async move {
                    let _held = locks.lock(&keys).await;
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
        let first = locks.lock(&BTreeSet::from([vec![1]])).await;
        let second = locks.lock(&BTreeSet::from([vec![2]])).await;
        assert_eq!(first.len() + second.len(), 2, "different entries do not wait");
    }

    #[tokio::test]
    async fn unused_locks_are_dropped() {
        let locks = EntryLocks::default();
        for n in 0..5_000_u32 {
            drop(locks.lock(&BTreeSet::from([n.to_be_bytes().to_vec()])).await);
        }
        assert!(locks.0.lock().unwrap().len() <= PURGE_AT);
    }
}
