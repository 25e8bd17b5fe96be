//! Parents that are missing: `create_parents`, and records that arrive in any order.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{SUFFIX, USERS, company, config, record, schema, state, user};
use crate::support::{assert_untouched, no_panic, states, target_config, with};

#[test]
fn without_create_parents_a_missing_parent_is_a_fault_and_nothing_is_made() {
    let slapd = company();
    let config = with(&config(&slapd), &json!({"create_parents": false}));
    let before = slapd.change_marks();
    let messages = [schema(), record("jdoe"), state(1)];
    let output = Run::target(&config).messages(&messages).run().exits(1);
    no_panic(&output);
    let output = output.reports_line(2).says("create_parents").says(&format!("uid=jdoe,{USERS}"));
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);

    slapd.ldapadd(crate::support::unit(USERS).as_bytes());
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()]);
    user(&slapd.dump(), "jdoe");
}

/// SCHEMA and RECORDs of a mirror: a person, or a unit, for each name.
fn mirrored(names: &[&str]) -> Vec<Value> {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let mut messages =
        vec![json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "sn": texts, "cn": texts}}})];
    for name in names {
        let person = json!({"dn": name, "objectClass": ["inetOrgPerson"], "sn": ["x"], "cn": ["x"]});
        let unit = json!({"dn": name, "objectClass": ["organizationalUnit"]});
        let record = if name.starts_with("ou=") { unit } else { person };
        messages.push(json!({"type": "RECORD", "stream": "all", "record": record}));
    }
    messages
}

#[test]
fn a_child_that_comes_before_its_parent_waits_and_holds_state_back() {
    let slapd = company();
    let config = target_config(&slapd);
    let (child, parent) = (format!("uid=child,uid=parent,{SUFFIX}"), format!("uid=parent,{SUFFIX}"));
    let mut messages = mirrored(&[&child]);
    messages.push(state(1));
    let output = Run::target(&config)
        .messages(&messages)
        .run()
        .exits(1)
        .reports(&json!({"line": 2, "record": format!("dn={child}")}));
    no_panic(&output);
    assert!(output.stdout.is_empty(), "a record that waits is not written: {}", output.stdout_text());

    messages.push(mirrored(&[&parent]).remove(1));
    messages.push(state(2));
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(2)["value"].clone()]);
    assert!(slapd.dump().contains_key(&child) && slapd.dump().contains_key(&parent));
}

#[test]
fn a_parent_that_can_be_made_once_the_one_above_it_has_come_is_made() {
    let slapd = company();
    let top = format!("uid=top,{SUFFIX}");
    let deep = format!("uid=deep,ou=made,ou=made too,{top}");
    let mut messages = mirrored(&[&deep, &top]);
    messages.push(state(1));
    let output = Run::target(&target_config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()]);
    assert!(slapd.dump().contains_key(&deep));
}
