//! A name that a group has is given to no entry: nobody has given it the rights.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use ldap_directory::Directory;
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;

use super::Memberships;
use super::places::uids;
use crate::members::{MEMBER_UID, UID};
use crate::write::{WriteError, WriteErrorKind, refusal};

/// A name that an entry gets: a DN, or a user name.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) dn: String,
    pub(super) key: Option<DnKey>,
    pub(super) uids: Vec<Vec<u8>>,
}

fn some(groups: &BTreeMap<DnKey, Entry>) -> String {
    let names: Vec<String> = groups.values().take(10).map(|group| format!("`{}`", group.dn)).collect();
    names.join(", ")
}

impl Memberships {
    /// Checks that no group has a name that an entry would get.
    pub(super) async fn check_arriving(
        &self,
        directory: &Directory,
        arriving: &[Arriving],
        may_exist: bool,
    ) -> Result<(), WriteError> {
        let all: Vec<Filter> = arriving.iter().flat_map(|one| self.names_in(one)).collect();
        if all.is_empty() || self.groups(directory, Filter::Or(all)).await?.is_empty() {
            return Ok(());
        }
        for one in arriving {
            let mut groups = self.ungiven(directory, one).await?;
            if groups.is_empty() {
                continue;
            }
            if may_exist && one.key.is_some() {
                let there = directory.read(&one.dn, &[UID]).await;
                let there = there.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
                if let Some(there) = there {
                    // It is there, and has its rights. A user name that it gets is new all the same.
                    let before = uids(Some(&there));
                    let fresh = one.uids.iter().filter(|uid| !before.contains(uid)).cloned().collect();
                    let one = Arriving { dn: one.dn.clone(), key: None, uids: fresh };
                    groups = self.ungiven(directory, &one).await?;
                }
            }
            if groups.is_empty() {
                continue;
            }
            let detail = format!(
                "groups have the name of `{}` already, and it would inherit their rights: {}; remove the name from them first",
                one.dn,
                some(&groups)
            );
            let groups = groups.into_values().map(|group| group.dn).collect();
            let error = WriteError::new(WriteErrorKind::NameInGroups, detail);
            return Err(WriteError { groups, ..error });
        }
        Ok(())
    }

    /// Returns how many groups have the DN of an entry, or the user name in it.
    ///
    /// # Errors
    /// A search fails.
    pub(crate) async fn having(&self, directory: &Directory, dn: &str) -> Result<usize, WriteError> {
        if self.bases.is_empty() {
            return Ok(0);
        }
        let is_uid = |name: &str| directory.schema().same_description(name, UID);
        let avas = first_rdn(dn).ok().flatten().into_iter().flat_map(|rdn| rdn.avas);
        let uids = avas.filter(|ava| is_uid(&ava.attribute)).map(|ava| ava.value).collect();
        let one = Arriving { dn: dn.to_owned(), key: DnKey::parse(dn, directory.schema()).ok(), uids };
        Ok(self.ungiven(directory, &one).await?.len())
    }

    /// Returns the filters of the groups that have a name which an entry would get.
    fn names_in(&self, one: &Arriving) -> Vec<Filter> {
        let mut any = Vec::new();
        if one.key.is_some() {
            any.extend(self.named(&one.dn));
        }
        let uids = one.uids.iter().filter(|_| self.has_member_uid);
        any.extend(uids.map(|uid| Filter::equality(MEMBER_UID, uid.clone())));
        any
    }

    /// Returns the groups that have a name which an entry would get, without those to which the change set itself has given it.
    async fn ungiven(
        &self,
        directory: &Directory,
        one: &Arriving,
    ) -> Result<BTreeMap<DnKey, Entry>, WriteError> {
        let any = self.names_in(one);
        if any.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut groups = self.groups(directory, Filter::Or(any)).await?;
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group, _| {
            let has_dn = one.key.as_ref().is_some_and(|key| given.has_dn(group, key));
            !has_dn && !one.uids.iter().any(|uid| given.has_uid(group, uid))
        });
        drop(given);
        Ok(groups)
    }
}
