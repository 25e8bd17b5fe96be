//! Random records, rules, moves, deletions and undos that try to leave `write_base` or to touch protected entries: none does, and what
//! they leave there is exactly what was there.
//!
//! `LEAVE_CASES` sets the number of runs: 300 by default. `LEAVE_SEED=random` looks for new faults.

// A panic here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldap_directory::dn::DnKey;
use ldap_directory::ldif::{LdifDirectory, LdifFormat};
use ldap_directory::{Access, Directory, Scope, SearchRequest};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use singer_common::operations::signals::Stop;
use singer_common::singer::writer::SingerWriter;
use target_ldap::config::protection::ProtectionSettings;
use target_ldap::config::{OnError, TargetConfig};
use target_ldap::load::Load;
use target_ldap::load::rejects::RejectFile;
use target_ldap::write::destination::Destination;
use target_ldap::write::protection::Protection;
use target_ldap::write::undo::Undo;

/// The entries of a directory by DN, with their attributes.
type Content = BTreeMap<DnKey, BTreeMap<String, BTreeSet<Vec<u8>>>>;

/// Parents that records name: some are outside, some only look as if they were inside.
const PLACES: [&str; 14] = [
    "ou=in,dc=x",
    "OU = In , DC=X",
    "ou=a,ou=in,dc=x",
    "ou=new,ou=in,dc=x",
    "ou=deep,ou=new,ou=in,dc=x",
    "ou=frozen,ou=in,dc=x",
    "ou=new,ou=frozen,ou=in,dc=x",
    "ou=out,dc=x",
    "dc=x",
    "ou=in,dc=x,ou=out,dc=x",
    "ou=in\\,dc\\=x,dc=x",
    "ou=in2,dc=x",
    "ou=new,dc=x",
    "2.5.4.11=out,dc=x",
];
const UIDS: [&str; 6] = ["u0", "u1", "u2", "u3", "pinned", "chief"];
/// The empty one: the record has its DN itself.
const TEMPLATES: [&str; 5] =
    ["", "", "uid={uid},ou={unit},ou=in,dc=x", "uid={uid}+cn=x,ou={unit},dc=x", "uid={uid},ou=in,dc=x"];
const UNITS: [&str; 5] = ["a", "new", "frozen", "in,dc=x", "a,ou=out"];
const BASES: [&str; 4] = ["dc=x", "ou=in,dc=x", "ou=out,dc=x", "ou=a,ou=in,dc=x"];

#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a way of its own")]
struct Ways {
    template: &'static str,
    matches: bool,
    on_delete: u8,
    target: &'static str,
    scope: &'static str,
    creates_parents: bool,
    rewrites: bool,
    changes_rdn: bool,
    placeholder: bool,
    in_flight: usize,
    write_base: bool,
    protects: bool,
    has_undo: bool,
}

