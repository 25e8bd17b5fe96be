//! Full disks, and folders that cannot be written to.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ldif::assert_same;
use ldap_tests::run::{Program, Run, read_text};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{BASE, config, names, people, schema, state};
use crate::support::{assert_untouched, no_panic, states, tap_config, unit, with};

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(BASE)))
}

#[test]
fn under_the_reject_file_no_reject_is_lost() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = config(&slapd, &json!({"on_error": "skip", "reject_file": file}));
    // Every second one is refused by the server: a person has no mail.
    let input = |from: usize| {
        let mut all = people(from, 40);
        for message in &mut all {
            let n = message["record"]["cn"][0]
                .as_str()
                .map_or(0, |cn| cn.trim_start_matches('p').parse::<usize>().unwrap());
            if n % 2 == 1 {
                message["record"]["objectClass"] = json!(["no-such-class"]);
            }
        }
        all
    };
    let output = Run::target(&config)
        .messages(&input(0))
        .file_limit(8 * 1024)
        .run()
        .exits(1)
        .reports_setting("reject_file");
    no_panic(&output);
    let reached = usize::try_from(states(&output).last().unwrap()["n"].as_u64().unwrap()).unwrap();
    assert!((2..40).contains(&reached), "{reached}");
    assert!(!read_text(&file).ends_with('\n'), "a part of a line got there, or this shows nothing");
    // Again, from there, with room.
    let again = Run::target(&config).messages(&input(reached)).run().exits(4);
    assert_eq!(states(&again).last(), Some(&json!({"n": 40})));
    let rejected: BTreeSet<String> = read_text(&file)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| Some(line["record"]["cn"][0].as_str()?.to_owned()))
        .collect();
    let odd: BTreeSet<String> = (0..40).filter(|n| n % 2 == 1).map(|n| format!("p{n}")).collect();
    assert_eq!(rejected, odd);
    assert_eq!(slapd.dump_below(BASE, &["1.1"]).len(), 1 + 20);
    // The line that was cut is told apart when the file is tried again, and costs no other.
    let retried = Run::target(&with(&config, &json!({"reject_file": dir.path().join("second.jsonl")})))
        .arg("--retry-rejects")
        .arg("--input")
        .arg(file.to_str().unwrap())
        .run();
    no_panic(&retried);
    assert!([1, 4].contains(&retried.code), "{}", retried.stderr);
}

#[test]
fn under_the_undo_file_nothing_is_done_that_cannot_be_undone() {
    let mut there = unit(BASE);
    for n in 0..60 {
        let text = "old ".repeat(100);
        write!(there, "dn: cn=p{n},{BASE}\nobjectClass: person\ncn: p{n}\nsn: s\ndescription: {text}\n\n")
            .unwrap();
    }
    let slapd = Slapd::start(SlapdOptions::default().seed(there));
    let before = slapd.dump();
    let dir = scratch();
    let undo = dir.path().join("undo.ldif");
    for max_in_flight in [1, 8] {
        let config = config(&slapd, &json!({"undo_file": undo, "max_in_flight": max_in_flight}));
        let output = Run::target(&config)
            .messages(&people(0, 60))
            .file_limit(8 * 1024)
            .run()
            .exits(1)
            .says("undo_file");
        no_panic(&output);
        let after = slapd.dump();
        assert!(after != before, "some of it was done");
        // What was done before the disk was full is in the file, or beside it where that found no room either.
        for name in names(dir.path()).into_iter().rev() {
            let path = dir.path().join(&name);
            if name.contains(".journal") {
                let undo = Run::bare(Program::Target).arg("undo").arg(path.to_str().unwrap());
                undo.file("--config", &config).run().succeeds();
            } else {
                slapd.ldapmodify(read_text(&path));
            }
            std::fs::remove_file(path).unwrap();
        }
        assert_same("before", &before, "taken back", &slapd.dump());
    }
}

