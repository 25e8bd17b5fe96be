//! `protect`, `protect_defaults` and `write_base`: what no run, no plan and no undo changes.

use std::fmt::Write as _;
use std::path::Path;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same, normalize_dn};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, lines, target_config, unit, with};

mod active_directory;
mod hidden;
mod rehearsal;

const SUFFIX: &str = "dc=example,dc=test";
const IN: &str = "ou=in,dc=example,dc=test";
const OUT: &str = "ou=out,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
        "title": texts, "ou": texts, "member": texts, "description": texts, "sAMAccountName": text}}})
}

fn record(dn: &str, more: &Value) -> Value {
    json!({"type": "RECORD", "stream": "all", "record": with(more, &json!({"dn": dn}))})
}

/// A record of a person with this title.
fn person(dn: &str, title: &str) -> Value {
    let uid = dn.split(',').next().unwrap().split_once('=').unwrap().1;
    record(
        dn,
        &json!({"objectClass": ["inetOrgPerson"], "uid": [uid], "cn": ["x"], "sn": ["x"], "title": [title]}),
    )
}

fn gone(dn: &str) -> Value {
    record(dn, &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}))
}

/// Units `in`, `out` and, in `in`, `frozen`, `crew` and `leavers`, each with people; and a group in each of the first two.
fn seed() -> String {
    let mut text = [IN, OUT].map(unit).concat();
    for name in ["frozen", "crew", "leavers"] {
        text.push_str(&unit(&format!("ou={name},{IN}")));
    }
    for (uid, home, title) in [
        ("a", IN.to_owned(), "old"),
        ("b", IN.to_owned(), "old"),
        ("pinned", IN.to_owned(), "old"),
        ("boss", format!("ou=crew,{IN}"), "chief"),
        ("mate", format!("ou=crew,{IN}"), "old"),
        ("cold", format!("ou=frozen,{IN}"), "old"),
        ("far", OUT.to_owned(), "old"),
    ] {
        write!(
            text,
            "dn: uid={uid},{home}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: x\nsn: x\ntitle: {title}\nemployeeNumber: {}\n\n",
            uid.len()
        )
        .unwrap();
    }
    for home in [IN, OUT] {
        write!(text, "dn: cn=g,{home}\nobjectClass: groupOfNames\ncn: g\nmember: uid=a,{IN}\n\n").unwrap();
    }
    text
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(seed()))
}

fn ds389() -> Ds389 {
    Ds389::start(&Ds389Options::default().seed(seed()))
}

/// What is refused of these messages: the DN and the setting of each reject.
fn rejected(config: &Value, messages: &[Value], dir: &Path) -> (Output, Vec<(String, String)>) {
    let file = dir.join("rejects.jsonl");
    let _ = std::fs::remove_file(&file);
    let config = with(config, &json!({"on_error": "skip", "reject_file": file}));
    let mut all = vec![schema()];
    all.extend_from_slice(messages);
    let output = Run::target(&config).stdin(lines(&all)).run();
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let rejects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rejects = rejects.filter(|line| line["type"] == "REJECT").map(|line| {
        assert!(line["code"].is_null(), "no server was asked: {line}");
        let of = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (normalize_dn(&of("dn")), of("setting"))
    });
    let rejects = rejects.collect();
    (output, rejects)
}

/// The same of a plan, which changes nothing: how many records it would refuse.
fn planned(server: &Server, config: &Value, messages: &[Value]) -> u64 {
    let marks = server.change_marks();
    let mut all = vec![schema()];
    all.extend_from_slice(messages);
    let output = Run::target(config).arg("--dry-run").stdin(lines(&all)).run();
    assert_untouched(server, &marks);
    output.stderr.summary()["rejected"].as_u64().unwrap_or_default()
}

