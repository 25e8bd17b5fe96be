//! An input or a search that ends early deletes nothing.

use std::time::Duration;

use ldap_tests::run::{Run, pipe_runs, spawn_pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::{USERS, activate, config, record, run, schema, slapd, state, whole, with_other};
use crate::support::{
    assert_untouched, done, lines, no_panic, people, states, tap_config, target_config, unit, with,
};

#[test]
fn a_stream_of_which_no_record_came_never_deletes_anything() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let before = slapd.change_marks();
    let mut earlier = record("a");
    earlier["version"] = json!(6);
    let mut gone = record("never");
    gone["record"]["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
    let mut other = [schema(), record("a")];
    for message in &mut other {
        message["stream"] = json!("other");
    }
    let both = with_other(&config);
    let [other_schema, other_record] = other;
    for messages in [
        whole(&[]),
        // Singer taps announce a version before its first record, too.
        vec![schema(), activate(), record("a"), state()],
        vec![schema(), earlier, activate(), state()],
        vec![schema(), gone, activate(), state()],
        vec![schema(), other_schema, other_record, activate(), state()],
        // The source broke off.
        vec![schema(), record("a"), state()],
    ] {
        done(run(&both, &messages));
        assert_untouched(&slapd, &before);
    }
    done(run(&config, &whole(&[]))).reports(&json!({"stream": "users"}));
}

#[test]
fn a_version_of_a_stream_that_no_schema_names_and_one_ahead_of_its_records_are_said() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let before = slapd.change_marks();
    let mut misspelt = activate();
    misspelt["stream"] = json!("Users_");
    let mut foreign = activate();
    foreign["stream"] = json!("something else");
    for (messages, stream, nearest) in [
        (vec![schema(), record("a"), misspelt.clone(), misspelt, state()], "Users_", Some("users")),
        (vec![schema(), record("a"), foreign, state()], "something else", None),
        (vec![schema(), activate(), record("a"), state()], "users", None),
    ] {
        let output = done(run(&config, &messages));
        let warnings = output.stderr.about(&json!({"stream": stream, "nearest": nearest}));
        assert_eq!(warnings.len(), 1, "{}", output.stderr);
        assert_untouched(&slapd, &before);
    }
}

#[test]
fn a_stream_whose_deletions_never_arrive_is_said() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let before = slapd.change_marks();
    let mut unmarked = schema();
    unmarked["schema"]["properties"].as_object_mut().unwrap().remove("_sdc_deleted_at");
    let about = json!({"stream": "users", "setting": "process_activate_version", "level": "warning"});
    for (messages, warnings) in [
        (vec![unmarked.clone(), record("a"), state()], 1),
        // It was announced, or deletions may come as records.
        (vec![unmarked, record("a"), activate(), record("a"), activate()], 0),
        (vec![schema(), record("a"), state()], 0),
    ] {
        let limited = with(&config, &json!({"max_deletes": 0}));
        let output = run(if warnings == 0 { &limited } else { &config }, &messages);
        assert_eq!(output.stderr.about(&about).len(), warnings, "{}", output.stderr);
        assert_untouched(&slapd, &before);
    }
    let without = with(&config, &json!({"process_activate_version": false}));
    let output = done(run(&without, &[schema(), record("a"), state()]));
    assert!(output.stderr.about(&about).is_empty());
    assert!(output.stderr.about(&json!({"messages": 0})).is_empty());
    // A tap that failed before its first message.
    run(&config, &[]).exits(0).reports(&json!({"messages": 0, "level": "warning"}));
}

