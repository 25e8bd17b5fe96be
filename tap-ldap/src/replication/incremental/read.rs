//! One run of a stream: what is requested, what is emitted, and the bookmark.

use std::io::Write;

use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, MATCH_ALL, Paging, SearchControl, Vendor};
use serde_json::Value;

use super::boundary::Boundary;
use super::key_cursor::{KeyCursor, SecondPosition};
use super::keyless::KeylessEntries;
use super::position::{Bookmark, Start};
use super::restored::ServerPosition;
use super::unusable_values::UnusableValues;
use crate::config::method::INCREMENTAL;
use crate::discovery::replication_keys;
use crate::discovery::tally::{Tally, hash};
use crate::key_index::IndexPosition;
use crate::key_index::shared::SharedIndex;
use crate::output::Output;
use crate::replication::bookmark::FORMAT;
use crate::replication::container_renames::{self, ContainerNames};
use crate::replication::fingerprint::Fingerprint;
use crate::replication::stream_run::StreamRun;
use crate::stream::entries::{Entries, ReadOutcome};
use crate::stream::key_order::{KeyOrder, UnusableValue};

/// A stream that is read from a position on, or for the first time.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the read")]
pub(super) struct IncrementalRead<'a> {
    pub(super) cursor: KeyCursor<'a>,
    /// The position by a second key, if the server may reuse values of the first one.
    pub(super) second: Option<KeyCursor<'a>>,
    /// The last run's position by the second key.
    left_second: Option<SecondPosition>,
    server: ServerPosition,
    /// The last bookmark's key value, and what the server reported then.
    left_server: Option<(Value, ServerPosition)>,
    fingerprint: Fingerprint,
    pub(super) attributes: Vec<String>,
    pub(super) names: ContainerNames,
    /// Changed entries with subordinates.
    pub(super) below: Vec<String>,
    /// Whether there is a bookmark to continue from.
    pub(super) is_delta: bool,
    /// The position of the index of keys.
    pub(super) index: Option<IndexPosition>,
    /// Whether the version is not activated yet.
    pub(super) is_incomplete: bool,
    /// In a first read that is verified: an empty tally of the size to count in.
    pub(super) tally: Option<Tally>,
    /// The outcome of the searches so far.
    pub(super) outcome: Option<ReadOutcome>,
    /// Entries with key values that cannot be a position.
    pub(super) unusable: UnusableValues,
    /// Whether the stream was read in windows of the key.
    pub(super) is_divided: bool,
}

/// A part of the key's range: from a value up to another one, which is not included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window<'v> {
    pub(super) from: Option<&'v [u8]>,
    pub(super) to: Option<&'v [u8]>,
}

impl<'a> IncrementalRead<'a> {
    /// Prepares a run. `old_names` are the containers of the bookmark, `names` those of now.
    pub(super) fn new(
        run: &StreamRun<'a>,
        order: KeyOrder<'a>,
        start: Start,
        old_names: ContainerNames,
        names: &ContainerNames,
    ) -> Self {
        let (schema, vendor) = (run.schema(), run.context.directory.root_dse().vendor);
        let (value, old) = start.position.unzip();
        let is_delta = old.is_some();
        let second = replication_keys::second_key(vendor, order.name);
        let second = second.map(|key| KeyOrder::new(key, schema, vendor));
        let mut more: Vec<&str> = order.attributes().collect();
        more.extend(second.iter().flat_map(KeyOrder::attributes));
        more.extend(run.context.ids.key.as_deref());
        if is_delta {
            more.extend(container_renames::OF_CHANGES);
        }
        let attributes = run.attributes(&more);
        let index = run.index.as_ref().map(SharedIndex::position);
        let index = old.as_ref().and_then(|o| o.index.clone()).or(index);
        let is_incomplete = run.index.is_some() && old.as_ref().is_none_or(|o| o.incomplete);
        let left_second = old.as_ref().and_then(|o| o.second.clone());
        let second = second.map(|order| {
            let left = left_second.clone().filter(|b| b.key.eq_ignore_ascii_case(order.name));
            let left = left.and_then(|b| Some((order.parse(&b.value, schema)?, b.boundary)));
            KeyCursor::new(order, schema, left, &[])
        });
        let newest = old.as_ref().map(|o| o.newest.clone()).unwrap_or_default();
        let left_server = old.as_ref().map(|o| (o.replication_key_value.clone(), o.server.clone()));
        let left = value.zip(old.map(|o| o.boundary));
        IncrementalRead {
            cursor: KeyCursor::new(order, schema, left, &newest),
            second,
            left_second,
            server: start.server,
            left_server,
            fingerprint: start.fingerprint,
            attributes,
            // Entries that are renamed during the first read are found by the container names before it.
            names: if is_delta { old_names } else { names.clone() },
            index,
            is_incomplete,
            below: Vec::new(),
            is_delta,
            tally: None,
            outcome: None,
            unusable: UnusableValues::default(),
            is_divided: false,
        }
    }

