//! The JSON type of every attribute that a server's schema defines.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::client::Client;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{metadata, stream, tap_config, with};

/// What the syntaxes below 1.3.6.1.4.1.1466.115.121.1 (RFC 4517 section 3.3, RFC 4523, and RFC 2252 for those that
/// are gone since) look like in JSON.
const STANDARD: &[(u32, &str)] = &[
    (3, "string"),     // Attribute Type Description
    (4, "base64"),     // Audio
    (5, "base64"),     // Binary
    (6, "string"),     // Bit String: '0101'B
    (7, "boolean"),    // Boolean
    (8, "base64"),     // Certificate
    (9, "base64"),     // Certificate List
    (10, "base64"),    // Certificate Pair
    (11, "string"),    // Country String
    (12, "string"),    // DN
    (13, "string"),    // Data Quality Syntax
    (14, "string"),    // Delivery Method
    (15, "string"),    // Directory String
    (19, "string"),    // DSA Quality Syntax
    (21, "string"),    // Enhanced Guide
    (22, "string"),    // Facsimile Telephone Number
    (23, "base64"),    // Fax
    (24, "date-time"), // Generalized Time
    (25, "string"),    // Guide
    (26, "string"),    // IA5 String
    (27, "integer"),   // Integer
    (28, "base64"),    // JPEG
    (30, "string"),    // Matching Rule Description
    (31, "string"),    // Matching Rule Use Description
    (34, "string"),    // Name and Optional UID
    (36, "string"),    // Numeric String
    (37, "string"),    // Object Class Description
    (38, "string"),    // OID
    (39, "string"),    // Other Mailbox
    (40, "base64"),    // Octet String
    (41, "string"),    // Postal Address
    (42, "string"),    // Protocol Information
    (43, "string"),    // Presentation Address
    (44, "string"),    // Printable String
    (45, "string"),    // Subtree Specification
    (49, "base64"),    // Supported Algorithm
    (50, "string"),    // Telephone Number
    (51, "base64"),    // Teletex Terminal Identifier
    (52, "string"),    // Telex Number
    (53, "date-time"), // UTC Time
    (54, "string"),    // LDAP Syntax Description
];

/// The others.
const VENDORS: &[(&str, &str)] = &[
    ("1.3.6.1.1.16.1", "uuid"),                   // UUID (RFC 4530)
    ("1.3.6.1.1.1.0.0", "string"),                // NIS netgroup triple (RFC 2307)
    ("1.3.6.1.1.1.0.1", "string"),                // boot parameter (RFC 2307)
    ("1.2.36.79672281.1.5.0", "string"),          // RDN (OpenLDAP)
    ("1.2.840.113549.1.8.1.1", "base64"),         // PKCS #8 private key (OpenLDAP)
    ("1.3.6.1.4.1.4203.666.2.7", "string"),       // authorization rule (OpenLDAP)
    ("1.3.6.1.4.1.4203.666.11.2.1", "string"),    // change sequence number (OpenLDAP)
    ("1.3.6.1.4.1.4203.666.11.5.3.1", "string"),  // controls in the access log (OpenLDAP)
    ("1.3.6.1.4.1.4203.666.11.10.2.1", "base64"), // attribute certificate (OpenLDAP)
    ("2.16.840.1.113730.3.7.1", "string"),        // space-insensitive string (389 DS)
    ("1.2.840.113556.1.4.903", "string"),         // DN with octets, as B:8:0A0B0C0D:CN=x (AD)
    ("1.2.840.113556.1.4.904", "string"),         // DN with string, as S:3:abc:CN=x (AD)
    ("1.2.840.113556.1.4.905", "string"),         // case-ignore string, once Teletex (AD)
    ("1.2.840.113556.1.4.906", "integer"),        // LargeInteger (AD)
    ("1.2.840.113556.1.4.907", "base64"),         // NT security descriptor (AD)
];

