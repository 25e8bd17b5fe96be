//! The ways to read the range of the key: in memory, in the server's order, or in windows.

use std::collections::HashSet;
use std::io::Write;

use ldap_directory::entry::Entry;
use ldap_directory::oid::SERVER_SORT;
use ldap_directory::{DirectoryError, SearchControl};

use super::key_cursor::KeyCursor;
use super::key_histogram::KeyHistogram;
use super::keyless::KeylessEntries;
use super::read::{IncrementalRead, Window};
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::stream_run::StreamRun;
use crate::stream::entries::Entries;
use crate::stream::key_order::OrderKey;

/// The most entries that are sorted in memory: usually an hour's changes.
const FEW: usize = 1_000;

/// The result of an attempt to read the whole range into memory.
enum Attempt {
    /// All entries.
    All(Vec<Entry>),
    /// There are too many.
    TooMany,
}

/// The order in which a server returned the entries so far.
struct ServerOrder {
    /// The key of the last entry that has one.
    last: Option<OrderKey>,
    /// Whether no key was smaller than the one before.
    is_sorted: bool,
}

impl ServerOrder {
    /// Returns whether the server broke the order at this key, for the first time.
    fn is_broken_by(&mut self, key: Option<&OrderKey>) -> bool {
        // An entry without the key is sorted behind all others (RFC 2891 section 1.1), or before them.
        let is_broken = self.is_sorted && key.zip(self.last.as_ref()).is_some_and(|(key, last)| key < last);
        self.is_sorted &= !is_broken;
        is_broken
    }
}

