//! Single values of one entry, without reading the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::filter::Filter;
use ldap_directory::ldif::writer::LdifWriter;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, Scope};
use target_ldap::write::destination::Destination;

use super::attributes::AttributeGuard;
use super::fence::{Fence, Territory};
use super::{
    Effect, EntryRef, ResourceKind, WriteError, WriteErrorKind, WriteOptions, WriteOutcome, Writer, entries,
    locks, memberships, refusal,
};
use crate::lookup;
use crate::members;

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
    let placeholder = rule.placeholder().filter(|_| kind == ResourceKind::Groups);
    let names = members::by_dn(Some(&rule.members), directory.root_dse().vendor, directory.schema());
    let placeholder = placeholder.map(|dn| (names, dn.into_bytes()));
    let mut keys = BTreeSet::from([locks::of_value(&entry.id.attribute, &entry.id.value)]);
    keys.insert(locks::of_dn(&territory.key(&dn)?));
    let state = writer.state();
    let _held = state.locks.lock(&keys).await;
    // A write before this one may have renamed it; the lock of its identifier covers its new name, too.
    dn = entries::locate(directory, &rule.base_dn, entry).await?;
    entries::check_condition(directory, &dn, options.condition.as_ref()).await?;
    let job = ValuesJob { writer, directory, kind, territory, dn, entry, placeholder, options };
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
    /// The attributes of members, and the member of a group that has no other.
    placeholder: Option<(Vec<String>, Vec<u8>)>,
    options: WriteOptions,
}

