//! Streams by structural class and by membership; and servers whose schema cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ldap_tests::hostile;
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, tap_config, with};

/// The records of a run by stream.
fn records(output: &Output) -> BTreeMap<String, Vec<Value>> {
    let mut streams: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for message in output.messages.iter().filter(|m| m["type"] == "RECORD") {
        streams
            .entry(message["stream"].as_str().unwrap().to_owned())
            .or_default()
            .push(message["record"].clone());
    }
    streams
}

fn dn(record: &Value) -> String {
    normalize_dn(record["dn"].as_str().unwrap())
}

#[test]
fn by_object_class_each_entry_is_in_the_stream_of_its_structural_class() {
    let slapd = hostile::start();
    let config = with(&tap_config(&slapd), &json!({"discover_by": "object_class"}));
    let streams = records(&Run::tap(&config).run().succeeds());
    let structural = slapd.dump_attributes(&["structuralObjectClass"]);
    let mut seen = BTreeSet::new();
    let catalog = discover(&config);
    for (stream, records) in &streams {
        let entry = catalog["streams"].as_array().unwrap().iter().find(|s| s["stream"] == *stream).unwrap();
        for record in records {
            assert!(seen.insert(dn(record)), "{} twice", dn(record));
            let class = structural[&dn(record)]["structuralobjectclass"].first().unwrap();
            let class = String::from_utf8(class.clone()).unwrap();
            assert_eq!(entry["tap_stream_id"], class, "{}", dn(record));
        }
    }
    assert_eq!(seen, structural.keys().cloned().collect());
}

