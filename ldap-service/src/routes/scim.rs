//! SCIM 2.0: `/scim/v2` (RFC 7644).

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::config::Scope;
use crate::error::ApiError;
use crate::scim::documents::Abilities;
use crate::scim::error::{ScimError, ScimType};
use crate::scim::listing::{DEFAULT_COUNT, LIST_RESPONSE, ListQuery};
use crate::scim::mapping::ResourceType;
use crate::scim::projection::Projection;
use crate::scim::store::{Found, Store, Written};
use crate::service::{Client, Current};

pub(super) mod discovery;
pub(super) mod groups;
pub(super) mod me;
pub(super) mod users;

/// The path of all SCIM routes.
const BASE: &str = "/scim/v2";
/// The media type (RFC 7644 section 8.1).
const MEDIA: &str = "application/scim+json";

/// A request: who calls, and with what.
#[derive(Debug)]
pub(super) struct Asked {
    current: Current,
    caller: Caller,
    base: String,
    headers: HeaderMap,
    query: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let current = Current::from_request_parts(parts, state).await?;
        let caller = Caller::from_request_parts(parts, state).await?;
        let client = Client::from_request_parts(parts, state).await?;
        let base = base(current.0.config.public_url.as_deref(), &client);
        Ok(Self {
            current,
            caller,
            base,
            headers: parts.headers.clone(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
        })
    }
}

/// Returns the base of all URIs: of the setting, else with the host that the client asked for, if it is one.
fn base(public_url: Option<&str>, client: &Client) -> String {
    if let Some(url) = public_url {
        return format!("{url}{BASE}");
    }
    let host = client.host.as_deref().and_then(|host| host.parse::<http::uri::Authority>().ok());
    let scheme = if client.is_secure { "https" } else { "http" };
    match host.filter(|host| !host.as_str().contains('@')) {
        Some(host) => format!("{scheme}://{host}{BASE}"),
        None => BASE.to_owned(),
    }
}

