//! Health: `/health/live`, `/health/ready`, `/api/v1/health`, `/metrics`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use ldap_directory::Directory;
use ldap_directory::client::probe::Grade;
use ldap_directory::text::printable;
use serde_json::{Value, json};

use super::schemas::{HealthReport, Live, Problem, Ready};
use crate::caller::Caller;
use crate::check::{self, Finding};
use crate::config::Scope;
use crate::error::ApiError;
use crate::service::{App, Current, Service};

/// The most accounts that a check names.
const MOST_NAMED: usize = 10;
/// The longest time of one check.
const PATIENCE: Duration = Duration::from_secs(3);

/// The process runs
#[utoipa::path(get, path = "/health/live", operation_id = "live", tag = "health", responses(
    (status = 200, description = "The process runs", body = Live)
))]
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Requests can be answered now
#[utoipa::path(get, path = "/health/ready", operation_id = "ready", tag = "health", responses(
    (status = 200, description = "The directory answers, accepts the service's own bind, and has what logins and SCIM need", body = Ready),
    (status = 503, description = "It does not, or the process is stopping; or there are too many requests (a `Problem`)", content(
        (Ready = "application/json"), (Problem = "application/problem+json"))
    )
))]
pub(super) async fn ready(State(app): State<App>, Current(service): Current) -> Response {
    // Anybody may ask, as often as they like: without reasons, and the directory is asked once a second.
    let answers = service.readiness.get(|| async {
        checks(&service).await.iter().all(|check| check["ok"] == true) && fits(&service).await
    });
    let is_ready = answers.await && !app.is_stopping();
    answer(is_ready, json!({"status": if is_ready { "ready" } else { "not_ready" }}))
}

/// Named checks of the directory
#[utoipa::path(get, path = "/api/v1/health", operation_id = "health", tag = "health", security(("bearer" = ["health"]), ("certificate" = ["health"])), responses(
    (status = 200, description = "All checks succeed", body = HealthReport),
    (status = 503, description = "A check fails; or there are too many requests (a `Problem`)", content(
        (HealthReport = "application/json"), (Problem = "application/problem+json"))
    )
))]
pub(super) async fn report(
    State(app): State<App>,
    Current(service): Current,
    caller: Caller,
) -> Result<Response, ApiError> {
    caller.require(Scope::Health)?;
    let report = status(&app, &service).await;
    Ok(answer(report["status"] == "healthy", report))
}

/// Returns the health report.
pub(super) async fn status(app: &App, service: &Service) -> Value {
    let mut checks = checks(service).await;
    if checks.iter().all(|check| check["ok"] == true)
        && let Some(directory) = service.directory.any()
    {
        checks.extend(configuration(service, &directory).await);
    }
    if let Some(trouble) = app.reload_trouble() {
        // The earlier one works.
        checks
            .push(json!({"name": "reload", "ok": true, "detail": *trouble, "result": Grade::Warning.word()}));
    }
    checks.extend(still_enabled(service));
    let is_healthy = !app.is_stopping() && checks.iter().all(|check| check["ok"] == true);
    json!({
        "status": if is_healthy { "healthy" } else { "unhealthy" },
        "name": "ldap-service",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started().elapsed().as_secs(),
        "stopping": app.is_stopping(),
        "auth_enabled": service.config.auth_enabled,
        "writes_enabled": service.config.write.is_some(),
        "checks": checks,
    })
}

/// Metrics in Prometheus' text format
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health", security(("bearer" = ["health"]), ("certificate" = ["health"])), responses(
    (status = 200, description = "Metrics", body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.require(Scope::Health)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics().text()).into_response())
}

fn answer(is_good: bool, body: Value) -> Response {
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Returns the checks: connect, bind, search, schema.
async fn checks(service: &Service) -> Vec<Value> {
    let trouble = service.directory.trouble();
    let Some(directory) = service.directory.any().filter(|_| trouble.is_none()) else {
        let reason = trouble.unwrap_or_default();
        return vec![json!({"name": "connect", "ok": false, "detail": reason})];
    };
    let began = Instant::now();
    let asked = async {
        // A connection that was lost is opened and bound again.
        directory.read("", &["1.1"]).await?;
        let reached = began.elapsed();
        let base = directory.read(&service.config.users.base_dn, &["1.1"]).await?;
        Ok::<_, ldap_directory::DirectoryError>((reached, base.is_some()))
    };
    let (reached, has_base) = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let name = if error.is_connection() { "connect" } else { "search" };
            return vec![json!({"name": name, "ok": false, "detail": error.to_string()})];
        }
        Err(_) => {
            let detail = format!("no answer within {} s", PATIENCE.as_secs());
            return vec![json!({"name": "connect", "ok": false, "detail": detail})];
        }
    };
    let base = &service.config.users.base_dn;
    let seen = if has_base { "is there" } else { "is not there, or the service's user may not see it" };
    let schema = directory.schema();
    vec![
        json!({"name": "connect", "ok": true, "detail": directory.location(), "milliseconds": milliseconds(reached)}),
        json!({"name": "bind", "ok": true, "detail": "the service's own bind is accepted"}),
        json!({"name": "search", "ok": has_base, "detail": format!("users.base_dn `{base}` {seen}"),
            "milliseconds": milliseconds(began.elapsed().saturating_sub(reached))}),
        json!({"name": "schema", "ok": !schema.is_empty(),
            "detail": format!("{} attribute types, {} classes", schema.attribute_types().len(), schema.object_classes().len())}),
    ]
}

/// Whether logins and SCIM can succeed: a configuration with which every right password is refused is not ready, nor is a user of the
/// service that may not read what answers depend on.
async fn fits(service: &Service) -> bool {
    let Some(directory) = service.directory.any() else { return false };
    let checked = tokio::time::timeout(PATIENCE, check::essential(&service.config, &directory)).await;
    matches!(checked, Ok(Ok(found)) if found.iter().all(|finding| finding.grade != Grade::Failed))
}

/// Returns the checks of the configuration against the directory.
async fn configuration(service: &Service, directory: &Directory) -> Vec<Value> {
    match tokio::time::timeout(PATIENCE, check::all(&service.config, directory)).await {
        // The base of the users is among the checks before.
        Ok(Ok(found)) => {
            found.iter().filter(|finding| finding.name != "users.base_dn").map(Finding::to_json).collect()
        }
        Ok(Err(error)) => vec![json!({"name": "search", "ok": false, "detail": error.to_string()})],
        Err(_) => {
            let detail = format!("no answer within {} s", PATIENCE.as_secs());
            vec![json!({"name": "search", "ok": false, "detail": detail})]
        }
    }
}

/// Returns the check that fails while accounts are enabled that should be disabled: a process was killed, and their locks could not be
/// written since.
fn still_enabled(service: &Service) -> Option<Value> {
    let locks = service.writer.state().owed.locks();
    let named = locks.iter().take(MOST_NAMED).map(|owed| format!("`{}` on {}", owed.dn, owed.server));
    let named = named.collect::<Vec<_>>().join(", ");
    let detail = format!(
        "{} account(s) should be disabled, and are enabled, for a process was killed: {named}; their locks are tried again until they are written",
        locks.len()
    );
    (!locks.is_empty())
        .then(|| json!({"name": "disabled_accounts", "ok": false, "detail": printable(&detail)}))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
