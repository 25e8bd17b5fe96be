//! Stream maps and flattening, as in plugins of the Meltano SDK (<https://sdk.meltano.com/en/latest/stream_maps.html>).
//! Streams are renamed, removed or copied; records are filtered; properties are renamed, removed or computed.
//! The emitted SCHEMA describes the mapped records.
//!
//! An expression passes through `lexer` (tokens) and `parser`, which builds an `expression` tree.
//! `types` derives the schema of its values, `evaluate` computes them for a record,
//! with the operators of `value`, the text methods of `texts` and the functions of `extras`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use chrono::NaiveDate;
use ldap_directory::time::Zone;
use serde_json::{Map, Value, json};

use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;
use crate::operations::secret::is_secret_attribute;
use crate::operations::settings_error::SettingsError;
use crate::singer::deletion::is_marker;
pub use crate::singer::writer::Outgoing;
use crate::singer::writer::RewriteError;

mod definition;
mod evaluate;
mod expression;
mod extras;
mod filter;
mod flatten;
mod lexer;
mod number;
mod parser;
mod pattern;
pub mod replacement;
mod syntax_error;
#[cfg(test)]
mod tests;
mod texts;
mod tuples;
mod types;
mod unused;
mod value;

use definition::{Definition, Definitions, Formula, StreamDefinition};
use evaluate::{Failure, Scope, evaluate};
use extras::Moment;
use filter::Tallies;
pub use filter::Tally;
use flatten::Flattening;
use types::Types;
pub use unused::Unused;

/// An error in mapping a record. Contains the position and the reason, never a value of the record.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// An expression has no value.
    #[error("setting `{setting}`, for the record {record} of stream `{stream}`: at character {at}: {reason}")]
    Expression {
        /// The path of the setting.
        setting: String,
        /// The source stream.
        stream: String,
        /// The identity of the source record: its DN or its key.
        record: String,
        /// The position in the expression, in characters from 1.
        at: usize,
        /// The reason.
        reason: String,
    },
    /// A key property has no value.
    #[error(
        "setting `{setting}`, for the record {record} of stream `{stream}`: the key property `{property}` would be null; a key needs a value in every record, deletions included: map another property, or name other keys in `__key_properties__`"
    )]
    NullKey {
        /// The path of the setting.
        setting: String,
        /// The source stream.
        stream: String,
        /// The identity of the source record: its DN or its key.
        record: String,
        /// The key property.
        property: String,
    },
}

impl Classified for MapError {
    fn class(&self) -> Class {
        Class::Run
    }

    fn facts(&self) -> Facts {
        let (MapError::Expression { setting, stream, record, .. }
        | MapError::NullKey { setting, stream, record, .. }) = self;
        Facts { stream: Some(stream.clone()), record: Some(record.clone()), ..Facts::of_setting(setting) }
    }
}

impl From<MapError> for RewriteError {
    fn from(error: MapError) -> Self {
        RewriteError::Map(Box::new(error))
    }
}

/// The maps of a run, and their result for each stream whose SCHEMA was read.
#[derive(Debug, Clone)]
pub struct Maps {
    definitions: Definitions,
    flattening: Option<Flattening>,
    /// `stream_map_config`.
    config: Value,
    moment: Moment,
    streams: HashMap<String, Vec<OutputStream>>,
    /// Known streams, selected or not, and their properties.
    known: BTreeMap<String, BTreeSet<String>>,
    /// The filters about which a warning was logged.
    said: Arc<Mutex<BTreeSet<String>>>,
    /// How many records passed.
    tallies: Tallies,
}

/// The output of a stream under one name.
#[derive(Debug, Clone)]
struct OutputStream {
    /// The name of the output stream.
    name: String,
    name_value: Value,
    original: Value,
    /// The index of the definition; `None` passes records unchanged.
    definition: Option<usize>,
    key_properties: Vec<String>,
    /// The key properties of the source stream.
    own_keys: Vec<String>,
    /// The schema of the output stream.
    schema: Value,
}

impl Maps {
    /// Reads the settings; `None` if they define neither maps nor flattening.
    pub fn from_settings(values: &Map<String, Value>) -> Result<Option<Maps>, SettingsError> {
        let flattening = Flattening::from_settings(values)?;
        let definitions = match values.get("stream_maps") {
            Some(Value::Object(maps)) => Definitions::parse(maps)?,
            _ => Definitions::default(),
        };
        if definitions.is_empty() && flattening.is_none() {
            return Ok(None);
        }
        let config = values.get("stream_map_config").cloned().unwrap_or_else(|| json!({}));
        Ok(Some(Maps {
            definitions,
            flattening,
            config,
            moment: Moment { today: Zone::Utc.today(), zone: Zone::Utc },
            streams: HashMap::new(),
            known: BTreeMap::new(),
            said: Arc::default(),
            tallies: Tallies::default(),
        }))
    }

    /// Returns the maps for a run on another day than today in UTC, or in another zone.
    #[must_use]
    pub fn on(self, today: NaiveDate, zone: Zone) -> Maps {
        Maps { moment: Moment { today, zone }, ..self }
    }

