//! The reject file: what is in it, when it is written, and what is masked.

use std::path::Path;
use std::time::Duration;

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, scratch};
use serde_json::{Value, json};

use super::{USERS, good, has, mixed, options, printed, read, record, schema, skipping, state};
use crate::support::{assert_untouched, lines, no_panic, states, with};

#[test]
fn bad_records_are_kept_and_all_others_are_written() {
    let slapd = Slapd::start(options().seed(format!(
        "dn: uid=device,{USERS}\nobjectClass: device\nobjectClass: uidObject\ncn: x\nuid: device\n"
    )));
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = skipping(&slapd, &file);
    let (messages, expected) = mixed();
    let output = Run::target(&config).messages(&messages).run().exits(4);
    no_panic(&output);
    assert_eq!(states(&output).last(), Some(&json!({"n": 5})), "STATE covers what was rejected");
    let output = output.counts(&[("added", 6), ("rejected", 6)]).says("rejects.jsonl");
    output.reports(&json!({"line": 3, "stream": "users"}));

    let (schemas, rejects) = read(&file);
    assert_eq!(schemas.len(), 1, "once for the stream");
    assert_eq!(schemas[0]["schema"], schema()["schema"]);
    assert_eq!(rejects.len(), expected.len(), "{rejects:#?}");
    for (n, ((reason, code, attribute), reject)) in expected.iter().zip(&rejects).enumerate() {
        assert!(reject["reason"].as_str().unwrap().contains(reason), "{reason}: {reject:#}");
        assert_eq!(reject["code"], *code, "{reject:#}");
        assert_eq!(reject["attribute"], *attribute, "{reject:#}");
        assert_eq!(reject["stream"], "users");
        assert_eq!(reject["line"], 3 * n + 3);
        assert_eq!(reject["record"], messages[3 * n + 2]["record"]);
        assert_eq!(reject["message"].is_string(), code.is_number(), "the server's own words: {reject:#}");
    }
    assert_eq!(rejects[2]["dn"], format!("uid=nameless,{USERS}"));
    let tree = slapd.dump();
    assert!((0..6).all(|n| has(&tree, &format!("good{n}"))), "{:?}", tree.keys());
    assert!(!has(&tree, "nameless") && !has(&tree, "syntax"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7, 0, "what a directory holds is not for everybody: {mode:o}");
    }
}

#[test]
fn passwords_are_masked_in_the_file_and_in_every_log() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let mut config = skipping(&slapd, &file);
    config["mapping_rules"]["users"]["values"] = json!({"authPassword": "{token}"});
    // A template's value of a type that the schema does not know: the server may repeat it.
    let mut wide = schema();
    wide["schema"]["properties"]["token"] = json!({"type": "string"});
    let secrets = ["c2VjcmV0LXBhc3N3b3Jk", "token-0815", "plain-4711"];
    let messages = [
        wide,
        record("x", &json!({"pw": secrets[0], "token": secrets[1], "old_password": secrets[2]})),
        state(1),
    ];
    let output = Run::target(&config).arg("--log-level").arg("trace").messages(&messages).run().exits(4);
    let text = ldap_tests::run::read_text(&file);
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
        assert!(!output.stderr.contains(secret), "{}", output.stderr);
    }
    let (_, rejects) = read(&file);
    assert_eq!(rejects[0]["masked"], json!(["pw", "token", "old_password"]));
    assert_eq!(rejects[0]["record"]["name"], "Name of x", "and only they");
}

#[test]
fn rejects_are_in_the_file_before_the_state_that_covers_them_is_printed() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    std::fs::write(&file, "{\"half\":").unwrap();
    let run = Run::target(&skipping(&slapd, &file));
    let mut running = run.spawn();
    let next = printed(running.take_stdout());
    running.write_stdin(lines(&[schema()]).as_bytes());
    for n in 0..20 {
        running.write_stdin(lines(&[record("x", &json!({"name": null})), state(n)]).as_bytes());
        assert_eq!(next(), Some(format!("{{\"n\":{n}}}")));
        let text = std::fs::read_to_string(&file).unwrap();
        // The line that a crash broke off, the SCHEMA, and the rejects.
        assert_eq!(text.lines().count(), n + 3, "{text}");
        assert!(text.starts_with("{\"half\":\n{\"type\":\"SCHEMA\""), "{text}");
    }
    running.close_stdin_with(&[]);
    assert_eq!(running.wait(Duration::from_secs(20)).0, 4);
}

