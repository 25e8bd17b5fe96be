//! Definitions of streams or properties that do not exist.
//! Most are misspelled, and the data that they should remove would be emitted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Maps;
use super::definition::{Definition, nearest};
use super::pattern;
use crate::operations::facts::Warning;

/// A part of `stream_maps` without effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// The path of the setting.
    pub setting: String,
    /// What is missing: `stream` or `property`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// The nearest existing name.
    pub nearest: Option<String>,
}

impl Unused {
    /// Logs a warning.
    pub fn warn(&self) {
        let Self { setting, what, name, nearest } = self;
        let text = format!("setting `{setting}`: there is no {what} `{name}`");
        Warning::of_setting(setting, text).near(name, nearest.as_deref()).log();
    }
}

impl Maps {
    /// Registers an existing stream, selected or not.
    pub fn know(&mut self, stream: &str, schema: &Value) {
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let known = self.known.entry(stream.to_owned()).or_default();
        known.extend(properties.map(|(name, _)| name.clone()));
    }

    /// Returns the parts of the setting whose stream or property is not among those registered so far.
    pub fn unused(&self) -> Vec<Unused> {
        let mut unused = Vec::new();
        for (key, source, definition) in self.definitions.sources() {
            let fitting: Vec<&BTreeSet<String>> = self
                .known
                .iter()
                .filter(|(stream, _)| *stream == source || pattern::fits(source, stream))
                .map(|(_, properties)| properties)
                .collect();
            if fitting.is_empty() {
                unused.push(Unused {
                    setting: format!("stream_maps.{key}"),
                    what: "stream",
                    name: source.to_owned(),
                    nearest: nearest(source, self.known.keys()).map(str::to_owned),
                });
                continue;
            }
            // A schema without properties allows any property.
            if fitting.iter().any(|properties| properties.is_empty()) {
                continue;
            }
            let Definition::Map(map) = definition else { continue };
            for (name, _) in map.properties.iter().filter(|(_, formula)| formula.is_none()) {
                if !fitting.iter().any(|properties| properties.contains(name)) {
                    unused.push(Unused {
                        setting: format!("{}.{name}", map.path),
                        what: "property",
                        name: name.clone(),
                        nearest: nearest(name, fitting.iter().copied().flatten()).map(str::to_owned),
                    });
                }
            }
        }
        unused
    }
}