#[test]
fn a_source_that_breaks_off_at_any_octet_deletes_nothing() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    // Nothing but deletions is left to do.
    done(run(&config, &whole(&["a", "b", "c", "d", "e", "f"]))).counts(&[("added", 1)]);
    let before = slapd.change_marks();
    let messages = whole(&["a", "b", "c"]);
    let text = lines(&messages);
    let activation = text.find("ACTIVATE_VERSION").unwrap() - "{\"type\":\"".len();
    let end = activation + activate().to_string().len();
    let limited = with(&config, &json!({"max_deletes": 10}));
    // No input at all; in the SCHEMA; in a record and between two; in the very announcement, up to its last octet.
    let second = text.find("RECORD").unwrap();
    for (n, cut) in
        [0, 1, 20, second, second + 30, activation, activation + 1, activation + 20, end - 2, end - 1]
            .into_iter()
            .enumerate()
    {
        let config = if n % 2 == 0 { &config } else { &limited };
        let output = Run::target(config).stdin(text.get(..cut).unwrap()).run();
        no_panic(&output);
        let between = cut == 0 || text.get(..cut).unwrap().ends_with('\n');
        let output = output.exits(i32::from(!between));
        assert!(output.stdout.is_empty(), "cut at {cut}: no STATE");
        assert_untouched(&slapd, &before);
        let plan = Run::target(&config.clone()).stdin(text.get(..cut).unwrap()).arg("--dry-run").run();
        assert_eq!(plan.stdout_text(), "", "cut at {cut}");
    }
    // And whole, without a line feed at its end, it counts.
    done(Run::target(&config).stdin(text.trim_end()).run()).counts(&[("deleted", 3)]);
}

#[test]
fn a_tap_that_is_killed_deletes_nothing() {
    let source = Slapd::start(SlapdOptions::default().seed(unit(USERS) + &people(1_000, USERS)));
    let only_here = format!("uid=only,{USERS}");
    let seed = format!("dn: {only_here}\nobjectClass: inetOrgPerson\nuid: only\ncn: x\nsn: x\n\n");
    let mirror = Slapd::start(SlapdOptions::default().seed(unit(USERS) + &people(1_000, USERS) + &seed));
    let tap = Run::tap(&with(&tap_config(&source), &json!({"page_size": 50})));
    let target = Run::target(&with(
        &target_config(&mirror),
        &json!({"process_activate_version": true, "mapping_rules": {"users": {"scope_base": USERS}}}),
    ));
    let mut cut_off = 0;
    for pause in [5, 20, 60, 120, 200] {
        let (mut first, mut second) = spawn_pipe(&tap, &target);
        std::thread::sleep(Duration::from_millis(pause));
        first.signal(rustix::process::Signal::KILL);
        let (tap_code, _, _) = first.wait(Duration::from_secs(10));
        let mut stdout = second.take_stdout();
        let read = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let (_, stderr, _) = second.wait(Duration::from_secs(60));
        read.join().unwrap().unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        if tap_code == 137 {
            cut_off += 1;
            assert!(mirror.dump().contains_key(&only_here), "killed after {pause} ms: {stderr}");
        } else {
            break;
        }
    }
    assert!(cut_off > 0, "no tap was killed in time");
    let (first, second) = pipe_runs(&tap, &target);
    first.succeeds();
    second.succeeds();
    assert!(!mirror.dump().contains_key(&only_here), "a whole answer counts");
}

#[test]
fn a_search_that_does_not_end_well_deletes_nothing() {
    // A hundred people are more than this user is shown, and the answer unpaged: sizeLimitExceeded.
    let mut options = SlapdOptions::with_users().seed(unit(USERS)).seed(people(100, USERS));
    options.database_conf = "limits users size=50\n".into();
    let slapd = Slapd::start(options);
    let alice = json!({"bind_dn": "uid=alice,ou=people,dc=example,dc=test", "bind_password": "alice-pw", "page_size": 0});
    let mut config = with(&config(&slapd, &json!({})), &alice);
    config["mapping_rules"]["users"]["dn_template"] = json!("uid={id},ou=people,dc=example,dc=test");
    let before = slapd.dump();
    let output = run(&config, &whole(&["alice"])).exits(1).reports_code(4);
    assert!(states(&output).is_empty());
    assert_eq!(slapd.dump().len(), before.len());
}
