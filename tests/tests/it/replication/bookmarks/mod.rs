//! Bookmarks: keys that go back, entries without the key, and states of earlier versions.

use std::collections::BTreeSet;

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::replication::go_on;

mod fingerprints;
mod ldif_files;
mod missing_keys;
mod server_counters;

const SUFFIX: &str = "dc=example,dc=test";

/// Runs the tap to its end. What it printed, and the STATE to go on from.
#[track_caller]
fn run(config: &Value, state: Option<&Value>) -> (Output, Value) {
    go_on(Run::tap(config), state)
}

/// A folder with an LDIF file of this content.
fn file(text: &str) -> (TempDir, String) {
    let dir = scratch();
    let path = dir.path().join("directory.ldif");
    std::fs::write(&path, text).unwrap();
    let url = format!("ldif:{}", path.display());
    (dir, url)
}

fn change(dn: &str, n: usize) -> String {
    format!("dn: {dn}\nchangetype: modify\nreplace: sn\nsn: changed {n}\n\n")
}

/// The names in the records of a run.
fn uids(output: &Output) -> BTreeSet<String> {
    let uid = |record: &&Value| record["uid"].as_array().and_then(|v| v[0].as_str()).unwrap().to_owned();
    output.records(None).iter().map(uid).collect()
}

/// An entry of a file, with these lines of its own.
fn device(name: &str, lines: &str) -> String {
    format!("dn: cn={name},{SUFFIX}\nobjectClass: device\ncn: {name}\n{lines}\n")
}

fn domain(lines: &str) -> String {
    format!("dn: {SUFFIX}\nobjectClass: domain\ndc: example\n{lines}\n")
}

fn of_file(url: &str, changes: &Value) -> Value {
    let mut stream = json!({"name": "all", "filter": "(cn=*)", "attributes": ["cn", "serialNumber"]});
    for (key, value) in changes.as_object().unwrap() {
        stream[key] = value.clone();
    }
    json!({"server_url": url, "base_dn": SUFFIX, "discovery_sample_size": 2, "schemas": [stream]})
}
