//! Decides when a STATE is safe: once every record before it is done. Pure.

use std::collections::{BTreeSet, VecDeque};

use serde_json::value::RawValue;

/// Tracks which records are done, and holds STATE back until it is safe.
#[derive(Debug, Default)]
pub struct Ack {
    /// The number of the next record.
    next: u64,
    /// Every record below this number is done.
    low: u64,
    /// Records at or above `low` that are done.
    done: BTreeSet<u64>,
    /// STATE values that are not safe yet, each with the number of records before it.
    waiting: VecDeque<(u64, Box<RawValue>)>,
    /// The same, after an ACTIVATE_VERSION whose deletions are not made yet.
    held: VecDeque<(u64, Box<RawValue>)>,
    is_holding: bool,
    /// The newest safe STATE that was not printed yet.
    safe: Option<Box<RawValue>>,
}

impl Ack {
    /// Returns the number of a new record.
    pub fn begin(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Marks a record as done: it was written, unchanged, or rejected.
    pub fn done(&mut self, number: u64) {
        // It is done already.
        if number < self.low {
            return;
        }
        self.done.insert(number);
        while self.done.remove(&self.low) {
            self.low += 1;
        }
        self.release();
    }

    /// Adds a STATE, which covers every record so far.
    pub fn state(&mut self, value: Box<RawValue>) {
        // An empty state has no bookmarks, and printing it would clear them. Values that are not objects are left to the tap.
        // It is not parsed: valid JSON may have what no parser here accepts, such as 1,000 levels or half of a character.
        let within = value.get().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if value.get() == "null" || within.is_some_and(|within| within.trim().is_empty()) {
            return;
        }
        let queue = if self.is_holding { &mut self.held } else { &mut self.waiting };
        // Only the newest STATE after the same record matters, which bounds the queue.
        if queue.back().is_some_and(|(after, _)| *after == self.next) {
            queue.pop_back();
        }
        queue.push_back((self.next, value));
        // The same for those that only the hold keeps back.
        while self.held.get(1).is_some_and(|(after, _)| *after <= self.low) {
            self.held.pop_front();
        }
        self.release();
    }

    /// Holds back every STATE from now on, until [`Self::resume`].
    pub fn hold(&mut self) {
        self.is_holding = true;
    }

    /// Whether a STATE is being held back.
    pub fn holds_state(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether STATE is held back.
    pub fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// Ends the hold: the STATE values wait only for the records before them.
    pub fn resume(&mut self) {
        self.is_holding = false;
        self.waiting.append(&mut self.held);
        self.release();
    }

    /// Whether every record is done.
    pub fn is_done(&self) -> bool {
        self.low == self.next
    }

    fn release(&mut self) {
        while self.waiting.front().is_some_and(|(after, _)| *after <= self.low) {
            self.safe = self.waiting.pop_front().map(|(_, value)| value);
        }
    }

    /// Takes the newest safe STATE, if it was not printed yet.
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

    #[test]
    fn a_state_that_no_parser_here_takes_is_printed_as_it_came() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        for text in [r#"{"n":"\ud800"}"#, &deep] {
            let mut ack = Ack::default();
            ack.state(raw(text));
            assert_eq!(ack.take_safe().unwrap().get(), text);
        }
    }

    #[test]
    fn a_state_that_is_no_object_is_one() {
        for text in ["1", "\"x\"", "[]", "false"] {
            let mut ack = Ack::default();
            ack.state(raw(text));
            assert_eq!(ack.take_safe().unwrap().get(), text);
        }
    }

    #[test]
    fn what_is_held_comes_out_when_it_is_let_go() {
        let mut ack = Ack::default();
        let first = ack.begin();
        ack.state(raw("{\"n\":1}"));
        ack.hold();
        ack.state(raw("{\"n\":2}"));
        ack.done(first);
        assert_eq!(ack.take_safe().unwrap().get(), "{\"n\":1}");
        let second = ack.begin();
        for n in 3..100 {
            ack.state(raw(&format!("{{\"n\":{n}}}")));
        }
        assert!(ack.take_safe().is_none() && ack.held.len() <= 2);
        ack.resume();
        assert_eq!(ack.take_safe().unwrap().get(), "{\"n\":2}");
        ack.done(second);
        assert_eq!(ack.take_safe().unwrap().get(), "{\"n\":99}");
        assert!(ack.is_done());
    }

    proptest! {
        /// In every order of outcomes, a STATE is printed only once all records before it are done: the newest one, once.
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
