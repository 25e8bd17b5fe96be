//! `assert_unchanged`: a change by another client between our read and our write is not lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::hostile;
use ldap_tests::relay::{MODIFY, Relay};
use ldap_tests::run::{Output, Run, read_text};
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{no_panic, states, tap_config, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";
const ASSERTION: &str = "1.3.6.1.1.12";

fn schema() -> Value {
    let texts = json!({"type": ["string", "array", "null"], "items": {"type": "string"}});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": texts, "name": texts, "title": texts, "mail": texts, "active": {"type": "boolean"}}}})
}

fn messages() -> [Value; 3] {
    let record = json!({"id": "a", "name": "Name", "title": "ours", "mail": "ours@x"});
    [
        schema(),
        json!({"type": "RECORD", "stream": "users", "record": record}),
        json!({"type": "STATE", "value": {"n": 1}}),
    ]
}

fn config(slapd: &Slapd, relay: &Relay, assert_unchanged: bool) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{uid}},{USERS}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "title": "title", "mail": "mail"},
        "policies": {"title": "keep"},
    });
    let more = json!({"server_url": relay.uri(), "assert_unchanged": assert_unchanged, "mapping_rules": {"users": rule}});
    with(&target_config(slapd), &more)
}

fn entry(slapd: &Slapd) -> ldap_tests::ldif::Attributes {
    slapd.dump()[&format!("uid=a,{USERS}")].clone()
}

fn texts(values: &[&str]) -> BTreeSet<Vec<u8>> {
    values.iter().map(|v| v.as_bytes().to_vec()).collect()
}

/// A server with one user, and a relay that has `theirs` written ahead of the modifies that `when` says.
fn start(theirs: &'static str, when: impl Fn(usize) -> bool + Send + Sync + 'static) -> (Arc<Slapd>, Relay) {
    let seed =
        format!("dn: uid=a,{USERS}\nobjectClass: inetOrgPerson\nuid: a\ncn: Name\nsn: Name\nmail: old@x\n");
    let slapd = Arc::new(Slapd::start(SlapdOptions::default().seed(unit(USERS) + &seed)));
    // The relay's thread outlives the test: it must not keep the server.
    let behind = Arc::downgrade(&slapd);
    let relay = Relay::ahead_of(slapd.ldap_port(), MODIFY, move |number| {
        if when(number) {
            let change = theirs.replace("{number}", &number.to_string());
            behind
                .upgrade()
                .unwrap()
                .ldapmodify(format!("dn: uid=a,{USERS}\nchangetype: modify\n{change}\n"));
        }
    });
    (slapd, relay)
}

#[test]
fn what_somebody_else_wrote_in_between_is_not_lost() {
    let theirs = "replace: title\ntitle: theirs\n";
    // Without the setting a value that was to be kept gets company.
    let (slapd, relay) = start(theirs, |number| number == 1);
    Run::target(&config(&slapd, &relay, false)).messages(&messages()).run().succeeds();
    assert_eq!(entry(&slapd)["title"], texts(&["ours", "theirs"]), "or this test shows nothing");
    assert!(relay.requests_of(MODIFY).iter().all(|r| r.controls.iter().all(|c| c.oid != ASSERTION)));

    let (slapd, relay) = start(theirs, |number| number == 1);
    let output = Run::target(&config(&slapd, &relay, true)).messages(&messages()).run().succeeds();
    no_panic(&output);
    output.counts(&[("modified", 1)]);
    assert_eq!(entry(&slapd)["title"], texts(&["theirs"]), "read again, and kept");
    assert_eq!(entry(&slapd)["mail"], texts(&["ours@x"]), "the rest is written all the same");
    let sent = relay.requests_of(MODIFY);
    assert_eq!(sent.len(), 2, "one that failed, one that did not");
    for request in &sent {
        assert!(request.controls.iter().any(|c| c.oid == ASSERTION && c.critical), "{request:?}");
    }
}

#[test]
fn an_entry_that_never_holds_still_is_an_error_of_its_record() {
    let theirs = "replace: mail\nmail: theirs-{number}@x\n";
    let (slapd, relay) = start(theirs, |_| true);
    let output = Run::target(&config(&slapd, &relay, true)).messages(&messages()).run().exits(1);
    no_panic(&output);
    assert!(states(&output).is_empty());
    output.reports(&json!({"code": 122, "line": 2}));
    assert_eq!(relay.requests_of(MODIFY).len(), 3);
    assert_eq!(entry(&slapd)["mail"], texts(&["theirs-3@x"]));

    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let skip = with(&config(&slapd, &relay, true), &json!({"on_error": "skip", "reject_file": file}));
    let output = Run::target(&skip).messages(&messages()).run().exits(4);
    assert_eq!(states(&output), [json!({"n": 1})]);
    assert!(read_text(&file).contains("\"code\":122"), "{}", read_text(&file));
}

