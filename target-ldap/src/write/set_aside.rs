//! Entries that a deletion keeps: they are set aside, and come back with their records.
//!
//! With `then` an entry that is set aside gets a [`Marker`], in the modification that sets the values; then it is moved. So an entry is
//! never disabled or moved without its marker, and a run that is killed in between is completed by the next deletion. Who comes back is moved
//! first, then gets its values back and loses the marker in one modification: until that is done, the entry counts as set aside.

use chrono::Utc;
use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest};
use rustc_hash::FxHashSet;

use super::account::ModifyPlan;
use super::applier::Applier;
use super::delete::Move;
use super::locate::Located;
use super::outcome::{Attempt, AttemptContext, WriteOutcome};
use super::readable::Unreadable;
use crate::map::wanted::{Wanted, WantedAccount, WantedEntry};
use crate::map::{GracePolicy, SetAside, WritePolicy};
use crate::plan::marker::{HowSet, Marker, SetValues, is_marker, with_time};
use crate::plan::standing::{Aside, Standing};
use crate::rules::names::to_ask;
use crate::rules::policy::Policy;
use crate::write::claims::DeletePermit;
use crate::write::locate::MatchedNames;

/// An entry with a marker.
#[derive(Debug)]
pub(crate) struct MarkedEntry {
    pub(crate) dn: String,
    pub(crate) key: DnKey,
    pub(crate) standing: Standing,
}

/// Returns the text about an entry that may have been set aside, and whose marker is not borne out.
pub(crate) fn doubtful(dn: &str, attribute: &str, reason: &str) -> String {
    format!(
        "`{dn}` stays as it is: the marker in `{attribute}` is not believed: {reason}; correct or remove the value"
    )
}

/// Returns the text about an entry in use that has a marker.
pub(crate) fn stray(dn: &str, attribute: &str, reason: &str) -> String {
    format!(
        "`{dn}` is in use, and the marker in `{attribute}` is not believed: {reason}; remove the value, and look at who may write it"
    )
}

