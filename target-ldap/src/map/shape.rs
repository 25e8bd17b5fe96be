//! What a SCHEMA says of a property. Taps write nullable types as `anyOf`, and repeated parts as `$ref`: all of these are
//! resolved here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::rules::encoding::Encoding;

/// The nesting depth, and the number of subschemas, that are followed: references may be circular.
const DEEPEST: usize = 32;
const MOST: usize = 4096;

/// The properties of a value, or of the items of a list, by the SCHEMA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// `contentEncoding`.
    pub(super) encoding: Encoding,
    /// An unknown `contentEncoding`.
    pub(super) unknown_encoding: Option<String>,
    /// Whether `format` says that the values are times.
    pub(super) is_time: bool,
    types: BTreeSet<String>,
}

impl Shape {
    /// Whether the values may have a type and cannot also be texts.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.types.contains(kind) && !self.types.contains("string")
    }

    fn take(&mut self, schema: &Value) {
        match schema.get("type") {
            Some(Value::String(kind)) => {
                self.types.insert(kind.clone());
            }
            Some(Value::Array(kinds)) => {
                self.types.extend(kinds.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
        self.is_time |= schema.get("format").is_some_and(|f| f == "date-time");
        // Draft 4 of hyper-schema uses `media`, OpenAPI `format: byte`.
        let name = [schema.get("contentEncoding"), schema.pointer("/media/binaryEncoding")];
        let name = name.into_iter().flatten().find_map(Value::as_str);
        let name = name.or(schema.get("format").is_some_and(|f| f == "byte").then_some("base64"));
        match name.map(|name| (name, Encoding::of(name))) {
            Some((_, Some(encoding))) if self.encoding == Encoding::Unsaid => self.encoding = encoding,
            Some((name, None)) => self.unknown_encoding = Some(name.to_owned()),
            _ => {}
        }
    }
}

/// A stream's SCHEMA.
#[derive(Debug, Clone)]
pub(super) struct Shapes<'s> {
    all: Schemas<'s>,
    properties: BTreeMap<&'s str, Vec<&'s Value>>,
}

/// The subschemas of a SCHEMA and their references.
#[derive(Debug, Clone, Copy)]
struct Schemas<'s> {
    root: &'s Value,
}

impl<'s> Shapes<'s> {
    pub(super) fn new(root: &'s Value) -> Self {
        let all = Schemas { root };
        let mut properties: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        all.each(root, false, &mut |schema| {
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                properties.entry(name).or_default().push(property);
            }
        });
        Self { all, properties }
    }

    /// Returns the shape of a property. An unknown property has the default shape.
    pub(super) fn of(&self, name: &str) -> Shape {
        let mut shape = Shape::default();
        for property in self.properties.get(name).into_iter().flatten() {
            self.all.each(property, true, &mut |schema| shape.take(schema));
        }
        shape
    }

    /// Returns the properties that records may have.
    pub(super) fn properties(&self) -> impl Iterator<Item = &'s str> {
        self.properties.keys().copied()
    }

    /// Whether the SCHEMA allows properties that it does not name.
    pub(super) fn is_open(&self) -> bool {
        let mut open = false;
        self.all.each(self.all.root, false, &mut |schema| {
            open |= schema.get("additionalProperties").is_some_and(|more| *more != false)
                || schema.get("patternProperties").and_then(Value::as_object).is_some_and(|p| !p.is_empty());
        });
        open
    }
}

