//! Every entry below the base is in exactly one stream, whatever its parent, and the run reports whether that holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Output, Run};
use serde_json::{Value, json};

mod duplicate_keys;
mod hidden_attributes;
mod hidden_classes;
mod hidden_filters;
mod hidden_parents;
mod ldif_files;
mod origins;
mod refused_enumeration;
mod reporting;
mod stream_map_filters;

/// The streams of each entry, by its DN.
fn streams(output: &Output) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in output.of_type("RECORD") {
        let dn = normalize_dn(message["record"]["dn"].as_str().unwrap());
        found.entry(dn).or_default().push(message["stream"].as_str().unwrap().to_owned());
    }
    found
}

/// Asserts that each of these entries was emitted once, and no other.
fn assert_each_once<'d>(output: &Output, dns: impl IntoIterator<Item = &'d str>) {
    let found = streams(output);
    let expected: BTreeSet<String> = dns.into_iter().map(normalize_dn).collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), expected);
    let twice: Vec<_> = found.iter().filter(|(_, streams)| streams.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// A number of the last line of the log.
fn field(output: &Output, name: &str) -> Value {
    output.stderr.summary()[name].clone()
}

fn json_log(config: &Value) -> Run {
    Run::tap(config).arg("--log-format").arg("json")
}

fn file(dir: &Path, text: &str) -> Value {
    let path = dir.join("data.ldif");
    std::fs::write(&path, text).unwrap();
    json!({"server_url": format!("ldif:{}", path.display())})
}

fn person(dn: &str) -> String {
    let (name, value) = dn.split(',').next().unwrap().split_once('=').unwrap();
    let cn = if name == "cn" { "" } else { "cn: c\n" };
    format!("dn: {dn}\nobjectClass: inetOrgPerson\n{name}: {value}\n{cn}sn: s\n\n")
}

/// An entry of no class that holds others.
fn thing(dn: &str) -> String {
    let (name, value) = dn.split(',').next().unwrap().split_once('=').unwrap();
    format!("dn: {dn}\nobjectClass: device\n{name}: {value}\n\n")
}

fn warnings(output: &Output) -> Vec<Value> {
    let lines = output.stderr.entries().iter().cloned();
    lines.filter(|line| line["level"] == "warning").collect()
}
