//! What the run's records brought, matched or were rejected for: whose each entry is, and so what the run never deletes.
//!
//! Nothing of a run deletes an entry without a [`DeletePermit`], and only [`EntryClaims`] gives one. An entry is a record's from
//! the end of its upsert (or its rejection) on, until that record's own deletion is carried out, or it is renamed.
//!
//! Of an entry two hashes are kept (of its name, of its record's stream and key), and where its record's key is in a
//! temporary file: 50 to 70 octets (measured at 0.5 to 2 million), and as much again for each entry that two streams write. Entries leave when they are
//! deleted or renamed. A run that brought more than [`MOST`](index) that are still there forgets the older half of them, with a
//! warning: so an input that never ends needs no more memory than that.
//!
//! Of an input that stays open, each time that it is quiet and versions are decided ends a period, as the end of the input ends
//! a run: what was brought in an earlier one and did not come again is the next version's to delete.

use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHasher;
use singer_common::dn::DnKey;

mod index;
mod spool;

use index::{ClaimIndex, named};

/// What a stream's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The source's own: two of them are two things.
    Key,
    /// None, or the entry's name: two records of one name are about the same. Spelling counts for a deletion alone: what a
    /// record brought is not deleted for the same name in another spelling.
    Name,
    /// What a directory gives each entry for life (`entryUUID`), in a mirror: an entry that was deleted at the source and
    /// made again under its name has another one, and takes the place of the former.
    Id,
}

/// Whose something is: a record's stream and key.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The key, for people: `id=7`.
    pub key: &'a str,
    /// What such keys are.
    pub kind: KeyKind,
}

impl Claimant<'_> {
    fn hash(&self) -> u32 {
        let mut hasher = FxHasher::default();
        hasher.write(self.stream.as_bytes());
        hasher.write_u8(0);
        // Where the name is the key, its spelling does not count.
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

fn hash_text(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The leave to delete one entry, or to do to it what a rule has in place of a deletion.
#[derive(Debug)]
pub struct DeletePermit {
    dn: String,
}

impl DeletePermit {
    /// The entry's name.
    pub fn dn(&self) -> &str {
        &self.dn
    }
}

/// Why an entry is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteDenied {
    /// Two keys of one stream are about one entry: an error of the record.
    Error(String),
    /// Another record of the run has the entry: it stays, and the record is done.
    Kept(String),
}

/// The books of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct EntryClaims(Arc<Mutex<ClaimIndex>>);

impl EntryClaims {
    fn lock(&self) -> MutexGuard<'_, ClaimIndex> {
        // A panic elsewhere ends the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record may write this entry.
    ///
    /// # Errors
    /// Another key has it; the text names both.
    pub fn may_write(&self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) -> Result<(), String> {
        self.lock().may_write(claimant, dn, key)
    }

    /// A record brought an entry, or found it as it is to be.
    pub fn claim(&self, claimant: &Claimant<'_>, key: &DnKey) {
        self.lock().claim(claimant, key);
    }

    /// A record was rejected that is about an entry.
    pub fn protect(&self, claimant: &Claimant<'_>, key: &DnKey) {
        self.lock().add_other(claimant, key);
    }

    /// An entry went. `who`: by this record's deletion.
    pub fn release(&self, claimant: Option<&Claimant<'_>>, key: &DnKey) {
        self.lock().release(claimant.map(Claimant::hash), key);
    }

    /// An entry has another name, and with it what lies below.
    pub fn renamed(&self, from: &DnKey, to: &DnKey) {
        self.lock().rename(from, to);
    }

    /// Begins a period: versions are decided, and what comes from now on is about later ones.
    pub fn begin_period(&self) {
        let mut inner = self.lock();
        inner.period = inner.texts.next();
    }

    /// Forgets what earlier periods brought, now that their versions are carried out.
    pub fn forget_earlier_periods(&self) {
        self.lock().forget_earlier_periods();
    }

    /// Whether nothing that did not come with a version may take this entry: a record is about it, or about one below.
    pub fn keeps(&self, key: &DnKey) -> bool {
        let inner = self.lock();
        inner.has_below(key) || inner.candidates(key).iter().any(|hash| inner.is_known(*hash))
    }

    /// The record that has an entry, for people.
    pub fn owner(&self, key: &DnKey) -> Option<String> {
        let mut inner = self.lock();
        let place = inner.candidates(key).iter().find_map(|hash| inner.entries.get(hash)).map(|o| o.text)?;
        inner.texts.get(place).map(|(stream, key)| named(&stream, &key))
    }

    /// The leave to delete an entry. `who`: the record that says so, `None` for a version. `with_subtree`: what lies below goes
    /// with it.
    ///
    /// # Errors
    /// Another record of the run is about the entry, or about one below that would go with it.
    pub fn permit(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: &str,
        key: &DnKey,
        with_subtree: bool,
    ) -> Result<DeletePermit, DeleteDenied> {
        self.lock()
            .deny(claimant, dn, key, with_subtree)
            .map_or_else(|| Ok(DeletePermit { dn: dn.to_owned() }), Err)
    }
}

#[cfg(test)]
mod tests;