#[test]
fn a_journal_whose_end_is_missing_is_still_an_undo_file() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let undo = dir.path().join("undo.ldif");
    let config = config(&slapd, &json!({"undo_file": undo}));
    Run::target(&config).messages(&people(0, 3)).run().succeeds();
    // As a machine leaves the journal of an earlier version, which is LDIF alone, whose power failed while a fourth change was
    // noted down.
    let text = read_text(&undo);
    let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let journal = plain.join("\n") + &format!("\n\ndn: cn=p3,{BASE}\nchangetype: del");
    let name = undo.with_file_name("undo.ldif.journal");
    std::fs::remove_file(&undo).unwrap();
    std::fs::write(&name, journal).unwrap();
    Run::target(&config).messages(&[schema()]).run().succeeds().says("undo.ldif.killed");
    slapd.ldapmodify(read_text(&dir.path().join("undo.ldif.killed")));
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn under_an_ldif_file_the_old_one_stays() {
    let dir = scratch();
    let file = dir.path().join("people.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    Run::target(&config).messages(&people(0, 3)).run().succeeds();
    let before = std::fs::read(&file).unwrap();
    let output =
        Run::target(&config).messages(&people(3, 50)).file_limit(8 * 1024).run().exits(1).says("people.ldif");
    no_panic(&output);
    assert!(output.stdout.is_empty(), "no STATE: {}", output.stdout_text());
    assert!(std::fs::read(&file).unwrap() == before);
    assert_eq!(names(dir.path()), ["people.ldif"], "nothing is left behind");
    Run::target(&config).messages(&people(3, 50)).run().succeeds();
    assert_eq!(read_text(&file).matches("\nsn: x").count(), 50);
}

#[test]
fn under_the_index_of_keys_no_deletion_is_lost() {
    let seed = crate::support::people(2_000, BASE);
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(BASE)).seed(seed));
    let dir = scratch();
    let stream = json!([{"name": "people", "base_dn": BASE, "filter": "(uid=*)", "attributes": ["uid"]}]);
    let config = with(
        &tap_config(&slapd),
        &json!({"track_deletions": true, "state_dir": dir.path(), "schemas": stream, "state_interval_records": 500}),
    );
    let deleted = |output: &ldap_tests::run::Output| {
        let gone = |r: &&&Value| !r["_sdc_deleted_at"].is_null();
        output
            .records(None)
            .iter()
            .filter(gone)
            .map(|r| r["dn"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = Run::tap(&config).run().succeeds();
    let safe = |output: &ldap_tests::run::Output, or: &Value| {
        output.of_type("STATE").last().map_or_else(|| or.clone(), |m| m["value"].clone())
    };
    let mut position = safe(&first, &json!({}));
    slapd.ldapmodify(format!("dn: uid=person7,{BASE}\nchangetype: delete\n"));
    let index = dir.path().join(names(dir.path()).first().unwrap());
    let size = std::fs::metadata(&index).unwrap().len();
    let mut failed = 0;
    for limit in [512, size / 2, size] {
        let run = Run::tap(&config).file("--state", &position).file_limit(limit);
        let output = run.run();
        no_panic(&output);
        assert!([0, 1].contains(&output.code), "{}: {}", output.code, output.stderr);
        if output.code == 1 {
            failed += 1;
            assert!(output.stderr.contains("state_dir"), "{}", output.stderr);
        }
        assert!(output.of_type("ACTIVATE_VERSION").is_empty() || output.code == 0);
        if output.code == 0 {
            assert_eq!(deleted(&output), [format!("uid=person7,{BASE}")], "it is told");
        }
        position = safe(&output, &position);
        if output.code == 0 {
            slapd.ldapadd(format!("dn: uid=person7,{BASE}\nobjectClass: account\nuid: person7\n"));
            let there = Run::tap(&config).file("--state", &position).run().succeeds();
            position = safe(&there, &position);
            slapd.ldapmodify(format!("dn: uid=person7,{BASE}\nchangetype: delete\n"));
        }
    }
    assert!(failed >= 1, "no limit was met");
    let output = Run::tap(&config).file("--state", &position).run().succeeds();
    assert_eq!(deleted(&output), [format!("uid=person7,{BASE}")]);
}

#[test]
fn under_the_report_or_the_kept_input_nothing_is_half_done() {
    let slapd = slapd();
    let dir = scratch();
    let report = dir.path().join("report.html");
    let output = Run::tap(&tap_config(&slapd))
        .arg("--discover")
        .arg("--report")
        .arg(report.to_str().unwrap())
        .file_limit(1024)
        .run()
        .exits(1)
        .says("report.html");
    no_panic(&output);
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));

    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd, &json!({"max_deletes": 5})))
        .messages(&people(0, 50))
        .env("TMPDIR", dir.path().to_str().unwrap())
        .file_limit(4096)
        .run()
        .exits(1);
    no_panic(&output);
    assert!(output.stdout.is_empty() && output.stderr.contains("temporary file"), "{}", output.stderr);
    assert_untouched(&slapd, &before);
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named_before_anything_is_done() {
    let slapd = slapd();
    let before = slapd.change_marks();
    let dir = scratch();
    // Not even root makes files there.
    for folder in ["/sys/kernel".to_owned(), dir.path().join("missing").display().to_string()] {
        let file = format!("{folder}/ldap-test-file");
        let target = |changes: Value| (Program::Target, config(&slapd, &changes), "");
        let tap = |changes: Value, flag| (Program::Tap, with(&tap_config(&slapd), &changes), flag);
        for (program, config, flag) in [
            target(json!({"undo_file": file})),
            target(json!({"on_error": "skip", "reject_file": file})),
            target(json!({"server_url": format!("ldif:{file}"), "bind_dn": null, "bind_password": null})),
            tap(json!({"track_deletions": true, "state_dir": format!("/sys/kernel/{}", file.len())}), ""),
            tap(json!({}), "--report"),
        ] {
            let mut run = Run::bare(program)
                .file("--config", &config)
                .messages(&[people(0, 2), vec![state(9)]].concat());
            if !flag.is_empty() {
                run = run.arg("--discover").arg(flag).arg(&file);
            }
            let output = run.run();
            no_panic(&output);
            assert!([1, 2].contains(&output.code), "{config}: {}", output.code);
            let named = if config["state_dir"].is_null() { &*file } else { "/sys/kernel/" };
            assert!(output.stderr.contains(named), "{config}: {}", output.stderr);
            assert!(output.of_type("STATE").is_empty() && output.of_type("RECORD").is_empty());
            if program == Program::Target {
                assert!(output.stdout.is_empty(), "{}", output.stdout_text());
            }
        }
    }
    assert_untouched(&slapd, &before);
}
