//! Singer's metrics: METRIC lines in the log, in the form of the Singer SDK.

use std::time::Duration;

use serde_json::{Value, json};

/// The log target of these lines for `--log-level`, independent of the module's path.
const LOG_TARGET: &str = "singer_common::metrics";

/// Writes METRIC lines, unless they are disabled.
#[derive(Debug, Clone, Copy)]
pub struct Metrics {
    enabled: bool,
}

impl Metrics {
    /// Returns metrics that are written if `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Writes the number of a stream's records.
    pub fn record_count(self, stream: &str, records: u64) {
        self.emit(Some(stream), "counter", "record_count", &records.into(), None);
    }

    /// Writes the duration of a stream in seconds, and whether it succeeded.
    pub fn sync_duration(self, stream: &str, duration: Duration, succeeded: bool) {
        self.emit(Some(stream), "timer", "sync_duration", &duration.as_secs_f64().into(), Some(succeeded));
    }

    /// Writes a target's time for a stream in seconds, from its first SCHEMA to the end of its last record.
    pub fn batch_processing_time(self, stream: &str, duration: Duration, succeeded: bool) {
        self.emit(
            Some(stream),
            "timer",
            "batch_processing_time",
            &duration.as_secs_f64().into(),
            Some(succeeded),
        );
    }

    /// Writes the duration of the run in seconds, and whether it succeeded.
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