impl ValuesJob<'_> {
    async fn run(&self, asked: Vec<Modification>) -> Result<WriteOutcome, WriteError> {
        let mut adds_placeholder = false;
        for attempt in 1..=ATTEMPTS {
            let mut steps = self.effective(&asked).await?;
            if steps.is_empty() {
                return Ok(self.outcome(Effect::Unchanged, Vec::new(), None));
            }
            self.exchange_placeholder(&mut steps, adds_placeholder).await?;
            let change = Change::Modify { dn: self.dn.clone(), changes: steps };
            self.territory.check(&change, Some(self.kind), &[])?;
            if self.options.dry_run {
                let destination = Destination::new(self.directory.clone(), self.territory.protection.clone());
                let checked = destination.check(&change).await;
                checked.map_err(|e| refusal::of_directory(&e, self.directory.schema()))?;
                return Ok(self.outcome(Effect::Modified, vec![change], None));
            }
            match self.carry_out(&change).await {
                Ok(undo_file) => return Ok(self.outcome(Effect::Modified, vec![change], undo_file)),
                // Another client was faster.
                Err(error)
                    if attempt < ATTEMPTS
                        && matches!(
                            error.result_code,
                            Some(result_code::NO_SUCH_ATTRIBUTE | result_code::ATTRIBUTE_OR_VALUE_EXISTS)
                        ) => {}
                // The last member would be removed.
                Err(error)
                    if error.result_code == Some(result_code::OBJECT_CLASS_VIOLATION)
                        && self.placeholder.is_some()
                        && !adds_placeholder =>
                {
                    adds_placeholder = true;
                }
                Err(error) => return Err(error),
            }
        }
        let detail = "other clients change the same values all the time";
        Err(WriteError { retry_after: Some(1), ..WriteError::new(WriteErrorKind::Unavailable, detail) })
    }

    async fn carry_out(&self, change: &Change) -> Result<Option<String>, WriteError> {
        let directory = self.directory;
        let change_set = self.writer.begin(self.kind.stream(), directory).await?;
        let identity = self.entry.id.filter();
        let condition = match self.options.condition.clone() {
            Some(condition) => Filter::And(vec![identity, condition]),
            None => identity,
        };
        let condition = Some(condition).filter(|_| directory.takes_assertions());
        let fence = Arc::new(Fence::new(self.territory.clone(), Some(self.kind)).with_condition(condition));
        let destination = Destination::new(directory.clone(), fence.protection())
            .with_undo(Some(change_set.undo()))
            .with_gate(Some(fence.clone()))
            .noting_values(true);
        let mut result = destination.apply(change).await;
        if result.is_ok() && !directory.applies_at_once() {
            result = destination.commit();
        }
        let undo_file = change_set.finish(directory).await;
        match result {
            Ok(()) => {
                let undo = undo_file.as_deref();
                tracing::info!(dn = self.dn.as_str(), undo_file = undo, "`{}` modified", self.dn);
                Ok(undo_file)
            }
            Err(error) => {
                let refused = fence.refusal();
                let error = refused.unwrap_or_else(|| refusal::of_directory(&error, directory.schema()));
                Err(WriteError { undo_file, ..error })
            }
        }
    }

    /// Returns the steps without what is so already.
    async fn effective(&self, asked: &[Modification]) -> Result<Vec<Modification>, WriteError> {
        let schema = self.directory.schema();
        let mut steps: Vec<Modification> = Vec::new();
        for step in asked {
            let rule = schema.equality(&step.description);
            let normal = |v: &Vec<u8>| rule.normalize(v, schema).into_owned();
            let there = self.present(&step.description, &step.values).await?;
            let is_added = step.kind == ModificationKind::Add;
            let mut seen = BTreeSet::new();
            let values: Vec<Vec<u8>> = step
                .values
                .iter()
                .filter(|v| there.contains(&normal(v)) != is_added && seen.insert(normal(v)))
                .cloned()
                .collect();
            if !values.is_empty() {
                steps.push(Modification { values, ..step.clone() });
            }
        }
        Ok(steps)
    }

    /// Returns those of the values that the entry has, in their normal form.
    async fn present(&self, name: &str, values: &[Vec<u8>]) -> Result<BTreeSet<Vec<u8>>, WriteError> {
        let schema = self.directory.schema();
        let failed = |e| refusal::of_directory(&e, schema);
        let rule = schema.equality(name);
        let mut present = BTreeSet::new();
        if values.len() > LOOKED_UP || !schema.has_equality(name) {
            let entry = self.directory.read(&self.dn, &[name]).await.map_err(failed)?;
            let Some(mut entry) = entry else { return Ok(present) };
            self.directory.complete_ranges(&mut entry).await.map_err(failed)?;
            let there = schema.values_of(&entry, name).iter();
            present.extend(there.map(|v| rule.normalize(v, schema).into_owned()));
            return Ok(present);
        }
        for value in values {
            let filter = Filter::equality(name, value.clone());
            let found = lookup::find(self.directory, &self.dn, Scope::Base, filter, &["1.1"], 1).await;
            if !found.map_err(failed)?.is_empty() {
                present.insert(rule.normalize(value, schema).into_owned());
            }
        }
        Ok(present)
    }

    /// Removes the placeholder when a member is added, and adds it when the last one is removed.
    async fn exchange_placeholder(
        &self,
        steps: &mut Vec<Modification>,
        adds: bool,
    ) -> Result<(), WriteError> {
        let Some((members, placeholder)) = &self.placeholder else { return Ok(()) };
        let schema = self.directory.schema();
        let value = std::slice::from_ref(placeholder);
        let wanted = if adds { ModificationKind::Delete } else { ModificationKind::Add };
        let is_changed = |name: &&String| {
            steps.iter().any(|s| s.kind == wanted && schema.same_description(&s.description, name))
        };
        let changed: Vec<&String> = members.iter().filter(is_changed).collect();
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
                if required.iter().any(|known| schema.same_description(known, name)) {
                    steps.push(Modification::new(ModificationKind::Add, name.clone(), value.to_vec()));
                }
            } else if !self.present(name, value).await?.is_empty() {
                steps.push(Modification::new(ModificationKind::Delete, name.clone(), value.to_vec()));
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
