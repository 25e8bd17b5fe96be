//! `/metrics` and `/health` over HTTP, on the address of the setting only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::export;
use super::meter::meter;
use crate::operations::settings_error::SettingsError;

/// Connections served at once; others wait in the system's queue.
const MOST_CONNECTIONS: usize = 16;
/// The longest duration of a connection.
const LONGEST: Duration = Duration::from_secs(10);

type Body = http_body_util::Full<Bytes>;

/// Parses `host:port`, or `:port` for loopback.
pub(super) fn address(text: &str) -> Result<SocketAddr, SettingsError> {
    let whole = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    let whole = whole.strip_prefix("localhost:").map_or(whole.clone(), |port| format!("127.0.0.1:{port}"));
    whole.parse().map_err(|_| {
        let expected = "an address and a port, for example 127.0.0.1:9330, [::1]:9330, or 0.0.0.0:9330 for all interfaces";
        SettingsError::value("metrics_listen", format!("got `{text}`"), expected)
    })
}

/// Serves until the future is dropped. If the address is not available, a warning is logged.
pub(super) async fn serve(address: SocketAddr) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(e) => {
            tracing::warn!("metrics_listen {address}: {e}; the run goes on without /metrics and /health");
            return std::future::pending().await;
        }
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // For example, no file descriptor is free: that may be temporary.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(answer(&request)))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // A client that closes the connection early is not an error.
            let _ = tokio::time::timeout(LONGEST, connection).await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        _ if !is_read => page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned()),
        "/metrics" => {
            let text = meter().map(super::meter::Meter::text).unwrap_or_default();
            page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/health" => {
            let (is_well, report) = export::health();
            let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            page(status, "application/json", format!("{report}\n"))
        }
        _ => page(StatusCode::NOT_FOUND, "text/plain", "/metrics, /health\n".to_owned()),
    }
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_address_defaults_to_loopback() {
        for (text, expected) in [
            (":9330", "127.0.0.1:9330"),
            ("localhost:1", "127.0.0.1:1"),
            ("0.0.0.0:2", "0.0.0.0:2"),
            ("[::1]:3", "[::1]:3"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for text in ["9330", "example.com:80", "", "127.0.0.1"] {
            let message = address(text).unwrap_err().to_string();
            assert!(message.contains("metrics_listen") && message.contains("127.0.0.1:9330"), "{message}");
        }
    }
}
