//! Secret attributes: the same in plans, rejects, logs and catalogs, including those of `secret_attributes`.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::{metadata, stream, with};

const SECRETS: [&str; 12] = [
    "authPassword",
    "ms-Mcs-AdmPwd",
    "msLAPS-Password",
    "msFVE-RecoveryPassword",
    "supplementalCredentials",
    "sambaClearTextPassword",
    "unixUserPassword",
    "nsds5ReplicaCredentials",
    "krbMKey",
    "radiusTunnelPassword",
    "krbPrincipalKey;x-old",
    "nationalNumber",
];
const OPEN: [&str; 3] = ["pwdNote", "passwordExpirationNote", "description"];

/// A value that is found again; octets, for those that are given in base64.
fn token(n: usize) -> String {
    format!("KwRule{}xx", 7000 + n)
}

fn base() -> &'static str {
    "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n"
}

#[test]
fn plans_rejects_and_logs_hide_the_same_attributes() {
    let folder = scratch();
    let file = folder.path().join("tree.ldif");
    let text = json!({"type": ["null", "string"]});
    let mut record =
        json!({"dn": "cn=x,dc=example,dc=test", "objectClass": ["person"], "cn": "x", "sn": "x"});
    let mut properties = json!({"dn": text, "cn": text, "sn": text,
        "objectClass": {"type": "array", "items": {"type": "string"}}});
    for (n, name) in SECRETS.iter().chain(&OPEN).enumerate() {
        record[*name] = json!(token(n));
        properties[*name] = text.clone();
    }
    let schema = json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"],
        "schema": {"type": "object", "properties": properties}});
    let rejects = folder.path().join("rejects.jsonl");
    let config = json!({"server_url": format!("ldif:{}", file.display()), "on_error": "skip", "reject_file": rejects,
        "create_parents": false, "secret_attributes": ["nationalNumber"]});
    let messages = |dn: &str| {
        vec![
            schema.clone(),
            json!({"type": "RECORD", "stream": "s", "record": with(&record, &json!({"dn": dn}))}),
        ]
    };
    let check = |what: &str, text: &str| {
        for (n, name) in SECRETS.iter().enumerate() {
            assert!(!text.contains(&token(n)), "{what}: {name}: {text}");
        }
    };
    let open = |what: &str, text: &str| {
        for (n, name) in OPEN.iter().enumerate() {
            assert!(text.contains(&token(SECRETS.len() + n)), "{what}: {name}: {text}");
        }
    };
    for format in ["diff", "json", "ldif", "html"] {
        std::fs::write(&file, base()).unwrap();
        let output = Run::target(&config)
            .plan(format)
            .arg("--log-level")
            .arg("trace")
            .messages(&messages("cn=x,dc=example,dc=test"))
            .run()
            .succeeds();
        let plan = output.stdout_text();
        check(format, &plan);
        check(format, &output.stderr);
        open(format, &plan);
    }
    // No class allows all of it.
    let output = Run::target(&with(&config, &json!({"ldif_check": true})))
        .arg("--log-level")
        .arg("trace")
        .messages(&messages("cn=x,dc=example,dc=test"))
        .run()
        .exits(4);
    check("the log", &output.stderr);
    let rejected = std::fs::read_to_string(&rejects).unwrap();
    check("the rejects", &rejected);
    open("the rejects", &rejected);
    // What is written is the whole of it.
    Run::target(&config).messages(&messages("cn=x,dc=example,dc=test")).run().succeeds();
    let written = std::fs::read_to_string(&file).unwrap();
    for n in 0..SECRETS.len() + OPEN.len() {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(token(n));
        assert!(written.contains(&token(n)) || written.contains(&encoded), "{n}: {written}");
    }
}

