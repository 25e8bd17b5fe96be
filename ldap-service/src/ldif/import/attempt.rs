//! One try of a record of an import.

use std::collections::BTreeSet;
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Vendor};
use target_ldap::map::Task;
use target_ldap::write::claims::EntryClaims;
use target_ldap::write::counts::RecordOutcome;
use target_ldap::write::destination::Destination;
use target_ldap::write::ldap_result::is_records_fault;
use target_ldap::write::{Applier, AttemptContext, WriteOutcome};

use super::records::{Action, Prepared};
use super::run::gift_of_change;
use crate::members::UID;
use crate::write::{
    EntryId, Fence, Gift, GivenLogins, LoginNames, Memberships, Territory, WriteError, WriteErrorKind,
    Writer, of_directory, of_dn,
};

pub(super) fn internal(what: &str) -> WriteError {
    WriteError::new(WriteErrorKind::Internal, format!("internal error: {what}"))
}

/// Returns the change of names that an action may make.
fn change_of(action: &Action, schema: &Schema) -> Change {
    match action {
        Action::Change(change) => change.clone(),
        Action::Delete(dn) => Change::Delete { dn: dn.clone() },
        Action::Task(task) => {
            let Task::Upsert { wanted, .. } = task else {
                return Change::Delete { dn: task.dn().unwrap_or_default().to_owned() };
            };
            let uids = wanted.attributes.iter().filter(|a| schema.same_description(&a.description, UID));
            let attributes = uids.map(|a| Attribute::new(a.description.clone(), a.values.clone())).collect();
            Change::Add(Entry { dn: wanted.dn.clone(), attributes })
        }
    }
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
    /// It, or a part of it, needs an entry that may come later.
    Again(Option<RecordOutcome>),
    Rejected(WriteError),
    /// The import cannot go on.
    Failed(WriteError),
}

/// One try of a record.
pub(super) struct Attempt {
    pub(super) writer: Writer,
    pub(super) directory: Directory,
    pub(super) destination: Destination,
    pub(super) territory: Arc<Territory>,
    pub(super) memberships: Arc<Memberships>,
    pub(super) claims: EntryClaims,
    pub(super) logins: Option<LoginNames>,
    pub(super) is_last: bool,
    pub(super) is_plan: bool,
}

impl Attempt {
    pub(super) async fn run(self, prepared: Prepared) -> Outcome {
        let Prepared { action, keys, .. } = prepared;
        let state = self.writer.state();
        let logins = self.logins.clone();
        let given = logins.as_ref().map(|of| self.given(of, &action)).unwrap_or_default();
        let names: BTreeSet<_> =
            logins.iter().flat_map(|of| of.locks(&given, self.directory.schema())).collect();
        let locked: BTreeSet<_> = keys.iter().map(of_dn).chain(names.iter().cloned()).collect();
        let locked = if self.is_plan { BTreeSet::new() } else { locked };
        let _held = state.locks.lock(&locked).await;
        let _shared = match self.writer.lock_shared(&locked, &names).await {
            Ok(shared) => shared,
            Err(error) => return Outcome::Failed(error),
        };
        let fence = Arc::new(Fence::new(self.territory.clone(), None).forgetting());
        let destination = self.destination.clone().with_gate(Some(fence.clone()));
        let watch = match Box::pin(self.memberships.watch(
            &destination,
            &[change_of(&action, self.directory.schema())],
            true,
        ))
        .await
        {
            Ok(watch) => watch,
            Err(error) if !self.is_last && self.may_be_given(&error) => return Outcome::Again(None),
            Err(error) => return ended(error),
        };
        let is_free = match &logins {
            Some(of) => self.check_logins(of, &destination, &action, &given).await,
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
        let gift = self.gift(&action);
        let result = match self.check_protected(&action).await {
            Ok(None) => self.apply(&destination, action, keys).await,
            Ok(Some(refusal)) => return Outcome::Rejected(refusal),
            Err(error) => Err(error),
        };
        let error = match result {
            Ok(outcome @ Outcome::Done(_)) => {
                if let (Some(gift), Some(mut given)) = (gift, self.memberships.given()) {
                    given.made(&gift);
                }
                return match Box::pin(self.memberships.follow(&watch, &destination, true)).await {
                    Ok(_) => outcome,
                    Err(error) => {
                        let detail = format!("the record was carried out, but {}", error.detail);
                        ended(WriteError { detail, ..error })
                    }
                };
            }
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        if let Some(refusal) = fence.refusal() {
            return Outcome::Rejected(refusal);
        }
        let mut refused = of_directory(&error, self.directory.schema());
        // The server answered, and is there: the next record may be in order.
        if !is_records_fault(&error) && refused.kind != WriteErrorKind::Refused {
            return Outcome::Failed(refused);
        }
        if refused.kind == WriteErrorKind::Unavailable {
            refused = WriteError { kind: WriteErrorKind::Invalid, detail: error.to_string(), ..refused };
        }
        Outcome::Rejected(refused)
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

    /// Checks whether the directory itself protects an existing entry.
    async fn check_protected(&self, action: &Action) -> Result<Option<WriteError>, DirectoryError> {
        let dn = match action {
            Action::Task(task) => task.dn().unwrap_or_default(),
            Action::Change(change) => change.dn(),
            Action::Delete(dn) => dn,
        };
        let is_protected = EntryId::is_protected_by_directory(&self.directory, dn).await?;
        if is_protected {
            let detail = format!("`{dn}` is one of Active Directory's own accounts");
            return Ok(Some(WriteError::new(WriteErrorKind::Protected, detail)));
        }
        // A content record has the classes itself.
        if matches!(action, Action::Task(_)) {
            return Ok(None);
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
                let applier = Applier::new(destination.clone(), false, self.claims.clone())
                    .asserting(self.directory.takes_assertions());
                let attempt = applier.apply(None, &task, &key, &context).await?;
                let is_whole = attempt.deferred.is_empty();
                let dn = task.dn().unwrap_or_default();
                let rejected = |kind, detail: String| Ok(Outcome::Rejected(WriteError::new(kind, detail)));
                let done = match attempt.outcome {
                    WriteOutcome::Added => RecordOutcome::Added,
                    WriteOutcome::Modified => RecordOutcome::Modified,
                    WriteOutcome::Renamed => RecordOutcome::Renamed,
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
                    WriteOutcome::Refused(reason) | WriteOutcome::Kept(reason) => {
                        return rejected(WriteErrorKind::Invalid, reason);
                    }
                    _ => return Ok(Outcome::Failed(internal("an open outcome"))),
                };
                Ok(if is_whole { Outcome::Done(done) } else { Outcome::Again(Some(done)) })
            }
        }
    }
}
