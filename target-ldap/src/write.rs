//! Carrying a task out: read what is there, write what differs.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use singer_common::change::{Change, Modification};
use singer_common::directory::ldap::result_code;
use singer_common::directory::ldif::LdifRules;
use singer_common::directory::{DirectoryError, Scope, SearchRequest, Vendor, WriteControl};
use singer_common::dn::{Dn, DnKey, split};
use singer_common::entry::{Attribute, Entry};
use singer_common::schema::Schema;
use singer_common::schema::syntax::ValueKind;

use crate::map::wanted::{Wanted, WantedEntry};
use crate::map::{ENTRY_UUID, Task, WritePolicy};
use crate::plan::entry_digests::{EntryDigestCache, EntryDigestCaches};
use crate::rules::names::to_ask;
use crate::rules::policy::Policy;
use crate::write::claims::{Claimant, DeleteDenied, EntryClaims};
use crate::write::destination::Destination;
use crate::write::ldap_result::LdapResult;

mod account;
pub mod claims;
pub mod counts;
mod delete;
pub mod destination;
mod exchange;
mod groups;
pub mod guard;
pub mod inverse;
pub mod ldap_result;
mod locate;
mod nearest;
pub mod plan_output;
mod references;
mod rename;
pub mod undo;
mod unmatched;

pub use exchange::Exchange;
use groups::{EmptyGroupAction, empty_groups};
pub use locate::MatchedNames;
use locate::{Located, SHOWN, UnreadMatch};
use nearest::Nearest;
pub use references::DeferredReference;
use references::KnownEntries;
use rename::{Rename, without_naming_values};
pub use unmatched::UnmatchedEntries;

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The entry was added.
    Added,
    /// The entry was modified.
    Modified,
    /// The entry was renamed, and modified where it had to be.
    Renamed,
    /// The entry was deleted.
    Deleted,
    /// The entry was moved away, in place of being deleted.
    Moved,
    /// What would have to be done is switched off (`operations`).
    LeftAlone,
    /// Nothing differed.
    Unchanged,
    /// The rule says to do nothing.
    Ignored,
    /// Not done, and may be later: the entry above it is not there, and is none that could be made; or entries lie
    /// below the one to be deleted.
    TooEarly(LdapResult),
    /// Not done, and may be later: its class demands an attribute all of whose values name entries that are not there.
    /// These are they.
    NeedsEntries(Vec<DnKey>),
    /// Not done: the entry has this name, and nobody saw to it that nothing else is done to that one.
    Elsewhere(String),
    /// Not done, and may be later: another entry has the name. What the rule's filter would know that one by, for people:
    /// `employeeNumber=7`; empty where it is not known.
    NameTaken(String),
    /// The entry gave its name up for another one, and has this one for the time being.
    SteppedAside(String),
    /// The entry gave values up that others wait for; these modifications give them back.
    GaveUp {
        /// Its name.
        dn: String,
        /// What gives the values back.
        back: Vec<Modification>,
    },
    /// Not done, and may be later: nobody waits for the values that the entry would give up.
    NotGivenUp,
    /// Not done, for a reason that no directory gave.
    Refused(String),
    /// Not done: the record's filter fits these entries.
    Several(MatchedNames),
    /// A deletion that is not made: another record of the run has the entry.
    Kept(String),
    /// Nothing was to be done but to look which entries a filter fits.
    Found(MatchedNames),
}

/// What became of a task, and what is left to do of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was done.
    pub outcome: WriteOutcome,
    /// Values that were not written, for they name entries that are not there.
    pub deferred: Vec<DeferredReference>,
}

