//! `limits`: the most that a run may do, by stream and kind.

use std::sync::Arc;

use ldap_tests::relay::Relay;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{USERS, config, messages, mixed, seed, slapd, user, whole};
use crate::support::{assert_untouched, with};

#[test]
fn a_run_beyond_a_limit_of_a_stream_and_a_kind_writes_nothing() {
    let slapd = slapd();
    let before = slapd.change_marks();
    // Twenty users are in scope: what else is below the base counts for `max_*` alone.
    for (stream, kind, limit) in [
        ("users", "add", json!(2)),
        ("users", "add", json!("10%")),
        ("users", "rename", json!("9.9%")),
        ("users", "delete", json!(1)),
        ("users", "delete", json!("9%")),
        ("users", "modify", json!(0)),
        ("users", "change", json!(7)),
        ("*", "delete", json!(1)),
    ] {
        let config = config(&slapd, &json!({"limits": {stream: {kind: limit}}}));
        let setting = format!("limits.{stream}.{kind}");
        let output = Run::target(&config).messages(&mixed()).run().exits(1);
        let output = output.reports(&json!({"level": "error", "setting": setting, "stream": "users"}));
        assert!(output.stdout.is_empty(), "no STATE");
        // A plan is shown, and says the same.
        let plan = Run::target(&config).messages(&mixed()).arg("--dry-run").run().exits(1);
        assert_eq!(plan.stdout_text().matches("\nchangetype: add").count(), 3);
        plan.reports(&json!({"level": "error", "setting": setting}));
        assert_untouched(&slapd, &before);
    }
    let within = json!({"limits": {"users": {"add": 3, "rename": "10%", "delete": 2, "modify": "5%", "change": 8},
        "teams": {"delete": 0, "modify": 1}}, "max_deletes": 2});
    let output = Run::target(&config(&slapd, &within)).messages(&mixed()).run().succeeds();
    output.counts(&[("added", 3), ("renamed", 2), ("modified", 2), ("deleted", 2)]);
}

#[test]
fn wrong_limits_are_named_with_what_would_be_right() {
    let slapd = slapd();
    let before = slapd.change_marks();
    for (limits, setting, nearest) in [
        (json!({"user": {"delete": 1}}), "limits.user", Some("users")),
        (json!({"users": {"deletes": 1}}), "limits.users.deletes", Some("delete")),
        (json!({"users": {"delete": "five"}}), "limits.users.delete", None),
        (json!({"users": {"delete": -1}}), "limits.users.delete", None),
        (json!({"users": 3}), "limits.users", None),
        (json!(["users"]), "limits", None),
    ] {
        let output =
            Run::target(&config(&slapd, &json!({"limits": limits}))).messages(&mixed()).run().exits(2);
        let mut fields = json!({"level": "error", "setting": setting});
        if let Some(nearest) = nearest {
            fields["nearest"] = json!(nearest);
        }
        output.reports(&fields);
    }
    let misspelled = config(&slapd, &json!({"limit": {"users": {"delete": 1}}}));
    Run::target(&misspelled).messages(&mixed()).run().exits(2);
    assert_untouched(&slapd, &before);
}

#[test]
fn a_version_that_takes_too_many_of_one_stream_is_held() {
    let slapd = slapd();
    let before = slapd.change_marks();
    let input = messages((0..15).map(|n| user(n, &json!({}))).chain([whole()]));
    let with_limit = |limit: Value| {
        let config = config(&slapd, &json!({"limits": {"users": {"delete": limit}}, "max_deletes": 9}));
        Run::target(&config).messages(&input).run()
    };
    with_limit(json!("24%")).exits(1).reports_setting("limits.users.delete");
    assert_untouched(&slapd, &before);
    with_limit(json!("25%")).succeeds().counts(&[("deleted", 5)]);
}

/// What the rehearsal counted is counted again while the run writes, by stream.
#[test]
fn entries_that_appear_after_the_rehearsal_count_for_the_stream_too() {
    let tree = format!("dn: ou=team,{USERS}\nobjectClass: organizationalUnit\nou: team\n\n");
    let slapd = Arc::new(Slapd::start(SlapdOptions::default().seed(seed() + &tree)));
    let behind = Arc::downgrade(&slapd);
    // Ahead of the first deletion (DelRequest, RFC 4511 section 4.8).
    let relay = Relay::ahead_of(slapd.ldap_port(), 10, move |number| {
        if number == 1 {
            let child = format!("dn: cn=x,ou=team,{USERS}\nchangetype: add\nobjectClass: device\ncn: x\n\n");
            behind.upgrade().unwrap().ldapmodify(child);
        }
    });
    let rules = json!({"units": {"dn_template": format!("ou={{id}},{USERS}"), "object_classes": ["organizationalUnit"],
        "attribute_mapping": {"id": "ou"}, "on_delete": "tree"}});
    let more = json!({"mapping_rules": rules, "limits": {"units": {"delete": 1}}, "max_deletes": 9,
        "server_url": relay.uri()});
    let schema = json!({"type": "SCHEMA", "stream": "units", "key_properties": ["id"], "schema": {"properties": {
        "id": {"type": "string"}, "_sdc_deleted_at": {"type": "string"}}}});
    let row = json!({"type": "RECORD", "stream": "units", "record": {"id": "team", "_sdc_deleted_at": "2026-11-30T00:00:00Z"}});
    let output =
        Run::target(&with(&config(&slapd, &json!({})), &more)).messages(&[schema, row]).run().exits(1);
    output.reports(&json!({"level": "error", "setting": "limits.units.delete"}));
    assert!(slapd.dump().contains_key(&format!("cn=x,ou=team,{USERS}")));
}
