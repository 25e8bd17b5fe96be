//! Mapping rules of SPEC 5: records of any shape become directory entries, and every value is escaped.

use std::collections::BTreeSet;

use ldap_tests::ldif::{Attributes, Tree};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{target_config, with};

mod deletions;
mod input_errors;
mod near_names;
mod parents;
mod rule_selection;
mod state;
mod time_zones;
mod values;

const SUFFIX: &str = "dc=company,dc=com";

const USERS: &str = "ou=users,dc=company,dc=com";

fn company() -> Slapd {
    Slapd::start(SlapdOptions::default().suffix(SUFFIX))
}

/// The rule of SPEC 5, without what later issues build.
fn rule() -> Value {
    json!({
        "dn_template": "uid={uid},ou=users,dc=company,dc=com",
        "object_classes": ["person", "organizationalPerson", "inetOrgPerson"],
        "attribute_mapping": {
            "user_id": "uid", "full_name": "cn", "last_name": "sn", "email": "mail", "phone": "telephoneNumber",
        },
        "values": {"displayName": "{first_name} {last_name}"},
        "defaults": {"sn": "unknown"},
    })
}

fn config(slapd: &Slapd) -> Value {
    with(&target_config(slapd), &json!({"mapping_rules": {"users": rule()}}))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["user_id"], "schema": {"type": "object", "properties": {
        "user_id": text, "full_name": text, "first_name": text, "last_name": text,
        "email": {"type": ["string", "null"], "format": "email"},
        "phone": {"type": ["array", "null"], "items": {"type": "string"}},
    }}})
}

fn record(user_id: &str) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": {
        "user_id": user_id, "full_name": format!("Name of {user_id}"), "first_name": "First", "last_name": "Last",
        "email": "someone@company.com",
    }})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"bookmarks": {"users": {"position": n}}}})
}

fn values(texts: &[&str]) -> BTreeSet<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

#[track_caller]
fn user<'a>(tree: &'a Tree, uid: &str) -> &'a Attributes {
    let mut found = tree.values().filter(|e| e.get("uid").is_some_and(|v| v.contains(uid.as_bytes())));
    let entry =
        found.next().unwrap_or_else(|| panic!("no entry has the uid {uid:?} among {:?}", tree.keys()));
    assert!(found.next().is_none(), "two entries have the uid {uid:?}");
    entry
}
