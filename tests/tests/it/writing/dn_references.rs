//! Values that name entries that do not exist yet, and groups that would be empty.

use std::collections::BTreeSet;

use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, set, target_config, unit, values, with};

const BASE: &str = "dc=example,dc=test";

fn schemas() -> Vec<Value> {
    let texts = json!({"type": ["string", "null", "array"], "items": {"type": "string"}});
    let schema = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["dn"], "schema": {"type": "object", "properties": {
            "dn": texts, "objectClass": texts, "cn": texts, "sn": texts, "member": texts, "manager": texts, "seeAlso": texts,
            "description": texts, "_sdc_deleted_at": texts}}})
    };
    vec![schema("groups"), schema("people")]
}

fn config(server: &Server, more: &Value) -> Value {
    with(&target_config(server), &json!({"mapping_rules": {"groups": more}}))
}

fn run(config: &Value, records: &[Value]) -> Output {
    super::run(schemas(), config, records)
}

fn person_dn(name: &str) -> String {
    format!("cn={name},ou=p,{BASE}")
}

fn group_dn(name: &str) -> String {
    format!("cn={name},ou=g,{BASE}")
}

fn person(name: &str, more: &Value) -> Value {
    let record = json!({"dn": person_dn(name), "objectClass": ["inetOrgPerson"], "cn": name, "sn": name});
    json!({"type": "RECORD", "stream": "people", "record": with(&record, more)})
}

fn group(name: &str, members: &Value) -> Value {
    json!({"type": "RECORD", "stream": "groups", "record":
        {"dn": group_dn(name), "objectClass": ["groupOfNames"], "cn": name, "member": members}})
}

fn slapd() -> Slapd {
    Slapd::start(
        SlapdOptions::default().seed([unit(&format!("ou=p,{BASE}")), unit(&format!("ou=g,{BASE}"))].concat()),
    )
}

/// Where in the plan an entry is added, and where this value is written.
fn places(plan: &str, dn: &str, value: &str) -> (usize, usize) {
    let added = plan.find(&format!("dn: {dn}\n")).unwrap_or_else(|| panic!("{dn} is not in\n{plan}"));
    let written = plan.find(value).unwrap_or_else(|| panic!("{value} is not in\n{plan}"));
    (added, written)
}

