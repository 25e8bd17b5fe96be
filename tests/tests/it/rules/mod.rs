//! Rules applied to unusual records and SCHEMAs: nothing is deleted, left out or overwritten silently.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ldap_tests::ldif::{Attributes, Tree, parse_file};
use ldap_tests::run::Output;
use ldap_tests::server::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{state, unit, with};

mod deletion_markers;
mod doubtful_mappings;
mod hr_systems;
mod hr_templates;
mod match_filters;
mod nested_values;
mod schema_messages;
mod templates;
mod unknown_names;
mod workday;

const BASE: &str = "ou=people,dc=example,dc=test";

/// A file of people and a rule for the stream `p`.
struct File {
    dir: TempDir,
    rule: Value,
}

impl File {
    fn new(rule: &Value, ids: &[&str]) -> File {
        let dir = scratch();
        let mut text =
            "version: 1\n\ndn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n".to_owned();
        text.push_str(&unit(BASE));
        for id in ids {
            let class = "objectClass: inetOrgPerson";
            let _ = write!(text, "dn: uid={id},{BASE}\n{class}\nuid: {id}\ncn: {id}\nsn: {id}\n\n");
        }
        std::fs::write(dir.path().join("d.ldif"), text).unwrap();
        let base = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": ["uid", "cn"], "last": "sn"}});
        File { dir, rule: with(&base, rule) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("d.ldif")
    }

    fn config(&self) -> Value {
        json!({"server_url": format!("ldif:{}", self.path().display()), "mapping_rules": {"p": self.rule}})
    }

    fn skipping(&self) -> Value {
        let rejects = self.dir.path().join("rejects.jsonl");
        with(&self.config(), &json!({"on_error": "skip", "reject_file": rejects}))
    }

    fn rejected(&self) -> Vec<Value> {
        rejected(&self.dir.path().join("rejects.jsonl"))
    }

    fn tree(&self) -> Tree {
        parse_file(&self.path())
    }

    fn entry(&self, id: &str) -> Attributes {
        self.tree().get(&format!("uid={id},{BASE}")).unwrap_or_else(|| panic!("no entry {id}")).clone()
    }

    fn text(&self, id: &str, attribute: &str) -> Option<String> {
        let values = self.entry(id).get(attribute)?.clone();
        assert_eq!(values.len(), 1, "{values:?}");
        Some(String::from_utf8(values.first().unwrap().clone()).unwrap())
    }
}

/// The records in a reject file.
fn rejected(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "REJECT").map(|line| line["record"].clone()).collect()
}

fn schema(properties: &Value) -> Value {
    json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object", "properties": properties}})
}

fn record(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": record})
}

/// The warnings that name something in their text.
fn warnings(output: &Output, name: &str) -> Vec<Value> {
    let names = |line: &Value| line["message"].as_str().unwrap().contains(name);
    output.stderr.warnings().into_iter().filter(|line| names(line)).cloned().collect()
}
