//! The reject file (`on_error: skip`).
//!
//! The file is JSONL. Each rejected record is a line of type REJECT. Before the first one of a stream, and when its SCHEMA has
//! changed, there is a line with the SCHEMA. So the file is a complete input for `--retry-rejects`.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ldap_directory::schema::Schema;
use ldap_directory::text::printable_lines;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use singer_common::operations::file;
use singer_common::operations::secret::is_secret_attribute;
use singer_common::operations::signals;
use singer_common::singer::message::{MessageError, RecordMessage, SchemaMessage, json_reason, unmarked};

use super::in_file::InFile;
use super::reject_history::{FromReject, Place, RejectHistory, RejectMark};
use crate::write::ldap_result::{LdapResult, attribute_named};

/// Replaces a secret value in the file.
const MASK: &str = "***";
/// The `type` of a rejected record's line.
pub const KIND: &str = "REJECT";

/// What a reject needs to know of its stream. Shared by the records in progress: a SCHEMA that changes meanwhile does not apply
/// to them.
#[derive(Debug)]
pub struct RejectSchema {
    schema: String,
    secrets: BTreeSet<String>,
}

impl RejectSchema {
    /// Builds it from a SCHEMA, and the properties that are written to secret attributes.
    pub fn new(message: &SchemaMessage, secrets: BTreeSet<String>) -> RejectSchema {
        let schema = json!({"type": "SCHEMA", "stream": message.stream, "schema": message.schema,
            "key_properties": message.key_properties});
        RejectSchema { schema: schema.to_string(), secrets }
    }

    /// Whether the values of a property are secret.
    pub fn is_secret(&self, property: &str) -> bool {
        self.secrets.contains(property) || is_secret_attribute(property)
    }
}

/// A rejected record.
#[derive(Debug)]
pub struct Reject<'a> {
    /// Its stream.
    pub stream: &'a str,
    /// Its line in the input, from 1.
    pub line: u64,
    /// Its location in a batch.
    pub in_file: Option<&'a InFile>,
    /// The DN of its entry, if known.
    pub dn: Option<&'a str>,
    /// The directory's result, if it was asked.
    pub answer: Option<&'a LdapResult>,
    /// The setting that forbids the change, if one does.
    pub setting: Option<&'a str>,
    /// The problem, for messages.
    pub reason: &'a str,
    /// The record.
    pub record: &'a Value,
    /// Whether it is as it arrived, because a stream map failed: `--retry-rejects` applies none.
    pub is_unmapped: bool,
    /// The ID of the run.
    pub run: &'a str,
    /// Whether a retry tried it though a later run had overtaken it.
    pub is_outdated: bool,
}

impl Reject<'_> {
    /// Returns the reason without the record's secrets, in case a server repeated one.
    pub fn safe_reason(&self, reject_schema: &RejectSchema) -> String {
        scrubbed(self.reason, self.record, reject_schema)
    }

    /// Returns the line, without a line feed.
    pub fn to_line(&self, reject_schema: &RejectSchema, schema: &Schema) -> String {
        let mut masked = Vec::new();
        let mut record = Map::new();
        for (property, value) in self.record.as_object().into_iter().flatten() {
            let hide = !value.is_null() && (reject_schema.is_secret(property) || has_secret(value));
            if hide {
                masked.push(property.clone());
            }
            record.insert(property.clone(), if hide { Value::String(MASK.into()) } else { value.clone() });
        }
        let text = self.answer.map(|a| scrubbed(&a.text, self.record, reject_schema));
        let mut line = json!({
            "type": KIND,
            "stream": self.stream,
            "line": self.line,
            "file": self.in_file.map(|place| &*place.file),
            "file_line": self.in_file.map(|place| place.line),
            "dn": self.dn,
            "code": self.answer.map(|a| a.code),
            "message": text.filter(|t| !t.is_empty()),
            "matched_dn": self.answer.map(|a| &a.matched).filter(|m| !m.is_empty()),
            "attribute": self.answer.and_then(|a| attribute_named(a, schema)),
            "reason": self.safe_reason(reject_schema),
            "record": self.record.is_object().then_some(record),
            "masked": masked,
            "run": self.run,
            "at": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        });
        if let Some(line) = line.as_object_mut() {
            if let Some(setting) = self.setting {
                line.insert("setting".to_owned(), setting.into());
            }
            if self.is_unmapped {
                line.insert("unmapped".to_owned(), Value::Bool(true));
            }
            if self.is_outdated {
                line.insert("outdated".to_owned(), Value::Bool(true));
            }
        }
        unmarked(line.to_string())
    }
}

