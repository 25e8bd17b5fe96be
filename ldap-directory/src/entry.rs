//! Entries: attributes whose values are octets, in the server's order.

mod compact;

pub use compact::{CompactEntry, PackedAttributes, PackedValues};

/// The description under which an entry of a file names attributes whose values are not known, for the file has a part of them: a value is a
/// description, or `*` for all that the entry does not show, for the file was cut within it.
pub const UNKNOWN: &str = "*";

/// An attribute description (RFC 4512 section 2.5: a type with options, `cn;lang-de`) and its values.
///
/// ```
/// use ldap_directory::entry::Attribute;
///
/// let mail = Attribute::new("mail", vec![b"ada@example.com".to_vec()]);
/// assert_eq!(mail.values.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The description in the server's spelling.
    pub description: String,
    /// The values, in the server's order, not decoded.
    pub values: Vec<Vec<u8>>,
}

impl Attribute {
    /// Returns an attribute with these values.
    pub fn new(description: impl Into<String>, values: Vec<Vec<u8>>) -> Self {
        Self { description: description.into(), values }
    }
}

/// An entry: its DN in the server's spelling, and its attributes.
///
/// ```
/// use ldap_directory::entry::{Attribute, Entry};
///
/// let entry = Entry {
///     dn: "uid=ada,dc=example".into(),
///     attributes: vec![Attribute::new("mail", vec![b"ada@example.com".to_vec(), b"al@example.com".to_vec()])],
/// };
/// assert_eq!(entry.first_text("MAIL"), Some("ada@example.com"));
/// assert_eq!(entry.values("mail").len(), 2);
/// assert!(entry.attribute("cn").is_none() && entry.values("cn").is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The DN, in the string form of RFC 4514.
    pub dn: String,
    /// The attributes, in the server's order.
    pub attributes: Vec<Attribute>,
}

impl Entry {
    /// Returns the attribute with this description, in any case (RFC 4512 section 2.5).
    pub fn attribute(&self, description: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.description.eq_ignore_ascii_case(description))
    }

    /// Returns the values of an attribute; an empty slice if the entry does not have it, or has it under another description: with options,
    /// or, on Active Directory, in ranges ([`Directory::complete_ranges`](crate::Directory::complete_ranges)).
    pub fn values(&self, description: &str) -> &[Vec<u8>] {
        self.attribute(description).map_or(&[], |a| a.values.as_slice())
    }

    /// Returns the first value of an attribute, if it is UTF-8.
    pub fn first_text(&self, description: &str) -> Option<&str> {
        self.values(description).first().and_then(|v| std::str::from_utf8(v).ok())
    }
}

/// Read access to an entry, whether it is an owned [`Entry`] or still in the receive buffer. Attributes are accessed by their
/// position in the server's order.
pub trait EntryView {
    /// Returns the DN.
    fn dn(&self) -> &str;

    /// Returns the DN as octets, which are UTF-8.
    fn dn_octets(&self) -> &[u8] {
        self.dn().as_bytes()
    }

    /// Returns the number of attributes.
    fn len(&self) -> usize;

    /// Returns the description of the attribute at a position, as octets that are UTF-8; empty if there is no such attribute.
    fn description(&self, at: usize) -> &[u8];

    /// Returns the number of values of an attribute.
    fn value_count(&self, at: usize) -> usize;

    /// Returns the values of an attribute, in the server's order.
    fn values_at(&self, at: usize) -> impl Iterator<Item = &[u8]> + Clone;

    /// Returns the values of an attribute in their BER encoding, for comparison with another entry: equal octets are equal
    /// values. `None` if the entry does not keep the encoding.
    fn encoded_values(&self, _at: usize) -> Option<&[u8]> {
        None
    }

    /// Returns whether the entry has no attributes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether a description has an option with a value: `member;range=0-1499`.
    fn has_values_in_options(&self) -> bool {
        (0..self.len()).any(|at| self.description(at).contains(&b'='))
    }

    /// Returns the position of the attribute with this description, in any case (RFC 4512 section 2.5).
    fn position(&self, description: &str) -> Option<usize> {
        (0..self.len()).find(|at| self.description(*at).eq_ignore_ascii_case(description.as_bytes()))
    }

    /// Returns the first value of an attribute, if it is UTF-8.
    fn first_text_of(&self, description: &str) -> Option<&str> {
        self.values_at(self.position(description)?).next().and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Returns an owned copy.
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

/// Returns the type of an attribute description: `cn` for `cn;lang-de`.
pub fn base_type(description: &str) -> &str {
    // Descriptions are short: a search that first prepares itself takes longer.
    let end = description.bytes().position(|octet| octet == b';');
    end.and_then(|end| description.get(..end)).unwrap_or(description)
}

/// Returns the OID if a name is one, also in the form of RFC 1779 section 2.3: `OID.2.5.4.3`.
pub fn as_oid(name: &str) -> Option<&str> {
    let oid = match name.split_at_checked(4) {
        Some((prefix, oid)) if prefix.eq_ignore_ascii_case("oid.") => oid,
        _ => name,
    };
    oid.starts_with(|c: char| c.is_ascii_digit()).then_some(oid)
}
