//! Flattening by the rules of the Meltano SDK.
//! An object's properties become properties of the record, named `parent__child`, down to a maximum depth.
//! Deeper objects and all lists become JSON texts.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::operations::settings_error::{SettingsError, typed};

/// The settings of flattening.
#[derive(Debug, Clone)]
pub(super) struct Flattening {
    depth: u32,
    separator: String,
}

impl Flattening {
    /// Reads the settings; `None` if flattening is off.
    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Option<Flattening>, SettingsError> {
        let value = |name: &str| values.get(name).cloned().unwrap_or_default();
        let enabled: Option<bool> = typed("flattening_enabled", value("flattening_enabled"))?;
        let depth: Option<u32> = typed("flattening_max_depth", value("flattening_max_depth"))?;
        let separator: Option<String> = typed("flattening_separator", value("flattening_separator"))?;
        if enabled != Some(true) {
            return Ok(None);
        }
        let depth = depth.ok_or_else(|| {
            SettingsError::value(
                "flattening_max_depth",
                "not set, and flattening_enabled is true",
                "how many levels of objects are flattened, for example 1",
            )
        })?;
        // Depth 0 switches flattening off, for lists, too.
        Ok((depth > 0).then(|| Flattening { depth, separator: separator.unwrap_or_else(|| "__".to_owned()) }))
    }

    /// Returns the schema of flattened records. An error names a property that would exist twice.
    pub(super) fn schema(&self, schema: &Value) -> Result<Value, String> {
        let mut properties = Map::new();
        self.properties(schema, "", 0, &mut properties)?;
        let mut flat = schema.clone();
        if let Some(object) = flat.as_object_mut() {
            if let Some(Value::Array(required)) = object.get_mut("required") {
                required.retain(|name| name.as_str().is_some_and(|name| properties.contains_key(name)));
            }
            object.insert("properties".into(), properties.into());
        }
        Ok(flat)
    }

    fn properties(
        &self,
        schema: &Value,
        prefix: &str,
        level: u32,
        out: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
        for (name, property) in properties {
            let key = format!("{prefix}{name}");
            let kinds = super::types::kinds(property);
            let is = |kind: &str| kinds.as_ref().is_some_and(|kinds| kinds.contains(&kind));
            let flat = if is("object") && property.get("properties").is_some() && level < self.depth {
                self.properties(property, &format!("{key}{}", self.separator), level + 1, out)?;
                continue;
            } else if is("array") || is("object") {
                if is("null") { json!({"type": ["string", "null"]}) } else { json!({"type": "string"}) }
            } else if kinds.is_some() {
                property.clone()
            } else {
                without_type(property)
            };
            if out.insert(key.clone(), flat).is_some() {
                return Err(key);
            }
        }
        Ok(())
    }

    /// Returns a flattened record. `schema` is its flattened schema.
    pub(super) fn record(&self, record: Map<String, Value>, schema: &Value) -> Map<String, Value> {
        let mut out = Map::new();
        self.flatten(record, "", 0, schema, &mut out);
        out
    }

    fn flatten(
        &self,
        record: Map<String, Value>,
        prefix: &str,
        level: u32,
        schema: &Value,
        out: &mut Map<String, Value>,
    ) {
        for (name, value) in record {
            let key = if prefix.is_empty() { name } else { format!("{prefix}{name}") };
            match value {
                Value::Object(object)
                    if level < self.depth && schema.get("properties").and_then(|p| p.get(&key)).is_none() =>
                {
                    self.flatten(object, &format!("{key}{}", self.separator), level + 1, schema, out);
                }
                value @ (Value::Object(_) | Value::Array(_)) => {
                    out.insert(key, ascii_json(&value).into());
                }
                value => {
                    out.insert(key, value);
                }
            }
        }
    }
}

/// Returns a property without a type of its own with the type of its first alternative (`anyOf`, …), else text.
fn without_type(property: &Value) -> Value {
    let first = property
        .as_object()
        .and_then(|o| o.values().next())
        .and_then(Value::as_array)
        .and_then(|a| a.first());
    match first.and_then(super::types::kinds).as_deref() {
        Some(["string"]) => super::types::nullable(first.cloned().unwrap_or_default()),
        // Their values become JSON texts.
        Some(["array" | "object"]) | None => json!({"type": ["null", "string"]}),
        Some(_) => property.clone(),
    }
}

/// Serializes to JSON without blanks and in ASCII only, as the SDK does.
pub(super) fn ascii_json(value: &Value) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}
