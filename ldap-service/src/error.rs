//! Errors of requests: a status, a code for programs, a detail for people. RFC 9457 on `/api`, SCIM's Error (RFC 7644 section 3.12) on `/scim`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use ldap_directory::DirectoryError;
use ldap_directory::protocol::result_code;
use serde_json::{Map, Value, json};

/// All codes of errors ([`ApiError::code`]), in order. Part of the interface: none is removed or renamed.
pub const CODES: &[&str] = &[
    "account_disabled",
    "account_expired",
    "account_unusable",
    "ambiguous",
    "attribute_protected",
    "base_dn_outside",
    "body",
    "cursor_expired",
    "cursor_mismatch",
    "directory_limit",
    "directory_refused",
    "directory_unavailable",
    "filter_too_large",
    "form_expired",
    "header_too_large",
    "incomplete",
    "insufficient_scope",
    "internal",
    "invalid_attribute",
    "invalid_body",
    "invalid_credentials",
    "invalid_cursor",
    "invalid_dn",
    "invalid_filter",
    "invalid_member",
    "invalid_query",
    "invalid_request",
    "invalid_value",
    "issuer_unavailable",
    "last_member",
    "max_deletes",
    "method_not_allowed",
    "misconfigured",
    "name_in_groups",
    "named_in_roles",
    "no_filter",
    "no_storage",
    "no_user",
    "not_a_user",
    "not_allowed",
    "not_at_this_time",
    "not_empty",
    "not_found",
    "not_from_here",
    "out_of_scope",
    "outcome_unknown",
    "overloaded",
    "password_expired",
    "password_must_change",
    "precondition_failed",
    "primary_group",
    "protected",
    "request_timeout",
    "role_missing",
    "secret_attribute",
    "server_is_configured",
    "taken",
    "timeout",
    "too_large",
    "too_many_attempts",
    "unauthorized",
    "undo_unavailable",
    "unknown_attribute",
    "unknown_member",
    "unknown_object_class",
    "unknown_operation",
    "unsupported_media_type",
    "writes_disabled",
];

/// An error of a request.
///
/// As a response it has no body yet: [`render`] makes the body, by the path of the request.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code for programs, in `snake_case`. Part of the interface.
    pub code: &'static str,
    /// What is wrong, and what would be right, for people. Never a secret.
    pub detail: String,
    /// When the caller may try again.
    pub retry_after: Option<Duration>,
    /// Further members of the body.
    pub fields: Map<String, Value>,
    /// `scimType` (RFC 7644 table 9).
    pub scim_type: Option<&'static str>,
    /// The value of `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
    /// When the answer is sent: not before.
    pub answer_at: Option<AnswerAt>,
}

/// The time at which an answer is sent, in the extensions of a response. The wait takes no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerAt(pub tokio::time::Instant);

impl ApiError {
    /// Returns an error.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            fields: Map::new(),
            scim_type: None,
            challenge: None,
            answer_at: None,
        }
    }

    /// Returns 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Returns 401, with the challenge for a bearer token (RFC 6750).
    pub fn unauthorized() -> Self {
        let detail = "a valid token, session or client certificate is needed";
        Self { challenge: Some("Bearer"), ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail) }
    }

    /// Returns 403 for a scope that the caller lacks.
    pub fn lacks_scope(scope: &str) -> Self {
        let detail = format!("the caller has no scope `{scope}`");
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", detail).with("scope", scope.into())
    }

    /// Returns 500.
    pub fn internal() -> Self {
        let detail = "internal error; it is in the log under this request_id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Returns 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Returns 503 for a directory that does not answer.
    pub fn directory_unavailable() -> Self {
        let detail =
            "the directory does not answer, or refuses the service; nothing is wrong with the request";
        Self {
            retry_after: Some(Duration::from_secs(5)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "directory_unavailable", detail)
        }
    }

    /// Adds a member to the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// Sets `scimType`.
    #[must_use]
    pub fn scim(mut self, scim_type: &'static str) -> Self {
        self.scim_type = Some(scim_type);
        self
    }

    /// Returns the body of RFC 9457.
    fn problem(&self, request_id: &str) -> Value {
        let mut problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        });
        if let Some(problem) = problem.as_object_mut() {
            problem.extend(self.fields.clone());
        }
        problem
    }

    /// Returns the plugin's error.
    fn plugin_failure(&self, request_id: &str) -> Value {
        let mut error = self.fields.clone();
        error.insert("code".to_owned(), self.code.into());
        error.insert("message".to_owned(), self.detail.as_str().into());
        error.insert("request_id".to_owned(), request_id.into());
        json!({"success": false, "error": error})
    }

    /// Returns SCIM's Error.
    fn scim_error(&self) -> Value {
        let mut error = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.as_str(),
            "detail": self.detail,
        });
        if let (Some(error), Some(scim_type)) = (error.as_object_mut(), self.scim_type) {
            error.insert("scimType".to_owned(), scim_type.into());
        }
        error
    }
}

