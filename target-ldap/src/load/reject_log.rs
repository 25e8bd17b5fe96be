//! Logs rejected records: the first of each kind of reason singly, then their number.

use std::collections::BTreeMap;

use singer_common::operations::facts::Facts;

/// The records of a kind of reason that are logged singly. All are in the reject file.
const NAMED: u64 = 5;
/// The most kinds that are counted; records of further kinds are logged singly.
const KINDS: usize = 1_000;

/// The rejected records of a run, by kind of reason.
#[derive(Debug, Default)]
pub(super) struct RejectLog {
    kinds: BTreeMap<(String, String), ReasonKind>,
}

#[derive(Debug)]
struct ReasonKind {
    records: u64,
    /// Of the first record.
    reason: String,
    /// `rejected`, or the wording for a dry run.
    what: &'static str,
}

impl RejectLog {
    /// Counts a record. `true`: it is to be logged.
    pub(super) fn should_log(&mut self, stream: &str, reason: &str, what: &'static str) -> bool {
        let key = (stream.to_owned(), without_values(reason));
        if !self.kinds.contains_key(&key) && self.kinds.len() >= KINDS {
            return true;
        }
        let kind = self.kinds.entry(key).or_insert_with(|| ReasonKind {
            records: 0,
            reason: reason.to_owned(),
            what,
        });
        kind.records += 1;
        kind.records <= NAMED
    }

    /// Logs how many were not logged singly.
    pub(super) fn report(&self) {
        for ((stream, _), ReasonKind { records, reason, what }) in &self.kinds {
            let Some(more) = records.checked_sub(NAMED).filter(|more| *more > 0) else { continue };
            let facts = Facts { stream: Some(stream.clone()), ..Facts::default() };
            facts.warn(&format!(
                "stream `{stream}`: {more} more record(s) {what} for such a reason: {reason}"
            ));
        }
    }
}

/// Returns a reason without quoted parts and digits: it is the same for all records with one fault.
fn without_values(reason: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    for c in reason.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '`' | '"') => quote = Some(c),
            None if c.is_ascii_digit() => {}
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_kind_five_are_named() {
        let mut said = RejectLog::default();
        let named = |said: &mut RejectLog, name: &str| {
            said.should_log("s", &format!("add `cn={name}`: alreadyExists (68): \"{name}\" 7"), "rejected")
        };
        for n in 0..NAMED {
            assert!(named(&mut said, &format!("a{n}")));
        }
        assert!(!named(&mut said, "b"));
        assert!(said.should_log("s", "another reason", "rejected"));
        assert!(said.should_log("t", "add `cn=x`: alreadyExists (68): \"x\" 7", "rejected"));
    }
}
