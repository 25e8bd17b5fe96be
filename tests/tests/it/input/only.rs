//! `--only KEY`: one record alone.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{no_panic, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn config(slapd: &Slapd, more: &Value) -> Value {
    let rule = json!({"dn_template": format!("uid={{uid}},{PEOPLE}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "uid": ["uid", "cn", "sn"]}, "scope_base": PEOPLE});
    let rules = json!({"mapping_rules": {"s": with(&rule, more)}, "process_activate_version": true});
    with(&target_config(slapd), &rules)
}

fn messages(keys: &[&str], records: &[Value]) -> Vec<Value> {
    let text = json!({"type": ["string", "null"]});
    let schema = json!({"type": "SCHEMA", "stream": "s", "key_properties": keys,
        "schema": {"properties": {"id": text, "uid": text, "_sdc_deleted_at": text}}});
    let record = |record: &Value| json!({"type": "RECORD", "stream": "s", "version": 1, "record": record});
    let mut all = vec![schema];
    all.extend(records.iter().map(record));
    all.push(json!({"type": "ACTIVATE_VERSION", "stream": "s", "version": 1}));
    all.push(json!({"type": "STATE", "value": {"n": 1}}));
    all
}

fn people() -> [Value; 3] {
    [json!({"id": "10", "uid": "ada"}), json!({"id": "7", "uid": "bob"}), json!({"id": "1", "uid": "cy"})]
}

fn seeded() -> Slapd {
    let old = format!("dn: uid=old,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: old\ncn: old\nsn: old\n\n");
    Slapd::start(SlapdOptions::default().seed(unit(PEOPLE) + &old))
}

fn uids(slapd: &Slapd) -> Vec<String> {
    let names =
        slapd.dump().into_keys().filter_map(|dn| Some(dn.strip_suffix(&format!(",{PEOPLE}"))?.to_owned()));
    names.collect()
}

#[test]
fn one_record_is_written_alone_without_versions_and_state() {
    let slapd = seeded();
    let config = config(&slapd, &json!({}));
    let plan =
        Run::target(&config).arg("--only").arg("7").arg("--dry-run").messages(&messages(&["id"], &people()));
    let plan = plan.run().succeeds().stdout_text();
    assert_eq!(plan.matches("changetype: ").count(), 1, "{plan}");
    assert!(plan.contains("uid=bob"), "{plan}");
    assert_eq!(uids(&slapd), ["uid=old"]);

    let output =
        Run::target(&config).arg("--only").arg("7").messages(&messages(&["id"], &people())).run().succeeds();
    no_panic(&output);
    assert_eq!(output.stdout_text(), "", "no STATE goes ahead of what was passed over");
    let output = output.counts(&[("added", 1), ("deleted", 0), ("ignored", 2), ("records", 3)]);
    output.stderr.has(&json!({"setting": "--only", "found": 1, "skipped": 2}));
    assert_eq!(uids(&slapd), ["uid=bob", "uid=old"]);
}

#[test]
fn a_key_of_several_properties_is_named_by_all_of_them() {
    let slapd = seeded();
    let config = config(&slapd, &json!({}));
    let run = |key: &str| {
        Run::target(&config).arg("--only").arg(key).messages(&messages(&["id", "uid"], &people())).run()
    };
    run("id=1,uid=cy").succeeds().counts(&[("added", 1)]);
    run("id=7, uid=bob").succeeds().counts(&[("added", 1)]);
    run("id=10").exits(1);
    assert_eq!(uids(&slapd), ["uid=bob", "uid=cy", "uid=old"]);
}

#[test]
fn a_key_that_no_record_has_is_an_error_that_names_a_similar_one() {
    let slapd = seeded();
    let config = config(&slapd, &json!({}));
    let folder = scratch();
    for more in [json!({}), json!({"plan_file": folder.path().join("plan.ldif")})] {
        let records = [json!({"id": "anna.long", "uid": "anna"}), json!({"id": "7", "uid": "bob"})];
        let run = Run::target(&with(&config, &more)).arg("--only").arg("anna.lang");
        let output = run.messages(&messages(&["id"], &records)).run().exits(1);
        no_panic(&output);
        output.reports(&json!({"setting": "--only", "nearest": "anna.long"}));
    }
    Run::target(&config).arg("--only").arg("7").arg("--test").run().exits(2).reports_setting("--only");
    Run::target(&config).arg("--only").arg("7").arg("doctor").run().exits(2).says("--only");
    assert_eq!(uids(&slapd), ["uid=old"]);
}

#[test]
fn a_deletion_alone_does_not_take_what_a_record_that_was_passed_over_brings() {
    let slapd = seeded();
    let config = config(&slapd, &json!({}));
    let records = [
        json!({"id": "2", "uid": "old"}),
        json!({"id": "1", "uid": "old", "_sdc_deleted_at": "2026-01-01T00:00:00Z"}),
    ];
    let output = Run::target(&config).arg("--only").arg("1").messages(&messages(&["id"], &records)).run();
    output.exits(1).says("id=2");
    assert_eq!(uids(&slapd), ["uid=old"]);
    let alone = [
        json!({"id": "2", "uid": "x"}),
        json!({"id": "1", "uid": "old", "_sdc_deleted_at": "2026-01-01T00:00:00Z"}),
    ];
    Run::target(&config)
        .arg("--only")
        .arg("1")
        .messages(&messages(&["id"], &alone))
        .run()
        .succeeds()
        .counts(&[("deleted", 1)]);
    assert!(uids(&slapd).is_empty());
}
