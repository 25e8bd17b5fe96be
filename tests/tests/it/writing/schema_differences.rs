//! Attributes and classes that the destination's schema lacks are reported by name and number.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn messages() -> Vec<Value> {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"type": "object",
        "properties": {"dn": {"type": "string"}, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
            "shoeSize": texts, "hatSize": texts}}});
    let record = |id: &str, classes: &[&str]| {
        json!({"type": "RECORD", "stream": "all", "record": {"dn": format!("uid={id},{USERS}"),
            "objectClass": classes, "uid": [id], "cn": ["x"], "sn": ["x"], "shoeSize": ["42"]}})
    };
    vec![
        schema,
        record("a", &["inetOrgPerson"]),
        record("b", &["inetOrgPerson", "wearer"]),
        record("c", &["inetOrgPerson", "wearer", "owner-of-hats"]),
        json!({"type": "STATE", "value": {"n": 1}}),
    ]
}

const ATTRIBUTES: &str = "does not know the 2 attributes `shoeSize`, `hatSize`; left out";
const CLASSES: &str = "does not know the object class `owner-of-hats` (1 record(s)), `wearer` (2 record(s))";

#[test]
fn classes_and_attributes_that_the_destination_does_not_know_are_named() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(USERS)));
    let config = target_config(&slapd);
    let before = slapd.change_marks();
    // Ahead of the first write: where the run is rehearsed.
    let output = Run::target(&config).arg("--dry-run").messages(&messages()).run().exits(1);
    output.says(ATTRIBUTES).says(CLASSES);
    // The rehearsal refuses what the plan refuses: the run would end at that record.
    let limited = with(&config, &json!({"max_changes": 2}));
    Run::target(&limited)
        .messages(&messages())
        .run()
        .exits(1)
        .reports_code(21)
        .reports(&json!({"stream": "all"}));
    assert_untouched(&slapd, &before);

    // Else the attributes ahead, once, and the classes at the end.
    let dir = scratch();
    let skip = with(&config, &json!({"on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")}));
    let output = Run::target(&skip).messages(&messages()).run().exits(4);
    assert_eq!(output.stderr.matches("does not know the 2 attributes").count(), 1, "{}", output.stderr);
    let output = output.counts(&[("added", 1), ("rejected", 2)]).says(CLASSES);
    let place = |text: &str| output.stderr.find(text).unwrap();
    assert!(place(ATTRIBUTES) < place("rejected:"), "{}", output.stderr);
    // Also of a run that ends at the first of them.
    Run::target(&config)
        .messages(&messages())
        .run()
        .exits(1)
        .reports(&json!({"stream": "all", "line": null}));
}

#[test]
fn what_a_rule_names_is_said_when_the_stream_begins() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(USERS)));
    let rule = json!({"dn_template": format!("uid={{uid}},{USERS}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"uid": "uid", "cn": ["cn", "sn"], "shoeSize": "shoeSize"},
        "values": {"hatSize;lang-de": "{shoeSize}"}, "defaults": {"gloves": "two"}});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"all": rule}}));
    let schema = &messages()[..1];
    let output = Run::target(&config).messages(schema).run().succeeds();
    output
        .reports_setting("mapping_rules.all")
        .says("the 3 attributes `gloves`, `hatSize;lang-de`, `shoeSize`");

    // A file stores what it does not know.
    let dir = scratch();
    let url = json!({"server_url": format!("ldif:{}", dir.path().join("out.ldif").display())});
    let output = Run::target(&with(&config, &url)).messages(schema).run().succeeds();
    output.stderr.does_not_report(&json!({"stream": "all"}));
    let output = Run::target(&url).messages(&messages()).run().succeeds();
    output.stderr.does_not_report(&json!({"stream": "all"}));
}
