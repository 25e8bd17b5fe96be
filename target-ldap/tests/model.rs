//! Random inputs through the target and through a simple reference. Both must end with the same directory, the same number of
//! rejected records and the same STATE, also if the input is cut anywhere and the next run continues from the STATE of the
//! last.
//!
//! `MODEL_CASES` sets the number of inputs: 300 by default.

// A panic here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldap_directory::ldif::{LdifDirectory, LdifFormat};
use ldap_directory::{Access, Directory as Place, Scope, SearchRequest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use singer_common::operations::signals::Stop;
use singer_common::singer::writer::SingerWriter;
use target_ldap::config::{OnError, TargetConfig};
use target_ldap::load::Load;
use target_ldap::load::rejects::RejectFile;
use target_ldap::write::destination::Destination;
use target_ldap::write::protection::Protection;

#[path = "model/reference.rs"]
mod reference;
#[path = "model/unique_values.rs"]
mod unique_values;

use reference::{Directory, Entry, Line, Name, Outcome, Rules, SCOPES};

const STREAMS: [&str; 2] = ["p", "q"];

fn write(directory: &Directory, path: &Path) {
    let mut text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned();
    for ou in 0..2 {
        write!(text, "dn: ou=u{ou},dc=x\nobjectClass: organizationalUnit\nou: u{ou}\n\n").unwrap();
    }
    for ((ou, uid), entry) in directory {
        write!(text, "dn: uid=n{uid},ou=u{ou},dc=x\nobjectClass: inetOrgPerson\nuid: n{uid}\ncn: x\nsn: x\nemployeeNumber: {}\n", entry.number).unwrap();
        if let Some(mark) = entry.mark {
            writeln!(text, "title: {mark}").unwrap();
        }
        text.push('\n');
    }
    std::fs::write(path, text).unwrap();
}

async fn read(place: &Place) -> Directory {
    let request = SearchRequest::new("dc=x", Scope::Subtree, "(uid=*)", &["employeeNumber", "title", "uid"]);
    let mut search = place.search(request).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(entry) = search.next_entry().await.unwrap() {
        let number = |text: &str| text.parse::<u8>().unwrap();
        let ou = entry.dn.split(",ou=u").nth(1).unwrap().split(',').next().unwrap();
        let uid = entry.first_text("uid").unwrap().trim_start_matches('n');
        let there = Entry {
            number: number(entry.first_text("employeeNumber").unwrap()),
            mark: entry.first_text("title").map(number),
        };
        assert!(found.insert((number(ou), number(uid)), there).is_none());
    }
    found
}

fn config(rules: Rules, path: &Path, dir: &Path, in_flight: usize) -> TargetConfig {
    let rule = |stream: usize| {
        let numbers: Vec<String> = SCOPES[stream].iter().map(|n| format!("(employeeNumber={n})")).collect();
        let numbers = numbers.concat();
        let mut rule = json!({"dn_template": "uid={uid},ou={ou},dc=x", "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "employeeNumber", "uid": "uid"}, "values": {"cn": "x", "sn": "x"},
            "scope_base": "dc=x", "scope_filter": format!("(|{numbers})")});
        if rules.matches[stream] {
            rule["match"] = json!("(employeeNumber={id})");
        }
        rule
    };
    let settings = json!({"server_url": format!("ldif:{}", path.display()), "max_in_flight": in_flight,
        "process_activate_version": true, "on_error": "skip", "reject_file": dir.join("rejects.jsonl"),
        "mapping_rules": {"p": rule(0), "q": rule(1)}});
    let file = dir.join("config.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let resolved =
        target_ldap::settings::TABLE.resolve(&[file.display().to_string()], &BTreeMap::new()).unwrap();
    TargetConfig::from_settings(&resolved.values, &mut Vec::new()).unwrap()
}

fn message(number: usize, line: &Line) -> Value {
    let record = |stream: &u8, key: &u8, name: Option<&Name>| {
        let mut record = json!({"id": key.to_string()});
        if let Some((ou, uid)) = name {
            record["ou"] = json!(format!("u{ou}"));
            record["uid"] = json!(format!("n{uid}"));
        }
        json!({"type": "RECORD", "stream": STREAMS[usize::from(*stream)], "version": 1, "record": record})
    };
    match line {
        Line::Record { stream, key, name, bad } => {
            let mut message = record(stream, key, Some(name));
            if *bad {
                message["record"]["note"] = json!(7);
            }
            message
        }
        Line::Deletion { stream, key, name } => {
            let mut message = record(stream, key, name.as_ref());
            message["record"]["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
            message
        }
        Line::Activate { stream } => {
            json!({"type": "ACTIVATE_VERSION", "stream": STREAMS[usize::from(*stream)], "version": 1})
        }
        Line::State => json!({"type": "STATE", "value": {"line": number}}),
    }
}

/// Runs an input through the target.
fn carry_out(rules: Rules, directory: &Directory, lines: &[Line], in_flight: usize) -> (Directory, Outcome) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.ldif");
    write(directory, &path);
    let config = config(rules, &path, dir.path(), in_flight);
    let mut input = String::new();
    let text = json!({"type": ["string", "null"]});
    for stream in STREAMS {
        let schema = json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object",
            "properties": {"id": text, "uid": text, "ou": text, "note": text}}});
        writeln!(input, "{schema}").unwrap();
    }
    for (number, line) in lines.iter().enumerate() {
        writeln!(input, "{}", message(number, line)).unwrap();
    }
    let place = Place::Ldif(LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap());
    let destination = Destination::new(place.clone(), Protection::none());
    let OnError::Skip { file, .. } = &config.on_error else { panic!("skip") };
    let rejects = RejectFile::open(file).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut printed = Vec::new();
    let (found, rejected) = runtime.block_on(async {
        let mut writer = SingerWriter::new(&mut printed);
        let load = Load::new(&config, &destination, &mut writer, Stop::never(), Some(rejects), false);
        let ending = load.run(Box::new(Cursor::new(input.into_bytes()))).await.unwrap();
        (read(&place).await, ending.rejected)
    });
    let printed = String::from_utf8(printed).unwrap();
    let state = printed.lines().last().map(|line| {
        let state: Value = serde_json::from_str(line).unwrap();
        usize::try_from(state["line"].as_u64().unwrap()).unwrap()
    });
    (found, Outcome { rejected: usize::try_from(rejected).unwrap(), state })
}

