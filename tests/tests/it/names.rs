//! Names in the settings that the directory does not know, and keys that the settings do not have.

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{tap_config, with};

fn users(slapd: &Slapd, stream: &Value) -> Value {
    let users = with(&json!({"name": "users", "base_dn": "ou=people,dc=example,dc=test"}), stream);
    with(&tap_config(slapd), &json!({"schemas": [users]}))
}

fn run(config: &Value) -> Output {
    Run::tap(config).arg("--log-format").arg("json").run()
}

/// The warnings about names: setting, name, and the nearest one.
fn warned(output: &Output) -> Vec<(String, String, Value)> {
    let lines = output.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    lines
        .filter(|line| line["level"] == "warning" && line["setting"].is_string())
        .map(|line| (text(&line["setting"]), text(&line["name"]), line["nearest"].clone()))
        .collect()
}

#[test]
fn an_unknown_class_in_a_filter_is_named_with_the_nearest_before_the_search() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let output = run(&users(&slapd, &json!({"filter": "(&(objectClass=persn)(!(mial=x)))"}))).succeeds();
    assert_eq!(
        warned(&output),
        [
            ("schemas[0].filter".into(), "mial".into(), json!("mail")),
            ("schemas[0].filter".into(), "persn".into(), json!("person")),
        ]
    );
    // What is right has no warning: OIDs, options, aliases, operational attributes, extensible matches.
    let right = json!({
        "filter": "(&(2.5.4.0=2.5.6.6)(objectClass=INETORGPERSON)(cn:dn:2.4.6.8:=x)(surname;lang-de=*)(entryCSN=*)(hasSubordinates=FALSE)(1.2.3.4=x))",
        "attributes": ["*", "+", "commonName", "cn;lang-de", "userCertificate;binary", "2.5.4.4", "entryUUID", "@inetOrgPerson"],
        "exclude_attributes": ["userPassword"],
        "single_valued": ["gn"],
        "key_properties": ["dn"],
    });
    let output = run(&users(&slapd, &right)).succeeds();
    assert_eq!(warned(&output), []);
}

#[test]
fn a_misspelt_attribute_is_2_and_names_the_setting_and_the_nearest() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    for (stream, setting, right) in [
        (json!({"attributes": ["uid", "emial"]}), "schemas[0].attributes", "`mail`"),
        (json!({"exclude_attributes": ["userPasword"]}), "schemas[0].exclude_attributes", "`userPassword`"),
        (json!({"single_valued": ["givenNam"]}), "schemas[0].single_valued", "`givenName`"),
        (json!({"key_properties": ["uidd"]}), "schemas[0].key_properties", "`uid`"),
        (
            json!({"replication_method": "INCREMENTAL", "replication_key": "modifyTimestmp"}),
            "schemas[0].replication_key",
            "modifyTimestamp or entryCSN",
        ),
        (
            json!({"replication_method": "INCREMENTAL", "replication_key": "lastModified"}),
            "schemas[0].replication_key",
            "entryCSN or modifyTimestamp",
        ),
        (json!({"replication_method": "LOGBASED"}), "schemas[0].replication_method", "LOG_BASED"),
    ] {
        for program in
            [Run::tap(&users(&slapd, &stream)), Run::tap(&users(&slapd, &stream)).arg("--discover")]
        {
            let output = program.run().exits(2).says(&format!("`{setting}`")).says(right);
            assert!(output.stdout.is_empty(), "{}", output.stdout_text());
        }
    }
    // What other directories have is no misspelling: one configuration may be for several.
    let other = users(&slapd, &json!({"attributes": ["uid", "sAMAccountName", "acmeShoeSizeOfTheYear"]}));
    let names: Vec<String> = warned(&run(&other).succeeds()).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["acmeShoeSizeOfTheYear", "sAMAccountName"]);
}

#[test]
fn an_unknown_key_inside_a_stream_is_2_and_names_the_nearest() {
    let dir = scratch();
    let file = dir.path().join("x.ldif");
    std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n").unwrap();
    for (key, nearest) in [
        ("filtre", "`filter`"),
        ("base", "`base_dn`"),
        ("Filter", "`filter`"),
        ("qqqqqqqqqqq", "single_valued"),
    ] {
        let stream = json!({"name": "users", key: "(objectClass=person)"});
        let config = json!({"server_url": format!("ldif:{}", file.display()), "schemas": [stream]});
        let output = Run::tap(&config).run().exits(2).says(&format!("`schemas[0].{key}`")).says(nearest);
        assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    }
}

#[test]
fn in_a_file_what_occurs_in_it_is_known() {
    let dir = scratch();
    let file = dir.path().join("x.ldif");
    std::fs::write(&file, "dn: dc=x\nobjectClass: domain\nobjectClass: acmeThing\ndc: x\nacmeBadge: 7\n")
        .unwrap();
    let config = |filter: &str, attribute: &str| {
        json!({"server_url": format!("ldif:{}", file.display()),
            "schemas": [{"name": "things", "filter": filter, "attributes": [attribute]}]})
    };
    let output = run(&config("(objectClass=ACMETHING)", "acmebadge")).succeeds();
    assert_eq!(warned(&output), []);
    assert_eq!(output.records(None).len(), 1);
    let output = run(&config("(objectClass=acmeThng)", "acmeBage")).succeeds();
    assert_eq!(
        warned(&output),
        [
            ("schemas[0].attributes".into(), "acmeBage".into(), json!("acmeBadge")),
            ("schemas[0].filter".into(), "acmeThng".into(), json!("acmeThing")),
        ]
    );
}

#[test]
fn a_server_that_shows_no_schema_is_not_asked_about_names() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf: "access to dn.base=\"cn=Subschema\" by * none\n".into(),
        ..SlapdOptions::with_users()
    });
    let stream = json!({"name": "users", "filter": "(|(objectClass=persn)(uid=alice))", "attributes": ["emial", "uid"]});
    let config = json!({"server_url": slapd.ldap_uri(), "base_dn": slapd.suffix(), "schemas": [stream]});
    let output = run(&config).succeeds();
    assert_eq!(warned(&output), []);
    assert_eq!(output.records(None).len(), 1);
}
