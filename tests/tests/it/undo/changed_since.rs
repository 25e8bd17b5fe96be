//! Entries that were changed, or replaced by others, after the run.

use std::thread::sleep;
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use serde_json::json;

use super::{PEOPLE, files, gone, messages, people, person, record, schema, slapd, undo};
use crate::support::{lines, target_config, with};

#[test]
fn an_entry_that_was_changed_since_is_left_alone_and_named() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    // Changed by hand: what the run changed, what it added, and what it deleted.
    slapd.ldapmodify(format!(
        "dn: uid=p0,{PEOPLE}\nchangetype: modify\nreplace: description\ndescription: by hand\n\n\
         dn: uid=n1,ou=team,dc=example,dc=test\nchangetype: modify\nadd: title\ntitle: by hand\n\n\
         dn: uid=p2,{PEOPLE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: p2\ncn: another\nsn: another\n"
    ));
    let by_hand = slapd.dump();
    let output = undo(&config, &file, &[]).exits(4);
    let left = [
        format!("uid=p0,{PEOPLE}"),
        format!("uid=p2,{PEOPLE}"),
        "uid=n1,ou=team,dc=example,dc=test".into(),
        // Something is below it.
        "ou=team,dc=example,dc=test".into(),
    ];
    let mut wanted = before.clone();
    for dn in &left {
        output.stderr.reports(&json!({ "dn": dn }));
        wanted.insert(dn.clone(), by_hand[dn].clone());
    }
    assert_same("wanted", &wanted, "taken back", &slapd.dump());
}

/// A person as LDIF that adds it.
fn person_anew(uid: &str, place: &str, more: &str) -> String {
    format!("dn: uid={uid},{place}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {uid}\n{more}\n")
}

/// Entries that somebody deleted and made anew since the run: as they were before it, as it left them, or with more.
fn leaves_alone_what_was_made_anew(server: &Server) {
    let before = server.dump_below(PEOPLE, &["*"]);
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(server), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    let team = "ou=team,dc=example,dc=test";
    let old = "description: old\ndescription: older\n";
    let gone = |dn: &str| format!("dn: {dn}\nchangetype: delete\n\n");
    server.ldapmodify(
        [
            gone(&format!("uid=p0,{PEOPLE}")),
            person_anew("p0", PEOPLE, &format!("cn: P 0\nsn: 0\n{old}title: T\nmail: p0@x.test\n")),
            gone(&format!("uid=p1,{PEOPLE}")),
            person_anew("p1", PEOPLE, &format!("cn: P 1\nsn: 1\n{old}title: Boss\nmail: p1@x.test\n")),
            gone(&format!("uid=n1,{team}")),
            person_anew("n1", team, "cn: N\nsn: N\n"),
            // The run deleted it. All that it had is there, and something else.
            person_anew(
                "p2",
                PEOPLE,
                &format!("cn: P 2\nsn: 2\n{old}title: T\nmail: p2@x.test\nmobile: 1\n"),
            ),
        ]
        .concat(),
    );
    let by_hand = (server.dump_below(PEOPLE, &["*"]), server.dump_below(team, &["*"]));
    let left = ["p0", "p1", "p2"].map(|uid| format!("uid={uid},{PEOPLE}"));
    let left = left.into_iter().chain([format!("uid=n1,{team}"), team.to_owned()]);
    for _ in 0..2 {
        let output = undo(&config, &file, &[]).exits(4).logs(&json!({"left_alone": 5}));
        for dn in left.clone() {
            output.stderr.reports(&json!({ "dn": dn }));
        }
        let mut wanted = by_hand.0.clone();
        let p3 = format!("uid=p3,{PEOPLE}");
        wanted.insert(p3.clone(), before[&p3].clone());
        assert_same("wanted", &wanted, "taken back", &server.dump_below(PEOPLE, &["*"]));
        assert_same("by hand", &by_hand.1, "taken back", &server.dump_below(team, &["*"]));
    }
}

