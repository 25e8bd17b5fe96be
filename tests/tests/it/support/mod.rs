//! Configurations and data that several tests share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use ldap_tests::ldif::{Tree, normalize_dn};
use ldap_tests::run::{Output, Program, Run, read_text};
use ldap_tests::server::Server;
use ldap_tests::slapd::Slapd;
use serde_json::{Value, json};

pub(crate) mod golden;
pub(crate) mod open_run;
pub(crate) mod rng;

/// The tap's configuration for all of a server, as its administrator.
pub(crate) fn tap_config(server: &Server) -> Value {
    json!({
        "server_url": server.ldap_uri(),
        "bind_dn": server.admin_dn(),
        "bind_password": server.admin_password(),
        "base_dn": server.suffix(),
        "discovery_sample_size": 0,
        // Passwords are read where they are named alone; a mirror is to have them.
        "operational_attributes": ["userPassword"],
    })
}

/// The same as uid=reader, to whom limits apply and who sees no passwords.
pub(crate) fn reader_config(slapd: &Slapd) -> Value {
    let reader =
        json!({"bind_dn": slapd.reader_dn(), "bind_password": "reader-pw", "operational_attributes": null});
    with(&tap_config(slapd), &reader)
}

/// The target's configuration for a mirror: no rule.
pub(crate) fn target_config(server: &Server) -> Value {
    json!({
        "server_url": server.ldap_uri(),
        "bind_dn": server.admin_dn(),
        "bind_password": server.admin_password(),
    })
}

/// A configuration with other keys set; null takes a key away.
pub(crate) fn with(config: &Value, changes: &Value) -> Value {
    let mut config = config.clone();
    let object = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            object.insert(key.clone(), value.clone());
        }
    }
    config
}

/// The tap's next run, with a catalog and from a STATE, if there are any.
pub(crate) fn resumed(config: &Value, catalog: Option<&Value>, state: Option<&Value>) -> Run {
    let files = [("--catalog", catalog), ("--state", state)];
    let given = files.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    given.fold(Run::tap(config), |run, (flag, value)| run.file(flag, value))
}

/// LDIF of `count` people below `parent`, uid=person0 and on.
pub(crate) fn people(count: usize, parent: &str) -> String {
    let mut text = String::new();
    for i in 0..count {
        write!(
            text,
            "dn: uid=person{i},{parent}\nobjectClass: inetOrgPerson\nuid: person{i}\ncn: Person {i}\nsn: Number{i}\n\
             givenName: Person\nmail: person{i}@example.test\nemployeeNumber: {i}\ntelephoneNumber: +1 555 {i:06}\n\n"
        )
        .unwrap();
    }
    text
}

/// Messages as a tap prints them: one a line.
pub(crate) fn lines(messages: &[Value]) -> String {
    let mut text = String::new();
    for message in messages {
        writeln!(text, "{message}").unwrap();
    }
    text
}

/// An organizational unit as LDIF.
pub(crate) fn unit(dn: &str) -> String {
    let name = dn.split(',').next().unwrap().split_once('=').unwrap().1;
    format!("dn: {dn}\nobjectClass: organizationalUnit\nou: {name}\n\n")
}

/// Runs `--discover` and returns the catalog.
#[track_caller]
pub(crate) fn discover(config: &Value) -> Value {
    Run::tap(config).arg("--discover").run().succeeds().json()
}

/// The catalog's entry for a stream, by `tap_stream_id` (compared as a DN where it is one).
#[track_caller]
pub(crate) fn stream<'a>(catalog: &'a Value, id: &str) -> &'a Value {
    let same = |other: &str| {
        other == id || (id.contains('=') && other.contains('=') && normalize_dn(other) == normalize_dn(id))
    };
    catalog["streams"]
        .as_array()
        .unwrap_or_else(|| panic!("no streams in {catalog}"))
        .iter()
        .find(|s| same(s["tap_stream_id"].as_str().unwrap()))
        .unwrap_or_else(|| {
            let ids: Vec<&Value> =
                catalog["streams"].as_array().unwrap().iter().map(|s| &s["tap_stream_id"]).collect();
            panic!("no stream {id} among {ids:?}")
        })
}

