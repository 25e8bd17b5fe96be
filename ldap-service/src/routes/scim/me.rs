//! `/scim/v2/Me` (RFC 7644 section 3.11)

use axum::response::Response;
use http::StatusCode;

use super::{Asked, ResourceParameters};
use crate::caller::Caller;
use crate::config::Scope;
use crate::error::ApiError;
use crate::scim::mapping::ResourceType;

/// The caller's own user
///
/// For callers with a JWT of a user. A program has no user.
#[utoipa::path(get, path = "/scim/v2/Me", operation_id = "getMe", tag = "scim", params(ResourceParameters),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "The User", body = Value, content_type = "application/scim+json"),
        (status = 304, description = "It is the version of `If-None-Match`"),
        (status = 403, description = "The caller is a program, or lacks the scope", body = Value, content_type = "application/scim+json"),
    ))]
pub(in crate::routes) async fn get(asked: Asked) -> Result<Response, ApiError> {
    asked.caller.require(Scope::ScimRead)?;
    let Some(id) = own_id(&asked.caller) else {
        let detail = "the caller is a program: it has no user";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "no_user", detail));
    };
    asked.get(ResourceType::User, &id).await
}

/// Returns the id of the caller's user.
fn own_id(caller: &Caller) -> Option<String> {
    caller.user.as_ref().map(|user| user.id.clone()).filter(|id| !id.is_empty())
}
