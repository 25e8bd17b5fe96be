//! Sync mode: reads the selected streams one after another, and follows them if configured.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ldap_directory::entry::base_type;
use ldap_directory::{DirectoryError, Paging};
use serde_json::json;
use singer_common::operations::error::Class;
use singer_common::operations::facts::Facts;
use singer_common::operations::observe::StreamSpan;
use singer_common::operations::signals::Signal;
use singer_common::operations::summary::{self, Count};
use singer_common::plugin::cli::class_in;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::catalog::{Catalog, CatalogEntry};
use singer_common::singer::state::StateError;
use singer_common::singer::writer::WriteError;

use crate::config::method::FULL_TABLE;
use crate::config::{TapConfig, Verify};
use crate::discovery::context::DirectoryContext;
use crate::discovery::identity::PASSWORD;
use crate::discovery::source::Source;
use crate::discovery::streams::{StreamSource, sources};
use crate::output::{Interrupted, Output};
use crate::replication::computed;
use crate::replication::content_sync::{self, ContentSyncStream};
use crate::replication::dirsync::DirSyncStream;
use crate::replication::method::{Log, Method, method};
use crate::replication::stream_run::StreamRun;
use crate::replication::verify::{Reconciliation, reconcile, reconcile_unselected};
use crate::replication::{follow, full, hidden_attributes, incremental, only, reads_from};
use crate::stream::entries::Entries;
use crate::stream::selection;

/// How a sync ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every selected stream is complete.
    Complete,
    /// A signal requested a stop.
    Stopped(Signal),
}

/// A sync.
pub struct Sync<'a> {
    /// The settings.
    pub config: &'a TapConfig,
    /// The directory.
    pub context: &'a DirectoryContext,
    /// The DN of the entry that is read alone (`--only-dn`).
    pub only: Option<&'a str>,
}

/// A selected stream, its source, and its replication method.
type Planned<'s> = (&'s CatalogEntry, &'s StreamSource, Method);

/// The streams to follow once they are up to date.
#[derive(Default)]
struct Followed<'a> {
    content_sync: Vec<ContentSyncStream<'a>>,
    dirsync: Vec<DirSyncStream<'a>>,
}

impl<'a> Sync<'a> {
    /// Syncs every selected stream of the catalog.
    pub async fn run<W: Write>(
        &self,
        catalog: &Catalog,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        // Entries read by discovery are not counted.
        summary::set(Count::Entries, 0);
        let mut result = Box::pin(self.streams(catalog, output)).await.map(|()| Outcome::Complete);
        if let Err(error) = &result
            && let Some(Interrupted(signal)) = error.downcast_ref()
        {
            result = Ok(Outcome::Stopped(*signal));
        }
        if !result.as_ref().is_err_and(output_closed) {
            output.metrics.job_duration(started.elapsed(), matches!(result, Ok(Outcome::Complete)));
        }
        output.clear_bars();
        summary::set(Count::Records, output.records);
        result
    }

    async fn streams<W: Write>(&self, catalog: &Catalog, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let known: BTreeMap<String, StreamSource> =
            sources(self.config, self.context).into_iter().map(|s| (s.id.clone(), s)).collect();
        let planned = self.plan(catalog, &known, output).await?;
        let is_log_based = |(_, _, method): &Planned<'_>| matches!(method, Method::LogBased(_));
        if self.config.follow && !planned.iter().any(is_log_based) {
            return Err(SettingsError::value(
                "follow",
                "true, but no selected stream is LOG_BASED",
                "a stream with replication_method LOG_BASED, or follow: false",
            )
            .into());
        }
        if let Some(dn) = self.only {
            let streams: Vec<_> =
                planned.iter().map(|(stream, source, method)| (*stream, &source.source, method)).collect();
            return only::run((self.config, self.context), dn, &streams, output).await;
        }
        let mut followed = Followed::default();
        for (n, (stream, source, method)) in planned.iter().enumerate() {
            let started = Instant::now();
            // A run that is interrupted here continues with this stream.
            output.state.currently_syncing = Some(stream.tap_stream_id.clone());
            let before = output.records;
            if output.has_bars() {
                let expected = self.context.expected(&source.source).await;
                output.show_stream(&stream.stream, (n + 1, planned.len()), expected);
            }
            let span = StreamSpan::begin(&stream.stream);
            output.count_stream(&stream.stream);
            let result = self.stream(stream, source, method, &mut followed, output).await;
            span.done(output.records - before, result.is_ok());
            output.count();
            if !result.as_ref().is_err_and(output_closed) {
                output.metrics.record_count(&stream.stream, output.records - before);
                output.metrics.sync_duration(&stream.stream, started.elapsed(), result.is_ok());
            }
            if let Err(error) = result {
                // The output is correct, only not complete.
                if error.is::<Interrupted>() {
                    output.announce_stop();
                    // The reader of stdout may have been stopped first.
                    let _ = output.save();
                    return Err(error);
                }
                output.flush()?;
                return Err(error.context(format!("stream `{}`", stream.tap_stream_id)));
            }
            output.state.currently_syncing = planned.get(n + 1).map(|(next, ..)| next.tap_stream_id.clone());
            output.save()?;
        }
        let is_selected = |id: &str| planned.iter().any(|(stream, ..)| stream.tap_stream_id == id);
        reconcile_unselected(self.context, is_selected).await?;
        output.clear_bars();
        warn_of_empty_containers(&output.empty);
        if self.config.follow {
            self.follow(&planned, followed, output).await?;
        }
        Ok(())
    }

