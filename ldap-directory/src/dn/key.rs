//! DNs in the form in which they compare and sort, and the rewriting of their suffixes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::BuildHasherDefault;

use rustc_hash::FxHasher;

use super::{Ava, Dn, DnError, parse, push_escaped};
use crate::schema::Schema;

/// Ends every RDN in a key. It sorts below every other byte, and [`super::escape_value`] escapes it in values.
const END: char = '\0';
/// The capacity of [`Above`] and [`Parents`].
const REMEMBERED: usize = 1024;

/// A DN normalized for comparison (distinguishedNameMatch, RFC 4517 section 4.2.15), root first. A parent's key is a strict
/// prefix of its children's: keys sort parents before children, and each subtree is one range.
///
/// Attribute types become the schema's OID. Values are normalized by the type's EQUALITY rule (caseIgnoreMatch if the type is
/// unknown). The parts of a multi-valued RDN are sorted.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use ldap_directory::dn::DnKey;
/// use ldap_directory::schema::Schema;
///
/// let key = |dn: &str| DnKey::parse(dn, Schema::standard());
/// let entries: BTreeMap<DnKey, u32> =
///     [(key("cn=Ada,ou=a,dc=x")?, 1), (key("ou=b,dc=x")?, 2), (key("OU=A,dc=x")?, 3)].into();
/// let below_a: Vec<u32> = entries.range(key("ou=a,dc=x")?.subtree()).map(|(_, n)| *n).collect();
/// assert_eq!(below_a, [3, 1]);
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DnKey(String);

/// Returns the entries that are not below another one, each once.
///
/// ```
/// use ldap_directory::dn::{DnKey, topmost};
/// use ldap_directory::schema::Schema;
///
/// let key = |dn: &str| DnKey::parse(dn, Schema::standard());
/// let all = [(key("ou=b,ou=a,dc=x")?, 1), (key("ou=c,dc=x")?, 2), (key("ou=a,dc=x")?, 3)];
/// let top: Vec<u32> = topmost(all).into_iter().map(|(_, n)| n).collect();
/// assert_eq!(top, [3, 2]);
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
pub fn topmost<T>(entries: impl IntoIterator<Item = (DnKey, T)>) -> Vec<(DnKey, T)> {
    let entries: BTreeMap<DnKey, T> = entries.into_iter().collect();
    let mut top: Vec<(DnKey, T)> = Vec::new();
    for (key, entry) in entries {
        if !top.last().is_some_and(|(above, _)| above.is_ancestor_of(&key)) {
            top.push((key, entry));
        }
    }
    top
}

impl DnKey {
    /// Returns the key of a DN.
    pub fn new(dn: &Dn, schema: &Schema) -> Self {
        let mut key = String::new();
        for rdn in dn.rdns.iter().rev() {
            push_rdn(&mut key, &rdn.avas, schema, 0);
            key.push(END);
        }
        Self(key)
    }

    /// Returns the key of a DN in text form.
    ///
    /// # Errors
    /// Fails if the text is not a DN.
    ///
    /// ```
    /// use ldap_directory::dn::DnKey;
    /// use ldap_directory::schema::Schema;
    ///
    /// let key = |dn: &str| DnKey::parse(dn, Schema::standard());
    /// assert_eq!(key("uid=ada, DC=Example")?, key("userid=ADA,dc=example")?);
    /// assert!(key("uid=ada,dc=example")?.is_within(&key("dc=example")?));
    /// # Ok::<(), ldap_directory::dn::DnError>(())
    /// ```
    pub fn parse(dn: &str, schema: &Schema) -> Result<Self, DnError> {
        if is_plain(dn) {
            return Self::of_plain(dn, schema);
        }
        Ok(Self::new(&Dn::parse(dn)?, schema))
    }

    /// Returns the same for a DN without escapes, in one pass and without intermediate values.
    fn of_plain(dn: &str, schema: &Schema) -> Result<Self, DnError> {
        let mut key = String::with_capacity(dn.len() + 64);
        for rdn in dn.rsplit(',') {
            // The general parser reports errors, and handles unusual forms.
            let Some((attribute, value)) = plain_rdn(rdn) else {
                return Ok(Self::new(&Dn::parse(dn)?, schema));
            };
            push_ava(&mut key, attribute, value.as_bytes(), schema, 0);
            key.push(END);
        }
        Ok(Self(key))
    }

    /// Returns the key of the root, the ancestor of every DN.
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the key as octets, for hashing: DNs that compare equal have the same octets.
    pub fn as_octets(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the parent's key, or `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.above().map(|above| Self(above.to_owned()))
    }

    /// Returns the parent's text.
    fn above(&self) -> Option<&str> {
        let inner = self.0.strip_suffix(END)?;
        self.0.get(..inner.rfind(END).map_or(0, |end| end + END.len_utf8()))
    }

    /// Returns the RDNs in their normal form as octets, that below the root first, each with its end.
    pub fn rdn_octets(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_bytes();
        std::iter::from_fn(move || {
            let end = memchr::memchr(END as u8, rest)?;
            let rdn;
            (rdn, rest) = rest.split_at_checked(end + 1)?;
            Some(rdn)
        })
    }

