//! Violations of the schema for which a server refuses an entry (RFC 4512 sections 2.4 and 2.5, RFC 4517 section 3.3), so that they
//! are known before anything is written.
//!
//! Not checked: DIT structure rules and name forms, which few servers have; syntaxes that are not in the table below; upper bounds
//! of texts; and, on Active Directory, the attributes that a class allows, because its auxiliary classes are not listed in entries.

use crate::oid;
use std::fmt;

use super::syntax::{ValueKind, generalized_to_rfc3339, is_integer};
use super::{Equality, Schema};
use crate::dn::first_rdn;
use crate::entry::{Entry, base_type};
use crate::nearest::nearest_of_many;
use crate::protocol::result_code;
use crate::root_dse::Vendor;

/// A violation of the schema by an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A class is not defined.
    UnknownClass {
        /// The class.
        class: String,
    },
    /// A mandatory attribute of a class is missing.
    Missing {
        /// The class.
        class: String,
        /// The attribute.
        attribute: String,
    },
    /// An attribute is not defined.
    UnknownAttribute {
        /// The attribute.
        attribute: String,
    },
    /// An attribute is not allowed by any class.
    NotAllowed {
        /// The attribute.
        attribute: String,
        /// The classes.
        classes: Vec<String>,
    },
    /// A value violates the attribute's syntax. The value is not included: it may be a secret.
    Invalid {
        /// The attribute.
        attribute: String,
        /// The expected form.
        expected: &'static str,
    },
    /// The DN has an attribute that is not defined, or a value that violates the syntax.
    Name {
        /// The attribute.
        attribute: String,
        /// The expected form; `None` if the attribute is not defined.
        expected: Option<&'static str>,
    },
    /// The server maintains the attribute (NO-USER-MODIFICATION).
    Maintained {
        /// The attribute.
        attribute: String,
    },
    /// A single-valued attribute has several values.
    Several {
        /// The attribute.
        attribute: String,
        /// The number of values.
        values: usize,
    },
}

impl Violation {
    /// Returns the result code with which servers refuse it (OpenLDAP's, if they differ).
    pub fn code(&self) -> u32 {
        match self {
            Violation::UnknownClass { .. } | Violation::Invalid { .. } => {
                result_code::INVALID_ATTRIBUTE_SYNTAX
            }
            Violation::Missing { .. } | Violation::NotAllowed { .. } => result_code::OBJECT_CLASS_VIOLATION,
            Violation::UnknownAttribute { .. } => result_code::UNDEFINED_ATTRIBUTE_TYPE,
            Violation::Several { .. } | Violation::Maintained { .. } => result_code::CONSTRAINT_VIOLATION,
            Violation::Name { .. } => result_code::INVALID_DN_SYNTAX,
        }
    }

    /// Returns whether it concerns the entry as a whole, not a value.
    pub fn is_of_whole(&self) -> bool {
        matches!(self, Violation::Missing { .. } | Violation::NotAllowed { .. })
    }

    /// Returns the attribute that it concerns, if the entry has it.
    pub fn attribute(&self) -> Option<&str> {
        match self {
            Violation::UnknownAttribute { attribute, .. }
            | Violation::NotAllowed { attribute, .. }
            | Violation::Invalid { attribute, .. }
            | Violation::Maintained { attribute }
            | Violation::Several { attribute, .. } => Some(attribute),
            Violation::UnknownClass { .. } | Violation::Missing { .. } | Violation::Name { .. } => None,
        }
    }

    /// Returns the undefined name, if that is the violation.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Violation::UnknownClass { class } => Some(class),
            Violation::UnknownAttribute { attribute } | Violation::Name { attribute, expected: None } => {
                Some(attribute)
            }
            _ => None,
        }
    }

    /// Returns the defined name nearest to the undefined one. Searches the whole schema.
    pub fn nearest<'s>(&self, schema: &'s Schema) -> Option<&'s str> {
        let unknown = self.unknown()?;
        let near = if matches!(self, Violation::UnknownClass { .. }) {
            nearest_of_many(
                unknown,
                schema.object_classes().iter().flat_map(|c| &c.names).map(String::as_str),
            )
        } else {
            nearest_of_many(
                unknown,
                schema.attribute_types().iter().flat_map(|a| &a.names).map(String::as_str),
            )
        };
        near.first().copied()
    }

    /// Returns whether both are the same violation.
    fn is_like(&self, other: &Violation) -> bool {
        match (self, other) {
            (Violation::Invalid { attribute: a, .. }, Violation::Invalid { attribute: b, .. })
            | (Violation::Several { attribute: a, .. }, Violation::Several { attribute: b, .. })
            | (Violation::NotAllowed { attribute: a, .. }, Violation::NotAllowed { attribute: b, .. }) => {
                a == b
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::UnknownClass { class } => {
                write!(f, "the schema has no object class `{class}`")
            }
            Violation::Missing { class, attribute } => {
                write!(
                    f,
                    "class {class} needs `{attribute}`, and the entry has none (attribute_mapping, values, defaults)"
                )
            }
            Violation::UnknownAttribute { attribute } => {
                write!(f, "the schema has no attribute `{attribute}`")
            }
            Violation::NotAllowed { attribute, classes } => {
                write!(f, "`{attribute}` is allowed by none of the entry's classes ({})", classes.join(", "))
            }
            Violation::Name { attribute, expected: None } => {
                write!(f, "the schema has no attribute `{attribute}`, which is in the entry's name")
            }
            Violation::Name { attribute, expected: Some(expected) } => {
                write!(f, "`{attribute}` in the entry's name wants {expected}")
            }
            Violation::Maintained { attribute } => {
                write!(
                    f,
                    "`{attribute}` is maintained by the server (NO-USER-MODIFICATION), and cannot be written"
                )
            }
            Violation::Invalid { attribute, expected } => write!(f, "`{attribute}` wants {expected}"),
            Violation::Several { attribute, values } => {
                write!(f, "`{attribute}` may have one value (SINGLE-VALUE), and has {values}")
            }
        }
    }
}

