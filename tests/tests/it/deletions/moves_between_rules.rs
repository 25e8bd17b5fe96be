//! Two rules with a `scope_base` each, whose `match` compares the same attribute: who moves from one to the other is not deleted there
//! and made anew here, without a password, memberships and all that no record has.

use ldap_tests::run::{Output, Run};
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{no_panic, target_config, unit, values, with};

const SUFFIX: &str = "dc=example,dc=test";

fn server() -> Slapd {
    let person = |unit: &str, id: &str, number: u32| {
        format!(
            "dn: uid={id},ou={unit},{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {id}\ncn: {id}\nsn: {id}\nemployeeNumber: {number}\nroomNumber: 12\n\n"
        )
    };
    let units = unit(&format!("ou=staff,{SUFFIX}")) + &unit(&format!("ou=contractors,{SUFFIX}"));
    let people =
        person("contractors", "ada", 1) + &person("contractors", "bob", 2) + &person("staff", "cleo", 3);
    Slapd::start(SlapdOptions::default().seed(units + &people))
}

fn config(server: &Server, matches: &str) -> Value {
    let rule = |unit: &str| {
        json!({"dn_template": format!("uid={{id}},ou={unit},{SUFFIX}"), "match": matches, "object_classes": ["inetOrgPerson"],
            "scope_base": format!("ou={unit},{SUFFIX}"), "attribute_mapping": {"id": ["uid", "cn"], "last": "sn", "nr": "employeeNumber"}})
    };
    let rules = json!({"staff": rule("staff"), "contractors": rule("contractors")});
    with(&target_config(server), &json!({"mapping_rules": rules, "process_activate_version": true}))
}

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["null", "string"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["nr"], "schema": {"type": "object",
        "properties": {"id": text, "last": text, "nr": text, "_sdc_deleted_at": text}}})
}

fn record(stream: &str, id: &str, nr: &str) -> Value {
    json!({"type": "RECORD", "stream": stream, "version": 1, "record": {"id": id, "last": "New", "nr": nr}})
}

fn deletion(stream: &str, nr: &str) -> Value {
    let record = json!({"nr": nr, "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
    json!({"type": "RECORD", "stream": stream, "version": 1, "record": record})
}

fn activate(stream: &str) -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": 1})
}

fn run(config: &Value, messages: &[Value], flags: &[&str]) -> Output {
    let all = [schema("staff"), schema("contractors")].into_iter().chain(messages.iter().cloned());
    let all: Vec<Value> = all.chain([json!({"type": "STATE", "value": {"n": 1}})]).collect();
    let mut run = Run::target(config).messages(&all);
    for flag in flags {
        run = run.arg(*flag);
    }
    let output = run.run();
    no_panic(&output);
    output
}

/// Ada is among the staff now.
fn moved() -> [Value; 5] {
    [
        record("staff", "ada", "1"),
        record("staff", "cleo", "3"),
        record("contractors", "bob", "2"),
        activate("staff"),
        activate("contractors"),
    ]
}

/// Skips what is refused, which is in a file.
fn skipping(config: &Value, dir: &std::path::Path) -> Value {
    with(config, &json!({"on_error": "skip", "reject_file": dir.join("rejects.jsonl")}))
}

#[test]
fn who_may_have_moved_is_refused_and_keeps_the_account() {
    let others = [record("contractors", "bob", "2"), record("staff", "cleo", "3")];
    let moved = record("staff", "ada", "1");
    let versions = [activate("staff"), activate("contractors")];
    let inputs = [
        [[moved.clone()].as_slice(), &others, &versions].concat(),
        [others.as_slice(), std::slice::from_ref(&moved), &versions].concat(),
        vec![moved.clone(), deletion("contractors", "1")],
        vec![deletion("contractors", "1"), moved.clone()],
    ];
    for input in inputs {
        let (server, dir) = (server(), scratch());
        let config = skipping(&config(&server, "(employeeNumber={nr})"), dir.path());
        let before = server.dump();
        run(&config, &input, &["--dry-run"]).exits(4);
        let output = run(&config, &input, &[]).exits(4);
        assert!(output.stderr.contains(&format!("uid=ada,ou=contractors,{SUFFIX}")), "{}", output.stderr);
        let after = server.dump();
        let names = |tree: &ldap_tests::ldif::Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{}", output.stderr);
        let rejects = std::fs::read_to_string(dir.path().join("rejects.jsonl")).unwrap();
        assert_eq!(rejects.matches("\"nr\":\"1\"").count(), 1, "{rejects}");
    }
}

/// What the message advises.
#[test]
fn with_one_scope_for_both_the_entry_moves_with_all_that_it_has() {
    let server = server();
    let mut config = config(&server, "(employeeNumber={nr})");
    for stream in ["staff", "contractors"] {
        let rule = &mut config["mapping_rules"][stream];
        rule["scope_base"] = json!(SUFFIX);
        rule["scope_filter"] = json!(format!("(employeeType={stream})"));
        rule["values"] = json!({"employeeType": stream});
    }
    let input = moved();
    run(&config, &input, &[]).succeeds().counts(&[("renamed", 1), ("deleted", 0)]);
    let rooms = values(&server, &format!("uid=ada,ou=staff,{SUFFIX}"), "roomNumber");
    assert_eq!(rooms.len(), 1);
}

/// Another person with the same number, and one whom no deletion is about, are nobody that moves.
#[test]
fn who_stays_in_the_other_scope_is_somebody_else() {
    let new = record("staff", "ada2", "1");
    let all =
        [record("contractors", "ada", "1"), record("contractors", "bob", "2"), record("staff", "cleo", "3")];
    let versions = [activate("staff"), activate("contractors")];
    let inputs = [
        vec![new.clone()],
        [[new.clone()].as_slice(), &all, &versions].concat(),
        [all.as_slice(), std::slice::from_ref(&new), &versions].concat(),
        vec![new.clone(), deletion("contractors", "2")],
    ];
    for input in inputs {
        let server = server();
        run(&config(&server, "(employeeNumber={nr})"), &input, &[]).succeeds().counts(&[("added", 1)]);
        for (unit, id) in [("staff", "ada2"), ("contractors", "ada")] {
            assert_eq!(values(&server, &format!("uid={id},ou={unit},{SUFFIX}"), "uid").len(), 1);
        }
    }
}

#[test]
fn rules_that_compare_different_attributes_have_different_people() {
    let server = server();
    let mut config = config(&server, "(employeeNumber={nr})");
    config["mapping_rules"]["staff"]["match"] = json!("(&(employeeNumber={nr})(uid={id}))");
    let input = moved();
    run(&config, &input, &[]).succeeds().counts(&[("added", 1), ("deleted", 1)]);
}
