//! How much may be at work at once: requests, and the octets of their bodies.

use std::time::Duration;

use axum::body::Bytes;
use http::StatusCode;
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::config::Limits;
use crate::error::ApiError;

/// The octets of bodies in memory, in units of [`UNIT`], or one body of the greatest size if that is more.
const MOST_UNITS: usize = 64 * 1024;
/// The unit in which octets are counted.
const UNIT: usize = 1024;

/// The permits of a generation of the configuration.
#[derive(Debug)]
pub struct Gate {
    requests: Semaphore,
    units: Semaphore,
    most_units: usize,
}

/// The body of a request, with its share of the memory.
#[derive(Debug)]
pub struct Body<'g> {
    /// The octets.
    pub octets: Bytes,
    _share: Option<SemaphorePermit<'g>>,
}

fn overloaded(what: &str) -> ApiError {
    let detail = format!("too much is at work ({what}): try again");
    ApiError {
        retry_after: Some(Duration::from_secs(1)),
        ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }
}

impl Gate {
    /// Returns the permits for these limits.
    pub fn new(limits: &Limits) -> Self {
        let most_units = MOST_UNITS.max(limits.request_bytes / UNIT + 1);
        let most = limits.concurrent.min(Semaphore::MAX_PERMITS);
        Self { requests: Semaphore::new(most), units: Semaphore::new(most_units), most_units }
    }

    /// Waits for a permit for a request at work.
    ///
    /// # Errors
    /// 503 if there is none until `limits.request_seconds` have passed.
    pub async fn request(&self, limits: &Limits) -> Result<SemaphorePermit<'_>, ApiError> {
        match tokio::time::timeout(limits.request_time(), self.requests.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(overloaded("limits.concurrent")),
        }
    }

    /// Reads the body of a request. What has arrived counts, not what was announced: a slow client holds little.
    ///
    /// # Errors
    /// 413 for a body beyond `limits.request_bytes`, 408 for one that does not arrive in time, 503 if too much is in memory, 400 for one that
    /// is cut off.
    pub async fn body(
        &self,
        body: &mut (impl HttpBody<Data = Bytes> + Unpin),
        limits: &Limits,
    ) -> Result<Body<'_>, ApiError> {
        let too_large = || {
            let detail =
                format!("the body is larger than {} octets (limits.request_bytes)", limits.request_bytes);
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        };
        let late = |_| {
            let detail = "the body did not arrive in time (limits.request_seconds)";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
        };
        // What is announced need not be waited for.
        if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > limits.request_bytes) {
            return Err(too_large());
        }
        let deadline = Instant::now() + limits.request_time();
        let mut octets = Vec::new();
        let mut share: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(late)? {
            let frame =
                frame.map_err(|_| ApiError::bad_request("body", "the body of the request was cut off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if octets.len() + data.len() > limits.request_bytes {
                return Err(too_large());
            }
            octets.extend_from_slice(&data);
            let needed = octets.len().div_ceil(UNIT).min(self.most_units);
            let held = share.as_ref().map_or(0, SemaphorePermit::num_permits);
            let more = u32::try_from(needed.saturating_sub(held)).unwrap_or(u32::MAX);
            if more > 0 {
                let waited = timeout_at(deadline, self.units.acquire_many(more)).await;
                let Ok(Ok(permit)) = waited else { return Err(overloaded("bodies of requests")) };
                match &mut share {
                    Some(share) => share.merge(permit),
                    None => share = Some(permit),
                }
            }
        }
        Ok(Body { octets: octets.into(), _share: share })
    }
}
