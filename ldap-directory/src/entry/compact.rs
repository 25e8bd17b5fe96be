//! Entries in one allocation, to keep millions of them in memory.

use super::{Attribute, Entry};

/// An entry in one allocation, about as large as its names and values. Attributes without values are omitted.
///
/// Layout: every string is preceded by its length. The DN comes first, then for each attribute its description, the number of
/// its values, and the values.
///
/// ```
/// use ldap_directory::entry::{Attribute, CompactEntry, Entry};
///
/// let entry = Entry { dn: "dc=x".into(), attributes: vec![Attribute::new("dc", vec![b"x".to_vec()])] };
/// let compact = CompactEntry::from(&entry);
/// assert_eq!((compact.dn(), compact.to_entry()), ("dc=x", entry));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactEntry(Box<[u8]>);

impl CompactEntry {
    /// Returns the entry of a DN and descriptions with their values.
    pub fn new<'a>(dn: &str, attributes: impl Iterator<Item = (&'a str, &'a [Vec<u8>])> + Clone) -> Self {
        let attributes = attributes.filter(|(_, values)| !values.is_empty());
        let size = |octets: &[u8]| size_of_number(octets.len()) + octets.len();
        let of_values = |values: &[Vec<u8>]| -> usize { values.iter().map(|v| size(v)).sum() };
        let of_attributes = attributes
            .clone()
            .map(|(name, values)| size(name.as_bytes()) + size_of_number(values.len()) + of_values(values));
        let mut out = Vec::with_capacity(size(dn.as_bytes()) + of_attributes.sum::<usize>());
        push(&mut out, dn.as_bytes());
        for (name, values) in attributes {
            push(&mut out, name.as_bytes());
            push_number(&mut out, values.len());
            for value in values {
                push(&mut out, value);
            }
        }
        Self(out.into_boxed_slice())
    }

    /// Returns the DN.
    pub fn dn(&self) -> &str {
        text(take(&mut &*self.0))
    }

    /// Returns the attributes, in their order.
    pub fn attributes(&self) -> PackedAttributes<'_> {
        let mut rest = &*self.0;
        take(&mut rest);
        PackedAttributes(rest)
    }

    /// Returns an owned [`Entry`].
    pub fn to_entry(&self) -> Entry {
        let attribute = |(name, values): (&str, PackedValues<'_>)| {
            Attribute::new(name, values.map(<[u8]>::to_vec).collect())
        };
        Entry { dn: self.dn().to_owned(), attributes: self.attributes().map(attribute).collect() }
    }
}

impl From<&Entry> for CompactEntry {
    fn from(entry: &Entry) -> Self {
        Self::new(&entry.dn, entry.attributes.iter().map(|a| (a.description.as_str(), &*a.values)))
    }
}

/// An iterator over descriptions with their values.
#[derive(Debug, Clone)]
pub struct PackedAttributes<'a>(&'a [u8]);

impl<'a> Iterator for PackedAttributes<'a> {
    type Item = (&'a str, PackedValues<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let name = text(take(&mut self.0));
        let left = number(&mut self.0);
        let values = PackedValues { left, rest: self.0 };
        for _ in 0..left {
            take(&mut self.0);
        }
        Some((name, values))
    }
}

/// An iterator over the values of an attribute.
#[derive(Debug, Clone)]
pub struct PackedValues<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for PackedValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        Some(take(&mut self.rest))
    }
}

/// Returns the text of octets that were a `str` when they were packed.
fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}

fn size_of_number(number: usize) -> usize {
    if number < usize::from(LONG) { 1 } else { 1 + size_of::<u64>() }
}

/// Marks a number that does not fit into one octet: it follows in eight octets.
const LONG: u8 = u8::MAX;

fn push_number(out: &mut Vec<u8>, number: usize) {
    match u8::try_from(number) {
        Ok(short) if short < LONG => out.push(short),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&(number as u64).to_le_bytes());
        }
    }
}

fn push(out: &mut Vec<u8>, octets: &[u8]) {
    push_number(out, octets.len());
    out.extend_from_slice(octets);
}

fn number(from: &mut &[u8]) -> usize {
    let Some((first, rest)) = from.split_first() else { return 0 };
    *from = rest;
    if *first < LONG {
        return usize::from(*first);
    }
    let Some((long, rest)) = from.split_first_chunk() else { return 0 };
    *from = rest;
    usize::try_from(u64::from_le_bytes(*long)).unwrap_or(usize::MAX)
}

fn take<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let length = number(from);
    let (taken, rest) = from.split_at_checked(length).unwrap_or_default();
    *from = rest;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let long = (250usize..260).prop_map(|length| vec![7; length]);
        vec(prop_oneof![vec(any::<u8>(), 0..5), long], 0..4)
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_but_for_what_has_no_values(
            dn in any::<String>(), attributes in vec((any::<String>(), values()), 0..4), many in 0usize..600,
        ) {
            let mut entry = Entry { dn, attributes: attributes.into_iter().map(|(n, v)| Attribute::new(n, v)).collect() };
            entry.attributes.push(Attribute::new("many", vec![b"x".to_vec(); many]));
            let packed = CompactEntry::from(&entry);
            entry.attributes.retain(|a| !a.values.is_empty());
            prop_assert_eq!(packed.dn(), &*entry.dn);
            prop_assert_eq!(packed.to_entry(), entry);
        }
    }

    #[test]
    fn it_is_in_one_piece_of_its_length() {
        let entry = Entry { dn: "cn=a".into(), attributes: vec![Attribute::new("cn", vec![b"a".to_vec()])] };
        assert_eq!(&*CompactEntry::from(&entry).0, b"\x04cn=a\x02cn\x01\x01a");
    }
}
