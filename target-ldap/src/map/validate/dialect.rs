//! Determines the draft of a SCHEMA, and converts it into one that the validator supports.

use jsonschema::Draft;
use serde_json::{Map, Value};
use singer_common::singer::deletion::{DELETED_AT, is_marker};

/// Returns the draft of `$schema`, or the nearest known one with a warning. Without `$schema` it is draft 7, as in all of
/// Singer.
pub(super) fn draft(schema: &Value) -> (Draft, Option<String>) {
    let uri = match schema.get("$schema") {
        None => return (Draft::Draft7, None),
        Some(Value::String(uri)) => uri.as_str(),
        Some(_) => "",
    };
    let known = Draft::from_schema_uri(uri);
    let all = [Draft::Draft4, Draft::Draft6, Draft::Draft7, Draft::Draft201909, Draft::Draft202012];
    if all.contains(&known) {
        return (known, None);
    }
    let nearest = nearest(uri);
    let warning = format!(
        "the SCHEMA's `$schema` {uri:?} is not a known draft of JSON Schema: its records are validated by the nearest one, {}",
        name(nearest)
    );
    (nearest, Some(warning))
}

/// Returns the name of a draft, for messages.
pub(super) fn name(draft: Draft) -> &'static str {
    match draft {
        Draft::Draft4 => "draft 4",
        Draft::Draft6 => "draft 6",
        Draft::Draft201909 => "draft 2019-09",
        Draft::Draft202012 => "draft 2020-12",
        _ => "draft 7",
    }
}

/// Returns the nearest draft by the number (`draft-03`) or year (`draft/2021-04`) in a URI; draft 7 without one.
fn nearest(uri: &str) -> Draft {
    let Some((_, rest)) = uri.split_once("draft") else { return Draft::Draft7 };
    let digits: String =
        rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    match digits.parse::<u32>() {
        // Draft 5 only rewords draft 4.
        Ok(0..=5) => Draft::Draft4,
        Ok(6) => Draft::Draft6,
        Ok(8 | 2019) => Draft::Draft201909,
        Ok(9..) => Draft::Draft202012,
        Ok(7) | Err(_) => Draft::Draft7,
    }
}

/// Keywords whose values are data, not schemas.
const DATA: [&str; 4] = ["enum", "const", "default", "examples"];

/// Keywords whose values are schemas by name.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas"];

/// Returns the schema without `$schema`, as the draft is decided. The deletion marker may have any value:
/// [`singer_common::singer::deletion`] checks it.
pub(super) fn prepared(schema: &Value) -> Value {
    let mut schema = schema.clone();
    each_schema(&mut schema, &mut |object| {
        if object.get("$schema").is_some_and(Value::is_string) {
            object.shift_remove("$schema");
        }
    });
    if let Value::Object(root) = &mut schema {
        let is_closed =
            root.contains_key("additionalProperties") || root.contains_key("unevaluatedProperties");
        if let Some(Value::Object(properties)) = root.get_mut("properties") {
            for (_, anything) in properties.iter_mut().filter(|(name, _)| is_marker(name)) {
                *anything = Value::Object(Map::new());
            }
            if is_closed {
                properties.entry(DELETED_AT).or_insert_with(|| Value::Object(Map::new()));
            }
        }
        if let Some(Value::Array(required)) = root.get_mut("required") {
            required.retain(|name| !name.as_str().is_some_and(is_marker));
        }
    }
    schema
}

/// The formats that are asserted. Others are not: the mapping reads times and UUIDs in all forms that taps write, and the
/// server checks URIs and addresses.
pub(super) const ASSERTED_FORMATS: [&str; 2] = ["email", "idn-email"];

/// Removes formats that do not matter to what is written: of properties that no rule writes to `mail`, and those that the mapping reads in
/// other forms.
pub(super) fn keep_formats_of(schema: &mut Value, is_used: &dyn Fn(&str) -> bool) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (_, property) in properties.iter_mut().filter(|(name, _)| !is_used(name)) {
            each_schema(property, &mut |object| drop(object.shift_remove("format")));
        }
    }
    each_schema(schema, &mut |object| {
        if object.get("format").and_then(Value::as_str).is_some_and(|f| !ASSERTED_FORMATS.contains(&f)) {
            object.shift_remove("format");
        }
    });
}

/// Returns the SCHEMA for deletions: it checks the properties that are there, and requires none.
pub(super) fn of_deletions(prepared: &Value) -> Value {
    const KEPT: [&str; 6] = ["properties", "patternProperties", "definitions", "$defs", "$id", "id"];
    let mut schema = prepared.clone();
    if let Value::Object(root) = &mut schema {
        root.retain(|keyword, _| KEPT.contains(&keyword.as_str()));
    }
    schema
}

