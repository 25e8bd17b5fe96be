//! A connection that is cut after any number of octets, in either direction.

use std::fmt::Write as _;

use ldap_tests::cutter::{Cutter, Fault, Way};
use ldap_tests::ldif::assert_same;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{PEOPLE, activates_once_and_last, held, one_stream};
use crate::support::rng::{Rng, seed};
use crate::support::{discover, no_panic, people, resumed, states, tap_config, target_config, with};

const COUNT: usize = 400;

fn directory(more: SlapdOptions, count: usize) -> Slapd {
    Slapd::start(SlapdOptions { base: ldap_tests::slapd::Base::Users, ..more }.seed(people(count, PEOPLE)))
}

/// Runs the tap through a network that passes everything on, to see how many octets go by; then through ones that cut
/// within them. Gives how often it was cut.
fn cut_everywhere(
    slapd: &Slapd,
    rng: &mut Rng,
    rounds: usize,
    run: impl Fn(&str) -> Output,
    look: impl Fn(&Output, &str),
) -> usize {
    let mut made = 0;
    for way in [Way::ToClient, Way::ToServer] {
        let whole = Cutter::start(slapd.ldap_port(), way, &[]);
        run(&whole.uri()).succeeds();
        for round in 0..rounds {
            // Two cuts in one run, now and then.
            let cuts: Vec<usize> = (0..=(round % 2)).map(|_| 1 + rng.below(whole.passed())).collect();
            let cutter = Cutter::start(slapd.ldap_port(), way, &cuts);
            let output = run(&cutter.uri());
            no_panic(&output);
            made += cutter.cuts();
            look(&output, &format!("{way:?} cut at {cuts:?}"));
        }
    }
    made
}

#[test]
fn a_full_read_is_whole_wherever_it_is_cut() {
    let rng = &mut Rng::new(seed(701));
    let slapd = directory(SlapdOptions::default(), COUNT);
    let base = with(&tap_config(&slapd), &one_stream("FULL_TABLE", ""));
    let catalog = discover(&base);
    let whole = Run::tap(&base).file("--catalog", &catalog).run().succeeds();
    let wanted = held(&[&whole], "all");
    assert!(wanted.len() > COUNT);
    let mut made = 0;
    for settings in [
        json!({"page_size": 30}),
        json!({"page_size": 30, "connection_pool_size": 1}),
        json!({"page_size": 0}),
        json!({"page_size": 50, "partitions": 3}),
    ] {
        let run = |uri: &str| {
            let config = with(&with(&base, &settings), &json!({"server_url": uri, "retry_attempts": 5}));
            Run::tap(&config).file("--catalog", &catalog).run()
        };
        made += cut_everywhere(&slapd, rng, 6, run, |output, what| {
            let output = output.clone().exits(0);
            assert_eq!(held(&[&output], "all"), wanted, "{settings}: {what}");
            activates_once_and_last(&output, "all");
        });
    }
    assert!(made >= 40, "{made} cuts");
}

#[test]
fn without_attempts_a_cut_ends_the_run_and_activates_nothing() {
    let slapd = directory(SlapdOptions::default(), COUNT);
    let base = with(&tap_config(&slapd), &one_stream("FULL_TABLE", ""));
    let catalog = discover(&base);
    let config = with(&base, &json!({"page_size": 30, "retry_attempts": 0}));
    let whole = Cutter::start(slapd.ldap_port(), Way::ToClient, &[]);
    let run =
        |uri: &str| Run::tap(&with(&config, &json!({"server_url": uri}))).file("--catalog", &catalog).run();
    run(&whole.uri()).succeeds();
    let cutter = Cutter::start(slapd.ldap_port(), Way::ToClient, &[whole.passed() * 9 / 10]);
    let output = run(&cutter.uri()).exits(1).says("the connection to the server was lost");
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    assert!(!output.records(None).is_empty(), "what was read is right");
}

/// A catalog, and what a whole read has.
fn whole_read(slapd: &Slapd, config: &Value) -> (Value, std::collections::BTreeMap<String, Value>) {
    let base = with(&tap_config(slapd), &one_stream("FULL_TABLE", ""));
    let catalog = discover(&base);
    let wanted = held(&[&Run::tap(&with(&base, config)).file("--catalog", &catalog).run().succeeds()], "all");
    (catalog, wanted)
}

