//! Chooses the values of `unique` and `next` when an entry is made.
//!
//! A value is free if no entry below the base has it, by the EQUALITY rule of the attribute, and no record of the run was given it. What was
//! found taken stays so until the run ends, also if its entry is deleted or renamed meanwhile: a value that is freed in a run is free for the
//! next one. So each search begins where the one before ended, and not at the first candidate.
//!
//! Another program may take the value between the search and the change. If the server refuses the change for it, the next candidate is tried.
//! Otherwise the value is searched for again after the change: whoever writes second sees both entries.

mod choose;
mod counter;

use std::time::Duration;

use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope, Vendor, lookup};

use choose::NoneFree;
pub(super) use choose::TakenValues;

use super::applier::Applier;
use super::claims::Claimant;
use super::ldap_result::{LdapResult, is_taken_value};
use super::locate::Located;
use super::outcome::{Attempt, AttemptContext, WriteOutcome};
use crate::map::generated::{Chosen, Generated, GeneratedAttribute};
use crate::map::{Task, WritePolicy};

/// How often a value that turns out to be taken is replaced by another one.
const TRIES: u32 = 20;
/// The most entries with one value that are looked at.
const MOST_HOLDERS: u32 = 4;
/// How long another run, which has the same value, has to see it and take another one.
const PATIENCE: Duration = Duration::from_millis(500);

/// The choice of one record.
#[derive(Debug, Clone)]
pub struct Generating {
    generated: Generated,
    chosen: Chosen,
    /// The attributes whose values were chosen for this record, not found in its entry.
    fresh: Vec<String>,
}

impl Generating {
    /// Returns the choice of a record, before it is made.
    pub fn new(generated: Generated) -> Self {
        Self { generated, chosen: Chosen::default(), fresh: Vec::new() }
    }

    fn fresh(&self) -> Vec<GeneratedAttribute> {
        let is_fresh = |one: &&GeneratedAttribute| self.fresh.contains(&one.key);
        self.generated.attributes.iter().filter(is_fresh).cloned().collect()
    }
}

/// A record's task, which is made anew with the chosen values.
pub struct Choice<'a> {
    /// The task.
    pub task: &'a mut Task,
    /// The key of its DN.
    pub key: &'a mut DnKey,
    /// What is known of it.
    pub context: &'a mut AttemptContext,
    /// The choice.
    pub generating: &'a mut Generating,
}

/// Returns the naming context of a DN, or the base that a setting names. A file is searched as a whole: its entries need not have one above
/// all of them. That a server shows a context is checked before the first record.
pub(crate) fn base_of(directory: &Directory, dn: &str, base: Option<&str>) -> String {
    if let Some(base) = base {
        return base.to_owned();
    }
    let key = |dn: &str| DnKey::parse(dn, directory.schema()).unwrap_or_default();
    let root_dse = directory.root_dse();
    if root_dse.vendor == Vendor::Ldif {
        return String::new();
    }
    let contexts = root_dse.naming_contexts.iter().filter(|context| key(dn).is_within(&key(context)));
    let nearest = contexts.max_by_key(|context| key(context).depth()).map(String::as_str);
    nearest.or(root_dse.default_base()).unwrap_or_default().to_owned()
}

/// Returns an entry other than these that has a value: the one with the least DN.
pub(crate) async fn other_holder(
    directory: &Directory,
    base: &str,
    (attribute, value): (&str, &[u8]),
    except: &[DnKey],
) -> Result<Option<(String, DnKey)>, DirectoryError> {
    let filter = Filter::equality(attribute, value);
    let found = lookup::find(directory, base, Scope::Subtree, filter, &["1.1"], MOST_HOLDERS).await?;
    let keyed = found.into_iter().map(|entry| {
        let key = DnKey::parse(&entry.dn, directory.schema()).unwrap_or_default();
        (entry.dn, key)
    });
    Ok(keyed.into_iter().filter(|(_, key)| !except.contains(key)).min_by(|a, b| a.1.cmp(&b.1)))
}

