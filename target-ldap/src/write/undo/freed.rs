//! Names that an undo frees: of entries that it deletes or renames. The next entry of such a name would inherit what groups grant it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::{DirectoryError, Vendor};

use super::change_note::ChangeKind;
use super::entities::key;
use super::names::{MEMBER_UID, UID, dn_of, find, uids_of};
use super::revert::{Report, RevertOutcome, Reverter, is_refusal};

/// The attributes with DNs of members.
const MEMBERS: [&str; 2] = ["member", "uniqueMember"];
/// Up to this number of names, groups are searched by them; for more, all groups are read.
const FEW: usize = 25;

/// A name that no entry has any more.
#[derive(Debug)]
struct Freed {
    entity: usize,
    dn: String,
    uids: Vec<Vec<u8>>,
    /// The DN that the entry has instead; `None`: it is deleted.
    new: Option<String>,
}

/// All of them, by DN and by user name.
#[derive(Debug, Default)]
struct FreedNames {
    dns: BTreeMap<DnKey, Freed>,
    uids: HashMap<Vec<u8>, DnKey>,
}

impl Reverter<'_> {
    /// Takes the names that the undo freed out of groups, or puts the old names there, if the file is of a program that gives no entry a
    /// name that groups have; else says where they are. Active Directory keeps its links itself.
    pub(super) async fn clear_names(&self, report: &mut Report) -> Result<(), DirectoryError> {
        if self.names.is_none() || self.directory.root_dse().vendor == Vendor::ActiveDirectory {
            return Ok(());
        }
        let mut freed = self.freed(report).await?;
        if freed.dns.is_empty() {
            return Ok(());
        }
        let schema = self.directory.schema();
        let known = |name: &&str| schema.attribute_type(name).is_some();
        let attributes: Vec<&str> = MEMBERS.into_iter().chain([MEMBER_UID]).filter(known).collect();
        let mut any: Vec<Filter> = Vec::new();
        if freed.dns.len() > FEW {
            any.extend(attributes.iter().map(|name| Filter::Present((*name).to_owned())));
        } else {
            for one in freed.dns.values() {
                for name in &attributes {
                    let values = one.values(name);
                    any.extend(values.into_iter().map(|value| Filter::equality(*name, value)));
                }
            }
        }
        if any.is_empty() {
            return Ok(());
        }
        let mut asked = attributes.clone();
        asked.push("objectClass");
        let groups = find(self.directory, &Filter::Or(any), &asked).await?;
        self.keep_used_uids(&groups, &mut freed).await?;
        for group in groups {
            self.clear(&group, &attributes, &freed, report).await?;
        }
        Ok(())
    }

    /// Forgets user names of groups that another entry has as well.
    async fn keep_used_uids(&self, groups: &[Entry], freed: &mut FreedNames) -> Result<(), DirectoryError> {
        let schema = self.directory.schema();
        let named = groups.iter().flat_map(|group| schema.values_of(group, MEMBER_UID));
        let named: BTreeSet<Vec<u8>> = named.filter(|uid| freed.uids.contains_key(*uid)).cloned().collect();
        for uid in named {
            if !find(self.directory, &Filter::equality(UID, uid.clone()), &["1.1"]).await?.is_empty() {
                freed.uids.remove(&uid);
            }
        }
        Ok(())
    }

    /// Returns the names of undone additions and renames that no entry has now.
    async fn freed(&self, report: &Report) -> Result<FreedNames, DirectoryError> {
        let schema = self.directory.schema();
        let mut freed = FreedNames::default();
        for step in &self.entities.steps {
            if report.outcomes.get(&step.number) != Some(&RevertOutcome::TakenBack) {
                continue;
            }
            let dn = match (step.kind, &step.to) {
                (ChangeKind::Add, _) => &step.dn,
                (ChangeKind::Rename, Some(to)) => to,
                _ => continue,
            };
            if self.directory.read(dn, &["1.1"]).await?.is_some() {
                continue;
            }
            let first = self.entities.steps_of.get(step.entity).and_then(|steps| steps.first());
            let first = first.and_then(|first| self.entities.steps.get(*first));
            let new = first.filter(|first| first.kind != ChangeKind::Add).map(|first| first.dn.clone());
            let (own, uids) = (key(dn, schema), uids_of(dn, schema));
            freed.uids.extend(uids.iter().map(|uid| (uid.clone(), own.clone())));
            freed.dns.insert(own, Freed { entity: step.entity, dn: dn.clone(), uids, new });
        }
        Ok(freed)
    }

    /// Clears the names in one group.
    async fn clear(
        &self,
        group: &Entry,
        attributes: &[&str],
        freed: &FreedNames,
        report: &mut Report,
    ) -> Result<(), DirectoryError> {
        let schema = self.directory.schema();
        let mut steps = Vec::new();
        let mut concerned = BTreeSet::new();
        let mut last = None;
        for name in attributes.iter().copied() {
            let there = schema.values_of(group, name);
            let owner = |value: &Vec<u8>| freed.owner(name, value, schema);
            let gone: Vec<Vec<u8>> = there.iter().filter(|value| owner(value).is_some()).cloned().collect();
            if gone.is_empty() {
                continue;
            }
            let owners: Vec<&Freed> = there.iter().filter_map(owner).collect();
            let mut new: Vec<Vec<u8>> = Vec::new();
            for value in owners.iter().filter_map(|one| one.instead(name, schema)) {
                let is_same = |other: &Vec<u8>| schema.values_match(name, other, &value);
                if !there.iter().any(is_same) && !new.iter().any(is_same) {
                    new.push(value);
                }
            }
            concerned.extend(owners.iter().map(|one| one.entity));
            if new.is_empty() && gone.len() == there.len() && is_required(group, name, schema) {
                last = Some(owners.iter().map(|one| one.entity).collect::<BTreeSet<usize>>());
            }
            steps.push(Modification::new(ModificationKind::Delete, name, gone));
            if !new.is_empty() {
                steps.push(Modification::new(ModificationKind::Add, name, new));
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        if !self.reading.header.clears_names {
            let named: Vec<&str> = freed
                .dns
                .values()
                .filter(|one| concerned.contains(&one.entity))
                .map(|one| one.dn.as_str())
                .collect();
            report.named.insert(group.dn.clone(), named.join("`, `"));
            return Ok(());
        }
        if let Some(entities) = last {
            for one in freed.dns.values().filter(|one| entities.contains(&one.entity)) {
                let why = format!(
                    "`{}` has it as its last member, and its class requires one: give it another one first",
                    group.dn
                );
                report.blocked.insert(one.entity, (one.dn.clone(), why));
            }
            return Ok(());
        }
        let change = Change::Modify { dn: group.dn.clone(), changes: steps };
        match self.directory.take_back(&change, &[]).await {
            Ok(()) => {}
            // The server has done it.
            Err(e) if e.code() == Some(result_code::NO_SUCH_ATTRIBUTE) || e.is_no_such_object() => {}
            Err(e) if is_refusal(&e) => {
                let why = format!("it may have the name of an entry that is gone: {e}");
                report.withheld.entry(group.dn.clone()).or_default().insert(why);
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

impl FreedNames {
    /// Returns the name that a value is.
    fn owner(&self, name: &str, value: &[u8], schema: &Schema) -> Option<&Freed> {
        if name == MEMBER_UID {
            self.uids.get(value).and_then(|key| self.dns.get(key))
        } else {
            dn_of(value, schema).and_then(|key| self.dns.get(&key))
        }
    }
}

impl Freed {
    /// Returns the values that are the name.
    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        if name == MEMBER_UID { self.uids.clone() } else { vec![self.dn.clone().into_bytes()] }
    }

    /// Returns the name that the entry has instead.
    fn instead(&self, name: &str, schema: &Schema) -> Option<Vec<u8>> {
        let new = self.new.as_ref()?;
        if name == MEMBER_UID {
            uids_of(new, schema).into_iter().next()
        } else {
            Some(new.clone().into_bytes())
        }
    }
}

/// Whether the classes of a group require an attribute.
fn is_required(group: &Entry, name: &str, schema: &Schema) -> bool {
    let classes: Vec<String> =
        group.values("objectClass").iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
    let (must, _) = schema.must_may(classes.iter().map(String::as_str));
    must.iter().any(|required| schema.same_description(required, name))
}