    /// Checks all streams before the first message: an error in the last stream must not cost reading the others.
    async fn plan<'s, W: Write>(
        &self,
        catalog: &'s Catalog,
        known: &'s BTreeMap<String, StreamSource>,
        output: &Output<'_, W>,
    ) -> anyhow::Result<Vec<Planned<'s>>> {
        let mut selected: Vec<&CatalogEntry> = catalog.streams.iter().filter(|s| s.is_selected()).collect();
        if selected.is_empty() {
            tracing::warn!("the catalog selects no stream: nothing is read");
        }
        self.warn_of_uncataloged(catalog);
        self.warn_of_missing_locks(&selected, known).await?;
        let bookmarks = &output.state.bookmarks;
        // A count of records is not a position.
        let is_position = |b: &serde_json::Value| b.get("replication_method").is_none_or(|m| m != FULL_TABLE);
        if bookmarks.values().any(is_position)
            && !catalog.streams.iter().any(|s| bookmarks.contains_key(&s.tap_stream_id))
        {
            let names: Vec<&str> = bookmarks.keys().take(3).map(String::as_str).collect();
            return Err(StateError::Foreign(names.join(", ")).into());
        }
        warn_of_missing_streams(catalog, output);
        // An interrupted run continues where it was.
        if let Some(position) = output
            .state
            .currently_syncing
            .as_ref()
            .and_then(|id| selected.iter().position(|s| s.tap_stream_id == *id))
        {
            selected.rotate_left(position);
        }
        let mut planned = Vec::new();
        for stream in selected {
            let source = known.get(&stream.tap_stream_id).ok_or_else(|| {
                let why = if self.context.is_excluded(&stream.tap_stream_id) {
                    "exclude_base_dns leaves out"
                } else {
                    "the directory does not have (or no longer)"
                };
                SettingsError::value(
                    "--catalog",
                    format!("it selects `{}`, which {why}", stream.tap_stream_id),
                    "a catalog of this directory: run --discover again, or deselect the stream",
                )
            })?;
            selection::check_keys(self.context, stream, &source.source)?;
            let last = output.state.bookmarks.get(&stream.tap_stream_id);
            let last_key = last.and_then(|b| b.get("replication_key")).and_then(serde_json::Value::as_str);
            let method = method(self.config, self.context, stream, &source.source, last_key).await?;
            planned.push((stream, source, method));
        }
        if !self.config.own_values {
            let by_changes = planned.iter().filter(|(.., method)| !matches!(method, Method::FullTable));
            let streams: Vec<&CatalogEntry> = by_changes.map(|(stream, ..)| *stream).collect();
            computed::warn(&self.context.directory, &streams).await;
        }
        Ok(planned)
    }

    /// Warns of classes and containers that the catalog lacks: their entries would be in no stream.
    fn warn_of_uncataloged(&self, catalog: &Catalog) {
        let known = |dn: &str| catalog.streams.iter().any(|s| s.tap_stream_id == dn);
        let unknown: Vec<&str> =
            self.context.containers.iter().map(|c| c.dn.as_str()).filter(|dn| !known(dn)).collect();
        let classes: Vec<&str> =
            self.context.classes.iter().map(|c| c.class.as_str()).filter(|class| !known(class)).collect();
        if let Some(first) = classes.first() {
            tracing::warn!(
                "{} object class(es) of the directory are not in the catalog (the first is `{first}`); their entries are not read. Run --discover again",
                classes.len()
            );
        }
        if let Some(first) = unknown.first() {
            tracing::warn!(
                "{} container(s) of the directory are not in the catalog (the first is `{first}`); what lies in them is not read. Run --discover again",
                unknown.len()
            );
        }
    }

    /// Warns of streams with passwords in which the catalog lacks the mark of a disabled account: in a copy the account would be enabled.
    async fn warn_of_missing_locks(
        &self,
        selected: &[&CatalogEntry],
        known: &BTreeMap<String, StreamSource>,
    ) -> Result<(), DirectoryError> {
        let directory = &self.context.directory;
        let is_of = |name: &str, of: &str| directory.schema().same_description(base_type(name), of);
        let has_password = |stream: &&CatalogEntry| {
            let mut names = stream.properties().map(|(name, _)| name);
            names.any(|name| is_of(name, PASSWORD) && stream.is_property_selected(name))
        };
        let streams: Vec<&CatalogEntry> = selected.iter().copied().filter(has_password).collect();
        if streams.is_empty() {
            return Ok(());
        }
        let locks = self.context.ids.locks_of_passwords(self.config, directory, &self.context.base).await?;
        for lock in locks {
            // An excluded or deselected one is left out on purpose.
            let excluded = |id: &str| match known.get(id).map(|known| &known.source) {
                Some(Source::Search(search)) => search.exclude_attributes.as_slice(),
                _ => &[],
            };
            let is_without = |stream: &&CatalogEntry| {
                !stream.properties().any(|(name, _)| is_of(name, &lock))
                    && !excluded(&stream.tap_stream_id).iter().any(|name| is_of(name, &lock))
            };
            let lacking: Vec<&CatalogEntry> = streams.iter().copied().filter(is_without).collect();
            let Some(first) = lacking.first() else { continue };
            let facts = Facts {
                stream: Some(first.stream.clone()),
                attribute: Some(lock.clone()),
                ..Facts::of_setting("--catalog")
            };
            facts.warn(&format!(
                "{} stream(s) of the catalog read `{PASSWORD}` and do not have `{lock}`, the mark of disabled accounts (the first is `{}`): in a copy such an account is enabled; run --discover again",
                lacking.len(),
                first.stream
            ));
        }
        Ok(())
    }

    async fn stream<'s, W: Write>(
        &self,
        stream: &'s CatalogEntry,
        source: &'s StreamSource,
        method: &Method,
        followed: &mut Followed<'s>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()>
    where
        'a: 's,
    {
        let mut run = StreamRun::new(output, self.config, self.context, stream, &source.source, method)?;
        Box::pin(hidden_attributes::leave_out(&mut run, output)).await?;
        reads_from::begin(&mut run, output).await?;
        match method {
            Method::FullTable => Box::pin(full::run(&mut run, output)).await?,
            Method::Incremental { key } => Box::pin(incremental::run(&mut run, key, output)).await?,
            Method::LogBased(Log::ContentSync) => {
                let synced = Box::pin(content_sync::run(run, output)).await?;
                synced.run.log_warnings();
                followed.content_sync.push(synced);
                return Ok(());
            }
            Method::LogBased(Log::DirSync) => {
                let mut synced = Box::pin(DirSyncStream::begin(run, output)).await?;
                Box::pin(synced.catch_up(output)).await?;
                synced.run.log_warnings();
                followed.dirsync.push(synced);
                return Ok(());
            }
        }
        run.warn_of_duplicate_keys().await?;
        run.log_warnings();
        Ok(())
    }

    async fn follow<W: Write>(
        &self,
        planned: &[Planned<'_>],
        followed: Followed<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let count = followed.content_sync.len() + followed.dirsync.len();
        if count < planned.len() {
            tracing::warn!(
                "{} stream(s) that are not LOG_BASED were read once and are not followed",
                planned.len() - count
            );
        }
        tracing::info!("up to date; following {count} stream(s)");
        let longest_pause = self.config.directory.retry_max_wait;
        // One server supports one of the two.
        follow::content_sync(followed.content_sync, output, longest_pause).await?;
        follow::dirsync(followed.dirsync, output, longest_pause).await.context("following changes")
    }
}