#[test]
fn the_tap_reads_a_secret_attribute_only_where_it_is_named() {
    let folder = scratch();
    let file = folder.path().join("tree.ldif");
    std::fs::write(
        &file,
        format!(
            "{}dn: cn=x,dc=example,dc=test\nobjectClass: person\ncn: x\nsn: x\nuserPassword: {}\ntelephoneNumber: {}\n\n",
            base(),
            token(0),
            token(1)
        ),
    )
    .unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "discovery_sample_size": 0});
    let streams = |more: Value| json!({"schemas": [with(&json!({"name": "people", "filter": "(objectClass=person)"}), &more)]});
    for (changes, inclusion, other) in [
        (json!({}), "unsupported", "available"),
        (json!({"operational_attributes": ["userPassword"]}), "available", "available"),
        (json!({"operational_attributes": ["2.5.4.35"]}), "available", "available"),
        (streams(json!({})), "unsupported", "available"),
        (streams(json!({"attributes": ["*"]})), "unsupported", "available"),
        (streams(json!({"attributes": ["*", "userPassword"]})), "available", "available"),
        (json!({"secret_attributes": ["telephoneNumber"]}), "unsupported", "unsupported"),
        // A name of the schema's own for the same attribute.
        (json!({"secret_attributes": ["2.5.4.20"]}), "unsupported", "unsupported"),
    ] {
        let config = with(&config, &changes);
        let mut catalog = Run::tap(&config).arg("--discover").run().succeeds().json();
        let id = if changes.get("schemas").is_some() { "people" } else { "dc=example,dc=test" };
        let found = stream(&catalog, id);
        assert_eq!(metadata(found, &["properties", "userPassword"])["inclusion"], inclusion, "{changes}");
        assert_eq!(metadata(found, &["properties", "telephoneNumber"])["inclusion"], other, "{changes}");
        let plain = Run::tap(&config).run().succeeds();
        // Everything is selected, as Meltano does by default.
        for entry in catalog["streams"].as_array_mut().unwrap() {
            for node in entry["metadata"].as_array_mut().unwrap() {
                node["metadata"]["selected"] = json!(true);
            }
        }
        let all = Run::tap(&config).file("--catalog", &catalog).run().succeeds();
        for (what, output) in [("by default", plain), ("all", all)] {
            let text = output.stdout_text();
            let shows = |n| text.contains(&token(n)) || text.contains(&base64_of(&token(n)));
            assert_eq!(shows(0), inclusion == "available", "{what}, {changes}: {text}");
            assert_eq!(shows(1), other == "available", "{what}, {changes}: {text}");
            if inclusion == "unsupported" && what == "by default" {
                assert!(output.stderr.contains("userPassword"), "it is said: {}", output.stderr);
            }
        }
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_secret_that_is_the_key_of_its_stream_is_masked_wherever_a_record_is_named() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    let rule = json!({"dn_template": "uid={id},dc=example,dc=test", "object_classes": ["account"],
        "attribute_mapping": {"id": "uid"}});
    let config = json!({"server_url": format!("ldif:{}", path("copy.ldif").display()), "secret_attributes": ["ssn"],
        "on_error": "skip", "reject_file": path("rejects.jsonl"), "mapping_rules": {"p": rule}});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["ssn"], "schema": {"properties": {
        "ssn": {"type": "string"}, "id": {"type": ["null", "string"]}}}});
    let record =
        |id: Value| json!({"type": "RECORD", "stream": "p", "record": {"ssn": "SSN-12345", "id": id}});
    let messages = [schema, record(json!("ann")), record(Value::Null)];
    for plan in ["ldif", "diff", "json", "html"] {
        let output = Run::target(&config).messages(&messages).plan(plan).run().exits(4);
        let shown = format!("{}{}", output.stdout_text(), output.stderr);
        assert!(shown.contains("ssn=***") && !shown.contains("SSN-12345"), "{plan}: {shown}");
    }
    let output = Run::target(&config).messages(&messages).run().exits(4);
    let rejects = std::fs::read_to_string(path("rejects.jsonl")).unwrap();
    assert!(!output.stderr.to_string().contains("SSN-12345") && !rejects.contains("SSN-12345"), "{rejects}");
}

