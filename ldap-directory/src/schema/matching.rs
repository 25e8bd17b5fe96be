//! Equality of values: the equality matching rules (RFC 4517 section 4.2) as normal forms.
//!
//! Scope: enough to decide whether a value must be written, and to evaluate filters on LDIF. Departures from the string preparation
//! of RFC 4518 are to the narrow side, so that no change is missed: control characters are kept, and case is folded letter by
//! letter (`ß` is not `ss`), as in OpenLDAP.

mod text;

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Schema;
use crate::dn;
use crate::time::generalized::GeneralizedTime;

/// A rule by which values compare for equality (RFC 4517 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Equality {
    /// Text, ignoring case and runs of spaces.
    CaseIgnore,
    /// Text, ignoring runs of spaces.
    CaseExact,
    /// Lines separated by `$`, each compared as `CaseIgnore` (postal addresses).
    CaseIgnoreList,
    /// Digits, ignoring spaces.
    Numeric,
    /// Telephone numbers, ignoring case, spaces and hyphens.
    Telephone,
    /// Whole numbers of any size.
    Integer,
    /// TRUE or FALSE.
    Boolean,
    /// Instants, in any offset and precision.
    GeneralizedTime,
    /// Instants with years of two digits.
    UtcTime,
    /// DNs, by [`crate::dn::DnKey`].
    DistinguishedName,
    /// DNs with an optional `#'0101'B` (nameAndOptionalUID).
    UniqueMember,
    /// Attribute types, object classes and other OIDs, by any name that the schema defines.
    ObjectIdentifier,
    /// UUIDs as text (RFC 4530).
    Uuid,
    /// Octets; also for rules that need ASN.1 (certificates) or are unknown.
    OctetString,
}

/// Rules by name and OID (RFC 4517 section 4.2; an ordering rule has the equality of what it orders).
const RULES: &[(&str, &str, Equality)] = &[
    ("objectIdentifierMatch", "2.5.13.0", Equality::ObjectIdentifier),
    ("distinguishedNameMatch", "2.5.13.1", Equality::DistinguishedName),
    ("caseIgnoreMatch", "2.5.13.2", Equality::CaseIgnore),
    ("caseIgnoreOrderingMatch", "2.5.13.3", Equality::CaseIgnore),
    ("caseExactMatch", "2.5.13.5", Equality::CaseExact),
    ("caseExactOrderingMatch", "2.5.13.6", Equality::CaseExact),
    ("numericStringMatch", "2.5.13.8", Equality::Numeric),
    ("numericStringOrderingMatch", "2.5.13.9", Equality::Numeric),
    ("caseIgnoreListMatch", "2.5.13.11", Equality::CaseIgnoreList),
    ("booleanMatch", "2.5.13.13", Equality::Boolean),
    ("integerMatch", "2.5.13.14", Equality::Integer),
    ("integerOrderingMatch", "2.5.13.15", Equality::Integer),
    ("bitStringMatch", "2.5.13.16", Equality::OctetString),
    ("octetStringMatch", "2.5.13.17", Equality::OctetString),
    ("octetStringOrderingMatch", "2.5.13.18", Equality::OctetString),
    ("telephoneNumberMatch", "2.5.13.20", Equality::Telephone),
    ("presentationAddressMatch", "2.5.13.22", Equality::OctetString),
    ("uniqueMemberMatch", "2.5.13.23", Equality::UniqueMember),
    ("protocolInformationMatch", "2.5.13.24", Equality::OctetString),
    ("uTCTimeMatch", "2.5.13.25", Equality::UtcTime),
    ("uTCTimeOrderingMatch", "2.5.13.26", Equality::UtcTime),
    ("generalizedTimeMatch", "2.5.13.27", Equality::GeneralizedTime),
    ("generalizedTimeOrderingMatch", "2.5.13.28", Equality::GeneralizedTime),
    ("integerFirstComponentMatch", "2.5.13.29", Equality::OctetString),
    ("objectIdentifierFirstComponentMatch", "2.5.13.30", Equality::OctetString),
    ("certificateExactMatch", "2.5.13.34", Equality::OctetString),
    ("certificateListExactMatch", "2.5.13.38", Equality::OctetString),
    ("caseExactIA5Match", "1.3.6.1.4.1.1466.109.114.1", Equality::CaseExact),
    ("caseIgnoreIA5Match", "1.3.6.1.4.1.1466.109.114.2", Equality::CaseIgnore),
    ("UUIDMatch", "1.3.6.1.1.16.2", Equality::Uuid),
    ("UUIDOrderingMatch", "1.3.6.1.1.16.3", Equality::Uuid),
    // OpenLDAP's change sequence numbers sort as text.
    ("CSNMatch", "1.3.6.1.4.1.4203.666.11.2.2", Equality::OctetString),
    ("CSNOrderingMatch", "1.3.6.1.4.1.4203.666.11.2.3", Equality::OctetString),
];

