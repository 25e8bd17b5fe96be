//! The only writer to stdout.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::operations::error::{Class, Classified};

mod background;
mod rewrite;

use background::{Background, WriteStatus};
pub use rewrite::{Emptied, Rewrite, RewriteError};

/// A stream as emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its name.
    pub stream: String,
    /// Its schema.
    pub schema: Value,
    /// The properties that identify a record.
    pub key_properties: Vec<String>,
}

/// The size of a buffer before it is written: one `write` per line would make a tap slow.
const BUFFER_BYTES: usize = 64 * 1024;
/// The most octets buffered while the previous buffer is being written.
const MOST_BYTES: usize = 4 * BUFFER_BYTES;

/// A message could not be emitted.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Writing to stdout failed.
    #[error("writing to stdout: {0}")]
    Stdout(#[from] io::Error),
    /// A message could not be rewritten.
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

/// Writes lines to stdout (or, in tests, to another output).
///
/// A flush follows STATE and ACTIVATE_VERSION. RECORDs wait until the buffer is full.
#[derive(Debug)]
pub struct SingerWriter<W: Write = io::Stdout> {
    output: Output<W>,
    buffer: Vec<u8>,
    /// Rewrites messages before they are emitted.
    rewrite: Option<Box<dyn Rewrite>>,
    /// The end of the rewritten part of the buffer.
    rewritten: usize,
    /// Whether the output is a terminal.
    is_seen: bool,
}

#[derive(Debug)]
enum Output<W> {
    Direct(W),
    Background(Background),
}

/// Waits until stdout accepts more.
#[derive(Debug, Clone)]
pub struct Room(Option<Arc<WriteStatus>>);

impl Room {
    /// Waits until the previous buffer is written.
    pub async fn wait(&self) {
        if let Some(status) = &self.0 {
            status.idle().await;
        }
    }
}

impl SingerWriter {
    /// Returns the writer of this process's stdout. There must be only one.
    pub fn stdout() -> Self {
        Self { is_seen: io::stdout().is_terminal(), ..Self::new(io::stdout()) }
    }

    /// Returns a writer to stdout on a separate thread, for callers with other work while the reader is slow.
    pub fn background() -> Self {
        let output = Output::Background(Background::start(io::stdout()));
        Self { output, ..Self::stdout() }
    }
}

impl<W: Write> SingerWriter<W> {
    /// Returns a writer to `output`.
    pub fn new(output: W) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES * 2);
        Self { output: Output::Direct(output), buffer, rewrite: None, rewritten: 0, is_seen: false }
    }

    /// Sets a rewriter for all messages from now on.
    pub fn rewrite_with(&mut self, rewrite: Box<dyn Rewrite>) {
        self.rewrite = Some(rewrite);
        self.rewritten = self.buffer.len();
    }

    /// Emits messages that the rewriter has deferred, before the next message.
    fn settle(&mut self) -> Result<(), WriteError> {
        if let Some(rewrite) = &mut self.rewrite {
            rewrite.settle(&mut self.buffer)?;
        }
        Ok(())
    }

    /// Returns the names under which a stream is emitted.
    fn names_of(&self, stream: &str) -> Vec<String> {
        self.rewrite.as_ref().map_or_else(|| vec![stream.to_owned()], |rewrite| rewrite.names(stream))
    }

    /// Rewrites the RECORD lines added to the buffer.
    fn rewrite_records(&mut self) -> Result<(), WriteError> {
        if let Some(rewrite) = &mut self.rewrite {
            let lines = self.buffer.split_off(self.rewritten.min(self.buffer.len()));
            rewrite.records(&lines, &mut self.buffer)?;
            self.rewritten = self.buffer.len();
        }
        Ok(())
    }

    /// Emits a SCHEMA message.
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

    /// Returns the buffer into which a converter writes a RECORD line with its line feed.
    /// [`Self::record_done`] must follow.
    pub fn record_buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes the buffer once it is large enough.
    pub fn record_done(&mut self) -> Result<(), WriteError> {
        if self.record_taken()? { self.hand_over() } else { Ok(()) }
    }

    /// Returns whether [`Self::hand_over`] must follow, for callers with work to do before data leaves the process.
    pub fn record_taken(&mut self) -> Result<bool, WriteError> {
        if self.rewrite.is_some() {
            self.rewrite_records()?;
        }
        Ok(self.buffer.len() >= BUFFER_BYTES && (!self.is_congested() || self.buffer.len() >= MOST_BYTES))
    }

    /// Whether more output is pending than stdout currently accepts.
    pub fn is_congested(&self) -> bool {
        self.buffer.len() >= BUFFER_BYTES
            && match &self.output {
                Output::Direct(_) => false,
                Output::Background(background) => background.is_writing(),
            }
    }

    /// Returns a handle to wait on while [`Self::is_congested`].
    pub fn room(&self) -> Room {
        Room(match &self.output {
            Output::Direct(_) => None,
            Output::Background(background) => Some(background.status().clone()),
        })
    }

    /// Returns the output streams of a stream of which a filter left out every record since the last call.
    pub fn emptied(&mut self, stream: &str) -> Vec<Emptied> {
        self.rewrite.as_mut().map(|rewrite| rewrite.emptied(stream)).unwrap_or_default()
    }

    /// Emits an ACTIVATE_VERSION message under each name of a stream, but for these (see [`Self::emptied`]).
    pub fn activate_version(
        &mut self,
        stream: &str,
        version: i64,
        but: &[Emptied],
    ) -> Result<(), WriteError> {
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
            if but.iter().any(|emptied| emptied.name == stream) {
                continue;
            }
            self.json(&ActivateVersion { r#type: "ACTIVATE_VERSION", stream: &stream, version })?;
        }
        self.flush()
    }

    /// Emits a STATE message of a tap.
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

    /// Prints output for people: a catalog, a report.
    /// Terminal control characters are escaped, which leaves JSON equivalent.
    pub fn show(&mut self, text: &str) -> Result<(), WriteError> {
        self.line(&ldap_directory::text::printable_lines(text))
    }

    /// Prints one line unchanged: a target's bare STATE value.
    pub fn line(&mut self, text: &str) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(b'\n');
        self.flush()
    }

    /// Prints output for people with colors. The caller escapes text that is not its own.
    pub fn show_colored(&mut self, text: &str) -> Result<(), WriteError> {
        let is_seen = std::mem::replace(&mut self.is_seen, false);
        let result = self.line(text);
        self.is_seen = is_seen;
        result
    }

    /// Returns the number of octets that are not yet written.
    pub fn pending(&self) -> usize {
        let written_now = match &self.output {
            Output::Direct(_) => 0,
            Output::Background(background) => background.octets(),
        };
        self.buffer.len() + written_now
    }

    /// Flushes all output to the system.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.hand_over()?;
        match &self.output {
            Output::Direct(_) => Ok(()),
            Output::Background(background) => Ok(background.wait()?),
        }
    }

    /// Passes the buffer to the writing thread, without waiting for the write.
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
    fn writer_escapes_terminal_control_characters() {
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
    fn writer_messages_have_singers_shape() {
        let mut out = Vec::new();
        let mut writer = SingerWriter::new(&mut out);
        writer.schema("s", &json!({"type": "object"}), &["dn".into()], &[]).unwrap();
        writer.record_buffer().extend_from_slice(b"{}\n");
        writer.record_done().unwrap();
        writer.activate_version("s", 7, &[]).unwrap();
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
