//! The request of a client, decoded.

use super::ber::{Tag, number, parts, take};

/// An LDAPMessage from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// messageID.
    pub id: i64,
    /// What it asks for.
    pub operation: Operation,
    /// In the order they came.
    pub controls: Vec<Control>,
}

/// A control of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// controlType.
    pub oid: String,
    /// criticality.
    pub critical: bool,
    /// controlValue.
    pub value: Option<Vec<u8>>,
}

/// The operations of RFC 4511 that a role may have an answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A bind, whoever it is.
    Bind,
    /// Nothing is answered, and the connection ends.
    Unbind,
    /// A search.
    Search(Search),
    /// An operation that is not looked into: the number of its tag, and what it holds.
    Other(u8, Vec<u8>),
}

/// A SearchRequest (RFC 4511 section 4.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// baseObject.
    pub base: String,
    /// scope.
    pub scope: Scope,
    /// sizeLimit, 0 for none.
    pub size_limit: usize,
    /// filter.
    pub filter: Filter,
    /// attributes.
    pub attributes: Vec<String>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scope {
    Base,
    One,
    Sub,
}

/// A filter. Attributes are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Equal(String, Vec<u8>),
    AtLeast(String, Vec<u8>),
    AtMost(String, Vec<u8>),
    Present(String),
    /// Substrings, approximate and extensible matches: the number of the tag.
    Other(u8),
}

impl Request {
    /// Reads an LDAPMessage; `None` when it is none.
    pub fn parse(data: &[u8]) -> Option<Request> {
        let (Tag::SEQUENCE, content, _) = take(data)? else { return None };
        let mut parts = parts(content)?.into_iter();
        let (Tag::INTEGER, id) = parts.next()? else { return None };
        let (tag, content) = parts.next()?;
        let operation = match tag.number() {
            0 => Operation::Bind,
            2 => Operation::Unbind,
            3 => Operation::Search(Search::parse(content)?),
            other => Operation::Other(other, content.to_vec()),
        };
        let controls = match parts.next() {
            Some((_, controls)) => {
                super::ber::parts(controls)?.into_iter().map(|(_, c)| control(c)).collect::<Option<_>>()?
            }
            None => Vec::new(),
        };
        Some(Request { id: number(id), operation, controls })
    }

    /// The control of this type.
    pub fn control(&self, oid: &str) -> Option<&Control> {
        self.controls.iter().find(|c| c.oid == oid)
    }
}

fn text(octets: &[u8]) -> Option<String> {
    String::from_utf8(octets.to_vec()).ok()
}

fn control(content: &[u8]) -> Option<Control> {
    let mut control = Control { oid: String::new(), critical: false, value: None };
    for (n, (tag, value)) in parts(content)?.into_iter().enumerate() {
        match tag {
            Tag::OCTETS if n == 0 => control.oid = text(value)?,
            Tag::BOOLEAN => control.critical = value != [0],
            _ => control.value = Some(value.to_vec()),
        }
    }
    Some(control)
}

impl Search {
    fn parse(content: &[u8]) -> Option<Search> {
        let parts = parts(content)?;
        let [(_, base), (_, scope), _, (_, size), _, _, filter, (_, attributes)] = parts.as_slice() else {
            return None;
        };
        let scope = match scope {
            [0] => Scope::Base,
            [1] => Scope::One,
            [2] => Scope::Sub,
            _ => return None,
        };
        let attributes = super::ber::parts(attributes)?;
        Some(Search {
            base: text(base)?,
            scope,
            size_limit: usize::try_from(number(size)).ok()?,
            filter: Filter::parse(filter.0, filter.1)?,
            attributes: attributes.into_iter().map(|(_, a)| text(a)).collect::<Option<_>>()?,
        })
    }
}

impl Filter {
    fn parse(tag: Tag, content: &[u8]) -> Option<Filter> {
        let several = || -> Option<Vec<Filter>> {
            parts(content)?.into_iter().map(|(tag, inner)| Filter::parse(tag, inner)).collect()
        };
        let assertion = || -> Option<(String, Vec<u8>)> {
            let parts = parts(content)?;
            let [(_, name), (_, value)] = parts.as_slice() else { return None };
            Some((text(name)?.to_lowercase(), value.to_vec()))
        };
        Some(match tag.number() {
            0 => Filter::And(several()?),
            1 => Filter::Or(several()?),
            2 => Filter::Not(Box::new(several()?.into_iter().next()?)),
            3 => assertion().map(|(a, v)| Filter::Equal(a, v))?,
            5 => assertion().map(|(a, v)| Filter::AtLeast(a, v))?,
            6 => assertion().map(|(a, v)| Filter::AtMost(a, v))?,
            7 => Filter::Present(text(content)?.to_lowercase()),
            other => Filter::Other(other),
        })
    }

    /// Whether an entry passes, given the values of an attribute by its name in lower case. Values compare without
    /// regard to case; an order is one of texts of the same length, as times have it. What is not understood passes.
    pub fn passes<'e>(&self, values: &impl Fn(&str) -> &'e [Vec<u8>]) -> bool {
        match self {
            Filter::And(all) => all.iter().all(|f| f.passes(values)),
            Filter::Or(any) => any.iter().any(|f| f.passes(values)),
            Filter::Not(other) => !other.passes(values),
            Filter::Equal(name, value) => values(name).iter().any(|v| v.eq_ignore_ascii_case(value)),
            Filter::AtLeast(name, value) => values(name).iter().any(|v| (v.len(), v) >= (value.len(), value)),
            Filter::AtMost(name, value) => values(name).iter().any(|v| (v.len(), v) <= (value.len(), value)),
            Filter::Present(name) => !values(name).is_empty(),
            Filter::Other(_) => true,
        }
    }
}
