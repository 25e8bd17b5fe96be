//! References by look-up (`references`): entries that are found by their values, and written by their DNs.

use std::collections::BTreeSet;

use ldap_tests::fake::{Filter, Operation};
use ldap_tests::ldif::normalize_dn;
use ldap_tests::relay::Relay;
use ldap_tests::run::{Output, Run};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, people, target_config, unit, values, with};

mod model;

const BASE: &str = "dc=example,dc=test";
const MANAGER: &str = "(employeeNumber={manager_id})";

fn schemas() -> Vec<Value> {
    let text = json!({"type": ["string", "integer", "null"]});
    let texts = json!({"type": ["array", "null"], "items": {"type": ["string", "integer", "null"]}});
    vec![
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"], "schema": {"type": "object", "properties": {
            "id": text, "name": text, "number": text, "manager_id": text, "title": text, "_sdc_deleted_at": text}}}),
        json!({"type": "SCHEMA", "stream": "groups", "key_properties": ["group"], "schema": {"type": "object", "properties": {
            "group": text, "member_ids": texts, "title": text}}}),
    ]
}

/// Rules for people that are matched by `description`, and for groups. `manager`, `member`: more of the references.
fn config(server: &Server, base: &str, manager: &Value, member: &Value) -> Value {
    let is_ad = server.admin_dn().starts_with("CN=");
    let class = |usual: &str, ad: &str| json!([if is_ad { ad } else { usual }]);
    let mapping = json!({"id": "description", "name": "cn", "number": "employeeNumber", "title": "title"});
    let mapping = if is_ad { mapping } else { with(&mapping, &json!({"name": ["cn", "sn"]})) };
    let manager = with(&json!({"find": MANAGER}), manager);
    let member =
        with(&json!({"each": "member_ids", "find": "(employeeNumber={value})", "missing": "warn"}), member);
    with(
        &target_config(server),
        &json!({"mapping_rules": {
            "people": {
                "dn_template": format!("cn={{name}},ou=p,{base}"),
                "object_classes": class("inetOrgPerson", "user"),
                "match": "(description={id})", "scope_base": format!("ou=p,{base}"),
                "attribute_mapping": mapping,
                "references": {"manager": manager}},
            "groups": {
                "dn_template": format!("cn={{group}},ou=g,{base}"),
                "object_classes": class("groupOfNames", "group"),
                "attribute_mapping": {"title": "description"},
                "references": {"member": member}}}}),
    )
}

fn usual(server: &Server) -> Value {
    config(server, BASE, &json!({}), &json!({}))
}

fn run(config: &Value, records: &[Value]) -> Output {
    super::run(schemas(), config, records)
}

fn person(id: &str, more: &Value) -> Value {
    let record = json!({"id": id, "name": format!("p{id}"), "number": id});
    json!({"type": "RECORD", "stream": "people", "record": with(&record, more)})
}

fn managed(id: &str, manager: &str) -> Value {
    person(id, &json!({"manager_id": manager}))
}

fn group(name: &str, members: &Value) -> Value {
    json!({"type": "RECORD", "stream": "groups", "record": {"group": name, "member_ids": members}})
}

fn slapd() -> Slapd {
    Slapd::start(
        SlapdOptions::default().seed([unit(&format!("ou=p,{BASE}")), unit(&format!("ou=g,{BASE}"))].concat()),
    )
}

fn person_dn(name: &str) -> String {
    format!("cn={name},ou=p,{BASE}")
}

fn group_dn(name: &str) -> String {
    format!("cn={name},ou=g,{BASE}")
}

fn dns<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.iter().map(|name| normalize_dn(&person_dn(name))).collect()
}

