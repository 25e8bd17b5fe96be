//! Entries that a plan changes or names, and that are others, or have another account, when it is carried out.

use serde_json::{Value, json};

use super::changed_since::{Case, left_after, modify};
use super::{TEAMS, USERS, gone, messages, schemas, user};
use crate::support::unit;

const LEFT: &str = "ou=left,dc=example,dc=test";

fn dn(n: usize) -> String {
    format!("uid=u{n},{USERS}")
}

/// LDIF that deletes an entry.
fn deleted(dn: &str) -> String {
    format!("dn: {dn}\nchangetype: delete\n\n")
}

/// LDIF that adds another person.
fn person(uid: &str, number: usize) -> String {
    format!(
        "dn: uid={uid},{USERS}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: other\nsn: other\n\
         employeeNumber: {number}\n\n"
    )
}

fn renamed(dn: &str, rdn: &str) -> String {
    format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n\n")
}

/// An entry that was deleted, and whose name another person has got; and one that was renamed, and whose name another has got by a
/// rename: that one is older than the plan.
fn replaced(n: usize, by: usize) -> [String; 2] {
    [
        deleted(&dn(n)) + &person(&format!("u{n}"), 900),
        renamed(&dn(n), "uid=elsewhere") + &renamed(&dn(by), &format!("uid=u{n}")),
    ]
}

fn team(members: impl IntoIterator<Item = String>) -> Value {
    let members: Vec<String> = members.into_iter().collect();
    json!({"type": "RECORD", "stream": "teams", "record": {"name": "t0", "members": members}})
}

/// Checks that of each case the entry alone is left, and named with the attribute.
fn are_left(cases: Vec<Case>, more: &Value) {
    for (name, input, foreign, expected) in cases {
        let (left, made) = left_after(&input, more, &foreign);
        match expected {
            None => assert!(left.is_empty() && made > 0, "{name}: {left:?}"),
            Some(expected) => assert_eq!((left.as_slice(), made), ([expected].as_slice(), 0), "{name}"),
        }
    }
}

#[test]
fn a_plan_gives_nobody_the_name_of_another_entry_than_it_saw() {
    let boss = || messages([user(5, &json!({"boss": dn(6)}))]);
    let is_left = || Some((dn(5), json!("manager")));
    let service = format!("cn=service,{USERS}");
    let group = format!("cn=t0,{TEAMS}");
    let joined = messages([team((0..20).map(dn).chain([service.clone()]))]);
    let service_anew = deleted(&service)
        + &format!("dn: {service}\nchangetype: add\nobjectClass: applicationProcess\ncn: service\n");
    let parted = || messages([team((0..18).map(dn))]);
    let [made_anew, renamed_to] = replaced(6, 7);
    let [member_anew, member_renamed] = replaced(19, 3);
    let is_team = || Some((group.clone(), json!("member")));
    are_left(
        vec![
            ("as it was", boss(), modify(&dn(9), "replace: title\ntitle: theirs\n"), None),
            ("a boss who was made anew", boss(), made_anew, is_left()),
            ("a boss whose name somebody has by a rename", boss(), renamed_to, is_left()),
            ("a boss who is gone", boss(), deleted(&dn(6)), is_left()),
            ("a boss who has changed", boss(), modify(&dn(6), "replace: title\ntitle: theirs\n"), None),
            ("a new member", joined, service_anew, is_team()),
            ("a former member who was made anew", parted(), member_anew, is_team()),
            ("a former member whose name somebody has by a rename", parted(), member_renamed, is_team()),
            ("a former member who is gone", parted(), deleted(&dn(19)), None),
        ],
        &json!({}),
    );
}

#[test]
fn a_plan_moves_nothing_below_another_entry_than_it_saw() {
    let rules = json!({"mapping_rules": {"users": {"dn_template": format!("uid={{login}},{USERS}"),
        "match": "(employeeNumber={id})", "object_classes": ["inetOrgPerson"], "scope_base": USERS,
        "attribute_mapping": {"id": "employeeNumber", "login": "uid"}, "on_delete": {"move_to": LEFT}}}});
    let (slapd, _dir, plan, config) =
        super::planned(&crate::support::with(&rules, &json!({"max_changes": 0})));
    slapd.ldapadd(unit(LEFT));
    let input: Vec<Value> = schemas().into_iter().take(1).chain([gone(6)]).collect();
    ldap_tests::run::Run::target(&config).messages(&input).run().exits(5);
    slapd.ldapmodify(deleted(LEFT));
    slapd.ldapadd(unit(LEFT));
    let before = slapd.dump();
    for flags in [&["--dry-run"][..], &[]] {
        let output = crate::support::apply(&config, &plan, flags).exits(4);
        output.stderr.reports(&json!({"dn": dn(6), "attribute": "newSuperior"}));
        ldap_tests::ldif::assert_same("before", &before, "after", &slapd.dump());
    }
}

/// The person of a planned account got another one meanwhile, by hand or by another run.
#[test]
fn a_plan_adds_no_second_account_of_a_person() {
    let input = || messages([user(40, &json!({}))]);
    are_left(
        vec![
            ("an account elsewhere", input(), person("by-hand", 40), Some((dn(40), Value::Null))),
            (
                "an account that got the number",
                input(),
                modify(&dn(9), "replace: employeeNumber\nemployeeNumber: 40\n"),
                Some((dn(40), Value::Null)),
            ),
            ("another's account", input(), person("by-hand", 41), None),
        ],
        &json!({}),
    );
}
