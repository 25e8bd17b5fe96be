//! A warehouse after all messages so far: a table per stream, a row per key.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::ldif::{Attributes, Tree, normalize_dn, shown};
use serde_json::Value;

use super::server_kind::Kind;

#[derive(Debug, Clone)]
struct Row {
    record: Value,
    version: Option<u64>,
}

/// The rows of all streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    key: String,
    rows: BTreeMap<String, Row>,
    /// The version last activated.
    active: Option<u64>,
}

impl Table {
    /// Takes a message in, in the order they came.
    #[track_caller]
    pub(crate) fn apply(&mut self, message: &Value) {
        let Some(stream) = message["stream"].as_str() else { return };
        let stream = self.streams.entry(stream.to_owned()).or_default();
        let version = message["version"].as_u64();
        match message["type"].as_str().unwrap() {
            "SCHEMA" => {
                let keys = message["key_properties"].as_array().unwrap();
                assert_eq!(keys.len(), 1, "{message}");
                keys[0].as_str().unwrap().clone_into(&mut stream.key);
            }
            "RECORD" => {
                assert!(!stream.key.is_empty(), "a record ahead of its SCHEMA: {message}");
                let record = message["record"].clone();
                let key = record[&stream.key].as_str();
                let key = key.unwrap_or_else(|| panic!("no key {}: {message}", stream.key)).to_owned();
                if record["_sdc_deleted_at"].is_null() {
                    // The whole row: half a record must not be mended by what was there before.
                    stream.rows.insert(key, Row { record, version });
                } else {
                    stream.rows.remove(&key);
                }
            }
            "ACTIVATE_VERSION" => {
                stream.rows.retain(|_, row| row.version == version);
                stream.active = version;
            }
            other => panic!("{other}"),
        }
    }

    /// The version of a stream that counts.
    pub(crate) fn active(&self, stream: &str) -> Option<u64> {
        self.streams.get(stream)?.active
    }

    /// Forgets rows that are no longer on the server, as a method that cannot see deletions leaves them.
    pub(crate) fn forget_all_but(&mut self, keys: &BTreeSet<String>) {
        for stream in self.streams.values_mut() {
            stream.rows.retain(|key, _| keys.contains(key));
        }
    }

    /// The keys of all rows.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.streams.values().flat_map(|stream| stream.rows.keys().cloned()).collect()
    }

    /// Where the rows of all streams and the entries of a directory differ, a line each. An entry that is in two
    /// tables is a difference as well.
    pub(crate) fn differences(&self, kind: Kind, there: &Tree, names: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut left: BTreeMap<String, (&String, &Attributes)> =
            there.iter().map(|(dn, attributes)| (key_of(kind, dn, attributes), (dn, attributes))).collect();
        let mut seen = BTreeMap::new();
        for (name, stream) in &self.streams {
            for (key, row) in &stream.rows {
                let shown = format!("{name}: {} ({key})", row.record["dn"]);
                if let Some(other) = seen.insert(key, name) {
                    lines.push(format!("{shown}: also in {other}"));
                }
                match left.remove(key) {
                    None => lines.push(format!("{shown}: in the table, not in the directory")),
                    Some((dn, attributes)) => {
                        lines.extend(row_differences(&shown, &row.record, dn, attributes, names));
                    }
                }
            }
        }
        lines
            .extend(left.iter().map(|(key, (dn, _))| format!("{dn} ({key}): in the directory, in no table")));
        lines
    }
}

/// The key of an entry, as records have it.
pub(crate) fn key_of(kind: Kind, dn: &str, attributes: &Attributes) -> String {
    let values = attributes.get(&kind.key().to_ascii_lowercase());
    let value = values.and_then(BTreeSet::first).unwrap_or_else(|| panic!("{dn} has no {}", kind.key()));
    kind.key_text(value)
}

