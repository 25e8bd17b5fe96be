//! Paged results (RFC 2696): the page size requested.

use std::collections::BTreeSet;
use std::time::Duration;

use ldap_tests::cutter::{Cutter, Way};
use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::fake::{Operation, Request, ber};
use ldap_tests::relay::Relay;
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX as DOMAIN, Samba};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, reader_config, tap_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// A long way to a server: far longer than a page takes, on a busy machine, too.
fn long_way(port: u16) -> Relay {
    Relay::start(port, |request| {
        if matches!(request.operation, Operation::Search(_)) {
            std::thread::sleep(Duration::from_millis(700));
        }
    })
}

/// The sizes of the pages that a run asks for, in their order, and what it said.
fn run(config: &Value, relay: &Relay, base: &str) -> (Vec<i64>, Output) {
    let before = relay.requests().len();
    let stream = json!({"server_url": relay.uri(), "discovery_sample_size": 10, "schemas": [{"name": "all", "base_dn": base}]});
    let output = Run::tap(&with(config, &stream)).run().succeeds();
    let sizes =
        relay.requests().iter().skip(before).filter_map(page_size).filter(|size| *size > 10).collect();
    (sizes, output)
}

/// The names of the entries that came.
fn names(output: &Output) -> BTreeSet<String> {
    output.records(None).iter().map(|r| r["dn"].to_string()).collect()
}

/// The size of the page that a request asks for (RFC 2696 section 2).
fn page_size(request: &Request) -> Option<i64> {
    let value = request.control("1.2.840.113556.1.4.319")?.value.as_deref()?;
    let (_, content, _) = ber::take(value)?;
    let (_, size, _) = ber::take(content)?;
    Some(ber::number(size))
}

#[test]
fn they_grow_where_the_way_is_long_up_to_what_the_server_takes() {
    let mut options = SlapdOptions::with_users().seed(people(9_000, PEOPLE));
    options.database_conf =
        "limits dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" size.soft=500 size.hard=500 size.pr=3000 size.prtotal=unlimited".into();
    let slapd = Slapd::start(options);
    let relay = long_way(slapd.ldap_port());
    let (sizes, output) = run(&reader_config(&slapd), &relay, PEOPLE);
    assert_eq!(names(&output).len(), 9_005);
    assert_eq!(output.records(None).len(), 9_005, "none of them twice");
    assert_eq!(sizes[..5], [1000, 16_000, 8000, 4000, 2000], "halved until the server takes it");
    assert!(sizes[5..].iter().all(|size| *size == 2000), "nothing that was refused once: {sizes:?}");

    let (sizes, _) = run(&with(&reader_config(&slapd), &json!({"page_size": 2500})), &relay, PEOPLE);
    assert!(sizes.iter().all(|size| *size == 2500), "a size that somebody chose is kept: {sizes:?}");
}

#[test]
fn what_was_cut_in_a_large_one_goes_on_in_small_ones() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(people(9_000, PEOPLE)));
    // Within the second page.
    let cutter = Cutter::start(slapd.ldap_port(), Way::ToClient, &[2_000_000]);
    let relay = long_way(cutter.port());
    let (sizes, output) = run(&tap_config(&slapd), &relay, PEOPLE);
    assert_eq!(cutter.cuts(), 1);
    assert_eq!(names(&output).len(), 9_001);
    assert_eq!(sizes[..2], [1000, 16_000]);
    assert!(sizes.len() > 10 && sizes[2..].iter().all(|size| *size == 1000), "{sizes:?}");
}

/// It closes a connection that takes nothing for ten seconds: of a page that is not large the rest is read, whatever becomes of
/// stdout.
#[test]
fn they_do_not_grow_on_389() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(PEOPLE) + &people(3_500, PEOPLE)));
    let (sizes, output) = run(&tap_config(&server), &long_way(server.ldap_port()), PEOPLE);
    assert_eq!(output.records(None).len(), 3_501);
    assert_eq!(sizes, [1000; 4]);
}

/// It gives 1,000 at most: of more that is asked for nobody would know where it ends.
#[test]
fn they_do_not_grow_on_active_directory() {
    let samba = Samba::start("");
    let schema = format!("CN=Schema,CN=Configuration,{DOMAIN}");
    let (sizes, output) = run(&tap_config(&samba), &long_way(samba.ldap_port()), &schema);
    assert!(output.records(None).len() > 1_500);
    assert_eq!(sizes, [1000; 2]);
}

/// A server that gives this user no pages: what it gives unpaged is read, and said once.
#[test]
fn without_pages_a_server_is_read_unpaged() {
    let mut options = SlapdOptions::with_users().seed(people(300, PEOPLE));
    options.database_conf =
        "limits dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" size.soft=1000 size.hard=1000 size.prtotal=disabled".into();
    let slapd = Slapd::start(options);
    let stream = json!({"schemas": [{"name": "all", "base_dn": PEOPLE}]});
    let output = Run::tap(&with(&reader_config(&slapd), &stream)).run().succeeds();
    assert_eq!(names(&output).len(), 305);
    let lines = output.stderr.entries().iter().cloned();
    let said: Vec<Value> = lines.filter(|line| line["setting"] == "page_size").collect();
    assert_eq!(said.len(), 1, "{}", output.stderr);
}

/// `nsPagedSizeLimit` is for one page: the server sends that many, and refuses the rest.
#[test]
fn a_limit_of_389_for_a_page_is_met_by_smaller_pages() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(PEOPLE) + &people(150, PEOPLE)));
    let reader = server.reader_dn();
    server.ldapmodify(format!(
        "dn: {reader}\nchangetype: modify\nadd: nsPagedSizeLimit\nnsPagedSizeLimit: 20\n"
    ));
    for connections in [4, 1] {
        let as_reader = json!({"bind_dn": reader, "bind_password": READER_PASSWORD, "connection_pool_size": connections,
            "schemas": [{"name": "all", "base_dn": PEOPLE}]});
        let output = Run::tap(&with(&tap_config(&server), &as_reader)).run().succeeds();
        assert_eq!(names(&output).len(), 151);
        assert_eq!(output.records(None).len(), 151, "none of them twice");
    }
}
