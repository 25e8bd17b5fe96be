//! Regressions: one test for each fault that was found.

use std::fmt::Write as _;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::server::free_port;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, tap_config, target_config, unit, with};

fn schema() -> Value {
    let (text, texts) = (json!({"type": ["string", "null"]}), json!({"type": ["array", "null"]}));
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "objectClass": texts, "sn": texts, "cn": texts, "description": texts, "sn;lang-en;lang-de": texts,
        "_sdc_deleted_at": text}}})
}

fn person(dn: &str, more: &Value) -> Value {
    let record = with(&json!({"dn": dn, "objectClass": ["inetOrgPerson"], "sn": ["x"], "cn": ["x"]}), more);
    json!({"type": "RECORD", "stream": "s", "record": record})
}

fn deletion(dn: &str) -> Value {
    json!({"type": "RECORD", "stream": "s", "record": {"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

#[test]
fn a_deletion_does_not_overtake_an_addition_that_waits_for_its_parent() {
    let slapd = Slapd::start(SlapdOptions::default());
    let (parent, child) = ("cn=p,dc=example,dc=test", "cn=x,cn=p,dc=example,dc=test");
    let none = json!({});
    let messages = [schema(), person(child, &none), deletion(child), person(parent, &none)];
    Run::target(&target_config(&slapd)).messages(&messages).run().succeeds();
    let tree = slapd.dump();
    assert!(tree.contains_key(parent) && !tree.contains_key(child), "{:?}", tree.keys());

    // And a log that ends with everything gone leaves nothing.
    let messages = [schema(), person(child, &none), person(parent, &none), deletion(child), deletion(parent)];
    Run::target(&target_config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(slapd.dump().len(), 1);
}

#[test]
fn updates_of_an_entry_that_waits_for_its_parent_keep_their_order() {
    let slapd = Slapd::start(SlapdOptions::default());
    let child = "cn=x,ou=between,cn=p,dc=example,dc=test";
    let mut messages = vec![schema()];
    for n in 0..30 {
        messages.push(person(child, &json!({"description": [n.to_string()]})));
    }
    messages.push(person("cn=p,dc=example,dc=test", &json!({})));
    Run::target(&target_config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(slapd.dump()[child]["description"], [b"29".to_vec()].into());
}

#[test]
fn options_in_another_order_are_the_same_attribute() {
    let slapd = Slapd::start(SlapdOptions::default());
    let record = person("cn=x,dc=example,dc=test", &json!({"sn;lang-en;lang-de": ["y"]}));
    let run = || Run::target(&target_config(&slapd)).messages(&[schema(), record.clone()]).run().succeeds();
    run();
    let before = slapd.change_marks();
    run();
    assert!(slapd.change_marks() == before, "the second run wrote something");
}

#[test]
fn entries_below_many_entries_of_a_container_are_each_read_once() {
    // More than 5,000 have others below them: then everything below is read in one search.
    for count in [100, 5_005] {
        below_many_entries(count);
    }
}

#[track_caller]
fn below_many_entries(count: usize) {
    let mut ldif = unit("ou=big,dc=example,dc=test");
    ldif.push_str(&unit("ou=nested,ou=big,dc=example,dc=test"));
    for i in 0..count {
        write!(
            ldif,
            "dn: cn=p{i},ou=big,dc=example,dc=test\nobjectClass: inetOrgPerson\ncn: p{i}\nsn: s\n\n\
             dn: cn=below,cn=p{i},ou=big,dc=example,dc=test\nobjectClass: device\ncn: below\n\n\
             dn: cn=q{i},ou=nested,ou=big,dc=example,dc=test\nobjectClass: device\ncn: q{i}\n\n"
        )
        .unwrap();
    }
    let slapd = Slapd::start(SlapdOptions::default().seed(ldif));
    let output = Run::tap(&tap_config(&slapd)).run().succeeds();
    let mut dns: Vec<String> = output
        .messages
        .iter()
        .filter(|m| m["type"] == "RECORD")
        .map(|m| normalize_dn(m["record"]["dn"].as_str().unwrap()))
        .collect();
    dns.sort();
    let expected: Vec<String> = slapd.dump().into_keys().collect();
    let first = dns.iter().zip(&expected).find(|(is, should)| is != should);
    assert!(dns.len() == expected.len() && first.is_none(), "{} of {}: {first:?}", dns.len(), expected.len());
}

#[test]
fn a_refused_bind_is_tried_on_no_other_server() {
    let slapd = Slapd::start(SlapdOptions::default());
    let dead = format!("ldap://127.0.0.1:{}", free_port());
    let config =
        with(&tap_config(&slapd), &json!({"server_url": [slapd.ldap_uri(), dead], "bind_password": "wrong"}));
    let output = Run::tap(&config).run().exits(3).reports_code(49);
    assert_eq!(output.stderr.matches("invalidCredentials").count(), 1, "{}", output.stderr);
}

#[test]
fn a_mistake_in_the_last_stream_is_found_before_the_first_is_read() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let streams = json!({"schemas": [
        {"name": "fine", "filter": "(objectClass=person)", "attributes": ["cn"]},
        {"name": "wrong", "filter": "(objectClass=person)", "attributes": ["cn"], "replication_method": "LOG_BASE"}]});
    let output = Run::tap(&with(&tap_config(&slapd), &streams))
        .run()
        .exits(2)
        .reports(&json!({"setting": "schemas[1].replication_method", "nearest": "LOG_BASED"}));
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
}

#[test]
fn a_filter_with_spaces_between_its_parts_is_sent_without() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let streams = |filter: &str| {
        with(
            &tap_config(&slapd),
            &json!({"schemas": [{"name": "s", "filter": filter, "attributes": ["uid"]}]}),
        )
    };
    let output = Run::tap(&streams("(& (objectClass=person) (uid=alice) )")).run().succeeds();
    assert_eq!(output.messages.iter().filter(|m| m["type"] == "RECORD").count(), 1);
    Run::tap(&streams("(uid=alice")).run().exits(2).reports_setting("schemas[0].filter");
}

#[test]
fn tls_that_the_url_contradicts_is_a_mistake() {
    let slapd = Slapd::start(SlapdOptions::default());
    let config = with(&tap_config(&slapd), &json!({"use_ssl": true}));
    Run::tap(&config).run().exits(2).reports_setting("use_ssl");
    let config = with(&tap_config(&slapd), &json!({"server_url": null, "host": slapd.ldap_uri()}));
    Run::tap(&config).run().exits(2).reports_setting("host");
}

#[test]
fn an_attribute_left_out_with_an_option_leaves_the_others() {
    let slapd = Slapd::start(SlapdOptions::default().seed(
        "dn: cn=x,dc=example,dc=test\nobjectClass: inetOrgPerson\ncn: x\ncn;lang-de: y\nsn: s\nsn;lang-de: t\n\n",
    ));
    let catalog = discover(&with(
        &tap_config(&slapd),
        &json!({"schemas": [{"name": "s", "filter": "(cn=x)", "exclude_attributes": ["CN;lang-DE", "surname"]}]}),
    ));
    let properties = catalog["streams"][0]["schema"]["properties"].as_object().unwrap();
    assert!(properties.contains_key("cn") && !properties.contains_key("cn;lang-de"));
    assert!(!properties.contains_key("sn") && !properties.contains_key("sn;lang-de"));
}

#[test]
fn a_file_time_that_is_null_is_no_value() {
    let dir = ldap_tests::server::scratch();
    let file = dir.path().join("out.ldif");
    let messages = [
        json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
            "dn": {}, "objectClass": {}, "accountExpires": {}, "pwdLastSet": {}}}}),
        json!({"type": "RECORD", "stream": "s", "record": {"dn": "o=x", "objectClass": ["organization"],
            "accountExpires": null, "pwdLastSet": null}}),
    ];
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    Run::target(&config).messages(&messages).run().succeeds();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("dn: o=x") && !text.contains("accountExpires") && !text.contains("pwdLastSet"),
        "{text}"
    );
}
