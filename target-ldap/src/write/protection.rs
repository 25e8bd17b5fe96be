//! Protected entries, and the bases that no change leaves: the one place where each change is judged before it is sent.
//!
//! A change is sent by the [`Sender`](super::destination) alone, which takes nothing but an [`Admitted`] change. Only
//! [`Protection::check`] makes one.
//!
//! An entry that is above a protected one is neither renamed nor deleted: both would touch the protected one.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::change::Change;
use ldap_directory::dn::{Above, DnError, DnKey};
use ldap_directory::protocol::result_code;
use ldap_directory::{Directory, DirectoryError};

mod admins;
mod bound;
mod load;
mod matched;

use matched::MatchedEntries;

/// The most bases that a message names.
const SHOWN: usize = 5;

/// A change that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Admitted<'c>(&'c Change);

impl<'c> Admitted<'c> {
    /// Returns the change.
    pub fn change(self) -> &'c Change {
        self.0
    }
}

/// The DN of an entry that may be added.
#[derive(Debug, Clone, Copy)]
pub struct AdmittedKey<'k>(&'k DnKey);

impl<'k> AdmittedKey<'k> {
    /// Returns the key of the DN.
    pub fn key(self) -> &'k DnKey {
        self.0
    }
}

/// What a DN in the settings, or of the bound user, protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleKind {
    /// The entry of the bound user, and what is above it.
    Own,
    /// The DN of a bound user that has no entry (`rootdn`), or may not read it: what is above it is neither renamed nor deleted.
    OwnName,
    /// The entry.
    Base,
    /// The entry, from being renamed or deleted.
    WriteBase,
    /// The entry, also one that does not exist yet.
    Entry,
    /// The entry and its subtree, also entries that do not exist yet.
    Below,
}

impl RuleKind {
    fn is_base(self) -> bool {
        matches!(self, RuleKind::Base | RuleKind::WriteBase)
    }
}

/// A rule of one DN.
#[derive(Debug)]
struct NamedRule {
    key: DnKey,
    dn: String,
    setting: String,
    kind: RuleKind,
}

impl NamedRule {
    /// Returns why the rule forbids a change of the entry `key`, which gets the DN `new` if it is renamed.
    fn objection(&self, change: &Change, key: &DnKey, new: Option<&DnKey>) -> Option<String> {
        let is_it = *key == self.key;
        let is_above = key.is_ancestor_of(&self.key);
        let is_below = self.key.is_ancestor_of(key);
        let removes = matches!(change, Change::Delete { .. } | Change::Rename { .. });
        let is_add = matches!(change, Change::Add(_));
        let is_meant = match self.kind {
            RuleKind::Own => is_it || is_above && !is_add,
            RuleKind::Base => is_it && !is_add || is_above && removes,
            RuleKind::WriteBase => (is_it || is_above) && removes,
            RuleKind::Entry | RuleKind::OwnName => is_it || is_above && removes,
            RuleKind::Below => is_it || is_below || is_above && removes,
        };
        let (dn, what) = (&self.dn, self.what());
        if is_meant {
            return Some(match (is_it, is_below) {
                (true, _) => format!("it is {what}"),
                (_, true) => format!("it is below `{dn}`"),
                _ => format!("`{dn}`, {what}, is below it"),
            });
        }
        let new = new?;
        let takes = match self.kind {
            RuleKind::Own | RuleKind::OwnName | RuleKind::Entry => *new == self.key,
            RuleKind::Below => new.is_within(&self.key),
            RuleKind::Base | RuleKind::WriteBase => false,
        };
        takes.then(|| format!("its new DN is that of {what}, or below it: `{dn}`"))
    }

    fn what(&self) -> &'static str {
        match self.kind {
            RuleKind::Own | RuleKind::OwnName => "the entry that this program is bound as",
            RuleKind::Base | RuleKind::WriteBase => "a base of the configuration",
            RuleKind::Entry | RuleKind::Below => "a protected entry",
        }
    }
}

fn hash(key: &DnKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.as_octets().hash(&mut hasher);
    hasher.finish()
}

