//! The inverse of a change, which undoes it. Pure.

use std::collections::HashSet;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{Ava, Dn, join, split_first};
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;

use crate::rules::names::{ENTRY_IDS, to_ask};

use singer_common::operations::secret::is_write_only;

/// Operational attributes of 389 Directory Server that users set, and that `+` does not return everywhere.
pub(super) const OPERATIONAL: [&str; 3] = ["nsAccountLock", "aci", "nsRoleDN"];
/// Attributes that Active Directory's account manager refuses in an add, beyond what the schema says ([MS-ADTS] 3.1.1.5.2.2,
/// 3.1.1.5.2.3; [MS-SAMR] 3.1.1.8).
const KEPT_BY_ACTIVE_DIRECTORY: [&str; 19] = [
    "adminCount",
    "badPasswordTime",
    "badPwdCount",
    "dSCorePropagationData",
    "distinguishedName",
    "instanceType",
    "isCriticalSystemObject",
    "lastLogoff",
    "lastLogon",
    "lastLogonTimestamp",
    "lockoutTime",
    "logonCount",
    "memberOf",
    "name",
    "objectSid",
    "primaryGroupID",
    "pwdLastSet",
    "sAMAccountType",
    "whenCreated",
];

/// Returns the attributes of the entry before a change that its inverse needs; `None`: the entry is not needed.
pub fn needs(change: &Change) -> Option<Vec<String>> {
    let names = |names: &mut dyn Iterator<Item = &str>| Some(to_ask(Vec::new(), names));
    match change {
        Change::Add(_) => None,
        // With the operational ones: users set some of them, such as account locks (RFC 4512 section 3.4, RFC 3673).
        Change::Delete { .. } => {
            Some(["*", "+"].iter().chain(&OPERATIONAL).map(|&name| name.to_owned()).collect())
        }
        Change::Modify { changes, .. } => names(&mut changes.iter().map(|m| m.description.as_str())),
        Change::Rename { new_rdn, .. } => {
            // All of them, and its ID: the entry is recognized by them under its new DN.
            let name = Dn::parse(new_rdn).unwrap_or_default();
            let naming = name.rdn().into_iter().flat_map(|r| &r.avas).map(|a| a.attribute.as_str());
            names(&mut naming.chain(["*"]).chain(ENTRY_IDS))
        }
    }
}

/// Returns the changes that undo a change, in their order, given the entry before it.
///
/// Values that the server maintains (entryUUID, timestamps) are not restored, nor are unreadable ones (passwords). Operational
/// values that users set are: locks, access rules, policies.
pub fn inverse(change: &Change, before: Option<&Entry>, schema: &Schema) -> Vec<Change> {
    match change {
        Change::Add(entry) => vec![Change::Delete { dn: entry.dn.clone() }],
        Change::Delete { .. } => {
            let entry = before.cloned().map(|mut entry| {
                entry.attributes.retain(|a| !a.values.is_empty() && may_be_added(&a.description, schema));
                Change::Add(entry)
            });
            entry.into_iter().collect()
        }
        Change::Modify { dn, changes } => {
            let changes = before.map(|b| modifications(changes, b, schema)).unwrap_or_default();
            if changes.is_empty() { Vec::new() } else { vec![Change::Modify { dn: dn.clone(), changes }] }
        }
        Change::Rename { dn, new_rdn, new_superior, .. } => {
            rename(dn, new_rdn, new_superior.as_deref(), before, schema).unwrap_or_default()
        }
    }
}

/// Whether a server accepts an attribute in an add.
pub(super) fn may_be_added(description: &str, schema: &Schema) -> bool {
    let is_kept = |names: &[&str]| names.iter().any(|name| schema.same_description(name, description));
    match schema.attribute_type(description) {
        // Active Directory marks objectClass as maintained as well.
        Some(known) if known.no_user_modification => schema.same_description(description, "objectClass"),
        Some(_) => !is_kept(&KEPT_BY_ACTIVE_DIRECTORY),
        None => true,
    }
}

fn rename(
    dn: &str,
    new_rdn: &str,
    new_superior: Option<&str>,
    before: Option<&Entry>,
    schema: &Schema,
) -> Option<Vec<Change>> {
    let (old_rdn, above) = split_first(dn).ok().filter(|(rdn, _)| !rdn.is_empty())?;
    let place = new_superior.unwrap_or(&above);
    let new_name = join(new_rdn, place);
    // The values of the new RDN are removed, except those that the entry had before.
    let name = Dn::parse(new_rdn).ok()?;
    let old_name = Dn::parse(old_rdn).ok()?;
    let is_in = |ava: &Ava, name: &Dn| {
        let same = |a: &Ava| {
            schema.same_description(&a.attribute, &ava.attribute)
                && schema.values_match(&ava.attribute, &a.value, &ava.value)
        };
        name.rdn().is_some_and(|rdn| rdn.avas.iter().any(same))
    };
    let had = |ava: &&Ava| {
        let there = before.map(|b| schema.values_of(b, &ava.attribute)).unwrap_or_default();
        there.iter().any(|v| schema.values_match(&ava.attribute, v, &ava.value))
    };
    let lost = name.rdn()?.avas.iter().filter(had).filter(|ava| !is_in(ava, &old_name));
    let again: Vec<Modification> = lost
        .map(|a| Modification::new(ModificationKind::Add, a.attribute.clone(), vec![a.value.clone()]))
        .collect();
    let mut changes = vec![Change::Rename {
        dn: new_name,
        new_rdn: (*old_rdn).to_owned(),
        delete_old_rdn: true,
        new_superior: new_superior.is_some().then_some(above),
    }];
    if !again.is_empty() {
        changes.push(Change::Modify { dn: dn.to_owned(), changes: again });
    }
    Some(changes)
}