#[test]
fn every_value_of_the_hostile_directory_can_be_asserted() {
    let slapd = hostile::start();
    let stream = Run::tap(&tap_config(&slapd)).run().succeeds();
    // What may be missing goes, whatever its values are: the condition is that each of them is there.
    let stays = [
        "dn",
        "objectClass",
        "cn",
        "sn",
        "uid",
        "ou",
        "dc",
        "o",
        "member",
        "aliasedObjectName",
        "ref",
        "uidNumber",
        "gidNumber",
        "homeDirectory",
        "memberURL",
        "c",
        "l",
    ];
    let mut messages = Vec::new();
    let mut removed = BTreeSet::new();
    for mut message in stream.messages.clone() {
        if message["type"] == "ACTIVATE_VERSION" {
            continue;
        }
        if let Some(record) = message.get_mut("record").and_then(Value::as_object_mut) {
            for (name, value) in
                record.iter_mut().filter(|(name, v)| !stays.contains(&name.as_str()) && !v.is_null())
            {
                *value = Value::Null;
                removed.insert(name.clone());
            }
        }
        messages.push(message);
    }
    let config = with(&target_config(&slapd), &json!({"assert_unchanged": true, "validate_records": false}));
    let output: Output = Run::target(&config).messages(&messages).run().succeeds();
    no_panic(&output);
    assert!(removed.len() > 20, "{removed:?}");
    let left = slapd.dump();
    let still: Vec<_> = left
        .values()
        .flat_map(|a| a.keys())
        .filter(|n| ["description", "jpegphoto", "testblob"].contains(&n.as_str()))
        .collect();
    assert!(still.is_empty(), "{still:?}");
    // The next run has nothing to do.
    let before = slapd.change_marks();
    Run::target(&config).messages(&messages).run().succeeds();
    crate::support::assert_untouched(&slapd, &before);
}

#[test]
fn a_plan_and_a_file_can_be_had_with_it() {
    let (slapd, relay) = start("", |_| false);
    let config = config(&slapd, &relay, true);
    let plan = Run::target(&config).arg("--dry-run").messages(&messages()).run().succeeds().stdout_text();
    slapd.ldapmodify(&plan);
    assert_eq!(entry(&slapd)["mail"], texts(&["ours@x"]));

    let dir = scratch();
    let file = dir.path().join("out.ldif");
    let of_file =
        json!({"server_url": format!("ldif:{}", file.display()), "bind_dn": null, "bind_password": null});
    let of_file = with(&config, &of_file);
    let mut changed = messages();
    changed[1]["record"]["mail"] = json!("changed@x");
    Run::target(&of_file).messages(&messages()).run().succeeds();
    Run::target(&of_file).messages(&changed).run().succeeds().counts(&[("modified", 1)]);
    assert!(read_text(&file).contains("changed@x"));
}

#[test]
fn a_server_without_the_control_is_2() {
    let ds389 = Ds389::start(&Ds389Options::default());
    let samba = Samba::start("");
    for server in [&*ds389, &*samba] {
        let config = with(&target_config(server), &json!({"assert_unchanged": true}));
        Run::target(&config).run().exits(2).reports_setting("assert_unchanged").says(ASSERTION);
    }
}

