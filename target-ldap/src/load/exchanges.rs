//! Unique values that waiting records exchange. In a cycle of records that wait for each other's values, one entry gives up its
//! own first. Until the exchange is over, only records that take part are tried: another one might take the values.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use ldap_directory::change::Modification;
use ldap_directory::dn::DnKey;

use super::Load;
use super::work::Work;
use crate::load::scheduler::Parked;
use crate::write::exchange::{Exchange, value_hash};

/// The round of tries of an exchange in which all records take part that have an entry. Before it, only those that want the
/// values, and then the one that gave them up, as after each further round: most exchanges are between two.
const ALL: u32 = 2;

/// Whether a record waits for a value, and its entry exists. A record that is to add its entry has no value to give up.
fn takes_part(parked: &Parked<'_, Box<Work>>) -> bool {
    parked.payload.waits_for_value && !parked.payload.is_addition
}

impl<W: Write> Load<'_, W> {
    /// Asks one of the records that wait for each other's values to give up its own. Each is asked once, and again only if another
    /// attribute has turned out to be unique, or versions were decided. Returns whether one was asked.
    pub(super) fn ask_to_give_up(&mut self) -> bool {
        let unique = self.waiting.unique_attributes.len();
        let is_askable = |work: &Work| work.asked_with.is_none_or(|known| known < unique);
        let first =
            self.scheduler.parked_items().filter(takes_part).find(|parked| is_askable(parked.payload));
        let Some(id) = first.map(|parked| parked.id) else { return false };
        let names = |work: &Work| work.context.found.as_deref().and_then(|dn| self.applier.key(dn).ok());
        let (mut waiting, mut wanted): (Vec<DnKey>, HashSet<u64>) = Default::default();
        for Parked { payload: work, .. } in
            self.scheduler.parked_items().filter(takes_part).filter(|parked| parked.id != id)
        {
            waiting.extend(names(work).into_iter().chain([work.key.clone()]));
            wanted.extend(&work.wants);
        }
        // An exchange needs two.
        if waiting.is_empty() {
            return false;
        }
        let wanted = Arc::new(wanted);
        let names: Vec<String> = self.waiting.unique_attributes.names().map(str::to_owned).collect();
        self.scheduler.change(id, |work| {
            work.context.exchange = Some(Exchange::GiveUp { unique: names, waiting, wanted });
            work.asked_with = Some(unique);
        });
        self.executor.turns.advance();
        self.scheduler.try_parked(id);
        true
    }

    /// An entry gave up values, or could not: its record waits again.
    pub(super) fn gave_up(&mut self, mut work: Box<Work>, dn: String, back: Vec<Modification>) {
        work.context.exchange = None;
        work.waits_for_value = true;
        if !back.is_empty() {
            let schema = self.directory.schema();
            let freed =
                back.iter().flat_map(|m| m.values.iter().map(|v| value_hash(&m.description, v, schema)));
            self.waiting.freed = freed.collect();
            work.context.gave_up = true;
            let earlier = work.gave_up.take().map(|(_, changes)| changes).unwrap_or_default();
            work.gave_up = Some((dn, earlier.into_iter().chain(back).collect()));
            self.waiting.exchange = Some(0);
            self.executor.ended_at_last_try = None;
        }
        self.park(work);
    }

    /// Continues an exchange: tries the records that take part, as long as that makes progress. Returns whether some are tried.
    /// `leads_anywhere`: a task has ended since the last tries.
    pub(super) fn continue_exchange(&mut self, leads_anywhere: bool) -> bool {
        let Some(round) = self.waiting.exchange else { return false };
        let gave_up: HashSet<u64> = self
            .scheduler
            .parked_items()
            .filter(|parked| parked.payload.gave_up.is_some())
            .map(|parked| parked.id)
            .collect();
        if gave_up.is_empty() {
            self.waiting.exchange = None;
            return false;
        }
        if !leads_anywhere && round > ALL {
            return false;
        }
        let is_freed = |value: &u64| self.waiting.freed.contains(value);
        self.waiting.exchange = Some(round + 1);
        self.executor.ended_at_last_try = Some(self.executor.ended);
        // Who gave up is never tried together with the others: a try that is under way while they free its values comes too early, and
        // the records behind them would take the values.
        let is_tried = |parked: &Parked<'_, Box<Work>>| {
            let has_given_up = gave_up.contains(&parked.id);
            match round {
                0 => !has_given_up && takes_part(parked) && parked.payload.wants.iter().any(is_freed),
                round if round % 2 == 1 => has_given_up,
                _ => !has_given_up && takes_part(parked),
            }
        };
        let tried = self.scheduler.parked_items().filter(is_tried).map(|parked| parked.id);
        for id in tried.collect::<Vec<_>>() {
            self.scheduler.try_parked(id);
        }
        true
    }

    /// Ends an exchange in which no further entry can give up values: those that are still without theirs take them back. Returns
    /// whether there is one.
    pub(super) fn end_exchange(&mut self) -> bool {
        if self.waiting.exchange.take().is_none() {
            return false;
        }
        let gave_up = self.scheduler.parked_items().filter(|parked| parked.payload.gave_up.is_some());
        let gave_up: Vec<u64> = gave_up.map(|parked| parked.id).collect();
        for id in &gave_up {
            self.scheduler.change(*id, |work| {
                let back = work.gave_up.as_ref().map(|(_, back)| back.clone()).unwrap_or_default();
                work.context.exchange = Some(Exchange::TakeBack(back));
            });
            self.scheduler.try_parked(*id);
        }
        self.executor.turns.advance();
        !gave_up.is_empty()
    }

    /// Makes all records that take part askable again.
    pub(super) fn may_ask_again(&mut self) {
        let asked = self.scheduler.parked_items().filter(|parked| parked.payload.asked_with.is_some());
        for id in asked.map(|parked| parked.id).collect::<Vec<_>>() {
            self.scheduler.change(id, |work| work.asked_with = None);
        }
    }

    /// Wakes the records whose entries gave up values, when a record has ended that may have freed the values they want. The
    /// records behind the ended one wait for these tries: they might take the values back.
    pub(super) fn wake_who_gave_up(&mut self, ended: u64) {
        if self.waiting.exchange.is_none() || self.scheduler.waiting_for(ended) == 0 {
            return;
        }
        let gave_up = self.scheduler.parked_items().filter(|parked| parked.payload.gave_up.is_some());
        let gave_up: Vec<u64> = gave_up.map(|parked| parked.id).collect();
        for id in gave_up {
            self.scheduler.try_before_dependents(id, ended);
        }
    }
}
