//! An entry that a record of the run wrote, matched or was rejected for is never deleted by the run, whatever the key, stream or
//! version.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ldap_tests::ldif::{Tree, parse_file};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{lines, no_panic, unit, with};

mod conflicting_keys;
mod counts;
mod match_filters;
mod protected_entries;
mod versions;

const BASE: &str = "dc=example,dc=test";

/// A file with people of `(unit, uid, employeeNumber)`.
struct File {
    dir: TempDir,
    path: PathBuf,
}

impl File {
    fn new(people: &[(&str, &str, &str)]) -> File {
        let mut text = format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n");
        for ou in ["a", "b"] {
            text.push_str(&unit(&format!("ou={ou},{BASE}")));
        }
        for (ou, uid, number) in people {
            let _ = write!(
                text,
                "dn: uid={uid},ou={ou},{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\nemployeeNumber: {number}\ntitle: first\n\n"
            );
        }
        let dir = scratch();
        let path = dir.path().join("d.ldif");
        std::fs::write(&path, text).unwrap();
        File { dir, path }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, more: &Value) -> Value {
        with(&json!({"server_url": format!("ldif:{}", self.path.display())}), more)
    }

    fn skip(&self, more: &Value) -> Value {
        with(&self.config(more), &json!({"on_error": "skip", "reject_file": self.path("rejects.jsonl")}))
    }

    fn tree(&self) -> Tree {
        parse_file(&self.path)
    }

    /// The people that are there.
    fn uids(&self) -> BTreeSet<String> {
        uids(&self.path)
    }
}

fn uids(path: &Path) -> BTreeSet<String> {
    let names = parse_file(path).into_keys();
    names.filter_map(|dn| dn.strip_prefix("uid=")?.split(',').next().map(str::to_owned)).collect()
}

fn set(uids: &[&str]) -> BTreeSet<String> {
    uids.iter().map(ToString::to_string).collect()
}

fn rule(ou: &str, more: &Value) -> Value {
    with(
        &json!({"dn_template": format!("uid={{uid}},ou={ou},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "name": ["cn", "sn"]}}),
        more,
    )
}

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": text, "uid": text, "name": text, "_sdc_deleted_at": text}}})
}

fn record(stream: &str, id: &str, uid: &str) -> Value {
    json!({"type": "RECORD", "stream": stream, "version": 5, "record": {"id": id, "uid": uid, "name": uid}})
}

fn gone(stream: &str, id: &str, uid: &str) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": {"id": id, "uid": uid, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn activate(stream: &str) -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": 5})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).stdin(lines(messages)).run();
    no_panic(&output);
    output
}

fn rejects(file: &File) -> Vec<Value> {
    let text = std::fs::read_to_string(file.path("rejects.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "REJECT").collect()
}

fn deleted(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": with(record, &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}))})
}

/// The warnings of a run, as fields.
fn warned(output: &Output) -> Vec<Value> {
    let lines = output.stderr.entries().iter().cloned();
    lines.filter(|line| line["level"] == "WARN" || line["level"] == "warning").collect()
}
