//! Singer's metrics: METRIC lines in the log, in the form of the Singer SDK.

use std::time::Duration;

use serde_json::{Value, json};

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
        self.emit(&json!({"type": "counter", "metric": "record_count", "value": records, "tags": {"stream": stream}}));
    }

    /// How long a stream took, in seconds, and whether it succeeded.
    pub fn sync_duration(self, stream: &str, duration: Duration, succeeded: bool) {
        let status = if succeeded { "succeeded" } else { "failed" };
        self.timer("sync_duration", duration, &json!({"stream": stream, "status": status}));
    }

    /// How long the whole run took, in seconds, and whether it succeeded.
    pub fn job_duration(self, duration: Duration, succeeded: bool) {
        let status = if succeeded { "succeeded" } else { "failed" };
        self.timer("job_duration", duration, &json!({"status": status}));
    }

    fn timer(self, metric: &str, duration: Duration, tags: &Value) {
        self.emit(&json!({"type": "timer", "metric": metric, "value": duration.as_secs_f64(), "tags": tags}));
    }

    fn emit(self, point: &Value) {
        if self.enabled {
            tracing::info!("METRIC: {point}");
        }
    }
}
