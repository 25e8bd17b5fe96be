//! `limits`, `plan_file` and `target-ldap apply`: a run that is held back, and its plan carried out.

use std::fmt::Write as _;
use std::path::PathBuf;

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{apply, target_config, unit, with};

mod apply;
mod audit;
mod changed_since;
mod first_run;
mod identity;
mod limits;
mod plan_file;
mod servers;

const USERS: &str = "ou=users,dc=example,dc=test";
const TEAMS: &str = "ou=teams,dc=example,dc=test";

/// Users 0 to 19, team 0 with all of them, and what does not belong to the streams.
fn seed() -> String {
    let mut text = unit(USERS) + &unit(TEAMS);
    let mut members = String::new();
    for n in 0..20 {
        let _ = write!(
            text,
            "dn: uid=u{n},{USERS}\nobjectClass: inetOrgPerson\nuid: u{n}\ncn: U {n}\nsn: {n}\nemployeeNumber: {n}\n\
             title: old\nmail: u{n}@example.test\n\n"
        );
        let _ = writeln!(members, "member: uid=u{n},{USERS}");
    }
    let _ = write!(
        text,
        "dn: cn=t0,{TEAMS}\nobjectClass: groupOfNames\ncn: t0\n{members}\n\
         dn: cn=service,{USERS}\nobjectClass: applicationProcess\ncn: service\n\n"
    );
    text
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(seed()))
}

/// Users are found by their number; what a version no longer has goes.
fn config(slapd: &Slapd, more: &Value) -> Value {
    let rules = json!({
        "users": {"dn_template": format!("uid={{login}},{USERS}"), "match": "(employeeNumber={id})",
            "object_classes": ["inetOrgPerson"], "scope_base": USERS,
            "attribute_mapping": {"id": "employeeNumber", "login": "uid", "title": "title", "boss": "manager"},
            "defaults": {"cn": "unknown", "sn": "unknown"}},
        "teams": {"dn_template": format!("cn={{name}},{TEAMS}"), "object_classes": ["groupOfNames"],
            "attribute_mapping": {"name": "cn", "members": "member"}}});
    with(
        &with(&target_config(slapd), &json!({"process_activate_version": true, "mapping_rules": rules})),
        more,
    )
}

/// A server, and settings with a `plan_file` in a folder.
fn planned(more: &Value) -> (Slapd, TempDir, PathBuf, Value) {
    let (slapd, dir) = (slapd(), scratch());
    let plan = dir.path().join("plan.ldif");
    let config = with(&config(&slapd, &json!({"plan_file": plan})), more);
    (slapd, dir, plan, config)
}

/// The same, with the plan that a run of [`mixed`] has left.
fn held(more: &Value) -> (Slapd, TempDir, PathBuf, Value) {
    let (slapd, dir, plan, config) = planned(more);
    Run::target(&config).messages(&mixed()).run().exits(5);
    (slapd, dir, plan, config)
}

fn schemas() -> Vec<Value> {
    let text = json!({"type": ["null", "string"]});
    vec![
        json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"properties": {
            "id": text, "login": text, "title": text, "boss": text, "_sdc_deleted_at": text}}}),
        json!({"type": "SCHEMA", "stream": "teams", "key_properties": ["name"], "schema": {"properties": {
            "name": text, "members": {"type": "array", "items": {"type": "string"}}}}}),
    ]
}

fn user(id: usize, more: &Value) -> Value {
    let record = with(&json!({"id": id.to_string(), "login": format!("u{id}")}), more);
    json!({"type": "RECORD", "stream": "users", "version": 1, "record": record})
}

fn gone(id: usize) -> Value {
    user(id, &json!({"_sdc_deleted_at": "2026-11-30T00:00:00Z"}))
}

fn whole() -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 1})
}

fn messages(records: impl IntoIterator<Item = Value>) -> Vec<Value> {
    schemas().into_iter().chain(records).chain([json!({"type": "STATE", "value": {"n": 1}})]).collect()
}

/// A change of each kind: renames with a team and a boss that follow, additions, a modification, deletions, one below another.
fn mixed() -> Vec<Value> {
    let renamed = (0..2).map(|n| user(n, &json!({"login": format!("renamed{n}")})));
    let added = (30..33).map(|n| user(n, &json!({"boss": format!("uid=renamed0,{USERS}")})));
    let members: Vec<String> =
        ["renamed0", "renamed1", "u2", "u30"].map(|n| format!("uid={n},{USERS}")).into();
    let team = json!({"type": "RECORD", "stream": "teams", "record": {"name": "t0", "members": members}});
    let others = [user(5, &json!({"title": "new"})), gone(6), gone(7), team];
    messages(renamed.chain(added).chain(others))
}
