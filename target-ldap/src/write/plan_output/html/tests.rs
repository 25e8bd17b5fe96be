//! Unit tests.

use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::{Attribute, Entry};

use super::super::HIDDEN;
use super::super::value_changes::COMPARED;
use super::values::{MOST_CHANGED, MOST_VALUES, Side, ValueKind, modified};
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
        let goes = if changes.len() == 1 { 1 } else { half };
        assert_eq!(row.was.values.len(), if goes == 1 { MOST_VALUES } else { MOST_CHANGED });
        assert_eq!(
            row.was.hidden_changes,
            goes.saturating_sub(MOST_CHANGED),
            "none is left out without a word"
        );
    }
}

fn label(number: u64, is_leaving: bool) -> ChangeLabel {
    ChangeLabel {
        number,
        stream: "users".into(),
        line: number + 1,
        record: format!("id={number}").into(),
        is_leaving,
    }
}

fn rename(dn: &str, new_rdn: &str, new_superior: Option<&str>) -> Change {
    Change::Rename {
        dn: dn.into(),
        new_rdn: new_rdn.into(),
        delete_old_rdn: true,
        new_superior: new_superior.map(str::to_owned),
    }
}

fn modify(dn: &str, name: &str) -> Change {
    let changes = vec![Modification::new(ModificationKind::Replace, name, all(&["z"]))];
    Change::Modify { dn: dn.into(), changes }
}

/// Returns the names of the rows with their outcomes, and what else happens.
fn rows(page: &Page) -> Vec<(&str, &[RecordOutcome], &[Part])> {
    page.rows.iter().map(|row| (row.dn.as_str(), row.outcomes.as_slice(), row.parts.as_slice())).collect()
}

fn written(page: &mut Page) -> String {
    let mut out = Vec::new();
    page.write(&mut out, true).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_changes_of_an_entry_are_one_row_whatever_its_name_is_meanwhile() {
    use RecordOutcome::{Added, Deleted, Modified, Renamed};
    let mut page = Page::new(PlanHeader::default());
    let mut show = |change: &Change, number, is_leaving| {
        let label = label(number, is_leaving);
        page.change(&PlannedChange { change, before: None, relaxed: false, label: Some(&label) }).unwrap();
    };
    show(&modify("uid=c,ou=P,dc=x", "sn"), 1, false);
    // A way around a name that is taken, in other spellings.
    show(&rename("uid=a,ou=p,dc=x", "uid=a-moving1", None), 2, false);
    show(&rename("UID=a-moving1, ou=p,dc=x", "uid=b", Some("ou=q,dc=x")), 2, false);
    show(&modify("uid=b,ou=q,dc=x", "mail"), 2, false);
    // What contains an entry is renamed, and then the entry is changed again.
    show(&rename("ou=p,dc=x", "ou=r", None), 3, false);
    show(&modify("uid=c,ou=r,dc=x", "mail"), 4, false);
    // Another entry of a name that is free.
    show(&Change::Delete { dn: "uid=b,ou=q,dc=x".into() }, 5, true);
    let entry = Entry { dn: "uid=b,ou=q,dc=x".into(), attributes: vec![] };
    show(&Change::Add(entry), 6, false);
    for (number, outcome) in [
        (1, RecordOutcome::Modified),
        (2, RecordOutcome::Renamed),
        (3, RecordOutcome::Renamed),
        (4, RecordOutcome::Modified),
        (5, RecordOutcome::Deleted),
        (6, RecordOutcome::Added),
    ] {
        page.outcome(number, outcome);
    }
    page.set_outcomes();
    for row in &mut page.rows {
        row.outcomes.sort_by_key(|outcome| format!("{outcome:?}"));
    }
    assert_eq!(
        rows(&page),
        [
            ("uid=c,ou=P,dc=x", &[Modified, Modified][..], &[Part::Values][..]),
            (
                "uid=a,ou=p,dc=x",
                &[Deleted, Renamed],
                &[Part::Name, Part::Parent, Part::Values, Part::Deleted]
            ),
            ("ou=p,dc=x", &[Renamed], &[Part::Name]),
            ("uid=b,ou=q,dc=x", &[Added], &[Part::Added]),
        ]
    );
}

#[test]
fn what_a_rejected_record_would_still_change_is_its_row_and_a_lost_change_is_said() {
    let mut page = Page::new(PlanHeader::default());
    let label = label(1, false);
    let change = rename("uid=a,dc=x", "uid=b", None);
    page.change(&PlannedChange { change: &change, before: None, relaxed: false, label: Some(&label) })
        .unwrap();
    let refused = |number, dn| RefusedRecord {
        number,
        stream: "users",
        line: number + 1,
        record: "id=1",
        dn,
        code: None,
        reason: "no <b>sn</b>\u{202e}",
    };
    page.refused(&refused(1, Some("uid=b,dc=x")));
    page.refused(&refused(2, None));
    // Nothing differs, and nothing was shown.
    page.outcome(3, RecordOutcome::Unchanged);
    page.count("users", &Counts { records: 3, rejected: 2, unchanged: 1, ..Counts::default() });
    let html = written(&mut page);
    assert_eq!(html.matches("<li class=\"row\" data-item data-kind=\"rejected\">").count(), 2, "{html}");
    assert!(html.contains("<bdi>no &lt;b&gt;sn&lt;/b&gt;\u{fffd}</bdi>"), "{html}");
    assert!(!html.contains("not shown below"), "{html}");
    page.outcome(4, RecordOutcome::Modified);
    assert!(written(&mut page).contains("1 counted changes are not shown below"));
}

#[test]
fn an_undo_has_no_records_and_counts_its_changes() {
    let mut page = Page::new(PlanHeader::default());
    for change in
        [rename("uid=a,dc=x", "uid=b", None), modify("uid=b,dc=x", "sn"), modify("uid=c,dc=x", "sn")]
    {
        page.change(&PlannedChange { change: &change, before: None, relaxed: false, label: None }).unwrap();
    }
    let html = written(&mut page);
    assert_eq!(html.matches("data-kind=\"renamed\"").count(), 1, "{html}");
    assert_eq!(html.matches("data-kind=\"modified\"").count(), 1, "{html}");
    assert!(html.contains("<strong>1</strong> <span>renamed</span>"), "{html}");
}

#[test]
fn a_row_says_once_whom_it_is_about() {
    let mut page = Page::new(PlanHeader::default());
    let attributes = vec![
        Attribute::new("cn", all(&["Ann Example"])),
        Attribute::new("title", all(&["Analyst"])),
        Attribute::new("userPassword", all(&["secret"])),
    ];
    let before = Entry { dn: "uid=a,ou=p,dc=x".into(), attributes };
    let label = label(1, true);
    for change in
        [modify("uid=a,ou=p,dc=x", "mail"), rename("uid=a,ou=p,dc=x", "uid=a", Some("ou=gone,dc=x"))]
    {
        let planned =
            PlannedChange { change: &change, before: Some(&before), relaxed: false, label: Some(&label) };
        page.change(&planned).unwrap();
    }
    let html = written(&mut page);
    assert_eq!(html.matches("Ann Example").count(), 1, "{html}");
    assert_eq!(html.matches("Analyst").count(), 1);
    assert!(!html.contains("***") && !html.contains("userPassword"), "what was not changed is not shown");
}
