//! Bodies of requests.

use axum::body::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Returns the object of a body in JSON.
///
/// # Errors
/// 415 for another media type, 400 for what is not an object.
pub(super) fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let is_json = |kind: &str| {
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
    };
    if !kind.is_some_and(is_json) {
        let detail = "the body must be JSON: Content-Type: application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    serde_json::from_slice(body).map_err(|e| {
        let detail = format!("the body is not a JSON object (line {}, column {})", e.line(), e.column());
        ApiError::bad_request("invalid_body", detail)
    })
}
