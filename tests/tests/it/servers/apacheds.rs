//! ApacheDS: another schema, another root DSE, and modifyTimestamp only where an entry was modified.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ldap_tests::apacheds::{ApacheDs, SUFFIX};
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Output, Run};
use serde_json::{Value, json};

use crate::support::{
    assert_records_fit, discover, is_scalar, metadata, people, stream, tap_config, types, unit, with,
};

/// A subtree of this test's own on the shared server: a unit with one unit of people and one with groups below.
fn subtree(server: &ApacheDs, name: &str, count: usize) -> String {
    let base = format!("ou={name},{SUFFIX}");
    let (staff, groups) = (format!("ou=staff,{base}"), format!("ou=groups,{base}"));
    let mut group = format!("dn: cn=everyone,{groups}\nobjectClass: groupOfNames\ncn: everyone\n");
    for i in 0..count {
        writeln!(group, "member: uid=person{i},{staff}").unwrap();
    }
    server.ldapadd([unit(&base), unit(&staff), people(count, &staff), unit(&groups), group].concat());
    base
}

/// The tap's configuration for a subtree.
fn config(server: &ApacheDs, base: &str) -> Value {
    with(&tap_config(server), &json!({"base_dn": base}))
}

fn dns(output: &Output) -> BTreeSet<String> {
    output.records(None).iter().map(|r| normalize_dn(r["dn"].as_str().unwrap())).collect()
}

#[test]
fn discovery_finds_containers_keys_and_types() {
    let server = ApacheDs::shared();
    let base = subtree(&server, "discovered", 3);
    let catalog = discover(&config(&server, &base));
    let ids: BTreeSet<String> = catalog["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["tap_stream_id"].as_str().unwrap())
        .filter(|id| id.contains('='))
        .map(normalize_dn)
        .collect();
    let staff = format!("ou=staff,{base}");
    assert_eq!(ids, BTreeSet::from([base.clone(), staff.clone(), format!("ou=groups,{base}")]));
    let people = stream(&catalog, &staff);
    assert_eq!(people["key_properties"], json!(["entryUUID"]));
    let properties = &people["schema"]["properties"];
    is_scalar(&properties["dn"], "string");
    is_scalar(&properties["entryUUID"], "string");
    assert_eq!(types(&properties["mail"]), BTreeSet::from(["array".to_owned()]), "as the schema has it");
    is_scalar(&properties["employeeNumber"], "string");
    assert_eq!(metadata(people, &["properties", "entryUUID"])["inclusion"], "automatic");
    assert_eq!(metadata(people, &["properties", "mail"])["selected-by-default"], true);
}

#[test]
fn a_full_read_is_what_ldapsearch_sees() {
    let server = ApacheDs::shared();
    let base = subtree(&server, "read", 30);
    for changes in [json!({}), json!({"discover_by": "object_class"})] {
        let output = Run::tap(&with(&config(&server, &base), &changes)).run().succeeds();
        let there = server.dump_below(&base, &["*"]);
        assert_eq!(there.len(), 34);
        assert_eq!(dns(&output), there.keys().cloned().collect::<BTreeSet<String>>());
        assert_eq!(assert_records_fit(&output), there.len(), "each once");
        let streams: BTreeSet<&str> =
            output.of_type("RECORD").iter().map(|m| m["stream"].as_str().unwrap()).collect();
        let complete: BTreeSet<&str> =
            output.of_type("ACTIVATE_VERSION").iter().map(|m| m["stream"].as_str().unwrap()).collect();
        assert_eq!(complete, streams, "one for each stream that has a record: {}", output.stderr);
        // Value by value.
        for record in output.records(None) {
            let entry = &there[&normalize_dn(record["dn"].as_str().unwrap())];
            for name in ["uid", "cn", "sn", "ou", "mail", "employeeNumber", "telephoneNumber", "member"] {
                let read: BTreeSet<Vec<u8>> = match &record[name] {
                    Value::Null => BTreeSet::new(),
                    Value::Array(values) => {
                        values.iter().map(|v| v.as_str().unwrap().as_bytes().to_vec()).collect()
                    }
                    value => BTreeSet::from([value.as_str().unwrap().as_bytes().to_vec()]),
                };
                let expected = entry.get(&name.to_lowercase()).cloned().unwrap_or_default();
                assert_eq!(read, expected, "{name} of {}", record["dn"]);
            }
        }
    }
}

#[test]
fn incremental_by_the_default_key_sees_additions_and_modifications() {
    let server = ApacheDs::shared();
    let base = subtree(&server, "followed", 3);
    let staff = format!("ou=staff,{base}");
    let config = with(
        &config(&server, &base),
        &json!({"schemas": [{"name": "people", "base_dn": staff, "filter": "(objectClass=person)",
            "replication_method": "INCREMENTAL"}]}),
    );
    let mut state: BTreeMap<&str, Value> = BTreeMap::new();
    let mut run = || {
        let mut run = Run::tap(&config);
        if let Some(state) = state.get("last") {
            run = run.file("--state", state);
        }
        let output = run.run().succeeds();
        state.insert("last", output.of_type("STATE").last().unwrap()["value"].clone());
        dns(&output)
    };
    let dn = |uid: &str| format!("uid={uid},{staff}");
    assert_eq!(run().len(), 3);
    // Times have milliseconds: what comes now is behind the position, and behind its boundary.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(1200));
    pause();
    server.ldapadd(format!("dn: {}\nobjectClass: inetOrgPerson\nuid: new\ncn: New\nsn: New\n", dn("new")));
    assert!(run().contains(&dn("new")), "an addition has no modifyTimestamp");
    pause();
    server.ldapmodify(format!("dn: {}\nchangetype: modify\nreplace: sn\nsn: Other\n", dn("person1")));
    assert!(run().contains(&dn("person1")), "a modification");
    pause();
    server
        .ldapadd(format!("dn: {}\nobjectClass: inetOrgPerson\nuid: newer\ncn: Newer\nsn: N\n", dn("newer")));
    server.ldapmodify(format!("dn: {}\nchangetype: modify\nreplace: sn\nsn: Other\n", dn("person2")));
    let both = run();
    assert!(both.contains(&dn("newer")) && both.contains(&dn("person2")), "{both:?}");
}
