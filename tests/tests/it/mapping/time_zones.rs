//! `default_timezone`: the zone of times that do not name one.

use ldap_tests::ldif::parse_file;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::with;

fn config(path: &std::path::Path, zone: &Value) -> Value {
    let rule = json!({"dn_template": "cn={id},dc=x", "object_classes": ["device"],
        "attribute_mapping": {"id": "cn", "when": "pwdAccountLockedTime", "until": "accountExpires", "mail": "description"},
        "values": {"title": "{when|date:%Y-%m-%dT%H:%M%z}"}});
    with(
        &json!({"server_url": format!("ldif:{}", path.display()), "mapping_rules": {"p": rule}}),
        &json!({"default_timezone": zone}),
    )
}

#[test]
fn times_without_a_zone_are_in_the_configured_one() {
    let dir = scratch();
    let text = json!({"type": ["null", "string"]});
    // Steps of 100 ns since 1601 until 2026-07-01T10:00:00Z.
    let filetime =
        |utc_hours: i64| (134_273_736_000_000_000_i64 + (utc_hours - 10) * 36_000_000_000).to_string();
    for (n, (zone, when, written, shown, expires)) in [
        (Value::Null, "2026-07-01T12:00:00", "20260701120000Z", "2026-07-01T12:00+0000", 12),
        (json!("Europe/Berlin"), "2026-07-01T12:00:00", "20260701100000Z", "2026-07-01T12:00+0200", 10),
        (json!("+05:30"), "2026-07-01 12:00:00", "20260701063000Z", "2026-07-01T12:00+0530", 0),
        (json!("Europe/Berlin"), "2026-07-01T12:00:00Z", "20260701120000Z", "2026-07-01T12:00+0000", 12),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{n}.ldif"));
        Run::target(&config(&path, &zone))
            .messages(&[
                json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"],
                    "schema": {"properties": {"id": text, "when": text, "until": text, "mail": text}}}),
                json!({"type": "RECORD", "stream": "p", "record": {"id": "a", "when": when, "until": when}}),
            ])
            .run()
            .exits(0);
        let entry = &parse_file(&path)["cn=a,dc=x"];
        assert_eq!(entry["pwdaccountlockedtime"], [written.as_bytes().to_vec()].into(), "{zone}");
        assert_eq!(entry["title"], [shown.as_bytes().to_vec()].into(), "{zone}");
        if expires > 0 {
            assert_eq!(entry["accountexpires"], [filetime(expires).into_bytes()].into(), "{zone}");
        }
    }
    let wrong = config(&dir.path().join("x.ldif"), &json!("Europe/Nowhere"));
    Run::target(&wrong).messages(&[]).run().exits(2).reports_setting("default_timezone");
}

/// `format: email` matters for `mail` alone.
#[test]
fn an_address_needs_its_format_only_where_it_is_one() {
    let dir = scratch();
    let path = dir.path().join("d.ldif");
    let email = json!({"type": ["null", "string"], "format": "email"});
    let run = |mapping: Value| {
        let rule = json!({"dn_template": "cn={id},dc=x", "object_classes": ["inetOrgPerson"],
            "attribute_mapping": with(&json!({"id": ["cn", "sn"]}), &mapping), "values": {"title": "{contact}"}});
        let config = json!({"server_url": format!("ldif:{}", path.display()), "mapping_rules": {"p": rule}});
        Run::target(&config)
            .messages(&[
                json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {
                    "id": {"type": "string"}, "contact": email}}}),
                json!({"type": "RECORD", "stream": "p", "record": {"id": "a", "contact": "room 7"}}),
            ])
            .run()
    };
    run(json!({"contact": "description"})).exits(0);
    run(json!({})).exits(0);
    run(json!({"contact": "mail"})).exits(1);
}
