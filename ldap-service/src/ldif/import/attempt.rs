//! One try of a record of an import.

use std::collections::BTreeSet;
use std::sync::Arc;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::{Directory, DirectoryError, Vendor};
use target_ldap::map::wanted::{Wanted, WantedEntry};
use target_ldap::map::{Task, WritePolicy};
use target_ldap::rules::rule::Operations;
use target_ldap::write::claims::EntryClaims;
use target_ldap::write::counts::RecordOutcome;
use target_ldap::write::destination::Destination;
use target_ldap::write::ldap_result::is_records_fault;
use target_ldap::write::{Applier, AttemptContext, WriteOutcome};

use super::records::{Action, Prepared};
use super::run::gift_of_change;
use crate::members::UID;
use crate::write::{
    EntryId, Fence, Gift, GivenLogins, ImportRules, KeptDeletion, LoginNames, Memberships, Territory, Watch,
    WriteError, WriteErrorKind, Writer, change_first, check_deletion, of_directory, of_dn,
};

mod back;
mod keep;
mod same;

pub(super) fn internal(what: &str) -> WriteError {
    WriteError::new(WriteErrorKind::Internal, format!("internal error: {what}"))
}

/// What a record comes to, by the rule of its entry.
struct Ruled {
    action: Action,
    /// A deletion that keeps the entry.
    kept: Option<KeptDeletion>,
    /// Why the entry is not changed, if it is there and differs.
    forbidden: Option<WriteError>,
}

/// Returns the DN of the entry that an action is about.
fn dn_of(action: &Action) -> &str {
    match action {
        Action::Task(task) => task.dn().unwrap_or_default(),
        Action::Change(change) => change.dn(),
        Action::Delete(dn) => dn,
    }
}

/// Returns the action of a record of content, which may change an entry that is there, or not.
fn upsert(wanted: WantedEntry, filter: Option<String>, policy: &WritePolicy, update: bool) -> Action {
    let write_policy =
        WritePolicy { operations: Operations { update, ..policy.operations }, ..policy.clone() };
    Action::Task(Task::Upsert { wanted, filter, write_policy: Arc::new(write_policy) })
}

/// Returns how a record ends whose names in groups cannot be kept.
fn ended(error: WriteError) -> Outcome {
    match error.kind {
        WriteErrorKind::Unavailable
        | WriteErrorKind::OutcomeUnknown
        | WriteErrorKind::Undo
        | WriteErrorKind::Internal => Outcome::Failed(error),
        _ => Outcome::Rejected(error),
    }
}

/// The outcome of one try of a record.
pub(super) enum Outcome {
    Done(RecordOutcome),
    /// In place of a deletion.
    Left(RecordOutcome),
    /// It, or a part of it, needs an entry that may come later.
    Again(Option<RecordOutcome>),
    Rejected(WriteError),
    /// The import cannot go on.
    Failed(WriteError),
}

impl Outcome {
    /// Whether the last change may have been made.
    fn is_unknown(&self) -> bool {
        matches!(self, Outcome::Failed(error) if error.kind == WriteErrorKind::OutcomeUnknown)
    }
}

/// One try of a record.
pub(super) struct Attempt {
    pub(super) writer: Writer,
    pub(super) directory: Directory,
    pub(super) destination: Destination,
    pub(super) territory: Arc<Territory>,
    pub(super) memberships: Arc<Memberships>,
    /// Those of deletions that keep their entries.
    pub(super) kept_memberships: Arc<Memberships>,
    /// With what is known of the rights of the service's user.
    pub(super) applier: Applier,
    pub(super) logins: Option<LoginNames>,
    pub(super) rules: ImportRules,
    pub(super) is_last: bool,
    pub(super) is_plan: bool,
    /// What an earlier try has done of it.
    pub(super) part: Option<RecordOutcome>,
}

impl Attempt {
    pub(super) async fn run(self, prepared: Prepared) -> Outcome {
        let Prepared { action, keys, .. } = prepared;
        let state = self.writer.state();
        let given = self.logins.as_ref().map(|of| self.given(of, &action)).unwrap_or_default();
        let names: BTreeSet<_> =
            self.logins.iter().flat_map(|of| of.locks(&given, self.directory.schema())).collect();
        let locked: BTreeSet<_> = keys.iter().map(of_dn).chain(names.iter().cloned()).collect();
        let locked = if self.is_plan { BTreeSet::new() } else { locked };
        let _held = state.locks.lock(&locked).await;
        let _shared = match self.writer.lock_shared(&locked, &names).await {
            Ok(shared) => shared,
            Err(error) => return Outcome::Failed(error),
        };
        let own = self.part.filter(|part| *part == RecordOutcome::Added).and_then(|_| keys.first().cloned());
        let dn = dn_of(&action).to_owned();
        let outcome = Box::pin(self.tried(action, keys, &given)).await;
        // Whatever the rest of the record is refused for.
        if let (Outcome::Rejected(_), Some(key)) = (&outcome, own) {
            self.remove_added(&dn, &key).await;
        }
        outcome
    }

