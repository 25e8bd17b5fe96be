//! Brings one entry into the state that a record asks for: locate it, rename it, compare it, then add or modify it.
//!
//! The directory may change between a search and a write. Such a try is repeated, at most [`ATTEMPTS`] times.

mod adding;
mod references;

use std::borrow::Cow;
use std::ops::ControlFlow;

use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{DirectoryError, Vendor};

use super::applier::{ATTEMPTS, Applier};
use super::claims::{Claimant, DeleteDenied};
use super::groups::{EmptyGroupAction, empty_groups};
use super::ldap_result::{is_records_fault, is_taken_value};
use super::locate::Located;
use super::outcome::{Attempt, AttemptContext, PendingReference, PreviousValues, WriteOutcome};
use super::readable::Unreadable;
use super::references::{DeferredReference, without};
use super::rename::{Rename, is_respelled, without_naming_values};
use crate::map::WritePolicy;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::plan::other_options::other_options;
use crate::plan::standing::Aside;
use crate::rules::names::to_ask;
use crate::rules::password::PasswordPolicy;
use crate::rules::policy::Policy;

mod returning;

/// The upsert of one record's entry, over all its tries.
pub(super) struct Upsert<'a> {
    applier: &'a Applier,
    claimant: Option<&'a Claimant<'a>>,
    wanted: &'a WantedEntry,
    key: &'a DnKey,
    filter: Option<&'a str>,
    write_policy: &'a WritePolicy,
    context: &'a AttemptContext,
    /// Whether the entry does not exist, as far as the digest cache knows: the directory is searched only if it refuses the add.
    is_absent: bool,
    is_renamed: bool,
    is_password_set: bool,
    /// The references that are written once no entry is to come any more.
    postponed: Vec<PendingReference>,
    /// The values that the entry has of its references.
    previous: Vec<PreviousValues>,
    tries: u32,
    /// What is known of the entry, if it was set aside.
    back: Option<Box<Aside>>,
}

/// How a try ended.
enum TryEnd {
    Done(Attempt),
    /// The directory changed in between, or was not as the digest cache says.
    Retry,
}

/// What a try writes to.
struct Target<'a> {
    /// The DN of the entry from now on.
    dn: Cow<'a, str>,
    wanted: Cow<'a, WantedEntry>,
    /// The entry as it was read; `None`: it is to be added.
    current: Option<Entry>,
}

impl From<WriteOutcome> for TryEnd {
    fn from(outcome: WriteOutcome) -> Self {
        TryEnd::Done(outcome.into())
    }
}

impl<'a> Upsert<'a> {
    #[allow(clippy::too_many_arguments, reason = "a record, its entry, and what is known of both")]
    pub(super) fn new(
        applier: &'a Applier,
        claimant: Option<&'a Claimant<'a>>,
        wanted: &'a WantedEntry,
        key: &'a DnKey,
        filter: Option<&'a str>,
        write_policy: &'a WritePolicy,
        context: &'a AttemptContext,
        is_absent: bool,
    ) -> Self {
        Self {
            applier,
            claimant,
            wanted,
            key,
            filter,
            write_policy,
            context,
            is_absent: is_absent && write_policy.operations.create,
            is_renamed: false,
            is_password_set: false,
            postponed: Vec::new(),
            previous: Vec::new(),
            tries: 1,
            back: None,
        }
    }

    /// Writes the entry.
    pub(super) async fn run(mut self) -> Result<Attempt, DirectoryError> {
        loop {
            if let TryEnd::Done(attempt) = self.try_once().await? {
                return Ok(self.with_postponed(attempt));
            }
        }
    }

