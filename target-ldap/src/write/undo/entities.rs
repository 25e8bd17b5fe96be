//! Groups the changes of a run by entry, and determines the expected state of each entry after each change. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ldap_directory::Vendor;
use ldap_directory::dn::{DnKey, split};
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use singer_common::operations::secret::is_secret_attribute;

use super::change_note::{ChangeKind, ChangeNote, Trace, digest, of_entry, value_digest};
use super::journal::{ChangeStatus, JournalReader, ReadError};
use crate::rules::names::ENTRY_IDS;

/// One change.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number in the file.
    pub number: u64,
    /// The index of its entry in [`Entities::steps_of`].
    pub entity: usize,
    /// Whether it is known to be made.
    pub is_made: bool,
    /// Its kind.
    pub kind: ChangeKind,
    /// The DN of the entry before it.
    pub dn: String,
    /// The DN after it, if it is a rename.
    pub to: Option<String>,
}

/// The changes of a run, by entry.
#[derive(Debug, Default)]
pub struct Entities {
    /// In the order in which they were made.
    pub steps: Vec<Step>,
    /// The steps of each entry, in their order.
    pub steps_of: Vec<Vec<usize>>,
    /// The renames among the steps.
    pub renamings: Vec<usize>,
    /// The entries by the DN that they had before the run.
    owners: HashMap<DnKey, usize>,
    /// Whether the rules set no password: one that the journal does not have was set since.
    pub without_passwords: bool,
}

pub(super) fn key(dn: &str, schema: &Schema) -> DnKey {
    DnKey::parse(dn, schema).unwrap_or_default()
}

/// Returns a DN after its ancestor was renamed. `None`: it is not below the ancestor.
pub fn moved(dn: &str, from: &str, to: &str, schema: &Schema) -> Option<String> {
    if !key(dn, schema).is_within(&key(from, schema)) {
        return None;
    }
    let (parts, below) = (split(dn).ok()?, split(from).ok()?.len());
    let kept = parts.get(..parts.len().checked_sub(below)?)?;
    Some(kept.iter().copied().chain([to]).collect::<Vec<_>>().join(","))
}

impl Entities {
    /// Returns all DNs of the entries that the run changed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| [Some(step.dn.as_str()), step.to.as_deref()]).flatten()
    }

    /// Returns the DNs of the entries that the run added.
    pub(crate) fn added(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.kind == ChangeKind::Add).map(|step| step.dn.as_str())
    }

    /// Groups all changes of a file that were, or may have been, made.
    pub fn of(reading: &mut JournalReader, schema: &Schema) -> Result<Entities, ReadError> {
        let mut all = Entities::default();
        // The entries so far, by their current DN.
        let mut names: BTreeMap<DnKey, (usize, String)> = BTreeMap::new();
        // Whether each entry exists after its changes so far, if known.
        let mut there: Vec<Option<bool>> = Vec::new();
        let numbers: Vec<u64> = reading.places.keys().copied().collect();
        for number in numbers {
            let status = reading.status(number);
            if status == ChangeStatus::Void {
                continue;
            }
            let (note, _) = reading.load(number)?;
            // Refused, or without effect, such as the deletion of a missing entry.
            if status == ChangeStatus::Unknown && note.is_idle() {
                continue;
            }
            let at = key(&note.dn, schema);
            let known = names.get(&at).map(|(entity, _)| *entity);
            let entity = known.unwrap_or_else(|| {
                all.steps_of.push(Vec::new());
                there.push(None);
                let new = all.steps_of.len() - 1;
                if note.of != ChangeKind::Add {
                    all.owners.insert(at.clone(), new);
                }
                new
            });
            // An existing entry cannot be added, and a missing one cannot be changed: the change was probably refused.
            let is_there = there.get(entity).copied().flatten();
            if status == ChangeStatus::Unknown
                && is_there.is_some_and(|there| there == (note.of == ChangeKind::Add))
            {
                continue;
            }
            if let Some(slot) = there.get_mut(entity) {
                *slot = (status == ChangeStatus::Made).then_some(note.of != ChangeKind::Delete);
            }
            names.insert(at.clone(), (entity, note.dn.clone()));
            if let Some(to) = &note.to {
                let below: Vec<DnKey> = names.range(at.subtree()).map(|(k, _)| k.clone()).collect();
                let left: Vec<_> = below.iter().filter_map(|k| names.remove(k)).collect();
                for (entity, dn) in left {
                    if let Some(dn) = moved(&dn, &note.dn, to, schema) {
                        names.insert(key(&dn, schema), (entity, dn));
                    }
                }
                all.renamings.push(all.steps.len());
            }
            if let Some(steps) = all.steps_of.get_mut(entity) {
                steps.push(all.steps.len());
            }
            let is_made = status == ChangeStatus::Made;
            all.steps.push(Step { number, entity, is_made, kind: note.of, dn: note.dn, to: note.to });
        }
        Ok(all)
    }

    /// Whether another entry had a DN at any time in the run.
    pub fn is_borne_by_another(&self, dn: &str, entity: usize, schema: &Schema) -> bool {
        let name = key(dn, schema);
        let has = |dn: &String| key(dn, schema) == name;
        self.steps.iter().any(|s| s.entity != entity && (has(&s.dn) || s.to.as_ref().is_some_and(has)))
    }

    /// Returns the entry that had a DN before the run, and was renamed or deleted.
    pub fn owner(&self, dn: &str, schema: &Schema) -> Option<usize> {
        self.owners.get(&key(dn, schema)).copied()
    }
}

