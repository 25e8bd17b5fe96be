//! Applies stream maps and flattening to the input, including the records of batches.

use singer_common::singer::message::{RecordMessage, SchemaMessage};

use super::LoadError;
use super::in_file::InFile;
use super::line_mapper::{InputLine, LineMapper, LineSender};
use super::stream::duplicate_property;

impl LineMapper {
    /// Maps a SCHEMA. `false`: no more lines are wanted.
    pub(super) fn mapped_streams(
        &mut self,
        line: u64,
        message: &SchemaMessage,
        out: &mut LineSender,
    ) -> bool {
        self.know(message);
        let outgoing = self.maps.as_mut().map_or(Ok(Vec::new()), |maps| {
            maps.schema(&message.stream, &message.schema, &message.key_properties)
        });
        let outgoing = match outgoing {
            Ok(outgoing) => outgoing,
            Err(error) => return out.push(line, 0, InputLine::Failed(LoadError::Settings { line, error })),
        };
        outgoing.into_iter().all(|mapped| {
            let (stream, schema, key_properties) = (mapped.stream, mapped.schema, mapped.key_properties);
            let message = SchemaMessage { stream, schema, key_properties };
            let planned = self.stream(line, &message).unwrap_or_else(InputLine::Failed);
            out.push(line, 0, planned)
        })
    }

    /// Maps a record. `false`: no more lines are wanted.
    pub(super) fn mapped_records(
        &mut self,
        line: u64,
        message: RecordMessage,
        in_file: Option<&InFile>,
        octets: usize,
        out: &mut LineSender,
    ) -> bool {
        let Some(maps) = self.maps.as_mut() else { return true };
        let RecordMessage { stream, record, version } = message;
        let twice = record.twice().map(duplicate_property);
        let value = record.into_value();
        let mapped = match twice {
            Some(reason) => Err(LoadError::record(line, &stream, reason)),
            None => maps.record(&stream, &value).map_err(|error| LoadError::StreamMap {
                line,
                key: String::new(),
                error,
            }),
        };
        let mapped = match mapped {
            Ok(mapped) => mapped,
            Err(error) => {
                // It belongs to any of the streams that it would have been mapped to: the record is at fault.
                let names = self.maps.as_ref().map(|maps| maps.names(&stream)).into_iter().flatten();
                let plan = names.into_iter().find_map(|name| self.streams.get(name));
                let (Some(plan), Ok(record)) = (plan, value.try_into()) else {
                    return out.push(line, 0, InputLine::Failed(error.in_file(in_file)));
                };
                let planned = plan.planned(line, record, version, in_file.cloned(), Err(error));
                return out.push(line, octets, InputLine::Record(Box::new(planned)));
            }
        };
        let mapped: Vec<RecordMessage> = mapped
            .into_iter()
            // Maps return objects for objects.
            .filter_map(|(stream, record)| {
                Some(RecordMessage { stream: stream.to_owned(), record: record.try_into().ok()?, version })
            })
            .collect();
        mapped
            .into_iter()
            .all(|mapped| out.push(line, octets, self.record(line, mapped, in_file.cloned(), Vec::new())))
    }
}
