//! Attributes that the bound user may no longer read: null would say that they are gone.

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::run::{Output, Run, pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::json_log;
use crate::support::{discover, people, reader_config, tap_config, target_config, unit, with};

const STAFF: &str = "ou=staff,dc=example,dc=test";
const READER: &str = "uid=reader,ou=people,dc=example,dc=test";

fn slapd(what: &str, right: &str) -> Slapd {
    let without = format!("dn: cn=none,{STAFF}\nobjectClass: person\ncn: none\nsn: none\n\n");
    Slapd::start(SlapdOptions {
        access: format!("access to {what} by dn.exact=\"{READER}\" {right} by * break\n"),
        ..SlapdOptions::with_users().seed(unit(STAFF) + &people(25, STAFF) + &without)
    })
}

/// The records of the staff, and those of them with a property.
fn staff(output: &Output) -> Vec<&Value> {
    let records = output.records(None);
    records.into_iter().filter(|r| r["dn"].as_str().unwrap().contains("ou=staff")).collect()
}

#[test]
fn slapd_a_hidden_attribute_is_left_out_and_not_null() {
    for right in ["=w", "none", "=s", "=ws"] {
        let slapd = slapd("attrs=mail", right);
        for method in ["FULL_TABLE", "INCREMENTAL", "LOG_BASED"] {
            let more = json!({"schemas": [{"name": "all", "replication_method": method}], "operational_attributes": null});
            // The administrator still sees it.
            let catalog = discover(&with(&tap_config(&slapd), &more));
            let config = with(&reader_config(&slapd), &more);
            let output = json_log(&config).file("--catalog", &catalog).run().succeeds();
            assert_eq!(staff(&output).len(), 27);
            let with_it: Vec<&Value> =
                output.records(None).into_iter().filter(|r| r.get("mail").is_some()).collect();
            assert!(with_it.is_empty(), "{right} {method}: {with_it:?}");
            let warnings = output.stderr.about(&json!({"setting": "bind_dn"}));
            assert_eq!(warnings.len(), 1, "{right} {method}: {warnings:?}");
            output.stderr.has(&json!({"stream": "all", "attribute": "mail", "setting": "bind_dn"}));
            // Another attribute that nobody has is null as ever.
            assert!(staff(&output).iter().all(|r| r.get("telephoneNumber").is_some()));
        }
    }
}

/// In one container alone: the values of the others are emitted.
#[test]
fn slapd_where_an_attribute_may_be_read_it_is() {
    let slapd = slapd(&format!("dn.subtree=\"{STAFF}\" attrs=mail"), "none");
    let more = json!({"schemas": [{"name": "all"}], "operational_attributes": null});
    let catalog = discover(&with(&tap_config(&slapd), &more));
    let config = with(&reader_config(&slapd), &more);
    let output = json_log(&config).file("--catalog", &catalog).run().succeeds();
    assert!(staff(&output).iter().all(|r| r.get("mail").is_none()));
    let others = output.records(None).into_iter().filter(|r| r["mail"].is_array() || r["mail"].is_string());
    assert_eq!(others.count(), 4, "alice, bob, reader and replica");
    output.stderr.has(&json!({"stream": "all", "attribute": "mail", "setting": "bind_dn"}));
}

/// Behind many that show it.
#[test]
fn slapd_a_container_behind_many_others_is_looked_at() {
    let first = "ou=first,dc=example,dc=test";
    let slapd = Slapd::start(SlapdOptions {
        access: format!(
            "access to dn.subtree=\"{STAFF}\" attrs=mail by dn.exact=\"{READER}\" =w by * break\n"
        ),
        ..SlapdOptions::with_users()
            .seed(unit(first) + &people(200, first) + &unit(STAFF) + &people(25, STAFF))
    });
    for by in [json!({"schemas": [{"name": "all"}]}), json!({"discover_by": "object_class"})] {
        let more = with(&by, &json!({"operational_attributes": null}));
        let catalog = discover(&with(&tap_config(&slapd), &more));
        let output =
            json_log(&with(&reader_config(&slapd), &more)).file("--catalog", &catalog).run().succeeds();
        assert!(staff(&output).iter().all(|r| r.get("mail").is_none()), "{by}");
        let shown =
            output.records(None).into_iter().filter(|r| r["mail"].is_array() || r["mail"].is_string());
        assert_eq!(shown.count(), 204, "{by}");
        output.stderr.reports(&json!({"attribute": "mail", "setting": "bind_dn"}));
    }
}

#[test]
fn slapd_nothing_is_said_where_all_may_be_read() {
    let slapd = slapd("attrs=carLicense", "none");
    let more = json!({"schemas": [{"name": "all"}], "operational_attributes": null});
    let output = json_log(&with(&reader_config(&slapd), &more)).run().succeeds();
    assert!(output.stderr.about(&json!({"setting": "bind_dn"})).is_empty());
    let none: Vec<&Value> =
        staff(&output).into_iter().filter(|r| r["dn"].as_str().unwrap().starts_with("cn=none")).collect();
    assert!(none[0].get("mail").is_some_and(Value::is_null), "{none:?}");
}

#[test]
fn ds389_a_hidden_attribute_is_left_out_and_not_null() {
    let reader = "uid=reader,dc=example,dc=test";
    let server = Ds389::start(&Ds389Options::default().seed(unit(STAFF) + &people(25, STAFF)));
    let more = json!({"schemas": [{"name": "all", "filter": "(objectClass=inetOrgPerson)"}], "operational_attributes": null});
    let catalog = discover(&with(&tap_config(&server), &more));
    server.ldapmodify(format!(
        "dn: dc=example,dc=test\nchangetype: modify\nadd: aci\n\
         aci: (targetattr=\"mail\")(version 3.0; acl \"h\"; deny (read,search) userdn=\"ldap:///{reader}\";)\n"
    ));
    let as_reader = with(&more, &json!({"bind_dn": reader, "bind_password": READER_PASSWORD}));
    let output =
        json_log(&with(&tap_config(&server), &as_reader)).file("--catalog", &catalog).run().succeeds();
    assert_eq!(staff(&output).len(), 25);
    assert!(staff(&output).iter().all(|r| r.get("mail").is_none() && r["sn"].is_array()));
    output.stderr.has(&json!({"stream": "all", "attribute": "mail", "setting": "bind_dn"}));
}

/// A mirror keeps what the tap may no longer read.
#[test]
fn slapd_a_mirror_keeps_what_is_hidden() {
    let source = slapd("attrs=mail", "=w");
    let mirror = Slapd::start(SlapdOptions::default());
    let target = target_config(&mirror);
    let more = json!({"schemas": [{"name": "all"}], "operational_attributes": null});
    let all = with(&tap_config(&source), &more);
    let (tap, first) = pipe(&all, &target);
    tap.succeeds();
    first.succeeds();
    let before = mirror.dump();
    let catalog = discover(&all);
    let output = json_log(&with(&reader_config(&source), &more)).file("--catalog", &catalog).run().succeeds();
    Run::target(&target).stdin(&output.stdout).run().succeeds();
    assert_eq!(mirror.dump(), before);
}

/// The members of a group that the account may not read are missing, and no version says that they are gone.
#[test]
fn slapd_hidden_members_end_no_membership() {
    let groups = format!(
        "dn: cn=open,{STAFF}\nobjectClass: groupOfNames\ncn: open\nmember: uid=person0,{STAFF}\nmember;lang-en: uid=person1,{STAFF}\n\n\
         dn: cn=closed,{STAFF}\nobjectClass: groupOfNames\ncn: closed\nmember: uid=person2,{STAFF}\n\n"
    );
    for (right, what) in [
        ("none", "attrs=member"),
        ("=s", "attrs=member"),
        ("none", "dn.base=\"cn=closed,ou=staff,dc=example,dc=test\" attrs=member"),
        ("=s", "dn.base=\"cn=closed,ou=staff,dc=example,dc=test\" attrs=member"),
    ] {
        let slapd = Slapd::start(SlapdOptions {
            access: format!("access to {what} by dn.exact=\"{READER}\" {right} by * break\n"),
            ..SlapdOptions::with_users().seed(unit(STAFF) + &people(25, STAFF) + &groups)
        });
        let more =
            json!({"schemas": [{"name": "all"}], "membership_streams": true, "operational_attributes": null});
        let whole = json_log(&with(&tap_config(&slapd), &more)).run().succeeds();
        let stream = whole
            .of_type("SCHEMA")
            .iter()
            .map(|m| m["stream"].as_str().unwrap().to_owned())
            .find(|s| s != "all")
            .unwrap();
        let members = |output: &Output| -> Vec<String> {
            let mut all: Vec<String> = output
                .records(Some(&stream))
                .iter()
                .map(|r| r["member"].as_str().unwrap().split(',').next().unwrap().to_owned())
                .filter(|m| m.starts_with("uid=person"))
                .collect();
            all.sort();
            all
        };
        let activates =
            |output: &Output| output.of_type("ACTIVATE_VERSION").iter().any(|m| m["stream"] == stream);
        assert_eq!(members(&whole), ["uid=person0", "uid=person1", "uid=person2"], "also under an option");
        assert!(activates(&whole));
        let catalog = discover(&with(&tap_config(&slapd), &more));
        let output =
            json_log(&with(&reader_config(&slapd), &more)).file("--catalog", &catalog).run().succeeds();
        assert!(!members(&output).contains(&"uid=person2".to_owned()));
        assert!(!activates(&output), "{right} {what}");
        output.stderr.reports(&json!({"stream": stream, "setting": "bind_dn"}));
    }
}
