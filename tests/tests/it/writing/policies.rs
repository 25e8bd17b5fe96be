//! `policies` per attribute, and disabled `operations`.

use std::collections::BTreeSet;

use ldap_tests::ldif::Attributes;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, no_panic, state, states, target_config, unit, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn config(slapd: &Slapd, more: &Value) -> Value {
    let rule = with(
        &json!({
            "dn_template": format!("uid={{uid}},{USERS}"),
            "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "mail": "mail", "phone": "telephoneNumber",
                                  "title": "title", "pw": "userPassword"},
        }),
        more,
    );
    with(&target_config(slapd), &json!({"mapping_rules": {"users": rule}}))
}

fn schema() -> Value {
    let texts = json!({"type": ["string", "array", "null"], "items": {"type": "string"}});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": texts, "name": texts, "mail": texts, "phone": texts, "title": texts,
        "pw": {"type": ["string", "null"], "contentEncoding": "base64"}, "_sdc_deleted_at": texts}}})
}

fn record(id: &str, more: &Value) -> Value {
    let mut record = json!({"id": id, "name": "Name"});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "RECORD", "stream": "users", "record": record})
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(unit(USERS)))
}

fn entry(slapd: &Slapd, id: &str) -> Attributes {
    slapd.dump()[&format!("uid={id},{USERS}")].clone()
}

fn values(texts: &[&str]) -> BTreeSet<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

#[test]
fn each_attribute_goes_by_its_policy() {
    let slapd = slapd();
    let config = config(
        &slapd,
        &json!({
            // Names compare as the schema compares them: with case ignored, and aliases known.
            "policies": {"TELEPHONENUMBER": "merge", "title": "keep", "rfc822Mailbox": "force",
                         "userPassword": "create_only", "description": "create_only"},
            "values": {"description": "made by {name}"},
            "defaults": {"employeeType": "new", "st": "default"},
        }),
    );
    let run = |record: Value| Run::target(&config).messages(&[schema(), record, state()]).run().succeeds();
    run(record("a", &json!({"mail": ["1@x", "2@x"], "phone": ["1", "2"], "pw": "Zmlyc3Q="})));
    let first = entry(&slapd, "a");
    assert_eq!(first["userpassword"], values(&["first"]), "an entry that is added has it");
    assert_eq!(first["description"], values(&["made by Name"]));

    run(record(
        "a",
        &json!({"name": "Other", "mail": ["3@x"], "phone": ["2", "3"], "title": "Dr.", "pw": "c2Vjb25k"}),
    ));
    let second = entry(&slapd, "a");
    assert_eq!(second["mail"], values(&["3@x"]), "force");
    assert_eq!(second["telephonenumber"], values(&["1", "2", "3"]), "merge");
    assert_eq!(second["title"], values(&["Dr."]), "keep, where there is none");
    assert_eq!(second["userpassword"], values(&["first"]), "create_only");
    assert_eq!(second["description"], values(&["made by Name"]), "create_only, of a template");

    run(record("a", &json!({"name": "Other", "mail": null, "phone": null, "title": "Prof."})));
    let third = entry(&slapd, "a");
    assert!(!third.contains_key("mail"), "null and force");
    assert_eq!(third["telephonenumber"], values(&["1", "2", "3"]), "null and merge: none is removed");
    assert_eq!(third["title"], values(&["Dr."]), "keep");

    let before = slapd.change_marks();
    run(record(
        "a",
        &json!({"name": "Other", "mail": null, "phone": ["3"], "title": null, "pw": "dGhpcmQ="}),
    ));
    assert_untouched(&slapd, &before);
}

#[test]
fn a_default_can_be_for_new_entries_only() {
    let slapd = slapd();
    let old = format!("dn: uid=old,{USERS}\nobjectClass: inetOrgPerson\nuid: old\ncn: x\nsn: x\n");
    slapd.ldapadd(&old);
    let config = config(
        &slapd,
        &json!({"defaults": {"title": "new", "st": "both"}, "policies": {"title": "create_only", "st": "force"}}),
    );
    let messages = [schema(), record("old", &json!({})), record("new", &json!({}))];
    Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(entry(&slapd, "new")["title"], values(&["new"]));
    assert!(!entry(&slapd, "old").contains_key("title"), "create_only");
    assert_eq!(entry(&slapd, "old")["st"], values(&["both"]));
    slapd.ldapmodify(format!("dn: uid=old,{USERS}\nchangetype: modify\nreplace: st\nst: own\n"));
    let before = slapd.change_marks();
    Run::target(&config).messages(&messages).run().succeeds();
    assert_untouched(&slapd, &before);
}

