//! BATCH messages: records in files of their own, taken in as if each had come as a RECORD at that place.
//!
//! A thread reads the files line by line, and only as far ahead as the channel is long: neither a file nor a batch is
//! ever in memory as a whole, and a slow disk does not stop the writes under way.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use singer_common::message::{BatchMessage, RecordMessage};
use singer_common::reader::LineReader;
use tokio::sync::mpsc;

use super::{Load, LoadError};

/// Lines that wait between the reader's thread and the run.
const LINES_AHEAD: usize = 64;
/// How a gzip file begins (RFC 1952 section 2.3.1), and no line of JSON does.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Where a batch has a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFile {
    /// The file's path.
    pub file: Arc<str>,
    /// Counted from 1, of what the file holds once decompressed.
    pub line: u64,
}

impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

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
    /// The stream is not known.
    #[error("a BATCH came before the stream's SCHEMA")]
    NoSchema,
    /// A file that is not on this machine, or not named by a URL.
    #[error(
        "the manifest names `{0}`, which is no file of this machine; expected `file:///` and a path (batch_config.storage.root of the tap)"
    )]
    Url(String),
    /// A file that is not there, or may not be read.
    #[error("the batch file {file}: {error}")]
    Missing {
        /// Its path.
        file: Arc<str>,
        /// What the system says.
        error: io::Error,
    },
    /// A file that cannot be read to its end.
    #[error("{place}: the batch file cannot be read on: {error}")]
    Read {
        /// The line that could not be read.
        place: InFile,
        /// What the system, or the decompression, says.
        error: io::Error,
    },
    /// A line that is no record.
    #[error("{place}: {reason}; each line of a batch file is a record")]
    Line {
        /// The line.
        place: InFile,
        /// What is wrong with it.
        reason: String,
    },
}

type Line = Result<(InFile, Vec<u8>), BatchError>;

/// A batch whose records are being taken in.
pub(super) struct Batch {
    stream: String,
    /// Of the BATCH message.
    line: u64,
    version: Option<i64>,
    lines: mpsc::Receiver<Line>,
}

/// The batch's next line; `None` at its end.
pub(super) async fn next(batch: Option<&mut Batch>) -> Option<Line> {
    batch?.lines.recv().await
}

impl<W: Write> Load<'_, W> {
    /// Begins a batch. Its records come before the next line of the input.
    pub(super) fn open_batch(&mut self, line: u64, message: BatchMessage) -> Result<(), LoadError> {
        let BatchMessage { stream, encoding, manifest, version } = message;
        let bad = |error| LoadError::Batch { line, stream: stream.clone(), error };
        if !self.knows(&stream) {
            return Err(bad(BatchError::NoSchema));
        }
        if encoding.format != "jsonl" {
            return Err(bad(BatchError::Format(encoding.format)));
        }
        let gzip = match encoding.compression.as_deref() {
            Some("gzip") => true,
            Some("none") | None => false,
            Some(other) => return Err(bad(BatchError::Compression(other.to_owned()))),
        };
        let files = manifest.iter().map(|url| paths(url)).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        // Ends when all is read, and when the run no longer wants it: the channel is closed then.
        std::thread::spawn(move || {
            if let Err(error) = read(&files, gzip, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        self.batch = Some(Batch { stream, line, version, lines });
        Ok(())
    }

    /// Takes in what [`next`] gave.
    pub(super) fn take_from_batch(&mut self, read: Option<Line>) {
        let (Some(read), Some(batch)) = (read, &self.batch) else {
            self.batch = None;
            return;
        };
        let (line, stream, version) = (batch.line, batch.stream.clone(), batch.version);
        let taken = match read.and_then(|(place, text)| Ok((record(&place, &text)?, place))) {
            Ok((record, place)) => {
                self.record_or_mapped(line, RecordMessage { stream, record, version }, Some(place))
            }
            Err(error) => Err(LoadError::Batch { line, stream, error }),
        };
        if let Err(error) = taken {
            // After every record begun so far.
            self.fail(u64::MAX - 1, error);
        }
    }
}

fn record(place: &InFile, text: &[u8]) -> Result<Value, BatchError> {
    let bad = |reason| BatchError::Line { place: place.clone(), reason };
    match serde_json::from_slice(text) {
        Ok(record @ Value::Object(_)) => Ok(record),
        Ok(_) => Err(bad("not a JSON object".to_owned())),
        Err(_) if text.iter().all(u8::is_ascii_whitespace) => Err(bad("the line is empty".to_owned())),
        Err(error) => Err(bad(format!("not a JSON object: {error}"))),
    }
}

/// The path in a `file:` URL (RFC 8089), and as it stands there: the Meltano SDK (0.54) does not encode it.
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

/// Whether a file can be read, without taking anything from a pipe.
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

/// Reads the files one after another, until all is read or nobody wants more.
fn read(files: &[[PathBuf; 2]], gzip: bool, sender: &mpsc::Sender<Line>) -> Result<(), BatchError> {
    let missing = |path: &Path, error| BatchError::Missing { file: name(path), error };
    // All of them before the first: a batch that is not whole is not begun.
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
        // The Meltano SDK (0.54) compresses whatever the encoding says.
        let gzip = gzip || octets.fill_buf().is_ok_and(|head| head.starts_with(GZIP_MAGIC));
        let mut lines: LineReader<Box<dyn BufRead>> = LineReader::new(if gzip {
            Box::new(BufReader::new(MultiGzDecoder::new(octets)))
        } else {
            Box::new(octets)
        });
        let mut place = InFile { file: name(path), line: 0 };
        loop {
            place.line += 1;
            match lines.next_line() {
                Ok(Some((_, text))) => {
                    if sender.blocking_send(Ok((place.clone(), text))).is_err() {
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