    /// Tries a record whose entries and names are locked.
    async fn tried(&self, action: Action, keys: Vec<DnKey>, given: &GivenLogins) -> Outcome {
        let Ruled { action, kept, forbidden } = match self.ruled(action).await {
            Ok(ruled) => ruled,
            Err(error) => return ended(error),
        };
        if matches!(&action, Action::Change(Change::Modify { changes, .. }) if changes.is_empty()) {
            return self.unchanged(dn_of(&action)).await;
        }
        let rule = kept.as_ref().map(|kept| &kept.rule);
        let fence = Fence::new(self.territory.clone(), rule.map(|rule| rule.kind));
        let fence = if kept.is_some() { fence } else { fence.forgetting() };
        let fence = Arc::new(fence.with_own(rule.map(|rule| rule.own.clone()).unwrap_or_default()));
        let destination = self.destination.clone().with_gate(Some(fence.clone()));
        if let Some(kept) = kept {
            return self.keep(kept, keys, &destination, &fence).await;
        }
        if let Action::Delete(dn) = &action
            && let Err(error) = check_deletion(&destination, dn).await
        {
            return ended(error);
        }
        let watch = match self.watch(&action, &destination).await {
            Ok(watch) => watch,
            Err(error) if !self.is_last && self.may_be_given(&error) => return Outcome::Again(None),
            Err(error) => return ended(error),
        };
        let is_free = match &self.logins {
            Some(of) => self.check_logins(of, &destination, &action, given).await,
            None => Ok(()),
        };
        match is_free {
            Ok(()) => {}
            // A record that comes later may take the name from the other user.
            Err(error) if !self.is_last && error.kind == WriteErrorKind::Taken => {
                return Outcome::Again(None);
            }
            Err(error) => return ended(error),
        }
        let outcome = self.carry_out(action, keys, &watch, &destination, &fence).await;
        match (outcome, forbidden) {
            (Outcome::Rejected(error), Some(forbidden)) if error.kind == WriteErrorKind::Taken => {
                Outcome::Rejected(forbidden)
            }
            (outcome, _) => outcome,
        }
    }

    /// Makes the changes of a record, and those of the groups that name its entry.
    async fn carry_out(
        &self,
        action: Action,
        keys: Vec<DnKey>,
        watch: &Watch,
        destination: &Destination,
        fence: &Fence,
    ) -> Outcome {
        let gift = self.gift(&action);
        let mut emptied = Vec::new();
        let result = match self.check_protected(&action).await {
            Ok(None) => {
                emptied = match self.emptied(&action, watch).await {
                    Ok(emptied) => emptied,
                    Err(error) => return ended(error),
                };
                if let Err(error) = change_first(&emptied, destination).await {
                    return back::taken_back(ended(error), &emptied, &Entry::default(), destination).await;
                }
                self.apply(destination, action, keys).await
            }
            Ok(Some(refusal)) => return Outcome::Rejected(refusal),
            Err(error) => Err(error),
        };
        if let Ok(outcome @ Outcome::Done(_)) = result {
            if let (Some(gift), Some(mut given)) = (gift, self.memberships.given()) {
                given.made(&gift);
            }
            return match Box::pin(self.memberships.follow(watch, destination, true)).await.result {
                Ok(()) => outcome,
                Err(error) => {
                    let detail = format!("the record was carried out, but {}", error.detail);
                    ended(WriteError { detail, ..error })
                }
            };
        }
        let outcome = result.unwrap_or_else(|error| self.failed(&error, fence));
        // The entry may be gone.
        if outcome.is_unknown() {
            return outcome;
        }
        back::taken_back(outcome, &emptied, &Entry::default(), destination).await
    }

    /// Returns how a record ends whose change failed.
    fn failed(&self, error: &DirectoryError, fence: &Fence) -> Outcome {
        if let Some(refusal) = fence.refusal() {
            return Outcome::Rejected(refusal);
        }
        let mut refused = of_directory(error, self.directory.schema());
        // The server answered, and is there: the next record may be in order.
        if !is_records_fault(error) && refused.kind != WriteErrorKind::Refused {
            return Outcome::Failed(refused);
        }
        if refused.kind == WriteErrorKind::Unavailable {
            refused = WriteError { kind: WriteErrorKind::Invalid, detail: error.to_string(), ..refused };
        }
        Outcome::Rejected(refused)
    }