/// Attributes whose meaning their syntax does not tell. Of 389 DS: a UUID as Directory String. Of Active Directory: times as
/// LargeInteger, GUIDs and SIDs as octets.
const BY_NAME: &[(&str, &str)] = &[
    // `000001010000Z` locks for ever, and is no time.
    ("pwdAccountLockedTime", "string"),
    ("entryUUID", "uuid"),
    ("accountExpires", "date-time"),
    ("badPasswordTime", "date-time"),
    ("builtinCreationTime", "date-time"),
    ("creationTime", "date-time"),
    ("lastLogoff", "date-time"),
    ("lastLogon", "date-time"),
    ("lastLogonTimestamp", "date-time"),
    ("lastSetTime", "date-time"),
    ("lockoutTime", "date-time"),
    ("lSACreationTime", "date-time"),
    ("msDS-ApproximateLastLogonTimeStamp", "date-time"),
    ("msDS-Cached-Membership-Time-Stamp", "date-time"),
    ("msDS-LastFailedInteractiveLogonTime", "date-time"),
    ("msDS-LastSuccessfulInteractiveLogonTime", "date-time"),
    ("msDS-UserPasswordExpiryTimeComputed", "date-time"),
    ("msKds-CreateTime", "date-time"),
    ("msKds-UseStartTime", "date-time"),
    ("priorSetTime", "date-time"),
    ("pwdLastSet", "date-time"),
    ("attributeSecurityGUID", "uuid"),
    ("invocationId", "uuid"),
    ("netbootGUID", "uuid"),
    ("objectGUID", "uuid"),
    ("schemaIDGUID", "uuid"),
    ("mS-DS-CreatorSID", "string"),
    ("objectSid", "string"),
    ("securityIdentifier", "string"),
    ("sIDHistory", "string"),
    ("tokenGroups", "string"),
    ("tokenGroupsGlobalAndUniversal", "string"),
    ("tokenGroupsNoGCAcceptable", "string"),
];

fn expected(syntax: &str) -> Option<&'static str> {
    let standard = syntax.strip_prefix("1.3.6.1.4.1.1466.115.121.1.").and_then(|n| n.parse::<u32>().ok());
    match standard {
        Some(number) => STANDARD.iter().find(|(n, _)| *n == number).map(|(_, kind)| *kind),
        None => VENDORS.iter().find(|(oid, _)| *oid == syntax).map(|(_, kind)| *kind),
    }
}

/// An attribute type as the server publishes it.
struct Published {
    name: String,
    syntax: Option<String>,
    superior: Option<String>,
    single: bool,
}

/// The server's definitions of one kind.
fn definitions(server: &Server, kind: &str) -> Vec<String> {
    let mut client = Client::admin(server);
    let texts = |values: Vec<Vec<u8>>| -> Vec<String> {
        values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    };
    let subschema = texts(client.values("", "subschemaSubentry"));
    texts(client.values(&subschema[0], kind))
}

