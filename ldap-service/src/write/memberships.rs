//! Names in groups follow their entries, where the server does not see to it (referential integrity).
//!
//! A rename or deletion leaves the old name in groups. The next entry with that name would inherit the rights. So after each change the
//! groups get the new name in place of the old one, or lose it, by changes of single values in the same change set. And a name that a
//! group has is not given to an entry: nobody has given it the rights.
//!
//! Groups are entries below `groups.base_dn`, and those that `roles` names. Active Directory keeps its links itself.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor};
use target_ldap::write::destination::Destination;
use target_ldap::write::gate::ChangeGate;

use super::{ResourceKind, WriteError, WriteErrorKind, Writer, refusal};
use crate::lookup;
use crate::members::{self, MEMBER_UID, UID};

mod arrivals;
mod placeholder;
mod places;

use arrivals::Arriving;
pub(super) use placeholder::taken;
pub(crate) use places::{Gift, GivenNames, Places};
use places::{moved, pages, uids};

/// The most groups of one name.
const MOST_GROUPS: usize = 10_000;
/// The most groups that are read without pages.
const FEW: u32 = 100;
/// The most entries that are renamed with one above them.
const MOST_BELOW: u32 = 1_000;
/// The names in one filter.
const AT_ONCE: usize = 25;

/// An entry whose name, or user name, goes.
#[derive(Debug)]
struct Leaving {
    old: String,
    key: DnKey,
    /// `None`: it is deleted.
    new: Option<String>,
    /// Its user names before.
    uids: Vec<Vec<u8>>,
}

/// The names that a change takes away.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    leaving: Vec<Leaving>,
    /// What a group gets that loses its last member.
    placeholder: Option<String>,
}

impl Watch {
    /// Returns what a group gets that loses its last member.
    pub(crate) fn placeholder(&self) -> Option<&str> {
        self.placeholder.as_deref()
    }
}

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

/// The memberships of a directory.
#[derive(Debug)]
pub(crate) struct Memberships {
    bases: Vec<(String, Scope)>,
    users: String,
    placeholder: Option<String>,
    /// The attributes with DNs of members.
    members: Vec<String>,
    has_member_uid: bool,
    given: Mutex<GivenNames>,
}

fn step(kind: ModificationKind, name: &str, value: &[u8]) -> Modification {
    Modification::new(kind, name, vec![value.to_vec()])
}

impl Memberships {
    /// Returns the memberships that a writer keeps. `given`: names that the change set itself gives to groups; see [`Self::given`].
    pub(crate) fn new(
        writer: &Writer,
        directory: &Directory,
        given: GivenNames,
    ) -> Result<Memberships, WriteError> {
        let (places, schema) = (writer.places(), directory.schema());
        // Active Directory follows its links itself, and has none to an entry that is not there.
        let follows = directory.root_dse().vendor == Vendor::ActiveDirectory;
        let bases = if follows { Vec::new() } else { places.apart(directory) };
        let (mut placeholder, mut members) = (None, Vec::new());
        if !bases.is_empty() {
            let rule = writer.rule(ResourceKind::Groups, directory)?;
            placeholder = rule.placeholder();
            members = members::by_dn(Some(&rule.members), directory.root_dse().vendor, schema);
            members.retain(|name| ValueKind::of(schema, name).is_name());
        }
        let has_member_uid = members::has_user_names(directory.root_dse().vendor, schema);
        let given = Mutex::new(given);
        Ok(Memberships { bases, users: places.users.clone(), placeholder, members, has_member_uid, given })
    }