/// Converts drafts before 4 to draft 4. Only what draft 4 would refuse is changed.
pub(super) fn as_draft_4(schema: &Value) -> Value {
    let mut schema = schema.clone();
    each_schema(&mut schema, &mut |object| {
        require(object);
        types(object);
        if let Some(number) = object.shift_remove("divisibleBy")
            && number.as_f64().is_some_and(|n| n > 0.0)
        {
            object.entry("multipleOf").or_insert(number);
        }
        match object.shift_remove("extends") {
            Some(Value::Array(all)) if !all.is_empty() => {
                object.entry("allOf").or_insert(Value::Array(all));
            }
            Some(one @ Value::Object(_)) => {
                object.entry("allOf").or_insert(Value::Array(vec![one]));
            }
            _ => {}
        }
        if let Some(Value::Object(dependencies)) = object.get_mut("dependencies") {
            for needed in dependencies.values_mut().filter(|needed| needed.is_string()) {
                *needed = Value::Array(vec![needed.take()]);
            }
        }
    });
    schema
}

/// Converts `required: true` of a property to the `required` list of its object.
fn require(object: &mut Map<String, Value>) {
    let mut names = Vec::new();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            let Some(property) = property.as_object_mut() else { continue };
            if let Some(Value::Bool(required)) = property.get("required") {
                if *required {
                    names.push(Value::from(name.as_str()));
                }
                property.shift_remove("required");
            }
        }
    }
    // For an object that is not a property (the root, items) it has no meaning.
    if object.get("required").is_some_and(|r| r.is_boolean() || r.as_array().is_some_and(Vec::is_empty)) {
        object.shift_remove("required");
    }
    if !names.is_empty()
        && let Value::Array(list) = object.entry("required").or_insert(Value::Array(Vec::new()))
    {
        names.retain(|name| !list.contains(name));
        list.extend(names);
    }
}

/// Converts `any` to every type, schemas in a list of types, and `disallow` to its negation.
fn types(object: &mut Map<String, Value>) {
    let schema_of = |kind: &Value| -> Value {
        match kind {
            Value::String(name) if name == "any" => Value::Object(Map::new()),
            Value::String(_) => Value::Object(Map::from_iter([("type".to_owned(), kind.clone())])),
            other => other.clone(),
        }
    };
    match object.get("type") {
        Some(Value::String(name)) if name == "any" => {
            object.shift_remove("type");
        }
        Some(Value::Array(kinds)) if kinds.is_empty() || kinds.iter().any(|k| k == "any") => {
            object.shift_remove("type");
        }
        Some(Value::Array(kinds)) if kinds.iter().any(Value::is_object) => {
            let any_of = kinds.iter().map(schema_of).collect();
            object.shift_remove("type");
            object.entry("anyOf").or_insert(Value::Array(any_of));
        }
        _ => {}
    }
    let not = match object.shift_remove("disallow") {
        Some(Value::Array(kinds)) if !kinds.is_empty() => kinds.iter().map(schema_of).collect(),
        Some(kind @ Value::String(_)) => vec![schema_of(&kind)],
        _ => return,
    };
    object.entry("not").or_insert(Value::Object(Map::from_iter([("anyOf".to_owned(), Value::Array(not))])));
}

/// Applies a change to every object that may be a schema, then to its subschemas.
fn each_schema(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            for (keyword, value) in object.iter_mut() {
                match value {
                    _ if DATA.contains(&keyword.as_str()) => {}
                    Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                        named.values_mut().for_each(|schema| each_schema(schema, change));
                    }
                    value => each_schema(value, change),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| each_schema(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_uri_has_a_draft_and_only_unknown_ones_a_warning() {
        for (uri, expected, is_known) in [
            ("http://json-schema.org/draft-03/schema#", Draft::Draft4, false),
            ("http://json-schema.org/draft-04/schema#", Draft::Draft4, true),
            ("http://json-schema.org/draft-05/schema", Draft::Draft4, false),
            ("https://json-schema.org/draft-06/schema#", Draft::Draft6, true),
            ("http://json-schema.org/draft-07/hyper-schema#", Draft::Draft7, false),
            ("https://json-schema.org/draft/2019-09/schema", Draft::Draft201909, true),
            ("https://json-schema.org/draft/2020-12/schema", Draft::Draft202012, true),
            ("https://json-schema.org/draft/2031-01/schema", Draft::Draft202012, false),
            ("https://example.com/people.json", Draft::Draft7, false),
            ("", Draft::Draft7, false),
        ] {
            let (draft, warning) = draft(&json!({"$schema": uri}));
            assert_eq!((draft, warning.is_none()), (expected, is_known), "{uri}");
        }
        assert_eq!(draft(&json!({})), (Draft::Draft7, None));
        assert!(draft(&json!({"$schema": 3})).1.is_some());
    }

    #[test]
    fn what_draft_3_says_draft_4_says() {
        let old = json!({"properties": {
            "a": {"type": "any", "required": true}, "b": {"type": ["string", {"type": "null"}], "divisibleBy": 2},
            "c": {"disallow": "string", "required": false}}, "dependencies": {"a": "b"}});
        assert_eq!(
            as_draft_4(&old),
            json!({"properties": {
                "a": {}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "multipleOf": 2},
                "c": {"not": {"anyOf": [{"type": "string"}]}}}, "dependencies": {"a": ["b"]}, "required": ["a"]})
        );
        let new = json!({"required": ["a"], "properties": {"a": {"type": ["null", "string"]}}});
        assert_eq!(as_draft_4(&new), new);
    }
}