#[test]
fn an_entry_that_somebody_made_anew_is_left_alone_whatever_it_has() {
    leaves_alone_what_was_made_anew(&slapd());
    leaves_alone_what_was_made_anew(&Ds389::start(&Ds389Options::default().seed(people())));
}

/// Active Directory fills in dozens of attributes by itself: there only the id tells.
#[test]
fn an_account_that_somebody_made_anew_is_left_alone() {
    let samba = Samba::start("");
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&samba), &json!({"undo_file": file}));
    let dn = |name: &str| format!("CN={name},CN=Users,{}", samba.suffix());
    let account = |name: &str| {
        format!(
            "dn: {}\nchangetype: add\nobjectClass: user\ncn: {name}\nsAMAccountName: {name}\n\n",
            dn(name)
        )
    };
    let gone_by_hand = |name: &str| format!("dn: {}\nchangetype: delete\n\n", dn(name));
    samba.ldapmodify(["changed", "deleted", "same"].map(account).concat());
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let mut schema = schema();
    schema["schema"]["properties"]["sAMAccountName"] = texts;
    let user = |name: &str| {
        let more =
            json!({"objectClass": ["user"], "cn": [name], "sAMAccountName": [name], "description": ["run"]});
        record(&dn(name), more)
    };
    let messages = [schema, user("added"), user("changed"), user("same"), gone(&dn("deleted"))];
    Run::target(&config).stdin(lines(&messages)).run().succeeds();
    samba.ldapmodify(
        [
            gone_by_hand("added"),
            account("added"),
            gone_by_hand("changed"),
            account("changed"),
            account("deleted"),
        ]
        .concat(),
    );
    let output = undo(&config, &file, &[]).exits(4).logs(&json!({"left_alone": 3}));
    for name in ["added", "changed", "deleted"] {
        output.stderr.reports(&json!({"dn": dn(name)}));
    }
    let tree = samba.dump_below(&format!("CN=Users,{}", samba.suffix()), &["description"]);
    let there = |name: &str| tree.iter().find(|(n, _)| n.eq_ignore_ascii_case(&dn(name))).unwrap().1.clone();
    assert!(!there("same").contains_key("description"), "{tree:?}");
    for name in ["added", "changed", "deleted"] {
        there(name);
    }
}

#[test]
fn an_entry_that_an_undo_made_anew_is_known_to_the_undo_of_earlier_runs() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let config = with(&target_config(&slapd), &json!({"undo_file": dir.path().join("undo-{run_id}.ldif")}));
    for messages in [
        vec![schema(), person(0, &json!({"title": ["first"]}))],
        vec![schema(), person(0, &json!({"title": ["second"]})), gone(&format!("uid=p1,{PEOPLE}"))],
        vec![schema(), gone(&format!("uid=p0,{PEOPLE}"))],
    ] {
        Run::target(&config).stdin(lines(&messages)).run().succeeds();
        // By the second.
        sleep(Duration::from_millis(1_100));
    }
    let names = files(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names.iter().rev() {
        undo(&config, &dir.path().join(name), &[]).succeeds().logs(&json!({"left_alone": 0}));
    }
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn an_account_whose_owner_set_a_password_since_is_left_alone() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let rule = json!({"dn_template": format!("uid={{id}},{PEOPLE}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}});
    let config = with(&target_config(&slapd), &json!({"undo_file": file, "mapping_rules": {"new": rule}}));
    let text = json!({"type": "string"});
    let schema = json!({"type": "SCHEMA", "stream": "new", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "name": text}}});
    let record = |id: &str| json!({"type": "RECORD", "stream": "new", "record": {"id": id, "name": id}});
    Run::target(&config).messages(&[schema, record("ann"), record("bob")]).run().succeeds();
    let ann = format!("uid=ann,{PEOPLE}");
    slapd.ldapmodify(format!("dn: {ann}\nchangetype: modify\nadd: userPassword\nuserPassword: hers\n"));
    undo(&config, &file, &[]).exits(4).reports(&json!({ "dn": ann }));
    let there: Vec<String> =
        slapd.dump().into_keys().filter(|dn| dn.contains("ann") || dn.contains("bob")).collect();
    assert_eq!(there, [ann]);
}
