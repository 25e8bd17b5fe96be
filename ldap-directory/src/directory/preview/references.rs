//! Renames of a preview, as a server with referential integrity carries them into the values of other entries.
//!
//! Nothing is searched for: the values of an entry follow the renames when the entry is read. Those of the directory below are as before
//! the first rename; those of a changed entry are as of a position that is kept for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::dn::{DnKey, split};
use crate::entry::Entry;
use crate::schema::Schema;
use crate::schema::syntax::ValueKind;

/// The attributes that the server keeps right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaintainedReferences {
    /// All that have DNs.
    All,
    /// These.
    Named(Vec<String>),
}

/// The renames so far, and how far each changed entry has followed them.
#[derive(Debug)]
pub(super) struct References {
    which: MaintainedReferences,
    renames: Mutex<Renames>,
}

#[derive(Debug, Default)]
struct Renames {
    /// The old key and the new DN of each.
    log: Vec<(DnKey, String)>,
    /// The positions in the log of each old key, ascending.
    by_old: HashMap<DnKey, Vec<usize>>,
    /// The position up to which the values of a changed entry have followed.
    followed: BTreeMap<DnKey, usize>,
}

impl References {
    pub(super) fn new(which: MaintainedReferences) -> Self {
        Self { which, renames: Mutex::default() }
    }

    fn renames(&self) -> MutexGuard<'_, Renames> {
        // A panic elsewhere leaves a rename out of the log.
        self.renames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a rename of an entry with its subtree.
    pub(super) fn renamed(&self, old: &DnKey, new: &DnKey, new_dn: &str) {
        if old == new {
            return;
        }
        let mut renames = self.renames();
        let position = renames.log.len();
        renames.by_old.entry(old.clone()).or_default().push(position);
        renames.log.push((old.clone(), new_dn.to_owned()));
        let moved: Vec<DnKey> = renames.followed.range(old.subtree()).map(|(key, _)| key.clone()).collect();
        for key in moved {
            if let (Some(at), Some(now)) = (renames.followed.remove(&key), key.rebased(old, new)) {
                renames.followed.insert(now, at);
            }
        }
    }

    /// Notes that the values of a changed entry have followed all renames.
    pub(super) fn is_current(&self, key: &DnKey) {
        let mut renames = self.renames();
        let position = renames.log.len();
        renames.followed.insert(key.clone(), position);
    }

    /// Lets the values of an entry follow the renames. `is_changed`: it is a changed entry, else one of the directory below. Returns the
    /// attributes that have changed.
    pub(super) fn follow(
        &self,
        entry: &mut Entry,
        key: &DnKey,
        is_changed: bool,
        schema: &Schema,
    ) -> Vec<String> {
        let renames = self.renames();
        let from =
            if is_changed { renames.followed.get(key).copied().unwrap_or(renames.log.len()) } else { 0 };
        let mut changed = Vec::new();
        if from >= renames.log.len() {
            return changed;
        }
        for attribute in &mut entry.attributes {
            let is_kept_right = match &self.which {
                MaintainedReferences::All => true,
                MaintainedReferences::Named(names) => {
                    names.iter().any(|name| schema.same_description(name, &attribute.description))
                }
            };
            if !is_kept_right || !ValueKind::of(schema, &attribute.description).is_name() {
                continue;
            }
            let mut has_changed = false;
            for value in &mut attribute.values {
                if let Some(now) = renames.follow(value, from, schema) {
                    *value = now.into_bytes();
                    has_changed = true;
                }
            }
            if has_changed {
                changed.push(attribute.description.clone());
            }
        }
        changed
    }
}

impl Renames {
    /// Returns what a DN has become since a position; `None`: it is the same.
    fn follow(&self, value: &[u8], mut from: usize, schema: &Schema) -> Option<String> {
        let mut now: Option<String> = None;
        loop {
            let text = match &now {
                Some(text) => text.as_str(),
                None => std::str::from_utf8(value).ok()?,
            };
            let key = DnKey::parse(text, schema).ok()?;
            let next = std::iter::successors(Some(key.clone()), DnKey::parent)
                .filter_map(|at| {
                    let positions = self.by_old.get(&at)?;
                    positions.get(positions.partition_point(|position| *position < from)).copied()
                })
                .min();
            let Some((position, (old, new_dn))) = next.and_then(|p| Some((p, self.log.get(p)?))) else {
                return now;
            };
            let own = key.depth().saturating_sub(old.depth());
            let parts = split(text).ok()?;
            let own = parts.get(..own)?.iter().copied().chain([new_dn.as_str()]);
            now = Some(own.collect::<Vec<_>>().join(","));
            from = position + 1;
        }
    }
}
