//! As much of BER as LDAP uses (RFC 4511 section 5.1).

use std::io::Read;

/// The longest message that is read.
const LONGEST: usize = 16 << 20;

/// An identifier octet; LDAP has no tag number above 30.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u8);

impl Tag {
    /// BOOLEAN.
    pub const BOOLEAN: Tag = Tag(0x01);
    /// INTEGER.
    pub const INTEGER: Tag = Tag(0x02);
    /// OCTET STRING.
    pub const OCTETS: Tag = Tag(0x04);
    /// ENUMERATED.
    pub const ENUMERATED: Tag = Tag(0x0a);
    /// SEQUENCE.
    pub const SEQUENCE: Tag = Tag(0x30);
    /// SET.
    pub const SET: Tag = Tag(0x31);

    /// `[APPLICATION n]`, primitive.
    pub fn application(number: u8) -> Tag {
        Tag(0x40 | number)
    }

    /// `[n]`, primitive.
    pub fn context(number: u8) -> Tag {
        Tag(0x80 | number)
    }

    /// The same, of parts.
    pub fn constructed(self) -> Tag {
        Tag(self.0 | 0x20)
    }

    /// The number within the class.
    pub fn number(self) -> u8 {
        self.0 & 0x1f
    }
}

/// A value under a tag.
pub fn tagged(tag: Tag, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag.0];
    let length = content.len();
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap());
    } else {
        let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|o| *o == 0).collect();
        out.push(0x80 | u8::try_from(octets.len()).unwrap());
        out.extend(octets);
    }
    out.extend_from_slice(content);
    out
}

/// An OCTET STRING.
pub fn octets(value: &[u8]) -> Vec<u8> {
    tagged(Tag::OCTETS, value)
}

/// A SEQUENCE of what is encoded already.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(Tag::SEQUENCE, &parts.concat())
}

/// An INTEGER. All octets but those that say nothing.
pub fn integer(value: i64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let says_nothing = |n: &usize| {
        let [this, next] = [octets[*n], octets[n + 1]];
        this == 0 && next < 0x80 || this == 0xff && next >= 0x80
    };
    let skip = (0..7).take_while(says_nothing).count();
    tagged(Tag::INTEGER, &octets[skip..])
}

/// The value of an INTEGER's octets.
pub fn number(octets: &[u8]) -> i64 {
    let sign = if octets.first().is_some_and(|o| *o >= 0x80) { -1 } else { 0 };
    octets.iter().fold(sign, |n, o| (n << 8) | i64::from(*o))
}

/// Takes the first value off: its tag, its content, and what follows.
pub fn take(data: &[u8]) -> Option<(Tag, &[u8], &[u8])> {
    let (tag, rest) = data.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (octets.iter().fold(0, |n, o| n << 8 | usize::from(*o)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((Tag(*tag), content, rest))
}

/// The parts of a constructed value.
pub fn parts(mut content: &[u8]) -> Option<Vec<(Tag, &[u8])>> {
    let mut all = Vec::new();
    while !content.is_empty() {
        let (tag, inner, rest) = take(content)?;
        all.push((tag, inner));
        content = rest;
    }
    Some(all)
}

/// Reads one value whole; `None` at the end of the stream.
pub fn read(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut data = vec![0; 2];
    stream.read_exact(&mut data).ok()?;
    let length = if data[1] < 0x80 {
        usize::from(data[1])
    } else {
        let mut octets = vec![0; usize::from(data[1] & 0x7f)];
        stream.read_exact(&mut octets).ok()?;
        let length = octets.iter().fold(0, |n, o| n << 8 | usize::from(*o));
        data.extend(octets);
        length
    };
    if length > LONGEST {
        return None;
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).ok()?;
    data.extend(content);
    Some(data)
}
