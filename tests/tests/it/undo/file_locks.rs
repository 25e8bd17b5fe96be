//! Files and directories with one writer at a time.

use std::thread::sleep;
use std::time::Duration;

use ldap_tests::run::{Run, read_text};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::json;

use super::{PEOPLE, files, messages, people, slapd, undo, waiting};
use crate::support::{assert_untouched, lines, target_config, unit, with};

#[test]
fn two_runs_do_not_share_what_they_write() {
    let slapd = slapd();
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(at("undo.ldif"), at("link.ldif")).unwrap();
    let settings = json!({"undo_file": at("undo.ldif"), "on_error": "skip", "reject_file": at("r.jsonl")});
    let config = with(&target_config(&slapd), &settings);
    let mut first = waiting(&config, &messages());
    let pid = first.child().id().to_string();
    let before = slapd.change_marks();
    for (setting, more) in [
        ("undo_file", json!({"undo_file": at("undo.ldif")})),
        ("undo_file", json!({"undo_file": at("link.ldif")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": dir.path().join("./r.jsonl")})),
        // What is to be read there is written here.
        ("reject_file", json!({"on_error": "skip", "reject_file": at("undo.ldif")})),
        // What the first makes of its file's name.
        ("undo_file", json!({"undo_file": at("undo.ldif.journal")})),
        ("undo_file", json!({"undo_file": at("undo.ldif.lock")})),
    ] {
        let second = Run::target(&with(&target_config(&slapd), &more)).stdin(lines(&messages())).run();
        second.exits(2).reports_setting(setting).says(dir.path().to_str().unwrap());
    }
    undo(&config, &at("undo.ldif"), &[]).exits(2).reports_setting("FILE").says(&pid);
    undo(&config, &at("undo.ldif.journal"), &[]).exits(2).reports_setting("FILE").says(&pid);
    let same = json!({"undo_file": at("x"), "on_error": "skip", "reject_file": at("x")});
    Run::target(&with(&target_config(&slapd), &same)).stdin(lines(&messages())).run().exits(2);
    assert_untouched(&slapd, &before);
    // A dry run is welcome.
    Run::target(&config).stdin(lines(&messages())).arg("--dry-run").run().succeeds();
    first.close_stdin_with(b"");
    assert_eq!(first.wait(Duration::from_secs(30)).0, 0);
    assert!(!files(dir.path()).iter().any(|n| n.contains("lock")), "{:?}", files(dir.path()));
    // A killed one holds nothing.
    let mut killed = waiting(&config, &messages());
    killed.signal(Signal::KILL);
    killed.wait(Duration::from_secs(30));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
}

#[test]
fn a_file_under_two_names_is_one_file() {
    let slapd = slapd();
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    for name in ["r.jsonl", "undo.ldif", "d.ldif"] {
        std::fs::write(at(name), "").unwrap();
        std::fs::create_dir_all(at("other")).unwrap();
        std::fs::hard_link(at(name), at(&format!("other/{name}"))).unwrap();
    }
    let settings = json!({"undo_file": at("undo.ldif"), "on_error": "skip", "reject_file": at("r.jsonl")});
    let mut first = waiting(&with(&target_config(&slapd), &settings), &messages());
    let pid = first.child().id().to_string();
    let before = slapd.change_marks();
    // The journal has been made since.
    std::fs::hard_link(at("undo.ldif.journal"), at("other/journal")).unwrap();
    for (setting, more) in [
        ("undo_file", json!({"undo_file": at("other/journal")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": at("other/journal")})),
        ("undo_file", json!({"undo_file": at("other/undo.ldif")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": at("other/r.jsonl")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": at("other/undo.ldif")})),
    ] {
        let second = Run::target(&with(&target_config(&slapd), &more)).stdin(lines(&messages())).run();
        second.exits(2).reports_setting(setting).says(&pid).says(at("other").to_str().unwrap());
    }
    assert_untouched(&slapd, &before);
    first.close_stdin_with(b"");
    assert_eq!(first.wait(Duration::from_secs(30)).0, 0);
    // Within one run, too.
    let url = |name: &str| format!("ldif:{}", at(name).display());
    for (setting, settings) in [
        ("undo_file", json!({"undo_file": at("d.ldif"), "server_url": url("other/d.ldif")})),
        (
            "reject_file",
            json!({"on_error": "skip", "reject_file": at("other/d.ldif"), "server_url": url("d.ldif")}),
        ),
    ] {
        Run::target(&settings).stdin(lines(&messages())).run().exits(2).reports_setting(setting);
    }
    assert_eq!(read_text(&at("d.ldif")), "");
}

#[test]
fn a_file_has_one_writer_and_a_state_dir_one_tap() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let content = format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", people());
    std::fs::write(&file, content).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    // It prints STATE only once it is at its end: so wait for the lock.
    let mut first = Run::target(&config).spawn();
    first.write_stdin(lines(&messages()).as_bytes());
    while !dir.path().join("d.ldif.lock").exists() {
        sleep(Duration::from_millis(10));
    }
    let pid = first.child().id().to_string();
    Run::target(&config).stdin(lines(&messages())).run().exits(2).reports_setting("server_url").says(&pid);
    // Reading is free to all.
    let tap = json!({"server_url": format!("ldif:{}", file.display()), "state_dir": dir.path().join("state"),
        "track_deletions": true});
    Run::tap(&tap).run().succeeds();
    first.close_stdin_with(b"");
    assert_eq!(first.wait(Duration::from_secs(30)).0, 0);

    // A tap that nobody reads from does not end.
    let slapd =
        Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(crate::support::people(3_000, PEOPLE)));
    let tap = with(
        &crate::support::tap_config(&slapd),
        &json!({"state_dir": dir.path().join("keys"), "track_deletions": true}),
    );
    let mut first = Run::tap(&tap).spawn();
    let stdout = first.take_stdout();
    while !dir.path().join("keys/.lock").exists() {
        sleep(Duration::from_millis(10));
    }
    let pid = first.child().id().to_string();
    Run::tap(&tap).run().exits(2).reports_setting("state_dir").says(&pid);
    drop(stdout);
    first.wait(Duration::from_secs(30));
    Run::tap(&tap).run().succeeds();
}

/// Each file that a run writes has one run at a time, and the second names the first's process.
#[test]
fn the_second_run_names_the_process_of_the_first_whatever_file_they_share() {
    let slapd = slapd();
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    let own = target_config(&slapd);
    let file = json!({"server_url": format!("ldif:{}", at("d.ldif").display()), "bind_dn": null, "bind_password": null});
    for (setting, config) in [
        ("undo_file", with(&own, &json!({"undo_file": at("undo.ldif")}))),
        ("reject_file", with(&own, &json!({"on_error": "skip", "reject_file": at("r.jsonl")}))),
        ("plan_file", with(&own, &json!({"plan_file": at("plan.ldif"), "first_run": "apply"}))),
        ("server_url", with(&own, &file)),
    ] {
        let mut first = Run::target(&config).spawn();
        let pid = first.child().id().to_string();
        let held = || files(dir.path()).iter().any(|name| name.contains("lock"));
        for _ in 0..400 {
            if held() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(held(), "{setting}: {:?}", files(dir.path()));
        let second = Run::target(&config).stdin(lines(&messages())).run();
        second.exits(2).reports_setting(setting).says(&pid);
        first.close_stdin_with(b"");
        assert_eq!(first.wait(Duration::from_secs(60)).0, 0, "{setting}");
    }
}
