//! `/scim/v2/Users`

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;

use super::{Asked, ListParameters, ResourceParameters};
use crate::error::ApiError;
use crate::scim::mapping::ResourceType;

const USER: ResourceType = ResourceType::User;

/// Lists users
///
/// Pages by `startIndex` and `count`, or by `cursor` (RFC 9865). `totalResults` is exact.
#[utoipa::path(get, path = "/scim/v2/Users", operation_id = "listUsers", tag = "scim", params(ListParameters),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses((status = 200, description = "A ListResponse", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn list(asked: Asked) -> Result<Response, ApiError> {
    asked.list(USER).await
}

/// Creates a user
///
/// What the mapping has no place for is left out, as the answer shows.
#[utoipa::path(post, path = "/scim/v2/Users", operation_id = "createUser", tag = "scim", params(ResourceParameters),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A User (RFC 7643)"),
    responses((status = 201, description = "The User", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn create(asked: Asked, body: Bytes) -> Result<Response, ApiError> {
    asked.create(USER, &body).await
}

/// Searches users
#[utoipa::path(post, path = "/scim/v2/Users/.search", operation_id = "scimSearchUsers", tag = "scim",
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A SearchRequest (RFC 7644 section 3.4.3)"),
    responses((status = 200, description = "A ListResponse", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn search(asked: Asked, body: Bytes) -> Result<Response, ApiError> {
    asked.search(Some(USER), &body).await
}

/// A user
#[utoipa::path(get, path = "/scim/v2/Users/{id}", operation_id = "getUser", tag = "scim", params(("id" = String, Path, description = "The id"), ResourceParameters),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "The User", body = Value, content_type = "application/scim+json"),
        (status = 304, description = "It is the version of `If-None-Match`"),
    ))]
pub(in crate::routes) async fn get(asked: Asked, Path(id): Path<String>) -> Result<Response, ApiError> {
    asked.get(USER, &id).await
}

/// Replaces a user
///
/// Mapped attributes that the body does not have are removed, except `active` and `password`.
#[utoipa::path(put, path = "/scim/v2/Users/{id}", operation_id = "replaceUser", tag = "scim", params(("id" = String, Path, description = "The id"), ResourceParameters),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A User (RFC 7643)"),
    responses((status = 200, description = "The User", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn replace(
    asked: Asked,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    Box::pin(asked.replace(USER, &id, &body)).await
}

/// Changes a user
///
/// All operations are applied, or none.
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", operation_id = "patchUser", tag = "scim", params(("id" = String, Path, description = "The id"), ResourceParameters),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A PatchOp (RFC 7644 section 3.5.2)"),
    responses((status = 200, description = "The User", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn patch(
    asked: Asked,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    Box::pin(asked.patch(USER, &id, &body)).await
}

/// Deletes a user
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", operation_id = "deleteUser", tag = "scim", params(("id" = String, Path, description = "The id")),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    responses((status = 204, description = "It is deleted")))]
pub(in crate::routes) async fn delete(asked: Asked, Path(id): Path<String>) -> Result<Response, ApiError> {
    asked.delete(USER, &id).await
}