impl Asked {
    /// Opens the store for a caller that may read.
    fn to_read(&self) -> Result<Store<'_>, ApiError> {
        self.caller.require(Scope::ScimRead)?;
        Store::open(&self.current.0, self.base.clone())
    }

    /// Opens the store for a caller that may write.
    fn to_write(&self) -> Result<Store<'_>, ApiError> {
        self.caller.require(Scope::ScimWrite)?;
        Store::open(&self.current.0, self.base.clone())
    }

    fn list_query(&self) -> Result<ListQuery, ApiError> {
        Ok(ListQuery::from_url(&self.query)?)
    }

    /// Returns the entity tags of a header (RFC 9110 section 8.8.3).
    fn tags(&self, name: &HeaderName) -> Result<Option<Vec<String>>, ApiError> {
        let mut tags: Option<Vec<String>> = None;
        for value in self.headers.get_all(name) {
            let Ok(text) = value.to_str() else {
                return Err(ScimError::value(format!("{name}: not an entity tag")).into());
            };
            let list = text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned);
            tags.get_or_insert_default().extend(list);
        }
        // RFC 9110 section 13.1: `*`, or a list of tags. With both, what the client knows of the resource is not known.
        if tags.as_ref().is_some_and(|tags| tags.len() > 1 && tags.iter().any(|tag| tag == "*")) {
            return Err(ScimError::value(format!("{name}: `*` stands alone, without entity tags")).into());
        }
        Ok(tags)
    }

    /// Returns the body as JSON.
    fn body(&self, body: &Bytes) -> Result<Value, ApiError> {
        super::body::must_be_json(&self.headers)?;
        let wrong = |detail| ScimError::new(ScimType::InvalidSyntax, detail);
        let body = crate::tokens::unique_json(body).map_err(wrong)?;
        match super::body::spelled_twice(&body) {
            Some(name) => {
                let detail =
                    format!("the body has `{}` twice in an object, in other letters", name.escape_debug());
                Err(wrong(detail).into())
            }
            None => Ok(body),
        }
    }

    async fn list(&self, resource: ResourceType) -> Result<Response, ApiError> {
        let listed = self.to_read()?.list(resource, &self.list_query()?).await?;
        Ok(answer(StatusCode::OK, &listed))
    }

    async fn search(&self, resource: Option<ResourceType>, body: &Bytes) -> Result<Response, ApiError> {
        let store = self.to_read()?;
        let query = ListQuery::from_body(&self.body(body)?)?;
        let listed = match resource {
            Some(resource) => store.list(resource, &query).await?,
            None => store.list_all(&query).await?,
        };
        Ok(answer(StatusCode::OK, &listed))
    }

    async fn get(&self, resource: ResourceType, id: &str) -> Result<Response, ApiError> {
        let store = self.to_read()?;
        let projection = self.list_query()?.projection;
        let found = store.get(resource, id, &projection).await?;
        let is_known = self.tags(&header::IF_NONE_MATCH)?.is_some_and(|known| found.is_any_of(&known));
        if is_known && !store.shows_others(resource, &projection)? {
            return Ok(with_version(StatusCode::NOT_MODIFIED.into_response(), found.version()));
        }
        resource_answer(StatusCode::OK, &store, resource, found, &projection)
    }

    async fn create(&self, resource: ResourceType, body: &Bytes) -> Result<Response, ApiError> {
        let store = self.to_write()?;
        let projection = self.list_query()?.projection;
        let found = store.create(resource, &self.body(body)?).await?;
        let location = found.location().and_then(|uri| HeaderValue::from_str(uri).ok());
        let mut response = resource_answer(StatusCode::CREATED, &store, resource, found, &projection)?;
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    /// Checks `If-None-Match` of a change (RFC 9110 section 13.1.2): the resource is there, and must not be one of these versions.
    async fn check_none_match(
        &self,
        store: &Store<'_>,
        resource: ResourceType,
        id: &str,
    ) -> Result<(), ApiError> {
        let Some(known) = self.tags(&header::IF_NONE_MATCH)? else { return Ok(()) };
        let found = store.get(resource, id, &Projection::default()).await?;
        if found.is_any_of(&known) {
            let detail = "the resource is a version of If-None-Match";
            return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail));
        }
        Ok(())
    }

    async fn replace(&self, resource: ResourceType, id: &str, body: &Bytes) -> Result<Response, ApiError> {
        let store = self.to_write()?;
        let projection = self.list_query()?.projection;
        let if_match = self.tags(&header::IF_MATCH)?;
        self.check_none_match(&store, resource, id).await?;
        let found = store.replace(resource, id, &self.body(body)?, if_match.as_deref()).await?;
        resource_answer(StatusCode::OK, &store, resource, found, &projection)
    }

    async fn patch(&self, resource: ResourceType, id: &str, body: &Bytes) -> Result<Response, ApiError> {
        let store = self.to_write()?;
        let projection = self.list_query()?.projection;
        let if_match = self.tags(&header::IF_MATCH)?;
        self.check_none_match(&store, resource, id).await?;
        match store.patch(resource, id, &self.body(body)?, if_match.as_deref(), &projection).await? {
            Written::Resource(found) => {
                resource_answer(StatusCode::OK, &store, resource, *found, &projection)
            }
            Written::WithoutBody { version } => {
                Ok(with_version(StatusCode::NO_CONTENT.into_response(), version.as_deref()))
            }
        }
    }

    async fn delete(&self, resource: ResourceType, id: &str) -> Result<Response, ApiError> {
        let store = self.to_write()?;
        // A parameter that is not understood may have asked for less than a deletion.
        self.list_query()?;
        let if_match = self.tags(&header::IF_MATCH)?;
        self.check_none_match(&store, resource, id).await?;
        store.delete(resource, id, if_match.as_deref()).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Returns the discovery documents of a kind.
    fn documents(&self, of: impl FnOnce(&Store<'_>) -> Vec<Value>) -> Result<Vec<Value>, ApiError> {
        let store = self.to_read()?;
        if self.list_query()?.filter.is_some() {
            // RFC 7644 section 4.
            let detail = "the discovery endpoints have no filter";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "no_filter", detail));
        }
        Ok(of(&store))
    }

    fn abilities(&self, store: &Store<'_>) -> Abilities {
        let config = &self.current.0.config;
        let users = store.mapping(ResourceType::User).ok();
        let count = config.limits.count;
        Abilities {
            writes: config.write.is_some(),
            passwords: users.is_some_and(|m| m.attributes.iter().any(|a| a.name == "password")),
            count,
            default_count: DEFAULT_COUNT.min(count),
        }
    }
}

