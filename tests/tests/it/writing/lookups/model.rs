//! References by look-up: what is written is what a naive look-up after the run finds.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::normalize_dn;
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use serde_json::{Value, json};

use super::{config, group, run, slapd};
use crate::support::rng::{self, Rng};
use crate::support::{assert_untouched, unit, with};

/// What a directory has: people by their id, with the DN, the number and the managers; the members of groups.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    people: BTreeMap<String, (String, String, BTreeSet<String>)>,
    groups: BTreeMap<String, BTreeSet<String>>,
}

fn seen(server: &Server, base: &str) -> Seen {
    let mut seen = Seen::default();
    let tree = server.dump();
    for (dn, entry) in &tree {
        let texts = |name: &str| -> BTreeSet<String> {
            let values =
                entry.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).flat_map(|(_, v)| v);
            values.map(|v| String::from_utf8_lossy(v).into_owned()).collect()
        };
        let names = |name: &str| texts(name).iter().map(|dn| normalize_dn(dn)).collect::<BTreeSet<_>>();
        let one = |name: &str| texts(name).into_iter().next().unwrap_or_default();
        if dn.ends_with(&normalize_dn(&format!("ou=p,{base}"))) && dn.starts_with("cn=") {
            seen.people.insert(one("description"), (dn.clone(), one("employeeNumber"), names("manager")));
        } else if dn.ends_with(&normalize_dn(&format!("ou=g,{base}"))) && dn.starts_with("cn=") {
            seen.groups.insert(dn.clone(), names("member"));
        }
    }
    seen
}

/// Runs records of which some may be refused: their filters find several entries.
fn ran(config: &Value, records: &[Value]) {
    let output = run(config, records);
    let is_refused = output.stderr.raw().contains("fits several entries");
    output.exits(if is_refused { 4 } else { 0 });
}

/// Random records for entries that are there or not: their order, numbers, names, managers and leavers. What is written is what a naive
/// look-up after the run finds, and a second run writes nothing.
fn compare_with_a_naive_look_up(server: &Server, cases: u64, renames_follow: bool) {
    for seed in 0..cases {
        let mut rng = Rng::new(rng::seed(seed));
        let base = format!("ou=case{seed},{}", server.suffix());
        server.ldapadd([unit(&base), unit(&format!("ou=p,{base}")), unit(&format!("ou=g,{base}"))].concat());
        let more = json!({"base": base, "missing": "warn"});
        let config = config(server, &base, &more, &json!({"base": base}));
        let mut model: BTreeMap<usize, String> = BTreeMap::new();
        for round in 0..3 {
            let before = seen(server, &base);
            let mut numbers: Vec<usize> = (0..14).collect();
            rng.shuffle(&mut numbers);
            let mut records = Vec::new();
            let mut said: BTreeMap<String, Option<usize>> = BTreeMap::new();
            #[allow(clippy::needless_range_loop, reason = "the id is that of the person")]
            for id in 0..10_usize {
                if id > 0 && rng.chance(20) {
                    // It leaves, or is not in the records.
                    if model.contains_key(&id) && rng.chance(50) {
                        model.remove(&id);
                        records.push(json!({"type": "RECORD", "stream": "people", "record": {"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}}));
                    }
                    continue;
                }
                let there = model.get(&id).cloned();
                let number = if id == 0 { 100 } else { numbers[id] };
                let name = match &there {
                    Some(there) if rng.chance(70) => there.clone(),
                    _ => format!("n{seed}x{id}x{round}"),
                };
                let manager = rng.below(16);
                let mut record = json!({"id": id.to_string(), "name": name, "number": number.to_string()});
                if rng.chance(80) {
                    let manager = if manager == 15 { None } else { Some(manager) };
                    record["manager_id"] = json!(manager.map(|m| m.to_string()));
                    said.insert(id.to_string(), manager);
                }
                model.insert(id, name);
                records.push(json!({"type": "RECORD", "stream": "people", "record": record}));
            }
            let mut members: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
            for name in ["a", "b"] {
                let all: BTreeSet<usize> = (0..rng.below(6)).map(|_| rng.below(16)).chain([100]).collect();
                records.push(group(name, &json!(all.iter().map(ToString::to_string).collect::<Vec<_>>())));
                members.insert(normalize_dn(&format!("cn={name},ou=g,{base}")), all);
            }
            rng.shuffle(&mut records);
            let case = format!("seed {seed}, round {round}: {records:#?}");
            let config =
                with(&config, &json!({"on_error": "skip", "reject_file": server.path("rejects.jsonl")}));
            ran(&config, &records);
            let after = seen(server, &base);
            let found = |number: usize| {
                let has = |(_, (_, other, _)): &(&String, &(String, String, BTreeSet<String>))| {
                    *other == number.to_string()
                };
                after.people.iter().filter(has).map(|(_, (dn, ..))| dn.clone()).collect::<Vec<_>>()
            };
            // A name that the directory had: on some servers it follows the entry, or goes with it.
            let follows = |names: &BTreeSet<String>| -> BTreeSet<String> {
                let now = |name: &String| match before.people.iter().find(|(_, (dn, ..))| dn == name) {
                    Some((id, _)) if renames_follow => after.people.get(id).map(|(dn, ..)| dn.clone()),
                    _ => Some(name.clone()),
                };
                names.iter().filter_map(now).collect()
            };
            for (id, (dn, _, managers)) in &after.people {
                let had = before.people.get(id).map(|(.., managers)| follows(managers)).unwrap_or_default();
                let expected = match said.get(id) {
                    None => had,
                    Some(None) => BTreeSet::new(),
                    Some(Some(number)) => match found(*number).as_slice() {
                        [one] => BTreeSet::from([one.clone()]),
                        _ => had,
                    },
                };
                assert_eq!(*managers, expected, "manager of {dn}\n{case}\n{before:#?}\n{after:#?}");
            }
            for (dn, all) in &members {
                let each: Vec<Vec<String>> = all.iter().map(|number| found(*number)).collect();
                let had = before.groups.get(dn).map(&follows).unwrap_or_default();
                let Some(now) = after.groups.get(dn) else {
                    assert!(each.iter().any(|found| found.len() > 1), "{dn} is not there\n{case}");
                    continue;
                };
                let mut expected: BTreeSet<String> = each.iter().flatten().cloned().collect();
                if each.iter().any(|found| found.len() > 1) {
                    expected = had;
                } else if each.iter().any(Vec::is_empty) {
                    expected.extend(had);
                }
                assert_eq!(*now, expected, "members of {dn}\n{case}\n{before:#?}\n{after:#?}");
            }
            let marks = server.change_marks();
            ran(&config, &records);
            assert_untouched(server, &marks);
        }
    }
}

#[test]
fn references_are_as_a_naive_look_up_after_the_run_finds_them() {
    compare_with_a_naive_look_up(&slapd(), 12, false);
}

#[test]
fn references_are_as_a_naive_look_up_finds_them_on_389_directory_server() {
    let server = Ds389::start(&Ds389Options::default());
    compare_with_a_naive_look_up(&server, 4, false);
}

#[test]
fn references_are_as_a_naive_look_up_finds_them_on_active_directory() {
    let server = Samba::start("");
    compare_with_a_naive_look_up(&server, 4, true);
}
