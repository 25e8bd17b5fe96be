//! DNs as data: what a name is, and the many ways to write it (RFC 4514).
//!
//! The reference compares names that it has made itself, and never takes a text apart: there is no second parser here
//! that could share a mistake with the first.

use std::fmt::Write as _;

use crate::support::rng::Rng;

/// The spellings of a type; the first is the one that names are compared by.
const TYPES: &[&[&str]] = &[
    &["cn", "commonName", "2.5.4.3"],
    &["ou", "organizationalUnitName", "2.5.4.11"],
    &["o", "organizationName"],
    &["dc", "domainComponent", "0.9.2342.19200300.100.1.25"],
    &["uid", "userid"],
    &["c", "countryName"],
    &["l", "localityName"],
    &["mail", "rfc822Mailbox"],
];

/// One RDN: types, in their first spelling, with their values. Sorted.
pub(super) type Rdn = Vec<(&'static str, String)>;

/// A name, its own RDN first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Name(pub(super) Vec<Rdn>);

impl Name {
    /// The name of an entry below this one.
    pub(super) fn child(&self, mut rdn: Rdn) -> Name {
        rdn.sort();
        let mut rdns = vec![rdn];
        rdns.extend(self.0.iter().cloned());
        Name(rdns)
    }

    /// The name right above; none above a name of one part.
    pub(super) fn parent(&self) -> Option<Name> {
        (self.0.len() > 1).then(|| Name(self.0[1..].to_vec()))
    }

    /// Whether this is the other one, or below it.
    pub(super) fn is_within(&self, other: &Name) -> bool {
        self.0.ends_with(&other.0)
    }

    /// Writes it in one of its spellings: `wild` ones, or as most people would.
    pub(super) fn spell(&self, rng: &mut Rng, wild: bool) -> String {
        let rdns: Vec<String> = self.0.iter().map(|rdn| spell_rdn(rdn, rng, wild)).collect();
        rdns.join(if wild && rng.chance(20) { ", " } else { "," })
    }
}

fn spell_rdn(rdn: &Rdn, rng: &mut Rng, wild: bool) -> String {
    let mut parts: Vec<String> = rdn
        .iter()
        .map(|(kind, value)| format!("{}={}", spell_type(kind, rng, wild), spell_value(value, rng, wild)))
        .collect();
    if wild && rng.chance(50) {
        parts.reverse();
    }
    parts.join("+")
}

fn spell_type(kind: &str, rng: &mut Rng, wild: bool) -> String {
    if !wild {
        return kind.to_owned();
    }
    let spellings = TYPES.iter().find(|s| s[0] == kind).unwrap();
    let spelling = if rng.chance(80) { spellings[0] } else { *rng.pick(spellings) };
    match rng.below(10) {
        0 => spelling.to_uppercase(),
        1 => spelling.to_lowercase(),
        _ => spelling.to_owned(),
    }
}

fn spell_value(value: &str, rng: &mut Rng, wild: bool) -> String {
    let value = match rng.below(12) {
        0 if wild => value.to_uppercase(),
        1 if wild => value.to_lowercase(),
        _ => value.to_owned(),
    };
    let mut out = String::new();
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let special =
            "\"+,;<>\\".contains(c) || (c == '#' && at == 0) || (c == ' ' && (at == 0 || at == last));
        let hex = wild && rng.chance(if special { 40 } else { 3 });
        if hex {
            for byte in c.to_string().bytes() {
                write!(out, "\\{byte:02x}").unwrap();
            }
        } else if special {
            out.push('\\');
            out.push(c);
        } else {
            out.push(c);
        }
    }
    out
}
