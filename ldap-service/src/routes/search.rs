//! Searches for programs: `/api/v1/ldap/users/search`.

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, header};

use super::body;
use super::schemas::{Problem, SearchAnswer};
use crate::caller::Caller;
use crate::config::Scope;
use crate::error::ApiError;
use crate::search::{self, SearchBody};
use crate::service::Current;

/// Find users
///
/// Entries below `users.base_dn` that match `users.filter` and the filter of the request. Values have the types of the directory's schema:
/// lists where an attribute may have several values, numbers, booleans, times (RFC 3339), base64 for octets. Secret attributes are neither
/// shown nor compared. An answer that has more entries has `next_cursor`: send it as `cursor` for the next page. Each cursor is for one
/// request.
#[utoipa::path(
    post,
    path = "/api/v1/ldap/users/search",
    operation_id = "findUsers",
    tag = "search",
    security(("bearer" = ["search"]), ("certificate" = ["search"])),
    request_body(content = SearchBody, content_type = "application/json", description = "What to look for"),
    responses(
        (status = 200, description = "A page of users", body = SearchAnswer, content_type = "application/json"),
        (status = 400, description = "The question is not valid: `invalid_body`, `invalid_member`, `unknown_member`, `server_is_configured`, `invalid_dn`, `base_dn_outside`, `invalid_filter`, `filter_too_large`, `unknown_attribute`, `unknown_object_class`, `invalid_attribute`, `secret_attribute`, `invalid_cursor`, `cursor_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no entry `base_dn`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The cursor is not valid any more (`cursor_expired`): begin again", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The directory has a limit below this answer (`directory_limit`)", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The directory refused the search", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn search_users(
    Current(service): Current,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.require(Scope::Search)?;
    let object = body::object(&headers, &body)?;
    let page = search::run(&service.cursors, &service.config, &caller.key(), object).await?;
    let mut answer = b"{\"status\":\"success\",".to_vec();
    answer.extend_from_slice(&page.members("data"));
    answer.push(b'}');
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}