    /// Returns what an action comes to by the rule of its entry.
    ///
    /// # Errors
    /// The rule does not allow it.
    async fn ruled(&self, action: Action) -> Result<Ruled, WriteError> {
        let (directory, territory) = (&self.destination, &*self.territory);
        let plain = |action| Ruled { action, kept: None, forbidden: None };
        Ok(match action {
            Action::Change(change) => {
                self.rules.check_change(directory, territory, &change).await?;
                plain(Action::Change(self.without_same(change).await?))
            }
            Action::Delete(dn) => {
                let kept = self.rules.deletion(directory, territory, &dn).await?;
                Ruled { kept, ..plain(Action::Delete(dn)) }
            }
            // It completes what it has added itself.
            Action::Task(Task::Upsert { wanted, filter, write_policy })
                if self.part == Some(RecordOutcome::Added) =>
            {
                plain(upsert(wanted, filter, &write_policy, true))
            }
            Action::Task(Task::Upsert { wanted, filter, write_policy }) => {
                let entry = wanted.to_entry();
                let forbidden = match self.rules.check_entry(directory, territory, &entry).await? {
                    None => self.protected(&entry).await?,
                    forbidden => forbidden,
                };
                let is_kept = forbidden.is_some() && write_policy.operations.update;
                let may_update = write_policy.operations.update && !is_kept;
                let action = plain(upsert(wanted, filter, &write_policy, may_update));
                Ruled { forbidden: forbidden.filter(|_| is_kept), ..action }
            }
            other @ Action::Task(_) => plain(other),
        })
    }

    /// Checks the names in groups that a record gives, and notes those that it takes away.
    async fn watch(&self, action: &Action, destination: &Destination) -> Result<Watch, WriteError> {
        let change = self.change_of(action, destination).await?;
        Box::pin(self.memberships.watch(destination, &[change], true)).await
    }

    /// Returns the change of names that an action may make.
    async fn change_of(&self, action: &Action, destination: &Destination) -> Result<Change, WriteError> {
        let task = match action {
            Action::Change(change) => return Ok(change.clone()),
            Action::Delete(dn) => return Ok(Change::Delete { dn: dn.clone() }),
            Action::Task(task) => task,
        };
        let Task::Upsert { wanted, write_policy, .. } = task else {
            return Ok(Change::Delete { dn: task.dn().unwrap_or_default().to_owned() });
        };
        let schema = self.directory.schema();
        let is_uid = |a: &&Wanted| schema.same_description(&a.description, UID);
        let uids: Vec<&Wanted> = wanted.attributes.iter().filter(is_uid).collect();
        let dn = wanted.dn.clone();
        // The user names of an entry that is there are replaced by those of the record.
        let is_there = !uids.is_empty()
            && write_policy.operations.update
            && destination.read(&dn, &["1.1"]).await.map_err(|e| of_directory(&e, schema))?.is_some();
        if is_there {
            let steps = uids.into_iter().map(|a| {
                Modification::new(ModificationKind::Replace, a.description.clone(), a.values.clone())
            });
            return Ok(Change::Modify { dn, changes: steps.collect() });
        }
        let attributes = uids.into_iter().map(|a| Attribute::new(a.description.clone(), a.values.clone()));
        Ok(Change::Add(Entry { dn, attributes: attributes.collect() }))
    }

    /// Returns the login names that an action gives.
    fn given(&self, of: &LoginNames, action: &Action) -> GivenLogins {
        let schema = self.directory.schema();
        match action {
            Action::Change(change) => of.of_change(change, schema),
            Action::Task(Task::Upsert { wanted, .. }) => of.of_wanted(wanted, schema),
            Action::Task(_) | Action::Delete(_) => GivenLogins::new(),
        }
    }

    /// Checks that the login names that an action gives are no other user's.
    async fn check_logins(
        &self,
        of: &LoginNames,
        directory: &Directory,
        action: &Action,
        given: &GivenLogins,
    ) -> Result<(), WriteError> {
        let (dn, added) = match action {
            Action::Change(change) => (change.dn(), None),
            Action::Task(Task::Upsert { wanted, .. }) => (wanted.dn.as_str(), Some(wanted.to_entry())),
            Action::Task(_) | Action::Delete(_) => return Ok(()),
        };
        let preview = Some(directory).filter(|_| self.is_plan);
        match of.check(&self.directory, preview, dn, given).await {
            Err(error) if error.kind == WriteErrorKind::Taken => {
                let is_no_user = of.is_no_user(directory, dn, added.as_ref()).await?;
                if is_no_user { Ok(()) } else { Err(error) }
            }
            Ok(())
                if self.is_plan
                    && !given.is_empty()
                    && !of.is_no_user(directory, dn, added.as_ref()).await? =>
            {
                of.plan(dn, given, self.directory.schema());
                Ok(())
            }
            checked => checked,
        }
    }

    /// Whether the groups that have a name are in the file: their records, which may come later, may give it to them.
    fn may_be_given(&self, error: &WriteError) -> bool {
        error.kind == WriteErrorKind::NameInGroups
            && self
                .memberships
                .given()
                .is_some_and(|given| given.are_promised(&error.groups, &self.directory))
    }

