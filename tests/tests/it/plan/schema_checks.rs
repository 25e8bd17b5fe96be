//! The plan predicts what the server answers to each record.

use std::collections::BTreeSet;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{target_config, with};

/// Entries of a mirror, by name: what they have beside a name, a class and what the class needs; null takes something away.
fn entries() -> Vec<(&'static str, Value)> {
    vec![
        ("right", json!({})),
        ("no-sn", json!({"sn": null})),
        ("unknown-class", json!({"objectClass": ["top", "inetOrgPersn"]})),
        ("unknown-attribute", json!({"shoeSize": ["43"]})),
        ("two-names-to-show", json!({"displayName": ["A", "B"]})),
        ("no-dn", json!({"manager": ["1001"]})),
        ("a-dn", json!({"manager": ["cn=Boss,dc=example,dc=test"]})),
        ("several-mails", json!({"mail": ["a@x.test", "b@x.test"]})),
        ("not-allowed", json!({"gecos": ["x"]})),
        ("umlaut-in-ascii", json!({"mail": ["jürgen@x.test"]})),
        ("umlaut-in-text", json!({"description": ["Jürgen"]})),
        ("telephone", json!({"telephoneNumber": ["+49 30 123 45-0"]})),
        ("photo", json!({"jpegPhoto": ["/9j/4AAQSkZJRg=="]})),
        ("option", json!({"cn;lang-de": ["Deutsch"]})),
        ("no-unique-member", extensible(&json!({"uniqueMember": ["ada"]}))),
        (
            "a-unique-member",
            extensible(
                &json!({"uniqueMember": ["cn=a,dc=example,dc=test#'01'B", "cn=b,dc=example,dc=test"]}),
            ),
        ),
        ("no-country", extensible(&json!({"c": ["Germany"]}))),
        ("a-country", extensible(&json!({"c": ["DE"]}))),
        ("no-delivery", json!({"preferredDeliveryMethod": ["pigeon"]})),
        ("a-delivery", json!({"preferredDeliveryMethod": ["mhs $ telephone"]})),
        ("no-triple", extensible(&json!({"nisNetgroupTriple": ["x"]}))),
        ("a-triple", extensible(&json!({"nisNetgroupTriple": ["(host,user,domain)"]}))),
        ("no-boot", extensible(&json!({"bootParameter": ["zz"]}))),
        ("a-boot", extensible(&json!({"bootParameter": ["root=server:/path"]}))),
        (
            "extensible",
            json!({"objectClass": ["top", "person", "organizationalPerson", "inetOrgPerson", "extensibleObject"], "gecos": ["x"]}),
        ),
    ]
}

/// What no class of people allows.
fn extensible(more: &Value) -> Value {
    with(
        &json!({"objectClass": ["top", "person", "organizationalPerson", "inetOrgPerson", "extensibleObject"]}),
        more,
    )
}

fn messages(people: &str, skip: &[&str]) -> Vec<Value> {
    let list = json!({"type": ["null", "array"]});
    let names = [
        "objectClass",
        "cn",
        "sn",
        "shoeSize",
        "displayName",
        "manager",
        "mail",
        "gecos",
        "description",
        "telephoneNumber",
        "jpegPhoto",
        "cn;lang-de",
        "uniqueMember",
        "c",
        "preferredDeliveryMethod",
        "nisNetgroupTriple",
        "bootParameter",
    ];
    let mut properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), list.clone())).collect();
    properties.insert("dn".to_owned(), json!({"type": "string"}));
    properties["jpegPhoto"] =
        json!({"type": ["null", "array"], "items": {"type": "string", "contentEncoding": "base64"}});
    let mut all = vec![
        json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": properties}}),
    ];
    for (name, changes) in entries().into_iter().filter(|(name, _)| !skip.contains(name)) {
        let whole = json!({"dn": format!("cn={name},{people}"), "cn": [name], "sn": ["S"],
            "objectClass": ["top", "person", "organizationalPerson", "inetOrgPerson"]});
        all.push(json!({"type": "RECORD", "stream": "all", "record": with(&whole, &changes)}));
    }
    all
}

