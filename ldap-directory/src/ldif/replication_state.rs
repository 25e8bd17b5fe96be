//! What 389 Directory Server writes into an LDIF that is to initialize a replica (`db2ldif -r`, `nsExportReplica`): the state of each value as
//! options of its attribute, values that are deleted, and entries that are (`nsTombstone`).

use crate::entry::{Attribute, Entry};

/// What was taken off the entries of a file.
///
/// ```
/// use ldap_directory::entry::{Attribute, Entry};
/// use ldap_directory::ldif::ReplicationState;
///
/// let values = |name: &str| Attribute::new(name, vec![b"uid=eve,dc=x".to_vec()]);
/// let attributes = vec![values("owner;vucsn-6b0c"), values("member;vucsn-6b0c;vdcsn-6b0d;deleted")];
/// let mut entry = Entry { dn: "cn=admins,dc=x".into(), attributes };
/// let mut state = ReplicationState::default();
/// assert!(state.take_off(1, &mut entry));
/// assert_eq!(entry.attributes, [values("owner")]);
/// assert_eq!((state.line, state.deleted_values, state.deleted_entries), (Some(1), 1, 0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicationState {
    /// The line of the first entry with it; `None`: there is none.
    pub line: Option<u64>,
    /// The values that are left out, for they are deleted.
    pub deleted_values: u64,
    /// The entries that are to be left out, for they are deleted.
    pub deleted_entries: u64,
}

impl ReplicationState {
    /// Whether an attribute description has an option that is replication state, or marks its values as deleted.
    pub fn is_in(description: &str) -> bool {
        description.split(';').skip(1).any(|option| is_csn(option) || is_mark(option))
    }

    /// Takes the state off an entry. Returns whether it is one of those that are there.
    pub fn take_off(&mut self, line: u64, entry: &mut Entry) -> bool {
        if entry.attributes.iter().any(|attribute| is_state(&attribute.description)) {
            self.line.get_or_insert(line);
            for attribute in std::mem::take(&mut entry.attributes) {
                match current(&attribute.description) {
                    Some(description) => {
                        let same = |a: &&mut Attribute| a.description.eq_ignore_ascii_case(&description);
                        match entry.attributes.iter_mut().find(same) {
                            Some(there) => there.values.extend(attribute.values),
                            None => entry.attributes.push(Attribute { description, ..attribute }),
                        }
                    }
                    None => self.deleted_values += attribute.values.len() as u64,
                }
            }
        }
        let is_deleted =
            entry.values("objectClass").iter().any(|class| class.eq_ignore_ascii_case(b"nsTombstone"));
        if is_deleted {
            self.line.get_or_insert(line);
            self.deleted_entries += 1;
        }
        !is_deleted
    }

    /// Logs what was taken off.
    pub fn log(&self) {
        let Some(line) = self.line else { return };
        let (deleted_values, deleted_entries) = (self.deleted_values, self.deleted_entries);
        tracing::warn!(
            line,
            deleted_values,
            deleted_entries,
            "line {line}: the LDIF file has the replication state of 389 Directory Server (db2ldif -r): it is taken off; {deleted_values} deleted values and {deleted_entries} deleted entries are left out"
        );
    }
}

/// Whether an option is the change sequence number of a value, an attribute or a name.
fn is_csn(option: &str) -> bool {
    let kinds = ["adcsn-", "vucsn-", "vdcsn-", "mdcsn-"];
    kinds.iter().any(|kind| option.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind)))
}

/// Whether an option marks values, or a whole attribute, as deleted.
fn is_mark(option: &str) -> bool {
    option.eq_ignore_ascii_case("deleted") || option.eq_ignore_ascii_case("deletedattribute")
}

fn is_state(description: &str) -> bool {
    description.split(';').skip(1).any(is_csn)
}

/// Returns the description without its state; `None`: the values are deleted.
fn current(description: &str) -> Option<String> {
    if !is_state(description) {
        return Some(description.to_owned());
    }
    if description.split(';').skip(1).any(is_mark) {
        return None;
    }
    let kept: Vec<&str> = description.split(';').filter(|option| !is_csn(option)).collect();
    Some(kept.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_taken_off_and_the_deleted_is_left_out() {
        let attribute = |name: &str, value: &str| Attribute::new(name, vec![value.into()]);
        let mut entry = Entry {
            dn: "uid=eve,dc=x".into(),
            attributes: vec![
                attribute("objectClass;vucsn-6b0ce8de000300040000", "top"),
                attribute("objectclass;VUCSN-6b0ce8de000300040000", "person"),
                attribute("sn;adcsn-6b0c;vucsn-6b0c", "New"),
                attribute("sn;vdcsn-6b0c;deleted", "Old"),
                attribute("title;adcsn-6b0c;deletedattribute;deleted", "x"),
                attribute("cn;lang-en;vucsn-6b0c", "Eve"),
                attribute("description;deleted", "an option of somebody else"),
            ],
        };
        let mut state = ReplicationState::default();
        assert!(state.take_off(7, &mut entry));
        let found: Vec<(&str, usize)> =
            entry.attributes.iter().map(|a| (a.description.as_str(), a.values.len())).collect();
        let expected = [("objectClass", 2), ("sn", 1), ("cn;lang-en", 1), ("description;deleted", 1)];
        assert_eq!(found, expected);
        assert_eq!((state.line, state.deleted_values, state.deleted_entries), (Some(7), 2, 0));
        let mut gone = Entry { dn: "a=1".into(), attributes: vec![attribute("objectClass", "nstombstone")] };
        assert!(!state.take_off(9, &mut gone));
        assert_eq!((state.line, state.deleted_entries), (Some(7), 1));
    }
}