    /// Returns the nearest common ancestor of two DNs, or the DN that is above the other one; the root if they have nothing in
    /// common.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let same = self.0.bytes().zip(other.0.bytes()).take_while(|(a, b)| a == b).count();
        // The end of an RDN is a character of its own, so a cut behind it is one of the text.
        let end = self.0.as_bytes().get(..same).and_then(|same| memchr::memrchr(END as u8, same));
        Self(self.0.get(..end.map_or(0, |end| end + END.len_utf8())).unwrap_or_default().to_owned())
    }

    /// Returns the key as text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the key with the ancestor `from` replaced by `to`, or `None` if it is not at or below `from`.
    #[must_use]
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        self.0.strip_prefix(&from.0).map(|rest| Self(format!("{}{rest}", to.0)))
    }

    /// Returns whether `other` is strictly below this.
    pub fn is_ancestor_of(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.is_within(self)
    }

    /// Returns whether this is `base` or below it.
    pub fn is_within(&self, base: &Self) -> bool {
        self.0.starts_with(&base.0)
    }

    /// Returns the number of RDNs.
    pub fn depth(&self) -> usize {
        self.0.matches(END).count()
    }

    /// Returns the first key after this one's subtree, for range scans; `None` for the root, whose subtree has no end.
    pub fn subtree_end(&self) -> Option<Self> {
        self.0.strip_suffix(END).map(|inner| Self(format!("{inner}\u{1}")))
    }

    /// Returns the range of this key and its descendants, for [`std::collections::BTreeMap::range`].
    pub fn subtree(&self) -> (std::ops::Bound<Self>, std::ops::Bound<Self>) {
        let end = self.subtree_end().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        (std::ops::Bound::Included(self.clone()), end)
    }
}

/// A cache of parents that exist, of bounded size.
#[derive(Debug, Default)]
pub(crate) struct Parents(HashSet<String, BuildHasherDefault<FxHasher>>);

impl Parents {
    /// Returns whether the parent of a key is in the cache.
    pub(crate) fn have(&self, key: &DnKey) -> bool {
        key.above().is_some_and(|above| self.0.contains(above))
    }

    pub(crate) fn insert(&mut self, parent: DnKey) {
        if self.0.len() >= REMEMBERED {
            self.clear();
        }
        self.0.insert(parent.0);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The key as a DN of normalized parts, most specific first: for display, not to be sent to a server. Types have their names instead of
/// OIDs, as far as the standard schema has them.
impl fmt::Display for DnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.0.split_terminator(END).rev().collect();
        let text = parts.join(",");
        let Ok(mut name) = Dn::parse(&text) else { return f.write_str(&text) };
        for ava in name.rdns.iter_mut().flat_map(|rdn| &mut rdn.avas) {
            if let Some(known) = Schema::standard().attribute_type(&ava.attribute)
                && let Some(short) = known.names.first()
            {
                ava.attribute.clone_from(short);
            }
        }
        write!(f, "{name}")
    }
}

/// Below this depth, a DN inside a value of a DN (`member=member\=…`) is compared as it is written.
const MAX_NESTING: u8 = 4;

/// Returns a DN in its normal form as text, most specific first, or `None` if the text is not a DN.
pub(crate) fn normal_name(text: &str, schema: &Schema, nesting: u8) -> Option<String> {
    if nesting > MAX_NESTING {
        return None;
    }
    let rdns = parse::parse(text).ok()?;
    let parts: Vec<String> = rdns.iter().map(|r| normal_rdn(&r.avas, schema, nesting)).collect();
    Some(parts.join(","))
}

/// A cache of the keys of parents. DNs in sequence mostly differ in their first RDN only.
///
/// ```
/// use ldap_directory::dn::{Above, DnKey};
/// use ldap_directory::schema::Schema;
///
/// let mut parents = Above::default();
/// for dn in ["uid=a,dc=x", "uid=b,dc=x"] {
///     assert_eq!(parents.key(dn, Schema::standard())?, DnKey::parse(dn, Schema::standard())?);
/// }
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
#[derive(Debug, Default)]
pub struct Above(HashMap<String, DnKey, BuildHasherDefault<FxHasher>>);

impl Above {
    /// Returns the same key as [`DnKey::parse`].
    ///
    /// # Errors
    /// Fails if the text is not a DN.
    pub fn key(&mut self, dn: &str, schema: &Schema) -> Result<DnKey, DnError> {
        // A DN that ends in a comma is an error, not a child of the root.
        let plain = halves(dn, b',').filter(|(_, above)| !above.trim().is_empty() && is_plain(dn));
        let Some(((attribute, value), above)) = plain.and_then(|(rdn, above)| Some((plain_rdn(rdn)?, above)))
        else {
            return DnKey::parse(dn, schema);
        };
        let known = if let Some(known) = self.0.get(above) {
            known
        } else {
            // The error refers to the whole DN.
            let Ok(key) = DnKey::parse(above, schema) else { return DnKey::parse(dn, schema) };
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
            self.0.entry(above.to_owned()).or_insert(key)
        };
        let mut key = String::with_capacity(known.0.len() + dn.len());
        key.push_str(&known.0);
        push_ava(&mut key, attribute, value.as_bytes(), schema, 0);
        key.push(END);
        Ok(DnKey(key))
    }
}