fn modifications(changes: &[Modification], before: &Entry, schema: &Schema) -> Vec<Modification> {
    let old = |name: &str| schema.values_of(before, name).to_vec();
    let mut names: Vec<&str> = Vec::new();
    for change in changes.iter().rev() {
        if !names.iter().any(|n| schema.same_description(n, &change.description)) {
            names.push(&change.description);
        }
    }
    let back = |name: &str| -> Vec<Modification> {
        let of: Vec<&Modification> =
            changes.iter().filter(|m| schema.same_description(&m.description, name)).collect();
        if of.len() == 1 || are_apart(&of, schema) {
            return of.iter().rev().filter_map(|m| modification(m, old(name))).collect();
        }
        let old = old(name);
        if old.is_empty() && is_write_only(name) {
            return Vec::new();
        }
        vec![Modification::new(ModificationKind::Replace, name, old)]
    };
    names.into_iter().flat_map(back).collect()
}

/// Whether the modifications of one attribute have no value in common. Then each is undone by itself, and three changes in a
/// list of 50,000 members stay three.
pub(crate) fn are_apart(steps: &[&Modification], schema: &Schema) -> bool {
    let by_value = |m: &&Modification| {
        matches!(m.kind, ModificationKind::Add | ModificationKind::Delete) && !m.values.is_empty()
    };
    let mut seen = HashSet::new();
    steps.iter().all(by_value)
        && steps.iter().all(|m| {
            let rule = schema.equality(&m.description);
            m.values.iter().all(|v| seen.insert(rule.normalize(v, schema).into_owned()))
        })
}

fn modification(change: &Modification, old: Vec<Vec<u8>>) -> Option<Modification> {
    let (kind, values) = match change.kind {
        ModificationKind::Add => (ModificationKind::Delete, change.values.clone()),
        ModificationKind::Delete if change.values.is_empty() => (ModificationKind::Add, old),
        ModificationKind::Delete => (ModificationKind::Add, change.values.clone()),
        ModificationKind::Replace | ModificationKind::Increment => (ModificationKind::Replace, old),
    };
    // There was no readable value, or nothing was added; a deletion without values would delete all. A password is not removed
    // because the old one could not be read.
    let hidden = is_write_only(&change.description);
    if values.is_empty() && (kind != ModificationKind::Replace || hidden) {
        return None;
    }
    Some(Modification::new(kind, change.description.clone(), values))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ldap_directory::{Access, Directory};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::tree;

    const TREE: &str = "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
        dn: ou=a,dc=x\nobjectClass: organizationalUnit\nou: a\n\n\
        dn: ou=b,dc=x\nobjectClass: organizationalUnit\nou: b\n\n\
        dn: cn=one,ou=a,dc=x\nobjectClass: device\ncn: one\ncn: uno\ndescription: D\nserialNumber: 1\n\n";

    fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::sample::subsequence(vec!["D", "E", "F"], 0..=3)
            .prop_map(|v| v.into_iter().map(|s| s.as_bytes().to_vec()).collect())
    }

    fn change() -> impl Strategy<Value = Change> {
        let dn = || {
            proptest::sample::select(vec![
                "cn=one,ou=a,dc=x",
                "cn=two,ou=b,dc=x",
                "ou=b,dc=x",
                "cn=uno,ou=b,dc=x",
            ])
        };
        let kind = proptest::sample::select(ModificationKind::ALL[..3].to_vec());
        let one = (kind, values()).prop_map(|(kind, values)| Modification::new(kind, "description", values));
        prop_oneof![
            (dn(), proptest::collection::vec(one, 1..4))
                .prop_map(|(dn, changes)| Change::Modify { dn: dn.into(), changes }),
            dn().prop_map(|dn| Change::Delete { dn: dn.into() }),
            dn().prop_map(|dn| Change::Add(Entry {
                dn: dn.into(),
                attributes: vec![ldap_directory::entry::Attribute::new(
                    "objectClass",
                    vec![b"device".to_vec()]
                )],
            })),
            (
                dn(),
                proptest::sample::select(vec!["cn=two", "cn=uno", "cn=one+serialNumber=1"]),
                any::<bool>(),
                any::<bool>()
            )
                .prop_map(|(dn, rdn, delete, moves)| Change::Rename {
                    dn: dn.into(),
                    new_rdn: rdn.into(),
                    delete_old_rdn: delete,
                    new_superior: moves.then(|| "ou=b,dc=x".to_owned()),
                }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// The inverses of any changes, last first, restore the entries.
        #[test]
        fn the_inverses_lead_back(changes in proptest::collection::vec(change(), 1..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(TREE.as_bytes()).unwrap();
                let opened = ldap_directory::ldif::LdifDirectory::open(file.path(), Access::Read).unwrap();
                let directory = Directory::Ldif(opened);
                let first = tree(&directory).await;
                let schema = directory.schema().clone();
                let mut undo = Vec::new();
                for change in &changes {
                    let names = needs(change);
                    let before = match &names {
                        Some(names) => {
                            let names: Vec<&str> = names.iter().map(String::as_str).collect();
                            directory.read(change.dn(), &names).await.unwrap()
                        }
                        None => None,
                    };
                    let back = inverse(change, before.as_ref(), &schema);
                    if directory.apply(change).await.is_ok() {
                        undo.push(back);
                    }
                }
                for change in undo.iter().rev().flatten() {
                    if let Err(e) = directory.apply(change).await {
                        panic!("{change:?}: {e}");
                    }
                }
                prop_assert_eq!(tree(&directory).await, first);
                Ok(())
            })?;
        }
    }
}
