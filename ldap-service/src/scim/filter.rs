//! SCIM filters and attribute paths as values (RFC 7644 sections 3.4.2.2, 3.5.2 and 3.10).

mod parse;

use std::fmt;

use serde_json::Value;

pub use parse::{parse_filter, parse_path};

/// The bounds of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterLimits {
    /// The most comparisons: `limits.filter_terms`.
    pub terms: usize,
    /// The deepest nesting of parentheses, brackets and `not`.
    pub depth: usize,
}

impl FilterLimits {
    /// Returns the bounds for a number of comparisons. The depth is 32.
    pub const fn terms(terms: usize) -> Self {
        Self { terms, depth: 32 }
    }
}

/// Why a text is not a filter or a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {reason}")]
pub struct FilterSyntaxError {
    /// The offset in bytes, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

/// An attribute, optionally with its schema and a sub-attribute (`attrPath`, RFC 7644 figure 1). In the spelling of its source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttrPath {
    /// The schema URI before the last colon: `urn:ietf:params:scim:schemas:core:2.0:User`.
    pub schema: Option<String>,
    /// The attribute.
    pub name: String,
    /// The sub-attribute.
    pub sub: Option<String>,
}

impl AttrPath {
    /// Returns the path of an attribute without schema or sub-attribute.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Splits a token: `name`, `name.sub`, `urn:…:name`, `urn:…:name.sub`. `None` if a part is empty or has an invalid character.
    pub fn from_token(token: &str) -> Option<Self> {
        let is_urn = token.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"));
        let (schema, rest) = match token.rsplit_once(':') {
            Some((schema, rest)) if is_urn => (Some(schema.to_owned()), rest),
            Some(_) => return None,
            None => (None, token),
        };
        let is_uri_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'_' | b'-');
        if !schema.iter().all(|uri| uri.bytes().all(is_uri_part)) {
            return None;
        }
        let (name, sub) = match rest.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (rest, None),
        };
        let is_name = |text: &str| {
            let text = text.strip_prefix('$').unwrap_or(text);
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        (is_name(name) && sub.is_none_or(is_name)).then(|| Self {
            schema,
            name: name.to_owned(),
            sub: sub.map(str::to_owned),
        })
    }

    /// Returns whether this is exactly a schema URI, which the grammar reads as `schema:name`.
    pub fn is_schema(&self, uri: &str) -> bool {
        let joined = |schema: &String| format!("{schema}:{}", self.name);
        self.sub.is_none() && self.schema.as_ref().map(joined).is_some_and(|u| u.eq_ignore_ascii_case(uri))
    }
}

impl fmt::Display for AttrPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}:")?;
        }
        f.write_str(&self.name)?;
        self.sub.iter().try_for_each(|sub| write!(f, ".{sub}"))
    }
}

/// A comparison operator (RFC 7644 table 3), without `pr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal: the negation of [`Self::Eq`].
    Ne,
    /// Contains.
    Co,
    /// Starts with.
    Sw,
    /// Ends with.
    Ew,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Ge,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
}

impl Operator {
    const ALL: [Self; 9] =
        [Self::Eq, Self::Ne, Self::Co, Self::Sw, Self::Ew, Self::Gt, Self::Ge, Self::Lt, Self::Le];

    /// Returns the keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Co => "co",
            Self::Sw => "sw",
            Self::Ew => "ew",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
        }
    }

    /// Compares two texts octet by octet: a caller that ignores case gives both in lower case.
    pub fn holds(self, text: &str, wanted: &str) -> bool {
        match self {
            Self::Eq => text == wanted,
            Self::Ne => text != wanted,
            Self::Co => text.contains(wanted),
            Self::Sw => text.starts_with(wanted),
            Self::Ew => text.ends_with(wanted),
            Self::Gt => text > wanted,
            Self::Ge => text >= wanted,
            Self::Lt => text < wanted,
            Self::Le => text <= wanted,
        }
    }

    /// Returns the operator of a keyword, in any case.
    pub fn from_keyword(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.keyword().eq_ignore_ascii_case(word))
    }
}

/// A filter (RFC 7644 section 3.4.2.2).
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All of them hold; at least two.
    And(Vec<Expr>),
    /// One of them holds; at least two.
    Or(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// `attr pr`
    Present(AttrPath),
    /// `attr op value`; the value is null, a boolean, a number or a text.
    Compare {
        /// The attribute.
        path: AttrPath,
        /// The operator.
        operator: Operator,
        /// The value.
        value: Value,
    },
    /// `attr[filter]`: one value of the attribute matches the filter, whose paths are sub-attributes.
    Element {
        /// The multi-valued attribute.
        path: AttrPath,
        /// The filter of the value.
        filter: Box<Expr>,
    },
}

impl Expr {
    /// Whether something in it is negated.
    pub fn negates(&self) -> bool {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().any(Expr::negates),
            Expr::Not(_) | Expr::Compare { operator: Operator::Ne, .. } => true,
            // `eq null` is the absence of a value.
            Expr::Compare { value, .. } => value.is_null(),
            Expr::Present(_) => false,
            Expr::Element { filter, .. } => filter.negates(),
        }
    }

    /// Returns the values that paths accepted by `wanted` are compared with as texts; paths in brackets are joined.
    pub fn texts_of(&self, wanted: &dyn Fn(&AttrPath) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(None, wanted, &mut found);
        found
    }

    fn collect(&self, above: Option<&AttrPath>, wanted: &dyn Fn(&AttrPath) -> bool, found: &mut Vec<String>) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|p| p.collect(above, wanted, found)),
            Self::Not(inner) => inner.collect(above, wanted, found),
            Self::Element { path, filter } => filter.collect(Some(path), wanted, found),
            Self::Compare { path, value: Value::String(text), .. } => {
                let full = above.map(|above| AttrPath { sub: Some(path.name.clone()), ..above.clone() });
                if wanted(full.as_ref().unwrap_or(path)) {
                    found.push(text.clone());
                }
            }
            Self::Compare { .. } | Self::Present(_) => {}
        }
    }
}

/// The target of a PATCH operation (`PATH`, RFC 7644 figure 7).
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// The attribute; its sub-attribute is set if there is no filter.
    pub attribute: AttrPath,
    /// The filter in brackets.
    pub filter: Option<Expr>,
    /// The sub-attribute after the brackets.
    pub sub: Option<String>,
}

impl Path {
    /// Returns the sub-attribute, with or without brackets before it.
    pub fn sub(&self) -> Option<&str> {
        self.sub.as_deref().or(self.attribute.sub.as_deref())
    }
}
