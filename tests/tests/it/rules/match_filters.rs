//! `match`: filters, and the entries that they find.

use ldap_tests::cutter::{Cutter, Way};
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::{BASE, File, record, rejected, schema, state, warnings};
use crate::support::{assert_untouched, done, no_panic, people, target_config, with};

#[test]
fn a_match_by_a_dn_escapes_its_values_as_in_one() {
    let ldif = format!(
        "dn: uid=root\\,ou\\=admins,{BASE}\nobjectClass: inetOrgPerson\nuid: root,ou=admins\ncn: x\nsn: x\n\n\
        dn: uid=a,{BASE}\nobjectClass: inetOrgPerson\nuid: a\ncn: a\nsn: a\nmanager: uid=root\\,ou\\=admins,{BASE}\n\n\
        dn: uid=b,{BASE}\nobjectClass: inetOrgPerson\nuid: b\ncn: b\nsn: b\nmanager: uid=root,ou=admins,{BASE}\n"
    );
    let slapd = Slapd::start(SlapdOptions::with_users().seed(ldif));
    let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"], "operations": {"rename": false},
        "match": format!("(manager=uid={{boss}},{BASE})"), "attribute_mapping": {"id": "uid", "title": "title"}});
    let text = json!({"type": ["null", "string"]});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule}}));
    let messages = [
        schema(&json!({"id": text, "boss": text, "title": text})),
        record(&json!({"id": "new", "boss": "root,ou=admins", "title": "T"})),
        state(),
    ];
    done(Run::target(&config).messages(&messages).run());
    let tree = slapd.dump();
    assert!(
        tree[&format!("uid=a,{BASE}")].contains_key("title")
            && !tree[&format!("uid=b,{BASE}")].contains_key("title")
    );
}

#[test]
fn a_filter_that_fits_everything_does_not_have_everything_read() {
    const COUNT: usize = 2_000;
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(COUNT, BASE)));
    let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
        "match": "(givenName={first})", "attribute_mapping": {"id": ["uid", "cn", "sn"], "first": "givenName"}});
    let text = json!({"type": ["null", "string"]});
    let octets = |records: usize| {
        let cutter = Cutter::start(slapd.ldap_port(), Way::ToClient, &[]);
        let dir = scratch();
        let rejects = dir.path().join("rejects.jsonl");
        let config = with(
            &target_config(&slapd),
            &json!({"mapping_rules": {"p": rule}, "server_url": cutter.uri(),
            "on_error": "skip", "reject_file": rejects}),
        );
        let mut messages = vec![schema(&json!({"id": text, "first": text}))];
        messages.extend((0..records).map(|n| record(&json!({"id": format!("n{n}"), "first": "Person"}))));
        messages.push(state());
        Run::target(&config).messages(&messages).run().exits(4);
        assert_eq!(rejected(&rejects).len(), records);
        cutter.passed()
    };
    let (few, many) = (octets(1), octets(21));
    // Nothing is deleted, so no more names are read than the message has.
    assert!(
        many.saturating_sub(few) / 20 < 4_000,
        "{} octets for each record",
        many.saturating_sub(few) / 20
    );
}

/// Which entries a record fits is read when something is to be deleted, and then all of them are protected.
#[test]
fn what_a_rejected_record_fits_is_not_deleted_by_another_records_deletion() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(20, BASE)));
    let dir = scratch();
    let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": ["uid", "cn", "sn"], "first": "givenName"}});
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": {"p": with(&rule, &json!({"match": "(givenName={first})"})), "q": rule},
            "on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")}),
    );
    let text = json!({"type": ["null", "string"]});
    let properties = json!({"id": text, "first": text, "_sdc_deleted_at": text});
    let mut other = schema(&properties);
    other["stream"] = json!("q");
    let mut messages = vec![schema(&properties), other, record(&json!({"id": "new", "first": "Person"}))];
    messages.extend((0..20).map(|n| {
        let mut gone =
            record(&json!({"id": format!("person{n}"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
        gone["stream"] = json!("q");
        gone
    }));
    messages.push(state());
    let before = slapd.dump();
    let output = Run::target(&config).messages(&messages).run().exits(4);
    assert_eq!(slapd.dump(), before);
    assert_eq!(warnings(&output, "is not deleted").len(), 20, "{}", output.stderr);
}

/// Nothing gives entries what `match` asks for: they are found by their names alone, and a new name makes a second entry.
#[test]
fn entries_that_match_does_not_find_again_are_counted_and_one_is_named() {
    let text = json!({"type": ["null", "string"]});
    let messages = [
        schema(&json!({"id": text, "last": text, "number": text})),
        record(&json!({"id": "a", "last": "A", "number": "1"})),
        record(&json!({"id": "b", "last": "B", "number": "2"})),
        record(&json!({"id": "c", "last": "C", "number": "3"})),
        state(),
    ];
    let matched = json!({"match": "(employeeNumber={number})"});
    let file = File::new(&matched, &["a"]);
    // The second run finds them by their names, and by nothing else.
    for _ in 0..2 {
        let output = done(Run::target(&file.config()).messages(&messages).run());
        let named = output.stderr.about(&json!({"setting": "mapping_rules.p.match"}));
        assert_eq!(named.len(), 1, "{}", output.stderr);
        let dn = format!("uid=a,{BASE}");
        assert!(named[0]["entries"] == 3 && named[0]["dn"] == dn, "{}", named[0]);
    }
    let mapped = json!({"id": ["uid", "cn"], "last": "sn", "number": "employeeNumber"});
    let file = File::new(&with(&matched, &json!({"attribute_mapping": mapped})), &["a"]);
    for _ in 0..2 {
        let output = done(Run::target(&file.config()).messages(&messages).run());
        output.stderr.does_not_report(&json!({"setting": "mapping_rules.p.match"}));
    }
}

/// A server's schema says what there is: nothing is deleted or made by a filter that can find nothing.
#[test]
fn a_name_in_a_filter_that_the_server_does_not_know_is_a_wrong_setting() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let before = slapd.change_marks();
    for (wrong, near) in [
        (json!({"match": "(employeNumber={id})"}), "employeeNumber"),
        (json!({"scope_base": BASE, "scope_filter": "(objectClass=inetOrgPersn)"}), "inetOrgPerson"),
    ] {
        let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": ["uid", "cn", "sn", "employeeNumber"]}});
        let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": with(&rule, &wrong)}}));
        let text = json!({"type": ["null", "string"]});
        let messages = [
            schema(&json!({"id": text, "_sdc_deleted_at": text})),
            record(&json!({"id": "alice", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
            state(),
        ];
        let setting = if wrong["match"].is_null() { "scope_filter" } else { "match" };
        let setting = format!("mapping_rules.p.{setting}");
        let output = Run::target(&config).messages(&messages).run().exits(2);
        no_panic(&output.reports(&json!({"setting": setting, "nearest": near})));
        assert_untouched(&slapd, &before);
    }
}
