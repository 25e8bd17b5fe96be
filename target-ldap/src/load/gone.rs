//! ACTIVATE_VERSION: what did not come with a version that is whole goes the way of `on_delete`.

use std::io::Write;
use std::sync::Arc;

use serde_json::Value;
use singer_common::dn::DnKey;
use singer_common::signals::Signal;

use super::{Kept, Load, LoadError, Work};
use crate::map::{Extent, Removal, Task};
use crate::order::Kind;
use crate::rejects::Origin;
use crate::versions::topmost;

/// A version that is whole.
pub(super) struct Activation {
    stream: String,
    line: u64,
    extent: Extent,
    origin: Arc<Origin>,
}

/// An entry that did not come with its stream's version.
pub(super) struct Gone {
    dn: String,
    key: DnKey,
    activation: Arc<Activation>,
}

impl<W: Write> Load<'_, W> {
    /// A version is whole. What is gone is looked for before another line is taken.
    pub(super) fn activate(&mut self, line: u64, stream: String, version: i64) {
        let nothing = |why: &dyn std::fmt::Display| {
            tracing::warn!(
                stream = stream.as_str(),
                "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes nothing: {why}"
            );
        };
        if !self.config.process_activate_version {
            return tracing::debug!(
                "ACTIVATE_VERSION {version} of `{stream}`: process_activate_version is not set"
            );
        }
        if let Err(doubt) = self.versions.activate(&stream, version) {
            return nothing(&doubt);
        }
        // Records came, and so did the SCHEMA.
        let Some(known) = self.streams.get(&*stream).map(|s| &s.plan) else { return };
        match known.mapping.extent().cloned() {
            None => nothing(&"its rule has no scope_base"),
            Some(extent) if *extent.removal == Removal::Nothing => {}
            Some(extent) => {
                let origin = known.origin.clone();
                self.activation = Some(Activation { stream, line, extent, origin });
            }
        }
    }

    /// Reads what is in the scope, and keeps the names of what is gone. What may end the search early is a signal.
    pub(super) async fn find_gone(&mut self, activation: Activation) -> Option<Signal> {
        let Extent { base, filter, others, removal, .. } = &activation.extent;
        // Nor what such a scope lies below: it would go with it.
        let is_others = |key: &DnKey| others.iter().any(|o| key.is_within(o) || key.is_ancestor_of(o));
        // Nor what is about to be given another name.
        let is_gone =
            |key: &DnKey| !is_others(key) && !self.versions.keep(key) && !self.order.is_claimed(key);
        let found = tokio::select! {
            found = self.applier.below(base, filter, is_gone) => found,
            signal = self.stop.wait() => return Some(signal),
        };
        let gone = match found {
            Ok(gone) => gone,
            Err(error) => {
                let Activation { line, stream, .. } = activation;
                self.fail(u64::MAX - 1, LoadError::Write { line, stream, error });
                return None;
            }
        };
        // Where the whole subtree goes with an entry, what lies below is not asked twice; else children go first.
        let gone: Vec<(DnKey, String)> = match **removal {
            Removal::Tree | Removal::MoveTo(_) => topmost(gone),
            _ => gone.into_iter().rev().collect(),
        };
        let stream = activation.stream.as_str();
        tracing::info!(
            stream,
            "{stream}: {} entries below `{base}` did not come with the version",
            gone.len()
        );
        let activation = Arc::new(activation);
        let gone = gone.into_iter().map(|(key, dn)| Gone { dn, key, activation: activation.clone() });
        self.gone.extend(gone);
        None
    }

    /// Takes up what is gone, as far as tasks may be outstanding. Nothing of it once the run is given up.
    pub(super) fn take_gone(&mut self, given_up: bool) {
        if given_up {
            self.gone.clear();
        }
        while !self.has_enough() {
            let Some(Gone { dn, key, activation }) = self.gone.pop_front() else { return };
            let Activation { stream, line, extent, origin } = activation.as_ref();
            let (removal, manner) = (extent.removal.clone(), extent.manner.clone());
            let task = Task::Delete { dn: Some(dn), filter: None, removal, manner };
            let number = self.ack.begin();
            let record = Arc::new(Value::Null);
            let kept = self.rejects.is_some().then(|| Kept { record, origin: origin.clone() });
            let (stream, line) = (stream.as_str().into(), *line);
            let about = "what its version no longer has".into();
            let work = Box::new(Work { kept, ..Work::new(number, line, stream, task, key, about) });
            self.order.submit(number, work.claim(), Kind::Delete, work);
        }
    }
}
