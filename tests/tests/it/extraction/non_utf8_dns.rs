//! Entries whose DN is not UTF-8 (RFC 4514 requires it; some servers return such DNs).

use std::collections::BTreeSet;

use ldap_tests::fake::Fake;
use ldap_tests::fake::plain::{Plain, plain};
use ldap_tests::run::{Output, Run};
use serde_json::{Value, json};

use crate::support::with;

const UNIT: &str = "organizationalUnit";

fn server() -> Fake {
    Fake::start(Plain::new(vec![
        plain(b"ou=a,dc=x", &[("objectClass", &[UNIT]), ("ou", &["a"])]),
        plain(b"ou=b,dc=x", &[("objectClass", &[UNIT]), ("ou", &["b"])]),
        plain(b"cn=one,ou=a,dc=x", &[("objectClass", &["device"]), ("cn", &["one"])]),
        plain(b"cn=caf\xe9,ou=a,dc=x", &[("objectClass", &["device"]), ("cn", &["cafe"])]),
        plain(b"cn=\xc3\xa9,ou=b,dc=x", &[("objectClass", &["device"]), ("cn", &["\u{e9}"])]),
    ]))
}

fn log(output: &Output) -> Vec<Value> {
    output.stderr.entries().to_vec()
}

fn activated(output: &Output) -> BTreeSet<&str> {
    output.of_type("ACTIVATE_VERSION").iter().map(|m| m["stream"].as_str().unwrap()).collect()
}

#[test]
fn an_entry_with_such_a_name_is_left_out_named_and_counted() {
    let server = server();
    let config = json!({"server_url": server.uri(), "base_dn": "dc=x", "retry_attempts": 0});
    let everything = json!({"schemas": [{"name": "all", "filter": "(objectClass=device)"}]});
    let below_a = json!({"schemas": [
        {"name": "a", "base_dn": "ou=a,dc=x"}, {"name": "b", "base_dn": "ou=b,dc=x", "scope": "one"}]});
    for (more, streams, records) in [
        (json!({}), BTreeSet::from(["b", "organizational_units"]), 5),
        (everything, BTreeSet::new(), 2),
        (below_a, BTreeSet::from(["b"]), 3),
    ] {
        // Over connections of their own, and over the first one.
        for size in [4, 1] {
            let config = with(&with(&config, &more), &json!({"connection_pool_size": size}));
            let output = Run::tap(&config).run().succeeds();
            assert_eq!(output.records(None).len(), records, "{config}");
            assert_eq!(activated(&output), streams, "{config}");
            let log = log(&output);
            let named: Vec<&Value> = log.iter().filter(|l| l["dn"].is_string()).collect();
            assert_eq!(named.len(), 1, "{}", output.stderr);
            assert_eq!(
                (&named[0]["dn"], &named[0]["level"]),
                (&json!("cn=caf\\E9,ou=a,dc=x"), &json!("warning"))
            );
            assert_eq!(log.last().unwrap()["unreadable"], 1, "{}", output.stderr);
        }
    }
}

#[test]
fn an_entry_of_more_attributes_than_are_taken_is_named() {
    const MOST: usize = 65_536;
    let names = (0..=MOST).map(|n| &*Box::leak(format!("a{n}").into_boxed_str()));
    let mut attributes: Vec<(&str, &[&str])> = names.map(|name| (name, &["0"][..])).collect();
    attributes.push(("objectClass", &["device"]));
    let server = Fake::start(Plain::new(vec![plain(b"cn=large,dc=x", &attributes)]));
    let config = json!({"server_url": server.uri(), "base_dn": "dc=x", "retry_attempts": 0,
        "schemas": [{"name": "all", "filter": "(objectClass=device)"}]});
    let output = Run::tap(&config).run().exits(1);
    assert!(log(&output).iter().any(|line| line["dn"] == "cn=large,dc=x"), "{}", output.stderr);
    assert!(activated(&output).is_empty());
}
