//! Faults around a process, not in the network: full disks, read-only folders, streams that stall or close, signals in every
//! phase.

mod disk;
mod signals;
mod stderr;
mod streams;

use std::path::Path;

use ldap_tests::slapd::Slapd;
use serde_json::{Value, json};

use crate::support::{target_config, with};

const BASE: &str = "ou=all,dc=example,dc=test";

/// SCHEMA of a stream that is mirrored.
fn schema() -> Value {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"type": "object", "properties": {
        "dn": {"type": "string"}, "objectClass": texts, "cn": texts, "sn": texts, "description": texts}}})
}

fn dn(n: usize) -> String {
    format!("cn=p{n},{BASE}")
}

/// The n-th person, with half a KiB of text.
fn person(n: usize) -> Value {
    json!({"type": "RECORD", "stream": "all", "record": {"dn": dn(n), "objectClass": ["person"], "cn": [format!("p{n}")],
        "sn": ["x"], "description": [format!("{n} ").repeat(100)]}})
}

fn state(n: usize) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

/// People from one on up to another, a STATE after each.
fn people(from: usize, to: usize) -> Vec<Value> {
    std::iter::once(schema()).chain((from..to).flat_map(|n| [person(n), state(n + 1)])).collect()
}

/// A target's configuration for such a mirror, one record after another.
fn config(slapd: &Slapd, changes: &Value) -> Value {
    with(&with(&target_config(slapd), &json!({"max_in_flight": 1})), changes)
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.contains(".json"))
        .collect();
    names.sort();
    names
}