impl Equality {
    /// Returns the rule with this name or OID, if it is supported.
    pub fn from_rule(name_or_oid: &str) -> Option<Self> {
        let same = |(name, oid, _): &&(&str, &str, Self)| {
            name.eq_ignore_ascii_case(name_or_oid) || *oid == name_or_oid
        };
        RULES.iter().find(same).map(|(_, _, rule)| *rule)
    }

    /// Returns the rule of a syntax (RFC 4517 section 3.3), for a type without EQUALITY. Active Directory's own strings
    /// ([MS-ADTS] 3.1.1.2.2.2) compare without regard to case.
    pub fn of_syntax(oid: &str) -> Self {
        let Some(number) = oid.strip_prefix("1.3.6.1.4.1.1466.115.121.1.") else {
            return match oid {
                "1.3.6.1.1.16.1" => Self::Uuid,
                "1.2.840.113556.1.4.905" | "1.2.840.113556.1.4.1221" => Self::CaseIgnore,
                "1.2.840.113556.1.4.1362" => Self::CaseExact,
                "1.2.840.113556.1.4.906" => Self::Integer,
                _ => Self::OctetString,
            };
        };
        match number {
            "7" => Self::Boolean,
            "12" => Self::DistinguishedName,
            "11" | "15" | "22" | "26" | "44" | "52" => Self::CaseIgnore,
            "24" => Self::GeneralizedTime,
            "27" => Self::Integer,
            "34" => Self::UniqueMember,
            "36" => Self::Numeric,
            "38" => Self::ObjectIdentifier,
            "41" => Self::CaseIgnoreList,
            "50" => Self::Telephone,
            "53" => Self::UtcTime,
            _ => Self::OctetString,
        }
    }

