//! Attributes that the bound user may not read: an entry that does not show one may have it all the same, so that nothing is concluded.

use ldap_tests::bind::bind_code;
use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, no_panic, unit, with};

const BASE: &str = "dc=example,dc=test";
const USERS: &str = "ou=users,dc=example,dc=test";
const READER: &str = "uid=reader,ou=people,dc=example,dc=test";
const LOCKED: &str = "000001010000Z";

/// Rules by which uid=reader writes everything, and has this right to an attribute of the entries that `what` says.
fn rights(what: &str, right: &str) -> String {
    format!(
        "access to {what} by dn.exact=\"{READER}\" {right} by * break\n\
         access to * by dn.exact=\"{READER}\" manage by * break"
    )
}

fn person(dn: &str, more: &str) -> String {
    let uid = dn.split([',', '=']).nth(1).unwrap();
    format!("dn: {dn}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n{more}\n\n")
}

fn slapd(access: String, seed: &str) -> Slapd {
    Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users().seed(unit(USERS) + seed) })
}

fn config(server: &Server, (dn, password): (&str, &str), more: &Value) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{id}},{USERS}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "title": "title"},
    });
    json!({"server_url": server.ldap_uri(), "bind_dn": dn, "bind_password": password,
           "mapping_rules": {"users": with(&rule, more)}})
}

fn of_slapd(slapd: &Slapd, more: &Value) -> Value {
    config(slapd, (READER, "reader-pw"), more)
}

fn schema() -> Value {
    let any = json!({});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": {"type": "string"}, "login": any, "ou": any, "name": any, "title": any, "on": any, "pw": any,
        "hash": {"type": "string", "contentEncoding": "base64"},
        "_sdc_deleted_at": any}}})
}

fn record(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": record})
}

fn run(config: &Value, records: &[Value]) -> Output {
    let messages: Vec<Value> = std::iter::once(schema()).chain(records.iter().map(record)).collect();
    let output = Run::target(config).messages(&messages).run();
    no_panic(&output);
    output
}

/// The record is refused for this attribute of this entry.
#[track_caller]
fn refused(output: Output, dn: &str, attribute: &str) {
    let fields = json!({"setting": "bind_dn", "stream": "users", "attribute": attribute, "dn": dn});
    output.exits(1).reports(&fields);
}

#[test]
fn what_a_hidden_attribute_has_is_not_guessed() {
    let hidden = format!("uid=u7,{USERS}");
    let seed = person(&hidden, "title: CEO") + &person(&format!("uid=u8,{USERS}"), "");
    for right in ["=w", "none", "=ws"] {
        let slapd = slapd(rights("attrs=title", right), &seed);
        let before = slapd.change_marks();
        let null = json!({"id": "u7", "name": "u7", "title": null});
        let clerk = json!({"id": "u7", "name": "u7", "title": "clerk"});
        for (record, policy) in [(&null, "force"), (&clerk, "force"), (&clerk, "keep"), (&clerk, "merge")] {
            let config = of_slapd(&slapd, &json!({"policies": {"title": policy}}));
            refused(run(&config, std::slice::from_ref(record)), &hidden, "title");
            // A plan says so, too.
            let messages = [schema(), super::unreadable::record(record)];
            Run::target(&config)
                .arg("--dry-run")
                .messages(&messages)
                .run()
                .exits(1)
                .reports(&json!({"setting": "bind_dn", "attribute": "title", "dn": hidden}));
        }
        assert_untouched(&slapd, &before);
        // A rejected record does not hold the others up, and what the rule does not write need not be read.
        let none = json!({"id": "u7", "name": "Other"});
        run(&of_slapd(&slapd, &json!({})), &[none]).succeeds().counts(&[("modified", 1)]);
        // Where it may be searched, an entry without it is known.
        if right == "=ws" {
            let other = |title: Value| json!({"id": "u8", "name": "u8", "title": title});
            let config = of_slapd(&slapd, &json!({"policies": {"title": "keep"}}));
            run(&config, &[other(Value::Null)]).succeeds().counts(&[("unchanged", 1)]);
            run(&config, &[other(json!("clerk"))]).succeeds().counts(&[("modified", 1)]);
            run(&config, &[other(json!("boss"))]).exits(1);
            let dump = slapd.dump_below(&format!("uid=u8,{USERS}"), &["title"]);
            assert_eq!(dump.values().next().unwrap()["title"].len(), 1);
        }
    }
}

