//! `undo_file`, the journal of a killed run, and `target-ldap undo`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use ldap_tests::run::{Output, Program, Run, Running};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{lines, unit, with};

mod active_directory;
mod changed_since;
mod file_locks;
mod given_back;
mod identity;
mod killed_run;
mod undo_command;
mod undo_file;

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
        "description": texts, "title": texts, "mail": texts}}})
}

fn record(dn: &str, more: Value) -> Value {
    let mut record = more;
    record["dn"] = json!(dn);
    json!({"type": "RECORD", "stream": "all", "record": record})
}

fn person(n: usize, more: &Value) -> Value {
    let all = json!({"objectClass": ["inetOrgPerson"], "uid": [format!("p{n}")], "cn": [format!("P {n}")],
        "sn": [n.to_string()]});
    record(&format!("uid=p{n},{PEOPLE}"), with(&all, more))
}

fn gone(dn: &str) -> Value {
    record(dn, json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}))
}

/// People 0 to 9.
fn people() -> String {
    let mut text = unit(PEOPLE);
    for n in 0..10 {
        let _ = write!(
            text,
            "dn: uid=p{n},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: P {n}\nsn: {n}\n\
             description: old\ndescription: older\ntitle: T\nmail: p{n}@x.test\n\n"
        );
    }
    text
}

/// One of each: changes, an addition below a parent that is made, deletions.
fn messages() -> Vec<Value> {
    vec![
        schema(),
        person(0, &json!({"description": ["new"], "mail": null})),
        person(1, &json!({"title": ["Boss"]})),
        record(
            "uid=n1,ou=team,dc=example,dc=test",
            json!({"objectClass": ["inetOrgPerson"], "uid": ["n1"], "cn": ["N"], "sn": ["N"]}),
        ),
        gone(&format!("uid=p2,{PEOPLE}")),
        gone(&format!("uid=p3,{PEOPLE}")),
        json!({"type": "STATE", "value": {"done": true}}),
    ]
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(people()))
}

fn undo(config: &Value, file: &Path, flags: &[&str]) -> Output {
    let mut run = Run::bare(Program::Target).arg("undo").arg(file.to_str().unwrap());
    for flag in flags {
        run = run.arg(*flag);
    }
    run.file("--config", config).run()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A run that waits for more input.
fn waiting(config: &Value, input: &[Value]) -> Running {
    let mut running = Run::target(config).spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.write_stdin(lines(input).as_bytes());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("done"), "{line}");
    std::mem::forget(stdout);
    running
}

fn left(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = files(folder)
        .into_iter()
        .filter(|n| n.starts_with("undo.ldif") && Path::new(n).extension().is_none_or(|e| e != "lock"))
        .map(|n| folder.join(n))
        .collect();
    // The newest first.
    found.sort_by_key(|p| std::cmp::Reverse(std::fs::metadata(p).unwrap().modified().unwrap()));
    found
}
