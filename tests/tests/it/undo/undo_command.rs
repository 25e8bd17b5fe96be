//! `target-ldap undo`: a run is taken back, on its own directory only.

use std::path::Path;

use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{PEOPLE, files, messages, people, person, schema, slapd, undo};
use crate::support::{assert_untouched, lines, target_config, with};

#[test]
fn a_run_is_taken_back_and_what_is_taken_back_already_is_fine() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    let marks = slapd.change_marks();
    let planned = undo(&config, &file, &["--dry-run"]).succeeds().stdout_text();
    assert_untouched(&slapd, &marks);
    assert_eq!(planned.matches("\nchangetype: ").count(), 6, "{planned}");
    for _ in 0..2 {
        let output = undo(&config, &file, &[]).succeeds();
        assert!(output.stdout.is_empty());
        assert_same("before", &before, "taken back", &slapd.dump());
    }
    assert_eq!(files(dir.path()), ["undo.ldif"]);
}

#[test]
fn a_run_is_not_taken_back_on_another_server_unless_that_is_said() {
    let (slapd, replica) = (slapd(), slapd());
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    let there = target_config(&replica);
    Run::target(&there).stdin(lines(&messages())).run().succeeds();
    let marks = replica.change_marks();
    for flags in [&[][..], &["--dry-run"]] {
        let output = undo(&there, &file, flags).exits(2);
        output.reports_setting("FILE").says(&slapd.ldap_uri()).says(&replica.ldap_uri());
        assert_untouched(&replica, &marks);
    }
    // Ids are each server's own here: so this is no replica, and only what has none is taken back.
    let plan = undo(&there, &file, &["--another-server", "--dry-run"]).exits(4).stdout_text();
    assert!(plan.contains("changetype: add"), "{plan}");
    assert_untouched(&replica, &marks);
    // Servers that stand for one another are one place.
    let either = with(&config, &json!({"server_url": ["ldap://127.0.0.1:1", slapd.ldap_uri()]}));
    undo(&either, &file, &["--dry-run"]).succeeds();
    let elsewhere =
        Slapd::start(SlapdOptions { suffix: "dc=other,dc=test".into(), ..SlapdOptions::default() });
    let marks = elsewhere.change_marks();
    let output = undo(&target_config(&elsewhere), &file, &["--another-server"]).exits(2);
    output.reports_setting("FILE").says(PEOPLE);
    assert_untouched(&elsewhere, &marks);
    undo(&config, &file, &[]).succeeds();
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn a_file_that_was_moved_is_another_place_and_a_link_to_it_is_not() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("d.ldif"),
        format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", people()),
    )
    .unwrap();
    let before = ldap_tests::ldif::parse_file(&at("d.ldif"));
    let config = |name: &str| json!({"server_url": format!("ldif:{}", at(name).display()), "undo_file": at("undo.ldif")});
    Run::target(&config("d.ldif")).stdin(lines(&messages())).run().succeeds();
    std::os::unix::fs::symlink(at("d.ldif"), at("link.ldif")).unwrap();
    undo(&config("link.ldif"), &at("undo.ldif"), &["--dry-run"]).succeeds();
    std::fs::rename(at("d.ldif"), at("moved.ldif")).unwrap();
    undo(&config("moved.ldif"), &at("undo.ldif"), &[]).exits(2).reports_setting("FILE");
    undo(&config("moved.ldif"), &at("undo.ldif"), &["--another-server"]).succeeds();
    assert_same("before", &before, "taken back", &ldap_tests::ldif::parse_file(&at("moved.ldif")));
}

#[test]
fn a_file_is_taken_back_as_a_directory_is() {
    let dir = scratch();
    let (file, back) = (dir.path().join("people.ldif"), dir.path().join("undo.ldif"));
    std::fs::write(
        &file,
        format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", people()),
    )
    .unwrap();
    let before = ldap_tests::ldif::parse_file(&file);
    let config = json!({"server_url": format!("ldif:{}", file.display()), "undo_file": back});
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    assert!(ldap_tests::ldif::parse_file(&file) != before);
    let after = std::fs::read(&file).unwrap();
    let plan = undo(&config, &back, &["--dry-run"]).succeeds().stdout_text();
    assert!(plan.contains("changetype: delete") && std::fs::read(&file).unwrap() == after);
    for _ in 0..2 {
        undo(&config, &back, &[]).succeeds();
        assert_same("before", &before, "taken back", &ldap_tests::ldif::parse_file(&file));
    }
}

#[test]
fn files_of_others_are_refused_and_those_of_earlier_versions_only_taken_as_they_are() {
    let slapd = slapd();
    let before = slapd.change_marks();
    let config = target_config(&slapd);
    let dir = scratch();
    let file = dir.path().join("some.ldif");
    let old = format!("dn: uid=p0,{PEOPLE}\nchangetype: modify\nreplace: title\ntitle: before\n-\n\n");
    let later = "# target-ldap undo file {\"version\":99}\n";
    let content = format!("dn: uid=p0,{PEOPLE}\nuid: p0\n");
    for (text, flags) in [
        ("hello\n", &[][..]),
        ("hello\n", &["--unchecked"]),
        (&content, &["--unchecked"]),
        ("", &["--unchecked"]),
        (&old, &[]),
        (later, &["--unchecked"]),
        (later, &[]),
    ] {
        std::fs::write(&file, text).unwrap();
        undo(&config, &file, flags).exits(2).reports_setting("FILE");
    }
    undo(&config, &dir.path().join("nothing.ldif"), &[]).exits(2).reports_setting("FILE");
    assert_untouched(&slapd, &before);
    std::fs::write(&file, &old).unwrap();
    undo(&config, &file, &["--unchecked"]).succeeds();
    assert_eq!(slapd.dump()[&format!("uid=p0,{PEOPLE}")]["title"], [b"before".to_vec()].into());
}

#[test]
fn an_undo_that_would_delete_more_than_max_deletes_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let slapd = slapd();
    let config = with(
        &target_config(&slapd),
        &json!({"undo_file": folder.path().join("undo-{run_id}.ldif"), "max_deletes": 2}),
    );
    let people: Vec<Value> = (20..23).map(|n| person(n, &json!({}))).collect();
    let mut messages = vec![schema()];
    messages.extend(people);
    Run::target(&config).messages(&messages).run().exits(0).counts(&[("added", 3)]);
    let is_ldif = |name: &String| Path::new(name).extension().is_some_and(|e| e == "ldif");
    let first = folder.path().join(files(folder.path()).into_iter().find(is_ldif).unwrap());
    let before = slapd.change_marks();
    undo(&config, &first, &[]).exits(1).reports(&json!({"level": "error", "setting": "max_deletes"}));
    assert_untouched(&slapd, &before);
    // The plan is shown, and says so.
    let plan = undo(&config, &first, &["--dry-run"]).exits(1);
    assert_eq!(plan.stdout_text().matches("changetype: delete").count(), 3);
    plan.reports(&json!({"level": "error", "setting": "max_deletes"}));
    // A later run's file is named.
    Run::target(&config).messages(&[schema(), person(23, &json!({}))]).run().exits(0);
    let raised = with(&config, &json!({"max_deletes": 3}));
    let output = undo(&raised, &first, &[]).exits(0);
    output.reports(&json!({"files": 1, "level": "warning"})).logs(&json!({"taken_back": 3}));
    assert!(slapd.dump().keys().any(|dn| dn.starts_with("uid=p23,")));
}