    /// Returns the names that the change set itself gives to groups; `None` where names in groups are not checked.
    pub(crate) fn given(&self) -> Option<MutexGuard<'_, GivenNames>> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        Some(given).filter(|_| !self.bases.is_empty())
    }

    /// Checks the names that changes give, and notes those that they take away. Nothing is changed yet. `may_exist`: entries that would
    /// be added may be there already.
    ///
    /// # Errors
    /// A group has a name that an entry would get, a group would lose its last member, or a search fails.
    pub(crate) async fn watch(
        &self,
        directory: &Directory,
        changes: &[Change],
        may_exist: bool,
    ) -> Result<Watch, WriteError> {
        if self.bases.is_empty() {
            return Ok(Watch::default());
        }
        let (mut leaving, mut arriving) = (Vec::new(), Vec::new());
        for change in changes {
            self.names_of(directory, change, &mut leaving, &mut arriving).await?;
        }
        for some in arriving.chunks(AT_ONCE) {
            self.check_arriving(directory, some, may_exist).await?;
        }
        let names = (leaving.as_slice(), arriving.as_slice());
        let placeholder = self.placeholder_for(directory, changes, names, may_exist).await?;
        if placeholder.is_none() {
            self.check_last(directory, &leaving).await?;
        }
        Ok(Watch { leaving, placeholder })
    }

    async fn names_of(
        &self,
        directory: &Directory,
        change: &Change,
        leaving: &mut Vec<Leaving>,
        arriving: &mut Vec<Arriving>,
    ) -> Result<(), WriteError> {
        let schema = directory.schema();
        let failed = |e: DirectoryError| refusal::of_directory(&e, schema);
        let key = |dn: &str| {
            DnKey::parse(dn, schema).map_err(|e| {
                WriteError::new(WriteErrorKind::Invalid, format!("`{dn}` is not a valid DN: {e}"))
            })
        };
        let is_uid = |name: &str| self.has_member_uid && schema.same_description(name, UID);
        let rdn_uids = |dn: &str| -> Vec<Vec<u8>> {
            let avas = first_rdn(dn).ok().flatten().into_iter().flat_map(|rdn| rdn.avas);
            avas.filter(|ava| is_uid(&ava.attribute)).map(|ava| ava.value).collect()
        };
        let old = change.dn().to_owned();
        match change {
            Change::Add(entry) => {
                let own = entry.attributes.iter().filter(|a| is_uid(&a.description));
                let mut uids: Vec<Vec<u8>> = own.flat_map(|a| a.values.clone()).collect();
                uids.extend(rdn_uids(&old));
                arriving.push(Arriving { key: Some(key(&old)?), dn: old, uids });
            }
            Change::Delete { .. } => {
                let entry = directory.read(&old, &[UID]).await.map_err(failed)?;
                leaving.push(Leaving { key: key(&old)?, old, new: None, uids: uids(entry.as_ref()) });
            }
            Change::Modify { changes, .. } => {
                let steps: Vec<&Modification> = changes.iter().filter(|s| is_uid(&s.description)).collect();
                if steps.is_empty() {
                    return Ok(());
                }
                let entry = directory.read(&old, &[UID]).await.map_err(failed)?;
                let before = uids(entry.as_ref());
                let added = steps.iter().filter(|s| s.kind != ModificationKind::Delete);
                let fresh =
                    added.flat_map(|s| s.values.clone()).filter(|uid| !before.contains(uid)).collect();
                arriving.push(Arriving { dn: old.clone(), key: None, uids: fresh });
                leaving.push(Leaving { key: key(&old)?, new: Some(old.clone()), old, uids: before });
            }
            Change::Rename { .. } => {
                let new = change.new_dn().unwrap_or_default();
                let top = key(&old)?;
                let found = lookup::find(
                    directory,
                    &old,
                    Scope::Subtree,
                    Filter::Present("objectClass".to_owned()),
                    &[UID],
                    MOST_BELOW + 1,
                );
                let found = found.await.map_err(failed)?;
                if found.len() > MOST_BELOW as usize {
                    let detail = format!(
                        "more than {MOST_BELOW} entries are at and below `{old}`: groups may name each of them"
                    );
                    return Err(WriteError::new(WriteErrorKind::NotEmpty, detail));
                }
                for entry in found {
                    let own = key(&entry.dn)?;
                    let levels = own.depth().saturating_sub(top.depth());
                    let Some(to) = moved(&entry.dn, levels, &new) else { continue };
                    let before = uids(Some(&entry));
                    let fresh = if levels == 0 { rdn_uids(&to) } else { Vec::new() };
                    let fresh = fresh.into_iter().filter(|uid| !before.contains(uid)).collect();
                    let to_key = key(&to)?;
                    let differs = to_key != own;
                    arriving.push(Arriving {
                        dn: to.clone(),
                        key: Some(to_key).filter(|_| differs),
                        uids: fresh,
                    });
                    leaving.push(Leaving { old: entry.dn, key: own, new: Some(to), uids: before });
                }
            }
        }
        Ok(())
    }

    fn named(&self, dn: &str) -> impl Iterator<Item = Filter> {
        self.members.iter().map(move |name| Filter::equality(name.as_str(), dn))
    }

    /// Checks that no group would lose its last member that has to have one.
    async fn check_last(&self, directory: &Directory, leaving: &[Leaving]) -> Result<(), WriteError> {
        let schema = directory.schema();
        let gone: HashSet<&DnKey> =
            leaving.iter().filter(|one| one.new.is_none()).map(|one| &one.key).collect();
        for one in leaving.iter().filter(|one| one.new.is_none()) {
            for name in self.members.iter().map(String::as_str) {
                let groups = self.groups(directory, Filter::equality(name, one.old.as_str())).await?;
                for (key, group) in groups {
                    let read = directory.read(&group.dn, &["objectClass", name]).await;
                    let Some(mut group) = read.map_err(|e| refusal::of_directory(&e, schema))? else {
                        continue;
                    };
                    let ranges = directory.complete_ranges(&mut group).await;
                    ranges.map_err(|e| refusal::of_directory(&e, schema))?;
                    let classes: Vec<String> = group
                        .values("objectClass")
                        .iter()
                        .map(|class| String::from_utf8_lossy(class).into_owned())
                        .collect();
                    let (must, _) = schema.must_may(classes.iter().map(String::as_str));
                    let goes = |value: &Vec<u8>| {
                        DnKey::parse(&String::from_utf8_lossy(value), schema)
                            .is_ok_and(|key| gone.contains(&key))
                    };
                    let is_last = schema.values_of(&group, name).iter().all(goes);
                    if is_last
                        && !gone.contains(&key)
                        && must.iter().any(|m| schema.same_description(m, name))
                    {
                        let detail = format!(
                            "`{}` is the last member of `{}`, whose class requires one (empty_group)",
                            one.old, group.dn
                        );
                        let error = WriteError::new(WriteErrorKind::LastMember, detail);
                        return Err(WriteError { groups: vec![group.dn], ..error });
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives groups the new names in place of the old ones, or takes the old ones away. Returns the changes.
    ///
    /// # Errors
    /// A group cannot be changed: it has the old name still.
    pub(crate) async fn follow(
        &self,
        watch: &Watch,
        destination: &Destination,
    ) -> Result<Vec<Change>, WriteError> {
        let notes = Arc::new(Notes::default());
        let destination = destination.clone().with_gate(Some(notes.clone())).noting_values(true);
        let placeholder = watch.placeholder.as_deref();
        let is_gone = |key: &DnKey| watch.leaving.iter().any(|one| one.new.is_none() && one.key == *key);
        for some in watch.leaving.chunks(AT_ONCE) {
            let mut any: Vec<Filter> = some.iter().flat_map(|one| self.named(&one.old)).collect();
            let all_uids = some.iter().flat_map(|one| &one.uids).filter(|_| self.has_member_uid);
            any.extend(all_uids.map(|uid| Filter::equality(MEMBER_UID, uid.clone())));
            if any.is_empty() || self.groups(&destination, Filter::Or(any)).await?.is_empty() {
                continue;
            }
            for one in some {
                let (new_key, schema) = (
                    one.new.as_deref().map(|new| DnKey::parse(new, destination.schema())),
                    destination.schema(),
                );
                if !new_key.is_some_and(|new| new.is_ok_and(|new| new == one.key)) {
                    for name in self.members.iter().map(String::as_str) {
                        let filter = Filter::equality(name, one.old.as_str());
                        let mut groups = self.groups(&destination, filter).await?;
                        groups.retain(|key, _| !is_gone(key));
                        let (old, new) = (one.old.as_bytes(), one.new.as_deref().map(str::as_bytes));
                        for group in groups.values() {
                            let done =
                                self.exchange(&destination, (&group.dn, name), old, new, placeholder).await;
                            done.map_err(|e| left(&e, &one.old, &group.dn, schema))?;
                        }
                    }
                }
                self.follow_uids(&destination, one).await?;
            }
        }
        let made = std::mem::take(&mut *notes.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(made)
    }

    /// The same for user names.
    async fn follow_uids(&self, destination: &Destination, one: &Leaving) -> Result<(), WriteError> {
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
        let new = if gone.len() == 1 { fresh.next().map(Vec::as_slice) } else { None };
        for uid in gone {
            // Another user may have it as well. The entry itself may have it in another case, which `memberUid` tells apart.
            let filter = Filter::equality(UID, uid.clone());
            let found = lookup::find(destination, &self.users, Scope::Subtree, filter, &["1.1"], 2).await;
            let own = one.new.as_deref().and_then(|new| DnKey::parse(new, schema).ok());
            let is_other = |entry: &Entry| own.is_none() || DnKey::parse(&entry.dn, schema).ok() != own;
            if found.map_err(failed)?.iter().any(is_other) {
                continue;
            }
            let groups = self.groups(destination, Filter::equality(MEMBER_UID, uid.clone())).await?;
            for group in groups.values() {
                let done = self.exchange(destination, (&group.dn, MEMBER_UID), uid, new, None).await;
                done.map_err(|e| left(&e, &String::from_utf8_lossy(uid), &group.dn, schema))?;
            }
        }
        Ok(())
    }

    /// Exchanges one value of a group.
    async fn exchange(
        &self,
        destination: &Destination,
        (dn, name): (&str, &str),
        old: &[u8],
        new: Option<&[u8]>,
        placeholder: Option<&str>,
    ) -> Result<(), DirectoryError> {
        let delete = step(ModificationKind::Delete, name, old);
        let instead = new.or(placeholder.map(str::as_bytes));
        let both = instead.map(|value| vec![delete.clone(), step(ModificationKind::Add, name, value)]);
        let tries = match new {
            // The new name may be there already.
            Some(_) => [both, Some(vec![delete])],
            // The class may require a member.
            None => [Some(vec![delete]), both],
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
                // The server has done it, or the group is gone.
                Err(e) if e.code() == Some(result_code::NO_SUCH_ATTRIBUTE) || e.is_no_such_object() => {
                    return Ok(());
                }
                _ => return result,
            }
        }
        result
    }

    /// Returns the groups that match.
    async fn groups(
        &self,
        directory: &Directory,
        filter: Filter,
    ) -> Result<BTreeMap<DnKey, Entry>, WriteError> {
        let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
        let mut groups = BTreeMap::new();
        for (base, scope) in &self.bases {
            let few =
                lookup::find(directory, base, *scope, filter.clone(), &["1.1"], FEW).await.map_err(failed)?;
            let found = if few.len() < FEW as usize {
                few
            } else {
                pages(directory, base, *scope, filter.clone()).await.map_err(failed)?
            };
            for group in found {
                if let Ok(key) = DnKey::parse(&group.dn, directory.schema()) {
                    groups.insert(key, group);
                }
            }
            if groups.len() > MOST_GROUPS {
                let detail = format!("more than {MOST_GROUPS} groups have the name");
                return Err(WriteError::new(WriteErrorKind::NotAllowed, detail));
            }
        }
        Ok(groups)
    }
}

fn left(error: &DirectoryError, name: &str, group: &str, schema: &Schema) -> WriteError {
    let error = refusal::of_directory(error, schema);
    let detail = format!("the group `{group}` may still have the name `{name}`: {}", error.detail);
    tracing::error!(dn = group, "{detail}");
    let kind = match error.kind {
        WriteErrorKind::Unavailable | WriteErrorKind::OutcomeUnknown | WriteErrorKind::Undo => error.kind,
        _ => WriteErrorKind::Refused,
    };
    WriteError { kind, detail, groups: vec![group.to_owned()], ..error }
}
