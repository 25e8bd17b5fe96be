//! `unique` and `next`: values that are chosen when an entry is made, kept afterwards, and that no two entries have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::{Output, Program, Run, read_text};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::rng::{Rng, operations, seed};
use crate::support::{apply, assert_untouched, no_panic, target_config, unit, with};

mod concurrent;

const USERS: &str = "ou=users,dc=example,dc=test";
const GUESTS: &str = "ou=guests,dc=example,dc=test";

fn slapd_with(more: SlapdOptions, seed: &str) -> Slapd {
    let indexed = format!("index employeeNumber,uidNumber eq\n{}", more.database_conf);
    let options = SlapdOptions { database_conf: indexed, ..more };
    Slapd::start(options.seed(unit(USERS) + &unit(GUESTS) + seed))
}

fn slapd() -> Slapd {
    slapd_with(SlapdOptions::default(), "")
}

/// People named by their names, with a login and a number.
fn rule(more: &Value) -> Value {
    let rule = json!({
        "dn_template": "cn={cn},ou={place},dc=example,dc=test", "match": "(employeeNumber={id})",
        "object_classes": ["inetOrgPerson", "posixAccount"],
        "attribute_mapping": {"id": "employeeNumber", "first": "givenName", "last": "sn"},
        "unique": {"cn": ["{first} {last}", "{first} {last} {n}"],
            "uid": ["{first|ascii|lower|left:1}{last|ascii|lower|left:6}", "{first|ascii|lower|left:2}{last|ascii|lower|left:5}",
                    "{first|ascii|lower|left:1}{last|ascii|lower|left:5}{n}"]},
        "next": {"uidNumber": {"min": 10_000, "max": 59_999}},
        "values": {"homeDirectory": "/home/{uid}", "mail": "{uid}@example.test", "gidNumber": "{uidNumber}"}});
    with(&rule, more)
}

fn config(server: &Server, more: &Value) -> Value {
    with(&target_config(server), &json!({"mapping_rules": {"p": rule(more)}}))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "first": text, "last": text, "place": text, "_sdc_deleted_at": text}}})
}

fn person(id: usize, first: &str, last: &str, place: &str) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": {"id": id.to_string(), "first": first, "last": last, "place": place}})
}

fn gone(id: usize) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": {"id": id.to_string(), "_sdc_deleted_at": "2026-11-30T00:00:00Z"}})
}

fn messages(records: &[Value]) -> Vec<Value> {
    let mut all = vec![schema()];
    all.extend_from_slice(records);
    all.push(json!({"type": "STATE", "value": {"n": 1}}));
    all
}

fn run(config: &Value, records: &[Value]) -> Output {
    let output = Run::target(config).messages(&messages(records)).timeout(Duration::from_secs(300)).run();
    no_panic(&output);
    output
}

/// The values of the entries with an `employeeNumber`, by that: DN, and attributes.
fn people(tree: &Tree) -> BTreeMap<String, (String, BTreeMap<String, String>)> {
    let text = |values: &BTreeSet<Vec<u8>>| {
        let all: Vec<String> = values.iter().map(|v| String::from_utf8(v.clone()).unwrap()).collect();
        all.join("|")
    };
    let mut people = BTreeMap::new();
    for (dn, attributes) in tree {
        let Some(number) = attributes.get("employeenumber") else { continue };
        let values = attributes.iter().map(|(name, values)| (name.clone(), text(values))).collect();
        assert!(people.insert(text(number), (dn.clone(), values)).is_none(), "{dn} is there twice");
    }
    people
}

const NAMES: [&str; 7] =
    ["cn", "uid", "uidNumber", "employeeNumber", "homeDirectory", "mail", "sAMAccountName"];

fn all_people(server: &Server) -> BTreeMap<String, (String, BTreeMap<String, String>)> {
    people(&server.dump_below(server.suffix(), &NAMES))
}

/// Panics if two entries have the same value of an attribute.
#[track_caller]
fn no_two_alike(people: &BTreeMap<String, (String, BTreeMap<String, String>)>, attribute: &str) {
    let mut seen = BTreeMap::new();
    for (number, (_, values)) in people {
        let value = values.get(attribute).unwrap_or_else(|| panic!("{number} has no {attribute}"));
        assert!(!value.contains('|'), "{number}: {attribute}: {value}");
        if let Some(other) = seen.insert(value.to_lowercase(), number) {
            panic!("{number} and {other} have {attribute}: {value}");
        }
    }
}

