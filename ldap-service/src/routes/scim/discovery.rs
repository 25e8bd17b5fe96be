//! `/scim/v2/ServiceProviderConfig`, `/Schemas`, `/ResourceTypes` (RFC 7644 section 4)

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use super::{Asked, answer, list_of, one_of};
use crate::error::ApiError;
use crate::scim::documents;
use crate::scim::store::Store;

/// What the service can do
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", operation_id = "getServiceProviderConfig", tag = "scim",
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "The ServiceProviderConfig", body = Value, content_type = "application/scim+json"),
        (status = 400, description = "A parameter is not valid", body = Value, content_type = "application/scim+json"),
    ))]
pub(in crate::routes) async fn config(asked: Asked) -> Result<Response, ApiError> {
    let of =
        |store: &Store<'_>| vec![documents::service_provider_config(store.base(), asked.abilities(store))];
    let config = asked.documents(of)?;
    Ok(answer(StatusCode::OK, config.first().unwrap_or(&Value::Null)))
}

fn all_schemas(asked: &Asked) -> Result<Vec<Value>, ApiError> {
    asked.documents(|store| documents::schemas(store.base(), &store.mappings()))
}

fn all_types(asked: &Asked) -> Result<Vec<Value>, ApiError> {
    asked.documents(|store| documents::resource_types(store.base(), &store.mappings()))
}

/// The schemas
#[utoipa::path(get, path = "/scim/v2/Schemas", operation_id = "listSchemas", tag = "scim",
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "A ListResponse of the schemas: what is mapped", body = Value, content_type = "application/scim+json"),
        (status = 400, description = "A parameter is not valid", body = Value, content_type = "application/scim+json"),
    ))]
pub(in crate::routes) async fn schemas(asked: Asked) -> Result<Response, ApiError> {
    Ok(list_of(&all_schemas(&asked)?))
}

/// A schema
#[utoipa::path(get, path = "/scim/v2/Schemas/{id}", operation_id = "getSchema", tag = "scim", params(("id" = String, Path, description = "The URI of the schema")),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "The schema", body = Value, content_type = "application/scim+json"),
        (status = 400, description = "A parameter is not valid", body = Value, content_type = "application/scim+json"),
        (status = 404, description = "There is no such schema", body = Value, content_type = "application/scim+json"),
    ))]
pub(in crate::routes) async fn schema(asked: Asked, Path(id): Path<String>) -> Result<Response, ApiError> {
    one_of(all_schemas(&asked)?, &id)
}

/// The resource types
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", operation_id = "listResourceTypes", tag = "scim",
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "A ListResponse of the resource types", body = Value, content_type = "application/scim+json"),
        (status = 400, description = "A parameter is not valid", body = Value, content_type = "application/scim+json"),
    ))]
pub(in crate::routes) async fn types(asked: Asked) -> Result<Response, ApiError> {
    Ok(list_of(&all_types(&asked)?))
}

/// A resource type
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{id}", operation_id = "getResourceType", tag = "scim", params(("id" = String, Path, description = "`User` or `Group`")),
    security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    responses(
        (status = 200, description = "The resource type", body = Value, content_type = "application/scim+json"),
        (status = 400, description = "A parameter is not valid", body = Value, content_type = "application/scim+json"),
        (status = 404, description = "There is no such resource type", body = Value, content_type = "application/scim+json"),
    ))]
pub(in crate::routes) async fn resource_type(
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    one_of(all_types(&asked)?, &id)
}
