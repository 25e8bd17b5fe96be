//! The Singer catalog: streams, their metadata, and their selection.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;

/// A catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The streams, in the order of their sync.
    pub streams: Vec<CatalogEntry>,
}

/// A stream of a catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// The stream's id in STATE and selection.
    pub tap_stream_id: String,
    /// The stream's name in messages.
    pub stream: String,
    /// The properties that identify a record.
    #[serde(default)]
    pub key_properties: Vec<String>,
    /// The JSON schema of its records.
    pub schema: Value,
    /// Metadata of the stream and of each property.
    #[serde(default)]
    pub metadata: Vec<MetadataEntry>,
    /// The index of each property in `metadata`, built on the first lookup in a large stream.
    #[serde(skip)]
    pub places: Places,
    /// The method that the user wants; the stream's metadata has priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_method: Option<String>,
    /// The replication key of that method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_key: Option<String>,
}

/// The index of each property's metadata, built on the first lookup in a large stream.
#[derive(Debug, Clone, Default)]
pub struct Places(OnceLock<HashMap<String, usize>>);

impl PartialEq for Places {
    /// A cache does not affect equality.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl MetadataEntry {
    fn is_of(&self, property: Option<&str>) -> bool {
        match (property, self.breadcrumb.as_slice()) {
            (None, []) => true,
            (Some(name), [first, second]) => first == "properties" && second == name,
            _ => false,
        }
    }
}

/// Metadata of a node: the stream itself (an empty breadcrumb) or a property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetadataEntry {
    /// `[]`, or `["properties", name]`.
    pub breadcrumb: Vec<String>,
    /// The metadata.
    pub metadata: Map<String, Value>,
}

/// A catalog file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("--catalog {path}: {reason}; expected the JSON that --discover prints")]
pub struct CatalogError {
    /// The path as given.
    pub path: String,
    /// The message of the system or the JSON parser.
    pub reason: String,
}

impl Classified for CatalogError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn facts(&self) -> Facts {
        Facts::of_setting("--catalog")
    }
}

impl Catalog {
    /// Reads a catalog file.
    pub fn read(path: &str) -> Result<Catalog, CatalogError> {
        let fail = |reason: String| CatalogError { path: path.to_owned(), reason };
        let text = crate::operations::file::read_text(Path::new(path)).map_err(|e| fail(e.to_string()))?;
        serde_json::from_str(&text).map_err(|e| {
            let other = serde_json::from_str::<Map<String, Value>>(&text).ok();
            let other = other.filter(|object| !object.contains_key("streams"));
            let is_settings = |object: &Map<String, Value>| {
                ["server_url", "host", "bind_dn"].iter().any(|key| object.contains_key(*key))
            };
            fail(match other {
                Some(object) if is_settings(&object) => "it holds settings, and no `streams`".to_owned(),
                Some(_) => "it has no `streams`".to_owned(),
                None => e.to_string(),
            })
        })
    }

    /// Returns the catalog as `--discover` prints it. Indented: Meltano reads lines, and hangs on one long line.
    pub fn to_pretty_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl CatalogEntry {
    fn node(&self, property: Option<&str>) -> Option<&Map<String, Value>> {
        const FEW: usize = 64;
        let looked_up = property.filter(|_| self.metadata.len() > FEW).and_then(|name| {
            let all = || {
                let named =
                    |(at, entry): (usize, &MetadataEntry)| Some((entry.breadcrumb.get(1)?.clone(), at));
                // The first of two entries has priority.
                self.metadata.iter().enumerate().rev().filter_map(named).collect()
            };
            self.metadata.get(*self.places.0.get_or_init(all).get(name)?).filter(|m| m.is_of(property))
        });
        looked_up.or_else(|| self.metadata.iter().find(|m| m.is_of(property))).map(|m| &m.metadata)
    }

    /// Returns a metadata value of the stream itself.
    pub fn stream_metadata(&self, key: &str) -> Option<&Value> {
        self.node(None)?.get(key)
    }

    /// Whether the stream is selected: `selected`, else `selected-by-default`, else no.
    pub fn is_selected(&self) -> bool {
        self.node(None).and_then(decide).unwrap_or(false)
    }

    /// Whether a property is selected, by the Singer SDK's precedence.
    /// `unsupported` is never selected, `automatic` always.
    /// Then `selected`, then `selected-by-default`, then the stream's selection apply.
    pub fn is_property_selected(&self, property: &str) -> bool {
        // The replication key is automatic, even if the user chose it after discovery.
        if self.metadata_replication_key() == Some(property) {
            return true;
        }
        let Some(node) = self.node(Some(property)) else {
            return self.key_properties.iter().any(|k| k == property) || self.is_selected();
        };
        match node.get("inclusion").and_then(Value::as_str) {
            Some("unsupported") => false,
            Some("automatic") => true,
            _ => decide(node).unwrap_or_else(|| self.is_selected()),
        }
    }

    /// Returns the replication method in the stream's metadata: a forced one, or the user's.
    pub fn metadata_replication_method(&self) -> Option<&str> {
        self.stream_metadata("forced-replication-method")
            .or_else(|| self.stream_metadata("replication-method"))
            .and_then(Value::as_str)
    }

    /// Returns the replication key in the stream's metadata.
    pub fn metadata_replication_key(&self) -> Option<&str> {
        self.stream_metadata("replication-key").and_then(Value::as_str)
    }

    /// Returns the schema's properties.
    pub fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    }

    /// Returns the schema with only the selected properties, for the SCHEMA message.
    pub fn selected_schema(&self) -> Value {
        let mut schema = self.schema.clone();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.retain(|name, _| self.is_property_selected(name));
        }
        schema
    }
}

fn decide(metadata: &Map<String, Value>) -> Option<bool> {
    metadata
        .get("selected")
        .and_then(Value::as_bool)
        .or_else(|| metadata.get("selected-by-default").and_then(Value::as_bool))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(stream: &Value, property: &Value) -> CatalogEntry {
        serde_json::from_value(json!({
            "tap_stream_id": "s", "stream": "s", "key_properties": ["dn"],
            "schema": {"type": "object", "properties": {"dn": {}, "cn;lang-de": {}}},
            "metadata": [
                {"breadcrumb": [], "metadata": stream},
                {"breadcrumb": ["properties", "cn;lang-de"], "metadata": property},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn catalog_selection_follows_the_sdks_precedence() {
        let on = json!({"selected": true});
        for (metadata, expected) in [
            (json!({"inclusion": "automatic", "selected": false}), true),
            (json!({"inclusion": "unsupported", "selected": true}), false),
            (json!({"inclusion": "available", "selected": true, "selected-by-default": false}), true),
            (json!({"inclusion": "available", "selected": false, "selected-by-default": true}), false),
            (json!({"inclusion": "available", "selected-by-default": false}), false),
            (json!({"inclusion": "available"}), true),
        ] {
            let entry = entry(&on, &metadata);
            assert_eq!(entry.is_property_selected("cn;lang-de"), expected, "{metadata}");
            assert_eq!(entry.selected_schema()["properties"].get("cn;lang-de").is_some(), expected);
        }
        assert!(entry(&json!({"selected-by-default": true}), &json!({})).is_selected());
        assert!(!entry(&json!({"selected": false, "selected-by-default": true}), &json!({})).is_selected());
        assert!(!entry(&json!({}), &json!({})).is_selected());
    }
}
