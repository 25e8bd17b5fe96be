//! When a STATE is safe: once every record before it has been dealt with. Pure.

use std::collections::{BTreeSet, VecDeque};

use serde_json::value::RawValue;

/// Counts what was dealt with, and holds STATE back until it is safe.
#[derive(Debug, Default)]
pub struct Ack {
    /// The number the next record gets.
    next: u64,
    /// Every record below this one is dealt with.
    low: u64,
    /// Records at or above `low` that are dealt with.
    done: BTreeSet<u64>,
    /// STATE values not yet safe, each with the number of records before it.
    waiting: VecDeque<(u64, Box<RawValue>)>,
    /// The newest safe one that has not been handed out.
    safe: Option<Box<RawValue>>,
}

impl Ack {
    /// Gives a record its number.
    pub fn begin(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Says that a record was written, found unchanged, or left out by policy.
    pub fn done(&mut self, number: u64) {
        self.done.insert(number);
        while self.done.remove(&self.low) {
            self.low += 1;
        }
        self.release();
    }

    /// Takes a STATE; it covers every record begun so far.
    pub fn state(&mut self, value: Box<RawValue>) {
        // An empty state says nothing, and printed it would clear the bookmarks.
        let empty: bool = match serde_json::from_str(value.get()) {
            Ok(serde_json::Value::Object(object)) => object.is_empty(),
            _ => true,
        };
        if empty {
            return;
        }
        // Only the newest of those that wait for the same record matters: what waits stays bounded by the records.
        if self.waiting.back().is_some_and(|(after, _)| *after == self.next) {
            self.waiting.pop_back();
        }
        self.waiting.push_back((self.next, value));
        self.release();
    }

    fn release(&mut self) {
        while self.waiting.front().is_some_and(|(after, _)| *after <= self.low) {
            self.safe = self.waiting.pop_front().map(|(_, value)| value);
        }
    }

    /// The newest STATE that is safe, once.
    pub fn take_safe(&mut self) -> Option<Box<RawValue>> {
        self.safe.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_empty_state_is_never_printed() {
        let mut ack = Ack::default();
        ack.state(raw("{ }"));
        ack.state(raw("null"));
        assert!(ack.take_safe().is_none());
    }

    proptest! {
        /// Whatever order records end in, a STATE comes out only when all before it have ended, the newest one, once.
        #[test]
        fn a_state_is_safe_when_all_before_it_are_done(
            steps in proptest::collection::vec(0..3_u8, 1..60),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 60),
        ) {
            let mut ack = Ack::default();
            let (mut open, mut states, mut ended) = (Vec::new(), Vec::new(), BTreeSet::new());
            let mut begun = 0;
            let mut last_printed = None;
            for (step, pick) in steps.iter().zip(&order) {
                match step {
                    0 => { open.push(ack.begin()); begun += 1; }
                    1 => { states.push(begun); ack.state(raw(&format!("{{\"n\":{}}}", states.len() - 1))); }
                    _ if !open.is_empty() => {
                        let n = open.remove(pick.index(open.len()));
                        ended.insert(n);
                        ack.done(n);
                    }
                    _ => {}
                }
                let low = (0..=begun).find(|n| !ended.contains(n)).unwrap();
                let newest = states.iter().rposition(|covers| *covers <= low);
                if let Some(printed) = ack.take_safe() {
                    let n: usize = serde_json::from_str::<serde_json::Value>(printed.get()).unwrap()["n"].to_string().parse().unwrap();
                    prop_assert_eq!(Some(n), newest);
                    last_printed = Some(n);
                }
                prop_assert_eq!(last_printed, newest);
            }
        }
    }
}
