//! The result of a modify: the values of each attribute before and after it.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::{Attribute, Entry};

/// An attribute with its values before and after the change.
pub(super) struct ValueChange<'c> {
    pub(super) name: &'c str,
    pub(super) old: Values<'c>,
    pub(super) new: Values<'c>,
}

/// Returns the attributes of the modifications, in the order in which they first occur.
pub(super) fn before_and_after<'c>(
    changes: &'c [Modification],
    before: Option<&'c Entry>,
) -> Vec<ValueChange<'c>> {
    let mut names: Vec<&str> = Vec::new();
    let mut steps: HashMap<String, Vec<&Modification>> = HashMap::new();
    for change in changes {
        let of_it = steps.entry(change.description.to_ascii_lowercase()).or_default();
        if of_it.is_empty() {
            names.push(&change.description);
        }
        of_it.push(change);
    }
    let mut there: HashMap<String, &Attribute> = HashMap::new();
    for attribute in before.into_iter().flat_map(|b| &b.attributes) {
        there.entry(attribute.description.to_ascii_lowercase()).or_insert(attribute);
    }
    let of = |name: &'c str| {
        let key = name.to_ascii_lowercase();
        let (mut old, mut new) = (Values::default(), Values::default());
        if let Some(attribute) = there.get(&key) {
            old.add(&attribute.values);
            new.add(&attribute.values);
        }
        for step in steps.get(&key).into_iter().flatten() {
            match step.kind {
                ModificationKind::Add | ModificationKind::Increment => new.add(&step.values),
                ModificationKind::Replace => {
                    new.clear();
                    new.add(&step.values);
                }
                ModificationKind::Delete if step.values.is_empty() => new.clear(),
                ModificationKind::Delete => new.take_out(&step.values),
            }
        }
        ValueChange { name, old, new }
    };
    names.into_iter().map(of).collect()
}

fn octets(values: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    values.iter().map(Vec::as_slice)
}

/// The values of one attribute in their order, possibly repeated. Removed values are only marked: a group may have 50,000.
#[derive(Default)]
pub(super) struct Values<'v> {
    all: Vec<(&'v [u8], bool)>,
    /// The indexes of each value that was not removed.
    places: HashMap<Octets<'v>, Vec<usize>>,
}

impl<'v> Values<'v> {
    fn add(&mut self, values: &'v [Vec<u8>]) {
        for value in octets(values) {
            self.places.entry(Octets(value)).or_default().push(self.all.len());
            self.all.push((value, true));
        }
    }

    fn take_out(&mut self, values: &'v [Vec<u8>]) {
        for place in octets(values).filter_map(|value| self.places.remove(&Octets(value))).flatten() {
            if let Some((_, is_there)) = self.all.get_mut(place) {
                *is_there = false;
            }
        }
    }

    fn clear(&mut self) {
        *self = Values::default();
    }

    pub(super) fn has(&self, value: &'v [u8]) -> bool {
        self.places.contains_key(&Octets(value))
    }

    pub(super) fn there(&self) -> impl Iterator<Item = &'v [u8]> {
        self.all.iter().filter(|(_, is_there)| *is_there).map(|(value, _)| *value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// A value as a hash key. Tests count the comparisons.
#[derive(Debug, Clone, Copy, Eq)]
struct Octets<'v>(&'v [u8]);

impl PartialEq for Octets<'_> {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        COMPARED.with(|count| count.set(count.get() + 1));
        self.0 == other.0
    }
}

impl Hash for Octets<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
thread_local! {
    /// The number of comparisons.
    pub(super) static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
