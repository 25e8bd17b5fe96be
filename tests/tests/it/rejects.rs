//! `on_error: skip`: what is left out, what is kept of it, and that it can be tried again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::ChildStdout;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::Tree;
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{assert_untouched, lines, no_panic, states, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn options() -> SlapdOptions {
    SlapdOptions::default().seed(unit(USERS))
}

fn skipping(slapd: &Slapd, file: &Path) -> Value {
    with(
        &target_config(slapd),
        &json!({"on_error": "skip", "reject_file": file, "mapping_rules": {"users": {
            "dn_template": format!("uid={{uid}},{USERS}"),
            "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "mail": "mail", "boss": "manager", "pw": "userPassword"},
        }}}),
    )
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "name": text, "mail": text, "boss": text, "age": {"type": "integer"},
        "pw": {"type": ["string", "null"], "contentEncoding": "base64"}, "_sdc_deleted_at": text}}})
}

fn record(id: &str, more: &Value) -> Value {
    let record = with(&json!({"id": id, "name": format!("Name of {id}")}), more);
    json!({"type": "RECORD", "stream": "users", "record": record})
}

fn good(id: &str) -> Value {
    record(id, &json!({}))
}

fn state(n: usize) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

/// The lines of a reject file: its SCHEMAs, and its rejects in the order of their lines in the input.
#[track_caller]
fn read(file: &Path) -> (Vec<Value>, Vec<Value>) {
    let text = ldap_tests::run::read_text(file);
    let all: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (mut rejects, schemas): (Vec<_>, Vec<_>) = all.into_iter().partition(|l| l["type"] == "REJECT");
    rejects.sort_by_key(|r| r["line"].as_u64());
    (schemas, rejects)
}

/// The lines of a running target's stdout, as they come; the receiver waits no longer than it should take.
fn printed(stdout: ChildStdout) -> impl Fn() -> Option<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let _ = sender.send(line.unwrap_or_default());
        }
    });
    move || match receiver.recv_timeout(Duration::from_secs(20)) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no STATE comes"),
    }
}

fn has(tree: &Tree, id: &str) -> bool {
    tree.contains_key(&format!("uid={id},{USERS}"))
}

