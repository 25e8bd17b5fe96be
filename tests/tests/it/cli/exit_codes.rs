//! The exit codes of SPEC 1, and the errors that come with them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use ldap_tests::run::{Log, Output, Program, Run};
use ldap_tests::slapd::{Base, Slapd, SlapdOptions, free_port, scratch};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{lines, no_panic, people, reader_config, states, tap_config, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// Runs each program against this server setting: discovery for the tap; one entry and a STATE for the target.
fn both(config: &Value) -> [Output; 2] {
    let target = with(config, &json!({"base_dn": null, "discovery_sample_size": null}));
    [Run::tap(config).arg("--discover").run(), Run::target(&target).messages(&units(1)).run()]
}

/// SCHEMA, RECORDs of units ou=u0, ou=u1, … directly below dc=example,dc=test, and a STATE.
fn units(count: usize) -> Vec<Value> {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let mut messages = vec![
        json!({"type": "SCHEMA", "stream": "units", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "ou": texts}}}),
    ];
    for i in 0..count {
        messages.push(json!({"type": "RECORD", "stream": "units", "record":
            {"dn": format!("ou=u{i},dc=example,dc=test"), "objectClass": ["organizationalUnit"], "ou": [format!("u{i}")]}}));
    }
    messages.push(json!({"type": "STATE", "value": {"bookmarks": {"units": {"position": count}}}}));
    messages
}

#[track_caller]
fn each_exits(config: &Value, code: i32, fields: &Value) {
    for output in both(config) {
        no_panic(&output);
        let output = output.exits(code).reports(fields);
        assert!(output.stdout.is_empty(), "nothing on stdout: {}", output.stdout_text());
    }
}

#[test]
fn a_wrong_password_is_3_and_never_repeated() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = with(&reader_config(&slapd), &json!({"bind_password": "Wr0ng-Passw0rd"}));
    each_exits(&config, 3, &json!({"code": 49}));
    for output in both(&config) {
        assert!(!output.stderr.contains("Wr0ng-Passw0rd"), "{}", output.stderr);
    }
}

#[test]
fn a_refused_connection_is_3() {
    let port = free_port();
    let config =
        json!({"server_url": format!("ldap://127.0.0.1:{port}"), "base_dn": "dc=x", "retry_attempts": 0});
    each_exits(&config, 3, &json!({"server": format!("ldap://127.0.0.1:{port}")}));
}

#[test]
fn an_unknown_host_is_3() {
    let config = json!({"server_url": "ldap://no-such-host.invalid", "base_dn": "dc=x", "retry_attempts": 0});
    each_exits(&config, 3, &json!({"server": "ldap://no-such-host.invalid:389"}));
}

#[test]
fn a_certificate_of_an_unknown_ca_is_3() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let ldaps = with(&tap_config(&slapd), &json!({"server_url": slapd.ldaps_uri(), "retry_attempts": 0}));
    let start_tls = with(&tap_config(&slapd), &json!({"start_tls": true, "retry_attempts": 0}));
    for config in [ldaps, start_tls] {
        each_exits(&config, 3, &json!({"server": config["server_url"]}));
        // The same servers are fine once the CA is known, or when nobody asks.
        let known = with(&config, &json!({"tls_ca_file": slapd.certificates().ca}));
        let careless = with(&config, &json!({"tls_verify": false}));
        for config in [known, careless] {
            for output in both(&config) {
                output.succeeds();
            }
        }
    }
}

#[test]
fn a_server_that_never_answers_is_3_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("ldap://{}", listener.local_addr().unwrap());
    let config = json!({"server_url": uri, "bind_dn": "cn=x", "bind_password": "x", "base_dn": "dc=x", "retry_attempts": 0,
        "connect_timeout_seconds": 1, "operation_timeout_seconds": 1});
    for output in both(&config) {
        assert!(output.took < Duration::from_secs(20), "{:?}", output.took);
        output.exits(3);
    }
}

#[test]
fn a_failover_list_is_tried_in_order() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let dead = format!("ldap://127.0.0.1:{}", free_port());
    let config =
        with(&tap_config(&slapd), &json!({"server_url": [dead, slapd.ldap_uri()], "retry_attempts": 0}));
    for output in both(&config) {
        output.succeeds();
    }
}

