//! Deletions by `match`.

use serde_json::json;

use super::{BASE, File, gone, record, rule, run, schema, set, state};

/// A filter with a misspelt name finds nothing: what is at the DN would be deleted, and everybody be made again.
#[test]
fn a_name_in_a_filter_that_the_file_does_not_know_is_a_wrong_setting() {
    let base = format!("ou=a,{BASE}");
    for (wrong, near) in [
        (json!({"match": "(employeNumber={id})"}), Some("employeeNumber")),
        (json!({"match": "(&(employeeNumber={id})(objectClass=inetOrgPersn))"}), Some("inetOrgPerson")),
        (json!({"match": "(|(employeeNumber={id})(!(zzqqxx=1)))"}), None),
        (json!({"scope_base": base, "scope_filter": "(objectClass=inetOrgPersn)"}), Some("inetOrgPerson")),
        (json!({"scope_base": base, "scope_filter": "(&(uid=*)(employeTyp=x))"}), Some("employeeType")),
    ] {
        let file = File::new(&[("a", "b", "5")]);
        let before = file.tree();
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &wrong)}}));
        let messages = [schema("p"), record("p", "5", "c"), gone("p", "77", "b")];
        let setting = if wrong["match"].is_null() { "scope_filter" } else { "match" };
        run(&config, &messages)
            .exits(2)
            .reports(&json!({"setting": format!("mapping_rules.p.{setting}"), "nearest": near}));
        assert_eq!(file.tree(), before);
    }
}

#[test]
fn a_name_in_a_filter_may_be_one_of_the_data_or_one_that_the_rule_writes() {
    let file = File::new(&[("a", "b", "5")]);
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, text.replace("employeeNumber: 5\n", "exampleBadge: 5\n")).unwrap();
    let of_data = json!({"match": "(exampleBadge={id})"});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &of_data)}}));
    run(&config, &[schema("p"), record("p", "5", "c")]).succeeds();
    assert_eq!(file.uids(), set(&["c"]));
    let written = json!({"match": "(exampleOther={id})",
        "attribute_mapping": {"id": "exampleOther", "uid": "uid", "name": ["cn", "sn"]}});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &written)}}));
    run(&config, &[schema("p"), record("p", "6", "d")]).succeeds();
    run(&config, &[schema("p"), record("p", "6", "e")]).succeeds();
    assert_eq!(file.uids(), set(&["c", "e"]));
}

/// An entry that nobody has is taken over by an upsert; it is not deleted.
#[test]
fn a_deletion_with_a_filter_removes_only_what_the_filter_fits() {
    for on_delete in [json!("delete"), json!("tree"), json!({"set": {"title": "gone"}})] {
        let file = File::new(&[("a", "svc", "0"), ("a", "x", "7")]);
        let text = std::fs::read_to_string(&file.path).unwrap();
        std::fs::write(&file.path, text.replace("employeeNumber: 0\n", "")).unwrap();
        let before = file.tree();
        let found = json!({"match": "(employeeNumber={id})", "on_delete": on_delete});
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &found)}}));
        run(&config, &[schema("p"), gone("p", "77", "svc"), state(1)]).succeeds().counts(&[("unchanged", 1)]);
        assert_eq!(file.tree(), before);
        run(&config, &[schema("p"), record("p", "77", "svc"), state(1)])
            .succeeds()
            .counts(&[("modified", 1)]);
        run(&config, &[schema("p"), gone("p", "77", "svc"), state(1)]).succeeds().counts(&[("unchanged", 0)]);
        assert_ne!(
            file.tree().get(&format!("uid=svc,ou=a,{BASE}")),
            before.get(&format!("uid=svc,ou=a,{BASE}"))
        );
    }
}
