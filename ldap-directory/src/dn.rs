//! Distinguished names (RFC 4514): parsing, escaping, comparing.
//!
//! A [`Dn`] holds decoded values; [`split`] keeps the spelling of the text. Neither checks whether an entry or an attribute
//! type exists.

mod key;
mod parse;

use std::borrow::Cow;
use std::fmt;

pub(crate) use key::Parents;
pub(crate) use key::normal_name;
pub use key::{Above, DnKey, SuffixRewrite, topmost};

use crate::schema::Schema;

/// Why a text is not a DN (RFC 4514 section 3). Offsets are bytes into the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnError {
    /// No attribute type where one must be.
    #[error("DN, byte {0}: an attribute type (as in `cn=`) is missing")]
    MissingType(usize),
    /// No `=` after an attribute type.
    #[error("DN, byte {0}: `=` expected after the attribute type")]
    MissingEquals(usize),
    /// A backslash before neither a special character nor two hex digits.
    #[error("DN, byte {0}: `\\` must be followed by a special character or two hex digits")]
    BadEscape(usize),
    /// `#` before something other than pairs of hex digits.
    #[error(
        "DN, byte {0}: `#` must be followed by pairs of hex digits; a value that starts with # is written `\\#`"
    )]
    BadHex(usize),
    /// A quoted value without an end.
    #[error("DN, byte {0}: the quoted value does not end")]
    UnclosedQuote(usize),
    /// A character that must be escaped, or one in the place of a separator.
    #[error("DN, byte {at}: unexpected {found:?}")]
    Unexpected {
        /// Its offset.
        at: usize,
        /// The character at that offset.
        found: char,
    },
}

/// An attribute type and value assertion (RFC 4514 section 2.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ava {
    /// The attribute type in the spelling of the text, without an `OID.` prefix.
    pub attribute: String,
    /// The decoded value. For the `#hex` form, it is the content of an octet, UTF-8, printable or IA5 string, and the
    /// encoding itself for every other BER type.
    pub value: Vec<u8>,
}

/// An RDN: one assertion, or several joined by `+` (RFC 4514 section 2.2).
///
/// ```
/// use ldap_directory::dn::Rdn;
///
/// assert_eq!(Rdn::single("cn", "Lovelace, Ada").to_string(), r"cn=Lovelace\, Ada");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rdn {
    /// The assertions in the order of the text; at least one if [`Dn::parse`] returned it.
    pub avas: Vec<Ava>,
}

impl Rdn {
    /// Returns an RDN of one assertion. The value needs no escaping. A type that is none is written with escapes, and a server refuses it.
    pub fn single(attribute: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { avas: vec![Ava { attribute: attribute.into(), value: value.into() }] }
    }
}

/// A DN (RFC 4514). `==` compares the decoded spelling; use [`Dn::key`] to compare names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Dn {
    /// The RDNs, most specific first. The root has none.
    pub rdns: Vec<Rdn>,
}

