//! References of groups to an entry that gets another name, or goes: an entry that gets the name later must not inherit its rights.
//!
//! Active Directory keeps such references by itself; OpenLDAP (slapo-refint) and 389 Directory Server do if they are configured so. What
//! the server has changed already is not found here.

use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{DnKey, parent};
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor};
use target_ldap::rules::rule::EmptyGroup;
use target_ldap::write::destination::Destination;
use target_ldap::write::undo::Undo;

use super::{ResourceKind, WriteError, WriteErrorKind, Writer, entries, refusal};
use crate::config::{Config, RoleName};

/// The attributes of members by DN (RFC 4519).
const BY_DN: [&str; 2] = ["member", "uniqueMember"];
/// The attribute of members by `uid` (RFC 2307).
const BY_UID: &str = "memberUid";
/// The most groups that one search returns; then it is made again.
const AT_ONCE: u32 = 500;
/// How often groups are searched again.
const ROUNDS: u32 = 100;
/// How often a change is tried that the server or another client makes at the same time.
const ATTEMPTS: u32 = 3;

/// Where groups are whose members have rights: `groups.base_dn`, and what `roles` name.
pub(super) fn bases(config: &Config) -> Vec<(String, Scope)> {
    let mut bases: Vec<(String, Scope)> =
        config.groups.iter().map(|groups| (groups.base_dn.clone(), Scope::Subtree)).collect();
    for rule in &config.roles {
        match &rule.role {
            RoleName::Below { below, .. } => bases.push((below.clone(), Scope::Subtree)),
            RoleName::Groups { groups, .. } => {
                bases.extend(groups.iter().map(|dn| (dn.clone(), Scope::Base)))
            }
        }
    }
    bases
}

/// A value that groups have as a member, and the one that takes its place.
#[derive(Debug)]
struct Reference {
    attribute: String,
    old: Vec<u8>,
    new: Option<Vec<u8>>,
}

/// The `uid` values of an entry before a change.
#[derive(Debug, Default)]
pub(super) struct Before {
    uids: Vec<Vec<u8>>,
}

/// The references to one entry.
pub(super) struct Memberships<'a> {
    pub(super) writer: &'a Writer,
    pub(super) directory: &'a Directory,
}