/// Returns the violations that a change introduces: those of the entry after it that the entry before did not have. An entry that
/// is only partly readable lacks the same attributes before and after.
pub fn brought(schema: &Schema, vendor: Vendor, before: Option<&Entry>, after: &Entry) -> Vec<Violation> {
    let found = violations(schema, vendor, after);
    if found.is_empty() {
        return found;
    }
    let earlier = before.map(|before| violations(schema, vendor, before)).unwrap_or_default();
    found.into_iter().filter(|one| !earlier.iter().any(|other| one.is_like(other))).collect()
}

/// Attributes that Active Directory adds to an entry that lacks them, though its classes require them ([MS-ADTS] 3.1.1.5.2).
const GIVEN_BY_AD: [&str; 6] =
    ["groupType", "instanceType", "nTSecurityDescriptor", "objectCategory", "objectSid", "sAMAccountName"];

/// Returns all violations of an entry, in the order in which OpenLDAP checks: classes, attributes, values, missing attributes.
pub fn violations(schema: &Schema, vendor: Vendor, entry: &Entry) -> Vec<Violation> {
    let mut found = Vec::new();
    let classes: Vec<&str> =
        entry.values("objectClass").iter().filter_map(|class| std::str::from_utf8(class).ok()).collect();
    for class in &classes {
        if schema.object_class(class).is_none() {
            found.push(Violation::UnknownClass { class: (*class).to_owned() });
        }
    }
    let knows_classes = found.is_empty() && !classes.is_empty();
    // Others check it when they add the attributes of the DN to the entry.
    if vendor == Vendor::OpenLdap {
        found.extend(wrong_in_name(schema, vendor, &entry.dn));
    }
    let (must, may) = schema.must_may(classes.iter().copied());
    let takes_any = classes.iter().any(|class| class.eq_ignore_ascii_case("extensibleObject"));
    // Active Directory's auxiliary classes are not listed in entries.
    let checks_allowed = knows_classes && !takes_any && vendor != Vendor::ActiveDirectory;
    for attribute in &entry.attributes {
        let name = base_type(&attribute.description);
        let Some(kind) = schema.attribute_type(name) else {
            found.push(Violation::UnknownAttribute { attribute: name.to_owned() });
            continue;
        };
        if schema.is_operational(name) {
            // The relax rules control allows an entryUUID, which is checked before the first record.
            if vendor == Vendor::OpenLdap
                && kind.no_user_modification
                && !name.eq_ignore_ascii_case("entryUUID")
            {
                found.push(Violation::Maintained { attribute: name.to_owned() });
            }
            continue;
        }
        let usual = schema.canonical_name(name);
        let is_allowed = || must.iter().chain(&may).any(|allowed| allowed.eq_ignore_ascii_case(usual));
        if checks_allowed && !usual.eq_ignore_ascii_case("objectClass") && !is_allowed() {
            let classes = classes.iter().map(|class| (*class).to_owned()).collect();
            found.push(Violation::NotAllowed { attribute: usual.to_owned(), classes });
        }
        if kind.single_value && attribute.values.len() > 1 {
            let values = attribute.values.len();
            found.push(Violation::Several { attribute: usual.to_owned(), values });
        }
        if let Some(expected) = expected(schema, vendor, &attribute.description)
            && let Some(wrong) = expected.of(schema, &attribute.values)
        {
            found.push(Violation::Invalid { attribute: usual.to_owned(), expected: wrong });
        }
    }
    if knows_classes {
        found.extend(missing(schema, vendor, entry, &classes));
    }
    found
}

