//! An entry or a unique value passes from one record to another within a run, in either order.

use std::fmt::Write as _;

use ldap_tests::ldif::{Attributes, Tree};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{lines, no_panic, state, target_config, unit, with};

pub(super) const BASE: &str = "dc=example,dc=test";

fn people(entries: &[(&str, &str, &str)]) -> String {
    let mut text: String = ["x", "y"].iter().map(|ou| unit(&format!("ou={ou},{BASE}"))).collect();
    for (ou, uid, number) in entries {
        let _ = write!(
            text,
            "dn: uid={uid},ou={ou},{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\nemployeeNumber: {number}\n\
             userPassword: secret\nmail: {uid}@example.test\n\n"
        );
    }
    text
}

/// A server that takes each `mail` once.
fn unique(entries: &[(&str, &str, &str)]) -> Slapd {
    let options = SlapdOptions {
        database_conf: "overlay unique\nunique_uri ldap:///?mail?sub?\n".to_owned(),
        global_conf: "moduleload unique\n".to_owned(),
        ..SlapdOptions::default()
    };
    Slapd::start(options.seed(people(entries)))
}

fn rule(ou: &str, more: &Value) -> Value {
    with(
        &json!({"dn_template": format!("uid={{uid}},ou={ou},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "name": ["cn", "sn"], "mail": "mail", "boss": "manager"},
            "match": "(employeeNumber={id})"}),
        more,
    )
}

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "uid": text, "name": text, "mail": text, "boss": text, "_sdc_deleted_at": text}}})
}

fn record(stream: &str, id: &str, uid: &str, more: &Value) -> Value {
    let record = with(&json!({"id": id, "uid": uid, "name": uid}), more);
    json!({"type": "RECORD", "stream": stream, "version": 5, "record": record})
}

pub(super) fn gone(stream: &str, id: &str) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": {"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

pub(super) fn activate(stream: &str) -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": 5})
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).stdin(lines(messages)).run();
    no_panic(&output);
    output
}

/// The one person of this number.
#[track_caller]
pub(super) fn of_number(tree: &Tree, number: &str) -> (String, Attributes) {
    let is_it = |(_, a): &(&String, &Attributes)| {
        a.get("employeenumber").is_some_and(|v| v.contains(number.as_bytes()))
    };
    let mut all = tree.iter().filter(is_it);
    let (dn, attributes) = all.next().expect("nobody has the number");
    assert!(all.next().is_none(), "two have the number");
    (dn.clone(), attributes.clone())
}

/// A person moves from one stream to the other: its deletion comes first, last, or with a STATE in between.
#[test]
fn who_moves_to_another_stream_keeps_the_entry_in_whichever_order_that_comes() {
    for deletes in [json!("delete"), json!("tree"), json!({"set": {"description": "gone"}})] {
        let slapd = Slapd::start(SlapdOptions::default().seed(people(&[("x", "a", "7")])));
        let rules = json!({"p": rule("x", &json!({"on_delete": deletes})), "q": rule("y", &json!({}))});
        let config = with(&target_config(&slapd), &json!({"mapping_rules": rules}));
        let messages =
            [schema("p"), gone("p", "7"), state(), schema("q"), record("q", "7", "a", &json!({})), state()];
        let output = run(&config, &messages).succeeds();
        assert_eq!(output.lines().last(), Some(&json!({"n": 1})));
        let (dn, attributes) = of_number(&slapd.dump(), "7");
        assert_eq!(dn, format!("uid=a,ou=y,{BASE}"));
        assert!(attributes.contains_key("userpassword"), "{attributes:?}");
        assert!(!attributes.contains_key("description"));
    }
}

#[test]
fn whose_new_record_is_rejected_is_not_deleted() {
    let slapd = Slapd::start(SlapdOptions::default().seed(people(&[("x", "a", "7")])));
    let dir = scratch();
    let rules = json!({"p": rule("x", &json!({})), "q": rule("y", &json!({}))});
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": rules, "on_error": "skip", "reject_file": dir.path().join("r.jsonl")}),
    );
    let wrong = record("q", "7", "a", &json!({"boss": "no dn"}));
    run(&config, &[schema("p"), schema("q"), gone("p", "7"), wrong]).exits(4);
    assert!(of_number(&slapd.dump(), "7").1.contains_key("userpassword"));
}

/// A deletion that a later record of the same key makes void, and one that it does not.
#[test]
fn who_comes_back_in_the_same_run_keeps_the_entry() {
    let slapd = Slapd::start(SlapdOptions::default().seed(people(&[("x", "a", "7"), ("x", "b", "8")])));
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule("x", &json!({}))}}));
    let messages = [schema("p"), gone("p", "7"), gone("p", "8"), record("p", "7", "a2", &json!({})), state()];
    run(&config, &messages).succeeds();
    let tree = slapd.dump();
    let (dn, attributes) = of_number(&tree, "7");
    assert_eq!(dn, format!("uid=a2,ou=x,{BASE}"));
    assert!(attributes.contains_key("userpassword"));
    assert!(!tree.contains_key(&format!("uid=b,ou=x,{BASE}")));
}