/// The metadata of a property of a catalog entry; the stream's own with an empty breadcrumb.
#[track_caller]
pub(crate) fn metadata<'a>(stream: &'a Value, breadcrumb: &[&str]) -> &'a Value {
    stream["metadata"].as_array().unwrap().iter().find(|m| m["breadcrumb"] == json!(breadcrumb)).map_or_else(
        || panic!("no metadata for {breadcrumb:?} in {}", stream["tap_stream_id"]),
        |m| &m["metadata"],
    )
}

/// The JSON types of a property, without null.
#[track_caller]
pub(crate) fn types(property: &Value) -> BTreeSet<String> {
    let names: Vec<String> = match &property["type"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().map(|n| n.as_str().unwrap().to_owned()).collect(),
        other => panic!("no type in {property}: {other}"),
    };
    names.into_iter().filter(|n| n != "null").collect()
}

/// Panics unless the property is one value of this type.
#[track_caller]
pub(crate) fn is_scalar(property: &Value, kind: &str) {
    assert_eq!(types(property), BTreeSet::from([kind.to_owned()]), "{property}");
}

/// Panics unless the property is an array of this type.
#[track_caller]
pub(crate) fn is_array_of(property: &Value, kind: &str) {
    is_scalar(property, "array");
    assert!(types(&property["items"]).contains(kind), "{property}");
}

/// A tree as it must look after `dn_rewrite` from one suffix to another: DNs, DN-valued attributes, and the naming
/// value of the entry whose RDN changed.
pub(crate) fn rewritten(tree: &Tree, from: &str, to: &str) -> Tree {
    let rewrite = |dn: &str| {
        let dn = normalize_dn(dn);
        match dn.strip_suffix(from) {
            Some(head) if head.is_empty() || head.ends_with(',') => format!("{head}{to}"),
            _ => dn,
        }
    };
    let mut result = Tree::new();
    for (dn, attributes) in tree {
        let mut attributes = attributes.clone();
        for (name, values) in &mut attributes {
            if DN_VALUED.contains(&name.as_str()) {
                *values =
                    values.iter().map(|v| rewrite(std::str::from_utf8(v).unwrap()).into_bytes()).collect();
            }
        }
        if dn == from {
            let ((old_type, old), (new_type, new)) = (first_rdn(from), first_rdn(to));
            assert_eq!(old_type, new_type);
            let values = attributes.get_mut(old_type).unwrap();
            assert!(values.remove(old.as_bytes()));
            values.insert(new.as_bytes().to_vec());
        }
        result.insert(rewrite(dn), attributes);
    }
    result
}

/// A tree whose DN-valued attributes are in normal form.
pub(crate) fn normalized(tree: &Tree) -> Tree {
    rewritten(tree, "no=where", "no=where")
}

const DN_VALUED: [&str; 7] =
    ["member", "owner", "seealso", "manager", "secretary", "aliasedobjectname", "testpointer"];

fn first_rdn(dn: &str) -> (&str, &str) {
    dn.split(',').next().unwrap().split_once('=').unwrap()
}

/// The entries whose marks changed between two looks at a server, the base entry's contextCSN included.
pub(crate) fn written(before: &Tree, after: &Tree) -> BTreeSet<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|dn| before.get(*dn) != after.get(*dn)).cloned().collect()
}

/// Panics when anything was written to the server since `before`.
#[track_caller]
pub(crate) fn assert_untouched(server: &Server, before: &Tree) {
    assert!(!before.is_empty());
    let touched = written(before, &server.change_marks());
    assert!(touched.is_empty(), "{} entries were written: {touched:?}", touched.len());
}

/// The STATE values that a target printed, each on its line and bare.
#[track_caller]
pub(crate) fn states(target: &Output) -> Vec<Value> {
    let states = target.lines();
    for state in &states {
        assert!(state.is_object() && state.get("type").is_none(), "STATE is printed bare: {state}");
        assert_ne!(*state, json!({}), "an empty STATE clears bookmarks");
    }
    states
}

/// Panics unless a target succeeded and its last STATE is `{"n": 1}`.
#[track_caller]
pub(crate) fn done(output: Output) -> Output {
    let output = output.succeeds();
    assert_eq!(states(&output).last(), Some(&json!({"n": 1})));
    output
}

/// The STATE `{"n": 1}`.
pub(crate) fn state() -> Value {
    json!({"type": "STATE", "value": {"n": 1}})
}