#[test]
fn a_reject_file_that_cannot_be_written_fails_the_run_and_loses_nothing() {
    let slapd = Slapd::start(options());
    let messages =
        [schema(), good("a"), state(1), record("bad", &json!({"name": null})), good("b"), state(2)];
    let config = skipping(&slapd, Path::new("/dev/full"));
    let output = Run::target(&config).messages(&messages).run().exits(1).reports_setting("reject_file");
    no_panic(&output);
    assert_eq!(states(&output), [json!({"n": 1})]);
    assert!(has(&slapd.dump(), "a"));

    let before = slapd.change_marks();
    let dir = scratch();
    let config = skipping(&slapd, &dir.path().join("none/rejects.jsonl"));
    let output = Run::target(&config).messages(&messages).run().exits(2).reports_setting("reject_file");
    assert!(output.stdout.is_empty(), "known before the first record: {}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn a_file_destination_rejects_too() {
    let dir = scratch();
    let (file, ldif) = (dir.path().join("rejects.jsonl"), dir.path().join("out.ldif"));
    let slapd = Slapd::start(options());
    let config = with(
        &skipping(&slapd, &file),
        &json!({"server_url": format!("ldif:{}", ldif.display()), "bind_dn": null, "bind_password": null}),
    );
    let messages = [schema(), good("a"), record("", &json!({})), state(1)];
    let output = Run::target(&config).messages(&messages).run().exits(4);
    assert_eq!(states(&output), [json!({"n": 1})]);
    assert_eq!(read(&file).1.len(), 1);
    assert!(ldap_tests::run::read_text(&ldif).contains("uid: a"));
}

#[test]
fn a_killed_run_that_goes_on_from_its_state_has_lost_neither_a_record_nor_a_reject() {
    const RECORDS: usize = 400;
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = skipping(&slapd, &file);
    // Every third is bad, and each has its STATE.
    let input = |from: usize| {
        let mut messages = vec![schema()];
        for n in from..RECORDS {
            let name = if n % 3 == 0 { json!(null) } else { json!(format!("n{n}")) };
            messages.extend([record(&format!("u{n}"), &json!({"name": name})), state(n)]);
        }
        lines(&messages)
    };
    let mut done = 0;
    for _ in 0..4 {
        let run = Run::target(&config);
        let mut running = run.spawn();
        let next = printed(running.take_stdout());
        running.write_stdin(input(done).as_bytes());
        // All of it fits into the pipe: the first STATE is printed while others are still on their way.
        let state: Value = serde_json::from_str(&next().unwrap()).unwrap();
        running.signal(rustix::process::Signal::KILL);
        let _ = running.wait(Duration::from_secs(10));
        // What it still printed before it died counts.
        let last = std::iter::from_fn(&next).last().map_or(state, |l| serde_json::from_str(&l).unwrap());
        done = usize::try_from(last["n"].as_u64().unwrap()).unwrap() + 1;
        if done == RECORDS {
            break;
        }
    }
    let output = Run::target(&config).stdin(input(done)).run();
    assert!(output.code == 4 || output.code == 0, "{}", output.stderr);
    let (_, rejects) = read(&file);
    let tree = slapd.dump();
    for n in 0..RECORDS {
        let id = format!("u{n}");
        let rejected = rejects.iter().any(|r| r["record"]["id"] == json!(id));
        assert_eq!((rejected, has(&tree, &id)), (n % 3 == 0, n % 3 != 0), "{id}");
    }
}

#[test]
fn a_reject_file_steers_no_terminal_and_is_the_same_json() {
    let dir = scratch();
    let (file, odd) =
        (dir.path().join("rejects.jsonl"), "a\u{7f}\u{85}\u{9b}\u{202e}\u{2066}\u{2028}\u{1b}z");
    let config = json!({"server_url": format!("ldif:{}", dir.path().join("d.ldif").display()),
        "on_error": "skip", "reject_file": file});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"description": odd,
        "properties": {"dn": {"type": "string"}, "objectClass": {"type": "array"}, "cn": {"type": "string"}}}});
    let record =
        json!({"type": "RECORD", "stream": "all", "record": {"dn": odd, "objectClass": ["x"], "cn": odd}});
    Run::target(&config).messages(&[schema, record]).run().exits(4);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c < '\u{2000}'), "{text:?}");
    let (schemas, rejects) = read(&file);
    assert_eq!((schemas.len(), rejects.len()), (1, 1), "{text}");
    assert_eq!(schemas[0]["schema"]["description"], odd);
    assert_eq!(rejects[0]["record"]["cn"], odd);
}