/// Returns the violation in a DN.
fn wrong_in_name(schema: &Schema, vendor: Vendor, dn: &str) -> Option<Violation> {
    let name = crate::dn::Dn::parse(dn).ok()?;
    name.rdns.iter().flat_map(|rdn| &rdn.avas).find_map(|ava| {
        let attribute = schema.canonical_name(&ava.attribute).to_owned();
        if schema.attribute_type(&ava.attribute).is_none() {
            return Some(Violation::Name { attribute, expected: None });
        }
        let wrong = expected(schema, vendor, &attribute)?.of(schema, std::slice::from_ref(&ava.value))?;
        Some(Violation::Name { attribute, expected: Some(wrong) })
    })
}

/// Returns the mandatory attributes that an entry lacks: neither as an attribute nor in its DN, whose values servers add.
fn missing(schema: &Schema, vendor: Vendor, entry: &Entry, classes: &[&str]) -> Vec<Violation> {
    let rdn = first_rdn(&entry.dn).ok().flatten();
    let named = rdn.iter().flat_map(|rdn| &rdn.avas).map(|ava| ava.attribute.as_str());
    let held = entry.attributes.iter().filter(|a| !a.values.is_empty()).map(|a| base_type(&a.description));
    let has: Vec<&str> = held.chain(named).map(|name| schema.canonical_name(name)).collect();
    let is_given = |name: &str| {
        schema.is_operational(name)
            || schema.attribute_type(name).is_some_and(|a| a.no_user_modification)
            || vendor == Vendor::ActiveDirectory && GIVEN_BY_AD.iter().any(|g| g.eq_ignore_ascii_case(name))
    };
    let mut found = Vec::new();
    for class in schema.class_closure(classes.iter().copied()) {
        for name in class.must.iter().map(|name| schema.canonical_name(name)) {
            let is_there = has.iter().any(|h| h.eq_ignore_ascii_case(name));
            // A class and a superclass may both require it.
            let is_said = || {
                found
                    .iter()
                    .any(|one| matches!(one, Violation::Missing { attribute, .. } if attribute == name))
            };
            if !is_there && !is_given(name) && !is_said() {
                found.push(Violation::Missing { class: class.name().to_owned(), attribute: name.to_owned() });
            }
        }
    }
    found
}

/// The form that the values of an attribute must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Boolean,
    Integer,
    GeneralizedTime,
    Uuid,
    Name {
        known: bool,
    },
    Text,
    Ascii,
    Printable,
    Digits,
    NameAndUid {
        known: bool,
    },
    /// A DN, or `<GUID=…>`, `<SID=…>` or `<WKGUID=…>`, which are specific to Active Directory ([MS-ADTS] 3.1.1.3.1.2.4).
    NameOrId,
    Country,
    Bits,
    DeliveryMethod,
    Netgroup,
    Boot,
    /// The server cannot check values, and refuses all.
    None,
    /// `pwdLastSet`.
    Reset,
}

fn expected(schema: &Schema, vendor: Vendor, description: &str) -> Option<Expected> {
    let syntax = schema.syntax(base_type(description))?;
    let is_ad = vendor == Vendor::ActiveDirectory;
    match ValueKind::of(schema, description) {
        ValueKind::Boolean => Some(Expected::Boolean),
        _ if is_ad && base_type(description).eq_ignore_ascii_case("pwdLastSet") => Some(Expected::Reset),
        ValueKind::Integer | ValueKind::FileTime => Some(Expected::Integer),
        // Active Directory also accepts a UTCTime.
        ValueKind::GeneralizedTime if !is_ad => Some(Expected::GeneralizedTime),
        ValueKind::Uuid if syntax != oid::DIRECTORY_STRING => Some(Expected::Uuid),
        ValueKind::DistinguishedName if is_ad => Some(Expected::NameOrId),
        ValueKind::DistinguishedName => Some(Expected::Name { known: vendor == Vendor::OpenLdap }),
        _ if is_ad => None,
        ValueKind::NameAndOptionalUid => Some(Expected::NameAndUid { known: vendor == Vendor::OpenLdap }),
        _ => match syntax {
            oid::COUNTRY_STRING => Some(Expected::Country),
            oid::BIT_STRING => Some(Expected::Bits),
            oid::DELIVERY_METHOD => Some(Expected::DeliveryMethod),
            // Others accept any ASCII.
            oid::NETGROUP_TRIPLE if vendor == Vendor::OpenLdap => Some(Expected::Netgroup),
            oid::BOOT_PARAMETER if vendor == Vendor::OpenLdap => Some(Expected::Boot),
            oid::FAX if vendor == Vendor::OpenLdap => Some(Expected::None),
            oid::DIRECTORY_STRING => Some(Expected::Text),
            oid::IA5_STRING => Some(Expected::Ascii),
            oid::PRINTABLE_STRING | oid::TELEPHONE_NUMBER => Some(Expected::Printable),
            oid::NUMERIC_STRING => Some(Expected::Digits),
            _ => None,
        },
    }
}

