//! The applier: what all tasks of a run share.

use std::sync::Arc;

use singer_common::directory::{DirectoryError, Scope, SearchRequest};
use singer_common::dn::DnKey;

use super::claims::EntryClaims;
use super::destination::Destination;
use super::locate::UnreadMatch;
use super::nearest::Nearest;
use super::parents::ParentsMade;
use super::references::KnownEntries;
use super::unmatched::UnmatchedEntries;
use crate::plan::entry_digests::{EntryDigestCache, EntryDigestCaches};

/// How often an entry that appears or disappears between reading and writing is read again.
pub(super) const ATTEMPTS: u32 = 3;
/// Carries tasks out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Applier {
    pub(super) directory: Destination,
    pub(super) parents_made: ParentsMade,
    /// One creation of parents at a time: two children of a missing parent would both try.
    pub(super) parents: Arc<tokio::sync::Mutex<()>>,
    pub(super) nearest: Nearest,
    /// One search for what lies below at a time: OpenLDAP keeps one paging state per connection.
    pub(super) trees: Arc<tokio::sync::Mutex<()>>,
    pub(super) present: Arc<KnownEntries>,
    /// Entries that this run added.
    pub(super) added: Arc<KnownEntries>,
    pub(super) digest_caches: EntryDigestCaches,
    /// Whose each entry is.
    pub(super) claims: EntryClaims,
    /// Whether a modify is made only of what is as it was read.
    pub(super) assert_unchanged: bool,
    /// Whether versions delete what no record is about.
    pub(super) deletes_by_version: bool,
    /// Of records that fit several entries: which ones nothing deletes is read before the first deletion.
    pub(super) unread: Arc<tokio::sync::Mutex<Vec<UnreadMatch>>>,
    /// Read while a record's entry is looked for, and written before a deletion: the records before it have theirs, or are known
    /// to fit several. Claimant asks first comes first.
    pub(super) looking: Arc<tokio::sync::RwLock<()>>,
    pub(super) unmatched_entries: Arc<UnmatchedEntries>,
}

impl Applier {
    /// An applier to a directory.
    pub fn new(directory: Destination, create_parents: bool, claims: EntryClaims) -> Self {
        let (parents, trees) = (Arc::default(), Arc::default());
        let (present, added) = (Arc::default(), Arc::default());
        let digest_caches = EntryDigestCaches::default();
        Self {
            directory,
            parents_made: if create_parents { ParentsMade::AtOnce } else { ParentsMade::Never },
            parents,
            nearest: Nearest::default(),
            trees,
            present,
            added,
            digest_caches,
            claims,
            assert_unchanged: false,
            deletes_by_version: false,
            unread: Arc::default(),
            looking: Arc::default(),
            unmatched_entries: Arc::default(),
        }
    }

    /// Whether versions delete what no record is about.
    #[must_use]
    pub fn deleting_by_version(self, deletes_by_version: bool) -> Self {
        Self { deletes_by_version, ..self }
    }

    /// Whether a rule renames entries that others may lie below.
    #[must_use]
    pub fn awaiting_parents(self, parents_may_come: bool) -> Self {
        match self.parents_made {
            ParentsMade::AtOnce if parents_may_come => Self { parents_made: ParentsMade::Last, ..self },
            _ => self,
        }
    }

    /// Entries that their own `match` does not find again.
    pub fn unmatched_entries(&self) -> &UnmatchedEntries {
        &self.unmatched_entries
    }

    /// Modifies an entry only where what it changes is as it was read.
    #[must_use]
    pub fn asserting(self, assert_unchanged: bool) -> Self {
        Self { assert_unchanged, ..self }
    }

    /// Whether an entry is known to be there.
    pub fn is_known(&self, key: &DnKey) -> bool {
        self.present.contains(key)
    }

    /// Reads what a stream's entries are like, below a base, up to so many. `None`: there are more.
    pub async fn prefetch(
        &self,
        digest_cache: EntryDigestCache,
        base: &str,
        filter: &str,
        most: u64,
    ) -> Result<Option<Arc<EntryDigestCache>>, DirectoryError> {
        let _one_at_a_time = self.trees.lock().await;
        let names = digest_cache.attributes();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut search =
            self.directory.search(SearchRequest::new(base, Scope::Sub, filter, &names).repeating()).await?;
        let mut read = 0;
        while let Some(entry) = search.next_entry().await? {
            read += 1;
            if read > most || !digest_cache.insert(&entry, self.directory.schema()) {
                search.abandon().await?;
                return Ok(None);
            }
        }
        digest_cache.complete(self.key(base).unwrap_or_default());
        let digest_cache = Arc::new(digest_cache);
        self.digest_caches.add(&digest_cache);
        Ok(Some(digest_cache))
    }

    /// The books of the run.
    pub fn claims(&self) -> &EntryClaims {
        &self.claims
    }

    /// The directory.
    pub fn directory(&self) -> &Destination {
        &self.directory
    }

    /// The key of a task's entry, by which tasks are ordered.
    pub fn key(&self, dn: &str) -> Result<DnKey, singer_common::dn::DnError> {
        DnKey::parse(dn, self.directory.schema())
    }
}
