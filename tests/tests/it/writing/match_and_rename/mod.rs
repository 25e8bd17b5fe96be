//! `match`: entries are found under any DN, renamed and moved.

use std::collections::BTreeMap;

use ldap_tests::run::{Output, Run};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{done, no_panic, state, target_config, unit, with};

mod conflicts;
mod renames;

const BASE: &str = "dc=example,dc=test";

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["string", "null", "array"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "uid": text, "ou": text, "mail": text, "name": text, "_sdc_deleted_at": text}}})
}

/// People by number, in the unit `ou` below `base`.
fn rule(base: &str) -> Value {
    json!({
        "dn_template": format!("uid={{uid}},ou={{ou}},{base}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "name": ["cn", "sn"], "mail": "mail"},
        "match": "(&(objectClass=inetOrgPerson)(employeeNumber={id}))",
    })
}

fn config(server: &Server, more: &Value) -> Value {
    let rule = with(&rule(server.suffix()), more);
    with(&target_config(server), &json!({"mapping_rules": {"p": rule}}))
}

fn person(id: &str, uid: &str, ou: &str) -> Value {
    json!({"type": "RECORD", "stream": "p", "record":
        {"id": id, "uid": uid, "ou": ou, "name": format!("Name {id}"), "mail": format!("{uid}@x.test")}})
}

fn gone(id: &str) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": {"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn messages(records: &[Value]) -> Vec<Value> {
    let mut messages = vec![schema("p")];
    messages.extend_from_slice(records);
    messages.push(state());
    messages
}

fn run(config: &Value, records: &[Value]) -> Output {
    let output = Run::target(config).messages(&messages(records)).run();
    no_panic(&output);
    output
}

/// Two units, and people of `(number, uid)` in the first.
fn slapd(people: &[(&str, &str)]) -> Slapd {
    let slapd = Slapd::start(SlapdOptions::default().seed([unit(&at("ou=a")), unit(&at("ou=b"))].concat()));
    let records: Vec<Value> = people.iter().map(|(id, uid)| person(id, uid, "a")).collect();
    if !records.is_empty() {
        done(run(&config(&slapd, &json!({})), &records));
    }
    slapd
}

fn at(rdn: &str) -> String {
    format!("{rdn},{BASE}")
}

/// What each entry that has a number is called, and the entry's own id, which no renaming changes.
fn people(server: &Server, id: &str) -> BTreeMap<String, (String, Vec<u8>)> {
    let tree = server.dump_attributes(&["employeeNumber", id]);
    let first = |values: &std::collections::BTreeSet<Vec<u8>>| values.iter().next().unwrap().clone();
    tree.iter()
        .filter_map(|(dn, attributes)| {
            let number = String::from_utf8(first(attributes.get("employeenumber")?)).unwrap();
            Some((number, (dn.clone(), first(&attributes[&id.to_lowercase()]))))
        })
        .collect()
}
