//! stdin and stdout that close or stall.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{BASE, config, people, person, schema};
use crate::support::{lines, no_panic, states, tap_config, unit};

/// Longer than the ten seconds that a run has to end by itself after a signal.
const PATIENCE: Duration = Duration::from_secs(40);

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(BASE)))
}

#[test]
fn a_target_whose_stdout_is_closed_is_1_without_a_word_and_has_written() {
    let slapd = slapd();
    let run = Run::target(&config(&slapd, &json!({}))).arg("--log-level").arg("warn");
    let mut running = run.spawn();
    drop(running.take_stdout());
    running.close_stdin_with(lines(&people(0, 20)).as_bytes());
    let (code, stderr, _) = running.wait(PATIENCE);
    assert_eq!((code, &*stderr), (1, ""));
    // Nobody knows how far it came, so all is sent again, and that is no harm.
    let again = Run::target(&config(&slapd, &json!({}))).messages(&people(0, 20)).run().succeeds();
    assert_eq!(states(&again).last(), Some(&json!({"n": 20})));
    assert_eq!(slapd.dump_below(BASE, &["1.1"]).len(), 21);
}

#[test]
fn an_input_that_ends_within_a_line_is_1_and_what_came_before_is_safe() {
    let slapd = slapd();
    let whole = lines(&people(0, 5));
    for cut in [10, 60, 300] {
        let mut input = whole.clone().into_bytes();
        let last = lines(&[person(5)]);
        input.extend_from_slice(&last.as_bytes()[..cut]);
        let output = Run::target(&config(&slapd, &json!({}))).stdin(&input).run().exits(1).reports_line(12);
        no_panic(&output);
        assert_eq!(states(&output).last(), Some(&json!({"n": 5})));
        assert_eq!(slapd.dump_below(BASE, &["1.1"]).len(), 6);
    }
}

#[test]
fn a_source_that_stalls_holds_no_state_back() {
    let slapd = slapd();
    let run = Run::target(&config(&slapd, &json!({})));
    let mut running = run.spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    // The last record's line has no end yet.
    let input = lines(&people(0, 5)) + lines(&[person(5)]).trim_end();
    running.write_stdin(input.as_bytes());
    let started = Instant::now();
    let mut line = String::new();
    while !line.contains("{\"n\":5}") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    running.signal(Signal::TERM);
    let (code, stderr, _) = running.wait(PATIENCE);
    assert_eq!(code, 143, "{stderr}");
    assert_eq!(slapd.dump_below(BASE, &["1.1"]).len(), 6, "half a line is no record");
}

#[test]
fn a_stdout_that_nobody_reads_holds_up_no_signal() {
    let slapd =
        Slapd::start(SlapdOptions::default().seed(unit(BASE)).seed(crate::support::people(3_000, BASE)));
    for (signal, expected) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let tap = Run::tap(&tap_config(&slapd));
        let mut tap = tap.spawn();
        // Far more than a pipe holds, each.
        let state = json!({"type": "STATE", "value": {"long": "x".repeat(300_000)}});
        let target = Run::target(&config(&slapd, &json!({})));
        let mut target = target.spawn();
        target.write_stdin(lines(&[schema(), person(1), state]).as_bytes());
        std::thread::sleep(Duration::from_secs(3));
        for running in [&mut tap, &mut target] {
            assert!(running.child().try_wait().unwrap().is_none(), "it is held up, or this shows nothing");
            running.signal(signal);
        }
        for running in [tap, target] {
            let (code, stderr, _) = running.wait(PATIENCE);
            assert_eq!(code, expected, "{stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
}

#[test]
fn a_sigpipe_from_outside_is_nothing() {
    let slapd = slapd();
    let run = Run::target(&config(&slapd, &json!({})));
    let mut running = run.spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.write_stdin(lines(&people(0, 1)).as_bytes());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    running.signal(Signal::PIPE);
    running.write_stdin(lines(&people(1, 2)).as_bytes());
    running.close_stdin_with(&[]);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
    let (code, stderr, _) = running.wait(PATIENCE);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(serde_json::from_str::<Value>(rest.trim()).unwrap(), json!({"n": 2}));
}