#[test]
fn octets_that_are_changed_on_the_way_are_noticed_under_tls_and_break_nothing_without() {
    let rng = &mut Rng::new(seed(711));
    let slapd = directory(SlapdOptions::default(), COUNT);
    let ca = &slapd.certificates().ca;
    let secure = json!({"server_url": slapd.ldaps_uri(), "tls_ca_file": ca});
    let (catalog, wanted) = whole_read(&slapd, &secure);
    let more =
        json!({"page_size": 30, "retry_attempts": 5, "operation_timeout_seconds": 2, "tls_ca_file": ca});
    let base = with(&with(&tap_config(&slapd), &one_stream("FULL_TABLE", "")), &more);
    for (scheme, port) in [("ldaps", slapd.ldaps_port()), ("ldap", slapd.ldap_port())] {
        let run = |cutter: &Cutter| {
            let uri = cutter.uri().replace("ldap:", &format!("{scheme}:"));
            Run::tap(&with(&base, &json!({"server_url": uri}))).file("--catalog", &catalog).run()
        };
        let whole = Cutter::start(port, Way::ToClient, &[]);
        run(&whole).succeeds();
        for _ in 0..12 {
            let at = 1 + rng.below(whole.passed());
            let cutter = Cutter::with(port, Way::ToClient, &[at], Fault::Corrupt);
            let output = run(&cutter);
            no_panic(&output);
            let what = format!("{scheme}, octet {at} of {}: {}", whole.passed(), output.stderr);
            if output.code == 0 {
                activates_once_and_last(&output, "all");
            } else {
                // 2: what the server is said to offer does not go with the configuration.
                assert!([1, 2, 3].contains(&output.code), "{what}");
                assert!(output.of_type("ACTIVATE_VERSION").is_empty(), "{what}");
            }
            if scheme == "ldaps" {
                // What was changed never gets as far as a record: all there is, is right.
                let held = held(&[&output], "all");
                assert!(held.iter().all(|(key, record)| wanted.get(key) == Some(record)), "{what}");
                assert!(output.code != 0 || held == wanted, "{what}");
            }
        }
    }
}

#[test]
fn a_connection_that_is_closed_in_one_direction_only_is_a_lost_one() {
    let rng = &mut Rng::new(seed(712));
    let slapd = directory(SlapdOptions::default(), COUNT);
    let (catalog, wanted) = whole_read(&slapd, &json!({}));
    let base = with(&tap_config(&slapd), &one_stream("FULL_TABLE", ""));
    let base = with(&base, &json!({"page_size": 30, "retry_attempts": 5}));
    for way in [Way::ToClient, Way::ToServer] {
        let run = |cutter: &Cutter| {
            Run::tap(&with(&base, &json!({"server_url": cutter.uri()}))).file("--catalog", &catalog).run()
        };
        let whole = Cutter::start(slapd.ldap_port(), way, &[]);
        run(&whole).succeeds();
        for _ in 0..6 {
            let at = 1 + rng.below(whole.passed());
            let cutter = Cutter::with(slapd.ldap_port(), way, &[at], Fault::HalfClose);
            let output = run(&cutter).exits(0);
            no_panic(&output);
            assert_eq!(held(&[&output], "all"), wanted, "{way:?} at {at}");
            activates_once_and_last(&output, "all");
        }
    }
}

/// Changes to some, a new one, and one that is gone.
fn change(slapd: &Slapd, count: usize, of: usize) {
    let mut text = String::new();
    for n in 0..count {
        write!(text, "dn: uid=person{n},{PEOPLE}\nchangetype: modify\nreplace: title\ntitle: T{n}\n\n")
            .unwrap();
    }
    write!(text, "dn: uid=person{},{PEOPLE}\nchangetype: delete\n\n", of - 1).unwrap();
    text +=
        &people(1, PEOPLE).replace("person0", "new0").replace("objectClass", "changetype: add\nobjectClass");
    slapd.ldapmodify(text);
}

/// A first run, changes, and a second one that is cut: after it, or after a third from its last STATE, the reader holds what
/// the directory does.
fn goes_on(method: &str, key: &str, settings: &Value, rounds: usize, count: usize, deletes: bool) {
    let rng = &mut Rng::new(seed(702));
    let slapd = directory(SlapdOptions::default(), count);
    let base = with(&with(&tap_config(&slapd), &one_stream(method, key)), settings);
    let catalog = discover(&base);
    let run = |uri: &str, state: Option<&Value>| {
        let config = with(&base, &json!({"server_url": uri, "retry_attempts": 5}));
        resumed(&config, Some(&catalog), state).run()
    };
    let first = run(&slapd.ldap_uri(), None).succeeds();
    let state = first.of_type("STATE").last().unwrap()["value"].clone();
    change(&slapd, count - 150, count);
    let now = run(&slapd.ldap_uri(), None).succeeds();
    let mut wanted = held(&[&now], "all");
    if !deletes {
        let old = held(&[&first], "all");
        wanted.extend(old.into_iter().filter(|(_, r)| r["uid"] == json!([format!("person{}", count - 1)])));
    }
    let made = cut_everywhere(
        &slapd,
        rng,
        rounds,
        |uri| run(uri, Some(&state)),
        |output, what| {
            let output = output.clone().exits(0);
            assert_eq!(held(&[&first, &output], "all"), wanted, "{method} {key} {settings}: {what}");
            let state = output.of_type("STATE").last().unwrap()["value"].clone();
            let third = run(&slapd.ldap_uri(), Some(&state)).succeeds();
            assert!(third.records(None).len() < 10, "the position moved: {what}");
        },
    );
    // And a first read.
    let made = made
        + cut_everywhere(
            &slapd,
            rng,
            rounds,
            |uri| run(uri, None),
            |output, what| {
                let output = output.clone().exits(0);
                assert_eq!(
                    held(&[&output], "all"),
                    held(&[&now], "all"),
                    "{method} {key} {settings}: {what}"
                );
            },
        );
    assert!(made >= rounds * 4, "{made} cuts");
}