impl IncrementalRead<'_> {
    /// Reads all entries of the range.
    pub(super) async fn read_range<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let from = self.cursor.from.clone();
        let all = Window { from: from.as_deref(), to: None };
        if let Attempt::All(entries) = self.try_in_memory(run, output, all).await? {
            return self.read_in_memory(run, output, entries).await;
        }
        // Before anything is emitted: whether later runs can follow a first read, and the keys for the index.
        let histogram = if self.is_delta && run.index.is_none() {
            None
        } else {
            Some(self.read_keys(run, output, all).await?)
        };
        if self.read_sorted(run, output, all).await? {
            return Ok(());
        }
        let histogram = match histogram {
            Some(histogram) => histogram,
            None => self.read_keys(run, output, all).await?,
        };
        self.read_windows(run, output, all, &histogram).await
    }

    /// Reads the entries of the range into memory, unless there are too many.
    async fn try_in_memory<W: Write>(
        &mut self,
        run: &StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<Attempt> {
        // Containers are in memory in any case, and in the order that a mirror needs.
        let is_unlimited = matches!(run.source, Source::Containers);
        let attributes = self.attributes.clone();
        let mut entries = self.open(run, &self.filter(all), &attributes, vec![]).await?;
        let mut few = Vec::new();
        while let Some(entry) = output.next_of(&mut entries).await?? {
            few.push(entry);
            if few.len() >= FEW && !is_unlimited {
                drop(few);
                entries.close().await?;
                return Ok(Attempt::TooMany);
            }
        }
        self.close(&mut entries);
        Ok(Attempt::All(few))
    }

    /// Emits entries in the order of their keys.
    async fn read_in_memory<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        mut entries: Vec<Entry>,
    ) -> anyhow::Result<()> {
        // A restarted search returns some of them twice.
        let mut seen = HashSet::new();
        let repeated: Vec<bool> = entries.iter().rev().map(|e| !seen.insert(e.dn.as_str())).collect();
        drop(seen);
        let mut repeated = repeated.into_iter().rev();
        entries.retain(|_| repeated.next() != Some(true));
        if !self.is_delta {
            let mut keyless = KeylessEntries::default();
            entries.iter().filter(|e| !self.is_followed(run, e)).for_each(|e| keyless.add(&e.dn));
            keyless.refuse(run, self.cursor.order.name)?;
        }
        if !matches!(run.source, Source::Containers) {
            entries.sort_by_cached_key(|e| self.cursor.order.of(e, run.schema()).map(|(key, _)| key));
        }
        entries.iter().try_for_each(|entry| run.emitted(entry))?;
        run.persist_index()?;
        for entry in entries {
            self.handle_entry(run, output, &entry).await?;
        }
        Ok(())
    }

    /// Reads the keys of all entries: how they are distributed, and whether every entry has one. The index has all of them before
    /// the first record is emitted, so that the deletion of an entry that a killed run emitted after its last STATE is found.
    async fn read_keys<W: Write>(
        &self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<KeyHistogram> {
        let order = &self.cursor.order;
        let second = self.second.iter().flat_map(|cursor| cursor.order.attributes());
        let mut names: Vec<String> = order.attributes().chain(second).map(str::to_owned).collect();
        if run.index.is_some() {
            names.extend(run.stream.key_properties.iter().filter(|k| *k != "dn").cloned());
        }
        let mut entries = self.open(run, &self.filter(all), &names, vec![]).await?;
        let mut histogram = KeyHistogram::default();
        let mut keyless = KeylessEntries::default();
        while let Some(entry) = output.next_of(&mut entries).await?? {
            if let Some((key, value)) = order.of(&entry, run.schema()) {
                histogram.add(key, value);
            }
            if !self.is_delta && !self.is_followed(run, &entry) {
                keyless.add(&entry.dn);
            }
            run.emitted(&entry)?;
        }
        keyless.refuse(run, order.name)?;
        run.persist_index()?;
        Ok(histogram)
    }

    /// Reads in the order of the key, if the server can sort. Returns whether it could.
    async fn read_sorted<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<bool> {
        let Some((mut entries, mut next)) = self.open_sorted(run, output, all).await? else {
            return Ok(false);
        };
        let directory = run.context.directory.clone();
        let mut server = ServerOrder { last: None, is_sorted: true };
        let mut attempts = None;
        loop {
            match next {
                Ok(Some(entry)) => self.handle_sorted(run, output, &entry, &mut server).await?,
                Ok(None) => {
                    self.close(&mut entries);
                    return Ok(true);
                }
                Err(e) => {
                    let knows_position = server.last.is_some() && all.from.is_some();
                    if knows_position {
                        attempts = None;
                    }
                    output.or_stop(directory.recover(e, &mut attempts)).await??;
                    let resumes = server.is_sorted && knows_position;
                    entries = self.reopen_sorted(run, all, resumes).await?;
                    server.last = None;
                }
            }
            next = output.next_of(&mut entries).await?;
        }
    }

    /// Starts a sorted search and reads its first entry. Returns `None` if the server does not sort.
    async fn open_sorted<'t, W: Write>(
        &self,
        run: &StreamRun<'t>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<Option<(Entries<'t>, Result<Option<Entry>, DirectoryError>)>> {
        if !run.context.directory.root_dse().supports_control(SERVER_SORT)
            || !self.cursor.order.is_sorted_by_server()
        {
            return Ok(None);
        }
        let mut entries = self.open(run, &self.filter(all), &self.attributes, self.sort_control()).await?;
        if !entries.is_one_search() {
            return Ok(None);
        }
        match output.next_of(&mut entries).await? {
            Err(e) if e.code().is_some() && !e.is_transient() => {
                tracing::debug!("the server does not sort this answer ({e}); reading in windows");
                Ok(None)
            }
            first => Ok(Some((entries, first))),
        }
    }

    /// Starts a sorted search again after an error. It resumes at the last value if `resumes`. Otherwise it starts at the
    /// beginning: the order does not say what was received, or entries without the key may still follow.
    async fn reopen_sorted<'t>(
        &mut self,
        run: &StreamRun<'t>,
        all: Window<'_>,
        resumes: bool,
    ) -> Result<Entries<'t>, DirectoryError> {
        // What the cursors noted is received again, and must be counted once.
        self.cursor.restart();
        self.second.iter_mut().for_each(KeyCursor::restart);
        let from = self.cursor.resume_from().filter(|_| resumes);
        let window = from.as_deref().map_or(all, |from| Window { from: Some(from), to: None });
        self.open(run, &self.filter(window), &self.attributes, self.sort_control()).await
    }

    fn sort_control(&self) -> Vec<SearchControl> {
        vec![SearchControl::Sort(self.cursor.order.searched.to_owned())]
    }

    /// Emits an entry of a sorted search, and saves the position if it is due.
    async fn handle_sorted<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        entry: &Entry,
        server: &mut ServerOrder,
    ) -> anyhow::Result<()> {
        let key = self.cursor.order.of(entry, run.schema()).map(|(key, _)| key);
        if server.is_broken_by(key.as_ref()) {
            tracing::warn!(
                "the server did not sort by `{}` as it was asked to: the bookmark moves at the end of the stream only",
                self.cursor.order.searched
            );
        }
        self.handle_entry(run, output, entry).await?;
        server.last = key.or(server.last.take());
        // Entries below a changed entry are emitted at the end: until then the position must stay before it.
        if output.is_due() && server.is_sorted && self.below.is_empty() {
            self.set_bookmark(run, output)?;
            output.save()?;
        }
        Ok(())
    }

    /// Reads window by window.
    async fn read_windows<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
        histogram: &KeyHistogram,
    ) -> anyhow::Result<()> {
        let bounds = histogram.bounds(output.state_interval);
        self.is_divided = true;
        tracing::debug!("{} windows of `{}`", bounds.len() + 1, self.cursor.order.searched);
        let mut from = all.from;
        for to in bounds.iter().map(|b| Some(b.as_slice())).chain([None]) {
            let attributes = self.attributes.clone();
            let mut entries = self.open(run, &self.filter(Window { from, to }), &attributes, vec![]).await?;
            while let Some(entry) = output.next_of(&mut entries).await?? {
                self.handle_entry(run, output, &entry).await?;
            }
            self.close(&mut entries);
            if to.is_some() {
                self.emit_below(run, output).await?;
                self.set_bookmark(run, output)?;
                output.save()?;
            }
            from = to;
        }
        Ok(())
    }
}
