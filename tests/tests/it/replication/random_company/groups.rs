//! Changes to groups.

use std::collections::BTreeSet;

use super::{Group, World, change, modrdn};
use crate::replication::server_kind::{Kind, escaped, line};

impl World {
    pub(super) fn add_group(&mut self, unit: usize, ldif: &mut String) {
        let group = Group { name: self.name(), unit, members: BTreeSet::new() };
        *ldif += &change(&self.dn(&group.name, unit), "add");
        *ldif += &line("objectClass", self.kind.group_class());
        *ldif += &line("cn", &group.name);
        match self.kind {
            Kind::ActiveDirectory => {
                let n = self.number();
                *ldif += &line("sAMAccountName", format!("group{n}"));
            }
            // A groupOfNames is never empty (RFC 4519 section 3.5); this member the model never takes away.
            Kind::OpenLdap | Kind::Ds389 => *ldif += &line("member", &self.root),
        }
        ldif.push('\n');
        self.groups.push(group);
    }

    /// Some members come, some go.
    pub(super) fn change_members(&mut self, ldif: &mut String) {
        if self.groups.is_empty() {
            let unit = self.any_unit();
            return self.add_group(unit, ldif);
        }
        let group = self.rng.below(self.groups.len());
        let mut gone = Vec::new();
        for _ in 0..self.rng.below(3) {
            gone.extend(self.groups[group].members.pop_first());
        }
        let mut fresh = BTreeSet::new();
        for _ in 0..self.rng.below(4) {
            let person = self.rng.below(self.people.len());
            let dn = self.person_dn(person);
            if !self.groups[group].members.contains(&dn) && !gone.contains(&dn) {
                fresh.insert(dn);
            }
        }
        if gone.is_empty() && fresh.is_empty() {
            return;
        }
        *ldif += &change(&self.group_dn(group), "modify");
        for (verb, values) in [("delete", gone), ("add", fresh.iter().cloned().collect())] {
            if !values.is_empty() {
                *ldif += &line(verb, "member");
                *ldif += &values.iter().map(|v| line("member", v)).collect::<String>();
                *ldif += "-\n";
            }
        }
        ldif.push('\n');
        self.groups[group].members.extend(fresh);
    }

    pub(super) fn rename_group(&mut self, ldif: &mut String) {
        if self.groups.is_empty() {
            return;
        }
        let group = self.rng.below(self.groups.len());
        let old = self.group_dn(group);
        let (name, unit) = (self.name(), self.any_unit());
        let parent = (unit != self.groups[group].unit).then(|| self.unit_dn(unit));
        *ldif += &modrdn(&old, &format!("cn={}", escaped(&name)), true, parent.as_deref());
        self.groups[group].name = name;
        self.groups[group].unit = unit;
    }

    pub(super) fn delete_group(&mut self, ldif: &mut String) {
        if self.groups.len() > 2 {
            let group = self.rng.below(self.groups.len());
            *ldif += &change(&self.group_dn(group), "delete");
            ldif.push('\n');
            self.groups.remove(group);
        }
    }

    /// Active Directory's `member` follows whom it points to: renamed, moved or deleted, they are spelled otherwise or
    /// are missing without any change of the group ([MS-ADTS] 3.1.1.1.6), which so is in no delta. Whoever reads
    /// deltas there must join by id. The model keeps out of it: they leave their groups first.
    pub(super) fn leave_groups(&mut self, person: usize, ldif: &mut String) {
        if self.kind != Kind::ActiveDirectory {
            return;
        }
        let dn = self.person_dn(person);
        for group in 0..self.groups.len() {
            if self.groups[group].members.remove(&dn) {
                *ldif += &change(&self.group_dn(group), "modify");
                *ldif += &line("delete", "member");
                *ldif += &line("member", &dn);
                ldif.push('\n');
            }
        }
    }
}