impl Attempt {
    /// Whether nothing is left to do, now or later.
    pub fn is_final(&self) -> bool {
        let is_final = match &self.outcome {
            WriteOutcome::Added
            | WriteOutcome::Modified
            | WriteOutcome::Renamed
            | WriteOutcome::Deleted
            | WriteOutcome::Moved
            | WriteOutcome::LeftAlone
            | WriteOutcome::Unchanged
            | WriteOutcome::Ignored
            | WriteOutcome::Refused(_)
            | WriteOutcome::Several(_)
            | WriteOutcome::Kept(_)
            | WriteOutcome::Found(_) => true,
            WriteOutcome::TooEarly(_)
            | WriteOutcome::NeedsEntries(_)
            | WriteOutcome::Elsewhere(_)
            | WriteOutcome::NameTaken(_)
            | WriteOutcome::SteppedAside(_)
            | WriteOutcome::GaveUp { .. }
            | WriteOutcome::NotGivenUp => false,
        };
        is_final && self.deferred.is_empty()
    }
}

impl From<WriteOutcome> for Attempt {
    fn from(outcome: WriteOutcome) -> Self {
        Self { outcome, deferred: Vec::new() }
    }
}

/// What is known when a task is tried.
#[derive(Debug, Clone, Default)]
pub struct AttemptContext {
    /// Where the entry is, under which other name than the wanted one: nothing else is done there now.
    pub found: Option<String>,
    /// Whether it is to leave its name to another entry, which leaves it its own.
    pub steps_aside: bool,
    /// Why it is to give up values that others wait for.
    pub gives_up: Option<Exchange>,
    /// Whether no entry will come any more that it could wait for.
    pub is_last_try: bool,
    /// What was there when the stream's entries were read.
    pub digest_cache: Option<Arc<EntryDigestCache>>,
    /// Whether this try gave the entry its name, whatever came after.
    pub is_renamed: Arc<AtomicBool>,
}

/// When entries above a new one are made that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParentsMade {
    Never,
    AtOnce,
    /// Once no record can come any more that gives an entry their name.
    Last,
}

/// Carries tasks out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Applier {
    directory: Destination,
    parents_made: ParentsMade,
    /// One creation of parents at a time: two children of a missing parent would both try.
    parents: Arc<tokio::sync::Mutex<()>>,
    nearest: Nearest,
    /// One search for what lies below at a time: OpenLDAP keeps one paging state per connection.
    trees: Arc<tokio::sync::Mutex<()>>,
    present: Arc<KnownEntries>,
    /// Entries that this run added.
    added: Arc<KnownEntries>,
    digest_caches: EntryDigestCaches,
    /// Whose each entry is.
    claims: EntryClaims,
    /// Whether a modify is made only of what is as it was read.
    assert_unchanged: bool,
    /// Whether versions delete what no record is about.
    deletes_by_version: bool,
    /// Of records that fit several entries: which ones nothing deletes is read before the first deletion.
    unread: Arc<tokio::sync::Mutex<Vec<UnreadMatch>>>,
    /// Read while a record's entry is looked for, and written before a deletion: the records before it have theirs, or are known
    /// to fit several. Claimant asks first comes first.
    looking: Arc<tokio::sync::RwLock<()>>,
    unmatched_entries: Arc<UnmatchedEntries>,
}

/// How often an entry that appears or disappears between reading and writing is read again.
const ATTEMPTS: u32 = 3;
/// So many entries above one are made at most: a name of more is a mistake, and a directory for each of its parts would be, too.
const MOST_PARENTS: usize = 100;

impl Applier {
    /// An applier to a directory.
    pub fn new(directory: Destination, create_parents: bool, claims: EntryClaims) -> Self {
        let (parents, trees) = (Arc::default(), Arc::default());
        let (present, added) = (Arc::default(), Arc::default());
        let digest_caches = EntryDigestCaches::default();
        Self {
            directory,
            parents_made: if create_parents { ParentsMade::AtOnce } else { ParentsMade::Never },
            parents,
            nearest: Nearest::default(),
            trees,
            present,
            added,
            digest_caches,
            claims,
            assert_unchanged: false,
            deletes_by_version: false,
            unread: Arc::default(),
            looking: Arc::default(),
            unmatched_entries: Arc::default(),
        }
    }