/// Shorter secrets occur in every text.
const SHORTEST_SECRET: usize = 4;

/// Whether an object within a value has a secret (`{"account": {"userPassword": …}}`).
fn has_secret(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().any(|(name, v)| !v.is_null() && is_secret_attribute(name) || has_secret(v))
        }
        Value::Array(items) => items.iter().any(has_secret),
        _ => false,
    }
}

fn scrubbed(text: &str, record: &Value, reject_schema: &RejectSchema) -> String {
    let mut text = text.to_owned();
    for (property, value) in record.as_object().into_iter().flatten() {
        if !reject_schema.is_secret(property) {
            continue;
        }
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for secret in values.iter().filter_map(Value::as_str).filter(|s| s.len() >= SHORTEST_SECRET) {
            text = text.replace(secret, MASK);
        }
    }
    text
}

/// A reject that was read again.
#[derive(Debug)]
pub struct Retried {
    /// The record to try, without values that are still masked. `None`: the reject was an entry that an ACTIVATE_VERSION
    /// deletes.
    pub message: Option<RecordMessage>,
    /// The properties that are left out because they are still masked.
    pub still_masked: Vec<String>,
    /// Whether a stream map had failed for it, so that it is not mapped.
    pub is_unmapped: bool,
    /// What is known of the reject.
    pub reject: FromReject,
}

/// Parses a line of a reject file; `None` if it is a message of another type.
pub fn read_line(line: &[u8]) -> Option<Result<Retried, MessageError>> {
    #[derive(Deserialize)]
    struct Envelope {
        r#type: Option<String>,
    }
    #[derive(Deserialize)]
    struct Read {
        stream: String,
        record: Option<Map<String, Value>>,
        #[serde(default)]
        masked: Vec<String>,
        #[serde(default)]
        unmapped: bool,
        #[serde(default)]
        outdated: bool,
        run: Option<String>,
        line: Option<u64>,
        file_line: Option<u64>,
    }
    let envelope: Envelope = serde_json::from_slice(line).ok()?;
    if envelope.r#type.as_deref() != Some(KIND) {
        return None;
    }
    let read: Result<Read, _> = serde_json::from_slice(line);
    Some(read.map_err(|e| MessageError::Malformed { kind: KIND.into(), reason: json_reason(&e) }).map(
        |mut read| {
            let mut still_masked = Vec::new();
            for property in read.masked {
                let record = read.record.as_mut();
                if record.as_ref().and_then(|r| r.get(&property)).is_some_and(|v| v == MASK) {
                    record.map(|r| r.shift_remove(&property));
                    still_masked.push(property);
                }
            }
            let stream = read.stream;
            let message =
                read.record.map(|record| RecordMessage { stream, record: record.into(), version: None });
            let mark = read
                .run
                .zip(read.line)
                .map(|(run, line)| RejectMark { run, place: Place::at(line, read.file_line) });
            let reject = FromReject { mark, is_outdated: read.outdated };
            Retried { message, still_masked, is_unmapped: read.unmapped, reject }
        },
    ))
}

/// The reject file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("reject_file {path}: {error}; the record is not left out, and STATE stays before it")]
pub struct RejectFileError {
    path: String,
    error: io::Error,
}

/// The open reject file. Lines are appended: the rejects of an earlier run are not in the input again.
#[derive(Debug)]
pub struct RejectFile {
    path: PathBuf,
    file: File,
    /// The last SCHEMA written for each stream.
    written: HashMap<String, Arc<RejectSchema>>,
    dirty: bool,
    /// Whether its directory entry may not be on disk yet.
    is_new: bool,
    /// The history beside it.
    pub(super) history: RejectHistory,
}

