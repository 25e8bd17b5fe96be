//! `first_run`: the first run with a plan file, or with another scope, filter or `match`, deletes nothing and changes little.

use ldap_tests::run::{Output, Run, read_text};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{USERS, apply, config, gone, messages, planned, slapd, user, whole};
use crate::support::{assert_untouched, unit, with};

fn run(config: &Value, records: impl IntoIterator<Item = Value>) -> Output {
    Run::target(config).messages(&messages(records)).run()
}

fn titles(count: usize, title: &str) -> Vec<Value> {
    (0..count).map(|n| user(n, &json!({"title": title}))).collect()
}

#[test]
fn a_first_run_that_deletes_or_changes_much_waits_for_a_decision() {
    let (slapd, dir, _, config) = planned(&json!({}));
    let history = dir.path().join("plan.ldif.history");
    let before = slapd.change_marks();
    // Twenty users are in scope.
    for records in
        [vec![gone(6)], titles(3, "new"), (0..19).map(|n| user(n, &json!({}))).chain([whole()]).collect()]
    {
        let output = run(&config, records).exits(5);
        output.reports(&json!({"level": "error", "setting": "first_run", "stream": "users"}));
        assert_untouched(&slapd, &before);
        let noted: Value = serde_json::from_str(&read_text(&history)).unwrap();
        assert_eq!(
            (&noted["runs"], &noted["streams"]),
            (&json!([]), &json!({})),
            "a run that is held back was not carried out"
        );
    }
    std::fs::remove_file(&history).unwrap();
    // A dry run says the same, and is no run.
    Run::target(&config)
        .messages(&messages([gone(6)]))
        .arg("--dry-run")
        .run()
        .exits(1)
        .reports_setting("first_run");
    assert!(!history.exists());
    // A tenth, and what is new, is no matter.
    let few = titles(2, "new").into_iter().chain((30..60).map(|n| user(n, &json!({}))));
    run(&config, few).succeeds().counts(&[("modified", 2), ("added", 30)]);
    let noted: Value = serde_json::from_str(&read_text(&history)).unwrap();
    assert_eq!((&noted["version"], &noted["runs"][0]["how"]), (&json!(1), &json!("run")));
    assert_eq!(noted["streams"]["users"]["scope_base"], json!(USERS));
    // From then on, limits alone hold a run back.
    run(&config, [gone(6), gone(7)]).succeeds().counts(&[("deleted", 2)]);
    run(&config, titles(20, "newer")).succeeds();
}

#[test]
fn a_plan_that_is_applied_is_a_first_run_too() {
    let (_slapd, dir, plan, config) = planned(&json!({}));
    run(&config, [gone(6)]).exits(5);
    apply(&config, &plan, &["--dry-run"]).succeeds();
    run(&config, [gone(6)]).exits(5);
    apply(&config, &plan, &[]).succeeds();
    let noted: Value = serde_json::from_str(&read_text(&dir.path().join("plan.ldif.history"))).unwrap();
    assert_eq!(noted["runs"][0]["how"], json!("apply"));
    run(&config, [gone(7)]).succeeds().counts(&[("deleted", 1)]);
    // Another stream has had none.
    let members: Vec<String> = (0..3).map(|n| format!("uid=u{n},{USERS}")).collect();
    let team = json!({"type": "RECORD", "stream": "teams", "record": {"name": "t0", "members": members}});
    run(&config, [team.clone()]).exits(5).reports(&json!({"setting": "first_run", "stream": "teams"}));
    run(&with(&config, &json!({"first_run": "apply"})), [team]).succeeds().counts(&[("modified", 1)]);
    let noted: Value = serde_json::from_str(&read_text(&dir.path().join("plan.ldif.history"))).unwrap();
    assert_eq!(noted["runs"].as_array().unwrap().len(), 3, "{noted}");
}