impl Memberships<'_> {
    /// Whether the server keeps references to entries by itself, always.
    fn are_kept(&self) -> bool {
        self.directory.root_dse().vendor == Vendor::ActiveDirectory || self.writer.group_bases().is_empty()
    }

    /// Returns the bases, without those within others.
    fn bases(&self) -> Vec<&(String, Scope)> {
        let key = |dn: &str| DnKey::parse(dn, self.directory.schema()).unwrap_or_default();
        let all = self.writer.group_bases();
        let is_covered = |at: usize, dn: &str| {
            let own = key(dn);
            all.iter().enumerate().any(|(n, (base, scope))| {
                let base = key(base);
                n != at
                    && if *scope == Scope::Subtree { own.is_within(&base) } else { own == base }
                    && (own != base || n < at)
            })
        };
        all.iter().enumerate().filter(|(at, (dn, _))| !is_covered(*at, dn)).map(|(_, base)| base).collect()
    }

    /// Returns the attributes of members that hold DNs.
    fn by_dn(&self) -> Vec<String> {
        let schema = self.directory.schema();
        let own = self.writer.rule(ResourceKind::Groups, self.directory).map(|rule| rule.members).ok();
        let mut names: Vec<String> = Vec::new();
        for name in BY_DN.into_iter().map(str::to_owned).chain(own) {
            let is_dn = schema.attribute_type(&name).is_some() && ValueKind::of(schema, &name).is_name();
            if is_dn && !names.iter().any(|known| schema.same_description(known, &name)) {
                names.push(name);
            }
        }
        names
    }

    async fn uids(&self, kind: ResourceKind, dn: &str) -> Result<Vec<Vec<u8>>, DirectoryError> {
        let schema = self.directory.schema();
        if kind != ResourceKind::Users || schema.attribute_type(BY_UID).is_none() {
            return Ok(Vec::new());
        }
        let entry = self.directory.read(dn, &["uid"]).await?;
        Ok(entry.map(|entry| schema.values_of(&entry, "uid").to_vec()).unwrap_or_default())
    }

    /// Returns what must be known before planned changes of an entry.
    ///
    /// # Errors
    /// The entry cannot be read.
    pub(super) async fn before(
        &self,
        kind: ResourceKind,
        dn: &str,
        planned: &[Change],
    ) -> Result<Before, DirectoryError> {
        let is_of_uid = |change: &Change| match change {
            Change::Add(_) => false,
            Change::Modify { changes, .. } => {
                changes.iter().any(|m| m.description.eq_ignore_ascii_case("uid"))
            }
            Change::Delete { .. } | Change::Rename { .. } => true,
        };
        let is_needed = !self.are_kept() && planned.iter().any(is_of_uid);
        Ok(Before { uids: if is_needed { self.uids(kind, dn).await? } else { Vec::new() } })
    }

    /// Gives groups the new name of an entry after these changes, or removes it from them. Each change is noted for the undo file.
    ///
    /// # Errors
    /// A group still has the old name: the server refused to change it, or failed. The change of the entry itself is made.
    pub(super) async fn follow(
        &self,
        kind: ResourceKind,
        made: &[Change],
        before: Before,
        undo: Arc<Undo>,
    ) -> Result<(), WriteError> {
        if self.are_kept() {
            return Ok(());
        }
        let references = self.references(kind, made, before).await.map_err(|e| self.failed(&e, made))?;
        let destination = Destination::new(self.directory.clone()).with_undo(Some(undo)).noting_values(true);
        for reference in &references {
            let replaced = self.replace(reference, &destination).await;
            replaced.map_err(|e| self.failed(&e, made))?;
        }
        Ok(())
    }

    fn failed(&self, error: &DirectoryError, made: &[Change]) -> WriteError {
        let dn = made.first().map(Change::dn).unwrap_or_default();
        tracing::error!(dn, "`{dn}` was changed, but groups still have its old name as a member: {error}");
        let cause = refusal::of_directory(error, self.directory.schema());
        let detail = format!(
            "the entry was changed, but not all groups that have its old name as a member; who gets that name gets their rights: {}",
            cause.detail
        );
        WriteError { result_code: cause.result_code, ..WriteError::new(WriteErrorKind::Refused, detail) }
    }

    async fn references(
        &self,
        kind: ResourceKind,
        made: &[Change],
        before: Before,
    ) -> Result<Vec<Reference>, DirectoryError> {
        let schema = self.directory.schema();
        let mut references = Vec::new();
        let mut last = made.first().map(|change| change.dn().to_owned());
        for change in made {
            let (dn, new) = match change {
                Change::Delete { dn } => (dn, None),
                Change::Rename { dn, new_rdn, new_superior, .. } => {
                    let above = new_superior.clone().unwrap_or_else(|| parent(dn));
                    (dn, Some(if above.is_empty() { new_rdn.clone() } else { format!("{new_rdn},{above}") }))
                }
                Change::Add(_) | Change::Modify { .. } => continue,
            };
            last.clone_from(&new);
            // The same name in another spelling.
            let key = |dn: &str| DnKey::parse(dn, schema).ok();
            if new.as_ref().is_some_and(|new| key(dn) == key(new)) {
                continue;
            }
            references.extend(self.by_dn().into_iter().map(|attribute| Reference {
                attribute,
                old: dn.clone().into_bytes(),
                new: new.clone().map(String::into_bytes),
            }));
        }
        if !before.uids.is_empty() {
            let after = match &last {
                Some(dn) => self.uids(kind, dn).await?,
                None => Vec::new(),
            };
            let is_in =
                |list: &[Vec<u8>], uid: &Vec<u8>| list.iter().any(|v| schema.values_match(BY_UID, v, uid));
            let new = after.iter().find(|uid| !is_in(&before.uids, uid)).cloned();
            references.extend(before.uids.iter().filter(|uid| !is_in(&after, uid)).map(|old| Reference {
                attribute: BY_UID.to_owned(),
                old: old.clone(),
                new: new.clone(),
            }));
        }
        Ok(references)
    }

    async fn replace(&self, reference: &Reference, destination: &Destination) -> Result<(), DirectoryError> {
        for (base, scope) in self.bases() {
            for _ in 0..ROUNDS {
                let filter = Filter::equality(reference.attribute.clone(), reference.old.clone());
                let groups = entries::find(self.directory, base, *scope, filter, &["1.1"], AT_ONCE).await?;
                for group in &groups {
                    self.replace_in(&group.dn, reference, destination).await?;
                    tracing::info!(
                        dn = group.dn.as_str(),
                        "`{}`: a member that was renamed or deleted",
                        group.dn
                    );
                }
                if groups.len() < usize::try_from(AT_ONCE).unwrap_or(usize::MAX) {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn replace_in(
        &self,
        group: &str,
        reference: &Reference,
        destination: &Destination,
    ) -> Result<(), DirectoryError> {
        let name = &reference.attribute;
        let step = |kind, value: &[u8]| Modification::new(kind, name.clone(), vec![value.to_vec()]);
        let has = async |value: &[u8]| {
            let filter = Filter::equality(name.clone(), value.to_vec());
            let found = entries::find(self.directory, group, Scope::Base, filter, &["1.1"], 1).await;
            found.map(|entries| !entries.is_empty())
        };
        let mut placeholder = None;
        let mut attempt = 1;
        loop {
            // The server may have done it meanwhile.
            if !has(&reference.old).await? {
                return Ok(());
            }
            let mut steps = vec![step(ModificationKind::Delete, &reference.old)];
            let added = reference.new.as_ref().or(placeholder.as_ref());
            if let Some(new) = added
                && !has(new).await?
            {
                steps.push(step(ModificationKind::Add, new));
            }
            let change = Change::Modify { dn: group.to_owned(), changes: steps };
            match destination.apply(&change).await {
                Err(e) if e.code() == Some(result_code::OBJECT_CLASS_VIOLATION) && placeholder.is_none() => {
                    // Its class requires a member, and it was the last one.
                    placeholder = self.placeholder();
                    if placeholder.is_none() {
                        return Err(e);
                    }
                }
                Err(e) if attempt < ATTEMPTS && is_overtaken(&e) => attempt += 1,
                result => return result,
            }
        }
    }

    fn placeholder(&self) -> Option<Vec<u8>> {
        match self.writer.rule(ResourceKind::Groups, self.directory).ok()?.rule.empty_group {
            EmptyGroup::Placeholder(dn) => Some(dn.into_bytes()),
            _ => None,
        }
    }

    /// Logs that groups have a new entry as a member already: it may be the name of a former one, whose rights it gets.
    pub(super) async fn warn_of_inherited(&self, dn: &str) {
        if self.are_kept() {
            return;
        }
        let names = self.by_dn().into_iter().map(|name| Filter::equality(name, dn.as_bytes()));
        let filter = Filter::Or(names.collect());
        for (base, scope) in self.bases() {
            let found = entries::find(self.directory, base, *scope, filter.clone(), &["1.1"], AT_ONCE).await;
            for group in found.into_iter().flatten() {
                tracing::warn!(
                    dn,
                    group = group.dn.as_str(),
                    "the new entry `{dn}` is a member of `{}` already, perhaps of a former entry of this name: it has the rights of the group",
                    group.dn
                );
            }
        }
    }
}

/// Whether the server or another client changed the group at the same time.
fn is_overtaken(error: &DirectoryError) -> bool {
    matches!(error.code(), Some(result_code::NO_SUCH_ATTRIBUTE | result_code::ATTRIBUTE_OR_VALUE_EXISTS))
}
