//! Input lines, with their numbers.

use std::io::{self, ErrorKind, Read};

/// The longest line accepted. Meltano's limit is 50 MiB; an endless line must not exhaust memory.
pub const MAX_LINE_BYTES: usize = 256 * 1024 * 1024;
/// The size of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads lines and counts them.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    /// Octets read and not yet returned, from `start` on. There is no line feed before `searched`.
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    is_at_end: bool,
    number: u64,
    longest: usize,
}

impl<R: Read> LineReader<R> {
    /// Returns a reader at the start of its input.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            is_at_end: false,
            number: 0,
            longest: MAX_LINE_BYTES,
        }
    }

    /// Returns the next line without its line feed, and its number from 1; `None` at the end.
    /// Waits for input only if no complete line is buffered.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let (line, next) = loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', unsearched) {
                let end = self.searched + at;
                break (self.start..end, end + 1);
            }
            self.searched = self.buffer.len();
            if self.is_at_end {
                if self.start == self.buffer.len() {
                    return Ok(None);
                }
                break (self.start..self.buffer.len(), self.buffer.len());
            }
            if self.buffer.len() - self.start > self.longest {
                return Err(self.too_long());
            }
            self.read_on()?;
        };
        (self.start, self.searched) = (next, next);
        self.number += 1;
        Ok(Some((self.number, self.buffer.get(line).unwrap_or_default())))
    }

    /// Whether a complete line is buffered.
    pub fn has_line(&self) -> bool {
        memchr::memchr(b'\n', self.buffer.get(self.searched..).unwrap_or_default()).is_some()
    }

    fn read_on(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let length = self.buffer.len();
        // The step does not grow with the line: a pipe fills a small part of each step, but all of it is zeroed.
        let room = CHUNK_BYTES.min(self.longest + 1 - length.min(self.longest));
        self.buffer.resize(length + room, 0);
        let read = loop {
            match self.input.read(self.buffer.get_mut(length..).unwrap_or_default()) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + read.as_ref().map_or(0, |n| *n));
        self.is_at_end = read? == 0;
        Ok(())
    }

    fn too_long(&self) -> io::Error {
        let text = format!("line {} is longer than {} bytes", self.number + 1, self.longest);
        io::Error::new(ErrorKind::InvalidData, text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An input that arrives in pieces.
    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.front_mut() else { return Ok(0) };
            let length = piece.len().min(out.len());
            out[..length].copy_from_slice(&piece[..length]);
            piece.drain(..length);
            if piece.is_empty() {
                self.0.pop_front();
            }
            Ok(length)
        }
    }

    fn lines(input: impl Read) -> Vec<(u64, String)> {
        let mut reader = LineReader::new(input);
        let mut seen = Vec::new();
        while let Some((number, line)) = reader.next_line().unwrap() {
            seen.push((number, String::from_utf8(line.to_vec()).unwrap()));
        }
        seen
    }

    #[test]
    fn reader_numbers_lines() {
        assert_eq!(lines(&b"a\n\nb"[..]), [(1, "a".into()), (2, String::new()), (3, "b".into())]);
        let long = "x".repeat(5 * CHUNK_BYTES);
        assert_eq!(lines(format!("{long}\ny\n").as_bytes()), [(1, long), (2, "y".into())]);
    }

    #[test]
    fn reader_knows_whether_a_line_is_buffered() {
        let mut reader = LineReader::new(&b"a\nb\nc"[..]);
        assert!(!reader.has_line());
        reader.next_line().unwrap();
        assert!(reader.has_line());
        reader.next_line().unwrap();
        assert!(!reader.has_line());
    }

    #[test]
    fn reader_rejects_an_endless_line() {
        let mut reader = LineReader::new(io::repeat(b'x'));
        reader.longest = 3 * CHUNK_BYTES;
        let error = reader.next_line().unwrap_err().to_string();
        assert!(error.contains("line 1 is longer"), "{error}");
    }

    proptest! {
        #[test]
        fn reader_accepts_any_pieces(pieces in proptest::collection::vec("[ab\n]{1,9}", 0..12)) {
            let whole = pieces.concat();
            let expected: Vec<String> = whole.lines().map(str::to_owned).collect();
            let found = lines(Pieces(pieces.into_iter().map(String::into_bytes).collect()));
            let texts: Vec<String> = found.iter().map(|(_, text)| text.clone()).collect();
            prop_assert_eq!(texts, expected);
            prop_assert!(found.iter().zip(1..).all(|((number, _), counted)| *number == counted));
        }
    }
}
