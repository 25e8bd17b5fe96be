//! LDIF: `GET /api/v1/ldap/export`, `POST /api/v1/ldap/import`.

use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use target_ldap::write::plan_output::{PlanFormat, PlanHeader, PlanOutput};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use crate::caller::Caller;
use crate::config::Scope;
use crate::error::ApiError;
use crate::filter::SafeFilter;
use crate::ldif::export::{Export, Pieces};
use crate::ldif::import::{Import, ImportError, Report, upload};
use crate::ldif::shared::chosen_bases;
use crate::search::check_filter;
use crate::service::{App, Current};
use crate::write::WriteError;

/// The most exports at once. Each has a connection to the directory for itself.
static EXPORTS: Semaphore = Semaphore::const_new(2);
/// The most imports at once.
static IMPORTS: Semaphore = Semaphore::const_new(4);
/// After this time an import answers with a body that begins before its end is known.
const PATIENCE: Duration = Duration::from_secs(20);
/// The interval of signs of life in such a body.
const BEAT: Duration = Duration::from_secs(10);
const LDIF: &str = "text/ldif; charset=utf-8";

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    /// The base DN, within a configured base. Without it, all that is below the configured bases
    base_dn: Option<String>,
    /// A search filter (RFC 4515). Default: all entries
    filter: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportQuery {
    /// Whether only the plan is made: nothing is written
    #[serde(default)]
    dry_run: bool,
}

fn overloaded(what: &str) -> ApiError {
    let detail = format!("too many {what} are in progress");
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
    ApiError { retry_after: Some(Duration::from_secs(10)), ..error }
}

fn permit(of: &'static Semaphore, what: &str) -> Result<SemaphorePermit<'static>, ApiError> {
    of.try_acquire().map_err(|_| overloaded(what))
}

/// Entries as LDIF content records
///
/// The last line of a whole export is `# end: N entries`. If the directory fails in the middle, the connection is aborted.
/// Secret attributes are left out.
#[utoipa::path(get, path = "/api/v1/ldap/export", tag = "ldif", params(ExportQuery), security(("bearer" = ["ldif.read"])), responses(
    (status = 200, description = "LDIF (RFC 2849)", body = String, content_type = "text/ldif"),
    (status = 400, description = "`base_dn` or `filter` is not valid, or a filter asks about a secret, or about an attribute or a class that the directory does not have", body = Value, content_type = "application/problem+json"),
    (status = 401, description = "The caller is not known", body = Value, content_type = "application/problem+json"),
    (status = 403, description = "The caller has no scope `ldif.read`, or `base_dn` is outside the configured bases", body = Value, content_type = "application/problem+json"),
    (status = 404, description = "`base_dn` does not exist", body = Value, content_type = "application/problem+json"),
    (status = 503, description = "The directory is down, or too many exports are in progress", body = Value, content_type = "application/problem+json")
))]
pub(super) async fn export(
    Current(service): Current,
    caller: Caller,
    query: Result<Query<ExportQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    caller.require(Scope::LdifRead)?;
    let Query(query) = query.map_err(|e| ApiError::bad_request("invalid_query", e.body_text()))?;
    let directory = service.directory.get()?;
    let bases = chosen_bases(query.base_dn.as_deref(), &service.config, &directory)?;
    let filter = match query.filter.as_deref() {
        Some(text) => {
            let filter = SafeFilter::parse(text, &service.config.limits, &directory)?;
            check_filter(&filter, &directory)?;
            filter
        }
        None => SafeFilter::every_entry(),
    };
    let permit = permit(&EXPORTS, "exports")?;
    tracing::info!(caller = caller.name.as_str(), "export: begun");
    // What is computed is no content of an entry: an import of it would be.
    let pieces = Export { bases, filter }.begin(&directory.own_values()).await?;
    let headers =
        [(header::CONTENT_TYPE, LDIF), (header::CONTENT_DISPOSITION, "attachment; filename=\"export.ldif\"")];
    Ok((headers, body(pieces, Some(permit))).into_response())
}

/// Returns the body of pieces. The permit is held until it ends.
fn body(pieces: Pieces, permit: Option<SemaphorePermit<'static>>) -> Body {
    use futures_util::StreamExt as _;
    let stream = ReceiverStream::new(pieces).map(move |piece| {
        let _held = &permit;
        piece
    });
    Body::from_stream(stream)
}

