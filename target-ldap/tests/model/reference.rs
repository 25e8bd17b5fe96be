//! What a run must do, written to be read: one record after another, with all lookups in plain tables.

use std::collections::{BTreeMap, BTreeSet};

/// A unit and a name in it.
pub(crate) type Name = (u8, u8);
/// A stream and a key of it.
pub(crate) type Claimant = (u8, u8);

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The value that `match` compares.
    pub number: u8,
    /// Not written by any record: it distinguishes entries with the same DN.
    pub mark: Option<u8>,
}

/// A directory of leaves.
pub(crate) type Directory = BTreeMap<Name, Entry>;

/// A line of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A record of a stream. A bad one has a value that its SCHEMA forbids.
    Record { stream: u8, key: u8, name: Name, bad: bool },
    /// A deletion; `None`: the record has only its key.
    Deletion { stream: u8, key: u8, name: Option<Name> },
    /// The stream is announced as complete.
    Activate { stream: u8 },
    /// A STATE.
    State,
}

/// The numbers of the entries of each stream.
pub(crate) const SCOPES: [&[u8]; 2] = [&[0, 1, 2], &[3, 4]];

/// The rules of the streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Whether the stream's rule has `match`.
    pub matches: [bool; 2],
}

/// The result of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The number of rejected records.
    pub rejected: usize,
    /// The line of the last STATE that was printed.
    pub state: Option<usize>,
}

#[derive(Default)]
struct Run {
    /// The record that an entry belongs to.
    owner: BTreeMap<Name, Claimant>,
    /// Further records with the entry: of another stream, and rejected ones.
    others: BTreeMap<Name, Vec<Claimant>>,
    /// Deletions by `match`: they are made last, unless a later record has the same identity.
    late: Vec<(Claimant, Option<Name>)>,
    /// Streams with a record.
    came: BTreeSet<u8>,
    /// A record was rejected, and its entry is unknown.
    unknown: bool,
    /// Announced streams: whether a record followed, without a STATE after it.
    announced: BTreeMap<u8, bool>,
    outcome: Outcome,
}

/// Runs an input. `None`: the result depends on which record gives up a DN to which other one; another test covers that.
pub(crate) fn run(rules: Rules, directory: &mut Directory, lines: &[Line]) -> Option<Outcome> {
    let mut run = Run::default();
    let mut states: Vec<(usize, bool)> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        match line {
            Line::Record { stream, key, name, bad } => {
                if rules.matches[usize::from(*stream)] {
                    run.late.retain(|(who, _)| who.1 != *key);
                }
                run.came.insert(*stream);
                if let Some(is_open) = run.announced.get_mut(stream) {
                    *is_open = true;
                }
                run.record(rules, directory, (*stream, *key), *name, *bad)?;
            }
            Line::Deletion { stream, key, name } if rules.matches[usize::from(*stream)] => {
                run.late.push(((*stream, *key), *name));
            }
            Line::Deletion { stream, key, name } => run.deletion(rules, directory, (*stream, *key), *name),
            Line::Activate { stream } if run.came.contains(stream) => {
                run.announced.insert(*stream, false);
            }
            Line::Activate { .. } => {}
            Line::State => {
                states.push((number, !run.announced.is_empty()));
                for is_open in run.announced.values_mut() {
                    *is_open = false;
                }
            }
        }
    }
    for (who, name) in std::mem::take(&mut run.late) {
        run.deletion(rules, directory, who, name);
    }
    let broke_off = !run.unknown && run.announced.values().any(|is_open| *is_open);
    run.outcome.state =
        states.iter().rev().find(|(_, is_held)| !is_held || !broke_off).map(|(number, _)| *number);
    for (stream, is_open) in &run.announced {
        if run.unknown || *is_open {
            continue;
        }
        // Everything in the scope of the stream that no record of the run has.
        directory.retain(|name, entry| {
            !SCOPES[usize::from(*stream)].contains(&entry.number) || !run.about(*name).is_empty()
        });
    }
    Some(run.outcome)
}

