//! Changes to units: every entry below gets another DN, and nothing else changes.

use super::{Unit, World, change, modrdn};
use crate::replication::server_kind::{escaped, line};

impl World {
    pub(super) fn add_unit(&mut self, name: String, parent: Option<usize>, ldif: &mut String) {
        let unit = self.units.len();
        self.units.push(Some(Unit { name, parent }));
        *ldif += &change(&self.unit_dn(unit), "add");
        *ldif += &line("objectClass", "organizationalUnit");
        *ldif += &line("ou", &self.units[unit].as_ref().unwrap().name);
        ldif.push('\n');
    }

    pub(super) fn change_units(&mut self, ldif: &mut String) {
        let unit = self.any_unit();
        match self.rng.below(4) {
            0 => {
                let name = self.name();
                self.add_unit(name, Some(unit), ldif);
            }
            1 if self.is_empty(unit) => {
                *ldif += &change(&self.unit_dn(unit), "delete");
                ldif.push('\n');
                self.units[unit] = None;
            }
            2 => {
                let parent = self.any_unit();
                let place = (!self.is_in(parent, unit)).then_some(parent);
                self.put_unit(unit, None, place, ldif);
            }
            _ => {
                let name = self.name();
                let parent = self.units[unit].as_ref().unwrap().parent;
                self.put_unit(unit, Some(name), parent, ldif);
            }
        }
    }

    fn put_unit(&mut self, unit: usize, name: Option<String>, parent: Option<usize>, ldif: &mut String) {
        let it = self.units[unit].as_ref().unwrap();
        if name.is_none() && parent == it.parent {
            return;
        }
        for person in 0..self.people.len() {
            if self.is_in(self.people[person].unit, unit) {
                self.leave_groups(person, ldif);
            }
        }
        let old = self.unit_dn(unit);
        let it = self.units[unit].as_ref().unwrap();
        let new_name = name.unwrap_or_else(|| it.name.clone());
        let superior = (parent != it.parent)
            .then(|| parent.map_or_else(|| self.root.clone(), |parent| self.unit_dn(parent)));
        *ldif += &modrdn(&old, &format!("ou={}", escaped(&new_name)), true, superior.as_deref());
        self.units[unit] = Some(Unit { name: new_name, parent });
    }

    fn is_in(&self, unit: usize, above: usize) -> bool {
        std::iter::successors(Some(unit), |u| self.units[*u].as_ref()?.parent).any(|u| u == above)
    }

    fn is_empty(&self, unit: usize) -> bool {
        self.people.iter().all(|p| p.unit != unit)
            && self.groups.iter().all(|g| g.unit != unit)
            && self.units.iter().flatten().all(|u| u.parent != Some(unit))
            && self.units.iter().flatten().count() > 1
    }
}
