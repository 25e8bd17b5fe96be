//! Reads the entries of a stream in one search, if that is cheaper than looking each up.

use std::io::Write;
use std::sync::Arc;

use ldap_directory::dn::{DnKey, split};
use singer_common::operations::signals::Signal;

use super::Load;
use crate::map::{StreamQuery, Task};
use crate::plan::entry_digests::{EntryDigestCache, LookupBudget};

/// The prefetch state of a stream.
#[derive(Debug, Default)]
pub(super) struct PrefetchState {
    lookups: LookupBudget,
    /// The common ancestor of the entries so far.
    common: Option<DnKey>,
    pub(super) digest_cache: Option<Arc<EntryDigestCache>>,
    /// Whether prefetching is impossible.
    given_up: bool,
}

/// A prefetch to be made.
pub(super) struct Prefetch {
    stream: String,
    base: String,
    most: u64,
}

impl<W: Write> Load<'_, W> {
    /// Notes a record, and requests a prefetch if it pays.
    pub(super) fn consider_prefetch(&mut self, name: &str, task: &Task, key: &DnKey) {
        let Some(stream) = self.input.streams.get_mut(name) else { return };
        let prefetch = &mut stream.prefetch;
        // An entry outside the common ancestor may justify a wider prefetch.
        if prefetch.given_up || prefetch.digest_cache.as_ref().is_some_and(|i| i.covers(key)) {
            return;
        }
        let mut common = prefetch.common.take().or_else(|| key.parent());
        while let Some(above) = common.take_if(|above| !above.is_ancestor_of(key)) {
            common = above.parent();
        }
        prefetch.common = common.or_else(|| Some(DnKey::root()));
        let Some(most) = prefetch.lookups.record() else { return };
        let Task::Upsert { wanted, filter, write_policy } = task else { return };
        let depth = prefetch.common.as_ref().map_or(0, DnKey::depth);
        let base = if filter.is_some() || write_policy.base.is_some() {
            Some(self.applier.search_base(Some(&wanted.dn), write_policy))
        } else {
            split(&wanted.dn)
                .ok()
                .and_then(|parts| Some(parts.get(parts.len().checked_sub(depth)?..)?.join(",")))
        };
        // The root contains everything that a server has.
        let Some(base) = base.filter(|base| !base.is_empty()) else { return };
        self.input.prefetch = Some(Prefetch { stream: name.to_owned(), base, most });
    }

    /// Makes a prefetch. Returns the signal, if one interrupts it.
    pub(super) async fn prefetch(&mut self, prefetch: Prefetch) -> Option<Signal> {
        let Prefetch { stream: name, base, most } = prefetch;
        let stream = self.input.streams.get_mut(&*name)?;
        let Some(StreamQuery { attributes, matched_by, filter, removes_options }) =
            stream.definition.mapping.stream_query(self.applier.directory().schema())
        else {
            stream.prefetch.given_up = true;
            return None;
        };
        let digest_cache = EntryDigestCache::new(attributes, matched_by).with_options(removes_options);
        let read = tokio::select! {
            read = self.applier.prefetch(digest_cache, &base, &filter, most) => read,
            signal = self.stop.wait() => return Some(signal),
        };
        let name = name.as_str();
        match read {
            Ok(Some(digest_cache)) => {
                tracing::debug!(stream = name, "{name}: what is below `{base}` was read at once");
                stream.prefetch.lookups.read(digest_cache.len());
                stream.prefetch.digest_cache = Some(digest_cache);
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
                stream.prefetch.given_up = true;
            }
        }
        None
    }
}