/// Runs the target with SCHEMA messages, records, and the STATE `{"n": 1}`.
#[track_caller]
pub(crate) fn run(schemas: Vec<Value>, config: &Value, records: &[Value]) -> Output {
    let mut messages = schemas;
    messages.extend_from_slice(records);
    messages.push(state());
    let output = Run::target(config).messages(&messages).run();
    no_panic(&output);
    output
}

/// A command of the target with a file: `apply`, `undo`.
pub(crate) fn of_file(command: &str, config: &Value, file: &Path, flags: &[&str]) -> Output {
    let run = Run::bare(Program::Target).arg(command).arg(file.to_str().unwrap()).file("--config", config);
    flags.iter().fold(run, |run, flag| run.arg(*flag)).run()
}

/// `target-ldap apply`.
pub(crate) fn apply(config: &Value, plan: &Path, flags: &[&str]) -> Output {
    of_file("apply", config, plan, flags)
}

/// The values of an attribute of an entry, DNs in normal form.
#[track_caller]
pub(crate) fn values(server: &Server, dn: &str, attribute: &str) -> BTreeSet<String> {
    let tree = server.dump_below(dn, &[attribute]);
    let entry = tree.get(&normalize_dn(dn)).unwrap_or_else(|| panic!("no {dn} in {:?}", tree.keys()));
    let texts = entry.get(&attribute.to_lowercase()).into_iter().flatten();
    texts.map(|value| normal(&String::from_utf8_lossy(value))).collect()
}

/// What [`values`] returns for these.
pub(crate) fn set(texts: &[String]) -> BTreeSet<String> {
    texts.iter().map(|text| normal(text)).collect()
}

/// A DN in normal form; other values as they are.
fn normal(text: &str) -> String {
    if text.contains('=') { normalize_dn(text) } else { text.to_owned() }
}

/// The finished searches of a run, of which there must be some, by its `metrics_file`. The file is taken away: the next run is counted by itself.
#[track_caller]
pub(crate) fn searches(metrics: &Path) -> u64 {
    let text = read_text(metrics);
    let of_search =
        text.lines().filter(|l| l.starts_with("flext_ldap_operations_total") && l.contains("\"search\""));
    let count = of_search
        .map(|line| line.rsplit(' ').next().unwrap().split('.').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert!(count > 0, "no search in\n{text}");
    std::fs::remove_file(metrics).unwrap();
    count
}

/// Records of a tap by stream, in the order of the streams.
pub(crate) fn by_stream(output: &Output) -> BTreeMap<String, Vec<Value>> {
    let mut streams: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for message in output.of_type("RECORD") {
        streams
            .entry(message["stream"].as_str().unwrap().to_owned())
            .or_default()
            .push(message["record"].clone());
    }
    streams
}

/// Panics when stderr shows a panic, a backtrace or a Rust type name.
#[track_caller]
pub(crate) fn no_panic(output: &Output) {
    for sign in ["panicked", "RUST_BACKTRACE", "stack backtrace", "called `", "Custom {", "Os {"] {
        assert!(!output.stderr.contains(sign), "{sign} on stderr:\n{}", output.stderr);
    }
}

/// Panics unless every record fits its SCHEMA, formats included, and has no property besides. How many there were.
#[track_caller]
pub(crate) fn assert_records_fit(output: &Output) -> usize {
    let mut schemas = BTreeMap::new();
    for message in output.of_type("SCHEMA") {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&message["schema"])
            .unwrap_or_else(|e| panic!("{}: {e}", message["stream"]));
        let known = message["schema"]["properties"].as_object().unwrap();
        schemas.insert(message["stream"].as_str().unwrap(), (validator, known));
    }
    let records = output.of_type("RECORD");
    for message in &records {
        let (validator, known) = &schemas[message["stream"].as_str().unwrap()];
        let record = &message["record"];
        let faults: Vec<String> =
            validator.iter_errors(record).map(|e| format!("{} at {}", e, e.instance_path())).collect();
        assert!(faults.is_empty(), "{}: {faults:?}", record["dn"]);
        for name in record.as_object().unwrap().keys() {
            assert!(known.contains_key(name), "{name} of {} is not in the SCHEMA", record["dn"]);
        }
    }
    records.len()
}
