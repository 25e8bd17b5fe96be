//! The locks of disabled accounts that killed processes owe: they had set passwords, and could not write the locks again that the server
//! drops with them. The journals keep them; here they are tried again, with pauses, until they are written, and the health report names
//! them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap_directory::Directory;
use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;
use target_ldap::write::undo::owed::OwedLock;
use tokio::sync::Notify;

use super::{Writer, change_set};

/// The pause before the first new try; each doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A journal that stays.
#[derive(Debug)]
struct Kept {
    locks: Vec<OwedLock>,
    is_foreign: bool,
}

/// The journals that stay.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    kept: Mutex<BTreeMap<PathBuf, Kept>>,
    /// Held while locks are written, and by a write that enables an account.
    paying: tokio::sync::Mutex<()>,
    news: Notify,
    /// The number of the generation of the service that tries.
    payer: AtomicU64,
}

impl Owed {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a journal that stays, with the locks that it owes.
    pub(super) fn note(&self, journal: &Path, locks: Vec<OwedLock>, is_foreign: bool) {
        self.kept().insert(journal.to_owned(), Kept { locks, is_foreign });
        self.news.notify_waiters();
    }

    /// Notes that a journal is gone.
    pub(super) fn forget(&self, journal: &Path) {
        self.kept().remove(journal);
    }

    /// Returns the locks that are owed.
    pub(crate) fn locks(&self) -> Vec<OwedLock> {
        self.kept().values().flat_map(|kept| kept.locks.iter().cloned()).collect()
    }

    /// Whether no journal owes a lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept().values().all(|kept| kept.locks.is_empty())
    }

    /// Takes the tries over from the generation before, and returns the number of this one. That one ends, also if it has nothing to do.
    fn take_over(&self) -> u64 {
        let own = self.payer.fetch_add(1, Ordering::Relaxed) + 1;
        self.news.notify_waiters();
        own
    }

    /// Waits until there is something to be tried again. `false`: a later generation does it.
    async fn is_wanted(&self, own: u64) -> bool {
        loop {
            // From here on, what is new ends the wait, also if it comes before the wait.
            let news = self.news.notified();
            if self.payer.load(Ordering::Relaxed) != own {
                return false;
            }
            if !self.payable().is_empty() {
                return true;
            }
            news.await;
        }
    }

    /// Returns the journals of the directory that is open.
    fn payable(&self) -> Vec<PathBuf> {
        let kept = self.kept();
        kept.iter().filter(|(_, kept)| !kept.is_foreign).map(|(journal, _)| journal.clone()).collect()
    }

    /// Waits until no lock is being written, and none is until the result is dropped. `None`: none is owed.
    pub(super) async fn hold(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.kept().is_empty() { None } else { Some(self.paying.lock().await) }
    }

    /// Notes that a request has enabled an account: its lock is owed no more.
    pub(super) fn is_enabled(&self, dn: &str, schema: &Schema) {
        let key = |dn: &str| DnKey::parse(dn, schema).ok();
        for kept in self.kept().values_mut().filter(|kept| !kept.is_foreign) {
            kept.locks.retain(|owed| {
                key(&owed.dn) != key(dn)
                    || owed
                        .settle()
                        .inspect_err(|e| tracing::error!(dn, "{}: {e}", owed.journal.display()))
                        .is_err()
            });
        }
    }
}

/// Tries the locks again that are owed on a directory, until a later generation of the service does. The one whose configuration counts
/// alone may call it: it takes the tries over for good.
pub(super) async fn pay(writer: &Writer, folder: &Path, directory: &Directory) {
    let state = writer.state();
    let owed = &state.owed;
    let own = owed.take_over();
    if own > 1 {
        // Another configuration: its directory may be that of journals which were of another one.
        let _paying = owed.paying.lock().await;
        change_set::recover(writer, folder, directory).await;
    }
    let mut pause = FIRST_PAUSE;
    while owed.is_wanted(own).await {
        tokio::time::sleep(pause).await;
        if owed.payer.load(Ordering::Relaxed) != own {
            return;
        }
        let _paying = owed.paying.lock().await;
        for journal in owed.payable() {
            change_set::recover_one(writer, &journal, directory).await;
        }
        pause = if owed.payable().is_empty() { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
    }
}
