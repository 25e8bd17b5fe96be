//! The way of each request, around the table of routes: number, client, limits, log, metrics, the form of errors.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use singer_common::operations::observe::RequestSpan;
use tower::ServiceExt as _;

use super::unread::{self, SharedBody};
use crate::config::Config;
use crate::error::{self, AnswerAt, ApiError};
use crate::service::{App, Client, Current, PeerCertificate, Service};

const REQUEST_ID: &str = "x-request-id";
/// The status in log and metrics of a request whose client went away before the answer.
const CLIENT_GONE: u16 = 499;

/// The routes of the current generation: also for connections that were accepted before a reload.
pub type Routes = Arc<ArcSwap<Router>>;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// An IPv4 address as such, also on a socket for both.
    address: IpAddr,
    is_secure: bool,
    certificate: Option<Arc<PeerCertificate>>,
}

impl Peer {
    pub(super) fn new(
        address: SocketAddr,
        is_secure: bool,
        certificate: Option<Arc<PeerCertificate>>,
    ) -> Self {
        Self { address: address.ip().to_canonical(), is_secure, certificate }
    }
}

/// The routes, with what surrounds each request of a connection.
#[derive(Debug, Clone)]
pub(super) struct RequestService {
    routes: Routes,
    app: App,
    peer: Peer,
}

impl RequestService {
    pub(super) fn new(routes: Routes, app: App, peer: Peer) -> Self {
        Self { routes, app, peer }
    }
}

impl tower::Service<Request<Incoming>> for RequestService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let Self { routes, app, peer } = self.clone();
        Box::pin(async move { Ok(answer(&routes.load_full(), app, peer, request).await) })
    }
}

/// What the log and the metrics say of a request, also if its client goes away before the answer.
struct Account {
    app: App,
    began: Instant,
    method: &'static str,
    request_id: Arc<str>,
    address: IpAddr,
    is_done: bool,
}

impl Account {
    fn begin(app: &App, method: &http::Method, client: &Client) -> Self {
        app.metrics().in_flight.inc();
        Self {
            app: app.clone(),
            began: Instant::now(),
            method: known_method(method),
            request_id: client.request_id.clone(),
            address: client.address,
            is_done: false,
        }
    }

    fn end(mut self, route: &str, status: u16, code: Option<&str>) {
        self.is_done = true;
        self.tell(route, status, code);
    }

    /// Without the query: it may have a filter with personal data.
    fn tell(&self, route: &str, status: u16, code: Option<&str>) {
        let took = self.began.elapsed();
        let Self { method, request_id, address, .. } = self;
        self.app.metrics().request(method, route, status, took);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let text = format!("{method} {route} {status} in {milliseconds} ms for {address} ({request_id})");
        if status >= 500 {
            tracing::warn!(%request_id, method, route, status, code, milliseconds, %address, "{text}");
        } else {
            tracing::info!(%request_id, method, route, status, code, milliseconds, %address, "{text}");
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.app.metrics().in_flight.dec();
        if !self.is_done {
            self.tell("(gone)", CLIENT_GONE, Some("client_gone"));
        }
    }
}

async fn answer(routes: &Router, app: App, peer: Peer, request: Request<Incoming>) -> Response {
    let service = app.current();
    let client = client(&service.config, &peer, request.headers());
    let account = Account::begin(&app, request.method(), &client);
    let path = request.uri().path().to_owned();
    let request_id = client.request_id.clone();
    let span = span(&service.config, &peer, account.method, request.headers());
    let work = work(routes, service, client, request);
    let work = match &span {
        Some(span) => Either::Left(span.around(work)),
        None => Either::Right(work),
    };
    let response = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(_) => ApiError::internal().into_response(),
    };
    if let Some(AnswerAt(at)) = response.extensions().get::<AnswerAt>().copied() {
        tokio::time::sleep_until(at).await;
    }
    let route = response.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let code = response.extensions().get::<ApiError>().map(|error| error.code);
    let mut response = error::render(response, &path, &request_id);
    let status = response.status().as_u16();
    if let Some(span) = span {
        span.done(account.method, route, status, &request_id);
    }
    account.end(route, status, code);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether an address is that of a trusted proxy.
fn is_trusted(config: &Config, address: &IpAddr) -> bool {
    config.trusted_proxies.iter().any(|network| network.contains(address))
}

/// Begins the span of a request. A trace of a trusted proxy goes on.
fn span(config: &Config, peer: &Peer, method: &'static str, headers: &HeaderMap) -> Option<RequestSpan> {
    let from_proxy = is_trusted(config, &peer.address);
    let text = |name: &str| headers.get(name).filter(|_| from_proxy).and_then(|value| value.to_str().ok());
    RequestSpan::begin(method, text("traceparent"), text("tracestate"))
}

/// Returns the method's name, of a bounded number of names.
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Whether body and answer pass in pieces: they have limits of their own.
fn is_streamed(path: &str) -> bool {
    matches!(path, "/api/v1/ldap/import" | "/api/v1/ldap/export")
}

async fn work(
    routes: &Router,
    service: Arc<Service>,
    client: Client,
    request: Request<Incoming>,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let mut body = SharedBody::new(&parts.headers, body);
    if let Err(refused) = check_host(&parts).and_then(|()| check_coding(&parts.headers)) {
        return Ok(unread::settle(body, refused.into_response()).await);
    }
    parts.extensions.insert(client);
    parts.extensions.insert(Current(service.clone()));
    if is_streamed(parts.uri.path()) {
        let response = call(routes, Request::from_parts(parts, Body::new(body.clone()))).await;
        return Ok(unread::settle(body, response).await);
    }
    let limits = &service.config.limits;
    // The body first: a slow client takes no permit.
    let read = service.gate.body(&mut body, limits).await;
    let body = match read {
        Ok(read) => read,
        Err(refused) => return Ok(unread::settle(body, refused.into_response()).await),
    };
    let _permit = service.gate.request(limits).await?;
    let called = call(routes, Request::from_parts(parts, Body::from(body.octets.clone())));
    tokio::time::timeout(limits.request_time(), called).await.map_err(|_| {
        let detail = "no answer in time (limits.request_seconds); what was begun may have an effect";
        ApiError {
            retry_after: Some(Duration::from_secs(5)),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail)
        }
    })
}

