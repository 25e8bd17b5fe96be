//! Comparisons in a filter that no entry can match: servers evaluate them to Undefined (RFC 4511 section 4.5.1.7), and return an
//! empty answer without an error.
//!
//! They are found by the schema: values that violate the attribute's syntax, unknown matching rules, and comparisons for which the
//! attribute has no rule. This is not a proof, because servers differ: 389 DS compares by the syntax if there is no rule, and Active
//! Directory publishes no rules.
//!
//! Not checked: unknown attributes and classes (see [`super::KnownNames`]), attributes with `;binary`, and the assertion syntaxes of
//! certificates.

use super::KnownNames;
use crate::dn::Dn;
use crate::entry::base_type;
use crate::filter::Filter;
use crate::filter::active_directory::{category_class, is_anr};
use crate::oid;
use crate::root_dse::Vendor;
use crate::schema::syntax::{generalized_to_rfc3339, is_integer};
use crate::schema::{Coverage, Equality};

/// A comparison that no entry matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undefined {
    /// The comparison as text, without its value if that is secret.
    pub comparison: String,
    /// The attribute or the matching rule.
    pub name: String,
    /// Why no entry matches.
    pub problem: String,
    /// What is expected instead.
    pub expected: String,
}

impl KnownNames<'_> {
    /// Returns the comparisons in a filter that no entry matches, in order. Empty for a server that publishes no schema.
    pub fn undefined_in(&self, filter: &Filter) -> Vec<Undefined> {
        let mut found = Vec::new();
        if self.schema.coverage() != Coverage::BuiltIn || self.vendor() == Vendor::Ldif {
            self.compare(filter, &mut found);
        }
        found
    }

    fn vendor(&self) -> Vendor {
        self.directory.root_dse().vendor
    }

    fn compare(&self, filter: &Filter, found: &mut Vec<Undefined>) {
        let problem = match filter {
            Filter::And(parts) | Filter::Or(parts) => {
                return parts.iter().for_each(|part| self.compare(part, found));
            }
            Filter::Not(inner) => return self.compare(inner, found),
            Filter::Present(_) => None,
            // Only a domain controller knows what it matches.
            Filter::Equality { attribute, .. }
            | Filter::Approx { attribute, .. }
            | Filter::Substring { attribute, .. }
                if is_anr(attribute) && self.vendor() != Vendor::ActiveDirectory =>
            {
                Some(Problem {
                    name: attribute.clone(),
                    what: "is ambiguous name resolution, which only Active Directory evaluates".to_owned(),
                    expected: "the attributes to compare, such as (|(cn=ada*)(sn=ada*)(mail=ada*))"
                        .to_owned(),
                })
            }
            Filter::Equality { attribute, value } | Filter::Approx { attribute, value } => self
                .without_rule(attribute, Kind::Equality)
                .or_else(|| self.value(attribute, self.schema.equality(attribute), value)),
            Filter::GreaterOrEqual { attribute, value } | Filter::LessOrEqual { attribute, value } => self
                .without_rule(attribute, Kind::Ordering)
                .or_else(|| self.value(attribute, self.schema.ordering(attribute), value)),
            Filter::Substring { attribute, .. } => self.without_rule(attribute, Kind::Substring),
            Filter::Extensible { rule: Some(rule), .. } if !self.knows_rule(rule) => Some(Problem {
                name: rule.clone(),
                what: "is no matching rule that the directory knows".to_owned(),
                expected: "a matching rule of the directory, such as caseIgnoreMatch".to_owned(),
            }),
            Filter::Extensible { rule, attribute, value, .. } => {
                let name = attribute.as_deref().or(rule.as_deref()).unwrap_or_default();
                let own = || attribute.as_ref().map(|attribute| self.schema.equality(attribute));
                let rule = rule.as_ref().map_or_else(own, |rule| Equality::from_rule(rule));
                rule.and_then(|rule| self.value(name, rule, value))
            }
        };
        let Some(Problem { name, what, expected }) = problem else { return };
        let is_secret =
            filter.attributes().into_iter().any(|name| self.directory.secret_attributes().contains(name));
        let comparison = if is_secret { format!("({name}=…)") } else { filter.to_string() };
        found.push(Undefined { comparison, problem: format!("`{name}` {what}"), name, expected });
    }

    /// Returns whether an attribute has no rule for a kind of comparison.
    fn without_rule(&self, attribute: &str, kind: Kind) -> Option<Problem> {
        let schema = self.schema;
        schema.attribute_type(attribute)?;
        let has_rule = match (self.vendor(), kind) {
            // 389 DS compares by the syntax if its schema has no rule.
            (Vendor::Ds389, _) | (Vendor::Ldif, Kind::Equality) => true,
            (Vendor::Ldif, Kind::Ordering) => schema.ordering(attribute).has_order(),
            (Vendor::Ldif, Kind::Substring) => schema.equality(attribute).has_substrings(),
            (_, Kind::Equality) => schema.has_equality(attribute),
            (_, Kind::Ordering) => schema.has_ordering(attribute),
            (_, Kind::Substring) => schema.has_substring(attribute),
        };
        let (operator, rule, instead) = match kind {
            Kind::Equality => ("=", "EQUALITY", format!("({attribute}=*), or an attribute with")),
            Kind::Ordering => (">= and <=", "ORDERING", "an attribute with".to_owned()),
            Kind::Substring => ("*", "SUBSTR", "a whole value, or an attribute with".to_owned()),
        };
        (!has_rule).then(|| Problem {
            name: attribute.to_owned(),
            what: format!("has no {rule} rule, by which `{operator}` would compare"),
            expected: format!("{instead} an {rule} rule").replace("an SUBSTR", "a SUBSTR"),
        })
    }

    /// Returns whether a rule cannot compare with a value.
    fn value(&self, name: &str, rule: Equality, value: &[u8]) -> Option<Problem> {
        let (schema, attribute) = (self.schema, base_type(name));
        let is_rule = schema.attribute_type(attribute).is_none();
        let has_binary = name.split(';').skip(1).any(|option| option.eq_ignore_ascii_case("binary"));
        // Without an attribute, a rule applies to all attributes of its syntax. Unknown names and classes are checked elsewhere.
        // Active Directory's names of classes, in place of DNs.
        let is_category = category_class(name, value).is_some();
        if has_binary
            || is_category
            || (is_rule && Equality::from_rule(name).is_none())
            || self.is_class(attribute)
        {
            return None;
        }
        let syntax = schema.syntax(attribute).unwrap_or_default();
        let (what, expected) = match rule {
            _ if syntax == oid::CSN_SYNTAX => {
                ("change sequence number", "the form 20260101000000.000000Z#000000#000#000000")
            }
            Equality::Integer => {
                ("whole number", "a whole number, such as 42, without a plus sign or leading zeros")
            }
            Equality::Boolean => ("Boolean", "TRUE or FALSE"),
            Equality::GeneralizedTime => ("GeneralizedTime", "the form 20260101000000Z"),
            Equality::UtcTime => ("UTCTime", "the form 260101000000Z"),
            Equality::DistinguishedName | Equality::UniqueMember => {
                ("DN of known attributes", "a DN, such as cn=name,dc=example,dc=com")
            }
            Equality::Uuid => ("UUID", "a UUID, such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            Equality::ObjectIdentifier => {
                ("known object class or attribute", "a name that the schema has, or an OID")
            }
            _ if syntax == oid::DIRECTORY_STRING => ("text", "a text that is not empty"),
            _ if syntax == oid::IA5_STRING => ("ASCII text", "a text of ASCII characters"),
            _ => return None,
        };
        let is_valid = match rule {
            _ if syntax == oid::CSN_SYNTAX => is_csn(value),
            // RFC 4517 sections 3.3.16 and 3.3.3: only one spelling is valid.
            Equality::Integer => is_integer(value),
            Equality::Boolean => matches!(value, b"TRUE" | b"FALSE"),
            Equality::DistinguishedName | Equality::UniqueMember => self.is_name(rule, value),
            Equality::ObjectIdentifier => self.is_identifier(value),
            _ if syntax == oid::DIRECTORY_STRING => !value.is_empty() && std::str::from_utf8(value).is_ok(),
            _ if syntax == oid::IA5_STRING => value.is_ascii(),
            _ => rule.normalize_valid(value, schema).is_some(),
        };
        (!is_valid).then(|| Problem {
            name: name.to_owned(),
            what: format!("is compared with what is not a valid {what}"),
            expected: expected.to_owned(),
        })
    }

    fn is_class(&self, attribute: &str) -> bool {
        self.schema.canonical_name(attribute).eq_ignore_ascii_case("objectClass")
    }

    fn is_name(&self, rule: Equality, value: &[u8]) -> bool {
        // [MS-ADTS] 3.1.1.3.1.2.4: `<GUID=…>`, `<SID=…>`.
        if self.vendor() == Vendor::ActiveDirectory && value.starts_with(b"<") {
            return true;
        }
        let is_valid = rule.normalize_valid(value, self.schema).is_some();
        if !is_valid || rule != Equality::DistinguishedName || self.schema.coverage() != Coverage::Whole {
            return is_valid;
        }
        let dn = std::str::from_utf8(value).ok().and_then(|text| Dn::parse(text).ok()).unwrap_or_default();
        let mut parts = dn.rdns.iter().flat_map(|rdn| &rdn.avas);
        parts.all(|part| self.schema.attribute_type(&part.attribute).is_some())
    }

    /// Returns whether a text is an OID, or a name in the schema.
    fn is_identifier(&self, value: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(value) else { return false };
        let is_known = || {
            self.schema.object_class(text).is_some()
                || self.schema.attribute_type(text).is_some()
                || self.class(text).is_ok()
        };
        text.starts_with(|c: char| c.is_ascii_digit()) || is_known()
    }

    /// Returns whether the directory knows a matching rule.
    fn knows_rule(&self, rule: &str) -> bool {
        /// [MS-ADTS] 3.1.1.3.4.4: Active Directory does not publish its rules; a file supports the first two.
        const BITS: [&str; 2] = [oid::BIT_AND_MATCH, oid::BIT_OR_MATCH];
        /// See [`BITS`].
        const CHAINS: [&str; 2] = [oid::CHAIN_MATCH, oid::DN_WITH_DATA_MATCH];
        let names = ["integerBitAndMatch", "integerBitOrMatch"];
        match self.vendor() {
            Vendor::ActiveDirectory => BITS.contains(&rule) || CHAINS.contains(&rule),
            Vendor::Ldif => {
                BITS.contains(&rule)
                    || names.iter().any(|name| name.eq_ignore_ascii_case(rule))
                    || Equality::from_rule(rule).is_some()
            }
            // A server that publishes none may support any.
            _ => !self.schema.publishes_rules() || self.schema.has_rule(rule),
        }
    }
}

/// A kind of comparison, each with its own rule (RFC 4512 section 4.1.2).
#[derive(Debug, Clone, Copy)]
enum Kind {
    Equality,
    Ordering,
    Substring,
}

struct Problem {
    name: String,
    what: String,
    expected: String,
}

/// Checks for a CSN: a time and three hexadecimal numbers: a count, a server and another count.
fn is_csn(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let mut parts = text.split('#');
    let is_time = parts.next().is_some_and(|time| generalized_to_rfc3339(time).is_ok());
    let numbers: Vec<&str> = parts.collect();
    let is_hex = |number: &&str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_hexdigit());
    is_time && numbers.len() == 3 && numbers.iter().all(is_hex)
}