/// Random people of few names join, change their names, move and leave, in several runs.
fn random_namesakes(server: &Server, more: &Value, places: [&str; 2], attributes: &[&str], folded: bool) {
    let mut rng = Rng::new(seed(23));
    let config = config(server, more);
    let firsts = if folded { ["Ann", "ANN", "Ana"] } else { ["Ann", "\u{c4}nn", "ann"] };
    let lasts = ["Lee", "Lee-Smith-Jones", "Ng"];
    let mut there: BTreeMap<usize, (Value, usize)> = BTreeMap::new();
    let mut kept: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for _ in 0..4 {
        let mut records = Vec::new();
        for _ in 0..operations(25) {
            let id = rng.below(60) + 1;
            if there.contains_key(&id) && rng.chance(20) {
                there.remove(&id);
                kept.remove(&id.to_string());
                records.push(gone(id));
                continue;
            }
            let place = rng.below(2);
            let record = person(id, rng.pick::<&str>(&firsts), rng.pick::<&str>(&lasts), places[place]);
            there.insert(id, (record.clone(), place));
            records.retain(|other: &Value| other["record"]["id"] != record["record"]["id"]);
            records.push(record);
        }
        run(&config, &records).succeeds();
        let now = all_people(server);
        assert_eq!(now.len(), there.len());
        for attribute in attributes {
            no_two_alike(&now, attribute);
        }
        for (number, (_, values)) in &now {
            let names: BTreeMap<String, String> =
                attributes.iter().map(|a| ((*a).to_owned(), values[*a].clone())).collect();
            if let Some(before) = kept.insert(number.clone(), names.clone()) {
                assert_eq!(before, names, "{number} keeps its names");
            }
        }
        let marks = server.change_marks();
        let all: Vec<Value> = there.values().map(|(record, _)| record.clone()).collect();
        run(&config, &all).succeeds().counts(&[("unchanged", u64::try_from(all.len()).unwrap())]);
        assert_untouched(server, &marks);
    }
}

#[test]
fn random_namesakes_have_names_of_their_own_and_keep_them_on_slapd() {
    let slapd = slapd();
    random_namesakes(&slapd, &json!({}), ["users", "guests"], &["cn", "uid", "uidnumber"], false);
    for (_, values) in all_people(&slapd).into_values() {
        assert_eq!(values["homedirectory"], format!("/home/{}", values["uid"]));
        assert_eq!(values["mail"], format!("{}@example.test", values["uid"]));
    }
}

#[test]
fn random_namesakes_have_names_of_their_own_and_keep_them_on_389() {
    let server = Ds389::start(&Ds389Options::default().seed(unit(USERS) + &unit(GUESTS)));
    random_namesakes(&server, &json!({}), ["users", "guests"], &["cn", "uid", "uidnumber"], false);
}

#[test]
fn random_namesakes_have_names_of_their_own_and_keep_them_on_active_directory() {
    let samba = Samba::start("");
    let suffix = samba.suffix().to_owned();
    samba.ldapadd(unit(&format!("OU=users,{suffix}")) + &unit(&format!("OU=guests,{suffix}")));
    let more = json!({"dn_template": format!("CN={{cn}},OU={{place}},{suffix}"), "object_classes": ["user"], "values": {},
        "unique": {"cn": ["{first} {last}", "{first} {last} {n}"],
            "sAMAccountName": ["{first|left:1}{last|ascii|lower|left:19}", "{first|ascii|lower|left:2}{last|left:18}", "{first}{n}"]}});
    random_namesakes(&samba, &more, ["users", "guests"], &["cn", "samaccountname", "uidnumber"], true);
}