/// The name of somebody who goes by a version, or by a record, is free for who comes.
#[test]
fn a_name_is_free_once_who_had_it_has_gone_by_a_version() {
    for removal in [json!("delete"), json!({"move_to": format!("ou=y,{BASE}")})] {
        let slapd =
            Slapd::start(SlapdOptions::default().seed(people(&[("x", "old", "2"), ("x", "stays", "3")])));
        let rule = rule("x", &json!({"scope_base": format!("ou=x,{BASE}"), "on_delete": removal}));
        let config = with(
            &target_config(&slapd),
            &json!({"mapping_rules": {"p": rule}, "process_activate_version": true}),
        );
        // One comes, and another one is renamed to a name that goes.
        let messages = [
            schema("p"),
            record("p", "8", "old", &json!({})),
            record("p", "3", "stays", &json!({})),
            activate("p"),
            state(),
        ];
        run(&config, &messages).succeeds();
        let tree = slapd.dump();
        assert_eq!(of_number(&tree, "8").0, format!("uid=old,ou=x,{BASE}"));
        of_number(&tree, "3");
    }
}

/// A record that cannot be written, and that no deletion can help, ends the run before anything is deleted.
#[test]
fn nothing_is_deleted_where_a_record_that_waits_fails() {
    let slapd =
        Slapd::start(SlapdOptions::default().seed(people(&[("x", "gone", "2"), ("y", "other", "3")])));
    let at = |dn: &str| rule("x", &json!({"dn_template": dn, "scope_base": format!("ou=x,{BASE}")}));
    for (template, uid) in
        [("uid={uid},ou=nope,dc=example,dc=test", "q"), ("uid={uid},ou=y,dc=example,dc=test", "other")]
    {
        let config = with(
            &target_config(&slapd),
            &json!({"mapping_rules": {"p": at(template)}, "process_activate_version": true, "create_parents": false}),
        );
        run(&config, &[schema("p"), record("p", "9", uid, &json!({})), activate("p"), state()]).exits(1);
        of_number(&slapd.dump(), "2");
    }
}

/// The address of somebody who goes, or has another one by a later record, is free for who comes.
#[test]
fn a_value_that_the_server_has_once_only_is_free_once_who_had_it_gives_it_up() {
    let slapd = || unique(&[("x", "a", "1"), ("x", "b", "2")]);
    let mail = |mail: &str| json!({"mail": format!("{mail}@example.test")});
    let scope = json!({"scope_base": format!("ou=x,{BASE}")});
    let joins = record("p", "9", "new", &mail("a"));
    let stays = record("p", "2", "b", &mail("b"));
    for messages in [
        // By a version, by its record, by another address, in a chain.
        vec![joins.clone(), stays.clone(), activate("p")],
        vec![gone("p", "1"), joins.clone(), stays.clone()],
        vec![joins.clone(), record("p", "1", "a", &mail("c")), stays],
        vec![joins, record("p", "1", "a", &mail("b")), record("p", "2", "b", &mail("c"))],
    ] {
        let slapd = slapd();
        let config = with(
            &target_config(&slapd),
            &json!({"mapping_rules": {"p": rule("x", &scope)}, "process_activate_version": true}),
        );
        let mut all = vec![schema("p")];
        all.extend(messages);
        all.push(state());
        run(&config, &all).succeeds();
        let new = of_number(&slapd.dump(), "9").1;
        assert_eq!(new["mail"], [b"a@example.test".to_vec()].into());
    }
    // Whoever has it keeps it: an error of the record, with the server's code.
    let slapd = slapd();
    let dir = scratch();
    let rejects = dir.path().join("r.jsonl");
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": {"p": rule("x", &json!({}))}, "on_error": "skip", "reject_file": rejects}),
    );
    run(&config, &[schema("p"), record("p", "9", "new", &mail("a")), state()]).exits(4);
    let text = std::fs::read_to_string(&rejects).unwrap();
    let reject: Value = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .find(|l: &Value| l["type"] == "REJECT")
        .unwrap();
    assert_eq!(reject["code"], 19, "{reject}");
}

