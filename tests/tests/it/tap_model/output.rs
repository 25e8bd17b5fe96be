//! The output of a run, in the reference's terms.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::run::Output;
use serde_json::{Map, Value};

use super::cases::{Problem, check};
use super::reference::Values;

/// A stream as it was printed.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) id: String,
    key: Vec<String>,
    pub(super) records: Vec<Map<String, Value>>,
    pub(super) is_activated: bool,
}

impl Stream {
    /// Whether it is one of containers, and not of a class.
    pub(super) fn is_of_containers(&self) -> bool {
        self.id.is_empty() || self.id == "organizational_units" || self.id.contains('=')
    }
}

/// The streams of a run by name; `ids` are those of the catalog. What is wrong whatever was to be read: records without
/// a SCHEMA, without a key, with the key of another, or after the version was activated.
pub(super) fn streams(output: &Output, catalog: &Value) -> Result<BTreeMap<String, Stream>, Problem> {
    let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
    let mut keys: BTreeSet<(String, String)> = BTreeSet::new();
    for message in &output.messages {
        let name = message["stream"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap_or_default() {
            "SCHEMA" => {
                let key: Vec<String> = serde_json::from_value(message["key_properties"].clone()).unwrap();
                check(!key.is_empty(), "no key", || message.to_string())?;
                let stream = streams.entry(name.clone()).or_default();
                stream.key = key;
                let entries = catalog["streams"].as_array().into_iter().flatten();
                let found = entries.into_iter().find(|s| s["stream"] == name.as_str());
                found.and_then(|s| s["tap_stream_id"].as_str()).unwrap_or(&name).clone_into(&mut stream.id);
            }
            "RECORD" => {
                let Some(stream) = streams.get_mut(&name) else {
                    return Err(Problem { kind: "record without SCHEMA", detail: message.to_string() });
                };
                let record = message["record"].as_object().unwrap().clone();
                let key: Vec<&Value> = stream.key.iter().filter_map(|k| record.get(k)).collect();
                let is_whole = key.len() == stream.key.len() && key.iter().all(|v| !v.is_null());
                check(is_whole, "null key", || message.to_string())?;
                let text = format!("{key:?}");
                check(keys.insert((name, text)), "key of another record", || message.to_string())?;
                check(!stream.is_activated, "record after ACTIVATE_VERSION", || message.to_string())?;
                stream.records.push(record);
            }
            "ACTIVATE_VERSION" => {
                if let Some(stream) = streams.get_mut(&name) {
                    stream.is_activated = true;
                }
            }
            _ => {}
        }
    }
    Ok(streams)
}

/// A record's values as texts, without nulls and the DN.
pub(super) fn values(record: &Map<String, Value>) -> Values {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut values = Values::new();
    for (name, value) in record {
        let texts: BTreeSet<String> = match value {
            Value::Null => continue,
            Value::Array(all) => all.iter().map(text).collect(),
            one => BTreeSet::from([text(one)]),
        };
        if name != "dn" && !texts.is_empty() {
            values.insert(name.to_lowercase(), texts);
        }
    }
    values
}

/// What the log warns of, a message a line.
pub(super) fn told(output: &Output) -> String {
    let messages = output.stderr.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["level"] != "info").then(|| format!("{}: {}\n", line["level"], line["message"]))
    });
    messages.collect()
}

/// Whether the log has a warning or an error.
pub(super) fn warns(output: &Output) -> bool {
    !told(output).is_empty()
}
