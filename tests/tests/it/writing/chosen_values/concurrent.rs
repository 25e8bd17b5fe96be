//! The same at size, and with two runs at once.

use std::collections::BTreeSet;
use std::time::Duration;

use ldap_tests::run::Run;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::SlapdOptions;
use serde_json::{Value, json};

use super::{GUESTS, all_people, config, messages, no_two_alike, person, run, slapd, slapd_with};
use crate::support::rng::operations;
use crate::support::{lines, searches, with};

/// Two runs at once that give the same names, to people in different containers.
fn two_at_once(server: &Server, more: &Value, attributes: &[&str]) {
    let config = config(server, more);
    let count = 150;
    let of = |from: usize, place: &str| {
        let all: Vec<Value> = (from..from + count).map(|id| person(id, "John", "Smith", place)).collect();
        lines(&messages(&all))
    };
    let (mut one, mut two) = (Run::target(&config).spawn(), Run::target(&config).spawn());
    one.close_stdin_with(of(1, "users").as_bytes());
    two.close_stdin_with(of(1001, "guests").as_bytes());
    for (code, log, _) in [one.wait(Duration::from_secs(120)), two.wait(Duration::from_secs(120))] {
        assert_eq!(code, 0, "{log}");
    }
    let people = all_people(server);
    assert_eq!(people.len(), 2 * count);
    for attribute in attributes {
        no_two_alike(&people, attribute);
    }
}

#[test]
fn two_runs_at_once_give_no_two_entries_the_same_value() {
    let slapd = slapd();
    two_at_once(&slapd, &json!({}), &["cn", "uid", "uidnumber"]);
    for (_, values) in all_people(&slapd).into_values() {
        assert_eq!(values["homedirectory"], format!("/home/{}", values["uid"]), "what is made of it follows");
    }
}

const COUNTER: &str = "cn=next,ou=guests,dc=example,dc=test";

#[test]
fn a_counter_gives_each_number_once_and_begins_again_at_the_end_of_the_range() {
    let counter = format!(
        "dn: {COUNTER}\nobjectClass: device\nobjectClass: extensibleObject\ncn: next\nuidNumber: 10040\n\n"
    );
    let slapd = slapd_with(SlapdOptions::default(), &counter);
    let next = json!({"uidNumber": {"min": 10_000, "max": 10_350, "counter": COUNTER}});
    two_at_once(&slapd, &json!({"next": next}), &["cn", "uid", "uidnumber"]);
    let numbers: BTreeSet<u32> =
        all_people(&slapd).into_values().map(|(_, v)| v["uidnumber"].parse().unwrap()).collect();
    assert_eq!(numbers.first(), Some(&10_040));
    let rest: Vec<Value> = (3000..3040).map(|id| person(id, "Ann", "Lee", "users")).collect();
    run(&config(&slapd, &json!({"next": next})), &rest).succeeds();
    no_two_alike(&all_people(&slapd), "uidnumber");
    let missing = json!({"uidNumber": {"min": 1, "max": 9, "counter": format!("cn=none,{GUESTS}")}});
    run(&config(&slapd, &json!({"next": missing})), &[person(4000, "a", "b", "users")])
        .exits(1)
        .reports_line(2);
}

#[test]
fn ten_thousand_namesakes_need_few_searches_each_and_the_next_one_few_altogether() {
    let slapd = slapd();
    let dir = scratch();
    let metrics = dir.path().join("m.prom");
    let config = with(&config(&slapd, &json!({})), &json!({"metrics_file": metrics}));
    let count = operations(10_000);
    let all: Vec<Value> = (1..=count).map(|id| person(id, "John", "Smith", "users")).collect();
    let (next, count) = (count + 1, u64::try_from(count).unwrap());
    run(&config, &all).succeeds().counts(&[("added", count)]);
    let people = all_people(&slapd);
    for attribute in ["cn", "uid", "uidnumber"] {
        no_two_alike(&people, attribute);
    }
    // One for the entry, one for each of three values before it is given, one for all of them after it.
    let used = searches(&metrics);
    assert!(used < count * 5 + count / 10, "{used} searches for {count}");
    run(&config, &[person(next, "John", "Smith", "users")]).succeeds().counts(&[("added", 1)]);
    let used = searches(&metrics);
    // Up to 256 candidates a search, for three attributes: 167 after 10,000.
    assert!(used < 24 + count / 64, "{used} searches for the last one");
    run(&config, &all).succeeds().counts(&[("unchanged", count)]);
    let used = searches(&metrics);
    assert!(used < count * 5 / 2, "{used} searches for a run without a change");
}
