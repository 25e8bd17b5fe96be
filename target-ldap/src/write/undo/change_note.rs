//! What a change left, as far as its undo must know: a change is undone only if the entry is still as it was left. Pure.
//!
//! Values are kept as digests of their normal forms. The values themselves are only in the LDIF, or nowhere.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::Dn;
use ldap_directory::entry::Entry;
use ldap_directory::schema::{Equality, Schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use singer_common::operations::secret::is_secret_attribute;

use crate::plan::marker::without_time;
use crate::rules::names::ENTRY_IDS;
use crate::write::identity::{MatchedBy, NamedEntry};
use crate::write::inverse::{OPERATIONAL, are_apart, may_be_added};

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// An entry was added.
    Add,
    /// An entry was deleted.
    Delete,
    /// Attributes were changed.
    Modify,
    /// An entry was renamed or moved.
    Rename,
}

/// The values of an attribute before and after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The digest of all values before; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// The digest of all values after; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// Digests of single values that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub came: Vec<String>,
    /// Digests of single values that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub went: Vec<String>,
    /// In plans, of a change of the spelling alone: the digest of the octets after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spelled: Option<String>,
}

impl Trace {
    /// Whether single values are noted, not all.
    pub fn is_by_value(&self) -> bool {
        !(self.came.is_empty() && self.went.is_empty())
    }
}

/// A change, and what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeNote {
    /// The kind of the change.
    pub of: ChangeKind,
    /// The DN of the entry before the change.
    pub dn: String,
    /// The DN after it, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The attribute and the value's digest that identify the entry; for an added entry, as read afterwards. Absent: unknown,
    /// as in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<(String, String)>,
    /// By attribute description, in its normal form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Trace>,
    /// Attributes whose old values could not be read: they cannot be restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// The IDs of the entries that removed values name, by the values' digests; in files of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, (String, String)>,
    /// The entries that the undo names, or the planned change: another entry may have such a name later. Absent in files of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<NamedEntry>,
    /// What would find the entry that the undo adds, or the planned change. Absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<MatchedBy>,
    /// Whether the entry did not exist: then the change was probably refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// Whether an entry that is added again keeps its ID (relax rules control).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relaxed: bool,
    /// The lock of the account, which the server drops with a password: the attribute and the value. It is disabled before the change and
    /// after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<(String, String)>,
    /// Whether the server makes the change by itself, with the deletion of an entry that the values name: then the undo gives back what is
    /// not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_server: bool,
    /// The LDIF that undoes the change, if it is not known whether the change was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<String>,
}