    /// Returns the normal form of a value: two values match if their normal forms are the same octets. A value that violates the
    /// rule's syntax is its own normal form.
    pub fn normalize<'v>(&self, value: &'v [u8], schema: &Schema) -> Cow<'v, [u8]> {
        self.normalize_nested(value, schema, 0)
    }

    /// As [`Self::normalize`], for a value at a nesting depth inside of DNs.
    pub(crate) fn normalize_nested<'v>(self, value: &'v [u8], schema: &Schema, nesting: u8) -> Cow<'v, [u8]> {
        self.prepare(value, schema, nesting).unwrap_or(Cow::Borrowed(value))
    }

    /// Returns the normal form, or `None` if the value violates the rule's syntax.
    pub(crate) fn normalize_valid<'v>(self, value: &'v [u8], schema: &Schema) -> Option<Cow<'v, [u8]>> {
        self.prepare(value, schema, 0)
    }

    fn prepare<'v>(self, value: &'v [u8], schema: &Schema, nesting: u8) -> Option<Cow<'v, [u8]>> {
        if self == Self::OctetString {
            return Some(Cow::Borrowed(value));
        }
        let text = std::str::from_utf8(value).ok()?;
        let owned = |normal: String| Some(Cow::Owned(normal.into_bytes()));
        match self {
            Self::CaseIgnore => Some(text::prepared(text, true)),
            Self::CaseExact => Some(text::prepared(text, false)),
            Self::CaseIgnoreList => owned(text::list(text)),
            Self::Numeric => owned(text::without(text, |c| c == ' ')),
            Self::Telephone => owned(text::without(text, text::is_space_or_hyphen)),
            Self::Integer => owned(integer(text)?),
            Self::Boolean => {
                let same = |word: &&str| text.eq_ignore_ascii_case(word);
                owned((*["TRUE", "FALSE"].iter().find(|w| same(w))?).to_owned())
            }
            Self::GeneralizedTime => owned(GeneralizedTime::read(text)?.to_normal_form()?),
            Self::UtcTime => owned(utc_time(text)?),
            Self::DistinguishedName => owned(dn::normal_name(text, schema, nesting)?),
            Self::UniqueMember => owned(unique_member(text, schema, nesting)?),
            Self::ObjectIdentifier => owned(object_identifier(text, schema)?),
            Self::Uuid => owned(uuid(text)?),
            Self::OctetString => None,
        }
    }

    /// Returns the order of two values (the ordering rules of RFC 4517); `None` if the rule has no order, or a value violates its
    /// syntax.
    pub fn compare(&self, a: &[u8], b: &[u8], schema: &Schema) -> Option<Ordering> {
        let (a, b) = (self.normalize_valid(a, schema)?, self.normalize_valid(b, schema)?);
        match self {
            Self::Integer => Some(compare_integers(&a, &b)),
            // Without the Z, so that a time with a fraction follows the one without.
            Self::GeneralizedTime | Self::UtcTime => Some(a.strip_suffix(b"Z")?.cmp(b.strip_suffix(b"Z")?)),
            Self::CaseIgnore | Self::CaseExact | Self::Numeric | Self::Uuid | Self::OctetString => {
                Some(a.cmp(&b))
            }
            _ => None,
        }
    }

    /// Returns whether values have an order, by [`Self::compare`].
    pub fn has_order(self) -> bool {
        matches!(
            self,
            Self::Integer
                | Self::GeneralizedTime
                | Self::UtcTime
                | Self::CaseIgnore
                | Self::CaseExact
                | Self::Numeric
                | Self::Uuid
                | Self::OctetString
        )
    }

    /// Returns whether substrings of values can be matched.
    pub fn has_substrings(self) -> bool {
        self.normalize_part(b"", false, false).is_some()
    }

    /// Returns a part of a substring assertion (RFC 4517 section 4.2.6) in the normal form; `None` if the rule has no substrings.
    pub(crate) fn normalize_part(self, part: &[u8], at_start: bool, at_end: bool) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(part).ok();
        match self {
            Self::CaseIgnore | Self::CaseIgnoreList => Some(text::part(text?, true, at_start, at_end)),
            Self::CaseExact => Some(text::part(text?, false, at_start, at_end)),
            Self::Numeric => Some(text::without(text?, |c| c == ' ').into_bytes()),
            Self::Telephone => Some(text::without(text?, text::is_space_or_hyphen).into_bytes()),
            Self::OctetString => Some(part.to_vec()),
            _ => None,
        }
    }
}

/// Returns a whole number without leading zeros (RFC 4517 section 3.3.16; servers also accept `+` and zeros).
fn integer(text: &str) -> Option<String> {
    let text = text.trim_matches(' ');
    let (sign, digits) =
        text.strip_prefix('-').map_or(("", text.strip_prefix('+').unwrap_or(text)), |d| ("-", d));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    Some(if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}") })
}