#[test]
fn a_value_is_written_when_the_entry_it_names_is_there() {
    let slapd = slapd();
    // The group first, then its members; a group needs one to begin with.
    let records = [
        group("staff", &json!([person_dn("a"), person_dn("b")])),
        person("a", &json!({"manager": person_dn("b")})),
        person("b", &json!({})),
    ];
    let config = config(&slapd, &json!({}));
    let mut messages = schemas();
    messages.extend_from_slice(&records);
    let plan = Run::target(&config).messages(&messages).arg("--dry-run").run().succeeds().stdout_text();
    let (added, written) = places(&plan, &person_dn("b"), &format!("manager: {}", person_dn("b")));
    assert!(added < written, "{plan}");
    let (added, written) = places(&plan, &person_dn("b"), &format!("member: {}", person_dn("b")));
    assert!(added < written, "{plan}");
    let output = done(run(&config, &records))
        .stream_counts("groups", &[("added", 1)])
        .stream_counts("people", &[("added", 2), ("modified", 0)]);
    output.stderr.does_not_report(&json!({}));
    assert_eq!(values(&slapd, &group_dn("staff"), "member"), set(&[person_dn("a"), person_dn("b")]));
    assert_eq!(values(&slapd, &person_dn("a"), "manager"), set(&[person_dn("b")]));
    let marks = slapd.change_marks();
    done(run(&config, &records)).counts(&[("unchanged", 3)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_ring_of_managers_comes_whole() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let names = ["a", "b", "c", "d"];
    let records: Vec<Value> = (0..4)
        .map(|n| {
            person(
                names[n],
                &json!({"manager": person_dn(names[(n + 1) % 4]), "seeAlso": person_dn(names[n])}),
            )
        })
        .collect();
    let output = done(run(&config, &records)).counts(&[("added", 4), ("modified", 0)]);
    output.stderr.does_not_report(&json!({}));
    for n in 0..4 {
        assert_eq!(values(&slapd, &person_dn(names[n]), "manager"), set(&[person_dn(names[(n + 1) % 4])]));
        assert_eq!(values(&slapd, &person_dn(names[n]), "seealso"), set(&[person_dn(names[n])]));
    }
    let marks = slapd.change_marks();
    done(run(&config, &records)).counts(&[("unchanged", 4)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn what_names_nothing_is_said_and_written_all_the_same() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let records = [
        group("ghosts", &json!([person_dn("ghost")])),
        person("a", &json!({"manager": person_dn("nobody"), "seeAlso": "cn=x,dc=elsewhere"})),
    ];
    let output = done(run(&config, &records));
    let output =
        output.reports(&json!({"stream": "people", "dn": person_dn("a"), "name": person_dn("nobody")}));
    // The group, too, which waits as a whole: its class demands a member.
    output.reports(&json!({"stream": "groups", "dn": group_dn("ghosts"), "name": person_dn("ghost")}));
    assert_eq!(values(&slapd, &person_dn("a"), "manager"), set(&[person_dn("nobody")]));
    assert_eq!(values(&slapd, &person_dn("a"), "seealso"), set(&["cn=x,dc=elsewhere".to_owned()]));
    assert_eq!(values(&slapd, &group_dn("ghosts"), "member"), set(&[person_dn("ghost")]));
    // What names nothing already is no news.
    let output = done(run(&config, &records));
    output.stderr.does_not_report(&json!({}));
}

#[test]
fn a_later_record_of_the_entry_has_the_last_word() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let records = [
        person("a", &json!({"manager": person_dn("z"), "description": "one"})),
        person("a", &json!({"manager": person_dn("b"), "description": "two"})),
        person("b", &json!({})),
        person("z", &json!({})),
        person("c", &json!({"manager": person_dn("y")})),
        json!({"type": "RECORD", "stream": "people", "record": {"dn": person_dn("c"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}}),
        person("y", &json!({})),
    ];
    done(run(&config, &records));
    assert_eq!(values(&slapd, &person_dn("a"), "manager"), set(&[person_dn("b")]));
    assert_eq!(values(&slapd, &person_dn("a"), "description"), set(&["two".to_owned()]));
    assert!(!slapd.dump().contains_key(&person_dn("c")));
}

#[test]
fn a_state_waits_for_what_is_held_back() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    // The last entry to come is refused: what waits for it is not done.
    let mut messages = schemas();
    messages.push(json!({"type": "STATE", "value": {"n": 0}}));
    messages.push(person("a", &json!({"manager": person_dn("b")})));
    messages.push(json!({"type": "STATE", "value": {"n": 1}}));
    let mut wrong = person("b", &json!({}));
    wrong["record"]["objectClass"] = json!(["noSuchClass"]);
    messages.push(wrong);
    let output = Run::target(&config).messages(&messages).run();
    let output = output.exits(1);
    assert!(!output.stdout_text().contains("{\"n\":1}"), "{}", output.stdout_text());
    // With that record rejected the value is written at the end.
    let dir = scratch();
    let skip = with(&config, &json!({"on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")}));
    let output = Run::target(&skip).messages(&messages).run().exits(4);
    assert!(output.stdout_text().ends_with("{\"n\":1}\n"), "{}", output.stdout_text());
    assert_eq!(values(&slapd, &person_dn("a"), "manager"), set(&[person_dn("b")]));
}

#[test]
fn a_group_that_would_lose_its_last_member() {
    let nobody = person_dn("nobody");
    let start = || {
        let slapd = slapd();
        let both = json!([person_dn("a"), person_dn("b")]);
        done(run(
            &config(&slapd, &json!({})),
            &[
                person("a", &json!({})),
                person("b", &json!({})),
                person("nobody", &json!({})),
                group("g", &both),
            ],
        ));
        slapd
    };
    let empty = || [group("g", &json!([]))];
    let slapd = start();
    let marks = slapd.change_marks();
    run(&config(&slapd, &json!({})), &empty())
        .exits(1)
        .reports(&json!({"stream": "groups", "line": 3}))
        .says("empty_group");
    run(&config(&slapd, &json!({"empty_group": "fail"})), &[group("new", &Value::Null)])
        .exits(1)
        .says("empty_group");
    run(&config(&slapd, &json!({"empty_group": "keep_lst"})), &empty())
        .exits(2)
        .reports_setting("mapping_rules.groups.empty_group");
    assert_untouched(&slapd, &marks);

    let keep = config(&slapd, &json!({"empty_group": "keep_last"}));
    done(run(&keep, &empty())).counts(&[("modified", 1)]);
    assert_eq!(values(&slapd, &group_dn("g"), "member").len(), 1);
    let marks = slapd.change_marks();
    done(run(&keep, &empty())).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &marks);

    let placeholder = config(&slapd, &json!({"empty_group": nobody}));
    done(run(&placeholder, &[group("g", &json!([])), group("new", &json!(null))]))
        .counts(&[("added", 1), ("modified", 1)]);
    assert_eq!(values(&slapd, &group_dn("g"), "member"), set(std::slice::from_ref(&nobody)));
    assert_eq!(values(&slapd, &group_dn("new"), "member"), set(std::slice::from_ref(&nobody)));
    done(run(&placeholder, &[group("g", &json!([person_dn("b")]))])).counts(&[("modified", 1)]);
    assert_eq!(values(&slapd, &group_dn("g"), "member"), set(&[person_dn("b")]), "the placeholder goes");

    let delete = config(&slapd, &json!({"empty_group": "delete"}));
    done(run(&delete, &[group("g", &json!([])), group("never", &json!([]))]))
        .counts(&[("deleted", 1), ("unchanged", 1)]);
    assert!(!slapd.dump().contains_key(&group_dn("g")) && !slapd.dump().contains_key(&group_dn("never")));
    done(run(&delete, &[group("g", &json!([person_dn("a")]))])).counts(&[("added", 1)]);
}

#[test]
fn active_directory_which_takes_no_name_of_nothing_gets_none_too_early() {
    let server = Samba::start("");
    let base = server.suffix().to_owned();
    let dn = |name: &str| format!("cn={name},ou=hr,{base}");
    let config = with(&target_config(&server), &json!({"mapping_rules": {"groups": {}}}));
    let user = |name: &str, manager: Option<&str>| {
        json!({"type": "RECORD", "stream": "people", "record": {"dn": dn(name), "objectClass": ["user"], "cn": name, "sn": name,
            "manager": manager.map(dn)}})
    };
    let group = |members: &[&str]| {
        json!({"type": "RECORD", "stream": "groups", "record": {"dn": dn("g"), "objectClass": ["group"], "cn": "g",
            "member": members.iter().map(|m| dn(m)).collect::<Vec<_>>()}})
    };
    let records = [group(&["a", "b"]), user("a", Some("b")), user("b", Some("a"))];
    done(run(&config, &records))
        .stream_counts("groups", &[("added", 1)])
        .stream_counts("people", &[("added", 2)]);
    let lower =
        |texts: BTreeSet<String>| texts.into_iter().map(|t| t.to_lowercase()).collect::<BTreeSet<_>>();
    assert_eq!(lower(values(&server, &dn("g"), "member")), lower(set(&[dn("a"), dn("b")])));
    assert_eq!(lower(values(&server, &dn("a"), "manager")), lower(set(&[dn("b")])));
    done(run(&config, &records)).counts(&[("unchanged", 3)]);
    run(&config, &[group(&["a", "ghost"])])
        .exits(1)
        .reports(&json!({"stream": "groups", "dn": dn("g"), "name": dn("ghost")}));
}

#[test]
fn a_file_has_its_values_in_the_order_in_which_they_came() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let units = [unit(&format!("ou=p,{BASE}")), unit(&format!("ou=g,{BASE}"))].concat();
    std::fs::write(&file, format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n{units}")).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    let names = ["c", "a", "b"];
    let members: Vec<String> = names.iter().map(|n| person_dn(n)).collect();
    let records = [
        person("a", &json!({})),
        group("g", &json!(members)),
        person("b", &json!({})),
        person("c", &json!({})),
    ];
    done(run(&config, &records)).stream_counts("groups", &[("added", 1), ("modified", 0)]);
    let text = std::fs::read_to_string(&file).unwrap();
    let found: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("member: ")).collect();
    assert_eq!(found, members);
}

/// A message has a DN as the configuration or the record spells it, never by OIDs.
#[test]
fn an_entry_that_is_not_there_is_named_as_it_is_configured() {
    let slapd = slapd();
    let nobody = format!("CN=Nobody,ou=none,{BASE}");
    let config = config(&slapd, &json!({"empty_group": nobody}));
    let output = done(run(&config, &[group("g", &json!([]))]));
    output.logs(&json!({"level": "warning", "name": nobody})).stderr.entries().iter().for_each(|entry| {
        assert!(!entry.to_string().contains("2.5.4.3"), "{entry}");
    });
}
