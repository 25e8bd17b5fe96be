//! ACTIVATE_VERSION of memberships: what the version does not have is taken away, and never by accident.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{Place, RFC, by_filter, gone, place, row, run, schema, set, slapd, state};
use crate::support::{assert_untouched, done, lines, no_panic, with};

fn in_version(mut row: Value) -> Value {
    row["version"] = json!(7);
    row
}

fn activate(stream: &str) -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": 7})
}

fn rule(place: &Place<'_>, more: &Value) -> Value {
    with(&with(&by_filter(), &json!({"scope_base": format!("ou=groups,{}", place.base)})), more)
}

fn config(place: &Place<'_>, more: &Value) -> Value {
    with(&place.config(&json!({"m": rule(place, more)})), &json!({"process_activate_version": true}))
}

/// g0 has keeper, p0, p1; g1 keeper, p2, p3; g2 keeper.
fn filled(place: &Place<'_>) {
    let rows = [row("g0", "p0"), row("g0", "p1"), row("g1", "p2"), row("g1", "p3")];
    done(run(&place.config(&json!({"m": by_filter()})), &rows)).counts(&[("added", 4)]);
}

fn whole(rows: &[Value]) -> Vec<Value> {
    rows.iter().cloned().map(in_version).chain([activate("m")]).collect()
}

fn people(place: &Place<'_>, names: &[&str]) -> std::collections::BTreeSet<String> {
    set(&names.iter().map(|name| place.person(name)).collect::<Vec<_>>())
}

#[test]
fn what_the_version_does_not_have_goes_group_by_group() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let config = config(&place, &json!({}));
    let rows = whole(&[
        row("g0", "keeper"),
        row("g0", "p1"),
        row("g0", "p4"),
        row("g1", "p2"),
        gone("g1", "p2"),
        row("g1", "p3"),
        row("g2", "keeper"),
    ]);
    let output = done(run(&config, &rows)).counts(&[("added", 1), ("deleted", 3), ("unchanged", 5)]);
    output.stderr.does_not_report(&json!({"level": "warning"}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p1", "p4"]));
    assert_eq!(place.members("g1"), people(&place, &["p3"]));
    assert_eq!(place.members("g2"), people(&place, &["keeper"]));
    let marks = slapd.change_marks();
    done(run(&config, &rows)).counts(&[("added", 0), ("deleted", 0), ("unchanged", 7)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_group_that_the_version_does_not_have() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let marks = slapd.change_marks();
    let rows = whole(&[row("g0", "keeper"), row("g0", "p0"), row("g0", "p1"), row("g2", "keeper")]);
    // All of its members would go, which its class forbids.
    let dir = scratch();
    let skipping = json!({"on_error": "skip", "reject_file": dir.path().join("r.jsonl")});
    let config_of = |more: &Value| config(&place, more);
    run(&config_of(&json!({})), &rows).exits(1).reports(&json!({"stream": "m"}));
    run(&with(&config_of(&json!({})), &skipping), &rows).exits(4).counts(&[("rejected", 1), ("deleted", 0)]);
    assert_untouched(&slapd, &marks);
    // Without a scope only the groups of the version are looked at.
    let unscoped =
        with(&place.config(&json!({"m": by_filter()})), &json!({"process_activate_version": true}));
    done(run(&unscoped, &rows)).counts(&[("deleted", 0), ("unchanged", 4)]);
    let outside = json!({"scope_filter": "(!(cn=g1))"});
    done(run(&config_of(&outside), &rows)).counts(&[("deleted", 0), ("unchanged", 4)]);
    assert_untouched(&slapd, &marks);
    // It is a deletion for every member: limits hold it back.
    let emptied = config_of(&json!({"empty_group": "cn=nobody,dc=example,dc=test"}));
    for (limits, setting) in [
        (json!({"max_deletes": 2}), "max_deletes"),
        (json!({"limits": {"m": {"delete": "30%"}}}), "limits.m.delete"),
    ] {
        run(&with(&emptied, &limits), &rows).exits(1).reports(&json!({"setting": setting}));
        assert_untouched(&slapd, &marks);
    }
    let held = with(&emptied, &json!({"plan_file": dir.path().join("plan.ldif")}));
    run(&held, &rows).exits(5).reports(&json!({"setting": "first_run"}));
    assert_untouched(&slapd, &marks);
    done(run(&with(&emptied, &json!({"max_deletes": 3})), &rows)).counts(&[("deleted", 3)]);
    assert_eq!(place.members("g1"), set(&["cn=nobody,dc=example,dc=test".into()]));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0", "p1"]));
    // The placeholder is nobody's member: no limit counts it, neither as one that goes nor as one that is there.
    let marks = slapd.change_marks();
    for limits in [json!({}), json!({"max_deletes": 0}), json!({"limits": {"m": {"delete": 0}}})] {
        let output = done(run(&with(&emptied, &limits), &rows)).counts(&[("deleted", 0), ("protected", 0)]);
        output.stderr.does_not_report(&json!({"level": "warning", "stream": "m"}));
        assert_untouched(&slapd, &marks);
    }
    let fewer = whole(&[row("g0", "keeper"), row("g0", "p0"), row("g2", "keeper")]);
    let fifth = json!({"limits": {"m": {"delete": "20%"}}});
    run(&with(&emptied, &fifth), &fewer).exits(1).reports(&json!({"setting": "limits.m.delete"}));
    assert_untouched(&slapd, &marks);
}

/// The group may be changed, and must not be deleted.
#[test]
fn the_reject_of_a_group_names_the_setting_that_forbids_it() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let dir = scratch();
    let file = dir.path().join("r.jsonl");
    let config = with(
        &config(&place, &json!({"empty_group": "delete"})),
        &json!({"write_base": place.group("g1"), "on_error": "skip", "reject_file": file}),
    );
    let rows = whole(&[row("g0", "keeper"), row("g0", "p0"), row("g0", "p1"), row("g2", "keeper")]);
    run(&config, &rows).exits(4).counts(&[("rejected", 1), ("deleted", 0)]);
    let text = std::fs::read_to_string(&file).unwrap();
    let reject: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&reject["setting"], &reject["dn"]),
        (&json!("write_base"), &json!(place.group("g1"))),
        "{reject}"
    );
}