#[test]
fn a_faulty_configuration_is_2_and_names_what_is_wrong() {
    let cases: [(&[u8], &str); 5] = [
        (b"{\"server_url\": ", "--config"),
        (b"[]", "--config"),
        (br#"{"server_url": "ldap://127.0.0.1", "page_size": "many"}"#, "page_size"),
        (br#"{"server_url": 5}"#, "server_url"),
        (br#"{"server_url": "http://127.0.0.1"}"#, "server_url"),
    ];
    for (content, word) in cases {
        for program in Program::ALL {
            let output = Run::bare(program).raw_file("--config", content).run().exits(2);
            no_panic(&output);
            output.reports_setting(word);
        }
    }
}

#[test]
fn a_missing_server_is_2_and_named() {
    for program in Program::ALL {
        Run::bare(program)
            .file("--config", &json!({"page_size": 10}))
            .run()
            .exits(2)
            .reports_setting("server_url");
        Run::bare(program).run().exits(2).reports_setting("server_url");
    }
}

#[test]
fn a_missing_configuration_file_is_2_and_named() {
    for program in Program::ALL {
        let output = Run::bare(program).arg("--config").arg("/no/such/file.json").run().exits(2);
        no_panic(&output);
        output.reports_setting("--config");
    }
}

#[test]
fn an_unknown_flag_is_2() {
    for program in Program::ALL {
        Run::bare(program).arg("--frobnicate").run().exits(2).says("--frobnicate");
    }
}

#[test]
fn options_stand_before_a_subcommand_or_behind_it_and_none_is_dropped() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let dir = scratch();
    let path = dir.path().join("config.json");
    std::fs::write(&path, tap_config(&slapd).to_string()).unwrap();
    let path = path.to_str().unwrap();
    let run = |args: &[&str]| args.iter().fold(Run::bare(Program::Tap), |run, arg| run.arg(*arg)).run();
    let before = run(&["--config", path, "--log-level", "warning", "doctor"]).succeeds();
    let behind = run(&["doctor", "--config", path, "--log-level", "warning"]).succeeds();
    assert!(!before.stdout.is_empty() && !behind.stdout.is_empty());
    run(&["doctor", "--config", path, "--config", path]).succeeds();
    // Both count, in their order: the later one overrides.
    let wrong = dir.path().join("wrong.json");
    std::fs::write(&wrong, r#"{"server_url": "ldif:/no/such/file.ldif"}"#).unwrap();
    let wrong = wrong.to_str().unwrap();
    run(&["--config", wrong, "doctor", "--config", path]).succeeds();
    run(&["--config", path, "doctor", "--config", wrong]).exits(2);
    run(&["--log-level=warning", "doctor", "--config", path, "--log-level", "info"])
        .exits(2)
        .says("--log-level");
    // The subcommand's own option, whose values are others than those of a run's option of that name.
    let report = run(&["--format", "json", "--config", path, "doctor"]).succeeds();
    assert_eq!(report.json()["status"], "healthy");
    run(&["--config", path, "--format", "markdown", "doctor"]).exits(2).says("markdown");
    for (option, subcommand) in [("--discover", "doctor"), ("--catalog=x", "init"), ("--yes", "doctor")] {
        run(&["--config", path, option, subcommand]).exits(2).says(option.split('=').next().unwrap());
    }
}

/// Meltano adds the catalog and the state to every call. `doctor` checks that they can be read.
#[test]
fn doctor_accepts_what_meltano_adds_and_says_if_it_cannot_be_read() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = tap_config(&slapd);
    let catalog = Run::tap(&config).arg("--discover").run().succeeds().json();
    let state = json!({"bookmarks": {}});
    let doctor = |catalog: &Value, state: &Value| {
        Run::tap(&config).file("--catalog", catalog).file("--state", state).arg("doctor").run()
    };
    assert!(!doctor(&catalog, &state).succeeds().stdout.is_empty());
    let wrong = doctor(&json!({"server_url": "x"}), &state).exits(2).reports_setting("--catalog");
    assert!(wrong.stdout.is_empty());
    doctor(&catalog, &json!([])).exits(2).reports_setting("--state");
}

#[test]
fn the_targets_options_stand_before_its_subcommands_too() {
    let dir = scratch();
    let path = dir.path().join("config.json");
    let tree = dir.path().join("tree.ldif");
    std::fs::write(&tree, "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n").unwrap();
    let undo = dir.path().join("undo.ldif");
    let config = json!({"server_url": format!("ldif:{}", tree.display()), "undo_file": undo});
    std::fs::write(&path, config.to_string()).unwrap();
    Run::target(&config).messages(&units(1)).run().succeeds().counts(&[("added", 1)]);
    let (path, undo) = (path.to_str().unwrap(), undo.to_str().unwrap());
    let run = |args: &[&str]| args.iter().fold(Run::bare(Program::Target), |run, arg| run.arg(*arg)).run();
    let before = run(&["--config", path, "--dry-run", "--plan-format", "json", "undo", undo]).succeeds();
    let behind = run(&["undo", undo, "--config", path, "--dry-run", "--plan-format", "json"]).succeeds();
    assert!(!before.stdout.is_empty());
    assert_eq!(before.stdout_text(), behind.stdout_text());
    run(&["--config", path, "--input", "x", "undo", undo]).exits(2).says("--input");
    run(&["--config", path, "undo", undo]).succeeds();
    assert!(!std::fs::read_to_string(&tree).unwrap().contains("ou=u0"));
}

#[test]
fn a_misspelt_key_is_a_warning_with_the_nearest_name() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = with(&tap_config(&slapd), &json!({"page_sise": 10, "bind_pasword_file": "/x"}));
    for output in both(&config) {
        output
            .succeeds()
            .reports(&json!({"setting": "page_sise", "nearest": "page_size"}))
            .reports(&json!({"setting": "bind_pasword_file", "nearest": "bind_password_file"}));
    }
}

#[test]
fn a_filter_or_a_base_that_is_wrong_is_said_so() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let stream = |filter: &str| json!({"schemas": [{"name": "users", "base_dn": PEOPLE, "filter": filter}]});
    let output = Run::tap(&with(&tap_config(&slapd), &stream("(uid=x"))).run().exits(2);
    no_panic(&output);
    output.reports_setting("schemas[0].filter");
    let gone = with(&tap_config(&slapd), &json!({"base_dn": "ou=gone,dc=example,dc=test"}));
    let output = Run::tap(&gone).run();
    assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
    output.reports_setting("base_dn").says("ou=gone,dc=example,dc=test");
}

