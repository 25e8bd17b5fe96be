//! Values of attributes: templates, defaults, null, syntaxes, and hostile values.

use std::collections::BTreeSet;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{SUFFIX, USERS, company, config, record, rule, schema, state, user, values};
use crate::support::{assert_untouched, states, target_config, with};

/// Values that want to be syntax: of a DN, a filter, a template, LDIF, JSON or a shell.
const HOSTILE: [&str; 35] = [
    "comma,inc",
    "plus+sign",
    "quote\"mark",
    "back\\slash",
    "ends in a backslash\\",
    "semi;colon",
    "less<than",
    "greater>than",
    "equals=sign",
    "#hash",
    " leading",
    "trailing ",
    "  both  sides  ",
    "admin,ou=admins,dc=company,dc=com",
    "x,uid=y",
    "x+cn=y",
    "x\\,ou=admins",
    "\\2c",
    "*",
    "x)(uid=*",
    "(|(uid=*))",
    "new\nline",
    "cr\r\nlf",
    "nul\0byte",
    "tab\tbed",
    "{user_id}",
    "{{double}}",
    "{uid|upper}",
    "%2c%00",
    "$(reboot)",
    "../../etc/passwd",
    "NULL",
    "Zoë",
    "東京 太郎",
    "👩‍💻",
];

#[test]
fn each_hostile_user_id_lands_as_itself_and_none_escapes() {
    let slapd = company();
    let mut messages = vec![schema()];
    messages.extend(HOSTILE.iter().map(|id| record(id)));
    messages.push(state(1));
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()]);

    let tree = slapd.dump();
    for id in HOSTILE {
        let entry = user(&tree, id);
        assert_eq!(entry["uid"], values(&[id]), "exactly the value, and alone");
        assert_eq!(entry["cn"], values(&[&format!("Name of {id}")]));
        let dn = tree.iter().find(|(_, e)| *e == entry).unwrap().0;
        assert_eq!(ldap_tests::ldif::parent(dn), USERS, "{id:?} is where the template says");
        assert_eq!(ldap_tests::ldif::rdn_values(dn).len(), 1, "{dn}");
    }
    assert_eq!(tree.len(), HOSTILE.len() + 2, "the suffix, ou=users, and one entry each: {:?}", tree.keys());
    assert!(tree.contains_key(USERS), "the missing parent was created");
    assert_eq!(tree[USERS]["objectclass"], values(&["organizationalUnit"]));

    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()], "an unchanged rerun prints the same STATE");
    assert_untouched(&slapd, &before);
}

#[test]
fn the_rule_of_the_seed_as_it_stands() {
    let slapd = company();
    let config = with(
        &target_config(&slapd),
        &json!({"default_base_dn": "ou=imported,dc=company,dc=com", "mapping_rules": {"users": {
            "dn_template": "uid={uid},ou=users,dc=company,dc=com",
            "object_classes": ["person", "organizationalPerson", "inetOrgPerson"],
            "attribute_mapping": {"user_id": "uid", "full_name": "cn", "last_name": "sn", "email": "mail"},
        }}}),
    );
    Run::target(&config).messages(&[schema(), record("jdoe"), state(1)]).run().succeeds();
    let tree = slapd.dump();
    let entry = &tree[&format!("uid=jdoe,{USERS}")];
    assert_eq!(entry["objectclass"], values(&["person", "organizationalPerson", "inetOrgPerson"]));
    let expected = ["cn", "mail", "objectclass", "sn", "uid"];
    assert_eq!(entry.keys().map(String::as_str).collect::<Vec<_>>(), expected, "nothing that is not mapped");
    assert_eq!(entry["cn"], values(&["Name of jdoe"]));
    assert_eq!(entry["sn"], values(&["Last"]));
    assert_eq!(entry["mail"], values(&["someone@company.com"]));
}

#[test]
fn template_values_defaults_and_a_template_named_after_the_record() {
    let slapd = company();
    let mut rule = rule();
    rule["dn_template"] = json!("uid={user_id|lower},ou=users,dc=company,dc=com");
    rule["values"] = json!({
        "displayName": "{first_name} {last_name}",
        "mail": "{user_id|lower}@company.com",
        "description": "{{{full_name|upper}}}",
        "title": "{nickname|default:none}",
    });
    rule["attribute_mapping"] =
        json!({"user_id": "uid", "full_name": ["cn", "givenName"], "last_name": "sn"});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    let mut nameless = record("JDoe");
    nameless["record"].as_object_mut().unwrap().shift_remove("last_name");
    nameless["record"]["first_name"] = json!("Jane");
    Run::target(&config).messages(&[schema(), record("Full"), nameless]).run().succeeds();

    let tree = slapd.dump();
    let full = &tree[&format!("uid=full,{USERS}")];
    assert_eq!(full["displayname"], values(&["First Last"]));
    assert_eq!(full["mail"], values(&["full@company.com"]));
    assert_eq!(full["description"], values(&["{NAME OF FULL}"]));
    assert_eq!(full["title"], values(&["none"]));
    assert_eq!(full["cn"], values(&["Name of Full"]));
    assert_eq!(full["givenname"], values(&["Name of Full"]));
    let nameless = &tree[&format!("uid=jdoe,{USERS}")];
    assert_eq!(nameless["sn"], values(&["unknown"]), "the default, where the record has none");
    assert_eq!(full["sn"], values(&["Last"]), "and only there");
}