#[test]
fn a_version_that_is_empty_early_cut_or_elsewhere_takes_nothing_away() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let config = config(&place, &json!({"empty_group": "cn=nobody,dc=example,dc=test"}));
    let marks = slapd.change_marks();
    let of = |rows: &[Value]| {
        let output = Run::target(&config).messages(rows).run();
        no_panic(&output);
        output
    };
    let early = in_version(row("g0", "p0"));
    for messages in [
        vec![schema(), activate("m"), state()],
        vec![schema(), activate("m"), early.clone(), state()],
        vec![schema(), in_version(gone("g0", "never")), activate("m"), state()],
        // The source broke off.
        vec![schema(), early.clone(), activate("m"), in_version(row("g0", "p1"))],
    ] {
        of(&messages).exits(0).reports(&json!({"stream": "m", "level": "warning"}));
        assert_untouched(&slapd, &marks);
    }
    // At any octet.
    let all =
        lines(&[vec![schema()], whole(&[row("g0", "p0"), row("g0", "keeper")]), vec![state()]].concat());
    let end = all.find("ACTIVATE_VERSION").unwrap();
    for cut in (0..end).step_by(97) {
        let output = Run::target(&config).stdin(&all.as_bytes()[..cut]).run();
        no_panic(&output);
        assert_untouched(&slapd, &marks);
    }
    // The scope is not the stream's.
    let elsewhere = with(
        &place.config(&json!({"m": {"membership": {"group": "{group}", "member": "{user}"},
            "scope_base": format!("ou=groups,{}", place.base), "empty_group": "cn=nobody,dc=example,dc=test"}})),
        &json!({"process_activate_version": true}),
    );
    slapd.ldapadd(format!(
        "dn: cn=far,ou=people,{}\nobjectClass: groupOfNames\ncn: far\nmember: {}\n\n",
        place.base,
        place.person("p0")
    ));
    let marks = slapd.change_marks();
    let far = whole(&[row(&format!("cn=far,ou=people,{}", place.base), &place.person("p0"))]);
    run(&elsewhere, &far).exits(1).counts(&[("deleted", 0)]).reports(&json!({"stream": "m"}));
    assert_untouched(&slapd, &marks);
    let dir = scratch();
    let skipping = json!({"on_error": "skip", "reject_file": dir.path().join("r.jsonl")});
    run(&with(&elsewhere, &skipping), &far)
        .exits(4)
        .counts(&[("rejected", 1), ("deleted", 0)])
        .reports(&json!({"stream": "m", "level": "warning"}));
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_rejected_row_keeps_the_members_that_it_could_mean() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let dir = scratch();
    let skipping = json!({"on_error": "skip", "reject_file": dir.path().join("r.jsonl")});
    let config = with(&config(&place, &json!({})), &skipping);
    // Whom the row of g0 means is not known, so g0 keeps all; g1 loses p2.
    let rows = whole(&[
        row("g0", "keeper"),
        row("g0", "ghost"),
        row("g1", "keeper"),
        row("g1", "p3"),
        row("g2", "keeper"),
    ]);
    let output = run(&config, &rows).exits(4).counts(&[("rejected", 1), ("deleted", 1)]);
    output.reports(&json!({"stream": "m", "groups": 1}));
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0", "p1"]));
    assert_eq!(place.members("g1"), people(&place, &["keeper", "p3"]));
    // A row that names no group at all, or an unknown one, could mean any.
    let marks = slapd.change_marks();
    let mut nameless = in_version(row("g0", "p0"));
    nameless["record"]["group"] = Value::Null;
    for bad in [nameless, in_version(row("nowhere", "p0"))] {
        let rows = [vec![bad], whole(&[row("g0", "keeper"), row("g1", "keeper")])].concat();
        let output = run(&config, &rows).exits(4).counts(&[("rejected", 1), ("deleted", 0)]);
        output.reports(&json!({"stream": "m", "level": "warning"}));
        assert_untouched(&slapd, &marks);
    }
}

