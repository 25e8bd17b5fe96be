//! The mapping between LDAP syntaxes and JSON.
//!
//! [`ValueKind::parse_json`] is the inverse of [`ValueKind::write_json`]: it returns the same octets (for times, the same instant
//! and fraction).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Schema;
use crate::entry::base_type;
use crate::json;
use crate::time::Zone;
use crate::time::generalized::plain_to_rfc3339;

mod time;
pub use crate::json::write_text;
pub use time::{Clock, generalized_to_rfc3339, now, rfc3339_to_generalized};
pub(crate) use time::{filetime, to_filetime};

/// The JSON form of an attribute's values.
///
/// ```
/// use ldap_directory::schema::Schema;
/// use ldap_directory::schema::syntax::ValueKind;
///
/// let kind = ValueKind::of(Schema::standard(), "modifyTimestamp");
/// let mut json = Vec::new();
/// kind.write_json(b"20260131080000.5Z", &mut json)?;
/// assert_eq!(json, br#""2026-01-31T08:00:00.5Z""#);
/// # Ok::<(), ldap_directory::schema::syntax::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// `TRUE` and `FALSE` (RFC 4517 section 3.3.3).
    Boolean,
    /// Integer (3.3.16) and Active Directory's LargeInteger: of any length, written exactly.
    Integer,
    /// GeneralizedTime (3.3.13) as RFC 3339 in UTC.
    GeneralizedTime,
    /// UTCTime (3.3.34) as RFC 3339 in UTC.
    UtcTime,
    /// Active Directory's count of 100 ns since 1601; 0 and 2^63-1 mean "never", and are null in JSON.
    FileTime,
    /// A UUID in text (RFC 4530).
    Uuid,
    /// Active Directory's objectGUID: 16 octets, the first three groups little-endian ([MS-DTYP] 2.3.4).
    Guid,
    /// A security identifier in octets ([MS-DTYP] 2.4.2), `S-1-5-…`.
    Sid,
    /// Octets, in base64.
    Binary,
    /// A DN (3.3.9), in the server's spelling.
    DistinguishedName,
    /// A DN with an optional unique identifier (3.3.21).
    NameAndOptionalUid,
    /// Text that may be empty (IA5String, 3.3.15).
    PossiblyEmptyText,
    /// Any other text.
    Text,
}

/// A syntax and its kind. Syntaxes that are not in the table are text.
struct Row {
    oid: &'static str,
    kind: ValueKind,
}

const fn row(oid: &'static str, kind: ValueKind) -> Row {
    Row { oid, kind }
}

/// RFC 4517 section 3.3 and RFC 4523 section 2 (1.3.6.1.4.1.1466.115.121.1.x), RFC 4530, [MS-ADTS] 3.1.1.2.2.2.
const SYNTAXES: &[Row] = &[
    row("1.3.6.1.4.1.1466.115.121.1.4", ValueKind::Binary), // Audio
    row("1.3.6.1.4.1.1466.115.121.1.5", ValueKind::Binary), // Binary
    row("1.3.6.1.4.1.1466.115.121.1.7", ValueKind::Boolean),
    row("1.3.6.1.4.1.1466.115.121.1.8", ValueKind::Binary), // Certificate
    row("1.3.6.1.4.1.1466.115.121.1.9", ValueKind::Binary), // Certificate List
    row("1.3.6.1.4.1.1466.115.121.1.10", ValueKind::Binary), // Certificate Pair
    row("1.3.6.1.4.1.1466.115.121.1.12", ValueKind::DistinguishedName),
    row("1.3.6.1.4.1.1466.115.121.1.23", ValueKind::Binary), // Fax
    row("1.3.6.1.4.1.1466.115.121.1.24", ValueKind::GeneralizedTime),
    row("1.3.6.1.4.1.1466.115.121.1.26", ValueKind::PossiblyEmptyText), // IA5 String
    row("1.3.6.1.4.1.1466.115.121.1.27", ValueKind::Integer),
    row("1.3.6.1.4.1.1466.115.121.1.28", ValueKind::Binary), // JPEG
    row("1.3.6.1.4.1.1466.115.121.1.34", ValueKind::NameAndOptionalUid),
    row("1.3.6.1.4.1.1466.115.121.1.40", ValueKind::Binary), // Octet String
    row("1.3.6.1.4.1.1466.115.121.1.49", ValueKind::Binary), // Supported Algorithm
    row("1.3.6.1.4.1.1466.115.121.1.51", ValueKind::Binary), // Teletex Terminal Identifier
    row("1.3.6.1.4.1.1466.115.121.1.53", ValueKind::UtcTime),
    row("1.3.6.1.1.16.1", ValueKind::Uuid),
    row("1.3.6.1.4.1.4203.666.11.10.2.1", ValueKind::Binary), // attribute certificate
    row("1.3.6.1.4.1.4203.1.1.2", ValueKind::Binary),         // authPassword kept as octets
    row("1.2.840.113549.1.8.1.1", ValueKind::Binary),         // PKCS #8 private key (OpenLDAP)
    row("1.2.840.113556.1.4.906", ValueKind::Integer),        // LargeInteger
    row("1.2.840.113556.1.4.907", ValueKind::Binary),         // NT Security Descriptor
    row("2.5.5.1", ValueKind::DistinguishedName),
    row("2.5.5.8", ValueKind::Boolean),
    row("2.5.5.9", ValueKind::Integer),
    row("2.5.5.10", ValueKind::Binary),
    row("2.5.5.11", ValueKind::GeneralizedTime),
    row("2.5.5.15", ValueKind::Binary),
    row("2.5.5.16", ValueKind::Integer),
    row("2.5.5.17", ValueKind::Sid),
];