/// Returns the digest of normalized values.
fn digest_of<'v>(normal: impl IntoIterator<Item = &'v [u8]>) -> String {
    let mut hash = Sha256::new();
    let mut any = false;
    for value in normal {
        any = true;
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    if !any {
        return String::new();
    }
    BASE64.encode(hash.finalize().get(..12).unwrap_or_default())
}

fn normal(name: &str, values: &[Vec<u8>], schema: &Schema) -> BTreeSet<Vec<u8>> {
    let rule = schema.equality(name);
    values.iter().map(|v| rule.normalize(v, schema).into_owned()).collect()
}

/// Returns the digest of what a change leaves, or an undo gives back, of an attribute: of a marker (`on_delete.then`) without its time,
/// for that is when it is carried out.
pub(super) fn digest_left(name: &str, values: &[Vec<u8>], schema: &Schema) -> String {
    digest(name, &undated(values), schema)
}

/// Returns values with markers that say nothing of their time.
fn undated(values: &[Vec<u8>]) -> Vec<Vec<u8>> {
    values.iter().map(|value| without_time(value).unwrap_or_else(|| value.clone())).collect()
}

/// Returns the digest of all values of an attribute, independent of order and spelling. Empty: of none.
pub fn digest(name: &str, values: &[Vec<u8>], schema: &Schema) -> String {
    digest_of(normal(name, values, schema).iter().map(Vec::as_slice))
}

/// Returns the digest of one value.
pub fn value_digest(name: &str, value: &[u8], schema: &Schema) -> String {
    digest_of([&*schema.equality(name).normalize(value, schema)])
}

/// Returns the digest of the octets of values, independent of their order. Empty: of none.
pub fn octets_digest(values: &[Vec<u8>]) -> String {
    let all: BTreeSet<&[u8]> = values.iter().map(Vec::as_slice).collect();
    digest_of(all)
}

/// Whether values are compared singly: lists of entries (members) have many writers, including servers, and each value is
/// independent.
pub fn is_list_of_entries(name: &str, schema: &Schema) -> bool {
    matches!(schema.equality(name), Equality::DistinguishedName | Equality::UniqueMember)
        && !schema.is_single_valued(name)
}

/// Whether a digest of these values is safe and comparable: servers store clear text in another form.
fn is_comparable(name: &str, values: &[Vec<u8>]) -> bool {
    !is_secret_attribute(name) || values.iter().all(|v| v.first() == Some(&b'{'))
}

impl ChangeNote {
    /// Returns the note of a deletion, or of a change of which nothing else is known.
    pub fn plain(dn: &str) -> ChangeNote {
        ChangeNote {
            of: ChangeKind::Delete,
            dn: dn.to_owned(),
            to: None,
            id: None,
            attributes: BTreeMap::new(),
            lost: Vec::new(),
            members: BTreeMap::new(),
            named: Vec::new(),
            matched: None,
            missing: false,
            relaxed: false,
            lock: None,
            by_server: false,
            back: None,
        }
    }

    /// Returns the note of a change, given the entry before it and the changes that undo it.
    pub fn new(change: &Change, before: Option<&Entry>, back: &[Change], schema: &Schema) -> ChangeNote {
        let missing = before.is_none() && !matches!(change, Change::Add(_));
        let id = before.and_then(|b| id(b, schema));
        let plain = ChangeNote { missing, id: id.clone(), ..ChangeNote::plain(change.dn()) };
        match change {
            Change::Add(entry) => {
                ChangeNote { of: ChangeKind::Add, attributes: added(entry, schema), ..plain }
            }
            Change::Delete { .. } => plain,
            Change::Modify { changes, .. } => {
                let (attributes, lost) = modified(changes, before, back, schema);
                ChangeNote { of: ChangeKind::Modify, attributes, lost, ..plain }
            }
            Change::Rename { dn, new_rdn, .. } => {
                let attributes = match (id, before) {
                    (None, Some(before)) => kept(before, &[dn, new_rdn], schema),
                    _ => BTreeMap::new(),
                };
                ChangeNote { of: ChangeKind::Rename, to: change.new_dn(), attributes, ..plain }
            }
        }
    }

    /// Whether the change left the entry as it was, as far as known.
    pub fn is_idle(&self) -> bool {
        let idle = |t: &Trace| !t.is_by_value() && t.was.is_some() && t.was == t.is;
        let is_modified = self.of == ChangeKind::Modify && !self.attributes.is_empty();
        self.missing || is_modified && self.attributes.values().all(idle)
    }

    /// Returns the DN of the entry after the change.
    pub fn dn_after(&self) -> &str {
        self.to.as_deref().unwrap_or(&self.dn)
    }

    /// Returns the attributes in the RDNs of a rename, in their normal forms: their values change with it.
    pub fn naming(&self, schema: &Schema) -> BTreeSet<String> {
        let Some(to) = &self.to else { return BTreeSet::new() };
        naming(&[&self.dn, to], schema)
    }
}

/// Returns the ID of an entry, if its server shows one.
pub fn id(entry: &Entry, schema: &Schema) -> Option<(String, String)> {
    ENTRY_IDS.iter().find_map(|name| {
        let value = entry.values(name).first()?;
        Some(((*name).to_owned(), value_digest(name, value, schema)))
    })
}

fn naming(names: &[&str], schema: &Schema) -> BTreeSet<String> {
    let of = |dn: &&str| Dn::parse(dn).ok().and_then(|dn| dn.rdn().cloned());
    let avas = names.iter().filter_map(of).flat_map(|rdn| rdn.avas);
    avas.map(|ava| schema.normal_description(&ava.attribute)).collect()
}

fn added(entry: &Entry, schema: &Schema) -> BTreeMap<String, Trace> {
    let mut all: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for attribute in &entry.attributes {
        let name = schema.normal_description(&attribute.description);
        all.entry(name).or_default().extend(attribute.values.iter().cloned());
    }
    // A server adds missing values of the RDN; a file does not.
    let rdn = Dn::parse(&entry.dn).ok().and_then(|dn| dn.rdn().cloned());
    let mut completed = BTreeSet::new();
    for ava in rdn.into_iter().flat_map(|rdn| rdn.avas) {
        let name = schema.normal_description(&ava.attribute);
        let given = all.entry(name.clone()).or_default();
        if !given.iter().any(|v| schema.values_match(&name, v, &ava.value)) {
            given.push(ava.value);
            completed.insert(name);
        }
    }
    let trace = |(name, values): (String, Vec<Vec<u8>>)| {
        let each = || {
            let digests: BTreeSet<String> = values.iter().map(|v| value_digest(&name, v, schema)).collect();
            digests.into_iter().collect()
        };
        let trace = if completed.contains(&name) {
            Trace::default()
        } else if name == "objectclass" || is_list_of_entries(&name, schema) {
            // A server adds superclasses, and removes members whose entries are deleted.
            Trace { came: each(), ..Trace::default() }
        } else if is_comparable(&name, &values) {
            Trace { is: Some(digest_left(&name, &values, schema)), ..Trace::default() }
        } else {
            Trace::default()
        };
        (name, trace)
    };
    all.into_iter().filter(|(_, values)| !values.is_empty()).map(trace).collect()
}

/// Returns the values that a deletion removes, and that its undo must restore.
pub fn of_entry(entry: &Entry, schema: &Schema) -> BTreeMap<String, Trace> {
    added(entry, schema)
}

/// Returns all that a deletion destroys, without secrets: a plan depends on it. Values that go from lists of entries in the meantime do
/// not count.
pub fn seen_whole(entry: &Entry, schema: &Schema) -> BTreeMap<String, Trace> {
    let of = |attribute: &ldap_directory::entry::Attribute| {
        let name = schema.normal_description(&attribute.description);
        if !is_destroyed(&name, schema) || attribute.values.is_empty() {
            return None;
        }
        let trace = if is_list_of_entries(&name, schema) {
            let went: BTreeSet<String> =
                attribute.values.iter().map(|value| value_digest(&name, value, schema)).collect();
            Trace { went: went.into_iter().collect(), ..Trace::default() }
        } else {
            Trace { was: Some(digest(&name, &attribute.values, schema)), ..Trace::default() }
        };
        Some((name, trace))
    };
    entry.attributes.iter().filter_map(of).collect()
}

/// Whether an attribute counts for a deletion: somebody gave it, and it is not a secret.
pub fn is_destroyed(name: &str, schema: &Schema) -> bool {
    let is_lock = OPERATIONAL.iter().any(|lock| schema.same_description(lock, name));
    !is_secret_attribute(name)
        && (is_lock || !schema.is_operational(name) && may_be_added(name, schema))
        && !name.eq_ignore_ascii_case("memberOf")
}

/// Returns the attributes that a rename does not change, to recognize an entry without an ID.
fn kept(before: &Entry, names: &[&String], schema: &Schema) -> BTreeMap<String, Trace> {
    let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
    let naming = naming(&names, schema);
    let of = |a: &ldap_directory::entry::Attribute| {
        let name = schema.normal_description(&a.description);
        let is_kept = !naming.contains(&name)
            && !is_list_of_entries(&name, schema)
            && !is_secret_attribute(&name)
            && !schema.is_operational(&name);
        let digest = Some(digest_left(&name, &a.values, schema));
        is_kept.then_some((name, Trace { was: digest.clone(), is: digest, ..Trace::default() }))
    };
    before.attributes.iter().filter_map(of).collect()
}

fn modified(
    changes: &[Modification],
    before: Option<&Entry>,
    back: &[Change],
    schema: &Schema,
) -> (BTreeMap<String, Trace>, Vec<String>) {
    let mut traces = BTreeMap::new();
    let mut lost = Vec::new();
    let Some(before) = before else { return (traces, lost) };
    let names: BTreeSet<String> = changes.iter().map(|m| schema.normal_description(&m.description)).collect();
    for name in names {
        let of: Vec<&Modification> =
            changes.iter().filter(|m| schema.same_description(&m.description, &name)).collect();
        let old = schema.values_of(before, &name);
        if is_secret_attribute(&name) && old.is_empty() {
            let brought_back = back.iter().any(|c| match c {
                Change::Modify { changes, .. } => {
                    changes.iter().any(|m| schema.same_description(&m.description, &name))
                }
                _ => false,
            });
            if !brought_back {
                lost.push(name.clone());
            }
        }
        // A modification that changes nothing is refused with the whole change: then all values show what was made.
        let is_apart = is_list_of_entries(&name, schema) && are_apart(&of, schema) && {
            let there = normal(&name, old, schema);
            let rule = schema.equality(&name);
            of.iter().all(|step| {
                let is_new = step.kind == ModificationKind::Add;
                step.values.iter().all(|v| there.contains(&*rule.normalize(v, schema)) != is_new)
            })
        };
        let trace = if is_apart {
            let mut trace = Trace::default();
            for step in of {
                let digests = step.values.iter().map(|v| value_digest(&name, v, schema));
                match step.kind {
                    ModificationKind::Add => trace.came.extend(digests),
                    _ => trace.went.extend(digests),
                }
            }
            trace.came.sort_unstable();
            trace.went.sort_unstable();
            trace
        } else {
            let was = is_comparable(&name, old).then(|| digest_left(&name, old, schema));
            let is = after(&name, old, &of, schema);
            Trace { was: was.filter(|_| !lost.contains(&name)), is, ..Trace::default() }
        };
        traces.insert(name, trace);
    }
    (traces, lost)
}

/// Returns the digest of the values after modifications; `None` if unknown.
fn after(name: &str, old: &[Vec<u8>], changes: &[&Modification], schema: &Schema) -> Option<String> {
    if is_secret_attribute(name) && old.is_empty() && changes.iter().all(|m| m.values.is_empty()) {
        return None;
    }
    let mut values = normal(name, &undated(old), schema);
    for change in changes {
        if !is_comparable(name, &change.values) {
            return None;
        }
        let given = normal(name, &undated(&change.values), schema);
        match change.kind {
            ModificationKind::Add => values.extend(given),
            ModificationKind::Delete if given.is_empty() => values.clear(),
            ModificationKind::Delete => values.retain(|v| !given.contains(v)),
            ModificationKind::Replace => values = given,
            ModificationKind::Increment => return None,
        }
    }
    Some(digest_of(values.iter().map(Vec::as_slice)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap_directory::entry::Attribute;

    fn octets(values: &[&str]) -> Vec<Vec<u8>> {
        values.iter().map(|v| v.as_bytes().to_vec()).collect()
    }

    fn entry(attributes: &[(&str, &[&str])]) -> Entry {
        let attributes = attributes.iter().map(|(n, v)| Attribute::new(*n, octets(v))).collect();
        Entry { dn: "cn=x,dc=y".into(), attributes }
    }

    fn of(before: &[(&str, &[&str])], steps: &[(ModificationKind, &str, &[&str])]) -> ChangeNote {
        let changes = steps.iter().map(|(k, n, v)| Modification::new(*k, *n, octets(v))).collect();
        let change = Change::Modify { dn: "cn=x,dc=y".into(), changes };
        let (before, schema) = (entry(before), Schema::standard());
        let back = crate::write::inverse::inverse(&change, Some(&before), schema);
        ChangeNote::new(&change, Some(&before), &back, schema)
    }

    #[test]
    fn what_is_left_is_known_whatever_its_spelling_and_order() {
        use ModificationKind::{Add, Delete, Replace};
        let schema = Schema::standard();
        let note = of(&[("mail", &["a@x", "B@x"])], &[(Delete, "mail", &["b@x"]), (Add, "MAIL", &["C@X"])]);
        let trace = &note.attributes["mail"];
        assert_eq!(trace.is, Some(digest("mail", &octets(&["c@x", "A@x"]), schema)));
        assert_eq!(trace.was, Some(digest("mail", &octets(&["b@x", "a@X"]), schema)));
        let note = of(&[("title", &["T"])], &[(Replace, "title", &[])]);
        assert_eq!(note.attributes["title"].is.as_deref(), Some(""));
        let note = of(&[("member", &["cn=a"])], &[(Add, "member", &["CN=b"])]);
        assert_eq!(note.attributes["member"].came, [value_digest("member", b"cn=B", schema)]);
    }

    #[test]
    fn of_clear_text_passwords_nothing_is_kept() {
        use ModificationKind::Replace;
        let note = of(&[], &[(Replace, "userPassword", &["secret"])]);
        assert_eq!(
            (&note.attributes["userpassword"], &note.lost[..]),
            (&Trace::default(), &["userpassword".to_owned()][..])
        );
        let note = of(&[("userPassword", &["{SSHA}a"])], &[(Replace, "userPassword", &["secret"])]);
        assert!(note.lost.is_empty() && note.attributes["userpassword"].is.is_none());
        assert!(note.attributes["userpassword"].was.is_some());
        let note = of(&[("userPassword", &["{SSHA}a"])], &[(Replace, "userPassword", &["{SSHA}b"])]);
        assert!(note.attributes["userpassword"].is.is_some());
    }
}