fn each_kind_stays_within_write_base(server: &Server) {
    let dir = scratch();
    let before = server.dump();
    let base = with(&target_config(server), &json!({"write_base": "OU = In, DC=example,dc=TEST"}));
    let rule = |rule: Value| {
        with(
            &base,
            &json!({"mapping_rules": {"all": with(&json!({"object_classes": ["inetOrgPerson"]}), &rule)}}),
        )
    };
    let outside = [
        (person(&format!("uid=new,{OUT}"), "t"), format!("uid=new,{OUT}")),
        (person(&format!("uid=far,{OUT}"), "new"), format!("uid=far,{OUT}")),
        (gone(&format!("uid=far,{OUT}")), format!("uid=far,{OUT}")),
        (
            person(&format!("uid=new,ou=made,ou=alas,{SUFFIX}"), "t"),
            format!("uid=new,ou=made,ou=alas,{SUFFIX}"),
        ),
        (gone(IN), IN.to_owned()),
    ];
    let messages: Vec<Value> = outside.iter().map(|(message, _)| message.clone()).collect();
    let (output, rejects) = rejected(&base, &messages, dir.path());
    output.exits(4);
    let mut expected: Vec<String> = outside.iter().map(|(_, dn)| normalize_dn(dn)).collect();
    let mut found: Vec<String> = rejects.iter().map(|(dn, _)| dn.clone()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(rejects.iter().all(|(_, setting)| setting == "write_base"), "{rejects:?}");
    assert_eq!(planned(server, &base, &messages), messages.len() as u64);
    // `fail`: the first one ends the run, and its setting is a field of the log.
    let output = Run::target(&base).stdin(lines(&[schema(), messages[0].clone()])).run().exits(1);
    output.reports(&json!({"setting": "write_base", "dn": format!("uid=new,{OUT}"), "code": null}));
    // A template, a rewrite, a place for leavers, and one that would have to be made.
    let one = [person("uid=a,ou=in,dc=example,dc=test", "new")];
    let ways = [
        (rule(json!({"dn_template": format!("uid={{uid}},{OUT}"), "match": "(uid={uid})"})), one.to_vec()),
        (with(&base, &json!({"dn_rewrite": [{"from": IN, "to": OUT}]})), one.to_vec()),
        (rule(json!({"on_delete": {"move_to": OUT}})), vec![gone(&format!("uid=a,{IN}"))]),
        (
            rule(json!({"on_delete": {"move_to": format!("ou=made,{OUT}")}})),
            vec![gone(&format!("uid=a,{IN}"))],
        ),
        (rule(json!({"on_delete": "tree"})), vec![gone(OUT)]),
        (rule(json!({"on_delete": {"set": {"title": "x"}}})), vec![gone(&format!("uid=far,{OUT}"))]),
    ];
    for (config, messages) in ways {
        let (output, rejects) = rejected(&config, &messages, dir.path());
        output.exits(4);
        assert_eq!(rejects.iter().map(|(_, setting)| setting.as_str()).collect::<Vec<_>>(), ["write_base"]);
        assert_eq!(planned(server, &config, &messages), 1);
    }
    assert_same("before", &before, "after", &server.dump());
    // What stays within goes on: also a parent that is made there.
    let messages = [person(&format!("uid=new,ou=made,{IN}"), "t"), person(&format!("uid=a,{IN}"), "new")];
    let (output, rejects) = rejected(&base, &messages, dir.path());
    output.succeeds();
    assert_eq!(rejects, []);
    assert_eq!(server.dump().len(), before.len() + 2);
}

fn each_kind_leaves_protected_entries_alone(server: &Server) {
    let dir = scratch();
    let before = server.dump();
    let base = with(
        &target_config(server),
        &json!({"protect": {"filter": "(title=CHIEF)", "dns": [format!("UID=Pinned, {IN}")],
            "below": format!("ou=frozen,{IN}")}}),
    );
    let rule = |rule: Value| {
        with(
            &base,
            &json!({"mapping_rules": {"all": with(&json!({"object_classes": ["inetOrgPerson"]}), &rule)}}),
        )
    };
    let crew = format!("ou=crew,{IN}");
    let boss = format!("uid=boss,{crew}");
    let cases: [(Value, Value, &str); 12] = [
        (base.clone(), person(&boss, "less"), "protect.filter"),
        (base.clone(), gone(&boss), "protect.filter"),
        (base.clone(), person(&format!("uid=pinned,{IN}"), "new"), "protect.dns"),
        (base.clone(), gone(&format!("uid=pinned,{IN}")), "protect.dns"),
        (base.clone(), person(&format!("uid=cold,ou=frozen,{IN}"), "new"), "protect.below"),
        (base.clone(), person(&format!("uid=new,ou=frozen,{IN}"), "new"), "protect.below"),
        (base.clone(), gone(&format!("ou=frozen,{IN}")), "protect.below"),
        (rule(json!({"on_delete": "tree"})), gone(&crew), "protect.filter"),
        (rule(json!({"on_delete": {"move_to": format!("ou=leavers,{IN}")}})), gone(&boss), "protect.filter"),
        (rule(json!({"on_delete": {"move_to": format!("ou=made,{IN}")}})), gone(&crew), "protect.filter"),
        (rule(json!({"on_delete": {"set": {"title": "x"}}})), gone(&boss), "protect.filter"),
        (
            rule(json!({"dn_template": format!("uid={{uid}},{IN}"), "match": "(uid={uid})"})),
            person(&boss, "chief"),
            "protect.filter",
        ),
    ];
    for (config, message, setting) in &cases {
        let message = std::slice::from_ref(message);
        let (output, rejects) = rejected(config, message, dir.path());
        output.exits(4);
        assert_eq!(rejects.iter().map(|(_, s)| s.as_str()).collect::<Vec<_>>(), [*setting], "{message:?}");
        assert_eq!(planned(server, config, message), 1, "{message:?}");
    }
    assert_same("before", &before, "after", &server.dump());
    // More than are asked one by one, and what is not protected among them.
    let mut all: Vec<Value> = (0..40).map(|n| person(&format!("uid=n{n},{crew}"), "old")).collect();
    all.extend((0..20).flat_map(|n| {
        [person(&boss, &format!("t{n}")), person(&format!("uid=mate,{crew}"), &format!("t{n}"))]
    }));
    let (output, rejects) = rejected(&base, &all, dir.path());
    output.exits(4);
    assert_eq!(rejects, vec![(normalize_dn(&boss), "protect.filter".to_owned()); 20]);
    let after = server.dump();
    assert_eq!(after.len(), before.len() + 40);
    assert_eq!(after[&normalize_dn(&boss)], before[&normalize_dn(&boss)]);
    assert_ne!(
        after[&normalize_dn(&format!("uid=mate,{crew}"))],
        before[&normalize_dn(&format!("uid=mate,{crew}"))]
    );
}

#[test]
fn no_change_leaves_write_base_on_openldap() {
    each_kind_stays_within_write_base(&slapd());
}

#[test]
fn no_change_leaves_write_base_on_389() {
    each_kind_stays_within_write_base(&ds389());
}

#[test]
fn protected_entries_are_left_alone_on_openldap() {
    each_kind_leaves_protected_entries_alone(&slapd());
}

#[test]
fn protected_entries_are_left_alone_on_389() {
    each_kind_leaves_protected_entries_alone(&ds389());
}

#[test]
fn the_user_of_the_run_and_what_is_above_it_and_the_bases_are_never_changed() {
    let access = "access to * by dn.exact=\"uid=a,ou=in,dc=example,dc=test\" write by * auth\n";
    let slapd = Slapd::start(SlapdOptions { access: access.into(), ..SlapdOptions::default().seed(seed()) });
    slapd.ldapmodify(format!(
        "dn: uid=a,{IN}\nchangetype: modify\nadd: userPassword\nuserPassword: a-pw\n-\n\n"
    ));
    let before = slapd.dump();
    let dir = scratch();
    let rule = json!({"mapping_rules": {"all": {"object_classes": ["inetOrgPerson"], "on_delete": "tree",
        "scope_base": OUT}}, "default_base_dn": format!("ou=crew,{IN}"), "protect_defaults": false,
        "bind_dn": format!("UID=A,{IN}"), "bind_password": "a-pw"});
    let config = with(&target_config(&slapd), &rule);
    let of_unit =
        |dn: &str| record(dn, &json!({"objectClass": ["organizationalUnit"], "description": ["x"]}));
    for (message, setting) in [
        (person(&format!("uid=a,{IN}"), "root"), "bind_dn"),
        (gone(&format!("uid=a,{IN}")), "bind_dn"),
        (of_unit(IN), "bind_dn"),
        (gone(IN), "bind_dn"),
        (of_unit(&format!("ou=crew,{IN}")), "default_base_dn"),
        (gone(&format!("ou=crew,{IN}")), "default_base_dn"),
        (of_unit(OUT), "mapping_rules.all.scope_base"),
        (gone(OUT), "mapping_rules.all.scope_base"),
    ] {
        let plain =
            with(&config, &json!({"mapping_rules": {"all": {"scope_base": OUT, "on_delete": "tree"}}}));
        let (output, rejects) = rejected(&plain, std::slice::from_ref(&message), dir.path());
        output.exits(4);
        assert_eq!(rejects.iter().map(|(_, s)| s.as_str()).collect::<Vec<_>>(), [setting], "{message}");
    }
    assert_same("before", &before, "after", &slapd.dump());
}

#[test]
fn a_base_that_the_run_makes_may_be_completed_by_it() {
    let slapd = Slapd::start(SlapdOptions::default());
    let dir = scratch();
    let base = format!("ou=imported,{SUFFIX}");
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"default_base_dn": base, "undo_file": file}));
    let before = slapd.dump();
    let of_base = record(
        &base,
        &json!({"objectClass": ["organizationalUnit"], "ou": ["imported"], "description": ["x"]}),
    );
    Run::target(&config)
        .stdin(lines(&[schema(), person(&format!("uid=z,{base}"), "t"), of_base]))
        .run()
        .succeeds();
    assert_eq!(slapd.dump().len(), before.len() + 2);
    // And its undo deletes it.
    undo(&config, &file).succeeds();
    assert_same("before", &before, "after", &slapd.dump());
}

