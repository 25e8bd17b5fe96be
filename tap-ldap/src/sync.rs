//! Reading the selected streams and printing their messages.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;
use singer_common::catalog::{Catalog, CatalogEntry};
use singer_common::cli::class_in;
use singer_common::directory::{DirectoryError, Paging};
use singer_common::error::Class;
use singer_common::metrics::Metrics;
use singer_common::schema::syntax::now;
use singer_common::settings::SettingsError;
use singer_common::signals::{Signal, Stop};
use singer_common::state::State;
use singer_common::writer::{SingerWriter, WriteError};

use crate::config::TapConfig;
use crate::convert::Converter;
use crate::discover::{FULL_TABLE, StreamSource, sources};
use crate::members::Memberships;
use crate::sample::IdentityAttributes;
use crate::source::{Entries, Source, Tree};

/// How a sync ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every selected stream is complete.
    Complete,
    /// A signal asked for a stop.
    Stopped(Signal),
}

/// A sync's parts that stay the same from stream to stream.
pub struct Sync<'a, W: Write> {
    /// The settings.
    pub config: &'a TapConfig,
    /// The directory and its containers.
    pub tree: &'a Tree,
    /// Where messages go.
    pub writer: &'a mut SingerWriter<W>,
    /// METRIC lines.
    pub metrics: Metrics,
    /// Whether a stop has been asked for.
    pub stop: Stop,
    /// Whether counts are logged now and then.
    pub progress: bool,
}

/// Records between two looks at the clock, for the progress on stderr.
const PROGRESS_RECORDS: u64 = 10_000;

impl<W: Write> Sync<'_, W> {
    /// Syncs every selected stream of the catalog.
    pub async fn run(&mut self, catalog: &Catalog, state: State) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        let result = self.streams(catalog, state).await;
        if !result.as_ref().is_err_and(output_closed) {
            self.metrics.job_duration(started.elapsed(), matches!(result, Ok((Outcome::Complete, _))));
        }
        let (outcome, records) = result?;
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Outcome::Complete => tracing::info!("done: {records} records in {seconds:.1} s"),
            Outcome::Stopped(_) => tracing::warn!("stopped by a signal after {records} records"),
        }
        Ok(outcome)
    }

    async fn streams(&mut self, catalog: &Catalog, mut state: State) -> anyhow::Result<(Outcome, u64)> {
        let known: BTreeMap<String, StreamSource> =
            sources(self.config, self.tree).into_iter().map(|s| (s.id.clone(), s)).collect();
        let mut selected: Vec<&CatalogEntry> = catalog.streams.iter().filter(|s| s.is_selected()).collect();
        if selected.is_empty() {
            tracing::warn!("the catalog selects no stream: nothing is read");
        }
        self.warn_of_new_containers(catalog);
        // A run that was interrupted goes on where it was.
        if let Some(position) = state
            .currently_syncing
            .as_ref()
            .and_then(|id| selected.iter().position(|s| s.tap_stream_id == *id))
        {
            selected.rotate_left(position);
        }
        // Everything is looked at before the first message: a mistake in the last stream is no reason to read the others.
        let mut planned = Vec::new();
        for stream in selected {
            check_method(self.config, stream)?;
            let source = known.get(&stream.tap_stream_id).ok_or_else(|| {
                SettingsError::value(
                    "--catalog",
                    format!(
                        "it selects `{}`, which the directory does not have (or no longer)",
                        stream.tap_stream_id
                    ),
                    "a catalog of this directory: run --discover again, or deselect the stream",
                )
            })?;
            planned.push((stream, source));
        }
        let mut total = 0;
        for (n, (stream, source)) in planned.iter().enumerate() {
            let started = Instant::now();
            let result = self.stream(stream, source).await;
            let complete = matches!(result, Ok((_, None)));
            if !result.as_ref().is_err_and(output_closed) {
                self.metrics.sync_duration(&stream.stream, started.elapsed(), complete);
            }
            let (records, interrupted) =
                result.with_context(|| format!("stream `{}`", stream.tap_stream_id))?;
            total += records;
            if let Some(signal) = interrupted {
                state.currently_syncing = Some(stream.tap_stream_id.clone());
                self.writer.state(&state.to_value())?;
                return Ok((Outcome::Stopped(signal), total));
            }
            state.currently_syncing = planned.get(n + 1).map(|(next, _)| next.tap_stream_id.clone());
            self.writer.state(&state.to_value())?;
        }
        Ok((Outcome::Complete, total))
    }

    /// Entries of a container that the catalog does not know would be in no stream at all.
    fn warn_of_new_containers(&self, catalog: &Catalog) {
        if self.tree.containers.iter().next().is_none() {
            return;
        }
        let unknown: Vec<&str> = self
            .tree
            .containers
            .iter()
            .map(|c| c.dn.as_str())
            .filter(|dn| !catalog.streams.iter().any(|s| s.tap_stream_id == *dn))
            .collect();
        if let Some(first) = unknown.first() {
            tracing::warn!(
                "{} container(s) of the directory are not in the catalog (the first is `{first}`); what lies in them is not read. Run --discover again",
                unknown.len()
            );
        }
    }

    /// Reads one stream whole. Gives the number of records, and the signal that ended it early.
    async fn stream(
        &mut self,
        stream: &CatalogEntry,
        source: &StreamSource,
    ) -> anyhow::Result<(u64, Option<Signal>)> {
        let version = version();
        self.writer.schema(&stream.stream, &stream.selected_schema(), &stream.key_properties, &[])?;
        let mut records = 0;
        let mut reader = Reader::open(self.config, self.tree, stream, source).await?;
        loop {
            let next = tokio::select! {
                biased;
                signal = self.stop.wait() => {
                    self.writer.flush()?;
                    self.metrics.record_count(&stream.stream, records);
                    return Ok((records, Some(signal)));
                }
                next = reader.write_next(version, self.writer.record_buffer()) => next,
            };
            match next {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => return self.failed(stream, records, e),
            }
            self.writer.record_done()?;
            records += 1;
            if self.progress && records.is_multiple_of(PROGRESS_RECORDS) {
                tracing::info!("{}: {records} records", stream.stream);
            }
        }
        for warning in reader.warnings() {
            tracing::warn!(stream = stream.stream.as_str(), "{}: {warning}", stream.stream);
        }
        self.metrics.record_count(&stream.stream, records);
        if reader.references() > 0 {
            // What the other servers hold is missing: this is no complete answer, and nothing may be deleted by it.
            tracing::warn!(
                "{} referral(s) to other servers were ignored (follow_referrals): the stream is not complete, so no ACTIVATE_VERSION is sent and nothing is deleted downstream",
                reader.references()
            );
        } else {
            self.writer.activate_version(&stream.stream, version)?;
        }
        Ok((records, None))
    }

    fn failed(
        &mut self,
        stream: &CatalogEntry,
        records: u64,
        error: DirectoryError,
    ) -> anyhow::Result<(u64, Option<Signal>)> {
        // What was read is right, only not complete.
        self.writer.flush()?;
        self.metrics.record_count(&stream.stream, records);
        Err(error.into())
    }
}

