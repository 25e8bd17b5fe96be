//! Groups get the new name of an entry in place of the old one, or lose the old one.

use std::sync::{Arc, Mutex, PoisonError};

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Entry, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Scope};
use target_ldap::write::destination::Destination;
use target_ldap::write::gate::ChangeGate;

use super::left::Left;
use super::places::uids;
use super::{AT_ONCE, Leaving, Memberships, Watch};
use crate::lookup;
use crate::members::{MEMBER_UID, UID};
use crate::write::{WriteError, named, refusal};

/// Notes the changes of groups.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<Change>>);

impl ChangeGate for Notes {
    fn admit(&self, _: &Change) -> Result<Option<Filter>, DirectoryError> {
        Ok(None)
    }

    fn made(&self, change: &Change, result: &Result<(), DirectoryError>) {
        if result.as_ref().map_or_else(DirectoryError::is_outcome_unknown, |()| true) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(change.clone());
        }
    }
}

/// What became of the groups.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The changes that were made, or may have been: also those before a failure.
    pub(crate) made: Vec<Change>,
    /// An error: groups cannot be changed, and have the old name still.
    pub(crate) result: Result<(), WriteError>,
}

impl Followed {
    /// Returns the changes, if that is all of them.
    ///
    /// # Errors
    /// Groups have the old name still.
    pub(crate) fn whole(self) -> Result<Vec<Change>, WriteError> {
        self.result.map(|()| self.made)
    }
}

/// A name that goes, and the groups that have it.
struct Going<'w> {
    /// The attribute of members that was searched for it.
    attribute: &'w str,
    old: Vec<u8>,
    new: Option<Vec<u8>>,
    placeholder: Option<&'w str>,
    groups: Vec<(DnKey, String)>,
}

fn step(kind: ModificationKind, name: &str, value: &[u8]) -> Modification {
    Modification::new(kind, name, vec![value.to_vec()])
}

impl Memberships {
    /// Gives groups the new names in place of the old ones, or takes the old ones away. `tries_all`: what was made stays, so that a group
    /// that cannot be changed does not keep the others from it.
    pub(crate) async fn follow(&self, watch: &Watch, destination: &Destination, tries_all: bool) -> Followed {
        let notes = Arc::new(Notes::default());
        let destination = destination.clone().with_gate(Some(notes.clone())).noting_values(true);
        let mut left = Left::new(tries_all);
        for some in watch.leaving.chunks(AT_ONCE) {
            if left.is_over() {
                left.not_searched(some.iter().map(|one| one.old.as_str()));
                continue;
            }
            // All are found first: if the server goes away meanwhile, it is known which are left.
            let going = match self.going(watch, some, &destination).await {
                Ok(going) => going,
                Err(error) => {
                    left.failed_search(error, &watch.planned);
                    left.not_searched(some.iter().map(|one| one.old.as_str()));
                    continue;
                }
            };
            for one in &going {
                self.take_out(one, &destination, &mut left).await;
            }
        }
        let made = std::mem::take(&mut *notes.0.lock().unwrap_or_else(PoisonError::into_inner));
        Followed { made, result: left.end() }
    }