#[test]
fn stdout_closed_early_is_1_without_a_word() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(3_000, PEOPLE)));
    let run = Run::tap(&tap_config(&slapd)).arg("--log-level").arg("warning");
    let mut running = run.spawn();
    running.close_stdin_with(&[]);
    let mut reader = BufReader::new(running.take_stdout());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    drop(reader);
    let (code, stderr, _) = running.wait(Duration::from_secs(60));
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stderr, "", "0 lines of noise");
}

/// Sends a signal to a tap that is blocked by its reader; what came out then, line by line, and the code.
fn interrupted_tap(slapd: &Slapd, signal: Signal) -> (i32, Vec<Value>, Log) {
    let run = Run::tap(&tap_config(slapd));
    let mut running = run.spawn();
    running.close_stdin_with(&[]);
    let mut reader = BufReader::new(running.take_stdout());
    let mut text = String::new();
    while !text.contains("uid=person") {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0, "the tap ended before it was interrupted");
    }
    running.signal(signal);
    reader.read_to_string(&mut text).unwrap();
    let (code, stderr, _) = running.wait(Duration::from_secs(60));
    let lines = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("a line was cut ({e}): {l}")))
        .collect();
    (code, lines, stderr)
}

#[test]
fn a_signal_stops_the_tap_at_the_next_record_with_the_last_safe_state() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(20_000, PEOPLE)));
    for (signal, expected) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (code, lines, stderr) = interrupted_tap(&slapd, signal);
        assert_eq!(code, expected, "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let records = lines.iter().filter(|m| m["type"] == "RECORD").count();
        assert!(records < 20_000, "it stopped before its end: {records}");
        assert_eq!(lines.last().unwrap()["type"], "STATE", "the last safe STATE is last");
        let cut = lines.iter().rev().find(|m| m["type"] == "RECORD").unwrap()["stream"].clone();
        let versions: Vec<_> =
            lines.iter().filter(|m| m["type"] == "ACTIVATE_VERSION" && m["stream"] == cut).collect();
        assert!(versions.is_empty(), "an incomplete answer activates no version");
    }
}

