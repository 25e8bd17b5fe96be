//! Bodies of requests.

use std::collections::HashSet;

use axum::body::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::tokens::unique_json;

/// Checks that a body is of type JSON. A web page elsewhere can make a browser send other types unasked.
///
/// # Errors
/// 415 for another media type, and without one.
pub(super) fn must_be_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let is_json = |kind: &str| {
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
    };
    if !kind.is_some_and(is_json) {
        let detail = "the body must be JSON: Content-Type: application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    Ok(())
}

/// Returns the object of a body in JSON.
///
/// # Errors
/// 415 for another media type, 400 for what is not an object.
pub(super) fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    must_be_json(headers)?;
    match unique_json(body) {
        Ok(value) if spelled_twice(&value).is_some() => {
            let name = spelled_twice(&value).unwrap_or_default().escape_debug().to_string();
            let detail = format!("the body has `{name}` twice in an object, in other letters");
            Err(ApiError::bad_request("invalid_body", detail))
        }
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::bad_request("invalid_body", "the body is not a JSON object")),
        Err(detail) => Err(ApiError::bad_request("invalid_body", detail)),
    }
}

/// Returns a name that an object of a body has twice, in letters of another case: names compare without case, and the last one would
/// win. Names that are the same octet for octet are refused before.
pub(super) fn spelled_twice(value: &Value) -> Option<&str> {
    match value {
        Value::Array(list) => list.iter().find_map(spelled_twice),
        Value::Object(members) => {
            let mut names = HashSet::with_capacity(members.len());
            let twice = members.keys().find(|name| !names.insert(name.to_lowercase()));
            twice.map(String::as_str).or_else(|| members.values().find_map(spelled_twice))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_may_occur_in_one_spelling() {
        assert_eq!(spelled_twice(&json!({"a": 1, "b": [{"a": 1}, {"A": 2}], "c": {"a": "A"}})), None);
        for bad in [
            json!({"userName": "a", "USERNAME": "b"}),
            json!({"x": [1, {"Members": [], "members": null}]}),
            json!({"É": 1, "é": 2}),
        ] {
            assert!(spelled_twice(&bad).is_some(), "{bad}");
        }
    }
}
