//! Records with `_sdc_deleted_at`.

use std::collections::BTreeSet;

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{target_config, unit};

fn tree() -> Slapd {
    let mut ldif = String::new();
    for dn in ["ou=a,dc=example,dc=test", "ou=b,ou=a,dc=example,dc=test", "ou=c,ou=b,ou=a,dc=example,dc=test"]
    {
        ldif.push_str(&unit(dn));
    }
    ldif.push_str("dn: uid=x,ou=c,ou=b,ou=a,dc=example,dc=test\nobjectClass: account\nuid: x\n\n");
    Slapd::start(SlapdOptions::default().seed(ldif))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "objectClass": {"type": ["array", "null"]}, "ou": {"type": ["array", "null"]}, "_sdc_deleted_at": text}}})
}

fn deletion(dn: &str) -> Value {
    json!({"type": "RECORD", "stream": "s", "record": {"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

fn left(slapd: &Slapd) -> BTreeSet<String> {
    slapd.dump().into_keys().collect()
}

#[test]
fn children_are_deleted_before_their_parents_whatever_the_order_of_the_records() {
    let slapd = tree();
    let messages = [
        schema(),
        deletion("ou=a,dc=example,dc=test"),
        deletion("ou=b,ou=a,dc=example,dc=test"),
        state(1),
        deletion("uid=x,ou=c,ou=b,ou=a,dc=example,dc=test"),
        deletion("ou=c,ou=b,ou=a,dc=example,dc=test"),
        deletion("ou=never,dc=example,dc=test"),
        // What comes after a deletion on the same entry stays behind it.
        json!({"type": "RECORD", "stream": "s", "record": {"dn": "ou=a,dc=example,dc=test",
            "objectClass": ["organizationalUnit"], "ou": ["a", "again"]}}),
        state(2),
    ];
    let output = Run::target(&target_config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(output.stdout_text().lines().last(), Some("{\"n\":2}"));
    let tree = slapd.dump();
    assert_eq!(tree.len(), 2, "{tree:?}");
    assert_eq!(tree["ou=a,dc=example,dc=test"]["ou"].len(), 2);
}

#[test]
fn an_entry_with_others_below_it_is_not_deleted_and_holds_the_state_back() {
    let slapd = tree();
    let before = left(&slapd);
    let messages = [schema(), state(1), deletion("ou=b,ou=a,dc=example,dc=test"), state(2)];
    let output = Run::target(&target_config(&slapd)).messages(&messages).run().exits(1).reports_line(3);
    assert_eq!(output.stdout_text(), "{\"n\":1}\n");
    assert_eq!(left(&slapd), before);
}

#[test]
fn a_rule_can_ignore_deletions() {
    let slapd = tree();
    let before = left(&slapd);
    let mut config = target_config(&slapd);
    config["mapping_rules"] = json!({"s": {"on_delete": "ignore"}});
    Run::target(&config)
        .messages(&[schema(), deletion("uid=x,ou=c,ou=b,ou=a,dc=example,dc=test")])
        .run()
        .succeeds();
    assert_eq!(left(&slapd), before);
}

#[test]
fn parts_of_a_rule_that_are_not_there_yet_are_refused() {
    let slapd = tree();
    let mut config = target_config(&slapd);
    config["mapping_rules"] = json!({"s": {"password": {"from": "password"}}});
    Run::target(&config).messages(&[schema()]).run().exits(2).reports_setting("mapping_rules.s.password");
}
