//! `on_delete.then`: set aside, back as it was, or deleted after some days.

mod approved;
mod ends;
mod forged;
mod history;
mod returns;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::ldif::Tree;
use ldap_tests::run::{Output, Run};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{done, no_panic, state, target_config, unit, with};

const BASE: &str = "dc=example,dc=test";
const PEOPLE: &str = "ou=people,dc=example,dc=test";
const GONE: &str = "ou=gone,ou=archive,dc=example,dc=test";
/// The attribute of the marker: text, several values.
const MARKER: &str = "description";

fn on_delete() -> Value {
    json!({"set": {"title": "left", "l": null}, "move_to": GONE, "then": {"delete_after_days": 30, "marker": MARKER}})
}

/// A rule that finds people by their number.
fn rule() -> Value {
    json!({
        "dn_template": format!("uid={{uid}},{PEOPLE}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "name": ["cn", "sn"]},
        "match": "(employeeNumber={id})",
        "scope_base": PEOPLE,
        "on_delete": on_delete(),
    })
}

fn config(server: &Server, changes: &Value) -> Value {
    with(&target_config(server), &json!({"mapping_rules": {"people": with(&rule(), changes)}}))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "uid": text, "name": text, "_sdc_deleted_at": text}}})
}

fn joins(id: &str, uid: &str) -> Value {
    json!({"type": "RECORD", "stream": "people", "record": {"id": id, "uid": uid, "name": uid}})
}

fn leaves(id: &str, uid: &str) -> Value {
    json!({"type": "RECORD", "stream": "people",
        "record": {"id": id, "uid": uid, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn input(records: &[Value]) -> Vec<Value> {
    [&[schema()][..], records, &[state()]].concat()
}

fn run(config: &Value, records: &[Value]) -> Output {
    crate::support::run(vec![schema()], config, records)
}

/// A person with what no record has.
fn person(id: &str, uid: &str, parent: &str) -> String {
    format!(
        "dn: uid={uid},{parent}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\nemployeeNumber: {id}\n\
         title: Clerk\ntitle:: Q2hpw6hm\nl: Berne\ndescription: a note\nroomNumber: {id}\n\n"
    )
}

fn start(seed: &str) -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(PEOPLE) + seed))
}

/// The value of the marker, and the others of its attribute.
fn marker(tree: &Tree, dn: &str) -> (Option<String>, Vec<String>) {
    let all = tree.get(dn).unwrap_or_else(|| panic!("{dn}: {:?}", tree.keys())).get(MARKER);
    let all = all.into_iter().flatten().map(|v| String::from_utf8(v.clone()).unwrap());
    let (mut markers, others): (Vec<String>, Vec<String>) = all.partition(|v| v.starts_with("ldap-target:"));
    assert!(markers.len() < 2, "{markers:?}");
    (markers.pop(), others)
}

/// The same tree with markers that say nothing of their time.
fn undated(mut tree: Tree) -> Tree {
    for values in tree.values_mut().flat_map(BTreeMap::values_mut) {
        let undated = |value: Vec<u8>| match String::from_utf8(value) {
            Ok(text) => match text.strip_prefix("ldap-target:1 deleted=").and_then(|t| t.split_once(' ')) {
                Some((_, back)) => back.as_bytes().to_vec(),
                None => text.into_bytes(),
            },
            Err(e) => e.into_bytes(),
        };
        *values = std::mem::take(values).into_iter().map(undated).collect();
    }
    tree
}

/// The time of a marker.
fn time_of(marker: &str) -> chrono::DateTime<chrono::Utc> {
    let (time, _) = marker.strip_prefix("ldap-target:1 deleted=").unwrap().split_once(' ').unwrap();
    chrono::NaiveDateTime::parse_from_str(time, "%Y%m%d%H%M%SZ").unwrap().and_utc()
}

/// Adds a value to the marker's attribute of an entry, beside or in place of the marker.
fn write_marker(server: &Server, dn: &str, how: &str, value: &str) {
    server.ldapmodify(format!("dn: {dn}\nchangetype: modify\n{how}: {MARKER}\n{MARKER}: {value}\n-\n\n"));
}

/// Writes the markers of entries anew, as if their days had begun so many days ago.
fn age(server: &Server, attribute: &str, tree: &Tree, days: i64) -> usize {
    let then = chrono::Utc::now() - chrono::TimeDelta::days(days);
    let mut aged = 0;
    for (dn, attributes) in tree {
        for value in attributes.get(&attribute.to_lowercase()).into_iter().flatten() {
            let Ok(text) = std::str::from_utf8(value) else { continue };
            let Some((_, back)) = text.strip_prefix("ldap-target:1 deleted=").and_then(|t| t.split_once(' '))
            else {
                continue;
            };
            let now = format!("ldap-target:1 deleted={} {back}", then.format("%Y%m%d%H%M%SZ"));
            server.ldapmodify(format!(
                "dn: {dn}\nchangetype: modify\ndelete: {attribute}\n{attribute}: {text}\n-\nadd: {attribute}\n{attribute}: {now}\n-\n\n"
            ));
            aged += 1;
        }
    }
    aged
}

/// The people by number, as what they have.
fn by_number(tree: &Tree) -> BTreeMap<String, String> {
    let number = |(dn, entry): (&String, &BTreeMap<String, BTreeSet<Vec<u8>>>)| {
        let number = entry.get("employeenumber")?.first()?;
        Some((String::from_utf8(number.clone()).unwrap(), dn.clone()))
    };
    tree.iter().filter_map(number).collect()
}

fn left(config: &Value, id: &str, uid: &str) {
    done(run(config, &[leaves(id, uid)])).counts(&[("moved", 1), ("deleted", 0)]);
}
