//! Traces: spans to a collector, over OTLP (HTTP, protobuf).
//! There is one span for the run, for each stream, connection, search, and batch of writes.
//! Pending spans wait in the SDK's bounded queue, and a separate thread sends them.
//! A slow or unreachable collector loses spans and never delays the run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use http::Uri;
use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};

use super::instruments::failure_text;
use crate::operations::settings_error::SettingsError;
use ldap_directory::DirectoryError;

/// The timeout of one request to the collector.
const SEND: Duration = Duration::from_secs(3);
/// The longest wait for pending spans at the end of a run.
const LAST_SEND: Duration = Duration::from_secs(5);
/// The most pending spans; further ones are lost.
const QUEUE: usize = 2048;
/// The most writes in one batch's span, and its longest duration.
const BATCH: (u64, Duration) = (1000, Duration::from_secs(1));

static TRACING: OnceLock<Tracing> = OnceLock::new();

#[derive(Debug)]
struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// The run's span.
    root: Context,
    /// The span of the current stream.
    stream: Mutex<Option<Context>>,
}

/// Returns the URL of the collector. The setting is a base URL, as in OTEL_EXPORTER_OTLP_ENDPOINT, or the full one.
pub(super) fn endpoint(text: &str) -> Result<String, SettingsError> {
    let wrong = |problem: &str| {
        let expected = "the URL of an OTLP receiver over HTTP, for example http://127.0.0.1:4318; what it wants in headers belongs in the environment variable OTEL_EXPORTER_OTLP_HEADERS";
        SettingsError::value("otlp_endpoint", problem.to_owned(), expected)
    };
    let uri: Uri = text.trim().parse().map_err(|_| wrong("not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("not a URL that begins with http:// or https://"));
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(wrong("a user or password in the URL would be shown"));
    }
    let text = text.trim().trim_end_matches('/');
    Ok(if uri.path().ends_with("/v1/traces") { text.to_owned() } else { format!("{text}/v1/traces") })
}

/// Begins the run's span.
pub(super) fn start(name: &'static str, endpoint: &str) {
    match open(name, endpoint) {
        Ok(tracing) => drop(TRACING.set(tracing)),
        Err(e) => tracing::warn!("no traces are sent: {e}"),
    }
}

fn open(name: &'static str, endpoint: &str) -> Result<Tracing, Box<dyn std::error::Error>> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(endpoint))
        .with_endpoint(endpoint)
        .with_timeout(SEND)
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(Duration::from_secs(2))
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    // OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME of the environment apply.
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none_or(|v| v.is_empty()) {
        resource = resource.with_service_name(name);
    }
    let resource =
        resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let provider =
        SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
    let tracer = provider.tracer(name);
    let carrier: std::collections::HashMap<String, String> = ["TRACEPARENT", "TRACESTATE"]
        .into_iter()
        .filter_map(|key| Some((key.to_ascii_lowercase(), std::env::var(key).ok()?)))
        .collect();
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let root = tracer.span_builder(name).with_kind(SpanKind::Internal).start_with_context(&tracer, &parent);
    let root = parent.with_span(root);
    Ok(Tracing { provider, tracer, root, stream: Mutex::default() })
}

/// Ends the run's span and sends pending spans.
pub(super) fn finish(code: u8) {
    let Some(tracing) = TRACING.get() else { return };
    let span = tracing.root.span();
    span.set_attribute(KeyValue::new("process.exit.code", i64::from(code)));
    if code == 0 {
        span.set_status(Status::Ok);
    } else {
        span.set_status(Status::error(format!("exit code {code}")));
    }
    span.end();
    let _ = tracing.provider.shutdown_with_timeout(LAST_SEND);
}

/// Whether traces are enabled.
pub(super) fn is_on() -> bool {
    TRACING.get().is_some()
}

/// An open span.
#[derive(Debug)]
pub(super) struct Span(opentelemetry_sdk::trace::Span);

/// Begins the span of a request to a server.
pub(super) fn client_span(name: &'static str, server: &str, operation: &'static str) -> Option<Span> {
    let tracing = TRACING.get()?;
    let request = Context::current();
    if request.has_active_span() {
        return Some(Span::begin(tracing, name, server, operation, &request, SystemTime::now()));
    }
    let stream = tracing.stream.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let parent = stream.as_ref().unwrap_or(&tracing.root);
    Some(Span::begin(tracing, name, server, operation, parent, SystemTime::now()))
}

impl Span {
    fn begin(
        tracing: &Tracing,
        name: &'static str,
        server: &str,
        operation: &'static str,
        parent: &Context,
        at: SystemTime,
    ) -> Span {
        let span = tracing
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Client)
            .with_start_time(at)
            .with_attributes([
                KeyValue::new("ldap.server", server.to_owned()),
                KeyValue::new("ldap.operation", operation),
            ]);
        Span(span.start_with_context(&tracing.tracer, parent))
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.0.set_attribute(KeyValue::new(key, value.to_owned()));
    }

    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.0.set_attribute(KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX)));
    }

    pub(super) fn milliseconds(&mut self, key: &'static str, time: Duration) {
        self.0.set_attribute(KeyValue::new(key, time.as_secs_f64() * 1000.0));
    }

    pub(super) fn end(mut self, result: Result<(), &DirectoryError>) {
        self.0.set_attribute(KeyValue::new("ldap.success", result.is_ok()));
        if let Err(error) = result {
            let text = failure_text(error);
            self.0.set_attribute(KeyValue::new("error.type", text.clone()));
            self.0.set_status(Status::error(text));
        }
        self.0.end();
    }
}

