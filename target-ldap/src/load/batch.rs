//! BATCH messages: the records of their files are handled as if each had arrived as a RECORD.
//!
//! The files are read line by line on the input's thread. Neither a file nor a batch is ever in memory as a whole, and a slow
//! disk does not delay writes.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use singer_common::singer::message::{BatchMessage, Flaw, json_reason, marked, repaired};
use singer_common::singer::reader::LineReader;
use singer_common::singer::record::Record;

use super::in_file::InFile;

/// The first octets of a gzip file (RFC 1952 section 2.3.1), which no line of JSON has.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// A batch that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// `encoding.format` is not `jsonl`.
    #[error(
        "a BATCH in the format `{0}`, and only `jsonl` can be read; let the tap write that (batch_config.encoding.format) or send RECORD messages"
    )]
    Format(String),
    /// `encoding.compression` is neither `gzip` nor `none`.
    #[error(
        "a BATCH with the compression `{0}`, and only `gzip` and `none` can be read; let the tap write one of them (batch_config.encoding.compression)"
    )]
    Compression(String),
    /// The stream has no SCHEMA.
    #[error("a BATCH came before the stream's SCHEMA")]
    NoSchema,
    /// A file on another machine, or not a `file:` URL.
    #[error(
        "the manifest names `{0}`, which is no file of this machine; expected `file:///` and a path (batch_config.storage.root of the tap)"
    )]
    Url(String),
    /// A file that does not exist, or may not be read.
    #[error("the batch file {file}: {error}")]
    Missing {
        /// Its path.
        file: Arc<str>,
        /// The system's error.
        error: io::Error,
    },
    /// A file that cannot be read to its end.
    #[error("{place}: the batch file cannot be read on: {error}")]
    Read {
        /// The line that could not be read.
        place: InFile,
        /// The error of the system, or of the decompression.
        error: io::Error,
    },
    /// A line that is not a record.
    #[error("{place}: {reason}; each line of a batch file is a record")]
    Line {
        /// The line.
        place: InFile,
        /// The problem.
        reason: String,
    },
}

/// A record of a batch.
pub(super) struct InBatch {
    pub(super) place: InFile,
    pub(super) octets: usize,
    pub(super) record: Record,
    /// The flaw of its line, which is JSON only after a repair.
    pub(super) flaw: Option<Flaw>,
    /// Then the record with what is invalid, for the reject file.
    pub(super) kept: Option<Record>,
    /// Whether reading the next record may block.
    pub(super) is_last_here: bool,
}

/// Reads the records of a batch. `take` returns whether more are wanted.
pub(super) fn read_batch(
    message: &BatchMessage,
    take: &mut dyn FnMut(InBatch) -> bool,
) -> Result<(), BatchError> {
    let BatchMessage { encoding, manifest, .. } = message;
    if encoding.format != "jsonl" {
        return Err(BatchError::Format(encoding.format.clone()));
    }
    let gzip = match encoding.compression.as_deref() {
        Some("gzip") => true,
        Some("none") | None => false,
        Some(other) => return Err(BatchError::Compression(other.to_owned())),
    };
    let files = manifest.iter().map(|url| paths(url)).collect::<Result<Vec<_>, _>>()?;
    read(&files, gzip, take)
}

fn record(place: &InFile, text: &[u8]) -> Result<(Record, Option<Flaw>), BatchError> {
    let bad = |reason| BatchError::Line { place: place.clone(), reason };
    let read = serde_json::from_slice(text).map(|record| (record, None)).or_else(|error| {
        let again = repaired(text)
            .and_then(|(octets, flaw)| Some((serde_json::from_slice(&octets).ok()?, Some(flaw))));
        again.ok_or(error)
    });
    read.map_err(|error| {
        match text.trim_ascii_start().first() {
            None => bad("the line is empty".to_owned()),
            Some(b'{') => bad(format!("not a JSON object: {}", json_reason(&error))),
            // The message of serde would show the value.
            Some(_) => bad("not a JSON object".to_owned()),
        }
    })
}

/// Returns the path in a `file:` URL (RFC 8089), decoded and verbatim: the Meltano SDK (0.54) does not encode it.
fn paths(url: &str) -> Result<[PathBuf; 2], BatchError> {
    let path = url.strip_prefix("file://").map(|rest| rest.strip_prefix("localhost").unwrap_or(rest));
    let Some(path) = path.filter(|path| path.starts_with('/')) else {
        return Err(BatchError::Url(url.to_owned()));
    };
    let octets = percent_decode_str(path).collect::<Vec<u8>>();
    #[cfg(unix)]
    let decoded = PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(octets));
    #[cfg(not(unix))]
    let decoded =
        String::from_utf8(octets).map(PathBuf::from).map_err(|_| BatchError::Url(url.to_owned()))?;
    Ok([decoded, PathBuf::from(path)])
}

/// Checks whether a file can be read, without consuming a pipe.
fn look(path: &Path) -> io::Result<()> {
    let kind = std::fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_file() { File::open(path).map(drop) } else { Ok(()) }
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// Reads the files one after another, until `take` returns `false`.
fn read(files: &[[PathBuf; 2]], gzip: bool, take: &mut dyn FnMut(InBatch) -> bool) -> Result<(), BatchError> {
    let missing = |path: &Path, error| BatchError::Missing { file: name(path), error };
    // All of them before the first record: an incomplete batch is not begun.
    let mut found = Vec::new();
    for [decoded, verbatim] in files {
        match look(decoded) {
            Ok(()) => found.push(decoded),
            Err(_) if look(verbatim).is_ok() => found.push(verbatim),
            Err(error) => return Err(missing(decoded, error)),
        }
    }
    for path in found {
        let mut octets = BufReader::new(File::open(path).map_err(|error| missing(path, error))?);
        // The Meltano SDK (0.54) compresses regardless of the declared encoding.
        let gzip = gzip || octets.fill_buf().is_ok_and(|head| head.starts_with(GZIP_MAGIC));
        let mut lines: LineReader<Box<dyn Read>> =
            LineReader::new(if gzip { Box::new(MultiGzDecoder::new(octets)) } else { Box::new(octets) });
        let file = name(path);
        let mut line = 0;
        loop {
            line += 1;
            let place = InFile { file: file.clone(), line };
            match lines.next_line() {
                Ok(Some((_, text))) => {
                    let ((record, flaw), octets) = (record(&place, text)?, text.len());
                    let kept = flaw.and_then(|_| serde_json::from_slice(&marked(text)).ok());
                    let is_last_here = !lines.has_line();
                    if !take(InBatch { place, octets, record, flaw, kept, is_last_here }) {
                        return Ok(());
                    }
                }
                Ok(None) => break,
                Err(error) => return Err(BatchError::Read { place, error }),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files_of_this_machine() {
        let both = |url: &str| paths(url).unwrap().map(|path| path.display().to_string());
        assert_eq!(both("file:///a/b%20c.jsonl"), ["/a/b c.jsonl", "/a/b%20c.jsonl"]);
        assert_eq!(both("file://localhost/a"), ["/a", "/a"]);
        for url in
            ["/a", "file:a", "file://elsewhere/a", "file://localhosts", "s3://bucket/a", "https://x/a", ""]
        {
            let error = paths(url).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains("file:///"), "{error}");
        }
    }
}
