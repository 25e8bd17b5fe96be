//! `on_error: skip`: rejected records, the reject file, and retries.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::ChildStdout;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use ldap_tests::ldif::Tree;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{target_config, unit, with};

mod error_kinds;
mod overtaken;
mod reject_file;
mod retry_rejects;
mod settings;

const USERS: &str = "ou=users,dc=example,dc=test";

fn options() -> SlapdOptions {
    SlapdOptions::default().seed(unit(USERS))
}

fn skipping(slapd: &Slapd, file: &Path) -> Value {
    with(
        &target_config(slapd),
        &json!({"on_error": "skip", "reject_file": file, "mapping_rules": {"users": {
            "dn_template": format!("uid={{uid}},{USERS}"),
            "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "mail": "mail", "boss": "manager", "pw": "userPassword"},
        }}}),
    )
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "name": text, "mail": text, "boss": text, "age": {"type": "integer"},
        "pw": {"type": ["string", "null"], "contentEncoding": "base64"}, "_sdc_deleted_at": text}}})
}

fn record(id: &str, more: &Value) -> Value {
    let record = with(&json!({"id": id, "name": format!("Name of {id}")}), more);
    json!({"type": "RECORD", "stream": "users", "record": record})
}

fn good(id: &str) -> Value {
    record(id, &json!({}))
}

fn state(n: usize) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

/// The lines of a reject file: its SCHEMAs, and its rejects in the order of their lines in the input.
#[track_caller]
fn read(file: &Path) -> (Vec<Value>, Vec<Value>) {
    let text = ldap_tests::run::read_text(file);
    let all: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (mut rejects, schemas): (Vec<_>, Vec<_>) = all.into_iter().partition(|l| l["type"] == "REJECT");
    rejects.sort_by_key(|r| r["line"].as_u64());
    (schemas, rejects)
}

/// The lines of a running target's stdout, as they come; the receiver waits no longer than it should take.
fn printed(stdout: ChildStdout) -> impl Fn() -> Option<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let _ = sender.send(line.unwrap_or_default());
        }
    });
    move || match receiver.recv_timeout(Duration::from_secs(20)) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no STATE comes"),
    }
}

fn has(tree: &Tree, id: &str) -> bool {
    tree.contains_key(&format!("uid={id},{USERS}"))
}

/// A good record, and between good ones each kind of bad one: what is wrong, the code, and the attribute.
fn mixed() -> (Vec<Value>, Vec<(&'static str, Value, Value)>) {
    let bad = [
        (record("invalid", &json!({"age": "old"})), "/age", json!(null), json!(null)),
        (record("", &json!({})), "uid", json!(null), json!(null)),
        (record("nameless", &json!({"name": null})), "objectClassViolation (65)", json!(65), json!("sn")),
        (
            record("syntax", &json!({"mail": "zoë@example"})),
            "invalidAttributeSyntax (21)",
            json!(21),
            json!("mail"),
        ),
        (record("device", &json!({})), "invalid structural object class chain", json!(65), json!(null)),
        (
            record("boss", &json!({"boss": "nobody"})),
            "invalidAttributeSyntax (21)",
            json!(21),
            json!("manager"),
        ),
    ];
    let mut messages = vec![schema()];
    let mut expected = Vec::new();
    for (n, (record, reason, code, attribute)) in bad.into_iter().enumerate() {
        messages.extend([good(&format!("good{n}")), record, state(n)]);
        expected.push((reason, code, attribute));
    }
    (messages, expected)
}
