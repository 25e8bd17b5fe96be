//! The plugin: operations by name, in one form (`/api/v1/plugin/execute`).

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, header};
use ldap_directory::nearest::nearest;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::{Map, Value};

use super::schemas::{PluginAnswer, PluginFailure, PluginRequest};
use super::{body, health};
use crate::caller::Caller;
use crate::config::Scope;
use crate::error::ApiError;
use crate::search;
use crate::service::{App, Current, Service};
use crate::write::{ResourceKind, Subject, WriteOptions};

const OPERATIONS: [&str; 3] = ["search_users", "create_user", "health_check"];

/// Run an operation of the plugin
///
/// Every answer of this route has `success`, also errors: `{"success": false, "error": {"code", "message"}}`, with the status of the error.
#[utoipa::path(
    post,
    path = "/api/v1/plugin/execute",
    operation_id = "executePlugin",
    tag = "plugin",
    security(("bearer" = ["plugin"]), ("certificate" = ["plugin"])),
    request_body(content = PluginRequest, content_type = "application/json", description = "The operation"),
    responses(
        (status = 200, description = "The operation succeeded", body = PluginAnswer, content_type = "application/json"),
        (status = 400, description = "There is no such operation (`unknown_operation`), or its parameters are not valid", body = PluginFailure, content_type = "application/json"),
        (status = 401, description = "The caller is not known", body = PluginFailure, content_type = "application/json"),
        (status = 403, description = "The caller has no scope `plugin`, or not that of the operation; or nothing is written (`writes_disabled`)", body = PluginFailure, content_type = "application/json"),
        (status = 404, description = "There is no entry `base_dn`", body = PluginFailure, content_type = "application/json"),
        (status = 408, description = "The request did not arrive in time", body = PluginFailure, content_type = "application/json"),
        (status = 409, description = "The user is there already", body = PluginFailure, content_type = "application/json"),
        (status = 410, description = "The cursor is not valid any more", body = PluginFailure, content_type = "application/json"),
        (status = 413, description = "The body is too large", body = PluginFailure, content_type = "application/json"),
        (status = 415, description = "The body is not JSON", body = PluginFailure, content_type = "application/json"),
        (status = 422, description = "The directory has a limit below this answer, or the user is not valid", body = PluginFailure, content_type = "application/json"),
        (status = 429, description = "Too many deletions or requests", body = PluginFailure, content_type = "application/json"),
        (status = 500, description = "Internal error", body = PluginFailure, content_type = "application/json"),
        (status = 502, description = "The directory refused the operation", body = PluginFailure, content_type = "application/json"),
        (status = 503, description = "The directory does not answer, or the service has too many requests; or it is not known whether the user was added (`outcome_unknown`): look before it is sent again", body = PluginFailure, content_type = "application/json"),
        (status = 507, description = "The undo file cannot be written: nothing was changed", body = PluginFailure, content_type = "application/json"),
    )
)]
pub(super) async fn execute(
    State(app): State<App>,
    Current(service): Current,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.require(Scope::Plugin)?;
    let (operation, params) = operation(body::object(&headers, &body)?)?;
    let data = match operation {
        "search_users" => {
            caller.require(Scope::Search)?;
            let page = search::run(&service.cursors, &service.config, &caller.key(), params).await?;
            page.members("users")
        }
        "create_user" => {
            caller.require(Scope::ScimWrite)?;
            create_user(&service, params).await?
        }
        _ => {
            no_params(&params)?;
            let report = health::status(&app, &service).await;
            let text = report.to_string();
            text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or_default().as_bytes().to_vec()
        }
    };
    let mut answer = b"{\"success\":true,\"data\":{".to_vec();
    answer.extend_from_slice(&data);
    answer.extend_from_slice(b"}}");
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Returns the name of the operation, and its parameters.
fn operation(mut object: Map<String, Value>) -> Result<(&'static str, Map<String, Value>), ApiError> {
    let invalid = |member: &str, expected: &str| {
        ApiError::bad_request("invalid_member", format!("`{member}` must be {expected}"))
            .with("member", member.into())
    };
    let Some(Value::String(name)) = object.remove("operation") else {
        return Err(invalid("operation", &format!("one of {}", OPERATIONS.join(", "))));
    };
    let params = match object.remove("params") {
        Some(Value::Object(params)) => params,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(invalid("params", "an object")),
    };
    if let Some(other) = object.keys().next() {
        let near = nearest(other, ["operation", "params"].into_iter());
        let detail = format!("the member `{other}` is not known: the body has `operation` and `params`");
        return Err(ApiError::bad_request("unknown_member", detail)
            .with("member", other.as_str().into())
            .with("near", near.into()));
    }
    let known = OPERATIONS.into_iter().find(|known| *known == name);
    known.map(|known| (known, params)).ok_or_else(|| {
        let near = nearest(&name, OPERATIONS.into_iter());
        let hint = near.map_or_else(|| OPERATIONS.join(", "), |near| format!("did you mean `{near}`?"));
        ApiError::bad_request("unknown_operation", format!("there is no operation `{name}`: {hint}"))
            .with("operation", name.into())
            .with("near", near.into())
    })
}

fn no_params(params: &Map<String, Value>) -> Result<(), ApiError> {
    match params.keys().next() {
        None => Ok(()),
        Some(name) => {
            let detail = format!("the parameter `{name}` is not known: this operation has none");
            Err(ApiError::bad_request("unknown_member", detail).with("member", name.as_str().into()))
        }
    }
}

/// Adds a user by the rule `users`, with its plan, guards and undo file. An existing user is never changed.
async fn create_user(service: &Service, params: Map<String, Value>) -> Result<Vec<u8>, ApiError> {
    service.writer.undo_dir()?;
    let directory = service.directory.get()?;
    let (kind, options) = (ResourceKind::Users, WriteOptions::default());
    let outcome = service.writer.upsert(&directory, kind, params, Subject::New, options).await?;
    let mut id = b"null".to_vec();
    if let Some(found) = &outcome.id {
        let mut text = Vec::new();
        let kind = ValueKind::of(directory.schema(), &found.attribute);
        if kind.write_json(&found.value, &mut text).is_ok() {
            id = text;
        }
    }
    let (dn, undo_file) = (Value::from(outcome.dn), Value::from(outcome.undo_file));
    let mut data =
        format!("\"dn\":{dn},\"effect\":\"{}\",\"undo_file\":{undo_file},\"id\":", outcome.effect.word())
            .into_bytes();
    data.extend_from_slice(&id);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(body: &Value) -> Result<(&'static str, Map<String, Value>), ApiError> {
        operation(body.as_object().unwrap().clone())
    }

    #[test]
    fn an_operation_is_known_or_the_nearest_is_named() {
        let (name, params) = of(&json!({"operation": "search_users", "params": {"count": 1}})).unwrap();
        assert_eq!((name, params.len()), ("search_users", 1));
        assert_eq!(of(&json!({"operation": "health_check", "params": null})).unwrap().1.len(), 0);
        let error = of(&json!({"operation": "serch_users"})).unwrap_err();
        assert_eq!((error.code, &error.fields["near"]), ("unknown_operation", &json!("search_users")));
        assert_eq!(of(&json!({"operation": "drop_table"})).unwrap_err().code, "unknown_operation");
        for (body, code) in [
            (json!({}), "invalid_member"),
            (json!({"operation": 1}), "invalid_member"),
            (json!({"operation": "search_users", "params": []}), "invalid_member"),
            (json!({"operation": "search_users", "parms": {}}), "unknown_member"),
        ] {
            assert_eq!(of(&body).unwrap_err().code, code, "{body}");
        }
    }
}