/// A misspelled filter, a base that was moved, another number to find people by: the same input would delete or change others.
#[test]
fn another_scope_filter_or_match_counts_as_a_first_run() {
    let slapd = slapd();
    let dir = scratch();
    let plan = dir.path().join("plan.ldif");
    let first = config(&slapd, &json!({"plan_file": plan, "first_run": "apply"}));
    run(&first, [user(1, &json!({}))]).succeeds();
    let first = with(&first, &json!({"first_run": null}));
    let rule = |more: &Value| {
        let mut other = first.clone();
        other["mapping_rules"]["users"] = with(&first["mapping_rules"]["users"], more);
        other
    };
    let before = slapd.change_marks();
    for (more, what) in [
        (json!({"scope_filter": "(employeeNumber=*)"}), "filter"),
        (json!({"scope_base": "dc=example,dc=test"}), "scope"),
        (json!({"match": "(&(employeeNumber={id})(sn=*))"}), "match"),
        (json!({"match": "(|(employeeNumber={id})(employeeNumber={login}))"}), "match"),
        (json!({"match": null}), "match"),
        (json!({"object_classes": ["inetOrgPerson", "organizationalPerson"]}), "filter"),
    ] {
        let output = run(&rule(&more), [gone(6)]).exits(5);
        output
            .reports(&json!({"level": "error", "setting": "first_run"}))
            .says(&format!("the {what} of its rule"));
        assert_untouched(&slapd, &before);
    }
    run(&first, [gone(6)]).succeeds().counts(&[("deleted", 1)]);
    // Once carried out, the new scope is the one.
    let wider = rule(&json!({"scope_base": "dc=example,dc=test"}));
    run(&wider, [gone(7)]).exits(5);
    apply(&wider, &plan, &[]).succeeds();
    run(&wider, [gone(8)]).succeeds();
    run(&first, [gone(9)]).exits(5);
}

/// The same entries get other names, other values, or another end.
#[test]
fn a_rule_that_does_something_else_counts_as_a_first_run() {
    let (slapd, dir, _, first) = planned(&json!({}));
    run(&first, [user(1, &json!({}))]).succeeds();
    let rule = |more: &Value| {
        let mut other = first.clone();
        other["mapping_rules"]["users"] = with(&first["mapping_rules"]["users"], more);
        other
    };
    let before = slapd.change_marks();
    let mapping = json!({"id": "employeeNumber", "login": "uid"});
    let maps = json!({"users": {"__filter__": "record.get('id') != '3'"}});
    for (other, name) in [
        (rule(&json!({"dn_template": format!("uid={{login|lower}},{USERS}")})), "dn_template"),
        (rule(&json!({"attribute_mapping": mapping})), "attribute_mapping"),
        (rule(&json!({"on_delete": "tree"})), "on_delete"),
        (rule(&json!({"policies": {"title": "keep"}})), "policies"),
        (rule(&json!({"values": {"description": "{id}"}})), "values"),
        (with(&first, &json!({"dn_rewrite": [{"from": "dc=a", "to": "dc=b"}]})), "dn_rewrite"),
        (with(&first, &json!({"process_activate_version": null})), "process_activate_version"),
        (with(&first, &json!({"stream_maps": maps})), "stream_maps"),
        (with(&first, &json!({"protect": {"filter": "(uid=u3)"}})), "protect"),
        (with(&first, &json!({"write_base": ["dc=example,dc=test"]})), "write_base"),
    ] {
        run(&other, [gone(6)]).exits(5).reports(&json!({"setting": "first_run"})).says(name);
        assert_untouched(&slapd, &before);
    }
    // Of an earlier version: it does not say what the rule was.
    let path = dir.path().join("plan.ldif.history");
    let mut history: Value = serde_json::from_str(&read_text(&path)).unwrap();
    history["streams"]["users"].as_object_mut().unwrap().remove("settings").unwrap();
    std::fs::write(&path, history.to_string()).unwrap();
    run(&rule(&json!({"on_delete": "tree"})), [gone(6)]).succeeds().counts(&[("deleted", 1)]);
    run(&first, [gone(7)]).exits(5);
}

