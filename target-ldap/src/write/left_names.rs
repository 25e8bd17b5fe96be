//! Names that other entries still have of entries that were renamed or deleted: a server without referential integrity changes none of
//! them. Who is renamed loses the groups, and who gets the DN next has them. The same holds for user names (`memberUid`), which no server
//! follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::{Above, DnKey};
use ldap_directory::entry::{Entry, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor, lookup};
use rustc_hash::FxHashSet;
use singer_common::operations::error::Classified as _;

use super::all_data::{MEMBER_UID, UID, Values, for_each, uids_of};
use crate::rules::names::hash;

/// The most names that are kept.
const MOST: usize = 50_000;
/// The most names that are looked for one by one; more are compared with all groups.
const FEW: usize = 20;
/// The most entries in a message.
const SHOWN: usize = 5;
/// The attributes that give rights by a name, or say who is responsible.
pub(super) const ATTRIBUTES: [&str; 6] =
    ["member", "uniqueMember", "roleOccupant", "owner", "manager", "secretary"];
/// So many user names are looked up by one search.
const AT_ONCE: usize = 50;
/// OpenLDAP's overlay `refint` does its work after the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names that the changes of a run took from entries. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftNames(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    /// By key: the DN as text.
    gone: BTreeMap<DnKey, String>,
    /// The current DNs of renamed entries, and their first ones.
    came_from: HashMap<DnKey, DnKey>,
    /// The user names that entries lost, or that went with them; others may have them.
    uids: BTreeSet<Vec<u8>>,
    /// Whether entries below others went with them.
    has_subtrees: bool,
    is_full: bool,
}

impl Names {
    fn add(&mut self, key: DnKey, dn: &str) {
        if self.gone.len() < MOST {
            self.gone.insert(key, dn.to_owned());
        } else {
            self.is_full = true;
        }
    }

    fn add_uid(&mut self, uid: Vec<u8>) {
        if self.uids.len() < MOST {
            self.uids.insert(uid);
        } else {
            self.is_full = true;
        }
    }

    fn renamed(&mut self, from: DnKey, dn: &str, to: DnKey) {
        let first = match self.came_from.remove(&from) {
            Some(first) => first,
            None if from == to => return,
            None => {
                self.add(from.clone(), dn);
                from
            }
        };
        if first == to {
            self.gone.remove(&first);
        } else if self.came_from.len() < MOST {
            self.came_from.insert(to, first);
        }
    }
}

/// The entries that have a name still.
#[derive(Debug, Default)]
struct Holders {
    /// Hashes of their DNs.
    all: FxHashSet<u64>,
    /// The first ones, by their DNs, with the name.
    first: BTreeMap<String, String>,
}

