//! Mappings that do something else than their author may think: they are refused, or a warning names them.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::with;

fn schema() -> Value {
    let any = json!({});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": {"type": "string"}, "job": any, "mail": any}}})
}

fn record(more: &Value) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": with(&json!({"id": "a"}), more)})
}

fn rule(more: &Value) -> Value {
    let rule = json!({"dn_template": "uid={id},dc=example,dc=com", "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": ["uid", "cn", "sn"], "job": "title", "mail": "mail"}});
    with(&rule, more)
}

fn config(dir: &std::path::Path, more: &Value) -> Value {
    let file = dir.join("out.ldif");
    let _ = std::fs::remove_file(&file);
    let config = json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"users": rule(&json!({}))}});
    with(&config, more)
}

#[test]
fn a_suffix_that_can_never_match_is_refused() {
    let dir = scratch();
    let rewrite = |all: &[(&str, &str)]| {
        let all: Vec<Value> = all.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        Run::target(&config(dir.path(), &json!({"dn_rewrite": all}))).messages(&[schema()]).run()
    };
    for all in [
        [("dc=x", "dc=x"), ("dc=x", "dc=y")],
        [("dc=x", "dc=z"), ("ou=a,DC=X", "dc=y")],
        [("dc=x", "dc=z"), ("ou=b,ou=a,dc=x", "dc=y")],
    ] {
        rewrite(&all).exits(2).reports_setting("dn_rewrite[1].from");
    }
    rewrite(&[("ou=a,dc=x", "dc=z"), ("dc=x", "dc=y"), ("dc=xx", "dc=y")]).succeeds();
}

#[test]
fn an_attribute_of_two_sources_is_named() {
    let dir = scratch();
    let of = |values: &Value| {
        let rules = json!({"mapping_rules": {"users": rule(&json!({"values": values}))}});
        Run::target(&config(dir.path(), &rules))
            .messages(&[schema(), record(&json!({"job": "X"}))])
            .run()
            .succeeds()
    };
    let setting = "mapping_rules.users.values.TITLE";
    of(&json!({"TITLE": "Y"})).reports(&json!({"setting": setting, "stream": "users"}));
    of(&json!({"description": "Y"})).stderr.does_not_report(&json!({}));
}

#[test]
fn a_value_of_blanks_alone_is_named_once() {
    let dir = scratch();
    let records = [record(&json!({"mail": "  "})), record(&json!({"mail": "   ", "job": " of note"}))];
    let mut messages = vec![schema()];
    messages.extend(records);
    let config = with(&config(dir.path(), &json!({})), &json!({"validate_records": false}));
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(output.stderr.about(&json!({"property": "mail", "attribute": "mail"})).len(), 1);
    output.stderr.does_not_report(&json!({"property": "job"}));
}

#[test]
fn a_line_that_is_no_message_is_not_repeated() {
    let dir = scratch();
    for line in ["Topsecret97", "password: Topsecret97", "Topsecret97,1"] {
        let output = Run::target(&config(dir.path(), &json!({})))
            .stdin(format!("{line}\n").into_bytes())
            .run()
            .exits(1);
        output.stderr.reports(&json!({"line": 1}));
        assert!(!output.stderr.to_string().contains("Topsecret"), "{}", output.stderr);
    }
}
