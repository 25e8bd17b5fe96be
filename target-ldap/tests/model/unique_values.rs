//! Random inputs onto a directory that accepts each `mail` and each `telephoneNumber` once. Each run must end. If each person has
//! one record, and the values that the records ask for are all different, each person must end with exactly these.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::filter::Filter;
use ldap_directory::ldif::{LdifDirectory, LdifFormat};
use ldap_directory::{Access, Directory as Place, DirectoryError, Scope, SearchRequest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use singer_common::operations::signals::Stop;
use singer_common::singer::writer::SingerWriter;
use target_ldap::config::{OnError, TargetConfig};
use target_ldap::load::Load;
use target_ldap::load::rejects::RejectFile;
use target_ldap::write::destination::Destination;
use target_ldap::write::gate::ChangeGate;
use target_ldap::write::protection::Protection;

const UNIQUE: [&str; 2] = ["mail", "telephoneNumber"];

/// The values of the unique attributes; `None`: the record says nothing of it, or the entry has none.
type Values = [Option<u8>; 2];

/// A line of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Record {
        id: u8,
        values: Values,
    },
    Deletion {
        id: u8,
    },
    /// ACTIVATE_VERSION.
    Activate,
}

/// Refuses a value that another entry has, as servers do.
#[derive(Debug)]
struct UniqueValues {
    /// Whether the diagnostic message names the attribute (389 Directory Server), or not (slapd).
    names_attribute: bool,
    /// The entry with each value.
    held: Mutex<BTreeMap<(String, Vec<u8>), String>>,
}

impl UniqueValues {
    fn new(directory: &BTreeMap<u8, Values>, names_attribute: bool) -> Self {
        let values = directory.iter().flat_map(|(id, values)| {
            let dn = format!("uid=n{id},dc=x");
            UNIQUE.iter().zip(values).filter_map(move |(name, value)| {
                Some((((*name).to_owned(), text((*value)?).into_bytes()), dn.clone()))
            })
        });
        Self { names_attribute, held: Mutex::new(values.collect()) }
    }
}

/// Returns the values that a change adds, and whether each replaces those that were there.
fn added(change: &Change) -> Vec<(String, Vec<Vec<u8>>, ModificationKind)> {
    let is_unique = |name: &str| UNIQUE.contains(&name);
    match change {
        Change::Add(entry) => {
            let unique = entry.attributes.iter().filter(|a| is_unique(&a.description));
            unique.map(|a| (a.description.clone(), a.values.clone(), ModificationKind::Add)).collect()
        }
        Change::Modify { changes, .. } => {
            let unique = changes.iter().filter(|c| is_unique(&c.description));
            unique.map(|c| (c.description.clone(), c.values.clone(), c.kind)).collect()
        }
        _ => Vec::new(),
    }
}

impl ChangeGate for UniqueValues {
    fn admit(&self, change: &Change) -> Result<Option<Filter>, DirectoryError> {
        let held = self.held.lock().unwrap();
        for (name, values, kind) in added(change) {
            let is_taken = |value: &Vec<u8>| {
                held.get(&(name.clone(), value.clone())).is_some_and(|holder| holder != change.dn())
            };
            if kind != ModificationKind::Delete && values.iter().any(is_taken) {
                let text = if self.names_attribute {
                    format!(
                        "Another entry with the same attribute value already exists (attribute: \"{name}\")"
                    )
                } else {
                    "some attributes not unique".to_owned()
                };
                let operation = if matches!(change, Change::Add(_)) { "add" } else { "modify" };
                let (dn, matched) = (change.dn().to_owned(), String::new());
                return Err(DirectoryError::Operation { operation, dn, code: 19, matched, text });
            }
        }
        Ok(None)
    }

    fn made(&self, change: &Change, result: &Result<(), DirectoryError>) {
        if result.is_err() {
            return;
        }
        let mut held = self.held.lock().unwrap();
        let dn = change.dn();
        if matches!(change, Change::Delete { .. }) {
            held.retain(|_, holder| holder != dn);
        }
        for (name, values, kind) in added(change) {
            match kind {
                ModificationKind::Delete => held.retain(|(other, value), holder| {
                    *other != name || holder != dn || !values.is_empty() && !values.contains(value)
                }),
                ModificationKind::Replace => held.retain(|(other, _), holder| *other != name || holder != dn),
                _ => {}
            }
            if kind != ModificationKind::Delete {
                held.extend(values.into_iter().map(|value| ((name.clone(), value), dn.to_owned())));
            }
        }
    }
}

