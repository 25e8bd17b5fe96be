//! Collects the attributes of a wanted entry from the record, the rule and the DN.

use std::collections::HashSet;

use ldap_directory::dn::Dn;
use ldap_directory::schema::Schema;

use crate::map::wanted::Wanted;
use crate::rules::policy::Policy;

/// Attributes in order, each description once.
pub(super) struct Attributes<'a> {
    schema: &'a Schema,
    list: Vec<Wanted>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(schema: &'a Schema, expected: usize) -> Self {
        Self { schema, list: Vec::with_capacity(expected) }
    }

    /// Returns the attributes, in the order in which they were added.
    pub(super) fn into_list(self) -> Vec<Wanted> {
        self.list
    }
}

impl Attributes<'_> {
    /// Returns the position of an attribute. Descriptions are spelled as in the schema; other spellings (options in another
    /// order) are rare.
    fn position(&self, description: &str) -> Option<usize> {
        let at = self.list.iter().position(|a| a.description == description);
        at.or_else(|| {
            let normal = self.schema.normal_description(description);
            self.list.iter().position(|a| self.schema.normal_description(&a.description) == normal)
        })
    }

    /// Adds an attribute that is not there yet.
    pub(super) fn push(&mut self, wanted: Wanted) {
        self.list.push(wanted);
    }

    /// Adds values of the record. The values of two properties for one attribute are combined.
    pub(super) fn force(&mut self, wanted: Wanted) {
        match self.position(&wanted.description).and_then(|p| self.list.get_mut(p)) {
            Some(there) => {
                let rule = self.schema.equality(&wanted.description);
                let normal = |v: &Vec<u8>| rule.normalize(v, self.schema).into_owned();
                let mut seen: HashSet<Vec<u8>> = there.values.iter().map(normal).collect();
                there.values.extend(wanted.values.into_iter().filter(|v| seen.insert(normal(v))));
                // A part of the values is not known.
                if there.policy == Policy::Force && wanted.policy == Policy::Merge {
                    there.policy = Policy::Merge;
                }
            }
            None => self.push(wanted),
        }
    }

    /// Adds a default: it is used if the record has no value. A null removes the values of the entry.
    pub(super) fn keep(&mut self, default: Wanted) {
        match self.position(&default.description).and_then(|p| self.list.get_mut(p)) {
            Some(there) if there.values.is_empty() => there.values = default.values,
            Some(_) => {}
            None => self.push(default),
        }
    }

    pub(super) fn replace(&mut self, wanted: Wanted) {
        match self.position(&wanted.description).and_then(|p| self.list.get_mut(p)) {
            Some(there) => *there = wanted,
            None => self.push(wanted),
        }
    }

    /// Replaces the naming values by those of a DN that `dn_rewrite` changed.
    pub(super) fn rename(&mut self, old: &str, new: &Dn) {
        let Ok(old) = Dn::parse(old) else { return };
        let (Some(old), Some(new)) = (old.rdn(), new.rdn()) else { return };
        for ava in &old.avas {
            let name = self.schema.spell(&ava.attribute);
            let same = |v: &Vec<u8>| self.schema.values_match(&name, v, &ava.value);
            if new.avas.iter().any(|n| self.schema.spell(&n.attribute) == name && same(&n.value)) {
                continue;
            }
            if let Some(there) = self.position(&name).and_then(|p| self.list.get_mut(p)) {
                there.values.retain(|v| !same(v));
            }
        }
    }

    /// Sets the policy of an attribute to `merge`.
    pub(super) fn merge(&mut self, attribute: &str) {
        let description = self.schema.spell(attribute);
        if let Some(there) = self.position(&description).and_then(|p| self.list.get_mut(p)) {
            there.policy = Policy::Merge;
        }
    }

    /// Adds a value of the RDN: an entry must have it (RFC 4512 section 2.3).
    pub(super) fn contain(&mut self, attribute: &str, value: Vec<u8>) {
        let description = self.schema.spell(attribute);
        let Some(there) = self.position(&description).and_then(|p| self.list.get_mut(p)) else {
            return self.push(Wanted::merged(description, value));
        };
        if !there.values.iter().any(|v| self.schema.values_match(&description, v, &value)) {
            there.values.push(value);
        }
    }
}
