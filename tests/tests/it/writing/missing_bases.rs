//! Bases in settings that do not exist: nothing is found below them, and nothing protected.

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, lines, target_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";
const PEOPLE: &str = "ou=people,dc=example,dc=test";
const MISSPELT: &str = "ou=poeple,dc=example,dc=test";

fn seed() -> String {
    unit(PEOPLE)
        + &format!(
            "dn: uid=boss,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: boss\ncn: Boss\nsn: Boss\nemployeeNumber: 1\n\n"
        )
}

fn messages() -> [Value; 2] {
    let any = json!({});
    [
        json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {
            "id": any, "login": any, "boss": any}}}),
        json!({"type": "RECORD", "stream": "p", "record": {"id": "2", "login": "ada", "boss": "1"}}),
    ]
}

fn config(server: &Value, rule: &Value, more: &Value) -> Value {
    let base = json!({"dn_template": format!("uid={{login}},{PEOPLE}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "login": ["uid", "cn", "sn"]}});
    with(&with(server, more), &json!({"mapping_rules": {"p": with(&base, rule)}}))
}

fn run(config: &Value, arguments: &[&str]) -> Output {
    arguments.iter().fold(Run::target(config).stdin(lines(&messages())), |run, arg| run.arg(*arg)).run()
}

#[test]
fn a_misspelt_base_is_an_error_where_something_would_be_made_twice_or_lose_its_protection() {
    let slapd = Slapd::start(SlapdOptions::default().seed(seed()));
    let server = target_config(&slapd);
    let marks = slapd.change_marks();
    let boss =
        |base: &str| json!({"manager": {"find": "(employeeNumber={boss})", "base": base, "missing": "warn"}});
    let none = json!({});
    for (setting, rule, more) in [
        ("mapping_rules.p.references.manager.base", json!({"references": boss(MISSPELT)}), &none),
        (
            "mapping_rules.p.unique.displayName.base",
            json!({"unique": {"displayName": {"templates": ["{login}", "{login}{n}"], "base": MISSPELT}}}),
            &none,
        ),
        (
            "mapping_rules.p.scope_base",
            json!({"match": "(employeeNumber={id})", "scope_base": MISSPELT}),
            &none,
        ),
        ("protect.below", none.clone(), &json!({"protect": {"below": MISSPELT}})),
        ("protect.dns", none.clone(), &json!({"protect": {"dns": [format!("uid=bos,{PEOPLE}")]}})),
        // A name outside of what the server has.
        ("protect.below", none.clone(), &json!({"protect": {"below": "ou=people,dc=exmaple,dc=test"}})),
    ] {
        let config = config(&server, &rule, more);
        // The plan and the test of the settings say the same as the run.
        for arguments in [&[][..], &["--dry-run"], &["--test"]] {
            let output = run(&config, arguments);
            assert_eq!(output.code, 2, "{setting} {arguments:?}: {}{}", output.stderr, output.stdout_text());
            if arguments != ["--test"] {
                output.reports_setting(setting);
            }
        }
        let output = Run::target(&config).arg("doctor").run().exits(1);
        assert!(output.stdout_text().contains(setting), "{setting}: {}", output.stdout_text());
    }
    assert_untouched(&slapd, &marks);
    // With the right name, the manager is found.
    let right = config(
        &server,
        &json!({"references": boss(PEOPLE)}),
        &json!({"protect": {"dns": [format!("uid=boss,{PEOPLE}")]}}),
    );
    run(&right, &[]).succeeds().counts(&[("added", 1)]);
    assert!(slapd.dump().values().any(|entry| entry.contains_key("manager")));
}

#[test]
fn a_base_that_the_run_may_create_and_that_is_similar_to_none_is_a_warning() {
    let slapd = Slapd::start(SlapdOptions::default().seed(seed()));
    let far = format!("ou=leavers-of-this-year,{SUFFIX}");
    slapd.ldapadd(unit(&format!("ou=leavers-2025,{SUFFIX}")));
    let rule = json!({"references": {"manager": {"find": "(employeeNumber={boss})", "base": far, "missing": "warn"}},
        "on_delete": {"move_to": far}});
    let config = config(&target_config(&slapd), &rule, &json!({"protect": {"below": far}}));
    let output = run(&config, &[]).succeeds();
    for setting in
        ["mapping_rules.p.references.manager.base", "mapping_rules.p.on_delete.move_to", "protect.below"]
    {
        output.stderr.reports(&json!({"level": "warning", "setting": setting, "dn": far}));
    }
}

#[test]
fn a_new_file_has_no_bases() {
    let folder = scratch();
    let file = folder.path().join("new.ldif");
    let server = json!({"server_url": format!("ldif:{}", file.display())});
    let rule = json!({"match": "(employeeNumber={id})", "scope_base": MISSPELT,
        "dn_template": format!("uid={{login}},{MISSPELT}")});
    run(&config(&server, &rule, &json!({})), &[]).succeeds().counts(&[("added", 1)]);
    // Another one has the unit that was meant.
    std::fs::write(&file, format!("dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\n{}", unit(PEOPLE)))
        .unwrap();
    run(&config(&server, &rule, &json!({})), &[]).exits(2).reports_setting("mapping_rules.p.scope_base");
}
