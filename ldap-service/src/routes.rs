//! The table of routes. The OpenAPI document is made of it.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Config;
use crate::error::ApiError;
use crate::service::App;

mod docs;
mod health;
mod ldif;

/// What the document says beside the routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "ldap-service",
        description = "Login, forward authentication, SCIM 2.0, search and LDIF over an LDAP directory.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "login", description = "Logins, sessions and forward authentication"),
        (name = "search", description = "Searches"),
        (name = "scim", description = "SCIM 2.0 (RFC 7643, RFC 7644, RFC 9865)"),
        (name = "ldif", description = "LDIF export and import"),
        (name = "health", description = "Health and metrics"),
    )
)]
struct Document;

/// Returns the routes of a configuration, with their document.
fn table(config: Option<&Config>) -> OpenApiRouter<App> {
    let mut document = Document::openapi();
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    let _has_login = config.is_none_or(|config| config.auth_enabled);
    OpenApiRouter::with_openapi(document)
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::report))
        .routes(routes!(health::metrics))
        .routes(routes!(ldif::export))
        .routes(routes!(ldif::import))
}

/// Returns the router of a configuration.
pub fn router(config: &Config, app: App) -> Router {
    let (router, document) = table(Some(config)).split_for_parts();
    docs::add(router, &document)
        .route_layer(axum::middleware::from_fn(note_route))
        .fallback(|| async { ApiError::not_found("there is no such route: see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            let detail = "the route has no such method: see /openapi.json";
            ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .with_state(app)
}

/// Notes the matched route in the response, for log and metrics.
async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Returns the OpenAPI 3.1 document of all routes, indented.
///
/// # Errors
/// It cannot be written as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    table(None).into_openapi().to_pretty_json()
}
