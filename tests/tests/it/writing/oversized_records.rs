//! Records that are larger than the server takes.

use std::path::Path;

use base64::Engine as _;
use ldap_tests::cutter::{Cutter, Way};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run, read_text};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{lines, no_panic, states, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn limited(octets: usize) -> Slapd {
    let global_conf = format!("sockbuf_max_incoming_auth {octets}\n");
    Slapd::start(SlapdOptions { global_conf, ..SlapdOptions::default() }.seed(unit(USERS)))
}

fn config(server: &Server, reject_file: Option<&Path>) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{id}},{USERS}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": ["uid", "cn", "sn"], "photo": "jpegPhoto", "title": "title"},
    });
    let config = with(&target_config(server), &json!({"mapping_rules": {"users": rule}}));
    match reject_file {
        Some(file) => with(&config, &json!({"on_error": "skip", "reject_file": file})),
        None => config,
    }
}

/// Records with pictures of so many octets; none of 0.
fn input(people: &[(&str, usize)]) -> String {
    let text = json!({"type": ["string", "null"]});
    let photo = json!({"type": "string", "contentEncoding": "base64"});
    let mut messages = vec![json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "title": text, "photo": photo}}})];
    for (n, (id, octets)) in people.iter().enumerate() {
        let mut record = json!({"id": id, "title": "Dr"});
        if *octets > 0 {
            record["photo"] = base64::engine::general_purpose::STANDARD.encode(vec![0xff; *octets]).into();
        }
        messages.push(json!({"type": "RECORD", "stream": "users", "record": record}));
        messages.push(json!({"type": "STATE", "value": {"n": n}}));
    }
    lines(&messages)
}

fn load(config: &Value, people: &[(&str, usize)]) -> Output {
    let output = Run::target(config).stdin(input(people)).run();
    no_panic(&output);
    output
}

/// Names of the people that are there.
fn there(server: &Server) -> Vec<String> {
    let tree = server.dump();
    tree.keys().filter_map(|dn| dn.strip_prefix("uid=")?.split(',').next()).map(str::to_owned).collect()
}

#[test]
fn a_record_that_is_larger_than_the_server_takes_is_an_error_of_that_record() {
    let slapd = limited(300_000);
    let folder = scratch();
    let reject_file = folder.path().join("rejects.jsonl");
    // More than there are attempts, each smaller than the one before, so that none is known by the one before.
    let people = [
        ("ann", 0),
        ("big1", 500_000),
        ("big2", 480_000),
        ("ben", 200_000),
        ("big3", 460_000),
        ("big4", 440_000),
        ("big5", 420_000),
        ("cy", 10_000),
        ("big6", 400_000),
        ("dan", 0),
    ];
    let output = load(&config(&slapd, Some(&reject_file)), &people).exits(4);
    assert_eq!(there(&slapd), ["ann", "ben", "cy", "dan"]);
    assert_eq!(states(&output).last(), Some(&json!({"n": 9})), "all is written or rejected");
    let text = read_text(&reject_file);
    let rejects: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let rejects: Vec<&Value> = rejects.iter().filter(|l| l["type"] == "REJECT").collect();
    assert_eq!(rejects.len(), 6);
    for reject in rejects {
        let id = reject["record"]["id"].as_str().unwrap();
        assert_eq!(reject["dn"], json!(format!("uid={id},{USERS}")));
        let octets = people.iter().find(|(name, _)| *name == id).unwrap().1;
        let reason = reject["reason"].as_str().unwrap();
        for expected in [&octets.to_string(), "jpegPhoto", "sockbuf_max_incoming_auth"] {
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }
    // Nothing else was under way over the connection that each lost.
    assert!(!output.stderr.contains("connected"), "{}", output.stderr);
}

#[test]
fn a_value_of_an_entry_that_is_there_may_be_too_large_too() {
    let slapd = limited(300_000);
    load(&config(&slapd, None), &[("ann", 0)]).succeeds();
    let one = json!({"connection_pool_size": 1, "retry_attempts": 0, "max_in_flight": 1});
    let output = load(&with(&config(&slapd, None), &one), &[("ann", 400_000), ("ben", 0)]).exits(1);
    output.says("sockbuf_max_incoming_auth").reports_line(2);
    assert_eq!(there(&slapd), ["ann"]);
}

#[test]
fn the_limit_of_389_is_named() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(USERS)));
    let folder = scratch();
    let reject_file = folder.path().join("rejects.jsonl");
    let people = [("ann", 0), ("big", 2_200_000), ("ben", 1_000_000), ("cy", 0)];
    load(&config(&server, Some(&reject_file)), &people).exits(4).says("nsslapd-maxbersize");
    assert_eq!(there(&server), ["ann", "ben", "cy", "reader"]);
    assert_eq!(read_text(&reject_file).lines().filter(|l| l.contains("\"REJECT\"")).count(), 1);
    load(&config(&server, None), &people).exits(1).says("nsslapd-maxbersize");
}

#[test]
fn a_network_that_cuts_large_requests_rejects_nothing() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(USERS)));
    let folder = scratch();
    let run = |cuts: &[usize], id: &str| {
        let cutter = Cutter::start(slapd.ldap_port(), Way::ToServer, cuts);
        let reject_file = folder.path().join(format!("{id}.jsonl"));
        let config = with(&config(&slapd, Some(&reject_file)), &json!({"server_url": cutter.uri()}));
        let output = load(&config, &[(id, 400_000)]);
        assert!(cutter.cuts() > 0);
        let rejects = std::fs::read_to_string(&reject_file).unwrap_or_default();
        assert!(rejects.is_empty(), "{rejects}");
        output
    };
    run(&[200_000], "once").succeeds();
    assert_eq!(there(&slapd), ["once"]);
    let cuts: Vec<usize> = (1..100).map(|n| n * 60_000).collect();
    run(&cuts, "always").exits(1).says("the connection to the server was lost");
    assert_eq!(there(&slapd), ["once"]);
}

/// A new group of members that do not exist yet: the group is added first, and its members are too large for one request.
#[test]
fn a_group_that_is_rejected_for_its_members_does_not_stay_behind() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(USERS)));
    let folder = scratch();
    let reject_file = folder.path().join("rejects.jsonl");
    let rule = json!({"dn_template": format!("cn={{id}},{USERS}"), "object_classes": ["groupOfNames"],
        "attribute_mapping": {"id": "cn", "members": "member"}});
    let config = with(
        &target_config(&server),
        &json!({"mapping_rules": {"g": rule}, "on_error": "skip", "reject_file": reject_file}),
    );
    let long = "x".repeat(600);
    let members: Vec<String> =
        (0..4_000).map(|n| format!("uid=user{n:06},ou={long},dc=example,dc=test")).collect();
    let messages = [
        json!({"type": "SCHEMA", "stream": "g", "key_properties": ["id"],
            "schema": {"properties": {"id": {"type": "string"}, "members": {"type": "array"}}}}),
        json!({"type": "RECORD", "stream": "g", "record": {"id": "big", "members": members}}),
        json!({"type": "RECORD", "stream": "g", "record": {"id": "small", "members": ["uid=nobody,dc=example,dc=test"]}}),
    ];
    let output = Run::target(&config).stdin(lines(&messages)).run().exits(4);
    output.stderr.counts(&[("added", 1)]);
    let tree = server.dump();
    assert!(!tree.contains_key(&format!("cn=big,{USERS}")));
    assert!(tree.contains_key(&format!("cn=small,{USERS}")));
    assert_eq!(read_text(&reject_file).lines().filter(|l| l.contains("\"REJECT\"")).count(), 1);
}
