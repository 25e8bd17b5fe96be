//! Values of many syntaxes, each in more than one spelling, and what they are by their attribute's EQUALITY rule.
//!
//! The rules are written down here once more, not taken from the pair: the judge must not share the accused's mistakes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::ldif::normalize_dn;
use serde_json::{Value, json};

use crate::support::rng::Rng;

/// An attribute, and how its values look.
pub(super) struct Kind {
    /// The record's property.
    pub(super) property: &'static str,
    /// The attribute as ldapsearch prints it, in lower case.
    pub(super) attribute: &'static str,
    /// The most values it may have; 1 for SINGLE-VALUE.
    pub(super) most: usize,
    /// Whether the server can compare single values.
    pub(super) comparable: bool,
    syntax: Syntax,
}

#[derive(Clone, Copy, PartialEq)]
enum Syntax {
    CaseIgnore,
    CaseExact,
    List,
    Telephone,
    Integer,
    Time,
    Boolean,
    Uuid,
    Dn,
    Octets,
    Jpeg,
}

const fn kind(property: &'static str, attribute: &'static str, most: usize, syntax: Syntax) -> Kind {
    Kind { property, attribute, most, comparable: !matches!(syntax, Syntax::Jpeg), syntax }
}

/// What the schema of the tests has.
pub(super) const ON_A_SERVER: &[Kind] = &[
    kind("description", "description", 4, Syntax::CaseIgnore),
    kind("description;lang-en", "description;lang-en", 2, Syntax::CaseIgnore),
    kind("mail", "mail", 3, Syntax::CaseIgnore),
    // Another name of it.
    kind("testTextAlias", "testtext", 3, Syntax::CaseIgnore),
    kind("testExact", "testexact", 1, Syntax::CaseExact),
    kind("postalAddress", "postaladdress", 2, Syntax::List),
    kind("telephoneNumber", "telephonenumber", 3, Syntax::Telephone),
    kind("testCount", "testcount", 1, Syntax::Integer),
    kind("testCounts", "testcounts", 4, Syntax::Integer),
    kind("testWhen", "testwhen", 1, Syntax::Time),
    kind("testFlag", "testflag", 1, Syntax::Boolean),
    kind("testUuid", "testuuid", 1, Syntax::Uuid),
    kind("testPointer", "testpointer", 4, Syntax::Dn),
    kind("seeAlso", "seealso", 2, Syntax::Dn),
    kind("testBlob", "testblob", 3, Syntax::Octets),
    kind("jpegPhoto", "jpegphoto", 2, Syntax::Jpeg),
];

/// What a file's built-in schema has.
pub(super) const IN_A_FILE: &[Kind] = &[
    kind("description", "description", 4, Syntax::CaseIgnore),
    kind("description;lang-en", "description;lang-en", 2, Syntax::CaseIgnore),
    kind("mail", "mail", 3, Syntax::CaseIgnore),
    kind("labeledURI", "labeleduri", 3, Syntax::CaseExact),
    kind("homeDirectory", "homedirectory", 1, Syntax::CaseExact),
    kind("postalAddress", "postaladdress", 2, Syntax::List),
    kind("telephoneNumber", "telephonenumber", 3, Syntax::Telephone),
    kind("uidNumber", "uidnumber", 1, Syntax::Integer),
    kind("showInAdvancedViewOnly", "showinadvancedviewonly", 1, Syntax::Boolean),
    kind("manager", "manager", 4, Syntax::Dn),
    kind("sshPublicKey", "sshpublickey", 3, Syntax::Octets),
    kind("jpegPhoto", "jpegphoto", 2, Syntax::Jpeg),
];

/// One value: as a server has it, and as a record has it.
pub(super) struct Spelled {
    pub(super) octets: Vec<u8>,
    pub(super) json: Value,
}

impl Kind {
    /// The property's JSON schema.
    pub(super) fn schema(&self) -> Value {
        let item = match self.syntax {
            Syntax::Integer => json!({"type": ["null", "integer"]}),
            Syntax::Boolean => json!({"type": ["null", "boolean"]}),
            Syntax::Time => json!({"type": ["null", "string"], "format": "date-time"}),
            Syntax::Octets | Syntax::Jpeg => json!({"type": ["null", "string"], "contentEncoding": "base64"}),
            _ => json!({"type": ["null", "string"]}),
        };
        if self.most == 1 { item } else { json!({"type": ["null", "array"], "items": item}) }
    }

