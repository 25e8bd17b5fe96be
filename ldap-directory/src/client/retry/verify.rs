//! Verification of a change whose answer was lost: reading shows whether it was made.

use crate::change::{Change, Modification, ModificationKind};
use crate::client::LdapDirectory;
use crate::dn::DnKey;
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::schema::Schema;
use crate::secret::SecretAttributes;

/// The state of a change, according to reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeState {
    /// Everything is as after the change.
    Done,
    /// It was not made: it can be sent (again).
    NotDone,
    /// Unknown, and sending it twice has another effect than once.
    Unknown,
}

impl LdapDirectory {
    /// Reads whether a change was made.
    pub(crate) async fn verify(&self, change: &Change) -> Result<ChangeState, DirectoryError> {
        // What a server computes, no change has written.
        let this = self.reading_own(true);
        let schema = self.schema();
        Ok(match change {
            Change::Delete { dn } => {
                if this.read(dn, &["1.1"]).await?.is_none() {
                    ChangeState::Done
                } else {
                    ChangeState::NotDone
                }
            }
            Change::Add(wanted) => {
                let names: Vec<&str> = wanted.attributes.iter().map(|a| a.description.as_str()).collect();
                match this.read_whole(&wanted.dn, &names).await? {
                    Some(there) if is_as_added(wanted, &there, schema, self.secret_attributes()) => {
                        ChangeState::Done
                    }
                    // It may be another client's: the server reports that when the change is sent again.
                    _ => ChangeState::NotDone,
                }
            }
            Change::Modify { dn, changes } => {
                let names: Vec<&str> = changes.iter().map(|m| m.description.as_str()).collect();
                match this.read_whole(dn, &names).await? {
                    Some(there) => is_as_modified(changes, &there, schema, self.secret_attributes()),
                    None => ChangeState::NotDone,
                }
            }
            Change::Rename { dn, .. } => {
                let new = change.new_dn().unwrap_or_default();
                let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
                // The same name in another spelling: repeating the rename has no other effect.
                if key(dn) == key(&new) {
                    return Ok(ChangeState::NotDone);
                }
                let is_old_there = this.read(dn, &["1.1"]).await?.is_some();
                if !is_old_there && this.read(&new, &["1.1"]).await?.is_some() {
                    ChangeState::Done
                } else {
                    ChangeState::NotDone
                }
            }
        })
    }

    /// Reads attributes completely. Boxed: reading may call this, as far as the compiler knows.
    async fn read_whole(&self, dn: &str, names: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        Box::pin(crate::directory::Directory::Ldap(self.clone()).read_whole(dn, names)).await
    }
}

fn has(schema: &Schema, values: &[Vec<u8>], description: &str, value: &[u8]) -> bool {
    values.iter().any(|v| schema.values_match(description, v, value))
}

/// Returns whether an entry has everything that it was added with. Hidden attributes are ignored.
fn is_as_added(wanted: &Entry, there: &Entry, schema: &Schema, secrets: &SecretAttributes) -> bool {
    wanted.attributes.iter().filter(|a| !secrets.is_write_only(&a.description)).all(|a| {
        let values = schema.values_of(there, &a.description);
        values.is_empty() || a.values.iter().all(|v| has(schema, values, &a.description, v))
    })
}

