//! Two keys for one DN.

use serde_json::json;

use super::{BASE, File, gone, record, rejects, rule, run, schema, set};

/// T6.
#[test]
fn two_keys_for_one_name_are_an_error_that_names_both() {
    let file = File::new(&[("a", "jsmith", "1")]);
    let rules = json!({"mapping_rules": {"p": rule("a", &json!({}))}});
    for messages in [
        vec![schema("p"), record("p", "k1", "jsmith"), record("p", "k2", "jsmith")],
        // Nothing would have to be changed.
        vec![schema("p"), record("p", "k1", "jsmith"), record("p", "k2", "JSmith")],
        vec![schema("p"), record("p", "k2", "jsmith"), gone("p", "k1", "jsmith")],
    ] {
        let before = file.tree();
        run(&file.config(&rules), &messages)
            .exits(1)
            .reports(&json!({"line": 3, "stream": "p"}))
            .says("id=k1")
            .says("id=k2");
        assert!(file.uids().contains("jsmith"));
        std::fs::remove_file(file.path("rejects.jsonl")).ok();
        run(&file.skip(&rules), &messages).exits(4);
        assert_eq!(rejects(&file).len(), 1);
        let [was, is] =
            [before, file.tree()].map(|t| t[&format!("uid=jsmith,ou=a,{BASE}")].get("title").cloned());
        assert_eq!(was, is);
    }
}

/// T6: the entry that a filter finds is another key's.
#[test]
fn an_entry_that_another_key_brought_is_not_renamed() {
    let file = File::new(&[("a", "x", "7")]);
    let found = json!({"attribute_mapping": {"uid": "uid", "name": ["cn", "sn"], "number": "employeeNumber"},
        "match": "(employeeNumber={number})"});
    let mut schema = schema("p");
    schema["schema"]["properties"]["number"] = json!({"type": "string"});
    let record = |id: &str, uid: &str| json!({"type": "RECORD", "stream": "p", "record": {"id": id, "uid": uid, "name": uid, "number": "7"}});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &found)}}));
    run(&config, &[schema, record("k1", "x"), record("k2", "y")])
        .exits(1)
        .reports(&json!({"record": "id=k2"}))
        .says("id=k1");
    assert_eq!(file.uids(), set(&["x"]));
}

#[test]
fn a_name_goes_to_another_key_once_its_own_has_left() {
    let found = json!({"match": "(employeeNumber={id})"});
    for (rule_of, messages) in [
        // Deleted, and taken.
        (json!({}), vec![record("p", "1", "x"), gone("p", "1", "x"), record("p", "2", "x")]),
        // Renamed away, and taken: before and after.
        (found.clone(), vec![record("p", "1", "x"), record("p", "1", "y"), record("p", "2", "x")]),
        (found.clone(), vec![record("p", "1", "x"), gone("p", "1", "x"), record("p", "2", "x")]),
        (found, vec![record("p", "2", "x"), record("p", "1", "y")]),
    ] {
        let file = File::new(&[("a", "x", "1")]);
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &rule_of)}}));
        let mut all = vec![schema("p")];
        all.extend(messages.clone());
        run(&config, &all).succeeds();
        let tree = file.tree();
        assert!(
            tree[&format!("uid=x,ou=a,{BASE}")]["employeenumber"].contains(b"2".as_slice()),
            "{messages:?}"
        );
    }
}

/// Without `match` the entry of the former name stays, with all that its own record gave it: nobody else's record takes it over,
/// whether it is tried at the same time or later.
#[test]
fn a_name_that_a_record_no_longer_asks_for_is_still_its_own() {
    for in_flight in [1, 32] {
        let file = File::new(&[]);
        let rules = json!({"max_in_flight": in_flight, "mapping_rules": {"p": rule("a", &json!({}))}});
        let all = [schema("p"), record("p", "1", "x"), record("p", "1", "y"), record("p", "2", "x")];
        run(&file.config(&rules), &all).exits(1).reports(&json!({"record": "id=2"})).says("id=1");
        run(&file.skip(&rules), &all).exits(4);
        assert_eq!(rejects(&file).len(), 1);
        let tree = file.tree();
        assert!(tree[&format!("uid=x,ou=a,{BASE}")]["employeenumber"].contains(b"1".as_slice()));
    }
}

#[test]
fn a_record_that_may_not_be_written_takes_no_name() {
    let file = File::new(&[("a", "old", "2")]);
    let found = json!({"match": "(employeeNumber={id})", "operations": {"create": false},
        "attribute_mapping": {"uid": "uid", "name": ["cn", "sn"]}});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &found)}}));
    // Nobody has the number 1, and nobody is made of it.
    run(&config, &[schema("p"), record("p", "1", "free"), record("p", "2", "free")])
        .exits(0)
        .counts(&[("ignored", 1), ("renamed", 1)]);
    assert_eq!(file.uids(), set(&["free"]));
}