#[test]
fn the_first_free_one_is_taken_in_the_order_of_the_list() {
    let slapd = slapd();
    let config = with(&config(&slapd, &json!({})), &json!({"max_in_flight": 1}));
    let john = |id| person(id, "John", "Smith", "users");
    run(&config, &[john(1), john(2), john(3), john(4)]).succeeds().counts(&[("added", 4)]);
    let of = |id: usize, attribute: &str| all_people(&slapd)[&id.to_string()].1[attribute].clone();
    let all = |attribute: &str| [1, 2, 3, 4].map(|id| of(id, attribute));
    assert_eq!(all("cn"), ["John Smith", "John Smith 2", "John Smith 3", "John Smith 4"]);
    assert_eq!(all("uid"), ["jsmith", "josmith", "jsmith2", "jsmith3"]);
    assert_eq!(all("uidnumber"), ["10000", "10001", "10002", "10003"]);
    // What was freed is given again, by the next run: the number as well as the names.
    run(&config, &[gone(2)]).succeeds().counts(&[("deleted", 1)]);
    run(&config, &[john(5), john(6)]).succeeds().counts(&[("added", 2)]);
    assert_eq!([of(5, "cn"), of(6, "cn")], ["John Smith 2", "John Smith 5"]);
    assert_eq!([of(5, "uid"), of(6, "uid")], ["josmith", "jsmith4"]);
    assert_eq!([of(5, "uidnumber"), of(6, "uidnumber")], ["10001", "10004"]);
    // A rename by hand frees a name; the entry is found by its number, and keeps the name that it got.
    slapd.ldapmodify(format!(
        "dn: cn=John Smith,{USERS}\nchangetype: modrdn\nnewrdn: cn=Jack\ndeleteoldrdn: 1\n"
    ));
    run(&config, &[john(1), john(7)]).succeeds().counts(&[("unchanged", 1), ("added", 1)]);
    assert_eq!([of(1, "cn"), of(7, "cn")], ["Jack", "John Smith"]);
    // She marries and moves, and keeps her login and her name.
    run(&config, &[person(1, "Joan", "Miller", "guests")]).succeeds().counts(&[("renamed", 1)]);
    let (dn, values) = &all_people(&slapd)["1"];
    assert_eq!(dn, &format!("cn=jack,{GUESTS}"));
    assert_eq!([&values["uid"], &values["homedirectory"]], ["jsmith", "/home/jsmith"]);
}

