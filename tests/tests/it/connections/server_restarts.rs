//! A server that is killed during a run and restarted.

use std::io::{BufRead as _, BufReader, Read as _};
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::run::{self, Run};
use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{PEOPLE, activates_once_and_last, held, one_stream};
use crate::support::{discover, people, tap_config, target_config, with};

const COUNT: usize = 6_000;

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_read_is_read_when_it_is_back() {
    let mut slapd = Slapd::start(SlapdOptions::with_users().seed(people(COUNT, PEOPLE)));
    let settings = json!({"page_size": 50, "retry_attempts": 6});
    for (method, key) in [("FULL_TABLE", ""), ("INCREMENTAL", "entryCSN"), ("LOG_BASED", "")] {
        let config = with(&with(&tap_config(&slapd), &one_stream(method, key)), &settings);
        let catalog = discover(&config);
        let wanted = held(&[&Run::tap(&config).file("--catalog", &catalog).run().succeeds()], "all");
        let mut running = Run::tap(&config).file("--catalog", &catalog).spawn();
        running.close_stdin_with(&[]);
        let mut reader = BufReader::new(running.take_stdout());
        let mut text = String::new();
        // The reader stops reading: the tap is in the middle of it.
        while !text.contains("\"uid\":[\"person10\"]") {
            assert_ne!(reader.read_line(&mut text).unwrap(), 0);
        }
        slapd.kill();
        let rest = std::thread::spawn(move || {
            reader.read_to_string(&mut text).unwrap();
            text
        });
        sleep(Duration::from_millis(300));
        slapd.restart();
        let text = rest.join().unwrap();
        let (code, stderr, took) = running.wait(Duration::from_secs(60));
        let output = run::output(code, text.into_bytes(), stderr, took).exits(0);
        let output = output.says("trying again").says("connected to");
        assert_eq!(held(&[&output], "all"), wanted, "{method}");
        if method == "FULL_TABLE" {
            activates_once_and_last(&output, "all");
        }
    }
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_load_gets_the_rest_when_it_is_back() {
    let mut slapd = Slapd::start(SlapdOptions { base: Base::Users, ..SlapdOptions::default() });
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts}}});
    let record = |n: usize| {
        json!({"type": "RECORD", "stream": "all", "record": {"dn": format!("uid=p{n},{PEOPLE}"),
            "objectClass": ["inetOrgPerson"], "uid": [format!("p{n}")], "cn": ["x"], "sn": ["y"]}})
    };
    let state = |n: usize| json!({"type": "STATE", "value": {"records": n}});
    let config = with(&target_config(&slapd), &json!({"retry_attempts": 6, "retry_max_wait_seconds": 2}));
    let undo = slapd.path("undo.ldif");
    let config = with(&config, &json!({"undo_file": undo}));
    let before = slapd.dump();
    let mut running = Run::target(&config).spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    let half: Vec<Value> =
        std::iter::once(schema).chain((0..1_000).map(record)).chain([state(1_000)]).collect();
    running.write_stdin(crate::support::lines(&half).as_bytes());
    let rest: Vec<Value> = (1_000..5_000).map(record).chain([state(5_000)]).collect();
    let feeder = std::thread::spawn(move || {
        running.close_stdin_with(crate::support::lines(&rest).as_bytes());
        running
    });
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    slapd.kill();
    sleep(Duration::from_millis(300));
    slapd.restart();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    let (code, stderr, _) = feeder.join().unwrap().wait(Duration::from_secs(60));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("trying again"), "it was not in the middle of it: {stderr}");
    assert_eq!(
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap(),
        json!({"records": 5_000})
    );
    assert_eq!(slapd.dump_below(PEOPLE, &["uid"]).len(), 5_000 + 5);
    // The changes whose answers were lost are in the undo file as well.
    slapd.ldapmodify(std::fs::read(&undo).unwrap());
    ldap_tests::ldif::assert_same("before", &before, "taken back", &slapd.dump());
}