/// Content or change records are carried out, or planned
///
/// Content records: an entry is added, or changed to have the attributes of the record; others are left alone. Change records
/// (RFC 2849) are carried out in their order. Nothing outside the configured bases is changed. With `dry_run=true` the answer is
/// the plan: LDIF, or a page with `Accept: text/html`, or numbers with `Accept: application/json`.
///
/// An import of more than 20 seconds answers 200 at once, with a body that ends with the report: look at its `complete`.
#[utoipa::path(post, path = "/api/v1/ldap/import", tag = "ldif", params(ImportQuery),
    request_body(content = String, content_type = "text/ldif", description = "LDIF (RFC 2849)"),
    security(("bearer" = ["ldif.write"])), responses(
    (status = 200, description = "Numbers of records by outcome, rejects with lines and reasons, and the undo file; or the plan", content((Value = "application/json"), (String = "text/ldif"), (String = "text/html"))),
    (status = 400, description = "The body is not LDIF, or was cut off", body = Value, content_type = "application/problem+json"),
    (status = 401, description = "The caller is not known", body = Value, content_type = "application/problem+json"),
    (status = 403, description = "The caller has no scope `ldif.write`, writes are disabled, or more would be deleted than `write.max_deletes`", body = Value, content_type = "application/problem+json"),
    (status = 408, description = "The body did not go on within `limits.request_seconds`", body = Value, content_type = "application/problem+json"),
    (status = 413, description = "The body is larger than `limits.import_bytes`", body = Value, content_type = "application/problem+json"),
    (status = 415, description = "The body is not `text/ldif`", body = Value, content_type = "application/problem+json"),
    (status = 429, description = "The deletions of this hour are used up (`write.max_deletes`)", body = Value, content_type = "application/problem+json"),
    (status = 503, description = "The directory is down, or too many imports are in progress; `report` says what was done", body = Value, content_type = "application/problem+json"),
    (status = 507, description = "The undo file cannot be written; `report` says what was done", body = Value, content_type = "application/problem+json")
))]
pub(super) async fn import(
    State(app): State<App>,
    Current(service): Current,
    caller: Result<Caller, ApiError>,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let caller = caller?;
    caller.require(Scope::LdifWrite)?;
    let Query(ImportQuery { dry_run }) =
        query.map_err(|e| ApiError::bad_request("invalid_query", e.body_text()))?;
    check_type(&headers)?;
    service.writer.undo_dir()?;
    let (permit, directory) = (permit(&IMPORTS, "imports")?, service.directory.get()?);
    let answer = Answer::of(&headers, dry_run);
    let writer = service.writer.clone();
    let limits = &service.config.limits;
    let file = upload::receive(body, limits.import_bytes, limits.request_time()).await?;
    tracing::info!(caller = caller.name.as_str(), dry_run, "import: begun");
    let is_stopping = Arc::new(move || app.is_stopping());
    let import = Import { writer: writer.clone(), directory, file, is_stopping };
    let mut work = tokio::spawn(async move {
        let _permit = permit;
        // The same for all: a caller that goes away does not interrupt it.
        writer
            .detached(async move { Ok(answer.produce(import).await) })
            .await
            .unwrap_or_else(|e| Err(e.into()))
    });
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return match done {
            Ok(Ok(produced)) => Ok(produced.whole(answer)),
            Ok(Err(error)) => Err(refused(error)),
            Err(_) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")),
        };
    }
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(answer.beat(work, sender));
    Ok(([(header::CONTENT_TYPE, answer.content_type())], self::body(pieces, None)).into_response())
}

/// Checks the type of the body. Without one, it is taken for LDIF.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = ["text/ldif", "application/ldif", "text/x-ldif", "text/plain", "application/octet-stream"];
    if known.contains(&kind.as_str()) {
        return Ok(());
    }
    let detail = format!("the body is `{kind}`; expected text/ldif");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// The form of the answer of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A run: numbers.
    Run,
    /// A plan: numbers.
    Numbers,
    /// A plan as LDIF.
    Ldif,
    /// A plan as a page.
    Page,
}

/// What an import produced.
enum Produced {
    Report(Report),
    /// A plan, in a temporary file.
    File(std::fs::File),
}

impl Answer {
    fn of(headers: &HeaderMap, dry_run: bool) -> Answer {
        if !dry_run {
            return Answer::Run;
        }
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        for kind in kinds {
            match kind {
                "text/html" => return Answer::Page,
                "application/json" => return Answer::Numbers,
                "text/ldif" => return Answer::Ldif,
                _ => {}
            }
        }
        Answer::Ldif
    }

