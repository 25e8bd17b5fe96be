//! The input: from a line to a task.

use std::io::{BufRead, Write};
use std::sync::Arc;

use serde_json::Value;
use singer_common::dn::DnKey;
use singer_common::message::{Message, MessageError, RecordMessage, SchemaMessage};
use singer_common::reader::LineReader;
use tokio::sync::mpsc;

use super::survey::Reading;
use super::{InFile, Kept, Load, LoadError, Work};
use crate::map::{Mapping, Task};
use crate::order::Kind;
use crate::rejects::{self, Origin, Reject};
use crate::validate::RecordValidator;

/// Lines that wait between the reader's thread and the run.
const LINES_AHEAD: usize = 64;

/// A stream, once its SCHEMA is known.
pub(super) struct Stream {
    pub(super) mapping: Mapping,
    validator: Option<RecordValidator>,
    key_properties: Vec<String>,
    pub(super) origin: Arc<Origin>,
    pub(super) reading: Reading,
}

impl<W: Write> Load<'_, W> {
    /// Takes one line in. A failure is kept, not returned: what came before it still has to be written.
    pub(super) fn take(&mut self, line: u64, text: &[u8]) {
        // A failure of this line comes after every record begun so far.
        let here = u64::MAX - 1;
        let retried = if self.retry_rejects { rejects::read_line(text) } else { None };
        let message = match retried {
            Some(Ok(retried)) => {
                let stream = retried.message.as_ref().map_or("", |m| m.stream.as_str());
                for property in &retried.still_masked {
                    tracing::warn!(
                        stream,
                        "line {line}, stream `{stream}`: `{property}` is masked, and is left out: put the value in for it to be written"
                    );
                }
                let Some(message) = retried.message else {
                    tracing::warn!("line {line}: an entry that was gone, not a record: it is passed over");
                    return;
                };
                Ok(Message::Record(message))
            }
            Some(Err(error)) => Err(error),
            None => Message::parse(text),
        };
        let result = match message {
            Ok(message @ (Message::Schema(_) | Message::Record(_) | Message::ActivateVersion { .. }))
                if self.maps.is_some() =>
            {
                self.take_mapped(line, message)
            }
            Ok(Message::Schema(schema)) => self.schema(line, &schema),
            Ok(Message::Record(record)) => self.record(line, record, None),
            Ok(Message::State(state)) => {
                self.ack.state(state);
                Ok(())
            }
            Ok(Message::ActivateVersion { stream, version }) => {
                self.activate(line, stream, version);
                Ok(())
            }
            Ok(Message::Batch(batch)) => self.open_batch(line, batch),
            Err(MessageError::UnknownType(kind)) if kind == rejects::KIND => Err(LoadError::Reject { line }),
            Err(error) => Err(LoadError::Message { line, error }),
        };
        if let Err(error) = result {
            self.fail(here, error);
        }
    }

    pub(super) fn schema(&mut self, line: u64, message: &SchemaMessage) -> Result<(), LoadError> {
        let bad = |reason| LoadError::Record { line, stream: message.stream.clone(), reason };
        // Without them no record would bring anything. The SDK's targets end there, too.
        if !message.schema.get("properties").is_some_and(Value::is_object) {
            return Err(bad("the SCHEMA has no `properties`".to_owned()));
        }
        let validator = if self.config.validate_records {
            let validator = RecordValidator::new(&message.schema)
                .map_err(|e| bad(format!("the SCHEMA is no JSON schema: {e}")))?;
            Some(validator)
        } else {
            None
        };
        let mut warnings = Vec::new();
        let mapping = Mapping::new(
            message,
            self.config,
            self.directory.schema(),
            self.directory.takes_unknown_attributes(),
            &mut warnings,
        )
        .map_err(|error| LoadError::Settings { line, error })?;
        for warning in warnings {
            tracing::warn!(stream = message.stream.as_str(), "{warning}");
        }
        let origin = Arc::new(Origin::new(message, mapping.secret_properties()));
        let key_properties = message.key_properties.clone();
        let reading = Reading::default();
        let stream = Stream { mapping, validator, key_properties, origin, reading };
        self.streams.insert(message.stream.clone(), stream);
        self.counts.entry(message.stream.clone()).or_default();
        self.watch.began(&message.stream);
        Ok(())
    }

    /// Takes a record in: of a RECORD, or of the batch in hand.
    pub(super) fn record(
        &mut self,
        line: u64,
        message: RecordMessage,
        in_file: Option<InFile>,
    ) -> Result<(), LoadError> {
        let RecordMessage { stream: name, record, version } = message;
        let Some(stream) = self.streams.get(&name) else {
            let reason = "a RECORD came before the stream's SCHEMA".into();
            return Err(LoadError::Record { line, stream: name, reason });
        };
        let planned = self.plan(line, &name, stream, &record);
        let origin = stream.origin.clone();
        let mut about = about(&stream.key_properties, &record);
        if let Some(place) = &in_file {
            about = format!("{about} ({place})");
        }
        let number = self.ack.begin();
        let (task, key) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                if self.config.process_activate_version {
                    self.versions.unknown_came(&name, version);
                }
                let (reason, in_file) = (error.reason(), in_file.as_ref());
                let reject = Reject {
                    stream: &name,
                    line,
                    in_file,
                    dn: None,
                    answer: None,
                    reason: &reason,
                    record: &record,
                };
                self.reject(number, &reject, &origin, error.in_file(in_file));
                return Ok(());
            }
        };
        self.counts.entry(name.clone()).or_default().records += 1;
        let kind = match task {
            Task::Nothing => {
                self.ack.done(number);
                return Ok(());
            }
            Task::Delete { .. } => Kind::Delete,
            Task::Upsert { .. } => Kind::Upsert,
        };
        if let Task::Upsert { wanted, .. } = &task
            && !self.directory.takes_unknown_attributes()
        {
            self.unknown_classes.look(&name, wanted, self.directory.schema());
        }
        if self.config.process_activate_version && kind == Kind::Upsert {
            self.versions.came(&name, version, &key);
        }
        if kind == Kind::Upsert {
            self.think_of_an_inventory(&name, &task, &key);
        }
        let kept = self.rejects.is_some().then(|| Kept { record: Arc::new(record), origin });
        let work = Work { version, kept, in_file, ..Work::new(number, line, name, task, key, about) };
        self.order.submit(number, work.claim(), kind, work);
        Ok(())
    }

    /// What a record asks for, and the name of the entry it is about.
    fn plan(
        &self,
        line: u64,
        name: &str,
        stream: &Stream,
        record: &Value,
    ) -> Result<(Task, DnKey), LoadError> {
        let bad = |reason| LoadError::Record { line, stream: name.to_owned(), reason };
        if let Some(key) = stream.key_properties.iter().find(|k| record.get(k.as_str()).is_none()) {
            return Err(bad(format!("the record lacks its key property `{key}`")));
        }
        if let Some(validator) = &stream.validator {
            validator.check(record).map_err(bad)?;
        }
        let task = stream.mapping.map(record, self.directory.schema()).map_err(|error| LoadError::Map {
            line,
            stream: name.to_owned(),
            error,
        })?;
        let key = task.dn().map(|dn| self.applier.key(dn)).transpose().map_err(|e| bad(e.to_string()))?;
        Ok((task, key.unwrap_or_default()))
    }
}

/// A record's key, for people: `id=7`.
fn about(key_properties: &[String], record: &Value) -> String {
    let part = |name: &String| match record.get(name.as_str()) {
        Some(Value::String(text)) => format!("{name}={text}"),
        Some(other) => format!("{name}={other}"),
        None => format!("{name}="),
    };
    key_properties.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// Reads lines on a thread of its own: a pipe that stalls must not stop the writes under way.
pub(super) fn read_lines(input: Box<dyn BufRead + Send>) -> mpsc::Receiver<std::io::Result<(u64, Vec<u8>)>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut reader = LineReader::new(input);
        loop {
            let item = match reader.next_line() {
                Ok(Some(line)) => Ok(line),
                Ok(None) => return,
                Err(e) => Err(e),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
