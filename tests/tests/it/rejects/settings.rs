//! `on_error`, `reject_file`, `max_rejects`.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, scratch};
use serde_json::{Value, json};

use super::{good, mixed, options, read, schema, skipping, state};
use crate::support::{lines, no_panic, states, with};

#[test]
fn more_than_max_rejects_fail_the_run_and_state_stays_before_the_one_too_many() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = with(&skipping(&slapd, &file), &json!({"max_rejects": 2, "max_in_flight": 1}));
    let (messages, _) = mixed();
    let output = Run::target(&config)
        .messages(&messages)
        .run()
        .exits(1)
        .reports_setting("max_rejects")
        .reports_line(9);
    no_panic(&output);
    assert_eq!(states(&output).last(), Some(&json!({"n": 1})));
    assert_eq!(read(&file).1.len(), 2, "the one too many comes again with the next run");

    // What the file holds already is another run's.
    let config = with(&config, &json!({"max_rejects": 6}));
    Run::target(&config).messages(&messages).run().exits(4);
    let config = with(&config, &json!({"max_rejects": 0}));
    let output = Run::target(&config).messages(&[schema(), good("a"), state(1)]).run().succeeds();
    assert_eq!(states(&output), [json!({"n": 1})]);
}

#[test]
fn settings_of_rejects_that_do_not_go_together_are_2_and_named() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = skipping(&slapd, &file);
    let run = |changes: &Value| Run::target(&with(&config, changes)).messages(&[schema()]).run();
    run(&json!({"reject_file": null})).exits(2).reports_setting("reject_file");
    run(&json!({"reject_file": ""})).exits(2).reports_setting("reject_file");
    run(&json!({"on_error": "maybe"})).exits(2).reports_setting("on_error");
    run(&json!({"max_rejects": -1})).exits(2).reports_setting("max_rejects");
    run(&json!({"on_error": "fail"})).succeeds().reports_setting("on_error");
    std::fs::write(&file, lines(&[schema()])).unwrap();
    Run::target(&config)
        .arg("--input")
        .arg(file.display().to_string())
        .arg("--retry-rejects")
        .run()
        .exits(2)
        .reports_setting("reject_file");
}
