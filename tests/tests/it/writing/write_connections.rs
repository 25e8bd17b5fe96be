//! `write_connections`: changes over several connections, all to the same server.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ldap_tests::balancer::{Act, Balancer};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{succeed, tool};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::rng::{Rng, seed};
use crate::support::{done, states, target_config, with};

const BASE: &str = "dc=example,dc=test";
/// The units of a load; each has six changes that depend on others.
const UNITS: usize = 40;

fn schema(stream: &str, key: &str, texts: &[&str], lists: &[&str]) -> Value {
    let text = json!({"type": ["null", "string"]});
    let list = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let properties: serde_json::Map<String, Value> = texts
        .iter()
        .map(|name| ((*name).to_owned(), text.clone()))
        .chain(lists.iter().map(|name| ((*name).to_owned(), list.clone())))
        .collect();
    json!({"type": "SCHEMA", "stream": stream, "key_properties": [key],
        "schema": {"type": "object", "properties": properties}})
}

fn record(stream: &str, record: &Value) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": record})
}

/// Units, people below them, an entry that is deleted and added again, a rename, and a group that names the new DN.
fn dependent() -> Vec<Value> {
    let mut all = vec![
        schema(
            "all",
            "dn",
            &["dn", "_sdc_deleted_at"],
            &["objectClass", "ou", "cn", "sn", "description", "member"],
        ),
        schema("p", "id", &["id", "uid", "ou"], &[]),
    ];
    let person = |n: usize, text: &str| {
        record(
            "all",
            &json!({"dn": format!("cn=x{n},ou=u{n},{BASE}"), "objectClass": ["person"], "cn": [format!("x{n}")],
            "sn": ["x"], "description": [text]}),
        )
    };
    for n in 0..UNITS {
        all.push(record(
            "all",
            &json!({"dn": format!("ou=u{n},{BASE}"), "objectClass": ["organizationalUnit"], "ou": [format!("u{n}")]}),
        ));
        all.push(record("p", &json!({"id": n.to_string(), "uid": format!("a{n}"), "ou": format!("u{n}")})));
        all.push(person(n, "first"));
        all.push(record(
            "all",
            &json!({"dn": format!("cn=x{n},ou=u{n},{BASE}"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}),
        ));
        all.push(person(n, "second"));
        all.push(record("p", &json!({"id": n.to_string(), "uid": format!("b{n}"), "ou": format!("u{n}")})));
        all.push(record(
            "all",
            &json!({"dn": format!("cn=g{n},ou=u{n},{BASE}"), "objectClass": ["groupOfNames"], "cn": [format!("g{n}")],
                "member": [format!("uid=b{n},ou=u{n},{BASE}"), format!("cn=x{n},ou=u{n},{BASE}")]}),
        ));
    }
    all.push(json!({"type": "STATE", "value": {"n": 1}}));
    all
}

fn load(base: &Value, more: &Value, messages: &[Value]) -> Output {
    let rule = json!({"dn_template": format!("uid={{uid}},ou={{ou}},{BASE}"), "match": "(employeeNumber={id})",
        "object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": "employeeNumber", "uid": "uid"},
        "values": {"cn": "x", "sn": "x"}});
    let config = with(&with(base, &json!({"mapping_rules": {"p": rule}})), more);
    Run::target(&config).messages(messages).timeout(Duration::from_secs(120)).run()
}

#[test]
fn changes_that_depend_on_others_keep_their_order_over_connections_of_any_latency() {
    let mut wanted: Option<Tree> = None;
    for (connections, max_in_flight) in [(1, 32), (4, 32), (4, 8), (16, 64)] {
        let slapd = Slapd::start(SlapdOptions::default());
        let rng = Mutex::new(Rng::new(seed(2201)));
        // Each connection has a latency of its own, from request to request.
        let balancer = Balancer::start(&[slapd.ldap_port()], move |connection, _, _| {
            let mut rng = rng.lock().unwrap();
            let most = 1 + 700 * (connection % 5);
            Act::Late(Duration::from_micros(u64::try_from(rng.below(most)).unwrap()))
        });
        let more = json!({"server_url": balancer.uri(), "write_connections": connections, "max_in_flight": max_in_flight});
        let output = done(load(&target_config(&slapd), &more, &dependent()));
        output.stderr.does_not_report(&json!({"reason": "other_server"}));
        let used = balancer.updates();
        let fits =
            if connections == 1 { used.len() == 1 } else { used.len() > 1 && used.len() <= connections };
        assert!(fits, "{connections}: {used:?}");
        let dump = slapd.dump();
        let wanted = wanted.get_or_insert_with(|| dump.clone());
        assert_same("one connection", wanted, &format!("{connections} connections"), &dump);
    }
    assert_eq!(wanted.unwrap().len(), 1 + 4 * UNITS);
}

