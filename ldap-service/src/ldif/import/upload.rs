//! The upload: the body goes to a temporary file, at most so many octets.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::sync::mpsc;

use super::super::shared::{END, HEAD};
use crate::error::ApiError;

/// The pieces between the connection and the disk.
const AHEAD: usize = 4;

/// Writes a body to a temporary file, which has no name and is removed with the process.
///
/// # Errors
/// The body is too large or was cut off, nothing of it arrives for so long, or the disk is full.
pub async fn receive(body: Body, most: u64, patience: Duration) -> Result<File, ApiError> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(AHEAD);
    let writing = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::tempfile()?;
        while let Some(piece) = pieces.blocking_recv() {
            file.write_all(&piece)?;
        }
        Ok::<File, io::Error>(file)
    });
    let mut received = 0_u64;
    let mut stream = body.into_data_stream();
    let late = |_| {
        let detail = "the body did not go on in time (limits.request_seconds); nothing was done";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    };
    while let Some(piece) = tokio::time::timeout(patience, stream.next()).await.map_err(late)? {
        let piece = piece.map_err(|_| {
            ApiError::bad_request("body", "the body of the request was cut off; nothing was done")
        })?;
        received = received.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if received > most {
            let detail = format!("the body is larger than {most} octets (limits.import_bytes)");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        // The writer ended with an error, which follows.
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    let file = writing.await.map_err(io::Error::other).flatten().map_err(|e| no_room(&e))?;
    let checked = tokio::task::spawn_blocking(move || check_end(file)).await;
    checked.map_err(io::Error::other).flatten().map_err(|e| no_room(&e))?
}

fn no_room(error: &io::Error) -> ApiError {
    tracing::error!("import: a temporary file in {}: {error}", std::env::temp_dir().display());
    let detail = "the body cannot be kept in a temporary file of the service; nothing was done";
    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "no_storage", detail)
}

/// Checks that an export of this service is whole.
fn check_end(mut file: File) -> io::Result<Result<File, ApiError>> {
    const TAIL: u64 = 256;
    file.rewind()?;
    let mut first = String::new();
    let _ = BufReader::new((&file).take(TAIL)).read_line(&mut first);
    if first.trim_end() == HEAD {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        (&file).take(TAIL).read_to_end(&mut tail)?;
        let tail = String::from_utf8_lossy(&tail);
        let last = tail.lines().last().unwrap_or_default();
        if !last.starts_with(END) || !tail.ends_with('\n') {
            let detail = format!(
                "the file is an export of this service that was cut off: its last line is not `{END}N entries`"
            );
            return Ok(Err(ApiError::bad_request("incomplete", detail)));
        }
    }
    file.rewind()?;
    Ok(Ok(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_body_that_stalls_is_given_up() {
        let stalls = Body::from_stream(futures_util::stream::pending::<Result<Bytes, io::Error>>());
        let error = receive(stalls, 100, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!((error.status, error.code), (StatusCode::REQUEST_TIMEOUT, "request_timeout"));
    }

    #[tokio::test]
    async fn an_upload_is_bounded_and_a_cut_export_is_refused() {
        let of = |text: &str| Body::from(text.to_owned());
        let mut file = receive(of("dn: dc=x\ndc: x\n"), 100, PATIENCE).await.unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "dn: dc=x\ndc: x\n");
        assert_eq!(receive(of("dn: dc=x\ndc: x\n"), 10, PATIENCE).await.unwrap_err().code, "too_large");
        for (text, is_whole) in [
            ("# ldap-service export\n\ndn: dc=x\ndc: x\n\n# end: 1 entries\n", true),
            ("# ldap-service export\n\ndn: dc=x\ndc: x\n\n", false),
            ("# ldap-service export\n\ndn: dc=x\ndc: x\n\n# end: 1 entries", false),
            ("# another export\n\ndn: dc=x\ndc: x\n\n", true),
        ] {
            let received = receive(of(text), 1000, PATIENCE).await;
            assert_eq!(received.err().map(|e| e.code), (!is_whole).then_some("incomplete"), "{text}");
        }
    }
}