/// The span of a stream. Requests to a server meanwhile are its children. Ends when it is dropped.
#[derive(Debug)]
pub struct StreamSpan(Option<Context>);

impl StreamSpan {
    /// Begins the span.
    pub fn begin(stream: &str) -> StreamSpan {
        let Some(tracing) = TRACING.get() else { return StreamSpan(None) };
        let context = stream_context(tracing, stream);
        *tracing.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.clone());
        StreamSpan(Some(context))
    }

    /// Records the number of records, and whether the stream was completed.
    pub fn done(&self, records: u64, succeeded: bool) {
        let Some(context) = &self.0 else { return };
        end_stream(context, records, succeeded);
    }
}

impl Drop for StreamSpan {
    fn drop(&mut self) {
        if let (Some(context), Some(tracing)) = (&self.0, TRACING.get()) {
            context.span().end();
            *tracing.stream.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

fn stream_context(tracing: &Tracing, stream: &str) -> Context {
    let span = tracing
        .tracer
        .span_builder(format!("stream {stream}"))
        .with_kind(SpanKind::Internal)
        .with_attributes([KeyValue::new("singer.stream", stream.to_owned())])
        .start_with_context(&tracing.tracer, &tracing.root);
    tracing.root.with_span(span)
}

fn end_stream(context: &Context, records: u64, succeeded: bool) {
    let span = context.span();
    span.set_attribute(KeyValue::new("singer.records", i64::try_from(records).unwrap_or(i64::MAX)));
    span.set_status(if succeeded { Status::Ok } else { Status::error("the stream was not read to its end") });
}

/// The span of a request to a service. Requests of its future to an LDAP server are its children. Ends when it is dropped.
#[derive(Debug)]
pub struct RequestSpan(Context);

impl RequestSpan {
    /// Begins the span; `None` if traces are disabled. It continues the trace of a caller who is believed (W3C Trace Context), else it begins
    /// one.
    pub fn begin(
        method: &'static str,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Option<RequestSpan> {
        let tracing = TRACING.get()?;
        let headers = [("traceparent", traceparent), ("tracestate", tracestate)];
        let carrier: std::collections::HashMap<String, String> = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        let span = tracing
            .tracer
            .span_builder(method)
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("http.request.method", method)])
            .start_with_context(&tracing.tracer, &parent);
        Some(RequestSpan(parent.with_span(span)))
    }

    /// Returns a future whose requests to an LDAP server belong to this one.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(self.0.clone())
    }

    /// Records the answer. `route` is a pattern, never a path that a caller chose.
    pub fn done(self, method: &'static str, route: &str, status: u16, request_id: &str) {
        let span = self.0.span();
        span.update_name(format!("{method} {route}"));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        span.set_attribute(KeyValue::new("http.request.id", request_id.to_owned()));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(status.to_string()));
        }
        span.end();
    }
}

/// Spawns a part of a request that goes on without it. Its requests to an LDAP server belong to the request.
pub fn spawn<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(work.with_current_context())
}

