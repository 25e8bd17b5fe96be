//! Single values of one entry, without reading the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::ldif::writer::LdifWriter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, Scope, Vendor};
use target_ldap::write::destination::Destination;

use super::attributes::AttributeGuard;
use super::fence::{Fence, Territory};
use super::{
    Effect, EntryRef, ResourceKind, WriteError, WriteErrorKind, WriteOptions, WriteOutcome, Writer, entries,
    locks, memberships, named, refusal, whole,
};
use crate::lookup;
use crate::members::{self, MEMBER_UID};

/// How often a change is tried that another client is in the way of.
const ATTEMPTS: u32 = 3;
/// Up to this number of values, each is looked up by itself; for more the attribute is read.
const LOOKED_UP: usize = 64;

fn invalid(attribute: &str, problem: &str) -> WriteError {
    let detail = format!("`{attribute}`: {problem}");
    WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(attribute)
}

/// Adds and removes single values of an existing entry.
pub(super) async fn apply(
    writer: &Writer,
    directory: &Directory,
    kind: ResourceKind,
    entry: &EntryRef,
    changes: Vec<Change>,
    options: WriteOptions,
) -> Result<WriteOutcome, WriteError> {
    writer.undo_dir()?;
    let rule = writer.rule(kind, directory)?;
    let territory = writer.territory(directory).await?;
    let mut steps = Vec::new();
    for change in changes {
        let Change::Modify { changes, .. } = change else {
            return Err(WriteError::new(WriteErrorKind::Internal, "internal error: not a modification"));
        };
        steps.extend(changes);
    }
    let mut dn = entries::locate(directory, &rule.base_dn, entry).await?;
    check(&steps, &dn, &territory.attributes)?;
    let is_group = kind == ResourceKind::Groups;
    let placeholder = rule.placeholder().filter(|_| is_group).map(String::into_bytes);
    let (vendor, schema) = (directory.root_dse().vendor, directory.schema());
    let names = if is_group { members::by_dn(Some(&rule.members), vendor, schema) } else { Vec::new() };
    let has_user_names = is_group && members::has_user_names(vendor, schema);
    let mut keys = BTreeSet::from([locks::of_value(&entry.id.attribute, &entry.id.value)]);
    keys.insert(locks::of_dn(&territory.key(&dn)?));
    let state = writer.state();
    let _held = state.locks.lock(&keys).await;
    let _shared =
        if options.dry_run { None } else { Some(writer.lock_shared(&keys, &BTreeSet::new()).await?) };
    // A write before this one may have renamed it; the lock of its identifier covers its new name, too.
    dn = entries::locate(directory, &rule.base_dn, entry).await?;
    entries::check_condition(directory, &dn, options.condition.as_ref()).await?;
    let job = ValuesJob {
        writer,
        directory,
        kind,
        territory,
        dn,
        entry,
        names,
        has_user_names,
        placeholder,
        options,
    };
    job.run(steps).await
}

/// Checks that the steps are single values of attributes that may be written.
fn check(steps: &[Modification], dn: &str, guard: &AttributeGuard) -> Result<(), WriteError> {
    let schema = &guard.schema;
    let rdn = first_rdn(dn).ok().flatten();
    for step in steps {
        let name = &step.description;
        if let Some(guarded) = guard.guarded(name) {
            return Err(guarded.error(name));
        }
        let is_naming =
            rdn.iter().flat_map(|rdn| &rdn.avas).any(|ava| schema.same_description(&ava.attribute, name));
        if is_naming || schema.same_description(name, "objectClass") {
            let detail = format!("`{name}` cannot be changed value by value");
            return Err(WriteError::new(WriteErrorKind::Mutability, detail).of_attribute(name));
        }
        let by_value = matches!(step.kind, ModificationKind::Add | ModificationKind::Delete);
        if !by_value || step.values.is_empty() {
            return Err(invalid(name, "only single values are added or removed here"));
        }
        if ValueKind::of(schema, name) == ValueKind::DistinguishedName {
            let is_dn =
                |value: &Vec<u8>| std::str::from_utf8(value).is_ok_and(|dn| DnKey::parse(dn, schema).is_ok());
            if !step.values.iter().all(is_dn) {
                return Err(invalid(name, "a value is not a valid DN"));
            }
        }
    }
    Ok(())
}

