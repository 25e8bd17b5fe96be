//! Names that an undo frees: of entries that it deletes or renames. The next entry of such a name would inherit what groups grant it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, Entry, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::{AttributeType, Schema};
use ldap_directory::{DirectoryError, Vendor};

use super::change_note::{ChangeKind, is_list_of_entries};
use super::entities::key;
use super::names::{dn_of, find};
use super::revert::{Report, RevertOutcome, Reverter, is_refusal};
use crate::write::all_data::{MEMBER_UID, UID, uids_of};

/// The attributes with DNs of members.
const MEMBERS: [&str; 2] = ["member", "uniqueMember"];
/// Attributes that servers keep themselves, though their schema does not say so.
const KEPT: [&str; 1] = ["memberOf"];
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
        let attributes = self.with_names();
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
            self.clear(&group, &freed, report).await?;
        }
        Ok(())
    }

    /// Returns the attributes that may have names of entries: of members, or of a program that takes names out all that name several.
    fn with_names(&self) -> Vec<&str> {
        let schema = self.directory.schema();
        let known = |name: &&str| schema.attribute_type(name).is_some();
        let mut names: Vec<&str> = MEMBERS.into_iter().chain([MEMBER_UID]).filter(known).collect();
        if self.reading.header.clears_names {
            let types = schema.attribute_types().iter().filter(|known| !known.no_user_modification);
            let others = types.map(AttributeType::name).filter(|name| {
                is_list_of_entries(name, schema)
                    && !schema.is_operational(name)
                    && !KEPT.iter().any(|kept| schema.same_description(kept, name))
                    && !MEMBERS.iter().any(|known| schema.same_description(known, name))
            });
            names.extend(others);
        }
        names
    }

    /// Forgets user names of groups that another entry has as well.
    async fn keep_used_uids(&self, groups: &[Entry], freed: &mut FreedNames) -> Result<(), DirectoryError> {
        let schema = self.directory.schema();
        let is_uid = |a: &&Attribute| schema.same_description(base_type(&a.description), MEMBER_UID);
        let named = groups.iter().flat_map(|group| &group.attributes).filter(is_uid).flat_map(|a| &a.values);
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
            let (own, uids) = (key(dn, schema), uids_of(dn, schema).collect::<Vec<_>>());
            freed.uids.extend(uids.iter().map(|uid| (uid.clone(), own.clone())));
            freed.dns.insert(own, Freed { entity: step.entity, dn: dn.clone(), uids, new });
        }
        Ok(freed)
    }

    /// Clears the names in one group, under each description.
    async fn clear(
        &self,
        group: &Entry,
        freed: &FreedNames,
        report: &mut Report,
    ) -> Result<(), DirectoryError> {
        let schema = self.directory.schema();
        let mut steps = Vec::new();
        // By type: the entries whose names go, and whether a value remains.
        let mut types: BTreeMap<&str, (BTreeSet<usize>, bool)> = BTreeMap::new();
        for attribute in &group.attributes {
            let (description, there) = (attribute.description.as_str(), &attribute.values);
            let kind = schema.canonical_name(base_type(description));
            let is_uid = schema.same_description(kind, MEMBER_UID);
            if !is_uid && !is_list_of_entries(kind, schema) {
                continue;
            }
            let name = if is_uid { MEMBER_UID } else { kind };
            let owner = |value: &Vec<u8>| freed.owner(name, value, schema);
            let (entities, remains) = types.entry(kind).or_default();
            let gone: Vec<Vec<u8>> = there.iter().filter(|value| owner(value).is_some()).cloned().collect();
            *remains |= gone.len() < there.len();
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
            *remains |= !new.is_empty();
            entities.extend(owners.iter().map(|one| one.entity));
            steps.push(Modification::new(ModificationKind::Delete, description, gone));
            if !new.is_empty() {
                steps.push(Modification::new(ModificationKind::Add, description, new));
            }
        }
        let concerned: BTreeSet<usize> = types.values().flat_map(|(entities, _)| entities).copied().collect();
        let is_last = |(kind, (entities, remains)): (&&str, &(BTreeSet<usize>, bool))| {
            !entities.is_empty() && !remains && is_required(group, kind, schema)
        };
        let last =
            types.iter().find(|one| is_last((one.0, one.1))).map(|(_, (entities, _))| entities.clone());
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
        match self.directory.apply_unasked(&change, &[]).await {
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
        if name == MEMBER_UID { uids_of(new, schema).next() } else { Some(new.clone().into_bytes()) }
    }
}

/// Whether the classes of a group require an attribute.
fn is_required(group: &Entry, name: &str, schema: &Schema) -> bool {
    let classes: Vec<String> =
        group.values("objectClass").iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
    let (must, _) = schema.must_may(classes.iter().map(String::as_str));
    must.iter().any(|required| schema.same_description(required, name))
}
