//! Checks the common SCHEMAs property by property, without building JSON for the whole record. A record that passes is valid;
//! for all others the full validator decides.

use jsonschema::Validator;
use serde_json::{Map, Value};
use singer_common::singer::record::Record;

/// Keywords that do not affect validity (draft 7 section 10, 2019-09 section 9).
const ANNOTATIONS: [&str; 7] =
    ["title", "description", "default", "examples", "$comment", "readOnly", "writeOnly"];

/// JSON's types, each a bit.
const TYPES: [(&str, u8); 7] = [
    ("null", 1),
    ("boolean", 2),
    ("string", 4),
    // A whole number is both an integer and a number.
    ("integer", 8),
    ("number", 8 | 16),
    ("array", 32),
    ("object", 64),
];

/// The check for a value.
#[derive(Debug)]
enum Check {
    /// It has one of these types, and the items of an array have one of those.
    Types { own: u8, items: u8 },
    /// Its schema accepts it.
    Full(Box<Validator>),
}

/// A SCHEMA whose properties can be checked one by one.
#[derive(Debug)]
pub(super) struct Quick {
    properties: Vec<(String, Check)>,
    required: Vec<String>,
}

impl Quick {
    /// Returns `None` if the SCHEMA has constraints beyond its properties. `compile` builds the validator of one property.
    pub(super) fn new(schema: &Value, compile: impl Fn(&Value) -> Option<Validator>) -> Option<Self> {
        let object = schema.as_object()?;
        let mut required = Vec::new();
        let mut properties = Vec::new();
        for (keyword, value) in object {
            match (keyword.as_str(), value) {
                ("type", value) if types(value)? & 64 != 0 => {}
                ("properties", Value::Object(all)) => properties = all.iter().collect(),
                ("required", Value::Array(names)) => {
                    required = names.iter().map(|n| n.as_str().map(str::to_owned)).collect::<Option<_>>()?;
                }
                ("additionalProperties", Value::Bool(true)) | ("$schema", Value::String(_)) => {}
                (annotation, _) if ANNOTATIONS.contains(&annotation) => {}
                _ => return None,
            }
        }
        // A reference concerns more than one property.
        if refers(schema) {
            return None;
        }
        let check = |(name, schema): (&String, &Value)| {
            let check = match Check::of_types(schema) {
                Some(check) => check,
                None => Check::Full(Box::new(compile(schema)?)),
            };
            Some((name.clone(), check))
        };
        let properties = properties.into_iter().map(check).collect::<Option<_>>()?;
        Some(Self { properties, required })
    }

    /// Whether a record is certainly valid.
    pub(super) fn is_valid(&self, record: &Record) -> bool {
        // Most records have their properties in the order of the SCHEMA.
        let mut next = 0;
        let is_right = |(name, value): (&str, &Value)| {
            let check = match self.properties.get(next) {
                Some((expected, check)) if expected == name => Some(check),
                _ => self.properties.iter().find(|(known, _)| known == name).map(|(_, check)| check),
            };
            next += 1;
            check.is_none_or(|check| check.passes(value))
        };
        record.iter().all(is_right) && self.required.iter().all(|name| record.get(name).is_some())
    }
}

impl Check {
    fn of_types(schema: &Value) -> Option<Check> {
        let (own, items) = match schema {
            Value::Bool(true) => (u8::MAX, u8::MAX),
            Value::Object(object) => (only_types(object, true)?, items(object)?),
            _ => return None,
        };
        Some(Check::Types { own, items })
    }

    fn passes(&self, value: &Value) -> bool {
        match self {
            Check::Types { own, items } => {
                type_of(value) & own != 0
                    && value.as_array().is_none_or(|all| all.iter().all(|item| type_of(item) & items != 0))
            }
            Check::Full(validator) => validator.is_valid(value),
        }
    }
}

fn items(object: &Map<String, Value>) -> Option<u8> {
    match object.get("items") {
        None | Some(Value::Bool(true)) => Some(u8::MAX),
        Some(Value::Object(items)) => only_types(items, false),
        Some(_) => None,
    }
}

/// Returns the types of a schema that has no other constraint.
fn only_types(object: &Map<String, Value>, may_have_items: bool) -> Option<u8> {
    let mut allowed = u8::MAX;
    for (keyword, value) in object {
        match keyword.as_str() {
            "type" => allowed = types(value)?,
            "items" if may_have_items => {}
            annotation if ANNOTATIONS.contains(&annotation) => {}
            _ => return None,
        }
    }
    Some(allowed)
}