/// The expected state of an entry.
#[derive(Debug, Default)]
pub struct Expected {
    /// Whether it must exist.
    pub exists: bool,
    /// The digests of all values of attributes.
    whole: Vec<(String, String)>,
    /// The digests of single values, and whether they must exist.
    single: Vec<(String, String, bool)>,
    /// The attributes that it may have, if all of them are known.
    only: Option<BTreeSet<String>>,
    /// The attribute that identifies the entry, and the digests that stand for it.
    id: Option<(String, Vec<String>)>,
    /// Whether it may have another ID, because it was added again to undo a deletion. Then it must be as it was, without
    /// further attributes.
    may_be_anew: bool,
    /// Whether the run set no password: one that its journal does not have was set since.
    without_password: bool,
}

/// Whether an entry is the expected one, by its ID.
#[derive(PartialEq, Eq)]
enum Identity {
    Same,
    Another,
    /// One side has no ID.
    NotKnown,
}

/// What is already known of an attribute.
enum Noted {
    All,
    Of(HashSet<String>),
}

#[derive(Default)]
struct Gathered {
    expected: Expected,
    said: HashMap<String, Noted>,
}

impl Gathered {
    /// Adds what a change says of an attribute, unless a later change did.
    fn trace(&mut self, name: &str, trace: &Trace, is_after: bool) {
        let said = self.said.get_mut(name);
        if trace.is_by_value() {
            let is_first = said.is_none();
            let single = &mut self.expected.single;
            let mut say = |known: &mut HashSet<String>| {
                for (digests, came) in [(&trace.came, true), (&trace.went, false)] {
                    for digest in digests {
                        if known.insert(digest.clone()) {
                            single.push((name.to_owned(), digest.clone(), came == is_after));
                        }
                    }
                }
            };
            match said {
                Some(Noted::All) => {}
                Some(Noted::Of(known)) => say(known),
                None => {
                    let mut known = HashSet::new();
                    say(&mut known);
                    if is_first {
                        self.said.insert(name.to_owned(), Noted::Of(known));
                    }
                }
            }
            return;
        }
        if said.is_some() {
            return;
        }
        self.said.insert(name.to_owned(), Noted::All);
        let digest = if is_after { &trace.is } else { &trace.was };
        if let Some(digest) = digest {
            self.expected.whole.push((name.to_owned(), digest.clone()));
        }
    }

    fn not_known(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.said.entry(name).or_insert(Noted::All);
        }
    }
}

/// Returns the ID of an entry between its changes: an entry that is added again has another one.
fn id_at(before: &[ChangeNote], after: &[ChangeNote]) -> Option<(String, String)> {
    for note in before.iter().rev().take_while(|n| n.of != ChangeKind::Delete) {
        if note.id.is_some() || note.of == ChangeKind::Add {
            return note.id.clone();
        }
    }
    let known = after
        .iter()
        .take_while(|n| n.of != ChangeKind::Add)
        .find(|n| n.id.is_some() || n.of == ChangeKind::Delete);
    known.and_then(|n| n.id.clone())
}

impl Expected {
    /// Returns the expected state after the first `made` of an entry's changes. `notes` are all of them; `deleted` is the entry
    /// that the first deletion among the others removed.
    pub fn new(notes: &[ChangeNote], made: usize, deleted: Option<&Entry>, schema: &Schema) -> Expected {
        let (before, after) = notes.split_at(made.min(notes.len()));
        let mut all = Gathered::default();
        all.expected.exists = match (before.last(), after.first()) {
            (Some(last), _) => last.of != ChangeKind::Delete,
            (None, Some(first)) => first.of != ChangeKind::Add,
            (None, None) => true,
        };
        if !all.expected.exists {
            return all.expected;
        }
        let mut is_whole = false;
        for note in before.iter().rev() {
            match note.of {
                ChangeKind::Modify => note.attributes.iter().for_each(|(n, t)| all.trace(n, t, true)),
                ChangeKind::Rename => {
                    all.not_known(note.naming(schema));
                    note.attributes.iter().for_each(|(n, t)| all.trace(n, t, true));
                }
                ChangeKind::Add => {
                    note.attributes.iter().for_each(|(n, t)| all.trace(n, t, true));
                    is_whole = true;
                    break;
                }
                ChangeKind::Delete => break,
            }
        }
        if is_whole {
            all.expected.only = Some(all.said.keys().cloned().collect());
        } else {
            for note in after {
                match note.of {
                    ChangeKind::Modify => note.attributes.iter().for_each(|(n, t)| all.trace(n, t, false)),
                    ChangeKind::Rename => {
                        all.not_known(note.naming(schema));
                        note.attributes.iter().for_each(|(n, t)| all.trace(n, t, false));
                    }
                    ChangeKind::Delete => {
                        let there = deleted.map(|e| of_entry(e, schema)).unwrap_or_default();
                        for (name, trace) in &there {
                            all.trace(name, trace, true);
                        }
                        break;
                    }
                    ChangeKind::Add => break,
                }
            }
            if deleted.is_some() {
                all.expected.may_be_anew = true;
                all.expected.only = Some(all.said.keys().cloned().collect());
            }
        }
        all.expected.id = id_at(before, after).map(|(name, digest)| (name, vec![digest]));
        all.expected
    }

