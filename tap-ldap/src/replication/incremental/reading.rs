//! One run of a stream: what is asked for in which order, what is printed, and what the bookmark says of it.

use std::collections::HashSet;
use std::io::Write;

use serde_json::Value;
use singer_common::directory::ldap::controls::SERVER_SORT;
use singer_common::directory::ldap::result_code;
use singer_common::directory::{DirectoryError, Paging, SearchControl, Vendor};
use singer_common::entry::{Entry, EntryView as _};

use super::boundary::Boundary;
use super::lacking::Lacking;
use super::odd::OddEntries;
use super::restored::Reached;
use super::track::{Besides, Track};
use super::windows::Sketch;
use super::{Bookmark, FEW};
use crate::discovery::replication_keys;
use crate::discovery::source::Source;
use crate::discovery::tally::{Tally, hash};
use crate::key_index::Mark;
use crate::output::Output;
use crate::replication::completeness::conclude;
use crate::replication::container_renames::{self, Names};
use crate::replication::verify::{expect, verify};
use crate::replication::{FORMAT, Fingerprint, INCREMENTAL, StreamRun};
use crate::stream::entries::{Entries, ReadOutcome};
use crate::stream::key_order::Odd;
use singer_common::directory::MATCH_ALL;

/// A stream that is read from a position on, or for the first time.
pub(super) struct Reading<'a> {
    pub(super) track: Track<'a>,
    /// The second key, where the first one may be taken back.
    pub(super) besides: Option<Track<'a>>,
    /// Where the last run left that.
    pub(super) left_besides: Option<Besides>,
    pub(super) reached: Reached,
    /// What the last run's bookmark said, and the value it was left at.
    pub(super) left_reached: Option<(Value, Reached)>,
    pub(super) print: Fingerprint,
    pub(super) attributes: Vec<String>,
    pub(super) names: Names,
    /// Entries that changed and have others below them.
    pub(super) below: Vec<String>,
    pub(super) delta: bool,
    /// What the index of keys told so far.
    pub(super) mark: Option<Mark>,
    /// Whether the version was not activated yet.
    pub(super) incomplete: bool,
    /// In a first read: a sum of the kind that its parts keep.
    pub(super) books: Option<Tally>,
    /// What its parts gave.
    pub(super) account: Option<ReadOutcome>,
    /// Entries with values by which no position may be taken.
    pub(super) odd: OddEntries,
    /// Whether the stream was read in parts, by filters of the key.
    pub(super) divided: bool,
}

/// A part of the key's range: from a value on, up to another, which is not in it.
#[derive(Debug, Clone, Copy, Default)]
struct Window<'v> {
    from: Option<&'v [u8]>,
    to: Option<&'v [u8]>,
}