/// A good record, and between good ones each kind of bad one: what is wrong, the code, and the attribute.
fn mixed() -> (Vec<Value>, Vec<(&'static str, Value, Value)>) {
    let bad = [
        (record("invalid", &json!({"age": "old"})), "/age", json!(null), json!(null)),
        (record("", &json!({})), "uid", json!(null), json!(null)),
        (record("nameless", &json!({"name": null})), "objectClassViolation (65)", json!(65), json!("sn")),
        (
            record("syntax", &json!({"mail": "zoë@example"})),
            "invalidAttributeSyntax (21)",
            json!(21),
            json!("mail"),
        ),
        (record("device", &json!({})), "invalid structural object class chain", json!(65), json!(null)),
        (
            record("boss", &json!({"boss": "nobody"})),
            "invalidAttributeSyntax (21)",
            json!(21),
            json!("manager"),
        ),
    ];
    let mut messages = vec![schema()];
    let mut expected = Vec::new();
    for (n, (record, reason, code, attribute)) in bad.into_iter().enumerate() {
        messages.extend([good(&format!("good{n}")), record, state(n)]);
        expected.push((reason, code, attribute));
    }
    (messages, expected)
}

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
    let output = output.says("6 added").says("6 rejected").says("rejects.jsonl");
    assert!(output.stderr.contains("line 3, stream `users`"), "{}", output.stderr);

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
fn a_reject_file_is_input_again_and_corrected_lines_are_written() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = skipping(&slapd, &file);
    let messages = [
        schema(),
        record("nameless", &json!({"name": null, "mail": "a@example.test"})),
        record("syntax", &json!({"mail": "zoë@example"})),
        record("pw", &json!({"name": null, "pw": "e1NTSEF9c2VjcmV0LXNlY3JldA=="})),
    ];
    Run::target(&config).messages(&messages).run().exits(4);
    let (schemas, mut rejects) = read(&file);
    let text = ldap_tests::run::read_text(&file);

    // As they are they come back, into another file; without the flag the line is refused.
    let second = dir.path().join("again.jsonl");
    let again = with(&config, &json!({"reject_file": second}));
    Run::target(&again).raw_file("--input", text.as_bytes()).arg("--retry-rejects").run().exits(4);
    assert_eq!(read(&second).1.len(), 3);
    Run::target(&again)
        .raw_file("--input", text.as_bytes())
        .run()
        .exits(1)
        .says("line 2")
        .says("--retry-rejects");

    rejects[0]["record"]["name"] = json!("Now Named");
    rejects[1]["record"]["mail"] = json!("zoe@example.test");
    rejects[2]["record"]["name"] = json!("No Password Yet");
    let corrected = lines(&schemas) + &lines(&rejects);
    let output =
        Run::target(&again).raw_file("--input", corrected.as_bytes()).arg("--retry-rejects").run().succeeds();
    let output = output.says("line 4, stream `users`: `pw` is masked");
    no_panic(&output);
    let tree = slapd.dump();
    assert_eq!(tree[&format!("uid=nameless,{USERS}")]["mail"].len(), 1);
    assert!(has(&tree, "syntax"));
    let entry = &tree[&format!("uid=pw,{USERS}")];
    assert!(!entry.contains_key("userpassword"), "the mask is no password: {entry:?}");
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
fn more_than_max_rejects_fail_the_run_and_state_stays_before_the_one_too_many() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = with(&skipping(&slapd, &file), &json!({"max_rejects": 2, "max_in_flight": 1}));
    let (messages, _) = mixed();
    let output = Run::target(&config).messages(&messages).run().exits(1).says("max_rejects").says("line 9");
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
fn what_is_the_servers_fault_fails_the_run_and_rejects_nothing() {
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let slapd = Slapd::start(SlapdOptions { database_conf: "readonly on\n".into(), ..options() });
    let messages = [schema(), state(1), good("a"), good("b"), state(2)];
    let output = Run::target(&skipping(&slapd, &file))
        .messages(&messages)
        .run()
        .exits(1)
        .says("unwillingToPerform (53)");
    assert_eq!(states(&output), [json!({"n": 1})]);
    assert_eq!(ldap_tests::run::read_text(&file), "");

    // A connection that is lost in the middle.
    let mut slapd = Slapd::start(options());
    let run = Run::target(&skipping(&slapd, &file));
    let mut running = run.spawn();
    let next = printed(running.take_stdout());
    running.write_stdin(lines(&[schema(), good("a"), state(1)]).as_bytes());
    assert_eq!(next().as_deref(), Some("{\"n\":1}"));
    slapd.kill();
    running.close_stdin_with(lines(&[good("b"), good("c"), state(2)]).as_bytes());
    let (code, stderr, _) = running.wait(Duration::from_secs(20));
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(next(), None, "no STATE beyond");
    assert_eq!(ldap_tests::run::read_text(&file), "");
}

#[test]
fn what_the_bound_user_may_not_do_is_the_records_own() {
    // Everybody may write to the own entry only.
    let slapd = Slapd::start(SlapdOptions::with_users());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let alice = json!({"bind_dn": "uid=alice,ou=people,dc=example,dc=test", "bind_password": "alice-pw"});
    let config = with(&skipping(&slapd, &file), &alice);
    let mut rule = config["mapping_rules"]["users"].clone();
    rule["dn_template"] = json!("uid={uid},ou=people,dc=example,dc=test");
    let config = with(&config, &json!({"mapping_rules": {"users": rule, "own": rule}}));
    let mut own = [schema(), good("alice")];
    for message in &mut own {
        message["stream"] = json!("own");
    }
    let mut messages = vec![schema(), good("bob")];
    messages.extend(own);
    messages.push(state(1));
    let output = Run::target(&config).messages(&messages).run().exits(4);
    assert_eq!(states(&output), [json!({"n": 1})]);
    let (schemas, rejects) = read(&file);
    let streams: Vec<&Value> = schemas.iter().map(|s| &s["stream"]).collect();
    assert_eq!(streams, ["users"], "no SCHEMA of a stream without rejects");
    assert_eq!((&rejects[0]["code"], rejects.len()), (&json!(50), 1), "{rejects:#?}");
    let cn = |id: &str| slapd.dump()[&format!("uid={id},ou=people,dc=example,dc=test")]["cn"].clone();
    assert_eq!((cn("alice").len(), cn("bob").len()), (1, 1));
    assert_eq!(cn("alice").first().unwrap(), b"Name of alice");
    assert_eq!(cn("bob").first().unwrap(), b"bob");
}

#[test]
fn what_waits_for_what_never_comes_is_rejected_with_the_servers_answer() {
    let slapd = Slapd::start(options().seed(format!(
        "dn: uid=parent,{USERS}\nobjectClass: account\nuid: parent\n\ndn: uid=child,uid=parent,{USERS}\nobjectClass: account\nuid: child\n"
    )));
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let mut config = skipping(&slapd, &file);
    config["mapping_rules"]["users"]["dn_template"] = json!(format!("uid={{uid}},{USERS}"));
    config["mapping_rules"]["deep"] = config["mapping_rules"]["users"].clone();
    config["mapping_rules"]["deep"]["dn_template"] = json!(format!("uid={{uid}},cn=none,{USERS}"));
    let deep = |mut message: Value| {
        message["stream"] = json!("deep");
        message
    };
    let deletion = record("parent", &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    let messages = [
        schema(),
        deep(schema()),
        deep(good("early")),
        deletion,
        // It waits behind the deletion, and comes to its turn.
        record("parent", &json!({"name": null})),
        deep(good("early")),
        good("fine"),
        deep(good("alone")),
        state(1),
    ];
    let output = Run::target(&config).messages(&messages).run().exits(4);
    no_panic(&output);
    assert_eq!(states(&output).last(), Some(&json!({"n": 1})));
    let (_, rejects) = read(&file);
    let seen: Vec<(Option<u64>, Option<u64>)> =
        rejects.iter().map(|r| (r["line"].as_u64(), r["code"].as_u64())).collect();
    assert_eq!(
        seen,
        [
            (Some(3), Some(32)),
            (Some(4), Some(66)),
            (Some(5), Some(65)),
            (Some(6), Some(32)),
            (Some(8), Some(32))
        ],
        "{rejects:#?}"
    );
    assert_eq!(rejects[0]["matched_dn"], USERS);
    assert!(has(&slapd.dump(), "fine") && has(&slapd.dump(), "parent"));
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
    let output = Run::target(&config).messages(&messages).run().exits(1).says("reject_file /dev/full");
    no_panic(&output);
    assert_eq!(states(&output), [json!({"n": 1})]);
    assert!(has(&slapd.dump(), "a"));

    let before = slapd.change_marks();
    let dir = scratch();
    let config = skipping(&slapd, &dir.path().join("none/rejects.jsonl"));
    let output = Run::target(&config).messages(&messages).run().exits(2).says("none/rejects.jsonl");
    assert!(output.stdout.is_empty(), "known before the first record: {}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn a_line_that_is_no_message_fails_the_run_all_the_same() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let config = skipping(&slapd, &dir.path().join("rejects.jsonl"));
    let input = lines(&[schema(), good("a"), state(1)]) + "{\"type\":\"RECORD\"\n" + &lines(&[state(2)]);
    let output: Output = Run::target(&config).stdin(input).run().exits(1).says("line 4");
    assert_eq!(states(&output), [json!({"n": 1})]);
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
fn settings_of_rejects_that_do_not_go_together_are_2_and_named() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = skipping(&slapd, &file);
    let run = |changes: &Value| Run::target(&with(&config, changes)).messages(&[schema()]).run();
    run(&json!({"reject_file": null})).exits(2).says("reject_file");
    run(&json!({"reject_file": ""})).exits(2).says("reject_file");
    run(&json!({"on_error": "maybe"})).exits(2).says("on_error");
    run(&json!({"max_rejects": -1})).exits(2).says("max_rejects");
    run(&json!({"on_error": "fail"})).succeeds().says("on_error is not skip");
    std::fs::write(&file, lines(&[schema()])).unwrap();
    Run::target(&config)
        .arg("--input")
        .arg(file.display().to_string())
        .arg("--retry-rejects")
        .run()
        .exits(2)
        .says("reject_file");
}

/// What a server answers to an entry of these classes with `more`, of which nothing is right but the name.
#[track_caller]
fn answer(server: &Server, template: &str, classes: &[&str], mapping: &Value, more: &Value) -> Value {
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = with(
        &target_config(server),
        &json!({"on_error": "skip", "reject_file": file, "validate_records": false, "mapping_rules": {"users": {
            "dn_template": template, "object_classes": classes, "attribute_mapping": mapping}}}),
    );
    Run::target(&config).messages(&[schema(), record("x", more), state(1)]).run().exits(4);
    read(&file).1.remove(0)
}

#[test]
fn ds389_and_active_directory_name_the_attribute_in_words_of_their_own() {
    let ds389 = Ds389::start(&Ds389Options::default());
    let samba = Samba::start("");
    let (people, contacts) =
        ("uid={id},dc=example,dc=test".to_owned(), format!("CN={{id}},{}", ldap_tests::samba::SUFFIX));
    let person = ["inetOrgPerson"];
    let cases = [
        (answer(&ds389, &people, &person, &json!({"name": "cn"}), &json!({})), 65, "sn"),
        (
            answer(
                &ds389,
                &people,
                &person,
                &json!({"name": ["cn", "sn"], "n": "uidNumber"}),
                &json!({"n": 5}),
            ),
            65,
            "uidNumber",
        ),
        (
            answer(
                &ds389,
                &people,
                &person,
                &json!({"name": ["cn", "sn"], "n": "manager"}),
                &json!({"n": "nobody"}),
            ),
            21,
            "manager",
        ),
        (
            answer(&samba, &contacts, &["contact"], &json!({"n": "sAMAccountName"}), &json!({"n": "x"})),
            65,
            "sAMAccountName",
        ),
    ];
    for (reject, code, attribute) in cases {
        assert_eq!((&reject["code"], &reject["attribute"]), (&json!(code), &json!(attribute)), "{reject:#}");
    }
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