#[test]
fn null_and_the_empty_array_remove_and_absence_leaves_alone() {
    let slapd = company();
    let with_phone = |id: &str| {
        let mut record = record(id);
        record["record"]["phone"] = json!(["+1 555 1", "+1 555 2"]);
        record
    };
    let run = |messages: &[Value]| {
        Run::target(&config(&slapd)).messages(messages).run().succeeds();
    };
    run(&[schema(), with_phone("null"), with_phone("empty"), with_phone("absent")]);
    let mut null = record("null");
    null["record"]["phone"] = Value::Null;
    let mut empty = record("empty");
    empty["record"]["phone"] = json!([]);
    let absent = record("absent");
    run(&[schema(), null, empty, absent]);

    let tree = slapd.dump();
    assert!(!user(&tree, "null").contains_key("telephonenumber"));
    assert!(!user(&tree, "empty").contains_key("telephonenumber"));
    assert_eq!(user(&tree, "absent")["telephonenumber"], values(&["+1 555 1", "+1 555 2"]));
}

#[test]
fn records_of_one_entry_are_applied_in_their_order() {
    let slapd = company();
    let mut messages = vec![schema()];
    for round in 0..20 {
        for id in 0..20 {
            let mut record = record(&format!("u{id}"));
            record["record"]["full_name"] = json!(format!("round {round}"));
            messages.push(record);
        }
    }
    messages.push(state(1));
    Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    let tree = slapd.dump();
    for id in 0..20 {
        assert_eq!(user(&tree, &format!("u{id}"))["cn"], values(&["round 19"]));
    }
}

#[test]
fn values_follow_the_syntax_of_the_destination() {
    let slapd = company();
    let rule = json!({
        "dn_template": "cn={id},ou=things,dc=company,dc=com",
        "object_classes": ["device", "testThing"],
        "attribute_mapping": {
            "id": "cn", "flag": "testFlag", "count": "testCount", "counts": "testCounts", "at": "testWhen",
            "uuid": "testUuid", "blob": "testBlob", "boss": "testPointer",
        },
    });
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"things": rule}}));
    let schema = json!({"type": "SCHEMA", "stream": "things", "key_properties": ["id"], "schema": {"properties": {
        "id": {"type": "integer"}, "flag": {"type": "boolean"}, "count": {"type": "integer"},
        "counts": {"type": "array", "items": {"type": "integer"}}, "at": {"type": "string", "format": "date-time"},
        "uuid": {"type": "string", "format": "uuid"}, "blob": {"type": "string", "contentEncoding": "base64"},
        "boss": {"type": "string"},
    }}});
    // The big number is written by hand: no JSON library's idea of a number may stand between.
    let record = r#"{"type":"RECORD","stream":"things","record":{"id":7,"flag":true,
        "count":123456789012345678901234567890,"counts":[1,-2],"at":"2024-02-29T13:00:00.250+01:00",
        "uuid":"597ae2f6-16a6-1027-98f4-d28b5365dc14","blob":"AP9hYg==","boss":"CN=7 , ou=things,dc=company,dc=com"}}"#
        .replace('\n', "");
    let input = format!("{schema}\n{record}\n");
    Run::target(&config).stdin(&input).run().succeeds();
    let tree = slapd.dump();
    let entry = &tree["cn=7,ou=things,dc=company,dc=com"];
    assert_eq!(entry["testflag"], values(&["TRUE"]));
    assert_eq!(entry["testcount"], values(&["123456789012345678901234567890"]));
    assert_eq!(entry["testcounts"], values(&["1", "-2"]));
    let when = entry["testwhen"].first().unwrap();
    assert!(
        ["20240229120000.25Z", "20240229120000.250Z"].contains(&std::str::from_utf8(when).unwrap()),
        "{when:?}"
    );
    assert_eq!(entry["testuuid"], values(&["597ae2f6-16a6-1027-98f4-d28b5365dc14"]));
    assert_eq!(entry["testblob"], BTreeSet::from([vec![0, 0xff, b'a', b'b']]));
    let boss = String::from_utf8(entry["testpointer"].first().unwrap().clone()).unwrap();
    assert_eq!(normalize_dn(&boss), "cn=7,ou=things,dc=company,dc=com");

    let before = slapd.change_marks();
    Run::target(&config).stdin(&input).run().succeeds();
    assert_untouched(&slapd, &before);
}

#[test]
fn defaults_are_for_what_neither_the_record_nor_the_entry_has() {
    let slapd = company();
    let mut silent = record("jdoe");
    silent["record"].as_object_mut().unwrap().shift_remove("last_name");
    Run::target(&config(&slapd)).messages(&[schema(), record("jdoe")]).run().succeeds();
    let before = slapd.change_marks();
    Run::target(&config(&slapd)).messages(&[schema(), silent]).run().succeeds();
    assert_untouched(&slapd, &before);

    let mut null = record("jdoe");
    null["record"]["last_name"] = Value::Null;
    Run::target(&config(&slapd)).messages(&[schema(), null]).run().succeeds();
    assert_eq!(user(&slapd.dump(), "jdoe")["sn"], values(&["unknown"]), "null takes the old value away");
}

#[test]
fn classes_that_others_gave_an_entry_stay() {
    let slapd =
        Slapd::start(SlapdOptions::default().suffix(SUFFIX).seed(crate::support::unit(USERS)).seed(format!(
            "dn: uid=jdoe,{USERS}\nobjectClass: account\nobjectClass: testThing\nuid: jdoe\ntestFlag: TRUE\n"
        )));
    let rule = json!({"dn_template": "uid={user_id},ou=users,dc=company,dc=com",
        "object_classes": ["account", "extensibleObject"], "attribute_mapping": {"user_id": "uid"}});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    Run::target(&config).messages(&[schema(), record("jdoe")]).run().succeeds();
    let tree = slapd.dump();
    let entry = user(&tree, "jdoe");
    assert_eq!(entry["objectclass"], values(&["account", "testThing", "extensibleObject"]));
    assert_eq!(entry["testflag"], values(&["TRUE"]), "what is not mapped is left alone");
}