/// The words of a definition, quotes and parentheses left out; what is quoted is one word.
fn words(definition: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = definition.trim();
    while let Some(c) = rest.chars().next() {
        let (word, after) = if c == '\'' {
            let inner = rest.get(1..).unwrap();
            // An apostrophe within a text is not followed by what may follow one.
            let end = (0..inner.len())
                .find(|i| inner.get(*i..).is_some_and(|r| r.starts_with("' ") || r == "'"))
                .unwrap_or_else(|| panic!("no closing quote in {definition}"));
            (inner.get(..end).unwrap().to_owned(), inner.get(end + 1..).unwrap())
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            (rest.get(..end).unwrap().to_owned(), rest.get(end..).unwrap())
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

fn published(server: &Server) -> Vec<Published> {
    definitions(server, "attributeTypes")
        .iter()
        .map(|definition| {
            let words = words(definition);
            let after = |keyword: &str| {
                let at = words.iter().position(|w| w == keyword)?;
                words.get(at + 1..)?.iter().find(|w| *w != "(").cloned()
            };
            Published {
                name: after("NAME").unwrap_or_else(|| words[1].clone()),
                syntax: after("SYNTAX").map(|s| s.split('{').next().unwrap().to_owned()),
                superior: after("SUP"),
                single: words.iter().any(|w| w == "SINGLE-VALUE"),
            }
        })
        .collect()
}

fn kind(property: &Value) -> String {
    let value = property.get("items").unwrap_or(property);
    let word = |key: &str| value.get(key).and_then(Value::as_str);
    if let Some(word) = word("format").or_else(|| word("contentEncoding")) {
        return word.to_owned();
    }
    let types: BTreeSet<String> = crate::support::types(value);
    types.into_iter().collect::<Vec<_>>().join(" ")
}

/// Asks the tap to describe every attribute that the server's schema defines, and compares.
#[track_caller]
fn every_attribute_has_its_type(server: &Server, at_least: usize) {
    let published = published(server);
    assert!(published.len() >= at_least, "{}", published.len());
    let names: Vec<&str> = published.iter().map(|p| p.name.as_str()).collect();
    let config = with(
        &tap_config(server),
        &json!({"schemas": [{"name": "all", "scope": "base", "base_dn": server.suffix(), "attributes": names}]}),
    );
    let output = Run::tap(&config).arg("--discover").arg("--log-level").arg("debug").run().succeeds();
    assert!(!output.stderr.contains("definition of the schema is left out"), "{}", output.stderr);
    let catalog = output.json();
    let entry = stream(&catalog, "all");
    let properties = entry["schema"]["properties"].as_object().unwrap();
    let by_name: BTreeMap<String, &Published> =
        published.iter().map(|p| (p.name.to_ascii_lowercase(), p)).collect();

    let mut faults = Vec::new();
    for attribute in &published {
        let Some(property) = properties.get(&attribute.name) else {
            faults.push(format!("{} is not in the catalog", attribute.name));
            continue;
        };
        // Inherited along SUP where the definition has none of its own.
        let syntax = std::iter::successors(Some(attribute), |a| {
            by_name.get(&a.superior.as_ref()?.to_ascii_lowercase()).copied()
        })
        .find_map(|a| a.syntax.as_deref())
        .unwrap_or_else(|| panic!("{} has no syntax", attribute.name));
        let described = &metadata(entry, &["properties", &attribute.name])["ldap.syntax"];
        if described != syntax {
            faults.push(format!("{}: syntax {described}, published {syntax}", attribute.name));
        }
        let special = BY_NAME.iter().find(|(name, _)| *name == attribute.name).map(|(_, kind)| *kind);
        match special.or_else(|| expected(syntax)) {
            None => {
                faults.push(format!("{}: nobody decided what syntax {syntax} looks like", attribute.name));
            }
            Some(wanted) if wanted != kind(property) => {
                faults.push(format!("{} ({syntax}) is {}, not {wanted}", attribute.name, kind(property)));
            }
            Some(_) => {}
        }
        if property.get("items").is_none() != attribute.single {
            faults.push(format!("{}: SINGLE-VALUE is {}", attribute.name, attribute.single));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), published.len(), faults.join("\n"));

    // Syntaxes that the server knows and no attribute has yet: somebody may add one tomorrow.
    for definition in definitions(server, "ldapSyntaxes") {
        let oid = words(&definition)[1].clone();
        assert!(expected(&oid).is_some(), "nobody decided what syntax {oid} looks like: {definition}");
    }
}

#[test]
fn every_attribute_of_openldap_has_its_type() {
    every_attribute_has_its_type(&Slapd::start(SlapdOptions::default()), 350);
}

#[test]
fn every_attribute_of_ds389_has_its_type() {
    every_attribute_has_its_type(&Ds389::start(&Ds389Options::default()), 900);
}

#[test]
fn every_attribute_of_active_directory_has_its_type() {
    every_attribute_has_its_type(&Samba::start(""), 1400);
}
