//! Lines in, with their numbers.

use std::io::{self, BufRead};

/// The longest line taken: the Singer messages of Meltano end at 50 MiB; a line without end must not fill memory.
pub const MAX_LINE_BYTES: usize = 256 * 1024 * 1024;

/// Reads lines and counts them.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    number: u64,
}

impl<R: BufRead> LineReader<R> {
    /// A reader that has read nothing yet.
    pub fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    /// The next line without its line feed, and its number, counted from 1; `None` at the end.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX) + 1;
        let read = io::Read::take(&mut self.input, limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.len() > MAX_LINE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("line {} is longer than {MAX_LINE_BYTES} bytes", self.number),
            ));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some((self.number, line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_with_their_numbers() {
        let mut reader = LineReader::new(&b"a\n\nb"[..]);
        let mut seen = Vec::new();
        while let Some((number, line)) = reader.next_line().unwrap() {
            seen.push((number, String::from_utf8(line).unwrap()));
        }
        assert_eq!(seen, [(1, "a".into()), (2, String::new()), (3, "b".into())]);
    }
}