#[test]
fn an_operation_that_is_switched_off_leaves_the_entry_as_it_is_and_is_counted() {
    let slapd = slapd();
    let everything = [
        schema(),
        record("there", &json!({"title": "changed"})),
        record("same", &json!({})),
        record("new", &json!({})),
        record("gone", &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        record("never", &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        state(),
    ];
    let seed =
        [schema(), record("there", &json!({})), record("same", &json!({})), record("gone", &json!({}))];
    Run::target(&config(&slapd, &json!({}))).messages(&seed).run().succeeds();

    let off = config(&slapd, &json!({"operations": {"create": false, "update": false, "delete": false}}));
    let before = slapd.change_marks();
    let output = Run::target(&off).messages(&everything).run().succeeds();
    no_panic(&output);
    assert_eq!(states(&output), [json!({"n": 1})], "what is left alone holds no STATE back");
    let nothing =
        [("added", 0), ("modified", 0), ("renamed", 0), ("deleted", 0), ("unchanged", 2), ("ignored", 3)];
    output.stream_counts("users", &nothing);
    assert_untouched(&slapd, &before);

    // Each alone.
    let only = |operation: &str, [added, modified, deleted, unchanged, ignored]: [u64; 5]| {
        let config = config(&slapd, &json!({"operations": {operation: false}}));
        Run::target(&config).messages(&everything).run().succeeds().counts(&[
            ("added", added),
            ("modified", modified),
            ("deleted", deleted),
            ("unchanged", unchanged),
            ("ignored", ignored),
        ]);
        slapd.dump().into_keys().collect::<Vec<_>>().join(" ")
    };
    let left = only("delete", [1, 1, 0, 2, 1]);
    assert!(left.contains("uid=new") && left.contains("uid=gone"), "{left}");
    let left = only("update", [0, 0, 1, 4, 0]);
    assert!(!left.contains("uid=gone"), "{left}");
    slapd.ldapmodify(format!("dn: uid=new,{USERS}\nchangetype: delete\n"));
    let left = only("create", [0, 0, 0, 4, 1]);
    assert!(!left.contains("uid=new"), "{left}");
    assert_eq!(entry(&slapd, "there")["title"], values(&["changed"]));
}

#[test]
fn parents_are_not_made_for_an_entry_that_may_not_be() {
    let slapd = slapd();
    let config = config(
        &slapd,
        &json!({"operations": {"create": false}, "dn_template": "uid={uid},ou=none,dc=example,dc=test"}),
    );
    let before = slapd.change_marks();
    Run::target(&config).messages(&[schema(), record("a", &json!({})), state()]).run().succeeds();
    assert_untouched(&slapd, &before);
}

#[test]
fn faults_in_policies_and_operations_are_2_and_named() {
    let slapd = slapd();
    for (rule, setting, word) in [
        (json!({"policies": {"mail": "sometimes"}}), "mapping_rules.users.policies.mail", "create_only"),
        (json!({"policies": {"m ail": "keep"}}), "mapping_rules.users.policies.m ail", "attribute"),
        (json!({"policies": "keep"}), "mapping_rules.users", "map"),
        (json!({"operations": {"delet": false}}), "mapping_rules.users.operations", "delet"),
        (json!({"operations": {"delete": "no"}}), "mapping_rules.users.operations", "true or false"),
        (json!({"operations": []}), "mapping_rules.users.operations", "create"),
    ] {
        let output = Run::target(&config(&slapd, &rule)).messages(&[schema()]).run().exits(2);
        no_panic(&output);
        output.says(setting).says(word);
    }
    Run::target(&config(&slapd, &json!({"policies": {"carLicense": "keep"}})))
        .messages(&[schema()])
        .run()
        .succeeds()
        .reports(&json!({"setting": "mapping_rules.users.policies"}));
}

/// Another spelling is another value where the rule says so: one value, some of a list, and beside one that comes.
#[test]
fn values_that_compare_exactly_are_written_in_their_new_spelling() {
    let slapd = slapd();
    let exact = config(&slapd, &json!({"compare": {"rfc822Mailbox": "exact", "title": "exact"}}));
    let run = |config: &Value, record: Value| {
        Run::target(config).messages(&[schema(), record, state()]).run().succeeds();
    };
    let addresses = |a: &str, b: &str| json!({"mail": [a, b, "c@x"], "title": a});
    run(&exact, record("a", &addresses("SMTP@x", "smtp2@x")));
    let before = slapd.change_marks();
    // By the schema nothing differs.
    run(&config(&slapd, &json!({})), record("a", &addresses("smtp@x", "SMTP2@x")));
    assert_untouched(&slapd, &before);
    run(&exact, record("a", &addresses("smtp@x", "SMTP2@x")));
    let there = entry(&slapd, "a");
    assert_eq!(there["mail"], values(&["smtp@x", "SMTP2@x", "c@x"]));
    assert_eq!(there["title"], values(&["smtp@x"]));
    run(&exact, record("a", &json!({"mail": ["SMTP@x", "SMTP2@x", "c@x", "d@x"], "title": "smtp@x"})));
    assert_eq!(entry(&slapd, "a")["mail"], values(&["SMTP@x", "SMTP2@x", "c@x", "d@x"]));
    let before = slapd.change_marks();
    run(&exact, record("a", &json!({"mail": ["SMTP@x", "SMTP2@x", "c@x", "d@x"], "title": "smtp@x"})));
    assert_untouched(&slapd, &before);
}

#[test]
fn proxy_addresses_compare_exactly_unless_the_rule_says_otherwise() {
    let dir = ldap_tests::slapd::scratch();
    let file = dir.path().join("directory.ldif");
    let properties = json!({"type": "object", "properties": {"id": {"type": "string"},
        "addresses": {"type": "array", "items": {"type": "string"}}}});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": properties});
    let run = |compare: Value, addresses: Value| {
        let config = json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"p": {
            "dn_template": "cn={id},dc=x", "object_classes": ["user"], "compare": compare,
            "attribute_mapping": {"id": "cn", "addresses": "proxyAddresses"}}}});
        let record = json!({"type": "RECORD", "stream": "p", "record": {"id": "a", "addresses": addresses}});
        Run::target(&config).messages(&[schema.clone(), record]).run().succeeds();
        let entries = ldap_tests::ldif::parse_file(&file);
        entries["cn=a,dc=x"]["proxyaddresses"].clone()
    };
    let first = run(json!({}), json!(["SMTP:a@x", "smtp:b@x"]));
    assert_eq!(first, values(&["SMTP:a@x", "smtp:b@x"]));
    let same = run(json!({"proxyAddresses": "schema"}), json!(["smtp:a@x", "SMTP:b@x"]));
    assert_eq!(same, first);
    let swapped = run(json!({}), json!(["smtp:a@x", "SMTP:b@x", "smtp:c@x"]));
    assert_eq!(swapped, values(&["smtp:a@x", "SMTP:b@x", "smtp:c@x"]));
}

/// Of an IA5 string, octets, a Directory String and by a template; a list keeps its other values.
#[test]
fn an_empty_text_is_no_value_whatever_the_syntax() {
    let slapd = slapd();
    let config = config(&slapd, &json!({"values": {"labeledURI": "{title|default:}"}, "compare": {}}));
    let run = |record: Value| Run::target(&config).messages(&[schema(), record, state()]).run().succeeds();
    run(record("a", &json!({"mail": ["1@x", ""], "phone": "1", "title": "Dr.", "pw": "Zmlyc3Q="})));
    let first = entry(&slapd, "a");
    assert_eq!(first["mail"], values(&["1@x"]));
    assert_eq!(first["labeleduri"], values(&["Dr."]));
    run(record("a", &json!({"mail": "", "phone": "", "title": ""})));
    let second = entry(&slapd, "a");
    for name in ["mail", "telephonenumber", "title", "labeleduri"] {
        assert!(!second.contains_key(name), "{name}: {:?}", second.get(name));
    }
    run(record("b", &json!({"mail": "", "phone": "", "title": ""})));
    assert!(!entry(&slapd, "b").contains_key("mail"));
}