impl Expected {
    /// Returns the expected form, if a value violates it.
    fn of(self, schema: &Schema, values: &[Vec<u8>]) -> Option<&'static str> {
        let wrong = values.iter().find(|value| !self.is_right(schema, value))?;
        Some(match self {
            Expected::Boolean => "TRUE or FALSE",
            Expected::Integer => "a whole number",
            Expected::GeneralizedTime => "a time (GeneralizedTime, such as 20260101000000Z)",
            Expected::Uuid => "a UUID, such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            Expected::Name { .. } | Expected::NameOrId => {
                "a DN of known attributes, such as cn=name,dc=example,dc=com"
            }
            Expected::Text if wrong.is_empty() => "a text that is not empty",
            Expected::Text => "a text in UTF-8",
            Expected::Ascii => "a text of ASCII characters",
            Expected::Printable => "a text of letters, digits, blanks and '()+,-./:=?",
            Expected::Digits => "digits and blanks",
            Expected::NameAndUid { .. } => {
                "a DN of known attributes, and a UID if there is one (cn=name,dc=example,dc=com#'0101'B)"
            }
            Expected::Country => "two letters (ISO 3166), such as DE",
            Expected::Bits => "bits, such as '0101'B",
            Expected::DeliveryMethod => {
                "any, mhs, physical, telex, teletex, g3fax, g4fax, ia5, videotex or telephone, several with $ between"
            }
            Expected::Netgroup => "a triple, such as (host,user,domain)",
            Expected::Boot => "key=server:path",
            Expected::None => "no value that this server could check: it takes none",
            Expected::Reset => "0 (to be changed at the next logon) or -1 (changed now)",
        })
    }

    fn is_right(self, schema: &Schema, value: &[u8]) -> bool {
        match self {
            Expected::Boolean => matches!(value, b"TRUE" | b"FALSE"),
            Expected::Integer => is_integer(value),
            Expected::GeneralizedTime => {
                std::str::from_utf8(value).is_ok_and(|text| generalized_to_rfc3339(text).is_ok())
            }
            Expected::Uuid => Equality::Uuid.normalize_valid(value, schema).is_some(),
            Expected::Name { known } => {
                let Ok(text) = std::str::from_utf8(value) else { return false };
                let Ok(dn) = crate::dn::Dn::parse(text) else { return false };
                let mut parts = dn.rdns.iter().flat_map(|rdn| &rdn.avas);
                !known || parts.all(|part| schema.attribute_type(&part.attribute).is_some())
            }
            Expected::NameOrId => {
                value.starts_with(b"<") || Expected::Name { known: false }.is_right(schema, value)
            }
            Expected::NameAndUid { known } => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let name = match text.rsplit_once('#') {
                    Some((name, uid)) if is_bits(uid.as_bytes()) => name,
                    _ => text,
                };
                Expected::Name { known }.is_right(schema, name.as_bytes()) && !value.is_empty()
            }
            Expected::Country => value.len() == 2 && value.iter().all(u8::is_ascii_alphabetic),
            Expected::Bits => is_bits(value),
            Expected::DeliveryMethod => {
                const METHODS: [&str; 10] = [
                    "any",
                    "mhs",
                    "physical",
                    "telex",
                    "teletex",
                    "g3fax",
                    "g4fax",
                    "ia5",
                    "videotex",
                    "telephone",
                ];
                let is_one = |part: &str| METHODS.contains(&part.trim().to_ascii_lowercase().as_str());
                std::str::from_utf8(value).is_ok_and(|text| text.split('$').all(is_one))
            }
            Expected::Netgroup => {
                let inner = value.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")"));
                inner.is_some_and(|inner| inner.split(|b| *b == b',').count() == 3)
            }
            Expected::Boot => {
                let (key, place) = value.split_at(value.iter().position(|b| *b == b'=').unwrap_or_default());
                !key.is_empty() && place.contains(&b':')
            }
            Expected::None => false,
            Expected::Reset => matches!(value, b"0" | b"-1"),
            Expected::Text => !value.is_empty() && std::str::from_utf8(value).is_ok(),
            Expected::Ascii => value.is_ascii(),
            Expected::Printable => {
                let is_mark = |b: &u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(b);
                !value.is_empty() && value.iter().all(is_mark)
            }
            Expected::Digits => !value.is_empty() && value.iter().all(|b| b.is_ascii_digit() || *b == b' '),
        }
    }
}

/// Returns whether a value is a Bit String (RFC 4517 section 3.3.2).
fn is_bits(value: &[u8]) -> bool {
    let bits = value.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'B"));
    bits.is_some_and(|bits| bits.iter().all(|bit| matches!(bit, b'0' | b'1')))
}
