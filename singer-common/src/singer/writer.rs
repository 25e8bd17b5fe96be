//! The one owner of stdout.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::operations::error::{Class, Classified};

mod background;
mod rewrite;

use background::{Background, Progress};
pub use rewrite::{Rewrite, RewriteError};

/// A stream as it is emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its name.
    pub stream: String,
    /// Its schema.
    pub schema: Value,
    /// The properties that identify a record.
    pub key_properties: Vec<String>,
}

/// Bytes collected before they are handed to the system: one `write` a line is what makes a tap slow.
const BUFFER_BYTES: usize = 64 * 1024;
/// The most that is collected while the buffer before is still being written.
const MOST_BYTES: usize = 4 * BUFFER_BYTES;

/// A message could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Writing to stdout failed.
    #[error("writing to stdout: {0}")]
    Stdout(#[from] io::Error),
    /// What was to be made of a message could not be.
    #[error("{0}")]
    Rewrite(#[from] RewriteError),
}

impl Classified for WriteError {
    fn class(&self) -> Class {
        match self {
            WriteError::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => Class::OutputClosed,
            WriteError::Stdout(_) => Class::Run,
            WriteError::Rewrite(error) => error.class(),
        }
    }
}

/// Writes lines to stdout (or, in tests, anywhere).
///
/// STATE and ACTIVATE_VERSION are followed by a flush, RECORD is not: records wait for the buffer to fill.
#[derive(Debug)]
pub struct SingerWriter<W: Write = io::Stdout> {
    output: Output<W>,
    buffer: Vec<u8>,
    /// What changes messages on their way out.
    rewrite: Option<Box<dyn Rewrite>>,
    /// Up to where the buffer holds what goes out as it is.
    rewritten: usize,
    /// Whether people see what is printed, on a terminal.
    is_seen: bool,
}

#[derive(Debug)]
enum Output<W> {
    Direct(W),
    Background(Background),
}

/// Waits until stdout takes more.
#[derive(Debug, Clone)]
pub struct Room(Option<Arc<Progress>>);

impl Room {
    /// Waits.
    pub async fn wait(&self) {
        if let Some(progress) = &self.0 {
            progress.idle().await;
        }
    }
}

impl SingerWriter {
    /// The writer of this process's stdout. There should be one.
    pub fn stdout() -> Self {
        Self { is_seen: io::stdout().is_terminal(), ..Self::new(io::stdout()) }
    }

    /// The same, written by a thread of its own, for who has something to do while nobody reads.
    pub fn background() -> Self {
        let output = Output::Background(Background::start(io::stdout()));
        Self { output, ..Self::stdout() }
    }
}

impl<W: Write> SingerWriter<W> {
    /// A writer to `output`.
    pub fn new(output: W) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES * 2);
        Self { output: Output::Direct(output), buffer, rewrite: None, rewritten: 0, is_seen: false }
    }

    /// Has messages changed on their way out from now on.
    pub fn rewrite_with(&mut self, rewrite: Box<dyn Rewrite>) {
        self.rewrite = Some(rewrite);
        self.rewritten = self.buffer.len();
    }

    /// Has said what has to be said before what follows.
    fn settle(&mut self) -> Result<(), WriteError> {
        if let Some(rewrite) = &mut self.rewrite {
            rewrite.settle(&mut self.buffer)?;
        }
        Ok(())
    }

    /// The names that a stream goes out with.
    fn names_of(&self, stream: &str) -> Vec<String> {
        self.rewrite.as_ref().map_or_else(|| vec![stream.to_owned()], |rewrite| rewrite.names(stream))
    }

    /// Changes the RECORD lines that came to the buffer.
    fn rewrite_records(&mut self) -> Result<(), WriteError> {
        if let Some(rewrite) = &mut self.rewrite {
            let lines = self.buffer.split_off(self.rewritten.min(self.buffer.len()));
            rewrite.records(&lines, &mut self.buffer)?;
            self.rewritten = self.buffer.len();
        }
        Ok(())
    }

    /// Prints a SCHEMA message.
    pub fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        key_properties: &[String],
        bookmark_properties: &[String],
    ) -> Result<(), WriteError> {
        #[derive(Serialize)]
        #[allow(clippy::struct_field_names, reason = "the names are Singer's")]
        struct Schema<'a> {
            r#type: &'static str,
            stream: &'a str,
            schema: &'a Value,
            key_properties: &'a [String],
            bookmark_properties: &'a [String],
        }
        let Some(rewrite) = &mut self.rewrite else {
            self.json(&Schema { r#type: "SCHEMA", stream, schema, key_properties, bookmark_properties })?;
            return self.flush();
        };
        rewrite.settle(&mut self.buffer)?;
        for outgoing in rewrite.schema(stream, schema, key_properties)? {
            let has =
                |name: &&String| outgoing.schema.get("properties").is_some_and(|p| p.get(name).is_some());
            let bookmark_properties: Vec<String> = bookmark_properties.iter().filter(has).cloned().collect();
            self.json(&Schema {
                r#type: "SCHEMA",
                stream: &outgoing.stream,
                schema: &outgoing.schema,
                key_properties: &outgoing.key_properties,
                bookmark_properties: &bookmark_properties,
            })?;
        }
        self.flush()
    }

    /// The buffer a RECORD line is written into by its converter, which ends it with a line feed;
    /// [`Self::record_done`] must follow.
    pub fn record_buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands the buffer on when it has become large enough.
    pub fn record_done(&mut self) -> Result<(), WriteError> {
        if self.record_taken()? { self.hand_over() } else { Ok(()) }
    }

    /// The same for who has something to do before anything leaves the process: whether [`Self::hand_over`] is to follow.
    pub fn record_taken(&mut self) -> Result<bool, WriteError> {
        if self.rewrite.is_some() {
            self.rewrite_records()?;
        }
        Ok(self.buffer.len() >= BUFFER_BYTES && (!self.is_congested() || self.buffer.len() >= MOST_BYTES))
    }

    /// Whether more was printed than stdout takes at the moment.
    pub fn is_congested(&self) -> bool {
        self.buffer.len() >= BUFFER_BYTES
            && match &self.output {
                Output::Direct(_) => false,
                Output::Background(background) => background.is_writing(),
            }
    }

    /// What to wait for while [`Self::is_congested`].
    pub fn room(&self) -> Room {
        Room(match &self.output {
            Output::Direct(_) => None,
            Output::Background(background) => Some(background.progress().clone()),
        })
    }

    /// Prints an ACTIVATE_VERSION message.
    pub fn activate_version(&mut self, stream: &str, version: i64) -> Result<(), WriteError> {
        #[derive(Serialize)]
        struct ActivateVersion<'a> {
            r#type: &'static str,
            stream: &'a str,
            version: i64,
        }
        if crate::operations::panics::happened() {
            return Err(io::Error::other(
                "internal error: a part of the run has ended; no version is activated",
            )
            .into());
        }
        self.settle()?;
        for stream in self.names_of(stream) {
            self.json(&ActivateVersion { r#type: "ACTIVATE_VERSION", stream: &stream, version })?;
        }
        self.flush()
    }

    /// Prints a STATE message, as taps do.
    pub fn state(&mut self, value: &Value) -> Result<(), WriteError> {
        #[derive(Serialize)]
        struct State<'a> {
            r#type: &'static str,
            value: &'a Value,
        }
        if crate::operations::panics::happened() {
            return Err(
                io::Error::other("internal error: a part of the run has ended; no STATE is printed").into()
            );
        }
        self.settle()?;
        self.json(&State { r#type: "STATE", value })?;
        self.flush()
    }

    /// Prints what people look at: a catalog, a report. What would steer their terminal becomes escapes, with which JSON is
    /// the same JSON.
    pub fn show(&mut self, text: &str) -> Result<(), WriteError> {
        self.line(&ldap_directory::text::printable_lines(text))
    }

    /// Prints one line as it is: a target's bare STATE value.
    pub fn line(&mut self, text: &str) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(b'\n');
        self.flush()
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.hand_over()?;
        match &self.output {
            Output::Direct(_) => Ok(()),
            Output::Background(background) => Ok(background.wait()?),
        }
    }

    /// Hands the buffer on, without waiting until the system has it.
    pub fn hand_over(&mut self) -> Result<(), WriteError> {
        if self.is_seen
            && let Ok(text) = std::str::from_utf8(&self.buffer)
            && let std::borrow::Cow::Owned(harmless) = ldap_directory::text::printable_lines(text)
        {
            self.buffer = harmless.into_bytes();
        }
        let result = match &mut self.output {
            Output::Direct(output) => output.write_all(&self.buffer).and_then(|()| output.flush()),
            Output::Background(background) => background.hand_over(&mut self.buffer),
        };
        self.buffer.clear();
        self.rewritten = 0;
        Ok(result?)
    }

    fn json<T: Serialize>(&mut self, message: &T) -> Result<(), WriteError> {
        serde_json::to_writer(&mut self.buffer, message).map_err(io::Error::from)?;
        self.buffer.push(b'\n');
        self.rewritten = self.buffer.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_people_see_does_not_steer_their_terminal() {
        for is_seen in [false, true] {
            let mut out = Vec::new();
            let mut writer = SingerWriter { is_seen, ..SingerWriter::new(&mut out) };
            writer.record_buffer().extend_from_slice("{\"a\":\"\u{9b}31m\u{202e}ü\u{7f}\"}\n".as_bytes());
            writer.flush().unwrap();
            let text = String::from_utf8(out).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value, json!({"a": "\u{9b}31m\u{202e}ü\u{7f}"}), "the same JSON");
            assert_eq!(text.contains(|c| matches!(c, '\u{7f}'..='\u{9f}' | '\u{202e}')), !is_seen);
        }
    }

    #[test]
    fn messages_have_singers_shape() {
        let mut out = Vec::new();
        let mut writer = SingerWriter::new(&mut out);
        writer.schema("s", &json!({"type": "object"}), &["dn".into()], &[]).unwrap();
        writer.record_buffer().extend_from_slice(b"{}\n");
        writer.record_done().unwrap();
        writer.activate_version("s", 7).unwrap();
        writer.state(&json!({"bookmarks": {}})).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"type":"SCHEMA","stream":"s","schema":{"type":"object"},"key_properties":["dn"],"bookmark_properties":[]}"#,
                "\n{}\n",
                r#"{"type":"ACTIVATE_VERSION","stream":"s","version":7}"#,
                "\n",
                r#"{"type":"STATE","value":{"bookmarks":{}}}"#,
                "\n"
            )
        );
    }
}