    pub(super) fn filter(&self, window: Window<'_>) -> String {
        let at_least = |value: &[u8]| self.cursor.order.at_least(value);
        match (window.from, window.to) {
            (None, None) => MATCH_ALL.to_owned(),
            (Some(from), None) => at_least(from),
            // Entries without the key are in the first window.
            (None, Some(to)) => format!("(!{})", at_least(to)),
            (Some(from), Some(to)) => format!("(&{}(!{}))", at_least(from), at_least(to)),
        }
    }

    pub(super) async fn open<'t>(
        &self,
        run: &StreamRun<'t>,
        filter: &str,
        attributes: &[String],
        controls: Vec<SearchControl>,
    ) -> Result<Entries<'t>, DirectoryError> {
        let paging = Paging::Configured;
        let mut entries =
            Entries::open_filtered(run.context, run.source, attributes, paging, filter, controls).await?;
        if let Some(like) = &self.tally {
            entries.count_emitted(like);
        }
        Ok(entries)
    }

    /// Adds the outcome of a search at its end.
    pub(super) fn close(&mut self, entries: &mut Entries<'_>) {
        let of_search = entries.outcome();
        match &mut self.outcome {
            Some(outcome) => outcome.add(of_search),
            None => self.outcome = Some(of_search),
        }
    }

    /// Compares records of which the last run only kept a sum, because a bookmark cannot list them. If the sum is the same
    /// now, none of them changed.
    pub(super) async fn check_digests<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        for of_second in [false, true] {
            let cursor = if of_second { self.second.as_ref() } else { Some(&self.cursor) };
            let Some(cursor) = cursor.filter(|cursor| cursor.previous.is_digest()) else { continue };
            let filter = cursor.from.as_deref().map_or(MATCH_ALL.to_owned(), |v| cursor.order.at_least(v));
            let mut current = Boundary::default();
            let mut entries = self.open(run, &filter, &self.attributes, vec![]).await?;
            let mut scratch = Vec::new();
            while let Some(entry) = output.next_of(&mut entries).await?? {
                let Some((key, _)) = cursor.order.of(&entry, run.schema()) else { continue };
                let moment = cursor.order.moment(&key);
                if cursor.previous.has(&moment) {
                    scratch.clear();
                    let record = run.converter.write(&entry, None, "", &mut scratch)?;
                    current.add(&moment, scratch.get(record).unwrap_or_default());
                }
            }
            let cursor = if of_second { self.second.as_mut() } else { Some(&mut self.cursor) };
            if let Some(cursor) = cursor {
                cursor.previous.confirm(&current);
            }
        }
        Ok(())
    }

    /// Returns whether a later run would find changes of an entry.
    pub(super) fn is_followed(&self, run: &StreamRun<'_>, entry: &Entry) -> bool {
        let has = |cursor: &KeyCursor<'_>| {
            let is_found = || Self::has_invalid_pass(run) && cursor.unusable_value(entry).is_some();
            cursor.order.of(entry, run.schema()).is_some() || is_found()
        };
        has(&self.cursor) || self.second.as_ref().is_some_and(has)
    }

    /// Returns whether entries with invalid key values are searched: in a file, which may contain anything. Servers enforce their
    /// schema.
    fn has_invalid_pass(run: &StreamRun<'_>) -> bool {
        run.context.directory.root_dse().vendor == Vendor::Ldif
    }

    /// Reads the entries that no filter of the key matches, because their value is invalid.
    pub(super) async fn read_invalid<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        if !Self::has_invalid_pass(run) || !(self.is_delta || self.is_divided) {
            return Ok(());
        }
        let (tally, attributes) = (self.tally.take(), self.attributes.clone());
        let mut entries = self.open(run, &self.filter(Window::default()), &attributes, vec![]).await?;
        self.tally = tally;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            if !matches!(self.cursor.unusable_value(&entry), Some(UnusableValue::Invalid(_)))
                || self.unusable.has(&entry.dn)
            {
                continue;
            }
            self.handle_entry(run, output, &entry).await?;
            if let Some(emitted) = self.outcome.as_mut().and_then(|outcome| outcome.emitted.as_mut()) {
                emitted.add(hash(entry.dn.as_bytes()));
            }
        }
        entries.discard_count();
        Ok(())
    }

    /// Refuses to continue from a bookmark if there are entries without the key, which no filter of the key matches. Servers of
    /// known kinds give their own keys to every entry. A first read checks each entry itself.
    pub(super) async fn refuse_keyless<W: Write>(
        &self,
        run: &StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let order = &self.cursor.order;
        if !self.is_delta
            || replication_keys::is_on_every_entry(run.context.directory.root_dse().vendor, order.name)
        {
            return Ok(());
        }
        let mut keyless = KeylessEntries::default();
        let mut entries = self.open(run, &order.without(), &["1.1".to_owned()], vec![]).await?;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            keyless.add(&entry.dn);
        }
        Ok(keyless.refuse(run, order.name)?)
    }

    /// Reads changes by the second key that the first one does not show, because the server reused its values meanwhile.
    pub(super) async fn reread_by_second_key<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let from = self.second.as_ref().and_then(|b| Some(b.order.at_least(b.from.as_deref()?)));
        let (true, Some(changed), Some(read)) = (self.is_delta, from, self.cursor.from.clone()) else {
            return Ok(());
        };
        let filter = format!("(&{changed}(!{}))", self.cursor.order.at_least(&read));
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
                        self.second.as_ref().map_or("", |b| b.order.searched)
                    );
                    return Ok(());
                }
                entry => match entry? {
                    Some(entry) => self.handle_entry(run, output, &entry).await?,
                    None => break,
                },
            }
        }
        // The second key's position may move from now on.
        self.left_second = None;
        Ok(())
    }

    /// Emits an entry, unless an earlier run emitted the same record.
    pub(super) async fn handle_entry<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
        entry: &Entry,
    ) -> anyhow::Result<()> {
        let (start, record) = run.write_record(output, entry)?;
        let buffer = output.writer.record_buffer();
        let record = buffer.get(record).unwrap_or_default();
        if let Some(value) = self.cursor.unusable_value(entry) {
            self.unusable.add(&entry.dn, value);
        }
        let id = run.context.ids.key.as_deref();
        let mut seen = self.cursor.note(entry, record, id);
        if let Some(second) = &mut self.second {
            seen |= second.note(entry, record, None);
        }
        if seen {
            buffer.truncate(start);
            return Ok(());
        }
        let key = run.index_key(entry);
        let former = run.former_dns(key.as_ref(), entry)?;
        if former.is_empty() && self.is_delta && run.is_ignored(entry) {
            run.ignored_changes += 1;
            buffer.truncate(start);
            return Ok(());
        }
        if !former.is_empty() {
            // Before the record.
            let line = buffer.split_off(start);
            run.leave_dns(output, key.as_ref(), &former)?;
            output.writer.record_buffer().extend(line);
        }
        run.records += 1;
        output.record_written(&run.stream.stream, run.records)?;
        run.emitted(entry)?;
        if self.is_delta && container_renames::has_below(run, entry, &self.names).await? {
            self.below.push(entry.dn.clone());
        }
        Ok(())
    }

    /// Emits the entries below changed entries.
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

    /// Puts the position into the STATE, unless a file is incomplete. The index of keys is durable up to it.
    pub(super) fn set_bookmark<W: Write>(
        &self,
        run: &StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let Some(largest) = self.cursor.largest() else { return Ok(()) };
        // A missing entry may be before the position, and would never be requested again.
        if !run.context.directory.shortfalls().is_empty() {
            return Ok(());
        }
        // During a delta, the second key's position stays where the last run left it.
        let second = self.left_second.clone().filter(|_| self.is_delta).or_else(|| {
            let cursor = self.second.as_ref()?;
            let (key, value) = (cursor.order.name.to_owned(), cursor.largest()?);
            Some(SecondPosition { key, value, boundary: cursor.boundary() })
        });
        // While the position stays, so does what the server reported: changes of other streams do not move it.
        let server = match &self.left_server {
            Some((value, left)) if *value == largest && !left.is_empty() => left.clone(),
            _ => self.server.clone(),
        };
        let bookmark = Bookmark {
            format: FORMAT,
            replication_method: INCREMENTAL.to_owned(),
            replication_key: Some(self.cursor.order.name.to_owned()),
            replication_key_value: largest,
            fingerprint: Some(self.fingerprint.to_text()),
            key_properties: Some(run.stream.key_properties.clone()),
            version: run.version,
            incomplete: self.is_incomplete,
            index: run.commit_index(self.index.as_ref())?,
            boundary: self.cursor.boundary(),
            containers: self.names.clone(),
            count: run.rules.count(),
            second,
            server,
            newest: self.cursor.newest(),
        };
        output.set_bookmark(&run.stream.tap_stream_id, serde_json::to_value(bookmark)?);
        Ok(())
    }
}