/// Attributes of Active Directory that are times, which their syntax does not show, in lower case ([MS-ADA1] to [MS-ADA3]).
const FILETIMES: &[&str] = &[
    "accountexpires",
    "badpasswordtime",
    "builtincreationtime",
    "creationtime",
    "lastlogoff",
    "lastlogon",
    "lastlogontimestamp",
    "lastsettime",
    "lockouttime",
    "lsacreationtime",
    "ms-mcs-admpwdexpirationtime",
    "msds-approximatelastlogontimestamp",
    "msds-cached-membership-time-stamp",
    "msds-lastfailedinteractivelogontime",
    "msds-lastsuccessfulinteractivelogontime",
    "msds-userpasswordexpirytimecomputed",
    "mskds-createtime",
    "mskds-usestarttime",
    "mslaps-passwordexpirationtime",
    "priorsettime",
    "pwdlastset",
];
/// UUIDs by name: 389 DS declares it a Directory String, and has no UUID syntax.
const UUIDS: &[&str] = &["entryuuid"];
const GUIDS: &[&str] =
    &["objectguid", "attributesecurityguid", "schemaidguid", "invocationid", "netbootguid"];
const SIDS: &[&str] = &[
    "objectsid",
    "sidhistory",
    "securityidentifier",
    "tokengroups",
    "tokengroupsglobalanduniversal",
    "tokengroupsnogcacceptable",
    "ms-ds-creatorsid",
];

/// A value that violates its syntax. It does not contain the value, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value does not follow its syntax")]
pub struct InvalidValue;

impl ValueKind {
    /// Returns the kind of an attribute's values: by option (`;binary`), by name if the syntax is not specific, by syntax. Undefined
    /// attributes are text.
    pub fn of(schema: &Schema, description: &str) -> ValueKind {
        let attribute = base_type(description);
        let options = description.get(attribute.len()..).unwrap_or_default();
        if !options.is_empty() && options.split(';').any(|option| option.eq_ignore_ascii_case("binary")) {
            return ValueKind::Binary;
        }
        schema.kind(attribute)
    }

    /// Returns the kind by which values are emitted: that of [`Self::of`], but text for `pwdAccountLockedTime`, whose `000001010000Z` (locked
    /// for ever, draft-behera-ldap-password-policy-10 section 5.3.3) is no time of RFC 3339.
    pub fn emitted(schema: &Schema, description: &str) -> ValueKind {
        match ValueKind::of(schema, description) {
            ValueKind::GeneralizedTime
                if base_type(description).eq_ignore_ascii_case("pwdAccountLockedTime") =>
            {
                ValueKind::Text
            }
            kind => kind,
        }
    }

    /// Derives the kind, without regard to options.
    pub(super) fn derive(schema: &Schema, description: &str) -> ValueKind {
        let kind = schema.syntax(description).map_or(ValueKind::Text, ValueKind::of_syntax);
        let name = schema.canonical_name(base_type(description)).to_ascii_lowercase();
        match kind {
            ValueKind::Integer if FILETIMES.contains(&name.as_str()) => ValueKind::FileTime,
            ValueKind::Text if UUIDS.contains(&name.as_str()) => ValueKind::Uuid,
            ValueKind::Binary if GUIDS.contains(&name.as_str()) => ValueKind::Guid,
            ValueKind::Binary if SIDS.contains(&name.as_str()) => ValueKind::Sid,
            other => other,
        }
    }