fn row_differences(
    row: &str,
    record: &Value,
    dn: &str,
    attributes: &Attributes,
    names: &[&str],
) -> Vec<String> {
    let mut lines = Vec::new();
    if record["dn"].as_str().map(normalize_dn).as_deref() != Some(dn) {
        lines.push(format!("{row}: is now {dn}"));
    }
    for name in names {
        let in_record = values(&record[*name]);
        let empty = BTreeSet::new();
        let in_entry: BTreeSet<String> = attributes
            .get(&name.to_ascii_lowercase())
            .unwrap_or(&empty)
            .iter()
            .map(|value| as_in_records(name, value))
            .collect();
        let comparable: BTreeSet<String> =
            in_record.iter().map(|v| if *name == "member" { normalize_dn(v) } else { v.clone() }).collect();
        for value in comparable.difference(&in_entry) {
            lines.push(format!("{row}: {name}: only in the table: {}", shown(value.as_bytes())));
        }
        for value in in_entry.difference(&comparable) {
            lines.push(format!("{row}: {name}: only in the directory: {}", shown(value.as_bytes())));
        }
    }
    lines
}

fn values(property: &Value) -> BTreeSet<String> {
    match property {
        Value::Null => BTreeSet::new(),
        Value::Array(values) => values.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        Value::String(value) => BTreeSet::from([value.clone()]),
        other => panic!("{other}"),
    }
}

fn as_in_records(name: &str, octets: &[u8]) -> String {
    use base64::Engine as _;
    match name {
        "jpegPhoto" => base64::engine::general_purpose::STANDARD.encode(octets),
        "member" => normalize_dn(std::str::from_utf8(octets).unwrap()),
        _ => String::from_utf8(octets.to_vec()).unwrap(),
    }
}

/// The judge is judged: for each kind of mistake a tap may make there must be a difference.
#[test]
fn every_kind_of_mistake_is_a_difference() {
    use serde_json::json;
    let there = ldap_tests::ldif::parse(
        b"dn: cn=a,dc=x\nentryUUID: 1\ncn: a\njpegPhoto:: AAE=\n\ndn: cn=g,dc=x\nentryUUID: 2\nmember: CN=A, dc=X\n",
    );
    let names = ["cn", "jpegPhoto", "member"];
    let schema = |stream: &str| json!({"type": "SCHEMA", "stream": stream, "key_properties": ["entryUUID"]});
    let record = |version: u64, record: Value| json!({"type": "RECORD", "stream": "s", "version": version, "record": record});
    let a = json!({"entryUUID": "1", "dn": "cn=a,dc=x", "cn": ["a"], "jpegPhoto": ["AAE="]});
    let group = json!({"entryUUID": "2", "dn": "cn=G,dc=x", "cn": null, "member": ["cn=a,dc=x"]});
    let right = [schema("s"), record(1, a.clone()), record(1, group)];
    let differences = |more: &[Value]| {
        let mut table = Table::default();
        right.iter().chain(more).for_each(|message| table.apply(message));
        table.differences(Kind::OpenLdap, &there, &names)
    };
    assert_eq!(differences(&[]), Vec::<String>::new());
    let changed = |change: Value| record(1, crate::support::with(&a, &change));
    let deleted = |key: &str| record(1, json!({"entryUUID": key, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    for mistakes in [
        vec![changed(json!({"dn": "cn=b,dc=x"}))],
        vec![changed(json!({"cn": null}))],
        vec![changed(json!({"cn": ["a", "b"]}))],
        vec![changed(json!({"jpegPhoto": ["AAI="]}))],
        vec![changed(json!({"entryUUID": "3"}))],
        vec![deleted("1")],
        vec![json!({"type": "ACTIVATE_VERSION", "stream": "s", "version": 2})],
        vec![schema("t"), json!({"type": "RECORD", "stream": "t", "record": a})],
    ] {
        assert!(!differences(&mistakes).is_empty(), "{mistakes:?}");
    }
    let mended = [deleted("1"), deleted("9"), record(1, a.clone())];
    assert_eq!(differences(&mended), Vec::<String>::new(), "what comes later counts");
}