/// Two people swap their addresses, and three pass them round: each ends with the other's, whoever comes first.
#[test]
fn people_who_exchange_values_that_the_server_has_once_only_each_get_the_others() {
    let slapd = unique(&[("x", "a", "1"), ("x", "b", "2"), ("x", "c", "3")]);
    let mail = |mail: &str| json!({"mail": format!("{mail}@example.test")});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule("x", &json!({}))}}));
    for round in [["b", "a", "c"], ["c", "b", "a"], ["a", "c", "b"]] {
        let mut all = vec![schema("p")];
        all.extend(
            [("1", "a"), ("2", "b"), ("3", "c")]
                .iter()
                .zip(round)
                .map(|((id, uid), to)| record("p", id, uid, &mail(to))),
        );
        all.push(state());
        let output = run(&config, &all).succeeds();
        assert_eq!(output.lines().last(), Some(&json!({"n": 1})));
        let tree = slapd.dump();
        for (number, to) in ["1", "2", "3"].iter().zip(round) {
            assert_eq!(
                of_number(&tree, number).1["mail"],
                [format!("{to}@example.test").into_bytes()].into(),
                "{round:?}"
            );
        }
    }
}

/// They exchange names with their addresses: the one is there before the other is free.
#[test]
fn people_who_exchange_names_and_values_get_both() {
    let slapd = unique(&[("x", "a", "1"), ("x", "b", "2"), ("x", "c", "3")]);
    let mail = |mail: &str| json!({"mail": format!("{mail}@example.test")});
    let mut now = ["a", "b", "c"];
    for (n, to) in
        [["b", "c", "a"], ["c", "a", "b"], ["b", "a", "c"], ["a", "c", "b"], ["b", "c", "a"], ["c", "b", "a"]]
            .into_iter()
            .enumerate()
    {
        let rules = json!({"mapping_rules": {"p": rule("x", &json!({}))}, "max_in_flight": if n % 2 == 0 { 8 } else { 1 }});
        let config = with(&target_config(&slapd), &rules);
        let mut all = vec![schema("p")];
        let mut people: Vec<_> = ["1", "2", "3"].into_iter().zip(to).collect();
        people.rotate_left(n % 3);
        all.extend(people.iter().map(|(id, to)| record("p", id, to, &mail(to))));
        all.push(state());
        let renamed = now.iter().zip(to).filter(|(old, new)| *old != new).count();
        run(&config, &all).succeeds().counts(&[("renamed", renamed as u64)]);
        let tree = slapd.dump();
        for (number, to) in ["1", "2", "3"].iter().zip(to) {
            let (dn, entry) = of_number(&tree, number);
            assert!(dn.starts_with(&format!("uid={to},")), "{dn}");
            assert_eq!(entry["mail"], [format!("{to}@example.test").into_bytes()].into(), "{to}");
        }
        now = to;
    }
}

/// One of a ring cannot be written: nobody is left without an address.
#[test]
fn who_gave_a_value_up_in_vain_gets_it_back() {
    let slapd = unique(&[("x", "a", "1"), ("x", "b", "2"), ("x", "c", "3")]);
    let dir = scratch();
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": {"p": rule("x", &json!({}))}, "on_error": "skip", "reject_file": dir.path().join("r.jsonl")}),
    );
    // a wants b's, b wants c's, and c says nothing of its own.
    let mail = |mail: &str| json!({"mail": format!("{mail}@example.test")});
    let all = [
        schema("p"),
        record("p", "1", "a", &mail("b")),
        record("p", "2", "b", &mail("c")),
        record("p", "3", "c", &json!({})),
        state(),
    ];
    run(&config, &all).exits(4);
    let tree = slapd.dump();
    for (number, has) in [("1", "a"), ("2", "b"), ("3", "c")] {
        assert_eq!(of_number(&tree, number).1["mail"], [format!("{has}@example.test").into_bytes()].into());
    }
}

/// People come before their unit, which is renamed: it is not made anew for them.
#[test]
fn a_unit_that_a_record_renames_is_not_made_for_those_who_come_first() {
    for known in [true, false] {
        let slapd = Slapd::start(SlapdOptions::default().seed(people(&[("x", "a", "1")])));
        slapd.ldapmodify(format!("dn: ou=x,{BASE}\nchangetype: modify\nadd: description\ndescription: 77\n"));
        let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
            "attribute_mapping": {"uid": "ou", "id": "description"}, "match": "(description={id})"});
        let config = with(
            &target_config(&slapd),
            &json!({"mapping_rules": {"p": rule("new", &json!({})), "u": units}}),
        );
        let mut all = vec![
            schema("p"),
            schema("u"),
            record("p", "1", "a", &json!({})),
            record("p", "2", "b", &json!({})),
        ];
        if known {
            all.push(record("u", "77", "new", &json!({})));
        }
        all.push(state());
        run(&config, &all).succeeds();
        let tree = slapd.dump();
        assert_eq!(of_number(&tree, "1").0, format!("uid=a,ou=new,{BASE}"));
        assert_eq!(of_number(&tree, "2").0, format!("uid=b,ou=new,{BASE}"));
        let unit = &tree[&format!("ou=new,{BASE}")];
        assert_eq!(unit.contains_key("description"), known, "{unit:?}");
        assert_eq!(tree.contains_key(&format!("ou=x,{BASE}")), !known);
    }
}