#[test]
fn two_streams_of_one_group_and_protected_groups() {
    let slapd = slapd(5, 3);
    let place = place(&slapd, RFC);
    filled(&place);
    let second = json!({"membership": {"group": "(cn={group})", "member": "(uid={user})"}});
    let rules = json!({"m": rule(&place, &json!({})), "n": second});
    let config = with(&place.config(&rules), &json!({"process_activate_version": true}));
    let of_n = |mut message: Value| {
        message["stream"] = json!("n");
        message
    };
    let rows = [
        vec![of_n(schema()), in_version(of_n(row("g0", "p0"))), activate("n")],
        whole(&[row("g0", "keeper"), row("g1", "keeper"), row("g2", "keeper")]),
    ]
    .concat();
    // n would take keeper and p1 out of g0, and m has keeper; m would take p0, which n has.
    done(run(&config, &rows)).stream_counts("n", &[("deleted", 1)]).stream_counts("m", &[("deleted", 2)]);
    assert_eq!(place.members("g0"), people(&place, &["keeper", "p0"]));
    assert_eq!(place.members("g1"), people(&place, &["keeper"]));
    done(run(&place.config(&json!({"m": by_filter()})), &[row("g1", "p2"), row("g2", "p2")]));
    let protected = with(
        &place.config(&json!({"m": rule(&place, &json!({}))})),
        &json!({"process_activate_version": true, "protect": {"dns": [place.group("g1")]}}),
    );
    let rows = whole(&[row("g0", "keeper"), row("g0", "p0"), row("g2", "keeper")]);
    let output = done(run(&protected, &rows)).stream_counts("m", &[("deleted", 1), ("protected", 2)]);
    output.stderr.does_not_report(&json!({"level": "error"}));
    assert_eq!(place.members("g1"), people(&place, &["keeper", "p2"]));
    assert_eq!(place.members("g2"), people(&place, &["keeper"]));
}
