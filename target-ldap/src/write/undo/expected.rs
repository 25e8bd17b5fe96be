//! The expected state of an entry between its changes, and how an entry differs from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Vendor};
use singer_common::operations::secret::is_secret_attribute;

use super::change_note::{
    ChangeKind, ChangeNote, Trace, digest, digest_left, is_destroyed, octets_digest, of_entry, value_digest,
};
use crate::rules::names::ENTRY_IDS;
use crate::write::identity::HIDDEN;
use crate::write::inverse::OPERATIONAL;

/// The expected state of an entry.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the comparison")]
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
    /// In plans: the digests of the octets of attributes.
    spelled: Vec<(String, String)>,
    /// In plans: the digests of the values of lists that an entry to be deleted may have.
    within: Vec<(String, HashSet<String>)>,
    /// In plans, of an entry to be deleted: whatever it has in addition was not seen.
    is_whole: bool,
    /// Whether it is what a plan says, and not what a run left.
    of_plan: bool,
}

/// How an entry differs from the expected state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The attribute, if it is one.
    pub attribute: Option<String>,
    /// For people.
    pub text: String,
}

impl Difference {
    fn whole(text: &str) -> Difference {
        Difference { attribute: None, text: text.to_owned() }
    }
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
    /// Single values that the server may have taken out by itself: they are not compared.
    free: HashMap<String, HashSet<String>>,
}