/// The records that are refused, by name, as the plan or the reject file has them.
fn refused(output: &Output, people: &str, of_plan: bool, rejects: &std::path::Path) -> BTreeSet<String> {
    let text =
        if of_plan { output.stdout_text() } else { std::fs::read_to_string(rejects).unwrap_or_default() };
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_it =
        |line: &Value| if of_plan { line["operation"] == "refused" } else { line["type"] == "REJECT" };
    let end = format!(",{people}");
    lines
        .filter(is_it)
        .map(|line| {
            let dn = line["dn"].as_str().unwrap_or_default();
            dn.strip_suffix(&end).unwrap_or(dn).trim_start_matches("cn=").to_owned()
        })
        .collect()
}

#[track_caller]
fn agree(server: &Server, config: &Value, people: &str, skip: &[&str], least: usize) {
    let dir = scratch();
    let rejects = dir.path().join("rejects.jsonl");
    let config = with(config, &json!({"on_error": "skip", "reject_file": rejects}));
    let run = || Run::target(&config).messages(&messages(people, skip));
    let before = server.dump();
    let plan = run().plan("json").run().exits(4);
    assert_eq!(server.dump(), before, "nothing is written");
    let planned = refused(&plan, people, true, &rejects);
    let written = refused(&run().run().exits(4), people, false, &rejects);
    assert_eq!(planned, written, "planned, and written");
    assert!(written.len() >= least && !written.contains("right"), "{written:?}");
}

#[test]
fn a_plan_refuses_what_openldap_refuses() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let people = format!("ou=people,{}", slapd.suffix());
    let config = target_config(&slapd);
    agree(&slapd, &config, &people, &[], 6);
}

#[test]
fn a_plan_refuses_what_389_refuses() {
    let server = Ds389::start(&Ds389Options::default());
    let people = format!("ou=people,{}", server.suffix());
    agree(&server, &target_config(&server), &people, &[], 5);
}

#[test]
fn a_plan_refuses_no_more_than_active_directory() {
    let samba = Samba::start("");
    let people = format!("CN=Users,{}", samba.suffix());
    let config = with(&target_config(&samba), &json!({"tls_verify": false}));
    // Which of its rules Samba does not keep is not the matter here.
    agree(
        &samba,
        &config,
        &people,
        &["umlaut-in-ascii", "not-allowed", "extensible", "no-dn", "a-dn", "option"],
        2,
    );
}

#[test]
fn names_that_openldap_does_not_take_are_told_by_what_is_wrong_with_them() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let people = format!("ou=people,{}", slapd.suffix());
    for (rdn, near) in
        [("c=Germany", None), ("shoeSize=43", None), ("employeeNumbr=7", Some("employeeNumber"))]
    {
        let schema = json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
            "dn": {"type": "string"}, "objectClass": {"type": "array"}, "cn": {"type": "string"}}}});
        let record = json!({"type": "RECORD", "stream": "s", "record": {"dn": format!("{rdn},{people}"), "objectClass": ["device", "extensibleObject"], "cn": "x"}});
        for args in [&["--dry-run"][..], &[]] {
            let mut run = Run::target(&target_config(&slapd)).messages(&[schema.clone(), record.clone()]);
            for arg in args {
                run = run.arg(*arg);
            }
            let output = run.run().exits(1);
            let lines: Vec<Value> = output.stderr.entries().to_vec();
            let error =
                lines.iter().find(|line| line["code"] == 34).unwrap_or_else(|| panic!("{}", output.stderr));
            assert_eq!(error["nearest"], near.map_or(Value::Null, Value::from), "{rdn}");
        }
    }
}