impl RejectFile {
    /// Opens or creates the file, readable by the group at most: it contains records.
    pub fn open(path: &Path) -> Result<RejectFile, RejectFileError> {
        let fail = |error| RejectFileError { path: path.display().to_string(), error };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
        let is_new = !path.exists();
        let mut file = options.open(path).map_err(fail)?;
        end_broken_line(&mut file).map_err(fail)?;
        let history = RejectHistory::beside(path);
        Ok(RejectFile { path: path.to_owned(), file, written: HashMap::new(), dirty: false, is_new, history })
    }

    /// Appends a line, after the stream's SCHEMA if that is not written yet.
    pub fn write(
        &mut self,
        stream: &str,
        reject_schema: &Arc<RejectSchema>,
        line: &str,
    ) -> Result<(), RejectFileError> {
        let mut text = String::new();
        let known = self.written.get(stream).is_some_and(|w| w.schema == reject_schema.schema);
        if !known {
            text.push_str(&reject_schema.schema);
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        let _uninterrupted = signals::uninterrupted();
        // In one unbuffered call: a line that was written survives the process. Characters that would control a terminal are
        // escaped in the JSON.
        let text = printable_lines(&text);
        self.file.write_all(text.as_bytes()).map_err(|error| self.failure(error))?;
        self.dirty = true;
        if !known {
            self.written.insert(stream.to_owned(), reject_schema.clone());
        }
        Ok(())
    }

    /// Flushes the file to disk, before a STATE that covers its records is printed.
    pub fn sync(&mut self) -> Result<(), RejectFileError> {
        self.history.sync();
        if self.dirty {
            match self.file.sync_data() {
                // A pipe or a device cannot be flushed.
                Err(e) if e.kind() != io::ErrorKind::InvalidInput => return Err(self.failure(e)),
                _ => self.dirty = false,
            }
            if self.is_new {
                file::sync_folder(file::folder(&self.path)).map_err(|e| self.failure(e))?;
                self.is_new = false;
            }
        }
        Ok(())
    }

    fn failure(&self, error: io::Error) -> RejectFileError {
        RejectFileError { path: self.path.display().to_string(), error }
    }
}

/// Ends a line that a crash cut off.
fn end_broken_line(file: &mut File) -> io::Result<()> {
    if !file.metadata()?.is_file() || file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(code: u32, text: &str) -> LdapResult {
        LdapResult { code, text: text.into(), ..LdapResult::default() }
    }

    proptest! {
        /// A line that was not corrected gives the record again, without its secrets.
        #[test]
        fn a_line_read_again_is_the_record_without_its_secrets(
            plain in "\\PC{0,12}", secret in "[a-zA-Z0-9]{4,12}", mapped in any::<bool>(),
        ) {
            let message = SchemaMessage { stream: "s".into(), schema: json!({}), key_properties: vec![] };
            let property = if mapped { "geheim" } else { "user_password" };
            let reject_schema = RejectSchema::new(&message, BTreeSet::from(["geheim".to_owned()]));
            let record = json!({"id": 1, "plain": plain, property: secret});
            let said = answer(19, &format!("<{secret}> is too weak"));
            let reason = format!("constraintViolation (19): <{secret}> is too weak");
            let reject = Reject {
                stream: "s", line: 3, in_file: None, dn: Some("cn=x"), answer: Some(&said), setting: None, reason: &reason, record: &record,
                is_unmapped: false, run: "r", is_outdated: false,
            };
            let line = reject.to_line(&reject_schema, Schema::standard());
            prop_assert!(!line.contains(&format!("<{secret}>")), "{line}");
            let again = read_line(line.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(again.message.unwrap().record.into_value(), json!({"id": 1, "plain": plain}));
            prop_assert_eq!(again.still_masked, vec![property.to_owned()]);
            // A corrected one is used as it is.
            let mut corrected: Value = serde_json::from_str(&line).unwrap();
            corrected["record"][property] = json!("new");
            let again = read_line(corrected.to_string().as_bytes()).unwrap().unwrap();
            let record = again.message.unwrap().record;
            prop_assert_eq!(record.get(property).unwrap(), "new");
            prop_assert!(again.still_masked.is_empty());
        }
    }

    #[test]
    fn other_messages_are_none_of_its_lines() {
        assert!(read_line(br#"{"type":"RECORD","stream":"s","record":{}}"#).is_none());
        assert!(read_line(b"{").is_none());
        assert!(read_line(br#"{"type":"REJECT","stream":"s","record":3}"#).unwrap().is_err());
    }
}
