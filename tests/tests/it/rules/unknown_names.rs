//! Names of attributes, classes, streams and keys that do not exist.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::{BASE, File, record, schema, state, warnings};
use crate::support::{assert_untouched, done, no_panic, target_config, with};

#[test]
fn a_name_that_the_schema_does_not_have_is_said_once_with_the_nearest() {
    let rule = json!({"attribute_mapping": {"id": ["uid", "cn", "sn"], "email": "mail"}, "values": {"title": "{Job_Title}"},
        "policies": {"mial": "keep"}, "password": {"from": "Pass_Word", "mode": "hash:ssha512"}});
    let file = File::new(&rule, &[]);
    let text = json!({"type": ["null", "string"]});
    let schema = schema(&json!({"id": text, "email": text, "job_title": text, "password": text}));
    let messages = [
        schema.clone(),
        record(&json!({"id": "a", "email": "a@x.example", "job_title": "T", "password": "x"})),
        schema,
        record(&json!({"id": "b", "email": "b@x.example", "job_title": "T", "password": "x"})),
        state(),
    ];
    let output = done(Run::target(&file.config()).messages(&messages).run());
    for (wrong, right) in [("Job_Title", "job_title"), ("mial", "mail"), ("Pass_Word", "password")] {
        let named = warnings(&output, wrong);
        assert_eq!(named.len(), 1, "{wrong}: {}", output.stderr);
        assert_eq!(named[0]["nearest"], right, "{}", named[0]);
    }
}

#[test]
fn a_name_that_an_entry_is_named_or_found_by_has_to_be_in_the_schema() {
    let text = json!({"type": ["null", "string"]});
    let messages =
        [schema(&json!({"id": text, "last": text})), record(&json!({"id": "a", "last": "A"})), state()];
    for (rule, part) in [
        (json!({"dn_template": format!("uid={{Id}},{BASE}")}), "dn_template"),
        (json!({"match": "(employeeNumber={Number})"}), "match"),
        // The attribute is mapped from a property that is not there.
        (
            json!({"dn_template": format!("mail={{mail}},{BASE}"), "attribute_mapping": {"id": ["uid", "cn", "sn"], "e_mail": "mail"}}),
            "dn_template",
        ),
        // It is made of a property that is not there: no record can match by it.
        (
            json!({"match": "(employeeNumber={employeeNumber})", "values": {"employeeNumber": "{Number}"}}),
            "match",
        ),
    ] {
        let file = File::new(&rule, &[]);
        let before = file.tree();
        let output = Run::target(&file.config()).messages(&messages).run().exits(2);
        no_panic(&output);
        let output = output.reports(&json!({"setting": format!("mapping_rules.p.{part}"), "line": 1}));
        assert!(output.stdout.is_empty() && file.tree() == before);
    }
    // What may be more than the SCHEMA names may be there.
    let file = File::new(&json!({"dn_template": format!("uid={{Id}},{BASE}")}), &[]);
    let mut open = schema(&json!({"id": text, "last": text}));
    open["schema"]["additionalProperties"] = json!(true);
    let messages = [open, record(&json!({"id": "a", "Id": "a", "last": "A"})), state()];
    done(Run::target(&file.config()).messages(&messages).run());
}

#[test]
fn a_part_of_a_rule_that_is_none_is_refused_with_the_nearest() {
    for (wrong, wrong_part, right) in [
        (json!({"on_delte": "ignore"}), "on_delte", "on_delete"),
        (json!({"operations": {"deletes": false}}), "operations.deletes", "delete"),
        (json!({"password": {"from": "id", "mode": "as_is", "polcy": "force"}}), "password.polcy", "policy"),
        (json!({"accounts": {"enable": true}}), "accounts.enable", "enabled"),
        (json!({"on_delete": {"moveto": "dc=x"}}), "on_delete.moveto", "move_to"),
        (json!({"Policies": {}}), "Policies", "policies"),
    ] {
        let file = File::new(&wrong, &[]);
        let output = Run::target(&file.config()).messages(&[state()]).run().exits(2);
        output.reports(&json!({"setting": format!("mapping_rules.p.{wrong_part}"), "nearest": right}));
    }
    let file = File::new(&json!({}), &[]);
    let config = with(&file.config(), &json!({"dn_rewrite": [{"from": "dc=a", "too": "dc=b"}]}));
    Run::target(&config)
        .messages(&[state()])
        .run()
        .exits(2)
        .reports(&json!({"setting": "dn_rewrite[0].too", "nearest": "to"}));
}

