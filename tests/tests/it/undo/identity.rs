//! Entries that an undo would name, and that are others by now; persons who have another account by now.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Run;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{PEOPLE, people, person, record, schema, undo};
use crate::support::{lines, target_config, unit, with};

const TEAM: &str = "ou=team,dc=example,dc=test";

fn dn(n: usize) -> String {
    format!("uid=p{n},{PEOPLE}")
}

fn renamed(dn: &str, rdn: &str) -> String {
    format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n\n")
}

/// People 0 to 9, a team of the first three, and the boss of the first.
fn seed() -> String {
    let members = [0, 1, 2].map(|n| format!("member: {}\n", dn(n))).concat();
    let bossed = people().replacen("title: T\n", &format!("title: T\nmanager: {}\n", dn(2)), 1);
    bossed + &unit(TEAM) + &format!("dn: cn=t,{TEAM}\nobjectClass: groupOfNames\ncn: t\n{members}\n")
}

fn with_names() -> Value {
    let mut schema = schema();
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    schema["schema"]["properties"]["member"] = texts.clone();
    schema["schema"]["properties"]["manager"] = texts;
    schema
}

/// The name of an entry that was renamed since is another's, who was there before the run.
fn gives_nobody_the_rights_of_another(server: &Server) {
    let dir = scratch();
    let config = with(&target_config(server), &json!({"undo_file": dir.path().join("undo.ldif")}));
    let group = format!("cn=t,{TEAM}");
    let messages = [
        with_names(),
        record(&group, json!({"objectClass": ["groupOfNames"], "cn": ["t"], "member": [dn(0)]})),
        person(0, &json!({"manager": [dn(5)]})),
    ];
    Run::target(&config).stdin(lines(&messages)).run().succeeds();
    server.ldapmodify(renamed(&dn(2), "uid=elsewhere") + &renamed(&dn(3), "uid=p2"));
    let output = undo(&config, &dir.path().join("undo.ldif"), &[]).exits(4);
    for left in [&group, &dn(0)] {
        output.stderr.reports(&json!({"dn": left, "level": "warning"}));
    }
    let team = server.dump_below(TEAM, &["member"]);
    let members =
        |dn: &str| team.iter().find(|(name, _)| name.eq_ignore_ascii_case(dn)).unwrap().1["member"].len();
    assert_eq!(members(&group), 2, "the first, and the second, who is who he was: {team:?}");
    let people = server.dump_below(PEOPLE, &["manager"]);
    assert!(!people[&dn(0)].contains_key("manager"), "{people:?}");
}

#[test]
fn an_undo_gives_nobody_the_rights_of_another_whose_name_he_has() {
    gives_nobody_the_rights_of_another(&Slapd::start(SlapdOptions::default().seed(seed())));
    gives_nobody_the_rights_of_another(&Ds389::start(&Ds389Options::default().seed(seed())));
}

/// Accounts are found by their numbers; what leaves is moved, or deleted.
fn staff(slapd: &Slapd, on_delete: &Value, more: &Value) -> Value {
    let rule = json!({"dn_template": format!("uid={{id}},{PEOPLE}"), "match": "(uid={id})",
        "object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": "uid"}, "scope_base": PEOPLE,
        "on_delete": on_delete});
    with(&with(&target_config(slapd), &json!({"mapping_rules": {"staff": rule}})), more)
}

fn leaver(id: &str) -> [Value; 2] {
    let text = json!({"type": ["null", "string"]});
    [
        json!({"type": "SCHEMA", "stream": "staff", "key_properties": ["id"],
            "schema": {"properties": {"id": text, "_sdc_deleted_at": text}}}),
        json!({"type": "RECORD", "stream": "staff",
            "record": {"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}}),
    ]
}

#[test]
fn an_undo_moves_nothing_back_below_another_entry() {
    let slapd =
        Slapd::start(SlapdOptions::default().seed(people() + &unit(TEAM) + &unit(&format!("ou=a,{PEOPLE}"))));
    let inside = format!("ou=a,{PEOPLE}");
    slapd.ldapmodify(format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: uid=p4\ndeleteoldrdn: 1\nnewsuperior: {inside}\n\n",
        dn(4)
    ));
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = staff(&slapd, &json!({"move_to": TEAM}), &json!({"undo_file": file}));
    Run::target(&config).messages(&leaver("p4")).run().succeeds();
    let moved = format!("uid=p4,{TEAM}");
    assert!(slapd.dump().contains_key(&moved));
    slapd.ldapmodify(format!("dn: {inside}\nchangetype: delete\n\n"));
    slapd.ldapadd(unit(&inside));
    for flags in [&["--dry-run"][..], &[]] {
        undo(&config, &file, flags).exits(4).stderr.reports(&json!({"dn": moved, "level": "warning"}));
        assert!(slapd.dump().contains_key(&moved));
    }
}

/// Somebody who came back before the undo has an account already. By a record, and by a version that did not have it.
#[test]
fn an_undo_makes_no_second_account_of_a_person() {
    for by_version in [false, true] {
        let slapd = Slapd::start(SlapdOptions::default().seed(people()));
        let dir = scratch();
        let file = dir.path().join("undo.ldif");
        let config =
            staff(&slapd, &json!("delete"), &json!({"undo_file": file, "process_activate_version": true}));
        let mut input = leaver("p4").to_vec();
        if by_version {
            input.truncate(1);
            let there = (0..10).filter(|n| *n != 4);
            input.extend(there.map(|n| {
                json!({"type": "RECORD", "stream": "staff", "version": 1, "record": {"id": format!("p{n}")}})
            }));
            input.push(json!({"type": "ACTIVATE_VERSION", "stream": "staff", "version": 1}));
        }
        Run::target(&config).messages(&input).run().succeeds();
        assert!(!slapd.dump().contains_key(&dn(4)));
        let second = format!("cn=again,{PEOPLE}");
        slapd.ldapmodify(format!(
            "dn: {second}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: p4\ncn: again\nsn: again\n"
        ));
        for flags in [&["--dry-run"][..], &[]] {
            undo(&config, &file, flags).exits(4).stderr.reports(&json!({"dn": dn(4), "level": "warning"}));
            assert!(!slapd.dump().contains_key(&dn(4)), "{by_version}");
        }
        slapd.ldapmodify(format!("dn: {second}\nchangetype: delete\n\n"));
        undo(&config, &file, &[]).succeeds();
        assert!(slapd.dump().contains_key(&dn(4)));
    }
}