    /// Whether versions delete what no record is about.
    #[must_use]
    pub fn deleting_by_version(self, deletes_by_version: bool) -> Self {
        Self { deletes_by_version, ..self }
    }

    /// Whether a rule renames entries that others may lie below.
    #[must_use]
    pub fn awaiting_parents(self, parents_may_come: bool) -> Self {
        match self.parents_made {
            ParentsMade::AtOnce if parents_may_come => Self { parents_made: ParentsMade::Last, ..self },
            _ => self,
        }
    }

    /// Entries that their own `match` does not find again.
    pub fn unmatched_entries(&self) -> &UnmatchedEntries {
        &self.unmatched_entries
    }

    /// Modifies an entry only where what it changes is as it was read.
    #[must_use]
    pub fn asserting(self, assert_unchanged: bool) -> Self {
        Self { assert_unchanged, ..self }
    }

    /// Carries one task out. `who` is its record, `None` for what a version says; `key` its entry's, where the record says
    /// its name.
    pub async fn apply(
        &self,
        claimant: Option<&Claimant<'_>>,
        task: &Task,
        key: &DnKey,
        context: &AttemptContext,
    ) -> Result<Attempt, DirectoryError> {
        match task {
            Task::Nothing => Ok(WriteOutcome::Ignored.into()),
            Task::Find { dn, filter, write_policy } => {
                let Some(filter) = filter else {
                    return Ok(WriteOutcome::Found(MatchedNames::whole(Vec::new())).into());
                };
                let looking = self.looking.read().await;
                let place =
                    self.locate(dn.as_deref(), filter, write_policy, context, &["1.1".into()]).await?.0;
                self.remember_several(claimant, dn.as_deref(), filter, write_policy, &place).await?;
                drop(looking);
                Ok(WriteOutcome::Found(match place {
                    Located::Nowhere | Located::Taken(_) => MatchedNames::whole(Vec::new()),
                    Located::Several(names) => names,
                    Located::NotClaimed(dn) => MatchedNames::whole(vec![dn]),
                    Located::Named(entry) | Located::Elsewhere(entry) => MatchedNames::whole(vec![entry.dn]),
                })
                .into())
            }
            Task::Delete { dn, filter, action, write_policy } => {
                let dn = match filter {
                    None => dn.clone().unwrap_or_default(),
                    Some(filter) => {
                        let looking = self.looking.read().await;
                        let place = self
                            .fitting(dn.as_deref(), filter, write_policy, context, &["1.1".into()])
                            .await?;
                        self.remember_several(claimant, dn.as_deref(), filter, write_policy, &place).await?;
                        drop(looking);
                        match place {
                            Located::Nowhere | Located::Taken(_) => return Ok(WriteOutcome::Unchanged.into()),
                            Located::Several(names) => return Ok(WriteOutcome::Several(names).into()),
                            Located::NotClaimed(dn) => return Ok(WriteOutcome::Elsewhere(dn).into()),
                            Located::Named(entry) | Located::Elsewhere(entry) => entry.dn,
                        }
                    }
                };
                let outcome = if write_policy.operations.delete {
                    let key = self.key(&dn).unwrap_or_default();
                    match self.permit(claimant, &dn, &key, action.takes_subtree()).await? {
                        Ok(permit) => {
                            self.digest_caches.forget(&key, true);
                            self.remove(&permit, action).await?
                        }
                        Err(DeleteDenied::Error(reason)) => WriteOutcome::Refused(reason),
                        Err(DeleteDenied::Kept(reason)) => WriteOutcome::Kept(reason),
                    }
                } else if self.directory.read(&dn, &["1.1"]).await?.is_some() {
                    WriteOutcome::LeftAlone
                } else {
                    WriteOutcome::Unchanged
                };
                if matches!(outcome, WriteOutcome::Deleted | WriteOutcome::Moved) {
                    self.present.remove(&self.key(&dn).unwrap_or_default());
                }
                Ok(outcome.into())
            }
            Task::Upsert { wanted, filter, write_policy } => {
                let filter = filter.as_deref();
                let schema = self.directory.schema();
                let known =
                    context.digest_cache.as_ref().filter(|_| wanted.account.is_for_new_entries_only());
                let changes = known.and_then(|i| i.changes(wanted, key, filter, schema));
                // Where a filter has to find the entry it is asked once that is known.
                if (filter.is_none() || changes.is_some())
                    && let Some(Err(reason)) =
                        claimant.map(|claimant| self.claims.may_write(claimant, &wanted.dn, key))
                {
                    return Ok(WriteOutcome::Refused(reason).into());
                }
                if changes.as_ref().is_some_and(Vec::is_empty) {
                    self.note_present(key);
                    return Ok(WriteOutcome::Unchanged.into());
                }
                let is_absent = match self.directory.holds_in_memory(key).filter(|_| filter.is_none()) {
                    Some(is_there) => !is_there,
                    None => {
                        context.digest_cache.as_ref().is_some_and(|i| i.is_absent(key, filter, schema))
                            || filter.is_none() && self.is_below_a_new_one(key)
                    }
                };
                // Before it is: what a change whose answer is lost did is not known.
                self.digest_caches.touch(key, filter, schema);
                if let Some(changes) =
                    changes.filter(|_| write_policy.operations.update && !self.assert_unchanged)
                {
                    match self.directory.apply(&Change::Modify { dn: wanted.dn.clone(), changes }).await {
                        Ok(()) => return Ok(WriteOutcome::Modified.into()),
                        Err(e) if e.is_connection() => return Err(e),
                        // It may have changed since. What is wrong with the record is found out with the entry in hand.
                        Err(_) => {}
                    }
                }
                let attempt =
                    self.upsert(claimant, wanted, key, filter, write_policy, context, is_absent).await;
                let attempt = attempt.map_err(|e| wanted.account.scrub(e))?;
                if matches!(
                    attempt.outcome,
                    WriteOutcome::Added
                        | WriteOutcome::Modified
                        | WriteOutcome::Renamed
                        | WriteOutcome::Unchanged
                ) {
                    self.note_present(key);
                }
                if attempt.outcome == WriteOutcome::Added && !self.directory.is_written_at_once() {
                    self.added.insert(key);
                }
                Ok(attempt)
            }
        }
    }

