//! From a line of the input to a task, on a thread of its own, so that mapping and writing overlap. Pure except for the
//! reading.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, BufRead};
use std::sync::{Arc, Mutex};

use ldap_directory::entry::base_type;
use ldap_directory::nearest::nearest_of_many;
use ldap_directory::schema::{Coverage, Schema};
use ldap_directory::{Directory, KnownNames};
use serde_json::Value;
use serde_json::value::RawValue;
use singer_common::maps::Maps;
use singer_common::operations::facts::Warning;
use singer_common::singer::deletion;
use singer_common::singer::message::{
    BatchMessage, Flaw, Message, MessageError, RecordMessage, SchemaMessage, marked, repaired,
};
use singer_common::singer::reader::LineReader;
use singer_common::singer::record::Record;
use tokio::sync::mpsc;

use super::batch::{InBatch, read_batch};
use super::in_file::InFile;
use super::stream::{MappedRecord, StreamDefinition, key_kind};
use super::{BatchError, LoadError};
use crate::config::{OnError, TargetConfig};
use crate::load::rejects::{self, RejectSchema, Retried};
use crate::map::Mapping;
use crate::map::validate::{RecordValidator, guarded};

/// The most chunks of lines between the reader's thread and the run.
const PARTS_AHEAD: usize = 2;
/// The size of a chunk in octets; less if the input has no more for now.
const PART_BYTES: usize = 32 * 1024;

/// A line of the input, mapped.
pub(super) enum InputLine {
    Schema {
        stream: Arc<StreamDefinition>,
        warnings: Vec<Warning>,
    },
    Record(Box<MappedRecord>),
    State(Box<RawValue>),
    ActivateVersion {
        stream: String,
        version: i64,
    },
    /// A line of a reject file without a record.
    Nothing,
    Failed(LoadError),
}

/// A line that is JSON only after a repair.
enum Repaired {
    /// It is handled as this.
    Mapped(InputLine),
    /// It is parsed again as this.
    Json(Vec<u8>),
}

/// Lines with their numbers, from 1.
type InputLines = Vec<(u64, InputLine)>;

/// An event of the reader's thread.
pub(super) enum InputEvent {
    Lines(InputLines),
    Failed(io::Error),
    /// The end of the input. A channel that closes without it has lost lines.
    End,
}

/// Maps the lines of the input.
pub(super) struct LineMapper {
    config: TargetConfig,
    directory: Directory,
    schema: Arc<Schema>,
    takes_unknown: bool,
    retry_rejects: bool,
    pub(super) streams: foldhash::HashMap<String, Arc<StreamDefinition>>,
    /// The SCHEMA of each stream.
    schemas: HashMap<String, SchemaMessage>,
    /// The warnings that were logged.
    logged: HashSet<String>,
    /// Stream maps and flattening.
    pub(super) maps: Option<Maps>,
    /// The properties of all streams, before and after stream maps.
    properties: BTreeSet<String>,
}

impl LineMapper {
    /// Returns a mapper for this directory. `retry_rejects`: the input is a reject file.
    pub(super) fn new(config: &TargetConfig, directory: &Directory, retry_rejects: bool) -> Self {
        Self {
            config: config.clone(),
            directory: directory.clone(),
            schema: directory.schema().clone(),
            takes_unknown: directory.takes_unknown_attributes(),
            retry_rejects,
            streams: foldhash::HashMap::default(),
            schemas: HashMap::new(),
            logged: HashSet::new(),
            // Rejected records are already mapped.
            maps: config.maps.clone().filter(|_| !retry_rejects),
            properties: BTreeSet::new(),
        }
    }

