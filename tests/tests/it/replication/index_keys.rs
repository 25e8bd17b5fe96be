//! The index of keys belongs to one key and one bookmark; and the DNs in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::go_on;
use super::repeated_runs::resyncs;
use crate::support::{tap_config, unit, with};

const BASE: &str = "ou=people,dc=example,dc=test";

#[track_caller]
fn run(config: &Value, state: Option<&Value>) -> (Output, Value) {
    go_on(Run::tap(config), state)
}

/// People, and whether each has an id.
fn write_file(path: &Path, names: &[(&str, bool)]) {
    let mut text = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\
        entryUUID: 00000000-0000-4000-8000-000000000000\nmodifyTimestamp: 20260101000000Z\n\n"
        .to_owned();
    for (name, has_id) in names {
        let id = u32::from(name.as_bytes()[0]);
        write!(text, "dn: cn={name},dc=example,dc=test\nobjectClass: device\ncn: {name}\n").unwrap();
        if *has_id {
            writeln!(text, "entryUUID: {id:08x}-0000-4000-8000-000000000000").unwrap();
        }
        text += "modifyTimestamp: 20260102000000Z\n\n";
    }
    std::fs::write(path, text).unwrap();
}

fn of_file(path: &Path, method: &str, more: &Value) -> Value {
    let mut stream =
        json!({"name": "people", "filter": "(cn=*)", "attributes": ["cn"], "replication_method": method});
    for (key, value) in more.as_object().unwrap() {
        stream[key] = value.clone();
    }
    json!({"server_url": format!("ldif:{}", path.display()), "base_dn": "dc=example,dc=test", "schemas": [stream]})
}

fn lines(output: &Output) -> Vec<Value> {
    output.stderr.entries().to_vec()
}

fn deleted(output: &Output) -> BTreeSet<String> {
    let records = output.records(None);
    let gone = records.iter().filter(|r| r["_sdc_deleted_at"].is_string());
    gone.map(|r| r["dn"].as_str().expect("a deletion has its name").to_owned()).collect()
}

fn printed(output: &Output) -> usize {
    output.records(None).iter().filter(|r| r["_sdc_deleted_at"].is_null()).count()
}

#[test]
fn another_key_deletes_nothing_and_is_a_resync() {
    for tracked in [true, false] {
        for method in ["FULL_TABLE", "INCREMENTAL"] {
            for by_user in [true, false] {
                let what = format!("{method}, tracked {tracked}, by the user {by_user}");
                let dir = scratch();
                let file = dir.path().join("people.ldif");
                write_file(&file, &[("a", true), ("b", true), ("c", true)]);
                let index = json!({"track_deletions": tracked, "state_dir": dir.path().join("state")});
                let config = with(&of_file(&file, method, &json!({})), &index);
                let (_, state) = run(&config, None);
                let (_, state) = run(&config, Some(&state));
                // The key is another one because of the user, or because of one entry.
                let config = if by_user {
                    with(&of_file(&file, method, &json!({"key_properties": ["dn"]})), &index)
                } else {
                    write_file(&file, &[("a", true), ("b", true), ("c", true), ("d", false)]);
                    config
                };
                let there = if by_user { 3 } else { 4 };
                let (output, state) = run(&config, Some(&state));
                assert_eq!(
                    (deleted(&output).len(), printed(&output)),
                    (0, there),
                    "{what}: {}",
                    output.stderr
                );
                let announced = usize::from(tracked || method == "INCREMENTAL");
                assert_eq!(resyncs(&output), announced, "{what}: {}", output.stderr);
                let said: Vec<Value> = lines(&output).into_iter().filter(|l| l["without_id"] == 1).collect();
                assert_eq!(said.len(), usize::from(!by_user), "{what}: {}", output.stderr);
                for said in said {
                    assert_eq!(
                        (&said["stream"], &said["first"]),
                        (&json!("people"), &json!("cn=d,dc=example,dc=test"))
                    );
                }
                // It settles, and deletions are found by the new key.
                write_file(&file, &[("a", true), ("c", true), ("d", false)]);
                let (output, _) = run(&config, Some(&state));
                assert_eq!(resyncs(&output), 0, "{what}: {}", output.stderr);
                let gone: BTreeSet<String> = if tracked {
                    BTreeSet::from(["cn=b,dc=example,dc=test".to_owned()])
                } else {
                    BTreeSet::new()
                };
                assert_eq!(deleted(&output), gone, "{what}");
            }
        }
    }
}

#[test]
fn a_bookmark_of_yesterday_does_not_say_of_which_key_it_is() {
    let dir = scratch();
    let file = dir.path().join("people.ldif");
    write_file(&file, &[("a", true), ("b", true)]);
    let index = json!({"track_deletions": true, "state_dir": dir.path().join("state")});
    let config = with(&of_file(&file, "INCREMENTAL", &json!({})), &index);
    let (_, mut state) = run(&config, None);
    let key = state["bookmarks"]["people"].as_object_mut().unwrap().remove("key_properties");
    assert_eq!(key, Some(json!(["entryUUID"])));
    let (output, _) = run(&config, Some(&state));
    assert_eq!((resyncs(&output), output.records(None).len()), (0, 0), "{}", output.stderr);
}

