//! `INCREMENTAL`: entries whose key is at or above the bookmark's.
//!
//! The bookmark is the largest value that the *server* returned. Reading begins again a little earlier (see
//! [`super::order`]), and what was printed then and is the same now is not printed again: [`boundary`] keeps what that
//! needs. The bookmark moves while the stream is read: few entries are sorted here, many by the server (RFC 2891) or, where it
//! does not sort, read in windows of the key, so that a run that is killed repeats one window at most.

use std::collections::HashSet;
use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use singer_common::directory::ldap::controls::SERVER_SORT;
use singer_common::directory::{DirectoryError, Paging, SearchControl, Vendor};
use singer_common::entry::Entry;
use singer_common::filter::escape_value;
use singer_common::state::StateError;

use self::boundary::Boundary;
use self::windows::Sketch;
use super::completeness::{Completeness, conclude};
use super::containers::{self, Names};
use super::dirsync::highest_usn;
use super::index::{Mark, SharedIndex};
use super::order::{KeyOrder, OrderKey};
use super::stream::new_version;
use super::{
    FORMAT, Fingerprint, INCREMENTAL, NOT_THE_SAME, OTHER_INDEX, StreamRun, announce_resync, bookmark,
};
use crate::output::Output;
use crate::source::{Entries, Source};

mod boundary;
mod windows;

/// So many entries are taken into memory and sorted here: an hour's changes, mostly.
const FEW: usize = 1_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bookmark {
    #[serde(default)]
    format: u64,
    #[serde(default)]
    replication_method: String,
    #[serde(default)]
    replication_key: Option<String>,
    replication_key_value: Value,
    #[serde(default)]
    fingerprint: Option<String>,
    /// With `track_deletions`: what the rows of the last full read are marked with, and what the index told so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// Whether that read is not complete yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Mark>,
    #[serde(default, skip_serializing_if = "Boundary::is_empty")]
    boundary: Boundary,
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    containers: Names,
}

/// Reads what changed since the bookmark, or everything where there is none.
pub(crate) async fn run<W: Write>(
    run: &mut StreamRun<'_>,
    key: &str,
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    let id = run.stream.tap_stream_id.as_str();
    let order = KeyOrder::new(key, run.schema(), run.tree.directory.root_dse().vendor);
    // The server's own numbers mean nothing on another server.
    let server = if is_local(key) { run.tree.local_identity().await? } else { String::new() };
    let print = Fingerprint::of(run.tree, run.source, &run.attributes(&[]), key, &server);
    let old: Option<Bookmark> = bookmark(output, id, "replication_key_value")?;
    let old = old.filter(|old| match &old.fingerprint {
        Some(other) if !print.is(other) => {
            announce_resync(id, NOT_THE_SAME);
            false
        }
        // Of another tap, or written by hand: the value is taken at its word if it is about the same key.
        None => old.replication_key.as_deref().is_none_or(|k| k.eq_ignore_ascii_case(key)),
        Some(_) => true,
    });
    let old = if was_restored(run, key, old.as_ref()).await? {
        announce_resync(id, "the domain controller was restored from an older copy of its database");
        None
    } else {
        old
    };
    let has_index = run.resume_index(old.as_ref().and_then(|old| old.index.as_ref()))?;
    if old.is_some() && !has_index {
        announce_resync(id, OTHER_INDEX);
    }
    let last_version = old.as_ref().and_then(|old| old.version);
    let old = old.filter(|_| has_index);
    run.version = run.index.is_some().then(|| match &old {
        Some(old) => old.version.unwrap_or_default(),
        None => new_version(last_version),
    });
    let largest = old
        .as_ref()
        .map(|old| {
            order.parse(&old.replication_key_value).ok_or_else(|| StateError::Bookmark {
                stream: id.to_owned(),
                problem: format!("has a replication_key_value that is no value of `{key}`"),
            })
        })
        .transpose()?;
    run.start(output, &[key.to_owned()])?;
    warn_of_several_providers(run).await?;
    let delta = largest.is_some();
    let mut more = vec![order.name, order.searched];
    if delta {
        more.extend(containers::OF_CHANGES);
    }
    let attributes = run.attributes(&more);
    let old_names = old.as_ref().map(|o| o.containers.clone()).unwrap_or_default();
    let (names, moved) = containers::look(run, &old_names).await?;
    let mark = run.index.as_ref().map(SharedIndex::mark);
    let mark = old.as_ref().and_then(|o| o.index.clone()).or(mark);
    let incomplete = run.index.is_some() && old.as_ref().is_none_or(|o| o.incomplete);
    let from = largest.as_deref().map(|l| order.again_from(l));
    let largest = largest.and_then(|l| Some((order.sortable(&l, run.schema())?, l)));
    let mut reading = Reading {
        order,
        print,
        attributes,
        from,
        before: old.map(|o| o.boundary).unwrap_or_default(),
        now: Boundary::default(),
        keep: String::new(),
        largest,
        // What is renamed while everything is read the first time is found by the names there were before.
        names: if delta { old_names } else { names.clone() },
        mark,
        incomplete,
        below: Vec::new(),
        delta,
    };
    reading.check_digest(run, output).await?;
    reading.everything(run, output).await?;
    for dn in &moved {
        containers::emit_below(run, output, dn).await?;
    }
    reading.emit_below(run, output).await?;
    reading.names = names;
    reading.look_for_gone(run, output).await?;
    reading.note(run, output)
}