/// Entries that the changes of one destination have made what they are: these may be changed further.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnEntries(Arc<Mutex<Own>>);

#[derive(Debug, Default)]
struct Own {
    /// Bases that were added: an undo may delete them.
    bases: BTreeSet<DnKey>,
    /// Entries that match a filter by a change of their own: a record may need several changes.
    matching: BTreeSet<DnKey>,
    /// Entries that were added, as hashes of their DNs: what the bound user may not search of them, the program has not written.
    added: HashSet<u64>,
}

impl OwnEntries {
    fn lock(&self) -> MutexGuard<'_, Own> {
        // A panic elsewhere leaves the sets whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_base(&self, key: &DnKey) -> bool {
        self.lock().bases.contains(key)
    }

    fn is_added(&self, key: &DnKey) -> bool {
        self.lock().added.contains(&hash(key))
    }

    fn is_matching(&self, key: &DnKey) -> bool {
        self.lock().matching.contains(key)
    }
}

/// What no change may touch.
#[derive(Debug, Default)]
pub struct Protection {
    rules: Vec<NamedRule>,
    /// The entries at and below which alone something is changed, and their setting.
    write_base: Option<(Vec<(DnKey, String)>, String)>,
    matched: Option<MatchedEntries>,
    /// Of the DNs of changes: many have one parent.
    parents: Mutex<Above>,
}

impl Protection {
    /// Returns the protection that allows every change: for what is only rehearsed to find out what was done, and for tests.
    pub fn none() -> Arc<Protection> {
        Arc::default()
    }