    /// Also accepts the new IDs of entries that were added again.
    pub fn accept(&mut self, again: &BTreeMap<String, String>) {
        let Some((_, digests)) = &mut self.id else { return };
        while let Some(next) = digests.last().and_then(|last| again.get(last))
            && !digests.contains(next)
        {
            digests.push(next.clone());
        }
    }

    /// Sets whether the run set no password. The journal does not have first passwords: they are set by an operation of their
    /// own (RFC 3062), or stored as a hash.
    #[must_use]
    pub fn without_password(mut self, without_password: bool) -> Self {
        self.without_password = without_password;
        self
    }

    /// Does not check the ID: the entry is already identified.
    #[must_use]
    pub fn without_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// Whether an entry is another one than the expected, by its ID.
    pub(super) fn is_another(&self, entry: &Entry, schema: &Schema) -> bool {
        self.identity(entry, schema) == Identity::Another
    }

    fn identity(&self, entry: &Entry, schema: &Schema) -> Identity {
        let Some((name, digests)) = &self.id else { return Identity::NotKnown };
        match entry.values(name).first() {
            None => Identity::NotKnown,
            Some(id) if digests.contains(&value_digest(name, id, schema)) => Identity::Same,
            Some(_) => Identity::Another,
        }
    }

    /// Returns the attributes to request for the comparison.
    pub fn to_ask(&self) -> Vec<String> {
        let mut names: Vec<String> = if self.only.is_some() { vec!["*".into()] } else { Vec::new() };
        if self.only.is_some() {
            names.push("createTimestamp".into());
        }
        if self.id.is_some() {
            names.extend(ENTRY_IDS.map(str::to_owned));
        }
        let touched =
            self.whole.iter().map(|(n, _)| n.as_str()).chain(self.single.iter().map(|(n, ..)| n.as_str()));
        names = crate::rules::names::to_ask(names, touched);
        if names.is_empty() {
            names.push("1.1".into());
        }
        names
    }

    /// Returns how an entry differs from the expected state; `None`: it does not.
    pub fn difference(&self, entry: Option<&Entry>, vendor: Vendor, schema: &Schema) -> Option<String> {
        let entry = match (entry, self.exists) {
            (None, false) => return None,
            (None, true) => return Some("it is not there".to_owned()),
            (Some(_), false) => return Some("an entry of that name is there".to_owned()),
            (Some(entry), true) => entry,
        };
        let identity = self.identity(entry, schema);
        // If it may have been added again, its values decide; but Active Directory adds dozens of attributes by itself.
        let is_told_by_values = self.may_be_anew && vendor != Vendor::ActiveDirectory;
        if identity == Identity::Another && !is_told_by_values {
            return Some("another entry has that name: it was deleted, and made anew, since".to_owned());
        }
        let differs = |name: &str| Some(format!("`{name}` is not what the run left"));
        for (name, digest_before) in &self.whole {
            if digest(name, schema.values_of(entry, name), schema) != *digest_before {
                return differs(&schema.spell(name));
            }
        }
        let mut digests: HashMap<&str, HashSet<String>> = HashMap::new();
        for (name, digest, has_to_be) in &self.single {
            let there = digests.entry(name).or_insert_with(|| {
                schema.values_of(entry, name).iter().map(|v| value_digest(name, v, schema)).collect()
            });
            if there.contains(digest) != *has_to_be {
                return differs(&schema.spell(name));
            }
        }
        // An entry that was never deleted may have further attributes.
        let is_free = vendor == Vendor::ActiveDirectory || self.may_be_anew && identity == Identity::Same;
        if let (Some(only), false) = (&self.only, is_free) {
            let is_new = |name: &str| {
                !only.contains(&schema.normal_description(name))
                    && !schema.is_operational(name)
                    && (self.without_password || !is_secret_attribute(name))
                    && !["memberOf", "createTimestamp"]
                        .iter()
                        .chain(&ENTRY_IDS)
                        .any(|n| n.eq_ignore_ascii_case(name))
            };
            if let Some(new) =
                entry.attributes.iter().find(|a| !a.values.is_empty() && is_new(&a.description))
            {
                let when =
                    if self.may_be_anew { "before the run deleted the entry" } else { "when the run ended" };
                return Some(format!("`{}` was not there {when}", new.description));
            }
        }
        None
    }
}