impl Applier {
    /// Applies the task of a record whose entry has chosen values.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub async fn apply_choosing(
        &self,
        claimant: Option<&Claimant<'_>>,
        mut choice: Choice<'_>,
    ) -> Result<Attempt, DirectoryError> {
        let mut refused = None;
        for _ in 0..TRIES {
            if let Some(outcome) = Box::pin(self.settle(claimant, &mut choice)).await? {
                return match refused {
                    // The server's own words say more than that no candidate is left.
                    Some(refused) if matches!(outcome, WriteOutcome::Refused(_)) => refused,
                    _ => Ok(outcome.into()),
                };
            }
            let result = self.apply(claimant, choice.task, choice.key, choice.context).await;
            let is_taken = match &result {
                Ok(attempt) => {
                    choice.context.is_new
                        && choice.generating.generated.names_entry()
                        && matches!(attempt.outcome, WriteOutcome::NameTaken(_))
                }
                Err(error) => is_taken_value(error),
            };
            if !is_taken || choice.generating.fresh.is_empty() {
                choice.context.is_new = false;
                let attempt = result?;
                if attempt.outcome.is_done() {
                    return Box::pin(self.make_sure(claimant, choice, attempt)).await;
                }
                return Ok(attempt);
            }
            let named = result.as_ref().err().and_then(LdapResult::of).unwrap_or_default();
            self.drop_taken(&mut choice, &named).await?;
            refused = Some(result);
        }
        choice.context.is_new = false;
        refused.unwrap_or_else(|| Ok(WriteOutcome::Refused("no value is free".to_owned()).into()))
    }

    /// Finds out which of the chosen values the server refused, so that other ones are chosen: those that an entry has, else those of the
    /// RDN if the DN is taken, else those of the attributes that the server names, else all.
    async fn drop_taken(&self, choice: &mut Choice<'_>, answer: &LdapResult) -> Result<(), DirectoryError> {
        let dn = choice.task.dn().unwrap_or_default().to_owned();
        let fresh = choice.generating.fresh();
        let mut taken = Vec::new();
        for one in &fresh {
            let Some(value) = choice.generating.chosen.values.get(&one.key) else { continue };
            let base = base_of(&self.directory, &dn, one.base.as_deref());
            let except = self.counter_of(one);
            if other_holder(&self.directory, &base, (&one.description, value.as_bytes()), &except)
                .await?
                .is_some()
            {
                taken.push(one.key.clone());
            }
        }
        if taken.is_empty() && self.directory.read(&dn, &["1.1"]).await?.is_some() {
            let rdn = Dn::parse(&dn).ok().and_then(|dn| dn.rdn().cloned());
            let schema = self.directory.schema();
            let names: Vec<String> =
                rdn.into_iter().flat_map(|rdn| rdn.avas).map(|ava| ava.attribute).collect();
            let is_naming = |one: &&GeneratedAttribute| {
                names.iter().any(|name| schema.same_description(name, &one.description))
            };
            taken.extend(fresh.iter().filter(is_naming).map(|one| one.key.clone()));
        }
        if taken.is_empty() {
            let text = answer.text.to_ascii_lowercase();
            taken.extend(fresh.iter().map(|one| one.key.clone()).filter(|key| text.contains(key.as_str())));
        }
        let all = taken.is_empty();
        for one in fresh.iter().filter(|one| all || taken.contains(&one.key)) {
            // It stays reserved: nobody else tries it.
            choice.generating.chosen.values.remove(&one.key);
            choice.generating.fresh.retain(|key| *key != one.key);
        }
        Ok(())
    }

    /// Makes the task anew with the values that its entry has, or that are chosen for it. The outcome, if nothing can be written now.
    async fn settle(
        &self,
        claimant: Option<&Claimant<'_>>,
        choice: &mut Choice<'_>,
    ) -> Result<Option<WriteOutcome>, DirectoryError> {
        let Task::Upsert { wanted, filter, write_policy } = &*choice.task else { return Ok(None) };
        let (dn, filter, write_policy) = (wanted.dn.clone(), filter.clone(), write_policy.clone());
        let (located, is_found) =
            self.locate_chosen(claimant, choice, &dn, filter.as_deref(), &write_policy).await?;
        let current = match located {
            Located::Several(names) => return Ok(Some(WriteOutcome::Several(names))),
            Located::Hidden(unreadable) => return Ok(Some(WriteOutcome::Unreadable(unreadable))),
            Located::NotLocked(dn) => return Ok(Some(WriteOutcome::NotLocked(dn))),
            Located::Taken(by) => return Ok(Some(WriteOutcome::NameTaken(by))),
            Located::Nowhere if !write_policy.operations.create => return Ok(Some(WriteOutcome::LeftAlone)),
            Located::Nowhere => None,
            Located::Named(entry) | Located::Elsewhere(entry) => Some(entry),
        };
        choice.context.is_new = current.is_none();
        // An entry that the filter does not match is adopted: it is found by its DN again.
        if current.is_some() && !is_found && choice.generating.generated.names_entry() {
            return Ok(Some(WriteOutcome::NameTaken(String::new())));
        }
        for one in choice.generating.generated.attributes.clone() {
            let there = current.as_ref().and_then(|entry| self.value_of(entry, &one));
            if let Some(value) = there {
                choice.generating.fresh.retain(|key| *key != one.key);
                choice.generating.chosen.values.insert(one.key, value);
                continue;
            }
            let may_have_none = current.is_some() && (!write_policy.operations.update || one.is_empty());
            if may_have_none || choice.generating.chosen.values.contains_key(&one.key) {
                continue;
            }
            match self.choose(&one, &dn).await? {
                Ok(value) => {
                    choice.generating.fresh.push(one.key.clone());
                    choice.generating.chosen.values.insert(one.key, value);
                }
                Err(NoneFree::Refused(reason)) => return Ok(Some(WriteOutcome::Refused(reason))),
                Err(NoneFree::Unreadable(unreadable)) => {
                    return Ok(Some(WriteOutcome::Unreadable(unreadable)));
                }
            }
        }
        Ok(self.remake(choice))
    }

    /// Locates the entry of a record. Where the DN is chosen, what is at the DN of the first candidate does not matter.
    async fn locate_chosen(
        &self,
        claimant: Option<&Claimant<'_>>,
        choice: &Choice<'_>,
        dn: &str,
        filter: Option<&str>,
        write_policy: &WritePolicy,
    ) -> Result<(Located, bool), DirectoryError> {
        let schema = self.directory.schema();
        let names: Vec<String> =
            choice.generating.generated.attributes.iter().map(|one| one.description.clone()).collect();
        let Some(filter) = filter else {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let entry = self.directory.read(dn, &names).await?;
            return Ok((entry.map_or(Located::Nowhere, Located::Named), true));
        };
        let cache = choice.context.digest_cache.as_ref();
        // It may have been set aside, under another DN.
        let may_be_absent = write_policy.grace.is_none();
        if may_be_absent && cache.is_some_and(|cache| cache.is_absent(choice.key, Some(filter), schema)) {
            return Ok((Located::Nowhere, false));
        }
        let match_lock = self.match_lock.read().await;
        let context = &*choice.context;
        let found = if choice.generating.generated.names_entry() {
            let mut place = self.locate_match(Some(dn), filter, write_policy, context, &names).await?;
            if matches!(place, Located::Nowhere)
                && let Some(aside) =
                    Box::pin(self.locate_aside(Some(dn), filter, write_policy, context, &names)).await?
            {
                place = aside;
            }
            let is_found = !matches!(place, Located::Nowhere);
            let hidden = if is_found {
                None
            } else {
                Box::pin(self.hidden_from_match(Some(dn), filter, write_policy)).await?
            };
            (hidden.map_or(place, Located::Hidden), is_found)
        } else {
            self.locate(Some(dn), filter, write_policy, context, &names).await?
        };
        self.protect_matches(claimant, Some(dn), filter, write_policy, &found.0).await?;
        drop(match_lock);
        Ok(found)
    }

    /// Returns the value that an entry has: that of its RDN, if it is in it.
    fn value_of(&self, entry: &Entry, one: &GeneratedAttribute) -> Option<String> {
        let schema = self.directory.schema();
        let rdn = Dn::parse(&entry.dn).ok().and_then(|dn| dn.rdn().cloned());
        let naming = rdn.into_iter().flat_map(|rdn| rdn.avas);
        let naming = naming.into_iter().find(|ava| schema.same_description(&ava.attribute, &one.description));
        let value = naming.map(|ava| ava.value);
        let value = value.or_else(|| schema.values_of(entry, &one.description).first().cloned())?;
        String::from_utf8(value).ok()
    }

    /// Returns the counter of a number, which has one as well.
    fn counter_of(&self, one: &GeneratedAttribute) -> Vec<DnKey> {
        one.counter.iter().filter_map(|dn| self.key(dn).ok()).collect()
    }

    /// Makes the task anew with the chosen values.
    fn remake(&self, choice: &mut Choice<'_>) -> Option<WriteOutcome> {
        let Choice { task, key, generating, .. } = choice;
        let made = generating.generated.wanted(&generating.chosen, self.directory.schema());
        let made = made.map_err(|error| error.to_string()).and_then(|wanted| {
            let key = self.key(&wanted.dn).map_err(|e| format!("`{}` is no DN: {e}", wanted.dn))?;
            Ok((wanted, key))
        });
        match made {
            Ok((made, made_key)) => {
                if let Task::Upsert { wanted, .. } = &mut **task {
                    *wanted = made;
                }
                **key = made_key;
                None
            }
            Err(reason) => Some(WriteOutcome::Refused(reason)),
        }
    }

    /// Whether no other entry has one of the chosen values: one search, where all have the same base.
    async fn is_alone(&self, choice: &Choice<'_>) -> Result<bool, DirectoryError> {
        let fresh = choice.generating.fresh();
        let Some(first) = fresh.first() else { return Ok(true) };
        if fresh.iter().any(|one| one.base != first.base) {
            return Ok(false);
        }
        let mut own: Vec<DnKey> = fresh.iter().flat_map(|one| self.counter_of(one)).collect();
        own.push(choice.key.clone());
        let values = fresh.iter().filter_map(|one| {
            let value = choice.generating.chosen.values.get(&one.key)?;
            Some(Filter::equality(&*one.description, value.as_bytes()))
        });
        let filter = Filter::Or(values.collect());
        let base = base_of(&self.directory, choice.task.dn().unwrap_or_default(), first.base.as_deref());
        let most = u32::try_from(own.len() + 1).unwrap_or(u32::MAX);
        let found = lookup::find(&self.directory, &base, Scope::Subtree, filter, &["1.1"], most).await?;
        Ok(found.iter().all(|entry| self.key(&entry.dn).is_ok_and(|key| own.contains(&key))))
    }

    /// Searches for the chosen values again, now that the entry has them. If another entry has one as well, this one takes another.
    ///
    /// Of two runs that write the same value, the later one sees both. If both see both, the entry with the greater DN gives way.
    async fn make_sure(
        &self,
        claimant: Option<&Claimant<'_>>,
        mut choice: Choice<'_>,
        attempt: Attempt,
    ) -> Result<Attempt, DirectoryError> {
        // A file has one writer, and what is previewed is not there.
        if !matches!(&*self.directory, Directory::Ldap(_)) {
            return Ok(attempt);
        }
        if self.is_alone(&choice).await? {
            return Ok(attempt);
        }
        for one in choice.generating.fresh() {
            let mut has_waited = false;
            let mut tries = 0;
            loop {
                let dn = choice.task.dn().unwrap_or_default().to_owned();
                let Some(value) = choice.generating.chosen.values.get(&one.key).cloned() else { break };
                let base = base_of(&self.directory, &dn, one.base.as_deref());
                let held = (one.description.as_str(), value.as_bytes());
                let mut except = self.counter_of(&one);
                except.push(choice.key.clone());
                let Some((other, other_key)) = other_holder(&self.directory, &base, held, &except).await?
                else {
                    break;
                };
                if *choice.key < other_key && !std::mem::replace(&mut has_waited, true) {
                    tokio::time::sleep(PATIENCE).await;
                    continue;
                }
                tries += 1;
                let chosen = if tries > TRIES { None } else { self.choose(&one, &dn).await?.ok() };
                let Some(chosen) = chosen else {
                    let attribute = &one.description;
                    let reason = format!(
                        "{}: `{dn}` and `{other}` have the same value of `{attribute}`, and no other one is free: correct one of them",
                        one.setting
                    );
                    return Ok(WriteOutcome::Refused(reason).into());
                };
                tracing::info!(
                    dn,
                    attribute = one.description,
                    setting = one.setting,
                    "`{dn}`: another program gave the same `{}` to `{other}` at the same time; this entry gets another one",
                    one.description
                );
                let generating = &mut *choice.generating;
                generating.chosen.values.insert(one.key.clone(), chosen);
                generating.chosen.replaced.insert(one.key.clone());
                choice.context.found = Some(dn);
                if let Some(outcome) = self.remake(&mut choice) {
                    return Ok(outcome.into());
                }
                let again = self.apply(claimant, choice.task, choice.key, choice.context).await?;
                if !again.outcome.is_done() {
                    return Ok(again);
                }
                has_waited = false;
            }
        }
        Ok(attempt)
    }
}
