//! Names in groups follow their entries, where the server does not see to it (referential integrity).
//!
//! A rename or deletion leaves the old name in groups. The next entry with that name would inherit the rights. So after each change the
//! groups get the new name in place of the old one, or lose it, by changes of single values in the same change set. And a name that a
//! group has is not given to an entry: nobody has given it the rights.
//!
//! A deletion that keeps the entry (`on_delete` with `move_to` or `set`) is one for groups: they lose the name, and before the entry is moved,
//! for a server with referential integrity would give them the new one.
//!
//! Groups are entries below `groups.base_dn`, and those that `roles` names. Active Directory keeps its links itself.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{DnKey, first_rdn, split_first};
use ldap_directory::entry::{Attribute, Entry, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor};

use super::{ResourceKind, WriteError, WriteErrorKind, Writer, refusal};
use crate::lookup;
use crate::members::{self, MEMBER_UID, UID};
use crate::unseen::{self, Remembered};

mod arrivals;
mod follow;
mod left;
mod placeholder;
mod places;

use arrivals::Arriving;
pub(crate) use follow::Followed;
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
    /// Where a deleted entry stays (`on_delete`).
    stays: Option<String>,
    /// Its user names before.
    uids: Vec<Vec<u8>>,
}

/// The names that a change takes away.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    leaving: Vec<Leaving>,
    /// What a group gets that loses its last member.
    placeholder: Option<String>,
    /// The groups that are to be changed, as far as a plan has found them.
    planned: Vec<String>,
}

impl Watch {
    /// Returns what a group gets that loses its last member.
    pub(crate) fn placeholder(&self) -> Option<&str> {
        self.placeholder.as_deref()
    }

    /// Notes the changes of groups that a plan has found.
    pub(crate) fn planned(&mut self, changes: &[Change]) {
        self.planned = changes.iter().map(|change| change.dn().to_owned()).collect();
        self.planned.sort_unstable();
        self.planned.dedup();
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
    /// Whether groups can be searched by their members, for all of a writer.
    searchable: Arc<Remembered>,
}

impl Memberships {
    /// Returns the memberships that a writer keeps. `given`: names that the change set itself gives to groups; see [`Self::given`].
    pub(crate) fn new(
        writer: &Writer,
        directory: &Directory,
        given: GivenNames,
    ) -> Result<Memberships, WriteError> {
        // Active Directory follows its links itself, and has none to an entry that is not there.
        let follows = directory.root_dse().vendor == Vendor::ActiveDirectory;
        Self::with(writer, directory, given, follows)
    }

    /// Returns those of a deletion that keeps the entry: no server takes its name out of groups.
    pub(crate) fn of_kept(writer: &Writer, directory: &Directory) -> Result<Memberships, WriteError> {
        Self::with(writer, directory, GivenNames::default(), false)
    }

    /// `follows`: whether the server sees to the names.
    fn with(
        writer: &Writer,
        directory: &Directory,
        given: GivenNames,
        follows: bool,
    ) -> Result<Memberships, WriteError> {
        let (places, schema) = (writer.places(), directory.schema());
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
        let (users, searchable) = (places.users.clone(), writer.searchable());
        Ok(Memberships { bases, users, placeholder, members, has_member_uid, given, searchable })
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
        self.watched(directory, changes, (leaving, arriving), may_exist).await
    }

    /// The same for a deletion that keeps the entry, and moves it below `place`, if there is one.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub(crate) async fn watch_kept(
        &self,
        directory: &Directory,
        dn: &str,
        place: Option<&str>,
    ) -> Result<Watch, WriteError> {
        if self.bases.is_empty() {
            return Ok(Watch::default());
        }
        let (mut leaving, mut arriving) = (Vec::new(), Vec::new());
        let moved = place.zip(split_first(dn).ok()).map(|(place, (rdn, _))| Change::Rename {
            dn: dn.to_owned(),
            new_rdn: rdn.to_owned(),
            delete_old_rdn: true,
            new_superior: Some(place.to_owned()),
        });
        let change = moved.unwrap_or_else(|| Change::Delete { dn: dn.to_owned() });
        self.names_of(directory, &change, &mut leaving, &mut arriving).await?;
        for one in &mut leaving {
            one.stays = one.new.take().or_else(|| Some(one.old.clone()));
        }
        // Its user names are its own already.
        for one in &mut arriving {
            one.uids.clear();
        }
        self.watched(directory, &[], (leaving, arriving), false).await
    }

