//! DNs in the form in which they compare and sort, and the rewriting of their suffixes.

use std::collections::{HashMap, HashSet};
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
        self.0.as_bytes().split_inclusive(|octet| char::from(*octet) == END)
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
        let plain = dn.split_once(',').filter(|(_, above)| !above.trim().is_empty() && is_plain(dn));
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
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'@' | b',' | b'=' | b' ');
    !dn.is_empty() && dn.bytes().all(plain)
}

/// Returns type and value of an RDN of a plain DN, if both are literal.
pub(super) fn plain_rdn(rdn: &str) -> Option<(&str, &str)> {
    rdn.split_once('=').filter(|(attribute, value)| is_type(attribute) && is_value(value))
}

/// Returns whether this is a type without the `OID.` prefix of RFC 2253.
fn is_type(attribute: &str) -> bool {
    let begins = attribute.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    begins
        && !attribute.contains(['@', ' '])
        && !attribute.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("OID."))
}

/// Returns whether this is a literal value: spaces at its ends would be removed.
fn is_value(value: &str) -> bool {
    !value.contains('=') && !value.starts_with(' ') && !value.ends_with(' ')
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::dn::{Rdn, split};

    fn key(dn: &str) -> DnKey {
        DnKey::parse(dn, Schema::standard()).unwrap()
    }

    #[test]
    fn names_compare_by_schema() {
        assert_eq!(
            key("CN=Ada  Lovelace,OU=People, DC=Example"),
            key("2.5.4.3=ada lovelace;ou=people,dc=EXAMPLE")
        );
        assert_eq!(key("commonName=a+sn=b"), key("surname=B+cn=A"));
        assert_eq!(key("uid=a,dc=x"), key("userid=A,domainComponent=X"));
        assert_ne!(key("cn=a+sn=b"), key(r"cn=a\+sn\=b"));
        assert_ne!(key("cn=a,dc=x"), key(r"cn=a\,dc\=x"));
        assert_ne!(key("cn=a"), key("sn=a"));
        assert_eq!(key("foo=A"), key("FOO=a"), "caseIgnore for what the schema does not know");
        assert_ne!(key("uidNumber=1"), key("uidNumber=2"));
        assert_eq!(key("uidNumber=01"), key("uidNumber=1"));
    }

    #[test]
    fn a_name_in_a_name_in_a_name_does_not_recurse() {
        let deep = "member=".repeat(100_000) + "cn=x";
        assert_eq!(key(&deep).depth(), 1);
    }

    #[test]
    fn keys_know_the_tree() {
        let (base, child) = (key("dc=x"), key("cn=a,dc=x"));
        assert_eq!(child.parent(), Some(base.clone()));
        assert_eq!(base.parent(), Some(DnKey::root()));
        assert_eq!(DnKey::root().parent(), None);
        assert!(base.is_ancestor_of(&child) && !base.is_ancestor_of(&base) && base.is_within(&base));
        assert!(!key("cn=a,dc=xy").is_within(&base));
        assert!(DnKey::root().is_ancestor_of(&base));
        assert_eq!(child.depth(), 2);
        assert_eq!(child.to_string(), "cn=a,dc=x");
    }

    #[test]
    fn rewrites_suffixes() {
        let schema = Schema::standard();
        let rewrite = SuffixRewrite::new("dc=a,dc=com", "dc=b,dc=org").unwrap();
        let apply = |dn| rewrite.apply(dn, schema);
        assert_eq!(apply(r"cn=A\2CB , OU=X,DC=A, dc=com").unwrap(), r"cn=A\2CB , OU=X,dc=b,dc=org");
        assert_eq!(apply("dc=a,dc=com").unwrap(), "dc=b,dc=org");
        assert_eq!(apply("dc=com"), None);
        assert_eq!(apply("cn=x,dc=aa,dc=com"), None);
        assert_eq!(apply("not a name"), None);
        assert_eq!(SuffixRewrite::new("", "o=x").unwrap().apply("cn=a", schema).unwrap(), "cn=a,o=x");
        assert_eq!(SuffixRewrite::new("o=x", "").unwrap().apply("cn=a,o=x", schema).unwrap(), "cn=a");
    }

    fn small_dn() -> impl Strategy<Value = String> {
        let value = prop_oneof!["[a-c!,\\\\+= #\0]{0,3}", "[a-b]"];
        let rdn = ("cn|sn|foo|2\\.5\\.4\\.3|member", value).prop_map(|(t, v)| Rdn::single(t, v));
        proptest::collection::vec(rdn, 0..4).prop_map(|rdns| Dn { rdns }.to_string())
    }

    fn assert_all_ways_agree(dn: &str) {
        let schema = Schema::standard();
        let expected = Dn::parse(dn).map(|d| DnKey::new(&d, schema));
        assert_eq!(DnKey::parse(dn, schema), expected);
        // Without what is above being known, and with it.
        let mut above = Above::default();
        assert_eq!(above.key(dn, schema), expected);
        assert_eq!(above.key(dn, schema), expected);
    }

    proptest! {
        #[test]
        fn the_short_way_is_the_long_way(dn in "(,?[a-cOID.0-9@_ -]{0,5}=?[A-Za-c.@_ =-]{0,3}){0,4}") {
            assert_all_ways_agree(&dn);
        }

        #[test]
        fn the_short_way_is_the_long_way_for_names(dn in "((cn|OU|uidNumber|2.5.4.3|member|foo|oid.2.5.4.4)=[A-Za-c0-9.@_ -]{0,4},){0,3}dc=x") {
            assert_all_ways_agree(&dn);
        }

        #[test]
        fn parents_and_ancestors_agree_with_names(a in small_dn(), b in small_dn()) {
            let (dn, schema) = (Dn::parse(&a).unwrap(), Schema::standard());
            let (ka, kb) = (key(&a), key(&b));
            prop_assert_eq!(ka.parent(), dn.parent().map(|p| p.key(schema)));
            prop_assert_eq!(ka.depth(), dn.depth());
            let mut above = std::iter::successors(ka.parent(), DnKey::parent);
            prop_assert_eq!(kb.is_ancestor_of(&ka), above.any(|k| k == kb));
            prop_assert_eq!(ka.is_within(&kb), ka == kb || kb.is_ancestor_of(&ka));
            prop_assert!(ka.parent().is_none_or(|p| p < ka));
        }

        #[test]
        fn a_subtree_is_one_run(dns in proptest::collection::vec(small_dn(), 1..12), base in small_dn()) {
            let base = key(&base);
            let all: BTreeSet<DnKey> = dns.iter().map(|d| key(d)).collect();
            let run: Vec<&DnKey> = all.range(base.subtree()).collect();
            let within: Vec<&DnKey> = all.iter().filter(|k| k.is_within(&base)).collect();
            prop_assert_eq!(run, within);
        }

        #[test]
        fn a_rewrite_keeps_the_head_and_comes_back(dn in small_dn(), base in small_dn(), to in small_dn()) {
            let schema = Schema::standard();
            let full = [&*dn, &*base].into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(",");
            let there = SuffixRewrite::new(&base, &to).unwrap().apply(&full, schema).unwrap();
            prop_assert_eq!(split(&there).unwrap(), [split(&dn).unwrap(), split(&to).unwrap()].concat());
            let back = SuffixRewrite::new(&to, &base).unwrap().apply(&there, schema).unwrap();
            prop_assert_eq!(back, full);
        }
    }
}