/// People without anything that depends on another one.
fn people(count: usize, text: &str) -> Vec<Value> {
    let mut all = vec![schema("all", "dn", &["dn"], &["objectClass", "cn", "sn", "description"])];
    all.extend((0..count).map(|n| {
        record(
            "all",
            &json!({"dn": format!("cn=p{n},{BASE}"), "objectClass": ["person"], "cn": [format!("p{n}")],
            "sn": ["x"], "description": [text]}),
        )
    }));
    all.push(json!({"type": "STATE", "value": {"n": 1}}));
    all
}

/// The changes that slapd made, by kind and entry.
fn made(slapd: &Slapd) -> BTreeMap<(String, String), usize> {
    let mut made = BTreeMap::new();
    for (dn, entry) in slapd.dump_below("cn=accesslog", &["reqType", "reqDN"]) {
        let first = |name: &str| {
            let values = entry.get(name).unwrap_or_else(|| panic!("{dn} has no {name}"));
            String::from_utf8(values.iter().next().unwrap().clone()).unwrap()
        };
        if entry.contains_key("reqdn") {
            *made.entry((first("reqtype"), first("reqdn"))).or_default() += 1;
        }
    }
    made
}

#[test]
fn a_connection_that_is_cut_loses_no_change_and_makes_none_twice() {
    const COUNT: usize = 300;
    for (connections, cut, after) in [(1, 0, 40), (4, 0, 20), (4, 1, 1), (4, 1, 25), (4, 2, 30), (4, 3, 12)] {
        let slapd = Slapd::start(SlapdOptions { accesslog: true, ..SlapdOptions::default() });
        let cuts = Arc::new(Mutex::new(0));
        let counted = cuts.clone();
        let balancer = Balancer::start(&[slapd.ldap_port()], move |connection, _, updates| {
            if connection == cut && updates == after {
                *counted.lock().unwrap() += 1;
                return Act::Cut;
            }
            Act::Late(Duration::from_micros(300))
        });
        let more = json!({"server_url": balancer.uri(), "write_connections": connections, "max_in_flight": 16,
            "retry_attempts": 5, "retry_max_wait_seconds": 1, "undo_file": slapd.path("undo.ldif")});
        let what = format!("{connections} connections, number {cut} cut after {after}");
        done(load(&target_config(&slapd), &more, &people(COUNT, "old"))).counts(&[("added", COUNT as u64)]);
        assert_eq!(*cuts.lock().unwrap(), 1, "{what}: {:?}", balancer.updates());
        let made = made(&slapd);
        assert_eq!(made.len(), COUNT, "{what}");
        assert!(made.iter().all(|((kind, _), count)| kind == "add" && *count == 1), "{what}: {made:?}");
        // All of it is taken back.
        let undo = slapd.path("undo.ldif").display().to_string();
        let config = with(&target_config(&slapd), &json!({"server_url": balancer.uri()}));
        Run::target(&config).arg("undo").arg(undo).run().succeeds();
        assert_eq!(slapd.dump().len(), 1, "{what}");
    }
}

/// When slapd was started, as its subschema has it.
fn start_of(slapd: &Slapd) -> String {
    let mut command = Command::new(tool("ldapsearch"));
    command.args([
        "-x",
        "-LLL",
        "-H",
        &slapd.ldap_uri(),
        "-b",
        "cn=Subschema",
        "-s",
        "base",
        "createTimestamp",
    ]);
    String::from_utf8(succeed(&mut command).stdout).unwrap()
}