#[test]
fn a_file_that_went_back_is_noticed_by_its_names() {
    let dir = scratch();
    let file = dir.path().join("x.ldif");
    let write = |day: u32| {
        let text = format!(
            "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\nmodifyTimestamp: 20260101000000Z\n\n\
             dn: cn=a,dc=example,dc=test\nobjectClass: device\ncn: a\nmodifyTimestamp: 20260102000000Z\n\n\
             dn: cn=b,dc=example,dc=test\nobjectClass: device\ncn: b\nserialNumber: {day}\n\
             modifyTimestamp: 202601{day:02}000000Z\n\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    let config = of_file(&file, "INCREMENTAL", &json!({"replication_key": "modifyTimestamp"}));
    write(20);
    let (_, state) = run(&config, None);
    write(10);
    let (output, state) = run(&config, Some(&state));
    assert_eq!((resyncs(&output), output.records(None).len()), (1, 2), "{}", output.stderr);
    let (output, _) = run(&config, Some(&state));
    assert_eq!((resyncs(&output), output.records(None).len()), (0, 0), "{}", output.stderr);
}

#[test]
fn an_index_that_is_not_there_any_more_is_said() {
    let dir = scratch();
    let (file, folder) = (dir.path().join("people.ldif"), dir.path().join("state"));
    write_file(&file, &[("a", true), ("b", true)]);
    let index = json!({"track_deletions": true, "state_dir": folder});
    let config = with(&of_file(&file, "FULL_TABLE", &json!({})), &index);
    let (output, state) = run(&config, None);
    assert_eq!(resyncs(&output), 0);
    std::fs::remove_dir_all(&folder).unwrap();
    write_file(&file, &[("a", true)]);
    let (output, state) = run(&config, Some(&state));
    assert_eq!((resyncs(&output), deleted(&output).len()), (1, 0), "{}", output.stderr);
    assert_eq!(resyncs(&run(&config, Some(&state)).0), 0);
}

#[test]
fn the_names_of_a_run_that_was_killed_are_told_as_gone() {
    const COUNT: usize = 700;
    let text = "x".repeat(1_200);
    let mut seed = unit(BASE);
    for n in 0..COUNT {
        write!(
            seed,
            "dn: cn=p{n},{BASE}\nobjectClass: device\ncn: p{n}\nserialNumber: {n}\ndescription: {text}\n\n"
        )
        .unwrap();
    }
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let dir = scratch();
    let stream = json!({"name": "all", "base_dn": BASE, "filter": "(cn=*)",
        "attributes": ["cn", "description"], "replication_method": "LOG_BASED"});
    let config = with(
        &tap_config(&slapd),
        &json!({"base_dn": BASE, "schemas": [stream], "track_deletions": true, "state_dir": dir.path()}),
    );
    let (_, state) = run(&config, None);
    let rename = |from: &str, to: &str| {
        let mut ldif = String::new();
        for n in 10..COUNT {
            let rdn = format!("newrdn: cn={to}{n}\ndeleteoldrdn: 1");
            write!(ldif, "dn: cn={from}{n},{BASE}\nchangetype: modrdn\n{rdn}\n\n").unwrap();
        }
        slapd.ldapmodify(ldif);
    };
    let delete = |n: usize| slapd.ldapmodify(format!("dn: cn=p{n},{BASE}\nchangetype: delete\n\n"));
    (0..5).for_each(delete);
    rename("p", "q");
    // What the pipe does not take waits in the process, which is killed.
    let mut running = Run::tap(&config).file("--state", &state).spawn();
    running.close_stdin_with(&[]);
    let mut told = BTreeSet::new();
    for line in BufReader::new(running.take_stdout()).lines().take(150) {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_ne!(message["type"], "STATE", "it was killed too late");
        if message["type"] == "RECORD" && message["record"]["_sdc_deleted_at"].is_null() {
            told.insert(message["record"]["dn"].as_str().unwrap().to_owned());
        }
    }
    running.child().kill().unwrap();
    running.end();
    assert!(told.len() > 20, "{}", told.len());
    rename("q", "r");
    // One that nobody was ever told of, and more that everybody was.
    slapd.ldapadd(format!("dn: cn=short,{BASE}\nobjectClass: device\ncn: short\n\n"));
    slapd.ldapmodify(format!("dn: cn=short,{BASE}\nchangetype: delete\n\n"));
    (5..10).for_each(delete);
    for _ in 0..2 {
        // As often as it goes on from there, it tells the same.
        let (output, _) = run(&config, Some(&state));
        let gone = deleted(&output);
        assert_eq!(resyncs(&output), 0, "{}", output.stderr);
        assert!(gone.is_superset(&told), "{:?}", told.difference(&gone).collect::<Vec<_>>());
        for n in 0..COUNT {
            assert!(gone.contains(&format!("cn=p{n},{BASE}")), "{n}");
        }
        assert!(!gone.iter().any(|dn| dn.starts_with("cn=short") || dn.starts_with("cn=r")));
        assert_eq!(printed(&output), COUNT - 10);
    }
}
