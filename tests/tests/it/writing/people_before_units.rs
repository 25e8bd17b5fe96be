//! People come before their units, whose names change in the same run.

use std::fmt::Write as _;

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{target_config, with};

const BASE: &str = "dc=example,dc=test";

/// Each unit: its RDN value, and its number; people: their numbers, and their units.
fn slapd(units: &[(&str, &str)], people: &[(&str, &str)]) -> Slapd {
    let mut text = String::new();
    for (name, number) in units {
        let _ = write!(
            text,
            "dn: ou={name},{BASE}\nobjectClass: organizationalUnit\nou: {name}\ndestinationIndicator: {number}\n\n"
        );
    }
    for (number, unit) in people {
        let _ = write!(
            text,
            "dn: uid={number},ou={unit},{BASE}\nobjectClass: inetOrgPerson\nuid: {number}\ncn: x\nsn: x\nemployeeNumber: {number}\n\n"
        );
    }
    Slapd::start(SlapdOptions::default().seed(text))
}

fn run(slapd: &Slapd, below: &str, records: &[Value]) -> Output {
    let rules = json!({
        "emp": {"dn_template": format!("uid={{id}},ou={{dep}},{below}"), "match": "(employeeNumber={id})",
            "object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": ["uid", "employeeNumber"], "name": ["cn", "sn"]}},
        "dep": {"dn_template": format!("ou={{name}},{below}"), "match": "(destinationIndicator={id})",
            "object_classes": ["organizationalUnit"], "attribute_mapping": {"id": "destinationIndicator", "name": "ou"}}});
    let config = with(&target_config(slapd), &json!({"mapping_rules": rules}));
    let text = json!({"type": ["null", "string"]});
    let schema = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"properties": {
            "id": text, "dep": text, "name": text}}})
    };
    let mut messages = vec![schema("emp"), schema("dep")];
    messages.extend_from_slice(records);
    messages.push(json!({"type": "STATE", "value": {"n": 1}}));
    Run::target(&config).messages(&messages).run()
}

fn person(id: &str, unit: &str) -> Value {
    json!({"type": "RECORD", "stream": "emp", "record": {"id": id, "dep": unit, "name": format!("n{id}")}})
}

fn unit(id: &str, name: &str) -> Value {
    json!({"type": "RECORD", "stream": "dep", "record": {"id": id, "name": name}})
}

/// The unit is moved below a parent that does not exist either.
#[test]
fn a_unit_that_a_record_renames_is_not_made_for_people_if_the_parent_above_is_missing_too() {
    let below = format!("ou=div,{BASE}");
    let slapd = slapd(&[("old", "7")], &[("1", "old")]);
    let records = [person("1", "new"), person("5", "new"), unit("7", "new")];
    run(&slapd, &below, &records).exits(0);
    let tree = slapd.dump();
    assert_eq!(tree[&format!("ou=new,{below}")]["destinationindicator"], [b"7".to_vec()].into());
    for number in ["1", "5"] {
        assert!(tree.contains_key(&format!("uid={number},ou=new,{below}")), "{tree:?}");
    }
    assert!(!tree.contains_key(&format!("ou=old,{BASE}")));
    let before = slapd.change_marks();
    run(&slapd, &below, &records).exits(0);
    assert_eq!(slapd.change_marks(), before);
}

/// Two units exchange their names after people were moved: each person ends in the unit that has the name now.
#[test]
fn people_end_where_their_records_say_though_units_exchange_their_names_afterwards() {
    for people_first in [true, false] {
        let slapd = slapd(&[("a", "1"), ("b", "2")], &[("1", "a"), ("2", "b")]);
        let people = [person("1", "b"), person("2", "a"), person("3", "b")];
        let units = [unit("1", "b"), unit("2", "a")];
        let records = if people_first {
            [&people[..], &units[..]].concat()
        } else {
            [&units[..], &people[..]].concat()
        };
        run(&slapd, BASE, &records).exits(0);
        let tree = slapd.dump();
        for (number, unit) in [("1", "b"), ("2", "a"), ("3", "b")] {
            assert!(
                tree.contains_key(&format!("uid={number},ou={unit},{BASE}")),
                "{people_first}: {number} {:?}",
                tree.keys()
            );
        }
        for (number, unit) in [("1", "b"), ("2", "a")] {
            let found = &tree[&format!("ou={unit},{BASE}")]["destinationindicator"];
            assert_eq!(*found, [number.as_bytes().to_vec()].into());
        }
        let before = slapd.change_marks();
        run(&slapd, BASE, &records).exits(0);
        assert_eq!(slapd.change_marks(), before, "a second run has nothing to do");
    }
}
