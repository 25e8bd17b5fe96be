//! Renamed units with more entries than the size limit: INCREMENTAL emits every entry whose DN changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::cases::{self, Problem, check};
use crate::support::rng::Rng;
use crate::support::{no_panic, reader_config, unit, with};

/// Cases of a run of the suite; each is a server, a first run, and some runs after changes.
const CASES: usize = 1;
/// Runs after changes.
const ROUNDS: usize = 2;
/// What the reader gets in an answer, and in a page of one.
const LIMIT: usize = 10;
const SUFFIX: &str = "dc=example,dc=test";

/// A unit by its number, where it is now.
#[derive(Debug, Clone)]
struct Unit {
    rdn: String,
    above: Option<usize>,
}

/// Units in units, and how many people there are in each.
struct World<'r> {
    rng: &'r mut Rng,
    units: Vec<Unit>,
    next: usize,
}

impl World<'_> {
    fn dn(&self, unit: usize) -> String {
        let it = &self.units[unit];
        let above = it.above.map_or_else(|| SUFFIX.to_owned(), |above| self.dn(above));
        format!("{},{above}", it.rdn)
    }

    fn populate(&mut self) -> String {
        let mut ldif = String::new();
        for n in 0..5 {
            let above = (n > 0 && self.rng.chance(60)).then(|| self.rng.below(n));
            self.units.push(Unit { rdn: format!("ou=unit{n}"), above });
            let dn = self.dn(n);
            ldif += &unit(&dn);
            let people =
                if self.rng.chance(60) { LIMIT + self.rng.below(3 * LIMIT) } else { self.rng.below(LIMIT) };
            for person in 0..people {
                let (name, id) = (format!("cn=p{person}"), n * 1000 + person);
                write!(ldif, "dn: {name},{dn}\nobjectClass: inetOrgPerson\ncn: p{person}\nsn: {id}\n\n")
                    .unwrap();
            }
        }
        ldif
    }

    /// A unit gets another name, or another place, or both.
    fn rename(&mut self) -> String {
        let at = self.rng.below(self.units.len());
        let old = self.dn(at);
        self.next += 1;
        self.units[at].rdn = format!("ou=renamed{}", self.next);
        let mut change =
            format!("dn: {old}\nchangetype: modrdn\nnewrdn: {}\ndeleteoldrdn: 1\n", self.units[at].rdn);
        let place = self.rng.below(self.units.len());
        let is_below = |mut unit: usize| loop {
            if unit == at {
                return true;
            }
            match self.units[unit].above {
                Some(above) => unit = above,
                None => return false,
            }
        };
        if self.rng.chance(40) && !is_below(place) {
            writeln!(change, "newsuperior: {}", self.dn(place)).unwrap();
            self.units[at].above = Some(place);
        }
        change + "\n"
    }
}

fn hold(rng: &mut Rng) -> Result<(), Problem> {
    let mut world = World { rng, units: Vec::new(), next: 0 };
    let ldif = world.populate();
    let limits = format!(
        "limits dn.exact=\"uid=reader,ou=people,{SUFFIX}\" size.soft={LIMIT} size.hard={LIMIT} size.pr={LIMIT} size.prtotal=unlimited\n"
    );
    let options = SlapdOptions { database_conf: limits, ..SlapdOptions::with_users() };
    let slapd = Slapd::start(options.seed(ldif));
    let written = world.rng.chance(50);
    let mut config = with(&reader_config(&slapd), &json!({"page_size": LIMIT}));
    if written {
        config["schemas"] = json!([{"name": "all", "replication_method": "INCREMENTAL"}]);
    }
    let mut catalog = Run::tap(&config).arg("--discover").run().succeeds().json();
    for stream in catalog["streams"].as_array_mut().unwrap() {
        stream["replication_method"] = json!("INCREMENTAL");
        stream["metadata"][0]["metadata"]["replication-method"] = json!("INCREMENTAL");
    }
    let mut state = Value::Null;
    let mut mirror: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..=ROUNDS {
        let mut changes = String::new();
        if round > 0 {
            for _ in 0..=world.rng.below(2) {
                changes += &world.rename();
            }
            slapd.ldapmodify(&changes);
            if !written {
                // Other containers are other streams: a catalog of before has the old ones.
                let mut now = Run::tap(&config).arg("--discover").run().succeeds().json();
                for stream in now["streams"].as_array_mut().unwrap() {
                    stream["metadata"][0]["metadata"]["replication-method"] = json!("INCREMENTAL");
                }
                catalog = now;
            }
        }
        let mut run = Run::tap(&config).file("--catalog", &catalog);
        if !state.is_null() {
            run = run.file("--state", &state);
        }
        let output = run.run();
        no_panic(&output);
        check(output.code == 0, "INCREMENTAL fails", || format!("{changes}\n{}", output.stderr))?;
        for message in output.of_type("RECORD") {
            let record = &message["record"];
            let key = record["entryUUID"].as_str().unwrap_or_default().to_owned();
            check(!key.is_empty(), "null key", || record.to_string())?;
            mirror.insert(key, normalize_dn(record["dn"].as_str().unwrap()));
        }
        if let Some(last) = output.of_type("STATE").last() {
            state = last["value"].clone();
        }
        let live: BTreeMap<String, String> = slapd
            .dump_attributes(&["entryUUID"])
            .into_iter()
            .map(|(dn, entry)| {
                let id = entry["entryuuid"].iter().next().unwrap();
                (String::from_utf8(id.clone()).unwrap(), dn)
            })
            .collect();
        let old_rows: Vec<(&String, Option<&String>)> = live
            .iter()
            .filter(|(id, dn)| mirror.get(*id) != Some(*dn))
            .map(|(id, dn)| (dn, mirror.get(id)))
            .collect();
        check(old_rows.is_empty(), "stale after a rename", || {
            format!(
                "round {round}, written: {written}\n{changes}\n{} stale: {:?}\n{}",
                old_rows.len(),
                old_rows.first(),
                output.stderr
            )
        })?;
    }
    Ok(())
}

#[test]
fn entries_below_a_renamed_unit_are_emitted_again_however_many_they_are() {
    cases::run(19_000, cases::count(CASES), |rng| Ok(hold(rng)?));
}
