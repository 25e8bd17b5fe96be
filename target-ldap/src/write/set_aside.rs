//! Entries that a deletion keeps: they are set aside, and come back with their records.
//!
//! With `then` an entry that is set aside gets a [`Marker`], in the modification that sets the values; then it is moved. So an entry is
//! never disabled or moved without its marker, and a run that is killed in between is completed by the next deletion. Who comes back is moved
//! first, then gets its values back and loses the marker in one modification: until that is done, the entry counts as set aside.

use std::collections::HashMap;

use chrono::Utc;
use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest};
use rustc_hash::FxHashSet;

use super::account::ModifyPlan;
use super::applier::Applier;
use super::locate::Located;
use super::outcome::{Attempt, AttemptContext, WriteOutcome};
use super::readable::Unreadable;
use crate::map::wanted::{Wanted, WantedAccount, WantedEntry};
use crate::map::{GracePolicy, SetAside, WritePolicy};
use crate::plan::marker::{HowSet, Marked, Marker, SetValues};
use crate::rules::names::to_ask;
use crate::rules::policy::Policy;
use crate::write::claims::DeletePermit;
use crate::write::locate::MatchedNames;

/// The entries that were set aside, by place and marker: their DNs by those that they had. Read when a record's DN is free for the first
/// time.
pub(super) type AsideIndex = tokio::sync::Mutex<HashMap<(String, String), HashMap<DnKey, String>>>;

/// An entry with a marker.
#[derive(Debug)]
pub(crate) struct MarkedEntry {
    pub(crate) dn: String,
    pub(crate) key: DnKey,
    pub(crate) marked: Marked,
}

/// Returns the text about a marker that is not understood.
pub(crate) fn not_understood(dn: &str, attribute: &str, reason: &str) -> String {
    format!(
        "`{dn}` stays as it is: the marker in `{attribute}` is not understood ({reason}); another version of target-ldap may have written it: correct or remove the value"
    )
}

/// Returns an entry as it is with other values of some attributes.
fn with_values(current: &Entry, values: &[Wanted], schema: &ldap_directory::schema::Schema) -> Entry {
    let mut entry = current.clone();
    let is_other = |name: &str| !values.iter().any(|w| schema.same_description(&w.description, name));
    entry.attributes.retain(|a| is_other(&a.description));
    let all = WantedEntry {
        dn: entry.dn.clone(),
        attributes: values.to_vec(),
        account: WantedAccount::default(),
        references: Vec::new(),
    };
    entry.attributes.extend(all.to_entry().attributes);
    entry
}

/// What brings an entry back.
pub(super) struct Return {
    /// The modifications.
    pub(super) steps: Vec<Modification>,
    /// The entry after them.
    pub(super) entry: Entry,
    /// The attributes that stay, for somebody has changed them since.
    pub(super) changed: Vec<String>,
}

impl Applier {
    /// Sets an entry aside. `named`: the DN that its record gives it.
    pub(super) async fn set_aside(
        &self,
        permit: &DeletePermit,
        named: Option<&str>,
        aside: &SetAside,
    ) -> Result<Attempt, DirectoryError> {
        let dn = permit.dn();
        let schema = self.directory.schema();
        let grace = aside.grace.as_deref();
        let marker = grace.map(|grace| grace.marker.as_str());
        let attributes = aside.set.iter().map(|wanted| wanted.description.as_str()).chain(marker);
        let asked = to_ask(vec!["objectClass".to_owned()], attributes.clone());
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let Some(current) = self.directory.read(dn, &asked).await? else {
            return Ok(WriteOutcome::Unchanged.into());
        };
        let found = marker.map_or(Marked::Not, |marker| Marked::of_entry(&current, marker, schema));
        if let (Marked::Unknown(reason), Some(marker)) = (&found, marker) {
            return Ok(WriteOutcome::Kept(not_understood(dn, marker, reason)).into());
        }
        let mut ready = None;
        if let Some(parent) = &aside.move_to {
            match self.may_move(permit, named, parent).await? {
                Ok(may) => ready = Some((parent, may)),
                // Without a marker somebody else has put it there.
                Err(attempt) if grace.is_some() || attempt.outcome != WriteOutcome::Unchanged => {
                    return Ok(attempt);
                }
                Err(_) => {}
            }
        } else if let Some(outcome) = self.departed(permit).await? {
            return Ok(outcome.into());
        }
        let mut plan = ModifyPlan::default();
        if found == Marked::Not {
            let lacking: Vec<&str> =
                attributes.filter(|name| schema.values_of(&current, name).is_empty()).collect();
            let key = self.key(dn).unwrap_or_default();
            if !self.may_read(&key, &lacking)
                && let Some(unreadable) = Box::pin(self.find_unreadable(dn, &key, &lacking)).await?
            {
                return Ok(WriteOutcome::Unreadable(unreadable).into());
            }
            match Box::pin(self.plan_aside(&current, aside)).await? {
                Ok(planned) => plan = planned,
                Err(reason) => return Ok(WriteOutcome::Refused(reason).into()),
            }
        }
        let (sets, below) = (!plan.is_empty(), ready.as_ref().map_or(0, |(_, may)| may.below));
        let changes = u64::from(sets) + u64::from(ready.is_some());
        if changes == 0 {
            return Ok(WriteOutcome::Unchanged.into());
        }
        let mut held = match self.hold(dn, below, changes).await {
            Ok(held) => held,
            Err(limit) => return Ok(WriteOutcome::LimitReached(limit).into()),
        };
        if sets {
            if let Err(error) = self.modify(dn, plan, &current).await {
                if error.is_outcome_unknown() {
                    held.made_one();
                }
                return Err(error);
            }
            held.made_one();
            self.directory.removed(1);
        }
        let Some((parent, may)) = ready else { return Ok(WriteOutcome::Modified.into()) };
        match self.make_move(permit, parent, &may, !sets, held).await? {
            Ok(now) => {
                if let Some(grace) = grace {
                    self.note_aside(grace, dn, &now).await;
                }
                Ok(Attempt { below, ..WriteOutcome::Moved.into() })
            }
            Err(attempt) => Ok(attempt),
        }
    }

