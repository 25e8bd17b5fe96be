//! Validates records against their stream's SCHEMA.
//!
//! A SCHEMA is foreign input: it must not make the run panic, and nothing that it references is fetched.

mod cost;
mod dialect;
mod fast_path;

use std::sync::{LazyLock, OnceLock};

use jsonschema::{Draft, Retrieve, Uri, Validator};
use ldap_directory::json::type_name;
use serde_json::Value;
use singer_common::operations::facts::Warning;
use singer_common::singer::record::Record;

use crate::rules::encoding::Encoding;
use fast_path::Quick;

/// A stream's SCHEMA, compiled once.
#[derive(Debug)]
pub struct RecordValidator {
    validator: Validator,
    quick: Option<Quick>,
    draft: Draft,
    /// The SCHEMA for deletions, and its validator once one was needed.
    of_deletions: Value,
    deletions: OnceLock<Option<Validator>>,
}

/// The most violations of one record that a message lists.
const NAMED_VIOLATIONS: usize = 5;

/// The message for a panic, which is a fault of this program.
const PANICKED: &str = "internal error: please report it, with the SCHEMA and the kind of value";

/// Fetches nothing: neither a record nor a SCHEMA makes this machine contact another one.
struct NoRetrieval;

impl Retrieve for NoRetrieval {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("`$ref` to {uri}, which is not in the SCHEMA; nothing is fetched").into())
    }
}

/// The formats that are asserted, with a validator for each.
static FORMATS: LazyLock<Vec<(&str, Validator)>> = LazyLock::new(|| {
    let of = |name| {
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        Some((name, options.build(&serde_json::json!({"format": name})).ok()?))
    };
    dialect::ASSERTED_FORMATS.into_iter().filter_map(of).collect()
});

fn compile(schema: &Value, draft: Draft) -> Result<Validator, String> {
    let build = || {
        let mut options = jsonschema::options().with_draft(draft).should_validate_formats(true);
        for (name, format) in FORMATS.iter() {
            // An empty text is no value.
            options = options
                .with_format(*name, |text: &str| text.is_empty() || format.is_valid(&Value::from(text)));
        }
        // The mapping also accepts line breaks, missing padding and lower-case hex digits.
        let options = options
            .with_content_encoding("base64", is_base64, |text| Ok(decoded(Encoding::Base64, text)))
            .with_content_encoding("base64url", is_base64url, |text| Ok(decoded(Encoding::Base64Url, text)))
            .with_content_encoding("base16", is_base16, |text| Ok(decoded(Encoding::Base16, text)));
        options.with_retriever(NoRetrieval).build(schema).map_err(|e| e.to_string())
    };
    guarded(build).and_then(|built| built)
}

fn is_base64(text: &str) -> bool {
    Encoding::Base64.decode(text).is_some()
}

fn is_base64url(text: &str) -> bool {
    Encoding::Base64Url.decode(text).is_some()
}

fn is_base16(text: &str) -> bool {
    Encoding::Base16.decode(text).is_some()
}

fn decoded(encoding: Encoding, text: &str) -> Option<String> {
    encoding.decode(text).and_then(|octets| String::from_utf8(octets).ok())
}

/// Runs code that handles foreign input, and returns an error for a panic: one SCHEMA or record fails, not the run.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    singer_common::operations::panics::caught(run).ok_or_else(|| PANICKED.to_owned())
}

