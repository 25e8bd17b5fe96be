//! Reading a stream's entries all at once, where that is less than looking each up.

use std::io::Write;
use std::sync::Arc;

use singer_common::dn::{DnKey, split};
use singer_common::signals::Signal;

use super::Load;
use crate::map::{StreamQuery, Task};
use crate::plan::entry_digests::{Inventory, Lookups};

/// What is known of how a stream's entries are best read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    lookups: Lookups,
    /// What all of them lie below so far.
    common: Option<DnKey>,
    pub(super) inventory: Option<Arc<Inventory>>,
    /// It cannot be had.
    given_up: bool,
}

/// A stream's entries, to be read.
pub(super) struct Survey {
    stream: String,
    base: String,
    most: u64,
}

impl<W: Write> Load<'_, W> {
    /// A record came that is about this entry.
    pub(super) fn think_of_an_inventory(&mut self, name: &str, task: &Task, key: &DnKey) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let reading = &mut stream.reading;
        // What lies elsewhere than all so far makes a wider one worth a thought.
        if reading.given_up || reading.inventory.as_ref().is_some_and(|i| i.covers(key)) {
            return;
        }
        let mut common = reading.common.take().or_else(|| key.parent());
        while let Some(above) = common.take_if(|above| !above.is_ancestor_of(key)) {
            common = above.parent();
        }
        reading.common = common.or_else(|| Some(DnKey::root()));
        let Some(most) = reading.lookups.record() else { return };
        let Task::Upsert { wanted, filter, manner } = task else { return };
        let depth = reading.common.as_ref().map_or(0, DnKey::depth);
        let base = if filter.is_some() || manner.base.is_some() {
            Some(self.applier.search_base(Some(&wanted.dn), manner))
        } else {
            split(&wanted.dn)
                .ok()
                .and_then(|parts| Some(parts.get(parts.len().checked_sub(depth)?..)?.join(",")))
        };
        // The root is above all that a server has.
        let Some(base) = base.filter(|base| !base.is_empty()) else { return };
        self.survey = Some(Survey { stream: name.to_owned(), base, most });
    }

    /// Reads them. What may end that early is a signal.
    pub(super) async fn read_inventory(&mut self, survey: Survey) -> Option<Signal> {
        let Survey { stream: name, base, most } = survey;
        let stream = self.streams.get_mut(&*name)?;
        let Some(StreamQuery { attributes, claim, filter }) = stream.plan.mapping.stream_query() else {
            stream.reading.given_up = true;
            return None;
        };
        let inventory = Inventory::new(attributes, claim);
        let read = tokio::select! {
            read = self.applier.survey(inventory, &base, &filter, most) => read,
            signal = self.stop.wait() => return Some(signal),
        };
        let name = name.as_str();
        match read {
            Ok(Some(inventory)) => {
                tracing::debug!(stream = name, "{name}: what is below `{base}` was read at once");
                stream.reading.lookups.read(inventory.len());
                stream.reading.inventory = Some(inventory);
            }
            Ok(None) => {
                tracing::debug!(
                    stream = name,
                    "{name}: more than {most} entries below `{base}`: looked up one by one for now"
                );
            }
            Err(error) => {
                tracing::debug!(
                    stream = name,
                    "{name}: what is below `{base}` cannot be read at once: {error}"
                );
                stream.reading.given_up = true;
            }
        }
        None
    }
}
