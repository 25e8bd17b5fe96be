//! The part of BER that LDAP uses (RFC 4511 section 5.1): definite lengths, tags of one octet. The reader does not recurse: each
//! caller requests the structure that it expects, so an answer cannot nest deeper than the code.

/// Universal tags (X.690 section 8).
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The header of an element: its tag and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The identifier octet.
    pub(crate) tag: u8,
    /// The length of the header.
    pub(crate) start: usize,
    /// The length of header and content.
    pub(crate) end: usize,
}

/// Why a header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incomplete {
    /// More octets are needed.
    More,
    /// No further octet can make it valid.
    Malformed,
}

/// Reads the identifier and length octets.
pub(crate) fn header(octets: &[u8]) -> Result<Header, Incomplete> {
    let (tag, first) = match octets {
        [] | [_] => return Err(Incomplete::More),
        [tag, first, ..] => (*tag, usize::from(*first)),
    };
    // Tags above 30 take more octets; LDAP has none (RFC 4511 appendix B).
    if tag & 0x1f == 0x1f {
        return Err(Incomplete::Malformed);
    }
    let (start, length) = match first {
        0..=0x7f => (2, first),
        // 0x80 is the indefinite form, which RFC 4511 section 5.1 forbids.
        0x81..=0x84 => {
            let count = first & 0x7f;
            let bytes = octets.get(2..2 + count).ok_or(Incomplete::More)?;
            (2 + count, bytes.iter().fold(0_usize, |length, b| (length << 8) | usize::from(*b)))
        }
        _ => return Err(Incomplete::Malformed),
    };
    Ok(Header { tag, start, end: start.checked_add(length).ok_or(Incomplete::Malformed)? })
}

/// Reads element after element. `None` always means "not of this structure".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Returns a reader of a content.
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Returns whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the number of remaining octets.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Returns the tag of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Returns the next element: tag and content.
    pub(crate) fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let header = header(self.rest).ok()?;
        let content = self.rest.get(header.start..header.end)?;
        self.rest = self.rest.get(header.end..)?;
        Some((header.tag, content))
    }

    /// Returns the content of the next element if it has this tag; otherwise, the reader does not advance.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.peek()? != tag {
            return None;
        }
        self.element().map(|(_, content)| content)
    }

    /// Returns a reader of a constructed element.
    pub(crate) fn constructed(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.take(tag).map(Reader::new)
    }

    /// Reads an INTEGER or ENUMERATED of up to 64 bits.
    pub(crate) fn integer(&mut self, tag: u8) -> Option<i64> {
        integer(self.take(tag)?)
    }

    /// Reads text.
    pub(crate) fn text(&mut self, tag: u8) -> Option<&'a str> {
        std::str::from_utf8(self.take(tag)?).ok()
    }
}

/// Decodes two's complement, most significant octet first.
pub(crate) fn integer(content: &[u8]) -> Option<i64> {
    let first = *content.first()?;
    if content.len() > 8 {
        return None;
    }
    let sign = if first & 0x80 == 0 { 0 } else { -1_i64 };
    Some(content.iter().fold(sign, |value, b| (value << 8) | i64::from(*b)))
}

/// The longest length in the short form (X.690 section 8.1.3.4).
const SHORT: u8 = 0x7f;
/// The capacity of a message at first, in octets.
const USUAL: usize = 512;

/// Returns a length in the long form (X.690 section 8.1.3.5), and the number of its octets.
fn long_length(length: usize) -> ([u8; 9], usize) {
    let bytes = length.to_be_bytes();
    let skipped = bytes.iter().take_while(|b| **b == 0).count();
    let mut octets = [0; 9];
    let kept = bytes.iter().skip(skipped);
    // A length has at most 8 octets.
    let first = 0x80 | u8::try_from(bytes.len() - skipped).unwrap_or(8);
    octets.iter_mut().zip([first].iter().chain(kept)).for_each(|(place, octet)| *place = *octet);
    (octets, 1 + bytes.len() - skipped)
}