#[test]
fn managers_are_found_in_the_run_and_in_the_directory_whatever_comes_first() {
    let slapd = slapd();
    let config = usual(&slapd);
    done(run(&config, &[person("1", &json!({}))])).counts(&[("added", 1)]);
    // A ring, one's own manager, one who is there, and groups before their members.
    let records = [
        group("all", &json!([2, "3", 4, 1, null])),
        group("nested", &json!(["2"])),
        managed("2", "3"),
        managed("3", "4"),
        managed("4", "2"),
        managed("5", "5"),
        managed("6", "1"),
    ];
    let output = done(run(&config, &records));
    output.stderr.does_not_report(&json!({"level": "error"}));
    let output = output.stream_counts("people", &[("added", 5), ("modified", 0)]);
    output.stream_counts("groups", &[("added", 2), ("modified", 0)]);
    for (name, manager) in [("p2", "p3"), ("p3", "p4"), ("p4", "p2"), ("p5", "p5"), ("p6", "p1")] {
        assert_eq!(values(&slapd, &person_dn(name), "manager"), dns([manager]), "{name}");
    }
    assert_eq!(values(&slapd, &group_dn("all"), "member"), dns(["p1", "p2", "p3", "p4"]));
    let marks = slapd.change_marks();
    done(run(&config, &records)).counts(&[("unchanged", 7)]);
    assert_untouched(&slapd, &marks);
    // A null takes the value away; a record without the property says nothing of it.
    let mut without = person("2", &json!({}));
    without["record"]["manager_id"] = Value::Null;
    done(run(&config, &[without, person("3", &json!({}))])).counts(&[("modified", 1), ("unchanged", 1)]);
    assert_eq!(values(&slapd, &person_dn("p2"), "manager"), dns([]));
    assert_eq!(values(&slapd, &person_dn("p3"), "manager"), dns(["p4"]));
}