/// Whether a domain controller has counted less far than the bookmark: its numbers begin again where they were, and would
/// hide what is counted a second time.
async fn was_restored(run: &StreamRun<'_>, key: &str, old: Option<&Bookmark>) -> anyhow::Result<bool> {
    let directory = &run.tree.directory;
    let counts =
        directory.root_dse().vendor == Vendor::ActiveDirectory && key.eq_ignore_ascii_case("uSNChanged");
    match old.and_then(|o| o.replication_key_value.as_u64()) {
        Some(largest) if counts => Ok(highest_usn(directory).await? < largest),
        _ => Ok(false),
    }
}

/// A change of another provider that arrives late was stamped before changes that are here already, and maybe before the
/// bookmark.
async fn warn_of_several_providers(run: &StreamRun<'_>) -> anyhow::Result<()> {
    const CONTEXT_CSN: &str = "contextCSN";
    let tree = run.tree;
    if tree.directory.root_dse().vendor != Vendor::OpenLdap {
        return Ok(());
    }
    let context = tree.directory.read(&tree.base, &[CONTEXT_CSN]).await?.unwrap_or_default();
    let providers = context.values(CONTEXT_CSN).len();
    if providers > 1 {
        let stream = run.stream.stream.as_str();
        tracing::warn!(
            stream,
            "{stream}: the directory replicates from {providers} providers; INCREMENTAL misses a change that arrives after later ones were read. LOG_BASED does not"
        );
    }
    Ok(())
}

/// Whether a key counts the changes of one server only.
fn is_local(key: &str) -> bool {
    ["uSNChanged", "uSNCreated", "entryusn"].iter().any(|k| k.eq_ignore_ascii_case(key))
        // [MS-ADA3] 2.370: not replicated, each domain controller has its own.
        || key.eq_ignore_ascii_case("whenChanged")
}

struct Reading<'a> {
    order: KeyOrder<'a>,
    print: Fingerprint,
    attributes: Vec<String>,
    /// The value to begin at.
    from: Option<Vec<u8>>,
    /// What the last run left at its end.
    before: Boundary,
    /// What this run leaves at its own.
    now: Boundary,
    /// The earliest moment that the next run will read again.
    keep: String,
    /// The largest value seen, sortable and as it is.
    largest: Option<(OrderKey, Vec<u8>)>,
    names: Names,
    /// Entries that changed and have others below them.
    below: Vec<String>,
    delta: bool,
    /// What the index of keys told so far.
    mark: Option<Mark>,
    /// Whether the version was not activated yet.
    incomplete: bool,
}

/// A part of the key's range: from a value on, up to another, which is not in it.
#[derive(Debug, Clone, Copy, Default)]
struct Window<'v> {
    from: Option<&'v [u8]>,
    to: Option<&'v [u8]>,
}