/// Encodes elements.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Returns the elements that `write` encodes, as octets.
    pub(crate) fn build(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer { out: Vec::with_capacity(USUAL) };
        write(&mut writer);
        writer.out
    }

    /// Encodes an element with this content.
    pub(crate) fn primitive(&mut self, tag: u8, content: &[u8]) {
        self.out.push(tag);
        if let Ok(short @ 0..=SHORT) = u8::try_from(content.len()) {
            self.out.push(short);
        } else {
            let (octets, count) = long_length(content.len());
            self.out.extend(octets.iter().take(count));
        }
        self.out.extend_from_slice(content);
    }

    /// Encodes a constructed element.
    pub(crate) fn constructed(&mut self, tag: u8, write: impl FnOnce(&mut Writer)) {
        self.out.extend([tag, 0]);
        let start = self.out.len();
        write(self);
        let length = self.out.len() - start;
        // Mostly short: else the content makes room for its length.
        if let (Ok(short @ 0..=SHORT), Some(place)) = (u8::try_from(length), self.out.get_mut(start - 1)) {
            *place = short;
        } else {
            let (octets, count) = long_length(length);
            self.out.splice(start - 1..start, octets.into_iter().take(count));
        }
    }

    /// Encodes text or octets.
    pub(crate) fn octets(&mut self, value: impl AsRef<[u8]>) {
        self.primitive(OCTET_STRING, value.as_ref());
    }

    /// Encodes an INTEGER or ENUMERATED, in the minimal number of octets.
    pub(crate) fn integer(&mut self, tag: u8, value: i64) {
        let bytes = value.to_be_bytes();
        let fill = if value < 0 { 0xff } else { 0 };
        let redundant = |pair: &[u8]| match pair {
            [a, b] => *a == fill && (b & 0x80) == (fill & 0x80),
            _ => false,
        };
        let skipped = bytes.windows(2).take_while(|pair| redundant(pair)).count();
        self.primitive(tag, bytes.get(skipped..).unwrap_or_default());
    }

    /// Encodes a BOOLEAN.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.primitive(BOOLEAN, &[if value { 0xff } else { 0 }]);
    }

    /// Appends encoded elements.
    pub(crate) fn raw(&mut self, elements: &[u8]) {
        self.out.extend_from_slice(elements);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_of_every_form() {
        let header = |octets: &[u8]| super::header(octets).map(|h| (h.tag, h.start, h.end));
        assert_eq!(header(&[0x30, 0x03, 1, 2, 3]), Ok((0x30, 2, 5)));
        assert_eq!(header(&[0x04, 0x81, 0x80]), Ok((0x04, 3, 131)));
        assert_eq!(header(&[0x04, 0x84, 0, 0, 1, 0]), Ok((0x04, 6, 262)));
        assert_eq!(header(&[0x30]), Err(Incomplete::More));
        assert_eq!(header(&[0x30, 0x82, 1]), Err(Incomplete::More));
        assert_eq!(header(&[0x30, 0x80]), Err(Incomplete::Malformed), "indefinite length");
        assert_eq!(header(&[0x30, 0x85, 0, 0, 0, 0, 1]), Err(Incomplete::Malformed), "more than 4 GiB");
        assert_eq!(header(&[0x1f, 0x01]), Err(Incomplete::Malformed), "a tag of several octets");
    }

    proptest! {
        #[test]
        fn integers_come_back(value: i64) {
            let octets = Writer::build(|w| w.integer(INTEGER, value));
            prop_assert_eq!(Reader::new(&octets).integer(INTEGER), Some(value));
            // X.690 section 8.3.2: the first nine bits are not all the same.
            let content = Reader::new(&octets).take(INTEGER).unwrap();
            prop_assert!(content.len() == 1
                || !(content[0] == 0 && content[1] & 0x80 == 0 || content[0] == 0xff && content[1] & 0x80 != 0));
        }

        #[test]
        fn octets_of_any_length_come_back(length in 0_usize..70_000) {
            let value = vec![7; length];
            let octets = Writer::build(|w| w.constructed(SEQUENCE, |w| w.octets(&value)));
            let mut sequence = Reader::new(&octets).constructed(SEQUENCE).unwrap();
            prop_assert_eq!(sequence.take(OCTET_STRING), Some(&*value));
            prop_assert!(sequence.is_empty());
        }

        #[test]
        fn whatever_comes_is_read_without_a_panic(octets: Vec<u8>) {
            let mut reader = Reader::new(&octets);
            while reader.element().is_some() {}
        }
    }
}