#[test]
fn incremental_goes_on_wherever_it_is_cut() {
    let small = json!({"page_size": 20, "state_interval_records": 30});
    goes_on("INCREMENTAL", "entryCSN", &small, 3, COUNT, false);
    // So many that the server sorts them: it goes on at the last value.
    goes_on("INCREMENTAL", "entryCSN", &small, 3, 1_300, false);
}

#[test]
fn log_based_goes_on_wherever_it_is_cut() {
    let small = json!({"page_size": 20, "state_interval_records": 30});
    goes_on("LOG_BASED", "", &small, 5, COUNT, true);
}

/// Additions, modifications, renames and deletions, several of them on the same entries.
fn records(rng: &mut Rng, count: usize) -> Vec<Value> {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    let mut all =
        vec![json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
        "description": texts, "manager": texts}}})];
    for _ in 0..count {
        let n = rng.below(150);
        // A few below others: parents first, children deleted before them.
        let place = if n < 10 { format!("ou=unit{n},{PEOPLE}") } else { PEOPLE.to_owned() };
        let dn = format!("uid=p{n},{place}");
        all.push(json!({"type": "RECORD", "stream": "all", "record": if rng.chance(25) {
            json!({"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"})
        } else {
            let texts: Vec<String> = (0..rng.below(4)).map(|i| format!("d{}", i + rng.below(3) * 10)).collect();
            let manager = if rng.chance(20) { json!([format!("uid=p{},{PEOPLE}", 10 + rng.below(140))]) } else { json!(null) };
            json!({"dn": dn, "objectClass": ["inetOrgPerson"], "uid": [format!("p{n}")], "cn": [format!("P {n}")],
                "sn": [n.to_string()], "description": texts, "manager": manager})
        }}));
    }
    all.push(json!({"type": "STATE", "value": {"position": count}}));
    all
}

#[test]
fn a_load_is_whole_wherever_it_is_cut() {
    let rng = &mut Rng::new(seed(703));
    let records = records(rng, 600);
    let load = |slapd: &Slapd, uri: &str, connections: usize| {
        let config = with(
            &target_config(slapd),
            &json!({"server_url": uri, "retry_attempts": 5, "write_connections": connections,
            "retry_max_wait_seconds": 1, "operation_timeout_seconds": 20}),
        );
        Run::target(&config).messages(&records).run()
    };
    let fresh =
        || Slapd::start(SlapdOptions { base: ldap_tests::slapd::Base::Users, ..SlapdOptions::default() });
    let undisturbed = fresh();
    let mut made = 0;
    let mut wanted = None;
    for way in [Way::ToServer, Way::ToClient] {
        let whole = Cutter::start(undisturbed.ldap_port(), way, &[]);
        load(&undisturbed, &whole.uri(), 1).succeeds();
        let wanted = wanted.get_or_insert_with(|| undisturbed.dump());
        for round in 0..6 {
            let slapd = fresh();
            let cuts: Vec<usize> = (0..=(round % 3)).map(|_| 1 + rng.below(whole.passed())).collect();
            let cutter = Cutter::start(slapd.ldap_port(), way, &cuts);
            let connections = if round < 3 { 4 } else { 1 };
            let output = load(&slapd, &cutter.uri(), connections);
            no_panic(&output);
            let what = format!("{connections} connections, {way:?} cut at {cuts:?}");
            let output = output.exits(0);
            assert_eq!(states(&output).last(), Some(&json!({"position": 600})), "{what}");
            made += cutter.cuts();
            assert_same("undisturbed", wanted, &what, &slapd.dump());
        }
    }
    assert!(made >= 15, "{made} cuts");
}