fn text(value: u8) -> String {
    format!("v{value}@example.test")
}

fn write(directory: &BTreeMap<u8, Values>, path: &Path) {
    let mut ldif = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned();
    for (id, values) in directory {
        write!(
            ldif,
            "dn: uid=n{id},dc=x\nobjectClass: inetOrgPerson\nuid: n{id}\ncn: x\nsn: x\nemployeeNumber: {id}\n"
        )
        .unwrap();
        for (name, value) in UNIQUE.iter().zip(values) {
            if let Some(value) = value {
                writeln!(ldif, "{name}: {}", text(*value)).unwrap();
            }
        }
        ldif.push('\n');
    }
    std::fs::write(path, ldif).unwrap();
}

async fn read(place: &Place) -> BTreeMap<u8, Values> {
    let names = ["employeeNumber", "mail", "telephoneNumber"];
    let mut search =
        place.search(SearchRequest::new("dc=x", Scope::Subtree, "(uid=*)", &names)).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(entry) = search.next_entry().await.unwrap() {
        let value = |name: &str| {
            let text = entry.first_text(name)?;
            Some(text.trim_start_matches('v').split('@').next().unwrap().parse().unwrap())
        };
        found.insert(entry.first_text("employeeNumber").unwrap().parse().unwrap(), UNIQUE.map(value));
    }
    found
}

/// How a run is carried out.
#[derive(Debug, Clone, Copy)]
struct Ways {
    matches: bool,
    in_flight: usize,
    names_attribute: bool,
}

