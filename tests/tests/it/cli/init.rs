//! `init` on a terminal, against a real server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ldap_tests::pty::run_on_terminal;
use ldap_tests::run::{Program, Run, read_text};
use ldap_tests::samba::Samba;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

fn config(path: &Path) -> Value {
    serde_json::from_str(&read_text(path)).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_first_configuration_is_asked_for_tried_and_written() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let run = Run::bare(Program::Tap).arg("init");
    let ca = format!("{}\r", slapd.certificates().ca.display());
    let server = format!("{}\r", slapd.ldaps_uri());
    let (dn, password) = (format!("{}\r", slapd.admin_dn()), format!("{}\r", slapd.admin_password()));
    let steps = [
        ("Server: ", "no-such-host.invalid\r"),
        ("cannot be resolved", ""),
        ("Server: ", &server),
        ("is signed by an authority that is not trusted", ""),
        ("Enter: another server): ", &ca),
        ("Yes: it answers.", ""),
        ("Bind as (", &dn),
        ("Password (it is not shown): ", "wrong-password\r"),
        ("invalidCredentials (49); check the bind DN and the password", ""),
        ("Bind as (- for nobody) [", "\r"),
        ("Password (it is not shown): ", &password),
        ("is OpenLDAP", ""),
        ("Base DN, where to begin [", "ou=nowhere,dc=example,dc=test\r"),
        ("there is no `ou=nowhere,dc=example,dc=test`", ""),
        ("Base DN, where to begin [dc=example,dc=test]: ", "\r"),
        ("Which streams: ", "77\r"),
        ("no number from 1 to ", ""),
        ("Which streams: ", "1\r"),
        ("Keep the password in tap.password", "maybe\r"),
        ("Please answer yes or no.", ""),
        ("[yes]: ", "\r"),
        ("Wrote tap.json", ""),
    ];
    let output = run_on_terminal(&run, None, &steps).exits(0);
    // What is typed is hidden exactly while it is a password.
    assert_eq!(output.stderr.matches("<echo off>").count(), 2, "{}", output.stderr);
    for secret in ["wrong-password", slapd.admin_password()] {
        assert!(!output.stderr.contains(secret), "{}", output.stderr);
    }
    let file = |name: &str| run.folder().join(name);
    for name in ["tap.json", "tap.password", "tap.catalog.json"] {
        assert_eq!(mode(&file(name)), 0o600, "{name}");
    }
    let written = config(&file("tap.json"));
    assert_eq!(written["server_url"], slapd.ldaps_uri());
    assert_eq!(written["base_dn"], "dc=example,dc=test");
    assert!(written.get("bind_password").is_none() && written.get("retry_attempts").is_none(), "{written}");
    assert_eq!(read_text(&file("tap.password")).trim_end(), slapd.admin_password());
    // It is what a run needs, and only the first stream is read.
    let again = Run::tap(&written).file("--catalog", &config(&file("tap.catalog.json"))).run().succeeds();
    let streams: Vec<_> = again.of_type("SCHEMA").iter().map(|m| m["stream"].clone()).collect();
    assert_eq!(streams, [json!("organizational_units")]);

    // What is there is not overwritten without a yes.
    let before = read_text(&file("tap.json"));
    let again = run.arg("--config").arg("tap.json");
    let steps = [
        ("Server [", "\r"),
        ("Bind as (", "-\r"),
        ("Base DN, where to begin [", "\r"),
        ("Which streams: ", "\r"),
        ("tap.catalog.json is there already. Overwrite it? [no]: ", "\r"),
    ];
    run_on_terminal(&again, None, &steps).exits(2).says("was left as it is");
    assert_eq!(read_text(&again.folder().join("tap.json")), before);
}

#[test]
fn who_interrupts_a_password_gets_the_terminal_back_and_no_file() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let run = Run::bare(Program::Target).arg("init");
    let server = format!("{}\r", slapd.ldap_uri());
    let steps = [
        ("Server: ", server.as_str()),
        ("with StartTLS", ""),
        ("Enter: another server): ", "none\r"),
        ("Bind as (", "cn=admin,dc=example,dc=test\r"),
        ("Password (it is not shown): ", "\u{3}"),
    ];
    run_on_terminal(&run, None, &steps).exits(130);
    assert_eq!(std::fs::read_dir(run.folder()).unwrap().count(), 0);
}