fn found(directory: &Directory, number: u8) -> Vec<Name> {
    directory.iter().filter(|(_, entry)| entry.number == number).map(|(name, _)| *name).collect()
}

impl Run {
    /// The records with an entry, the owner first.
    fn about(&self, name: Name) -> Vec<Claimant> {
        self.owner
            .get(&name)
            .into_iter()
            .chain(self.others.get(&name).into_iter().flatten())
            .copied()
            .collect()
    }

    /// Adds a further record with an entry.
    fn note(&mut self, name: Name, who: Claimant) {
        if !self.about(name).contains(&who) {
            self.others.entry(name).or_default().push(who);
        }
    }

    fn reject(&mut self, who: Claimant, names: impl IntoIterator<Item = Name>) {
        self.outcome.rejected += 1;
        for name in names {
            self.note(name, who);
        }
    }

    /// Whether another key, of any stream, has the entry. (A stream writes what another one with the same key writes.)
    fn is_anothers(&self, name: Name, who: Claimant) -> bool {
        self.owner.get(&name).is_some_and(|owner| owner.1 != who.1)
    }

    fn record(
        &mut self,
        rules: Rules,
        directory: &mut Directory,
        who: Claimant,
        name: Name,
        bad: bool,
    ) -> Option<()> {
        let key = who.1;
        let matches = rules.matches[usize::from(who.0)];
        if bad {
            let meant = if matches { found(directory, key) } else { Vec::new() };
            self.reject(who, meant.into_iter().chain([name]));
            return Some(());
        }
        let mut there = Some(name).filter(|name| directory.contains_key(name));
        if matches {
            let all = found(directory, key);
            if all.len() > 1 {
                self.reject(who, all.into_iter().chain([name]));
                return Some(());
            }
            if all.is_empty() && there.is_some() || all.first().is_some_and(|a| *a != name) && there.is_some()
            {
                return None;
            }
            there = all.first().copied();
        }
        if there.is_some_and(|there| self.is_anothers(there, who)) || self.is_anothers(name, who) {
            self.reject(who, there.into_iter().chain([name]));
            return Some(());
        }
        let mut entry =
            there.and_then(|there| directory.remove(&there)).unwrap_or(Entry { number: key, mark: None });
        entry.number = key;
        directory.insert(name, entry);
        if let Some(there) = there.filter(|there| *there != name) {
            // Records with the entry have it under its new DN.
            if let Some(owner) = self.owner.remove(&there) {
                self.owner.insert(name, owner);
            }
            let others = self.others.remove(&there).unwrap_or_default();
            self.others.entry(name).or_default().extend(others);
        }
        match self.owner.get(&name) {
            // The two streams write one entry on purpose.
            Some(owner) if *owner != who && owner.1 == key => self.note(name, who),
            _ => {
                self.owner.insert(name, who);
            }
        }
        Some(())
    }

    fn deletion(&mut self, rules: Rules, directory: &mut Directory, who: Claimant, name: Option<Name>) {
        let matches = rules.matches[usize::from(who.0)];
        let target = if matches {
            let all = found(directory, who.1);
            if all.len() > 1 {
                return self.reject(who, all.into_iter().chain(name));
            }
            all.first().copied()
        } else {
            if name.is_none() {
                // Its entry is unknown.
                self.outcome.rejected += 1;
                self.unknown = true;
                return;
            }
            name
        };
        let Some(target) = target else { return };
        let others: Vec<Claimant> = self.about(target).into_iter().filter(|other| *other != who).collect();
        match others.first() {
            Some(other) if other.0 == who.0 => self.reject(who, [target].into_iter().chain(name)),
            // It belongs to another stream: it stays, without an error.
            Some(_) => {}
            None => {
                directory.remove(&target);
                self.owner.remove(&target);
                self.others.remove(&target);
            }
        }
    }
}