/// It would stand where everybody reads it.
#[test]
fn the_property_of_a_password_is_used_for_nothing_else() {
    for (part, more) in [
        (
            "attribute_mapping.pw",
            json!({"attribute_mapping": {"pw": "description", "id": ["uid", "cn", "sn"]}}),
        ),
        ("values.description", json!({"values": {"description": "of {id}: {pw}"}})),
        ("dn_template", json!({"dn_template": format!("uid={{id}}-{{pw|lower}},{BASE}")})),
        ("match", json!({"match": "(description={pw})"})),
        ("accounts.enabled", json!({"accounts": {"enabled": "pw"}})),
    ] {
        let file = File::new(&with(&json!({"password": {"from": "pw", "mode": "as_is"}}), &more), &[]);
        let before = file.tree();
        let output = Run::target(&file.config()).messages(&[state()]).run().exits(2);
        output.reports(&json!({"setting": format!("mapping_rules.p.{part}")}));
        assert!(file.tree() == before);
    }
}

#[test]
fn a_rule_that_no_stream_used_is_said_with_the_nearest_stream() {
    let file = File::new(&json!({}), &[]);
    let mut config = file.config();
    config["mapping_rules"]["*"] = file.rule.clone();
    config["mapping_rules"]["persons"] = file.rule.clone();
    let text = json!({"type": "string"});
    let mut schema = schema(&json!({"id": text, "last": text}));
    schema["stream"] = json!("person");
    let output = done(Run::target(&config).messages(&[schema, state()]).run());
    let named = output.stderr.about(&json!({"setting": "mapping_rules.persons"}));
    assert!(named.len() == 1 && named[0]["nearest"] == "person", "{}", output.stderr);
    assert_eq!(output.stderr.about(&json!({"setting": "mapping_rules.p"})).len(), 1, "{}", output.stderr);
}

#[test]
fn a_class_that_the_server_does_not_have_is_refused_before_the_first_record() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let before = slapd.change_marks();
    let rule = |class: &str| {
        json!({"mapping_rules": {"p": {"dn_template": format!("uid={{id}},{BASE}"), "object_classes": [class],
        "attribute_mapping": {"id": ["uid", "cn", "sn"], "title": "titel"}}}})
    };
    let config = with(&target_config(&slapd), &rule("inetOrgPersn"));
    let output = Run::target(&config)
        .messages(&[state()])
        .run()
        .exits(2)
        .reports(&json!({"setting": "mapping_rules.p.object_classes", "nearest": "inetOrgPerson"}));
    assert!(output.stdout.is_empty());
    assert_untouched(&slapd, &before);
    let text = json!({"type": "string"});
    let config = with(&target_config(&slapd), &rule("inetOrgPerson"));
    let output =
        done(Run::target(&config).messages(&[schema(&json!({"id": text, "title": text})), state()]).run());
    let named = warnings(&output, "titel");
    assert!(named.len() == 1 && named[0]["nearest"] == "title", "{}", output.stderr);
    // A file takes any.
    let file = File::new(&json!({"object_classes": ["inetOrgPersn"]}), &[]);
    done(Run::target(&file.config()).messages(&[state()]).run());
}

#[test]
fn a_form_of_plan_without_a_dry_run_is_refused_and_nothing_is_written() {
    let file = File::new(&json!({}), &[]);
    let before = file.tree();
    let text = json!({"type": "string"});
    let messages =
        [schema(&json!({"id": text, "last": text})), record(&json!({"id": "a", "last": "A"})), state()];
    let output =
        Run::target(&file.config()).arg("--plan-format").arg("html").messages(&messages).run().exits(2);
    let output = output.reports_setting("--plan-format");
    assert!(output.stdout.is_empty() && file.tree() == before);
    let config = with(&file.config(), &json!({"dry_run": true}));
    let output = Run::target(&config).arg("--plan-format").arg("json").messages(&messages).run().succeeds();
    assert!(!output.stdout.is_empty() && file.tree() == before);
}