/// Logs that an entry in use has a marker.
pub(super) fn warn_of_stray(dn: &str, attribute: &str, reason: &str) {
    tracing::warn!(dn, attribute, "{}", stray(dn, attribute, reason));
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
        let judged = grace.into_iter().flat_map(GracePolicy::attributes);
        let asked = to_ask(vec!["objectClass".to_owned()], attributes.clone().chain(judged));
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let Some(current) = self.directory.read(dn, &asked).await? else {
            return Ok(WriteOutcome::Unchanged.into());
        };
        let standing = grace.map_or(Standing::InUse, |grace| self.standing(grace, &current));
        match (&standing, marker) {
            (Standing::Doubtful(reason), Some(marker)) => {
                return Ok(WriteOutcome::Kept(doubtful(dn, marker, reason)).into());
            }
            // That of another stream did it.
            (Standing::Aside(found), _) if !found.is_own => return Ok(WriteOutcome::Unchanged.into()),
            _ => {}
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
        let plan = match (standing, marker) {
            (Standing::Aside(found), Some(marker)) => Self::plan_rest(&found, marker),
            (standing, _) => {
                let lacking: Vec<&str> =
                    attributes.filter(|name| schema.values_of(&current, name).is_empty()).collect();
                let key = self.key(dn).unwrap_or_default();
                if !self.may_read(&key, &lacking)
                    && let Some(unreadable) = Box::pin(self.find_unreadable(dn, &key, &lacking)).await?
                {
                    return Ok(WriteOutcome::Unreadable(unreadable).into());
                }
                if let (Standing::Stray(reason), Some(marker)) = (standing, marker) {
                    warn_of_stray(dn, marker, &reason);
                }
                match Box::pin(self.plan_aside(&current, aside)).await? {
                    Ok(planned) => planned,
                    Err(reason) => return Ok(WriteOutcome::Refused(reason).into()),
                }
            }
        };
        self.make_aside(permit, &current, plan, ready).await
    }

    /// Sets the values of an entry, then moves it.
    async fn make_aside(
        &self,
        permit: &DeletePermit,
        current: &Entry,
        plan: ModifyPlan,
        ready: Option<(&String, Move)>,
    ) -> Result<Attempt, DirectoryError> {
        let dn = permit.dn();
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
            if let Err(error) = self.modify(dn, plan, current).await {
                if error.is_outcome_unknown() {
                    held.made_one();
                }
                return Err(error);
            }
            held.made_one();
            self.directory.removed(1);
        }
        let Some((parent, may)) = ready else { return Ok(WriteOutcome::Modified.into()) };
        let moved = self.make_move(permit, parent, &may, !sets, held).await?;
        Ok(moved.map_or_else(|attempt| attempt, |_| Attempt { below, ..WriteOutcome::Moved.into() }))
    }

    /// Returns the modifications that remain for an entry whose deletion was not completed: its days begin with the move.
    fn plan_rest(found: &Aside, marker: &str) -> ModifyPlan {
        let mut plan = ModifyPlan::default();
        if let Some(now) =
            with_time(&found.value, Utc::now()).filter(|now| !found.is_complete && *now != found.value)
        {
            let step = |kind, value| Modification::new(kind, marker, vec![value]);
            plan.changes.push(step(ModificationKind::Delete, found.value.clone()));
            plan.changes.push(step(ModificationKind::Add, now));
        }
        plan
    }

    /// Returns what an entry is, as far as it and the rules bear its marker out.
    pub(super) fn standing(&self, grace: &GracePolicy, entry: &Entry) -> Standing {
        grace.standing(entry, self.directory.schema(), self.directory.root_dse().vendor)
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
        if !grace.may_come_back_to(&current.dn, schema) {
            return Ok(Err(format!(
                "on_delete.then: `{}` is not within scope_base: its marker would not be believed, and it would neither come back nor be deleted",
                current.dn
            )));
        }
        let (markers, others): (Vec<_>, Vec<_>) =
            schema.values_of(current, &grace.marker).iter().cloned().partition(|value| is_marker(value));
        if schema.is_single_valued(&grace.marker) && !others.is_empty() {
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
        let step = |kind, values| Modification::new(kind, grace.marker.clone(), values);
        // What it says of an entry in use is not true.
        if !markers.is_empty() {
            plan.changes.push(step(ModificationKind::Delete, markers));
        }
        plan.changes.push(step(ModificationKind::Add, vec![marker.to_value()]));
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
        let mut found = found;
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

    /// Returns the entries below a place that have a marker.
    pub(crate) async fn marked_below(
        &self,
        place: &str,
        grace: &GracePolicy,
    ) -> Result<Vec<MarkedEntry>, DirectoryError> {
        // OpenLDAP keeps one paging state per connection.
        let _one_at_a_time = self.trees.lock().await;
        let filter = format!("({}=*)", grace.marker);
        let names = to_ask(Vec::new(), grace.attributes());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.marked(place, grace, &filter, &names, Paging::default()).await?;
        let entries = found.into_iter().filter_map(|entry| {
            let (key, standing) = (self.key(&entry.dn).ok()?, self.standing(grace, &entry));
            Some(MarkedEntry { dn: entry.dn, key, standing })
        });
        Ok(entries.collect())
    }

    /// Returns the entries below a place that match a filter and have a marker, believed or not.
    async fn marked(
        &self,
        place: &str,
        grace: &GracePolicy,
        filter: &str,
        names: &[&str],
        paging: Paging,
    ) -> Result<Vec<Entry>, DirectoryError> {
        let mut names = names.to_vec();
        names.extend(Some(grace.marker.as_str()).filter(|marker| !names.contains(marker)));
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
                    let is_marked = grace.is_marked(&entry, self.directory.schema());
                    // An entry may be repeated.
                    if is_marked && seen.insert(entry.dn.clone()) {
                        found.push(entry);
                    }
                }
                Ok(None) => return Ok(found),
                Err(e) if e.is_no_such_object() && found.is_empty() => return Ok(found),
                Err(e) => return Err(e),
            }
        }
    }
}
