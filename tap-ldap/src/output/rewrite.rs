//! Applies stream maps and batches to the messages of the tap. Not used if neither is configured.

use std::borrow::Cow;

use ldap_directory::json::write_text;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use singer_common::maps::{Maps, Outgoing, Tally};
use singer_common::singer::writer::{Emptied, Rewrite, RewriteError};

use crate::output::batches::Batches;

/// The configured stream maps and batches.
#[derive(Debug)]
pub struct Rewriter {
    maps: Option<Maps>,
    batches: Option<Batches>,
}

impl Rewriter {
    /// Returns the configured rewriting, or `None`.
    pub fn new(maps: Option<Maps>, batches: Option<Batches>) -> Option<Rewriter> {
        (maps.is_some() || batches.is_some()).then_some(Rewriter { maps, batches })
    }
}

/// A RECORD line in parts.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    record: &'a RawValue,
    version: Option<i64>,
    #[serde(borrow)]
    time_extracted: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// Writes the records of this line, or adds them to the stream's file.
    fn put(
        &self,
        batches: Option<&mut Batches>,
        stream: &str,
        record: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), RewriteError> {
        if let Some(batches) = batches {
            return batches.put(stream, self.version, record.as_bytes(), out);
        }
        out.extend_from_slice(b"{\"type\":\"RECORD\",\"stream\":");
        write_text(stream, out);
        out.extend_from_slice(b",\"record\":");
        out.extend_from_slice(record.as_bytes());
        if let Some(version) = self.version {
            out.extend_from_slice(format!(",\"version\":{version}").as_bytes());
        }
        if let Some(time) = &self.time_extracted {
            out.extend_from_slice(b",\"time_extracted\":");
            write_text(time, out);
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

impl Rewrite for Rewriter {
    fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        key_properties: &[String],
    ) -> Result<Vec<Outgoing>, RewriteError> {
        match &mut self.maps {
            Some(maps) => Ok(maps.schema(stream, schema, key_properties)?),
            None => Ok(vec![Outgoing {
                stream: stream.to_owned(),
                schema: schema.clone(),
                key_properties: key_properties.to_vec(),
            }]),
        }
    }

    fn records(&mut self, lines: &[u8], out: &mut Vec<u8>) -> Result<(), RewriteError> {
        for text in lines.split(|octet| *octet == b'\n').filter(|text| !text.is_empty()) {
            let line: Line<'_> = serde_json::from_slice(text)?;
            let Some(maps) = &self.maps else {
                line.put(self.batches.as_mut(), &line.stream, line.record.get(), out)?;
                continue;
            };
            let record: Value = serde_json::from_str(line.record.get())?;
            for (stream, record) in maps.record(&line.stream, &record)? {
                line.put(self.batches.as_mut(), stream, &record.to_string(), out)?;
            }
        }
        Ok(())
    }

    fn names(&self, stream: &str) -> Vec<String> {
        match &self.maps {
            Some(maps) => maps.names(stream).map(str::to_owned).collect(),
            None => vec![stream.to_owned()],
        }
    }

    fn emptied(&mut self, stream: &str) -> Vec<Emptied> {
        let Some(maps) = &self.maps else { return Vec::new() };
        let emptied = maps.names(stream).filter_map(|name| {
            let Tally { setting, passed, left_out } = maps.take_tally(name)?;
            (passed == 0 && left_out > 0).then(|| Emptied { name: name.to_owned(), setting, left_out })
        });
        emptied.collect()
    }

    fn settle(&mut self, out: &mut Vec<u8>) -> Result<(), RewriteError> {
        self.batches.as_mut().map_or(Ok(()), |batches| batches.close_all(out))
    }
}