impl Reading<'_> {
    fn filter(&self, window: Window<'_>) -> String {
        let at_least = |value: &[u8]| format!("({}>={})", self.order.searched, escape_value(value));
        match (window.from, window.to) {
            (None, None) => "(objectClass=*)".to_owned(),
            (Some(from), None) => at_least(from),
            // Entries without the key are in the first window.
            (None, Some(to)) => format!("(!{})", at_least(to)),
            (Some(from), Some(to)) => format!("(&{}(!{}))", at_least(from), at_least(to)),
        }
    }

    async fn open<'t>(
        &self,
        run: &StreamRun<'t>,
        window: Window<'_>,
        attributes: &[String],
        controls: Vec<SearchControl>,
    ) -> Result<Entries<'t>, DirectoryError> {
        let filter = self.filter(window);
        Entries::open_filtered(run.tree, run.source, attributes, Paging::Configured, &filter, controls).await
    }

    /// Where the last run left more at its end than a bookmark can list, it kept a sum of it. If what is there now has the
    /// same sum, nothing of it changed.
    async fn check_digest<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        if !self.before.is_digest() {
            return Ok(());
        }
        let mut there = Boundary::default();
        let attributes = self.attributes.clone();
        let mut entries =
            self.open(run, Window { from: self.from.as_deref(), to: None }, &attributes, vec![]).await?;
        let mut scratch = Vec::new();
        while let Some(entry) = output.next_of(&mut entries).await?? {
            let Some((key, _)) = self.order.of(&entry, run.schema()) else { continue };
            let moment = self.order.moment(&key);
            if self.before.has(&moment) {
                scratch.clear();
                let record = run.converter.write(&entry, None, "", &mut scratch);
                there.add(&moment, scratch.get(record).unwrap_or_default());
            }
        }
        self.before.confirm(&there);
        Ok(())
    }

    async fn everything<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let from = self.from.clone();
        let all = Window { from: from.as_deref(), to: None };
        // Containers are in memory in any case, and in the order that a mirror needs.
        let is_ready = matches!(run.source, Source::Containers);
        let attributes = self.attributes.clone();
        let mut entries = self.open(run, all, &attributes, vec![]).await?;
        let mut few = Vec::new();
        let complete = loop {
            match output.next_of(&mut entries).await?? {
                Some(entry) => few.push(entry),
                None => break true,
            }
            if few.len() >= FEW && !is_ready {
                break false;
            }
        };
        if complete {
            // A search that began again gave some of them twice.
            let mut seen = HashSet::new();
            let twice: Vec<bool> = few.iter().rev().map(|e| !seen.insert(e.dn.as_str())).collect();
            drop(seen);
            let mut twice = twice.into_iter().rev();
            few.retain(|_| twice.next() != Some(true));
            if !is_ready {
                few.sort_by_cached_key(|e| self.order.of(e, run.schema()).map(|(key, _)| key));
            }
            for entry in few {
                self.take(run, output, &entry).await?;
            }
            return Ok(());
        }
        drop(few);
        entries.close().await?;
        if self.sorted(run, output, all).await? { Ok(()) } else { self.windows(run, output, all).await }
    }

    /// Reads in the order of the key, if the server can sort. Whether it could.
    async fn sorted<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<bool> {
        if !run.tree.directory.root_dse().supports_control(SERVER_SORT) {
            return Ok(false);
        }
        let directory = &run.tree.directory.clone();
        let controls = vec![SearchControl::Sort(self.order.searched.to_owned())];
        let attributes = self.attributes.clone();
        let mut entries = self.open(run, all, &attributes, controls.clone()).await?;
        if !entries.is_one_search() {
            return Ok(false);
        }
        let mut first = match output.next_of(&mut entries).await? {
            Err(e) if e.code().is_some() && !e.may_pass() => {
                tracing::debug!("the server does not sort this answer ({e}); reading in windows");
                return Ok(false);
            }
            first => first,
        };
        let mut last: Option<OrderKey> = None;
        let mut in_order = true;
        let mut attempts = None;
        loop {
            let entry = match first {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(true),
                // It goes on at the last value; or at the beginning, where the order does not say what came before, and where
                // entries without the key may be still to come.
                Err(e) => {
                    if last.is_some() && all.from.is_some() {
                        attempts = None;
                    }
                    output.or_stop(directory.recover(e, &mut attempts)).await??;
                    // All that it notes comes once more, and is to be counted once.
                    self.now = Boundary::default();
                    let knows = in_order && last.is_some() && all.from.is_some();
                    let reached = self.largest.as_ref().filter(|_| knows);
                    let from = reached.map(|(_, largest)| self.order.again_from(largest));
                    let window = from.as_deref().map_or(all, |from| Window { from: Some(from), to: None });
                    entries = self.open(run, window, &attributes, controls.clone()).await?;
                    last = None;
                    first = output.next_of(&mut entries).await?;
                    continue;
                }
            };
            let key = self.order.of(&entry, run.schema()).map(|(key, _)| key);
            // An entry without the key sorts behind all others (RFC 2891 section 1.1), or before them.
            if let (Some(key), Some(last)) = (&key, &last)
                && key < last
                && in_order
            {
                in_order = false;
                tracing::warn!(
                    "the server did not sort by `{}` as it was asked to: the bookmark moves at the end of the stream only",
                    self.order.searched
                );
            }
            self.take(run, output, &entry).await?;
            last = key.or(last);
            // What lies below a changed entry is printed at the end: until then the position must stay behind it.
            if output.is_due() && in_order && self.below.is_empty() {
                self.note(run, output)?;
                output.save()?;
            }
            first = output.next_of(&mut entries).await?;
        }
    }

    /// Looks at the keys alone, and then reads window by window.
    async fn windows<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<()> {
        let keys = vec![self.order.name.to_owned(), self.order.searched.to_owned()];
        let mut entries = self.open(run, all, &keys, vec![]).await?;
        let mut sketch = Sketch::default();
        while let Some(entry) = output.next_of(&mut entries).await?? {
            if let Some((key, value)) = self.order.of(&entry, run.schema()) {
                sketch.add(key, value);
            }
        }
        drop(entries);
        let bounds = sketch.bounds(output.state_interval);
        tracing::debug!("{} windows of `{}`", bounds.len() + 1, self.order.searched);
        let mut from = all.from;
        for to in bounds.iter().map(|b| Some(b.as_slice())).chain([None]) {
            let attributes = self.attributes.clone();
            let mut entries = self.open(run, Window { from, to }, &attributes, vec![]).await?;
            while let Some(entry) = output.next_of(&mut entries).await?? {
                self.take(run, output, &entry).await?;
            }
            if to.is_some() {
                self.emit_below(run, output).await?;
                self.note(run, output)?;
                output.save()?;
            }
            from = to;
        }
        Ok(())
    }

    /// Prints an entry, unless it was printed by an earlier run and is still the same.
    async fn take<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        entry: &Entry,
    ) -> anyhow::Result<()> {
        let key = self.order.of(entry, run.schema());
        let moment = key.as_ref().map(|(key, _)| self.order.moment(key));
        if key.as_ref().map(|(k, _)| k) > self.largest.as_ref().map(|(k, _)| k) {
            self.largest.clone_from(&key);
            self.keep = self.keep_from(run).unwrap_or_default();
            self.now.prune(&self.keep);
        }
        let buffer = output.writer.record_buffer();
        let start = buffer.len();
        let record = run.write(entry, buffer);
        let mut seen = false;
        if let Some(moment) = &moment {
            let record = buffer.get(record).unwrap_or_default();
            seen = self.before.contains(moment, record);
            if *moment >= self.keep {
                self.now.add(moment, record);
            }
        }
        let ignored = self.delta && run.is_ignored(entry);
        if seen || ignored {
            run.left_out += u64::from(ignored && !seen);
            buffer.truncate(start);
            return Ok(());
        }
        run.records += 1;
        output.record_done(&run.stream.stream, run.records)?;
        run.printed(entry)?;
        if self.delta && containers::has_below(run, entry, &self.names).await? {
            self.below.push(entry.dn.clone());
        }
        Ok(())
    }

    /// Prints what lies below entries that changed.
    async fn emit_below<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        for dn in std::mem::take(&mut self.below) {
            containers::emit_below(run, output, &dn).await?;
        }
        Ok(())
    }

    /// With `track_deletions`: looks at the names of everything that is there, and prints the deletions of what is not.
    async fn look_for_gone<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        if run.index.is_none() {
            return Ok(());
        }
        let mut keys = run.stream.key_properties.clone();
        keys.retain(|k| k != "dn");
        if keys.is_empty() {
            keys.push("1.1".to_owned());
        }
        let mut entries = self.open(run, Window::default(), &keys, vec![]).await?;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            run.seen(&entry)?;
        }
        let mut completeness = Completeness::default();
        completeness.references(entries.references);
        // The version of an earlier read is activated already.
        let version = if self.incomplete { run.version } else { None };
        if conclude(run, version, &completeness, output)? {
            self.incomplete = false;
            self.mark = run.emit_gone(output)?;
        }
        Ok(())
    }

    fn keep_from(&self, run: &StreamRun<'_>) -> Option<String> {
        let (_, largest) = self.largest.as_ref()?;
        let again = self.order.again_from(largest);
        self.order.sortable(&again, run.schema()).map(|key| self.order.moment(&key))
    }

    /// Notes the position. With an index of keys, what was printed up to it is in there first.
    fn note<W: Write>(&self, run: &StreamRun<'_>, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let Some((_, largest)) = &self.largest else { return Ok(()) };
        let bookmark = Bookmark {
            format: FORMAT,
            replication_method: INCREMENTAL.to_owned(),
            replication_key: Some(self.order.name.to_owned()),
            replication_key_value: self.order.to_json(largest),
            fingerprint: Some(self.print.to_text()),
            version: run.version,
            incomplete: self.incomplete,
            index: run.commit_index(self.mark.as_ref())?,
            boundary: self.now.clone(),
            containers: self.names.clone(),
        };
        output.note(&run.stream.tap_stream_id, serde_json::to_value(bookmark)?);
        Ok(())
    }
}
