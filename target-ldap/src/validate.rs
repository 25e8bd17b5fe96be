//! Records against their stream's SCHEMA.

mod quick;

use jsonschema::{Draft, Validator};
use serde_json::Value;
use singer_common::record::Record;

use quick::Quick;

/// A stream's SCHEMA, compiled once.
#[derive(Debug)]
pub struct RecordValidator {
    validator: Validator,
    quick: Option<Quick>,
}

/// How many violations of one record are named.
const NAMED_VIOLATIONS: usize = 5;

impl RecordValidator {
    /// Compiles a schema. Without `$schema` it is draft 7, as everywhere in Singer. Formats are asserted.
    pub fn new(schema: &Value) -> Result<Self, String> {
        let draft =
            if schema.get("$schema").is_some() { Draft::default().detect(schema) } else { Draft::Draft7 };
        let compile = |schema: &Value| {
            jsonschema::options().with_draft(draft).should_validate_formats(true).build(schema)
        };
        let validator = compile(schema).map_err(|e| e.to_string())?;
        let quick = Quick::new(schema, |property| compile(property).ok());
        Ok(Self { validator, quick })
    }

    /// What is wrong with a record; never shows a value.
    pub fn check(&self, record: &Record) -> Result<(), String> {
        if self.quick.as_ref().is_some_and(|quick| quick.is_valid(record)) {
            return Ok(());
        }
        let record = &record.clone().into_value();
        if self.validator.is_valid(record) {
            return Ok(());
        }
        let problems: Vec<String> = self
            .validator
            .iter_errors(record)
            .take(NAMED_VIOLATIONS)
            .map(|e| {
                let path = e.instance_path().to_string();
                let path = if path.is_empty() { "the record".to_owned() } else { format!("`{path}`") };
                format!("{path}: {}", e.masked())
            })
            .collect();
        Err(problems.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, record: &Value) -> Result<(), String> {
        RecordValidator::new(schema).unwrap().check(&record.clone().try_into().unwrap())
    }

    #[test]
    fn types_formats_and_required_are_checked_and_no_value_is_shown() {
        let schema = json!({"type": "object", "required": ["id"], "properties": {
            "id": {"type": "integer"}, "when": {"type": ["null", "string"], "format": "date-time"}, "pin": {"type": "integer"}}});
        assert_eq!(check(&schema, &json!({"id": 1, "when": "2026-01-01T00:00:00Z"})), Ok(()));
        assert_eq!(check(&schema, &json!({"id": 1, "when": null, "other": []})), Ok(()));
        assert!(check(&schema, &json!({"when": null})).unwrap_err().contains("id"));
        assert!(check(&schema, &json!({"id": 1, "when": "soon"})).unwrap_err().contains("/when"));
        let error = check(&schema, &json!({"id": 1, "pin": "topsecret"})).unwrap_err();
        assert!(error.contains("/pin") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn integers_of_any_length_are_integers() {
        let schema = json!({"properties": {"n": {"type": "integer"}}});
        let record: Value = serde_json::from_str(r#"{"n": 123456789012345678901234567890}"#).unwrap();
        assert_eq!(check(&schema, &record), Ok(()));
    }
}
