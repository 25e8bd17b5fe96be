//! Servers that refuse pages, or pages of a size: what works is found, once in a run.

use std::collections::BTreeSet;
use std::time::Duration;

use ldap_tests::fake::paging::{Asked, Paging, SUFFIX, asked};
use ldap_tests::fake::{Fake, Operation};
use ldap_tests::run::{Output, Run};
use serde_json::{Value, json};

use crate::support::with;

/// A page of this time is enlarged by the tap: most of it is waiting.
const LONG: Duration = Duration::from_millis(100);

fn config(server: &Fake, connections: usize) -> Value {
    json!({"server_url": server.uri(), "retry_attempts": 0, "discovery_sample_size": 10,
        "connection_pool_size": connections, "verify": "never",
        "schemas": [{"name": "all", "base_dn": SUFFIX}]})
}

/// The sizes of the pages that were asked for, with the number of entries before each.
fn pages(server: &Fake) -> Vec<Asked> {
    let searches = server.requests().into_iter().filter(|r| matches!(r.operation, Operation::Search(_)));
    searches.map(|r| asked(&r)).filter(|asked| asked.size.is_some_and(|size| size != 10)).collect()
}

#[track_caller]
fn assert_each_once(output: &Output, count: usize) {
    let records = output.records(Some("all"));
    let names: BTreeSet<String> = records.iter().map(|r| r["dn"].to_string()).collect();
    assert_eq!((records.len(), names.len()), (count, count), "{}", output.stderr);
}

/// The lines of a level about the setting `page_size`.
fn said<'o>(output: &'o Output, level: &str) -> Vec<&'o Value> {
    let lines = output.stderr.entries().iter();
    lines.filter(|line| line["setting"] == "page_size" && line["level"] == level).collect()
}

/// The tap made these pages larger: none of what they lead to is for the user to mend.
#[test]
fn a_page_that_the_tap_enlarged_and_the_server_ends_is_read_in_pages_of_the_configured_size() {
    for (sent, code) in
        [(300, 4), (300, 11), (1500, 53), (300, 2), (300, 3), (0, 3), (0, 12), (1, 80), (0, 50)]
    {
        let limit = move |asked: Asked| asked.size.filter(|size| *size > 1000).map(|_| (sent, code));
        let server = Fake::start(Paging::new(3_600, limit).slow(LONG));
        let output = Run::tap(&config(&server, 4)).run().succeeds();
        assert_each_once(&output, 3_601);
        let large = pages(&server).iter().filter(|asked| asked.size.unwrap() > 1000).count();
        assert_eq!(large, 1, "{code} after {sent}: once in a run");
        let said = said(&output, "info");
        assert_eq!(said.len(), 1, "{code}: {}", output.stderr);
        assert_eq!((&said[0]["code"], &said[0]["page_size"]), (&json!(code), &json!(1000)));
    }
}

/// A failed page may end the paged search on the server: then the search begins again.
#[test]
fn a_server_that_forgets_a_paged_search_after_a_refusal_is_asked_from_the_beginning() {
    let limit = |asked: Asked| asked.size.filter(|size| *size > 1000).map(|_| (300, 53));
    let server = Fake::start(Paging::new(3_600, limit).slow(LONG).forgetful());
    let output = Run::tap(&config(&server, 4)).run().succeeds();
    let names: BTreeSet<String> = output.records(Some("all")).iter().map(|r| r["dn"].to_string()).collect();
    assert_eq!(names.len(), 3_601);
}

#[test]
fn pages_become_smaller_until_the_server_accepts_them() {
    for connections in [4, 1] {
        for (sent, code) in [(0, 53), (0, 4), (0, 2), (0, 11), (500, 4), (7, 53)] {
            let limit = move |asked: Asked| match asked.size {
                Some(size) if size > 500 => Some((sent, code)),
                None => Some((500, 4)),
                Some(_) => None,
            };
            let server = Fake::start(Paging::new(1_200, limit));
            let streams = json!({"discovery_sample_size": 0, "schemas": [
                {"name": "all", "base_dn": SUFFIX}, {"name": "again", "base_dn": SUFFIX}]});
            let output = Run::tap(&with(&config(&server, connections), &streams)).run().succeeds();
            assert_each_once(&output, 1_201);
            assert_eq!(output.records(Some("again")).len(), 1_201);
            let sizes: Vec<usize> = pages(&server).iter().filter_map(|asked| asked.size).collect();
            assert_eq!(sizes.iter().filter(|size| **size == 1000).count(), 1, "once in a run: {sizes:?}");
            assert!(!sizes.iter().any(|size| ![1000, 500].contains(size)), "{sizes:?}");
            let said = said(&output, "info");
            assert_eq!(said.len(), 1, "{}", output.stderr);
            assert_eq!((&said[0]["code"], &said[0]["page_size"]), (&json!(code), &json!(500)));
        }
    }
}

