//! `__filter__`: which records pass, and how many did not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::definition::Formula;
use super::evaluate::{Failure, Scope, evaluate};
use super::expression::{Kind, Node, children};
use super::{Maps, OutputStream, name_of, value};
use crate::operations::facts::Facts;
use crate::singer::deletion::is_marked;

/// How many records of an output stream passed its filter. Deletions are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The path of the filter's setting: `stream_maps.users.__filter__`.
    pub setting: String,
    /// Those that were emitted.
    pub passed: u64,
    /// Those that the filter left out.
    pub left_out: u64,
}

/// The tallies of a run by the name of the output stream: since [`Maps::take_tally`], and of the whole run. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies(Arc<Mutex<BTreeMap<String, [Tally; 2]>>>);

impl Tallies {
    /// Counts a record that is no deletion.
    fn count(&self, name: &str, filter: &Formula, passes: bool) {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Tally { setting: filter.setting.clone(), ..Tally::default() };
        if !tallies.contains_key(name) {
            tallies.insert(name.to_owned(), [new(), new()]);
        }
        for tally in tallies.get_mut(name).into_iter().flatten() {
            *(if passes { &mut tally.passed } else { &mut tally.left_out }) += 1;
        }
    }
}

/// Whether a record says that it was deleted. A marker that is not a time counts: the target reports it.
fn is_deletion(record: &Value) -> bool {
    let properties = record.as_object().into_iter().flatten();
    is_marked(properties.map(|(name, value)| (name.as_str(), value))) != Ok(false)
}

impl Maps {
    /// Returns how many records passed the filter of an output stream since the last call; `None` if it has none, or no record came.
    pub fn take_tally(&self, name: &str) -> Option<Tally> {
        let mut tallies = self.tallies.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [recent, _] = tallies.get_mut(name)?;
        let taken = recent.clone();
        (recent.passed, recent.left_out) = (0, 0);
        Some(taken)
    }

    /// Logs, for each filter, how many records of the run it left out.
    pub fn log_left_out(&self) {
        let tallies = self.tallies.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, [_, Tally { setting, passed, left_out }]) in tallies.iter() {
            if *left_out > 0 {
                let of = passed.saturating_add(*left_out);
                let facts = Facts { stream: Some(name.clone()), ..Facts::of_setting(setting) };
                facts.info(&format!("{name}: `{setting}` left out {left_out} of {of} records"));
            }
        }
    }

    /// Whether a record passes a filter, which is counted. A deletion has little more than its key: it is judged only if it has a value for each
    /// property that the filter mentions, and passes otherwise, for the entry may have been emitted.
    ///
    /// # Errors
    /// The position and the reason, if the filter has no value.
    pub(super) fn passes(
        &self,
        filter: &Formula,
        scope: &Scope<'_, '_>,
        output: &OutputStream,
        stream: &str,
    ) -> Result<bool, (usize, String)> {
        let is_deletion = is_deletion(scope.record);
        if is_deletion {
            let known = self.known.get(stream).into_iter().flatten();
            let is_there = |name: &str| scope.record.get(name).is_some_and(|value| !value.is_null());
            if known.into_iter().any(|name| mentions(&filter.node, name) && !is_there(name)) {
                return Ok(true);
            }
        }
        let passes = match evaluate(&filter.node, scope) {
            Ok(value) => value::truth(&value),
            Err(Failure::Absent) => is_deletion || self.passes_without(filter, scope, output, stream),
            Err(Failure::Wrong { at, reason }) => return Err((at, reason)),
        };
        if !is_deletion {
            self.tallies.count(&output.name, filter, passes);
        }
        Ok(passes)
    }

    /// Whether a record passes a filter on properties that it does not have. Those of the SCHEMA count as null: a value that cannot be
    /// read is left out of its record, and the record would be gone without a word, which is a deletion where versions are activated.
    fn passes_without(
        &self,
        filter: &Formula,
        scope: &Scope<'_, '_>,
        output: &OutputStream,
        stream: &str,
    ) -> bool {
        let Some(properties) = scope.record.as_object() else { return false };
        let known = self.known.get(stream).into_iter().flatten();
        let missing = known.filter(|name| !properties.contains_key(*name));
        let mut whole = properties.clone();
        whole.extend(missing.map(|name| (name.clone(), Value::Null)));
        let whole = Value::Object(whole);
        if let Ok(value) = evaluate(&filter.node, &Scope { record: &whole, ..*scope }) {
            return value::truth(&value);
        }
        let name = name_of(scope.record, output);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(filter.setting.clone()) {
            tracing::warn!(
                setting = filter.setting,
                stream,
                record = name,
                "setting `{}`: a property of the filter is not in the record {name} of stream `{stream}`, so the record is left out, as are further ones like it",
                filter.setting
            );
        }
        false
    }
}

/// Whether an expression mentions a property: by its name, as `record.name`, or in a text (`record.get('name')`).
fn mentions(node: &Node, property: &str) -> bool {
    let here = match &node.kind {
        Kind::Name(name) | Kind::Attribute(_, name) => name == property,
        Kind::Literal(Value::String(text)) => text == property,
        _ => false,
    };
    here || children(&node.kind).into_iter().any(|part| mentions(part, property))
}
