//! What the run's records brought, matched or were rejected for: whose each entry is, and so what the run never deletes.
//!
//! Nothing of a run deletes an entry without a [`DeletePermit`], and only [`EntryClaims`] gives one. An entry is a record's from
//! the end of its upsert (or its rejection) on, until that record's own deletion is carried out, or it is renamed.
//!
//! Of an entry two hashes are kept (of its name, of its record's stream and key), and where its record's key is in a
//! temporary file: 50 to 70 octets (measured at 0.5 to 2 million), and as much again for each entry that two streams write. Entries leave when they are
//! deleted or renamed. A run that brought more than [`MOST`] that are still there forgets the older half of them, with a
//! warning: so an input that never ends needs no more memory than that.
//!
//! Of an input that stays open, each time that it is quiet and versions are decided ends a period, as the end of the input ends
//! a run: what was brought in an earlier one and did not come again is the next version's to delete.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHasher;
use singer_common::dn::DnKey;

mod spool;

use spool::{TextPosition, TextSpool};

type Table<K, V> = HashMap<K, V, BuildHasherDefault<FxHasher>>;

/// The most entries that are kept.
const MOST: usize = 8_000_000;
/// Containers that were renamed and whose entries are still known by their former names.
const MOST_RENAMED: usize = 1_000;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ClaimRecord {
    claimant: u32,
    text: TextPosition,
}

/// How a record relates to another one about the same entry.
enum Relation {
    Same,
    /// Another stream's, which may be meant to write the same entry.
    OtherStream {
        stream: String,
        text: String,
    },
    /// Another key's.
    OtherKey {
        text: String,
        of_stream: bool,
    },
}

#[derive(Debug, Default)]
struct ClaimIndex {
    /// By name: the record that has it.
    entries: Table<u64, ClaimRecord>,
    /// Further records about a name: other streams', and rejected ones.
    others: Table<u64, Vec<ClaimRecord>>,
    /// How many of the names right below a name are known, or lie above one that is.
    below: Table<u64, u32>,
    /// Renamed containers of what is known: the names that their entries are known by, and have now.
    renamed: Vec<(DnKey, DnKey)>,
    texts: TextSpool,
    /// Where the texts of this period begin.
    period: TextPosition,
    /// Pairs of streams that write the same entries, and were said to.
    logged: HashSet<(String, String)>,
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

/// A record, for people.
fn named(stream: &str, key: &str) -> String {
    if key.is_empty() {
        format!("a record of stream `{stream}`")
    } else {
        format!("{key} (stream `{stream}`)")
    }
}

/// The first property of a key.
fn first_property(key: &str) -> &str {
    key.split_once('=').map_or("", |(name, _)| name)
}

impl ClaimIndex {
    /// The hashes that an entry may be known by: that of its name, and of those it had before what lies above was renamed.
    fn candidates(&self, key: &DnKey) -> Vec<u64> {
        let mut hashes = vec![hash_text(key.text())];
        let mut at = key.clone();
        for (from, to) in self.renamed.iter().rev() {
            if let Some(before) = at.rebased(to, from).filter(|_| to.is_ancestor_of(&at)) {
                hashes.push(hash_text(before.text()));
                at = before;
            }
        }
        hashes
    }

    /// Whether the hash in this place of [`Self::candidates`] is of a former name, or of one that lay below a container that was
    /// renamed: it may be another entry's, too, and is not taken for this one's alone.
    fn is_former(&self, place: usize, key: &DnKey) -> bool {
        place > 0 || self.renamed.iter().any(|(from, _)| from.is_ancestor_of(key))
    }

    fn is_known(&self, hash: u64) -> bool {
        self.entries.contains_key(&hash) || self.others.contains_key(&hash)
    }

    /// Whether what is known lies below a name, or may: what was renamed is counted under its former name, too.
    fn has_below(&self, key: &DnKey) -> bool {
        self.candidates(key).iter().any(|hash| self.below.contains_key(hash))
    }

    /// A name becomes known, or comes to lie above one that is.
    fn link(&mut self, key: &DnKey) {
        for above in key.above_texts() {
            let hash = hash_text(above);
            let count = self.below.entry(hash).or_default();
            *count += 1;
            // Once containers were renamed, what is kept of a name may be a former one's: rather too much is kept then.
            if (*count > 1 || self.is_known(hash)) && self.renamed.is_empty() {
                return;
            }
        }
    }

    /// The same, for a name that may be known already.
    fn link_unless_known(&mut self, key: &DnKey, hash: u64) {
        if !self.renamed.is_empty() || !self.is_known(hash) && !self.below.contains_key(&hash) {
            self.link(key);
        }
    }

    fn unlink(&mut self, key: &DnKey) {
        // Once containers were renamed, it is not known whose counts these are: rather too much is kept then.
        if !self.renamed.is_empty() {
            return;
        }
        for above in key.above_texts() {
            let hash = hash_text(above);
            let Some(count) = self.below.get_mut(&hash) else { return };
            *count -= 1;
            if *count > 0 {
                return;
            }
            self.below.remove(&hash);
            if self.is_known(hash) {
                return;
            }
        }
    }

