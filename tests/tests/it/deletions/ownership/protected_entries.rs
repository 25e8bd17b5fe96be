//! Entries that no deletion of the run removes.

use ldap_tests::run::Run;
use serde_json::json;

use super::{BASE, File, activate, deleted, gone, record, rule, run, schema, set, state, warned};
use crate::support::lines;

/// T1.
#[test]
fn a_record_that_fits_several_entries_protects_all_of_them() {
    for late in [false, true] {
        let file = File::new(&[("a", "x", "7"), ("a", "y", "7"), ("a", "z", "8"), ("a", "old", "9")]);
        let rules = json!({"p": rule("a", &json!({"match": "(employeeNumber={id})", "scope_base": format!("ou=a,{BASE}")}))});
        let config = file.skip(&json!({"process_activate_version": true, "mapping_rules": rules}));
        let mut messages = vec![schema("p"), record("p", "7", "x2"), record("p", "8", "z"), activate("p")];
        if late {
            messages.swap(1, 2);
        }
        run(&config, &messages).exits(4);
        assert_eq!(file.uids(), set(&["x", "y", "z"]));
    }
}

/// T1: rejected before it is tried, by what is wrong with a value; its entry is elsewhere than where it is to be.
#[test]
fn a_record_that_is_rejected_at_once_protects_the_entry_that_it_would_find() {
    let file = File::new(&[("b", "x", "7"), ("a", "old", "9")]);
    let rules = json!({"p": rule("a", &json!({"match": "(employeeNumber={id})", "scope_base": BASE}))});
    let config = file.skip(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let mut bad = record("p", "7", "x");
    bad["record"]["name"] = json!(["not", "a", "text"]);
    run(&config, &[schema("p"), record("p", "8", "z"), bad, activate("p")]).exits(4);
    assert_eq!(file.uids(), set(&["x", "z"]));
}

/// T3.
#[test]
fn a_deletion_of_another_stream_does_not_take_what_moved() {
    for key_only in [false, true] {
        let file = File::new(&[("a", "ada", "1"), ("a", "bob", "2")]);
        let found = json!({"match": "(employeeNumber={id})"});
        let rules = json!({"p": rule("a", &found), "q": rule("b", &found)});
        let config = file.config(&json!({"mapping_rules": rules}));
        let mut deletion = gone("p", "1", "ada");
        if key_only {
            deletion["record"].as_object_mut().unwrap().remove("uid");
        }
        let messages =
            [schema("p"), schema("q"), record("q", "1", "ada"), deletion, gone("p", "2", "bob"), state(1)];
        let output = run(&config, &messages).succeeds();
        assert_eq!(output.stdout_text(), "{\"n\":1}\n");
        let tree = file.tree();
        let ada = &tree[&format!("uid=ada,ou=b,{BASE}")];
        assert!(ada.contains_key("title"), "the same entry as before");
        assert_eq!(file.uids(), set(&["ada"]), "what only one stream knows goes");
        output.reports(&json!({"stream": "p"})).stream_counts("p", &[("unchanged", 1), ("kept", 1)]);
    }
}

#[test]
fn two_streams_may_write_one_entry_and_none_deletes_what_the_other_brings() {
    let file = File::new(&[("a", "x", "1")]);
    let extra = rule("a", &json!({"attribute_mapping": {"uid": "uid", "name": "title"}}));
    let config =
        file.config(&json!({"mapping_rules": {"users": rule("a", &json!({})), "users_extra": extra}}));
    let both =
        [schema("users"), schema("users_extra"), record("users", "1", "x"), record("users_extra", "1", "x")];
    run(&config, &both).succeeds();
    for stream in ["users", "users_extra"] {
        let mut messages = both.to_vec();
        messages.extend([gone(stream, "1", "x"), state(1)]);
        run(&config, &messages).succeeds();
        assert_eq!(file.uids(), set(&["x"]));
    }
}

#[test]
fn a_tree_with_what_the_run_brought_stays_and_so_does_what_moves_with_it() {
    for on_delete in [json!("tree"), json!({"move_to": format!("ou=gone,{BASE}")})] {
        let file = File::new(&[("a", "x", "1"), ("b", "y", "2")]);
        let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
            "attribute_mapping": {"uid": "ou"}, "on_delete": on_delete});
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &json!({})), "u": units}}));
        let messages = [
            schema("p"),
            schema("u"),
            record("p", "1", "x"),
            gone("u", "77", "a"),
            gone("u", "78", "b"),
            state(1),
        ];
        run(&config, &messages).succeeds();
        let tree = file.tree();
        assert!(tree.contains_key(&format!("uid=x,ou=a,{BASE}")));
        assert!(!tree.contains_key(&format!("ou=b,{BASE}")));
    }
}

/// People first, then their unit is renamed: they have come, under its new name.
#[test]
fn what_came_before_its_unit_was_renamed_stays() {
    let file = File::new(&[("a", "x", "1"), ("a", "old", "2")]);
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, text.replace("ou: a\n", "ou: a\npostalCode: 77\n")).unwrap();
    let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
        "attribute_mapping": {"uid": "ou", "id": "postalCode"}, "match": "(postalCode={id})"});
    let config = file.config(&json!({"process_activate_version": true, "mapping_rules": {
        "p": rule("a", &json!({"scope_base": BASE})), "u": units}}));
    let messages =
        [schema("p"), schema("u"), record("p", "1", "x"), record("u", "77", "c"), activate("p"), state(1)];
    run(&config, &messages).succeeds();
    let tree = file.tree();
    assert!(tree.contains_key(&format!("uid=x,ou=c,{BASE}")), "{:?}", tree.keys());
    assert_eq!(file.uids(), set(&["x"]));
}

/// A tap says that the row of the old spelling is gone.
#[test]
fn a_deletion_of_a_name_in_another_spelling_does_not_take_what_came() {
    let text = json!({"type": ["string", "null"]});
    for keys in [json!(["dn"]), json!([])] {
        let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": keys, "schema": {"type": "object",
            "properties": {"dn": text, "objectClass": {"type": "array", "items": text}, "sn": text, "cn": text, "_sdc_deleted_at": text}}});
        let upsert = |dn: &str| json!({"type": "RECORD", "stream": "p", "record": {"dn": dn, "objectClass": ["inetOrgPerson"], "sn": "x", "cn": "x"}});
        let (big, small) = (format!("uid=A,ou=a,{BASE}"), format!("uid=a,ou=a,{BASE}"));
        let gone = |dn: &str| deleted(&json!({"dn": dn}));
        for (messages, stays, kept) in [
            (vec![upsert(&big), gone(&small)], true, 1),
            (vec![upsert(&big), upsert(&small), gone(&big)], true, 1),
            (vec![upsert(&big), gone(&big)], false, 0),
            (vec![upsert(&big), gone(&small), gone(&big)], false, 1),
            // Nothing of the run brought it.
            (vec![gone(&small)], false, 0),
        ] {
            let file = File::new(&[("a", "A", "1")]);
            let mut all = vec![schema.clone()];
            all.extend(messages.clone());
            let config = file.config(&json!({"mapping_rules": {}}));
            let output =
                Run::target(&config).stdin(lines(&all)).arg("--log-format").arg("json").run().succeeds();
            assert_eq!(file.tree().contains_key(&small), stays, "{messages:?}: {:?}", file.tree().keys());
            let said = warned(&output).len();
            assert_eq!(said, kept, "{messages:?}: {}", output.stderr);
        }
    }
}
