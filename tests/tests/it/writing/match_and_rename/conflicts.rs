//! Entries that several records match, DNs that are taken, and filters that are not valid.

use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::slapd::scratch;
use serde_json::json;

use super::{BASE, at, config, gone, people, person, run, slapd, state};
use crate::support::{assert_untouched, done, no_panic, unit};

#[test]
fn a_name_that_stays_anothers_is_an_error_of_the_record() {
    let slapd = slapd(&[("1", "anna"), ("2", "bert")]);
    let marks = slapd.change_marks();
    let records = [person("1", "bert", "a"), person("7", "anna", "a")];
    run(&config(&slapd, &json!({})), &records)
        .exits(1)
        .reports(&json!({"record": "id=1", "line": 2}))
        .says("uid=bert,ou=a");
    assert_untouched(&slapd, &marks);
}

#[test]
fn who_stepped_aside_in_vain_gets_the_old_name_back() {
    // Who is above is to be below, and the other way round. slapd refuses that at once; a file says first that the name is
    // taken, so that one steps aside, and then that no entry moves below itself.
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let below = at("uid=bert,uid=anna,ou=a");
    let one = |dn: &str, uid: &str, number: u8| {
        format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: x\nsn: x\nemployeeNumber: {number}\n\n"
        )
    };
    let root = format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n");
    let entries =
        [root, unit(&at("ou=a")), one(&at("uid=anna,ou=a"), "anna", 1), one(&below, "bert", 2)].concat();
    std::fs::write(&file, entries).unwrap();
    let before = ldap_tests::ldif::parse_file(&file);
    let text = json!({"type": ["string", "null"]});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {"dn": text, "id": text}}});
    let record =
        |id: &str, dn: &str| json!({"type": "RECORD", "stream": "p", "record": {"id": id, "dn": dn}});
    let rule = json!({"object_classes": ["inetOrgPerson"], "attribute_mapping": {"id": "employeeNumber"}, "match": "(employeeNumber={id})"});
    let config = json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"p": rule}, "on_error": "skip",
        "reject_file": dir.path().join("rejects.jsonl")});
    let messages = [schema, record("1", &below), record("2", &at("uid=anna,ou=a")), state()];
    let output = Run::target(&config).messages(&messages).run();
    no_panic(&output);
    output.exits(4).says("-moving1,").counts(&[("rejected", 2)]);
    assert_same("before", &before, "after", &ldap_tests::ldif::parse_file(&file));
}

#[test]
fn an_entry_that_is_nobodys_is_taken_over_and_one_that_is_somebodys_is_not() {
    let slapd = slapd(&[("2", "bert")]);
    slapd.ldapadd(format!("dn: uid=anna,ou=a,{BASE}\nobjectClass: inetOrgPerson\nuid: anna\ncn: x\nsn: x\n"));
    done(run(&config(&slapd, &json!({})), &[person("1", "anna", "a")])).counts(&[("modified", 1)]);
    assert_eq!(people(&slapd, "entryUUID")["1"].0, at("uid=anna,ou=a"));
    run(&config(&slapd, &json!({})), &[person("9", "bert", "a")])
        .exits(1)
        .reports(&json!({"record": "id=9", "line": 2}));
    assert_eq!(people(&slapd, "entryUUID")["2"].0, at("uid=bert,ou=a"));
}

#[test]
fn several_entries_that_fit_are_an_error_that_names_them() {
    let slapd = slapd(&[("1", "anna")]);
    for uid in ["x", "y"] {
        slapd.ldapadd(format!(
            "dn: uid={uid},ou=b,{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: x\nsn: x\nemployeeNumber: 7\n"
        ));
    }
    let marks = slapd.change_marks();
    run(&config(&slapd, &json!({})), &[person("7", "z", "a")])
        .exits(1)
        .reports(&json!({"record": "id=7", "line": 2}))
        .says("uid=x,ou=b")
        .says("uid=y,ou=b");
    run(&config(&slapd, &json!({})), &[gone("7")]).exits(1).reports(&json!({"record": "id=7", "line": 2}));
    let output = run(&config(&slapd, &json!({})), &[person("", "z", "a")]).exits(1);
    output.reports(&json!({"record": "id=", "line": 2}));
    assert_untouched(&slapd, &marks);
    // In a scope where only one is, it is found; as the base of the scope it is protected.
    let scoped = config(&slapd, &json!({"scope_base": at("uid=x,ou=b")}));
    let output = run(&scoped, &[person("7", "z", "a")]).exits(1);
    output.reports(&json!({"record": "id=7", "setting": "mapping_rules.p.scope_base"}));
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_value_in_a_filter_is_a_value_whatever_it_holds() {
    let slapd = slapd(&[("1", "anna"), ("2", "bert")]);
    let records = [person("*", "stern", "a"), person("1)(uid=*", "klammer", "a")];
    done(run(&config(&slapd, &json!({})), &records)).counts(&[("added", 2)]);
    done(run(&config(&slapd, &json!({})), &records)).counts(&[("unchanged", 2)]);
    done(run(&config(&slapd, &json!({})), &[gone("*")])).counts(&[("deleted", 1)]);
    assert_eq!(people(&slapd, "entryUUID").len(), 3);
}
