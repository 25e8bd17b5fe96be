//! An object, or a list in a list, is no value and not nothing: wherever a rule names it, the record is at fault.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{File, record, schema, state};
use crate::support::{target_config, unit, with};

/// Values that are none, and no absence of one.
fn nested() -> [Value; 5] {
    [
        json!({"value": "secret"}),
        json!({}),
        json!([{"value": "secret"}]),
        json!([["secret"]]),
        json!(["a", {}]),
    ]
}

fn properties() -> Value {
    let any = json!({});
    schema(&json!({"id": any, "last": any, "x": any}))
}

#[test]
fn every_part_of_a_rule_refuses_a_nested_value() {
    let rules = [
        json!({"values": {"title": "{x}"}}),
        json!({"values": {"title": ["{x}", "{last}"]}}),
        json!({"values": {"title": "{x|default:none}"}}),
        json!({"values": {"title": "{last}[ {x}]"}}),
        json!({"match": "(title={x})"}),
        json!({"unique": {"employeeNumber": ["{x}", "{x}{n}"]}, "match": "(uid={id})"}),
        json!({"references": {"manager": {"find": "(uid={x})", "missing": "warn"}}}),
        json!({"attribute_mapping": {"id": ["uid", "cn"], "last": "sn", "x": "title"}}),
        json!({"dn_template": "uid={x},ou=people,dc=example,dc=test"}),
    ];
    for rule in rules {
        for value in nested() {
            let file = File::new(&rule, &["a"]);
            let before = file.tree();
            let messages = [properties(), record(&json!({"id": "a", "last": "New", "x": value})), state()];
            let output = Run::target(&file.skipping()).messages(&messages).run();
            assert_eq!(output.code, 4, "{rule} {value}: {}", output.stderr);
            assert_eq!(file.tree(), before, "{rule} {value}");
            assert_eq!(file.rejected().len(), 1);
            assert!(!output.stderr.contains("secret"), "{}", output.stderr);
        }
    }
}

#[test]
fn an_end_that_is_no_date_does_not_enable_an_account() {
    let users = "ou=users,dc=example,dc=test";
    let server = Ds389::start(&Ds389Options::default().seed(unit(users)));
    let rule = json!({
        "dn_template": format!("uid={{id}},{users}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "last": ["cn", "sn"]},
        "accounts": {"enabled": {"until": "x"}},
    });
    let config = with(&target_config(&server), &json!({"mapping_rules": {"p": rule}}));
    let run = |x: &Value| {
        let fields = json!({"id": "a", "last": "A", "x": x});
        Run::target(&config).messages(&[properties(), record(&fields), state()]).run()
    };
    run(&json!("2020-01-31")).succeeds().counts(&[("added", 1)]);
    let dn = format!("uid=a,{users}");
    let lock = || crate::support::values(&server, &dn, "nsAccountLock");
    let locked = lock();
    assert_eq!(locked.len(), 1);
    for x in nested().into_iter().chain([json!(["2020-01-31", "2030-01-31"]), json!(true), json!("soon")]) {
        run(&x).exits(1).reports(&json!({"record": "id=a", "line": 2}));
        assert_eq!(lock(), locked, "{x}");
    }
    run(&json!(null)).succeeds().counts(&[("modified", 1)]);
}
