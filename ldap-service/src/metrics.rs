//! Metrics of requests: rate, errors, duration.

use std::time::Duration;

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use singer_common::operations::observe;

/// From a fraction of a millisecond to the longest time of a request.
const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of the service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    logins: IntCounterVec,
    /// Open connections.
    pub connections: IntGauge,
    /// Requests at work.
    pub in_flight: IntGauge,
}

/// Returns an instrument that is registered. One that cannot be registered counts for nobody.
fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    if let Err(e) = registry.register(Box::new(collector.clone())) {
        tracing::warn!("a metric is not kept: {e}");
    }
    collector
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns the instruments.
    #[allow(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "names and labels are constants, and every start makes them"
    )]
    pub fn new() -> Self {
        // `program`, and those of `metrics_labels`.
        let labels = Some(observe::labels()).filter(|labels| !labels.is_empty());
        let registry = Registry::new_custom(None, labels).expect("labels that were checked");
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("a constant")
        };
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect("a constant");
        let duration = HistogramOpts::new("ldap_service_request_seconds", "Time to the head of the answer")
            .buckets(BUCKETS.to_vec());
        let duration = HistogramVec::new(duration, &["method", "route"]).expect("a constant");
        Self {
            requests: register(
                &registry,
                counter("ldap_service_requests_total", "Requests", &["method", "route", "status"]),
            ),
            duration: register(&registry, duration),
            logins: register(
                &registry,
                counter("ldap_service_logins_total", "Logins by outcome", &["outcome"]),
            ),
            connections: register(&registry, gauge("ldap_service_connections", "Open connections")),
            in_flight: register(&registry, gauge("ldap_service_requests_in_flight", "Requests at work")),
            registry,
        }
    }

    /// Counts a request. `route` is a pattern of the table of routes, never a path that a caller chose.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.duration.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }

    /// Counts a login. `outcome` is one of a fixed set.
    pub fn login(&self, outcome: &str) {
        self.logins.with_label_values(&[outcome]).inc();
    }

    /// Returns all metrics, those of the directory's operations too, in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(e) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!("metrics cannot be written: {e}");
        }
        let text = String::from_utf8_lossy(&text);
        [&text, observe::of_directory().unwrap_or_default().as_str()].concat()
    }
}
