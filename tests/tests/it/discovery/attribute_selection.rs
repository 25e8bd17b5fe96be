//! Which attributes are requested, and which of those returned are in records.

use ldap_tests::fake::Fake;
use ldap_tests::fake::plain::{Plain, PlainEntry, plain};
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, tap_config, with};

fn properties(catalog: &Value) -> Vec<&str> {
    catalog["streams"][0]["schema"]["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn one(config: &Value) -> Value {
    let output = Run::tap(config).run().succeeds();
    output.records(None)[0].clone()
}

#[test]
fn options_are_asked_for_where_a_server_goes_by_the_very_description() {
    let server = Fake::start(Plain::new(vec![plain(
        b"cn=one,dc=x",
        &[
            ("objectClass", &["device"]),
            ("cn", &["one"]),
            ("cn;lang-de", &["eins"]),
            ("description;lang-fr", &["un"]),
            ("serialNumber", &["1"]),
        ],
    )]));
    let config = json!({"server_url": server.uri(), "base_dn": "dc=x", "retry_attempts": 0,
        "schemas": [{"name": "things", "filter": "(objectClass=device)"}]});
    let record = one(&config);
    assert_eq!(record["cn"], json!(["one"]));
    assert_eq!(record["cn;lang-de"], json!(["eins"]));
    assert_eq!(record["description;lang-fr"], json!(["un"]));
    // Both are asked for, so that a server that gives options with their type gives them, too.
    let asked = server.searches().pop().unwrap().attributes;
    for name in ["cn", "cn;lang-de", "description", "description;lang-fr"] {
        assert!(asked.iter().any(|a| a == name), "{name} of {asked:?}");
    }
    let catalog = discover(&config);
    let output = Run::tap(&config).file("--catalog", &catalog).run().succeeds();
    assert_eq!(output.records(None)[0]["cn;lang-de"], json!(["eins"]));
}

#[test]
fn a_plus_is_every_operational_attribute() {
    let slapd = Slapd::start(SlapdOptions::default());
    let config = with(
        &tap_config(&slapd),
        &json!({"operational_attributes": null, "schemas": [{"name": "base", "scope": "base", "attributes": ["+"]}]}),
    );
    let record = one(&config);
    assert_eq!(record["structuralObjectClass"], json!("organization"));
    assert!(record["creatorsName"].is_string() && record["entryDN"].is_string(), "{record}");
    assert!(record.get("dc").is_none() && record.get("objectClass").is_none(), "{record}");
    let both =
        with(&config, &json!({"schemas": [{"name": "base", "scope": "base", "attributes": ["dc", "+"]}]}));
    let record = one(&both);
    assert_eq!(
        (&record["dc"], &record["structuralObjectClass"]),
        (&json!("example"), &json!("organization"))
    );
    // For all streams, and beside what a stream asks for.
    let of_all = with(
        &config,
        &json!({"operational_attributes": ["+"], "schemas": [{"name": "base", "scope": "base", "attributes": ["dc"]}]}),
    );
    let record = one(&of_all);
    assert!(record["creatorsName"].is_string() && record.get("objectClass").is_none(), "{record}");
    assert_eq!(record["dc"], json!("example"));
    // What no entry of the sample has can be selected.
    let catalog = discover(&config);
    assert!(
        properties(&catalog).contains(&"pwdAccountLockedTime") || properties(&catalog).contains(&"entryTtl"),
        "{catalog}"
    );
}

#[test]
fn a_plus_that_a_server_does_not_have_is_warned_of() {
    let entry = PlainEntry {
        operational: vec![("vendorTime", &["1"])],
        ..plain(b"cn=one,dc=x", &[("objectClass", &["device"]), ("cn", &["one"])])
    };
    let mut role = Plain::new(vec![entry]);
    let config = |server: &Fake| {
        json!({"server_url": server.uri(), "base_dn": "dc=x", "retry_attempts": 0,
            "schemas": [{"name": "things", "filter": "(objectClass=device)", "attributes": ["+"]}]})
    };
    let warned = |server: &Fake| {
        let output = Run::tap(&config(server)).run().succeeds();
        let lines = output.stderr.entries().iter().cloned();
        let warned = lines.filter(|l| l["setting"] == "schemas[].attributes").count();
        (output.records(None)[0].clone(), warned)
    };
    let server = Fake::start(role.clone());
    let (record, count) = warned(&server);
    assert_eq!((&record["vendorTime"], count), (&json!(["1"]), 0), "no schema knows it, and it came");
    role.entries[1].operational.clear();
    let server = Fake::start(role);
    assert_eq!(warned(&server).1, 1);
}

#[test]
fn a_file_has_what_is_in_it() {
    let dir = scratch();
    let path = dir.path().join("data.ldif");
    let attributes = [
        ("aci", "(version 3.0; acl \"a\"; allow (read) userdn=\"ldap:///anyone\";)"),
        ("memberOf", "cn=group,dc=x"),
        ("nsRoleDN", "cn=role,dc=x"),
        ("nsAccountLock", "true"),
        ("pwdChangedTime", "20260101000000Z"),
        ("creatorsName", "cn=admin,dc=x"),
        ("entryCSN", "20260101000000.000000Z#000000#000#000000"),
    ];
    let lines: Vec<String> = attributes.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let lines = lines.join("\n");
    std::fs::write(&path, format!("dn: uid=a,dc=x\nobjectClass: account\nuid: a\n{lines}\n\n")).unwrap();
    let config = json!({"server_url": format!("ldif:{}", path.display()), "base_dn": "dc=x"});
    let catalog = discover(&config);
    for config in [
        config.clone(),
        with(&config, &json!({"schemas": [{"name": "all"}]})),
        with(&config, &json!({"schemas": [{"name": "all", "attributes": ["*"]}]})),
        with(&config, &json!({"discover_by": "object_class"})),
    ] {
        let record = one(&config);
        for (name, _) in attributes {
            assert!(!record[name].is_null(), "{name}: {record}");
        }
        assert_eq!(record["memberOf"], json!(["cn=group,dc=x"]));
    }
    // What is not wanted is left out by name.
    let without = json!({"schemas": [{"name": "all", "exclude_attributes": ["aci"]}]});
    assert!(one(&with(&config, &without)).get("aci").is_none());
    let stream = catalog["streams"].as_array().unwrap().last().unwrap();
    assert!(stream["schema"]["properties"].get("nsAccountLock").is_some(), "{stream}");
}