#[test]
fn certificates_go_as_openldap_wants_them() {
    use base64::Engine as _;
    let slapd = Slapd::start(SlapdOptions::with_users());
    let pem = std::fs::read_to_string(&slapd.certificates().client_cert).unwrap();
    let body: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let der = base64::engine::general_purpose::STANDARD.decode(&body).unwrap();
    let dn = format!("cn=cert,ou=people,{}", slapd.suffix());
    let messages = |name: &str| {
        [
            json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
                "dn": {"type": "string"}, "objectClass": {"type": "array"}, "sn": {"type": "string"},
                name: {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}}}}),
            json!({"type": "RECORD", "stream": "s", "record": {"dn": dn, "objectClass": ["inetOrgPerson"], "sn": "x", name: [body]}}),
        ]
    };
    // As an LDIF file has it, as the server has it, and once more.
    for (name, count) in [
        ("userCertificate", "added"),
        ("userCertificate;binary", "unchanged"),
        ("userCertificate", "unchanged"),
    ] {
        let config = target_config(&slapd);
        let run = Run::target(&config).messages(&messages(name));
        if count == "added" {
            run.arg("--dry-run").run().exits(0);
        }
        Run::target(&config).messages(&messages(name)).run().exits(0).counts(&[(count, 1)]);
        assert_eq!(slapd.dump()[&dn]["usercertificate;binary"], [der.clone()].into());
    }
}

#[test]
fn no_parent_is_planned_for_an_entry_that_is_refused() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let folder = scratch();
    let rule = json!({"dn_template": format!("uid={{id}},ou=new,{}", slapd.suffix()), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}});
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": {"p": rule}, "on_error": "skip",
        "reject_file": folder.path().join("rejects.jsonl")}),
    );
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "name": text}}});
    let record = |name: Value| json!({"type": "RECORD", "stream": "p", "record": {"id": "a", "name": name}});
    for (name, changes) in [(Value::Null, 0), (json!("Ann"), 2)] {
        let plan = Run::target(&config).messages(&[schema.clone(), record(name)]).arg("--dry-run").run();
        assert_eq!(plan.stdout_text().matches("changetype: add").count(), changes, "{}", plan.stdout_text());
    }
}

/// What the server maintains, and a DN in none of its naming contexts.
#[test]
fn a_plan_refuses_what_openldap_maintains_and_what_is_in_no_naming_context() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "name": text, "made": text}}});
    let record = json!({"type": "RECORD", "stream": "p", "record": {"id": "a", "name": "A", "made": "2020-01-01T00:00:00Z"}});
    let inside = format!("uid={{id}},ou=people,{}", slapd.suffix());
    for (template, attribute) in [
        (inside.as_str(), "createTimestamp"),
        ("uid={id},dc=elsewhere", "description"),
        ("uid={id},ou=new,dc=else,dc=where", "description"),
        ("dc={id}", "description"),
    ] {
        let rule = json!({"dn_template": template, "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "made": attribute}});
        let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule}}));
        let run = || Run::target(&config).messages(&[schema.clone(), record.clone()]);
        run().arg("--dry-run").run().exits(1);
        run().run().exits(1);
    }
}

/// A value that is no DN, where the attribute wants one. DNs in Active Directory's own forms pass.
#[test]
fn a_plan_refuses_what_is_no_dn_on_active_directory() {
    let samba = Samba::start("");
    let text = json!({"type": ["null", "string"]});
    let rule = json!({"dn_template": format!("CN={{id}},CN=Users,{}", samba.suffix()), "object_classes": ["user"],
        "attribute_mapping": {"id": "description", "boss": "manager"}});
    let config = with(&target_config(&samba), &json!({"tls_verify": false, "mapping_rules": {"p": rule}}));
    let run = |boss: &str| {
        Run::target(&config).messages(&[
            json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {"id": text, "boss": text}}}),
            json!({"type": "RECORD", "stream": "p", "record": {"id": "who", "boss": boss}}),
        ])
    };
    run("1001").arg("--dry-run").run().exits(1);
    run("1001").run().exits(1);
    run(&format!("CN=Administrator,CN=Users,{}", samba.suffix())).arg("--dry-run").run().exits(0);
    run("<SID=S-1-5-32-544>").arg("--dry-run").run().exits(0);
}