    async fn try_once(&mut self) -> Result<TryEnd, DirectoryError> {
        let (mut located, is_found_by_filter) = self.locate().await?;
        if self.write_policy.grace.is_some()
            && let Err(reason) = Box::pin(self.note_return(&mut located, is_found_by_filter)).await?
        {
            return Ok(WriteOutcome::Refused(reason).into());
        }
        if let Err(reason) = self.may_write(&located) {
            return Ok(WriteOutcome::Refused(reason).into());
        }
        if let Some(unreadable) = self.unreadable(&located).await? {
            return Ok(WriteOutcome::Unreadable(unreadable).into());
        }
        let mut target = match self.resolve(located).await? {
            ControlFlow::Continue(target) => target,
            ControlFlow::Break(step) => return Ok(step),
        };
        if let Some(entry) = &mut target.current {
            self.applier.directory.complete_ranges(entry).await?;
        }
        self.remove_other_options(&mut target);
        if let ControlFlow::Break(end) = self.check_references(&mut target) {
            return Ok(end);
        }
        if let ControlFlow::Break(step) = self.check_empty_groups(&mut target).await? {
            return Ok(step);
        }
        let Target { dn, mut wanted, current } = target;
        // A file that is replaced as a whole can reference entries that are added later, and its values keep their order.
        let is_allowed = current.is_none() || self.write_policy.operations.update;
        let waits = is_allowed && !self.context.is_last_try && self.context.exchange.is_none();
        let deferred = if waits && !self.applier.directory.is_written_at_once() {
            self.applier.missing_references(&wanted, current.as_ref()).await?
        } else {
            Vec::new()
        };
        let Ok(deferred) = self.postpone_renamed(&mut wanted, current.is_none(), deferred) else {
            return Ok(WriteOutcome::NeedsReferences(Vec::new()).into());
        };
        let Some(current) = current else {
            without(&mut wanted, &deferred);
            if let Some(missing) = self.applier.missing_required(&wanted, &deferred) {
                return Ok(WriteOutcome::NeedsEntries(missing).into());
            }
            return self.add(&wanted, deferred).await;
        };
        if deferred.is_empty() {
            return self.update(&dn, &wanted, &current).await;
        }
        // What the record takes away goes only with what it gives, in one modification: if that is refused, nothing was changed.
        let outcome = if self.is_renamed { WriteOutcome::Renamed } else { WriteOutcome::Unchanged };
        Ok(TryEnd::Done(Attempt { deferred, ..outcome.into() }))
    }

    /// Locates the entry: by the filter if the rule has `match`, else by its DN. Also returns whether the filter matched it.
    async fn locate(&self) -> Result<(Located, bool), DirectoryError> {
        let Self { applier, claimant, wanted, filter, write_policy, context, .. } = *self;
        let schema = applier.directory.schema();
        let (mut located, is_found_by_filter) = if self.is_absent {
            let hidden = match filter {
                Some(filter) => {
                    Box::pin(applier.hidden_from_match(Some(&wanted.dn), filter, write_policy)).await?
                }
                None => None,
            };
            (hidden.map_or(Located::Nowhere, Located::Hidden), false)
        } else if let Some(filter) = filter {
            let names = self.names_to_read();
            let match_lock = applier.match_lock.read().await;
            let found = applier.locate(Some(&wanted.dn), filter, write_policy, context, &names).await?;
            applier.protect_matches(claimant, Some(&wanted.dn), filter, write_policy, &found.0).await?;
            drop(match_lock);
            found
        } else {
            let names = self.names_to_read();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            match applier.directory.read(&wanted.dn, &names).await? {
                Some(entry) => (Located::Named(entry), false),
                None => (Located::Nowhere, false),
            }
        };
        // Another program was faster. The DN is not this record's: another one is chosen.
        if context.is_new && !is_found_by_filter && filter.is_some() && matches!(located, Located::Named(_)) {
            located = Located::Taken(String::new());
        }
        if let (Some(claimant), Some(filter), false) = (claimant, filter, is_found_by_filter) {
            let operations = write_policy.operations;
            let unmatched = &applier.unmatched_entries;
            match &located {
                Located::Nowhere if operations.create => {
                    unmatched.check(claimant, wanted, self.key, None, filter, schema);
                }
                Located::Named(entry) if operations.update => {
                    unmatched.check(claimant, wanted, self.key, Some(entry), filter, schema);
                }
                _ => {}
            }
        }
        Ok((located, is_found_by_filter))
    }

    /// Returns the attributes to read.
    fn names_to_read(&self) -> Vec<String> {
        let (wanted, schema) = (self.wanted, self.applier.directory.schema());
        let mut more = self.applier.account_attributes(wanted);
        more.extend(self.write_policy.grace.iter().map(|grace| grace.marker.as_str()));
        names_to_read(wanted, &more, schema)
    }