impl Dn {
    /// Parses a DN (RFC 4514 section 3).
    ///
    /// Beyond the RFC, it accepts spaces around separators, quoted values and `;` (RFC 2253 section 4), the `OID.` prefix,
    /// and unescaped `<`, `>` and inner `=`.
    ///
    /// # Errors
    /// Fails if the text is not a DN; the error has the offset.
    ///
    /// ```
    /// use ldap_directory::dn::Dn;
    ///
    /// let dn = Dn::parse(r"cn=Lovelace\, Ada,ou=people,dc=example,dc=com")?;
    /// assert_eq!(dn.depth(), 4);
    /// assert_eq!(dn.rdns[0].avas[0].value, b"Lovelace, Ada");
    /// assert_eq!(Dn::parse("ou").unwrap_err().to_string(), "DN, byte 2: `=` expected after the attribute type");
    /// # Ok::<(), ldap_directory::dn::DnError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, DnError> {
        Ok(Self { rdns: parse::parse(text)?.into_iter().map(|r| Rdn { avas: r.avas }).collect() })
    }

    /// Returns the parent DN, or `None` for the root.
    ///
    /// ```
    /// use ldap_directory::dn::Dn;
    ///
    /// let parent = Dn::parse("cn=Ada,dc=example,dc=com")?.parent();
    /// assert_eq!(parent, Some(Dn::parse("dc=example,dc=com")?));
    /// assert_eq!(Dn::default().parent(), None);
    /// # Ok::<(), ldap_directory::dn::DnError>(())
    /// ```
    pub fn parent(&self) -> Option<Self> {
        self.rdns.split_first().map(|(_, above)| Self { rdns: above.to_vec() })
    }

    /// Returns the most specific RDN, or `None` for the root.
    pub fn rdn(&self) -> Option<&Rdn> {
        self.rdns.first()
    }

    /// Returns whether this is the root.
    pub fn is_empty(&self) -> bool {
        self.rdns.is_empty()
    }

    /// Returns the number of RDNs.
    pub fn depth(&self) -> usize {
        self.rdns.len()
    }

    /// Returns the DN of a child.
    ///
    /// ```
    /// use ldap_directory::dn::{Dn, Rdn};
    ///
    /// let people = Dn::parse("ou=people,dc=example")?;
    /// assert_eq!(people.child(Rdn::single("cn", "A+B")).to_string(), r"cn=A\+B,ou=people,dc=example");
    /// # Ok::<(), ldap_directory::dn::DnError>(())
    /// ```
    #[must_use]
    pub fn child(&self, rdn: Rdn) -> Self {
        let mut rdns = Vec::with_capacity(self.rdns.len() + 1);
        rdns.push(rdn);
        rdns.extend(self.rdns.iter().cloned());
        Self { rdns }
    }

    /// Returns the key by which DNs compare (distinguishedNameMatch, RFC 4517 section 4.2.15).
    ///
    /// ```
    /// use ldap_directory::dn::Dn;
    /// use ldap_directory::schema::Schema;
    ///
    /// let schema = Schema::standard();
    /// let (a, b) = (Dn::parse("CN=Ada  Lovelace")?, Dn::parse("2.5.4.3=ada lovelace")?);
    /// assert_ne!(a, b);
    /// assert_eq!(a.key(schema), b.key(schema));
    /// # Ok::<(), ldap_directory::dn::DnError>(())
    /// ```
    pub fn key(&self, schema: &Schema) -> DnKey {
        DnKey::new(self, schema)
    }
}

impl fmt::Display for Ava {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A type has none of these, so that one from outside cannot become another DN.
        f.write_str(&escape_name(&self.attribute, r#",+="\<>;"#))?;
        write!(f, "={}", escape_value(&self.value))
    }
}

impl fmt::Display for Rdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, &self.avas, "+")
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, &self.rdns, ",")
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// Escapes a value for a DN (RFC 4514 section 2.4). Beyond the RFC, `=` is escaped too, and control characters and bytes that
/// are not UTF-8 become `\XX`.
///
/// ```
/// assert_eq!(ldap_directory::dn::escape_value(b"Lovelace, Ada "), r"Lovelace\, Ada\ ");
/// ```
pub fn escape_value(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    push_escaped(&mut out, value);
    out
}

/// Appends a value as [`escape_value`] returns it.
pub(crate) fn push_escaped(out: &mut String, value: &[u8]) {
    let means_itself =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'@' | b':' | b'/' | b' ');
    if value.iter().all(means_itself)
        && !value.starts_with(b" ")
        && !value.ends_with(b" ")
        && let Ok(text) = std::str::from_utf8(value)
    {
        return out.push_str(text);
    }
    let mut at = 0;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            let (first, last) = (at == 0, at + 1 == value.len());
            at += c.len_utf8();
            match c {
                ' ' if first || last => out.push_str("\\ "),
                '#' if first => out.push_str("\\#"),
                ',' | '+' | '"' | '\\' | ';' | '<' | '>' | '=' => {
                    out.push('\\');
                    out.push(c);
                }
                c if c.is_control() => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| push_hex(out, b)),
                c => out.push(c),
            }
        }
        at += chunk.invalid().len();
        chunk.invalid().iter().for_each(|b| push_hex(out, *b));
    }
}

/// Escapes the characters in an attribute name that no name has, but a syntax: they become `\XX`.
pub(crate) fn escape_name<'n>(name: &'n str, syntax: &str) -> Cow<'n, str> {
    let is_odd = |c: char| syntax.contains(c) || c.is_control();
    if !name.contains(is_odd) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        if is_odd(c) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| push_hex(&mut out, b));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Appends `\XX`, the escape that RFC 4514 (DNs) and RFC 4515 (filters) share.
pub(crate) fn push_hex(out: &mut String, byte: u8) {
    out.push('\\');
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
    }
}

