//! The file itself: rotation, names, and errors while it is written.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::run::{Run, read_text};
use ldap_tests::server::scratch;
use serde_json::json;

use super::{PEOPLE, files, messages, person, schema, slapd, undo, waiting};
use crate::support::{lines, target_config, with};

#[test]
fn a_dry_run_leaves_the_undo_file_and_the_reject_file_as_they_are() {
    let slapd = slapd();
    let dir = scratch();
    let [file, rejects] = ["undo.ldif", "rejects.jsonl"].map(|n| dir.path().join(n));
    let config =
        with(&target_config(&slapd), &json!({"undo_file": file, "on_error": "skip", "reject_file": rejects}));
    Run::target(&config).stdin(lines(&messages())).arg("--dry-run").run().succeeds();
    assert_eq!(files(dir.path()), [""; 0]);
    std::fs::write(&file, "the last run's").unwrap();
    Run::target(&config).stdin(lines(&messages())).arg("--dry-run").run().succeeds();
    assert_eq!(read_text(&file), "the last run's");
}

#[test]
fn each_run_may_have_a_file_of_its_own_and_the_newest_are_kept() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    std::fs::write(dir.path().join("undo-mine.ldif"), "mine").unwrap();
    let name = dir.path().join("undo-{run_id}.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": name, "undo_keep": 2}));
    for n in 0..4 {
        let all = [schema(), person(0, &json!({"title": [format!("t{n}")]}))];
        Run::target(&config).stdin(lines(&all)).run().succeeds();
        // By the second.
        sleep(Duration::from_millis(1_100));
    }
    let kept: Vec<String> = files(dir.path()).into_iter().filter(|n| n != "undo-mine.ldif").collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(read_text(&dir.path().join("undo-mine.ldif")), "mine");
    for name in kept.iter().rev() {
        undo(&config, &dir.path().join(name), &[]).succeeds();
    }
    let title = &slapd.dump()[&format!("uid=p0,{PEOPLE}")]["title"];
    assert_eq!(title, &[b"t1".to_vec()].into());
    assert!(before != slapd.dump());
    for bad in ["undo-{run}.ldif", "{run_id}/undo.ldif"] {
        let config = with(&config, &json!({"undo_file": dir.path().join(bad)}));
        Run::target(&config).stdin(lines(&messages())).run().exits(2).reports_setting("undo_file");
    }
}

#[test]
fn the_runs_own_failure_comes_first_and_that_of_the_undo_file_is_said_too() {
    let slapd = slapd();
    let dir = scratch();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let config = with(&target_config(&slapd), &json!({"undo_file": folder.join("undo.ldif")}));
    let mut running = waiting(&config, &messages());
    std::fs::remove_dir_all(&folder).unwrap();
    running.close_stdin_with(b"{ this is no message\n");
    let (code, stderr, _) = running.wait(Duration::from_secs(30));
    assert_eq!(code, 1, "{stderr}");
    let errors = stderr.about(&json!({"level": "error"}));
    let [undo, own] = errors.as_slice() else { panic!("{stderr}") };
    assert!(undo["message"].as_str().unwrap().contains("undo_file"), "{stderr}");
    assert_eq!(own["line"], 8, "what the run ends with is its own failure: {stderr}");
}

#[test]
fn files_of_a_run_are_no_other_file_of_it() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("input"), lines(&messages())).unwrap();
    std::fs::write(path("directory.ldif"), "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n")
        .unwrap();
    let config = json!({"server_url": format!("ldif:{}", path("directory.ldif").display())});
    let before = std::fs::read(path("input")).unwrap();
    let today = Command::new("date").args(["-u", "+u-%F"]).output().unwrap().stdout;
    let today = String::from_utf8(today).unwrap().trim().to_owned();
    std::os::unix::fs::symlink(path("u.journal"), path("linked")).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    for more in [
        json!({"undo_file": path("a.prom"), "metrics_file": path("./a.prom")}),
        json!({"undo_file": path("input")}),
        json!({"undo_file": path("directory.ldif")}),
        json!({"metrics_file": path("directory.ldif")}),
        // Names that the program makes of another one.
        json!({"undo_file": path("u"), "on_error": "skip", "reject_file": path("u.journal")}),
        json!({"undo_file": path("r.lock"), "on_error": "skip", "reject_file": path("r")}),
        json!({"undo_file": path("u"), "on_error": "skip", "reject_file": path("u.killed.2")}),
        json!({"undo_file": path("u.killed")}),
        json!({"undo_file": path("linked")}),
        json!({"undo_file": path("u-{date}"), "on_error": "skip", "reject_file": path(&today)}),
        // Folders that are not there, and what is no folder.
        json!({"undo_file": path("nowhere/u")}),
        json!({"undo_file": path("input/u")}),
        json!({"on_error": "skip", "reject_file": path("nowhere/r")}),
        json!({"on_error": "skip", "reject_file": path("folder")}),
    ] {
        let run = Run::target(&with(&config, &more)).arg("--input").arg(path("input").to_str().unwrap());
        let output = run.run().exits(2);
        assert!(output.stdout.is_empty(), "{more}");
        assert_eq!(std::fs::read(path("input")).unwrap(), before);
    }
    // The page about a directory does not take its place.
    let page = path("directory.ldif");
    let run = Run::tap(&config).arg("--discover").arg("--report").arg(page.to_str().unwrap());
    run.run().exits(2).reports_setting("--report");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("dn: "));
    let run = Run::tap(&config).arg("--discover").arg("--report").arg(path("nowhere/page").to_str().unwrap());
    run.run().exits(2).reports_setting("--report");
    let below_a_file = json!({"track_deletions": true, "state_dir": path("input/keys")});
    Run::tap(&with(&config, &below_a_file)).run().exits(2).reports_setting("state_dir");
    // What is not a journal of ours is not removed as one.
    std::fs::write(path("u.journal"), lines(&messages())).unwrap();
    let run = Run::target(&with(&config, &json!({"undo_file": path("u")}))).stdin(lines(&messages()));
    run.run().exits(1).says("u.journal");
    assert_eq!(read_text(&path("u.journal")), lines(&messages()));
}