/// Only some entries hide it, and the entries of the stream were read at once.
#[test]
fn rights_of_one_container_are_not_those_of_another() {
    let vip = format!("ou=vip,{USERS}");
    let staff = format!("ou=staff,{USERS}");
    let mut seed = unit(&vip) + &unit(&staff);
    for n in 0..250 {
        seed += &person(&format!("uid=s{n},{staff}"), "");
    }
    let hidden = format!("uid=boss,{vip}");
    seed += &(person(&format!("uid=first,{vip}"), "") + &person(&hidden, "title: CEO"));
    let slapd = slapd(rights(&format!("dn.subtree=\"{vip}\" attrs=title"), "=w"), &seed);
    let rule = json!({"dn_template": format!("uid={{id}},ou={{ou}},{USERS}")});
    let config = of_slapd(&slapd, &rule);
    let mut records = vec![json!({"id": "first", "ou": "vip", "name": "first"})];
    for n in 0..250 {
        records.push(json!({"id": format!("s{n}"), "ou": "staff", "name": format!("s{n}"), "title": null}));
    }
    run(&config, &records).succeeds().counts(&[("unchanged", 251)]);
    records.push(json!({"id": "boss", "ou": "vip", "name": "boss", "title": null}));
    refused(run(&config, &records), &hidden, "title");
}

#[test]
fn ds389_attributes_that_are_hidden_are_not_guessed() {
    let reader = "uid=reader,dc=example,dc=test";
    let hidden = format!("uid=u7,{USERS}");
    let server = Ds389::start(
        &Ds389Options::default()
            .seed(unit(USERS) + &person(&hidden, "title: CEO") + &person(&format!("uid=u8,{USERS}"), "")),
    );
    server.ldapmodify(format!(
        "dn: {BASE}\nchangetype: modify\nadd: aci\n\
         aci: (targetattr=\"*\")(version 3.0; acl \"w\"; allow (all) userdn=\"ldap:///{reader}\";)\n\
         aci: (targetattr=\"title || nsAccountLock\")(version 3.0; acl \"h\"; deny (read,search) userdn=\"ldap:///{reader}\";)\n"
    ));
    server.ldapmodify(format!("dn: {hidden}\nchangetype: modify\nadd: nsAccountLock\nnsAccountLock: TRUE\n"));
    let with_rule = |more: &Value| config(&server, (reader, READER_PASSWORD), more);
    let null = json!({"id": "u7", "name": "u7", "title": null});
    refused(run(&with_rule(&json!({})), &[null]), &hidden, "title");
    let keep = with_rule(&json!({"policies": {"title": "keep"}}));
    refused(run(&keep, &[json!({"id": "u7", "name": "u7", "title": "x"})]), &hidden, "title");
    let enabled = with_rule(&json!({"accounts": {"enabled": "on"}}));
    refused(run(&enabled, &[json!({"id": "u7", "name": "u7", "on": true})]), &hidden, "nsAccountLock");
}

fn with_policy(access: String, seed: &str) -> Slapd {
    Slapd::start(SlapdOptions {
        access,
        database_conf: "overlay ppolicy\nppolicy_default cn=policy,dc=example,dc=test".into(),
        ..SlapdOptions::with_users().seed(unit(USERS) + seed).seed(
            "dn: cn=policy,dc=example,dc=test\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n\
             pwdAttribute: userPassword\npwdLockout: TRUE\n",
        )
    })
}