fn name() -> impl Strategy<Value = Name> {
    (0..2_u8, 0..3_u8)
}

fn line() -> impl Strategy<Value = Line> {
    let record = |bad: bool| {
        (0..2_u8, 0..5_u8, name()).prop_map(move |(stream, key, name)| Line::Record {
            stream,
            key,
            name,
            bad,
        })
    };
    prop_oneof![
        8 => record(false),
        1 => record(true),
        3 => (0..2_u8, 0..5_u8, proptest::option::weighted(0.6, name()))
            .prop_map(|(stream, key, name)| Line::Deletion { stream, key, name }),
        2 => (0..2_u8).prop_map(|stream| Line::Activate { stream }),
        2 => Just(Line::State),
    ]
}

#[test]
fn a_run_does_what_the_reference_does() {
    let cases = std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let decided = AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let input = (
        proptest::collection::btree_map(name(), 0..5_u8, 0..5),
        proptest::collection::vec(line(), 1..12),
        (any::<bool>(), any::<bool>()),
        proptest::option::of(any::<prop::sample::Index>()),
        prop_oneof![Just(1_usize), Just(8)],
    );
    let result = runner.run(&input, |(there, lines, (p, q), cut, in_flight)| {
        let rules = Rules { matches: [p, q] };
        let mut expected: Directory = there
            .iter()
            .zip(0..)
            .map(|((name, number), mark)| (*name, Entry { number: *number, mark: Some(mark) }))
            .collect();
        let mut actual = expected.clone();
        // Cut anywhere, and run again from the printed STATE.
        let first = cut.map_or(lines.len(), |cut| cut.index(lines.len() + 1));
        let mut from = 0;
        for to in [first, lines.len()] {
            let part = &lines[from..to];
            let before = expected.clone();
            let Some(outcome) = reference::run(rules, &mut expected, part) else { return Ok(()) };
            let (found, done) = carry_out(rules, &actual, part, in_flight);
            prop_assert_eq!(&found, &expected, "the directory after {:?} onto {:?}", part, before);
            prop_assert_eq!(&done, &outcome, "{:?} onto {:?}", part, before);
            actual = found;
            from = done.state.map_or(from, |state| from + state + 1);
            if cut.is_none() {
                break;
            }
        }
        decided.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let decided = decided.into_inner();
    println!("{decided} of {cases} inputs were decided by the reference");
    assert!(decided * 2 > usize::try_from(cases).unwrap());
}
