//! BATCH messages: records in JSON lines files (<https://sdk.meltano.com/en/latest/batch.html>), with or without gzip. A file is
//! complete, closed and has its final name before its message is printed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use singer_common::operations::signals;
use singer_common::plugin::settings::{SettingsError, check_keys};
use singer_common::singer::writer::RewriteError;
use uuid::Uuid;

/// Records per file by default, as in the Singer SDK.
const BATCH_SIZE: u64 = 10_000;

/// The open BATCH files.
#[derive(Debug)]
pub struct Batches {
    folder: PathBuf,
    prefix: String,
    gzip: bool,
    size: u64,
    /// The id of this run, so that file names differ from those of earlier runs.
    run: Uuid,
    files: u64,
    open: BTreeMap<String, Batch>,
}

#[derive(Debug)]
struct Batch {
    output: BatchWriter,
    /// The file's name until it is complete.
    part: PathBuf,
    path: PathBuf,
    version: Option<i64>,
    records: u64,
}

#[derive(Debug)]
enum BatchWriter {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl BatchWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            BatchWriter::Plain(output) => output.write_all(octets),
            BatchWriter::Gzip(output) => output.write_all(octets),
        }
    }

    fn close(self) -> io::Result<()> {
        let mut output = match self {
            BatchWriter::Plain(output) => output,
            BatchWriter::Gzip(output) => output.finish()?,
        };
        output.flush()
    }
}

