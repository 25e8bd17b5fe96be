//! Entries as a directory holds them: values are octets, in the order the server gave.

mod compact;

pub use compact::{CompactEntry, PackedAttributes, PackedValues};

/// An attribute description (RFC 4512 section 2.5: a type with options, `cn;lang-de`) and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The description as the server spelt it.
    pub description: String,
    /// The values, in the server's order. Never interpreted here.
    pub values: Vec<Vec<u8>>,
}

impl Attribute {
    /// An attribute with the given values.
    pub fn new(description: impl Into<String>, values: Vec<Vec<u8>>) -> Self {
        Self { description: description.into(), values }
    }
}

/// An entry: its distinguished name as the server spelt it, and its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The distinguished name, RFC 4514 string form.
    pub dn: String,
    /// The attributes, in the server's order.
    pub attributes: Vec<Attribute>,
}

impl Entry {
    /// The attribute with this description; descriptions compare without regard to case (RFC 4512 section 2.5).
    pub fn attribute(&self, description: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.description.eq_ignore_ascii_case(description))
    }

    /// The values of an attribute, none when it is not there.
    pub fn values(&self, description: &str) -> &[Vec<u8>] {
        self.attribute(description).map_or(&[], |a| a.values.as_slice())
    }

    /// The first value of an attribute as text, when it is text.
    pub fn first_text(&self, description: &str) -> Option<&str> {
        self.values(description).first().and_then(|v| std::str::from_utf8(v).ok())
    }
}

/// An entry to look at, wherever its octets are: taken apart in an [`Entry`], or still in the buffer they came in. What
/// reads entries by the million takes this, so that there is one way from an entry to a record.
pub trait EntryView {
    /// The distinguished name.
    fn dn(&self) -> &str;

    /// The same as octets, which are UTF-8.
    fn dn_octets(&self) -> &[u8] {
        self.dn().as_bytes()
    }

    /// How many attributes there are.
    fn len(&self) -> usize;

    /// The description of an attribute, by its place in the server's order: octets that are UTF-8. Empty where there is
    /// no such attribute.
    fn description(&self, at: usize) -> &[u8];

    /// How many values an attribute has.
    fn value_count(&self, at: usize) -> usize;

    /// The values of an attribute, in the server's order.
    fn values_at(&self, at: usize) -> impl Iterator<Item = &[u8]> + Clone;

    /// The values of an attribute as they came over the wire, to compare with those of another entry: the same octets are the
    /// same values. `None` where they are not kept so.
    fn encoded_values(&self, _at: usize) -> Option<&[u8]> {
        None
    }

    /// Whether there is no attribute.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a description has an option with a value: `member;range=0-1499`.
    fn has_values_in_options(&self) -> bool {
        (0..self.len()).any(|at| self.description(at).contains(&b'='))
    }

    /// The place of the attribute with this description; descriptions compare without regard to case (RFC 4512
    /// section 2.5).
    fn position(&self, description: &str) -> Option<usize> {
        (0..self.len()).find(|at| self.description(*at).eq_ignore_ascii_case(description.as_bytes()))
    }

    /// The first value of an attribute as text, when it is text.
    fn first_text_of(&self, description: &str) -> Option<&str> {
        self.values_at(self.position(description)?).next().and_then(|v| std::str::from_utf8(v).ok())
    }

    /// The entry taken apart.
    fn to_entry(&self) -> Entry {
        let attribute = |at| Attribute {
            description: String::from_utf8_lossy(self.description(at)).into_owned(),
            values: self.values_at(at).map(<[u8]>::to_vec).collect(),
        };
        Entry { dn: self.dn().to_owned(), attributes: (0..self.len()).map(attribute).collect() }
    }
}

impl EntryView for Entry {
    fn dn(&self) -> &str {
        &self.dn
    }

    fn len(&self) -> usize {
        self.attributes.len()
    }

    fn description(&self, at: usize) -> &[u8] {
        self.attributes.get(at).map_or(&[], |a| a.description.as_bytes())
    }

    fn value_count(&self, at: usize) -> usize {
        self.attributes.get(at).map_or(0, |a| a.values.len())
    }

    fn values_at(&self, at: usize) -> impl Iterator<Item = &[u8]> + Clone {
        self.attributes.get(at).map_or(&[][..], |a| a.values.as_slice()).iter().map(Vec::as_slice)
    }
}

/// The type of an attribute description: `cn` of `cn;lang-de`.
pub fn base_type(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}

/// The OID of a name that is one, and of one that is written as RFC 1779 (section 2.3) has it: `OID.2.5.4.3`.
pub fn as_oid(name: &str) -> Option<&str> {
    let oid = match name.split_at_checked(4) {
        Some((prefix, oid)) if prefix.eq_ignore_ascii_case("oid.") => oid,
        _ => name,
    };
    oid.starts_with(|c: char| c.is_ascii_digit()).then_some(oid)
}