    /// Returns the modifications that set an entry aside, with its marker; or the reason why it cannot have one.
    async fn plan_aside(
        &self,
        current: &Entry,
        aside: &SetAside,
    ) -> Result<Result<ModifyPlan, String>, DirectoryError> {
        let schema = self.directory.schema();
        let (dn, attributes) = (current.dn.clone(), aside.set.clone());
        let wanted =
            WantedEntry { dn, attributes, account: WantedAccount::default(), references: Vec::new() };
        let mut plan = self.planned(&wanted, current).await?;
        let Some(grace) = aside.grace.as_deref() else { return Ok(Ok(plan)) };
        if schema.is_single_valued(&grace.marker) && !schema.values_of(current, &grace.marker).is_empty() {
            return Ok(Err(format!(
                "on_delete.then: `{}` of `{}` has a value already, and takes one only: the marker has no place; use another attribute for it",
                grace.marker, current.dn
            )));
        }
        let mut set = Vec::new();
        for Wanted { description, values, policy, .. } in &aside.set {
            let mut steps = plan.changes.iter().filter(|step| step.description == *description).peekable();
            if steps.peek().is_none() {
                continue;
            }
            let there = schema.values_of(current, description);
            let how = if *policy == Policy::Merge {
                let is_there = |value: &&Vec<u8>| {
                    there.iter().any(|other| schema.values_match(description, other, value))
                };
                HowSet::Added(values.iter().filter(|value| !is_there(value)).cloned().collect())
            } else {
                // Where a server requires a value, another one is written.
                let written =
                    steps.find(|step| step.kind == ModificationKind::Replace && !step.values.is_empty());
                let to = written.map_or_else(|| values.clone(), |step| step.values.clone());
                HowSet::Replaced { was: there.to_vec(), to }
            };
            set.push(SetValues { description: description.clone(), how });
        }
        let marker =
            Marker { deleted: Utc::now(), stream: grace.stream.clone(), dn: current.dn.clone(), set };
        plan.changes.push(Modification::new(
            ModificationKind::Add,
            grace.marker.clone(),
            vec![marker.to_value()],
        ));
        Ok(Ok(plan))
    }

    /// Returns what brings an entry back that was set aside, apart from what its record writes.
    pub(super) async fn returning(
        &self,
        marker: &Marker,
        attribute: &str,
        current: &Entry,
        wanted: &WantedEntry,
    ) -> Result<Return, DirectoryError> {
        let schema = self.directory.schema();
        let (attributes, changed) = marker.back(attribute, current, wanted, schema);
        let entry = with_values(current, &attributes, schema);
        let back = WantedEntry {
            dn: current.dn.clone(),
            attributes,
            account: WantedAccount::default(),
            references: Vec::new(),
        };
        let steps = self.planned(&back, current).await?.changes;
        Ok(Return { steps, entry, changed })
    }

    /// Returns that an entry may be marked, and the bound user may not read it.
    pub(super) async fn hidden_marker(
        &self,
        entry: &Entry,
        key: &DnKey,
        write_policy: &WritePolicy,
    ) -> Result<Option<Unreadable>, DirectoryError> {
        let Some(grace) = &write_policy.grace else { return Ok(None) };
        let lacking = [grace.marker.as_str()];
        let shows = !self.directory.schema().values_of(entry, &grace.marker).is_empty();
        if shows || self.may_read(key, &lacking) {
            return Ok(None);
        }
        self.find_unreadable(&entry.dn, key, &lacking).await
    }