    async fn watched(
        &self,
        directory: &Directory,
        changes: &[Change],
        (leaving, arriving): (Vec<Leaving>, Vec<Arriving>),
        may_exist: bool,
    ) -> Result<Watch, WriteError> {
        if !leaving.is_empty() || !arriving.is_empty() {
            self.check_searchable(directory).await?;
        }
        let names = (leaving.as_slice(), arriving.as_slice());
        // First: groups that have the name of the placeholder are meant to have it.
        let placeholder = self.placeholder_for(directory, changes, names, may_exist).await?;
        for some in arriving.chunks(AT_ONCE) {
            self.check_arriving(directory, some, may_exist).await?;
        }
        if placeholder.is_none() {
            self.check_last(directory, &leaving).await?;
        }
        Ok(Watch { leaving, placeholder, planned: Vec::new() })
    }

    /// Checks that the service's user may search groups by their members: if not, no group seems to have a name.
    async fn check_searchable(&self, directory: &Directory) -> Result<(), WriteError> {
        let user_names = self.has_member_uid.then_some(MEMBER_UID);
        let names: Vec<&str> = self.members.iter().map(String::as_str).chain(user_names).collect();
        let any = Filter::Present("objectClass".to_owned());
        for (base, scope) in &self.bases {
            let find_out = unseen::unsearchable(directory, (base.as_str(), *scope), &any, &names, FEW);
            let key = format!("{scope:?} {} {base}", names.join(" "));
            let hidden = self.searchable.get(key, find_out).await;
            let Some(hidden) = hidden.map_err(|e| refusal::of_directory(&e, directory.schema()))? else {
                continue;
            };
            let problem = unseen::problem(&hidden);
            tracing::error!(setting = "bind_dn", dn = hidden.dn, "nothing is written: {problem}");
            let detail = format!("bind_dn: {problem}: which groups have a name is not known");
            return Err(WriteError::new(WriteErrorKind::Misconfigured, detail));
        }
        Ok(())
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
                let uids = uids(entry.as_ref());
                leaving.push(Leaving { key: key(&old)?, old, new: None, stays: None, uids });
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
                let (key, new) = (key(&old)?, Some(old.clone()));
                leaving.push(Leaving { key, new, stays: None, old, uids: before });
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
                    leaving.push(Leaving {
                        old: entry.dn,
                        key: own,
                        new: Some(to),
                        stays: None,
                        uids: before,
                    });
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
        let gone: HashSet<&DnKey> =
            leaving.iter().filter(|one| one.new.is_none()).map(|one| &one.key).collect();
        for one in leaving.iter().filter(|one| one.new.is_none()) {
            for name in self.members.iter().map(String::as_str) {
                let groups = self.groups(directory, Filter::equality(name, one.old.as_str())).await?;
                for group in groups.into_iter().filter(|(key, _)| !gone.contains(key)).map(|(_, group)| group)
                {
                    if !self.loses_last(directory, &group.dn, name, &gone).await? {
                        continue;
                    }
                    let detail = format!(
                        "`{}` is the last member of `{}`, whose class requires one (empty_group)",
                        one.old, group.dn
                    );
                    let error = WriteError::new(WriteErrorKind::LastMember, detail);
                    return Err(WriteError { groups: vec![group.dn], ..error });
                }
            }
        }
        Ok(())
    }

    /// Whether a group would lose the last value of an attribute that its classes require: `name`, or a subtype of it. A value with
    /// options is a value of its type.
    async fn loses_last(
        &self,
        directory: &Directory,
        group: &str,
        name: &str,
        gone: &HashSet<&DnKey>,
    ) -> Result<bool, WriteError> {
        let schema = directory.schema();
        let failed = |e: DirectoryError| refusal::of_directory(&e, schema);
        let asked: Vec<&str> =
            std::iter::once("objectClass").chain(members::with_subtypes(name, schema)).collect();
        let Some(group) = directory.read_whole(group, &asked).await.map_err(failed)? else {
            return Ok(false);
        };
        let classes: Vec<String> = group
            .values("objectClass")
            .iter()
            .map(|class| String::from_utf8_lossy(class).into_owned())
            .collect();
        let (must, _) = schema.must_may(classes.iter().map(String::as_str));
        let goes = |value: &Vec<u8>| {
            DnKey::parse(&String::from_utf8_lossy(value), schema).is_ok_and(|key| gone.contains(&key))
        };
        let there = members::attributes(&group, &[name], schema);
        let is_last = |required: &&str| {
            let is_it = |a: &&&Attribute| schema.same_description(base_type(&a.description), required);
            there.iter().filter(is_it).flat_map(|a| &a.values).all(goes)
        };
        Ok(must.iter().filter(|required| members::is_of(required, name, schema)).any(is_last))
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