struct ValuesJob<'a> {
    writer: &'a Writer,
    directory: &'a Directory,
    kind: ResourceKind,
    territory: Arc<Territory>,
    dn: String,
    entry: &'a EntryRef,
    /// The attributes with DNs of members, of a group.
    names: Vec<String>,
    /// Whether the group may name members by user name.
    has_user_names: bool,
    /// The member of a group that has no other.
    placeholder: Option<Vec<u8>>,
    options: WriteOptions,
}

/// What was learnt from the changes before.
#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    /// Whether the entry is read, and each value is removed under the descriptions that have it.
    is_exact: bool,
    /// Whether a group gets its placeholder.
    adds_placeholder: bool,
}

impl ValuesJob<'_> {
    async fn run(&self, asked: Vec<Modification>) -> Result<WriteOutcome, WriteError> {
        let directory = self.directory;
        let Some(first) = self.change(&asked, Mode::default()).await? else {
            return Ok(self.outcome(Effect::Unchanged, Vec::new(), None));
        };
        if self.options.dry_run {
            let destination = Destination::new(directory.clone(), self.territory.protection.clone());
            let checked = destination.check(&first).await;
            checked.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
            return Ok(self.outcome(Effect::Modified, vec![first], None));
        }
        let change_set = self.writer.begin(self.kind.stream(), directory).await?;
        let identity = self.entry.id.filter();
        let condition = match self.options.condition.clone() {
            Some(condition) => Filter::And(vec![identity, condition]),
            None => identity,
        };
        let key = self.territory.key(&self.dn)?;
        let condition = Some((key, condition)).filter(|_| directory.takes_assertions());
        let fence = Arc::new(Fence::new(self.territory.clone(), Some(self.kind)).with_condition(condition));
        let destination = Destination::new(directory.clone(), fence.protection())
            .with_undo(Some(change_set.undo()))
            .with_gate(Some(fence.clone()))
            .noting_values(true);
        let mut done = Vec::new();
        let mut result = self.carry_out((&destination, &fence), &asked, first, &mut done).await;
        if result.is_ok() && !directory.applies_at_once() {
            result = destination.commit().map_err(|e| refusal::of_directory(&e, directory.schema()));
        }
        let mut left = Vec::new();
        if result.is_err() && !done.is_empty() {
            left = Box::pin(whole::take_back(&change_set, directory, &fence, false)).await;
        }
        let undo_file = change_set.finish(directory).await;
        if let Err(error) = result {
            let error = whole::with_left(error, &left, &self.dn, undo_file.as_deref());
            return Err(WriteError { undo_file, ..error });
        }
        if done.is_empty() {
            return Ok(self.outcome(Effect::Unchanged, done, undo_file));
        }
        tracing::info!(dn = self.dn.as_str(), undo_file = undo_file.as_deref(), "`{}` modified", self.dn);
        Ok(self.outcome(Effect::Modified, done, undo_file))
    }

    /// Makes a change, and those that it then needs: until a search finds none of the removed members in the group.
    async fn carry_out(
        &self,
        (destination, fence): (&Destination, &Fence),
        asked: &[Modification],
        first: Change,
        done: &mut Vec<Change>,
    ) -> Result<(), WriteError> {
        let (mut mode, mut attempt, mut next) = (Mode::default(), 1, Some(first));
        while let Some(change) = next {
            let result = destination.apply(&change).await;
            attempt += 1;
            let Err(error) = result else {
                done.push(change);
                let still = self.still(asked).await?;
                if still.is_empty() {
                    return Ok(());
                }
                if attempt > ATTEMPTS {
                    return Err(named::kept(self.directory, &self.dn, &still).await);
                }
                // Another description has them, too.
                mode.is_exact = true;
                next = self.change(asked, mode).await?;
                continue;
            };
            let refused = fence.refusal();
            let error = refused.unwrap_or_else(|| refusal::of_directory(&error, self.directory.schema()));
            match error.result_code {
                // Another client was faster, or another description has the value.
                Some(result_code::NO_SUCH_ATTRIBUTE) if attempt <= ATTEMPTS => mode.is_exact = true,
                Some(result_code::ATTRIBUTE_OR_VALUE_EXISTS) if attempt <= ATTEMPTS => {}
                // The last member would be removed.
                Some(result_code::OBJECT_CLASS_VIOLATION)
                    if self.placeholder.is_some() && !mode.adds_placeholder =>
                {
                    attempt -= 1;
                    mode.adds_placeholder = true;
                }
                Some(result_code::OBJECT_CLASS_VIOLATION) if self.takes_members_out(asked) => {
                    return Err(self.last_member(error));
                }
                code => {
                    let is_missing = code == Some(result_code::NO_SUCH_ATTRIBUTE);
                    let still = if is_missing { self.still(asked).await? } else { Vec::new() };
                    // The server shows them, and has none to remove: it computes them.
                    return Err(match still.as_slice() {
                        [] => error,
                        still => named::kept(self.directory, &self.dn, still).await,
                    });
                }
            }
            next = self.change(asked, mode).await?;
        }
        match self.still(asked).await?.as_slice() {
            [] => Ok(()),
            still => Err(named::kept(self.directory, &self.dn, still).await),
        }
    }

    /// Whether nothing but members is removed.
    fn takes_members_out(&self, asked: &[Modification]) -> bool {
        let is_removal = |step: &Modification| {
            step.kind == ModificationKind::Delete && self.member_attribute(&step.description).is_some()
        };
        self.placeholder.is_none() && !asked.is_empty() && asked.iter().all(is_removal)
    }

    /// Returns the error of a group whose class requires a member, and whose rule has no placeholder.
    fn last_member(&self, error: WriteError) -> WriteError {
        let setting = ResourceKind::Groups.rule_setting("empty_group");
        let detail = format!("{setting}: `{}` would lose its last member; nothing was changed", self.dn);
        let groups = vec![self.dn.clone()];
        WriteError { kind: WriteErrorKind::LastMember, detail, groups, setting: Some(setting), ..error }
    }

    /// Returns the change that is to be made; `None`: all is so already.
    async fn change(&self, asked: &[Modification], mode: Mode) -> Result<Option<Change>, WriteError> {
        let mut steps = self.effective(asked, mode).await?;
        if steps.is_empty() {
            return Ok(None);
        }
        self.exchange_placeholder(&mut steps, mode).await?;
        let change = Change::Modify { dn: self.dn.clone(), changes: steps };
        self.territory.check(&change, Some(self.kind), &[])?;
        Ok(Some(change))
    }

    /// Returns the attribute of members that a description belongs to.
    fn member_attribute<'s>(&'s self, description: &'s str) -> Option<&'s str> {
        let schema = self.directory.schema();
        let user_names = self.has_user_names.then_some(MEMBER_UID);
        let mut names = self.names.iter().map(String::as_str).chain(user_names);
        names.find(|name| members::is_of(description, name, schema))
    }

    /// Returns the removed members that the group has.
    async fn still(&self, asked: &[Modification]) -> Result<Vec<named::Name>, WriteError> {
        // Active Directory has them under one description.
        if self.directory.root_dse().vendor == Vendor::ActiveDirectory {
            return Ok(Vec::new());
        }
        let removed = asked.iter().filter(|step| step.kind == ModificationKind::Delete);
        let removed = removed.filter_map(|step| Some((self.member_attribute(&step.description)?, step)));
        let names: Vec<named::Name> = removed
            .flat_map(|(name, step)| step.values.iter().map(move |value| (name.to_owned(), value.clone())))
            .collect();
        let found = named::still(self.directory, &self.dn, &names).await;
        found.map_err(|e| refusal::of_directory(&e, self.directory.schema()))
    }

    /// Returns the steps without what is so already.
    async fn effective(&self, asked: &[Modification], mode: Mode) -> Result<Vec<Modification>, WriteError> {
        let schema = self.directory.schema();
        let mut steps: Vec<Modification> = Vec::new();
        for step in asked {
            let rule = schema.equality(&step.description);
            let there = self.present(&step.description, &step.values, mode).await?;
            let mut seen = BTreeSet::new();
            for value in &step.values {
                let normal = rule.normalize(value, schema).into_owned();
                if !seen.insert(normal.clone()) {
                    continue;
                }
                let own = vec![step.description.clone()];
                let descriptions = match (step.kind, there.get(&normal)) {
                    (ModificationKind::Add, None) => &own,
                    (ModificationKind::Delete, Some(descriptions)) => descriptions,
                    _ => continue,
                };
                for description in descriptions {
                    let is_it = |known: &&mut Modification| {
                        known.kind == step.kind && known.description == *description
                    };
                    match steps.iter_mut().find(is_it) {
                        Some(known) => known.values.push(value.clone()),
                        None => {
                            steps.push(Modification::new(
                                step.kind,
                                description.as_str(),
                                vec![value.clone()],
                            ));
                        }
                    }
                }
            }
        }
        Ok(steps)
    }

    /// Returns those of the values that the entry has, in their normal form, with the descriptions that have them. Without reading the
    /// entry, that is the attribute itself: a search does not tell `member` from `member;lang-en`.
    async fn present(
        &self,
        name: &str,
        values: &[Vec<u8>],
        mode: Mode,
    ) -> Result<BTreeMap<Vec<u8>, Vec<String>>, WriteError> {
        let schema = self.directory.schema();
        let failed = |e| refusal::of_directory(&e, schema);
        let rule = schema.equality(name);
        let mut present: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
        if mode.is_exact || values.len() > LOOKED_UP || !schema.has_equality(name) {
            let asked = if self.member_attribute(name).is_some() {
                members::with_subtypes(name, schema)
            } else {
                vec![name]
            };
            let entry = self.directory.read_whole(&self.dn, &asked).await.map_err(failed)?;
            let Some(entry) = entry else { return Ok(present) };
            let is_of = |description: &str| match self.member_attribute(name) {
                Some(_) => members::is_of(description, name, schema),
                None => schema.same_description(description, name),
            };
            for attribute in entry.attributes.iter().filter(|a| is_of(&a.description)) {
                for value in &attribute.values {
                    let of = present.entry(rule.normalize(value, schema).into_owned()).or_default();
                    of.push(attribute.description.clone());
                }
            }
            return Ok(present);
        }
        for value in values {
            let filter = Filter::equality(name, value.clone());
            let found = lookup::find(self.directory, &self.dn, Scope::Base, filter, &["1.1"], 1).await;
            if !found.map_err(failed)?.is_empty() {
                present.insert(rule.normalize(value, schema).into_owned(), vec![name.to_owned()]);
            }
        }
        Ok(present)
    }

    /// Removes the placeholder when a member is added, and adds it when the last one is removed: to the type, which the class may require.
    async fn exchange_placeholder(
        &self,
        steps: &mut Vec<Modification>,
        mode: Mode,
    ) -> Result<(), WriteError> {
        let Some(placeholder) = &self.placeholder else { return Ok(()) };
        let (schema, adds) = (self.directory.schema(), mode.adds_placeholder);
        let value = std::slice::from_ref(placeholder);
        let wanted = if adds { ModificationKind::Delete } else { ModificationKind::Add };
        let is_member = |name: &str| self.names.iter().any(|known| members::is_of(name, known, schema));
        let of_members = steps.iter().filter(|s| s.kind == wanted && is_member(&s.description));
        let mut changed: Vec<String> = of_members.map(|s| base_type(&s.description).to_owned()).collect();
        changed.dedup_by(|a, b| schema.same_description(a, b));
        let required = if adds { self.required().await? } else { Vec::new() };
        if changed.is_empty() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(placeholder).into_owned();
        let there = self.directory.read(&name, &["1.1"]).await;
        if there.map_err(|e| refusal::of_directory(&e, schema))?.is_some() {
            // A member like others.
            return if adds { Err(memberships::taken(&name, &self.dn)) } else { Ok(()) };
        }
        for name in changed {
            if adds {
                if required.iter().any(|known| schema.same_description(known, &name)) {
                    steps.push(Modification::new(ModificationKind::Add, name, value.to_vec()));
                }
                continue;
            }
            let present = self.present(&name, value, mode).await?;
            for description in present.into_values().next().unwrap_or_default() {
                steps.push(Modification::new(ModificationKind::Delete, description, value.to_vec()));
            }
        }
        Ok(())
    }

    /// Returns the attributes that the classes of the entry require.
    async fn required(&self) -> Result<Vec<String>, WriteError> {
        let schema = self.directory.schema();
        let entry = self.directory.read(&self.dn, &["objectClass"]).await;
        let entry = entry.map_err(|e| refusal::of_directory(&e, schema))?;
        let classes = entry.iter().flat_map(|entry| schema.values_of(entry, "objectClass"));
        let classes: Vec<String> = classes.map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        let (must, _) = schema.must_may(classes.iter().map(String::as_str));
        Ok(must.into_iter().map(str::to_owned).collect())
    }

    fn outcome(&self, effect: Effect, changes: Vec<Change>, undo_file: Option<String>) -> WriteOutcome {
        let mut writer = LdifWriter::new(Vec::new());
        for change in &changes {
            if let Err(error) = writer.change(change) {
                tracing::warn!("a plan: {error}");
            }
        }
        let plan = String::from_utf8_lossy(&writer.into_inner()).into_owned();
        let id = Some(self.entry.id.clone());
        WriteOutcome { effect, dn: self.dn.clone(), id, changes, plan, undo_file }
    }
}