#[test]
fn the_target_gets_a_first_rule_that_works() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let run = Run::bare(Program::Target).arg("init").arg("--output").arg("t.json");
    let server = format!("{}\r", slapd.ldap_uri());
    let ca = format!("{}\r", slapd.certificates().ca.display());
    let (dn, password) = (format!("{}\r", slapd.admin_dn()), format!("{}\r", slapd.admin_password()));
    let steps = [
        ("Server: ", server.as_str()),
        ("with StartTLS", ""),
        ("Enter: another server): ", &ca),
        ("Bind as (", &dn),
        ("Password (it is not shown): ", &password),
        ("Base DN, where to begin [dc=example,dc=test]: ", "\r"),
        ("Stream: ", "staff\r"),
        ("[id]: ", "number\r"),
        ("[name]: ", "\r"),
        ("Where people go [", "\r"),
        ("Keep the password in t.password", "no\r"),
        ("export TARGET_LDAP_BIND_PASSWORD=", ""),
    ];
    run_on_terminal(&run, None, &steps).exits(0).says("target-ldap --config t.json --config ENV --test");
    assert!(!run.folder().join("t.password").exists());
    let messages = [
        json!({"type": "SCHEMA", "stream": "staff", "key_properties": ["number"], "schema": {"properties": {
            "number": {"type": "string"}, "name": {"type": "string"}}}}),
        json!({"type": "RECORD", "stream": "staff", "record": {"number": "n1", "name": "Ada Lovelace"}}),
    ];
    let load = Run::target(&config(&run.folder().join("t.json"))).arg("--config").arg("ENV");
    let load = load.env("TARGET_LDAP_BIND_PASSWORD", slapd.admin_password());
    load.messages(&messages).run().succeeds().counts(&[("added", 1)]);
}

#[test]
fn scripts_take_the_suggestions() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let run = |program| {
        let name = if program == Program::Tap { "TAP_LDAP" } else { "TARGET_LDAP" };
        let run = Run::bare(program).arg("init").arg("--config").arg("ENV");
        let run = run.env(&format!("{name}_SERVER_URL"), &slapd.ldap_uri());
        run.env(&format!("{name}_BIND_DN"), &slapd.admin_dn())
            .env(&format!("{name}_BIND_PASSWORD"), slapd.admin_password())
    };
    for (program, name) in [(Program::Tap, "tap.json"), (Program::Target, "target.json")] {
        let spawned = run(program).arg("--yes");
        spawned.spawn().wait(std::time::Duration::from_secs(60));
        assert_eq!(config(&spawned.folder().join(name))["bind_dn"], slapd.admin_dn());
        spawned.run().exits(2).says("is there already, and was left as it is");
    }
    run(Program::Tap).run().exits(2).says("stdin is no terminal");
    Run::bare(Program::Tap).arg("init").arg("--yes").run().exits(2).says("server_url");
}

/// Staff with a person's usual names, teams without members, and orders, which are neither.
fn staff() -> String {
    let text = json!({"type": ["null", "string"]});
    let messages = [
        json!({"type": "SCHEMA", "stream": "staff", "key_properties": ["employee_id"], "schema": {"properties": {
            "employee_id": {"type": "integer"}, "login": text, "first_name": text, "last_name": text, "email": text,
            "manager_id": {"type": ["null", "integer"]}, "active": {"type": "boolean"}}}}),
        json!({"type": "SCHEMA", "stream": "orders", "key_properties": ["id"], "schema": {"properties": {
            "id": {"type": "integer"}, "total": {"type": "number"}}}}),
        json!({"type": "RECORD", "stream": "staff", "record": {"employee_id": 7, "login": "ada", "first_name": "Ada",
            "last_name": "Lovelace", "email": "ada@example.test", "manager_id": null, "active": true}}),
    ];
    crate::support::lines(&messages)
}

#[test]
fn the_target_proposes_rules_from_the_schema_of_its_input() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let init = || {
        Run::bare(Program::Target)
            .arg("init")
            .arg("--config")
            .arg("ENV")
            .env("TARGET_LDAP_SERVER_URL", &slapd.ldap_uri())
            .env("TARGET_LDAP_BIND_DN", &slapd.admin_dn())
            .env("TARGET_LDAP_BIND_PASSWORD", slapd.admin_password())
    };
    // The option stands before the subcommand or behind it.
    let run = init().raw_file("--input", staff().as_bytes()).arg("--yes");
    let (code, log, _) = run.spawn().wait(std::time::Duration::from_secs(60));
    assert_eq!(code, 0, "{log}");
    for unmapped in ["manager_id", "active"] {
        let line = log.lines().find(|line| line.trim_start().starts_with(unmapped));
        assert!(line.is_some_and(|line| line.contains("not mapped")), "{unmapped}: {log}");
    }
    assert!(log.contains("Stream `orders`: no rule proposed"), "{log}");
    let written = config(&run.folder().join("target.json"));
    let rules = written["mapping_rules"].as_object().unwrap();
    assert_eq!(rules.keys().collect::<Vec<_>>(), ["staff"]);
    assert_eq!(rules["staff"]["dn_template"], "uid={login},ou=people,dc=example,dc=test");
    assert_eq!(rules["staff"]["match"], "(employeeNumber={employee_id})");
    // It is what a run needs; a new login renames.
    // A stream without a rule is not for a run.
    let people = |input: &str| {
        let lines: Vec<&str> = input.lines().filter(|line| !line.contains("orders")).collect();
        lines.join("\n") + "\n"
    };
    let load = |input: &str| Run::target(&written).stdin(people(input)).run().succeeds();
    load(&staff()).stream_counts("staff", &[("added", 1), ("rejected", 0)]);
    load(&staff()).stream_counts("staff", &[("unchanged", 1)]);
    load(&staff().replace("\"login\":\"ada\"", "\"login\":\"countess\""))
        .stream_counts("staff", &[("renamed", 1)]);
    // What is there is not overwritten.
    run.run().exits(2).says("is there already");

    for wrong in ["id,name\n1,Ann\n", "{\"type\":\"STATE\",\"value\":{}}\n"] {
        init().raw_file("--input", wrong.as_bytes()).arg("--yes").run().exits(2).reports_setting("--input");
    }
    init().arg("--input").arg("none.singer").arg("--yes").run().exits(2).reports_setting("--input");
}

