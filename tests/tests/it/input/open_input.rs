//! An input that stays open: records and STATE are not held back until its end.

use ldap_tests::ldif::normalize_dn;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::open_run::OpenRun;
use crate::support::{people, target_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";
const OLD: &str = "ou=c,dc=example,dc=test";
const NEW: &str = "ou=c9,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["array", "null"], "items": {"type": "string"}});
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"type": "object", "properties": {
        "dn": {"type": "string"}, "objectClass": texts, "dc": texts, "description": texts, "ou": texts, "uid": texts, "cn": texts,
        "sn": texts, "_sdc_deleted_at": {"type": ["string", "null"]}}}})
}

fn record(dn: &str, class: &str) -> Value {
    let (name, value) = dn.split(',').next().unwrap().split_once('=').unwrap();
    let mut record = json!({"dn": dn, "objectClass": [class]});
    record[name] = json!([value]);
    if class == "inetOrgPerson" {
        record["cn"] = json!(["c"]);
        record["sn"] = json!(["s"]);
    }
    json!({"type": "RECORD", "stream": "s", "record": record})
}

fn deletion(dn: &str) -> Value {
    json!({"type": "RECORD", "stream": "s", "record": {"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

fn person(n: usize, unit: &str) -> String {
    format!("uid=person{n},{unit}")
}

/// As a tap that follows a log tells of a renamed container; with `above`, of the entry above it, too.
fn rename(above: bool) -> (Slapd, Vec<Value>) {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(OLD) + &people(3, OLD)));
    let mut messages = vec![schema(), deletion(OLD), record(NEW, "organizationalUnit")];
    if above {
        messages.push(
            json!({"type": "RECORD", "stream": "s", "record": {"dn": SUFFIX, "description": ["told again"]}}),
        );
    }
    messages.extend((0..3).map(|n| deletion(&person(n, OLD))));
    messages.extend((0..3).map(|n| record(&person(n, NEW), "inetOrgPerson")));
    messages.push(state(1));
    (slapd, messages)
}

fn is_renamed(slapd: &Slapd) {
    let tree = slapd.dump();
    assert_eq!(tree.keys().filter(|dn| dn.ends_with(&normalize_dn(OLD))).count(), 0, "{:?}", tree.keys());
    assert_eq!(tree.keys().filter(|dn| dn.ends_with(&normalize_dn(NEW))).count(), 4, "{:?}", tree.keys());
}

#[test]
fn the_deletion_of_a_container_is_made_once_its_last_child_is_gone() {
    for above in [false, true] {
        let (slapd, messages) = rename(above);
        let mut live = OpenRun::start(&target_config(&slapd));
        live.write(&messages);
        live.prints(&state(1)["value"]);
        is_renamed(&slapd);
        // What comes next finds nothing in its way.
        live.write(&[record(&person(7, NEW), "inetOrgPerson"), state(2)]);
        live.prints(&state(2)["value"]);
        live.ends(0);
    }
}

#[test]
fn a_version_deletes_once_the_input_is_quiet() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(OLD) + &people(3, OLD)));
    let rule = json!({"dn_template": format!("uid={{uid}},{OLD}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"cn": "cn", "sn": "sn"}, "scope_base": OLD});
    let config = with(
        &target_config(&slapd),
        &json!({"process_activate_version": true, "activate_when_quiet_seconds": 1, "mapping_rules": {"users": rule}}),
    );
    let text = json!({"type": ["string", "null"]});
    let schema = json!({"type": "SCHEMA", "stream": "users", "key_properties": ["uid"],
        "schema": {"type": "object", "properties": {"uid": text, "cn": text, "sn": text}}});
    let round = |version: u32, people: &[u32]| -> Vec<Value> {
        let mut messages: Vec<Value> = people
            .iter()
            .map(|n| {
                json!({"type": "RECORD", "stream": "users", "version": version,
                    "record": {"uid": format!("person{n}"), "cn": "c", "sn": "s"}})
            })
            .collect();
        messages.push(json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": version}));
        messages.push(state(version));
        messages
    };
    let left = || slapd.dump().keys().filter(|dn| dn.starts_with("uid=person")).count();
    let mut live = OpenRun::start(&config);
    live.write(&[schema]);
    live.write(&round(1, &[0, 1]));
    live.prints(&state(1)["value"]);
    assert_eq!(left(), 2);
    // And again, later: each version is decided by itself.
    live.write(&round(2, &[1]));
    live.prints(&state(2)["value"]);
    assert_eq!(left(), 1);
    // A pause in the middle of a version: what came before it stays.
    let with_state = |n: u32, people: &[u32]| {
        let mut messages = round(3, people);
        *messages.last_mut().unwrap() = state(n);
        messages
    };
    live.write(&with_state(3, &[1, 7]));
    live.prints(&state(3)["value"]);
    live.write(&with_state(4, &[8]));
    live.prints(&state(4)["value"]);
    assert_eq!(left(), 3);
    live.ends(0);
}

/// The version of another stream is carried out meanwhile.
#[test]
fn a_stream_in_the_middle_of_its_version_keeps_what_it_brought() {
    const OTHER: &str = "ou=d,dc=example,dc=test";
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(OLD) + &people(2, OLD) + &unit(OTHER)));
    let rule = |base: &str| {
        json!({"dn_template": format!("uid={{uid}},{base}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"cn": "cn", "sn": "sn"}, "scope_base": base})
    };
    let config = with(
        &target_config(&slapd),
        &json!({"process_activate_version": true, "activate_when_quiet_seconds": 1,
            "mapping_rules": {"users": rule(OLD), "others": rule(OTHER)}}),
    );
    let text = json!({"type": ["string", "null"]});
    let schema = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["uid"],
            "schema": {"type": "object", "properties": {"uid": text, "cn": text, "sn": text}}})
    };
    let record = |stream: &str, version: u32, uid: &str| json!({"type": "RECORD", "stream": stream, "version": version, "record": {"uid": uid, "cn": "c", "sn": "s"}});
    let activate = |stream: &str, version: u32| json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": version});
    let left = |base: &str| slapd.dump_below(base, &["uid"]).len() - 1;
    let mut live = OpenRun::start(&config);
    live.write(&[
        schema("users"),
        schema("others"),
        record("users", 1, "person0"),
        record("others", 1, "first"),
    ]);
    live.write(&[activate("users", 1), state(1)]);
    live.prints(&state(1)["value"]);
    assert_eq!((left(OLD), left(OTHER)), (1, 1));
    live.write(&[record("others", 1, "second"), activate("others", 1), state(2)]);
    live.prints(&state(2)["value"]);
    assert_eq!((left(OLD), left(OTHER)), (1, 2));
    // Its next version has one of them, and is a period of its own.
    live.write(&[record("others", 2, "second"), activate("others", 2), state(3)]);
    live.prints(&state(3)["value"]);
    assert_eq!((left(OLD), left(OTHER)), (1, 1));
    live.ends(0);
}

/// A deletion of what `match` finds waits for the end of the input, or until that is quiet; a record that comes before then has the
/// entry.
#[test]
fn a_deletion_by_match_is_made_once_the_input_is_quiet() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(OLD) + &people(2, OLD)));
    let rule = json!({"dn_template": format!("uid={{uid}},{OLD}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"cn": "cn", "sn": "sn", "uid": "uid"}, "match": "(uid={uid})"});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    let text = json!({"type": ["string", "null"]});
    let schema = json!({"type": "SCHEMA", "stream": "users", "key_properties": ["uid"],
        "schema": {"type": "object", "properties": {"uid": text, "cn": text, "sn": text, "_sdc_deleted_at": text}}});
    let record = |more: &Value| json!({"type": "RECORD", "stream": "users", "record": with(&json!({"uid": "person1"}), more)});
    let gone = record(&json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    let is_there = || slapd.dump().contains_key(&format!("uid=person1,{OLD}"));
    let mut live = OpenRun::start(&config);
    live.write(&[schema, gone.clone(), state(1), record(&json!({"cn": "c", "sn": "s"})), state(2)]);
    live.prints(&state(2)["value"]);
    assert!(is_there());
    live.write(&[gone, state(3)]);
    live.prints(&state(3)["value"]);
    assert!(!is_there());
    live.ends(0);
}