/// Returns the state of modifications, according to the entry.
fn is_as_modified(
    changes: &[Modification],
    there: &Entry,
    schema: &Schema,
    secrets: &SecretAttributes,
) -> ChangeState {
    if changes.iter().any(|m| m.kind == ModificationKind::Increment) {
        return ChangeState::Unknown;
    }
    let mut seen = false;
    // Secrets are stored in another form, or hidden.
    for (n, change) in changes.iter().enumerate() {
        let name = change.description.as_str();
        if secrets.is_write_only(name) {
            continue;
        }
        seen = true;
        let values = schema.values_of(there, name);
        // A later modification of the same attribute decides.
        let later: Vec<&Modification> = changes
            .get(n + 1..)
            .unwrap_or_default()
            .iter()
            .filter(|m| schema.same_description(&m.description, name))
            .collect();
        if later.iter().any(|m| m.kind == ModificationKind::Replace) {
            continue;
        }
        let changed_later =
            |value: &[u8]| later.iter().any(|m| m.values.is_empty() || has(schema, &m.values, name, value));
        let as_wanted = match change.kind {
            ModificationKind::Add => {
                change.values.iter().all(|v| changed_later(v) || has(schema, values, name, v))
            }
            ModificationKind::Delete if change.values.is_empty() => values.iter().all(|v| changed_later(v)),
            ModificationKind::Delete => {
                change.values.iter().all(|v| changed_later(v) || !has(schema, values, name, v))
            }
            ModificationKind::Replace => {
                change.values.iter().all(|v| changed_later(v) || has(schema, values, name, v))
                    && values.iter().all(|v| changed_later(v) || has(schema, &change.values, name, v))
            }
            ModificationKind::Increment => false,
        };
        if !as_wanted {
            return ChangeState::NotDone;
        }
    }
    // Passwords are not visible: replacing one twice has no other effect.
    match (seen, changes.iter().all(|m| m.kind == ModificationKind::Replace)) {
        (true, _) => ChangeState::Done,
        (false, true) => ChangeState::NotDone,
        (false, false) => ChangeState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Attribute;

    fn values(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|t| t.as_bytes().to_vec()).collect()
    }

    fn entry(attributes: &[(&str, &[&str])]) -> Entry {
        let attributes = attributes.iter().map(|(n, v)| Attribute::new(*n, values(v))).collect();
        Entry { dn: "cn=x".into(), attributes }
    }

    #[test]
    fn an_added_entry_is_known_by_its_values() {
        let wanted = entry(&[("cn", &["X"]), ("mail", &["a@x", "b@x"]), ("userPassword", &["secret"])]);
        let added = |there: &Entry| is_as_added(&wanted, there, Schema::standard(), &SecretAttributes::new());
        // The server's spelling, hash and additions do not matter.
        assert!(added(&entry(&[
            ("cn", &["x"]),
            ("mail", &["b@x", "A@x", "c@x"]),
            ("userPassword", &["{SSHA}x"])
        ])));
        assert!(added(&entry(&[("cn", &["x"])])), "what is not shown says nothing");
        assert!(!added(&entry(&[("cn", &["x"]), ("mail", &["b@x"])])));
        assert!(!added(&entry(&[("cn", &["y"])])));
    }

    #[test]
    fn a_modification_is_known_by_what_it_leaves() {
        use ModificationKind::{Add, Delete, Increment, Replace};
        type Step<'a> = (ModificationKind, &'a str, &'a [&'a str]);
        type Case<'a> = (&'a [Step<'a>], &'a [(&'a str, &'a [&'a str])], ChangeState);
        let cases: &[Case<'_>] = &[
            (&[(Replace, "sn", &["a"])], &[("sn", &["A"])], ChangeState::Done),
            (&[(Replace, "sn", &["a"])], &[("sn", &["a", "b"])], ChangeState::NotDone),
            (&[(Replace, "sn", &[])], &[], ChangeState::Done),
            (&[(Add, "sn", &["a"])], &[("sn", &["b", "a"])], ChangeState::Done),
            (&[(Add, "sn", &["a"])], &[("sn", &["b"])], ChangeState::NotDone),
            (&[(Delete, "sn", &["a"])], &[("sn", &["b"])], ChangeState::Done),
            (&[(Delete, "sn", &["a"])], &[("sn", &["a"])], ChangeState::NotDone),
            (&[(Delete, "sn", &[])], &[], ChangeState::Done),
            (&[(Delete, "sn", &[]), (Add, "sn", &["a"])], &[("sn", &["a"])], ChangeState::Done),
            (&[(Delete, "sn", &["a"]), (Add, "sn", &["a"])], &[("sn", &["a"])], ChangeState::Done),
            (&[(Add, "sn", &["a"]), (Replace, "sn", &["b"])], &[("sn", &["b"])], ChangeState::Done),
            (&[(Add, "sn", &["a"]), (Add, "cn", &["c"])], &[("sn", &["a"])], ChangeState::NotDone),
            (&[(Increment, "uidNumber", &["1"])], &[("uidNumber", &["2"])], ChangeState::Unknown),
            (&[(Replace, "userPassword", &["x"])], &[], ChangeState::NotDone),
            (&[(Delete, "unicodePwd", &["x"]), (Add, "unicodePwd", &["y"])], &[], ChangeState::Unknown),
        ];
        for (steps, there, expected) in cases {
            let changes: Vec<Modification> =
                steps.iter().map(|(k, n, v)| Modification::new(*k, *n, values(v))).collect();
            assert_eq!(
                is_as_modified(&changes, &entry(there), Schema::standard(), &SecretAttributes::new()),
                *expected,
                "{steps:?}"
            );
        }
    }
}
