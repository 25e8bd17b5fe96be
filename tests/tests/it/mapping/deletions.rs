//! Records marked as deleted.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{SUFFIX, USERS, company, config, record, rule, schema, state};
use crate::support::{assert_untouched, states, target_config, with};

fn deleted(user_id: &str, at: &Value) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": {"user_id": user_id, "_sdc_deleted_at": at}})
}

#[test]
fn a_record_marked_as_deleted_deletes_its_entry_and_no_other() {
    let slapd = company();
    Run::target(&config(&slapd)).messages(&[schema(), record("gone"), record("kept")]).run().succeeds();
    let mut kept = record("kept");
    kept["record"]["_sdc_deleted_at"] = Value::Null;
    let at = json!("2026-01-31T08:00:00Z");
    let messages = [schema(), deleted("gone", &at), deleted("never was", &at), kept, state(1)];
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()], "what is gone already is no fault");
    let tree = slapd.dump();
    let names: Vec<&String> = tree.keys().collect();
    assert_eq!(names, [SUFFIX, USERS, &format!("uid=kept,{USERS}")], "and nothing was made either");

    let before = slapd.change_marks();
    Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_untouched(&slapd, &before);
}

#[test]
fn a_deletion_and_a_return_of_one_entry_are_applied_in_their_order() {
    let slapd = company();
    let at = json!("2026-01-31T08:00:00Z");
    let mut messages = vec![schema()];
    for round in 0..10 {
        messages.extend([record("back"), deleted("back", &at), record("back"), record("gone")]);
        messages.push(deleted("gone", &at));
        messages.push(state(round));
    }
    Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    let tree = slapd.dump();
    assert!(tree.contains_key(&format!("uid=back,{USERS}")));
    assert!(!tree.contains_key(&format!("uid=gone,{USERS}")));
}

#[test]
fn on_delete_ignore_leaves_the_entry_alone() {
    let slapd = company();
    let mut rule = rule();
    rule["on_delete"] = json!("ignore");
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    Run::target(&config).messages(&[schema(), record("stays")]).run().succeeds();
    let before = slapd.change_marks();
    let messages = [schema(), deleted("stays", &json!("2026-01-31T08:00:00Z")), state(1)];
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(
        states(&output),
        [state(1)["value"].clone()],
        "a deletion left out by policy holds no STATE back"
    );
    assert_untouched(&slapd, &before);
}