#[test]
fn an_existing_entry_without_a_value_gets_one_and_one_with_a_value_keeps_it() {
    let entry = |id: usize, more: &str| {
        format!(
            "dn: cn=p{id},{USERS}\nobjectClass: inetOrgPerson\ncn: p{id}\nsn: {id}\nemployeeNumber: {id}\n{more}\n"
        )
    };
    let slapd = slapd_with(
        SlapdOptions::default(),
        &[entry(1, "uid: own\n"), entry(2, ""), entry(3, "uid: jsmith\nuid: other\n")].concat(),
    );
    let config = config(&slapd, &json!({"object_classes": ["inetOrgPerson", "posixAccount"]}));
    let all = [1, 2, 3].map(|id| person(id, "John", "Smith", "users"));
    run(&config, &all).succeeds().counts(&[("modified", 3)]);
    let people = all_people(&slapd);
    let uids = ["1", "2", "3"].map(|id| people[id].1["uid"].clone());
    assert_eq!(uids, ["own", "josmith", "jsmith|other"]);
    assert_eq!(people["2"].0, format!("cn=p2,{USERS}"));
    no_two_alike(&people, "uidnumber");
    let marks = slapd.change_marks();
    run(&config, &all).succeeds().counts(&[("unchanged", 3)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_rule_whose_choice_cannot_be_kept_is_refused() {
    let slapd = slapd();
    let marks = slapd.change_marks();
    for (more, setting) in [
        (json!({"match": null}), "match"),
        (json!({"match": "(uid={uid})"}), "unique.uid"),
        (json!({"policies": {"uid": "force"}}), "unique.uid"),
        (json!({"attribute_mapping": {"id": ["employeeNumber", "uid"], "last": "sn"}}), "unique.uid"),
        (json!({"defaults": {"uidNumber": "7"}}), "next.uidNumber"),
        (json!({"unique": {"cn": ["{first}", "{frist}{n}"]}}), "unique.cn"),
        (json!({"unique": {"cn": ["{first}{uid}"], "uid": ["{first}"]}}), "unique.cn"),
        (json!({"unique": {"cn": ["{first}{n}"], "jpegPhoto": ["{first}"]}}), "unique.jpegPhoto"),
        (json!({"unique": {"cn": ["{first}{n}"], "manager": ["{first}"]}}), "unique.manager"),
        (json!({"next": {"uidNumber": {"min": 2, "max": 1}}}), "next.uidNumber"),
    ] {
        run(&config(&slapd, &more), &[person(1, "a", "b", "users")])
            .exits(2)
            .reports_setting(&format!("mapping_rules.p.{setting}"));
    }
    // A DN that does not depend on a choice finds the entry.
    let more = json!({"match": null, "dn_template": format!("employeeNumber={{id}},{USERS}")});
    let config = config(&slapd, &more);
    assert_untouched(&slapd, &marks);
    run(&config, &[person(1, "a", "b", "users"), person(2, "a", "b", "users")])
        .succeeds()
        .counts(&[("added", 2)]);
    run(&config, &[person(1, "x", "b", "users")]).succeeds().counts(&[("modified", 1)]);
    no_two_alike(&all_people(&slapd), "uid");
}

#[test]
fn where_nothing_is_free_the_record_is_refused_and_the_end_of_a_range_is_announced() {
    let slapd = slapd();
    let dir = scratch();
    let rejects = dir.path().join("r.jsonl");
    let more = json!({"unique": {"cn": ["{first} {last}", "{last} {first}"], "uid": ["u{id}"]},
        "next": {"uidNumber": {"min": 5, "max": 14}}});
    let config = with(&config(&slapd, &more), &json!({"on_error": "skip", "reject_file": rejects}));
    let all = [1, 2, 3].map(|id| person(id, "Ann", "Lee", "users"));
    let output = run(&config, &all).exits(4).counts(&[("added", 2), ("rejected", 1)]);
    let reject: Value = read_text(&rejects)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .find(|l: &Value| l["type"] == "REJECT")
        .unwrap();
    for tried in ["unique.cn", "`Ann Lee`", "`Lee Ann`"] {
        assert!(reject["error"].as_str().or(reject["reason"].as_str()).unwrap().contains(tried), "{reject}");
    }
    let warned =
        |output: &Output| output.stderr.about(&json!({"setting": "mapping_rules.p.next.uidNumber"})).len();
    assert_eq!(warned(&output), 0);
    let more: Vec<Value> = (10..20).map(|id| person(id, &format!("A{id}"), "Lee", "users")).collect();
    let output = run(&config, &more).exits(4);
    assert_eq!(warned(&output), 1);
    let numbers: BTreeSet<String> =
        all_people(&slapd).into_values().map(|(_, v)| v["uidnumber"].clone()).collect();
    assert!(numbers.iter().all(|n| (5..=14).contains(&n.parse::<u32>().unwrap())), "{numbers:?}");
    no_two_alike(&all_people(&slapd), "uidnumber");
}

#[test]
fn a_value_that_the_bound_user_may_not_search_is_not_taken_for_free() {
    let access = format!(
        "access to dn.subtree=\"{GUESTS}\" attrs=uid by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" none by * break\n\
         access to * by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" manage by * break"
    );
    let hidden = format!("dn: cn=x,{GUESTS}\nobjectClass: inetOrgPerson\ncn: x\nsn: x\nuid: jsmith\n\n");
    let options = SlapdOptions { access, ..SlapdOptions::with_users() };
    let slapd = slapd_with(options, &hidden);
    let reader = json!({"bind_dn": slapd.reader_dn(), "bind_password": "reader-pw"});
    let marks = slapd.change_marks();
    let config = with(&config(&slapd, &json!({})), &reader);
    run(&config, &[person(1, "John", "Smith", "users")])
        .exits(1)
        .reports(&json!({"attribute": "uid", "setting": "bind_dn"}));
    assert_untouched(&slapd, &marks);
    // Where it need not be unique, the value is given.
    let more = rule(&json!({}));
    let mut unique = more["unique"].clone();
    unique["uid"] = json!({"templates": unique["uid"], "base": USERS});
    let config = with(&config, &json!({"mapping_rules": {"p": rule(&json!({"unique": unique}))}}));
    run(&config, &[person(1, "John", "Smith", "users")]).succeeds().counts(&[("added", 1)]);
}

#[test]
fn what_the_server_keeps_unique_elsewhere_is_passed_over() {
    let taken = |uid: &str| {
        format!("dn: cn={uid},{GUESTS}\nobjectClass: inetOrgPerson\ncn: {uid}\nsn: x\nuid: {uid}\n\n")
    };
    let options = SlapdOptions {
        database_conf: "overlay unique\nunique_uri ldap:///?uid?sub?\n".to_owned(),
        global_conf: "moduleload unique\n".to_owned(),
        ..SlapdOptions::default()
    };
    let slapd = slapd_with(options, &[taken("jsmith"), taken("jsmith2")].concat());
    let unique = json!({"cn": ["{first} {last}", "{first} {last} {n}"],
        "uid": {"templates": ["jsmith", "jsmith{n}"], "base": USERS}});
    let config = config(&slapd, &json!({"unique": unique}));
    run(&config, &[person(1, "John", "Smith", "users")]).succeeds();
    let people = all_people(&slapd);
    assert_eq!(
        [&people["1"].1["uid"], &people["1"].1["cn"], &people["1"].1["uidnumber"]],
        ["jsmith3", "John Smith", "10000"]
    );
}

#[test]
fn a_dn_that_another_entry_has_is_not_adopted_but_passed_over() {
    let other =
        format!("dn: cn=John Smith,{USERS}\nobjectClass: inetOrgPerson\ncn: John Smith\nsn: Smith\n\n");
    let slapd = slapd_with(SlapdOptions::default(), &other);
    run(&config(&slapd, &json!({})), &[person(1, "John", "Smith", "users")])
        .succeeds()
        .counts(&[("added", 1)]);
    assert_eq!(all_people(&slapd)["1"].1["cn"], "John Smith 2");
}

#[test]
fn a_plan_shows_the_values_and_apply_leaves_what_is_taken_since() {
    let slapd = slapd();
    let dir = scratch();
    let (plan, back) = (dir.path().join("plan.ldif"), dir.path().join("undo.ldif"));
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"max_changes": 1, "plan_file": plan, "undo_file": back, "max_in_flight": 1}),
    );
    let before = slapd.dump();
    let all = [
        person(1, "John", "Smith", "users"),
        person(2, "John", "Smith", "users"),
        person(3, "Ann", "Lee", "users"),
    ];
    let shown = Run::target(&config).messages(&messages(&all)).plan("ldif").run();
    for value in
        ["cn: John Smith 2\n", "uid: josmith\n", "uidNumber: 10001\n", "homeDirectory: /home/josmith\n"]
    {
        assert!(shown.stdout_text().contains(value), "{value}: {}", shown.stdout_text());
    }
    run(&config, &all).exits(5);
    // Another entry gets one of the values, with another DN.
    slapd.ldapadd(format!("dn: cn=z,{GUESTS}\nobjectClass: inetOrgPerson\ncn: z\nsn: z\nuid: josmith\n\n"));
    apply(&config, &plan, &[]).exits(4).logs(&json!({"made": 2, "left_alone": 1}));
    let people = all_people(&slapd);
    assert_eq!(people.keys().collect::<Vec<_>>(), ["1", "3"]);
    // The next run gives the next one.
    let free = with(&config, &json!({"max_changes": null, "plan_file": null, "undo_file": null}));
    run(&free, &all).succeeds().counts(&[("added", 1), ("unchanged", 2)]);
    assert_eq!(all_people(&slapd)["2"].1["uid"], "jsmith2");
    run(&free, &[gone(2)]).succeeds();
    slapd.ldapmodify(format!("dn: cn=z,{GUESTS}\nchangetype: delete\n"));
    let undo =
        Run::bare(Program::Target).arg("undo").arg(back.to_str().unwrap()).file("--config", &free).run();
    undo.succeeds();
    assert_same("before", &before, "undone", &slapd.dump());
}

#[test]
fn a_file_gets_chosen_values_as_well() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    std::fs::write(&file, unit(USERS)).unwrap();
    let config =
        json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"p": rule(&json!({}))}});
    let all: Vec<Value> = (1..=50).map(|id| person(id, "John", "Smith", "users")).collect();
    run(&config, &all).succeeds().counts(&[("added", 50)]);
    let text = std::fs::read(&file).unwrap();
    let now = people(&ldap_tests::ldif::parse(&text));
    assert_eq!(now.len(), 50);
    for attribute in ["cn", "uid", "uidnumber"] {
        no_two_alike(&now, attribute);
    }
    run(&config, &all).succeeds().counts(&[("unchanged", 50)]);
    assert_eq!(std::fs::read(&file).unwrap(), text);
}
