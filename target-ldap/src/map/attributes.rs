//! The attributes of a wanted entry, put together from the record, the rule and the name.

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

    /// The attributes, in the order they came.
    pub(super) fn into_list(self) -> Vec<Wanted> {
        self.list
    }
}

impl Attributes<'_> {
    /// Where an attribute is. Descriptions are as the schema spells them: others for the same one are rare (options in
    /// another order).
    fn position(&self, description: &str) -> Option<usize> {
        let at = self.list.iter().position(|a| a.description == description);
        at.or_else(|| {
            let normal = self.schema.normal_description(description);
            self.list.iter().position(|a| self.schema.normal_description(&a.description) == normal)
        })
    }

    /// Takes values of an attribute that none were taken of.
    pub(super) fn push(&mut self, wanted: Wanted) {
        self.list.push(wanted);
    }

    /// Takes a value from the record. Two properties of one attribute are put together.
    pub(super) fn force(&mut self, wanted: Wanted) {
        match self.position(&wanted.description).and_then(|p| self.list.get_mut(p)) {
            Some(there) => {
                let rule = self.schema.equality(&wanted.description);
                let normal = |v: &Vec<u8>| rule.normalize(v, self.schema).into_owned();
                let mut seen: HashSet<Vec<u8>> = there.values.iter().map(normal).collect();
                there.values.extend(wanted.values.into_iter().filter(|v| seen.insert(normal(v))));
            }
            None => self.push(wanted),
        }
    }

    /// Takes a default: it counts where the record has nothing. A null takes away what the entry has.
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

    /// The naming values follow a name that `dn_rewrite` changed.
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

    /// What is wanted of an attribute is added to what is there.
    pub(super) fn merge(&mut self, attribute: &str) {
        let description = self.schema.spell(attribute);
        if let Some(there) = self.position(&description).and_then(|p| self.list.get_mut(p)) {
            there.policy = Policy::Merge;
        }
    }

    /// An entry has the values of its name.
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