#[test]
fn people_who_swap_their_logon_names_on_active_directory_each_get_the_others() {
    let server = Samba::start("");
    let base = format!("CN=Users,{}", server.suffix());
    for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
        server.ldapadd(format!(
            "dn: CN={name},{base}\nobjectClass: user\nsAMAccountName: sam{name}\nemployeeNumber: {number}\n"
        ));
    }
    let rule = json!({"dn_template": format!("CN={{uid}},{base}"), "object_classes": ["user"], "match": "(employeeNumber={id})",
        "attribute_mapping": {"id": "employeeNumber", "uid": "cn", "mail": "sAMAccountName"}});
    let config =
        with(&target_config(&server), &json!({"default_base_dn": null, "mapping_rules": {"p": rule}}));
    let to = |name: &str| json!({"mail": format!("sam{name}"), "name": null});
    let all = [
        schema("p"),
        record("p", "1", "a", &to("b")),
        record("p", "2", "b", &to("c")),
        record("p", "3", "c", &to("a")),
        state(),
    ];
    run(&config, &all).succeeds();
    let tree = server.dump_below(&base, &["employeeNumber", "sAMAccountName"]);
    for (number, name) in [("1", "b"), ("2", "c"), ("3", "a")] {
        assert_eq!(of_number(&tree, number).1["samaccountname"], [format!("sam{name}").into_bytes()].into());
    }
}

/// One of two who swap their logon names is refused for another value: the other has the name already. Nobody keeps a temporary name.
#[test]
fn who_is_refused_in_an_exchange_keeps_no_temporary_logon_name_on_active_directory() {
    let server = Samba::start("");
    let base = format!("CN=Users,{}", server.suffix());
    let dir = scratch();
    let rule = json!({"dn_template": format!("CN={{uid}},{base}"), "object_classes": ["user"], "match": "(employeeNumber={id})",
        "attribute_mapping": {"id": "employeeNumber", "uid": "cn", "mail": "sAMAccountName", "name": "title"}});
    let config = with(
        &target_config(&server),
        &json!({"default_base_dn": null, "mapping_rules": {"p": rule}, "on_error": "skip",
            "reject_file": dir.path().join("r.jsonl")}),
    );
    let names = || {
        let tree = server.dump_below(&base, &["employeeNumber", "sAMAccountName"]);
        ["1", "2"].map(|n| {
            of_number(&tree, n).1["samaccountname"]
                .iter()
                .next()
                .map(|v| String::from_utf8(v.clone()).unwrap())
                .unwrap()
        })
    };
    for (name, number) in [("a", 1), ("b", 2)] {
        server.ldapadd(format!(
            "dn: CN={name},{base}\nobjectClass: user\nsAMAccountName: sam{name}\nemployeeNumber: {number}\n"
        ));
    }
    // The title of Active Directory has at most 128 characters.
    let refused = record("p", "1", "a", &json!({"mail": "samb", "name": "x".repeat(130)}));
    let all =
        [schema("p"), refused.clone(), record("p", "2", "b", &json!({"mail": "sama", "name": "t"})), state()];
    let output = run(&config, &all).exits(4).counts(&[("rejected", 1), ("modified", 1)]);
    output.logs(&json!({"level": "warning", "dn": format!("CN=a,{base}"), "attribute": "sAMAccountName"}));
    assert_eq!(names(), ["samb", "sama"]);

    // One that an earlier version left, or a run that was killed: it ends with the next run that brings the record.
    server.ldapmodify(format!(
        "dn: CN=a,{base}\nchangetype: modify\nreplace: sAMAccountName\nsAMAccountName: tmpf23d275f5428\n"
    ));
    run(&config, &all).exits(4).logs(&json!({"level": "warning", "attribute": "sAMAccountName"}));
    assert_eq!(names(), ["samb", "sama"]);

    // If its name is somebody else's, that is said in every run, with the temporary one.
    server.ldapmodify(format!(
        "dn: CN=a,{base}\nchangetype: modify\nreplace: sAMAccountName\nsAMAccountName: tmpf23d275f5428\n\n\
         dn: CN=c,{base}\nchangetype: add\nobjectClass: user\nsAMAccountName: samb\nemployeeNumber: 3\n"
    ));
    for _ in 0..2 {
        let output = run(&config, &[schema("p"), refused.clone(), state()]).exits(4);
        output
            .logs(&json!({"level": "error", "dn": format!("CN=a,{base}"), "attribute": "sAMAccountName"}))
            .says("tmpf23d275f5428");
    }
}
