//! Stream maps and flattening, on what is taken in. With a batch they apply to its records as to any.

use std::io::Write;

use singer_common::maps::Maps;
use singer_common::message::{Message, RecordMessage, SchemaMessage};

use super::{InFile, Load, LoadError};

impl<W: Write> Load<'_, W> {
    /// Takes a message in as the maps have it.
    pub(super) fn take_mapped(&mut self, line: u64, message: Message) -> Result<(), LoadError> {
        match message {
            Message::Schema(message) => self.with_maps(|load, maps| {
                let outgoing = maps
                    .schema(&message.stream, &message.schema, &message.key_properties)
                    .map_err(|error| LoadError::Settings { line, error })?;
                for mapped in outgoing {
                    let (stream, schema, key_properties) =
                        (mapped.stream, mapped.schema, mapped.key_properties);
                    load.schema(line, &SchemaMessage { stream, schema, key_properties })?;
                }
                Ok(())
            }),
            Message::Record(message) => self.record_or_mapped(line, message, None),
            Message::ActivateVersion { stream, version } => self.with_maps(|load, maps| {
                for name in maps.names(&stream) {
                    load.activate(line, name.to_owned(), version);
                }
                Ok(())
            }),
            Message::State(_) | Message::Batch(_) => Ok(()),
        }
    }

    /// Takes a record in: as the maps have it, where there are any.
    pub(super) fn record_or_mapped(
        &mut self,
        line: u64,
        message: RecordMessage,
        in_file: Option<InFile>,
    ) -> Result<(), LoadError> {
        if !self.maps.as_ref().is_some_and(|maps| maps.knows(&message.stream)) {
            return self.record(line, message, in_file);
        }
        self.with_maps(|load, maps| {
            let mapped = maps
                .record(&message.stream, &message.record)
                .map_err(|error| LoadError::StreamMap { line, error }.in_file(in_file.as_ref()))?;
            for (stream, record) in mapped {
                let mapped = RecordMessage { stream: stream.to_owned(), record, version: message.version };
                load.record(line, mapped, in_file.clone())?;
            }
            Ok(())
        })
    }

    /// Whether a stream's SCHEMA came.
    pub(super) fn knows(&self, stream: &str) -> bool {
        self.streams.contains_key(stream) || self.maps.as_ref().is_some_and(|maps| maps.knows(stream))
    }

    fn with_maps(
        &mut self,
        take: impl FnOnce(&mut Self, &mut Maps) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let Some(mut maps) = self.maps.take() else { return Ok(()) };
        let result = take(self, &mut maps);
        self.maps = Some(maps);
        result
    }
}
