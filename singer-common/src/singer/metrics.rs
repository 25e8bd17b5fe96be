//! Singer's metrics: METRIC lines in the log, in the form of the Singer SDK.

use std::time::Duration;

use serde_json::{Value, json};

/// The name by which `--log-level` knows these lines, wherever this module is.
const LOG_TARGET: &str = "singer_common::metrics";

/// Writes METRIC lines, or nothing when they are switched off.
#[derive(Debug, Clone, Copy)]
pub struct Metrics {
    enabled: bool,
}

impl Metrics {
    /// Metrics that are written when `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// How many records of a stream went by.
    pub fn record_count(self, stream: &str, records: u64) {
        self.emit(Some(stream), "counter", "record_count", &records.into(), None);
    }

    /// How long a stream took, in seconds, and whether it succeeded.
    pub fn sync_duration(self, stream: &str, duration: Duration, succeeded: bool) {
        self.emit(Some(stream), "timer", "sync_duration", &duration.as_secs_f64().into(), Some(succeeded));
    }

    /// How long a target was busy with a stream, in seconds: from its first SCHEMA to the end of its last record.
    pub fn batch_processing_time(self, stream: &str, duration: Duration, succeeded: bool) {
        self.emit(
            Some(stream),
            "timer",
            "batch_processing_time",
            &duration.as_secs_f64().into(),
            Some(succeeded),
        );
    }

    /// How long the whole run took, in seconds, and whether it succeeded.
    pub fn job_duration(self, duration: Duration, succeeded: bool) {
        self.emit(None, "timer", "job_duration", &duration.as_secs_f64().into(), Some(succeeded));
    }

    fn emit(self, stream: Option<&str>, kind: &str, metric: &str, value: &Value, succeeded: Option<bool>) {
        if !self.enabled {
            return;
        }
        let mut tags = json!({"pid": std::process::id()});
        if let Some(stream) = stream {
            tags["stream"] = stream.into();
        }
        if let Some(succeeded) = succeeded {
            tags["status"] = if succeeded { "succeeded" } else { "failed" }.into();
        }
        let point = json!({"type": kind, "metric": metric, "value": value, "tags": tags}).to_string();
        tracing::info!(target: LOG_TARGET, stream, metric_info = point, "METRIC: {point}");
    }
}
