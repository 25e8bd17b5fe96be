//! A small company that changes at random, on a server of any kind, and the LDIF of its next change. The server must accept
//! every operation.

use std::collections::{BTreeMap, BTreeSet};

use super::server_kind::{Kind, escaped, line};
use crate::support::rng::Rng;

mod groups;
mod people;
mod units;

/// What may happen besides: people and groups come, change, are renamed, moved and deleted in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habits {
    /// Nothing.
    PeopleMove,
    /// Units with people in them are renamed and moved too, and units come and go.
    UnitsMove,
}

#[derive(Debug)]
struct Unit {
    name: String,
    parent: Option<usize>,
}

#[derive(Debug)]
struct Person {
    /// The name in its DN.
    name: String,
    unit: usize,
    /// The values of the attributes that may have several; `cn` without the name.
    values: BTreeMap<&'static str, BTreeSet<String>>,
}

#[derive(Debug)]
struct Group {
    name: String,
    unit: usize,
    /// As they were written.
    members: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    kind: Kind,
    /// What its units lie in, an entry that is there.
    root: String,
    habits: Habits,
    rng: Rng,
    /// A unit that is gone stays, so that the others keep their numbers.
    units: Vec<Option<Unit>>,
    people: Vec<Person>,
    groups: Vec<Group>,
    /// Names, and the units they were in, that somebody had before being renamed or moved.
    freed: Vec<(String, usize)>,
    /// Makes names and values that were never there before.
    next: usize,
}

impl World {
    pub(crate) fn new(kind: Kind, root: &str, habits: Habits, seed: u64) -> World {
        World {
            kind,
            root: root.to_owned(),
            habits,
            rng: Rng::new(seed),
            units: Vec::new(),
            people: Vec::new(),
            groups: Vec::new(),
            freed: Vec::new(),
            next: 0,
        }
    }

    /// The world's own chance, for whoever drives it.
    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The units, two of them nested, and some people in each: one of them at least with all an entry may have.
    pub(crate) fn populate(&mut self, people: usize) -> String {
        let mut ldif = String::new();
        for (name, parent) in [("people", None), ("staff", None), ("europe", Some(1)), ("paris", Some(2))] {
            self.add_unit(name.to_owned(), parent, &mut ldif);
        }
        for n in 0..people {
            let unit = n % 4;
            self.add_person(unit, n < 4, &mut ldif);
        }
        for unit in 0..4 {
            self.add_group(unit, &mut ldif);
        }
        ldif
    }

    /// The change records of so many operations.
    pub(crate) fn operations(&mut self, count: usize) -> String {
        let mut ldif = String::new();
        for _ in 0..count {
            self.operation(&mut ldif);
        }
        ldif
    }

    /// One person less.
    pub(crate) fn deletion(&mut self) -> String {
        let mut ldif = String::new();
        self.delete_person(&mut ldif);
        ldif
    }

    /// People who come, and changes: nothing that is gone afterwards.
    pub(crate) fn growth(&mut self, count: usize) -> String {
        let mut ldif = String::new();
        for _ in 0..count {
            let unit = self.any_unit();
            self.add_person(unit, false, &mut ldif);
            self.modify_person(&mut ldif);
        }
        ldif
    }

    fn operation(&mut self, ldif: &mut String) {
        let what = self.rng.below(100);
        if self.people.len() < 5 {
            let unit = self.any_unit();
            return self.add_person(unit, false, ldif);
        }
        match what {
            0..18 => {
                let unit = self.any_unit();
                self.add_person(unit, false, ldif);
            }
            18..31 => self.delete_person(ldif),
            31..34 => self.replace_person(ldif),
            34..37 => {
                let unit = self.any_unit();
                self.add_group(unit, ldif);
            }
            37..45 => self.change_members(ldif),
            45..46 => self.delete_group(ldif),
            46..54 => self.rename_person(ldif),
            54..63 => self.move_person(ldif),
            63..65 => self.rename_group(ldif),
            65..68 if self.habits == Habits::UnitsMove => self.change_units(ldif),
            _ => self.modify_person(ldif),
        }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// A name that is new, and sometimes one that needs care in a DN.
    fn name(&mut self) -> String {
        let n = self.number();
        let forms = [
            "Ada #",
            "Grace Hopper #",
            "Müller, Jörg #",
            "a+b #",
            "#x=y",
            "日本 #",
            "O'Neil #",
            "semi;colon #",
            "\"q\" #",
        ];
        self.rng.pick(&forms).replace('#', &n.to_string())
    }

    /// A value that no entry ever had: servers refuse values that are equal by their rules.
    fn value(&mut self, attribute: &str) -> String {
        let n = self.number();
        match attribute {
            "mail" => format!("user{n}@example.test"),
            "telephoneNumber" | "otherTelephone" | "otherHomePhone" => format!("+1 555 {n}"),
            _ => {
                let forms = ["text #", "ümläut #", "quoted \"#\"", "a: b <#>", "first\nsecond #", "NULL #"];
                self.rng.pick(&forms).replace('#', &n.to_string())
            }
        }
    }

    fn any_unit(&mut self) -> usize {
        let there: Vec<usize> =
            self.units.iter().enumerate().filter(|(_, u)| u.is_some()).map(|(n, _)| n).collect();
        *self.rng.pick(&there)
    }

    fn unit_dn(&self, unit: usize) -> String {
        let it = self.units[unit].as_ref().unwrap();
        let above = it.parent.map_or_else(|| self.root.clone(), |parent| self.unit_dn(parent));
        format!("ou={},{above}", escaped(&it.name))
    }

    fn dn(&self, name: &str, unit: usize) -> String {
        format!("cn={},{}", escaped(name), self.unit_dn(unit))
    }

    fn person_dn(&self, person: usize) -> String {
        let it = &self.people[person];
        self.dn(&it.name, it.unit)
    }

    fn group_dn(&self, group: usize) -> String {
        let it = &self.groups[group];
        self.dn(&it.name, it.unit)
    }
}

/// The head of a change record.
fn change(dn: &str, kind: &str) -> String {
    line("dn", dn) + &line("changetype", kind)
}

/// A rename or a move, or both.
fn modrdn(dn: &str, new_name: &str, delete_old: bool, new_parent: Option<&str>) -> String {
    let mut text = change(dn, "modrdn");
    text += &line("newrdn", new_name);
    text += &line("deleteoldrdn", if delete_old { "1" } else { "0" });
    if let Some(parent) = new_parent {
        text += &line("newsuperior", parent);
    }
    text + "\n"
}
