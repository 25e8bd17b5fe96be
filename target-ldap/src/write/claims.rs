//! Claims: which record of the run each entry belongs to, and so which entries the run never deletes.
//!
//! No entry is deleted without a [`DeletePermit`], and only [`EntryClaims`] issues one. A record claims its entry with its
//! upsert (or its rejection). The claim ends when the record's own deletion is made, or the entry is renamed.
//!
//! For each entry two hashes are kept (of its DN, of its record's stream and key), and the position of the key in a temporary
//! file. That is 50 to 70 octets (measured at 0.5 to 2 million entries), and as much again for an entry that two streams write.
//! Entries that are deleted or renamed are dropped. Beyond 8 million entries the older half is forgotten, with a warning, so
//! that memory is bounded on an endless input.
//!
//! On an input that stays open, a period ends each time that the input is quiet and versions are decided, as a run ends with
//! its input. Entries of an earlier period that were not written again may be deleted by the next version. A stream that versions may delete
//! entries of, and of which none is decided, keeps its claims: it may be in the middle of one.

use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use rustc_hash::FxHasher;

mod index;
mod spool;

use index::{ClaimIndex, record_label};

/// The kind of a stream's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Keys of the source: different keys are different things.
    Key,
    /// No keys, or the DN: two records with one DN are about the same entry. Spelling matters only for a deletion: an entry is
    /// not deleted by its DN in another spelling than that of the record that wrote it.
    Name,
    /// An identifier that a directory assigns for life (`entryUUID`), in a mirror. An entry that was deleted at the source and
    /// added again under its DN has another one, and replaces the former.
    Id,
}

/// The record that claims an entry: its stream and key.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The key, for messages: `id=7`.
    pub key: &'a str,
    /// The kind of the key.
    pub kind: KeyKind,
}

impl Claimant<'_> {
    fn hash(&self) -> u32 {
        let mut hasher = FxHasher::default();
        hasher.write(self.stream.as_bytes());
        hasher.write_u8(0);
        // If the DN is the key, its spelling does not matter.
        if self.kind != KeyKind::Name {
            hasher.write(self.key.as_bytes());
        }
        folded(hasher.finish())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "half of a hash")]
fn folded(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// Returns the hash of a DN.
fn hash_key(key: &DnKey) -> u64 {
    key.rdn_octets().fold(0, hash_of_child)
}

/// Returns the hash of an entry below another one, by the hash of that and its RDN. So the hashes of all ancestors are known
/// together, whatever their number.
fn hash_of_child(parent: u64, rdn: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(parent);
    hasher.write(rdn);
    hasher.finish()
}

/// Returns the hashes of the ancestors of a DN, nearest first, that of the root last.
fn hashes_above(key: &DnKey) -> Vec<u64> {
    let mut hashes = vec![0];
    let mut at = 0;
    for rdn in key.rdn_octets() {
        at = hash_of_child(at, rdn);
        hashes.push(at);
    }
    // The entry itself.
    hashes.pop();
    hashes.reverse();
    hashes
}

/// The permission to delete one entry, or to do what `on_delete` says instead.
#[derive(Debug)]
pub struct DeletePermit {
    dn: String,
    condition: Option<Arc<Filter>>,
}

impl DeletePermit {
    /// Returns the DN of the entry.
    pub fn dn(&self) -> &str {
        &self.dn
    }

    /// Limits the permission to the time while the entry matches a filter.
    #[must_use]
    pub(super) fn while_it_matches(self, condition: Option<&Arc<Filter>>) -> DeletePermit {
        DeletePermit { condition: condition.cloned(), ..self }
    }

    /// Returns the filter that the entry must match when it is removed.
    pub(super) fn condition(&self) -> Option<&Filter> {
        self.condition.as_deref()
    }
}

/// Why an entry is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteDenied {
    /// Two keys of one stream have one entry: an error of the record.
    Error(String),
    /// The entry belongs to another record of the run: it is kept, and the record is done.
    Kept(String),
}

/// The claims of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct EntryClaims(Arc<Mutex<ClaimIndex>>);

impl EntryClaims {
    fn lock(&self) -> MutexGuard<'_, ClaimIndex> {
        // A panic elsewhere ends the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks whether a record may write this entry.
    ///
    /// # Errors
    /// It belongs to another key; the text names both.
    pub fn may_write(&self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) -> Result<(), String> {
        self.lock().may_write(claimant, dn, key)
    }

    /// Claims an entry that a record wrote, or found as it is to be.
    pub fn claim(&self, claimant: &Claimant<'_>, key: &DnKey) {
        self.lock().claim(claimant, key);
    }

    /// Protects the entry of a rejected record.
    pub fn protect(&self, claimant: &Claimant<'_>, key: &DnKey) {
        self.lock().add_other(claimant, key);
    }

    /// Releases the claim on an entry that is gone. `claimant`: it was deleted by this record.
    pub fn release(&self, claimant: Option<&Claimant<'_>>, key: &DnKey) {
        self.lock().release(claimant.map(Claimant::hash), key);
    }

    /// Moves the claims of an entry, and of its subtree, to its new DN.
    pub fn renamed(&self, from: &DnKey, to: &DnKey) {
        self.lock().rename(from, to);
    }

    /// Begins a period: versions are decided, and later records belong to later ones. `is_over`: whether that of a stream is over. One in
    /// the middle of its version keeps what it brought.
    pub fn begin_period(&self, is_over: impl Fn(&str) -> bool) {
        self.lock().begin_period(is_over);
    }

    /// Forgets the entries of earlier periods, now that their versions are applied.
    pub fn forget_earlier_periods(&self) {
        self.lock().forget_earlier_periods();
    }

    /// Whether ACTIVATE_VERSION must not delete this entry: it, or an entry below it, belongs to a record.
    pub fn protects(&self, key: &DnKey) -> bool {
        let inner = self.lock();
        inner.has_below(key) || inner.candidates(key).iter().any(|hash| inner.is_known(*hash))
    }

    /// Whether entries of records are below this one.
    pub fn has_below(&self, key: &DnKey) -> bool {
        self.lock().has_below(key)
    }

    /// Whether a record wrote the entry with this DN. Not by a former DN.
    pub fn is_written(&self, key: &DnKey) -> bool {
        self.lock().entries.contains_key(&hash_key(key))
    }

    /// Returns the record that an entry belongs to, for messages.
    pub fn owner(&self, key: &DnKey) -> Option<String> {
        let mut inner = self.lock();
        let place = inner.candidates(key).iter().find_map(|hash| inner.entries.get(hash)).map(|o| o.text)?;
        inner.texts.get(place).map(|(stream, key)| record_label(&stream, &key))
    }

    /// Whether an entry belongs to another record of the run, so that this one does not delete it.
    pub fn is_of_another(&self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) -> bool {
        matches!(self.lock().deny(Some(claimant), dn, key, false), Some(DeleteDenied::Kept(_)))
    }

    /// Returns the permission to delete an entry. `claimant`: the record that deletes it, `None` for ACTIVATE_VERSION.
    /// `with_subtree`: the subtree is deleted as well.
    ///
    /// # Errors
    /// The entry, or one below it that would be deleted, belongs to another record of the run.
    pub fn permit(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: &str,
        key: &DnKey,
        with_subtree: bool,
    ) -> Result<DeletePermit, DeleteDenied> {
        self.lock()
            .deny(claimant, dn, key, with_subtree)
            .map_or_else(|| Ok(DeletePermit { dn: dn.to_owned(), condition: None }), Err)
    }
}

#[cfg(test)]
mod tests;
