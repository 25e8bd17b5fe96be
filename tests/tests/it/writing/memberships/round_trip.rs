//! The tap's own membership streams go back as they are.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::pipe;
use ldap_tests::samba::Samba;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{AD, Place, RFC, place};
use crate::support::{assert_untouched, normalized, tap_config, with};

/// From one server to another with the same people and groups: all memberships, and none besides.
fn there_and_again(from: &Place<'_>, to: &Place<'_>, look: &dyn Fn(&Place<'_>) -> Tree) {
    let tap = with(
        &tap_config(from.server),
        &json!({"base_dn": from.base, "membership_streams": true, "operational_attributes": null}),
    );
    let rule = json!({"membership": {"group": "{group_dn}", "member": "{member}", "attribute": "{attribute}"},
        "scope_base": format!("ou=groups,{}", to.base)});
    let target = with(
        &to.config(&json!({"groups_members": rule, "*": {"operations": {"create": false, "update": false}}})),
        &json!({"process_activate_version": true, "dn_rewrite": [{"from": from.base, "to": to.base}], "validate_records": true}),
    );
    let (read, written) = pipe(&tap, &target);
    read.succeeds();
    let written = written.succeeds();
    let is_it = |line: &&Value| line["stream"] == "groups_members" && line["unchanged"].is_u64();
    let counts = written.stderr.entries().iter().rfind(is_it);
    let counts: &Value = counts.unwrap_or_else(|| panic!("{}", written.stderr));
    assert!(counts["added"].as_u64() > Some(0) && counts["deleted"].as_u64() > Some(0), "{counts}");
    let rows = counts["added"].as_u64().unwrap() + counts["unchanged"].as_u64().unwrap();
    assert_same("source", &normalized(&look(from)), "target", &normalized(&look(to)));
    let marks = to.server.change_marks();
    let (read, written) = pipe(&tap, &target);
    read.succeeds();
    written.succeeds().stream_counts("groups_members", &[("unchanged", rows), ("added", 0), ("deleted", 0)]);
    assert_untouched(to.server, &marks);
}

/// Groups of all kinds; the other side has other members.
fn of_slapd(place: &Place<'_>, is_source: bool) -> String {
    let person = |n: usize| place.person(&format!("p{n}"));
    let numbers: &[usize] = if is_source { &[0, 1, 2, 3] } else { &[2, 3, 4] };
    let lines = |name: &str, value: &dyn Fn(usize) -> String| {
        numbers
            .iter()
            .flat_map(|n| [name.to_owned(), ": ".to_owned(), value(*n), "\n".to_owned()])
            .collect::<String>()
    };
    let (members, unique) = (lines("member", &person), lines("uniqueMember", &person));
    let uids = lines("memberUid", &|n| format!("p{n}"));
    // One that names nobody.
    let nobody = if is_source { format!("member: {}\n\n", place.person("nobody")) } else { "\n".to_owned() };
    [
        place.seed(6, 0),
        format!("dn: {}\nobjectClass: groupOfNames\ncn: names\n{members}{nobody}", place.group("names")),
        format!("dn: {}\nobjectClass: groupOfUniqueNames\ncn: unique\n{unique}\n", place.group("unique")),
        format!("dn: {}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\n{uids}\n", place.group("posix")),
    ]
    .concat()
}

#[test]
fn from_slapd_to_slapd_and_389() {
    let source = Slapd::start(SlapdOptions::default());
    let from = place(&source, RFC);
    source.ldapadd(of_slapd(&from, true));
    let look = |place: &Place<'_>| {
        place
            .server
            .dump_below(&format!("ou=groups,{}", place.base), &["member", "uniqueMember", "memberUid"])
    };
    let second = Slapd::start(SlapdOptions::default());
    let to = place(&second, RFC);
    second.ldapadd(of_slapd(&to, false));
    there_and_again(&from, &to, &look);
    let ds389 = Ds389::start(&Ds389Options::default());
    let to = place(&ds389, RFC);
    ds389.ldapadd(of_slapd(&to, false));
    there_and_again(&from, &to, &look);
}

#[test]
fn from_samba_to_samba() {
    let (source, second) = (Samba::start(""), Samba::start(""));
    let (from, to) = (place(&source, AD), place(&second, AD));
    for (place, numbers) in [(&from, [0, 1, 2, 3]), (&to, [2, 3, 4, 5])] {
        let members = numbers.map(|n| format!("member: {}\n", place.person(&format!("p{n}")))).concat();
        let group = format!("dn: {}\nobjectClass: group\ncn: g9\n{members}\n", place.group("g9"));
        place.server.ldapadd(place.seed(6, 1) + &group);
    }
    let look = |place: &Place<'_>| place.server.dump_below(&format!("ou=groups,{}", place.base), &["member"]);
    there_and_again(&from, &to, &look);
}