    /// Whether the record may write the entry that its filter found, and give it its DN. Else the reason.
    fn may_write(&self, located: &Located) -> Result<(), String> {
        let (Some(claimant), Some(_)) = (self.claimant, self.filter) else { return Ok(()) };
        let (Located::Named(entry) | Located::Elsewhere(entry)) = located else { return Ok(()) };
        let there = self.applier.key(&entry.dn).unwrap_or_default();
        let claims = &self.applier.claims;
        claims.may_write(claimant, &entry.dn, &there)?;
        if there == *self.key { Ok(()) } else { claims.may_write(claimant, &self.wanted.dn, self.key) }
    }

    /// Returns an attribute that the entry does not show, and that the bound user may not read. Before anything is written.
    async fn unreadable(&self, located: &Located) -> Result<Option<Unreadable>, DirectoryError> {
        let (Located::Named(entry) | Located::Elsewhere(entry)) = located else { return Ok(None) };
        // The container of an entry elsewhere, whose rights are asked about.
        let key = match located {
            Located::Elsewhere(entry) => &self.applier.key(&entry.dn).unwrap_or_default(),
            _ => self.key,
        };
        if !self.write_policy.operations.update {
            return Ok(None);
        }
        match self.applier.unreadable(self.wanted, entry, key).await? {
            None => Box::pin(self.applier.hidden_marker(entry, key, self.write_policy)).await,
            unreadable => Ok(unreadable),
        }
    }