    fn relation(&mut self, claimant: &Claimant<'_>, owned: ClaimRecord) -> Relation {
        if owned.claimant == claimant.hash() {
            return Relation::Same;
        }
        let Some((stream, key)) = self.texts.get(owned.text) else {
            return Relation::OtherKey { text: "another record of the run".to_owned(), of_stream: true };
        };
        let text = named(&stream, &key);
        if stream == claimant.stream {
            // Spelled in another way.
            let is_same = key == claimant.key || claimant.kind == KeyKind::Name;
            return if is_same { Relation::Same } else { Relation::OtherKey { text, of_stream: true } };
        }
        let is_comparable = !key.is_empty() && first_property(&key) == first_property(claimant.key);
        if is_comparable && key != claimant.key && claimant.kind == KeyKind::Key {
            Relation::OtherKey { text, of_stream: false }
        } else {
            Relation::OtherStream { stream, text }
        }
    }

    /// The same name as the record last had it that has the entry, where that is spelled in another way: a source that says
    /// the row of the one spelling is gone says nothing of the other's.
    fn other_spelling(&mut self, claimant: &Claimant<'_>, owned: ClaimRecord) -> Option<String> {
        if claimant.kind != KeyKind::Name || owned.claimant != claimant.hash() {
            return None;
        }
        let (stream, key) = self.texts.get(owned.text)?;
        (stream == claimant.stream && key != claimant.key).then(|| named(&stream, &key))
    }

    /// The same record brings its entry again: its spelling is the latest one, and so is its period.
    fn respell(&mut self, claimant: &Claimant<'_>, hash: u64, owned: ClaimRecord) {
        if owned.text < self.period || self.other_spelling(claimant, owned).is_some() {
            let text = self.texts.put(claimant.stream, claimant.key);
            self.entries.insert(hash, ClaimRecord { text, ..owned });
        }
    }

    fn may_write(&mut self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) -> Result<(), String> {
        let mut owned = self.entries.get(&hash_text(key.text())).copied();
        if owned.is_none() && !self.renamed.is_empty() {
            // As it was called before what lies above it was renamed.
            owned = self.candidates(key).iter().find_map(|former| self.entries.get(former)).copied();
        }
        let Some(owned) = owned else { return Ok(()) };
        if owned.claimant == claimant.hash() {
            return Ok(());
        }
        match self.relation(claimant, owned) {
            Relation::Same => Ok(()),
            Relation::OtherStream { stream: other, .. } => {
                if self.logged.insert((other.clone(), claimant.stream.to_owned())) {
                    tracing::info!(
                        stream = claimant.stream,
                        "streams `{other}` and `{}` write the same entries, the first of them `{dn}`: none of the two deletes what the other one brings",
                        claimant.stream
                    );
                }
                Ok(())
            }
            // A directory has one entry of a name at a time.
            Relation::OtherKey { .. } if claimant.kind == KeyKind::Id => Ok(()),
            Relation::OtherKey { text: other, .. } => {
                let is_former = self.renamed.iter().any(|(from, _)| from.is_ancestor_of(key));
                if is_former {
                    return Ok(());
                }
                Err(format!(
                    "two keys for one entry: `{dn}` is {other}, written in this run, and {} asks for it, too; give each its own DN, or correct the key",
                    named(claimant.stream, claimant.key)
                ))
            }
        }
    }

    fn claim(&mut self, claimant: &Claimant<'_>, key: &DnKey) {
        let hash = hash_text(key.text());
        let me = claimant.hash();
        if let Some(owned) = self.entries.get(&hash).copied() {
            if !self.renamed.is_empty() {
                self.link(key);
            }
            if owned.claimant == me {
                return self.respell(claimant, hash, owned);
            }
            if matches!(self.relation(claimant, owned), Relation::OtherStream { .. }) {
                return self.add_other(claimant, key);
            }
            // The former one has left, or is the same in another spelling.
            let text = self.texts.put(claimant.stream, claimant.key);
            self.entries.insert(hash, ClaimRecord { claimant: me, text });
            return;
        }
        self.link_unless_known(key, hash);
        if self.entries.len() >= MOST {
            self.forget_half();
        }
        let text = self.texts.put(claimant.stream, claimant.key);
        self.entries.insert(hash, ClaimRecord { claimant: me, text });
    }

    /// Another record about a name, beside the one that has it.
    fn add_other(&mut self, claimant: &Claimant<'_>, key: &DnKey) {
        if key.is_root() {
            return;
        }
        let hash = hash_text(key.text());
        let me = claimant.hash();
        let period = self.period;
        let is_there =
            |all: &Vec<ClaimRecord>| all.iter().any(|other| other.claimant == me && other.text >= period);
        if let Some(owned) = self.entries.get(&hash).copied().filter(|owned| owned.claimant == me) {
            return self.respell(claimant, hash, owned);
        }
        if self.others.get(&hash).is_some_and(is_there) {
            return;
        }
        self.link_unless_known(key, hash);
        let text = self.texts.put(claimant.stream, claimant.key);
        self.others.entry(hash).or_default().push(ClaimRecord { claimant: me, text });
    }

