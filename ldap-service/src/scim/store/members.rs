//! The members of groups, in whichever attributes a group has them: `member`, `uniqueMember`, `memberUid`, each of them with or without
//! options.

use std::collections::{HashMap, HashSet};

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Entry, base_type};
use serde_json::Value;

use super::links::{Links, Reference};
use super::moved::Named;
use super::{Found, Kind, Store, writer_kind};
use crate::config::UnknownMembers;
use crate::error::ApiError;
use crate::members::primary::{self, PRIMARY};
use crate::members::{self, MEMBER_UID};
use crate::scim::error::ScimError;
use crate::scim::mapping::Mapping;
use crate::scim::patch::MemberChange;
use crate::scim::record::Changes;
use crate::scim::resource::Link;
use crate::write::{TakenOut, WriteError, WriteErrorKind, WriteOptions};

/// A value of a group that names a member.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The description that has it.
    attribute: String,
    value: String,
    /// The id of the user or group; `None`: it is neither.
    id: Option<String>,
}

/// The members of a group.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Users and groups, each once.
    pub(super) links: Vec<Link>,
    /// The values that name them, and others.
    pub(super) values: Vec<Member>,
}

impl Members {
    fn add(&mut self, attribute: &str, value: String, link: Option<Link>) {
        let id = link.as_ref().map(|link| link.id.clone());
        self.values.push(Member { attribute: attribute.to_owned(), value, id });
        self.links.extend(link);
    }
}

