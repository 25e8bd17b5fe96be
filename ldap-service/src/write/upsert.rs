//! Writes of one whole entry: adding, changing, deleting it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn::{DnKey, parent};
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError};
use serde_json::{Map, Value};
use target_ldap::map::wanted::Wanted;
use target_ldap::map::{Task, WritePolicy};
use target_ldap::rules::accounts::AccountLock;
use target_ldap::rules::rule::Operations;
use target_ldap::write::claims::EntryClaims;
use target_ldap::write::destination::Destination;
use target_ldap::write::guard::Tally;
use target_ldap::write::{Applier, Attempt, AttemptContext, WriteOutcome as TaskOutcome};

use super::asked::{self, Asked};
use super::disabled::LockCheck;
use super::fence::{Fence, Territory};
use super::locks::{self, LockKey};
use super::logins::{GivenLogins, LoginNames};
use super::mapped::{below, check_match, keep_naming_values, upsert_of};
use super::memberships::{GivenNames, Memberships, Watch};
use super::plan::{Plan, Planning, deletes};
use super::rules::KindRule;
use super::whole::{self, check_operations, check_place, keeps, place_of};
use super::{
    Effect, EntryRef, Placement, ResourceKind, Subject, WriteError, WriteErrorKind, WriteOptions,
    WriteOutcome, Writer, emptied, entries, namesakes, primary_groups, refusal, spelling,
};