#[derive(Debug, Clone)]
enum Line {
    Record { id: u8, uid: &'static str, place: &'static str, unit: &'static str, title: u8, gone: bool },
    Group { name: u8, place: &'static str, members: Vec<u8> },
    Activate,
}

/// The directory at the beginning. Each place has people; `employeeType: fixed` is protected.
fn content(owners: &[u8]) -> String {
    let mut text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned();
    for dn in
        ["ou=in,dc=x", "ou=out,dc=x", "ou=a,ou=in,dc=x", "ou=frozen,ou=in,dc=x", "ou=kept,ou=a,ou=in,dc=x"]
    {
        let name = dn.split(',').next().unwrap().trim_start_matches("ou=");
        write!(text, "dn: {dn}\nobjectClass: organizationalUnit\nou: {name}\n\n").unwrap();
    }
    let homes =
        ["ou=in,dc=x", "ou=a,ou=in,dc=x", "ou=frozen,ou=in,dc=x", "ou=out,dc=x", "ou=kept,ou=a,ou=in,dc=x"];
    for (id, home) in owners.iter().enumerate() {
        let home = homes[usize::from(*home) % homes.len()];
        let kind = if home.starts_with("ou=kept") { "fixed" } else { "plain" };
        write!(text, "dn: uid=u{id},{home}\nobjectClass: inetOrgPerson\nuid: u{id}\ncn: x\nsn: x\nemployeeNumber: {id}\nemployeeType: {kind}\n\n").unwrap();
    }
    text.push_str("dn: uid=pinned,ou=in,dc=x\nobjectClass: inetOrgPerson\nuid: pinned\ncn: x\nsn: x\nemployeeNumber: 8\n\n");
    for home in ["ou=in,dc=x", "ou=out,dc=x"] {
        write!(text, "dn: cn=g0,{home}\nobjectClass: groupOfNames\ncn: g0\nmember: uid=u0,ou=in,dc=x\n\n")
            .unwrap();
    }
    text
}

async fn read(directory: &Directory) -> Content {
    let request = SearchRequest::new("", Scope::Subtree, "(objectClass=*)", &["*"]);
    let mut search = directory.search(request).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(entry) = search.next_entry().await.unwrap() {
        let key = DnKey::parse(&entry.dn, directory.schema()).unwrap();
        let attributes = entry.attributes.into_iter();
        let attributes = attributes.map(|a| (a.description.to_lowercase(), a.values.into_iter().collect()));
        assert!(found.insert(key, attributes.collect()).is_none());
    }
    found
}

/// Returns the settings of a run; `None`: they are refused, such as a `move_to` where all entries are.
fn settings(ways: &Ways, path: &Path, dir: &Path) -> Option<TargetConfig> {
    let on_delete = match ways.on_delete {
        0 => json!("delete"),
        1 => json!("tree"),
        2 => json!({"move_to": ways.target}),
        _ => json!({"set": {"title": "gone"}}),
    };
    let mut person = json!({"object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "title": "title"},
        "values": {"cn": "x", "sn": "x"}, "scope_base": ways.scope, "on_delete": on_delete,
        "delete_old_rdn": ways.changes_rdn});
    if !ways.template.is_empty() {
        person["dn_template"] = json!(ways.template);
    }
    if ways.matches {
        person["match"] = json!("(employeeNumber={id})");
    }
    let mut group = json!({"object_classes": ["groupOfNames"],
        "attribute_mapping": {"name": "cn", "members": "member"}});
    if ways.placeholder {
        group["empty_group"] = json!("uid=pinned,ou=in,dc=x");
    }
    let mut settings = json!({"server_url": format!("ldif:{}", path.display()), "max_in_flight": ways.in_flight,
        "process_activate_version": true, "on_error": "skip", "reject_file": dir.join("rejects.jsonl"),
        "create_parents": ways.creates_parents, "mapping_rules": {"p": person, "g": group}});
    if ways.write_base {
        settings["write_base"] = json!("OU=in, dc=x");
    }
    if ways.protects {
        settings["protect"] = json!({"filter": "(employeeType=FIXED)", "dns": ["uid=PINNED,ou=in,dc=x"],
            "below": "ou=frozen, ou=in, dc=x"});
    }
    if ways.rewrites {
        settings["dn_rewrite"] = json!([{"from": "ou=a,ou=in,dc=x", "to": "ou=out,dc=x"}]);
    }
    let file = dir.join("config.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let resolved =
        target_ldap::settings::TABLE.resolve(&[file.display().to_string()], &BTreeMap::new()).unwrap();
    TargetConfig::from_settings(&resolved.values, &mut Vec::new()).ok()
}

fn input(lines: &[Line]) -> String {
    let text = json!({"type": ["string", "null"]});
    let list = json!({"type": ["array", "null"], "items": {"type": "string"}});
    let person = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"dn": text, "id": text, "uid": text, "unit": text, "title": text, "_sdc_deleted_at": text}}});
    let group = json!({"type": "SCHEMA", "stream": "g", "key_properties": ["dn"], "schema": {"type": "object",
        "properties": {"dn": text, "name": text, "members": list}}});
    let mut all = format!("{person}\n{group}\n");
    for line in lines {
        let message = match line {
            Line::Record { id, uid, place, unit, title, gone } => {
                let mut record = json!({"dn": format!("uid={uid},{place}"), "id": id.to_string(), "uid": uid,
                    "unit": unit, "title": format!("t{title}")});
                if *gone {
                    record["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
                }
                json!({"type": "RECORD", "stream": "p", "version": 1, "record": record})
            }
            Line::Group { name, place, members } => {
                let members: Vec<String> =
                    members.iter().map(|id| format!("uid=u{id},{}", PLACES[usize::from(*id) % 4])).collect();
                json!({"type": "RECORD", "stream": "g", "version": 1, "record": {"dn": format!("cn=g{name},{place}"), "name": format!("g{name}"), "members": members}})
            }
            Line::Activate => json!({"type": "ACTIVATE_VERSION", "stream": "p", "version": 1}),
        };
        writeln!(all, "{message}").unwrap();
    }
    all
}

/// Returns the part of a directory that must stay as it is.
fn untouchable(ways: &Ways, content: &Content, directory: &Directory) -> Content {
    let key = |dn: &str| DnKey::parse(dn, directory.schema()).unwrap();
    let (inside, frozen, pinned) =
        (key("ou=in,dc=x"), key("ou=frozen,ou=in,dc=x"), key("uid=pinned,ou=in,dc=x"));
    let base = key(ways.scope);
    let is_fixed = |attributes: &BTreeMap<String, BTreeSet<Vec<u8>>>| {
        attributes.get("employeetype").is_some_and(|values| values.iter().any(|v| v == b"fixed"))
    };
    let stays = |(key, attributes): &(&DnKey, &BTreeMap<String, BTreeSet<Vec<u8>>>)| {
        ways.write_base && !key.is_within(&inside)
            || ways.protects && (key.is_within(&frozen) || **key == pinned || is_fixed(attributes))
            || **key == base
    };
    let part = content.iter().filter(stays);
    part.map(|(key, attributes)| (key.clone(), attributes.clone())).collect()
}