fn undo(config: &Value, file: &Path) -> Output {
    Run::target(config).arg("undo").arg(file.to_str().unwrap()).run()
}

#[test]
fn an_undo_obeys_as_a_run_does() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let free = with(&target_config(&slapd), &json!({"undo_file": file}));
    let messages = [
        schema(),
        person(&format!("uid=a,{IN}"), "new"),
        person(&format!("uid=far,{OUT}"), "new"),
        gone(&format!("uid=b,{IN}")),
        person(&format!("uid=more,{OUT}"), "new"),
    ];
    Run::target(&free).stdin(lines(&messages)).run().succeeds();
    let after = slapd.dump();
    let plan = Run::target(&with(&free, &json!({"write_base": IN})));
    let plan = plan.arg("undo").arg(file.to_str().unwrap()).arg("--dry-run").run().exits(4);
    assert_eq!(plan.stdout_text().matches("\nchangetype: ").count(), 2, "{}", plan.stdout_text());
    undo(&with(&free, &json!({"protect": {"below": [IN, OUT]}})), &file).exits(4);
    assert_same("after", &after, "undone", &slapd.dump());
    let output =
        undo(&with(&free, &json!({"write_base": IN, "protect": {"filter": "(title=new)"}})), &file).exits(4);
    output.reports(&json!({"dn": format!("uid=far,{OUT}")}));
    let undone = slapd.dump();
    let outside = |tree: &Tree| -> Tree {
        tree.iter()
            .filter(|(dn, _)| !dn.contains("uid=b,"))
            .map(|(dn, entry)| (dn.clone(), entry.clone()))
            .collect()
    };
    assert_same("after", &outside(&after), "undone", &outside(&undone));
    assert!(undone.contains_key(&normalize_dn(&format!("uid=b,{IN}"))));
    // Without a journal's record, as it is.
    undo(&free, &file).succeeds();
}