/// Returns the most specific RDN of a DN, or `None` for the root. An error further up may remain undetected.
///
/// # Errors
/// Fails if the text is not a DN.
///
/// ```
/// use ldap_directory::dn::{Rdn, first_rdn};
///
/// assert_eq!(first_rdn("cn=Ada,dc=example")?, Some(Rdn::single("cn", "Ada")));
/// assert_eq!(first_rdn("")?, None);
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
pub fn first_rdn(dn: &str) -> Result<Option<Rdn>, DnError> {
    if key::is_plain(dn)
        && let Some((attribute, value)) = dn.split(',').next().and_then(key::plain_rdn)
    {
        return Ok(Some(Rdn::single(attribute, value)));
    }
    Ok(Dn::parse(dn)?.rdn().cloned())
}

/// Returns the value of a hex digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Returns the RDNs of a DN in the spelling of the text, most specific first, so that they can be joined again without
/// escaping. Accepts exactly what [`Dn::parse`] accepts; surrounding spaces are removed.
///
/// # Errors
/// Fails if the text is not a DN.
///
/// ```
/// let rdns = ldap_directory::dn::split(r"CN=a\2Cb , dc=example")?;
/// assert_eq!(rdns, [r"CN=a\2Cb", "dc=example"]);
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
pub fn split(dn: &str) -> Result<Vec<&str>, DnError> {
    Ok(parse::parse(dn)?.into_iter().map(|r| r.text).collect())
}

/// Returns the last RDNs of a DN, so many of them, as its text spells them; `None` if it has fewer, or is not a DN.
pub(crate) fn last_rdns(dn: &str, count: usize) -> Option<&str> {
    let rdns = parse::parse(dn).ok()?;
    let from = rdns.len().checked_sub(count)?;
    rdns.get(from).map_or(Some(""), |rdn| dn.get(rdn.start..))
}

/// Returns a DN's first RDN and its parent, both spelled as they are in `dn`. The parent is empty for a DN of one RDN, and both are
/// for the root.
///
/// # Errors
/// Fails if the text is not a DN.
///
/// ```
/// use ldap_directory::dn::split_first;
///
/// let (rdn, parent) = split_first(r"CN=a\2Cb , dc=example,DC=com")?;
/// assert_eq!((rdn, parent.as_str()), (r"CN=a\2Cb", "dc=example,DC=com"));
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
pub fn split_first(dn: &str) -> Result<(&str, String), DnError> {
    let rdns = split(dn)?;
    let Some((first, above)) = rdns.split_first() else { return Ok(("", String::new())) };
    Ok((first, above.join(",")))
}

/// Returns the parent of a DN, as [`split_first`] does; empty for a DN of one RDN, for the root, and for a text that is not a DN.
pub fn parent(dn: &str) -> String {
    split_first(dn).map(|(_, above)| above).unwrap_or_default()
}