/// Such a limit is one of a page (389 DS: `nsPagedSizeLimit`): the server sends what it allows, and refuses the rest.
#[test]
fn a_limit_of_a_few_entries_a_page_is_met_by_smaller_pages() {
    for connections in [4, 1] {
        let limit = |asked: Asked| asked.size.is_none_or(|size| size > 20).then_some((20, 4));
        let server = Fake::start(Paging::new(150, limit));
        let output = Run::tap(&config(&server, connections)).run().succeeds();
        assert_each_once(&output, 151);
    }
}

#[test]
fn a_server_without_pages_is_read_unpaged_and_that_is_said_once() {
    for code in [53, 2, 1, 80, 12, 4, 11] {
        let limit = move |asked: Asked| asked.size.map(|_| (0, code));
        let server = Fake::start(Paging::new(60, limit));
        let names = (0..20).map(|n| if n == 0 { "all".to_owned() } else { format!("s{n}") });
        let streams: Vec<Value> = names.map(|name| json!({"name": name, "base_dn": SUFFIX})).collect();
        let config = with(&config(&server, 4), &json!({"schemas": streams}));
        let output = Run::tap(&config).run().succeeds();
        assert_each_once(&output, 61);
        assert_eq!(output.records(None).len(), 20 * 61);
        let said = said(&output, "warning");
        assert_eq!(said.len(), 1, "{}", output.stderr);
        assert_eq!(said[0]["code"], code);
        let sizes: Vec<Option<usize>> = pages(&server).iter().map(|asked| asked.size).collect();
        let asked: BTreeSet<_> = sizes.iter().collect();
        assert_eq!(asked.len(), sizes.len(), "{code}: no size is asked for twice: {sizes:?}");
    }
}

/// Smaller pages do not change a limit for all pages together (OpenLDAP: `size.prtotal`).
#[test]
fn a_limit_for_all_pages_together_is_an_error() {
    let limit =
        |asked: Asked| asked.size.filter(|size| asked.from + size > 1_500).map(|_| (1500 - asked.from, 4));
    let server = Fake::start(Paging::new(2_000, limit));
    let output = Run::tap(&config(&server, 4)).run().exits(1).reports_code(4);
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    assert!(pages(&server).len() < 20);
}

#[test]
fn a_server_that_sends_more_than_a_sample_asks_for_is_read_over_one_connection() {
    let server = Fake::start(Paging::new(400, |_| None).generous());
    for more in [json!({}), json!({"schemas": [], "base_dn": SUFFIX}), json!({"discovery_sample_size": 100})]
    {
        let output = Run::tap(&with(&config(&server, 1), &more)).run().succeeds();
        let names: BTreeSet<String> = output.records(None).iter().map(|r| r["dn"].to_string()).collect();
        assert_eq!(names.len(), 401);
    }
}

/// Each page would be taken for the last one, and what follows for deleted.
#[test]
fn a_page_whose_end_does_not_say_whether_there_are_more_is_an_error() {
    // The first page, one between, and one whose entries are fewer than a page.
    for (count, silent_from) in [(35, 0), (35, 15), (35, 30), (9, 0)] {
        let server = Fake::start(Paging::new(count, |_| None).silent_from(silent_from));
        let config = with(&config(&server, 4), &json!({"page_size": 10}));
        let output = Run::tap(&config).run().exits(1);
        assert!(
            output.of_type("ACTIVATE_VERSION").is_empty() && output.of_type("STATE").is_empty(),
            "{silent_from}"
        );
    }
    // A server may leave it out if the first page has everything.
    let server = Fake::start(Paging::new(8, |_| None).silent_from(0));
    let output = Run::tap(&with(&config(&server, 4), &json!({"page_size": 10}))).run().succeeds();
    assert_each_once(&output, 9);
}