#[test]
fn a_reference_follows_an_entry_that_is_renamed_or_gets_another_number_in_the_same_run() {
    let slapd = slapd();
    let config = usual(&slapd);
    done(run(
        &config,
        &[person("1", &json!({})), managed("2", "1"), managed("3", "1"), person("4", &json!({}))],
    ));
    let records = [
        managed("2", "1"),
        managed("3", "4"),
        // It is renamed, and the other two swap their numbers.
        person("1", &json!({"name": "renamed", "number": "4"})),
        person("4", &json!({"number": "1"})),
    ];
    done(run(&config, &records)).counts(&[("renamed", 1)]);
    assert_eq!(values(&slapd, &person_dn("p2"), "manager"), dns(["p4"]));
    assert_eq!(values(&slapd, &person_dn("p3"), "manager"), dns(["renamed"]));
    let marks = slapd.change_marks();
    done(run(&config, &records)).counts(&[("unchanged", 4)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn what_is_missing_is_an_error_or_a_warning_and_takes_nothing_away() {
    let slapd = slapd();
    let setting = "mapping_rules.people.references.manager";
    let of = |missing: &str| config(&slapd, BASE, &json!({"missing": missing}), &json!({}));
    done(run(&of("wait"), &[person("1", &json!({})), managed("2", "1")]));
    let gone = [
        managed("2", "99"),
        person("3", &json!({"manager_id": "99", "title": "new"})),
        person("4", &json!({})),
    ];
    for missing in ["wait", "warn", "fail"] {
        let rejects = scratch();
        let file = rejects.path().join("rejects.jsonl");
        let config = with(&of(missing), &json!({"on_error": "skip", "reject_file": file}));
        let output = run(&config, &gone).exits(if missing == "warn" { 0 } else { 4 });
        output.stderr.reports(&json!({"level": "warning", "setting": if missing == "fail" { json!(null) } else { json!(setting) }, "line": 3}));
        let rejected = std::fs::read_to_string(&file).unwrap_or_default();
        let count = rejected.lines().filter(|line| line.contains("\"REJECT\"")).count();
        assert_eq!(count, if missing == "warn" { 0 } else { 2 }, "{missing}: {rejected}");
        // What was there stays; a new entry is there without the reference, unless nothing of its record is to be written.
        assert_eq!(values(&slapd, &person_dn("p2"), "manager"), dns(["p1"]), "{missing}");
        let is_there = slapd.dump().contains_key(&normalize_dn(&person_dn("p3")));
        assert_eq!(is_there, missing != "fail", "{missing}");
        if is_there {
            assert_eq!(values(&slapd, &person_dn("p3"), "manager"), dns([]));
            slapd.ldapmodify(format!("dn: {}\nchangetype: delete\n\n", person_dn("p3")));
        }
    }
    run(&of("wait"), &gone).exits(1).reports(&json!({"setting": setting, "stream": "people"}));
    // A manager who leaves in the same run is not found any more, and the others are told.
    let left = with(&person("1", &json!({}))["record"], &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    let left = json!({"type": "RECORD", "stream": "people", "record": left});
    run(&of("wait"), &[left, managed("2", "1")]).exits(1).reports(&json!({"setting": setting}));
}

#[test]
fn several_entries_are_an_error_that_names_them() {
    let slapd = slapd();
    let config = config(&slapd, BASE, &json!({"missing": "warn"}), &json!({}));
    let twins = [person("1", &json!({"number": "7"})), person("2", &json!({"number": "7"}))];
    done(run(&config, &twins));
    let output = run(&config, &[managed("3", "7")]).exits(1);
    let reported = output.stderr.about(&json!({"setting": "mapping_rules.people.references.manager"}));
    let text = format!("{reported:?}");
    assert!(text.contains(&person_dn("p1")) && text.contains(&person_dn("p2")), "{text}");
    // Until the run ends, they may become one.
    done(run(&config, &[managed("3", "7"), person("2", &json!({"number": "8"}))]));
    assert_eq!(values(&slapd, &person_dn("p3"), "manager"), dns(["p1"]));
}

#[test]
fn policies_apply_to_what_is_found() {
    let slapd = slapd();
    let people: Vec<Value> = (1..5).map(|n| person(&n.to_string(), &json!({}))).collect();
    let of = |policy: &str| {
        let mut config = usual(&slapd);
        config["mapping_rules"]["groups"]["policies"] = json!({"member": policy});
        config
    };
    done(run(&of("merge"), &people));
    done(run(&of("merge"), &[group("g", &json!([1, 2]))])).counts(&[("added", 1)]);
    for (policy, members, expected) in [
        ("merge", json!([3]), dns(["p1", "p2", "p3"])),
        ("keep", json!([4]), dns(["p1", "p2", "p3"])),
        ("create_only", json!([4]), dns(["p1", "p2", "p3"])),
        ("force", json!([4, 99]), dns(["p1", "p2", "p3", "p4"])),
        ("force", json!([4]), dns(["p4"])),
    ] {
        let output = run(&of(policy), &[group("g", &members)]).exits(0);
        output.stderr.does_not_report(&json!({"level": "error"}));
        assert_eq!(values(&slapd, &group_dn("g"), "member"), expected, "{policy} {members}");
        let marks = slapd.change_marks();
        run(&of(policy), &[group("g", &members)]).exits(0);
        assert_untouched(&slapd, &marks);
    }
}

#[test]
fn a_group_waits_for_members_that_its_class_demands() {
    let slapd = slapd();
    let config = config(&slapd, BASE, &json!({}), &json!({"missing": "wait"}));
    // A group of groups, too: both wait for what comes last.
    let mut nested = config.clone();
    nested["mapping_rules"]["groups"]["references"]["member"]["find"] =
        json!("(|(employeeNumber={value})(cn={value}))");
    let records = [group("outer", &json!(["inner"])), group("inner", &json!([1])), person("1", &json!({}))];
    done(run(&nested, &records)).counts(&[("added", 3)]);
    assert_eq!(
        values(&slapd, &group_dn("outer"), "member"),
        BTreeSet::from([normalize_dn(&group_dn("inner"))])
    );
    let marks = slapd.change_marks();
    done(run(&nested, &records)).counts(&[("unchanged", 3)]);
    assert_untouched(&slapd, &marks);
    run(&config, &[group("lost", &json!([99]))])
        .exits(1)
        .reports(&json!({"setting": "mapping_rules.groups.references.member"}));
    assert!(!slapd.dump().contains_key(&normalize_dn(&group_dn("lost"))));
}

#[test]
fn a_rule_that_cannot_find_anything_is_refused_before_the_first_record() {
    let slapd = slapd();
    let manager = |more: Value| config(&slapd, BASE, &more, &json!({}));
    let mut unknown = usual(&slapd);
    unknown["mapping_rules"]["people"]["references"] = json!({"managr": {"find": MANAGER}});
    let mut no_dn = usual(&slapd);
    no_dn["mapping_rules"]["people"]["references"] = json!({"mail": {"find": MANAGER}});
    let mut twice = usual(&slapd);
    twice["mapping_rules"]["people"]["attribute_mapping"]["title"] = json!("manager");
    let at = "mapping_rules.people.references.manager";
    for (config, setting, nearest) in [
        (
            manager(json!({"find": "(employeeNumbr={manager_id})"})),
            format!("{at}.find"),
            Some("employeeNumber"),
        ),
        (manager(json!({"find": "(employeeNumber={manager})"})), format!("{at}.find"), Some("manager_id")),
        (manager(json!({"find": "(employeeNumber=7)"})), format!("{at}.find"), None),
        (manager(json!({"each": "manager_id"})), format!("{at}.find"), None),
        (
            manager(json!({"each": "managr_id", "find": "(uid={value})"})),
            format!("{at}.each"),
            Some("manager_id"),
        ),
        (manager(json!({"missing": "wiat"})), format!("{at}.missing"), Some("wait")),
        (manager(json!({"base": "dc=elsewhere"})), format!("{at}.base"), None),
        (manager(json!({"bsae": BASE})), format!("{at}.bsae"), Some("base")),
        (unknown, "mapping_rules.people.references.managr".to_owned(), Some("manager")),
        (no_dn, "mapping_rules.people.references.mail".to_owned(), None),
        (twice, at.to_owned(), None),
    ] {
        let output = run(&config, &[person("1", &json!({}))]).exits(2);
        output.stderr.reports(&json!({"setting": setting}));
        if let Some(nearest) = nearest {
            output.stderr.reports(&json!({"setting": setting, "nearest": nearest}));
        }
    }
    assert!(slapd.dump().keys().all(|dn| !dn.contains("ou=p,") || dn.starts_with("ou=p")));
}

#[test]
fn an_object_is_no_value_of_a_filter() {
    let slapd = slapd();
    let config = usual(&slapd);
    done(run(&config, &[person("1", &json!({})), managed("2", "1")]));
    let mut messages = schemas();
    messages[0]["schema"]["properties"]["manager_id"] = json!({});
    messages.push(person("2", &json!({"manager_id": {"id": "1"}})));
    Run::target(&config).messages(&messages).run().exits(1);
    assert_eq!(values(&slapd, &person_dn("p2"), "manager"), dns(["p1"]));
}

#[test]
fn an_attribute_that_the_user_may_not_search_is_not_taken_for_missing() {
    let reader = "uid=reader,ou=people,dc=example,dc=test";
    let access = format!(
        "access to attrs=employeeNumber by dn.exact=\"{reader}\" =w by * break\n\
         access to * by dn.exact=\"{reader}\" manage by * break"
    );
    let units = [unit(&format!("ou=p,{BASE}")), unit(&format!("ou=g,{BASE}"))].concat();
    let seed = units + &people(3, &format!("ou=p,{BASE}"));
    let slapd = Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users().seed(seed) });
    let base = json!({"missing": "warn", "base": format!("ou=p,{BASE}")});
    let config = with(
        &config(&slapd, BASE, &base, &json!({})),
        &json!({"bind_dn": reader, "bind_password": "reader-pw"}),
    );
    run(&config, &[person("9", &json!({"number": null, "manager_id": "1"}))])
        .exits(1)
        .reports(&json!({"setting": "bind_dn", "stream": "people", "attribute": "employeeNumber"}));
}

/// How many references were looked up by searches of their own, after so many requests.
fn singly(relay: &Relay, from: usize) -> usize {
    let is_lookup = |filter: &Filter| matches!(filter, Filter::Equal(name, _) if name == "employeenumber");
    let of = |operation: &Operation| match operation {
        Operation::Search(search) => match &search.filter {
            Filter::And(parts) => parts.iter().any(is_lookup),
            filter => is_lookup(filter),
        },
        _ => false,
    };
    relay.requests().iter().skip(from).filter(|request| of(&request.operation)).count()
}

#[test]
fn many_references_are_found_by_one_read() {
    let slapd = Slapd::start(
        SlapdOptions::default().seed(
            [
                unit(&format!("ou=p,{BASE}")),
                unit(&format!("ou=g,{BASE}")),
                people(600, &format!("ou=p,{BASE}")),
            ]
            .concat(),
        ),
    );
    let relay = Relay::start(slapd.ldap_port(), |_| {});
    // One record after another: how many others are looked up during the read depends on time.
    let config = with(&usual(&slapd), &json!({"server_url": relay.uri(), "max_in_flight": 1}));
    let records: Vec<Value> =
        (1_000..1_600).map(|n| managed(&n.to_string(), &(n - 1_000).to_string())).collect();
    done(run(&config, &records)).counts(&[("added", 600)]);
    // The first ones decide that the read pays.
    let few = |from: usize| {
        let used = singly(&relay, from);
        assert!((1..=200).contains(&used), "{used} searches");
    };
    few(0);
    let before = relay.requests().len();
    let marks = slapd.change_marks();
    done(run(&config, &records)).counts(&[("unchanged", 600)]);
    few(before);
    assert_untouched(&slapd, &marks);
    // Those of records that come later, which none of the entries read has.
    let before = relay.requests().len();
    let records: Vec<Value> = (2_000..2_600)
        .map(|n| managed(&n.to_string(), &(if n == 2_599 { 2_000 } else { n + 1 }).to_string()))
        .collect();
    done(run(&config, &records)).counts(&[("added", 600)]);
    few(before);
    assert_eq!(values(&slapd, &person_dn("p2599"), "manager"), dns(["p2000"]));
    assert_eq!(values(&slapd, &person_dn("p2000"), "manager"), dns(["p2001"]));
}

#[test]
fn a_file_has_references_in_any_order() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let slapd = slapd();
    let config = with(
        &usual(&slapd),
        &json!({"server_url": format!("ldif:{}", file.display()), "bind_dn": null, "bind_password": null}),
    );
    let records = [group("g", &json!([1, 2])), managed("1", "2"), managed("2", "1")];
    std::fs::write(
        &file,
        [unit(BASE), unit(&format!("ou=p,{BASE}")), unit(&format!("ou=g,{BASE}"))].concat(),
    )
    .unwrap();
    done(run(&config, &records)).counts(&[("added", 3)]);
    let text = std::fs::read_to_string(&file).unwrap();
    for line in [format!("member: {}", person_dn("p1")), format!("manager: {}", person_dn("p2"))] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    done(run(&config, &records)).counts(&[("unchanged", 3)]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_plan_a_held_plan_and_an_undo_have_the_names() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let records = [group("g", &json!([1, 2])), managed("1", "2"), managed("2", "1")];
    let mut messages = schemas();
    messages.extend_from_slice(&records);
    let plan =
        Run::target(&usual(&slapd)).messages(&messages).arg("--dry-run").run().succeeds().stdout_text();
    for line in [format!("member: {}", person_dn("p1")), format!("manager: {}", person_dn("p2"))] {
        assert!(plan.contains(&line), "{line} is not in\n{plan}");
    }
    assert_eq!(slapd.dump(), before);
    let (held, undo) = (dir.path().join("held.ldif"), dir.path().join("undo.ldif"));
    let config = with(
        &usual(&slapd),
        &json!({"plan_file": held, "first_run": "apply", "limits": {"people": {"add": 1}}}),
    );
    Run::target(&config).messages(&messages).run().exits(5);
    assert_eq!(slapd.dump(), before);
    let config = with(&config, &json!({"undo_file": undo}));
    Run::target(&config).arg("apply").arg(held.to_str().unwrap()).run().succeeds();
    assert_eq!(values(&slapd, &person_dn("p1"), "manager"), dns(["p2"]));
    assert_eq!(values(&slapd, &group_dn("g"), "member"), dns(["p1", "p2"]));
}