impl<'s> Schemas<'s> {
    /// Visits a schema and all subschemas that apply to the same value (with `items`: to its items).
    fn each(self, schema: &'s Value, items: bool, look: &mut dyn FnMut(&'s Value)) {
        let mut left = MOST;
        self.descend(schema, items, DEEPEST, &mut left, look);
    }

    fn descend(
        self,
        schema: &'s Value,
        items: bool,
        depth: usize,
        left: &mut usize,
        look: &mut dyn FnMut(&'s Value),
    ) {
        let (Some(object), Some(depth), Some(rest)) =
            (schema.as_object(), depth.checked_sub(1), left.checked_sub(1))
        else {
            return;
        };
        *left = rest;
        look(schema);
        let mut on = |schema: &'s Value| self.descend(schema, items, depth, left, look);
        if let Some(target) = object.get("$ref").and_then(Value::as_str).and_then(|uri| self.target(uri)) {
            on(target);
        }
        for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
            if keyword != "prefixItems" || items {
                object.get(keyword).and_then(Value::as_array).into_iter().flatten().for_each(&mut on);
            }
        }
        for keyword in ["then", "else"] {
            object.get(keyword).into_iter().for_each(&mut on);
        }
        match object.get("items") {
            Some(Value::Array(all)) if items => all.iter().for_each(&mut on),
            Some(one) if items => on(one),
            _ => {}
        }
    }

    /// Resolves a reference within the SCHEMA. Other references are not resolved: nothing is fetched.
    fn target(self, uri: &str) -> Option<&'s Value> {
        let own = self.root.get("$id").or_else(|| self.root.get("id")).and_then(Value::as_str);
        let own = own.map(|own| own.trim_end_matches('#')).filter(|own| !own.is_empty());
        let fragment = own.and_then(|own| uri.strip_prefix(own)).unwrap_or(uri).strip_prefix('#')?;
        let pointer = percent_encoding::percent_decode_str(fragment).decode_utf8().ok()?;
        if pointer.is_empty() || pointer.starts_with('/') {
            return self.root.pointer(&pointer);
        }
        let definitions = ["definitions", "$defs"].into_iter().filter_map(|k| self.root.get(k)?.as_object());
        let named = |schema: &&Value| {
            schema.get("$anchor").is_some_and(|a| *a == *pointer)
                || ["$id", "id"]
                    .into_iter()
                    .filter_map(|k| schema.get(k))
                    .any(|id| *id == format!("#{pointer}"))
        };
        definitions.flat_map(|all| all.values()).find(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_encoding_is_seen_wherever_it_is_said() {
        let photo = json!({"type": "string", "contentEncoding": "base64"});
        for property in [
            photo.clone(),
            json!({"anyOf": [photo, {"type": "null"}]}),
            json!({"oneOf": [{"type": "null"}, photo]}),
            json!({"allOf": [{"type": ["null", "string"]}, {"contentEncoding": "BASE64"}]}),
            json!({"$ref": "#/definitions/photo"}),
            json!({"anyOf": [{"$ref": "#/$defs/a~1b%20c"}, {"type": "null"}]}),
            json!({"$ref": "#photo"}),
            json!({"type": ["array", "null"], "items": photo}),
            json!({"anyOf": [{"type": "array", "items": {"anyOf": [photo, {"type": "null"}]}}, {"type": "null"}]}),
            json!({"$ref": "#/definitions/again"}),
            json!({"type": "string", "format": "byte"}),
            json!({"anyOf": [{"type": "string", "media": {"binaryEncoding": "base64"}}, {"type": "null"}]}),
        ] {
            let schema = json!({"properties": {"p": property}, "definitions": {
                "photo": photo, "again": {"allOf": [{"$ref": "#/definitions/again"}, {"$ref": "#/definitions/photo"}]}},
                "$defs": {"a/b c": photo, "n": {"$anchor": "photo", "anyOf": [photo]}}});
            assert_eq!(Shapes::new(&schema).of("p").encoding, Encoding::Base64, "{property}");
        }
    }

    #[test]
    fn references_that_lead_nowhere_or_round_in_circles_say_nothing() {
        for property in [
            json!({"$ref": "#/definitions/none"}),
            json!({"$ref": "http://example.com/a"}),
            json!({"$ref": "#/properties/p"}),
            json!({"$ref": "#"}),
            json!({"anyOf": [{"$ref": "#/properties/p"}, {"$ref": "#/properties/p"}]}),
            json!(true),
            json!(null),
        ] {
            let schema = json!({"properties": {"p": property}});
            assert_eq!(Shapes::new(&schema).of("p").encoding, Encoding::Unsaid, "{property}");
        }
    }

    #[test]
    fn properties_are_those_of_all_parts_of_the_schema() {
        let schema = json!({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}, {"$ref": "#/definitions/c"}],
            "definitions": {"c": {"properties": {"c": {}}}, "d": {"properties": {"d": {}}}}});
        assert_eq!(Shapes::new(&schema).properties().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!Shapes::new(&schema).is_open());
        assert!(Shapes::new(&json!({"additionalProperties": true})).is_open());
    }

    #[test]
    fn a_property_that_may_be_a_text_is_no_number() {
        let schema = json!({"properties": {"a": {"type": ["integer", "null"]}, "b": {"type": ["integer", "string"]},
            "c": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}}});
        let shapes = Shapes::new(&schema);
        assert!(shapes.of("a").is("integer") && !shapes.of("b").is("integer") && shapes.of("c").is_time);
    }
}
