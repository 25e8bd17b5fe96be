//! The applier: the state that all tasks of a run share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::{DirectoryError, Found, Scope, SearchRequest};

use super::claims::EntryClaims;
use super::computed::Computed;
use super::destination::Destination;
use super::displaced::Displaced;
use super::generate::TakenValues;
use super::locate::UnreadMatch;
use super::nearest::Nearest;
use super::parents::ParentsMade;
use super::readable::Readable;
use super::references::KnownEntries;
use super::removal::RunLimits;
use super::unmatched::UnmatchedEntries;
use crate::plan::entry_digests::{EntryDigestCache, EntryDigestCaches};

/// How often an entry that changes between search and write is read again.
pub(super) const ATTEMPTS: u32 = 3;
/// Applies tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Applier {
    pub(super) directory: Destination,
    pub(super) parents_made: ParentsMade,
    /// Serializes the creation of parents: two children of a missing parent would both add it.
    pub(super) parents: Arc<tokio::sync::Mutex<()>>,
    pub(super) nearest: Nearest,
    /// Serializes searches of subtrees: OpenLDAP keeps one paging state per connection.
    pub(super) trees: Arc<tokio::sync::Mutex<()>>,
    pub(super) present: Arc<KnownEntries>,
    /// The entries that this run added.
    pub(super) added: Arc<KnownEntries>,
    pub(super) digest_caches: EntryDigestCaches,
    /// Which record each entry belongs to.
    pub(super) claims: EntryClaims,
    /// Whether a modify asserts that the entry is as it was read.
    pub(super) assert_unchanged: bool,
    /// Whether a lock of an account that the server ignores is logged. The value: whether it was logged that this is not known.
    pub(super) watches_locks: Option<Arc<AtomicBool>>,
    /// The values that the server shows in place of what was written; `None`: the program looks at that itself.
    pub(super) computed: Option<Arc<Computed>>,
    /// Whether ACTIVATE_VERSION may delete entries.
    pub(super) deletes_by_version: bool,
    /// Records that match several entries. These are read, and so protected, before the first deletion.
    pub(super) unread: Arc<tokio::sync::Mutex<Vec<UnreadMatch>>>,
    /// Held for reading while an entry is located, for writing before a deletion. So every record before the deletion has its
    /// entry, or is known to match several. The lock is fair.
    pub(super) match_lock: Arc<tokio::sync::RwLock<()>>,
    pub(super) unmatched_entries: Arc<UnmatchedEntries>,
    /// Entries of records whose ancestors were renamed.
    pub(super) displaced: Displaced,
    /// What the removals of a run that was planned may reach.
    pub(super) limits: Option<Arc<RunLimits>>,
    /// What the bound user may read; `None`: the program checks that itself.
    pub(super) readable: Option<Arc<Readable>>,
    /// The values of `unique` and `next` that are known to be taken.
    pub(super) taken: Arc<TakenValues>,
}

impl Applier {
    /// Returns an applier for a directory.
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
            watches_locks: None,
            computed: None,
            deletes_by_version: false,
            unread: Arc::default(),
            match_lock: Arc::default(),
            unmatched_entries: Arc::default(),
            displaced: Displaced::default(),
            limits: None,
            readable: None,
            taken: Arc::default(),
        }
    }

    /// Sets the limits that the removals of the run are held to.
    #[must_use]
    pub fn held_to(self, limits: Option<Arc<RunLimits>>) -> Self {
        Self { limits, ..self }
    }

    /// Sets whether ACTIVATE_VERSION may delete entries.
    #[must_use]
    pub fn deleting_by_version(self, deletes_by_version: bool) -> Self {
        Self { deletes_by_version, ..self }
    }

    /// Sets whether a rule renames entries that can have children.
    #[must_use]
    pub fn awaiting_parents(self, parents_may_come: bool) -> Self {
        match self.parents_made {
            ParentsMade::AtOnce if parents_may_come => Self { parents_made: ParentsMade::Last, ..self },
            _ => self,
        }
    }

    /// Checks that the bound user may read what an entry is taken to lack.
    #[must_use]
    pub fn checking_rights(self) -> Self {
        Self { readable: Some(Arc::default()), ..self }
    }

    /// The same, with what another applier has found out, also about what the server shows.
    #[must_use]
    pub fn checking_rights_with(self, other: &Applier) -> Self {
        Self { readable: other.readable.clone(), computed: other.computed.clone(), ..self }
    }

    /// Returns the entries that their own `match` does not match.
    pub fn unmatched_entries(&self) -> &UnmatchedEntries {
        &self.unmatched_entries
    }

    /// Sets whether a modify asserts that the entry is as it was read.
    #[must_use]
    pub fn asserting(self, assert_unchanged: bool) -> Self {
        Self { assert_unchanged, ..self }
    }

    /// Logs disabled accounts whose lock the server ignores.
    #[must_use]
    pub fn watching_locks(self) -> Self {
        Self { watches_locks: Some(Arc::default()), ..self }
    }

    /// Warns of entries that the server shows otherwise than they are written.
    #[must_use]
    pub fn watching_shown(self) -> Self {
        Self { computed: Some(Arc::default()), ..self }
    }

    /// Whether an entry is known to exist.
    pub fn is_known(&self, key: &DnKey) -> bool {
        self.present.contains(key)
    }

    /// Reads the entries of a stream below a base. `None`: there are more than `most`.
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
        let mut search = self
            .directory
            .search(SearchRequest::new(base, Scope::Subtree, filter, &names).repeating())
            .await?;
        let mut read = 0;
        let schema = self.directory.schema();
        loop {
            let has_room = match search.advance().await? {
                None => break,
                Some(Found::Entry(entry)) => digest_cache.insert(&entry, schema),
                Some(Found::InPlace) => {
                    search.in_place().is_none_or(|entry| digest_cache.insert(&entry, schema))
                }
                Some(Found::Reference(_) | Found::Unreadable(_)) => continue,
            };
            read += 1;
            if read > most || !has_room {
                search.abandon().await?;
                return Ok(None);
            }
        }
        digest_cache.complete(self.key(base).unwrap_or_default());
        let digest_cache = Arc::new(digest_cache);
        self.digest_caches.add(&digest_cache);
        Ok(Some(digest_cache))
    }

    /// Makes the changes, in their order, that take back what was done for a record which is refused.
    ///
    /// # Errors
    /// The directory refuses one: those after it are not made.
    pub(super) async fn undo_changes(&self, changes: &[Change]) -> Result<(), DirectoryError> {
        let new: Vec<String> = changes.iter().filter_map(Change::new_dn).collect();
        let own = changes.iter().map(Change::dn).chain(new.iter().map(String::as_str));
        let directory = self.directory.clone().taking_back(own);
        for change in changes {
            directory.apply_unasked(change, &[]).await?;
        }
        Ok(())
    }

    /// Returns the claims of the run.
    pub fn claims(&self) -> &EntryClaims {
        &self.claims
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Destination {
        &self.directory
    }

    /// Returns the key of a DN, by which tasks are ordered.
    pub fn key(&self, dn: &str) -> Result<DnKey, ldap_directory::dn::DnError> {
        DnKey::parse(dn, self.directory.schema())
    }
}