    /// Turns the located state into what the try writes to; an entry under another DN is renamed, or steps aside.
    async fn resolve(&mut self, located: Located) -> Result<ControlFlow<TryEnd, Target<'a>>, DirectoryError> {
        let wanted = Cow::Borrowed(self.wanted);
        let dn = Cow::Borrowed(self.wanted.dn.as_str());
        let operations = self.write_policy.operations;
        let stop = |outcome: WriteOutcome| Ok(ControlFlow::Break(outcome.into()));
        let current = match located {
            Located::Several(names) => return stop(WriteOutcome::Several(names)),
            Located::Hidden(unreadable) => return stop(WriteOutcome::Unreadable(unreadable)),
            Located::NotLocked(dn) => return stop(WriteOutcome::NotLocked(dn)),
            Located::Taken(by) => return stop(WriteOutcome::NameTaken(by)),
            Located::Nowhere if !operations.create => return stop(WriteOutcome::LeftAlone),
            Located::Nowhere
                if !self.context.passes_scopes
                    && let Some(filter) = self.filter
                    && let Some(found) = self.applier.in_another_scope(filter, self.write_policy).await? =>
            {
                return stop(WriteOutcome::InAnotherScope(found));
            }
            Located::Nowhere => None,
            Located::Named(entry)
                if self.write_policy.exact_rdn
                    && is_respelled(&entry.dn, &self.wanted.dn, self.applier.directory.schema()) =>
            {
                if !operations.rename {
                    return Ok(ControlFlow::Continue(self.keep_name(entry)));
                }
                match Box::pin(self.rename(&entry)).await? {
                    ControlFlow::Continue(entry) => Some(entry),
                    ControlFlow::Break(end) => return Ok(ControlFlow::Break(end)),
                }
            }
            Located::Named(entry) => Some(entry),
            Located::Elsewhere(_) if self.context.steps_aside => {
                let found = self.context.found.as_deref().unwrap_or_default();
                let attempt = Box::pin(self.applier.step_aside(found)).await?;
                return Ok(ControlFlow::Break(TryEnd::Done(attempt)));
            }
            // A deletion has moved who comes back, whatever records may rename.
            Located::Elsewhere(there) if operations.rename || self.back.is_some() => {
                match Box::pin(self.rename(&there)).await? {
                    ControlFlow::Continue(entry) => Some(entry),
                    ControlFlow::Break(end) => return Ok(ControlFlow::Break(end)),
                }
            }
            Located::Elsewhere(there) => return Ok(ControlFlow::Continue(self.keep_name(there))),
        };
        Ok(ControlFlow::Continue(Target { dn, wanted, current }))
    }

    /// Gives the entry the DN that the record asks for.
    async fn rename(&mut self, there: &Entry) -> Result<ControlFlow<TryEnd, Entry>, DirectoryError> {
        let delete_old_rdn = self.write_policy.delete_old_rdn || self.has_number(&there.dn);
        match Box::pin(self.applier.rename(there, &self.wanted.dn, delete_old_rdn, self.context)).await {
            Ok(Rename::Done(entry)) => {
                self.is_renamed = true;
                Ok(ControlFlow::Continue(entry))
            }
            Ok(Rename::NotDone(outcome)) => Ok(ControlFlow::Break(outcome.into())),
            Err(e) if e.is_no_such_object() && self.may_retry() => Ok(ControlFlow::Break(TryEnd::Retry)),
            Err(e) => Err(e),
        }
    }

    /// The rule forbids renaming: the entry keeps its DN, and the values that are in its RDN.
    fn keep_name(&self, there: Entry) -> Target<'a> {
        let mut wanted = self.wanted.clone();
        without_naming_values(&mut wanted, &there.dn, self.applier.directory.schema());
        Target { dn: Cow::Owned(there.dn.clone()), wanted: Cow::Owned(wanted), current: Some(there) }
    }

    /// Lets a mirrored entry lose the values that it has under options of which the record knows nothing.
    fn remove_other_options(&self, target: &mut Target<'_>) {
        let (Some(known), Some(current)) = (&self.write_policy.known_options, &target.current) else {
            return;
        };
        let surplus = other_options(&target.wanted, current, known, self.applier.directory.schema());
        if !surplus.is_empty() {
            target.wanted.to_mut().attributes.extend(surplus);
        }
    }

    /// Applies `empty_group` to a group that would have no member.
    async fn check_empty_groups(
        &self,
        target: &mut Target<'_>,
    ) -> Result<ControlFlow<TryEnd>, DirectoryError> {
        let applier = self.applier;
        let stop = |outcome: WriteOutcome| Ok(ControlFlow::Break(outcome.into()));
        let schema = applier.directory.schema();
        let is_checked = applier.directory.ldif_rules().is_none_or(|rules| rules.checks_schema);
        let current = target.current.as_ref();
        match empty_groups(&target.wanted, current, &self.write_policy.empty_group, schema, is_checked) {
            EmptyGroupAction::Nothing => {}
            EmptyGroupAction::Becomes(other) => target.wanted = Cow::Owned(other),
            EmptyGroupAction::Goes if current.is_none() => return stop(WriteOutcome::Unchanged),
            EmptyGroupAction::Goes if !self.write_policy.operations.delete => {
                return stop(WriteOutcome::LeftAlone);
            }
            EmptyGroupAction::Goes => {
                let there = applier.key(&target.dn).unwrap_or_default();
                let permit = match applier.permit(self.claimant, &target.dn, &there, false).await? {
                    Ok(permit) => permit,
                    Err(DeleteDenied::Error(reason)) => return stop(WriteOutcome::Refused(reason)),
                    Err(DeleteDenied::Kept(reason)) => return stop(WriteOutcome::Kept(reason)),
                };
                return stop(Box::pin(applier.delete(&permit)).await?);
            }
            EmptyGroupAction::Refused(reason) => return stop(WriteOutcome::Refused(reason)),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Adds the entry.
    async fn add(
        &mut self,
        wanted: &WantedEntry,
        deferred: Vec<DeferredReference>,
    ) -> Result<TryEnd, DirectoryError> {
        match self.applier.add(wanted, self.key, self.context).await {
            Ok(outcome) => Ok(TryEnd::Done(Attempt { deferred, ..outcome.into() })),
            Err(e) if self.is_absent && !e.is_connection() => {
                self.is_absent = false;
                Ok(TryEnd::Retry)
            }
            // Another client was faster: it is an update then.
            Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) && self.may_retry() => {
                Ok(TryEnd::Retry)
            }
            Err(e) => Err(e),
        }
    }

    /// Modifies the entry where it differs.
    async fn update(
        &mut self,
        dn: &str,
        wanted: &WantedEntry,
        current: &Entry,
    ) -> Result<TryEnd, DirectoryError> {
        let applier = self.applier;
        if let Some(exchange) = &self.context.exchange {
            return Ok(TryEnd::Done(Box::pin(applier.exchange(dn, wanted, current, exchange)).await?));
        }
        let mut planned = match Box::pin(self.plan_return(dn, wanted, current)).await? {
            Some(planned) => planned,
            None => applier.planned(wanted, current).await?,
        };
        planned.exop = planned.exop.filter(|_| !self.is_password_set);
        let so_far = match (self.is_renamed, self.is_password_set) {
            (true, _) => WriteOutcome::Renamed,
            (false, true) => WriteOutcome::Modified,
            (false, false) => WriteOutcome::Unchanged,
        };
        if planned.is_empty() {
            return Ok(so_far.into());
        }
        if !self.write_policy.operations.update && self.back.is_none() {
            return Ok(if self.is_renamed { so_far } else { WriteOutcome::LeftAlone }.into());
        }
        if let Some(unreadable) = applier.unreadable_for_change(wanted, current, &planned).await? {
            return Ok(WriteOutcome::Unreadable(unreadable).into());
        }
        // A password that only new entries get goes before the other changes: after them the entry no longer looks as it was added.
        // Any other goes after them: it cannot be taken back if they are refused.
        let is_once = wanted.account.password.as_ref().is_some_and(|p| p.when == PasswordPolicy::CreateOnly);
        if let Some(password) = planned.exop.take_if(|_| is_once) {
            Box::pin(applier.set_password(dn, &password, Some(current))).await?;
            self.is_password_set = true;
        }
        match applier.modify(dn, planned, current).await {
            Ok(()) => {
                let outcome = if self.is_renamed { WriteOutcome::Renamed } else { WriteOutcome::Modified };
                Ok(outcome.into())
            }
            // A value, or the entry, was added or removed in between: the modifications no longer apply.
            Err(e) => {
                let vendor = applier.directory.root_dse().vendor;
                if e.code().is_some_and(|code| is_overtaken(code, vendor)) && self.may_retry() {
                    return Ok(TryEnd::Retry);
                }
                let is_final = !is_taken_value(&e) || self.context.is_last_try;
                if is_final && is_records_fault(&e) && !self.context.gave_up {
                    Box::pin(applier.mend_stand_ins(dn, wanted, current)).await;
                }
                Err(e)
            }
        }
    }

    /// Counts another try, if there may be one.
    fn may_retry(&mut self) -> bool {
        let may_retry = self.tries < ATTEMPTS;
        self.tries += u32::from(may_retry);
        may_retry
    }
}