/// The value of a secret property is secret in each attribute that is made of it, by a mapping or a template.
#[test]
fn secrecy_follows_a_value_from_its_property() {
    let folder = scratch();
    let text = json!({"type": ["null", "string"]});
    let number = "KwNumber7300";
    let word = "KwFirst7301";
    let rule = json!({"dn_template": "cn={id},dc=example,dc=test", "object_classes": ["inetOrgPerson"], "match": "(employeeNumber={ssn})",
        "attribute_mapping": {"id": "cn", "name": "sn", "ssn": "employeeNumber"}, "password": {"from": "start", "mode": "hash:ssha512"},
        "values": {"description": "no {ssn}", "title": "{employeeNumber|lower}"}});
    let file = folder.path().join("tree.ldif");
    let rejects = folder.path().join("rejects.jsonl");
    let undo = folder.path().join("undo.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display()), "on_error": "skip", "reject_file": rejects,
        "undo_file": undo, "mapping_rules": {"p": rule}, "secret_attributes": ["ssn"]});
    let properties = json!({"id": text, "name": text, "ssn": text, "start": text});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": properties}});
    let record = |id: &str, ssn: &str| json!({"type": "RECORD", "stream": "p", "record": {"id": id, "name": "N", "ssn": ssn, "start": word}});
    let hidden = |what: &str, text: &str| {
        let text = text.to_lowercase();
        assert!(
            !text.contains(&number.to_lowercase()) && !text.contains(&word.to_lowercase()),
            "{what}: {text}"
        );
    };
    std::fs::write(&file, base()).unwrap();
    let run = |records: &[Value], args: &[&str]| {
        let messages = [std::slice::from_ref(&schema), records].concat();
        let run = args.iter().fold(Run::target(&config).messages(&messages), |run, arg| run.arg(*arg));
        let output = run.arg("--log-level").arg("debug").run();
        hidden(&args.concat(), &output.stdout_text());
        hidden(&args.concat(), output.stderr.raw());
        output
    };
    for format in ["ldif", "diff", "json", "html"] {
        run(&[record("a", number)], &["--dry-run", "--plan-format", format]).exits(0);
    }
    run(&[record("a", number)], &[]).exits(0);
    // The DN is that of the entry with the number.
    run(&[record("a", "other")], &[]).exits(4);
    hidden("rejects", &std::fs::read_to_string(&rejects).unwrap());
    let preview = Run::target(&config).arg("undo").arg(undo.to_str().unwrap()).arg("--dry-run").run();
    hidden("undo", &preview.stdout_text());
    hidden("undo", preview.stderr.raw());
}

/// The name of an attribute that one rule makes of a secret is that of a secret property in the others, whatever their order.
#[test]
fn secrecy_follows_a_value_from_rule_to_rule() {
    let folder = scratch();
    let text = json!({"type": ["null", "string"]});
    let rule = |from: &str, to: &str| {
        json!({"dn_template": "cn={id},dc=example,dc=test", "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "cn", "name": "sn", from: to}})
    };
    let file = folder.path().join("tree.ldif");
    std::fs::write(&file, base()).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "secret_attributes": ["ssn"], "mapping_rules": {
        "a": rule("roomNumber", "businessCategory"), "b": rule("employeeNumber", "roomNumber"), "c": rule("ssn", "employeeNumber")}});
    for (stream, property) in [("a", "roomNumber"), ("b", "employeeNumber"), ("c", "ssn")] {
        let schema = json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"],
            "schema": {"properties": {"id": text, "name": text, property: text}}});
        let record = json!({"type": "RECORD", "stream": stream, "record": {"id": "x", "name": "N", property: token(1)}});
        let plan = Run::target(&config).messages(&[schema, record]).arg("--dry-run").run().succeeds();
        assert!(!plan.stdout_text().contains(&token(1)), "{stream}: {}", plan.stdout_text());
    }
}
