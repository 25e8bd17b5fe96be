//! A plan judges filters as the run does, also over entries that it has copied: by what the server maintains, and by rules of its own.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::json;

use super::{IN, person, planned, record, rejected, slapd};
use crate::support::{lines, target_config, with};

/// An entry is added below the unit first: from then on the plan has a copy of the unit.
#[test]
fn a_filter_over_a_copied_entry_protects_as_in_the_run() {
    let crew = format!("ou=crew,{IN}");
    for (filter, is_protected) in [
        ("(&(ou=crew)(createTimestamp>=20000101000000Z))", true),
        ("(&(ou=crew)(createTimestamp<=20000101000000Z))", false),
        ("(&(ou=crew)(!(entryUUID=00000000-0000-4000-8000-000000000000)))", true),
        ("(&(ou=crew)(creatorsName=cn=admin,dc=example,dc=test))", true),
        ("(&(objectClass=organizationalUnit)(ou~=crue))", true),
        ("(&(objectClass=organizationalUnit)(ou~=sailors))", false),
        ("(entryDN:dn:=ou=crew,ou=in,dc=example,dc=test)", true),
    ] {
        let slapd = slapd();
        let dir = scratch();
        let config = with(
            &target_config(&slapd),
            &json!({"protect": {"filter": filter}, "max_in_flight": 1, "on_error": "skip"}),
        );
        let messages = [
            person(&format!("uid=new,{crew}"), "x"),
            record(
                &crew,
                &json!({"objectClass": ["organizationalUnit"], "ou": ["crew"], "description": ["x"]}),
            ),
        ];
        let reject_file = json!({"reject_file": dir.path().join("plan.jsonl")});
        let plan = planned(&slapd, &with(&config, &reject_file), &messages);
        let (_, of_run) = rejected(&config, &messages, dir.path());
        assert_eq!(
            (plan == 1, of_run.len() == 1),
            (is_protected, is_protected),
            "{filter}: {plan}, {of_run:?}"
        );
    }
}

/// The plan's copy of an entry has the identifier by which `match` finds it again.
#[test]
fn match_finds_a_copied_entry_by_its_identifier() {
    let slapd = slapd();
    let entry = format!("uid=a,{IN}");
    let id = slapd.dump_below(&entry, &["entryUUID"]).values().next().unwrap()["entryuuid"]
        .first()
        .unwrap()
        .clone();
    let id = String::from_utf8(id).unwrap();
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"properties": {
        "id": text, "login": text, "title": text, "_sdc_deleted_at": text}}});
    let of = |record| json!({"type": "RECORD", "stream": "users", "record": record});
    let messages = [
        schema,
        of(json!({"id": id, "login": "a", "title": "new"})),
        of(json!({"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
    ];
    let rule = json!({"dn_template": format!("uid={{login}},{IN}"), "object_classes": ["inetOrgPerson"],
        "match": "(entryUUID={id})", "attribute_mapping": {"login": "uid", "title": "title"}, "scope_base": IN});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    let counts = [("modified", 1), ("deleted", 1)];
    Run::target(&config).arg("--dry-run").stdin(lines(&messages)).run().succeeds().counts(&counts);
    Run::target(&config).stdin(lines(&messages)).run().succeeds().counts(&counts);
}
