//! A stream's entries are read with one search if that is cheaper than one search each.

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, people, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";
const AT_ONCE: &str = "was read at once";

fn config(slapd: &Slapd, more: &Value) -> Value {
    let rule = with(
        &json!({
            "dn_template": format!("uid={{uid}},{USERS}"),
            "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "cn": "cn", "sn": "sn", "mail": "mail"},
        }),
        more,
    );
    with(&target_config(slapd), &json!({"mapping_rules": {"p": rule}}))
}

fn record(n: usize, more: &Value) -> Value {
    let record = json!({"id": n.to_string(), "uid": format!("PERSON{n}"), "cn": format!("person  {n}"), "sn": format!("Number{n}"),
        "mail": format!("person{n}@example.test")});
    json!({"type": "RECORD", "stream": "p", "record": with(&record, more)})
}

fn run(config: &Value, records: impl Iterator<Item = Value>) -> Output {
    let text = json!({"type": ["string", "null"]});
    let mut messages =
        vec![json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {
        "id": text, "uid": text, "cn": text, "sn": text, "mail": text, "_sdc_deleted_at": text}}})];
    messages.extend(records);
    messages.push(json!({"type": "STATE", "value": {"n": 1}}));
    Run::target(config).messages(&messages).arg("--log-level").arg("debug").run()
}

/// Panics unless the entries of the stream were read with one search.
#[track_caller]
fn prefetched(output: Output) -> Output {
    output.says(AT_ONCE)
}

fn slapd(count: usize) -> Slapd {
    Slapd::start(SlapdOptions::default().seed([unit(USERS), people(count, USERS)].concat()))
}

#[test]
fn what_is_unchanged_is_found_so_and_what_is_not_is_written() {
    let slapd = slapd(1_500);
    for (more, moved) in
        [(json!({}), false), (json!({"match": "(&(objectClass=person)(employeeNumber={id}))"}), true)]
    {
        let config = config(&slapd, &more);
        let marks = slapd.change_marks();
        prefetched(done(run(&config, (0..1_500).map(|n| record(n, &json!({}))))))
            .counts(&[("unchanged", 1500)]);
        assert_untouched(&slapd, &marks);
        // Changed, twice in one run, deleted and added again, new, and renamed, each after the entries were read.
        let deleted = |n: usize| json!({"type": "RECORD", "stream": "p", "record": {"id": n.to_string(), "uid": format!("person{n}"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}});
        let mut records: Vec<Value> = (0..900).map(|n| record(n, &json!({}))).collect();
        records.push(record(1_000, &json!({"mail": "new@example.test"})));
        records.push(record(1_000, &json!({})));
        records.push(record(1_000, &json!({"mail": "newest@example.test"})));
        records.push(deleted(1_001));
        records.push(record(1_001, &json!({})));
        records.push(record(9_999, &json!({})));
        if moved {
            records.push(record(1_002, &json!({"uid": "renamed"})));
            records.push(record(1_002, &json!({})));
            records.push(record(1_002, &json!({"uid": "renamed"})));
        }
        let output = prefetched(done(run(&config, records.into_iter())));
        // Who is deleted and comes back is the same entry where it is matched: its deletion would have been made last.
        let [added, renamed, removed, unchanged] = if moved { [1, 3, 0, 902] } else { [2, 0, 1, 900] };
        let output = output.counts(&[("added", added), ("modified", 3), ("renamed", renamed)]);
        output.counts(&[("deleted", removed), ("unchanged", unchanged)]);
        let tree = slapd.dump();
        assert!(tree[&format!("uid=person1000,{USERS}")]["mail"].contains(b"newest@example.test".as_slice()));
        assert!(tree.contains_key(&format!("uid=person1001,{USERS}")));
        assert_eq!(tree.contains_key(&format!("uid=renamed,{USERS}")), moved);
        // As it was.
        done(run(
            &config,
            [record(1_000, &json!({})), record(1_002, &json!({})), deleted(9_999)].into_iter(),
        ));
    }
}

#[test]
fn a_large_directory_is_not_read_for_a_few_records() {
    let slapd = slapd(3_000);
    let output = done(run(&config(&slapd, &json!({})), (0..300).map(|n| record(n, &json!({})))));
    output.counts(&[("unchanged", 300)]).says("looked up one by one for now");
    let output = done(run(&config(&slapd, &json!({})), (0..900).map(|n| record(n, &json!({})))));
    prefetched(output).counts(&[("unchanged", 900)]);
    let output = done(run(&config(&slapd, &json!({})), (0..100).map(|n| record(n, &json!({})))));
    assert!(!output.stderr.contains(AT_ONCE) && !output.stderr.contains("one by one"), "{}", output.stderr);
}

#[test]
fn a_plan_is_made_of_the_same() {
    let slapd = slapd(600);
    let dir = scratch();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"max_changes": 5, "undo_file": dir.path().join("undo.ldif")}),
    );
    let records = || {
        (0..600).map(|n| record(n, &if n == 500 { json!({"mail": "new@example.test"}) } else { json!({}) }))
    };
    prefetched(done(run(&config, records()))).counts(&[("added", 0), ("modified", 1)]);
    let marks = slapd.change_marks();
    done(run(&config, records())).counts(&[("unchanged", 600)]);
    assert_untouched(&slapd, &marks);
}
