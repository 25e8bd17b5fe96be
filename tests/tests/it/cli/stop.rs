//! A stop by a signal says what it waits for.

use std::io::{BufRead as _, BufReader, Read as _};
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::run::{Log, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{lines, people, tap_config, target_config};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// The number that the line about the stop has under this name.
#[track_caller]
fn waits_for(log: &Log, name: &str) -> u64 {
    let found = log.entries().iter().find_map(|line| line[name].as_u64());
    found.unwrap_or_else(|| panic!("no line has {name}:\n{log}"))
}

fn units(numbers: std::ops::Range<usize>) -> Vec<Value> {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let mut messages = vec![
        json!({"type": "SCHEMA", "stream": "units", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "ou": texts}}}),
    ];
    for n in numbers {
        messages.push(json!({"type": "RECORD", "stream": "units", "record":
            {"dn": format!("ou=u{n},dc=example,dc=test"), "objectClass": ["organizationalUnit"], "ou": [format!("u{n}")]}}));
    }
    messages.push(json!({"type": "STATE", "value": {"bookmarks": {"units": {"position": 1}}}}));
    messages
}

/// The server is frozen while the target writes: exactly the records that the message counts are written afterwards.
#[test]
fn a_stop_of_the_target_counts_the_records_that_it_finishes() {
    let slapd = Slapd::start(SlapdOptions::default());
    let run = Run::target(&target_config(&slapd));
    let mut running = run.spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.write_stdin(lines(&units(0..10)).as_bytes());
    // Its STATE says that the first ten are written.
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("position"), "{line}");
    slapd.signal(Signal::STOP);
    running.write_stdin(lines(&units(10..40)).as_bytes());
    sleep(Duration::from_secs(1));
    running.signal(Signal::TERM);
    sleep(Duration::from_millis(500));
    slapd.signal(Signal::CONT);
    let (code, log, _) = running.wait(Duration::from_secs(30));
    assert_eq!(code, 143, "{log}");
    let unfinished = waits_for(&log, "unfinished");
    assert!(unfinished > 0, "{log}");
    // The suffix, the first ten, and those.
    assert_eq!(slapd.dump().len() as u64, 1 + 10 + unfinished, "{log}");
    log.counts(&[("added", 10 + unfinished)]);
}

#[test]
fn a_stop_of_an_idle_target_waits_for_nothing() {
    let slapd = Slapd::start(SlapdOptions::default());
    let mut running = Run::target(&target_config(&slapd)).spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.write_stdin(lines(&units(0..3)).as_bytes());
    stdout.read_line(&mut String::new()).unwrap();
    running.signal(Signal::INT);
    let (code, log, _) = running.wait(Duration::from_secs(30));
    assert_eq!((code, waits_for(&log, "unfinished")), (130, 0), "{log}");
}

#[test]
fn a_stop_of_the_tap_counts_the_octets_that_its_reader_has_to_take() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(20_000, PEOPLE)));
    let mut running = Run::tap(&tap_config(&slapd)).spawn();
    running.close_stdin_with(&[]);
    let mut reader = BufReader::new(running.take_stdout());
    let mut text = String::new();
    while !text.contains("uid=person") {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0, "the tap ended before it was interrupted");
    }
    // The pipe is full by then.
    sleep(Duration::from_secs(1));
    running.signal(Signal::TERM);
    sleep(Duration::from_millis(500));
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    let (code, log, _) = running.wait(Duration::from_secs(60));
    assert_eq!(code, 143, "{log}");
    let pending = waits_for(&log, "pending_octets");
    assert!(pending > 0 && pending <= rest.len() as u64, "{pending} of {}: {log}", rest.len());
    assert!(rest.lines().last().unwrap().contains("\"STATE\""));
}