impl RecordValidator {
    /// Compiles a SCHEMA. Only formats of addresses are asserted ([`dialect::ASSERTED_FORMATS`]), for properties that are written to `mail`. An
    /// empty text is no value. Warnings are for the log.
    ///
    /// The draft is 7 without `$schema`, or the nearest known one. A SCHEMA that is not valid in its draft, but in draft 4 or
    /// older (`exclusiveMinimum: true`), is read as draft 4, as other Singer targets do.
    ///
    /// # Errors
    /// It is not valid in any draft, references something outside of it, has an invalid pattern, or is too expensive to apply
    /// to a record.
    pub fn new(
        schema: &Value,
        is_used: &dyn Fn(&str) -> bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, String> {
        cost::check(schema)?;
        let (draft, warning) = dialect::draft(schema);
        warnings.extend(warning.map(Warning::from));
        let mut prepared = dialect::prepared(schema);
        dialect::keep_formats_of(&mut prepared, is_used);
        let older = || dialect::as_draft_4(&prepared);
        let first = match draft {
            Draft::Draft4 => (older(), Draft::Draft4),
            draft => (prepared.clone(), draft),
        };
        let compiled = compile(&first.0, first.1).map(|validator| (validator, first.0, first.1));
        let (validator, schema, draft) = compiled.or_else(|error| {
            let schema = older();
            let validator = compile(&schema, Draft::Draft4).map_err(|_| error)?;
            let name = dialect::name(draft);
            let text = format!("the SCHEMA is not valid as {name}, and is taken as draft 4 of JSON Schema");
            warnings.push(text.into());
            Ok::<_, String>((validator, schema, Draft::Draft4))
        })?;
        let quick = Quick::new(&schema, |property| compile(property, draft).ok());
        let of_deletions = dialect::of_deletions(&schema);
        Ok(Self { validator, quick, draft, of_deletions, deletions: OnceLock::new() })
    }

    /// Validates a record. The error never shows a value.
    ///
    /// # Errors
    /// The violations, for the log.
    pub fn check(&self, record: &Record) -> Result<(), String> {
        if self.is_quickly_valid(record) {
            return Ok(());
        }
        violations(&self.validator, &record.clone().into_value())
    }

    /// Validates a deletion. Only properties that locate its entry are validated, and missing or null ones are allowed.
    ///
    /// # Errors
    /// The violations, for the log.
    pub fn check_deletion(&self, record: &Record, names: impl Fn(&str) -> bool) -> Result<(), String> {
        if self.is_quickly_valid(record) {
            return Ok(());
        }
        self.check_those(record, names)
    }

    /// Validates only these properties: whether the key of an invalid record can be trusted.
    ///
    /// # Errors
    /// The violations, for the log.
    pub fn check_keys(&self, record: &Record, keys: &[String]) -> Result<(), String> {
        self.check_those(record, |name| keys.iter().any(|key| key == name))
    }

    fn check_those(&self, record: &Record, is_meant: impl Fn(&str) -> bool) -> Result<(), String> {
        let compile = || compile(&self.of_deletions, self.draft).ok();
        // It is a part of what could be compiled.
        let Some(validator) = self.deletions.get_or_init(compile) else { return self.check(record) };
        let there = record.iter().filter(|(name, value)| is_meant(name) && !value.is_null());
        let record = &Value::Object(there.map(|(name, value)| (name.to_owned(), value.clone())).collect());
        violations(validator, record)
    }

    fn is_quickly_valid(&self, record: &Record) -> bool {
        self.quick.as_ref().is_some_and(|quick| quick.is_valid(record))
    }
}

fn violations(validator: &Validator, record: &Value) -> Result<(), String> {
    if validator.is_valid(record) {
        return Ok(());
    }
    let problems: Vec<String> = validator
        .iter_errors(record)
        .take(NAMED_VIOLATIONS)
        .map(|e| {
            let path = e.instance_path().to_string();
            let path = if path.is_empty() { "the record".to_owned() } else { format!("`{path}`") };
            let is_type = matches!(e.kind(), jsonschema::error::ValidationErrorKind::Type { .. });
            let got = if is_type { format!(" but {}", type_name(e.instance())) } else { String::new() };
            format!("{path}: {}{got}", e.masked())
        })
        .collect();
    Err(format!("{} (SCHEMA says so; validate_records: false lets it pass)", problems.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, record: &Value) -> Result<(), String> {
        RecordValidator::new(schema, &|_| true, &mut Vec::new())
            .unwrap()
            .check(&record.clone().try_into().unwrap())
    }

    #[test]
    fn types_and_required_are_checked_and_no_value_is_shown() {
        let schema = json!({"type": "object", "required": ["id"], "properties": {
            "id": {"type": "integer"}, "when": {"type": ["null", "string"], "format": "date-time"}, "pin": {"type": "integer"}}});
        assert_eq!(check(&schema, &json!({"id": 1, "when": "2026-01-01T00:00:00Z"})), Ok(()));
        assert_eq!(check(&schema, &json!({"id": 1, "when": null, "other": []})), Ok(()));
        assert!(check(&schema, &json!({"when": null})).unwrap_err().contains("id"));
        assert_eq!(
            check(&schema, &json!({"id": 1, "when": "soon"})),
            Ok(()),
            "that is the attribute's business"
        );
        assert!(check(&schema, &json!({"id": 1, "when": 5})).unwrap_err().contains("/when"));
        let error = check(&schema, &json!({"id": 1, "pin": "topsecret"})).unwrap_err();
        assert!(error.contains("/pin") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn formats_are_those_of_what_is_written_and_needs_them() {
        let schema = json!({"properties": {"mail": {"type": ["null", "string"], "format": "email"},
            "other": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]}, "page": {"format": "uri"}}});
        let validator = RecordValidator::new(&schema, &|name| name != "other", &mut Vec::new()).unwrap();
        let check = |record: Value| validator.check(&record.try_into().unwrap());
        assert!(check(json!({"mail": "no address"})).unwrap_err().contains("/mail"));
        for right in [
            json!({"mail": ""}),
            json!({"mail": "a@x"}),
            json!({"other": "no address"}),
            json!({"page": "www.x.example"}),
        ] {
            assert_eq!(check(right), Ok(()));
        }
    }

    #[test]
    fn integers_of_any_length_are_integers() {
        let schema = json!({"properties": {"n": {"type": "integer"}}});
        let record: Value = serde_json::from_str(r#"{"n": 123456789012345678901234567890}"#).unwrap();
        assert_eq!(check(&schema, &record), Ok(()));
    }

    fn warned(schema: &Value) -> (RecordValidator, usize) {
        let mut warnings = Vec::new();
        let validator = RecordValidator::new(schema, &|_| true, &mut warnings).unwrap();
        (validator, warnings.len())
    }

    #[test]
    fn a_schema_of_an_unknown_draft_is_validated_as_the_nearest_one() {
        for uri in
            ["http://json-schema.org/draft-03/schema#", "https://example.com/mine", "urn:x", "not a uri", ""]
        {
            let schema = json!({"$schema": uri, "properties": {
                "id": {"type": "string", "$schema": uri}, "n": {"type": "integer"}}});
            let (validator, warnings) = warned(&schema);
            assert_eq!(warnings, 1, "{uri}");
            let check = |record: Value| validator.check(&record.try_into().unwrap());
            assert_eq!(check(json!({"id": "a", "n": 1})), Ok(()), "{uri}");
            assert!(check(json!({"id": 1})).is_err(), "{uri}");
        }
        // Differences of draft 3, and of draft 4 from draft 7.
        let (validator, _) = warned(
            &json!({"$schema": "http://json-schema.org/draft-03/schema#", "properties": {
            "id": {"type": "any", "required": true}, "n": {"type": "number", "minimum": 0, "exclusiveMinimum": true}}}),
        );
        let check = |record: Value| validator.check(&record.try_into().unwrap());
        assert_eq!(check(json!({"id": 1, "n": 1})), Ok(()));
        assert!(check(json!({"n": 1})).is_err() && check(json!({"id": 1, "n": 0})).is_err());
        let (validator, warnings) =
            warned(&json!({"properties": {"n": {"minimum": 0, "exclusiveMinimum": true, "required": true}}}));
        assert_eq!(warnings, 1);
        assert!(validator.check(&json!({"n": 0}).try_into().unwrap()).is_err());
    }

    #[test]
    fn a_deletion_needs_what_it_has_to_be_right_and_nothing_else() {
        let schema = json!({"type": "object", "required": ["id", "name"], "additionalProperties": false, "properties": {
            "id": {"type": "integer"}, "name": {"type": "string"}}});
        let validator = RecordValidator::new(&schema, &|_| true, &mut Vec::new()).unwrap();
        let check =
            |record: Value| validator.check_deletion(&record.try_into().unwrap(), |name| name == "id");
        assert_eq!(check(json!({"id": 1, "name": null, "_sdc_deleted_at": "2026-01-01T00:00:00Z"})), Ok(()));
        assert!(check(json!({"id": "x"})).is_err());
        assert_eq!(check(json!({"id": 1, "name": 5, "_sdc_deleted_at": "2026-01-01T00:00:00Z"})), Ok(()));
        assert!(validator.check(&json!({"id": 1}).try_into().unwrap()).is_err());
        let marked = json!({"id": 1, "name": "x", "_sdc_deleted_at": ""});
        assert_eq!(
            validator.check(&marked.try_into().unwrap()),
            Ok(()),
            "the marker is not the validator's business"
        );
    }

    #[test]
    fn references_that_lead_nowhere_or_round_in_circles_end_nothing() {
        for schema in [
            json!({"properties": {"a": {"$ref": "#/definitions/none"}}}),
            json!({"properties": {"a": {"$ref": "http://127.0.0.1:1/a.json"}}}),
            json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            json!({"properties": {"a": {"$ref": "b.json#/x"}}}),
            json!({"properties": {"a": {"type": "string", "pattern": "("}}}),
            json!({"properties": {"a": {"type": "thing"}}}),
            json!({"$id": "::", "properties": {"a": {"$ref": "x"}}}),
        ] {
            assert!(RecordValidator::new(&schema, &|_| true, &mut Vec::new()).is_err(), "{schema}");
        }
        let circles = [
            json!({"$ref": "#", "properties": {"a": {}}}),
            json!({"properties": {"a": {"$ref": "#/properties/a"}}}),
            json!({"properties": {"a": {"allOf": [{"$ref": "#/properties/b"}]}, "b": {"anyOf": [{"$ref": "#/properties/a"}]}}}),
            json!({"properties": {"a": {"not": {"$ref": "#/properties/a"}}}}),
            json!({"properties": {"a": {"$ref": "#/definitions/n"}}, "definitions": {"n": {
                "type": ["object", "null"], "properties": {"n": {"$ref": "#/definitions/n"}}}}}),
            json!({"$id": "http://example.com/s", "properties": {"a": {"$ref": "http://example.com/s#/properties/a"}}}),
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"a": {"$dynamicRef": "#x", "$dynamicAnchor": "x"}}}),
        ];
        for schema in circles {
            let Ok(validator) = RecordValidator::new(&schema, &|_| true, &mut Vec::new()) else { continue };
            let record = json!({"a": {"n": {"n": null}}, "b": 1});
            let record = record.try_into().unwrap();
            let _ = (validator.check(&record), validator.check_deletion(&record, |_| true));
        }
    }
}