impl Batches {
    /// Returns the batches of the setting `batch_config`; `None` if it is not set.
    pub fn from_settings(values: &Map<String, Value>) -> Result<Option<Batches>, SettingsError> {
        let Some(config) = values.get("batch_config").and_then(Value::as_object) else { return Ok(None) };
        check_keys("batch_config", config, &["encoding", "storage", "batch_size"])?;
        let part = |name: &str, known: &[&str]| match config.get(name) {
            Some(Value::Object(part)) => {
                check_keys(&format!("batch_config.{name}"), part, known)?;
                Ok(part.clone())
            }
            None | Some(Value::Null) => Ok(Map::new()),
            Some(_) => {
                Err(SettingsError::value(format!("batch_config.{name}"), "it is no object", "an object"))
            }
        };
        let encoding = part("encoding", &["format", "compression"])?;
        let storage = part("storage", &["root", "prefix"])?;
        let text = |part: &Map<String, Value>, path: &str, name: &str| match part.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => {
                Err(SettingsError::value(format!("batch_config.{path}.{name}"), "it is no text", "a text"))
            }
        };
        let format = text(&encoding, "encoding", "format")?.unwrap_or_else(|| "jsonl".to_owned());
        if format != "jsonl" {
            return Err(SettingsError::value(
                "batch_config.encoding.format",
                format!("got {format:?}"),
                "\"jsonl\"",
            ));
        }
        let gzip = match text(&encoding, "encoding", "compression")?.as_deref() {
            None | Some("gzip") => true,
            Some("none") => false,
            Some(other) => {
                let setting = "batch_config.encoding.compression";
                return Err(SettingsError::value(setting, format!("got {other:?}"), "\"gzip\" or \"none\""));
            }
        };
        let bad_root = |problem: String| {
            SettingsError::value(
                "batch_config.storage.root",
                problem,
                "a folder of this machine: file:///path",
            )
        };
        let root = text(&storage, "storage", "root")?.ok_or_else(|| bad_root("not set".to_owned()))?;
        let path = match root.split_once("://") {
            Some(("file", path)) => path,
            Some(_) => return Err(bad_root(format!("got {root:?}"))),
            None => root.as_str(),
        };
        let folder = std::path::absolute(path).map_err(|e| bad_root(e.to_string()))?;
        fs::create_dir_all(&folder).map_err(|e| bad_root(format!("{}: {e}", folder.display())))?;
        if folder.to_str().is_none() {
            return Err(bad_root("its name is no UTF-8".to_owned()));
        }
        let size = match config.get("batch_size") {
            None | Some(Value::Null) => BATCH_SIZE,
            Some(size) => size.as_u64().filter(|size| *size > 0).ok_or_else(|| {
                SettingsError::value(
                    "batch_config.batch_size",
                    format!("got {size}"),
                    "a whole number of at least 1",
                )
            })?,
        };
        let prefix = text(&storage, "storage", "prefix")?.unwrap_or_default();
        if prefix.contains(['/', '\0']) {
            let setting = "batch_config.storage.prefix";
            return Err(SettingsError::value(
                setting,
                format!("got {prefix:?}"),
                "the beginning of a file's name",
            ));
        }
        let run = Uuid::new_v4();
        Ok(Some(Batches { folder, prefix, gzip, size, run, files: 0, open: BTreeMap::new() }))
    }

    /// Adds a record to its stream's file. If the file is full, closes it and appends its message to `out`.
    pub fn put(
        &mut self,
        stream: &str,
        version: Option<i64>,
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RewriteError> {
        if self.open.get(stream).is_some_and(|batch| batch.version != version) {
            self.close(stream, out)?;
        }
        if !self.open.contains_key(stream) {
            let batch = self.begin(stream, version)?;
            self.open.insert(stream.to_owned(), batch);
        }
        let size = self.size;
        let Some(batch) = self.open.get_mut(stream) else { return Ok(()) };
        batch.records += 1;
        let written = batch.output.write(record).and_then(|()| batch.output.write(b"\n"));
        written.map_err(|error| RewriteError::File { path: batch.part.clone(), error })?;
        if batch.records >= size { self.close(stream, out) } else { Ok(()) }
    }

    fn begin(&mut self, stream: &str, version: Option<i64>) -> Result<Batch, RewriteError> {
        self.files += 1;
        // A stream's name may contain any character.
        let safe: String =
            stream.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let safe = safe.get(..100).unwrap_or(&safe);
        let ending = if self.gzip { "jsonl.gz" } else { "jsonl" };
        let name = format!("{}tap-ldap--{safe}-{}-{}.{ending}", self.prefix, self.run, self.files);
        let (path, part) = (self.folder.join(&name), self.folder.join(format!("{name}.part")));
        let file =
            File::create_new(&part).map_err(|error| RewriteError::File { path: part.clone(), error })?;
        let file = BufWriter::new(file);
        let output = if self.gzip {
            BatchWriter::Gzip(GzEncoder::new(file, Compression::default()))
        } else {
            BatchWriter::Plain(file)
        };
        Ok(Batch { output, part, path, version, records: 0 })
    }

    fn close(&mut self, stream: &str, out: &mut Vec<u8>) -> Result<(), RewriteError> {
        let Some(batch) = self.open.remove(stream) else { return Ok(()) };
        let _uninterrupted = signals::uninterrupted();
        let closed = batch.output.close().and_then(|()| fs::rename(&batch.part, &batch.path));
        closed.map_err(|error| RewriteError::File { path: batch.path.clone(), error })?;
        let mut message = json!({
            "type": "BATCH",
            "stream": stream,
            "encoding": {"format": "jsonl", "compression": if self.gzip { "gzip" } else { "none" }},
            "manifest": [url(&batch.path)],
        });
        if let (Some(version), Some(message)) = (batch.version, message.as_object_mut()) {
            message.insert("version".into(), version.into());
        }
        out.extend_from_slice(message.to_string().as_bytes());
        out.push(b'\n');
        Ok(())
    }

    /// Closes all files, and appends their messages to `out`.
    pub fn close_all(&mut self, out: &mut Vec<u8>) -> Result<(), RewriteError> {
        while let Some(stream) = self.open.keys().next().cloned() {
            self.close(&stream, out)?;
        }
        Ok(())
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // No message named these files.
        for batch in self.open.values() {
            let _ = fs::remove_file(&batch.part);
        }
    }
}

/// Returns the URL as the Singer SDK writes and reads it: without percent-encoding.
fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}
