//! Single values: LDAP octets to JSON and back.

use ldap_directory::schema::syntax::{ValueKind, truth};
use serde_json::Value;

use super::definitions::Type;
use super::error::ScimError;
use super::mapping::Field;

/// Returns a value in JSON by its syntax; `None` if it violates it, or means "no time".
pub fn to_json(kind: ValueKind, value: &[u8]) -> Option<Value> {
    let mut json = Vec::new();
    kind.write_json(value, &mut json).ok()?;
    serde_json::from_slice(&json).ok().filter(|value: &Value| !value.is_null())
}

/// Returns a value of a field in the JSON type that the schema has for it; `None` if it cannot be shown so.
pub fn field_to_json(field: &Field, value: &[u8]) -> Option<Value> {
    let json = to_json(field.values, value)?;
    match (field.kind, json) {
        (Type::Boolean, Value::String(text)) => truth(&text).map(Value::Bool),
        (Type::Boolean, json @ Value::Bool(_)) | (Type::Integer, json @ Value::Number(_)) => Some(json),
        (Type::Boolean | Type::Integer, _) => None,
        // Text and octets that the schema has as numbers or booleans.
        (_, Value::Number(number)) => Some(Value::String(number.to_string())),
        (_, Value::Bool(value)) => Some(Value::String(value.to_string())),
        (_, json) => Some(json),
    }
}

/// Returns the octets of a JSON value for a field; `None` for null and an empty text.
///
/// # Errors
/// The value has another type, or violates the syntax of the LDAP attribute.
pub fn field_to_value(field: &Field, path: &str, json: &Value) -> Result<Option<Vec<u8>>, ScimError> {
    let typed = typed(field.kind, path, json)?;
    let typed = match (field.kind, typed) {
        // An attribute of text for a boolean: as LDAP writes it.
        (Type::Boolean, Value::Bool(value)) if field.values != ValueKind::Boolean => {
            Value::String(if value { "TRUE" } else { "FALSE" }.to_owned())
        }
        (_, typed) => typed,
    };
    field.values.parse_json(&typed).map_err(|_| {
        ScimError::value(format!("{path}: not a valid value of the LDAP attribute {}", field.attribute))
    })
}

/// Returns a value in its type. A boolean may be a text in any case, as Microsoft Entra sends it.
///
/// # Errors
/// The value has another type.
pub fn typed(kind: Type, path: &str, json: &Value) -> Result<Value, ScimError> {
    match (kind, json) {
        (_, Value::Null) => Ok(Value::Null),
        (Type::Boolean, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "" => Ok(Value::Null),
            _ => Err(ScimError::value(format!("{path}: true or false expected"))),
        },
        (Type::Boolean, Value::Bool(_))
        | (Type::Integer, Value::Number(_))
        | (Type::String | Type::DateTime | Type::Binary | Type::Reference, Value::String(_)) => {
            Ok(json.clone())
        }
        _ => Err(ScimError::value(format!("{path}: a value of type {} expected", kind.keyword()))),
    }
}