/// Warns of streams that the last run read and that the catalog does not have: a changed base or filter, or a container that is
/// gone. Nothing is deleted for them, and their data stays as it was. A stream that is only deselected is not missing.
fn warn_of_missing_streams<W: Write>(catalog: &Catalog, output: &Output<'_, W>) {
    let is_there = |id: &str| catalog.streams.iter().any(|s| s.tap_stream_id == id);
    let missing: Vec<&str> =
        output.state.bookmarks.keys().map(String::as_str).filter(|id| !is_there(id)).collect();
    if let Some(first) = missing.first() {
        tracing::warn!(
            missing_streams = missing.len(),
            stream = *first,
            "the STATE has {} stream(s) that the catalog does not have (the first is `{first}`): they are not read, and what was loaded of them stays as it is; was the base, a filter or the catalog changed?",
            missing.len()
        );
    }
}

/// Warns once for all streams: most directories have containers without entries of their own.
fn warn_of_empty_containers(streams: &[String]) {
    let Some(first) = streams.first() else { return };
    tracing::warn!(
        empty_streams = streams.len(),
        "{} stream(s) of containers had no record (the first is `{first}`): no ACTIVATE_VERSION is sent for them and nothing is deleted downstream (allow_empty_streams)",
        streams.len()
    );
}