/// Checks that a request says which host it is for, once (RFC 9112 section 3.2): of two, a proxy may have read the other one.
fn check_host(parts: &http::request::Parts) -> Result<(), ApiError> {
    let count = parts.headers.get_all(header::HOST).iter().count();
    if count > 1 || count == 0 && parts.version == http::Version::HTTP_11 {
        let detail = "one Host header is required";
        return Err(ApiError::bad_request("invalid_request", detail));
    }
    Ok(())
}

/// Checks that a body is what it looks like: no part of a whole, and not compressed. It would be taken for plain and whole.
fn check_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let has = |name: header::HeaderName, plain: &str| {
        let values = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|c| *c == b','));
        let mut others = values.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
        others.any(|coding| !coding.eq_ignore_ascii_case(plain.as_bytes()))
    };
    if headers.contains_key(header::CONTENT_RANGE) {
        // RFC 9110 section 14.5.
        let detail = "Content-Range: a part of a body is not accepted";
        return Err(ApiError::bad_request("invalid_request", detail));
    }
    if has(header::TRANSFER_ENCODING, "chunked") {
        let detail = "Transfer-Encoding: only `chunked` is accepted";
        return Err(ApiError::bad_request("invalid_request", detail));
    }
    if has(header::CONTENT_ENCODING, "identity") {
        let detail = "Content-Encoding: the body must not be compressed";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    Ok(())
}

