//! `process_activate_version`: entries that a version of a stream no longer contains are deleted.

use std::fmt::Write as _;

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{no_panic, state, target_config, unit, with};

mod incomplete_input;
mod missing_records;
mod rejected_records;
mod scope;

const BASE: &str = "dc=example,dc=test";

const USERS: &str = "ou=users,dc=example,dc=test";

/// People a to f and somebody's printer below ou=users, one of them in a unit, and a person elsewhere.
fn slapd() -> Slapd {
    let mut ldif = [unit(USERS), unit(&format!("ou=in,{USERS}")), unit(&format!("ou=else,{BASE}"))].concat();
    let places = ["a", "b", "c", "d", "e"].map(|id| (id, USERS.to_owned()));
    let places =
        places.into_iter().chain([("f", format!("ou=in,{USERS}")), ("g", format!("ou=else,{BASE}"))]);
    for (id, place) in places {
        write!(ldif, "dn: uid={id},{place}\nobjectClass: inetOrgPerson\nuid: {id}\ncn: {id}\nsn: {id}\n\n")
            .unwrap();
    }
    write!(ldif, "dn: cn=printer,{USERS}\nobjectClass: device\ncn: printer\n\n").unwrap();
    Slapd::start(SlapdOptions::default().seed(ldif))
}

fn config(slapd: &Slapd, more: &Value) -> Value {
    let rule = with(
        &json!({"dn_template": format!("uid={{uid}},{USERS}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}, "scope_base": USERS}),
        more,
    );
    with(&target_config(slapd), &json!({"process_activate_version": true, "mapping_rules": {"users": rule}}))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": text, "name": text, "_sdc_deleted_at": text}}})
}

fn record(id: &str) -> Value {
    json!({"type": "RECORD", "stream": "users", "version": 7, "record": {"id": id, "name": id}})
}

fn activate() -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 7})
}

fn whole(ids: &[&str]) -> Vec<Value> {
    let mut messages = vec![schema()];
    messages.extend(ids.iter().map(|id| record(id)));
    messages.extend([activate(), state()]);
    messages
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).messages(messages).run();
    no_panic(&output);
    output
}

/// The configuration with a stream `other` that writes to the same place and has no scope.
fn with_other(config: &Value) -> Value {
    let mut config = config.clone();
    config["mapping_rules"]["other"] = with(&config["mapping_rules"]["users"], &json!({"scope_base": null}));
    config
}

/// The first names of what is there.
fn left(slapd: &Slapd) -> String {
    let mut names: Vec<String> =
        slapd.dump().keys().map(|dn| dn.split(',').next().unwrap().to_owned()).collect();
    names.sort();
    names.join(" ")
}
