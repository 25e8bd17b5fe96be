//! Two servers of one directory: the second one takes over.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use ldap_tests::run::{self, Output, Run};
use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{PEOPLE, activates_once_and_last, held, one_stream};
use crate::support::{people, tap_config, target_config, with};

/// Two servers with the same entries, to the operational attributes.
fn two(count: usize) -> (Slapd, Slapd) {
    let first = Slapd::start(SlapdOptions::with_users().seed(people(count, PEOPLE)));
    let mut second = Slapd::start(SlapdOptions::empty());
    second.reload(&first.slapcat());
    (first, second)
}

/// Runs the tap, and kills the first server in the middle.
fn killed(mut first: Slapd, config: &Value) -> Output {
    let mut running = Run::tap(config).spawn();
    running.close_stdin_with(&[]);
    let mut reader = BufReader::new(running.take_stdout());
    let mut text = String::new();
    while !text.contains("\"uid\":[\"person10\"]") {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0);
    }
    first.kill();
    reader.read_to_string(&mut text).unwrap();
    let (code, stderr, took) = running.wait(Duration::from_secs(60));
    run::output(code, text.into_bytes(), stderr, took)
}

fn config(first: &Slapd, second: &Slapd, method: &str, key: &str) -> Value {
    let base = with(&tap_config(first), &one_stream(method, key));
    let more = json!({"server_url": [first.ldap_uri(), second.ldap_uri()], "page_size": 50,
        "discovery_sample_size": 100});
    with(&base, &more)
}

#[test]
fn the_second_server_takes_over_in_the_middle_of_a_read() {
    for (method, key) in [("FULL_TABLE", ""), ("INCREMENTAL", "entryCSN")] {
        let (first, second) = two(6_000);
        let config = config(&first, &second, method, key);
        let wanted = held(&[&Run::tap(&config).run().succeeds()], "all");
        let says = format!("{} is used in place of {}", second.ldap_uri(), first.ldap_uri());
        let output = killed(first, &config).exits(0).says(&says);
        assert_eq!(held(&[&output], "all"), wanted, "{method}");
        if method == "FULL_TABLE" {
            activates_once_and_last(&output, "all");
        }
    }
}

#[test]
fn a_position_of_one_server_goes_with_no_entries_of_another() {
    let (first, second) = two(6_000);
    let config = config(&first, &second, "LOG_BASED", "");
    let output = killed(first, &config).exits(1).says("took over from");
    assert!(output.of_type("ACTIVATE_VERSION").is_empty() && output.of_type("STATE").is_empty());
    // The next run begins at the second one, and is whole.
    let again = Run::tap(&config).run().succeeds();
    assert_eq!(held(&[&again], "all").len(), 6_005);
}

#[test]
fn a_server_of_another_directory_does_not_take_over() {
    let (first, _) = two(6_000);
    let other = Slapd::start(
        SlapdOptions { base: Base::Users, ..SlapdOptions::default() }.suffix("dc=other,dc=test"),
    );
    let base = with(&tap_config(&first), &one_stream("FULL_TABLE", ""));
    let more = json!({"server_url": [first.ldap_uri(), other.ldap_uri()], "page_size": 50, "retry_attempts": 1,
        "discovery_sample_size": 100, "bind_dn": null, "bind_password": null});
    let output = killed(first, &with(&base, &more)).exits(1).says("holds another directory");
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn a_load_goes_on_at_the_second_server() {
    let (mut first, second) = two(10);
    let config = with(
        &target_config(&first),
        &json!({"server_url": [first.ldap_uri(), second.ldap_uri()],
        "retry_max_wait_seconds": 1}),
    );
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let record = |n: usize| {
        json!({"type": "RECORD", "stream": "s", "record": {
        "dn": format!("ou=u{n},{PEOPLE}"), "objectClass": ["organizationalUnit"], "ou": [format!("u{n}")]}})
    };
    let schema = json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "ou": texts}}});
    let state = |n: usize| json!({"type": "STATE", "value": {"n": n}});
    let mut running = Run::target(&config).spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.write_stdin(crate::support::lines(&[schema, record(0), state(1)]).as_bytes());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    first.kill();
    running.close_stdin_with(crate::support::lines(&[record(1), record(2), state(3)]).as_bytes());
    let (code, stderr, _) = running.wait(Duration::from_secs(60));
    assert_eq!(code, 0, "{stderr}");
    let there = second.dump_below(PEOPLE, &["ou"]);
    assert!(there.contains_key(&format!("ou=u1,{PEOPLE}")) && there.contains_key(&format!("ou=u2,{PEOPLE}")));
}