impl Reading<'_> {
    fn filter(&self, window: Window<'_>) -> String {
        let at_least = |value: &[u8]| self.track.order.at_least(value);
        match (window.from, window.to) {
            (None, None) => MATCH_ALL.to_owned(),
            (Some(from), None) => at_least(from),
            // Entries without the key are in the first window.
            (None, Some(to)) => format!("(!{})", at_least(to)),
            (Some(from), Some(to)) => format!("(&{}(!{}))", at_least(from), at_least(to)),
        }
    }

    async fn open<'t>(
        &self,
        run: &StreamRun<'t>,
        filter: &str,
        attributes: &[String],
        controls: Vec<SearchControl>,
    ) -> Result<Entries<'t>, DirectoryError> {
        let paging = Paging::Configured;
        let mut entries =
            Entries::open_filtered(run.context, run.source, attributes, paging, filter, controls).await?;
        if let Some(like) = &self.books {
            entries.count_emitted(like);
        }
        Ok(entries)
    }

    /// Takes up what a part gave, at its end.
    fn close(&mut self, entries: &mut Entries<'_>) {
        let of_part = entries.outcome();
        match &mut self.account {
            Some(account) => account.add(of_part),
            None => self.account = Some(of_part),
        }
    }

    /// Where the last run left more at its end than a bookmark can list, it kept a sum of it. If what is there now has the
    /// same sum, nothing of it changed.
    pub(super) async fn check_digests<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        for of_besides in [false, true] {
            let track = if of_besides { self.besides.as_ref() } else { Some(&self.track) };
            let Some(track) = track.filter(|track| track.before.is_digest()) else { continue };
            let filter = track.from.as_deref().map_or(MATCH_ALL.to_owned(), |v| track.order.at_least(v));
            let mut there = Boundary::default();
            let mut entries = self.open(run, &filter, &self.attributes, vec![]).await?;
            let mut scratch = Vec::new();
            while let Some(entry) = output.next_of(&mut entries).await?? {
                let Some((key, _)) = track.order.of(&entry, run.schema()) else { continue };
                let moment = track.order.moment(&key);
                if track.before.has(&moment) {
                    scratch.clear();
                    let record = run.converter.write(&entry, None, "", &mut scratch)?;
                    there.add(&moment, scratch.get(record).unwrap_or_default());
                }
            }
            let track = if of_besides { self.besides.as_mut() } else { Some(&mut self.track) };
            if let Some(track) = track {
                track.before.confirm(&there);
            }
        }
        Ok(())
    }

    /// Whether a later run would find what changes in an entry.
    fn is_followed(&self, run: &StreamRun<'_>, entry: &Entry) -> bool {
        let has = |track: &Track<'_>| {
            let is_found = || Self::has_odd_pass(run) && track.odd(entry).is_some();
            track.order.of(entry, run.schema()).is_some() || is_found()
        };
        has(&self.track) || self.besides.as_ref().is_some_and(has)
    }

    /// Whether entries whose value has no place in the order are looked for: a file is in memory, and holds anything. Servers hold
    /// to their schema.
    fn has_odd_pass(run: &StreamRun<'_>) -> bool {
        run.context.directory.root_dse().vendor == Vendor::Ldif
    }

    /// Reads the entries that no filter of the key finds, because their value has no place in its order.
    pub(super) async fn odd_ones<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        if !Self::has_odd_pass(run) || !(self.delta || self.divided) {
            return Ok(());
        }
        let (books, attributes) = (self.books.take(), self.attributes.clone());
        let mut entries = self.open(run, &self.filter(Window::default()), &attributes, vec![]).await?;
        self.books = books;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            if !matches!(self.track.odd(&entry), Some(Odd::Invalid(_))) || self.odd.has(&entry.dn) {
                continue;
            }
            self.take(run, output, &entry).await?;
            if let Some(emitted) = self.account.as_mut().and_then(|account| account.emitted.as_mut()) {
                emitted.add(hash(entry.dn.as_bytes()));
            }
        }
        entries.discard_count();
        Ok(())
    }

    /// Refuses to go on from a bookmark where entries without the key came meanwhile, which no filter of the key finds. Servers
    /// of known kinds give their own keys to every entry. A first read looks at every entry by itself.
    pub(super) async fn refuse_those_without<W: Write>(
        &self,
        run: &StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let order = &self.track.order;
        if !self.delta
            || replication_keys::is_on_every_entry(run.context.directory.root_dse().vendor, order.name)
        {
            return Ok(());
        }
        let mut lacking = Lacking::default();
        let mut entries = self.open(run, &order.without(), &["1.1".to_owned()], vec![]).await?;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            lacking.add(&entry.dn);
        }
        Ok(lacking.refuse(run, order.name)?)
    }

    /// Looks at the keys of all entries: how they are spread, and whether every entry has one. The index of keys knows all of
    /// them before the first is printed: what a reader keeps that was printed after the last STATE of a killed run, and is
    /// gone before the next one, is told as well.
    async fn sketch<W: Write>(
        &self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<Sketch> {
        let order = &self.track.order;
        let besides = self.besides.iter().flat_map(|track| track.order.attributes());
        let mut names: Vec<String> = order.attributes().chain(besides).map(str::to_owned).collect();
        if run.index.is_some() {
            names.extend(run.stream.key_properties.iter().filter(|k| *k != "dn").cloned());
        }
        let mut entries = self.open(run, &self.filter(all), &names, vec![]).await?;
        let mut sketch = Sketch::default();
        let mut lacking = Lacking::default();
        while let Some(entry) = output.next_of(&mut entries).await?? {
            if let Some((key, value)) = order.of(&entry, run.schema()) {
                sketch.add(key, value);
            }
            if !self.delta && !self.is_followed(run, &entry) {
                lacking.add(&entry.dn);
            }
            run.printed(&entry)?;
        }
        lacking.refuse(run, order.name)?;
        run.make_index_last()?;
        Ok(sketch)
    }

    /// What the first key does not show, because the server took it back meanwhile, the second one does.
    pub(super) async fn what_went_back<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let from = self.besides.as_ref().and_then(|b| Some(b.order.at_least(b.from.as_deref()?)));
        let (true, Some(changed), Some(read)) = (self.delta, from, self.track.from.clone()) else {
            return Ok(());
        };
        let filter = format!("(&{changed}(!{}))", self.track.order.at_least(&read));
        let attributes = self.attributes.clone();
        let mut entries = self.open(run, &filter, &attributes, vec![]).await?;
        loop {
            match output.next_of(&mut entries).await? {
                // 389 DS: without an index of the second key, and with a look-through limit or nsslapd-require-index.
                Err(e)
                    if matches!(
                        e.code(),
                        Some(result_code::ADMIN_LIMIT_EXCEEDED | result_code::UNWILLING_TO_PERFORM)
                    ) =>
                {
                    let stream = run.stream.stream.as_str();
                    tracing::warn!(
                        stream,
                        "{stream}: the server does not search by {} ({e}): changes that it numbered a second time are not found; have it indexed (eq), or choose LOG_BASED",
                        self.besides.as_ref().map_or("", |b| b.order.searched)
                    );
                    return Ok(());
                }
                entry => match entry? {
                    Some(entry) => self.take(run, output, &entry).await?,
                    None => break,
                },
            }
        }
        // From now on a bookmark may say so.
        self.left_besides = None;
        Ok(())
    }

    pub(super) async fn everything<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let from = self.track.from.clone();
        let all = Window { from: from.as_deref(), to: None };
        // Containers are in memory in any case, and in the order that a mirror needs.
        let is_ready = matches!(run.source, Source::Containers);
        let attributes = self.attributes.clone();
        let mut entries = self.open(run, &self.filter(all), &attributes, vec![]).await?;
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
            self.close(&mut entries);
            // A search that began again gave some of them twice.
            let mut seen = HashSet::new();
            let twice: Vec<bool> = few.iter().rev().map(|e| !seen.insert(e.dn.as_str())).collect();
            drop(seen);
            let mut twice = twice.into_iter().rev();
            few.retain(|_| twice.next() != Some(true));
            if !self.delta {
                let mut lacking = Lacking::default();
                few.iter().filter(|e| !self.is_followed(run, e)).for_each(|e| lacking.add(&e.dn));
                lacking.refuse(run, self.track.order.name)?;
            }
            if !is_ready {
                few.sort_by_cached_key(|e| self.track.order.of(e, run.schema()).map(|(key, _)| key));
            }
            few.iter().try_for_each(|entry| run.printed(entry))?;
            run.make_index_last()?;
            for entry in few {
                self.take(run, output, &entry).await?;
            }
            return Ok(());
        }
        drop(few);
        entries.close().await?;
        // Before anything is printed: whether later runs can follow a first read, and what the index of keys has to know of.
        let sketch =
            if self.delta && run.index.is_none() { None } else { Some(self.sketch(run, output, all).await?) };
        if self.sorted(run, output, all).await? {
            return Ok(());
        }
        let sketch = match sketch {
            Some(sketch) => sketch,
            None => self.sketch(run, output, all).await?,
        };
        self.windows(run, output, all, &sketch).await
    }

    /// Reads in the order of the key, if the server can sort. Whether it could.
    async fn sorted<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
    ) -> anyhow::Result<bool> {
        if !run.context.directory.root_dse().supports_control(SERVER_SORT)
            || !self.track.order.is_sorted_by_server()
        {
            return Ok(false);
        }
        let directory = &run.context.directory.clone();
        let controls = vec![SearchControl::Sort(self.track.order.searched.to_owned())];
        let attributes = self.attributes.clone();
        let mut entries = self.open(run, &self.filter(all), &attributes, controls.clone()).await?;
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
        let mut last = None;
        let mut in_order = true;
        let mut attempts = None;
        loop {
            let entry = match first {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    self.close(&mut entries);
                    return Ok(true);
                }
                // It goes on at the last value; or at the beginning, where the order does not say what came before, and where
                // entries without the key may be still to come.
                Err(e) => {
                    if last.is_some() && all.from.is_some() {
                        attempts = None;
                    }
                    output.or_stop(directory.recover(e, &mut attempts)).await??;
                    // All that it notes comes once more, and is to be counted once.
                    self.track.comes_again();
                    self.besides.iter_mut().for_each(Track::comes_again);
                    let knows = in_order && last.is_some() && all.from.is_some();
                    let from = self.track.again().filter(|_| knows);
                    let window = from.as_deref().map_or(all, |from| Window { from: Some(from), to: None });
                    entries = self.open(run, &self.filter(window), &attributes, controls.clone()).await?;
                    last = None;
                    first = output.next_of(&mut entries).await?;
                    continue;
                }
            };
            let key = self.track.order.of(&entry, run.schema()).map(|(key, _)| key);
            // An entry without the key sorts behind all others (RFC 2891 section 1.1), or before them.
            if let (Some(key), Some(last)) = (&key, &last)
                && key < last
                && in_order
            {
                in_order = false;
                tracing::warn!(
                    "the server did not sort by `{}` as it was asked to: the bookmark moves at the end of the stream only",
                    self.track.order.searched
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

    /// Reads window by window.
    async fn windows<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        all: Window<'_>,
        sketch: &Sketch,
    ) -> anyhow::Result<()> {
        let bounds = sketch.bounds(output.state_interval);
        self.divided = true;
        tracing::debug!("{} windows of `{}`", bounds.len() + 1, self.track.order.searched);
        let mut from = all.from;
        for to in bounds.iter().map(|b| Some(b.as_slice())).chain([None]) {
            let attributes = self.attributes.clone();
            let mut entries = self.open(run, &self.filter(Window { from, to }), &attributes, vec![]).await?;
            while let Some(entry) = output.next_of(&mut entries).await?? {
                self.take(run, output, &entry).await?;
            }
            self.close(&mut entries);
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
        let buffer = output.writer.record_buffer();
        let start = buffer.len();
        let record = run.write(entry, buffer)?;
        let record = buffer.get(record).unwrap_or_default();
        if let Some(odd) = self.track.odd(entry) {
            self.odd.add(&entry.dn, odd);
        }
        let id = run.context.ids.key.as_deref();
        let mut seen = self.track.take(entry, record, id);
        if let Some(besides) = &mut self.besides {
            seen |= besides.take(entry, record, None);
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
        if self.delta && container_renames::has_below(run, entry, &self.names).await? {
            self.below.push(entry.dn.clone());
        }
        Ok(())
    }

    /// Prints what lies below entries that changed.
    pub(super) async fn emit_below<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        for dn in std::mem::take(&mut self.below) {
            container_renames::emit_below(run, output, &dn).await?;
        }
        Ok(())
    }

    /// Reads and prints entries that no position shows: those that came back into sight or into the directory with an older
    /// value of the key, and those that have another name and no newer value.
    async fn read_met<W: Write>(
        &self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let directory = &run.context.directory;
        let wanted: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        for (key, dn) in run.unread()? {
            let Some(mut entry) = output.or_stop(directory.read(&dn, &wanted)).await?? else {
                run.vanished(key, &dn)?;
                continue;
            };
            if entry.has_values_in_options() {
                output.or_stop(directory.complete_ranges(&mut entry)).await??;
            }
            if !(self.delta && run.is_ignored(&entry)) {
                run.emit(output, &entry)?;
            }
        }
        Ok(())
    }

    /// With `track_deletions`: looks at the names of everything that is there, and prints the deletions of what is not.
    pub(super) async fn look_for_gone<W: Write>(
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
        let expected = output.or_stop(expect(run.context, run.source, false)).await??;
        let mut entries = self.open(run, &self.filter(Window::default()), &keys, vec![]).await?;
        expected.begin(&mut entries);
        let mut records = 0;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            run.met(&entry)?;
            records += 1;
            if run.has_unread() {
                self.read_met(run, output).await?;
            }
        }
        self.read_met(run, output).await?;
        let account = entries.outcome();
        drop(entries);
        let mut completeness = Box::pin(verify(run, expected, account, output)).await?;
        completeness.records(records);
        // The version of an earlier read is activated already.
        let version = if self.incomplete { run.version } else { None };
        if conclude(run, version, &completeness, output)? {
            self.incomplete = false;
            self.mark = run.emit_gone(output)?;
        } else if run.nothing_is_gone()? {
            // What was met and read was told, and there is nothing else to tell.
            self.mark = run.save_index()?;
        }
        Ok(())
    }

    /// Notes the position, unless the file is not whole. With an index of keys, what was printed up to it is in there first.
    pub(super) fn note<W: Write>(
        &self,
        run: &StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let Some(largest) = self.track.largest() else { return Ok(()) };
        // What is missing from an answer may lie before the position, and would never be asked for again.
        if !run.context.directory.shortfalls().is_empty() {
            return Ok(());
        }
        // In the middle of a delta the second key's position is still where the last run left it.
        let besides = self.left_besides.clone().filter(|_| self.delta).or_else(|| {
            let track = self.besides.as_ref()?;
            let (key, value) = (track.order.name.to_owned(), track.largest()?);
            Some(Besides { key, value, boundary: track.boundary() })
        });
        // As long as the position stays, what it was taken from does: other streams' changes do not move it.
        let reached = match &self.left_reached {
            Some((value, left)) if *value == largest && !left.is_empty() => left.clone(),
            _ => self.reached.clone(),
        };
        let bookmark = Bookmark {
            format: FORMAT,
            replication_method: INCREMENTAL.to_owned(),
            replication_key: Some(self.track.order.name.to_owned()),
            replication_key_value: largest,
            fingerprint: Some(self.print.to_text()),
            key_properties: Some(run.stream.key_properties.clone()),
            version: run.version,
            incomplete: self.incomplete,
            index: run.commit_index(self.mark.as_ref())?,
            boundary: self.track.boundary(),
            containers: self.names.clone(),
            count: run.rules.count(),
            besides,
            reached,
            newest: self.track.newest(),
        };
        output.note(&run.stream.tap_stream_id, serde_json::to_value(bookmark)?);
        Ok(())
    }
}
