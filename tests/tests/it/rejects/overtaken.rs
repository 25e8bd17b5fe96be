//! Rejected records that later runs have overtaken: `--retry-rejects` writes no older values, and brings nobody back.

use std::path::{Path, PathBuf};

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, scratch};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{USERS, has, options, read, record, schema, skipping};
use crate::support::with;

const BAD: &str = "zoë@example";

/// A server, and a run on Monday that rejected these records; the reject file has another name by now.
fn monday(records: &[Value], more: &Value) -> (Slapd, TempDir, PathBuf, Value) {
    let (slapd, dir) = (Slapd::start(options()), scratch());
    let file = dir.path().join("rejects.jsonl");
    let config = with(&skipping(&slapd, &file), more);
    Run::target(&config).messages(&with_schema(records)).run().exits(4);
    let moved = dir.path().join("corrected.jsonl");
    std::fs::rename(&file, &moved).unwrap();
    (slapd, dir, moved, config)
}

fn with_schema(records: &[Value]) -> Vec<Value> {
    std::iter::once(schema()).chain(records.iter().cloned()).collect()
}

/// Puts a valid address into the rejects, and tries them again.
fn retry(config: &Value, file: &Path, flags: &[&str]) -> Output {
    let text = ldap_tests::run::read_text(file).replace(BAD, "monday@example.test");
    std::fs::write(file, text).unwrap();
    let mut run = Run::target(config).arg("--input").arg(file.to_str().unwrap()).arg("--retry-rejects");
    for flag in flags {
        run = run.arg(*flag);
    }
    run.run()
}

fn value(slapd: &Slapd, id: &str, name: &str) -> String {
    let values = &slapd.dump()[&format!("uid={id},{USERS}")][name];
    values.iter().map(|value| String::from_utf8_lossy(value)).collect()
}

fn mail(slapd: &Slapd, id: &str) -> String {
    value(slapd, id, "mail")
}

fn overtaken(id: &str) -> Value {
    json!({"level": "warning", "setting": "--outdated", "stream": "users", "record": format!("id={id}")})
}

#[test]
fn a_record_that_came_again_since_is_not_written_and_others_are() {
    let rejected = |id: &str| record(id, &json!({"mail": BAD}));
    let (slapd, _dir, file, config) =
        monday(&[rejected("ada"), rejected("bob"), rejected("cleo")], &json!({}));
    // Tuesday: Ada is written, Bob is rejected again and has left by Wednesday; nothing comes of Cleo.
    let tuesday = [record("ada", &json!({"mail": "tuesday@example.test"})), rejected("bob")];
    Run::target(&config).messages(&with_schema(&tuesday)).run().exits(4);
    let gone = record("bob", &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    Run::target(&config).messages(&with_schema(&[gone])).run().succeeds();
    for flags in [&["--dry-run"][..], &[]] {
        let output = retry(&config, &file, flags).exits(4);
        output.stderr.reports(&overtaken("ada"));
        output.stderr.reports(&overtaken("bob"));
        assert_eq!(output.stderr.about(&json!({"setting": "--outdated"})).len(), 2, "{}", output.stderr);
        assert!(mail(&slapd, "ada").contains("tuesday") && !has(&slapd.dump(), "bob"));
        assert_eq!(has(&slapd.dump(), "cleo"), flags.is_empty());
    }
    // A second time the same; and by order.
    retry(&config, &file, &[]).exits(4);
    retry(&config, &file, &["--outdated"]).succeeds();
    assert!(mail(&slapd, "ada").contains("monday") && has(&slapd.dump(), "bob"));
}

#[test]
fn a_later_record_of_the_same_run_overtakes_and_so_does_the_last_of_two_rejects() {
    let mondays = [
        record("ada", &json!({"mail": BAD})),
        record("ada", &json!({"mail": "later@example.test"})),
        record("bob", &json!({"mail": BAD, "name": "first"})),
        record("bob", &json!({"mail": BAD, "name": "second"})),
    ];
    let (slapd, _dir, file, config) = monday(&mondays, &json!({"max_in_flight": 1}));
    let output = retry(&config, &file, &[]).exits(4);
    output.stderr.reports(&overtaken("ada"));
    output.stderr.reports(&overtaken("bob"));
    assert!(mail(&slapd, "ada").contains("later"));
    assert_eq!(value(&slapd, "bob", "cn"), "second");
}

/// Who is no longer in a whole version has left.
#[test]
fn a_whole_version_overtakes_what_was_rejected_before_it() {
    let (slapd, _dir, file, config) =
        monday(&[record("ada", &json!({"mail": BAD}))], &json!({"process_activate_version": true}));
    let bob =
        json!({"type": "RECORD", "stream": "users", "version": 1, "record": {"id": "bob", "name": "Bob"}});
    let whole = json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 1});
    let rules = with(&config["mapping_rules"]["users"], &json!({"scope_base": USERS}));
    let tuesday = with(&config, &json!({"mapping_rules": {"users": rules}}));
    Run::target(&tuesday).messages(&with_schema(&[bob, whole])).run().succeeds();
    retry(&config, &file, &[]).exits(4).stderr.reports(&overtaken("ada"));
    assert!(!has(&slapd.dump(), "ada"));
}

/// A reject file of an earlier version says nothing of its run: its records are written, and named.
#[test]
fn a_reject_file_of_an_earlier_version_is_read() {
    let (slapd, _dir, file, config) = monday(&[record("ada", &json!({"mail": BAD}))], &json!({}));
    let (schemas, mut rejects) = read(&file);
    for reject in &mut rejects {
        reject.as_object_mut().unwrap().retain(|name, _| name != "run" && name != "at");
    }
    std::fs::write(&file, crate::support::lines(&schemas) + &crate::support::lines(&rejects)).unwrap();
    let output = retry(&config, &file, &[]).succeeds();
    output.stderr.reports(&overtaken("ada"));
    assert!(mail(&slapd, "ada").contains("monday"));
}
