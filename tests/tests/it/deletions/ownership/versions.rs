//! ACTIVATE_VERSION: deletions are decided once, at the end; scopes and limits.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{BASE, File, activate, gone, record, rule, run, schema, set, state, warned};
use crate::support::{lines, with};

/// T2.
#[test]
fn deletions_by_version_are_decided_once_at_the_end() {
    let file = File::new(&[("a", "ada", "1"), ("a", "bob", "2"), ("a", "cy", "3"), ("a", "old", "4")]);
    let rules = json!({"p": rule("a", &json!({"scope_base": format!("ou=a,{BASE}")}))});
    let config = file.config(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let messages = [
        schema("p"),
        activate("p"),
        record("p", "1", "ada"),
        record("p", "2", "bob"),
        activate("p"),
        state(1),
        record("p", "3", "cy"),
        activate("p"),
        state(2),
    ];
    let output = run(&config, &messages).succeeds();
    assert_eq!(output.stdout_text(), "{\"n\":2}\n");
    assert_eq!(file.uids(), set(&["ada", "bob", "cy"]));
    assert!(file.tree()[&format!("uid=cy,ou=a,{BASE}")].contains_key("title"), "the same entry as before");
}

/// T2: a later record that fails keeps all.
#[test]
fn a_run_that_fails_after_an_announcement_deletes_nothing_and_prints_no_state_behind_it() {
    let file = File::new(&[("a", "ada", "1"), ("a", "old", "4")]);
    let rules = json!({"p": rule("a", &json!({"scope_base": format!("ou=a,{BASE}")}))});
    let config = file.config(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let bad = record("p", "", " ");
    let messages = [
        schema("p"),
        state(1),
        record("p", "1", "ada"),
        activate("p"),
        state(2),
        bad,
        activate("p"),
        state(3),
    ];
    let output = run(&config, &messages).exits(1);
    assert_eq!(output.stdout_text(), "{\"n\":1}\n");
    assert_eq!(file.uids(), set(&["ada", "old"]));
}

#[test]
fn a_scope_that_is_not_there_is_said() {
    for (more, messages) in [
        (json!({}), vec![record("p", "1", "ada"), activate("p")]),
        (json!({"match": "(employeeNumber={id})"}), vec![record("p", "1", "ada")]),
        (json!({"match": "(employeeNumber={id})"}), vec![record("p", "1", "ada"), activate("p")]),
    ] {
        for (scope, nearest) in [
            (format!("ou=aa,ou=x,{BASE}"), Some(BASE)),
            ("ou=a,dc=other".to_owned(), Some("")),
            (format!("ou=a,{BASE}"), None),
        ] {
            let file = File::new(&[("a", "old", "4")]);
            let rules = json!({"p": rule("a", &with(&more, &json!({"scope_base": scope})))});
            let config = file.config(&json!({"process_activate_version": true, "mapping_rules": rules}));
            let mut all = vec![schema("p")];
            all.extend(messages.clone());
            let output =
                Run::target(&config).stdin(lines(&all)).arg("--log-format").arg("json").run().succeeds();
            let said: Vec<Value> = warned(&output)
                .into_iter()
                .filter(|line| line["setting"] == "mapping_rules.p.scope_base")
                .collect();
            assert_eq!(said.len(), usize::from(nearest.is_some()), "{}", output.stderr);
            if let (Some(nearest), [said]) = (nearest, said.as_slice()) {
                assert_eq!((&said["dn"], &said["nearest"]), (&json!(scope), &json!(nearest)));
            }
        }
    }
}

/// Who disables everybody, or moves them away, is held up as who deletes everybody.
#[test]
fn entries_that_are_set_or_moved_away_count_as_deleted() {
    let people = [("a", "x", "1"), ("a", "y", "2"), ("a", "z", "3")];
    let gone_unit = format!("ou=gone,{BASE}");
    let of_people =
        |on_delete: &Value| rule("a", &json!({"on_delete": on_delete, "scope_base": format!("ou=a,{BASE}")}));
    let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
        "attribute_mapping": {"uid": "ou"}, "on_delete": {"move_to": gone_unit}});
    let records = [gone("p", "1", "x"), gone("p", "2", "y"), gone("p", "3", "z")];
    let by_version = [record("p", "3", "z"), activate("p")];
    for (rule, messages, count) in [
        (of_people(&json!({"set": {"title": "gone"}})), records.to_vec(), 3),
        (of_people(&json!({"move_to": gone_unit})), records.to_vec(), 3),
        (of_people(&json!({"set": {"title": "gone"}})), by_version.to_vec(), 2),
        (of_people(&json!({"move_to": gone_unit})), by_version.to_vec(), 2),
        // What lies below goes with it.
        (units, vec![gone("p", "1", "a")], 4),
    ] {
        let file = File::new(&people);
        let before = file.tree();
        let settings = |most: u64| {
            file.config(
                &json!({"process_activate_version": true, "max_deletes": most, "mapping_rules": {"p": rule}}),
            )
        };
        let mut all = vec![schema("p")];
        all.extend(messages.clone());
        run(&settings(count - 1), &all).exits(1).reports_setting("max_deletes");
        assert_eq!(file.tree(), before, "{messages:?}");
        run(&settings(count), &all).succeeds();
        assert_ne!(file.tree(), before);
    }
}
