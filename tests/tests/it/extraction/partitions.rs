//! `partitions`: a stream read over several connections has the same entries as over one, each once.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX as DOMAIN, Samba};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, people, tap_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
const COUNT: usize = 4_000;
/// Fewer than 1,000 are not divided.
const CONTACTS: usize = 1_300;

fn start() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(PEOPLE) + &people(COUNT, PEOPLE)))
}

/// The records, sorted: every entry is there once, or the lists differ.
fn sorted(output: &Output) -> Vec<String> {
    let mut records: Vec<String> = output.records(None).iter().map(ToString::to_string).collect();
    records.sort();
    records
}

/// How many connections read a part each, by the ranges they asked for.
fn read(config: &Value) -> Output {
    Run::tap(config).arg("--log-level").arg("debug").run().succeeds()
}

#[test]
fn several_connections_give_each_entry_once_and_one_well_formed_stream() {
    let slapd = start();
    let config = with(&tap_config(&slapd), &json!({"schemas": [{"name": "all"}], "connection_pool_size": 8}));
    let whole = sorted(&read(&config));
    assert_eq!(whole.len(), COUNT + 2);
    for partitions in [2, 3, 7] {
        let output = read(&with(&config, &json!({"partitions": partitions})));
        assert!(sorted(&output) == whole, "{partitions} partitions");
        let of_kind = |kind: &str| output.of_type(kind).len();
        assert_eq!((of_kind("SCHEMA"), of_kind("ACTIVATE_VERSION"), of_kind("STATE")), (1, 1, 1));
        assert_eq!(output.messages[0]["type"], "SCHEMA");
        let versions: BTreeSet<String> =
            output.of_type("RECORD").iter().map(|r| r["version"].to_string()).collect();
        assert_eq!(versions.len(), 1);
        // The parts are about as large as each other.
        let parts = parts(&output);
        assert_eq!(parts.len(), partitions, "{parts:?}");
        let fair = COUNT / partitions;
        assert!(parts.iter().all(|n| (fair / 3..=fair * 2).contains(n)), "{parts:?} of {COUNT}");
    }
}

/// How many entries each part had.
fn parts(output: &Output) -> Vec<usize> {
    let count =
        |line: &str| -> Option<usize> { line.split_once("a part of ")?.1.split(' ').next()?.parse().ok() };
    output.stderr.lines().filter_map(count).collect()
}

#[test]
fn a_stream_may_have_partitions_of_its_own_and_containers_are_divided() {
    let slapd = start();
    let config = tap_config(&slapd);
    let catalog = discover(&config);
    let run = |more: &Value| {
        Run::tap(&with(&config, more))
            .file("--catalog", &catalog)
            .arg("--log-level")
            .arg("debug")
            .run()
            .succeeds()
    };
    let whole = run(&json!({}));
    let divided = run(&json!({"partitions": 2}));
    assert!(sorted(&whole) == sorted(&divided));
    // The base has a container in it, and the containers are read in order.
    assert_eq!(parts(&divided).len(), 2);
    divided.stderr.reports(&json!({"setting": "partitions"}));

    let streams = json!({"partitions": 5, "schemas": [
        {"name": "all", "partitions": 2, "filter": "(objectClass=inetOrgPerson)"},
        {"name": "one", "partitions": 1}]});
    let output = read(&with(&config, &streams));
    assert_eq!(parts(&output).len(), 2);
    assert_eq!(output.records(Some("all")).len(), COUNT);
    assert_eq!(output.records(Some("one")).len(), COUNT + 2);
    let zero = json!({"schemas": [{"name": "all", "partitions": 0}]});
    Run::tap(&with(&config, &zero)).run().exits(2).reports_setting("schemas[0].partitions");
}

#[test]
fn the_most_connections_are_as_many_as_the_pool_has() {
    let slapd = start();
    let config = with(&tap_config(&slapd), &json!({"schemas": [{"name": "all"}], "partitions": 5}));
    let output = read(&config);
    output.stderr.reports(&json!({"setting": "partitions", "stream": "all"}));
    assert_eq!(parts(&output).len(), 3);
    assert_eq!(output.records(None).len(), COUNT + 2);

    let output = read(&with(&config, &json!({"connection_pool_size": 1})));
    assert!(parts(&output).is_empty());
    assert_eq!(output.records(None).len(), COUNT + 2);
}

#[test]
fn an_id_that_is_not_for_everybody_divides_nothing() {
    // Every second person's id is hidden: a filter by it would leave them out, without a word.
    let mut access = String::new();
    for end in [1, 3, 5, 7, 9] {
        writeln!(
            access,
            "access to dn.regex=\"^uid=person[0-9]*{end},{PEOPLE}$\" attrs=entryUUID by dn.exact=\"cn=nobody\" read by * none"
        )
        .unwrap();
    }
    let options = SlapdOptions { access, ..SlapdOptions::with_users() };
    let slapd = Slapd::start(options.seed(people(COUNT, PEOPLE)));
    let config = with(
        &tap_config(&slapd),
        &json!({"bind_dn": slapd.reader_dn(), "bind_password": "reader-pw", "schemas": [{"name": "all"}],
            "page_size": 400}),
    );
    let whole = read(&config);
    let divided = read(&with(&config, &json!({"partitions": 2})));
    divided.stderr.reports(&json!({"setting": "partitions", "stream": "all"}));
    assert!(sorted(&whole) == sorted(&divided));
}

#[test]
fn active_directory_is_divided_by_its_own_number() {
    let unit = format!("OU=many,{DOMAIN}");
    let mut ldif = format!("dn: {unit}\nobjectClass: organizationalUnit\n\n");
    for n in 0..CONTACTS {
        write!(ldif, "dn: CN=contact{n},{unit}\nobjectClass: contact\ngivenName: G{n}\n\n").unwrap();
    }
    let samba = Samba::start(&ldif);
    let config = with(
        &tap_config(&samba),
        &json!({"schemas": [{"name": "all", "base_dn": unit}], "discovery_sample_size": 50}),
    );
    let whole = sorted(&read(&config));
    assert_eq!(whole.len(), CONTACTS + 1);
    let output = read(&with(&config, &json!({"partitions": 2})));
    assert!(sorted(&output) == whole);
    let parts = parts(&output);
    assert!(parts.len() == 2 && parts.iter().all(|n| *n > CONTACTS / 5), "{parts:?} of {CONTACTS}");
}

#[test]
fn ds389_has_no_order_to_divide_by_and_says_so() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(PEOPLE) + &people(1_500, PEOPLE)));
    let config = with(&tap_config(&server), &json!({"schemas": [{"name": "all", "base_dn": PEOPLE}]}));
    let whole = sorted(&read(&config));
    assert_eq!(whole.len(), 1_501);
    let output = read(&with(&config, &json!({"partitions": 2}))).reports_setting("partitions");
    assert!(sorted(&output) == whole && parts(&output).is_empty());
}

#[test]
fn what_cannot_be_divided_is_read_over_one_connection() {
    let dir = ldap_tests::server::scratch();
    let file = dir.path().join("in.ldif");
    std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n\n").unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "partitions": 2});
    let output = Run::tap(&config).run().succeeds().reports_setting("partitions");
    // The base has no entry below it.
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
}