#[test]
fn of_both_ways_the_containers_are_selected() {
    let slapd = hostile::start();
    let by_ou = records(&Run::tap(&tap_config(&slapd)).run().succeeds());
    let config = with(&tap_config(&slapd), &json!({"discover_by": "both"}));
    let both = records(&Run::tap(&config).run().succeeds());
    let dns = |streams: &BTreeMap<String, Vec<Value>>| -> Vec<String> {
        let mut all: Vec<String> = streams.values().flatten().map(dn).collect();
        all.sort();
        all
    };
    assert_eq!(dns(&by_ou), dns(&both));
    let catalog = discover(&config);
    let ids: Vec<&str> =
        catalog["streams"].as_array().unwrap().iter().map(|s| s["tap_stream_id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"inetOrgPerson") && ids.contains(&"ou=people,dc=example,dc=test"), "{ids:?}");
}

fn groups() -> Slapd {
    let mut ldif = String::from(
        "dn: ou=groups,dc=example,dc=test\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: cn=names,ou=groups,dc=example,dc=test\nobjectClass: groupOfNames\ncn: names\n\
         member: uid=alice,ou=people,dc=example,dc=test\nmember: UID=Bob, ou=people,dc=example,dc=test\n\
         member: uid=gone,ou=people,dc=example,dc=test\n\n\
         dn: cn=unique,ou=groups,dc=example,dc=test\nobjectClass: groupOfUniqueNames\ncn: unique\n\
         uniqueMember: uid=alice,ou=people,dc=example,dc=test#'0101'B\n\n\
         dn: cn=posix,ou=groups,dc=example,dc=test\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\n\
         memberUid: bob\nmemberUid: nobody\nmemberUid: reader)(uid=*\n\n\
         dn: cn=big,ou=groups,dc=example,dc=test\nobjectClass: groupOfNames\ncn: big\n",
    );
    for i in 0..300 {
        writeln!(ldif, "member: uid=none{i},ou=people,dc=example,dc=test").unwrap();
    }
    Slapd::start(SlapdOptions::with_users().seed(ldif))
}

#[test]
fn members_of_groups_are_rows_and_resolve_to_keys() {
    let slapd = groups();
    let config = with(&tap_config(&slapd), &json!({"membership_streams": true}));
    let output = Run::tap(&config).run().succeeds();
    let streams = records(&output);
    let key = |name: &str| {
        let people = &streams["people"];
        people.iter().find(|r| r["uid"] == json!([name])).unwrap()["entryUUID"].clone()
    };
    let group = |name: &str| {
        streams["groups"].iter().find(|r| r["cn"] == json!([name])).unwrap()["entryUUID"].clone()
    };
    let rows = &streams["groups_members"];
    let of = |name: &str| -> BTreeMap<String, (Value, Value)> {
        rows.iter()
            .filter(|r| r["group_key"] == group(name))
            .map(|r| {
                (r["member"].as_str().unwrap().to_owned(), (r["member_dn"].clone(), r["member_key"].clone()))
            })
            .collect()
    };
    let alice = json!("uid=alice,ou=people,dc=example,dc=test");
    let bob = json!("uid=bob,ou=people,dc=example,dc=test");
    let names = of("names");
    assert_eq!(names.len(), 3);
    assert_eq!(names["uid=alice,ou=people,dc=example,dc=test"], (alice.clone(), key("alice")));
    assert!(names.values().any(|v| *v == (bob.clone(), key("bob"))), "{names:?}");
    let gone = json!("uid=gone,ou=people,dc=example,dc=test");
    assert_eq!(names["uid=gone,ou=people,dc=example,dc=test"], (gone, Value::Null));
    assert!(of("unique").values().eq([&(alice, key("alice"))]));
    let posix = of("posix");
    assert_eq!(posix["bob"], (bob, key("bob")));
    assert_eq!(posix["nobody"], (Value::Null, Value::Null));
    assert_eq!(posix["reader)(uid=*"], (Value::Null, Value::Null));
    assert_eq!(of("big").len(), 300);
    assert_eq!(rows.len(), 3 + 1 + 3 + 300);
    // Streams without groups have no such stream, and the rows end like any full table.
    assert!(!streams.contains_key("people_members"));
    assert!(
        output.messages.iter().any(|m| m["type"] == "ACTIVATE_VERSION" && m["stream"] == "groups_members")
    );
}

#[test]
fn one_value_where_one_is_wanted_and_a_count_of_the_rest() {
    let slapd = Slapd::start(SlapdOptions::default().seed(
        "dn: uid=main,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: other\nuid: main\ncn: a\ncn: b\nsn: s\n\n\
         dn: uid=two,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: two\ncn: c\nsn: s\n\n",
    ));
    let config = with(
        &tap_config(&slapd),
        &json!({"single_valued": ["userid"], "schemas": [
            {"name": "people", "filter": "(objectClass=person)", "attributes": ["uid", "cn", "sn"], "single_valued": ["cn"]},
            {"name": "plain", "filter": "(objectClass=person)", "attributes": ["uid", "cn"]}]}),
    );
    let output = Run::tap(&config).run().succeeds().says("1 entries have more than one value of `uid`");
    let streams = records(&output);
    let main = &streams["people"][0];
    assert_eq!((&main["uid"], &main["cn"], &main["sn"]), (&json!("main"), &json!("a"), &json!(["s"])));
    assert_eq!(streams["plain"][0]["cn"], json!(["a", "b"]));
    assert_eq!(streams["plain"][1]["uid"], json!("two"));
}

#[test]
fn without_access_to_the_schema_the_standard_one_is_used_with_one_warning() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf: "access to dn.base=\"cn=Subschema\" by * none\n".into(),
        ..SlapdOptions::with_users()
    });
    let config = json!({"server_url": slapd.ldap_uri(), "base_dn": slapd.suffix()});
    let output = Run::tap(&config).run().succeeds().says("the built-in standard schema");
    assert_eq!(output.stderr.matches("built-in standard schema").count(), 1);
    let alice = &records(&output)["people"].iter().find(|r| dn(r).starts_with("uid=alice,")).unwrap().clone();
    assert_eq!(alice["uid"], json!(["alice"]));
    assert!(alice["createTimestamp"].as_str().is_some_and(|t| t.ends_with('Z') && t.contains('T')));
}

#[test]
fn several_naming_contexts_are_a_choice() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf: "moduleload back_null\ndatabase null\nsuffix dc=other,dc=test\n".into(),
        ..SlapdOptions::with_users()
    });
    let without_base = with(&tap_config(&slapd), &json!({"base_dn": null}));
    for run in [Run::tap(&without_base), Run::tap(&without_base).arg("--discover")] {
        let output = run.run().exits(2).reports_setting("base_dn").says("dc=other,dc=test");
        assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    }
    // Streams with bases of their own need no common one.
    let users = json!({"schemas": [{"name": "users", "base_dn": "ou=people,dc=example,dc=test", "attributes": ["uid"]}]});
    let output = Run::tap(&with(&without_base, &users)).run().succeeds();
    assert_eq!(output.records(Some("users")).len(), 5);
}

#[test]
fn the_only_naming_context_is_the_base_beside_a_log_of_changes() {
    let slapd = Slapd::start(SlapdOptions { accesslog: true, ..SlapdOptions::with_users() });
    let without_base = with(&tap_config(&slapd), &json!({"base_dn": null}));
    let ids = |config: &Value| -> Vec<String> {
        let catalog = discover(config);
        catalog["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["tap_stream_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&without_base), ids(&tap_config(&slapd)));
}
