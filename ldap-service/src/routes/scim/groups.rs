//! `/scim/v2/Groups`

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;

use super::{Asked, ListParameters, ResourceParameters};
use crate::error::ApiError;
use crate::scim::mapping::ResourceType;

const GROUP: ResourceType = ResourceType::Group;

/// Lists groups
///
/// Pages by `startIndex` and `count`, or by `cursor` (RFC 9865). `totalResults` is exact.
#[utoipa::path(get, path = "/scim/v2/Groups", operation_id = "listGroups", tag = "scim", params(ListParameters),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses((status = 200, description = "A ListResponse", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn list(asked: Asked) -> Result<Response, ApiError> {
    asked.list(GROUP).await
}

/// Creates a group
///
/// What the mapping has no place for is left out, as the answer shows.
#[utoipa::path(post, path = "/scim/v2/Groups", operation_id = "createGroup", tag = "scim", params(ResourceParameters),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A Group (RFC 7643)"),
    responses((status = 201, description = "The Group", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn create(asked: Asked, body: Bytes) -> Result<Response, ApiError> {
    asked.create(GROUP, &body).await
}

/// Searches groups
#[utoipa::path(post, path = "/scim/v2/Groups/.search", operation_id = "scimSearchGroups", tag = "scim",
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A SearchRequest (RFC 7644 section 3.4.3)"),
    responses((status = 200, description = "A ListResponse", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn search(asked: Asked, body: Bytes) -> Result<Response, ApiError> {
    asked.search(Some(GROUP), &body).await
}

/// A group
#[utoipa::path(get, path = "/scim/v2/Groups/{id}", operation_id = "getGroup", tag = "scim", params(("id" = String, Path, description = "The id"), ResourceParameters),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "The Group", body = Value, content_type = "application/scim+json"),
        (status = 304, description = "It is the version of `If-None-Match`"),
    ))]
pub(in crate::routes) async fn get(asked: Asked, Path(id): Path<String>) -> Result<Response, ApiError> {
    asked.get(GROUP, &id).await
}

/// Replaces a group
///
/// Mapped attributes that the body does not have are removed, except `active` and `password`.
#[utoipa::path(put, path = "/scim/v2/Groups/{id}", operation_id = "replaceGroup", tag = "scim", params(("id" = String, Path, description = "The id"), ResourceParameters),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A Group (RFC 7643)"),
    responses((status = 200, description = "The Group", body = Value, content_type = "application/scim+json")))]
pub(in crate::routes) async fn replace(
    asked: Asked,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    Box::pin(asked.replace(GROUP, &id, &body)).await
}

/// Changes a group
///
/// Members are added and removed one by one, whatever their number. The answer to a change of a group with more members than `limits.count` is 204, unless `attributes` or `excludedAttributes` says what it should have.
#[utoipa::path(patch, path = "/scim/v2/Groups/{id}", operation_id = "patchGroup", tag = "scim", params(("id" = String, Path, description = "The id"), ResourceParameters),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A PatchOp (RFC 7644 section 3.5.2)"),
    responses(
        (status = 200, description = "The Group", body = Value, content_type = "application/scim+json"),
        (status = 204, description = "A group with more members than an answer may have"),
    ))]
pub(in crate::routes) async fn patch(
    asked: Asked,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    Box::pin(asked.patch(GROUP, &id, &body)).await
}

/// Deletes a group
#[utoipa::path(delete, path = "/scim/v2/Groups/{id}", operation_id = "deleteGroup", tag = "scim", params(("id" = String, Path, description = "The id")),
    security(("bearer" = ["scim.write"]), ("certificate" = ["scim.write"])),
    responses((status = 204, description = "It is deleted")))]
pub(in crate::routes) async fn delete(asked: Asked, Path(id): Path<String>) -> Result<Response, ApiError> {
    asked.delete(GROUP, &id).await
}