#[test]
fn an_account_whose_lock_is_hidden_is_neither_enabled_nor_left_locked_in_silence() {
    let dn = format!("uid=off,{USERS}");
    for right in ["=w", "none", "=ws"] {
        let slapd = with_policy(
            rights("attrs=pwdAccountLockedTime", right),
            &(person(&dn, &format!("pwdAccountLockedTime: {LOCKED}"))
                + &person(&format!("uid=on,{USERS}"), "")),
        );
        let before = slapd.change_marks();
        let password = |mode: &str| json!({"password": {"from": "pw", "mode": mode, "policy": "force"}});
        for mode in ["exop", "hash:ssha512"] {
            let config = of_slapd(&slapd, &password(mode));
            let output = run(&config, &[json!({"id": "off", "name": "off", "pw": "new-password"})]);
            refused(output, &dn, "pwdAccountLockedTime");
            assert_eq!(bind_code(&slapd, &dn, "new-password"), 49);
        }
        let mapped =
            json!({"attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "hash": "userPassword"}});
        let output = run(&of_slapd(&slapd, &mapped), &[json!({"id": "off", "name": "off", "hash": "bmV3"})]);
        refused(output, &dn, "pwdAccountLockedTime");
        let enabled = of_slapd(&slapd, &json!({"accounts": {"enabled": "on"}}));
        for on in [true, false] {
            let output = run(&enabled, &[json!({"id": "off", "name": "off", "on": on})]);
            refused(output, &dn, "pwdAccountLockedTime");
        }
        assert_untouched(&slapd, &before);
        let dump = slapd.dump_below(&dn, &["pwdAccountLockedTime"]);
        assert!(dump.values().next().unwrap()["pwdaccountlockedtime"].contains(LOCKED.as_bytes()));
        if right == "=ws" {
            // It is known to have none.
            run(&enabled, &[json!({"id": "on", "name": "on", "on": true})])
                .succeeds()
                .counts(&[("unchanged", 1)]);
        }
    }
}

/// The lock of one person alone is hidden: others of the same container do not answer for it.
#[test]
fn a_lock_is_asked_for_of_each_account_that_gets_a_password() {
    let dn = format!("uid=off,{USERS}");
    let slapd = with_policy(
        rights(&format!("dn.exact=\"{dn}\" attrs=pwdAccountLockedTime"), "=w"),
        &(person(&dn, &format!("pwdAccountLockedTime: {LOCKED}")) + &person(&format!("uid=on,{USERS}"), "")),
    );
    let rule = json!({"password": {"from": "pw", "mode": "exop", "policy": "force"}});
    let of = |id: &str| json!({"id": id, "name": id, "pw": format!("{id}-password")});
    refused(run(&of_slapd(&slapd, &rule), &[of("on"), of("off")]), &dn, "pwdAccountLockedTime");
    assert_eq!(bind_code(&slapd, &format!("uid=on,{USERS}"), "on-password"), 0);
    assert_eq!(bind_code(&slapd, &dn, "off-password"), 49);
}

fn by_number() -> Value {
    json!({
        "dn_template": format!("uid={{login}},{USERS}"),
        "attribute_mapping": {"id": "employeeNumber", "login": "uid", "name": ["cn", "sn"]},
        "match": "(employeeNumber={id})",
        "scope_base": BASE,
    })
}

fn numbered(id: &str, login: &str) -> Value {
    json!({"id": id, "login": login, "name": login})
}

#[test]
fn nobody_gets_a_second_entry_because_match_may_not_search() {
    let old = format!("uid=old,{USERS}");
    let boss = format!("uid=boss,ou=vip,{BASE}");
    let seed = unit(&format!("ou=vip,{BASE}"))
        + &person(&old, "employeeNumber: 1")
        + &person(&boss, "employeeNumber: 7");
    let vip = format!("dn.subtree=\"ou=vip,{BASE}\" attrs=employeeNumber");
    for (what, right, hidden, number) in [
        ("attrs=employeeNumber", "=w", "", "1"),
        ("attrs=employeeNumber", "none", "", "1"),
        (vip.as_str(), "=w", boss.as_str(), "7"),
        (vip.as_str(), "none", boss.as_str(), "7"),
    ] {
        let slapd = slapd(rights(what, right), &seed);
        let before = slapd.change_marks();
        let mut fields = json!({"setting": "bind_dn", "stream": "users", "attribute": "employeeNumber"});
        if !hidden.is_empty() {
            fields["dn"] = json!(hidden);
        }
        let config = of_slapd(&slapd, &by_number());
        run(&config, &[numbered(number, "new")]).exits(1).reports(&fields);
        // Its entry is not gone either.
        let gone = json!({"id": number, "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
        run(&config, &[gone]).exits(1).reports(&fields);
        assert_untouched(&slapd, &before);
        // In a plan and in a rehearsal as in a run.
        let messages = [schema(), record(&numbered(number, "new"))];
        Run::target(&config).arg("--dry-run").messages(&messages).run().exits(1).reports(&fields);
    }
}

#[test]
fn an_entry_whose_number_is_hidden_is_not_taken_over() {
    let there = format!("uid=same,{USERS}");
    let seed = person(&there, "employeeNumber: 1");
    // Not of the rule's classes, so that only the entry itself shows it.
    let slapd = slapd(rights(&format!("dn.exact=\"{there}\" attrs=employeeNumber"), "=w"), &seed);
    let rule =
        with(&by_number(), &json!({"object_classes": ["inetOrgPerson", "posixAccount"], "scope_base": null}));
    let before = slapd.change_marks();
    refused(run(&of_slapd(&slapd, &rule), &[numbered("2", "same")]), &there, "employeeNumber");
    assert_untouched(&slapd, &before);
}

#[test]
fn where_all_may_be_read_match_adds_and_finds() {
    let slapd =
        slapd(rights("attrs=title", "none"), &person(&format!("uid=old,{USERS}"), "employeeNumber: 1"));
    let config = of_slapd(&slapd, &by_number());
    run(&config, &[numbered("1", "renamed"), numbered("2", "new")])
        .succeeds()
        .counts(&[("renamed", 1), ("added", 1)]);
}