    /// Registers a stream's SCHEMA and returns the SCHEMAs to emit in its place; none if the stream is removed.
    ///
    /// # Errors
    /// A map does not fit the stream, or two source streams would share one name.
    /// Messages about a whole stream (such as ACTIVATE_VERSION, which removes records) would then apply to both.
    pub fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        key_properties: &[String],
    ) -> Result<Vec<Outgoing>, SettingsError> {
        self.know(stream, schema);
        let mut outputs: Vec<OutputStream> = Vec::new();
        for (name, definition) in self.definitions.of(stream) {
            let output = match definition {
                None => self.output((stream, key_properties), name, schema, key_properties.to_vec(), None)?,
                Some(n) => {
                    let Some(Definition::Map(map)) = self.definitions.get(n) else { continue };
                    let keys = map.key_properties.clone().unwrap_or_else(|| key_properties.to_vec());
                    let mapped = self.mapped_schema(map, stream, schema, &keys)?;
                    self.output((stream, key_properties), name, &mapped, keys, Some(n))?
                }
            };
            let others = self.streams.iter().filter(|(other, _)| *other != stream);
            let mut taken = others
                .flat_map(|(other, outputs)| outputs.iter().map(move |output| (other.as_str(), output)));
            let mut own = outputs.iter().map(|output| (stream, output));
            let twin = taken.find(|(_, other)| other.name == output.name);
            if let Some((other, twin)) = twin.or_else(|| own.find(|(_, other)| other.name == output.name)) {
                let path =
                    |output: &OutputStream| match output.definition.and_then(|n| self.definitions.get(n)) {
                        Some(Definition::Map(map)) => Some(map.path.clone()),
                        _ => None,
                    };
                return Err(SettingsError::value(
                    path(&output).or_else(|| path(twin)).unwrap_or_else(|| "stream_maps".to_owned()),
                    format!("the streams `{other}` and `{stream}` would both be called `{}`", output.name),
                    "a name of its own for each (`__alias__`); it may be an expression with `__stream_name__`",
                ));
            }
            outputs.push(output);
        }
        let outgoing = outputs.iter().map(|output| Outgoing {
            stream: output.name.clone(),
            schema: output.schema.clone(),
            key_properties: output.key_properties.clone(),
        });
        let outgoing = outgoing.collect();
        self.streams.insert(stream.to_owned(), outputs);
        Ok(outgoing)
    }

    fn output(
        &self,
        (stream, own_keys): (&str, &[String]),
        name: String,
        schema: &Value,
        key_properties: Vec<String>,
        definition: Option<usize>,
    ) -> Result<OutputStream, SettingsError> {
        let schema = match &self.flattening {
            None => schema.clone(),
            Some(flattening) => flattening.schema(schema).map_err(|twice| {
                SettingsError::value(
                    "flattening_separator",
                    format!("flattened, stream `{stream}` has the property `{twice}` twice"),
                    "a separator that is in no name",
                )
            })?,
        };
        let (name_value, original) = (name.clone().into(), stream.into());
        let own_keys = own_keys.to_vec();
        Ok(OutputStream { name, name_value, original, definition, key_properties, own_keys, schema })
    }

    /// Returns the schema of mapped records.
    fn mapped_schema(
        &self,
        map: &StreamDefinition,
        stream: &str,
        schema: &Value,
        keys: &[String],
    ) -> Result<Value, SettingsError> {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let formulas = map.properties.iter().filter_map(|(_, formula)| formula.as_ref());
        // A schema without properties allows any property.
        if !known.is_empty() {
            for formula in formulas.chain(&map.filter) {
                formula.check_names(stream, known)?;
            }
        }
        let mut properties = known.clone();
        if !map.keeps_others {
            // The marker stays in any case: without it a deletion would become a record.
            properties.retain(|name, _| keys.contains(name) || is_marker(name));
        }
        for (name, formula) in &map.properties {
            let Some(formula) = formula else {
                if keys.contains(name) {
                    return Err(SettingsError::value(
                        format!("{}.{name}", map.path),
                        "it leaves a key property out",
                        format!("`{}.__key_properties__` to name other keys, or none", map.path),
                    ));
                }
                properties.shift_remove(name);
                continue;
            };
            let own = Some(name.as_str()).filter(|name| known.contains_key(*name));
            let types = Types { record: schema, config: &self.config, own, locals: None };
            properties.insert(name.clone(), types::nullable(types::schema_of(&formula.node, &types)));
        }
        if let Some(key) = keys.iter().find(|key| !properties.contains_key(*key)) {
            return Err(SettingsError::value(
                format!("{}.__key_properties__", map.path),
                format!("stream `{stream}` has no property `{key}`"),
                "properties that the mapped stream has",
            ));
        }
        let mut mapped = if map.keeps_others { schema.clone() } else { json!({"type": "object"}) };
        if let Some(object) = mapped.as_object_mut() {
            if let Some(Value::Array(required)) = object.get_mut("required") {
                // A computed property may be null or absent.
                let computed = |name: &str| map.properties.iter().any(|(n, _)| n == name);
                required.retain(|name| {
                    name.as_str().is_some_and(|name| properties.contains_key(name) && !computed(name))
                });
            }
            object.insert("properties".into(), properties.into());
        }
        Ok(mapped)
    }

    /// Whether the stream's SCHEMA was read.
    pub fn knows(&self, stream: &str) -> bool {
        self.streams.contains_key(stream)
    }

    /// Returns the names under which a stream is emitted. Messages about the whole stream are emitted for each.
    pub fn names<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = &'a str> {
        let outputs = self.streams.get(stream);
        let unknown = outputs.is_none().then_some(stream);
        outputs.into_iter().flatten().map(|output| output.name.as_str()).chain(unknown)
    }

    /// Maps a record: one result for each output stream, unless it is filtered out.
    pub fn record(&self, stream: &str, record: &Value) -> Result<Vec<(&str, Value)>, MapError> {
        let mut out = Vec::new();
        for output in self.streams.get(stream).into_iter().flatten() {
            let mapped = match output.definition.and_then(|n| self.definitions.get(n)) {
                Some(Definition::Map(map)) => self.map(output, map, stream, record)?,
                _ => record.as_object().cloned(),
            };
            if let Some(mapped) = mapped {
                self.check_keys(output, stream, record, &mapped)?;
                let mapped = match &self.flattening {
                    Some(flattening) => flattening.record(mapped, &output.schema),
                    None => mapped,
                };
                out.push((output.name.as_str(), Value::Object(mapped)));
            }
        }
        Ok(out)
    }

    /// Checks that each computed key has a value. A key that was missing in the source record is not an error here.
    fn check_keys(
        &self,
        output: &OutputStream,
        stream: &str,
        record: &Value,
        mapped: &Map<String, Value>,
    ) -> Result<(), MapError> {
        let Some(Definition::Map(map)) = output.definition.and_then(|n| self.definitions.get(n)) else {
            return Ok(());
        };
        for property in &output.key_properties {
            if mapped.get(property).is_some_and(|value| !value.is_null()) {
                continue;
            }
            let formula = map.properties.iter().find(|(name, _)| name == property);
            let setting = match formula {
                Some((_, Some(formula))) => formula.setting.clone(),
                _ if map.key_properties.is_some() => format!("{}.__key_properties__", map.path),
                _ => continue,
            };
            let stream = stream.to_owned();
            return Err(MapError::NullKey {
                setting,
                stream,
                record: name_of(record, output),
                property: property.clone(),
            });
        }
        Ok(())
    }

    fn map(
        &self,
        output: &OutputStream,
        map: &StreamDefinition,
        stream: &str,
        record: &Value,
    ) -> Result<Option<Map<String, Value>>, MapError> {
        let Some(properties) = record.as_object() else { return Ok(None) };
        let steps = Cell::new(0);
        let scope = Scope {
            record,
            config: &self.config,
            stream: &output.name_value,
            original: &output.original,
            own: None,
            locals: None,
            steps: &steps,
            moment: self.moment,
        };
        let failed = |formula: &Formula, at, reason| MapError::Expression {
            setting: formula.setting.clone(),
            stream: stream.to_owned(),
            record: name_of(record, output),
            at,
            reason,
        };
        if let Some(filter) = &map.filter
            && !self
                .passes(filter, &scope, output, stream)
                .map_err(|(at, reason)| failed(filter, at, reason))?
        {
            return Ok(None);
        }
        let mut result = properties.clone();
        if !map.keeps_others {
            // The marker stays in any case: without it a deletion would become a record.
            result.retain(|name, _| output.key_properties.contains(name) || is_marker(name));
        }
        for (name, formula) in &map.properties {
            let Some(formula) = formula else {
                result.shift_remove(name);
                continue;
            };
            match evaluate(&formula.node, &Scope { own: properties.get(name), ..scope }) {
                Ok(value) => {
                    result.insert(name.clone(), value.into_owned());
                }
                // A property computed from a missing property is missing, too.
                Err(Failure::Absent) => {
                    result.shift_remove(name);
                }
                Err(Failure::Wrong { at, reason }) => return Err(failed(formula, at, reason)),
            }
        }
        Ok(Some(result).filter(|result| !result.is_empty()))
    }
}

/// Returns the identity of a record for messages: its DN or its key.
fn name_of(record: &Value, output: &OutputStream) -> String {
    let value = |name: &str| record.get(name).filter(|value| !value.is_null() && !is_secret_attribute(name));
    if let Some(dn) = value("dn").and_then(Value::as_str) {
        return format!("`{dn}`");
    }
    let keys = output.own_keys.iter().filter_map(|name| Some(format!("{name}={}", value(name)?)));
    let keys: Vec<String> = keys.collect();
    if keys.is_empty() { "(without a key)".to_owned() } else { keys.join(", ") }
}
