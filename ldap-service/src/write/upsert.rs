//! Writes of one whole entry: adding, changing, deleting it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn::{DnKey, join, parent, split_first};
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope};
use serde_json::{Map, Value};
use target_ldap::map::wanted::{Wanted, WantedEntry};
use target_ldap::map::{DeleteAction, Task, WritePolicy};
use target_ldap::rules::rule::Operations;
use target_ldap::write::claims::EntryClaims;
use target_ldap::write::destination::Destination;
use target_ldap::write::guard::Tally;
use target_ldap::write::{Applier, Attempt, AttemptContext, WriteOutcome as TaskOutcome};

use super::attributes::{self, AttributeGuard};
use super::fence::{Fence, Territory};
use super::locks::{self, LockKey};
use super::memberships::{GivenNames, Memberships, Watch};
use super::plan::{Plan, Planning, deletes};
use super::rules::{ACTIVE, KindRule, PASSWORD};
use super::whole::{self, check_operations, check_place};
use super::{
    Effect, EntryRef, Placement, ResourceKind, Subject, WriteError, WriteErrorKind, WriteOptions,
    WriteOutcome, Writer, entries, namesakes, refusal, shared_names, spelling,
};
use crate::lookup;

/// How often a write begins again because its entry got another DN meanwhile.
const ATTEMPTS: u32 = 3;

/// A write of one entry.
struct Job<'a> {
    writer: &'a Writer,
    directory: &'a Directory,
    rule: KindRule,
    territory: Arc<Territory>,
    task: Task,
    /// The wanted DN; of a deletion, the current one.
    dn: String,
    key: DnKey,
    /// The current DN of an existing entry.
    found: Option<String>,
    /// A value that no other entry may have, with its attribute.
    unique: Option<(String, Vec<u8>)>,
    locks: BTreeSet<LockKey>,
    /// The identifier of the existing entry, as a filter.
    identity: Option<Filter>,
    options: WriteOptions,
}

/// How a try ended.
enum TryEnd {
    Done(WriteOutcome),
    /// The entry has this DN by now, which is not locked.
    Moved(String),
}

/// Adds an entry, or changes an existing one.
pub(super) async fn upsert(
    writer: &Writer,
    directory: &Directory,
    kind: ResourceKind,
    mut record: Map<String, Value>,
    subject: Subject,
    options: WriteOptions,
) -> Result<WriteOutcome, WriteError> {
    writer.undo_dir()?;
    let rule = writer.rule(kind, directory)?;
    let schema = directory.schema();
    let is_new = subject == Subject::New;
    rule.complete(&mut record, schema, is_new);
    let (mut wanted, own_filter, write_policy) = upsert_of(&rule, record.clone(), directory)?;
    let territory = writer.territory(directory).await?;
    let current = match &subject {
        Subject::New => None,
        Subject::Existing(entry) => Some(entries::locate(directory, &rule.base_dn, entry).await?),
    };
    let place = current.as_deref().filter(|_| options.placement == Placement::SameParent).map(parent);
    below(&mut wanted, place.as_deref());
    // Not the DN of the rule: its attribute would count as the name, and would not be written.
    if let (Placement::Same, Some(dn)) = (options.placement, &current) {
        wanted.dn.clone_from(dn);
    }
    // A namesake has the name.
    if rule.has_common_names && options.placement != Placement::Same {
        let own = current.as_deref().map(|dn| territory.key(dn)).transpose()?;
        let is_own = own == Some(territory.key(&wanted.dn)?);
        let there = directory.read(&wanted.dn, &["1.1"]).await;
        let there = there.map_err(|e| refusal::of_directory(&e, schema))?;
        if !is_own
            && there.is_some()
            && let Some(name) = namesakes::other_name(&rule, &record, directory, current.as_deref()).await?
        {
            namesakes::rename(&mut record, name, schema);
            wanted = upsert_of(&rule, record, directory)?.0;
            below(&mut wanted, place.as_deref());
        }
    }
    spelling::check(&wanted, &rule, !is_new && options.placement == Placement::Same, schema)?;
    spelling::keep(&mut wanted, &rule, schema);
    let is_placed = options.placement != Placement::Same;
    let present = current.as_deref().map(|dn| (dn, is_placed));
    let is_for_name = |name: &str| options.for_name_only.iter().any(|n| schema.same_description(n, name));
    wanted.attributes.retain(|a| !is_for_name(&a.description));
    check_operations(write_policy.operations, kind, &wanted, present, schema)?;
    let (existing, filter, operations, match_attributes) = match subject {
        Subject::New => {
            if let Some(filter) = own_filter {
                check_match(directory, &rule.base_dn, &filter).await?;
            }
            let operations = Operations { update: false, rename: false, ..write_policy.operations };
            (None, None, operations, Vec::new())
        }
        Subject::Existing(entry) => {
            let filter = entry.id.filter().to_string();
            let may_rename = write_policy.operations.rename && options.placement != Placement::Same;
            let operations = Operations { create: false, rename: may_rename, ..write_policy.operations };
            let match_attributes = vec![entry.id.attribute.clone()];
            let existing = EntryRef { dn: current.unwrap_or(entry.dn), id: entry.id };
            (Some(existing), Some(filter), operations, match_attributes)
        }
    };
    let base = Some(rule.base_dn.clone());
    let write_policy = Arc::new(WritePolicy {
        operations,
        match_attributes,
        base,
        exact_rdn: true,
        ..(*write_policy).clone()
    });
    let task = Task::Upsert { wanted, filter, write_policy };
    Job::new((writer, directory), rule, territory, task, existing, options)?.run().await
}

