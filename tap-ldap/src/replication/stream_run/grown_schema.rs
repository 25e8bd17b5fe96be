//! The SCHEMA of a stream, and the properties that it gets while the stream is read: of attributes under options that the catalog does not
//! have. A mirror would lack their values.

use std::io::Write;
use std::ops::Range;

use ldap_directory::entry::EntryView;
use serde_json::{Value, json};
use singer_common::singer::deletion::DELETED_AT;

use super::StreamRun;
use crate::output::Output;

impl StreamRun<'_> {
    /// Prints the SCHEMA message.
    pub(super) fn write_schema<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let mut schema = self.stream.selected_schema();
        // `dn` is first in the records, whatever its place in the catalog.
        if let Some(Value::Object(properties)) = schema.get_mut("properties")
            && let Some(dn) = properties.shift_remove("dn")
        {
            properties.shift_insert(0, "dn".to_owned(), dn);
        }
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for (name, of) in &self.grown {
                let property = properties.get(of).cloned().unwrap_or_default();
                properties.insert(name.clone(), property);
            }
        }
        if self.converter.marks_deletions()
            && let Some(Value::Object(properties)) = schema.get_mut("properties")
        {
            properties.shift_remove(DELETED_AT);
            properties.insert(
                DELETED_AT.into(),
                json!({"type": ["null", "string"], "format": "date-time", "description": "When the entry was found to be deleted"}),
            );
        }
        let keys = &self.stream.key_properties;
        Ok(output.writer.schema(&self.stream.stream, &schema, keys, &self.bookmark_properties)?)
    }

    /// Appends the RECORD line of an entry to the output's buffer, behind a SCHEMA if it has a description that the last one did not
    /// have. Returns where the line begins in the buffer, and the range of the record itself.
    ///
    /// # Errors
    /// Fails if the entry has no value of the key, or if stdout cannot be written.
    pub(crate) fn write_record<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<(usize, Range<usize>)> {
        let mut start = output.writer.record_buffer().len();
        let (version, now) = (self.version, self.clock.now());
        let mut record = self.converter.write(entry, version, now, output.writer.record_buffer())?;
        if self.grows && self.converter.has_unforeseen() {
            output.writer.record_buffer().truncate(start);
            self.grown.extend(self.converter.grow());
            output.flush()?;
            self.write_schema(output)?;
            start = output.writer.record_buffer().len();
            record = self.converter.write(entry, version, self.clock.now(), output.writer.record_buffer())?;
        }
        if let Some(keys) = &mut self.duplicate_keys {
            keys.add(entry);
        }
        Ok((start, record))
    }
}
