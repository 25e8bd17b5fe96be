//! The counts of a run.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{BASE, File, activate, gone, record, rule, schema, set, state};
use crate::support::lines;

/// A20.
#[test]
fn a_state_that_is_no_object_is_printed_as_it_is() {
    let file = File::new(&[]);
    for value in ["1", "\"x\"", "[1,2]"] {
        let input = format!("{{\"type\": \"STATE\", \"value\": {value}}}\n");
        let output = Run::target(&file.config(&json!({}))).stdin(input).run().succeeds();
        assert_eq!(output.stdout_text(), format!("{value}\n"));
    }
}

/// Each record ends as exactly one thing.
#[test]
fn the_numbers_of_a_run_add_up() {
    let file = File::new(&[("a", "same", "1"), ("a", "old", "2"), ("a", "gone", "3")]);
    let rules = json!({"p": rule("a", &json!({"scope_base": format!("ou=a,{BASE}")})), "q": rule("b", &json!({"on_delete": "ignore"}))});
    let config = file.skip(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let mut bad = record("p", "9", "x");
    bad["record"]["name"] = json!(5);
    let messages = [
        schema("p"),
        schema("q"),
        record("p", "1", "same"),
        record("p", "7", "new"),
        bad,
        record("p", "8", "new"),
        gone("p", "3", "gone"),
        gone("q", "1", "ignored"),
        record("q", "1", "more"),
        activate("p"),
        state(1),
    ];
    let output = Run::target(&config).stdin(lines(&messages)).arg("--log-format").arg("json").run().exits(4);
    let summary = output
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line.get("records_per_second").is_some())
        .unwrap();
    let get = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(get("records"), 7);
    assert_eq!(get("rejected"), 2);
    assert_eq!(get("ignored"), 1);
    // One by its record, one by the version.
    assert_eq!(get("deleted"), 2);
    let outcomes = ["added", "modified", "renamed", "moved", "deleted", "unchanged", "ignored", "rejected"];
    assert_eq!(outcomes.into_iter().map(get).sum::<u64>(), 7 + 1);
    assert_eq!(file.uids(), set(&["same", "new", "more"]));
}
