//! The index of claims: hashes of names and of records, and what they say of one another.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use ldap_directory::dn::DnKey;
use rustc_hash::FxHasher;

use super::spool::{TextPosition, TextSpool};
use super::{Claimant, DeleteDenied, KeyKind, hash_text};

type Table<K, V> = HashMap<K, V, BuildHasherDefault<FxHasher>>;

/// The most entries that are kept.
const MOST: usize = 8_000_000;
/// Containers that were renamed and whose entries are still known by their former names.
const MOST_RENAMED: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClaimRecord {
    pub(super) claimant: u32,
    pub(super) text: TextPosition,
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
pub(super) struct ClaimIndex {
    /// By name: the record that has it.
    pub(super) entries: Table<u64, ClaimRecord>,
    /// Further records about a name: other streams', and rejected ones.
    pub(super) others: Table<u64, Vec<ClaimRecord>>,
    /// How many of the names right below a name are known, or lie above one that is.
    pub(super) below: Table<u64, u32>,
    /// Renamed containers of what is known: the names that their entries are known by, and have now.
    pub(super) renamed: Vec<(DnKey, DnKey)>,
    pub(super) texts: TextSpool,
    /// Where the texts of this period begin.
    pub(super) period: TextPosition,
    /// Pairs of streams that write the same entries, and were said to.
    pub(super) logged: HashSet<(String, String)>,
}

/// A record, for people.
pub(super) fn named(stream: &str, key: &str) -> String {
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
    pub(super) fn candidates(&self, key: &DnKey) -> Vec<u64> {
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

    pub(super) fn is_known(&self, hash: u64) -> bool {
        self.entries.contains_key(&hash) || self.others.contains_key(&hash)
    }

    /// Whether what is known lies below a name, or may: what was renamed is counted under its former name, too.
    pub(super) fn has_below(&self, key: &DnKey) -> bool {
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

    pub(super) fn may_write(&mut self, claimant: &Claimant<'_>, dn: &str, key: &DnKey) -> Result<(), String> {
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

    pub(super) fn claim(&mut self, claimant: &Claimant<'_>, key: &DnKey) {
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
    pub(super) fn add_other(&mut self, claimant: &Claimant<'_>, key: &DnKey) {
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

    pub(super) fn forget_earlier_periods(&mut self) {
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