/// Returns whether an error only means that stdout was closed, which the run did not cause.
fn output_closed(error: &anyhow::Error) -> bool {
    class_in::<WriteError>(error.chain()).is_some_and(|(class, _)| class == Class::OutputClosed)
}

/// Reads one entry of each selected stream, for `--test`.
pub async fn first_records(
    config: &TapConfig,
    context: &DirectoryContext,
    catalog: &Catalog,
) -> Vec<(String, Result<bool, DirectoryError>)> {
    let mut checks = Vec::new();
    for source in sources(config, context) {
        if !catalog.streams.iter().any(|s| s.tap_stream_id == source.id && s.is_selected()) {
            continue;
        }
        let result =
            match Entries::open(context, &source.source, &["1.1".to_owned()], Paging::AtMost(1)).await {
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

/// The longest time for the reconciliation, unless `verify` is `always`.
const LONGEST_RECONCILIATION: Duration = Duration::from_secs(5);

/// Compares the selected streams with the directory; `None` if `verify` is `never`, or if it takes too long.
pub async fn reconcile_streams(
    config: &TapConfig,
    context: &DirectoryContext,
    catalog: &Catalog,
) -> Option<Result<Reconciliation, DirectoryError>> {
    let is_selected =
        |id: &str| catalog.streams.iter().any(|stream| stream.tap_stream_id == id && stream.is_selected());
    let sources = sources(config, context);
    let look = reconcile(context, sources.iter().filter(|s| is_selected(&s.id)).map(|s| &s.source));
    match config.verify {
        Verify::Never => None,
        Verify::Always => Some(look.await),
        Verify::Auto => tokio::time::timeout(LONGEST_RECONCILIATION, look).await.ok(),
    }
}

/// Returns the check of the reconciliation for a health report.
pub fn reconciliation_json(look: Option<&Result<Reconciliation, DirectoryError>>) -> serde_json::Value {
    match look {
        None => json!({"name": "books", "ok": true, "detail": "not looked at (verify)"}),
        Some(Ok(look)) => json!({
            "name": "books",
            "ok": look.differ == 0,
            "held": look.held,
            "read": look.read,
            "differ": look.differ,
            "detail": look.to_text(),
        }),
        Some(Err(e)) => json!({"name": "books", "ok": false, "detail": e.to_string()}),
    }
}

/// Returns the check of a stream for a health report.
pub fn check_json(name: &str, result: &Result<bool, DirectoryError>) -> serde_json::Value {
    match result {
        Ok(true) => json!({"name": name, "ok": true}),
        Ok(false) => json!({"name": name, "ok": true, "detail": "the stream is empty"}),
        Err(e) => json!({"name": name, "ok": false, "detail": e.to_string()}),
    }
}