    /// Returns the key of a DN.
    fn key(&self, dn: &str, directory: &Directory) -> Result<DnKey, DnError> {
        // A panic elsewhere leaves the keys whole.
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).key(dn, directory.schema())
    }

    /// Whether every addition is allowed.
    fn allows_additions(&self) -> bool {
        self.write_base.is_none() && self.rules.iter().all(|rule| rule.kind.is_base())
    }

    /// Whether a DN is that of a base.
    fn is_base(&self, key: &DnKey) -> bool {
        self.rules.iter().any(|rule| rule.kind.is_base() && rule.key == *key)
    }

    /// Notes entries that were added, as far as they are bases.
    pub(super) fn note_added(&self, added: impl Iterator<Item = DnKey>, own: &OwnEntries) {
        for key in added.filter(|key| self.is_base(key)) {
            own.lock().bases.insert(key);
        }
    }

    /// Notes entries that are taken back by the program that has just changed them: no filter protects them from it.
    pub(super) fn note_own(&self, entries: impl Iterator<Item = DnKey>, own: &OwnEntries) {
        own.lock().matching.extend(entries.filter(|_| self.matched.is_some()));
    }

    /// Notes a change that was made.
    pub(super) fn note_made(&self, change: &Change, directory: &Directory, own: &OwnEntries) {
        let key = |dn: &str| self.key(dn, directory).ok();
        if let Change::Add(entry) = change
            && self.rules.iter().any(|rule| rule.kind.is_base())
        {
            self.note_added(key(&entry.dn).into_iter(), own);
        }
        let Some(matched) = &self.matched else { return };
        if let Change::Add(entry) = change
            && matched.asks_rights()
        {
            own.lock().added.extend(key(&entry.dn).map(|key| hash(&key)));
        }
        let is_named = |description: &str| matched.names(description, directory.schema());
        let (is_matching, dn) = match change {
            Change::Add(entry) => {
                (entry.attributes.iter().any(|a| is_named(&a.description)), entry.dn.clone())
            }
            Change::Modify { dn, changes } => {
                (changes.iter().any(|step| is_named(&step.description)), dn.clone())
            }
            Change::Rename { dn, .. } => {
                let was_own = key(dn).is_some_and(|key| own.is_matching(&key));
                if key(dn).is_some_and(|key| own.is_added(&key)) {
                    own.lock().added.extend(change.new_dn().and_then(|dn| key(&dn)).map(|key| hash(&key)));
                }
                (was_own, change.new_dn().unwrap_or_default())
            }
            Change::Delete { .. } => return,
        };
        own.lock().matching.extend(key(&dn).filter(|_| is_matching));
    }

    /// Whether additions need not be noted one by one, with their attributes.
    pub(super) fn knows_no_filter(&self) -> bool {
        self.matched.is_none()
    }

    /// Checks an entry that is to be added, by the key of its DN. `None`: [`Self::check`] has the reason.
    pub(super) fn check_addition<'k>(&self, key: &'k DnKey) -> Option<AdmittedKey<'k>> {
        let change = Change::Add(ldap_directory::entry::Entry::default());
        let is_allowed = self.allows_additions()
            || self.is_inside(key)
                && self.rules.iter().all(|rule| rule.objection(&change, key, None).is_none());
        is_allowed.then_some(AdmittedKey(key))
    }

    fn is_inside(&self, key: &DnKey) -> bool {
        let is_within =
            |(bases, _): &(Vec<(DnKey, String)>, String)| bases.iter().any(|(base, _)| key.is_within(base));
        self.write_base.as_ref().is_none_or(is_within)
    }

    /// Checks a change. `own`: what this run itself has made.
    ///
    /// # Errors
    /// It must not be made ([`DirectoryError::Forbidden`]), its DN is not valid, or the directory does not say whether its entry is
    /// protected.
    pub(super) async fn check<'c>(
        &self,
        directory: &Directory,
        change: &'c Change,
        own: &OwnEntries,
    ) -> Result<Admitted<'c>, DirectoryError> {
        let is_add = matches!(change, Change::Add(_));
        if is_add && self.allows_additions()
            || self.rules.is_empty() && self.write_base.is_none() && self.matched.is_none()
        {
            return Ok(Admitted(change));
        }
        let key_of = |dn: &str| {
            self.key(dn, directory).map_err(|e| DirectoryError::Operation {
                operation: change.operation(),
                dn: dn.to_owned(),
                code: result_code::INVALID_DN_SYNTAX,
                matched: String::new(),
                text: e.to_string(),
            })
        };
        let forbidden = |setting: &str, reason: String| DirectoryError::Forbidden {
            operation: change.operation(),
            dn: change.dn().to_owned(),
            setting: setting.to_owned(),
            reason,
        };
        let key = key_of(change.dn())?;
        let new_dn = change.new_dn();
        let new = new_dn.as_deref().map(key_of).transpose()?;
        if let Some((bases, setting)) = &self.write_base {
            let places = [(Some(&key), change.dn()), (new.as_ref(), new_dn.as_deref().unwrap_or_default())];
            for (key, dn) in places {
                if key.is_some_and(|key| !self.is_inside(key)) {
                    let named: Vec<String> =
                        bases.iter().take(SHOWN).map(|(_, dn)| format!("`{dn}`")).collect();
                    return Err(forbidden(setting, format!("`{dn}` is not within {}", named.join(", "))));
                }
            }
        }
        for rule in &self.rules {
            if let Some(reason) = rule.objection(change, &key, new.as_ref())
                && !(rule.kind.is_base() && own.has_base(&rule.key))
            {
                return Err(forbidden(&rule.setting, reason));
            }
        }
        let Some(matched) = self.matched.as_ref().filter(|_| !is_add) else { return Ok(Admitted(change)) };
        let with_subtree = !matches!(change, Change::Modify { .. });
        let is_own = |key: &DnKey| own.is_matching(key);
        let is_added = |key: &DnKey| own.is_added(key) || own.is_matching(key);
        // The directory is seldom asked.
        let found =
            Box::pin(matched.find(directory, change.dn(), &key, with_subtree, &is_own, &is_added)).await?;
        if let Some(found) = found {
            let reason = if let Some(attribute) = &found.hidden {
                format!(
                    "the bound user may not search `{attribute}` of `{}`, so that it is not known whether {} matches it: it counts as protected; let the user of bind_dn search the attribute",
                    found.dn, found.filter
                )
            } else if found.key == key {
                format!("it matches {}", found.filter)
            } else {
                format!("`{}` below it matches {}", found.dn, found.filter)
            };
            return Err(forbidden(&found.setting, reason));
        }
        Ok(Admitted(change))
    }
}

#[cfg(test)]
mod tests;