/// What a stream's records are made of.
enum Reader<'a> {
    /// Entries, converted.
    Entries { entries: Entries<'a>, converter: Box<Converter<'a>> },
    /// Members of groups.
    Members(Box<Memberships<'a>>),
}

impl<'a> Reader<'a> {
    async fn open(
        config: &TapConfig,
        tree: &'a Tree,
        stream: &CatalogEntry,
        source: &StreamSource,
    ) -> Result<Reader<'a>, DirectoryError> {
        if let Source::Members(of) = &source.source {
            let ids = IdentityAttributes::find(config, &tree.directory, &tree.base).await?;
            return Ok(Reader::Members(Box::new(Memberships::open(tree, of, stream, ids.key).await?)));
        }
        let converter = Box::new(Converter::new(stream, tree.directory.schema()));
        let entries =
            Entries::open(tree, &source.source, &converter.attributes(), Paging::Configured).await?;
        Ok(Reader::Entries { entries, converter })
    }

    /// Appends the next RECORD line; `false` once there is none. May be dropped while it waits.
    async fn write_next(&mut self, version: i64, out: &mut Vec<u8>) -> Result<bool, DirectoryError> {
        match self {
            Reader::Entries { entries, converter } => {
                let Some(entry) = entries.next().await? else { return Ok(false) };
                converter.write(&entry, Some(version), &now(), out);
                Ok(true)
            }
            Reader::Members(members) => members.write_next(version, &now(), out).await,
        }
    }

    fn references(&self) -> u64 {
        match self {
            Reader::Entries { entries, .. } => entries.references,
            Reader::Members(members) => members.references(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        match self {
            Reader::Entries { converter, .. } => converter.warnings(),
            Reader::Members(_) => Vec::new(),
        }
    }
}

/// The method the catalog or the configuration asks for has to be one that there is.
fn check_method(config: &TapConfig, stream: &CatalogEntry) -> Result<(), SettingsError> {
    let configured = config
        .schemas
        .iter()
        .find(|s| s.name == stream.tap_stream_id)
        .and_then(|s| s.replication_method.as_deref());
    match stream.wanted_replication_method().filter(|m| *m != FULL_TABLE).or(configured) {
        None | Some(FULL_TABLE) => Ok(()),
        Some(other) => Err(SettingsError::value(
            "replication_method",
            format!("`{other}` for the stream `{}`", stream.tap_stream_id),
            "FULL_TABLE, the one method this version has",
        )),
    }
}

/// Whether an error only means that nobody reads stdout any more, which is nobody's fault and no news.
fn output_closed(error: &anyhow::Error) -> bool {
    class_in::<WriteError>(error.chain()) == Some(Class::OutputClosed)
}

/// Milliseconds since 1970: what taps take for a version, and always larger than the last one's.
fn version() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_millis()).ok())
        .unwrap_or_default()
}

/// Reads one entry of each selected stream, for `--test`.
pub async fn first_records(
    config: &TapConfig,
    tree: &Tree,
    catalog: &Catalog,
) -> Vec<(String, Result<bool, DirectoryError>)> {
    let mut checks = Vec::new();
    for source in sources(config, tree) {
        if !catalog.streams.iter().any(|s| s.tap_stream_id == source.id && s.is_selected()) {
            continue;
        }
        let result = match Entries::open(tree, &source.source, &["1.1".to_owned()], Paging::AtMost(1)).await {
            Ok(mut entries) => match entries.next().await {
                Ok(entry) => entries.close().await.map(|()| entry.is_some()),
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        checks.push((source.name, result));
    }
    checks
}

/// Names for a health report.
pub fn check_json(name: &str, result: &Result<bool, DirectoryError>) -> serde_json::Value {
    match result {
        Ok(true) => json!({"name": name, "ok": true}),
        Ok(false) => json!({"name": name, "ok": true, "detail": "the stream is empty"}),
        Err(e) => json!({"name": name, "ok": false, "detail": e.to_string()}),
    }
}
