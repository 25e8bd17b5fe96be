//! Names of LDAP syntaxes.

/// RFC 4517 section 3.3.9.
pub(super) const DN: &str = "1.3.6.1.4.1.1466.115.121.1.12";

/// RFC 4517 section 3.3 and RFC 2252 section 4.3.2, below 1.3.6.1.4.1.1466.115.121.1.
const STANDARD: &[(&str, &str)] = &[
    ("1", "ACI Item"),
    ("2", "Access Point"),
    ("3", "Attribute Type Description"),
    ("4", "Audio"),
    ("5", "Binary"),
    ("6", "Bit String"),
    ("7", "Boolean"),
    ("8", "Certificate"),
    ("9", "Certificate List"),
    ("10", "Certificate Pair"),
    ("11", "Country String"),
    ("12", "DN"),
    ("13", "Data Quality"),
    ("14", "Delivery Method"),
    ("15", "Directory String"),
    ("16", "DIT Content Rule Description"),
    ("17", "DIT Structure Rule Description"),
    ("18", "DL Submit Permission"),
    ("19", "DSA Quality"),
    ("20", "DSE Type"),
    ("21", "Enhanced Guide"),
    ("22", "Facsimile Telephone Number"),
    ("23", "Fax"),
    ("24", "Generalized Time"),
    ("25", "Guide"),
    ("26", "IA5 String"),
    ("27", "Integer"),
    ("28", "JPEG"),
    ("29", "Master And Shadow Access Points"),
    ("30", "Matching Rule Description"),
    ("31", "Matching Rule Use Description"),
    ("32", "Mail Preference"),
    ("33", "MHS OR Address"),
    ("34", "Name And Optional UID"),
    ("35", "Name Form Description"),
    ("36", "Numeric String"),
    ("37", "Object Class Description"),
    ("38", "OID"),
    ("39", "Other Mailbox"),
    ("40", "Octet String"),
    ("41", "Postal Address"),
    ("42", "Protocol Information"),
    ("43", "Presentation Address"),
    ("44", "Printable String"),
    ("45", "Subtree Specification"),
    ("46", "Supplier Information"),
    ("47", "Supplier Or Consumer"),
    ("48", "Supplier And Consumer"),
    ("49", "Supported Algorithm"),
    ("50", "Telephone Number"),
    ("51", "Teletex Terminal Identifier"),
    ("52", "Telex Number"),
    ("53", "UTC Time"),
    ("54", "LDAP Syntax Description"),
    ("55", "Modify Rights"),
    ("56", "LDAP Schema Definition"),
    ("57", "LDAP Schema Description"),
    ("58", "Substring Assertion"),
];

/// All others, by their full OID.
const OTHERS: &[(&str, &str)] = &[
    // RFC 2307 section 2.4.
    ("1.3.6.1.1.1.0.0", "NIS Netgroup Triple"),
    ("1.3.6.1.1.1.0.1", "Boot Parameter"),
    // RFC 4523 section 2.
    ("1.3.6.1.1.15.1", "Certificate Exact Assertion"),
    ("1.3.6.1.1.15.2", "Certificate Assertion"),
    ("1.3.6.1.1.15.3", "Certificate Pair Exact Assertion"),
    ("1.3.6.1.1.15.4", "Certificate Pair Assertion"),
    ("1.3.6.1.1.15.5", "Certificate List Exact Assertion"),
    ("1.3.6.1.1.15.6", "Certificate List Assertion"),
    ("1.3.6.1.1.15.7", "Algorithm Identifier"),
    // RFC 4530 section 2.1.
    ("1.3.6.1.1.16.1", "UUID"),
    // RFC 3112 section 3.
    ("1.3.6.1.4.1.4203.1.1.2", "Authentication Password"),
    // OpenLDAP, servers/slapd/schema_init.c.
    ("1.3.6.1.4.1.4203.666.2.7", "Authorization Rule"),
    ("1.3.6.1.4.1.4203.666.11.2.1", "Change Sequence Number"),
    ("1.3.6.1.4.1.4203.666.11.2.4", "Change Sequence Number SID"),
    ("1.3.6.1.4.1.4203.666.11.10.2.1", "Attribute Certificate"),
    // [MS-ADTS] 3.1.1.2.2.2 and 3.1.1.3.1.1.3: syntaxes that Active Directory adds to its subschema.
    ("1.2.840.113556.1.4.903", "DN With Binary"),
    ("1.2.840.113556.1.4.904", "DN With String"),
    ("1.2.840.113556.1.4.905", "Case-Ignoring String"),
    ("1.2.840.113556.1.4.906", "Large Integer"),
    ("1.2.840.113556.1.4.907", "NT Security Descriptor"),
    ("1.2.840.113556.1.4.1221", "OR Name"),
    ("1.2.840.113556.1.4.1362", "Case-Exact String"),
    // [MS-ADTS] 3.1.1.2.2.2: attributeSyntax of Active Directory.
    ("2.5.5.1", "DN"),
    ("2.5.5.2", "OID"),
    ("2.5.5.3", "Case-Exact String"),
    ("2.5.5.4", "Case-Ignoring String"),
    ("2.5.5.5", "Printable String"),
    ("2.5.5.6", "Numeric String"),
    ("2.5.5.7", "DN With Binary"),
    ("2.5.5.8", "Boolean"),
    ("2.5.5.9", "Integer"),
    ("2.5.5.10", "Octet String"),
    ("2.5.5.11", "Time"),
    ("2.5.5.12", "Unicode String"),
    ("2.5.5.13", "Presentation Address"),
    ("2.5.5.14", "DN With String"),
    ("2.5.5.15", "NT Security Descriptor"),
    ("2.5.5.16", "Large Integer"),
    ("2.5.5.17", "SID"),
];

/// Returns the name of a syntax by its OID.
pub(super) fn name(oid: &str) -> Option<&'static str> {
    let find =
        |rows: &'static [(&str, &str)], key: &str| rows.iter().find(|(o, _)| *o == key).map(|(_, n)| *n);
    match oid.strip_prefix("1.3.6.1.4.1.1466.115.121.1.") {
        Some(number) => find(STANDARD, number),
        None => find(OTHERS, oid),
    }
}