    pub(super) fn know(&mut self, message: &SchemaMessage) {
        let properties = message.schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, _) in properties {
            if !self.properties.contains(name) {
                self.properties.insert(name.clone());
            }
        }
    }

    /// Warns of settings with names that neither the input nor the directory has.
    fn warn_of_unused(&self) {
        if self.retry_rejects || self.streams.is_empty() {
            return;
        }
        self.maps.iter().for_each(Maps::log_left_out);
        for unused in self.maps.iter().flat_map(Maps::unused) {
            unused.warn();
        }
        let known = KnownNames::new(&self.directory);
        let setting = "secret_attributes";
        for name in &self.config.directory.secret_attributes {
            let name = base_type(name);
            let is_property = self.properties.iter().any(|property| property.eq_ignore_ascii_case(name));
            let Err(unknown) = known.attribute(name) else { continue };
            if is_property || self.schema.coverage() != Coverage::Whole && !self.takes_unknown {
                continue;
            }
            let of_records = nearest_of_many(name, self.properties.iter().map(String::as_str));
            let nearest = of_records.into_iter().chain(unknown.near.iter().map(String::as_str)).next();
            let text = format!("setting `{setting}`: neither a record nor the directory has `{name}`");
            Warning::of_setting(setting, text).near(name, nearest).log();
        }
    }

    /// Maps a line. `false`: no more lines are wanted.
    fn line(&mut self, number: u64, text: &[u8], out: &mut LineSender) -> bool {
        if self.retry_rejects
            && let Some(retried) = rejects::read_line(text)
        {
            let line = match (&retried, repaired(text)) {
                (Err(_), Some((octets, flaw))) => self.flawed_reject(number, text, &octets, flaw),
                _ => None,
            };
            let line = line.unwrap_or_else(|| self.retried(number, retried));
            return out.push(number, text.len(), line);
        }
        let line = match Message::parse(text) {
            Ok(Message::Record(record)) if self.is_mapped(&record.stream) => {
                return self.mapped_records(number, record, None, text.len(), out);
            }
            Ok(Message::Record(record)) => self.record(number, record, None, Vec::new()),
            Ok(Message::Schema(schema)) if self.maps.is_some() => {
                return self.mapped_streams(number, &schema, out);
            }
            Ok(Message::Schema(schema)) => self.stream(number, &schema).unwrap_or_else(InputLine::Failed),
            Ok(Message::State(state)) => InputLine::State(state),
            Ok(Message::ActivateVersion { stream, version }) if self.is_mapped(&stream) => {
                let names = self.maps.as_ref().map(|maps| maps.names(&stream)).into_iter().flatten();
                let names: Vec<String> = names.map(ToString::to_string).collect();
                return names
                    .into_iter()
                    .all(|stream| out.push(number, 0, InputLine::ActivateVersion { stream, version }));
            }
            Ok(Message::ActivateVersion { stream, version }) => {
                InputLine::ActivateVersion { stream, version }
            }
            Ok(Message::Batch(batch)) => return self.batch(number, &batch, out),
            Err(MessageError::UnknownType(kind)) if kind == rejects::KIND => {
                InputLine::Failed(LoadError::Reject { line: number })
            }
            Err(error) => {
                match repaired(text).and_then(|(octets, flaw)| self.flawed(number, text, octets, flaw)) {
                    Some(Repaired::Mapped(line)) => line,
                    Some(Repaired::Json(octets)) => return self.line(number, &octets, out),
                    None => InputLine::Failed(LoadError::Message { line: number, error }),
                }
            }
        };
        out.push(number, text.len(), line)
    }

    /// Handles a line that is JSON except for a flaw. NaN and infinities become null, with one warning; another flaw is an
    /// error of the record. `None`: it is not a record.
    fn flawed(&mut self, line: u64, text: &[u8], octets: Vec<u8>, flaw: Flaw) -> Option<Repaired> {
        let message = Message::parse(&octets).ok()?;
        if self.is_passable(&format!("line {line}"), flaw) {
            return Some(Repaired::Json(octets));
        }
        match message {
            Message::Record(record) => {
                let kept = Message::parse(&marked(text)).ok().and_then(|message| match message {
                    Message::Record(record) => Some(record.record),
                    _ => None,
                });
                self.faulty(line, record, kept, None, flaw).map(Repaired::Mapped)
            }
            // In a description, half of a character does not matter.
            Message::Schema(schema) => {
                tracing::warn!(stream = schema.stream, line, "line {line}: in the SCHEMA, {}", flaw.text());
                Some(Repaired::Json(octets))
            }
            _ => None,
        }
    }

    /// Handles a line of a reject file whose record still has the flaw that it was rejected for.
    fn flawed_reject(&self, line: u64, text: &[u8], octets: &[u8], flaw: Flaw) -> Option<InputLine> {
        let record = |octets: &[u8]| rejects::read_line(octets)?.ok()?.message;
        self.faulty(line, record(octets)?, record(&marked(text)).map(|kept| kept.record), None, flaw)
    }

    /// Whether the only flaw is NaN or an infinity, of which a warning is logged once.
    fn is_passable(&mut self, place: &str, flaw: Flaw) -> bool {
        if flaw == Flaw::NoNumber && self.logged.insert(flaw.text().to_owned()) {
            tracing::warn!("{place}: {}", flaw.text());
        }
        flaw == Flaw::NoNumber
    }

    /// Returns a record whose line has a flaw; `None` for an unknown stream. `kept`: the record with what is invalid, for the reject
    /// file.
    fn faulty(
        &self,
        line: u64,
        record: RecordMessage,
        kept: Option<Record>,
        in_file: Option<InFile>,
        flaw: Flaw,
    ) -> Option<InputLine> {
        let RecordMessage { stream, record, version } = record;
        let plan = self.streams.get(&stream)?;
        let outcome = Err(LoadError::record(line, &stream, flaw.text().to_owned()));
        let mut planned = plan.planned(line, record, version, in_file, outcome);
        planned.record = kept.map(Record::into_value).or(planned.record);
        Some(InputLine::Record(Box::new(planned)))
    }

    fn retried(&self, line: u64, retried: Result<Retried, MessageError>) -> InputLine {
        match retried {
            Ok(Retried { message: Some(message), still_masked, is_unmapped, reject }) => {
                let stream = &message.stream;
                if let Some(plan) = self.streams.get(stream).filter(|_| is_unmapped) {
                    let RecordMessage { record, version, .. } = message;
                    let outcome = Err(LoadError::Unmapped { line });
                    return InputLine::Record(Box::new(plan.planned(line, record, version, None, outcome)));
                }
                let warning = |property: &String| {
                    let text = format!(
                        "line {line}, stream `{stream}`: `{property}` is masked, and is left out: put the value in for it to be written"
                    );
                    Warning::from(text).in_stream(stream)
                };
                let warnings = still_masked.iter().map(warning).collect();
                match self.record(line, message, None, warnings) {
                    InputLine::Record(mut planned) => {
                        planned.reject = Some(reject);
                        InputLine::Record(planned)
                    }
                    other => other,
                }
            }
            Ok(Retried { message: None, .. }) => InputLine::Nothing,
            Err(error) => InputLine::Failed(LoadError::Message { line, error }),
        }
    }

    /// Maps the records of a batch, as if each had arrived as a RECORD.
    fn batch(&mut self, line: u64, message: &BatchMessage, out: &mut LineSender) -> bool {
        // Opening a file may take long: the lines before it are sent first.
        if !out.flush() {
            return false;
        }
        let BatchMessage { stream, version, .. } = message;
        let is_mapped = self.is_mapped(stream);
        let read = if is_mapped || self.streams.contains_key(stream) {
            read_batch(message, &mut |InBatch { place, octets, record, flaw, kept, is_last_here }| {
                let record = RecordMessage { stream: stream.clone(), record, version: *version };
                let fault = flaw.filter(|flaw| !self.is_passable(&place.to_string(), *flaw));
                let is_wanted = if let Some(flaw) = fault {
                    let planned = self.faulty(line, record, kept, Some(place), flaw);
                    out.push(line, octets, planned.unwrap_or(InputLine::Nothing))
                } else if is_mapped {
                    self.mapped_records(line, record, Some(&place), octets, out)
                } else {
                    out.push(line, octets, self.record(line, record, Some(place), Vec::new()))
                };
                is_wanted && (!is_last_here || out.flush())
            })
        } else {
            Err(BatchError::NoSchema)
        };
        match read {
            Ok(()) => out.is_wanted(),
            Err(error) => {
                let stream = message.stream.clone();
                out.push(line, 0, InputLine::Failed(LoadError::Batch { line, stream, error }))
            }
        }
    }

    pub(super) fn record(
        &self,
        line: u64,
        message: RecordMessage,
        in_file: Option<InFile>,
        warnings: Vec<Warning>,
    ) -> InputLine {
        let RecordMessage { stream: name, record, version } = message;
        let Some(stream) = self.streams.get(&name) else {
            let reason = "a RECORD came before the stream's SCHEMA".into();
            return InputLine::Failed(LoadError::record(line, &name, reason));
        };
        InputLine::Record(Box::new(MappedRecord { warnings, ..stream.plan(line, record, version, in_file) }))
    }

    /// Whether stream maps apply to a stream.
    fn is_mapped(&self, stream: &str) -> bool {
        self.maps.as_ref().is_some_and(|maps| maps.knows(stream))
    }

    pub(super) fn stream(&mut self, line: u64, message: &SchemaMessage) -> Result<InputLine, LoadError> {
        // Some taps repeat it before each record: an equal one changes nothing.
        if self.schemas.get(&message.stream) == Some(message)
            && let Some(stream) = self.streams.get(&message.stream)
        {
            return Ok(InputLine::Schema { stream: stream.clone(), warnings: Vec::new() });
        }
        self.know(message);
        let bad = |reason| LoadError::record(line, &message.stream, reason);
        // Without properties no record would have a value. The SDK's targets fail as well.
        if !message.schema.get("properties").is_some_and(Value::is_object) {
            return Err(bad("the SCHEMA has no `properties`".to_owned()));
        }
        let mut warnings = Vec::new();
        let mapping =
            guarded(|| Mapping::new(message, &self.config, &self.schema, self.takes_unknown, &mut warnings));
        let validator = if self.config.validate_records {
            let used = match &mapping {
                Ok(Ok(mapping)) => mapping.mail_properties(&self.schema),
                _ => BTreeSet::new(),
            };
            let validator =
                RecordValidator::new(&message.schema, &|name| used.contains(name), &mut warnings).map_err(|e| {
                    bad(format!(
                        "the SCHEMA is not a valid JSON schema: {e}; correct it, or set validate_records to false"
                    ))
                })?;
            Some(validator)
        } else {
            None
        };
        let settings = |error| LoadError::Settings { line, error };
        let mapping = mapping.map_err(bad)?.map_err(settings)?;
        mapping.check_filters(&message.stream, &self.directory, &mut warnings).map_err(settings)?;
        // A tap may repeat its SCHEMA before each record.
        warnings.retain(|warning| self.logged.insert(warning.text.clone()));
        let key_kind = key_kind(&message.key_properties, mapping.is_mirror(), self.config.dn_rewrite.len());
        let is_mirror_without_key = message.key_properties.is_empty() && mapping.is_mirror();
        let reject_schema = Arc::new(RejectSchema::new(message, mapping.secret_properties()));
        let stream = Arc::new(StreamDefinition {
            name: message.stream.as_str().into(),
            secret_keys: message
                .key_properties
                .iter()
                .filter(|name| reject_schema.is_secret(name))
                .cloned()
                .collect(),
            reject_schema,
            naming_properties: mapping.naming_properties(),
            mapping: Arc::new(mapping),
            validator,
            key_properties: message.key_properties.clone(),
            is_mirror_without_key,
            schema: self.schema.clone(),
            above: Mutex::default(),
            keeps_records: matches!(self.config.on_error, OnError::Skip { .. }),
            key_kind,
            has_deletion_marker: has_deletion_marker(&message.schema),
        });
        self.schemas.insert(message.stream.clone(), message.clone());
        self.streams.insert(message.stream.clone(), stream.clone());
        Ok(InputLine::Schema { stream, warnings })
    }
}