async fn call(routes: &Router, request: Request<Body>) -> Response {
    match routes.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Returns the client of a request. Headers about it count from trusted proxies alone.
fn client(config: &Config, peer: &Peer, headers: &HeaderMap) -> Client {
    let from_proxy = is_trusted(config, &peer.address);
    let text = |name: &str| headers.get(name).filter(|_| from_proxy).and_then(|value| value.to_str().ok());
    let mut address = peer.address;
    // The trusted proxies: the last one is the peer.
    let mut hops = 1;
    let mut known = 0;
    if from_proxy {
        // From right to left: what a trusted proxy has written about its peer.
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let all: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
        for text in all.into_iter().rev() {
            let Some(next) = address_of(text.trim()) else { break };
            address = next;
            known += 1;
            hops = known;
            if !is_trusted(config, &address) {
                break;
            }
        }
    }
    let forwarded = |name: &str| of_first_proxy(headers, name, hops).filter(|_| from_proxy);
    let own_host = || headers.get(header::HOST).and_then(|value| value.to_str().ok());
    Client {
        address,
        is_secure: peer.is_secure
            || forwarded("x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        certificate: peer.certificate.clone(),
        request_id: text(REQUEST_ID).filter(|id| is_request_id(id)).map_or_else(new_request_id, Arc::from),
        host: forwarded("x-forwarded-host").or_else(own_host).map(Arc::from),
    }
}

/// Returns the value of a header that the first of the trusted proxies (`hops`, from the right) has written. Each proxy adds its own
/// (Apache), or only one writes it; what is left of it is the client's own.
fn of_first_proxy<'h>(headers: &'h HeaderMap, name: &str, hops: usize) -> Option<&'h str> {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<&str> =
        lists.flat_map(|list| list.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect();
    all.get(all.len().saturating_sub(hops)).copied()
}

/// Parses an address as proxies write it: alone, in brackets, or with a port.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    let with_port = || text.parse().ok().map(|with_port: SocketAddr| with_port.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

fn new_request_id() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, trusted: &[&str], sent: &[(&'static str, &str)]) -> Client {
        let resolved = crate::settings::TABLE.resolve(&[], &std::collections::BTreeMap::new()).unwrap();
        let mut values = resolved.values;
        values.insert("server_url".into(), "ldap://localhost".into());
        values.insert("users".into(), serde_json::json!({"base_dn": "dc=x"}));
        values.insert("trusted_proxies".into(), trusted.into());
        let config = Config::from_settings(&values, &mut Vec::new()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        let peer = Peer::new((peer.parse::<IpAddr>().unwrap(), 1).into(), false, None);
        client(&config, &peer, &headers)
    }

    fn of(peer: &str, trusted: &[&str], forwarded: &[&str]) -> String {
        let sent: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
        client_of(peer, trusted, &sent).address.to_string()
    }

    #[test]
    fn the_host_is_what_the_first_trusted_proxy_was_asked_for() {
        let of = |trusted: &[&str], addresses: &str, hosts: &[&str], schemes: &str| {
            let mut sent =
                vec![("host", "own"), ("x-forwarded-for", addresses), ("x-forwarded-proto", schemes)];
            sent.extend(hosts.iter().map(|host| ("x-forwarded-host", *host)));
            let client = client_of("127.0.0.1", trusted, &sent);
            (client.host.as_deref().unwrap().to_owned(), client.is_secure)
        };
        let (one, two) = (["127.0.0.1"], ["127.0.0.1", "10.0.0.0/8"]);
        let host = |host: &str, is_secure| (host.to_owned(), is_secure);
        assert_eq!(of(&[], "192.0.2.7", &["a"], "https"), host("own", false), "nobody is trusted");
        assert_eq!(of(&one, "192.0.2.7", &["a"], "https"), host("a", true));
        // Two proxies, and each adds its own.
        assert_eq!(of(&two, "192.0.2.7, 10.0.0.1", &["a, inner"], "https, http"), host("a", true));
        assert_eq!(of(&two, "192.0.2.7, 10.0.0.1", &["a", "inner"], "http, https"), host("a", false));
        // The client's own come first.
        assert_eq!(of(&one, "192.0.2.7", &["evil, a"], "https, http"), host("a", false));
        assert_eq!(of(&two, "192.0.2.7, 10.0.0.1", &["evil, a, inner"], "https"), host("a", true));
        // The second proxy passes on what the first one wrote.
        assert_eq!(of(&two, "192.0.2.7, 10.0.0.1", &["a"], "https"), host("a", true));
        assert_eq!(of(&one, "nonsense", &["evil, a"], "https"), host("a", true));
        assert_eq!(of(&one, "192.0.2.7", &[], ""), host("own", false));
    }

    #[test]
    fn forwarded_addresses_count_from_trusted_proxies_alone() {
        assert_eq!(of("192.0.2.9", &[], &["10.0.0.1"]), "192.0.2.9");
        assert_eq!(of("127.0.0.1", &["127.0.0.1"], &["10.0.0.1"]), "10.0.0.1");
        // The client itself wrote 10.0.0.1; the proxy added 192.0.2.7.
        assert_eq!(of("127.0.0.1", &["127.0.0.1"], &["10.0.0.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(of("127.0.0.1", &["127.0.0.0/8"], &["10.0.0.1", "192.0.2.7, 127.0.0.2"]), "192.0.2.7");
        assert_eq!(of("127.0.0.1", &["127.0.0.1"], &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(of("127.0.0.1", &["127.0.0.1"], &["nonsense"]), "127.0.0.1");
        // On a socket for both families, as [::] is.
        assert_eq!(of("::ffff:192.0.2.9", &[], &[]), "192.0.2.9");
        assert_eq!(of("::ffff:127.0.0.1", &["127.0.0.1"], &["10.0.0.1"]), "10.0.0.1");
        let both = ["127.0.0.1", "10.0.0.0/8"];
        assert_eq!(of("127.0.0.1", &both, &["192.0.2.7, ::ffff:10.0.0.1"]), "192.0.2.7");
    }
}
