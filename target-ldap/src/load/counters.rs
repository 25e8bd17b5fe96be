//! The numbers of a run, by stream: for the log, for METRIC lines, for Prometheus and for traces.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use singer_common::operations::observe;
use singer_common::singer::metrics::Metrics;

use super::Load;
use crate::config::OnError;
use crate::map::unknown_names::UnknownClasses;
use crate::write::counts::{self, Counts};

/// The numbers of a run.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) by_stream: BTreeMap<Arc<str>, Counts>,
    /// The numbers that the metrics show so far.
    pub(super) shown: BTreeMap<Arc<str>, Counts>,
    /// Deletions, by stream, of entries that a file of changes does not know: nothing was written for them.
    pub(super) unwritten_deletions: BTreeMap<Arc<str>, u64>,
    pub(super) unknown_classes: UnknownClasses,
    /// With traces only.
    pub(super) spans: Option<observe::Batches>,
}

impl Counters {
    /// Returns the sum over all streams.
    pub(super) fn total(&self) -> Counts {
        self.by_stream.values().fold(Counts::default(), Counts::plus)
    }
}

impl<W: Write> Load<'_, W> {
    /// Brings the metrics up to date.
    pub(super) fn show_counts(&mut self) {
        if observe::is_metering() && !self.config.dry_run {
            observe::queue_depth(self.scheduler.len());
            counts::show(&self.counters.by_stream, &mut self.counters.shown);
        }
    }

    /// Logs the totals and the warnings of a run that has ended. `is_whole`: its input was read to the end without a failure.
    pub(super) fn report_totals(
        &self,
        metrics: Metrics,
        started: Instant,
        took: Vec<(String, Duration)>,
        is_ok: bool,
        is_whole: bool,
    ) {
        let planned = if self.config.dry_run { " (planned)" } else { "" };
        for (stream, counts) in &self.counters.by_stream {
            metrics.record_count(stream, counts.records);
            self.applier.directory().show_counts(stream, counts);
            counts.log(stream, planned);
        }
        for (stream, took) in took {
            metrics.batch_processing_time(&stream, took, is_ok);
        }
        for (stream, text) in self.counters.unknown_classes.report() {
            tracing::warn!(stream, "{text}");
        }
        for (stream, entries, dn) in self.applier.unmatched_entries().report() {
            tracing::warn!(
                stream,
                setting = format!("mapping_rules.{stream}.match"),
                entries,
                dn,
                "setting `mapping_rules.{stream}.match`: {entries} entries, `{dn}` among them, are not what match asks for, so no later run finds them by it: give them its attributes (attribute_mapping, values)"
            );
        }
        for (stream, deletions) in &self.counters.unwritten_deletions {
            tracing::warn!(
                stream = &**stream,
                setting = "ldif_format",
                deletions,
                "stream `{stream}`: {deletions} deletion(s) are not in the file: ldif_format is `changes`, and no change in it makes their entries; whether the directory has them is not known here: write to the directory itself, or to an LDIF file of its entries (ldif_format `content`)"
            );
        }
        if is_whole && !self.rejects.is_retry {
            let streams: Vec<&str> = self.counters.by_stream.keys().map(|name| &**name).collect();
            for warning in self.config.unused_rules(&streams) {
                warning.log();
            }
        }
        self.rejects.log.report();
        metrics.job_duration(started.elapsed(), is_whole);
        match &self.config.on_error {
            OnError::Skip { .. } if self.rejects.count > 0 && self.config.dry_run => {
                tracing::warn!("{} record(s) would be rejected", self.rejects.count);
            }
            OnError::Skip { file, .. } if self.rejects.count > 0 => {
                tracing::warn!("{} record(s) were rejected: see {}", self.rejects.count, file.display());
            }
            _ => {}
        }
    }
}