fn has_deletion_marker(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties| properties.keys().any(|name| deletion::is_marker(name)))
}

/// Sends lines in chunks: not one by one, and not later than the input blocks.
pub(super) struct LineSender {
    sender: mpsc::Sender<InputEvent>,
    part: InputLines,
    octets: usize,
}

impl LineSender {
    /// Adds a line. `false`: no more lines are wanted.
    pub(super) fn push(&mut self, number: u64, octets: usize, line: InputLine) -> bool {
        self.part.push((number, line));
        self.octets += octets;
        if self.octets >= PART_BYTES { self.flush() } else { true }
    }

    fn flush(&mut self) -> bool {
        self.octets = 0;
        let part = std::mem::take(&mut self.part);
        part.is_empty() && self.is_wanted() || self.sender.blocking_send(InputEvent::Lines(part)).is_ok()
    }

    fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Reads lines on a thread of its own: a pipe that blocks must not stop writes.
pub(super) fn read_lines(
    input: Box<dyn BufRead + Send>,
    mut planner: LineMapper,
) -> mpsc::Receiver<InputEvent> {
    let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
    std::thread::spawn(move || {
        let mut reader = LineReader::new(input);
        let mut out = LineSender { sender, part: InputLines::new(), octets: 0 };
        loop {
            match reader.next_line() {
                Ok(Some((number, text))) => {
                    if !planner.line(number, text, &mut out) {
                        return;
                    }
                }
                Ok(None) => {
                    planner.warn_of_unused();
                    if out.flush() {
                        let _ = out.sender.blocking_send(InputEvent::End);
                    }
                    return;
                }
                Err(e) => {
                    // The lines before it count.
                    if out.flush() {
                        let _ = out.sender.blocking_send(InputEvent::Failed(e));
                    }
                    return;
                }
            }
            if !reader.has_line() && !out.flush() {
                return;
            }
        }
    });
    receiver
}