/// Returns whether a DN has only literal characters and separators: no escape, no multi-valued RDN.
pub(super) fn is_plain(dn: &str) -> bool {
    !dn.is_empty() && dn.bytes().all(|octet| PLAIN.get(usize::from(octet)).is_some_and(|plain| *plain))
}

/// The octets of a plain DN.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let at = octet as u8;
        plain[octet] =
            at.is_ascii_alphanumeric() || matches!(at, b'-' | b'.' | b'_' | b'@' | b',' | b'=' | b' ');
        octet += 1;
    }
    plain
};

/// Returns type and value of an RDN of a plain DN, if both are literal.
pub(super) fn plain_rdn(rdn: &str) -> Option<(&str, &str)> {
    halves(rdn, b'=').filter(|(attribute, value)| is_type(attribute) && is_value(value))
}

/// Returns what is before and after the first separator, an ASCII character. For short texts: a search that first prepares itself takes
/// longer.
fn halves(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|octet| octet == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Returns whether this is a type without the `OID.` prefix of RFC 2253.
fn is_type(attribute: &str) -> bool {
    let begins = attribute.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    begins
        && !attribute.bytes().any(|b| matches!(b, b'@' | b' '))
        && !attribute.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("OID."))
}

/// Returns whether this is a literal value: spaces at its ends would be removed.
fn is_value(value: &str) -> bool {
    !value.bytes().any(|b| b == b'=') && !value.starts_with(' ') && !value.ends_with(' ')
}

fn normal_rdn(avas: &[Ava], schema: &Schema, nesting: u8) -> String {
    let mut out = String::new();
    push_rdn(&mut out, avas, schema, nesting);
    out
}

/// Appends an RDN in its normal form.
fn push_rdn(out: &mut String, avas: &[Ava], schema: &Schema, nesting: u8) {
    if let [ava] = avas {
        return push_ava(out, &ava.attribute, &ava.value, schema, nesting);
    }
    let part = |ava: &Ava| {
        let mut part = String::new();
        push_ava(&mut part, &ava.attribute, &ava.value, schema, nesting);
        part
    };
    let mut parts: Vec<String> = avas.iter().map(part).collect();
    parts.sort_unstable();
    out.push_str(&parts.join("+"));
}

fn push_ava(out: &mut String, attribute: &str, value: &[u8], schema: &Schema, nesting: u8) {
    let (name, rule) = schema.naming(attribute);
    // Mostly an OID.
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        out.push_str(&name.to_ascii_lowercase());
    } else {
        out.push_str(name);
    }
    out.push('=');
    push_escaped(out, &rule.normalize_nested(value, schema, nesting + 1));
}

/// Replaces one suffix of DNs by another, and leaves the rest of the text unchanged.
///
/// ```
/// use ldap_directory::dn::SuffixRewrite;
/// use ldap_directory::schema::Schema;
///
/// let rewrite = SuffixRewrite::new("dc=old,dc=com", "dc=new,dc=org")?;
/// let moved = rewrite.apply("CN=Ada, ou=people, DC=Old,DC=com", Schema::standard());
/// assert_eq!(moved.as_deref(), Some("CN=Ada, ou=people,dc=new,dc=org"));
/// # Ok::<(), ldap_directory::dn::DnError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuffixRewrite {
    from: Dn,
    to_text: String,
}

impl SuffixRewrite {
    /// Returns a rewrite of DNs at or below `from`. Either may be the root (an empty text).
    ///
    /// # Errors
    /// Fails if `from` or `to` is not a DN.
    pub fn new(from: &str, to: &str) -> Result<Self, DnError> {
        Dn::parse(to)?;
        Ok(Self { from: Dn::parse(from)?, to_text: to.trim_start_matches(' ').to_owned() })
    }

    /// Returns the DN with its suffix replaced, or `None` if it is not a DN or not at or below `from`.
    pub fn apply(&self, dn: &str, schema: &Schema) -> Option<String> {
        let rdns = parse::parse(dn).ok()?;
        let kept = rdns.len().checked_sub(self.from.depth())?;
        let (kept, suffix) = rdns.split_at_checked(kept)?;
        let same = suffix
            .iter()
            .zip(&self.from.rdns)
            .all(|(a, b)| normal_rdn(&a.avas, schema, 0) == normal_rdn(&b.avas, schema, 0));
        if !same {
            return None;
        }
        let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
            return Some(self.to_text.clone());
        };
        let head = dn.get(first.start..last.end)?;
        Some(if self.to_text.is_empty() { head.to_owned() } else { format!("{head},{}", self.to_text) })
    }
}

#[cfg(test)]
mod tests;