    /// An entry is there, which others may name. (In a file that is replaced as a whole nothing waits for that.)
    fn note_present(&self, key: &DnKey) {
        if !self.directory.is_written_at_once() {
            self.present.insert(key);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a record, its entry, and what is known of both")]
    async fn upsert(
        &self,
        claimant: Option<&Claimant<'_>>,
        wanted: &WantedEntry,
        key: &DnKey,
        filter: Option<&str>,
        write_policy: &WritePolicy,
        context: &AttemptContext,
        is_absent: bool,
    ) -> Result<Attempt, DirectoryError> {
        let schema = self.directory.schema();
        let operations = write_policy.operations;
        // As far as an inventory says: then the directory itself is asked only where it does not take the entry.
        let mut is_absent = is_absent && operations.create;
        let mut renamed = false;
        let mut attempt = 1;
        let mut password_is_set = false;
        loop {
            let (place, is_found_by_filter) = if is_absent {
                (Located::Nowhere, false)
            } else if let Some(filter) = filter {
                let names = names_to_read(wanted, &self.account_attributes(wanted), schema);
                let looking = self.looking.read().await;
                let found = self.locate(Some(&wanted.dn), filter, write_policy, context, &names).await?;
                self.remember_several(claimant, Some(&wanted.dn), filter, write_policy, &found.0).await?;
                drop(looking);
                found
            } else {
                let names = names_to_read(wanted, &self.account_attributes(wanted), schema);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let entry = self.directory.read(&wanted.dn, &names).await?;
                (entry.map_or(Located::Nowhere, Located::Named), false)
            };
            if let (Some(claimant), Some(filter), false) = (claimant, filter, is_found_by_filter) {
                match &place {
                    Located::Nowhere if operations.create => {
                        self.unmatched_entries.check(claimant, wanted, key, None, filter, schema);
                    }
                    Located::Named(entry) if operations.update => {
                        self.unmatched_entries.check(claimant, wanted, key, Some(entry), filter, schema);
                    }
                    _ => {}
                }
            }
            if let (Some(claimant), Some(_), Located::Named(entry) | Located::Elsewhere(entry)) =
                (claimant, filter, &place)
                && let Err(reason) = self.may_write_found(claimant, &wanted.dn, key, entry)
            {
                return Ok(WriteOutcome::Refused(reason).into());
            }
            let mut dn = &wanted.dn;
            let mut wanted = Cow::Borrowed(wanted);
            let (entry, current);
            match place {
                Located::Several(names) => return Ok(WriteOutcome::Several(names).into()),
                Located::NotClaimed(dn) => return Ok(WriteOutcome::Elsewhere(dn).into()),
                Located::Taken(by) => return Ok(WriteOutcome::NameTaken(by).into()),
                Located::Nowhere if !operations.create => return Ok(WriteOutcome::LeftAlone.into()),
                Located::Nowhere => current = None,
                Located::Named(entry) => current = Some(entry),
                Located::Elsewhere(_) if context.steps_aside => {
                    return self.step_aside(context.found.as_deref().unwrap_or_default()).await;
                }
                Located::Elsewhere(there) if operations.rename => {
                    match self.rename(&there, &wanted.dn, write_policy.delete_old_rdn, context).await {
                        Ok(Rename::Done(entry)) => {
                            renamed = true;
                            context.is_renamed.store(true, Ordering::Relaxed);
                            current = Some(entry);
                        }
                        Ok(Rename::NotDone(outcome)) => return Ok(outcome.into()),
                        Err(e) if e.is_no_such_object() && attempt < ATTEMPTS => {
                            attempt += 1;
                            continue;
                        }
                        Err(e) => return Err(e),
                    }
                }
                // Under the name that it has: it keeps that, and its values.
                Located::Elsewhere(there) => {
                    without_naming_values(wanted.to_mut(), &there.dn, schema);
                    entry = there;
                    dn = &entry.dn;
                    current = Some(entry.clone());
                }
            }
            let mut current = current;
            if let Some(entry) = &mut current {
                self.directory.complete_ranges(entry).await?;
            }
            let is_checked = self.directory.ldif_rules().is_none_or(|rules| rules.checks_schema);
            match empty_groups(
                wanted.as_ref(),
                current.as_ref(),
                &write_policy.empty_group,
                schema,
                is_checked,
            ) {
                EmptyGroupAction::Nothing => {}
                EmptyGroupAction::Becomes(other) => wanted = Cow::Owned(other),
                EmptyGroupAction::Goes if current.is_none() => return Ok(WriteOutcome::Unchanged.into()),
                EmptyGroupAction::Goes if !operations.delete => return Ok(WriteOutcome::LeftAlone.into()),
                EmptyGroupAction::Goes => {
                    let there = self.key(dn).unwrap_or_default();
                    let permit = match self.permit(claimant, dn, &there, false).await? {
                        Ok(permit) => permit,
                        Err(DeleteDenied::Error(reason)) => return Ok(WriteOutcome::Refused(reason).into()),
                        Err(DeleteDenied::Kept(reason)) => return Ok(WriteOutcome::Kept(reason).into()),
                    };
                    self.directory.delete(&permit).await?;
                    return Ok(WriteOutcome::Deleted.into());
                }
                EmptyGroupAction::Refused(reason) => return Ok(WriteOutcome::Refused(reason).into()),
            }
            // In a file that is replaced as a whole nothing can name what is not there yet, and values keep their order.
            let deferred = if context.is_last_try || self.directory.is_written_at_once() {
                Vec::new()
            } else {
                self.defer_missing(&mut wanted, current.as_ref()).await?
            };
            if let Some(missing) = self.leaves_out_what_is_needed(&wanted, current.as_ref(), &deferred) {
                return Ok(WriteOutcome::NeedsEntries(missing).into());
            }
            let Some(current) = current else {
                match self.add(&wanted, key, context).await {
                    Err(e) if is_absent && !e.is_connection() => {
                        is_absent = false;
                        continue;
                    }
                    // Somebody else was faster: it is an update then.
                    Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) && attempt < ATTEMPTS => {
                        attempt += 1;
                        continue;
                    }
                    Ok(outcome) => return Ok(Attempt { outcome, deferred }),
                    Err(e) => return Err(e),
                }
            };
            if let Some(exchange) = &context.gives_up {
                return self.give_up(dn, &wanted, &current, exchange).await;
            }
            let mut planned = self.planned(&wanted, &current).await?;
            planned.exop = planned.exop.filter(|_| !password_is_set);
            let done = match (renamed, password_is_set) {
                (true, _) => WriteOutcome::Renamed,
                (false, true) => WriteOutcome::Modified,
                (false, false) => WriteOutcome::Unchanged,
            };
            if planned.is_empty() {
                return Ok(Attempt { outcome: done, deferred });
            }
            if !operations.update {
                return Ok(if renamed { done } else { WriteOutcome::LeftAlone }.into());
            }
            // Ahead of the other changes: they tell that the entry is no longer as it was added.
            if let Some(password) = &planned.exop {
                self.directory.set_password(dn, password, true).await?;
                password_is_set = true;
            }
            match self.modify(dn, planned, &current).await {
                Ok(()) => {
                    let outcome = if renamed { WriteOutcome::Renamed } else { WriteOutcome::Modified };
                    return Ok(Attempt { outcome, deferred });
                }
                // A value, or the entry, came or went in between: the plan was made of what is no longer so.
                Err(e)
                    if attempt < ATTEMPTS
                        && e.code().is_some_and(|c| is_overtaken(c, self.directory.root_dse().vendor)) =>
                {
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether a record may write the entry that its filter found, and give it its name.
    fn may_write_found(
        &self,
        claimant: &Claimant<'_>,
        dn: &str,
        key: &DnKey,
        entry: &Entry,
    ) -> Result<(), String> {
        let there = self.key(&entry.dn).unwrap_or_default();
        self.claims.may_write(claimant, &entry.dn, &there)?;
        if there == *key { Ok(()) } else { self.claims.may_write(claimant, dn, key) }
    }

    async fn add(
        &self,
        wanted: &WantedEntry,
        key: &DnKey,
        context: &AttemptContext,
    ) -> Result<WriteOutcome, DirectoryError> {
        // Only `preserve_uuid` makes it so.
        let has_uuid =
            |a: &Wanted| a.policy == Policy::CreateOnly && a.description.eq_ignore_ascii_case(ENTRY_UUID);
        let controls: &[WriteControl] =
            if wanted.attributes.iter().any(has_uuid) { &[WriteControl::RelaxRules] } else { &[] };
        let add = async || {
            // A password, say, may have to be made first.
            if wanted.account.is_empty()
                && controls.is_empty()
                && let Some(added) = self.directory.add_in_memory(key, || wanted.to_packed())
            {
                return added;
            }
            self.directory.apply_with(&Change::Add(self.new_entry(wanted).await?), controls).await
        };
        match add().await {
            Ok(()) => {}
            Err(e) if e.is_no_such_object() => {
                if !self.may_lie_at(&wanted.dn, context).await? {
                    let mut answer = LdapResult::of(&e).unwrap_or_default();
                    if context.is_last_try {
                        answer.nearest = self.nearest.above(&self.directory, &wanted.dn).await;
                    }
                    return Ok(WriteOutcome::TooEarly(answer));
                }
                add().await?;
            }
            Err(e) => return Err(e),
        }
        self.after_add(wanted).await?;
        Ok(WriteOutcome::Added)
    }

    /// Has a file take entries whose parents are not there from now on: none will come any more. `false` for a server.
    pub fn takes_orphans(&self) -> bool {
        let rules = self.directory.ldif_rules();
        if let Some(rules) = rules {
            self.directory.set_ldif_rules(LdifRules { takes_orphans: true, ..rules });
        }
        rules.is_some()
    }

    /// Whether missing parents are made at this try.
    fn creates(&self, context: &AttemptContext) -> bool {
        match self.parents_made {
            ParentsMade::Never => false,
            ParentsMade::AtOnce => true,
            ParentsMade::Last => context.is_last_try,
        }
    }

    /// Whether an entry may have this name as far as those above it matter: they are there, could be made, or need not be.
    async fn may_lie_at(&self, dn: &str, context: &AttemptContext) -> Result<bool, DirectoryError> {
        let takes_orphans = self.directory.ldif_rules().is_some_and(|rules| rules.takes_orphans);
        let creates = self.creates(context);
        if takes_orphans && !creates {
            return Ok(true);
        }
        let is_made = self.create_parents(dn, creates).await?;
        Ok(is_made || takes_orphans || context.is_last_try && self.takes_orphans())
    }

    /// Makes the missing entries above one. `false` when one of them cannot be made from its name alone, or is not to be.
    async fn create_parents(&self, dn: &str, creates: bool) -> Result<bool, DirectoryError> {
        let _one_at_a_time = self.parents.lock().await;
        let Ok(parts) = split(dn) else { return Ok(false) };
        // From the nearest one up, until one is there or can be added.
        let mut missing: Vec<Entry> = Vec::new();
        // So far up there is one, or there are too many to make.
        if let Some(far_up) = parts.get(MOST_PARENTS + 1..).filter(|far_up| !far_up.is_empty())
            && self.directory.read(&far_up.join(","), &["1.1"]).await?.is_none()
        {
            return Ok(false);
        }
        for above in 1..parts.len() {
            let name = parts.get(above..).unwrap_or_default().join(",");
            if self.directory.read(&name, &["1.1"]).await?.is_some() {
                break;
            }
            let Some(entry) = creates.then(|| self.parent_entry(&name)).flatten() else {
                return Ok(false);
            };
            match self.directory.apply(&Change::Add(entry.clone())).await {
                Ok(()) => {
                    tracing::info!("created the parent `{name}`");
                    break;
                }
                Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) => break,
                Err(e) if e.is_no_such_object() && above + 1 < parts.len() => missing.push(entry),
                Err(e) => return Err(e),
            }
        }
        for entry in missing.into_iter().rev() {
            let name = entry.dn.clone();
            self.directory.apply(&Change::Add(entry)).await?;
            tracing::info!("created the parent `{name}`");
        }
        Ok(true)
    }

    /// The entry that a name tells everything about.
    fn parent_entry(&self, dn: &str) -> Option<Entry> {
        let name = Dn::parse(dn).ok()?;
        let [ava] = name.rdn()?.avas.as_slice() else { return None };
        let schema = self.directory.schema();
        let attribute = schema.canonical_name(&ava.attribute).to_ascii_lowercase();
        // RFC 4519 section 3, RFC 4524 section 3.4.
        let class = match attribute.as_str() {
            "ou" => "organizationalUnit",
            "dc" => "domain",
            "o" => "organization",
            "c" => "country",
            "l" | "st" => "locality",
            "cn" if self.directory.root_dse().vendor == Vendor::ActiveDirectory => "container",
            _ => return None,
        };
        Some(Entry {
            dn: dn.to_owned(),
            attributes: vec![
                Attribute::new("objectClass", vec![class.as_bytes().to_vec()]),
                Attribute::new(ava.attribute.clone(), vec![ava.value.clone()]),
            ],
        })
    }

    /// Whether an entry would lie right below one that this run added: then it is hardly there.
    fn is_below_a_new_one(&self, key: &DnKey) -> bool {
        key.parent().is_some_and(|parent| self.added.contains(&parent)) && !self.added.contains(key)
    }

    /// Whether an entry is known to be there.
    pub fn is_known(&self, key: &DnKey) -> bool {
        self.present.contains(key)
    }

    /// Reads what a stream's entries are like, below a base, up to so many. `None`: there are more.
    pub async fn prefetch(
        &self,
        digest_cache: EntryDigestCache,
        base: &str,
        filter: &str,
        most: u64,
    ) -> Result<Option<Arc<EntryDigestCache>>, DirectoryError> {
        let _one_at_a_time = self.trees.lock().await;
        let names = digest_cache.attributes();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut search =
            self.directory.search(SearchRequest::new(base, Scope::Sub, filter, &names).repeating()).await?;
        let mut read = 0;
        while let Some(entry) = search.next_entry().await? {
            read += 1;
            if read > most || !digest_cache.insert(&entry, self.directory.schema()) {
                search.abandon().await?;
                return Ok(None);
            }
        }
        digest_cache.complete(self.key(base).unwrap_or_default());
        let digest_cache = Arc::new(digest_cache);
        self.digest_caches.add(&digest_cache);
        Ok(Some(digest_cache))
    }

    /// The books of the run.
    pub fn claims(&self) -> &EntryClaims {
        &self.claims
    }

    /// The directory.
    pub fn directory(&self) -> &Destination {
        &self.directory
    }

    /// The key of a task's entry, by which tasks are ordered.
    pub fn key(&self, dn: &str) -> Result<DnKey, singer_common::dn::DnError> {
        DnKey::parse(dn, self.directory.schema())
    }
}

/// What is wrong with a record whose filter fits several entries.
pub fn several(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let more = if names.len() > SHOWN { " and more" } else { "" };
    format!("match fits several entries: {}{more}; it has to fit one", shown.join(", "))
}

/// Whether a modify may have been refused for a value, or the entry, that came or went in between.
fn is_overtaken(code: u32, vendor: Vendor) -> bool {
    match code {
        result_code::NO_SUCH_ATTRIBUTE
        | result_code::ATTRIBUTE_OR_VALUE_EXISTS
        | result_code::NO_SUCH_OBJECT
        | result_code::ASSERTION_FAILED => true,
        // Of linked attributes, `member` above all, Active Directory says it so ([MS-ADTS] 3.1.1.5.3.2); Samba does even where
        // it is asked to let such values pass (permissive modify).
        result_code::ENTRY_ALREADY_EXISTS | result_code::UNWILLING_TO_PERFORM => {
            vendor == Vendor::ActiveDirectory
        }
        _ => false,
    }
}

/// The attributes to read for a comparison.
fn names_to_read(wanted: &WantedEntry, more: &[&str], schema: &Schema) -> Vec<String> {
    let compared = wanted.attributes.iter().filter(|a| a.policy != Policy::CreateOnly);
    let more = more.iter().map(|n| (*n).to_owned()).collect();
    let mut names = to_ask(more, compared.map(|a| a.description.as_str()));
    // Whether a group may be empty is its classes' business.
    let is_name = |a: &Wanted| ValueKind::of(schema, &a.description).is_name();
    if wanted.attributes.iter().any(is_name) && !names.iter().any(|n| n.eq_ignore_ascii_case("objectClass")) {
        names.push("objectClass".to_owned());
    }
    if names.is_empty() {
        names.push("1.1".to_owned());
    }
    names
}
