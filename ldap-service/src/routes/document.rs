//! The OpenAPI 3.1 document: what the table of routes says, completed by what holds for every route.

use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::config::Scope;
use crate::error::CODES;
use crate::sessions::SESSION;

/// Returns the document of a table of routes.
pub(super) fn of(table: &OpenApi) -> Value {
    let mut document = serde_json::to_value(table).unwrap_or_default();
    document["servers"] = json!([{"url": "/", "description": "This service"}]);
    document["components"]["securitySchemes"] = schemes();
    document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] = CODES.into();
    // Unknown members of these are errors.
    for body in ["SearchBody", "PluginRequest"] {
        document["components"]["schemas"][body]["additionalProperties"] = false.into();
    }
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, methods) in paths {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            complete(path, method, operation);
        }
    }
    document
}

/// How callers prove who they are.
fn schemes() -> Value {
    let scopes = Scope::ALL.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": format!("A token of `api_tokens`, or a JWT of the identity provider in `jwt`. Its scopes say what the caller may do: {scopes}."),
        },
        "certificate": {
            "type": "mutualTLS",
            "description": "A client certificate of `client_certificates`, with scopes of its own.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": SESSION,
            "description": "The session of the login page. Over TLS, the name of the cookie is `__Host-ldap_session`.",
        },
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "Login name and password, for forward authentication.",
        },
    })
}

/// The answers of SCIM's routes beside their successes: the status, the operations that give it (`search`: POST of a SearchRequest), and
/// what it means.
const SCIM: &[(&str, &[&str], &str)] = &[
    ("400", ALL, "The request is not valid (`scimType`), or the directory refuses a value (`invalidValue`)"),
    ("403", WRITES, "The caller lacks the scope, writes are disabled, or the entry is protected"),
    ("404", ALL, "There is no such resource, or the service has no setting `groups`"),
    (
        "409",
        &["get", "post", "put", "patch", "delete"],
        "Another entry has the name (`uniqueness`), groups have it already, two entries have the id, or entries below prevent a deletion",
    ),
    ("412", &["put", "patch", "delete"], "It is not the version of `If-Match`"),
    ("415", &["search", "post", "put", "patch"], "The body is not JSON"),
    ("422", ALL, "The directory has a limit below this answer"),
    ("429", WRITES, "`write.max_deletes` is reached for this hour"),
    ("500", ALL, "A setting does not fit the directory, or an internal error: `detail` or the log has it"),
    ("502", ALL, "The directory refused the operation"),
    ("507", WRITES, "The undo file cannot be written: nothing was changed"),
];
const ALL: &[&str] = &["get", "search", "post", "put", "patch", "delete"];
const WRITES: &[&str] = &["post", "put", "patch", "delete"];
/// The routes of SCIM that ask the directory nothing.
const DISCOVERY: [&str; 3] = ["/scim/v2/ServiceProviderConfig", "/scim/v2/Schemas", "/scim/v2/ResourceTypes"];

/// Returns the answers of [`SCIM`] for a route; none for others.
fn of_scim(path: &str, method: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let operation = if path.ends_with("/.search") { "search" } else { method }.to_owned();
    let is_it = path.starts_with("/scim/") && !DISCOVERY.iter().any(|documents| path.starts_with(documents));
    let rows =
        SCIM.iter().filter(move |(_, operations, _)| is_it && operations.contains(&operation.as_str()));
    rows.map(|(status, _, description)| (*status, *description))
}

/// Adds the answers that every route of a kind may give, and the headers of answers.
fn complete(path: &str, method: &str, operation: &mut Value) {
    if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
        // What a token with scopes may do, a client certificate with them may do, too.
        let scopes =
            ways.iter().find_map(|way| way.get("bearer")).filter(|scopes| *scopes != &json!([])).cloned();
        let has_certificate = ways.iter().any(|way| way.get("certificate").is_some());
        if let Some(scopes) = scopes.filter(|_| !has_certificate) {
            ways.push(json!({"certificate": scopes}));
        }
    }
    let has_caller = operation["security"].as_array().is_some_and(|list| !list.is_empty());
    let has_body = operation.get("requestBody").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut answers: Vec<(&str, &str)> = of_scim(path, method).collect();
    answers.extend([
        ("500", "Internal error: it is in the log under this `request_id`"),
        (
            "503",
            "The directory does not answer, or there are too many requests (`overloaded`), or no answer in time (`timeout`)",
        ),
    ]);
    if has_caller {
        answers.push(("401", "The caller is not known"));
        answers.push(("403", "The caller lacks the scope (`insufficient_scope`)"));
    }
    if has_body {
        answers.push(("400", "The body is not valid"));
        answers.push(("408", "The body did not arrive in time"));
        answers.push(("413", "The body is too large (`limits.request_bytes`)"));
    }
    for (status, description) in answers {
        responses.entry(status).or_insert_with(|| error(path, description));
    }
    responses.sort_keys();
    for (status, response) in responses {
        response["headers"]["X-Request-Id"] =
            json!({"description": "The number of the request", "schema": {"type": "string"}});
        match status.as_str() {
            "401" => {
                response["headers"]["WWW-Authenticate"] =
                    json!({"description": "The scheme (RFC 9110)", "schema": {"type": "string"}});
            }
            "429" | "503" => {
                response["headers"]["Retry-After"] = json!({"description": "Seconds after which to try again", "schema": {"type": "integer", "minimum": 1}});
            }
            _ => {}
        }
    }
}

fn error(path: &str, description: &str) -> Value {
    let (media, schema) = if path.starts_with("/scim/") {
        let members = json!({"schemas": {"type": "array", "items": {"type": "string"}}, "status": {"type": "string"}, "detail": {"type": "string"}, "scimType": {"type": "string"}});
        let schema = json!({"type": "object", "required": ["schemas", "status"], "properties": members});
        ("application/scim+json", schema)
    } else {
        ("application/problem+json", json!({"$ref": "#/components/schemas/Problem"}))
    };
    json!({"description": description, "content": {media: {"schema": schema}}})
}