impl Store<'_> {
    /// Returns the members of a group that was read.
    pub(super) async fn members_of(
        &self,
        mapping: &Mapping,
        entry: &Entry,
        with_display: bool,
        links: &Links,
    ) -> Result<Members, ApiError> {
        let mut found = Members::default();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let schema = self.schema();
        let names = mapping.member_attributes();
        for attribute in members::attributes(entry, &names, schema) {
            // As the mapping spells it.
            let own = names.iter().find(|name| schema.same_description(name, &attribute.description));
            let description = own.map_or(attribute.description.as_str(), |name| name);
            if !members::is_of(description, MEMBER_UID, schema) {
                for (value, link) in self.links(&attribute.values, with_display, links).await? {
                    found.add(description, value, link);
                }
                continue;
            }
            let users = self.links_of_names(&attribute.values, with_display).await?;
            for (at, uid) in attribute.values.iter().enumerate() {
                let mut own =
                    users.iter().filter(|(of, _)| *of == at).map(|(_, link)| link.clone()).peekable();
                if own.peek().is_none() {
                    found.add(description, text(uid), None);
                }
                own.for_each(|link| found.add(description, text(uid), Some(link)));
            }
        }
        for (dn, link) in self.primary_members(mapping, entry, with_display, None).await? {
            found.add(PRIMARY, dn, Some(link));
        }
        let mut seen = HashSet::new();
        found.links.retain(|link| seen.insert(link.id.clone()));
        Ok(found)
    }

    /// Returns the attribute in which a group names new members.
    fn attribute_of_new<'k>(&self, kind: &'k Kind, group: &Entry) -> &'k str {
        let classes = self.schema().values_of(group, "objectClass").iter();
        let classes: Vec<String> = classes.map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        let mapping = &kind.mapping;
        members::of_classes(&mapping.member_names, mapping.has_user_names, &classes, self.schema())
    }

    /// Returns the values by which an attribute names members.
    ///
    /// `group`: the group, which on Active Directory has the users as members already whose primary group it is.
    pub(super) async fn named(
        &self,
        attribute: &str,
        ids: &[String],
        group: Option<&Found>,
    ) -> Result<Vec<String>, ApiError> {
        let references = self.references_of_members(ids, group.map(|group| group.entry.dn.as_str())).await?;
        let own = group.and_then(|group| group.resource.get("id")?.as_str());
        if ids.iter().any(|id| own.is_some_and(|own| own.eq_ignore_ascii_case(id))) {
            return Err(ScimError::value("members: a group cannot be a member of itself").into());
        }
        let sid = group.and_then(|group| primary::sid(&group.entry));
        let unknown: Vec<&str> =
            ids.iter().filter(|id| !references.contains_key(*id)).map(String::as_str).collect();
        if !unknown.is_empty() {
            self.unknown_members(&unknown)?;
        }
        let by_name = self.schema().same_description(attribute, MEMBER_UID);
        let mut found: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for (id, reference) in ids.iter().filter_map(|id| Some((id, references.get(id)?))) {
            let is_member = sid.is_some() && reference.primary.as_deref() == sid;
            if is_member || !seen.insert(&reference.dn) {
                continue;
            }
            let note = |value: &String| {
                let (attribute, id) = (attribute.to_owned(), id.clone());
                self.note_named(Named { attribute, id, value: value.clone() });
            };
            if !by_name {
                note(&reference.dn);
                found.push(reference.dn.clone());
                continue;
            }
            let uid = reference.uids.first().and_then(|uid| String::from_utf8(uid.clone()).ok());
            let unnamed = || {
                ScimError::value(format!(
                    "members: a group of this class names users by `uid`, and `{}` is no user with one",
                    id.escape_debug()
                ))
            };
            let uid = uid.ok_or_else(unnamed)?;
            note(&uid);
            found.push(uid);
        }
        Ok(found)
    }

    fn unknown_members(&self, ids: &[&str]) -> Result<(), ApiError> {
        let shown: Vec<String> = ids.iter().take(20).map(|id| format!("`{}`", id.escape_debug())).collect();
        let more = if ids.len() > shown.len() {
            format!(" and {} more", ids.len() - shown.len())
        } else {
            String::new()
        };
        let detail = format!("members: no user or group has the id {}{more}", shown.join(", "));
        let ignores = self.service.config.groups.as_ref().map(|g| g.unknown_members);
        if ignores == Some(UnknownMembers::Ignore) {
            tracing::warn!(setting = "groups.unknown_members", members = ids.len(), "{detail}: ignored");
            return Ok(());
        }
        Err(ScimError::value(detail).into())
    }

    /// Returns the ids after changes of the members, all of which are known.
    pub(super) fn after(&self, found: &Found, changes: &[MemberChange]) -> Result<Vec<String>, ApiError> {
        let lower =
            |ids: &[String]| -> HashSet<String> { ids.iter().map(|id| id.to_ascii_lowercase()).collect() };
        let mut ids = member_ids(found);
        for change in changes {
            match change {
                MemberChange::Add(new) => {
                    let known = lower(&ids);
                    ids.extend(new.iter().filter(|id| !known.contains(&id.to_ascii_lowercase())).cloned());
                }
                MemberChange::Remove(gone) => {
                    let gone = lower(gone);
                    ids.retain(|id| !gone.contains(&id.to_ascii_lowercase()));
                }
                MemberChange::Replace(new) => ids.clone_from(new),
                MemberChange::RemoveAll => ids.clear(),
            }
        }
        let emptied = ids.is_empty() && changes.contains(&MemberChange::RemoveAll);
        self.guard_emptying(found, emptied)?;
        Ok(ids)
    }

    /// Refuses to empty a group of many members by a `remove` that names none of them.
    pub(super) fn guard_emptying(&self, found: &Found, is_emptied: bool) -> Result<(), ApiError> {
        let count = u64::try_from(member_ids(found).len()).unwrap_or(u64::MAX);
        let most = self.service.config.write.as_ref().map_or(0, |write| write.max_deletes);
        if is_emptied && count > most {
            let detail = format!(
                "members: this would remove all {count} members without naming one, and write.max_deletes is {most}: name the members to remove"
            );
            return Err(ScimError::value(detail).into());
        }
        Ok(())
    }

    /// Puts all members into a record, if they change. Members that are no users or groups of the service stay. Returns those that the
    /// group loses.
    pub(super) async fn set_members(
        &self,
        kind: &Kind,
        found: &Found,
        ids: &[String],
        changes: &mut Changes,
    ) -> Result<Vec<TakenOut>, ApiError> {
        if kind.mapping.members.is_none() {
            return Ok(Vec::new());
        }
        let wanted: HashSet<&String> = ids.iter().collect();
        let known: HashSet<&String> = found.members.iter().filter_map(|member| member.id.as_ref()).collect();
        if wanted == known {
            return Ok(Vec::new());
        }
        let goes = |member: &&Member| member.id.as_ref().is_some_and(|id| !wanted.contains(id));
        let (primary, values): (Vec<&Member>, Vec<&Member>) =
            found.members.iter().partition(|member| member.attribute == PRIMARY);
        if let Some(member) = primary.into_iter().find(goes) {
            return Err(primary_member(found, &member.value).into());
        }
        let (schema, record) = (self.schema(), &mut changes.record);
        let key = |dn: &str| DnKey::parse(dn, schema).ok();
        // It is the writer's, and goes when there is another member.
        let placeholder = self.service.writer.placeholder(&self.directory).map_err(ApiError::from)?;
        let mut is_placeholder = None;
        if let Some(dn) = &placeholder
            && values.iter().any(|m| m.id.is_none() && key(&m.value) == key(dn))
            // An entry of its name is a member like others.
            && self.directory.read(dn, &["1.1"]).await?.is_none()
        {
            is_placeholder = key(dn);
        }
        let stays = |member: &Member| match &member.id {
            Some(id) => wanted.contains(id),
            None => is_placeholder.is_none() || key(&member.value) != is_placeholder,
        };
        let of_new = self.attribute_of_new(kind, &found.entry);
        let new: Vec<String> = ids.iter().filter(|id| !known.contains(id)).cloned().collect();
        let new = self.named(of_new, &new, Some(found)).await?;
        // Each value is written under its own description.
        let mut by_description: Vec<(&str, Vec<&Member>)> = vec![(of_new, Vec::new())];
        for member in values.iter().copied() {
            match by_description.iter_mut().find(|(description, _)| *description == member.attribute) {
                Some((_, own)) => own.push(member),
                None => by_description.push((&member.attribute, vec![member])),
            }
        }
        let mut types_left: Vec<&str> = Vec::new();
        for (description, own) in &by_description {
            let mut values: Vec<String> =
                own.iter().filter(|member| stays(member)).map(|m| m.value.clone()).collect();
            values.dedup();
            let is_changed = values.len() < own.len() || *description == of_new && !new.is_empty();
            if *description == of_new {
                values.extend(new.iter().cloned());
            }
            if !values.is_empty() {
                types_left.push(base_type(description));
            }
            if is_changed {
                record.insert((*description).to_owned(), values.into());
            }
        }
        // The class may require the type, which has no value left: the rule says what is to become of it.
        for (description, _) in &by_description {
            let of_type = base_type(description);
            let is_left = types_left.iter().any(|left| schema.same_description(left, of_type));
            if record.contains_key(*description) && !is_left {
                record.entry(of_type.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
            }
        }
        let lost = values.iter().filter(|member| member.id.is_some() && !stays(member));
        let taken_out = lost.map(|member| TakenOut {
            description: member.attribute.clone(),
            value: member.value.clone().into_bytes(),
        });
        Ok(taken_out.collect())
    }

    /// Adds and removes single members.
    pub(super) async fn change_members(
        &self,
        kind: &Kind,
        found: &Found,
        changes: &[MemberChange],
        options: WriteOptions,
    ) -> Result<(), ApiError> {
        // In the order of the operations: the last one about a member counts.
        let mut wanted: HashMap<&str, bool> = HashMap::new();
        let mut order: Vec<&str> = Vec::new();
        for change in changes {
            let (ids, is_member) = match change {
                MemberChange::Add(ids) => (ids, true),
                MemberChange::Remove(ids) => (ids, false),
                MemberChange::Replace(_) | MemberChange::RemoveAll => continue,
            };
            for id in ids {
                if wanted.insert(id, is_member).is_none() {
                    order.push(id);
                }
            }
        }
        let of = |is_member: bool| -> Vec<String> {
            order
                .iter()
                .filter(|id| wanted.get(**id) == Some(&is_member))
                .map(|id| (*id).to_owned())
                .collect()
        };
        let of_new = self.attribute_of_new(kind, &found.entry);
        let added = self.named(of_new, &of(true), Some(found)).await?;
        let mut steps = Vec::new();
        let mut step = |kind, name: &str, values: Vec<Vec<u8>>| {
            if !values.is_empty() {
                steps.push(Modification::new(kind, name, values));
            }
        };
        step(ModificationKind::Add, of_new, added.into_iter().map(String::into_bytes).collect());
        // One that is gone is no member either way. The others go from each attribute that has them.
        let removed = self.references(&of(false)).await?;
        let sid = primary::sid(&found.entry);
        let is_primary = |member: &&Reference| sid.is_some() && member.primary.as_deref() == sid;
        if let Some(member) = removed.values().find(is_primary) {
            return Err(primary_member(found, &member.dn).into());
        }
        for name in &kind.mapping.member_names {
            let dns = removed.values().map(|found| found.dn.clone().into_bytes()).collect();
            step(ModificationKind::Delete, name, dns);
        }
        if kind.mapping.has_user_names {
            let uids = removed.values().flat_map(|found| found.uids.clone()).collect();
            step(ModificationKind::Delete, MEMBER_UID, uids);
        }
        if steps.is_empty() {
            return Ok(());
        }
        let entry = self.entry_ref(kind, found)?;
        let changes = vec![Change::Modify { dn: entry.dn.clone(), changes: steps }];
        let (writer, resource) = (&self.service.writer, writer_kind(kind.mapping.resource));
        let applied = writer.apply(&self.directory, resource, entry, changes, options).await;
        applied.map(|_| ()).map_err(|e| self.refused(kind, e))
    }
}

/// Returns the refusal to take an account out of its primary group.
fn primary_member(group: &Found, member: &str) -> WriteError {
    let detail = format!(
        "members: `{}` is the primary group of `{member}`, which stays its member: change {PRIMARY} of the account first",
        group.entry.dn
    );
    let error = WriteError::new(WriteErrorKind::PrimaryGroup, detail).of_attribute(PRIMARY);
    WriteError { entry: Some(member.to_owned()), groups: vec![group.entry.dn.clone()], ..error }
}

fn member_ids(found: &Found) -> Vec<String> {
    let mut seen = HashSet::new();
    let ids = found.members.iter().filter_map(|member| member.id.clone());
    ids.filter(|id| seen.insert(id.clone())).collect()
}
