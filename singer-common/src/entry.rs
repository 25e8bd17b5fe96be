//! Entries as a directory holds them: values are octets, in the order the server gave.

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

/// The type of an attribute description: `cn` of `cn;lang-de`.
pub fn base_type(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}