/// Entries below the scope of another rule do not belong to a stream, until that rule is taken out.
#[test]
fn what_another_rule_had_is_not_deleted_with_its_rule() {
    const EXTERNAL: &str = "ou=ext,ou=users,dc=example,dc=test";
    let (slapd, _dir, _, config) = planned(&json!({}));
    slapd.ldapadd(
        unit(EXTERNAL) + &format!("dn: uid=ext,{EXTERNAL}\nobjectClass: inetOrgPerson\nuid: ext\ncn: x\nsn: x\nemployeeNumber: x1\n\n"),
    );
    let mut both = config.clone();
    both["mapping_rules"]["ext"] = json!({"dn_template": format!("uid={{login}},{EXTERNAL}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"login": "uid"}, "scope_base": EXTERNAL});
    let all = || (0..20).map(|n| user(n, &json!({}))).chain([whole()]);
    run(&both, all()).succeeds().counts(&[("deleted", 0)]);
    let before = slapd.change_marks();
    run(&config, all()).exits(5).reports(&json!({"setting": "first_run", "stream": "users"}));
    assert_untouched(&slapd, &before);
}

/// A column of numbers became one of texts: nobody is found, and each record has the DN of somebody who did not come.
#[test]
fn a_source_that_writes_its_ids_otherwise_does_not_make_everybody_anew() {
    let (slapd, _dir, _, config) = planned(&json!({}));
    let all = |width: usize| {
        let records = (0..20).map(move |n| user(n, &json!({"id": format!("{n:0width$}")})));
        records.chain([whole()])
    };
    run(&config, all(1)).succeeds();
    let before = slapd.change_marks();
    let output = run(&config, all(5)).exits(5);
    output.reports(&json!({"setting": "first_run", "stream": "users"}));
    assert_untouched(&slapd, &before);
    // One whose name goes to another is no matter.
    let one = |n: usize| user(n, &json!({"id": if n == 3 { "new".to_owned() } else { n.to_string() }}));
    run(&config, (0..20).map(one).chain([whole()])).succeeds().counts(&[("deleted", 1), ("added", 1)]);
    // Without a plan it is told.
    let plain = with(&config, &json!({"plan_file": null, "first_run": null}));
    let output = run(&plain, all(5)).succeeds().counts(&[("deleted", 20)]);
    output.reports(&json!({"level": "warning", "setting": "mapping_rules.users.match", "stream": "users"}));
}

#[test]
fn a_history_that_cannot_be_read_is_no_first_run() {
    let (slapd, dir, _, config) = planned(&json!({}));
    let history = dir.path().join("plan.ldif.history");
    let before = slapd.change_marks();
    for text in ["", "{", "{\"version\": 9, \"runs\": []}"] {
        std::fs::write(&history, text).unwrap();
        run(&config, [user(1, &json!({}))]).exits(2).reports_setting("plan_file");
    }
    assert_untouched(&slapd, &before);
    let taken = with(&config, &json!({"undo_file": history}));
    std::fs::remove_file(&history).unwrap();
    std::fs::write(&history, "{\"version\": 1}").unwrap();
    run(&taken, [user(1, &json!({}))]).exits(2);
    run(&with(&config, &json!({"first_run": "Apply"})), []).exits(2).reports_setting("first_run");
    run(&with(&config, &json!({"plan_file": null, "first_run": "apply"})), [])
        .succeeds()
        .reports(&json!({"level": "warning", "setting": "first_run"}));
}

/// A test directory and the real one have the same names: what was carried out in one says nothing about the other.
#[test]
fn the_first_run_at_another_directory_is_a_first_run() {
    let (_slapd, dir, _, config) = planned(&json!({}));
    run(&config, titles(2, "new")).succeeds();
    run(&config, [gone(6)]).succeeds().counts(&[("deleted", 1)]);
    let other = slapd();
    let elsewhere = with(&config, &json!({"server_url": other.ldap_uri()}));
    let before = other.change_marks();
    run(&elsewhere, [gone(7)]).exits(5).reports(&json!({"setting": "first_run", "stream": "users"}));
    assert_untouched(&other, &before);
    // A history of an earlier version does not say where.
    let history = dir.path().join("plan.ldif.history");
    let mut noted: Value = serde_json::from_str(&read_text(&history)).unwrap();
    assert!(noted["streams"]["users"]["directory"].is_string());
    noted["streams"]["users"].as_object_mut().unwrap().remove("directory");
    std::fs::write(&history, noted.to_string()).unwrap();
    run(&elsewhere, [gone(7)]).succeeds().counts(&[("deleted", 1)]);
}