    /// Returns the kind of a syntax, by its OID.
    pub fn of_syntax(oid: &str) -> ValueKind {
        SYNTAXES.iter().find(|r| r.oid == oid).map_or(ValueKind::Text, |r| r.kind)
    }

    /// Returns the value by which an attribute of Active Directory represents "no time". Such an attribute always has a value, and
    /// null is written as this one. `None` for other kinds.
    pub fn no_time(self, description: &str) -> Option<&'static str> {
        let [zero, never] = time::NO_FILETIME;
        let is_account = base_type(description).eq_ignore_ascii_case("accountExpires");
        (self == ValueKind::FileTime).then_some(if is_account { never } else { zero })
    }

    /// Returns whether a value means "no time" or "never".
    pub fn is_no_time(self, value: &[u8]) -> bool {
        self == ValueKind::FileTime && time::NO_FILETIME.iter().any(|no| no.as_bytes() == value)
    }

    /// Returns whether values are DNs of other entries.
    pub fn is_name(self) -> bool {
        matches!(self, ValueKind::DistinguishedName | ValueKind::NameAndOptionalUid)
    }

    /// Returns the JSON schema of one value; values and properties are nullable.
    pub fn json_schema(self) -> Value {
        match self {
            ValueKind::Boolean => json!({"type": ["null", "boolean"]}),
            ValueKind::Integer => json!({"type": ["null", "integer"]}),
            ValueKind::GeneralizedTime | ValueKind::UtcTime | ValueKind::FileTime => {
                json!({"type": ["null", "string"], "format": "date-time"})
            }
            ValueKind::Uuid | ValueKind::Guid => json!({"type": ["null", "string"], "format": "uuid"}),
            ValueKind::Binary => json!({"type": ["null", "string"], "contentEncoding": "base64"}),
            ValueKind::Sid
            | ValueKind::DistinguishedName
            | ValueKind::NameAndOptionalUid
            | ValueKind::PossiblyEmptyText
            | ValueKind::Text => json!({"type": ["null", "string"]}),
        }
    }

    /// Returns why a value has no JSON, as the end of a sentence on the value.
    pub fn flaw(self) -> &'static str {
        match self {
            ValueKind::GeneralizedTime | ValueKind::UtcTime | ValueKind::FileTime => {
                "is not a time that RFC 3339 has (years 1 to 9999, second 60 only where a leap second may be)"
            }
            _ => "does not follow its syntax",
        }
    }

    /// Appends a value as JSON.
    ///
    /// # Errors
    /// Fails if the value violates its syntax. Nothing is appended then.
    #[inline]
    pub fn write_json(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidValue> {
        match self {
            ValueKind::DistinguishedName
            | ValueKind::NameAndOptionalUid
            | ValueKind::PossiblyEmptyText
            | ValueKind::Text => Ok(write_octets(value, out)?),
            _ => self.write_other(value, out),
        }
    }

    fn write_other(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidValue> {
        match self {
            ValueKind::Boolean => match value {
                // Literals of the ABNF ignore case (RFC 5234 section 2.3).
                value if value.eq_ignore_ascii_case(b"TRUE") => out.extend_from_slice(b"true"),
                value if value.eq_ignore_ascii_case(b"FALSE") => out.extend_from_slice(b"false"),
                _ => return Err(InvalidValue),
            },
            ValueKind::Integer => {
                if !is_integer(value) {
                    return Err(InvalidValue);
                }
                out.extend_from_slice(value);
            }
            ValueKind::GeneralizedTime => {
                if let Some(time) = plain_to_rfc3339(value) {
                    out.push(b'"');
                    out.extend_from_slice(&time);
                    out.push(b'"');
                } else {
                    write_text(&time::generalized_to_rfc3339(text(value)?)?, out);
                }
            }
            ValueKind::UtcTime => write_text(&time::utc_time_to_rfc3339(text(value)?)?, out),
            ValueKind::FileTime => match time::filetime_to_rfc3339(text(value)?)? {
                Some(time) => write_text(&time, out),
                None => out.extend_from_slice(b"null"),
            },
            ValueKind::Uuid => {
                hyphenated_uuid(value)?;
                write_octets(value, out)?;
            }
            ValueKind::Guid => {
                let octets: [u8; 16] = value.try_into().map_err(|_| InvalidValue)?;
                write_text(&uuid::Uuid::from_bytes_le(octets).to_string(), out);
            }
            ValueKind::Sid => write_text(&sid_to_text(value)?, out),
            ValueKind::Binary => write_base64(value, out),
            ValueKind::DistinguishedName
            | ValueKind::NameAndOptionalUid
            | ValueKind::PossiblyEmptyText
            | ValueKind::Text => write_octets(value, out)?,
        }
        Ok(())
    }

    /// Returns the octets of a JSON value, the inverse of [`Self::write_json`]. `None` if there is no value: null, or an empty text
    /// in a syntax without empty values.
    ///
    /// # Errors
    /// Fails if the value violates the syntax.
    pub fn parse_json(self, value: &Value) -> Result<Option<Vec<u8>>, InvalidValue> {
        self.parse_json_in(value, Zone::Utc)
    }

    /// Returns the octets of a JSON value as [`Self::parse_json`]; a time without an offset is in the zone.
    ///
    /// # Errors
    /// As [`Self::parse_json`].
    pub fn parse_json_in(self, value: &Value, zone: Zone) -> Result<Option<Vec<u8>>, InvalidValue> {
        let text = match value {
            Value::Null => return Ok(None),
            // The most common case.
            Value::String(text) if matches!(self, ValueKind::Text) && !text.is_empty() => {
                return Ok(Some(text.as_bytes().to_vec()));
            }
            Value::String(text) => text.clone(),
            Value::Bool(true) => "TRUE".to_owned(),
            Value::Bool(false) => "FALSE".to_owned(),
            Value::Number(number) => number_text(number),
            Value::Array(_) | Value::Object(_) => return Err(InvalidValue),
        };
        if text.is_empty()
            && !matches!(
                self,
                ValueKind::Binary | ValueKind::PossiblyEmptyText | ValueKind::DistinguishedName
            )
        {
            return Ok(None);
        }
        let octets = match self {
            ValueKind::Boolean => {
                let written = if truth(&text).ok_or(InvalidValue)? { "TRUE" } else { "FALSE" };
                written.as_bytes().to_vec()
            }
            ValueKind::Integer => {
                let written = written_out(&text).unwrap_or_else(|| text.clone());
                let digits = integral(&written);
                if !is_integer(digits.as_bytes()) {
                    return Err(InvalidValue);
                }
                digits.as_bytes().to_vec()
            }
            ValueKind::GeneralizedTime => time::to_generalized(&text, zone)?.into_bytes(),
            ValueKind::UtcTime => time::rfc3339_to_utc_time(&text, zone)?.into_bytes(),
            ValueKind::FileTime => time::rfc3339_to_filetime(&text, zone)?.into_bytes(),
            ValueKind::Uuid => {
                hyphenated_uuid(text.as_bytes())?;
                text.into_bytes()
            }
            ValueKind::Guid => uuid::Uuid::try_parse(&text).map_err(|_| InvalidValue)?.to_bytes_le().to_vec(),
            ValueKind::Sid => sid_from_text(&text)?,
            ValueKind::Binary => {
                // With line breaks (RFC 2045 section 6.8).
                let joined: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
                BASE64.decode(joined).map_err(|_| InvalidValue)?
            }
            ValueKind::DistinguishedName
            | ValueKind::NameAndOptionalUid
            | ValueKind::PossiblyEmptyText
            | ValueKind::Text => text.into_bytes(),
        };
        Ok(Some(octets))
    }
}

/// Returns the truth of a text in the words of people, spreadsheets and databases; `None` for any other text.
pub fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn text(value: &[u8]) -> Result<&str, InvalidValue> {
    std::str::from_utf8(value).map_err(|_| InvalidValue)
}

fn write_octets(value: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidValue> {
    json::write_octets(value, out).map_err(|_| InvalidValue)
}

/// Appends base64 as a JSON string: it has no character that JSON escapes.
fn write_base64(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    // Four characters for three octets, the last ones padded.
    out.resize(start + value.len().div_ceil(3) * 4, 0);
    let written = out.get_mut(start..).map(|free| BASE64.encode_slice(value, free));
    // The capacity is exact.
    out.truncate(start + written.and_then(Result::ok).unwrap_or_default());
    out.push(b'"');
}

/// Returns whether a value is an Integer (RFC 4517 section 3.3.16): no leading zeros, no plus, no minus zero. It is a JSON number too.
pub(crate) fn is_integer(value: &[u8]) -> bool {
    match value {
        b"0" => true,
        [b'-', rest @ ..] | rest => matches!(rest, [b'1'..=b'9', ..]) && rest.iter().all(u8::is_ascii_digit),
    }
}

/// Returns a number as text: its digits, and a whole number without the `.0` that some warehouses write.
pub fn number_text(number: &serde_json::Number) -> String {
    let text = number.to_string();
    let text = written_out(&text).unwrap_or(text);
    match integral(&text) {
        whole if whole.len() < text.len() => whole.to_owned(),
        _ => text,
    }
}

/// Returns the digits of a number with an exponent (`3e+17`); `None` for one without, or with very many digits.
fn written_out(text: &str) -> Option<String> {
    const MOST: i32 = 400;
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok().filter(|e: &i32| e.abs() <= MOST)?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let length = i32::try_from(digits.len()).ok()?;
    let (whole, fraction) = if point <= 0 {
        ("0".to_owned(), "0".repeat(usize::try_from(-point).ok()?) + &digits)
    } else if point >= length {
        (digits + &"0".repeat(usize::try_from(point - length).ok()?), String::new())
    } else {
        let (whole, fraction) = digits.split_at_checked(usize::try_from(point).ok()?)?;
        (whole.to_owned(), fraction.to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// Returns `3` for `3.0`, as some warehouses write whole numbers, and `0` for `-0`, as Python writes it.
fn integral(text: &str) -> &str {
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b == b'0') => whole,
        _ => text,
    };
    if whole == "-0" { "0" } else { whole }
}

fn sid_to_text(value: &[u8]) -> Result<String, InvalidValue> {
    use std::fmt::Write as _;
    let ([revision, count], rest) = value.split_first_chunk::<2>().ok_or(InvalidValue)?;
    let (authority, sub) = rest.split_first_chunk::<6>().ok_or(InvalidValue)?;
    if sub.len() != usize::from(*count) * 4 {
        return Err(InvalidValue);
    }
    let authority = authority.iter().fold(0_u64, |n, octet| n << 8 | u64::from(*octet));
    let mut out = format!("S-{revision}-{authority}");
    for part in sub.chunks_exact(4) {
        let part: [u8; 4] = part.try_into().map_err(|_| InvalidValue)?;
        let _ = write!(out, "-{}", u32::from_le_bytes(part));
    }
    Ok(out)
}

fn sid_from_text(text: &str) -> Result<Vec<u8>, InvalidValue> {
    let mut parts = text.strip_prefix("S-").ok_or(InvalidValue)?.split('-');
    let mut number = || parts.next().map(|p| p.parse::<u64>().map_err(|_| InvalidValue)).transpose();
    let revision = number()?.and_then(|n| u8::try_from(n).ok()).ok_or(InvalidValue)?;
    let authority = number()?.filter(|a| *a < 1 << 48).ok_or(InvalidValue)?;
    let mut sub = Vec::new();
    while let Some(part) = number()? {
        sub.push(u32::try_from(part).map_err(|_| InvalidValue)?);
    }
    let count = u8::try_from(sub.len()).ok().filter(|c| *c <= 15).ok_or(InvalidValue)?;
    let [_, _, authority @ ..] = authority.to_be_bytes();
    let mut out = vec![revision, count];
    out.extend_from_slice(&authority);
    for part in sub {
        out.extend_from_slice(&part.to_le_bytes());
    }
    Ok(out)
}

/// Checks for a UUID in the form of RFC 4122 section 3, which `format: uuid` requires.
fn hyphenated_uuid(value: &[u8]) -> Result<(), InvalidValue> {
    let value: &[u8; 36] = value.try_into().map_err(|_| InvalidValue)?;
    let digits = value.iter().fold(0_u8, |count, octet| count + u8::from(octet.is_ascii_hexdigit()));
    let hyphens = [8, 13, 18, 23].iter().all(|at| value.get(*at) == Some(&b'-'));
    (hyphens && digits == 32).then_some(()).ok_or(InvalidValue)
}

#[cfg(test)]
mod tests;
