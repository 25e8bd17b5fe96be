//! Names in settings that the directory does not have, and unknown keys.

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{tap_config, with};

fn users(slapd: &Slapd, stream: &Value) -> Value {
    let users = with(&json!({"name": "users", "base_dn": "ou=people,dc=example,dc=test"}), stream);
    with(&tap_config(slapd), &json!({"schemas": [users]}))
}

fn run(config: &Value) -> Output {
    Run::tap(config).run()
}

/// The warnings about names: setting, name, and the nearest one.
fn warned(output: &Output) -> Vec<(String, String, Value)> {
    let lines = output.stderr.entries().iter().cloned();
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
        "filter": "(&(2.5.4.0=2.5.6.6)(objectClass=INETORGPERSON)(cn:dn:2.5.13.5:=x)(surname;lang-de=*)(entryCSN=*)(hasSubordinates=FALSE)(1.2.3.4=x))",
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
        (json!({"attributes": ["uid", "emial"]}), "schemas[0].attributes", Some("email")),
        (
            json!({"exclude_attributes": ["userPasword"]}),
            "schemas[0].exclude_attributes",
            Some("userPassword"),
        ),
        (json!({"single_valued": ["givenNam"]}), "schemas[0].single_valued", Some("givenName")),
        (json!({"key_properties": ["uidd"]}), "schemas[0].key_properties", Some("uid")),
        (
            json!({"replication_method": "INCREMENTAL", "replication_key": "modifyTimestmp"}),
            "schemas[0].replication_key",
            Some("modifyTimestamp"),
        ),
        (
            json!({"replication_method": "INCREMENTAL", "replication_key": "lastModified"}),
            "schemas[0].replication_key",
            None,
        ),
        (json!({"replication_method": "LOGBASED"}), "schemas[0].replication_method", Some("LOG_BASED")),
    ] {
        for program in
            [Run::tap(&users(&slapd, &stream)), Run::tap(&users(&slapd, &stream)).arg("--discover")]
        {
            let output = program.run().exits(2).reports(&json!({"setting": setting, "nearest": right}));
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
        ("filtre", Some("filter")),
        ("base", Some("base_dn")),
        ("Filter", Some("filter")),
        ("qqqqqqqqqqq", None),
    ] {
        let stream = json!({"name": "users", key: "(objectClass=person)"});
        let config = json!({"server_url": format!("ldif:{}", file.display()), "schemas": [stream]});
        let output = Run::tap(&config)
            .run()
            .exits(2)
            .reports(&json!({"setting": format!("schemas[0].{key}"), "nearest": nearest}));
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

/// The warnings about comparisons that no entry passes: setting, what is compared, and what would be right.
fn undefined(output: &Output) -> Vec<(String, String, String)> {
    let lines = output.stderr.entries().iter().cloned();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    lines
        .filter(|line| line["level"] == "warning" && line["expected"].is_string())
        .map(|line| (text(&line["setting"]), text(&line["name"]), text(&line["expected"])))
        .collect()
}

/// RFC 4511 section 4.5.1.7: neither the comparison nor its negation is true of any entry.
fn either(comparison: &str) -> Value {
    json!({"filter": format!("(|{comparison}(!{comparison}))")})
}

#[test]
fn a_comparison_that_is_undefined_is_named_before_the_search() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    for (comparison, name, expected) in [
        ("(uidNumber=abc)", "uidNumber", "whole number"),
        ("(uidNumber>=007)", "uidNumber", "whole number"),
        ("(uidNumber=5*)", "uidNumber", "SUBSTR"),
        ("(createTimestamp>=2026-01-01)", "createTimestamp", "20260101000000Z"),
        ("(createTimestamp<=20260101000000)", "createTimestamp", "20260101000000Z"),
        ("(createTimestamp=2026*)", "createTimestamp", "SUBSTR"),
        ("(member=ada)", "member", "DN"),
        ("(member=foo=bar)", "member", "DN"),
        ("(uniqueMember=ada)", "uniqueMember", "DN"),
        ("(member=*ada*)", "member", "SUBSTR"),
        ("(member>=cn=a)", "member", "ORDERING"),
        ("(entryUUID=123)", "entryUUID", "UUID"),
        ("(entryUUID=6ba7*)", "entryUUID", "SUBSTR"),
        ("(entryCSN>=x)", "entryCSN", "#"),
        ("(hasSubordinates=yes)", "hasSubordinates", "TRUE"),
        ("(hasSubordinates=true)", "hasSubordinates", "TRUE"),
        ("(structuralObjectClass=persn)", "structuralObjectClass", "schema"),
        ("(cn:noSuchMatch:=x)", "noSuchMatch", "matching rule"),
        ("(:2.4.6.8:=x)", "2.4.6.8", "matching rule"),
        ("(cn:integerMatch:=x)", "cn", "whole number"),
        ("(cn>=a)", "cn", "ORDERING"),
        ("(cn;lang-de<=a)", "cn;lang-de", "ORDERING"),
        ("(jpegPhoto=x)", "jpegPhoto", "EQUALITY"),
        ("(cn=)", "cn", "empty"),
        ("(mail=ü)", "mail", "ASCII"),
    ] {
        let output = run(&users(&slapd, &either(comparison))).succeeds();
        assert_eq!(output.records(None).len(), 0, "{comparison} is Undefined on slapd");
        let told = undefined(&output);
        assert_eq!(told.len(), 1, "{comparison}: {}", output.stderr);
        let (setting, of, right) = &told[0];
        assert_eq!((setting.as_str(), of.as_str()), ("schemas[0].filter", name), "{comparison}");
        assert!(right.contains(expected), "{comparison}: {right}");
    }
    for comparison in [
        "(uidNumber=5)",
        "(uidNumber>=-5)",
        "(uidNumber:1.2.840.113556.1.4.803:=2)",
        "(uidNumber:integerBitOrMatch:=2)",
        "(createTimestamp>=20260101000000Z)",
        "(createTimestamp<=2026010100Z)",
        "(createTimestamp<=20260101000000.5+0100)",
        "(member=CN=Ada, dc=x)",
        "(member=)",
        "(uniqueMember=cn=a#'01'B)",
        "(entryUUID>=6ba7b810-9dad-11d1-80b4-00c04fd430c8)",
        "(entryCSN>=20260101000000.000000Z#000000#000#000000)",
        "(hasSubordinates=TRUE)",
        "(structuralObjectClass=inetOrgPerson)",
        "(cn:caseExactMatch:=x)",
        "(cn:dn:=x)",
        "(:2.5.13.5:=x)",
        "(cn=*a*)",
        "(uid~=x)",
        "(telephoneNumber=*55*)",
        "(2.5.4.20=*5)",
        "(postalAddress=*x*)",
        "(c=x)",
    ] {
        let output = run(&users(&slapd, &either(comparison))).succeeds();
        assert_eq!(undefined(&output), [], "{comparison}");
        assert_eq!(output.records(None).len(), 5, "{comparison}");
    }
    // A password is in no log, in whichever part of it.
    let secret = run(&users(&slapd, &json!({"filter": "(userPassword=hunter2*)"}))).succeeds();
    assert_eq!(undefined(&secret).len(), 1);
    assert!(!secret.stderr.contains("hunter2"), "{}", secret.stderr);
}

#[test]
fn in_a_file_a_comparison_is_undefined_by_its_own_rules() {
    let dir = scratch();
    let file = dir.path().join("x.ldif");
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\nuidNumber: 5\nmember: cn=a\nmodifyTimestamp: 20260101000000Z\ncn: a\n";
    std::fs::write(&file, text).unwrap();
    let config = |comparison: &str| {
        let mut stream = either(comparison);
        stream["name"] = json!("all");
        json!({"server_url": format!("ldif:{}", file.display()), "schemas": [stream]})
    };
    for (comparison, is_undefined) in [
        ("(uidNumber=abc)", true),
        ("(modifyTimestamp>=2026-01-01)", true),
        ("(uidNumber=5*)", true),
        ("(member>=cn=a)", true),
        ("(member=ada)", true),
        ("(cn:noSuchMatch:=x)", true),
        ("(uidNumber=5)", false),
        ("(cn>=a)", false),
        ("(cn=a*)", false),
        ("(cn:caseExactMatch:=a)", false),
        ("(modifyTimestamp>=20260101000000Z)", false),
    ] {
        let output = run(&config(comparison)).succeeds();
        assert_eq!(output.records(None).len(), usize::from(!is_undefined), "{comparison}");
        assert_eq!(undefined(&output).len(), usize::from(is_undefined), "{comparison}: {}", output.stderr);
    }
}
