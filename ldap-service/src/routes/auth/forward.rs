//! `GET /api/v1/auth/forward`: a reverse proxy asks who sends a request, and whether the user has a role.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};

use super::{basic, check, identity_headers, proven};
use crate::error::ApiError;
use crate::login::{Credentials, User};
use crate::service::{App, Client, Current, Service};

/// The challenge for a client that sent HTTP Basic.
const BASIC: &str = "Basic realm=\"ldap-service\", charset=\"UTF-8\"";

/// Answer a reverse proxy: who sends this request?
///
/// By the cookie of the login page, if its session is valid; else by a bearer token or HTTP Basic. 200 has the headers `Remote-User`, `Remote-Name`, `Remote-Email`,
/// `Remote-Groups` (the roles, with commas) and `Remote-Id`, always all of them; values are percent-encoded where they are not ASCII. 401 has
/// `WWW-Authenticate: Basic` only for a client that sent HTTP Basic, else `Bearer`, for which no browser shows a dialog.
#[utoipa::path(get, path = "/api/v1/auth/forward", tag = "login", security((), ("basic" = []), ("bearer" = []), ("session" = [])),
    params(("role" = Option<String>, Query, description = "The role that the user must have; of several, one is enough")),
    responses(
        (status = 200, description = "A user with the role", headers(
            ("Remote-User" = String, description = "The login name, as the entry spells it"),
            ("Remote-Name" = String, description = "The display name"),
            ("Remote-Email" = String, description = "The mail address"),
            ("Remote-Groups" = String, description = "The roles, separated by commas"),
            ("Remote-Id" = String, description = "The immutable id"))),
        (status = 400, description = "The query has another parameter than `role` (`invalid_query`)", body = Value, content_type = "application/problem+json"),
        (status = 401, description = "No user, or a wrong password", body = Value, content_type = "application/problem+json"),
        (status = 403, description = "The user lacks the role (`role_missing`), or the account cannot be used", body = Value, content_type = "application/problem+json"),
        (status = 429, description = "Too many logins have failed", body = Value, content_type = "application/problem+json"),
        (status = 500, description = "A header would be too long (`header_too_large`)", body = Value, content_type = "application/problem+json"),
        (status = 503, description = "The directory cannot tell", body = Value, content_type = "application/problem+json")
))]
pub(in crate::routes) async fn forward(
    State(app): State<App>,
    Current(service): Current,
    client: Client,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let roles = roles(&query)?;
    let user = whose(&app, &service, &client, &headers).await?;
    if !roles.is_empty() && !roles.iter().any(|role| user.roles.iter().any(|own| own == role)) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "role_missing", "the user does not have the role"));
    }
    let identity = identity_headers::of(&user, service.config.limits.header_bytes)?;
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().extend(identity);
    Ok(response)
}

/// Returns the roles of a query. Whoever wrote `roles` or `Role` has meant a role, and would let everybody pass.
fn roles(query: &str) -> Result<Vec<Cow<'_, str>>, ApiError> {
    let role = |(name, value): (Cow<'_, str>, _)| {
        if name == "role" {
            return Ok(value);
        }
        let detail = format!("the query has only `role`, and not `{}`", name.escape_debug());
        Err(ApiError::bad_request("invalid_query", detail))
    };
    form_urlencoded::parse(query.as_bytes()).map(role).collect()
}

/// Returns the user of a request: of its session; else of its bearer token, or of HTTP Basic.
async fn whose(
    app: &App,
    service: &Arc<Service>,
    client: &Client,
    headers: &HeaderMap,
) -> Result<User, ApiError> {
    if let Some(user) = proven(service, client, headers).await? {
        return Ok(user);
    }
    if let Some(basic) = basic(headers) {
        // Each request binds: the few logins that an expired password allows would be gone with the first page.
        let begun = match &basic.password {
            Some(password) => {
                let directory = service.directory.get()?;
                Some(service.login.begin_basic(&service.config, &directory, &basic.name, password)?)
            }
            None => None,
        };
        let credentials =
            Credentials { name: basic.name, password: basic.password, address: Some(client.address) };
        return match check(app, service, credentials).await {
            Ok(logged_in) => {
                begun.map_or(Ok(()), |begun| begun.end(&logged_in.password))?;
                Ok(logged_in.user)
            }
            Err(error) if error.status == StatusCode::UNAUTHORIZED => {
                Err(ApiError { challenge: Some(BASIC), ..error })
            }
            Err(error) => Err(error),
        };
    }
    Err(ApiError::unauthorized())
}
