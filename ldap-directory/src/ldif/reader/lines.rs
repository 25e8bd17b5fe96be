//! Physical lines, whatever ends them: LF, CRLF, or CR alone, also mixed, as in a file that was concatenated of files of several systems.
//! RFC 2849 ends a line by LF or CRLF, and a value never contains CR or LF unless it is encoded.

use std::io::{self, BufRead, ErrorKind};

/// The lines of an input, one at a time.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    /// The current line, without its end.
    pub(super) text: Vec<u8>,
    /// The number of the current line, from 1.
    pub(super) number: u64,
    /// Whether the last line has no end.
    pub(super) is_unended: bool,
    /// Whether the last line ended in CR alone. Otherwise, CRs and a LF are one line end: a program may convert the line ends of Windows
    /// twice.
    is_classic: bool,
    /// Empty lines to return before the next one.
    empty: u32,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, text: Vec::new(), number: 0, is_unended: false, is_classic: false, empty: 0 }
    }

    /// Reads the next line, and keeps slightly more than `room` octets of it at most. Returns `false` at the end of the input.
    pub(super) fn next(&mut self, room: usize) -> io::Result<bool> {
        self.text.clear();
        if self.empty > 0 {
            self.empty -= 1;
            self.number += 1;
            return Ok(true);
        }
        let most = room.saturating_add(2);
        let mut is_begun = false;
        loop {
            let read = match self.input.fill_buf() {
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if read.is_empty() {
                // It stays that of the last line.
                self.is_unended |= is_begun;
                self.number += u64::from(is_begun);
                return Ok(is_begun);
            }
            is_begun = true;
            let end = memchr::memchr2(b'\n', b'\r', read);
            let length = end.unwrap_or(read.len());
            let kept = length.min(most - self.text.len().min(most));
            self.text.extend_from_slice(read.get(..kept).unwrap_or_default());
            let Some(end) = end else {
                self.input.consume(length);
                continue;
            };
            let is_cr = read.get(end) == Some(&b'\r');
            self.input.consume(end + 1);
            if is_cr {
                self.after_cr()?;
            } else {
                self.is_classic = false;
            }
            self.is_unended = false;
            self.number += 1;
            return Ok(true);
        }
    }

    /// Reads what belongs to the line end that began with CR.
    fn after_cr(&mut self) -> io::Result<()> {
        let mut more = 0;
        loop {
            match self.peek()? {
                Some(b'\n') => {
                    self.input.consume(1);
                    self.is_classic = false;
                    return Ok(());
                }
                Some(b'\r') if !self.is_classic => {
                    self.input.consume(1);
                    more += 1;
                }
                _ => break,
            }
        }
        self.is_classic = true;
        self.empty = more;
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(read) => return Ok(read.first().copied()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(text: &str, buffer: usize) -> Vec<String> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text.as_bytes()));
        let mut found = Vec::new();
        while lines.next(100).unwrap() {
            found.push(String::from_utf8(lines.text.clone()).unwrap());
        }
        assert_eq!(lines.number, u64::try_from(found.len()).unwrap());
        found
    }

    #[test]
    fn every_line_end_ends_a_line() {
        for (text, expected) in [
            ("a\nb\n\nc", vec!["a", "b", "", "c"]),
            ("a\r\nb\r\n\r\nc\r\n", vec!["a", "b", "", "c"]),
            ("a\r\r\nb\r\r\n\r\r\nc\r\r\n", vec!["a", "b", "", "c"]),
            ("a\rb\r\rc\r", vec!["a", "b", "", "c"]),
            ("a\r\r\rb\r", vec!["a", "", "", "b"]),
            ("a\rb\r\rc\nd\n\ne\r\n\r\nf\rg", vec!["a", "b", "", "c", "d", "", "e", "", "f", "g"]),
            ("a\rb\r\r\nc\n", vec!["a", "b", "", "c"]),
            ("a\rb\nc\r\r\n\r\r\nd\r", vec!["a", "b", "c", "", "d"]),
            ("\r\n\r", vec!["", ""]),
            ("", vec![]),
        ] {
            for buffer in [1, 2, 3, 64] {
                assert_eq!(lines(text, buffer), expected, "{text:?} by {buffer}");
            }
        }
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("{}\rb\n", "a".repeat(1_000));
        let mut lines = Lines::new(BufReader::with_capacity(7, text.as_bytes()));
        assert!(lines.next(10).unwrap() && lines.text.len() == 12 && !lines.is_unended);
        assert!(lines.next(10).unwrap() && lines.text == b"b" && lines.number == 2);
        assert!(!lines.next(10).unwrap());
    }
}
