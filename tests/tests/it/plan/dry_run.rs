//! `--dry-run`, `undo_file`, `max_deletes` and `max_changes`.

use std::process::Command;

use ldap_tests::ldif::assert_same;
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{scratch, tool};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, lines, target_config, with};

const BASE: &str = "ou=people,dc=example,dc=test";

/// alice, bob, reader and replica, and a unit to be deleted.
fn start() -> Slapd {
    let seed = "dn: ou=old,dc=example,dc=test\nobjectClass: organizationalUnit\nou: old\n\n\
        dn: uid=gone,ou=old,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: gone\ncn: Gone\nsn: Gone\n\
        description: first\ndescription: second\njpegPhoto:: /9j/4AAQ\n";
    Slapd::start(SlapdOptions::with_users().seed(seed))
}

fn config(slapd: &Slapd) -> Value {
    let mut config = target_config(slapd);
    config["default_base_dn"] = json!("dc=example,dc=test");
    config
}

fn record(dn: &str, more: &Value) -> Value {
    let mut record = json!({"dn": dn});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "RECORD", "stream": "all", "record": record})
}

/// Changes of every kind: additions below a parent that is made, modifications, deletions of children and parent.
fn messages() -> Vec<Value> {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {
        "type": "object", "properties": {"dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts,
            "cn": texts, "sn": texts, "mail": texts, "description": texts, "userPassword": texts}}});
    let deleted = json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"});
    vec![
        schema,
        record(
            "uid=new,ou=team,dc=example,dc=test",
            &json!({"objectClass": ["inetOrgPerson"], "uid": ["new"], "cn": ["New"], "sn": ["Müller, J\u{f6}rg "]}),
        ),
        record(
            &format!("uid=alice,{BASE}"),
            &json!({"mail": ["a@example.test", "b@example.test"], "cn": ["alice", "Alice"]}),
        ),
        record(&format!("uid=bob,{BASE}"), &json!({"mail": null})),
        record("ou=old,dc=example,dc=test", &deleted),
        record("uid=gone,ou=old,dc=example,dc=test", &deleted),
        record(&format!("uid=reader,{BASE}"), &json!({"sn": ["reader"]})),
        json!({"type": "STATE", "value": {"done": true}}),
    ]
}

fn target(config: &Value) -> Run {
    Run::target(config).stdin(lines(&messages()))
}