/// Returns a resource as an answer, with its version.
fn resource_answer(
    status: StatusCode,
    store: &Store<'_>,
    resource: ResourceType,
    mut found: Found,
    projection: &Projection,
) -> Result<Response, ApiError> {
    let version = found.version().map(str::to_owned);
    let location = found.location().and_then(|uri| HeaderValue::from_str(uri).ok());
    projection.apply(store.mapping(resource)?, &mut found.resource);
    let mut response = answer(status, &found.resource);
    if let Some(location) = location {
        response.headers_mut().insert(header::CONTENT_LOCATION, location);
    }
    Ok(with_version(response, version.as_deref()))
}

fn with_version(mut response: Response, version: Option<&str>) -> Response {
    if let Some(version) = version.and_then(|version| HeaderValue::from_str(version).ok()) {
        response.headers_mut().insert(header::ETAG, version);
    }
    response
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, MEDIA)], body.to_string()).into_response()
}

/// Returns documents as a ListResponse.
fn list_of(documents: &[Value]) -> Response {
    let list = json!({
        "schemas": [LIST_RESPONSE],
        "totalResults": documents.len(),
        "startIndex": 1,
        "itemsPerPage": documents.len(),
        "Resources": documents,
    });
    answer(StatusCode::OK, &list)
}

/// Returns the document with an id, in any case.
fn one_of(documents: Vec<Value>, id: &str) -> Result<Response, ApiError> {
    let has_id =
        |document: &Value| document["id"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(id));
    let found = documents.into_iter().find(has_id);
    let missing = || ApiError::not_found(format!("there is no `{}`", id.escape_debug()));
    found.map(|document| answer(StatusCode::OK, &document)).ok_or_else(missing)
}

/// Searches users and groups
///
/// The body is a SearchRequest. Without `sortBy` and `cursor`: users come first, then groups, each in the order of its ids. A filter that one
/// of the two types does not have is refused.
#[utoipa::path(post, path = "/scim/v2/.search", operation_id = "scimSearch", tag = "scim", security(("bearer" = ["scim.read"]), ("certificate" = ["scim.read"])),
    request_body(content = Value, content_type = "application/scim+json", description = "A SearchRequest (RFC 7644 section 3.4.3)"),
    responses((status = 200, description = "A ListResponse", body = Value, content_type = "application/scim+json")))]
pub(super) async fn search(asked: Asked, body: Bytes) -> Result<Response, ApiError> {
    asked.search(None, &body).await
}

/// The parameters of a list.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "for the document: parameters are parsed without regard to case")]
struct ListParameters {
    /// A filter (RFC 7644 section 3.4.2.2)
    filter: Option<String>,
    /// The attribute that the list is sorted by. Default: `id`
    sort_by: Option<String>,
    /// `ascending` or `descending`
    sort_order: Option<String>,
    /// The position of the first resource, from 1
    start_index: Option<i64>,
    /// The most resources in the answer
    count: Option<i64>,
    /// `nextCursor` of the page before; empty for the first page (RFC 9865)
    cursor: Option<String>,
    /// The attributes that the answer has, separated by commas
    attributes: Option<String>,
    /// The attributes that the answer does not have, separated by commas
    excluded_attributes: Option<String>,
}

/// The parameters of an answer with one resource.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "for the document: parameters are parsed without regard to case")]
struct ResourceParameters {
    /// The attributes that the answer has, separated by commas
    attributes: Option<String>,
    /// The attributes that the answer does not have, separated by commas
    excluded_attributes: Option<String>,
}
