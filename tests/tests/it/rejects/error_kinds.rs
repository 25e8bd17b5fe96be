//! Which errors are of a record, and which end the run.

use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use super::{USERS, good, has, options, printed, read, record, schema, skipping, state};
use crate::support::{lines, no_panic, states, target_config, with};

#[test]
fn what_is_the_servers_fault_fails_the_run_and_rejects_nothing() {
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let slapd = Slapd::start(SlapdOptions { database_conf: "readonly on\n".into(), ..options() });
    let messages = [schema(), state(1), good("a"), good("b"), state(2)];
    let output = Run::target(&skipping(&slapd, &file)).messages(&messages).run().exits(1).reports_code(53);
    assert_eq!(states(&output), [json!({"n": 1})]);
    assert_eq!(ldap_tests::run::read_text(&file), "");

    // A connection that is lost in the middle.
    let mut slapd = Slapd::start(options());
    let run = Run::target(&skipping(&slapd, &file));
    let mut running = run.spawn();
    let next = printed(running.take_stdout());
    running.write_stdin(lines(&[schema(), good("a"), state(1)]).as_bytes());
    assert_eq!(next().as_deref(), Some("{\"n\":1}"));
    slapd.kill();
    running.close_stdin_with(lines(&[good("b"), good("c"), state(2)]).as_bytes());
    let (code, stderr, _) = running.wait(Duration::from_secs(20));
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(next(), None, "no STATE beyond");
    assert_eq!(ldap_tests::run::read_text(&file), "");
}

#[test]
fn what_the_bound_user_may_not_do_is_the_records_own() {
    // The own entry is left alone by the target itself.
    let people = "ou=people,dc=example,dc=test";
    let access = format!(
        "access to dn.exact=\"uid=replica,{people}\" by dn.exact=\"uid=alice,{people}\" write by * read\n"
    );
    let slapd = Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users() });
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let alice = json!({"bind_dn": "uid=alice,ou=people,dc=example,dc=test", "bind_password": "alice-pw"});
    let config = with(&skipping(&slapd, &file), &alice);
    let mut rule = config["mapping_rules"]["users"].clone();
    rule["dn_template"] = json!("uid={uid},ou=people,dc=example,dc=test");
    let config = with(&config, &json!({"mapping_rules": {"users": rule, "own": rule}}));
    let mut own = [schema(), good("replica")];
    for message in &mut own {
        message["stream"] = json!("own");
    }
    let mut messages = vec![schema(), good("bob")];
    messages.extend(own);
    messages.push(state(1));
    let output = Run::target(&config).messages(&messages).run().exits(4);
    assert_eq!(states(&output), [json!({"n": 1})]);
    let (schemas, rejects) = read(&file);
    let streams: Vec<&Value> = schemas.iter().map(|s| &s["stream"]).collect();
    assert_eq!(streams, ["users"], "no SCHEMA of a stream without rejects");
    assert_eq!((&rejects[0]["code"], rejects.len()), (&json!(50), 1), "{rejects:#?}");
    let cn = |id: &str| slapd.dump()[&format!("uid={id},ou=people,dc=example,dc=test")]["cn"].clone();
    assert_eq!((cn("replica").len(), cn("bob").len()), (1, 1));
    assert_eq!(cn("replica").first().unwrap(), b"Name of replica");
    assert_eq!(cn("bob").first().unwrap(), b"bob");
}

#[test]
fn what_waits_for_what_never_comes_is_rejected_with_the_servers_answer() {
    let slapd = Slapd::start(options().seed(format!(
        "dn: uid=parent,{USERS}\nobjectClass: account\nuid: parent\n\ndn: uid=child,uid=parent,{USERS}\nobjectClass: account\nuid: child\n"
    )));
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let mut config = skipping(&slapd, &file);
    config["mapping_rules"]["users"]["dn_template"] = json!(format!("uid={{uid}},{USERS}"));
    config["mapping_rules"]["deep"] = config["mapping_rules"]["users"].clone();
    config["mapping_rules"]["deep"]["dn_template"] = json!(format!("uid={{uid}},cn=none,{USERS}"));
    let deep = |mut message: Value| {
        message["stream"] = json!("deep");
        message
    };
    let deletion = record("parent", &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    let messages = [
        schema(),
        deep(schema()),
        deep(good("early")),
        deletion,
        // It waits behind the deletion, and comes to its turn.
        record("parent", &json!({"name": null})),
        deep(good("early")),
        good("fine"),
        deep(good("alone")),
        state(1),
    ];
    let output = Run::target(&config).messages(&messages).run().exits(4);
    no_panic(&output);
    assert_eq!(states(&output).last(), Some(&json!({"n": 1})));
    let (_, rejects) = read(&file);
    let seen: Vec<(Option<u64>, Option<u64>)> =
        rejects.iter().map(|r| (r["line"].as_u64(), r["code"].as_u64())).collect();
    assert_eq!(
        seen,
        [
            (Some(3), Some(32)),
            (Some(4), Some(66)),
            (Some(5), Some(65)),
            (Some(6), Some(32)),
            (Some(8), Some(32))
        ],
        "{rejects:#?}"
    );
    assert_eq!(rejects[0]["matched_dn"], USERS);
    assert!(has(&slapd.dump(), "fine") && has(&slapd.dump(), "parent"));
}

#[test]
fn a_line_that_is_no_message_fails_the_run_all_the_same() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let config = skipping(&slapd, &dir.path().join("rejects.jsonl"));
    let input = lines(&[schema(), good("a"), state(1)]) + "{\"type\":\"RECORD\"\n" + &lines(&[state(2)]);
    let output: Output = Run::target(&config).stdin(input).run().exits(1).reports_line(4);
    assert_eq!(states(&output), [json!({"n": 1})]);
}

/// What a server answers to an entry of these classes with `more`, of which nothing is right but the name.
#[track_caller]
fn answer(server: &Server, template: &str, classes: &[&str], mapping: &Value, more: &Value) -> Value {
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = with(
        &target_config(server),
        &json!({"on_error": "skip", "reject_file": file, "validate_records": false, "mapping_rules": {"users": {
            "dn_template": template, "object_classes": classes, "attribute_mapping": mapping}}}),
    );
    Run::target(&config).messages(&[schema(), record("x", more), state(1)]).run().exits(4);
    read(&file).1.remove(0)
}

#[test]
fn ds389_and_active_directory_name_the_attribute_in_words_of_their_own() {
    let ds389 = Ds389::start(&Ds389Options::default());
    let samba = Samba::start("");
    let (people, contacts) =
        ("uid={id},dc=example,dc=test".to_owned(), format!("CN={{id}},{}", ldap_tests::samba::SUFFIX));
    let person = ["inetOrgPerson"];
    let cases = [
        (answer(&ds389, &people, &person, &json!({"name": "cn"}), &json!({})), 65, "sn"),
        (
            answer(
                &ds389,
                &people,
                &person,
                &json!({"name": ["cn", "sn"], "n": "uidNumber"}),
                &json!({"n": 5}),
            ),
            65,
            "uidNumber",
        ),
        (
            answer(
                &ds389,
                &people,
                &person,
                &json!({"name": ["cn", "sn"], "n": "manager"}),
                &json!({"n": "nobody"}),
            ),
            21,
            "manager",
        ),
        (
            answer(&samba, &contacts, &["contact"], &json!({"n": "sAMAccountName"}), &json!({"n": "x"})),
            65,
            "sAMAccountName",
        ),
    ];
    for (reject, code, attribute) in cases {
        assert_eq!((&reject["code"], &reject["attribute"]), (&json!(code), &json!(attribute)), "{reject:#}");
    }
}