#[test]
fn deletions_by_a_version_skip_protected_entries_and_count_them() {
    let slapd = slapd();
    let dir = scratch();
    let before = slapd.dump();
    for (on_delete, left) in [("delete", 2), ("tree", 2)] {
        let config = with(
            &target_config(&slapd),
            &json!({"process_activate_version": true, "protect": {"filter": "(title=chief)", "dns": format!("uid=pinned,{IN}")},
                "write_base": IN, "mapping_rules": {"all": {"object_classes": ["inetOrgPerson"], "scope_base": SUFFIX,
                "scope_filter": "(objectClass=inetOrgPerson)", "on_delete": on_delete}}}),
        );
        let mut kept = person(&format!("uid=a,{IN}"), "old");
        kept["version"] = json!(1);
        let messages = [
            kept,
            json!({"type": "ACTIVATE_VERSION", "stream": "all", "version": 1}),
            json!({"type": "STATE", "value": {}}),
        ];
        let (output, rejects) = rejected(&config, &messages, dir.path());
        let output = output.succeeds();
        assert_eq!(rejects, []);
        // In `in`: boss and pinned. Outside: far.
        output.stderr.stream_counts("all", &[("protected", left + 1)]);
        let there = slapd.dump();
        for dn in [format!("uid=boss,ou=crew,{IN}"), format!("uid=pinned,{IN}"), format!("uid=far,{OUT}")] {
            assert_eq!(there[&normalize_dn(&dn)], before[&normalize_dn(&dn)], "{dn}");
        }
        assert!(!there.contains_key(&normalize_dn(&format!("uid=b,{IN}"))));
    }
}