/// Does to an entry what the rule's `on_delete` says.
pub(super) async fn delete(
    writer: &Writer,
    directory: &Directory,
    kind: ResourceKind,
    entry: &EntryRef,
    options: WriteOptions,
) -> Result<WriteOutcome, WriteError> {
    writer.undo_dir()?;
    let rule = writer.rule(kind, directory)?;
    let mapping = rule.mapping(&Map::new(), directory).map_err(|e| refusal::of_settings(&e))?;
    let territory = writer.territory(directory).await?;
    let dn = entries::locate(directory, &rule.base_dn, entry).await?;
    let task = mapping.deletion(Some(dn.clone()), None);
    if matches!(&task, Task::Delete { action, .. } if **action == DeleteAction::Nothing) {
        let detail = "the service's rule does not delete (on_delete: ignore)";
        return Err(WriteError::new(WriteErrorKind::NotAllowed, detail));
    }
    check_place(directory, kind, &task).await?;
    let existing = EntryRef { dn, id: entry.id.clone() };
    Job::new((writer, directory), rule, territory, task, Some(existing), options)?.run().await
}

/// Puts a wanted entry below another one, with its own RDN.
fn below(wanted: &mut WantedEntry, place: Option<&str>) {
    if let (Some(above), Ok((rdn, _))) = (place, split_first(&wanted.dn)) {
        wanted.dn = join(rdn, above);
    }
}

type Upsert = (WantedEntry, Option<String>, Arc<WritePolicy>);

/// Maps a record to the entry that it asks for.
fn upsert_of(
    rule: &KindRule,
    record: Map<String, Value>,
    directory: &Directory,
) -> Result<Upsert, WriteError> {
    match task_of(rule, record, directory)? {
        Task::Upsert { wanted, filter, write_policy } => Ok((wanted, filter, write_policy)),
        _ => Err(refusal::of_settings(&"a record that is no upsert")),
    }
}

/// Maps a record to its task. A property that the rule does not write is an error, not passed over.
fn task_of(
    rule: &KindRule,
    mut record: Map<String, Value>,
    directory: &Directory,
) -> Result<Task, WriteError> {
    let no_way = |property: &str, what: &str| {
        let detail = format!("`{property}`: {what}");
        Err(WriteError::new(WriteErrorKind::Mutability, detail).of_attribute(property))
    };
    let is_input = |property: &str| {
        property == PASSWORD && rule.rule.password.is_some()
            || property == ACTIVE && rule.rule.accounts.is_some()
    };
    if let Some(password) = record.get(PASSWORD).filter(|_| is_input(PASSWORD)) {
        attributes::check_password(password)?;
    }
    // Without a mapping, properties are attributes. With one, the configuration says what is written.
    if rule.rule.attribute_mapping.is_none() {
        let guard = AttributeGuard::of(directory);
        let is_enabled = record.get(ACTIVE).is_some_and(|active| active.is_null() || *active == true);
        if is_enabled && !is_input(ACTIVE) {
            // An account that cannot be disabled is enabled.
            record.shift_remove(ACTIVE);
        }
        for (property, value) in record.iter().filter(|(property, _)| !is_input(property)) {
            if property == PASSWORD {
                return no_way(property, "passwords cannot be set on this connection to the directory");
            }
            if property == ACTIVE {
                return no_way(property, "the directory has no lock of accounts");
            }
            if let Some(guarded) = guard.guarded_value(property, value) {
                return Err(guarded.error(property));
            }
            if directory.schema().same_description(property, "objectClass") {
                return no_way(property, "object classes are those of the service's rule");
            }
        }
    }
    let mapping = rule.mapping(&record, directory).map_err(|e| refusal::of_settings(&e))?;
    let used = mapping.used_properties();
    if let Some(property) = record.keys().find(|property| !used.contains(*property)) {
        return no_way(property, "the service's rule does not write it");
    }
    mapping.map(&record.into(), false, directory.schema()).map_err(|e| refusal::of_mapping(&e))
}