/// Runs an input, and an undo of it that is allowed even less. Returns whether something was changed, and refused.
fn run(ways: &Ways, owners: &[u8], lines: &[Line]) -> Result<(bool, bool), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.ldif");
    std::fs::write(&path, content(owners)).unwrap();
    let Some(config) = settings(ways, &path, dir.path()) else { return Ok((false, false)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory =
            Directory::Ldif(LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap());
        directory.set_ldif_rules(config.ldif_rules());
        let before = read(&directory).await;
        let auth = &config.directory.auth;
        let protection =
            Protection::load(&directory, auth, &config.protection, &config.named_bases()).await.unwrap();
        let OnError::Skip { file, .. } = &config.on_error else { panic!("skip") };
        let rejects = RejectFile::open(file).unwrap();
        let undo = ways
            .has_undo
            .then(|| Arc::new(Undo::create(&dir.path().join("undo.ldif"), &directory, false).unwrap()));
        let destination = Destination::new(directory.clone(), protection).with_undo(undo.clone());
        let mut writer = SingerWriter::new(Vec::new());
        let load = Load::new(&config, &destination, &mut writer, Stop::never(), Some(rejects), false);
        let rejected = load.run(Box::new(Cursor::new(input(lines).into_bytes()))).await.unwrap().rejected;
        let after = read(&directory).await;
        let (old, new) = (untouchable(ways, &before, &directory), untouchable(ways, &after, &directory));
        prop_assert_eq!(old, new);
        if let Some(undo) = undo {
            // Only the people of one unit may be taken back.
            let narrow =
                json!({"write_base": "ou=a,ou=in,dc=x", "protect": {"filter": "(employeeNumber=1)"}});
            let narrow = ProtectionSettings::parse(narrow.as_object().unwrap(), "").unwrap();
            let protection = Protection::load(&directory, auth, &narrow, &[]).await.unwrap();
            drop(undo.take_back(&directory, protection).await.unwrap());
            let unit = DnKey::parse("ou=a,ou=in,dc=x", directory.schema()).unwrap();
            let is_one = |a: &BTreeMap<String, BTreeSet<Vec<u8>>>| {
                a.get("employeenumber").is_some_and(|v| v.contains(b"1".as_slice()))
            };
            // What the run has not changed: its own changes are taken back, whatever they match by now.
            let is_kept = |key: &DnKey, a| is_one(a) && before.get(key) == Some(a);
            let undone = read(&directory).await;
            for (key, attributes) in &after {
                if !key.is_within(&unit) || is_kept(key, attributes) {
                    prop_assert_eq!(undone.get(key), Some(attributes), "undo: {}", key);
                }
            }
            // What the run deleted may be added again, for it is not there to be protected; outside of the base it may not.
            let added = undone.keys().filter(|key| !key.is_within(&unit) && !after.contains_key(key));
            prop_assert_eq!(added.count(), 0, "undo");
        }
        Ok((after != before, rejected > 0))
    })
}

fn ways() -> impl Strategy<Value = Ways> {
    let names = (select(&TEMPLATES[..]), select(&PLACES[..]), select(&BASES[..]), 0..4_u8, 1..5_usize);
    (names, any::<[bool; 8]>(), any::<bool>()).prop_map(
        |((template, target, scope, on_delete, in_flight), flags, has_undo)| Ways {
            template,
            matches: flags[0],
            on_delete,
            target,
            scope,
            creates_parents: flags[1],
            rewrites: flags[2],
            changes_rdn: flags[3],
            placeholder: flags[4],
            in_flight,
            write_base: flags[5],
            protects: flags[6] || !flags[5],
            has_undo,
        },
    )
}

fn line() -> impl Strategy<Value = Line> {
    let record =
        (0..9_u8, select(&UIDS[..]), select(&PLACES[..]), select(&UNITS[..]), 0..3_u8, any::<[bool; 2]>())
            .prop_map(|(id, uid, place, unit, title, gone)| Line::Record {
                id,
                uid,
                place,
                unit,
                title,
                gone: gone == [true; 2],
            });
    let group = (0..2_u8, select(&PLACES[..]), proptest::collection::vec(0..4_u8, 0..3))
        .prop_map(|(name, place, members)| Line::Group { name, place, members });
    prop_oneof![8 => record, 2 => group, 1 => Just(Line::Activate)]
}

/// No run and no undo changes what is outside of `write_base` or protected.
#[test]
fn nothing_leaves() {
    let cases = std::env::var("LEAVE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = if std::env::var("LEAVE_SEED").is_ok_and(|seed| seed == "random") {
        TestRunner::new(config)
    } else {
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let (changed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let inputs = (ways(), proptest::collection::vec(0..5_u8, 4), proptest::collection::vec(line(), 1..12));
    let result = runner.run(&inputs, |(ways, owners, lines)| {
        let (has_changed, has_refused) = run(&ways, &owners, &lines)?;
        changed.fetch_add(has_changed.into(), Ordering::Relaxed);
        refused.fetch_add(has_refused.into(), Ordering::Relaxed);
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    // Runs that change nothing, or are refused nothing, show little.
    let (changed, refused) = (changed.into_inner(), refused.into_inner());
    let enough = cases as usize / 4;
    assert!(changed > enough && refused > enough, "{changed} changed, {refused} refused of {cases}");
}
