//! The index of claims: hashes of DNs and of records, and how they relate.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use ldap_directory::dn::DnKey;
use rustc_hash::FxHasher;

use super::spool::{TextPosition, TextSpool};
use super::{Claimant, DeleteDenied, KeyKind, hash_key, hashes_above};

type Table<K, V> = HashMap<K, V, BuildHasherDefault<FxHasher>>;

/// The most entries that are kept.
const MOST: usize = 8_000_000;
/// Renamed containers whose entries are still indexed by their former DNs.
const MOST_RENAMED: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClaimRecord {
    pub(super) claimant: u32,
    pub(super) text: TextPosition,
}

/// How a record relates to another one with the same entry.
enum Relation {
    Same,
    /// Another stream's record, which may write the same entry on purpose.
    OtherStream {
        stream: String,
        text: String,
    },
    /// A record with another key.
    OtherKey {
        text: String,
        of_stream: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct ClaimIndex {
    /// By DN: the record that the entry belongs to.
    pub(super) entries: Table<u64, ClaimRecord>,
    /// Further records with a DN: of other streams, and rejected ones.
    pub(super) others: Table<u64, Vec<ClaimRecord>>,
    /// The number of children of a DN that are known, or are ancestors of known ones.
    pub(super) below: Table<u64, u32>,
    /// Renamed containers: the DN that their entries are indexed by, and the current one.
    pub(super) renamed: Vec<(DnKey, DnKey)>,
    pub(super) texts: TextSpool,
    /// The position of the first text of this period.
    pub(super) period: TextPosition,
    /// The streams whose period is over, with the position of the first text of their next one.
    ended: HashMap<String, TextPosition>,
    /// Pairs of streams that write the same entries, and were logged.
    pub(super) logged: HashSet<(String, String)>,
}

/// Returns a record for messages.
pub(super) fn record_label(stream: &str, key: &str) -> String {
    if key.is_empty() {
        format!("a record of stream `{stream}`")
    } else {
        format!("{key} (stream `{stream}`)")
    }
}

/// Returns the first property of a key.
fn first_property(key: &str) -> &str {
    key.split_once('=').map_or("", |(name, _)| name)
}

impl ClaimIndex {
    /// Returns the hashes that an entry may be indexed by: that of its DN, and of the former ones before an ancestor was
    /// renamed.
    pub(super) fn candidates(&self, key: &DnKey) -> Vec<u64> {
        let mut hashes = vec![hash_key(key)];
        let mut at = key.clone();
        for (from, to) in self.renamed.iter().rev() {
            if let Some(before) = at.rebased(to, from).filter(|_| to.is_ancestor_of(&at)) {
                hashes.push(hash_key(&before));
                at = before;
            }
        }
        hashes
    }

    /// Whether the hash at this index of [`Self::candidates`] is of a former DN, or of one below a renamed container. It may
    /// belong to another entry as well, so it is never removed for this one alone.
    fn is_former(&self, place: usize, key: &DnKey) -> bool {
        place > 0 || self.renamed.iter().any(|(from, _)| from.is_ancestor_of(key))
    }

    pub(super) fn is_known(&self, hash: u64) -> bool {
        self.entries.contains_key(&hash) || self.others.contains_key(&hash)
    }

    /// Whether known entries are, or may be, below a DN. Entries of renamed containers count for the former DN as well.
    pub(super) fn has_below(&self, key: &DnKey) -> bool {
        self.candidates(key).iter().any(|hash| self.below.contains_key(hash))
    }

    /// Counts a DN that becomes known, or an ancestor of a known one.
    fn link(&mut self, key: &DnKey) {
        for hash in hashes_above(key) {
            let count = self.below.entry(hash).or_default();
            *count += 1;
            // After renames the counts may be those of a former DN: in doubt an entry is kept.
            if (*count > 1 || self.is_known(hash)) && self.renamed.is_empty() {
                return;
            }
        }
    }

    /// The same, for a DN that may already be known.
    fn link_unless_known(&mut self, key: &DnKey, hash: u64) {
        if !self.renamed.is_empty() || !self.is_known(hash) && !self.below.contains_key(&hash) {
            self.link(key);
        }
    }

    fn unlink(&mut self, key: &DnKey) {
        // After renames the counts may belong to other entries: in doubt an entry is kept.
        if !self.renamed.is_empty() {
            return;
        }
        for hash in hashes_above(key) {
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
        let text = record_label(&stream, &key);
        if stream == claimant.stream {
            // The same key in another spelling.
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

    /// Returns the record of the entry if it spells the DN in another way: a deleted row of one spelling says nothing about the
    /// other.
    fn other_spelling(&mut self, claimant: &Claimant<'_>, owned: ClaimRecord) -> Option<String> {
        if claimant.kind != KeyKind::Name || owned.claimant != claimant.hash() {
            return None;
        }
        let (stream, key) = self.texts.get(owned.text)?;
        (stream == claimant.stream && key != claimant.key).then(|| record_label(&stream, &key))
    }

    /// The same record writes its entry again: its spelling and its period are updated.
    fn respell(&mut self, claimant: &Claimant<'_>, hash: u64, owned: ClaimRecord) {
        if owned.text < self.period || self.other_spelling(claimant, owned).is_some() {
            let text = self.texts.put(claimant.stream, claimant.key);
            self.entries.insert(hash, ClaimRecord { text, ..owned });
        }
    }

    pub(super) fn may_write(&mut self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) -> Result<(), String> {
        let mut owned = self.entries.get(&hash_key(key)).copied();
        if owned.is_none() && !self.renamed.is_empty() {
            // By the former DN, before an ancestor was renamed.
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
            // A directory has one entry of a DN at a time.
            Relation::OtherKey { .. } if claimant.kind == KeyKind::Id => Ok(()),
            Relation::OtherKey { text: other, .. } => {
                let is_former = self.renamed.iter().any(|(from, _)| from.is_ancestor_of(key));
                if is_former {
                    return Ok(());
                }
                Err(format!(
                    "two keys for one entry: `{dn}` is {other}, written in this run, and {} asks for it, too; give each its own DN, or correct the key",
                    record_label(claimant.stream, claimant.key)
                ))
            }
        }
    }

    pub(super) fn claim(&mut self, claimant: &Claimant<'_>, key: &DnKey) {
        let hash = hash_key(key);
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
            // The former record has lost the entry, or is the same in another spelling.
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

    /// Adds another record with the same DN.
    pub(super) fn add_other(&mut self, claimant: &Claimant<'_>, key: &DnKey) {
        if key.is_root() {
            return;
        }
        let hash = hash_key(key);
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

    pub(super) fn release(&mut self, claimant: Option<u32>, key: &DnKey) {
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

    pub(super) fn rename(&mut self, from: &DnKey, to: &DnKey) {
        let (old, new) = (hash_key(from), hash_key(to));
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
        // Entries below a container within a renamed one are counted under the former DN.
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

    pub(super) fn deny(
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
            let me = record_label(claimant.stream, claimant.key);
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

    /// Begins a period. `is_over`: whether that of a stream is over; others keep what they brought.
    pub(super) fn begin_period(&mut self, is_over: impl Fn(&str) -> bool) {
        self.period = self.texts.next();
        let streams = self.texts.streams().iter().filter(|stream| is_over(stream));
        self.ended.extend(streams.map(|stream| (stream.clone(), self.period)));
    }

    pub(super) fn forget_earlier_periods(&mut self) {
        let (ended, texts) = (std::mem::take(&mut self.ended), &self.texts);
        let mut first = TextPosition::MAX;
        let mut is_kept = |owned: &ClaimRecord| {
            let ended = texts.stream_of(owned.text).and_then(|stream| ended.get(stream));
            let is_kept = ended.is_none_or(|next| owned.text >= *next);
            if is_kept {
                first = first.min(owned.text);
            }
            is_kept
        };
        self.entries.retain(|_, owned| is_kept(owned));
        self.others.retain(|_, all| {
            all.retain(&mut is_kept);
            !all.is_empty()
        });
        self.texts.forget_streams_before(first);
        // Otherwise their ancestors stay counted: in doubt an entry is kept.
        if self.entries.is_empty() && self.others.is_empty() {
            let logged = std::mem::take(&mut self.logged);
            *self = ClaimIndex { logged, ..ClaimIndex::default() };
        }
    }

    /// Makes room: the older half is forgotten.
    pub(super) fn forget_half(&mut self) {
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
