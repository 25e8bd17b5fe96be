//! Texts that are rarely read, kept in a temporary file once there are many.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

/// Octets that are collected in memory first.
const IN_MEMORY: usize = 256 * 1024;

/// The position of a text. Later texts have larger ones.
pub(super) type TextPosition = u32;

/// The position of a text that could not be kept.
const LOST: TextPosition = TextPosition::MAX;

/// Texts by position.
#[derive(Debug, Default)]
pub(super) struct TextSpool {
    /// Texts in memory, after those in the file.
    pending: Vec<u8>,
    file: Option<File>,
    /// The number of octets in the file.
    written: u64,
    /// Whether the file cannot be written: further texts are lost.
    has_failed: bool,
    /// The first positions of texts of another stream than those before, with the index of the stream.
    runs: Vec<(TextPosition, usize)>,
    streams: Vec<String>,
}

impl TextSpool {
    /// Returns the position of the next text.
    pub(super) fn next(&self) -> TextPosition {
        let at = self.written + self.pending.len() as u64;
        if self.has_failed { LOST } else { TextPosition::try_from(at).unwrap_or(LOST) }
    }

    /// Stores a record's stream and key.
    pub(super) fn put(&mut self, stream: &str, key: &str) -> TextPosition {
        let place = self.next();
        if place == LOST {
            return LOST;
        }
        self.note_stream(place, stream);
        for text in [stream, key] {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            self.pending.extend_from_slice(&length.to_le_bytes());
            self.pending.extend_from_slice(text.as_bytes());
        }
        if self.pending.len() >= IN_MEMORY {
            self.flush();
        }
        place
    }

    fn note_stream(&mut self, place: TextPosition, stream: &str) {
        let last = self.runs.last().and_then(|(_, index)| self.streams.get(*index));
        if last.is_some_and(|last| last == stream) {
            return;
        }
        let index = self.streams.iter().position(|name| name == stream).unwrap_or_else(|| {
            self.streams.push(stream.to_owned());
            self.streams.len() - 1
        });
        self.runs.push((place, index));
    }

    /// Returns the streams of the texts.
    pub(super) fn streams(&self) -> &[String] {
        &self.streams
    }

    /// Returns the stream of a text, if it could be kept.
    pub(super) fn stream_of(&self, place: TextPosition) -> Option<&str> {
        let after = self.runs.partition_point(|(first, _)| *first <= place);
        let (_, index) = self.runs.get(after.checked_sub(1)?)?;
        self.streams.get(*index).filter(|_| place != LOST).map(String::as_str)
    }

    /// Forgets the streams of texts before a position.
    pub(super) fn forget_streams_before(&mut self, place: TextPosition) {
        let after = self.runs.partition_point(|(first, _)| *first <= place);
        self.runs.drain(..after.saturating_sub(1));
    }

    fn flush(&mut self) {
        let written = match &mut self.file {
            Some(file) => Ok(file),
            none => tempfile::tempfile().map(|file| none.insert(file)),
        };
        let written = written.and_then(|file| {
            file.seek(SeekFrom::Start(self.written))?;
            file.write_all(&self.pending)
        });
        match written {
            Ok(()) => self.written += self.pending.len() as u64,
            Err(e) => {
                self.has_failed = true;
                tracing::warn!(
                    "the keys of the run's records cannot be kept in a temporary file: {e}; messages will not name them"
                );
            }
        }
        self.pending.clear();
    }

    /// Returns the stream and key at a position.
    pub(super) fn get(&mut self, place: TextPosition) -> Option<(String, String)> {
        if place == LOST {
            return None;
        }
        let mut at = u64::from(place);
        let mut texts = [String::new(), String::new()];
        for text in &mut texts {
            let length = self.read(at, 4)?;
            let length = u32::from_le_bytes(length.try_into().ok()?);
            *text = String::from_utf8(self.read(at + 4, usize::try_from(length).ok()?)?).ok()?;
            at += 4 + u64::from(length);
        }
        let [stream, key] = texts;
        Some((stream, key))
    }

    fn read(&mut self, at: u64, length: usize) -> Option<Vec<u8>> {
        if let Some(at) = at.checked_sub(self.written) {
            let at = usize::try_from(at).ok()?;
            return self.pending.get(at..at.checked_add(length)?).map(<[u8]>::to_vec);
        }
        let file = self.file.as_mut()?;
        let mut octets = vec![0; length];
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut octets).ok()?;
        Some(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_again_wherever_they_are() {
        let mut spool = TextSpool::default();
        let places: Vec<TextPosition> =
            (0..40_000).map(|n| spool.put("stream", &format!("id={n}"))).collect();
        assert!(spool.file.is_some() && spool.pending.len() < IN_MEMORY);
        for n in [0, 1, 17_000, 39_999] {
            assert_eq!(spool.get(places[n]), Some(("stream".to_owned(), format!("id={n}"))));
        }
        assert_eq!(spool.put("s", "after a look"), places[39_999] + 4 + 6 + 4 + 8);
        assert_eq!(spool.get(LOST), None);
    }
}
