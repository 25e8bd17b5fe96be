//! Bodies of requests.

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
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::bad_request("invalid_body", "the body is not a JSON object")),
        Err(detail) => Err(ApiError::bad_request("invalid_body", detail)),
    }
}