    /// Locates the entry of a record among those that were set aside where its `match` does not search. `None`: it is not there.
    pub(super) async fn locate_aside(
        &self,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        context: &AttemptContext,
        names: &[String],
    ) -> Result<Option<Located>, DirectoryError> {
        let Some(grace) = &write_policy.grace else { return Ok(None) };
        let Some(place) = &grace.move_to else { return Ok(None) };
        let key = |dn: &str| self.key(dn).unwrap_or_default();
        if key(place).is_within(&key(&self.search_base(dn, write_policy))) {
            return Ok(None);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "1.1").collect();
        let found = self
            .marked(place, grace, &format!("(&{filter}({}=*))", grace.marker), &names, Paging::Off)
            .await?;
        let mut found: Vec<Entry> = found.into_iter().map(|(entry, _)| entry).collect();
        let Some(entry) = found.pop() else {
            let there = WritePolicy { base: Some(place.clone()), ..write_policy.clone() };
            let hidden = Box::pin(self.hidden_from_match(dn, filter, &there)).await?;
            return Ok(hidden.map(Located::Hidden));
        };
        if !found.is_empty() {
            found.push(entry);
            return Ok(Some(Located::Several(MatchedNames::whole(
                found.into_iter().map(|e| e.dn).collect(),
            ))));
        }
        let is_locked = context.found.as_deref().is_some_and(|dn| key(dn) == key(&entry.dn));
        Ok(Some(if is_locked { Located::Elsewhere(entry) } else { Located::NotLocked(entry.dn) }))
    }

    /// Locates the entry that had a record's DN when it was set aside. For rules without `match`.
    pub(super) async fn locate_former(
        &self,
        key: &DnKey,
        write_policy: &WritePolicy,
        context: &AttemptContext,
        names: &[&str],
    ) -> Result<Located, DirectoryError> {
        let Some(grace) = write_policy.grace.as_deref() else { return Ok(Located::Nowhere) };
        let Some(place) = &grace.move_to else { return Ok(Located::Nowhere) };
        let schema = self.directory.schema();
        if let Some(found) = &context.found {
            let entry = self.directory.read(found, names).await?;
            let is_it = |entry: &Entry| match Marked::of_entry(entry, &grace.marker, schema) {
                Marked::Since(marker, _) => self.key(&marker.dn).is_ok_and(|had| had == *key),
                Marked::Not | Marked::Unknown(_) => false,
            };
            return Ok(entry.filter(is_it).map_or(Located::Nowhere, Located::Elsewhere));
        }
        let mut index = self.aside.lock().await;
        let of_place = (place.clone(), grace.marker.clone());
        if !index.contains_key(&of_place) {
            let all = self.marked_below(place, grace).await?;
            let former = all.into_iter().filter_map(|MarkedEntry { dn, marked, .. }| match marked {
                Marked::Since(marker, _) => Some((self.key(&marker.dn).ok()?, dn)),
                Marked::Not | Marked::Unknown(_) => None,
            });
            index.insert(of_place.clone(), former.collect());
        }
        let dn = index.get(&of_place).and_then(|former| former.get(key)).cloned();
        Ok(dn.map_or(Located::Nowhere, Located::NotLocked))
    }

    /// Notes that an entry was moved, if the index is in use.
    async fn note_aside(&self, grace: &GracePolicy, dn: &str, now: &str) {
        let (Some(place), Ok(key)) = (&grace.move_to, self.key(dn)) else { return };
        if let Some(former) = self.aside.lock().await.get_mut(&(place.clone(), grace.marker.clone())) {
            former.insert(key, now.to_owned());
        }
    }

    /// Returns the entries below a place that have a marker.
    pub(crate) async fn marked_below(
        &self,
        place: &str,
        grace: &GracePolicy,
    ) -> Result<Vec<MarkedEntry>, DirectoryError> {
        // OpenLDAP keeps one paging state per connection.
        let _one_at_a_time = self.trees.lock().await;
        let filter = format!("({}=*)", grace.marker);
        let found = self.marked(place, grace, &filter, &[], Paging::default()).await?;
        let entries = found.into_iter().filter_map(|(entry, marked)| {
            let key = self.key(&entry.dn).ok()?;
            Some(MarkedEntry { dn: entry.dn, key, marked })
        });
        Ok(entries.collect())
    }

    /// Returns the entries below a place that match a filter and have a marker, understood or not.
    async fn marked(
        &self,
        place: &str,
        grace: &GracePolicy,
        filter: &str,
        names: &[&str],
        paging: Paging,
    ) -> Result<Vec<(Entry, Marked)>, DirectoryError> {
        let names: Vec<&str> = names.iter().copied().chain([grace.marker.as_str()]).collect();
        let mut seen = FxHashSet::default();
        let request = SearchRequest { paging, ..SearchRequest::new(place, Scope::Subtree, filter, &names) };
        let mut found = Vec::new();
        let mut search = match self.directory.search(request.repeating()).await {
            Err(e) if e.is_no_such_object() => return Ok(found),
            search => search?,
        };
        loop {
            match search.next_entry().await {
                Ok(Some(entry)) => {
                    match Marked::of_entry(&entry, &grace.marker, self.directory.schema()) {
                        Marked::Not => {}
                        // An entry may be repeated.
                        marked if seen.insert(entry.dn.clone()) => found.push((entry, marked)),
                        _ => {}
                    }
                }
                Ok(None) => return Ok(found),
                Err(e) if e.is_no_such_object() && found.is_empty() => return Ok(found),
                Err(e) => return Err(e),
            }
        }
    }
}