    /// Returns the names that go with some entries, and the groups that have them.
    async fn going<'w>(
        &'w self,
        watch: &'w Watch,
        some: &'w [Leaving],
        destination: &Destination,
    ) -> Result<Vec<Going<'w>>, WriteError> {
        let mut any: Vec<Filter> = some.iter().flat_map(|one| self.named(&one.old)).collect();
        let all_uids = some.iter().flat_map(|one| &one.uids).filter(|_| self.has_member_uid);
        any.extend(all_uids.map(|uid| Filter::equality(MEMBER_UID, uid.clone())));
        if any.is_empty() || self.groups(destination, Filter::Or(any)).await?.is_empty() {
            return Ok(Vec::new());
        }
        let is_gone = |key: &DnKey| watch.leaving.iter().any(|one| one.new.is_none() && one.key == *key);
        let mut all = Vec::new();
        for one in some {
            let new_key = one.new.as_deref().map(|new| DnKey::parse(new, destination.schema()));
            let is_renamed = !new_key.is_some_and(|new| new.is_ok_and(|new| new == one.key));
            for attribute in self.members.iter().map(String::as_str).filter(|_| is_renamed) {
                let mut groups = self.having_name(destination, attribute, one.old.as_bytes()).await?;
                groups.retain(|(key, _)| !is_gone(key));
                let (old, new) = (one.old.clone().into_bytes(), one.new.clone().map(String::into_bytes));
                let placeholder = watch.placeholder.as_deref();
                all.push(Going { attribute, old, new, placeholder, groups });
            }
            self.going_uids(one, destination, &mut all).await?;
        }
        all.retain(|going| !going.groups.is_empty());
        Ok(all)
    }

    /// The same for user names.
    async fn going_uids<'w>(
        &'w self,
        one: &Leaving,
        destination: &Destination,
        all: &mut Vec<Going<'w>>,
    ) -> Result<(), WriteError> {
        if !self.has_member_uid || one.uids.is_empty() {
            return Ok(());
        }
        let schema = destination.schema();
        let failed = |e: DirectoryError| refusal::of_directory(&e, schema);
        let now = match &one.new {
            None => Vec::new(),
            Some(new) => uids(destination.read(new, &[UID]).await.map_err(failed)?.as_ref()),
        };
        let gone: Vec<&Vec<u8>> = one.uids.iter().filter(|uid| !now.contains(uid)).collect();
        let mut fresh = now.iter().filter(|uid| !one.uids.contains(uid));
        let new = if gone.len() == 1 { fresh.next().cloned() } else { None };
        for uid in gone {
            // Another user may have it as well. The entry itself may have it in another case, which `memberUid` tells apart.
            let filter = Filter::equality(UID, uid.clone());
            let found = lookup::find(destination, &self.users, Scope::Subtree, filter, &["1.1"], 2).await;
            let key = |dn: &String| DnKey::parse(dn, schema).ok();
            let mut own: Vec<DnKey> = [&one.new, &one.stays].into_iter().flatten().filter_map(key).collect();
            own.extend(one.stays.as_ref().map(|_| one.key.clone()));
            let is_other = |entry: &Entry| key(&entry.dn).is_none_or(|key| !own.contains(&key));
            if found.map_err(failed)?.iter().any(is_other) {
                continue;
            }
            let groups = self.having_name(destination, MEMBER_UID, uid).await?;
            let (old, new) = (uid.clone(), new.clone());
            all.push(Going { attribute: MEMBER_UID, old, new, placeholder: None, groups });
        }
        Ok(())
    }

    /// Returns the groups that have a name.
    async fn having_name(
        &self,
        destination: &Destination,
        attribute: &str,
        name: &[u8],
    ) -> Result<Vec<(DnKey, String)>, WriteError> {
        let groups = self.groups(destination, Filter::equality(attribute, name)).await?;
        Ok(groups.into_iter().map(|(key, group)| (key, group.dn)).collect())
    }

    /// Takes a name out of its groups, until the search that has found them finds none of them.
    async fn take_out(&self, going: &Going<'_>, destination: &Destination, left: &mut Left) {
        let mut changed = Vec::new();
        for (key, group) in &going.groups {
            if left.is_over() {
                left.not_tried(group, &going.old);
                continue;
            }
            match self.exchange(destination, (group, going.attribute), going).await {
                Ok(()) => changed.push((key, group)),
                Err(error) => left.failed(&error, (group, &going.old), destination.schema()),
            }
        }
        for is_last in [false, true] {
            if changed.is_empty() || left.is_over() {
                return;
            }
            let still = match self.having_name(destination, going.attribute, &going.old).await {
                Ok(still) => still,
                Err(error) => {
                    for (_, group) in &changed {
                        left.not_seen(&error, group, &going.old);
                    }
                    return;
                }
            };
            changed.retain(|(key, _)| still.iter().any(|(other, _)| other == *key));
            // It is under other descriptions, too.
            for (key, group) in std::mem::take(&mut changed) {
                let name = (going.attribute, going.old.as_slice());
                if left.is_over() {
                    left.not_tried(group, &going.old);
                } else if is_last {
                    let place = named::place(destination, group, name).await;
                    left.kept(group, &going.old, &place);
                } else {
                    match self.exchange_everywhere(destination, group, going).await {
                        Ok(()) => changed.push((key, group)),
                        Err(error) => left.failed(&error, (group, &going.old), destination.schema()),
                    }
                }
            }
        }
    }

    /// Exchanges a name of a group under each description that has it.
    async fn exchange_everywhere(
        &self,
        destination: &Destination,
        group: &str,
        going: &Going<'_>,
    ) -> Result<(), DirectoryError> {
        let name = (going.attribute, going.old.as_slice());
        for description in named::descriptions(destination, group, name).await? {
            self.exchange(destination, (group, &description), going).await?;
        }
        Ok(())
    }

    /// Exchanges one value of a group. The new one is under the description of the old one, a placeholder under its type, which a class
    /// may require.
    async fn exchange(
        &self,
        destination: &Destination,
        (dn, description): (&str, &str),
        going: &Going<'_>,
    ) -> Result<(), DirectoryError> {
        let delete = step(ModificationKind::Delete, description, &going.old);
        let new = going.new.as_deref().map(|new| step(ModificationKind::Add, description, new));
        let is_exchange = new.is_some();
        let instead = new.or_else(|| {
            let placeholder = going.placeholder?.as_bytes();
            Some(step(ModificationKind::Add, base_type(description), placeholder))
        });
        let both = instead.map(|add| vec![delete.clone(), add]);
        let tries = if is_exchange {
            // The new name may be there already.
            [both, Some(vec![delete])]
        } else {
            // The class may require a member.
            [Some(vec![delete]), both]
        };
        let mut result = Ok(());
        for changes in tries.into_iter().flatten() {
            result = destination.apply(&Change::Modify { dn: dn.to_owned(), changes }).await;
            match &result {
                Err(e)
                    if matches!(
                        e.code(),
                        Some(result_code::OBJECT_CLASS_VIOLATION | result_code::ATTRIBUTE_OR_VALUE_EXISTS)
                    ) => {}
                // The server has done it, another description has it, or the group is gone.
                Err(e) if e.code() == Some(result_code::NO_SUCH_ATTRIBUTE) || e.is_no_such_object() => {
                    return Ok(());
                }
                _ => return result,
            }
        }
        result
    }
}
