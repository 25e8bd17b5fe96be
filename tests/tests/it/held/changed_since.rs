//! Entries that changed between a plan and its apply are left as they are, and named with what changed.

use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{TEAMS, USERS, apply, config, gone, messages, mixed, slapd, user};
use crate::support::with;

/// Applies the plan of `input` after a foreign change, and returns what was left alone: the DN and the attribute.
pub(super) fn left_after(input: &[Value], more: &Value, foreign: &str) -> (Vec<(String, Value)>, u64) {
    let slapd = slapd();
    let dir = scratch();
    let plan = dir.path().join("plan.ldif");
    let config = with(&config(&slapd, &json!({"max_changes": 0, "plan_file": plan})), more);
    Run::target(&config).messages(input).run().exits(5);
    slapd.ldapmodify(foreign);
    let after = slapd.dump();
    let shown = apply(&config, &plan, &["--dry-run"]);
    assert_same("foreign change", &after, "dry run", &slapd.dump());
    let output = apply(&config, &plan, &[]);
    assert_eq!(shown.code, output.code, "{}\n{}", shown.stderr, output.stderr);
    let left: Vec<(String, Value)> = output
        .stderr
        .about(&json!({"level": "warning"}))
        .into_iter()
        .filter(|line| line.get("dn").is_some())
        .map(|line| {
            (line["dn"].as_str().unwrap().to_owned(), line.get("attribute").cloned().unwrap_or_default())
        })
        .collect();
    assert_eq!(output.code, if left.is_empty() { 0 } else { 4 }, "{}", output.stderr);
    let made = output.stderr.entries().iter().find_map(|line| line.get("made").and_then(Value::as_u64));
    // Of an entry that is left, nothing is done.
    for (dn, _) in &left {
        assert_eq!(slapd.dump().get(dn), after.get(dn), "{dn}");
    }
    (left, made.unwrap())
}

/// A name, the input, a foreign change, and the entry that is left with the attribute.
pub(super) type Case = (&'static str, Vec<Value>, String, Option<(String, Value)>);

pub(super) fn modify(dn: &str, steps: &str) -> String {
    format!("dn: {dn}\nchangetype: modify\n{steps}-\n")
}

#[test]
fn each_kind_of_foreign_change_is_named_and_nothing_of_its_entry_is_done() {
    let u = |n: usize| format!("uid=u{n},{USERS}");
    let team = format!("cn=t0,{TEAMS}");
    let rename = |n: usize| messages([user(n, &json!({"login": format!("x{n}")}))]);
    let cases: Vec<Case> = vec![
        (
            "the attribute that it changes",
            messages([user(5, &json!({"title": "new"}))]),
            modify(&u(5), "replace: title\ntitle: theirs\n"),
            Some((u(5), json!("title"))),
        ),
        (
            "another attribute",
            messages([user(5, &json!({"title": "new"}))]),
            modify(&u(5), "replace: mail\nmail: theirs@example.test\n"),
            None,
        ),
        (
            "any attribute of an entry to be deleted",
            messages([gone(6)]),
            modify(&u(6), "replace: mail\nmail: theirs@example.test\n"),
            Some((u(6), json!("mail"))),
        ),
        (
            "a new attribute of an entry to be deleted",
            messages([gone(6)]),
            modify(&u(6), "add: description\ndescription: on leave\n"),
            Some((u(6), json!("description"))),
        ),
        (
            "an entry to be deleted, made anew",
            messages([gone(6)]),
            format!(
                "dn: {0}\nchangetype: delete\n\ndn: {0}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: u6\ncn: U 6\nsn: 6\n\
                employeeNumber: 6\ntitle: old\nmail: u6@example.test\n",
                u(6)
            ),
            Some((u(6), Value::Null)),
        ),
        (
            "an entry that is deleted already",
            messages([gone(6)]),
            format!("dn: {}\nchangetype: delete\n", u(6)),
            None,
        ),
        (
            "an entry to be renamed that is gone",
            rename(1),
            format!("dn: {}\nchangetype: delete\n", u(1)),
            Some((u(1), Value::Null)),
        ),
        (
            "the new name is taken",
            rename(1),
            format!("dn: {}\nchangetype: modrdn\nnewrdn: uid=x1\ndeleteoldrdn: 1\n", u(2)),
            Some((u(1), Value::Null)),
        ),
        (
            "the number by which it was found is another's now",
            rename(1),
            modify(&u(1), "replace: employeeNumber\nemployeeNumber: 99\n"),
            Some((u(1), json!("employeeNumber"))),
        ),
        (
            "an entry to be added is there",
            messages([user(40, &json!({}))]),
            format!(
                "dn: {}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: u40\ncn: theirs\nsn: theirs\n",
                u(40)
            ),
            Some((u(40), Value::Null)),
        ),
        (
            "another member of a group",
            messages([team_of(0..18)]),
            modify(&team, &format!("add: member\nmember: cn=service,{USERS}\n")),
            None,
        ),
        (
            "the member of a group that it takes away is gone",
            messages([team_of(0..18)]),
            modify(&team, &format!("delete: member\nmember: {}\n", u(19))),
            Some((team.clone(), json!("member"))),
        ),
        (
            "another member of a group whose members are replaced",
            messages([team_of(0..2)]),
            modify(&team, &format!("add: member\nmember: cn=service,{USERS}\n")),
            Some((team.clone(), json!("member"))),
        ),
    ];
    for (name, input, foreign, expected) in cases {
        let (left, made) = left_after(&input, &json!({}), &foreign);
        match expected {
            None => assert!(left.is_empty(), "{name}: {left:?}"),
            Some(expected) => {
                assert_eq!((left.as_slice(), made), ([expected].as_slice(), 0), "{name}");
            }
        }
    }
}

fn team_of(members: std::ops::Range<usize>) -> Value {
    let members: Vec<String> = members.map(|n| format!("uid=u{n},{USERS}")).collect();
    json!({"type": "RECORD", "stream": "teams", "record": {"name": "t0", "members": members}})
}

/// An entry that is renamed and modified is one: if its title changed, it keeps its name. And nobody is a member by a name that
/// nobody got.
#[test]
fn an_entry_is_done_as_a_whole_and_so_is_what_would_name_it() {
    let foreign = modify(&format!("uid=u0,{USERS}"), "replace: title\ntitle: theirs\n");
    let input = [mixed(), messages([user(0, &json!({"login": "renamed0", "title": "mine"}))])].concat();
    let (left, _) = left_after(&input, &json!({}), &foreign);
    let mut names: Vec<&str> = left.iter().map(|(dn, _)| dn.split(',').next().unwrap()).collect();
    names.sort_unstable();
    // The team, and those whose boss would have the new name.
    assert_eq!(names, ["cn=t0", "uid=u0", "uid=u30", "uid=u31", "uid=u32"], "{left:?}");
    assert_eq!(left.iter().find(|(dn, _)| dn.starts_with("uid=u0,")).unwrap().1, json!("title"));
}