impl Holders {
    fn add(&mut self, dn: String, name: String) {
        self.all.insert(hash(&dn));
        self.first.insert(dn, name);
        if self.first.len() > SHOWN {
            self.first.pop_last();
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl LeftNames {
    fn names(&self) -> MutexGuard<'_, Names> {
        // A panic elsewhere leaves at most one name out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change that was made.
    pub(super) fn note(&self, change: &Change, schema: &Schema) {
        let key = |dn: &str| DnKey::parse(dn, schema).ok();
        if matches!(change, Change::Delete { .. } | Change::Rename { .. }) {
            uids_of(change.dn(), schema).for_each(|uid| self.names().add_uid(uid));
        }
        match change {
            Change::Delete { dn } => {
                if let Some(key) = key(dn) {
                    self.names().add(key, dn);
                }
            }
            Change::Rename { dn, .. } => {
                let to = change.new_dn().and_then(|new| key(&new));
                if let (Some(from), Some(to)) = (key(dn), to) {
                    self.names().renamed(from, dn, to);
                }
            }
            // The values that a replacement takes away are not known.
            Change::Modify { changes, .. } => {
                let of_uid = |name: &str| schema.same_description(base_type(name), UID);
                let lost = changes.iter().filter(|step| step.kind == ModificationKind::Delete);
                let lost = lost.filter(|step| of_uid(&step.description)).flat_map(|step| &step.values);
                lost.for_each(|uid| self.names().add_uid(uid.clone()));
            }
            Change::Add(_) => {}
        }
    }

    /// Notes a subtree that was deleted.
    pub(super) fn note_subtree(&self, dn: &str, schema: &Schema) {
        let Ok(key) = DnKey::parse(dn, schema) else { return };
        let mut names = self.names();
        names.add(key, dn);
        names.has_subtrees = true;
    }

    /// Warns of entries that still have such names; of a plan, of those that would have them.
    pub(super) async fn warn(&self, directory: &Directory) {
        let Names { gone, came_from, uids, has_subtrees, is_full } = std::mem::take(&mut *self.names());
        // Active Directory renames and removes the values of linked attributes itself.
        if gone.is_empty() && uids.is_empty() || directory.root_dse().vendor == Vendor::ActiveDirectory {
            return;
        }
        let found = async {
            let is_few =
                gone.len() <= FEW && !has_subtrees && !any_has_children(directory, &came_from).await?;
            let found = holders(directory, &gone, &uids, is_few).await?;
            if found.is_empty() || !matches!(directory, Directory::Ldap(_)) {
                return Ok(found);
            }
            tokio::time::sleep(PATIENCE).await;
            holders(directory, &gone, &uids, is_few).await
        };
        let entries = gone.len();
        match Box::pin(found).await {
            Ok(found) if found.is_empty() => {}
            Ok(found) => tell(&found, matches!(directory, Directory::Preview(_))),
            Err(error) => error.facts().warn(&format!(
                "{entries} entries were renamed or deleted, and whether groups still name them could not be read: {error}"
            )),
        }
        if is_full {
            tracing::warn!(
                most = MOST,
                "of more than {MOST} renamed and deleted entries the rest was not looked for in groups"
            );
        }
    }
}

/// Warns of entries that have names.
fn tell(found: &Holders, is_plan: bool) {
    let count = found.all.len();
    let shown: Vec<String> = found.first.iter().map(|(dn, name)| format!("`{dn}` (`{name}`)")).collect();
    let more = if count > SHOWN { " and more" } else { "" };
    let shown = shown.join(", ");
    if is_plan {
        tracing::warn!(
            would_name = count,
            "{count} entries name entries that this run would rename or delete, by their DNs or user names: a server without referential integrity leaves them as they are, and nobody follows `{MEMBER_UID}`: {shown}{more}"
        );
    } else {
        tracing::warn!(
            still_naming = count,
            "{count} entries still name entries that this run renamed or deleted, for the server has no referential integrity, or by user names (`{MEMBER_UID}`), which no server follows: who was renamed is no longer in these groups, and who gets the former name is in them; correct them, or load OpenLDAP's overlay `refint` (389 DS: plug-in Referential Integrity): {shown}{more}"
        );
    }
}

/// Whether one of the renamed entries has entries below, which were renamed with it.
async fn any_has_children(
    directory: &Directory,
    came_from: &HashMap<DnKey, DnKey>,
) -> Result<bool, DirectoryError> {
    for key in came_from.keys() {
        let place = (&*key.to_string(), Scope::OneLevel);
        let filter = Filter::Present("objectClass".to_owned());
        if !lookup::sample(directory, place, filter, &["1.1"], 1).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the entries that have one of the names. `is_few`: the names are looked for one by one.
async fn holders(
    directory: &Directory,
    gone: &BTreeMap<DnKey, String>,
    uids: &BTreeSet<Vec<u8>>,
    is_few: bool,
) -> Result<Holders, DirectoryError> {
    let mut found = holders_of_uids(directory, uids).await?;
    if gone.is_empty() {
        return Ok(found);
    }
    let schema = directory.schema();
    let names = ATTRIBUTES.into_iter().filter(|name| schema.attribute_type(name).is_some());
    let attributes: Vec<&str> = names.collect();
    let equality = |attribute: &&str| {
        let of = |dn: &String| Filter::Equality {
            attribute: (*attribute).to_owned(),
            value: dn.clone().into_bytes(),
        };
        gone.values().map(of).collect::<Vec<_>>()
    };
    let any = if is_few {
        attributes.iter().flat_map(equality).collect()
    } else {
        attributes.iter().map(|attribute| Filter::Present((*attribute).to_owned())).collect()
    };
    let mut above = Above::default();
    let filter = Filter::Or(any);
    let note = |entry: Entry| {
        if let Some(name) = name_in(&entry, gone, &mut above, schema) {
            found.add(entry.dn, name);
        }
    };
    for_each(directory, &filter, &attributes, Values::All, note).await?;
    Ok(found)
}

/// Returns the groups that have one of the user names, which no entry has any more.
async fn holders_of_uids(directory: &Directory, uids: &BTreeSet<Vec<u8>>) -> Result<Holders, DirectoryError> {
    let schema = directory.schema();
    if uids.is_empty() || schema.attribute_type(MEMBER_UID).is_none() {
        return Ok(Holders::default());
    }
    let naming = |uids: &BTreeSet<Vec<u8>>| {
        if uids.len() <= FEW {
            Filter::Or(uids.iter().map(|uid| Filter::equality(MEMBER_UID, uid.clone())).collect())
        } else {
            Filter::Present(MEMBER_UID.to_owned())
        }
    };
    let mut left: BTreeSet<Vec<u8>> = BTreeSet::new();
    let note = |group: Entry| {
        let values = schema.values_of(&group, MEMBER_UID).iter();
        left.extend(values.filter(|value| uids.contains(*value)).cloned());
    };
    for_each(directory, &naming(uids), &[MEMBER_UID], Values::All, note).await?;
    let named: Vec<Vec<u8>> = left.iter().cloned().collect();
    for some in named.chunks(AT_ONCE) {
        let any = some.iter().map(|uid| Filter::equality(UID, uid.clone())).collect();
        let keep = |user: Entry| {
            let own = schema.values_of(&user, UID);
            left.retain(|uid| !own.iter().any(|value| schema.values_match(UID, value, uid)));
        };
        for_each(directory, &Filter::Or(any), &[UID], Values::All, keep).await?;
    }
    let mut found = Holders::default();
    if left.is_empty() {
        return Ok(found);
    }
    // Once more: not all groups are kept meanwhile.
    let note = |group: Entry| {
        let mut values = schema.values_of(&group, MEMBER_UID).iter();
        if let Some(name) = values.find(|value| left.contains(*value)) {
            let name = String::from_utf8_lossy(name).into_owned();
            found.add(group.dn, name);
        }
    };
    for_each(directory, &naming(&left), &[MEMBER_UID], Values::All, note).await?;
    Ok(found)
}

/// Returns a name of the entry that is gone, or was below one.
fn name_in(
    entry: &Entry,
    gone: &BTreeMap<DnKey, String>,
    above: &mut Above,
    schema: &Schema,
) -> Option<String> {
    let values = entry.attributes.iter().flat_map(|attribute| &attribute.values);
    for value in values {
        let Ok(text) = std::str::from_utf8(value) else { continue };
        let Ok(key) = above.key(text, schema) else { continue };
        if std::iter::successors(Some(key), DnKey::parent).any(|at| gone.contains_key(&at)) {
            return Some(text.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(dn: &str, new_rdn: &str) -> Change {
        Change::Rename {
            dn: dn.to_owned(),
            new_rdn: new_rdn.to_owned(),
            delete_old_rdn: true,
            new_superior: None,
        }
    }

    fn gone(changes: &[Change]) -> Vec<String> {
        let names = LeftNames::default();
        for change in changes {
            names.note(change, Schema::standard());
        }
        let names = names.names();
        names.gone.values().cloned().collect()
    }

    #[test]
    fn the_first_name_counts_and_one_that_comes_back_is_not_gone() {
        assert_eq!(gone(&[rename("uid=a,dc=x", "uid=b"), rename("uid=b,dc=x", "uid=c")]), ["uid=a,dc=x"]);
        assert_eq!(gone(&[rename("uid=a,dc=x", "uid=tmp"), rename("uid=tmp,dc=x", "uid=a")]), [""; 0]);
        assert_eq!(gone(&[rename("uid=a,dc=x", "uid=A")]), [""; 0]);
        let exchange =
            [rename("uid=a,dc=x", "uid=tmp"), rename("uid=b,dc=x", "uid=a"), rename("uid=tmp,dc=x", "uid=b")];
        assert_eq!(gone(&exchange), ["uid=a,dc=x", "uid=b,dc=x"]);
        assert_eq!(gone(&[Change::Delete { dn: "uid=a,dc=x".to_owned() }]), ["uid=a,dc=x"]);
    }
}
