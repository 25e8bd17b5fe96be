//! A first password that is generated: its owner can log in with what is in the file, and nobody reads it elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ldap_tests::bind::binds;
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{target_config, with};

const USERS: &str = "ou=users,dc=example,dc=test";

fn messages(id: &str, surname: &str) -> [Value; 2] {
    let text = json!({"type": "string"});
    [
        json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"],
            "schema": {"type": "object", "properties": {"id": text, "sn": text}}}),
        json!({"type": "RECORD", "stream": "users", "record": {"id": id, "sn": surname}}),
    ]
}

fn password(mode: &str, file: &Path) -> Value {
    json!({"generate": {"length": 24}, "deliver": {"file": file}, "mode": mode})
}

fn config(server: &Server, rule: &Value) -> Value {
    let tls = json!({"server_url": server.ldaps_uri(), "tls_ca_file": server.certificates().ca,
        "mapping_rules": {"users": rule}});
    with(&target_config(server), &tls)
}

fn person(mode: &str, file: &Path) -> Value {
    json!({"dn_template": format!("uid={{id}},{USERS}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": ["uid", "cn"], "sn": "sn"}, "password": password(mode, file)})
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a run writes beside the file does not have the password.
fn is_silent(output: &Output, secret: &str, others: &[&Path]) {
    assert!(!output.stderr.contains(secret) && !output.stdout_text().contains(secret));
    for path in others {
        assert!(!fs::read_to_string(path).unwrap().contains(secret), "{}", path.display());
    }
}

#[test]
fn a_new_entry_gets_a_password_that_is_delivered_before_it_is_set_and_only_once() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf: "moduleload argon2".to_owned(),
        ..SlapdOptions::with_users()
    });
    let dir = scratch();
    let (file, undo) = (dir.path().join("first.jsonl"), dir.path().join("undo.ldif"));
    for mode in ["exop", "hash:argon2id", "hash:ssha512"] {
        let config = with(&config(&slapd, &person(mode, &file)), &json!({"undo_file": undo}));
        let before = lines(&file).len();
        let id = mode.replace(':', "-");
        let dry = Run::target(&config).arg("--dry-run").messages(&messages(&id, "X")).run().succeeds();
        assert_eq!(lines(&file).len(), before, "a dry run makes none: {}", dry.stdout_text());
        let output = Run::target(&config).messages(&messages(&id, "X")).run().succeeds();
        let all = lines(&file);
        assert_eq!(all.len(), before + 1, "{all:?}");
        let line = all.last().unwrap();
        let (dn, secret) = (line["dn"].as_str().unwrap(), line["password"].as_str().unwrap());
        assert_eq!((dn, secret.len()), (format!("uid={id},{USERS}").as_str(), 24));
        assert!(binds(&slapd, dn, secret), "{mode}");
        is_silent(&output, secret, &[&undo]);
        Run::target(&config).messages(&messages(&id, "Y")).run().succeeds().counts(&[("modified", 1)]);
        assert_eq!(lines(&file), all, "an existing entry keeps its password");
    }
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_password_that_cannot_be_delivered_is_not_set_and_one_that_is_refused_is_withdrawn() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let dir = scratch();
    let (file, rejects) = (dir.path().join("first.jsonl"), dir.path().join("rejects.jsonl"));
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let exop = config(&slapd, &person("exop", &file));
    // The second run finds the entry without a password; with another surname, it has more to change.
    for surname in ["X", "X", "Y"] {
        let output = Run::target(&exop).messages(&messages("a", surname)).run().exits(1);
        assert!(output.stderr.contains("password.deliver.file"), "{}", output.stderr);
        assert_eq!(lines(&file), Vec::<Value>::new());
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    Run::target(&exop).messages(&messages("a", "X")).run().succeeds();
    let all = lines(&file);
    assert_eq!(all.len(), 1, "the next run sets it");
    assert!(binds(&slapd, &format!("uid=a,{USERS}"), all[0]["password"].as_str().unwrap()));

    // The entry is refused: its class wants a surname.
    let mut rule = person("hash:ssha512", &file);
    rule["attribute_mapping"] = json!({"id": ["uid", "cn"]});
    let config = with(&config(&slapd, &rule), &json!({"on_error": "skip", "reject_file": rejects}));
    let output = Run::target(&config).messages(&messages("b", "X")).run().exits(4);
    let all = lines(&file);
    assert_eq!((all.len(), &all[2]["withdrawn"]), (3, &json!(true)), "{all:?}");
    is_silent(&output, all[1]["password"].as_str().unwrap(), &[&rejects]);
}

#[test]
fn a_new_account_of_active_directory_logs_in_with_its_generated_password() {
    let samba = Samba::start("");
    let dir = scratch();
    let file = dir.path().join("first.jsonl");
    let rule = json!({"dn_template": format!("CN={{id}},CN=Users,{SUFFIX}"), "object_classes": ["user"],
        "attribute_mapping": {"id": "sAMAccountName"}, "password": password("unicode_pwd", &file), "accounts": {"enabled": true}});
    let output = Run::target(&config(&samba, &rule)).messages(&messages("ada", "X")).run().succeeds();
    let all = lines(&file);
    let secret = all[0]["password"].as_str().unwrap();
    assert!(binds(&samba, &format!("CN=ada,CN=Users,{SUFFIX}"), secret));
    is_silent(&output, secret, &[]);
}

#[test]
fn a_rule_that_would_lose_or_reset_passwords_is_a_wrong_setting() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let file = Path::new("first.jsonl");
    for (part, change) in [
        ("password.deliver", json!({"deliver": null})),
        ("password", json!({"from": "pw"})),
        ("password.policy", json!({"policy": "force"})),
        ("password.mode", json!({"mode": "as_is"})),
        ("password.generate.length", json!({"generate": {"length": 4}})),
    ] {
        let mut rule = person("exop", file);
        rule["password"] = with(&rule["password"], &change);
        let output = Run::target(&config(&slapd, &rule)).messages(&messages("a", "X")).run().exits(2);
        output.reports_setting(&format!("mapping_rules.users.{part}"));
    }
}