fn ldapmodify(slapd: &Slapd, file: &std::path::Path) {
    let output = Command::new(tool("ldapmodify"))
        .args(["-x", "-H", &slapd.ldap_uri(), "-D", &slapd.admin_dn(), "-w", slapd.admin_password(), "-f"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn plan(slapd: &Slapd) -> Output {
    let before = slapd.change_marks();
    let output = target(&config(slapd)).arg("--dry-run").run().succeeds();
    assert_untouched(slapd, &before);
    output
}

#[test]
fn the_plan_given_to_ldapmodify_is_the_run() {
    let (planned, run) = (start(), start());
    let output = plan(&planned);
    assert!(!output.stdout_text().contains("done"), "no STATE: nothing was done");
    output.stderr.counts(&[("modified", 2), ("renamed", 0), ("deleted", 2), ("unchanged", 1)]);
    assert!([1, 2].map(Value::from).contains(&output.stderr.summary()["added"]), "{}", output.stderr);
    let text = output.stdout_text();
    assert!(text.contains("# all, line 3: dn=uid=alice"), "each change says what it is for:\n{text}");
    let dir = scratch();
    let file = dir.path().join("plan.ldif");
    std::fs::write(&file, &output.stdout).unwrap();
    ldapmodify(&planned, &file);
    target(&config(&run)).run().succeeds();
    assert_same("the plan", &planned.dump(), "the run", &run.dump());
    assert!(plan(&run).stdout.is_empty(), "and then there is nothing to do");
}

#[test]
fn a_plan_has_three_forms() {
    let slapd = start();
    let form = |format: &str| target(&config(&slapd)).plan(format).run().succeeds().stdout_text();
    let diff = form("diff");
    assert!(diff.contains("- uid=gone,ou=old") && diff.contains("+ uid=new,ou=team"), "{diff}");
    assert!(!diff.contains('\u{1b}'), "no colours where nobody sees them");
    let objects: Vec<Value> = form("json").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(objects.iter().any(|o| o["operation"] == "delete" && o["dn"] == "ou=old,dc=example,dc=test"));
    let by_setting = target(&with(&config(&slapd), &json!({"dry_run": true}))).run().succeeds().stdout_text();
    assert_eq!(by_setting, form("ldif"));
}

#[test]
fn a_run_can_be_taken_back() {
    let slapd = start();
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&config(&slapd), &json!({"undo_file": file}));
    target(&config).run().succeeds();
    assert!(slapd.dump() != before);
    ldapmodify(&slapd, &file);
    assert_same("before", &before, "taken back", &slapd.dump());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no journal is left");
}

#[test]
fn a_run_that_fails_in_the_middle_can_be_taken_back_too() {
    let slapd = start();
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&config(&slapd), &json!({"undo_file": file, "max_in_flight": 1}));
    let mut all = messages();
    all.insert(
        4,
        record(&format!("uid=bad,{BASE}"), &json!({"objectClass": ["no such class"], "uid": ["bad"]})),
    );
    Run::target(&config).stdin(lines(&all)).run().exits(1);
    assert!(slapd.dump() != before);
    ldapmodify(&slapd, &file);
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn an_undo_file_that_cannot_be_written_stops_the_run_before_it_begins() {
    let slapd = start();
    let before = slapd.change_marks();
    let config = with(&config(&slapd), &json!({"undo_file": "/nowhere/at/all/undo.ldif"}));
    target(&config).run().exits(2).reports_setting("undo_file");
    assert_untouched(&slapd, &before);
}

#[test]
fn a_run_that_would_do_too_much_does_nothing() {
    let slapd = start();
    let before = slapd.change_marks();
    // 8 entries are there: 20 % of them are one.
    for (setting, value) in
        [("max_deletes", json!(1)), ("max_deletes", json!("20%")), ("max_changes", json!(5))]
    {
        let output = target(&with(&config(&slapd), &json!({setting: value}))).run().exits(1);
        let output = output.reports(&json!({"level": "error", "setting": setting}));
        assert!(output.stdout.is_empty(), "no STATE");
        assert_untouched(&slapd, &before);
    }
    target(&with(&config(&slapd), &json!({"max_deletes": "many"})))
        .run()
        .exits(2)
        .reports_setting("max_deletes");
    let within = json!({"max_deletes": 2, "max_changes": "75%"});
    let output = target(&with(&config(&slapd), &within)).run().succeeds();
    assert_eq!(output.lines(), [json!({"done": true})]);
    assert!(!slapd.dump().contains_key("ou=old,dc=example,dc=test"));
}

#[test]
fn a_file_is_rehearsed_as_well() {
    let dir = scratch();
    let file = dir.path().join("copy.ldif");
    let url = format!("ldif:{}", file.display());
    std::fs::write(&file, "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n").unwrap();
    let before = std::fs::read(&file).unwrap();
    let config = json!({"server_url": url, "mapping_rules": {}});
    let record = record("ou=a,dc=example,dc=test", &json!({"objectClass": ["organizationalUnit"]}));
    let mut all = vec![messages()[0].clone()];
    all.push(record);
    let output = Run::target(&config).stdin(lines(&all)).arg("--dry-run").run().succeeds();
    assert!(output.stdout_text().contains("dn: ou=a,dc=example,dc=test"), "{}", output.stdout_text());
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn what_a_version_no_longer_has_is_limited_too() {
    let slapd = start();
    let all = [
        messages()[0].clone(),
        json!({"type": "RECORD", "stream": "all", "version": 1,
            "record": {"dn": format!("uid=alice,{BASE}"), "sn": ["alice"]}}),
        json!({"type": "ACTIVATE_VERSION", "stream": "all", "version": 1}),
    ];
    let with_limit = |limit: u64| {
        let rule = json!({"all": {"scope_base": BASE, "scope_filter": "(objectClass=inetOrgPerson)"}});
        let settings = json!({"process_activate_version": true, "mapping_rules": rule, "max_deletes": limit});
        Run::target(&with(&config(&slapd), &settings)).stdin(lines(&all))
    };
    let before = slapd.change_marks();
    with_limit(2).run().exits(1).reports_setting("max_deletes");
    assert_untouched(&slapd, &before);
    let plan = with_limit(3).arg("--dry-run").run().succeeds().stdout_text();
    assert_eq!(plan.matches("changetype: delete").count(), 3, "{plan}");
    with_limit(3).run().succeeds();
    let left = slapd.dump();
    assert!(
        left.contains_key(&format!("uid=alice,{BASE}")) && !left.contains_key(&format!("uid=bob,{BASE}"))
    );
}

#[test]
fn who_has_seen_enough_of_a_plan_is_no_news() {
    let slapd = start();
    let mut running = target(&config(&slapd)).arg("--dry-run").spawn();
    drop(running.take_stdout());
    running.close_stdin_with(lines(&messages()).as_bytes());
    let (code, stderr, _) = running.wait(std::time::Duration::from_secs(30));
    assert_eq!(code, 1, "{stderr}");
    stderr.does_not_report(&json!({"level": "error"}));
}