/// Whether a modify may have been refused because a value, or the entry, was added or removed in between.
fn is_overtaken(code: u32, vendor: Vendor) -> bool {
    match code {
        result_code::NO_SUCH_ATTRIBUTE
        | result_code::ATTRIBUTE_OR_VALUE_EXISTS
        | result_code::NO_SUCH_OBJECT
        | result_code::ASSERTION_FAILED => true,
        // Active Directory returns these for linked attributes, such as `member` ([MS-ADTS] 3.1.1.5.3.2); Samba even with the
        // permissive modify control.
        result_code::ENTRY_ALREADY_EXISTS | result_code::UNWILLING_TO_PERFORM => {
            vendor == Vendor::ActiveDirectory
        }
        _ => false,
    }
}

/// Returns the attributes to read for a comparison.
fn names_to_read(wanted: &WantedEntry, more: &[&str], schema: &Schema) -> Vec<String> {
    let compared = wanted.attributes.iter().filter(|a| a.policy != Policy::CreateOnly);
    let more = more.iter().map(|n| (*n).to_owned()).collect();
    let mut names = to_ask(more, compared.map(|a| a.description.as_str()));
    // Its object classes decide whether a group may be empty.
    let is_name = |a: &Wanted| ValueKind::of(schema, &a.description).is_name();
    if wanted.attributes.iter().any(is_name) && !names.iter().any(|n| n.eq_ignore_ascii_case("objectClass")) {
        names.push("objectClass".to_owned());
    }
    if names.is_empty() {
        names.push("1.1".to_owned());
    }
    names
}
