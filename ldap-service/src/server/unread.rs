//! Bodies of requests that are answered before they were read to their end: refused, too large, late.
//!
//! A connection that is closed while the client still sends is reset, and with it the answer may be lost. So what is on its way is read and
//! thrown away first, within limits, and the answer says that the connection ends with it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};

/// How long the rest of a body is read.
const LINGER: Duration = Duration::from_secs(2);
/// The most octets of the rest of a body that are read.
const MOST: usize = 16 * 1024 * 1024;

/// Reads the rest of a body that an answer does not depend on.
pub(super) async fn settle(mut body: SharedBody, mut response: Response) -> Response {
    if body.is_end_stream() {
        return response;
    }
    let is_awaited = body.locked().waits;
    let mut left = MOST;
    let rest = async {
        while let Some(frame) = body.frame().await {
            let octets = frame.ok()?.data_ref().map_or(0, bytes::Buf::remaining);
            left = left.checked_sub(octets)?;
        }
        Some(())
    };
    let read = if is_awaited { None } else { tokio::time::timeout(LINGER, rest).await.ok().flatten() };
    if read.is_none() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that is read by a route, and of which the rest is read when the route has answered.
#[derive(Debug, Clone)]
pub(super) struct SharedBody(Arc<Mutex<Unread>>);

#[derive(Debug)]
struct Unread {
    body: Incoming,
    /// Whether the client waits for the permission to send it (RFC 9110 section 10.1.1): it gets that with the first read.
    waits: bool,
}

impl SharedBody {
    pub(super) fn new(headers: &HeaderMap, body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Unread { body, waits: headers.contains_key(header::EXPECT) })))
    }

    fn locked(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut unread = self.locked();
        unread.waits = false;
        Pin::new(&mut unread.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.locked().body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.locked().body.size_hint()
    }
}