/// Returns the DN of names below another one: `uid=ada` and `dc=example`, which may be the root.
///
/// ```
/// use ldap_directory::dn::join;
///
/// assert_eq!(join("uid=ada", "dc=example"), "uid=ada,dc=example");
/// assert_eq!(join("dc=example", ""), "dc=example");
/// ```
pub fn join(names: &str, above: &str) -> String {
    if above.is_empty() { names.to_owned() } else { format!("{names},{above}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, Vec<u8>)> {
        let dn = Dn::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        dn.rdns.into_iter().flat_map(|r| r.avas).map(|a| (a.attribute, a.value)).collect()
    }

    fn one(text: &str) -> Vec<u8> {
        values(text).remove(0).1
    }

    #[test]
    fn the_examples_of_rfc_4514_section_4() {
        assert_eq!(Dn::parse("UID=jsmith,DC=example,DC=net").unwrap().depth(), 3);
        let dn = Dn::parse("OU=Sales+CN=J.  Smith,DC=example,DC=net").unwrap();
        assert_eq!(dn.rdn().unwrap().avas.len(), 2);
        assert_eq!(dn.rdn().unwrap().avas[1].value, b"J.  Smith");
        assert_eq!(one(r#"CN=James \"Jim\" Smith\, III,DC=example,DC=net"#), br#"James "Jim" Smith, III"#);
        assert_eq!(one(r"CN=Before\0dAfter,DC=example,DC=net"), b"Before\rAfter");
        assert_eq!(one("1.3.6.1.4.1.1466.0=#04024869"), b"Hi");
        assert_eq!(one(r"CN=Lu\C4\8Di\C4\87"), "Lučić".as_bytes());
    }

    #[test]
    fn accepts_what_older_rfcs_allow() {
        assert_eq!(one(r#"cn="a,b;c=\"d\"" , dc=x"#), br#"a,b;c="d""#);
        assert_eq!(values("OID.2.5.4.3=a ; oid.2.5.4.10 = b"), values("2.5.4.3=a,2.5.4.10=b"));
        assert_eq!(values("  cn = a b  +  sn = c , dc = d "), values("cn=a b+sn=c,dc=d"));
        assert_eq!(one(r"cn=a\20"), b"a ");
        assert_eq!(one(r"cn=a\   ,dc=x"), b"a ");
        assert_eq!(one(r"cn=\ a\2Cb\,c"), b" a,b,c");
        assert_eq!(one("cn="), b"");
        assert_eq!(one("cn=,dc=x"), b"");
        assert_eq!(one("cn=a=b"), b"a=b");
        assert_eq!(one("cn=#0C03414243"), b"ABC");
        assert_eq!(one("cn=#020105"), [2, 1, 5]);
        assert!(Dn::parse("").unwrap().is_empty());
        assert!(Dn::parse("  ").unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_no_name() {
        for (text, error) in [
            ("cn", DnError::MissingEquals(2)),
            ("=x", DnError::MissingType(0)),
            ("cn=a,", DnError::MissingType(5)),
            ("cn=a,,dc=b", DnError::MissingType(5)),
            (r"cn=a\", DnError::BadEscape(4)),
            (r"cn=a\zz", DnError::BadEscape(4)),
            (r"cn=a\4", DnError::BadEscape(4)),
            ("cn=#", DnError::BadHex(3)),
            ("cn=#4", DnError::BadHex(3)),
            ("cn=#nohex", DnError::BadHex(3)),
            ("cn=\"a", DnError::UnclosedQuote(3)),
            ("cn=\"a\"b", DnError::Unexpected { at: 6, found: 'b' }),
            ("cn=a\"b", DnError::Unexpected { at: 4, found: '"' }),
            ("cn=a\0", DnError::Unexpected { at: 4, found: '\0' }),
        ] {
            assert_eq!(Dn::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(escape_value(b" a,b+c\"d\\e;f<g>h=i "), r#"\ a\,b\+c\"d\\e\;f\<g\>h\=i\ "#);
        assert_eq!(escape_value(b"#a#"), r"\#a#");
        assert_eq!(escape_value(b" "), r"\ ");
        assert_eq!(escape_value(b"a\0\n\xffb"), r"a\00\0A\FFb");
        assert_eq!(escape_value("Lučić".as_bytes()), "Lučić");
        assert_eq!(escape_value(b"\xff "), r"\FF\ ");
    }

    #[test]
    fn splits_as_spelt() {
        assert_eq!(
            split(r#" cn=A\2CB + sn=c , ou="x,y" ;dc=z\  "#).unwrap(),
            [r"cn=A\2CB + sn=c", r#"ou="x,y""#, r"dc=z\ "]
        );
        assert!(split("").unwrap().is_empty());
    }

    pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..8),
            "[ #,+\"\\\\;<>=a\0é]{0,6}".prop_map(String::into_bytes),
        ]
    }

    fn any_dn() -> impl Strategy<Value = Dn> {
        let ava = ("[a-zA-Z][a-zA-Z0-9-]{0,5}|[0-9](\\.[0-9]{1,3}){1,3}", bytes())
            .prop_map(|(attribute, value)| Ava { attribute, value });
        let rdn = proptest::collection::vec(ava, 1..4).prop_map(|avas| Rdn { avas });
        proptest::collection::vec(rdn, 0..5).prop_map(|rdns| Dn { rdns })
    }

    proptest! {
        #[test]
        fn a_name_survives_its_text(dn in any_dn()) {
            prop_assert_eq!(Dn::parse(&dn.to_string()).unwrap(), dn);
        }

        #[test]
        fn a_value_never_leaves_its_rdn(value in bytes()) {
            let text = format!("cn={},dc=x", escape_value(&value));
            let dn = Dn::parse(&text).unwrap();
            prop_assert_eq!(dn.depth(), 2);
            prop_assert_eq!(dn.rdn().unwrap(), &Rdn::single("cn", value));
        }

        #[test]
        fn never_panics_and_split_agrees_with_parse(
            text in prop_oneof![any::<String>(), "[a-c1.=,;+ #\"\\\\]{0,24}"],
        ) {
            match (Dn::parse(&text), split(&text)) {
                (Ok(dn), Ok(parts)) => {
                    prop_assert_eq!(Dn::parse(&parts.join(",")).unwrap(), dn.clone());
                    for (part, rdn) in parts.iter().zip(&dn.rdns) {
                        prop_assert_eq!(&Dn::parse(part).unwrap().rdns, std::slice::from_ref(rdn));
                    }
                }
                (parsed, parts) => prop_assert_eq!(parsed.err(), parts.err()),
            }
        }
    }
}
