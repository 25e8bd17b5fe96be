//! Rejected records, and STATE.

use ldap_tests::run::Run;
use ldap_tests::slapd::scratch;
use serde_json::{Value, json};

use super::{USERS, activate, config, left, record, run, schema, slapd, state, whole};
use crate::support::{assert_untouched, states, with};

#[test]
fn a_rejected_records_entry_stays_and_one_that_is_not_known_stops_all_deletion() {
    let slapd = slapd();
    let dir = scratch();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")}),
    );
    let mut nameless = record("b");
    nameless["record"]["id"] = json!(" ");
    let before = slapd.change_marks();
    run(&config, &[schema(), record("a"), nameless, activate(), state()])
        .exits(4)
        .reports(&json!({"stream": "users"}))
        .says("ACTIVATE_VERSION deletes nothing");
    assert_untouched(&slapd, &before);
    // The server refuses it: no sn.
    let mut refused = record("b");
    refused["record"]["name"] = json!(null);
    run(&config, &[schema(), record("a"), refused, activate(), state()]).exits(4).counts(&[("deleted", 4)]);
    assert_eq!(left(&slapd), "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=g");
}

#[test]
fn state_waits_for_what_is_gone_and_a_rejected_deletion_is_kept() {
    let slapd = slapd();
    slapd.ldapadd(format!("dn: cn=phone,uid=b,{USERS}\nobjectClass: device\ncn: phone\n"));
    // One at a time: not all of what is gone is taken up at once.
    let plain = with(&config(&slapd, &json!({})), &json!({"max_in_flight": 1}));
    let mut messages = whole(&["a"]);
    messages.insert(1, json!({"type": "STATE", "value": {"n": 0}}));
    let output = run(&plain, &messages)
        .exits(1)
        .reports(&json!({"line": 4, "stream": "users"}))
        .says(&format!("uid=b,{USERS}"));
    assert_eq!(states(&output), [json!({"n": 0})]);
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let skip = with(&plain, &json!({"on_error": "skip", "reject_file": file}));
    let output = run(&skip, &messages).exits(4);
    assert_eq!(states(&output).last(), Some(&json!({"n": 1})));
    assert_eq!(left(&slapd), "cn=phone cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=g");
    let text = ldap_tests::run::read_text(&file);
    let reject: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&reject["code"], &reject["record"]), (&json!(66), &json!(null)), "{reject:#}");
    let again = with(&skip, &json!({"reject_file": dir.path().join("again.jsonl")}));
    Run::target(&again)
        .raw_file("--input", text.as_bytes())
        .arg("--retry-rejects")
        .run()
        .succeeds()
        .says("passed over");
}

#[test]
fn a_rejected_record_whose_key_is_of_another_type_may_be_any_entry() {
    let dir = scratch();
    for key in [json!(true), json!(5), json!(["a", "b"])] {
        let slapd = slapd();
        let rejects = dir.path().join("rejects.jsonl");
        let config = with(&config(&slapd, &json!({})), &json!({"on_error": "skip", "reject_file": rejects}));
        let marks = left(&slapd);
        let mut bad = record("a");
        bad["record"]["id"] = key;
        run(&config, &[schema(), record("a"), bad, activate(), state()]).exits(4);
        assert_eq!(left(&slapd), marks, "b to f may be what it was about");
    }
}