    /// Returns the members that an action names.
    fn gift(&self, action: &Action) -> Option<Gift> {
        match action {
            Action::Task(Task::Upsert { wanted, .. }) => {
                let values = wanted.attributes.iter().map(|a| (a.description.as_str(), a.values.as_slice()));
                Gift::of(&wanted.dn, values, &self.directory)
            }
            Action::Change(change) => gift_of_change(change, &self.directory),
            Action::Task(_) | Action::Delete(_) => None,
        }
    }

    /// Checks whether the directory itself protects an existing entry. A record of content may be as it is.
    async fn check_protected(&self, action: &Action) -> Result<Option<WriteError>, DirectoryError> {
        if matches!(action, Action::Task(_)) {
            return Ok(None);
        }
        let dn = dn_of(action);
        let is_protected = EntryId::is_protected_by_directory(&self.directory, dn).await?;
        if is_protected {
            return Ok(Some(same::own_account(dn)));
        }
        let entry = self.directory.read(dn, &["objectClass"]).await?;
        let mut classes = entry.iter().flat_map(|entry| entry.values("objectClass"));
        let is_policy = classes.any(|class| self.territory.attributes.is_policy(class));
        let detail = || format!("`{dn}` is a definition of policies, roles or attributes of other entries");
        Ok(is_policy.then(|| WriteError::new(WriteErrorKind::Protected, detail())))
    }

    async fn apply(
        &self,
        destination: &Destination,
        action: Action,
        keys: Vec<DnKey>,
    ) -> Result<Outcome, DirectoryError> {
        let key = keys.into_iter().next().unwrap_or_default();
        match action {
            Action::Change(change) => {
                destination.apply(&change).await?;
                self.applier.watch_change(&change).await;
                let is_rename = matches!(change, Change::Rename { .. });
                Ok(Outcome::Done(if is_rename { RecordOutcome::Renamed } else { RecordOutcome::Modified }))
            }
            Action::Delete(dn) => {
                let Ok(permit) = EntryClaims::default().permit(None, &dn, &key, false) else {
                    return Ok(Outcome::Failed(internal("a deletion without permission")));
                };
                match destination.delete(&permit).await {
                    Ok(()) => Ok(Outcome::Done(RecordOutcome::Deleted)),
                    Err(e) if e.is_no_such_object() => Ok(Outcome::Done(RecordOutcome::Unchanged)),
                    Err(e) => Err(e),
                }
            }
            Action::Task(task) => {
                // Servers other than Active Directory accept references to entries that come later.
                let waits = self.directory.root_dse().vendor == Vendor::ActiveDirectory && !self.is_last;
                let context = AttemptContext { is_last_try: !waits, ..AttemptContext::default() };
                let applier = Applier::new(destination.clone(), false, self.applier.claims().clone())
                    .asserting(self.directory.takes_assertions())
                    .checking_rights_with(&self.applier);
                let attempt = applier.apply(None, &task, &key, &context).await?;
                let is_whole = attempt.deferred.is_empty();
                let dn = task.dn().unwrap_or_default();
                let rejected = |kind, detail: String| Ok(Outcome::Rejected(WriteError::new(kind, detail)));
                let done = match attempt.outcome {
                    WriteOutcome::Added => RecordOutcome::Added,
                    WriteOutcome::Modified => RecordOutcome::Modified,
                    WriteOutcome::Renamed => RecordOutcome::Renamed,
                    WriteOutcome::Moved => RecordOutcome::Moved,
                    WriteOutcome::Unchanged | WriteOutcome::Ignored => RecordOutcome::Unchanged,
                    WriteOutcome::TooEarly(_) | WriteOutcome::NeedsEntries(_) if !self.is_last => {
                        return Ok(Outcome::Again(None));
                    }
                    WriteOutcome::TooEarly(_) => {
                        let detail = format!("the entry above `{dn}` does not exist");
                        return rejected(WriteErrorKind::Invalid, detail);
                    }
                    WriteOutcome::LeftAlone => {
                        return rejected(
                            WriteErrorKind::Taken,
                            format!("an entry `{dn}` exists, and differs"),
                        );
                    }
                    WriteOutcome::Unreadable(unreadable) => {
                        return rejected(WriteErrorKind::Misconfigured, unreadable.to_string());
                    }
                    WriteOutcome::Refused(reason)
                    | WriteOutcome::Kept(reason)
                    | WriteOutcome::NotMoved(reason) => {
                        return rejected(WriteErrorKind::Invalid, reason);
                    }
                    _ => return Ok(Outcome::Failed(internal("an open outcome"))),
                };
                Ok(if is_whole { Outcome::Done(done) } else { Outcome::Again(Some(done)) })
            }
        }
    }
}