    fn release(&mut self, claimant: Option<u32>, key: &DnKey) {
        for (n, hash) in self.candidates(key).into_iter().enumerate() {
            if self.is_former(n, key) && self.entries.get(&hash).map(|owned| owned.claimant) != claimant {
                continue;
            }
            let was_known = self.entries.remove(&hash).is_some() | self.others.remove(&hash).is_some();
            if was_known && !self.has_below(key) {
                self.unlink(key);
            }
        }
    }

    fn rename(&mut self, from: &DnKey, to: &DnKey) {
        let (old, new) = (hash_text(from.text()), hash_text(to.text()));
        let mut moved = None;
        let mut others = Vec::new();
        for (n, hash) in self.candidates(from).into_iter().enumerate() {
            if self.is_former(n, from) {
                moved = moved.or_else(|| self.entries.get(&hash).copied());
                others.extend(self.others.get(&hash).into_iter().flatten().copied());
            } else {
                moved = self.entries.remove(&hash);
                others.extend(self.others.remove(&hash).into_iter().flatten());
            }
        }
        // What lies below a container of a renamed one is counted under the former name.
        let counts = self.candidates(from);
        let below: Vec<u32> = counts.iter().filter_map(|hash| self.below.get(hash)).copied().collect();
        let below = (!below.is_empty()).then(|| below.iter().sum::<u32>());
        if !self.is_former(0, from) {
            self.below.remove(&old);
        }
        let was_known = moved.is_some() || !others.is_empty();
        if !was_known && below.is_none() {
            return;
        }
        self.unlink(from);
        self.link_unless_known(to, new);
        if let Some(owned) = moved {
            self.entries.insert(new, owned);
        }
        if !others.is_empty() {
            self.others.entry(new).or_default().extend(others);
        }
        if let Some(below) = below {
            *self.below.entry(new).or_default() += below;
            if self.renamed.len() >= MOST_RENAMED {
                self.renamed.remove(0);
            }
            self.renamed.push((from.clone(), to.clone()));
        }
    }

    fn deny(
        &mut self,
        claimant: Option<&Claimant<'_>>,
        dn: &str,
        key: &DnKey,
        with_subtree: bool,
    ) -> Option<DeleteDenied> {
        let mut owners = Vec::new();
        for hash in self.candidates(key) {
            owners.extend(self.entries.get(&hash).copied());
            owners.extend(self.others.get(&hash).into_iter().flatten().copied());
        }
        for owned in owners {
            let Some(claimant) = claimant else {
                return Some(DeleteDenied::Kept(format!("`{dn}` stays: a record of the run is about it")));
            };
            let me = named(claimant.stream, claimant.key);
            if let Some(other) = self.other_spelling(claimant, owned) {
                return Some(DeleteDenied::Kept(format!(
                    "`{dn}` is not deleted for {me}: {other}, the same name in another spelling, brought it or was rejected for it in this run"
                )));
            }
            match self.relation(claimant, owned) {
                Relation::Same => {}
                Relation::OtherKey { text: other, of_stream: true } if claimant.kind == KeyKind::Key => {
                    return Some(DeleteDenied::Error(format!(
                        "two keys for one entry: `{dn}` is not deleted for {me}, for {other} brought it or was rejected for it in this run; correct the keys, or delete it by the other key"
                    )));
                }
                Relation::OtherKey { text: other, .. } | Relation::OtherStream { text: other, .. } => {
                    return Some(DeleteDenied::Kept(format!(
                        "`{dn}` is not deleted for {me}: {other} brought it or was rejected for it in this run"
                    )));
                }
            }
        }
        (with_subtree && self.has_below(key)).then(|| {
            DeleteDenied::Kept(format!(
                "`{dn}` stays, with what lies below: records of the run are about entries below it"
            ))
        })
    }

    fn forget_earlier_periods(&mut self) {
        let period = self.period;
        self.entries.retain(|_, owned| owned.text >= period);
        self.others.retain(|_, all| {
            all.retain(|owned| owned.text >= period);
            !all.is_empty()
        });
        // Else what lies above them stays counted, and rather too much is kept.
        if self.entries.is_empty() && self.others.is_empty() {
            let logged = std::mem::take(&mut self.logged);
            *self = ClaimIndex { logged, ..ClaimIndex::default() };
        }
    }

    /// Makes room: what came first is forgotten.
    fn forget_half(&mut self) {
        let mut places: Vec<TextPosition> = self.entries.values().map(|owned| owned.text).collect();
        let middle = places.len() / 2;
        let (_, middle, _) = places.select_nth_unstable(middle);
        let middle = *middle;
        self.entries.retain(|_, owned| owned.text > middle);
        tracing::warn!(
            "the run has brought more than {MOST} entries: for the first half of them it is no longer checked whether another key asks for them or deletes them"
        );
    }
}

#[cfg(test)]
mod tests;