#[test]
fn a_signal_stops_the_target_after_what_is_in_flight() {
    for (signal, expected) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let slapd = Slapd::start(SlapdOptions::default());
        let run = Run::target(&target_config(&slapd));
        let mut running = run.spawn();
        let mut stdout = BufReader::new(running.take_stdout());
        let messages = units(50);
        let state = messages.last().unwrap();
        running.write_stdin(lines(&messages).as_bytes());
        // Its STATE says that all 50 are written; then the signal comes while it waits for more.
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), state["value"]);
        running.signal(signal);
        let (code, stderr, _) = running.wait(Duration::from_secs(30));
        assert_eq!(code, expected, "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(slapd.dump().len(), 51);
    }
}

#[test]
fn secrets_are_on_no_stream_at_any_level() {
    let secret = "S3cret-In-An-Entry";
    let encoded = "UzNjcmV0LUluLUFuLUVudHJ5";
    let entry = format!(
        "dn: uid=keeper,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: keeper\ncn: k\nsn: k\nuserPassword: {secret}\n"
    );
    let slapd = Slapd::start(SlapdOptions::with_users().seed(entry));
    let other = Slapd::start(SlapdOptions { base: Base::Empty, ..SlapdOptions::default() });
    let hidden = |output: &Output, words: &[&str]| {
        for word in words {
            assert!(!output.stderr.contains(word), "{word} is on stderr:\n{}", output.stderr);
        }
    };
    for level in ["trace", "debug", "info"] {
        for format in ["text", "json"] {
            let leveled = |run: Run| run.arg("--log-level").arg(level).arg("--log-format").arg(format);
            let output = leveled(Run::tap(&reader_config(&slapd))).run().succeeds();
            hidden(&output, &["reader-pw"]);
            if level == "trace" {
                assert!(!output.stderr.is_empty(), "trace says something, or this test shows nothing");
            }
            let output = leveled(Run::tap(&tap_config(&slapd))).run().succeeds();
            hidden(&output, &[secret, encoded]);
            assert!(output.stdout_text().contains(encoded), "the administrator's tap emits the value");
            let output = leveled(Run::target(&target_config(&other))).stdin(&output.stdout).run().succeeds();
            hidden(&output, &[secret, encoded]);
        }
    }
    // A password that comes by the environment, or that is refused.
    let url = slapd.ldap_uri();
    let reader = slapd.reader_dn();
    for password in ["reader-pw", "Wr0ng-Passw0rd"] {
        let output = Run::bare(Program::Tap)
            .arg("--config")
            .arg("ENV")
            .env("TAP_LDAP_SERVER_URL", &url)
            .env("TAP_LDAP_BIND_DN", &reader)
            .env("TAP_LDAP_BIND_PASSWORD", password)
            .arg("--log-level")
            .arg("trace")
            .run();
        hidden(&output, &[password]);
    }
    // Nor when the target chokes on the record that has one.
    let config = target_config(&other);
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": {"type": "array"}, "userPassword": {"type": "integer"}}}});
    let record = json!({"type": "RECORD", "stream": "people", "record":
        {"dn": format!("uid=x,{PEOPLE}"), "objectClass": ["account"], "userPassword": secret}});
    let output = Run::target(&config).arg("--log-level").arg("trace").messages(&[schema, record]).run();
    assert!(output.code == 1, "code {}: {}", output.code, output.stderr);
    hidden(&output, &[secret]);
    assert!(states(&output).is_empty());
}

#[test]
fn an_empty_input_is_no_fault() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)));
    let output = Run::target(&target_config(&slapd)).run().succeeds();
    assert!(output.stdout.is_empty());
}

#[test]
fn the_targets_environment_is_a_configuration() {
    let slapd = Slapd::start(SlapdOptions::default());
    let run = |password: &str| {
        Run::bare(Program::Target)
            .arg("--config")
            .arg("ENV")
            .env("TARGET_LDAP_SERVER_URL", &slapd.ldap_uri())
            .env("TARGET_LDAP_BIND_DN", &slapd.admin_dn())
            .env("TARGET_LDAP_BIND_PASSWORD", password)
            // The tap's own are none of the target's.
            .env("TAP_LDAP_SERVER_URL", "ldap://no-such-host.invalid")
            .messages(&units(1))
            .run()
    };
    run("Wr0ng-Passw0rd").exits(3);
    run(ldap_tests::slapd::ADMIN_PASSWORD).succeeds();
    assert_eq!(slapd.dump().len(), 2);
}