impl From<DirectoryError> for ApiError {
    /// The directory's own texts are for the log: they may have values of entries.
    fn from(error: DirectoryError) -> Self {
        let code = error.code();
        tracing::warn!(code, "the directory: {error}");
        if error.is_connection() || error.is_transient() || code.is_none() {
            return Self::directory_unavailable();
        }
        let name = code.map(result_code::name).unwrap_or_default();
        let refused = |status, code, detail: &str| {
            Self::new(status, code, detail).with("result_code", name.clone().into())
        };
        if error.is_no_such_object() {
            return Self::not_found("there is no such entry");
        }
        if error.is_limit() {
            return refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "directory_limit",
                "the directory has a limit below this answer: ask for fewer entries, or with a narrower filter",
            );
        }
        refused(StatusCode::BAD_GATEWAY, "directory_refused", "the directory refused the operation")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(at) = self.answer_at {
            response.extensions_mut().insert(at);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes the body of an error, by the path of the request.
pub fn render(response: Response, path: &str, request_id: &str) -> Response {
    let Some(error) = response.extensions().get::<ApiError>().cloned() else { return response };
    let (mut parts, _) = response.into_parts();
    let (body, kind) = if path.starts_with("/scim/") {
        (error.scim_error(), "application/scim+json")
    } else if path.starts_with("/api/v1/plugin/") {
        (error.plugin_failure(request_id), "application/json")
    } else {
        (error.problem(request_id), "application/problem+json")
    };
    // Of the body that the error did not have yet.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(after) = error.retry_after {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    // RFC 9110 section 15.5.2: 401 has a challenge. A browser shows a dialog for that of Basic alone.
    let of_401 = (error.status == StatusCode::UNAUTHORIZED).then_some("Bearer");
    if let Some(challenge) = error.challenge.or(of_401) {
        parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    Response::from_parts(parts, body.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the codes in a source: the literal after a status, or the first argument of `bad_request`.
    fn codes(source: &str) -> Vec<String> {
        let literal = |rest: &str| {
            let rest = rest.trim_start().strip_prefix('"')?;
            rest.split('"').next().map(str::to_owned)
        };
        let after_status = source.split(concat!("Status", "Code::")).skip(1).filter_map(|rest| {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
            literal(rest.trim_start().strip_prefix(',')?)
        });
        let of_400 = source.split(concat!("bad_", "request(")).skip(1).filter_map(literal);
        let of_writes = source.split(concat!("WriteError", "Kind::")).skip(1).filter_map(|rest| {
            literal(rest.trim_start_matches(char::is_alphanumeric).trim_start().strip_prefix("=>")?)
        });
        after_status.chain(of_400).chain(of_writes).collect()
    }

    #[test]
    fn every_code_is_in_the_reference_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/service.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, rest) = page.split_once("<!-- codes -->").unwrap();
        let (table, _) = rest.split_once("<!-- end of codes -->").unwrap();
        let rows: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, CODES);
    }

    #[test]
    fn every_code_is_in_the_list() {
        assert!(CODES.is_sorted(), "in order");
        let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    for code in codes(&std::fs::read_to_string(&path).unwrap()) {
                        assert!(
                            CODES.contains(&code.as_str()),
                            "{}: `{code}` is not in error::CODES",
                            path.display()
                        );
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 20, "{found}");
    }
}
