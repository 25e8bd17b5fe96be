//! ACTIVATE_VERSION of memberships on an input that stays open: each version is decided by the rows of its own period.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{Place, RFC, by_filter, place, row, run, schema, set, slapd};
use crate::support::open_run::OpenRun;
use crate::support::{done, with};

fn rule(place: &Place<'_>) -> Value {
    with(&by_filter(), &json!({"scope_base": format!("ou=groups,{}", place.base)}))
}

fn config(place: &Place<'_>, rules: &Value) -> Value {
    let open = json!({"process_activate_version": true, "activate_when_quiet_seconds": 1});
    with(&place.config(rules), &open)
}

/// g0 has keeper, p0, p1; g1 keeper, p2; g2 keeper.
fn filled(place: &Place<'_>) {
    let rows = [row("g0", "p0"), row("g0", "p1"), row("g1", "p2")];
    done(run(&place.config(&json!({"m": by_filter()})), &rows)).counts(&[("added", 3)]);
}

fn people(place: &Place<'_>, names: &[&str]) -> BTreeSet<String> {
    set(&names.iter().map(|name| place.person(name)).collect::<Vec<_>>())
}

fn of_stream(stream: &str, mut message: Value) -> Value {
    message["stream"] = json!(stream);
    message
}

fn in_version(version: u32, rows: &[(&str, &str)]) -> Vec<Value> {
    let row = |(group, user): &(&str, &str)| {
        let mut row = row(group, user);
        row["version"] = json!(version);
        row
    };
    rows.iter().map(row).collect()
}

fn activate(stream: &str, version: u32) -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": version})
}

fn state(version: u32) -> Value {
    json!({"type": "STATE", "value": {"n": version}})
}

fn whole(version: u32, rows: &[(&str, &str)]) -> Vec<Value> {
    let mut messages = in_version(version, rows);
    messages.extend([activate("m", version), state(version)]);
    messages
}

/// Without p1 in g0.
const REST: [(&str, &str); 5] =
    [("g0", "keeper"), ("g0", "p0"), ("g1", "keeper"), ("g1", "p2"), ("g2", "keeper")];

#[test]
fn a_rejected_row_or_a_rename_holds_back_its_own_version_alone() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let dir = scratch();
    let renamed = json!({"dn_template": format!("uid={{id}},ou=people,{}", place.base), "match": "(employeeNumber={number})",
        "object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": "uid"}});
    let config = with(
        &config(&place, &json!({"m": rule(&place), "people": renamed})),
        &json!({"on_error": "skip", "reject_file": dir.path().join("r.jsonl")}),
    );
    let mut open = OpenRun::start(&config);
    let text = json!({"type": ["null", "string"]});
    open.write(&[
        schema(),
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["number"],
            "schema": {"properties": {"id": text, "number": text}}}),
    ]);
    // A row without a group could mean any.
    let mut first = whole(1, &REST);
    first[0]["record"]["group"] = Value::Null;
    open.write(&first);
    open.prints(&json!({"n": 1}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0", "p1"]));
    open.write(&whole(2, &REST));
    open.prints(&json!({"n": 2}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0"]));
    // A rename between the rows of a version.
    open.write(&in_version(3, &[("g0", "keeper")]));
    thread::sleep(Duration::from_secs(3));
    let rename = json!({"type": "RECORD", "stream": "people", "record": {"id": "p9", "number": "p4"}});
    open.write(&[vec![rename], whole(3, &REST[2..])].concat());
    open.prints(&json!({"n": 3}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0"]));
    open.write(&whole(4, &[("g0", "keeper"), ("g1", "keeper"), ("g2", "keeper")]));
    open.prints(&json!({"n": 4}));
    assert_eq!(place.members("g0"), people(&place, &["keeper"]));
    assert_eq!(place.members("g1"), people(&place, &["keeper"]));
    open.ends(4);
}

#[test]
fn versions_decided_together_keep_what_the_other_has() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let second = json!({"membership": {"group": "(cn={group})", "member": "(uid={user})"}});
    let mut open = OpenRun::start(&config(&place, &json!({"m": rule(&place), "n": second})));
    let of_n = |messages: Vec<Value>| messages.into_iter().map(|message| of_stream("n", message));
    let mut messages = vec![schema(), of_stream("n", schema())];
    messages.extend(in_version(1, &[("g0", "keeper"), ("g1", "keeper"), ("g2", "keeper")]));
    messages.extend(of_n(in_version(1, &[("g0", "p0")])));
    messages.extend([activate("m", 1), activate("n", 1), state(1)]);
    open.write(&messages);
    open.prints(&json!({"n": 1}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0"]));
    assert_eq!(place.members("g1"), people(&place, &["keeper"]));
    // A version of m alone leaves what n has, and n is in the middle of its next one.
    open.write(&of_n(in_version(2, &[("g0", "p1")])).collect::<Vec<_>>());
    open.write(&whole(2, &[("g0", "keeper"), ("g1", "keeper"), ("g2", "keeper")]));
    open.prints(&json!({"n": 2}));
    let mut rest: Vec<Value> = of_n(in_version(2, &[("g0", "p2")])).collect();
    rest.extend([activate("n", 2), state(3)]);
    open.write(&rest);
    open.prints(&json!({"n": 3}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p1", "p2"]));
    open.ends(0);
}

/// A version that was decided waits for a record whose parent is to come. Rows that arrive meanwhile are of the next version.
#[test]
fn rows_that_arrive_before_a_version_is_carried_out_are_of_the_next() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let late = format!("ou=late,{}", place.base);
    let rules = json!({"m": rule(&place),
        "people": {"dn_template": format!("uid={{id}},{late}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}},
        "units": {"dn_template": format!("ou={{id}},{}", place.base), "object_classes": ["organizationalUnit"],
            "attribute_mapping": {"id": "ou"}}});
    let config = with(&config(&place, &rules), &json!({"create_parents": false}));
    let text = json!({"type": ["null", "string"]});
    let of = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"],
            "schema": {"properties": {"id": text, "name": text}}})
    };
    let record = |stream: &str, id: &str| json!({"type": "RECORD", "stream": stream, "record": {"id": id, "name": "x"}});
    let mut open = OpenRun::start(&config);
    open.write(&[schema(), of("people"), of("units"), record("people", "waits")]);
    open.write(&whole(1, &REST));
    let began = Instant::now();
    let is_within = |seconds| began.elapsed() < Duration::from_secs(seconds);
    // Decided by now.
    thread::sleep(Duration::from_secs(4));
    open.write(&in_version(2, &[("g0", "p4")]));
    while !place.members("g0").is_superset(&people(&place, &["p4"])) {
        assert!(is_within(30));
        thread::sleep(Duration::from_millis(200));
    }
    assert!(place.members("g0").is_superset(&people(&place, &["p1"])), "it is not carried out yet");
    open.write(&[record("units", "late")]);
    while !place.members("g0").is_disjoint(&people(&place, &["p1"])) {
        assert!(is_within(50));
        thread::sleep(Duration::from_millis(200));
    }
    open.write(&whole(2, &REST));
    open.prints(&json!({"n": 2}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0", "p4"]));
    open.ends(0);
}
