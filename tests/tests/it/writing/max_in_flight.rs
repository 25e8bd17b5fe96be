//! `max_in_flight`: the number of outstanding writes; later records are looked up meanwhile.

use std::time::Duration;

use ldap_tests::relay::{Outstanding, Relay};
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{done, people, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
const COUNT: usize = 100;

/// Gives each of the people another title, and what was outstanding meanwhile.
fn outstanding(slapd: &Slapd, max_in_flight: usize, title: &str) -> Outstanding {
    // With a lag there is always something to wait for.
    let relay = Relay::slow(slapd.ldap_port(), Duration::from_millis(1), |_| {});
    let rule = json!({"dn_template": format!("uid={{id}},{PEOPLE}"), "attribute_mapping": {"title": "title"}, "on_delete": "delete"});
    let config = with(
        &target_config(slapd),
        &json!({"server_url": relay.uri(), "max_in_flight": max_in_flight, "mapping_rules": {"p": rule}}),
    );
    let text = json!({"type": ["string", "null"]});
    let schema = json!({"id": text, "title": text, "_sdc_deleted_at": text});
    let mut messages: Vec<Value> = vec![json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"],
        "schema": {"type": "object", "properties": schema}})];
    messages.extend((0..COUNT).map(
        |n| json!({"type": "RECORD", "stream": "p", "record": {"id": format!("person{n}"), "title": title}}),
    ));
    messages.push(json!({"type": "STATE", "value": {"n": 1}}));
    done(Run::target(&config).messages(&messages).run()).counts(&[("modified", COUNT as u64)]);
    relay.most_outstanding()
}

#[test]
fn no_more_writes_than_configured_and_lookups_beside() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(people(COUNT, PEOPLE)));
    let four = outstanding(&slapd, 4, "four");
    assert_eq!(four.updates, 4, "{four:?}");
    assert!(four.requests > 4, "nothing was looked up beside the writes: {four:?}");
    assert_eq!(outstanding(&slapd, 1, "one"), Outstanding { requests: 1, updates: 1 });
}
