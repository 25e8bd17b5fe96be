//! An entry whose references by look-up are not all found.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use super::super::groups::demanded;
use super::super::outcome::{Attempt, FoundReferences, PendingReference, WriteOutcome};
use super::super::references::DeferredReference;
use super::{Target, TryEnd, Upsert};
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::policy::{Compare, Policy};

impl Upsert<'_> {
    /// Decides what is written while references are not found.
    ///
    /// A new entry whose class requires one waits. Of an existing entry all else is written, unless the rule says that nothing is. An
    /// attribute whose values are only added or kept is written once no entry is to come any more: a wrong value would stay.
    pub(super) fn check_references(&mut self, target: &mut Target<'_>) -> ControlFlow<TryEnd> {
        let Some(references) = &self.context.references else { return ControlFlow::Continue(()) };
        let schema = self.applier.directory.schema();
        let Some(current) = &target.current else {
            let demanded = demanded(&target.wanted, None, schema);
            let is_demanded =
                |description: &str| demanded.iter().any(|name| schema.same_description(name, description));
            if references.pending.iter().any(|pending| is_demanded(&pending.description)) {
                let awaited = references.pending.iter().flat_map(|pending| pending.awaited.iter().copied());
                return ControlFlow::Break(WriteOutcome::NeedsReferences(awaited.collect()).into());
            }
            if references.faulty.iter().any(|description| is_demanded(description)) {
                return ControlFlow::Break(WriteOutcome::LeftAlone.into());
            }
            for description in references.left_out.iter().filter(|description| is_demanded(description)) {
                // What becomes of a group without members is for `empty_group` to say.
                let (description, values) = (description.clone(), Vec::new());
                let (policy, compare) = (Policy::Force, Compare::Schema);
                target.wanted.to_mut().attributes.push(Wanted { description, values, policy, compare });
            }
            return ControlFlow::Continue(());
        };
        if references.pending.iter().any(|pending| pending.holds) {
            let outcome = if self.is_renamed { WriteOutcome::Renamed } else { WriteOutcome::Unchanged };
            let found = FoundReferences { is_held: true, ..FoundReferences::default() };
            let attempt = Attempt { found: Some(Box::new(found)), ..outcome.into() };
            return ControlFlow::Break(TryEnd::Done(attempt));
        }
        let values = |name: &String| (name.clone(), schema.values_of(current, name).to_vec());
        self.previous = references.found.iter().map(values).collect();
        if references.is_settled {
            return ControlFlow::Continue(());
        }
        let is_written = |attribute: &Wanted| {
            let rule = schema.equality(&attribute.description);
            let there = schema.values_of(current, &attribute.description);
            match attribute.policy {
                Policy::Force | Policy::CreateOnly => false,
                Policy::Keep => there.is_empty(),
                Policy::Merge => {
                    let there: HashSet<_> = there.iter().map(|value| rule.normalize(value, schema)).collect();
                    !attribute.values.iter().all(|value| there.contains(&rule.normalize(value, schema)))
                }
            }
        };
        let is_postponed =
            |attribute: &&Wanted| references.found.contains(&attribute.description) && is_written(attribute);
        let postponed: Vec<String> =
            target.wanted.attributes.iter().filter(is_postponed).map(|a| a.description.clone()).collect();
        if !postponed.is_empty() {
            target.wanted.to_mut().attributes.retain(|a| !postponed.contains(&a.description));
        }
        let pending = |description| PendingReference { description, awaited: Vec::new(), holds: false };
        self.postponed = postponed.into_iter().map(pending).collect();
        ControlFlow::Continue(())
    }

    /// Takes references out of a wanted entry that were found, and whose entries have another name by now: they are looked up again.
    /// Returns the other values that wait. The error: the class of a new entry requires one.
    pub(super) fn postpone_renamed(
        &mut self,
        wanted: &mut Cow<'_, WantedEntry>,
        is_new: bool,
        deferred: Vec<DeferredReference>,
    ) -> Result<Vec<DeferredReference>, ()> {
        let Some(references) = &self.context.references else { return Ok(deferred) };
        let is_found = |value: &DeferredReference| references.found.contains(&value.description);
        let (renamed, others): (Vec<_>, Vec<_>) = deferred.into_iter().partition(is_found);
        if renamed.is_empty() || references.is_settled {
            return Ok(others);
        }
        let schema = self.applier.directory.schema();
        let is_it =
            |name: &str| renamed.iter().any(|value| schema.same_description(&value.description, name));
        if is_new && demanded(wanted, None, schema).iter().any(|name| is_it(name)) {
            return Err(());
        }
        wanted.to_mut().attributes.retain(|attribute| !is_it(&attribute.description));
        let names: BTreeSet<String> = renamed.into_iter().map(|value| value.description).collect();
        let pending = |description| PendingReference { description, awaited: Vec::new(), holds: false };
        self.postponed.extend(names.into_iter().map(pending));
        Ok(others)
    }

    /// Adds to the result what is written later, and what the entry had before.
    pub(super) fn with_postponed(self, mut attempt: Attempt) -> Attempt {
        let Some(references) = &self.context.references else { return attempt };
        let previous = match attempt.outcome {
            WriteOutcome::Added => references.found.iter().map(|name| (name.clone(), Vec::new())).collect(),
            WriteOutcome::Modified | WriteOutcome::Renamed => self.previous,
            _ => Vec::new(),
        };
        if attempt.outcome.is_done() && !(self.postponed.is_empty() && previous.is_empty()) {
            let found = attempt.found.get_or_insert_default();
            found.pending.extend(self.postponed);
            found.previous = previous;
        }
        attempt
    }
}
