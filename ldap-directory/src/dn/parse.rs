//! The parser of DNs (RFC 4514 section 3): one pass, no recursion.

use super::{Ava, DnError, hex_digit};

/// An RDN: its content and its spelling.
pub(super) struct Spelt<'a> {
    pub(super) avas: Vec<Ava>,
    pub(super) text: &'a str,
    /// The offset of the end of `text`, in bytes.
    pub(super) end: usize,
    /// The offset of `text`, in bytes.
    pub(super) start: usize,
}

/// Returns the RDNs of a text, most specific first.
pub(super) fn parse(text: &str) -> Result<Vec<Spelt<'_>>, DnError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let mut rdns = Vec::new();
    reader.skip_spaces();
    if reader.peek().is_none() {
        return Ok(rdns);
    }
    loop {
        reader.skip_spaces();
        let start = reader.at;
        let mut avas = Vec::new();
        let (end, more) = loop {
            let (ava, end) = reader.ava()?;
            avas.push(ava);
            match reader.next() {
                Some(b'+') => {}
                Some(b',' | b';') => break (end, true),
                None => break (end, false),
                Some(_) => return Err(reader.unexpected(reader.at - 1)),
            }
        };
        rdns.push(Spelt { avas, text: text.get(start..end).unwrap_or_default(), start, end });
        if !more {
            return Ok(rdns);
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn unexpected(&self, at: usize) -> DnError {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let found = rest.utf8_chunks().next().and_then(|c| c.valid().chars().next());
        DnError::Unexpected { at, found: found.unwrap_or(char::REPLACEMENT_CHARACTER) }
    }

    /// Parses an assertion, and where its text ends; afterwards, the reader is at a separator or the end.
    fn ava(&mut self) -> Result<(Ava, usize), DnError> {
        self.skip_spaces();
        let attribute = self.attribute()?;
        self.skip_spaces();
        if self.peek() != Some(b'=') {
            return Err(DnError::MissingEquals(self.at));
        }
        self.at += 1;
        let after_equals = self.at;
        self.skip_spaces();
        let (value, end) = match self.peek() {
            Some(b'#') => self.hex_string()?,
            Some(b'"') => self.quoted()?,
            Some(b',' | b'+' | b';') | None => (Vec::new(), after_equals),
            Some(_) => self.plain()?,
        };
        self.skip_spaces();
        Ok((Ava { attribute, value }, end))
    }

    /// Parses a descriptor or dotted OID (RFC 4512 section 1.4). Underscores too: 389 DS and Oracle allow them.
    fn attribute(&mut self) -> Result<String, DnError> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(self.bytes.get(start..self.at).unwrap_or_default());
        if name.is_empty() {
            return Err(DnError::MissingType(start));
        }
        let oid = name.split_at_checked(4).filter(|(prefix, oid)| {
            prefix.eq_ignore_ascii_case("OID.") && oid.starts_with(|c: char| c.is_ascii_digit())
        });
        Ok(oid.map_or(&*name, |(_, oid)| oid).to_owned())
    }

    /// Parses the rest of an escape, after the backslash.
    fn escaped(&mut self) -> Result<u8, DnError> {
        let at = self.at.saturating_sub(1);
        let first = self.next().ok_or(DnError::BadEscape(at))?;
        if let Some(high) = hex_digit(first) {
            let low = self.next().and_then(hex_digit).ok_or(DnError::BadEscape(at))?;
            return Ok(high << 4 | low);
        }
        if b" \"#+,;<=>\\".contains(&first) { Ok(first) } else { Err(DnError::BadEscape(at)) }
    }

    /// Parses an unquoted value: up to a separator, without the unescaped spaces at its end.
    fn plain(&mut self) -> Result<(Vec<u8>, usize), DnError> {
        let mut value = Vec::new();
        let (mut keep, mut end) = (0, self.at);
        while let Some(byte) = self.peek() {
            match byte {
                b',' | b'+' | b';' => break,
                b'"' | 0 => return Err(self.unexpected(self.at)),
                _ => self.at += 1,
            }
            value.push(if byte == b'\\' { self.escaped()? } else { byte });
            if byte != b' ' {
                (keep, end) = (value.len(), self.at);
            }
        }
        value.truncate(keep);
        Ok((value, end))
    }

    /// Parses `"a,b"` (RFC 2253 section 4).
    fn quoted(&mut self) -> Result<(Vec<u8>, usize), DnError> {
        let start = self.at;
        self.at += 1;
        let mut value = Vec::new();
        loop {
            match self.next().ok_or(DnError::UnclosedQuote(start))? {
                b'"' => return Ok((value, self.at)),
                b'\\' => value.push(self.escaped()?),
                byte => value.push(byte),
            }
        }
    }

    /// Parses `#04024869`: the BER encoding of a value, in hex (RFC 4514 section 2.4).
    fn hex_string(&mut self) -> Result<(Vec<u8>, usize), DnError> {
        let start = self.at;
        self.at += 1;
        let mut encoding = Vec::new();
        while let Some(high) = self.peek().and_then(hex_digit) {
            self.at += 1;
            let low = self.next().and_then(hex_digit).ok_or(DnError::BadHex(start))?;
            encoding.push(high << 4 | low);
        }
        let ended = matches!(self.peek(), None | Some(b' ' | b',' | b'+' | b';'));
        if encoding.is_empty() || !ended {
            return Err(DnError::BadHex(start));
        }
        let value = string_contents(&encoding).map(<[u8]>::to_vec);
        Ok((value.unwrap_or(encoding), self.at))
    }
}

/// Returns the contents of a BER octet string, UTF8String, PrintableString or IA5String that is all of `encoding`.
fn string_contents(encoding: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = encoding.split_first()?;
    if !matches!(tag, 0x04 | 0x0C | 0x13 | 0x16) {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, contents) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (octets, contents) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (
                octets.iter().try_fold(0usize, |n, b| n.checked_mul(256)?.checked_add(usize::from(*b)))?,
                contents,
            )
        }
        _ => return None,
    };
    (contents.len() == length).then_some(contents)
}
