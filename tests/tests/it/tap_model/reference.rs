//! What a run of the tap must do, said as plainly as it can be.
//!
//! * Below the base are the entries whose names end with the base's name. Without a base, or with an empty one, a file's
//!   entries all are.
//! * Each of them is in one stream of a way of reading (containers, or classes), and in it once.
//! * Its record has its DN as it is written and all values of all of its attributes, under one name for each attribute.
//! * A list of values that lacks its end is said to.
//! * A stream that was read whole and is not empty ends with ACTIVATE_VERSION, and no other does.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::dn_spelling::Name;
use super::random_entries::{Entry, Kind};
use crate::support::rng::Rng;

/// Property names in lower case, and the values as the texts of a record.
pub(super) type Values = BTreeMap<String, BTreeSet<String>>;

/// The entries below a base.
pub(super) fn below<'e>(entries: &'e [Entry], base: &Name) -> Vec<&'e Entry> {
    entries.iter().filter(|e| e.name.is_within(base)).collect()
}

/// The container whose stream an entry is in, of those at and below the base; `None` when there is none above it.
pub(super) fn container_of<'e>(entry: &Entry, below: &[&'e Entry]) -> Option<&'e Entry> {
    let mut above = entry.name.parent();
    while let Some(name) = above {
        if let Some(found) = below.iter().find(|e| e.kind == Kind::Container && e.name == name) {
            return Some(found);
        }
        above = name.parent();
    }
    None
}

/// The values of an entry's record.
pub(super) fn values(entry: &Entry, only: &[String]) -> Values {
    let mut values = Values::new();
    for attribute in &entry.attributes {
        let is_binary = ["jpegPhoto", "userCertificate;binary", "acmeBlob"].contains(&attribute.name);
        let texts = attribute.values.iter().map(|value| {
            if is_binary { STANDARD.encode(value) } else { String::from_utf8(value.clone()).unwrap() }
        });
        values.insert(attribute.name.to_lowercase(), texts.collect());
    }
    if !entry.classes.is_empty() {
        values.insert("objectclass".to_owned(), entry.classes.iter().map(|&c| c.to_owned()).collect());
    }
    if !only.is_empty() {
        // A type brings its options along.
        values.retain(|name, _| {
            only.iter().any(|o| {
                let type_alone = name.split(';').next().unwrap();
                o.eq_ignore_ascii_case(name) || o.eq_ignore_ascii_case(type_alone)
            })
        });
    }
    values
}

/// A filter whose truth is plain to see.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    Class(&'static str),
    Present(&'static str),
    Equal(&'static str, String),
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

impl Filter {
    /// A filter that some of the entries may pass.
    pub(super) fn random(entries: &[Entry], rng: &mut Rng, depth: usize) -> Filter {
        let nested = |rng: &mut Rng| Box::new(Filter::random(entries, rng, depth + 1));
        match rng.below(if depth > 1 { 5 } else { 8 }) {
            0 => Filter::Class(*rng.pick(&["person", "device", "organizationalUnit", "inetOrgPerson"])),
            1 => Filter::Present("objectClass"),
            2 => Filter::Present(*rng.pick(&["mail", "cn", "description", "jpegPhoto"])),
            3 | 4 => {
                let texts: Vec<(&'static str, String)> = entries
                    .iter()
                    .flat_map(|e| &e.attributes)
                    .filter(|a| ["cn", "sn", "mail"].contains(&a.name))
                    .flat_map(|a| a.values.iter().map(|v| (a.name, String::from_utf8(v.clone()).unwrap())))
                    .collect();
                if texts.is_empty() {
                    return Filter::Present("cn");
                }
                let (name, value) = rng.pick(&texts).clone();
                Filter::Equal(name, value)
            }
            5 => Filter::Not(nested(rng)),
            6 => Filter::And(nested(rng), nested(rng)),
            _ => Filter::Or(nested(rng), nested(rng)),
        }
    }

    /// RFC 4515.
    pub(super) fn text(&self) -> String {
        match self {
            Filter::Class(class) => format!("(objectClass={class})"),
            Filter::Present(name) => format!("({name}=*)"),
            Filter::Equal(name, value) => {
                let escaped: String = value
                    .bytes()
                    .map(|b| {
                        if b.is_ascii_alphanumeric() {
                            char::from(b).to_string()
                        } else {
                            format!("\\{b:02x}")
                        }
                    })
                    .collect();
                format!("({name}={escaped})")
            }
            Filter::Not(of) => format!("(!{})", of.text()),
            Filter::And(a, b) => format!("(&{}{})", a.text(), b.text()),
            Filter::Or(a, b) => format!("(|{}{})", a.text(), b.text()),
        }
    }

    /// Whether an entry passes. Every value here has a number of its own: two are equal where they are the same.
    pub(super) fn passes(&self, entry: &Entry) -> bool {
        let find = |name: &str| entry.attributes.iter().find(|a| a.name == name);
        match self {
            Filter::Class(class) => entry.classes.contains(class),
            // Every entry has an objectClass (RFC 4512 section 2.4.1), in a file, too, that does not print it.
            Filter::Present("objectClass") => true,
            Filter::Present("description") => {
                find("description").is_some() || find("description;lang-de").is_some()
            }
            Filter::Present(name) => find(name).is_some(),
            Filter::Equal(name, value) => {
                find(name).is_some_and(|a| a.values.contains(&value.clone().into_bytes()))
            }
            Filter::Not(of) => !of.passes(entry),
            Filter::And(a, b) => a.passes(entry) && b.passes(entry),
            Filter::Or(a, b) => a.passes(entry) || b.passes(entry),
        }
    }
}
