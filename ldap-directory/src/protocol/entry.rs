//! A SearchResultEntry (RFC 4511 section 4.5.2) decoded in place: nothing is copied, and the positions of its parts are kept in
//! memory that is reused for the next entry.

use std::fmt::Write as _;

use super::ber::{OCTET_STRING, Reader, SEQUENCE, SET};
use crate::entry::EntryView;
use crate::json;

/// The maximum number of attributes: beyond, their positions would need more memory than the message itself.
pub(crate) const MOST_ATTRIBUTES: usize = 65_536;

/// A range of octets of a message.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    #[inline]
    fn of(self, octets: &[u8]) -> &[u8] {
        octets.get(self.start..self.end).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
struct AttributePlace {
    description: Span,
    /// The content of the set of values.
    values: Span,
    count: usize,
}

/// The positions of the parts of an entry.
#[derive(Debug, Default)]
pub(crate) struct EntryPlaces {
    dn: Span,
    attributes: Vec<AttributePlace>,
    has_values_in_options: bool,
}

/// An entry in the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct WireEntry<'a> {
    /// The content of the operation.
    octets: &'a [u8],
    places: &'a EntryPlaces,
}

impl EntryPlaces {
    /// Checks the content of the operation: every tag, every length, and the text of the DN and the descriptions, so that no later access
    /// can fail.
    ///
    /// # Errors
    /// Fails if it is not well-formed, or if the DN is not UTF-8.
    pub(crate) fn find(&mut self, octets: &[u8]) -> Result<(), Flaw> {
        self.attributes.clear();
        self.has_values_in_options = false;
        let mut operation = Cursor { rest: octets, at: 0 };
        let (start, dn) = operation.take(OCTET_STRING).ok_or(Flaw::Form)?;
        if json::any(dn, json::high_bits) && std::str::from_utf8(dn).is_err() {
            return Err(Flaw::name(dn));
        }
        self.dn = Span { start, end: start + dn.len() };
        let is_full = |places: &Self| places.attributes.len() >= MOST_ATTRIBUTES;
        self.find_attributes(operation).ok_or_else(|| {
            let name = || String::from_utf8_lossy(dn).into_owned();
            if is_full(self) { Flaw::Attributes(name()) } else { Flaw::in_attributes(octets) }
        })
    }

    fn find_attributes(&mut self, mut operation: Cursor<'_>) -> Option<()> {
        let mut list = operation.enter(SEQUENCE)?;
        while !list.rest.is_empty() {
            let mut one = list.enter(SEQUENCE)?;
            let (start, text) = one.take(OCTET_STRING)?;
            self.has_values_in_options |= check_text(text)?;
            let description = Span { start, end: start + text.len() };
            let mut set = one.enter(SET)?;
            let values = Span { start: set.at, end: set.at + set.rest.len() };
            let mut count = 0;
            while !set.rest.is_empty() {
                set.take(OCTET_STRING)?;
                count += 1;
            }
            if self.attributes.len() == MOST_ATTRIBUTES {
                return None;
            }
            self.attributes.push(AttributePlace { description, values, count });
        }
        Some(())
    }

    /// Returns the entry that was checked last, given its octets again.
    pub(crate) fn entry<'a>(&'a self, octets: &'a [u8]) -> WireEntry<'a> {
        WireEntry { octets, places: self }
    }
}

/// Why an entry cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It violates RFC 4511.
    Form,
    /// It has too many attributes. Its DN.
    Attributes(String),
    /// An attribute description is not UTF-8, as RFC 4512 requires.
    Description {
        /// The DN of the entry.
        dn: String,
        /// The description, with the invalid octets escaped.
        description: String,
    },
    /// Its DN is not UTF-8, as RFC 4514 requires. The DN, with the invalid octets escaped.
    Name(String),
}

impl Flaw {
    /// Returns the error for a DN, with invalid octets escaped by RFC 4514 section 2.4: `cn=caf\E9`.
    #[cold]
    pub(crate) fn name(dn: &[u8]) -> Flaw {
        Flaw::Name(escaped(dn))
    }

    /// Returns the error of an entry whose attributes cannot be decoded: a description that is not UTF-8 is named, with the DN.
    #[cold]
    pub(crate) fn in_attributes(octets: &[u8]) -> Flaw {
        let find = || {
            let mut operation = Reader::new(octets);
            let dn = operation.take(OCTET_STRING)?;
            let mut list = operation.constructed(SEQUENCE)?;
            while !list.is_empty() {
                let description = list.constructed(SEQUENCE)?.take(OCTET_STRING)?;
                if std::str::from_utf8(description).is_err() {
                    return Some(Flaw::Description { dn: escaped(dn), description: escaped(description) });
                }
            }
            None
        };
        find().unwrap_or(Flaw::Form)
    }
}

/// Returns octets as text, with those that are not UTF-8 as `\E9`.
fn escaped(octets: &[u8]) -> String {
    let mut text = String::new();
    for part in octets.utf8_chunks() {
        text.push_str(part.valid());
        for octet in part.invalid() {
            let _ = write!(text, "\\{octet:02X}");
        }
    }
    text
}

/// Returns whether a text contains an equals sign; `None` for octets that are not UTF-8. Most are ASCII, which is checked eight octets
/// at a time.
fn check_text(octets: &[u8]) -> Option<bool> {
    let found = json::any(octets, |word| json::high_bits(word) | json::equal_to(word, b'='));
    if !found {
        return Some(false);
    }
    std::str::from_utf8(octets).ok().map(|text| text.contains('='))
}

