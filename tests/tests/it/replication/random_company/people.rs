//! Changes to people.

use std::collections::{BTreeMap, BTreeSet};

use super::{Person, World, change, modrdn};
use crate::replication::server_kind::{Kind, escaped, line};

/// One of two, so that a filter divides the people.
const EMPLOYEE_TYPES: [&str; 2] = ["active", "gone"];

impl World {
    /// `complete`: with all attributes there are, so that a sample has seen them.
    pub(super) fn add_person(&mut self, unit: usize, complete: bool, ldif: &mut String) {
        // Somebody else's old DN, sometimes: whoever goes by DNs then takes the two for one.
        if let Some((name, unit)) = self.freed.pop()
            && self.units[unit].is_some()
            && !self.is_taken(&name, unit)
            && self.rng.chance(50)
        {
            return self.add_named(name, unit, complete, ldif);
        }
        let name = self.name();
        self.add_named(name, unit, complete, ldif);
    }

    fn add_named(&mut self, name: String, unit: usize, complete: bool, ldif: &mut String) {
        let mut person = Person { name, unit, values: BTreeMap::new() };
        *ldif += &change(&self.dn(&person.name, unit), "add");
        for class in self.kind.person_classes() {
            *ldif += &line("objectClass", class);
        }
        *ldif += &line("cn", &person.name);
        if self.kind == Kind::ActiveDirectory {
            let n = self.number();
            *ldif += &line("sAMAccountName", format!("user{n}"));
        }
        for attribute in self.kind.single() {
            if complete || *attribute == "sn" || self.rng.chance(40) {
                *ldif += &line(attribute, self.value(attribute));
            }
        }
        for attribute in self.kind.several() {
            let count = usize::from(complete) + self.rng.below(3);
            let values: Vec<String> = (0..count).map(|_| self.value(attribute)).collect();
            *ldif += &values.iter().map(|v| line(attribute, v)).collect::<String>();
            person.values.insert(attribute, values.into_iter().collect());
        }
        if complete || self.rng.chance(20) {
            *ldif += &line("jpegPhoto", self.rng.octets(40));
        }
        *ldif += &line("employeeType", self.rng.pick(&EMPLOYEE_TYPES));
        ldif.push('\n');
        self.people.push(person);
    }

    /// The last ones more often than the others: what changes twice between two looks is where mistakes are.
    fn any_person(&mut self) -> usize {
        let count = self.people.len();
        if self.rng.chance(40) { count - 1 - self.rng.below(count.min(5)) } else { self.rng.below(count) }
    }

    pub(super) fn modify_person(&mut self, ldif: &mut String) {
        let person = self.any_person();
        *ldif += &change(&self.person_dn(person), "modify");
        let mut attributes: Vec<&'static str> = vec!["jpegPhoto", "employeeType"];
        attributes.extend(self.kind.single());
        attributes.extend(self.kind.several());
        for _ in 0..=self.rng.below(3) {
            let attribute = attributes.remove(self.rng.below(attributes.len()));
            *ldif += &self.modification(person, attribute);
            *ldif += "-\n";
        }
        ldif.push('\n');
    }

    fn modification(&mut self, person: usize, attribute: &'static str) -> String {
        match attribute {
            "employeeType" => {
                format!("replace: employeeType\n{}", line("employeeType", self.rng.pick(&EMPLOYEE_TYPES)))
            }
            // Without a value a replace takes away what there is, or nothing (RFC 4511 section 4.6).
            "jpegPhoto" | "givenName" | "title" if self.rng.chance(30) => format!("replace: {attribute}\n"),
            "jpegPhoto" => format!("replace: jpegPhoto\n{}", line("jpegPhoto", self.rng.octets(40))),
            _ if self.kind.single().contains(&attribute) => {
                format!("replace: {attribute}\n{}", line(attribute, self.value(attribute)))
            }
            _ => self.modification_of_several(person, attribute),
        }
    }

    fn modification_of_several(&mut self, person: usize, attribute: &'static str) -> String {
        let fresh = self.value(attribute);
        let what = self.rng.below(10);
        let values = self.people[person].values.entry(attribute).or_default();
        match what {
            0..4 if !values.is_empty() => {
                let gone = values.pop_first().unwrap();
                format!("delete: {attribute}\n{}", line(attribute, gone))
            }
            // The name itself must stay among the values of `cn`.
            4..6 if attribute != "cn" => {
                *values = BTreeSet::from([fresh.clone()]);
                format!("replace: {attribute}\n{}", line(attribute, fresh))
            }
            6 if attribute != "cn" && !values.is_empty() => {
                values.clear();
                format!("delete: {attribute}\n")
            }
            _ => {
                values.insert(fresh.clone());
                format!("add: {attribute}\n{}", line(attribute, fresh))
            }
        }
    }

    pub(super) fn rename_person(&mut self, ldif: &mut String) {
        let person = self.any_person();
        let unit = self.people[person].unit;
        self.rename(person, unit, true, ldif);
    }

    /// Half of them keep their name.
    pub(super) fn move_person(&mut self, ldif: &mut String) {
        let person = self.any_person();
        let unit = self.any_unit();
        let new_name = self.rng.chance(50);
        self.rename(person, unit, new_name, ldif);
    }

    fn rename(&mut self, person: usize, unit: usize, new_name: bool, ldif: &mut String) {
        self.leave_groups(person, ldif);
        let old = self.person_dn(person);
        let before = self.people[person].name.clone();
        let new_name = new_name || (unit != self.people[person].unit && self.is_taken(&before, unit));
        let name = if new_name { self.name() } else { before.clone() };
        // A domain controller keeps no name but the last.
        let delete_old = self.kind == Kind::ActiveDirectory || self.rng.chance(60);
        if !delete_old && new_name {
            self.people[person].values.entry("cn").or_default().insert(before);
        }
        let parent = (unit != self.people[person].unit).then(|| self.unit_dn(unit));
        *ldif += &modrdn(&old, &format!("cn={}", escaped(&name)), delete_old, parent.as_deref());
        let old_unit = std::mem::replace(&mut self.people[person].unit, unit);
        let old_name = std::mem::replace(&mut self.people[person].name, name);
        if parent.is_some() || new_name {
            self.freed.push((old_name, old_unit));
        }
    }

    fn is_taken(&self, name: &str, unit: usize) -> bool {
        self.people.iter().any(|p| p.unit == unit && p.name == name)
    }

    pub(super) fn delete_person(&mut self, ldif: &mut String) {
        let person = self.any_person();
        self.delete(person, ldif);
    }

    fn delete(&mut self, person: usize, ldif: &mut String) -> Person {
        self.leave_groups(person, ldif);
        *ldif += &change(&self.person_dn(person), "delete");
        ldif.push('\n');
        self.people.remove(person)
    }

    /// Another entry with the same DN.
    pub(super) fn replace_person(&mut self, ldif: &mut String) {
        let person = self.any_person();
        let gone = self.delete(person, ldif);
        self.add_named(gone.name, gone.unit, false, ldif);
    }
}