/// The writes of a target: a span for each batch of a stream's writes.
#[derive(Debug)]
pub struct Batches {
    server: String,
    base: String,
    streams: BTreeMap<String, (Context, Batch)>,
}

#[derive(Debug, Default)]
struct Batch {
    started: Option<(Instant, SystemTime)>,
    done: u64,
    failed: u64,
    /// The number of the whole stream.
    total: u64,
    any_failed: bool,
}

impl Batches {
    /// Returns `None` if traces are disabled.
    pub fn begin(server: &str, base: &str) -> Option<Batches> {
        TRACING.get()?;
        Some(Batches { server: server.to_owned(), base: base.to_owned(), streams: BTreeMap::new() })
    }

    /// Counts a processed record of a stream.
    pub fn record(&mut self, stream: &str, succeeded: bool) {
        let Some(tracing) = TRACING.get() else { return };
        if !self.streams.contains_key(stream) {
            self.streams.insert(stream.to_owned(), (stream_context(tracing, stream), Batch::default()));
        }
        let Some((context, batch)) = self.streams.get_mut(stream) else { return };
        let (since, _) = *batch.started.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
        batch.done += 1;
        batch.failed += u64::from(!succeeded);
        if batch.done >= BATCH.0 || since.elapsed() >= BATCH.1 {
            batch.end(tracing, context, &self.server, &self.base);
        }
    }

    /// Ends all spans.
    pub fn end(self) {
        let Some(tracing) = TRACING.get() else { return };
        for (context, mut batch) in self.streams.into_values() {
            batch.end(tracing, &context, &self.server, &self.base);
            end_stream(&context, batch.total, !batch.any_failed);
            context.span().end();
        }
    }
}

impl Batch {
    fn end(&mut self, tracing: &Tracing, context: &Context, server: &str, base: &str) {
        let Some((since, at)) = self.started.take() else { return };
        let mut span = Span::begin(tracing, "ldap_write", server, "write", context, at);
        span.text("ldap.base_dn", base);
        span.number("ldap.results_count", self.done);
        span.number("ldap.failures_count", self.failed);
        span.milliseconds("ldap.write_time_ms", since.elapsed());
        span.0.set_attribute(KeyValue::new("ldap.success", self.failed == 0));
        if self.failed > 0 {
            span.0.set_status(Status::error("records were refused"));
        }
        span.0.end();
        self.total += self.done;
        self.any_failed |= self.failed > 0;
        self.done = 0;
        self.failed = 0;
    }
}

/// An HTTP client that blocks the exporter's own thread, which has no other work.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    endpoint: String,
    has_warned: AtomicBool,
}

impl Client {
    fn new(endpoint: &str) -> Client {
        let mut tls = ureq::tls::TlsConfig::builder().provider(ureq::tls::TlsProvider::Rustls);
        if endpoint.starts_with("https") {
            let roots = rustls_native_certs::load_native_certs().certs;
            let roots: Vec<_> =
                roots.iter().map(|c| ureq::tls::Certificate::from_der(c.as_ref()).to_owned()).collect();
            tls = tls
                .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        }
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(SEND))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Client {
            agent: config.new_agent(),
            endpoint: endpoint.to_owned(),
            has_warned: AtomicBool::new(false),
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let response = self.agent.run(Request::from_parts(parts, body.as_ref()))?;
        let (parts, mut body) = response.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }

    /// Logs one warning per run.
    fn warn_once(&self, why: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("otlp_endpoint {}: {why}; the run goes on, and spans are lost", self.endpoint);
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        match self.send(request) {
            Ok(response) => {
                if !response.status().is_success() {
                    self.warn_once(&format!("the collector answered {}", response.status()));
                }
                Ok(response)
            }
            Err(e) => {
                self.warn_once(&e.to_string());
                Err(e.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otlp_endpoint_is_completed_and_has_no_password() {
        assert_eq!(endpoint("http://127.0.0.1:4318").unwrap(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(endpoint("https://a.example/otlp/").unwrap(), "https://a.example/otlp/v1/traces");
        assert_eq!(endpoint("http://c:4318/v1/traces").unwrap(), "http://c:4318/v1/traces");
        for text in ["127.0.0.1:4318", "grpc://a:1", "", "http://u:hunter2@a:1"] {
            let message = endpoint(text).unwrap_err().to_string();
            assert!(message.contains("otlp_endpoint") && !message.contains("hunter2"), "{message}");
        }
    }
}