#[test]
fn a_group_that_may_not_be_corrected_after_a_rename_is_named() {
    let slapd = Slapd::start(SlapdOptions { memberof: true, ..SlapdOptions::default().seed(seed()) });
    let rule = json!({"object_classes": ["inetOrgPerson"], "dn_template": format!("uid={{uid}},{IN}"),
        "match": "(employeeNumber={number})", "attribute_mapping": {"number": "employeeNumber", "uid": "uid"},
        "values": {"cn": "x", "sn": "x"}});
    let group = json!({"object_classes": ["groupOfNames"], "dn_template": format!("cn={{cn}},{OUT}")});
    let config = with(
        &target_config(&slapd),
        &json!({"write_base": IN, "mapping_rules": {"people": rule, "groups": group}}),
    );
    let text = json!({"type": ["string", "null"]});
    let texts = json!({"type": ["array", "null"], "items": {"type": "string"}});
    let messages = [
        json!({"type": "SCHEMA", "stream": "groups", "key_properties": ["cn"], "schema": {"properties": {"cn": text, "member": texts}}}),
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["number"], "schema": {"properties": {"number": text, "uid": text}}}),
        // As it is; then the server renames the member in it.
        json!({"type": "RECORD", "stream": "groups", "record": {"cn": "g", "member": [format!("uid=a,{IN}")]}}),
        json!({"type": "RECORD", "stream": "people", "record": {"number": "77", "uid": "anna"}}),
    ];
    slapd.ldapmodify(format!(
        "dn: uid=a,{IN}\nchangetype: modify\nreplace: employeeNumber\nemployeeNumber: 77\n-\n\n"
    ));
    let output = Run::target(&config).stdin(lines(&messages)).run().succeeds();
    output
        .reports(&json!({"stream": "groups", "setting": "write_base", "dn": format!("cn=g,{OUT}")}))
        .reports(&json!({"entries": 1}));
    assert!(slapd.dump().contains_key(&normalize_dn(&format!("uid=anna,{IN}"))));
}

#[test]
fn what_protects_nothing_is_said() {
    let slapd = slapd();
    let marks = slapd.change_marks();
    let config = |more: &Value| with(&target_config(&slapd), more);
    for (settings, setting) in [
        (json!({"protect": {"filter": "(emploeeType=x)"}}), "protect.filter"),
        (json!({"protect": {"filter": "(title"}}), "protect.filter"),
        (json!({"protect": {"dns": ["nobody"]}}), "protect.dns"),
        (json!({"protect": {"under": []}}), "protect.under"),
        (json!({"write_base": []}), "write_base"),
        (json!({"write_bases": [IN]}), "write_bases"),
    ] {
        let output = Run::target(&config(&settings)).stdin(lines(&[schema()])).run().exits(2);
        output.reports_setting(setting);
    }
    let missing = format!("uid=nobody,{IN}");
    for (settings, fields) in [
        (json!({"protect": {"filter": "(title=nobody)"}}), json!({"setting": "protect.filter"})),
        (json!({"protect": {"dns": missing}}), json!({"setting": "protect.dns", "dn": missing})),
        (json!({"protect": {"below": [missing]}}), json!({"setting": "protect.below", "dn": missing})),
        (json!({"write_base": [missing]}), json!({"setting": "write_base", "dn": missing})),
        (json!({"write_base": IN, "default_base_dn": OUT}), json!({"setting": "default_base_dn", "dn": OUT})),
    ] {
        Run::target(&config(&settings)).stdin(lines(&[schema()])).run().succeeds().reports(&fields);
    }
    assert_untouched(&slapd, &marks);
}