fn config(ways: Ways, path: &Path, dir: &Path) -> TargetConfig {
    let mut rule = json!({"dn_template": "uid=n{id},dc=x", "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "mail": "mail", "telephoneNumber": "telephoneNumber"},
        "values": {"cn": "x", "sn": "x"}, "scope_base": "dc=x", "scope_filter": "(uid=*)"});
    if ways.matches {
        rule["match"] = json!("(employeeNumber={id})");
    }
    let settings = json!({"server_url": format!("ldif:{}", path.display()), "max_in_flight": ways.in_flight,
        "process_activate_version": true, "on_error": "skip", "reject_file": dir.join("rejects.jsonl"),
        "mapping_rules": {"p": rule}});
    let file = dir.join("config.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let resolved =
        target_ldap::settings::TABLE.resolve(&[file.display().to_string()], &BTreeMap::new()).unwrap();
    TargetConfig::from_settings(&resolved.values, &mut Vec::new()).unwrap()
}

fn message(line: &Line) -> Value {
    let record = |id: &u8| json!({"id": id.to_string()});
    let record = match line {
        Line::Record { id, values } => {
            let mut record = record(id);
            for (name, value) in UNIQUE.iter().zip(values) {
                if let Some(value) = value {
                    record[*name] = json!(text(*value));
                }
            }
            record
        }
        Line::Deletion { id } => {
            let mut record = record(id);
            record["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
            record
        }
        Line::Activate => return json!({"type": "ACTIVATE_VERSION", "stream": "p", "version": 1}),
    };
    json!({"type": "RECORD", "stream": "p", "version": 1, "record": record})
}

/// Runs an input through the target. Returns the directory and the number of rejected records; `None`: the run has not ended.
fn carry_out(
    ways: Ways,
    directory: &BTreeMap<u8, Values>,
    lines: &[Line],
) -> Option<(BTreeMap<u8, Values>, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.ldif");
    write(directory, &path);
    let config = config(ways, &path, dir.path());
    let string = json!({"type": ["string", "null"]});
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": string, "mail": string, "telephoneNumber": string, "_sdc_deleted_at": string}}});
    let mut input = String::new();
    for line in std::iter::once(schema).chain(lines.iter().map(message)) {
        writeln!(input, "{line}").unwrap();
    }
    let place = Place::Ldif(LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap());
    let gate = Arc::new(UniqueValues::new(directory, ways.names_attribute));
    let destination = Destination::new(place.clone(), Protection::none()).with_gate(Some(gate));
    let OnError::Skip { file, .. } = &config.on_error else { panic!("skip") };
    let rejects = RejectFile::open(file).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut printed = Vec::new();
    runtime.block_on(async {
        let mut writer = SingerWriter::new(&mut printed);
        let load = Load::new(&config, &destination, &mut writer, Stop::never(), Some(rejects), false);
        let run = load.run(Box::new(Cursor::new(input.into_bytes())));
        let ending = tokio::time::timeout(Duration::from_secs(30), run).await.ok()?.unwrap();
        Some((read(&place).await, ending.rejected))
    })
}

/// Returns what the lines ask for, if each person has one.
fn asked(directory: &BTreeMap<u8, Values>, lines: &[Line]) -> Option<BTreeMap<u8, Values>> {
    let mut asked = directory.clone();
    let mut came = BTreeSet::new();
    for line in lines {
        match line {
            Line::Record { id, values } => {
                let there = asked.entry(*id).or_default();
                for (there, value) in there.iter_mut().zip(values) {
                    *there = value.or(*there);
                }
                came.insert(*id).then_some(())?;
            }
            Line::Deletion { id } => {
                asked.remove(id);
                came.insert(*id).then_some(())?;
            }
            Line::Activate => {}
        }
    }
    let has_records = lines.iter().any(|line| matches!(line, Line::Record { .. }));
    if lines.last() == Some(&Line::Activate) && has_records {
        asked.retain(|id, _| came.contains(id));
    }
    Some(asked)
}

fn is_possible(directory: &BTreeMap<u8, Values>) -> bool {
    (0..UNIQUE.len()).all(|at| {
        let mut seen = BTreeSet::new();
        directory.values().filter_map(|values| values[at]).all(|value| seen.insert(value))
    })
}

fn values() -> impl Strategy<Value = Values> {
    let value = || proptest::option::weighted(0.8, 0..6_u8);
    (value(), value()).prop_map(|(mail, telephone)| [mail, telephone])
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = prop_oneof![
        6 => (0..6_u8, values()).prop_map(|(id, values)| Line::Record { id, values }),
        1 => (0..6_u8).prop_map(|id| Line::Deletion { id }),
    ];
    // A permutation of the values: an exchange among all.
    let shuffled = || Just((0..6_u8).collect::<Vec<_>>()).prop_shuffle();
    let exchange =
        (shuffled(), shuffled(), shuffled(), 1..7_usize).prop_map(|(ids, mails, telephones, count)| {
            let values =
                mails.into_iter().zip(telephones).map(|(mail, telephone)| [Some(mail), Some(telephone)]);
            ids.into_iter().zip(values).take(count).map(|(id, values)| Line::Record { id, values }).collect()
        });
    let body = prop_oneof![proptest::collection::vec(line, 1..8), exchange];
    (body, any::<bool>()).prop_map(|(mut lines, activates)| {
        if activates {
            lines.push(Line::Activate);
        }
        lines
    })
}

#[test]
fn a_run_with_unique_values_ends_and_does_what_is_possible() {
    let cases = std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let ways = (any::<bool>(), prop_oneof![Just(1_usize), Just(8)], any::<bool>())
        .prop_map(|(matches, in_flight, names_attribute)| Ways { matches, in_flight, names_attribute });
    let shuffled = || Just((0..6_u8).collect::<Vec<_>>()).prop_shuffle();
    let everyone = (shuffled(), shuffled()).prop_map(|(mails, telephones)| {
        let values = mails.into_iter().zip(telephones).map(|(mail, telephone)| [Some(mail), Some(telephone)]);
        (0..6).zip(values).collect()
    });
    let there = prop_oneof![2 => proptest::collection::btree_map(0..6_u8, values(), 0..6), 1 => everyone];
    let input = (there, lines(), ways);
    let decided = std::cell::Cell::new(0_u32);
    let result = runner.run(&input, |(there, lines, ways)| {
        prop_assume!(is_possible(&there));
        let Some((found, rejected)) = carry_out(ways, &there, &lines) else {
            return Err(TestCaseError::fail("the run has not ended"));
        };
        if let Some(asked) = asked(&there, &lines) {
            if is_possible(&asked) {
                decided.set(decided.get() + 1);
                prop_assert_eq!((&found, rejected), (&asked, 0), "{:?} onto {:?}", lines, there);
            } else {
                prop_assert!(rejected > 0, "{:?} onto {:?}", lines, there);
                // An entry that gave up a value for one that can never be free may have lost it to another record.
                let of = |all: &BTreeMap<u8, Values>, id: &u8, at: usize| {
                    all.get(id).and_then(|values| values[at])
                };
                for (id, values) in &found {
                    for (at, value) in values.iter().enumerate() {
                        let had = of(&there, id, at);
                        let is_lost = value.is_none() && found.values().any(|other| other[at] == had);
                        let is_known = is_lost || *value == had || *value == of(&asked, id, at);
                        prop_assert!(is_known, "{} in {:?}: {:?} onto {:?}", id, found, lines, there);
                    }
                }
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(decided.get() > 0);
}