    /// A value out of few, so that two entries have some in common, in one of its spellings.
    pub(super) fn value(&self, rng: &mut Rng) -> Spelled {
        let text = |text: String| Spelled { octets: text.clone().into_bytes(), json: json!(text) };
        match self.syntax {
            Syntax::CaseIgnore => {
                let mail = ["ada@example.test", "Bob@Example.test", "c+d@x.test", "e@x"];
                let words = ["Ada Lovelace", "a, b; c <d>", "stra\u{df}e", "\u{e9}mile zola", "#=\"x\\", "a"];
                let base = if self.attribute == "mail" { *rng.pick(&mail) } else { *rng.pick(&words) };
                text(respelled(base, rng))
            }
            Syntax::CaseExact => {
                text(rng.pick(&["Case", "case", "CASE", "Case  ", "two  words", "two words"]).to_string())
            }
            Syntax::List => {
                let base = *rng.pick(&["1 Main St.$Town$Country", "PO Box 7 $ Town", "x$y"]);
                text(respelled(base, rng))
            }
            Syntax::Telephone => {
                let base = *rng.pick(&["+1 555 0100", "+1 555 0101", "+49 (30) 123", "911"]);
                text(if rng.chance(50) { base.replace(' ', "-") } else { base.replace(" 0", "0") })
            }
            Syntax::Integer => {
                let number = *rng.pick(&["0", "7", "-7", "42", "123456789012345678901234567890", "-1", "10"]);
                let json = serde_json::from_str(number).unwrap();
                Spelled { octets: number.as_bytes().to_vec(), json }
            }
            Syntax::Time => {
                let times = [
                    ("20200101000000Z", "2020-01-01T00:00:00Z"),
                    ("20200101000000.0Z", "2020-01-01T01:30:00+01:30"),
                    ("202001010000Z", "2019-12-31T23:00:00.000-01:00"),
                    ("20200101000000.50Z", "2020-01-01T00:00:00.5Z"),
                    ("19991231235959Z", "1999-12-31T23:59:59Z"),
                ];
                let (octets, json) = *rng.pick(&times);
                Spelled { octets: octets.as_bytes().to_vec(), json: json!(json) }
            }
            Syntax::Boolean => {
                let value = rng.chance(50);
                Spelled { octets: value.to_string().to_uppercase().into_bytes(), json: json!(value) }
            }
            Syntax::Uuid => {
                let base = *rng
                    .pick(&["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-4000-8000-00000000000a"]);
                text(if rng.chance(50) { base.to_uppercase() } else { base.to_owned() })
            }
            Syntax::Dn => {
                let n = rng.below(5);
                let spellings = [
                    format!(r"cn=Doe\, Jane {n},ou=people,dc=example,dc=test"),
                    format!(r"CN=doe\2C jane {n} , OU=People, dc=example,DC=test"),
                    format!(r"2.5.4.3=DOE\,  JANE {n},ou=people,dc=Example,dc=test"),
                ];
                text(rng.pick(&spellings).clone())
            }
            Syntax::Octets | Syntax::Jpeg => {
                let mut octets =
                    if self.syntax == Syntax::Jpeg { vec![0xff, 0xd8, 0xff, 0xe0] } else { vec![] };
                let tails: [&[u8]; 5] = [b"a", b"A", b"\0\xff\r\n", b" x ", "\u{e9}".as_bytes()];
                octets.extend_from_slice(tails[rng.below(tails.len())]);
                Spelled { json: json!(STANDARD.encode(&octets)), octets }
            }
        }
    }

    /// What two values that are the same by the attribute's rule have in common.
    pub(super) fn normal(&self, value: &[u8]) -> Vec<u8> {
        let text = || String::from_utf8(value.to_vec()).unwrap();
        let spaces = |text: &str| text.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        let folded = |text: &str| spaces(&text.to_lowercase().replace("e\u{301}", "\u{e9}"));
        match self.syntax {
            Syntax::CaseIgnore => folded(&text()).into_bytes(),
            Syntax::CaseExact => spaces(&text()).into_bytes(),
            Syntax::List => text().split('$').map(folded).collect::<Vec<_>>().join("$").into_bytes(),
            Syntax::Telephone => text().replace([' ', '-'], "").to_lowercase().into_bytes(),
            Syntax::Integer | Syntax::Boolean | Syntax::Octets | Syntax::Jpeg => value.to_vec(),
            Syntax::Uuid => value.to_ascii_lowercase(),
            Syntax::Dn => spaces(&normalize_dn(&text().replace("2.5.4.3=", "cn="))).into_bytes(),
            Syntax::Time => {
                let text = text();
                let (whole, fraction) =
                    text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
                format!("{whole:0<14}.{}", fraction.trim_end_matches('0')).into_bytes()
            }
        }
    }
}

/// The same text by caseIgnoreMatch.
fn respelled(text: &str, rng: &mut Rng) -> String {
    let cased = match rng.below(3) {
        // The capital of a sharp s is two letters.
        0 => text
            .chars()
            .map(|c| if c == '\u{df}' { c.into() } else { c.to_uppercase().to_string() })
            .collect(),
        1 => text.to_lowercase(),
        _ => text.to_owned(),
    };
    match rng.below(4) {
        0 => cased.replace(' ', "  "),
        1 => cased.replace('\u{e9}', "e\u{301}"),
        _ => cased,
    }
}