#[test]
fn the_target_proposes_rules_that_active_directory_accepts() {
    let samba = Samba::start("");
    let server = json!({"server_url": samba.ldaps_uri(), "tls_ca_file": samba.certificates().ca,
        "bind_dn": samba.admin_dn(), "bind_password": samba.admin_password()});
    let run = Run::bare(Program::Target).arg("init").arg("--yes").file("--config", &server);
    let run = run.raw_file("--input", staff().as_bytes());
    let (code, log, _) = run.spawn().wait(std::time::Duration::from_secs(60));
    assert_eq!(code, 0, "{log}");
    let written = config(&run.folder().join("target.json"));
    let rule = &written["mapping_rules"]["staff"];
    let below = format!("CN=Users,{}", samba.suffix()).to_lowercase();
    let template = rule["dn_template"].as_str().unwrap().to_lowercase();
    assert_eq!(template, format!("cn={{first_name}} {{last_name}} ({{employee_id}}),{below}"));
    let attributes = &rule["attribute_mapping"];
    assert_eq!(
        (&attributes["employee_id"], &attributes["login"]),
        (&json!("employeeID"), &json!("sAMAccountName"))
    );
    let people: Vec<String> =
        staff().lines().filter(|line| !line.contains("orders")).map(str::to_owned).collect();
    let load = || Run::target(&written).stdin(people.join("\n")).run().succeeds();
    load().stream_counts("staff", &[("added", 1), ("rejected", 0)]);
    load().stream_counts("staff", &[("unchanged", 1)]);
}

#[test]
fn proposed_rules_are_written_only_after_a_yes() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let run = Run::bare(Program::Target).raw_file("--input", staff().as_bytes()).arg("init");
    let run = run.file("--config", &json!({"server_url": slapd.ldap_uri()}));
    let ca = format!("{}\r", slapd.certificates().ca.display());
    let before = std::fs::read_dir(run.folder()).unwrap().count();
    let (dn, password) = (format!("{}\r", slapd.admin_dn()), format!("{}\r", slapd.admin_password()));
    let steps = |use_it: &'static str, write_it: &'static str| {
        vec![
            ("Server [", "\r".to_owned()),
            ("Enter: another server): ", ca.clone()),
            ("Bind as (", dn.clone()),
            ("Password (it is not shown): ", password.clone()),
            ("Base DN, where to begin [dc=example,dc=test]: ", "\r".to_owned()),
            ("its records look like people", String::new()),
            ("[ou=people,dc=example,dc=test]: ", "ou=staff,dc=example,dc=test\r".to_owned()),
            ("Use this rule for `staff`? [yes]: ", use_it.to_owned()),
            ("rule(s)? [yes]: ", write_it.to_owned()),
        ]
    };
    let on_terminal = |steps: &[(&str, String)]| {
        let steps: Vec<(&str, &str)> = steps.iter().map(|(text, answer)| (*text, answer.as_str())).collect();
        run_on_terminal(&run, None, &steps).exits(0)
    };
    on_terminal(&steps("\r", "no\r")).says("Nothing was written");
    assert_eq!(std::fs::read_dir(run.folder()).unwrap().count(), before);
    let mut all = steps("\r", "yes\r");
    all.push(("Keep the password in target.password", "no\r".to_owned()));
    on_terminal(&all);
    let rule = config(&run.folder().join("target.json"))["mapping_rules"]["staff"].clone();
    assert_eq!(rule["dn_template"], "uid={login},ou=staff,dc=example,dc=test");
    std::fs::remove_file(run.folder().join("target.json")).unwrap();
    let mut none = steps("no\r", "yes\r");
    none.push(("Keep the password in target.password", "no\r".to_owned()));
    on_terminal(&none);
    assert!(config(&run.folder().join("target.json")).get("mapping_rules").is_none());
}