impl Gathered {
    /// Adds what a change says of an attribute, unless a later change did.
    fn trace(&mut self, name: &str, trace: &Trace, is_after: bool) {
        let said = self.said.get_mut(name);
        if trace.is_by_value() {
            let is_first = said.is_none();
            let single = &mut self.expected.single;
            let free = self.free.get(name);
            let mut say = |known: &mut HashSet<String>| {
                for (digests, came) in [(&trace.came, true), (&trace.went, false)] {
                    for digest in digests {
                        let is_free = free.is_some_and(|free| free.contains(digest));
                        if known.insert(digest.clone()) && !is_free {
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
        if let Some(spelled) = trace.spelled.as_ref().filter(|_| is_after) {
            self.expected.spelled.push((name.to_owned(), spelled.clone()));
        }
        let digest = if is_after { &trace.is } else { &trace.was };
        if let Some(digest) = digest {
            self.expected.whole.push((name.to_owned(), digest.clone()));
        }
    }

    /// Leaves out the values that the server may have taken out by itself.
    fn leave_out(&mut self, notes: &[ChangeNote]) {
        for note in notes.iter().filter(|note| note.by_server) {
            for (name, trace) in &note.attributes {
                let digests = trace.came.iter().chain(&trace.went).cloned();
                self.free.entry(name.clone()).or_default().extend(digests);
            }
        }
    }

    /// Returns the attributes that are known.
    fn known(&self) -> BTreeSet<String> {
        self.said.keys().chain(self.free.keys()).cloned().collect()
    }

    /// Adds all that a plan saw of an entry that it deletes.
    fn destroyed(&mut self, attributes: &BTreeMap<String, Trace>) {
        for (name, trace) in attributes {
            if trace.went.is_empty() {
                self.trace(name, trace, false);
            } else if self.said.insert(name.clone(), Noted::All).is_none() {
                self.expected.within.push((name.clone(), trace.went.iter().cloned().collect()));
            }
        }
        self.expected.only = Some(self.said.keys().cloned().collect());
        self.expected.is_whole = true;
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
        all.leave_out(notes);
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
            all.expected.only = Some(all.known());
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
                        // Undo files have the entry itself.
                        if !note.attributes.is_empty() {
                            all.destroyed(&note.attributes);
                        }
                        break;
                    }
                    ChangeKind::Add => break,
                }
            }
            if deleted.is_some() {
                all.expected.may_be_anew = true;
                all.expected.only = Some(all.known());
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

    /// Takes it as what a plan says.
    #[must_use]
    pub fn of_plan(mut self) -> Self {
        self.of_plan = true;
        self
    }

    /// Does not check the ID: the entry is already identified.
    #[must_use]
    pub fn without_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// Whether an entry is another one than the expected, by its ID.
    pub(in crate::write) fn is_another(&self, entry: &Entry, schema: &Schema) -> bool {
        self.identity(entry, schema) == Identity::Another
    }

    /// Whether an entry is the expected one, by its ID.
    pub(in crate::write) fn is_the_same(&self, entry: &Entry, schema: &Schema) -> bool {
        self.identity(entry, schema) == Identity::Same
    }

    fn identity(&self, entry: &Entry, schema: &Schema) -> Identity {
        let Some((name, digests)) = &self.id else { return Identity::NotKnown };
        match entry.values(name).first() {
            None => Identity::NotKnown,
            Some(id) if digests.contains(&value_digest(name, id, schema)) => Identity::Same,
            Some(_) => Identity::Another,
        }
    }

    /// Reads the entry, as far as it is compared.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn read(&self, directory: &Directory, dn: &str) -> Result<Option<Entry>, DirectoryError> {
        let names = self.to_ask();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        directory.read_whole(dn, &names).await
    }

    /// Returns the attributes to request for the comparison.
    fn to_ask(&self) -> Vec<String> {
        let mut names: Vec<String> = if self.only.is_some() { vec!["*".into()] } else { Vec::new() };
        if self.only.is_some() {
            names.push("createTimestamp".into());
        }
        if self.id.is_some() {
            names.extend(ENTRY_IDS.map(str::to_owned));
        }
        if self.is_whole {
            names.extend(OPERATIONAL.map(str::to_owned));
        }
        let whole = self.whole.iter().chain(&self.spelled).map(|(name, _)| name.as_str());
        let single = self.single.iter().map(|(name, ..)| name.as_str());
        let touched = whole.chain(single).chain(self.within.iter().map(|(name, _)| name.as_str()));
        names = crate::rules::names::to_ask(names, touched);
        if names.is_empty() {
            names.push("1.1".into());
        }
        names
    }

    /// Returns how an entry differs from the expected state; `None`: it does not.
    pub fn difference(&self, entry: Option<&Entry>, vendor: Vendor, schema: &Schema) -> Option<Difference> {
        let entry = match (entry, self.exists) {
            (None, false) => return None,
            (None, true) => return Some(Difference::whole("it is not there")),
            (Some(_), false) => return Some(Difference::whole("an entry of that name is there")),
            (Some(entry), true) => entry,
        };
        let identity = self.identity(entry, schema);
        // If it may have been added again, its values decide; but Active Directory adds dozens of attributes by itself.
        let is_told_by_values = self.may_be_anew && vendor != Vendor::ActiveDirectory;
        if identity == Identity::Another && !is_told_by_values {
            let text = "another entry has that name: it was deleted, and made anew, since";
            return Some(Difference::whole(text));
        }
        if identity == Identity::NotKnown && self.of_plan && self.id.is_some() {
            return Some(Difference::whole(HIDDEN));
        }
        let of = |name: &str, what: &str| {
            let attribute = schema.spell(name);
            let text = format!("`{attribute}` {what}");
            Some(Difference { attribute: Some(attribute), text })
        };
        if let Some(name) = self.differing_values(entry, schema) {
            return of(
                name,
                if self.of_plan { "is not what the plan saw" } else { "is not what the run left" },
            );
        }
        // An entry that was never deleted may have further attributes.
        let is_free = !self.is_whole
            && (vendor == Vendor::ActiveDirectory || self.may_be_anew && identity == Identity::Same);
        let only = self.only.as_ref().filter(|_| !is_free)?;
        let is_new = |name: &str| {
            let counts = if self.is_whole {
                is_destroyed(name, schema)
            } else {
                !schema.is_operational(name)
                    && (self.without_password || !is_secret_attribute(name))
                    && !name.eq_ignore_ascii_case("memberOf")
            };
            counts
                && !only.contains(&schema.normal_description(name))
                && !["createTimestamp"].iter().chain(&ENTRY_IDS).any(|n| n.eq_ignore_ascii_case(name))
        };
        let new = entry.attributes.iter().find(|a| !a.values.is_empty() && is_new(&a.description))?;
        let when = match (self.of_plan, self.may_be_anew) {
            (true, _) => "was not there when the plan was made",
            (_, true) => "was not there before the run deleted the entry",
            _ => "was not there when the run ended",
        };
        of(&new.description, when)
    }

    /// Returns an attribute whose values are not the expected ones.
    fn differing_values(&self, entry: &Entry, schema: &Schema) -> Option<&str> {
        for (name, digest_before) in &self.whole {
            let there = schema.values_of(entry, name);
            if digest(name, there, schema) != *digest_before
                && digest_left(name, there, schema) != *digest_before
            {
                return Some(name);
            }
        }
        for (name, octets) in &self.spelled {
            if octets_digest(schema.values_of(entry, name)) != *octets {
                return Some(name);
            }
        }
        let digests_of = |name: &str| -> HashSet<String> {
            schema.values_of(entry, name).iter().map(|v| value_digest(name, v, schema)).collect()
        };
        for (name, seen) in &self.within {
            if !digests_of(name).is_subset(seen) {
                return Some(name);
            }
        }
        let mut digests: HashMap<&str, HashSet<String>> = HashMap::new();
        for (name, digest, has_to_be) in &self.single {
            let there = digests.entry(name).or_insert_with(|| digests_of(name));
            if there.contains(digest) != *has_to_be {
                return Some(name);
            }
        }
        None
    }
}