impl EntryView for WireEntry<'_> {
    #[inline]
    fn dn(&self) -> &str {
        std::str::from_utf8(self.dn_octets()).unwrap_or_default()
    }

    #[inline]
    fn dn_octets(&self) -> &[u8] {
        self.places.dn.of(self.octets)
    }

    #[inline]
    fn len(&self) -> usize {
        self.places.attributes.len()
    }

    #[inline]
    fn description(&self, at: usize) -> &[u8] {
        self.places.attributes.get(at).map_or(&[], |a| a.description.of(self.octets))
    }

    #[inline]
    fn value_count(&self, at: usize) -> usize {
        self.places.attributes.get(at).map_or(0, |a| a.count)
    }

    #[inline]
    fn values_at(&self, at: usize) -> impl Iterator<Item = &[u8]> + Clone {
        let rest = self.places.attributes.get(at).map_or(&[][..], |a| a.values.of(self.octets));
        Values(Cursor { rest, at: 0 })
    }

    #[inline]
    fn encoded_values(&self, at: usize) -> Option<&[u8]> {
        self.places.attributes.get(at).map(|a| a.values.of(self.octets))
    }

    #[inline]
    fn has_values_in_options(&self) -> bool {
        self.places.has_values_in_options
    }
}

/// An iterator over the values of a set.
#[derive(Debug, Clone)]
struct Values<'a>(Cursor<'a>);

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.take(OCTET_STRING).map(|(_, value)| value)
    }
}

/// Reads element after element.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    rest: &'a [u8],
    /// The position in the message.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Returns the content of the next element, which must have this tag, and its position.
    #[inline]
    fn take(&mut self, tag: u8) -> Option<(usize, &'a [u8])> {
        // Most elements have a length of one octet.
        let (header, length, rest) = match self.rest {
            [first, length @ 0..=0x7f, rest @ ..] if *first == tag => (2, usize::from(*length), rest),
            _ => long(self.rest, tag)?,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let start = self.at + header;
        self.at = start + length;
        self.rest = rest;
        Some((start, content))
    }

    #[inline]
    fn enter(&mut self, tag: u8) -> Option<Cursor<'a>> {
        self.take(tag).map(|(at, rest)| Cursor { rest, at })
    }
}

/// Returns the lengths of an element's header and content, and the octets after the header, if it has this tag.
#[cold]
fn long(octets: &[u8], tag: u8) -> Option<(usize, usize, &[u8])> {
    let header = super::ber::header(octets).ok().filter(|h| h.tag == tag)?;
    Some((header.start, header.end - header.start, octets.get(header.start..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Attribute, Entry};
    use crate::protocol::ber::Writer;

    fn operation(entry: &Entry) -> Vec<u8> {
        Writer::build(|w| {
            w.octets(&entry.dn);
            w.constructed(SEQUENCE, |w| {
                for attribute in &entry.attributes {
                    w.constructed(SEQUENCE, |w| {
                        w.octets(&attribute.description);
                        w.constructed(SET, |w| attribute.values.iter().for_each(|v| w.octets(v)));
                    });
                }
            });
        })
    }

    fn read(octets: &[u8]) -> Result<Entry, Flaw> {
        let mut places = EntryPlaces::default();
        places.find(octets)?;
        let entry = places.entry(octets);
        for at in 0..entry.len() {
            assert_eq!(entry.value_count(at), entry.values_at(at).count());
        }
        Ok(entry.to_entry())
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            proptest::collection::vec(any::<u8>(), 120..300)
        ];
        let attribute = ("\\PC{0,12}", proptest::collection::vec(value, 0..4))
            .prop_map(|(description, values)| Attribute { description, values });
        ("\\PC{0,200}", proptest::collection::vec(attribute, 0..8))
            .prop_map(|(dn, attributes)| Entry { dn, attributes })
    }

    proptest! {
        #[test]
        fn what_was_written_is_found(entry in entries()) {
            prop_assert_eq!(read(&operation(&entry)), Ok(entry));
        }

        #[test]
        fn whatever_comes_is_read_without_a_panic(octets: Vec<u8>) {
            let _ = read(&octets);
        }

        #[test]
        fn an_octet_that_is_another_is_read_as_the_other_reader_has_it(
            entry in entries(), at: proptest::sample::Index, octet: u8, cut: proptest::sample::Index,
        ) {
            let mut octets = operation(&entry);
            *at.get_mut(&mut octets[..]) = octet;
            octets.truncate(cut.index(octets.len() + 1));
            let expected = crate::protocol::message::entry(&octets);
            prop_assert_eq!(read(&octets), expected);
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_no_entry() {
        for octets in [
            &b"\x04\x84\xff\xff\xff\xffx"[..],
            b"\x04\x01x\x30\x84\xff\xff\xff\xff",
            b"\x04\x01x\x30\x05\x30\x7f\x04\x01a",
            b"\x04\x01x\x30\x80\x00\x00",
        ] {
            assert_eq!(read(octets), Err(Flaw::Form), "{octets:02x?}");
        }
        let flaw = Flaw::Description { dn: "x".to_owned(), description: "a\\FF".to_owned() };
        assert_eq!(read(b"\x04\x01x\x30\x08\x30\x06\x04\x02a\xff\x31\x00"), Err(flaw));
        let name = Flaw::Name("cn=\u{e9}\\E9\\C3,dc=x".to_owned());
        assert_eq!(read(b"\x04\x0ccn=\xc3\xa9\xe9\xc3,dc=x\x30\x00"), Err(name));
    }
}