/// Returns the order of two normal forms of [`integer`].
fn compare_integers(a: &[u8], b: &[u8]) -> Ordering {
    let magnitude = |a: &[u8], b: &[u8]| a.len().cmp(&b.len()).then_with(|| a.cmp(b));
    match (a.strip_prefix(b"-"), b.strip_prefix(b"-")) {
        (None, None) => magnitude(a, b),
        (Some(a), Some(b)) => magnitude(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

/// Splits `name#'0101'B` (RFC 4517 section 3.3.21). A `#` that does not begin a bit string belongs to the DN.
fn unique_member(text: &str, schema: &Schema, nesting: u8) -> Option<String> {
    let uid = text.rsplit_once('#').filter(|(_, uid)| {
        let bits = uid.strip_prefix('\'').and_then(|u| u.strip_suffix("'B"));
        bits.is_some_and(|bits| bits.bytes().all(|b| b == b'0' || b == b'1'))
    });
    match uid {
        Some((name, uid)) => Some(format!("{}#{uid}", dn::normal_name(name, schema, nesting)?)),
        None => dn::normal_name(text, schema, nesting),
    }
}

/// Returns an OID or descriptor (RFC 4512 section 1.4) in its normal form: its OID, if the schema defines it. Object classes come
/// first: a name that both have is probably a value of objectClass.
fn object_identifier(text: &str, schema: &Schema) -> Option<String> {
    let text = text.trim_matches(' ');
    if text.is_empty()
        || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b';'))
    {
        return None;
    }
    let class = schema.object_class(text).map(|c| &c.oid);
    // With an option, it is another description: `cn;lang-de` is not cn.
    let attribute = || schema.attribute_type(text).filter(|_| !text.contains(';')).map(|a| &a.oid);
    Some(class.or_else(attribute).map_or(text, String::as_str).to_ascii_lowercase())
}

/// Returns a UTCTime in the normal form of a GeneralizedTime, which is accepted as it is.
fn utc_time(text: &str) -> Option<String> {
    if let Some(normal) = GeneralizedTime::read(text).and_then(|time| time.to_normal_form()) {
        return (normal == text).then_some(normal);
    }
    GeneralizedTime::read_utc_time(text)?.to_normal_form()
}

/// Returns a UUID in the text form of RFC 4122.
fn uuid(text: &str) -> Option<String> {
    let parsed = uuid::Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
    Some(parsed.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(rule: Equality, a: &str, b: &str) -> bool {
        let schema = Schema::standard();
        rule.normalize(a.as_bytes(), schema) == rule.normalize(b.as_bytes(), schema)
    }

    #[test]
    fn what_matches_and_what_does_not() {
        use Equality::*;
        for (rule, a, b, matches) in [
            (CaseIgnore, " Ada  Lovelace ", "ada lovelace", true),
            (CaseIgnore, "ÉMILE", "émile", true),
            (CaseIgnore, "e\u{301}", "é", true),
            (CaseIgnore, "a\u{a0}b", "a b", true),
            (CaseIgnore, "ab", "a b", false),
            (CaseIgnore, "a\nb", "a b", false),
            (CaseExact, "a  b", "a b", true),
            (CaseExact, "A", "a", false),
            (CaseIgnoreList, "1 Main St. $ Town", "1 main  st.$town", true),
            (CaseIgnoreList, "a$b", "a b", false),
            (CaseIgnoreList, "a\\24b", "a$b", false),
            (CaseIgnoreList, "a＄b", "a$b", false),
            (Numeric, "12 34", "1234", true),
            (Telephone, "+1 555-0100", "+15550100", true),
            (Telephone, "555 0100 EXT", "5550100ext", true),
            (Integer, "007", "7", true),
            (Integer, "-0", "0", true),
            (Integer, "123456789012345678901234567890", "0123456789012345678901234567890", true),
            (Integer, "-7", "7", false),
            (Integer, "7x", "7X", false),
            (Boolean, "true", "TRUE", true),
            (Boolean, "TRUE", "FALSE", false),
            (GeneralizedTime, "20200101000000Z", "20200101000000.0Z", true),
            (GeneralizedTime, "20200101000000Z", "202001010000Z", true),
            (GeneralizedTime, "20200101000000Z", "2020010100Z", true),
            (GeneralizedTime, "20200101000000Z", "20200101013000+0130", true),
            (GeneralizedTime, "20200101000000Z", "20191231190000-05", true),
            (GeneralizedTime, "202001010030Z", "2020010100.5Z", true),
            (GeneralizedTime, "20200101000030,500Z", "202001010000.508333Z", false),
            (GeneralizedTime, "20200101000030,5Z", "20200101000030.50Z", true),
            (GeneralizedTime, "20200101000000Z", "20200101000001Z", false),
            (GeneralizedTime, "20161231235960Z", "20170101005960.0+01", true),
            (GeneralizedTime, "never", "Never", false),
            (UtcTime, "9912312359Z", "991231235900Z", true),
            (UtcTime, "9912312359Z", "0001010059+0100", true),
            (DistinguishedName, "CN=A , DC=x", "2.5.4.3=a,dc=X", true),
            (DistinguishedName, "cn=a,dc=x", "dc=x,cn=a", false),
            (UniqueMember, "CN=A#'01'B", "cn=a#'01'B", true),
            (UniqueMember, "CN=A#'01'B", "cn=a", false),
            (ObjectIdentifier, "PERSON", "2.5.6.6", true),
            (ObjectIdentifier, "commonName", "cn", true),
            (ObjectIdentifier, "person", "device", false),
            (Uuid, "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", true),
            (OctetString, "A", "a", false),
        ] {
            assert_eq!(same(rule, a, b), matches, "{rule:?} {a:?} {b:?}");
        }
        let invalid = Equality::CaseIgnore.normalize(b"A\xff", Schema::standard());
        assert_eq!(&*invalid, b"A\xff", "what is no text is compared as octets");
    }

    #[test]
    fn values_have_an_order() {
        use Equality::*;
        for (rule, low, high) in [
            (Integer, "-10", "-9"),
            (Integer, "-1", "0"),
            (Integer, "9", "10"),
            (Integer, "99999999999999999999", "100000000000000000000"),
            (GeneralizedTime, "20200101000000Z", "20200101000000.5Z"),
            (GeneralizedTime, "20200101010000+0200", "20200101000000Z"),
            (CaseIgnore, "a", "B"),
        ] {
            let compare = |a: &str, b: &str| rule.compare(a.as_bytes(), b.as_bytes(), Schema::standard());
            assert_eq!(compare(low, high), Some(Ordering::Less), "{low} {high}");
            assert_eq!(compare(high, low), Some(Ordering::Greater), "{low} {high}");
        }
        assert_eq!(Integer.compare(b"x", b"1", Schema::standard()), None);
        assert_eq!(Boolean.compare(b"TRUE", b"FALSE", Schema::standard()), None);
    }

    #[test]
    fn every_rule_is_found_by_name_and_oid() {
        for (name, oid, rule) in RULES {
            assert_eq!(Equality::from_rule(&name.to_uppercase()), Some(*rule));
            assert_eq!(Equality::from_rule(oid), Some(*rule));
        }
        assert_eq!(Equality::from_rule("fooMatch"), None);
    }

    proptest! {
        #[test]
        fn normal_forms_are_stable(
            rule in proptest::sample::select(RULES),
            value in prop_oneof![
                any::<String>(),
                "[ a-cA-C0-9#'$\\\\+,=.-]{0,12}",
                "cn=[a-c#+, =\\\\]{0,6}(#'01'B)?",
                "-?[0-9]{1,12}",
                "(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-2][0-9][0-2][0-9]([0-5][0-9]){0,2}([.,][0-9]{1,4})?(Z|[+-]0[0-9]([0-5][0-9])?)",
            ],
        ) {
            let schema = Schema::standard();
            let once = rule.2.normalize(value.as_bytes(), schema).into_owned();
            let twice = rule.2.normalize(&once, schema);
            prop_assert_eq!(String::from_utf8_lossy(&once), String::from_utf8_lossy(&twice), "{:?}", rule);
        }

        #[test]
        fn integers_order_as_numbers(a in any::<i64>(), b in any::<i64>()) {
            let order = Equality::Integer.compare(a.to_string().as_bytes(), b.to_string().as_bytes(), Schema::standard());
            prop_assert_eq!(order, Some(a.cmp(&b)));
        }
    }
}