mod checks;

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
    /// Those of `locks` that are names.
    names: BTreeSet<LockKey>,
    /// The login names that the entry gets.
    logins: Option<(LoginNames, GivenLogins)>,
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
    mut options: WriteOptions,
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
            wanted = upsert_of(&rule, record.clone(), directory)?.0;
            below(&mut wanted, place.as_deref());
        }
    }
    if let Some(current) = current.as_deref().filter(|_| options.placement != Placement::Same) {
        keep_naming_values(&mut wanted, current, schema);
    }
    options.asked = Asked::of(&record, &options.for_name_only, schema);
    asked::check_password(&wanted, &rule, is_new)?;
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
        other_scopes: Vec::new(),
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
    if whole::is_ignored(&task) {
        return Err(whole::not_deleted(kind));
    }
    check_place(directory, kind, &task).await?;
    if !keeps(&task) {
        primary_groups::check_deletion(directory, &dn).await?;
    }
    let existing = EntryRef { dn, id: entry.id.clone() };
    Job::new((writer, directory), rule, territory, task, Some(existing), options)?.run().await
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
        let (mut unique, mut logins, mut names) = (None, None, BTreeSet::new());
        if let Task::Upsert { wanted, .. } = &task {
            if rule.kind == ResourceKind::Users {
                logins = LoginNames::of(writer, directory).map(|of| {
                    let given = of.of_wanted(wanted, schema);
                    (of, given)
                });
            }
            let is_naming = |a: &&Wanted| schema.same_description(&a.description, &rule.naming);
            let value = wanted.attributes.iter().find(is_naming);
            unique = value.and_then(|a| Some((a.description.clone(), a.values.first()?.clone())));
        }
        if let Some((name, value)) = &unique {
            names.insert(locks::of_value(name, &schema.equality(name).normalize(value, schema)));
        }
        names.extend(logins.iter().flat_map(|(of, given)| of.locks(given, schema)));
        locks.extend(names.iter().cloned());
        let (mut found, mut identity) = (None, None);
        if let Some(EntryRef { dn, id }) = existing {
            locks.insert(locks::of_dn(&territory.key(&dn)?));
            locks.insert(locks::of_value(&id.attribute, &id.value));
            identity = Some(id.filter());
            found = Some(dn);
        }
        Ok(Job {
            writer,
            directory,
            rule,
            territory,
            task,
            dn,
            key,
            found,
            unique,
            locks,
            names,
            logins,
            identity,
            options,
        })
    }

    async fn run(mut self) -> Result<WriteOutcome, WriteError> {
        for attempt in 1..=ATTEMPTS {
            match self.try_once().await {
                Ok(TryEnd::Done(outcome)) => return Ok(outcome),
                Ok(TryEnd::Moved(dn)) => self.follow(dn)?,
                Err(error) if !refusal::is_stale(&error) => return Err(error),
                // Another client was faster, so that the entry is looked at again; or the entry shows what it does not have.
                Err(error) if attempt == ATTEMPTS => return Err(refusal::of_virtual_value(error)),
                Err(_) => {}
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
        let mut own = self.rule.own_attributes(self.directory);
        // What a killed program left is taken away when an account is enabled.
        let lock = AccountLock::of(self.directory.root_dse().vendor, self.directory.schema());
        own.extend(lock.into_iter().flat_map(AccountLock::bar_attributes).map(str::to_owned));
        Fence::new(self.territory.clone(), Some(self.rule.kind)).with_own(own)
    }

    async fn try_once(&self) -> Result<TryEnd, WriteError> {
        let _held = self.writer.state().locks.lock(&self.locks).await;
        let _shared = if self.options.dry_run {
            None
        } else {
            Some(self.writer.lock_shared(&self.locks, &self.names).await?)
        };
        // An account that is enabled on purpose owes no lock any more.
        let state = self.writer.state();
        let _unpaid = if self.enables() { state.owed.hold().await } else { None };
        let current = self.found.as_deref().unwrap_or(&self.dn);
        entries::check_condition(self.directory, current, self.options.condition.as_ref()).await?;
        self.check_unique().await?;
        let lock = Box::pin(LockCheck::of(&self.task, self.directory, self.found.as_deref())).await?;
        if let Some((of, given)) = &self.logins {
            of.check(self.directory, None, current, given).await?;
        }
        let planning = Planning::new(self.directory, self.fence());
        let attempt = self.apply_to_it(&planning.destination).await;
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => return Err(self.failed(&error, planning.refusal()).await),
        };
        if let TaskOutcome::NotLocked(dn) = attempt.outcome {
            return Ok(TryEnd::Moved(dn));
        }
        let effect = self.planned_effect(attempt.outcome, &planning).await?;
        let (memberships, mut watch) = Box::pin(self.names_in_groups(current, &planning)).await?;
        let followed = Box::pin(memberships.follow(&watch, &planning.destination, false)).await.whole()?;
        let mut plan = planning.end().await?;
        watch.planned(&followed);
        if plan.deletes > 0 && !keeps(&self.task) {
            plan.first = emptied::of(&followed, watch.placeholder());
        }
        plan.changes.extend(followed);
        if plan.changes.is_empty() {
            self.check_kept(effect, &[], None).await?;
            Box::pin(self.check_shown(effect)).await?;
        }
        if self.options.dry_run || plan.changes.is_empty() {
            if let Some(lock) = lock.filter(|_| !self.options.dry_run) {
                Box::pin(lock.check(self.directory, &self.dn_after(effect, &[]))).await?;
            }
            self.note_enabled(effect);
            return Ok(TryEnd::Done(self.outcome(effect, &plan.changes, plan.text, None, None)));
        }
        self.carry_out(plan, &memberships, &watch, lock.as_ref()).await
    }

    /// Returns what the planned changes do to the names in groups.
    async fn names_in_groups(
        &self,
        current: &str,
        planning: &Planning,
    ) -> Result<(Memberships, Watch), WriteError> {
        let (writer, directory) = (self.writer, self.directory);
        if keeps(&self.task) {
            let memberships = Memberships::of_kept(writer, directory)?;
            let watch = memberships.watch_kept(directory, current, place_of(&self.task)).await?;
            return Ok((memberships, watch));
        }
        let memberships = Memberships::new(writer, directory, GivenNames::default())?;
        let watch = memberships.watch(directory, &planning.changes(), false).await?;
        Ok((memberships, watch))
    }

    /// Makes the changes.
    async fn carry_out(
        &self,
        plan: Plan,
        memberships: &Memberships,
        watch: &Watch,
        lock: Option<&LockCheck>,
    ) -> Result<TryEnd, WriteError> {
        let directory = self.directory;
        let condition = Some(self.conditions()?).filter(|_| directory.takes_assertions()).flatten();
        let reservation = self.writer.guard().reserve(plan.deletes).await?;
        let label = self.rule.kind.stream();
        let change_set = match self.writer.begin(label, directory).await {
            Ok(change_set) => change_set,
            Err(error) => {
                self.writer.guard().release(reservation, plan.deletes).await;
                return Err(error);
            }
        };
        let fence = self.fence().with_condition(condition);
        let (fence, tally) = (Arc::new(fence), Arc::new(Tally::default()));
        let destination = Destination::new(directory.clone(), fence.protection())
            .with_undo(Some(change_set.undo()))
            .with_tally(tally.clone())
            .with_gate(Some(fence.clone()));
        let first = if keeps(&self.task) {
            Box::pin(memberships.follow(watch, &destination, false)).await.whole()
        } else {
            emptied::change_first(&plan.first, &destination).await.map(|()| plan.first)
        };
        if let Err(error) = &first {
            let error = error.clone();
            let left = Box::pin(whole::take_back(&change_set, directory, &fence, false)).await;
            self.writer.guard().release(reservation, plan.deletes).await;
            let undo_file = change_set.finish(directory).await;
            let error = whole::with_left(error, &left, &self.dn, undo_file.as_deref());
            return Err(WriteError { undo_file, ..error });
        }
        let mut result = self.apply_to_it(&destination).await;
        let mut followed = Ok(Vec::new());
        if matches!(&result, Ok(attempt) if !matches!(attempt.outcome, TaskOutcome::NotLocked(_))) {
            // What was deleted is not taken back, so that each group counts.
            let is_whole = fence.has_deleted();
            followed = Box::pin(memberships.follow(watch, &destination, is_whole)).await.whole();
            if let Err(error) = &mut followed
                && is_whole
            {
                error.detail = format!("`{}` was deleted, but {}", self.dn, error.detail);
            }
        }
        if result.is_ok() && !directory.applies_at_once() {
            result = destination.commit().and(result);
        }
        let is_unknown = result.as_ref().is_err_and(DirectoryError::is_outcome_unknown);
        let result = match result {
            Ok(Attempt { outcome: TaskOutcome::NotLocked(dn), .. }) => Ok(Err(dn)),
            Ok(attempt) => self.effect(attempt.outcome).await.map(Ok),
            Err(error) => Err(self.failed(&error, fence.refusal()).await),
        };
        let mut result = result.and_then(|effect| followed.map(|followed| (effect, followed)));
        let mut id = None;
        if let Ok((Ok(effect), _)) = &result {
            match self.check_made(*effect, &fence.changes(), lock).await {
                Ok(seen) => id = seen,
                Err(error) => result = Err(error),
            }
        }
        let mut left = Vec::new();
        if !matches!(result, Ok((Ok(_), _))) {
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
            (Err(dn), _) if left.is_empty() => return Ok(TryEnd::Moved(dn)),
            (Err(dn), _) => return Err(with_file(checks::renamed(&dn))),
        };
        if id.is_none() && !matches!(effect, Effect::Deleted | Effect::Moved) {
            id = Writer::id_of(directory, &self.dn_after(effect, &fence.changes())).await;
        }
        self.note_enabled(effect);
        let changes = [first.unwrap_or_default(), fence.changes(), followed].concat();
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

    /// Returns what must hold when the first change of the entry is made.
    fn conditions(&self) -> Result<Option<(DnKey, Filter)>, WriteError> {
        let condition = match (self.identity.clone(), self.options.condition.clone()) {
            (Some(identity), Some(condition)) => Some(Filter::And(vec![identity, condition])),
            (identity, condition) => identity.or(condition),
        };
        let key = self.territory.key(self.found.as_deref().unwrap_or(&self.dn))?;
        Ok(condition.map(|condition| (key, condition)))
    }

    async fn apply(&self, destination: &Destination) -> Result<Attempt, DirectoryError> {
        let applier = Applier::new(destination.clone(), false, EntryClaims::default())
            .asserting(self.directory.takes_assertions());
        let context =
            AttemptContext { found: self.found.clone(), is_last_try: true, ..AttemptContext::default() };
        Box::pin(applier.apply(None, &self.task, &self.key, &context)).await
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