fn types(value: &Value) -> Option<u8> {
    let bit = |value: &Value| TYPES.iter().find(|(name, _)| value == name).map(|(_, bit)| *bit);
    match value {
        Value::Array(all) if !all.is_empty() => {
            all.iter().map(bit).try_fold(0, |sum, bit| bit.map(|bit| sum | bit))
        }
        value => bit(value),
    }
}

/// Returns the bit of a value's type.
fn type_of(value: &Value) -> u8 {
    match value {
        Value::Null => 1,
        Value::Bool(_) => 2,
        Value::String(_) => 4,
        // Other numbers may be whole as well (`1.0`, `1e3`, beyond 64 bits): the full validator decides.
        Value::Number(number) if number.as_i64().is_some() || number.as_u64().is_some() => 8,
        Value::Number(_) => 16,
        Value::Array(_) => 32,
        Value::Object(_) => 64,
    }
}

/// Whether a schema has references, or targets of references.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(keyword, value)| {
            matches!(keyword.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef" | "$id") || refers(value)
        }),
        Value::Array(all) => all.iter().any(refers),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};
    use serde_json::json;

    use super::*;

    fn compile(schema: &Value) -> Option<Validator> {
        jsonschema::draft7::options().should_validate_formats(true).build(schema).ok()
    }

    fn quick(schema: &Value) -> Option<Quick> {
        Quick::new(schema, compile)
    }

    #[test]
    fn what_says_more_than_its_properties_is_not_for_the_quick_way() {
        for schema in [
            json!({"additionalProperties": false}),
            json!({"type": "string"}),
            json!({"anyOf": [{}]}),
            json!({"patternProperties": {"a": {}}}),
            json!({"properties": {"a": {"$ref": "#/definitions/x"}}, "definitions": {"x": {}}}),
            json!(true),
        ] {
            assert!(quick(&schema).is_none(), "{schema}");
        }
        let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": "t", "required": ["a"],
            "type": ["null", "object"], "properties": {"a": {"type": "string", "description": "d"}}});
        assert!(quick(&schema).is_some());
    }

    fn property() -> impl Strategy<Value = Value> {
        let name = || select(TYPES.map(|(name, _)| name).to_vec());
        let types = prop_oneof![
            name().prop_map(Value::from),
            subsequence(TYPES.map(|(name, _)| name).to_vec(), 1..3).prop_map(Value::from)
        ];
        (
            types,
            proptest::option::of(name()),
            select(vec!["", "format", "contentEncoding", "minimum", "description"]),
        )
            .prop_map(|(types, items, more)| {
                let mut schema = json!({"type": types});
                if let Some(items) = items {
                    schema["items"] = json!({"type": items});
                }
                match more {
                    "format" => schema["format"] = json!("date-time"),
                    "contentEncoding" => schema["contentEncoding"] = json!("base64"),
                    "minimum" => schema["minimum"] = json!(2),
                    "description" => schema["description"] = json!("d"),
                    _ => {}
                }
                schema
            })
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            select(vec!["1", "-7", "1.0", "1.5", "1e3", "123456789012345678901234567890"])
                .prop_map(|n| serde_json::from_str(n).unwrap()),
            select(vec!["", "x", "YQ==", "2026-01-01T00:00:00Z"]).prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                inner.prop_map(|v| json!({"k": v})),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_right_the_quick_way_is_right(
            a in property(), b in property(), x in value(), y in value(), order in any::<bool>(), required in any::<bool>(),
        ) {
            let schema = json!({"properties": {"a": a, "b": b}, "required": if required { json!(["b"]) } else { json!([]) }});
            let (quick, full) = (quick(&schema).unwrap(), compile(&schema).unwrap());
            let whole = if order { json!({"a": x, "b": y, "c": 1}) } else { json!({"b": y, "a": x}) };
            for record in [whole, json!({"a": x})] {
                let is_right = quick.is_valid(&Record::try_from(record.clone()).unwrap());
                prop_assert!(!is_right || full.is_valid(&record), "{} {}", schema, record);
                // Only numbers that are not plain integers are left to the full validator.
                let text = record.to_string();
                let is_odd = text.contains("1.0") || text.contains("1e") || text.contains("1234567890");
                prop_assert!(is_right || is_odd || !full.is_valid(&record), "{} {}", schema, record);
            }
        }
    }
}