    fn content_type(self) -> &'static str {
        match self {
            Answer::Run | Answer::Numbers => "application/json",
            Answer::Ldif => LDIF,
            Answer::Page => "text/html; charset=utf-8",
        }
    }

    /// Returns octets that mean nothing in the form of the answer.
    fn sign_of_life(self) -> &'static [u8] {
        match self {
            Answer::Run | Answer::Numbers | Answer::Page => b"\n",
            Answer::Ldif => b"#\n",
        }
    }

    async fn produce(self, import: Import) -> Result<Produced, ImportError> {
        let format = match self {
            Answer::Run => return import.carry_out().await.map(Produced::Report),
            Answer::Numbers => return import.plan(None).await.map(Produced::Report),
            Answer::Ldif => PlanFormat::Ldif,
            Answer::Page => PlanFormat::Html,
        };
        let kept = |e: io::Error| {
            tracing::error!("import: a temporary file for the plan: {e}");
            WriteError::new(crate::write::WriteErrorKind::Internal, "the plan cannot be kept")
        };
        let file = tempfile::tempfile().map_err(kept)?;
        let written = file.try_clone().map_err(kept)?;
        let header = PlanHeader {
            command: "POST /api/v1/ldap/import".to_owned(),
            command_note: "With the same file, and without dry_run.",
            ..PlanHeader::of(&import.directory)
        };
        let out = Box::new(io::BufWriter::new(written));
        let output = Arc::new(PlanOutput::new(format, false, out).with_header(header));
        let report = import.plan(Some(output.clone())).await?;
        output.finish(true).map_err(|e| kept(io::Error::other(e.to_string())))?;
        drop(output);
        if self == Answer::Ldif {
            use std::io::Write as _;
            let Report { added, modified, renamed, deleted, unchanged, rejected, .. } = report;
            writeln!(&file, "# end: {added} to add, {modified} to modify, {renamed} to rename, {deleted} to delete, {unchanged} unchanged, {rejected} refused").map_err(kept)?;
        }
        Ok(Produced::File(file))
    }

    /// Sends signs of life until the work ends, then its answer.
    async fn beat(
        self,
        mut work: tokio::task::JoinHandle<Result<Produced, ImportError>>,
        sender: mpsc::Sender<Result<Bytes, io::Error>>,
    ) {
        let produced = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(BEAT) => {
                    // A client that has gone does not stop the import.
                    let _ = sender.send(Ok(Bytes::from_static(self.sign_of_life()))).await;
                }
            }
        };
        let last = match produced {
            Ok(Ok(Produced::Report(report))) => Ok(json!(report)),
            Ok(Ok(Produced::File(file))) => return send_file(file, &sender).await,
            Ok(Err(error)) => {
                let error = refused(error);
                Ok(json!({"complete": false, "status": error.status.as_u16(), "code": error.code,
                    "detail": error.detail, "report": error.fields.get("report")}))
            }
            Err(_) => Err(io::Error::other("internal error")),
        };
        let is_json = self.content_type() == "application/json";
        let last = match last {
            Ok(value) if is_json => Ok(Bytes::from(value.to_string())),
            // A plan that is not whole: the connection is aborted.
            Ok(value) => Err(io::Error::other(value.to_string())),
            Err(error) => Err(error),
        };
        let _ = sender.send(last).await;
    }
}

impl Produced {
    fn whole(self, answer: Answer) -> Response {
        let content_type = [(header::CONTENT_TYPE, answer.content_type())];
        match self {
            Produced::Report(report) => (content_type, Json(report)).into_response(),
            Produced::File(file) => {
                let (sender, pieces) = mpsc::channel(2);
                tokio::spawn(async move { send_file(file, &sender).await });
                (content_type, body(pieces, None)).into_response()
            }
        }
    }
}

/// Sends a file piece by piece.
async fn send_file(file: std::fs::File, sender: &mpsc::Sender<Result<Bytes, io::Error>>) {
    let sender = sender.clone();
    let sending = move || {
        let mut file = file;
        let mut buffer = vec![0; 64 * 1024];
        if let Err(e) = file.rewind() {
            let _ = sender.blocking_send(Err(e));
            return;
        }
        loop {
            let piece = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => Ok(Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default())),
                Err(e) => Err(e),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    };
    let _ = tokio::task::spawn_blocking(sending).await;
}

/// Returns the error of an import, with what was done.
fn refused(error: ImportError) -> ApiError {
    let ImportError { error, report } = error;
    let refused = ApiError::from(error);
    match report {
        Some(report) => refused.with("report", json!(report)),
        None => refused,
    }
}
