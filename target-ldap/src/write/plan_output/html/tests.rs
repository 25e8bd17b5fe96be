//! Unit tests.

use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::{Attribute, Entry};

use super::super::HIDDEN;
use super::super::value_changes::COMPARED;
use super::values::{MOST_VALUES, Side, ValueKind, modified};
use super::*;

fn texts(side: &Side) -> Vec<String> {
    let sign = |kind| match kind {
        ValueKind::Stays => "=",
        ValueKind::Goes => "-",
        ValueKind::Comes => "+",
    };
    side.values.iter().map(|value| format!("{}{}", sign(value.kind), value.text)).collect()
}

fn all(values: &[&str]) -> Vec<Vec<u8>> {
    values.iter().map(|v| v.as_bytes().to_vec()).collect()
}

#[test]
fn what_was_and_what_will_be_of_each_attribute() {
    use ModificationKind::{Add, Delete, Replace};
    let attributes = vec![Attribute::new("mail", all(&["a", "b"])), Attribute::new("cn", all(&["x"]))];
    let before = Entry { dn: "cn=x".into(), attributes };
    let step = |kind, name: &str, values: &[&str]| Modification::new(kind, name, all(values));
    let changes = [
        step(Delete, "Mail", &["a"]),
        step(Add, "mail", &["c", "a"]),
        step(Delete, "cn", &[]),
        step(Add, "CN", &["y"]),
        step(Replace, "sn", &["z"]),
        step(Add, "userPassword", &["secret"]),
    ];
    let rows = modified(&changes, Some(&before));
    let shown: Vec<(&str, Vec<String>, Vec<String>)> =
        rows.iter().map(|r| (r.name.as_str(), texts(&r.was), texts(&r.will))).collect();
    let of = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        shown,
        [
            ("Mail", of(&["=a", "=b"]), of(&["+c", "=b", "=a"])),
            ("cn", of(&["-x"]), of(&["+y"])),
            ("sn", of(&[]), of(&["+z"])),
            ("userPassword", of(&[]), vec![format!("+{HIDDEN}")]),
        ]
    );
}

#[test]
fn a_group_of_many_is_looked_at_a_few_times_over() {
    const MEMBERS: usize = 50_000;
    let names: Vec<String> = (0..=MEMBERS).map(|n| format!("uid=person{n},ou=people,dc=x")).collect();
    let members = |range: std::ops::Range<usize>| -> Vec<Vec<u8>> {
        names[range].iter().map(|n| n.as_bytes().to_vec()).collect()
    };
    let before = Entry { dn: "cn=g".into(), attributes: vec![Attribute::new("member", members(0..MEMBERS))] };
    let half = MEMBERS / 2;
    for changes in [
        vec![Modification::new(ModificationKind::Replace, "member", members(1..MEMBERS + 1))],
        vec![
            Modification::new(ModificationKind::Delete, "member", members(0..half)),
            Modification::new(ModificationKind::Add, "member", members(MEMBERS..MEMBERS + 1)),
        ],
    ] {
        COMPARED.with(|count| count.set(0));
        let row = modified(&changes, Some(&before)).remove(0);
        let compared = COMPARED.with(std::cell::Cell::get);
        assert!(compared < 8 * MEMBERS, "{compared} comparisons");
        assert_eq!(row.was.total, MEMBERS);
        assert_eq!(row.was.lines.len(), MOST_VALUES);
    }
}