/// The updates that each connection to a balancer of two servers carried, and the run.
fn over_two(first: &Value, ports: [u16; 2], more: &Value) -> (BTreeMap<usize, usize>, Output) {
    let balancer = Balancer::start(&ports, |_, _, _| Act::Late(Duration::from_micros(500)));
    let more = with(&json!({"server_url": balancer.uri()}), more);
    let output = load(first, &more, &people(200, "old"));
    (balancer.updates(), output)
}

#[test]
fn another_server_behind_the_same_address_gets_no_change() {
    let first = Slapd::start(SlapdOptions::default());
    let second = loop {
        let second = Slapd::start(SlapdOptions::default());
        if start_of(&second) != start_of(&first) {
            break second;
        }
        std::thread::sleep(Duration::from_millis(300));
    };
    let ports = [first.ldap_port(), second.ldap_port()];
    let (updates, output) = over_two(&target_config(&first), ports, &json!({}));
    done(output).reports(&json!({"reason": "other_server", "write_connections": 1}));
    assert_eq!(updates.keys().collect::<Vec<_>>(), [&0], "{updates:?}");
    assert_eq!((first.dump().len(), second.dump().len()), (201, 1));

    let servers = [0, 1].map(|_| Ds389::start(&Ds389Options::default()));
    let ports = [servers[0].ldap_port(), servers[1].ldap_port()];
    let (updates, output) = over_two(&target_config(&servers[0]), ports, &json!({}));
    done(output).reports(&json!({"reason": "other_server", "write_connections": 1}));
    assert_eq!(updates.keys().collect::<Vec<_>>(), [&0], "{updates:?}");
    assert_eq!(servers[1].dump_attributes(&["cn"]).keys().filter(|dn| dn.starts_with("cn=p")).count(), 0);
}

#[test]
fn a_server_that_passes_for_another_one_is_found_by_what_it_does_not_show() {
    let mut pair = None;
    for _ in 0..40 {
        let [first, second] = [0, 1].map(|_| Slapd::start(SlapdOptions::default()));
        if start_of(&first) == start_of(&second) {
            pair = Some((first, second));
            break;
        }
    }
    let (first, second) = pair.expect("two servers are started in the same second");
    let ports = [first.ldap_port(), second.ldap_port()];
    let (_, output) = over_two(&target_config(&first), ports, &json!({}));
    // The servers do not replicate: the run does not say that all is there.
    let output = output.exits(1).reports(&json!({"reason": "other_server", "write_connections": 1}));
    assert!(states(&output).is_empty());
    assert!(second.dump().len() < 40, "{}", second.dump().len());
}

#[test]
fn a_server_that_cannot_be_recognized_gets_one_connection() {
    let hidden =
        "access to dn.base=\"cn=Subschema\" attrs=createTimestamp by * none\naccess to * by * read\n";
    let slapd = Slapd::start(SlapdOptions { global_conf: hidden.to_owned(), ..SlapdOptions::default() });
    let ports = [slapd.ldap_port(); 2];
    let (updates, output) = over_two(&target_config(&slapd), ports, &json!({}));
    done(output).logs(&json!({"reason": "unknown_server", "write_connections": 1}));
    assert_eq!(updates.keys().collect::<Vec<_>>(), [&0], "{updates:?}");
    assert_eq!(slapd.dump().len(), 201);
}

#[test]
fn few_changes_open_no_further_connection() {
    let slapd = Slapd::start(SlapdOptions::default());
    for more in [json!({"max_in_flight": 1}), json!({"write_connections": 1})] {
        let balancer = Balancer::start(&[slapd.ldap_port()], |_, _, _| Act::Pass);
        let text = more.to_string();
        let more = with(&json!({"server_url": balancer.uri()}), &more);
        done(load(&target_config(&slapd), &more, &people(100, &text)));
        let updates = balancer.updates();
        assert_eq!(updates.into_iter().collect::<Vec<_>>(), [(0, 100)], "{text}");
    }
}
