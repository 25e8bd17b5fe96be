//! Which rule a stream has.

use ldap_tests::run::Run;
use serde_json::json;

use super::{USERS, company, record, rule, schema, state, values};
use crate::support::{assert_untouched, no_panic, target_config, with};

#[test]
fn the_star_rule_is_for_streams_without_one_of_their_own() {
    let slapd = company();
    let config = with(
        &target_config(&slapd),
        &json!({
            "default_base_dn": "ou=imported,dc=company,dc=com",
            "mapping_rules": {
                "users": rule(),
                "*": {"dn_template": "cn={id},ou=imported,dc=company,dc=com", "object_classes": ["device"],
                      "attribute_mapping": {"id": "cn", "name": "description"}},
            },
        }),
    );
    // What `meltano config test target-ldap` sends.
    let meltano = [
        json!({"type": "SCHEMA", "stream": "meltano_test_stream", "key_properties": ["id"], "schema": {"properties": {
            "id": {"type": "integer"}, "name": {"type": "string"},
            "created_at": {"type": "string", "format": "date-time"}}}}),
        json!({"type": "RECORD", "stream": "meltano_test_stream",
               "record": {"id": 1, "name": "Test", "created_at": "2026-11-22T20:27:39.148863+00:00"}}),
    ];
    let mut messages = meltano.to_vec();
    messages.extend([schema(), record("own"), state(3)]);
    let output = Run::target(&config).messages(&messages).run().succeeds();
    for word in ["error", "exception"] {
        assert!(
            !(output.stderr.to_lowercase() + &output.stdout_text().to_lowercase()).contains(word),
            "{}",
            output.stderr
        );
    }
    let tree = slapd.dump();
    assert_eq!(tree["cn=1,ou=imported,dc=company,dc=com"]["description"], values(&["Test"]));
    assert!(tree.contains_key(&format!("uid=own,{USERS}")));
}

#[test]
fn a_stream_without_rule_and_dn_is_a_configuration_fault() {
    let slapd = company();
    let before = slapd.change_marks();
    let output = Run::target(&target_config(&slapd))
        .messages(&[schema(), record("jdoe"), state(1)])
        .run()
        .exits(2)
        .reports_setting("mapping_rules.users");
    no_panic(&output);
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn a_misspelt_key_inside_a_rule_is_refused_with_the_nearest_name() {
    let slapd = company();
    let before = slapd.change_marks();
    let mut rule = rule();
    rule["deafults"] = json!({"title": "x"});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    Run::target(&config)
        .messages(&[schema(), record("jdoe")])
        .run()
        .exits(2)
        .reports(&json!({"setting": "mapping_rules.users.deafults", "nearest": "defaults"}));
    assert_untouched(&slapd, &before);
}
