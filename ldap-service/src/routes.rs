//! The table of routes. The OpenAPI document is made of it.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Config;
use crate::error::ApiError;
use crate::service::App;
use crate::write;

mod auth;
mod body;
mod docs;
mod document;
mod health;
mod ldif;
mod plugin;
mod schemas;
mod scim;
mod search;

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
        (name = "plugin", description = "Operations by name, in one form"),
        (name = "health", description = "Health and metrics"),
        (name = "docs", description = "This interface, for programs and people"),
    ),
    components(schemas(schemas::Problem))
)]
struct Document;

/// Returns the routes of a configuration, with their document.
fn table(config: Option<&Config>) -> OpenApiRouter<App> {
    let has_login = config.is_none_or(|config| config.auth_enabled);
    let router = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::report))
        .routes(routes!(health::metrics))
        .routes(routes!(search::search_users))
        .routes(routes!(plugin::execute))
        .routes(routes!(docs::document))
        .routes(routes!(docs::page))
        .routes(routes!(ldif::export))
        .routes(routes!(ldif::import))
        .merge(scim_table());
    if !has_login {
        return router;
    }
    router
        .routes(routes!(auth::login))
        .routes(routes!(auth::me))
        .routes(routes!(auth::forward::forward))
        .routes(routes!(auth::page::get, auth::page::post))
        .routes(routes!(auth::page::logout))
}

fn scim_table() -> OpenApiRouter<App> {
    use scim::{discovery, groups, me, users};
    OpenApiRouter::new()
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::search))
        .routes(routes!(users::get, users::replace, users::patch, users::delete))
        .routes(routes!(groups::list, groups::create))
        .routes(routes!(groups::search))
        .routes(routes!(groups::get, groups::replace, groups::patch, groups::delete))
        .routes(routes!(scim::search))
        .routes(routes!(me::get))
        .routes(routes!(discovery::config))
        .routes(routes!(discovery::schemas))
        .routes(routes!(discovery::schema))
        .routes(routes!(discovery::types))
        .routes(routes!(discovery::resource_type))
}

/// Returns the router of a configuration.
pub fn router(config: &Config, app: App) -> Router {
    let (router, document) = table(Some(config)).split_for_parts();
    docs::add(router, &document::of(&document))
        .route_layer(axum::middleware::from_fn(note_route))
        .fallback(|| async { ApiError::not_found("there is no such route: see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            let detail = "the route has no such method: see /openapi.json";
            ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .with_state(app)
}

/// Notes the matched route in the response, for log and metrics; and the undo files of what the request changed.
async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (mut response, undo_files) = write::noting_undo_files(next.run(request)).await;
    for file in undo_files.iter().filter_map(|file| HeaderValue::from_str(file).ok()) {
        response.headers_mut().append(write::UNDO_FILE, file);
    }
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
    serde_json::to_string_pretty(&document::of(&table(None).into_openapi()))
}