/// Checks that no entry matches a new record by the rule's own `match`.
async fn check_match(directory: &Directory, base: &str, filter: &str) -> Result<(), WriteError> {
    let filter = Filter::parse(filter).map_err(|e| refusal::of_settings(&e))?;
    let found = lookup::find(directory, base, Scope::Subtree, filter, &["1.1"], 1).await;
    let found = found.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
    match found.first() {
        None => Ok(()),
        Some(entry) => {
            let detail = format!("`{}` is the entry of this record (match)", entry.dn);
            Err(WriteError::new(WriteErrorKind::Taken, detail))
        }
    }
}

impl<'a> Job<'a> {
    /// Returns a job, with the locks that it needs. `existing`: the entry, as it is now.
    fn new(
        (writer, directory): (&'a Writer, &'a Directory),
        rule: KindRule,
        territory: Arc<Territory>,
        task: Task,
        existing: Option<EntryRef>,
        options: WriteOptions,
    ) -> Result<Job<'a>, WriteError> {
        let schema = directory.schema();
        let dn = task.dn().unwrap_or_default().to_owned();
        let key = territory.key(&dn)?;
        let mut locks = BTreeSet::from([locks::of_dn(&key)]);
        let mut unique = None;
        if let Task::Upsert { wanted, .. } = &task {
            let is_naming = |a: &&Wanted| schema.same_description(&a.description, &rule.naming);
            let value = wanted.attributes.iter().find(is_naming);
            unique = value.and_then(|a| Some((a.description.clone(), a.values.first()?.clone())));
        }
        if let Some((name, value)) = &unique {
            locks.insert(locks::of_value(name, &schema.equality(name).normalize(value, schema)));
        }
        let (mut found, mut identity) = (None, None);
        if let Some(EntryRef { dn, id }) = existing {
            locks.insert(locks::of_dn(&territory.key(&dn)?));
            locks.insert(locks::of_value(&id.attribute, &id.value));
            identity = Some(id.filter());
            found = Some(dn);
        }
        Ok(Job { writer, directory, rule, territory, task, dn, key, found, unique, locks, identity, options })
    }

    async fn run(mut self) -> Result<WriteOutcome, WriteError> {
        for _ in 0..ATTEMPTS {
            match self.try_once().await? {
                TryEnd::Done(outcome) => return Ok(outcome),
                TryEnd::Moved(dn) => {
                    self.locks.insert(locks::of_dn(&self.territory.key(&dn)?));
                    self.found = Some(dn);
                }
            }
        }
        let detail = "the entry is renamed all the time";
        Err(WriteError { retry_after: Some(1), ..WriteError::new(WriteErrorKind::Unavailable, detail) })
    }

    fn is_new(&self) -> bool {
        self.found.is_none()
    }

    /// Returns the error of a failure, or of the fence's refusal that caused it.
    fn error(&self, error: &DirectoryError, refused: Option<WriteError>) -> WriteError {
        refused.unwrap_or_else(|| refusal::of_directory(error, self.directory.schema()))
    }

    fn fence(&self) -> Fence {
        let own = self.rule.own_attributes(self.directory);
        Fence::new(self.territory.clone(), Some(self.rule.kind)).with_own(own)
    }

    async fn try_once(&self) -> Result<TryEnd, WriteError> {
        let _held = self.writer.state().locks.lock(&self.locks).await;
        let current = self.found.as_deref().unwrap_or(&self.dn);
        entries::check_condition(self.directory, current, self.options.condition.as_ref()).await?;
        let _name = self.lock_name().await?;
        self.check_unique().await?;
        let planning = Planning::new(self.directory, self.fence());
        let attempt = self.apply(&planning.destination).await;
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => return Err(self.failed(&error, planning.refusal()).await),
        };
        if let TaskOutcome::NotLocked(dn) = attempt.outcome {
            return Ok(TryEnd::Moved(dn));
        }
        let effect = refusal::effect(attempt.outcome, &self.dn, self.is_new())?;
        let memberships = Memberships::new(self.writer, self.directory, GivenNames::default())?;
        let watch = Box::pin(memberships.watch(self.directory, &planning.changes(), false)).await?;
        let followed = Box::pin(memberships.follow(&watch, &planning.destination)).await?;
        let mut plan = planning.end().await?;
        plan.changes.extend(followed);
        if self.options.dry_run || plan.changes.is_empty() {
            return Ok(TryEnd::Done(self.outcome(effect, &plan.changes, plan.text, None, None)));
        }
        self.carry_out(plan, &memberships, &watch).await
    }

    /// Makes the changes.
    async fn carry_out(
        &self,
        plan: Plan,
        memberships: &Memberships,
        watch: &Watch,
    ) -> Result<TryEnd, WriteError> {
        let directory = self.directory;
        let reservation = self.writer.guard().reserve(plan.deletes).await?;
        let label = self.rule.kind.stream();
        let change_set = match self.writer.begin(label, directory).await {
            Ok(change_set) => change_set,
            Err(error) => {
                self.writer.guard().release(reservation, plan.deletes).await;
                return Err(error);
            }
        };
        let condition = Some(self.conditions()).filter(|_| directory.takes_assertions()).flatten();
        let fence = self.fence().with_condition(condition);
        let (fence, tally) = (Arc::new(fence), Arc::new(Tally::default()));
        let destination = Destination::new(directory.clone(), fence.protection())
            .with_undo(Some(change_set.undo()))
            .with_tally(tally.clone())
            .with_gate(Some(fence.clone()));
        let mut result = self.apply(&destination).await;
        let mut followed = Ok(Vec::new());
        if matches!(&result, Ok(attempt) if !matches!(attempt.outcome, TaskOutcome::NotLocked(_))) {
            followed = Box::pin(memberships.follow(watch, &destination)).await;
        }
        if result.is_ok() && !directory.applies_at_once() {
            result = destination.commit().and(result);
        }
        let is_unknown = result.as_ref().is_err_and(DirectoryError::is_outcome_unknown);
        let result = match result {
            Ok(Attempt { outcome: TaskOutcome::NotLocked(dn), .. }) => Ok(Err(dn)),
            Ok(attempt) => refusal::effect(attempt.outcome, &self.dn, self.is_new()).map(Ok),
            Err(error) => Err(self.failed(&error, fence.refusal()).await),
        };
        let result = result.and_then(|effect| followed.map(|followed| (effect, followed)));
        let mut left = Vec::new();
        if result.is_err() {
            left = Box::pin(whole::take_back(&change_set, directory, &fence, self.is_new())).await;
        }
        let made = if result.is_err() && left.is_empty() && !fence.has_deleted() {
            0
        } else {
            deletes(&tally, directory).await.unwrap_or(plan.deletes)
        };
        let unused = if is_unknown { 0 } else { plan.deletes.saturating_sub(made) };
        self.writer.guard().release(reservation, unused).await;
        let undo_file = change_set.finish(directory).await;
        let with_file = |error| {
            let error = whole::with_left(error, &left, &self.dn, undo_file.as_deref());
            WriteError { undo_file: undo_file.clone(), ..error }
        };
        let (effect, followed) = match result.map_err(with_file)? {
            (Ok(effect), followed) => (effect, followed),
            (Err(dn), _) => return Ok(TryEnd::Moved(dn)),
        };
        let id = match effect {
            Effect::Deleted | Effect::Moved => None,
            _ => Writer::id_of(directory, &self.dn_after(effect, &fence.changes())).await,
        };
        let changes = [fence.changes(), followed].concat();
        let outcome = self.outcome(effect, &changes, plan.text, undo_file, id);
        tracing::info!(
            dn = outcome.dn.as_str(),
            undo_file = outcome.undo_file.as_deref(),
            changes = outcome.changes.len(),
            "{label}: `{}` {}",
            outcome.dn,
            effect.word()
        );
        Ok(TryEnd::Done(outcome))
    }

    /// Returns the error of a failure. Not found is the entry itself alone, not another one that the change needs.
    async fn failed(&self, error: &DirectoryError, refused: Option<WriteError>) -> WriteError {
        let refused = self.error(error, refused);
        let (Some(_), Some(identity)) = (&self.found, &self.identity) else { return refused };
        if refused.kind != WriteErrorKind::NotFound {
            return refused;
        }
        let base = &self.rule.base_dn;
        let there = lookup::find(self.directory, base, Scope::Subtree, identity.clone(), &["1.1"], 1).await;
        if there.is_ok_and(|there| there.is_empty()) {
            return refused;
        }
        WriteError { kind: WriteErrorKind::Refused, ..refused }
    }

    /// Keeps other services with the same folder from writing the name meanwhile.
    async fn lock_name(&self) -> Result<Option<shared_names::SharedName>, WriteError> {
        let Some((name, value)) = self.unique.as_ref().filter(|_| !self.options.dry_run) else {
            return Ok(None);
        };
        let schema = self.directory.schema();
        let key = locks::of_value(name, &schema.equality(name).normalize(value, schema));
        shared_names::lock(self.writer.undo_dir()?, &key).await.map(Some)
    }

    /// Returns what must hold when the first change is made.
    fn conditions(&self) -> Option<Filter> {
        match (self.identity.clone(), self.options.condition.clone()) {
            (Some(identity), Some(condition)) => Some(Filter::And(vec![identity, condition])),
            (identity, condition) => identity.or(condition),
        }
    }

    async fn apply(&self, destination: &Destination) -> Result<Attempt, DirectoryError> {
        let applier = Applier::new(destination.clone(), false, EntryClaims::default())
            .asserting(self.directory.takes_assertions());
        let context =
            AttemptContext { found: self.found.clone(), is_last_try: true, ..AttemptContext::default() };
        Box::pin(applier.apply(None, &self.task, &self.key, &context)).await
    }

    /// Checks that no other entry of the kind has the name.
    async fn check_unique(&self) -> Result<(), WriteError> {
        let Some((name, value)) = &self.unique else { return Ok(()) };
        let filter = Filter::equality(name.clone(), value.clone());
        let Some(other) = self.find_other(filter.clone()).await? else { return Ok(()) };
        let mut detail = format!("another entry has this value of `{name}`");
        if let Some(of_kind) = self.writer.filter(self.rule.kind)
            && self.find_other(Filter::And(vec![of_kind.clone(), filter])).await?.is_none()
        {
            let setting = format!("{}.filter", self.rule.kind.stream());
            detail = format!("{detail}, and {setting} leaves it out: it is in no list");
            tracing::warn!(setting, dn = other, "{detail}");
        }
        Err(WriteError::new(WriteErrorKind::Taken, detail).of_attribute(name.clone()))
    }

    /// Returns the DN of another entry below the base that matches a filter.
    async fn find_other(&self, filter: Filter) -> Result<Option<String>, WriteError> {
        let found =
            lookup::find(self.directory, &self.rule.base_dn, Scope::Subtree, filter, &["1.1"], 2).await;
        let found = found.map_err(|e| refusal::of_directory(&e, self.directory.schema()))?;
        let own = self.found.as_deref().and_then(|dn| self.territory.key(dn).ok());
        Ok(found.into_iter().map(|entry| entry.dn).find(|dn| self.territory.key(dn).ok() != own))
    }

    fn dn_after(&self, effect: Effect, changes: &[Change]) -> String {
        match effect {
            Effect::Added | Effect::Renamed => self.dn.clone(),
            Effect::Moved => changes.iter().rev().find_map(Change::new_dn).unwrap_or_else(|| self.dn.clone()),
            _ => self.found.clone().unwrap_or_else(|| self.dn.clone()),
        }
    }

    fn outcome(
        &self,
        effect: Effect,
        changes: &[Change],
        plan: String,
        undo_file: Option<String>,
        id: Option<super::EntryId>,
    ) -> WriteOutcome {
        let secrets = self.directory.secret_attributes();
        WriteOutcome {
            effect,
            dn: self.dn_after(effect, changes),
            id,
            changes: refusal::without_secrets(changes.to_vec(), |name| secrets.contains(name)),
            plan,
            undo_file,
        }
    }
}
