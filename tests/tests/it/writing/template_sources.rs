//! What the templates of a rule are made of: parts of objects, DNs, mapped attributes and secrets, in each part of a rule.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{done, target_config, unit, with};

const PEOPLE: &str = "ou=p,dc=example,dc=test";

fn schema() -> Value {
    let any = json!({});
    json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "dn": {"type": "string"}, "id": {"type": "string"}, "manager": any, "place": any, "kind": any, "badge": any}}})
}

fn person(id: &str, more: &Value) -> Value {
    let record = json!({"id": id, "dn": format!("uid={id},{PEOPLE}")});
    json!({"type": "RECORD", "stream": "people", "record": with(&record, more)})
}

/// A rule for people by the `dn` of their records, with more parts.
fn config(server: &Server, more: &Value) -> Value {
    let rule = json!({"object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": ["uid", "cn", "sn"]}});
    with(&target_config(server), &json!({"mapping_rules": {"people": with(&rule, more)}}))
}

fn run(config: &Value, records: &[Value]) -> Output {
    super::run(vec![schema()], config, records)
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)))
}

fn values(server: &Server, id: &str, attribute: &str) -> Vec<String> {
    let tree = server.dump_below(&format!("uid={id},{PEOPLE}"), &[attribute]);
    let values = tree.into_values().filter_map(|mut entry| entry.remove(&attribute.to_ascii_lowercase()));
    values.flatten().map(|value| String::from_utf8(value).unwrap()).collect()
}

#[test]
fn a_part_of_an_object_finds_a_reference() {
    let slapd = slapd();
    let find = |find: &str| config(&slapd, &json!({"references": {"manager": {"find": find}}}));
    done(run(
        &find("(uid={manager.value})"),
        &[person("1", &json!({})), person("2", &json!({"manager": {"value": "1"}}))],
    ));
    assert_eq!(values(&slapd, "2", "manager"), [format!("uid=1,{PEOPLE}")]);
    // As a whole it is no text.
    run(&find("(uid={manager})"), &[person("2", &json!({"manager": {"value": "1"}}))]).exits(1);
    assert_eq!(values(&slapd, "2", "manager"), [format!("uid=1,{PEOPLE}")]);
}

#[test]
fn an_entry_that_is_found_by_its_dn_is_there_in_the_next_run() {
    let slapd = slapd();
    let config = config(
        &slapd,
        &json!({"match": "(entryDN={place|dn})", "scope_base": PEOPLE, "on_delete": "delete"}),
    );
    let config = with(&config, &json!({"process_activate_version": true}));
    let all = |ids: &[&str]| -> Vec<Value> {
        let record = |id: &&str| {
            with(&person(id, &json!({"place": format!("uid={id},{PEOPLE}")})), &json!({"version": 1}))
        };
        ids.iter()
            .map(record)
            .chain([json!({"type": "ACTIVATE_VERSION", "stream": "people", "version": 1})])
            .collect()
    };
    done(run(&config, &all(&["1", "2", "3"]))).counts(&[("added", 3)]);
    done(run(&config, &all(&["1", "2"]))).counts(&[("unchanged", 2), ("deleted", 1), ("added", 0)]);
}

#[test]
fn the_state_of_an_account_is_made_of_mapped_and_made_attributes() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(PEOPLE)));
    let mapped = json!({"attribute_mapping": {"id": ["uid", "cn", "sn"], "kind": "employeeType"}, "accounts": {"enabled": "{employeeType}"}});
    let made = json!({"values": {"description": "{kind}"}, "accounts": {"enabled": "{description}"}});
    let defaulted = json!({"defaults": {"title": "no"}, "accounts": {"enabled": "{title}"}});
    for (id, rule) in [("mapped", mapped), ("made", made), ("default", defaulted)] {
        let config = config(&server, &rule);
        let output = done(run(&config, &[person(id, &json!({"kind": "no"}))]));
        output.stderr.does_not_report(&json!({"setting": "mapping_rules.people.accounts.enabled"}));
        assert_eq!(values(&server, id, "nsAccountLock"), ["TRUE"], "{id}");
    }
    let config = config(&server, &json!({"accounts": {"enabled": "{employeeTyp|default:true}"}}));
    run(&config, &[person("other", &json!({}))]).reports_setting("mapping_rules.people.accounts.enabled");
}

#[test]
fn an_attribute_has_one_source_whatever_its_names_are() {
    let slapd = slapd();
    let find = json!({"manager": {"find": "(uid={manager})"}});
    let oid = "0.9.2342.19200300.100.1.10";
    let grace = |marker: &str| json!({"move_to": "ou=gone,dc=example,dc=test", "then": {"delete_after_days": 3, "marker": marker}});
    for (rule, setting) in [
        (json!({"references": find, "values": {oid: "{place}"}}), "references.manager"),
        (json!({"references": find, "attribute_mapping": {"id": ["uid", oid]}}), "references.manager"),
        (json!({"references": find, "unique": {"manager": ["{place}"]}}), "references.manager"),
        (json!({"unique": {"userid": ["{id}"]}}), "unique.userid"),
        (json!({"unique": {"mail": ["{id}"]}, "defaults": {"rfc822Mailbox": "x"}}), "unique.mail"),
        (
            json!({"next": {"employeeNumber": {"min": 1, "max": 2}}, "unique": {"employeenumber": ["{id}"]}}),
            "unique.employeenumber",
        ),
        (json!({"values": {"rfc822Mailbox": "{id}"}, "on_delete": grace("mail")}), "values.rfc822Mailbox"),
        (json!({"unique": {"mail": ["{id}"]}, "on_delete": grace("mail")}), "unique.mail"),
        (json!({"references": find, "on_delete": grace("manager")}), "references.manager"),
    ] {
        let rule = with(&rule, &json!({"match": "(cn={id})"}));
        run(&config(&slapd, &rule), &[person("1", &json!({}))])
            .exits(2)
            .reports_setting(&format!("mapping_rules.people.{setting}"));
    }
    assert_eq!(slapd.dump().keys().filter(|dn| dn.contains("uid=1")).count(), 0);
}

#[test]
fn what_is_chosen_from_a_secret_is_secret() {
    let folder = scratch();
    let file = folder.path().join("tree.ldif");
    let base = format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", unit(PEOPLE));
    std::fs::write(&file, base).unwrap();
    let rule = json!({"object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": ["uid", "cn", "sn"]},
        "unique": {"employeeNumber": ["{badge}", "{badge}-{n}"]}});
    let config = json!({"server_url": format!("ldif:{}", file.display()), "secret_attributes": ["badge"], "mapping_rules": {"people": rule}});
    for format in ["diff", "json", "ldif"] {
        let messages = [schema(), person("1", &json!({"badge": "kept-to-me"}))];
        let output = Run::target(&config).plan(format).messages(&messages).run().succeeds();
        assert!(output.stdout_text().contains("employeeNumber"), "{format}");
        assert!(!output.stdout_text().contains("kept-to-me"), "{format}: {}", output.stdout_text());
    }
}