/// Active Directory has no assertions; its bits are safe without.
#[test]
fn a_bit_that_somebody_else_sets_in_between_is_not_lost() {
    let samba = Arc::new(Samba::start(&format!(
        "dn: CN=a,CN=Users,{SUFFIX}\nobjectClass: user\nsAMAccountName: a\nuserAccountControl: 514\n"
    )));
    let change = |bits: u32| {
        format!(
            "dn: CN=a,CN=Users,{SUFFIX}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: {bits}\n"
        )
    };
    let behind = Arc::downgrade(&samba);
    let theirs = change(0x202 | 0x1_0000);
    let relay = Relay::ahead_of(samba.ldap_port(), MODIFY, move |number| {
        if number == 1 {
            behind.upgrade().unwrap().ldapmodify(&theirs);
        }
    });
    let rule = json!({
        "dn_template": format!("CN={{id}},CN=Users,{SUFFIX}"), "object_classes": ["user"],
        "attribute_mapping": {"id": "sAMAccountName"}, "accounts": {"enabled": "active"},
    });
    let config =
        with(&target_config(&samba), &json!({"server_url": relay.uri(), "mapping_rules": {"users": rule}}));
    // Enabled without a password: the domain is told that none is needed (0x20).
    samba.ldapmodify(change(0x222));
    let record =
        json!({"type": "RECORD", "stream": "users", "record": {"id": "a", "name": "x", "active": true}});
    let behind_first = relay.requests_of(MODIFY).len();
    Run::target(&config).messages(&[schema(), record]).run().succeeds().counts(&[("modified", 1)]);
    assert_eq!(relay.requests_of(MODIFY).len() - behind_first, 2);
    let tree = samba.dump_below(&format!("CN=a,CN=Users,{SUFFIX}"), &["userAccountControl"]);
    let value = &tree.values().next().unwrap()["useraccountcontrol"];
    assert_eq!(*value, texts(&[&(0x200 | 0x1_0000).to_string()]));
}

/// slapo-unique evaluates the assertion on the suffix, and answers assertionFailed for an entry that nobody has changed.
#[test]
fn an_attribute_that_slapd_keeps_unique_is_changed_and_somebody_elses_change_is_not_lost() {
    let seed =
        format!("dn: uid=a,{USERS}\nobjectClass: inetOrgPerson\nuid: a\ncn: Name\nsn: Name\nmail: old@x\n");
    let slapd = Arc::new(Slapd::start(SlapdOptions {
        global_conf: "moduleload unique".into(),
        database_conf: "overlay unique\nunique_uri ldap:///?mail?sub".into(),
        ..SlapdOptions::default().seed(unit(USERS) + &seed)
    }));
    let behind = Arc::downgrade(&slapd);
    let relay = Relay::ahead_of(slapd.ldap_port(), MODIFY, move |number| {
        if number == 1 {
            let change = format!("dn: uid=a,{USERS}\nchangetype: modify\nreplace: title\ntitle: theirs\n");
            behind.upgrade().unwrap().ldapmodify(change);
        }
    });
    let output = Run::target(&config(&slapd, &relay, true)).messages(&messages()).run().succeeds();
    no_panic(&output);
    output.counts(&[("modified", 1)]).says(ASSERTION);
    assert_eq!(entry(&slapd)["mail"], texts(&["ours@x"]));
    assert_eq!(entry(&slapd)["title"], texts(&["theirs"]), "the condition failed for it, and it is kept");
    let again = Run::target(&config(&slapd, &relay, true)).messages(&messages()).run().succeeds();
    again.counts(&[("unchanged", 1)]);
}

/// OpenLDAP's overlay `memberof` writes to the members of a group under the controls of its change: with an assertion, it fails unseen.
#[test]
fn who_joins_and_leaves_a_group_has_its_member_of() {
    let person = |uid: &str| {
        format!("dn: uid={uid},{USERS}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n\n")
    };
    let group = format!("dn: cn=g,{USERS}\nobjectClass: groupOfNames\ncn: g\nmember: uid=a,{USERS}\n");
    let options = SlapdOptions { memberof: true, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(unit(USERS) + &person("a") + &person("b")));
    slapd.ldapmodify(group.replace("objectClass", "changetype: add\nobjectClass"));
    let rule = json!({"dn_template": format!("cn={{id}},{USERS}"), "object_classes": ["groupOfNames"],
        "attribute_mapping": {"id": "cn", "members": "member"}});
    let config =
        with(&target_config(&slapd), &json!({"assert_unchanged": true, "mapping_rules": {"groups": rule}}));
    let schema = json!({"type": "SCHEMA", "stream": "groups", "key_properties": ["id"], "schema": {"properties": {
        "id": {"type": "string"}, "members": {"type": "array", "items": {"type": "string"}}}}});
    let record = json!({"type": "RECORD", "stream": "groups", "record": {"id": "g", "members": [format!("uid=b,{USERS}")]}});
    Run::target(&config).messages(&[schema, record]).run().succeeds();
    let there = slapd.dump_attributes(&["memberOf"]);
    let has = |uid: &str| there[&format!("uid={uid},{USERS}")].contains_key("memberof");
    assert_eq!((has("a"), has("b")), (false, true));
}
