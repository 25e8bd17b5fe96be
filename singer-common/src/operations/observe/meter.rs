//! Prometheus counters, gauges and histograms, in a registry of the process's own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{
    Counter, Encoder as _, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use ldap_directory::DirectoryError;

/// From a fraction of a millisecond (a server on the same machine) to the longest time of a page.
const BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// The most streams with series of their own; later ones share one series.
const MOST_STREAMS: usize = 500;
/// Records counted before the counter is updated.
const RECORDS: u64 = 256;
/// The label of streams beyond [`MOST_STREAMS`].
const OTHERS: &str = "(others)";
/// The labels of our metrics, which the user's labels must not repeat.
const LABELS: &[&str] = &[
    "program",
    "operation",
    "server",
    "status",
    "code",
    "stream",
    "change",
    "books",
    "version",
    "le",
    "quantile",
    "job",
    "instance",
];

static METER: OnceLock<Meter> = OnceLock::new();

/// Returns the instruments, if metrics are enabled.
pub(super) fn meter() -> Option<&'static Meter> {
    METER.get()
}

/// Whether the user may add a label of this name to all metrics.
pub(super) fn is_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("__")
        && !LABELS.contains(&name)
}

/// Families about runs of a tap or target, which a service does not have.
const OF_RUNS: &[&str] = &[
    "flext_ldap_records_total",
    "flext_ldap_changes_total",
    "flext_ldap_rejects_total",
    "flext_ldap_books_entries",
    "flext_ldap_oldest_wait_seconds",
    "flext_ldap_queue_depth",
    "flext_ldap_output_wait_seconds_total",
    "flext_ldap_run_in_progress",
    "flext_ldap_metrics_timestamp_seconds",
    "flext_ldap_last_run_timestamp_seconds",
    "flext_ldap_last_run_duration_seconds",
    "flext_ldap_last_run_exit_code",
    "flext_ldap_last_run_success",
    "flext_ldap_last_success_timestamp_seconds",
];

/// All instruments.
#[derive(Debug)]
pub(super) struct Meter {
    registry: Registry,
    /// The labels of all metrics.
    labels: HashMap<String, String>,
    pub(super) started: Instant,
    pub(super) operations: IntCounterVec,
    pub(super) response_time: HistogramVec,
    pub(super) active_connections: IntGaugeVec,
    pub(super) connections: IntCounter,
    pub(super) errors: IntCounterVec,
    pub(super) records: IntCounterVec,
    changes: IntCounterVec,
    rejects: IntCounterVec,
    books: IntGaugeVec,
    pub(super) entries: IntCounterVec,
    pub(super) pages: IntCounterVec,
    pub(super) received: IntCounterVec,
    retries: IntCounterVec,
    pub(super) in_flight: IntGaugeVec,
    queue_depth: IntGauge,
    pub(super) oldest_wait: IntGauge,
    server_wait: Counter,
    output_wait: Counter,
    cpu: Counter,
    in_progress: IntGauge,
    written: Gauge,
    last: Last,
    streams: Mutex<HashSet<String>>,
    /// The number of pending answers, and the time since at least one is pending.
    waiting: Mutex<(u32, Option<Instant>)>,
}

/// The last run that ended, for alerts.
#[derive(Debug)]
struct Last {
    timestamp: Gauge,
    duration: Gauge,
    exit_code: Gauge,
    success: Gauge,
    success_timestamp: Gauge,
}

/// Registers instruments. A name used twice is a bug, which the first test that starts finds.
struct Builder {
    registry: Registry,
}

impl Builder {
    fn add<T: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<T>,
    ) -> prometheus::Result<T> {
        let made = made?;
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }
    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.add(Gauge::new(name, help))
    }
    fn seconds(&self, name: &str, help: &str) -> prometheus::Result<Counter> {
        self.add(Counter::new(name, help))
    }
}

impl Meter {
    fn new(program: &str, labels: &BTreeMap<String, String>) -> prometheus::Result<Meter> {
        let mut constant: HashMap<String, String> = labels.clone().into_iter().collect();
        constant.insert("program".to_owned(), program.to_owned());
        let b = Builder { registry: Registry::new_custom(None, Some(constant.clone()))? };
        let build =
            b.gauges("flext_ldap_build_info", "Always 1: the version is in the label.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let response_time = HistogramOpts::new(
            "flext_ldap_response_time_seconds",
            "Time until an operation was answered; of a search's page, the time that was waited for it.",
        );
        let meter = Meter {
            started: Instant::now(),
            operations: b.counters("flext_ldap_operations_total", "LDAP operations that came to an end; each page of a search is one. Status: success, absent (there is no such entry), limit (there is more), error.", &["operation", "server", "status"])?,
            response_time: b.add(HistogramVec::new(response_time.buckets(BUCKETS.to_vec()), &["operation", "server"]))?,
            active_connections: b.gauges("flext_ldap_active_connections", "Connections that are open and bound.", &["server"])?,
            connections: b.add(IntCounter::new("ldap_connections_total", "Connections that were opened and bound."))?,
            errors: b.counters("ldap_errors_total", "Operations that failed. Code: LDAP's number, or connect, lost, timeout, protocol.", &["operation", "code"])?,
            records: b.counters("flext_ldap_records_total", "Records printed (tap) or taken in (target).", &["stream"])?,
            changes: b.counters("flext_ldap_changes_total", "What became of the records taken in: added, modified, renamed, moved, deleted, unchanged, left_alone.", &["stream", "change"])?,
            rejects: b.counters("flext_ldap_rejects_total", "Records that were rejected.", &["stream"])?,
            books: b.gauges("flext_ldap_books_entries", "The last whole read of a stream that was verified. Books: held (by the directory), emitted, left_out (by a rule), differ (held, but neither emitted nor left out).", &["stream", "books"])?,
            entries: b.counters("flext_ldap_entries_read_total", "Entries that searches gave, counted by the page.", &["server"])?,
            pages: b.counters("flext_ldap_pages_total", "Pages of searches.", &["server"])?,
            received: b.counters("flext_ldap_received_bytes_total", "Octets read from servers.", &["server"])?,
            retries: b.counters("flext_ldap_retries_total", "What was tried again after a pause.", &["operation"])?,
            in_flight: b.gauges("flext_ldap_in_flight_operations", "Operations sent and not yet answered, but for searches read entry by entry.", &["operation"])?,
            oldest_wait: b.add(IntGauge::new("flext_ldap_oldest_wait_seconds", "How long the record has waited that waits longest for another one, every few seconds."))?,
            queue_depth: b.add(IntGauge::new("flext_ldap_queue_depth", "Records taken in that are not written yet, once a second."))?,
            server_wait: b.seconds("flext_ldap_server_wait_seconds_total", "Time in which an answer of a server was waited for.")?,
            output_wait: b.seconds("flext_ldap_output_wait_seconds_total", "Time in which whoever reads stdout took nothing.")?,
            cpu: b.seconds("process_cpu_seconds_total", "Processor time of this process.")?,
            in_progress: b.add(IntGauge::new("flext_ldap_run_in_progress", "Whether a run is going on."))?,
            written: b.gauge(
                "flext_ldap_metrics_timestamp_seconds",
                "When these metrics were written: an old time while a run is going on is a run that was killed.",
            )?,
            last: Last {
                timestamp: b.gauge("flext_ldap_last_run_timestamp_seconds", "When the last run ended; 0: none did yet.")?,
                duration: b.gauge("flext_ldap_last_run_duration_seconds", "How long the last run took.")?,
                exit_code: b.gauge("flext_ldap_last_run_exit_code", "The exit code of the last run.")?,
                success: b.gauge("flext_ldap_last_run_success", "Whether the last run ended with exit code 0.")?,
                success_timestamp: b.gauge("flext_ldap_last_success_timestamp_seconds", "When a run last ended with exit code 0; 0: none did yet.")?,
            },
            streams: Mutex::default(),
            waiting: Mutex::default(),
            labels: constant,
            registry: b.registry,
        };
        meter.in_progress.set(1);
        Ok(meter)
    }

    /// Returns all metrics in Prometheus's text format, version 0.0.4.
    pub(super) fn text(&self) -> String {
        self.text_of(|_| true)
    }

    /// Returns those of the families that are chosen by name.
    fn text_of(&self, is_chosen: impl Fn(&str) -> bool) -> String {
        let cpu = cpu_seconds();
        if cpu > self.cpu.get() {
            self.cpu.inc_by(cpu - self.cpu.get());
        }
        self.written.set(super::now());
        let mut text = Vec::new();
        // Encoding fails for a family without metrics, which the registry does not gather.
        let mut families = self.registry.gather();
        families.retain(|family| is_chosen(family.name()));
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads the results of an earlier run from the file that will be replaced.
    pub(super) fn continue_from(&self, earlier: &str) {
        let Last { timestamp, duration, exit_code, success, success_timestamp } = &self.last;
        for gauge in [timestamp, duration, exit_code, success, success_timestamp] {
            let desc = prometheus::core::Collector::desc(gauge);
            let Some(name) = desc.first().map(|d| d.fq_name.as_str()) else { continue };
            let value = earlier.lines().find_map(|line| {
                let rest = line.strip_prefix(name)?;
                rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
            });
            gauge.set(value.filter(|v| v.is_finite()).unwrap_or_default());
        }
    }

    /// Records the outcome of the run.
    pub(super) fn ended(&self, code: u8) {
        let now = super::now();
        self.in_progress.set(0);
        self.last.timestamp.set(now);
        self.last.duration.set(self.started.elapsed().as_secs_f64());
        self.last.exit_code.set(f64::from(code));
        self.last.success.set(f64::from(u8::from(code == 0)));
        if code == 0 {
            self.last.success_timestamp.set(now);
        }
    }

    /// Marks the begin of a wait for an answer.
    pub(super) fn wait_begins(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 += 1;
        waiting.1.get_or_insert_with(Instant::now);
    }

    /// Marks the end of a wait for an answer.
    pub(super) fn wait_ends(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 = waiting.0.saturating_sub(1);
        if waiting.0 == 0
            && let Some(since) = waiting.1.take()
        {
            self.server_wait.inc_by(since.elapsed().as_secs_f64());
        }
    }

    /// Returns the stream's label. The number of labels is bounded, beyond any sensible number of streams.
    fn label<'a>(&self, stream: &'a str) -> &'a str {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.contains(stream) {
            return stream;
        }
        if streams.len() >= MOST_STREAMS {
            return OTHERS;
        }
        streams.insert(stream.to_owned());
        stream
    }
}

/// Returns the processor time of this process.
fn cpu_seconds() -> f64 {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(time).map_or(0.0, |d| d.as_secs_f64())
    }
    #[cfg(not(unix))]
    0.0
}

/// Creates the instruments.
pub(super) fn start(program: &str, labels: &BTreeMap<String, String>) {
    match Meter::new(program, labels) {
        Ok(meter) => drop(METER.set(meter)),
        Err(e) => tracing::warn!("no metrics are kept: {e}"),
    }
}

/// Returns the metrics about the directory (connections, operations, retries) in Prometheus' text format, for a service with metrics of its
/// own; `None` if metrics are disabled.
pub fn of_directory() -> Option<String> {
    meter().map(|meter| meter.text_of(|name| !OF_RUNS.contains(&name)))
}

/// Returns the labels of all metrics: `program`, and those of `metrics_labels`. Empty if metrics are disabled.
pub fn labels() -> HashMap<String, String> {
    meter().map(|meter| meter.labels.clone()).unwrap_or_default()
}

/// Counts records of a stream.
pub fn records(stream: &str, more: u64) {
    if let Some(meter) = meter() {
        // Zero creates the series at the begin of the stream.
        meter.records.with_label_values(&[meter.label(stream)]).inc_by(more);
    }
}

/// Counts records by stream, and updates the metrics every few hundred.
#[derive(Debug)]
pub struct RecordCounter {
    stream: String,
    uncounted: u64,
}

impl RecordCounter {
    /// Returns `None` if metrics are disabled.
    pub fn begin() -> Option<RecordCounter> {
        meter().map(|_| RecordCounter { stream: String::new(), uncounted: 0 })
    }

    /// Begins a stream: its series exists from now on.
    pub fn stream(&mut self, stream: &str) {
        self.flush();
        stream.clone_into(&mut self.stream);
        records(stream, 0);
    }

    /// Counts a record of a stream.
    pub fn record(&mut self, stream: &str) {
        if self.stream != stream {
            self.stream(stream);
        }
        self.uncounted += 1;
        if self.uncounted >= RECORDS {
            self.flush();
        }
    }

    /// Updates the metrics.
    pub fn flush(&mut self) {
        if self.uncounted > 0 {
            records(&self.stream, std::mem::take(&mut self.uncounted));
        }
    }
}

/// The result of a record in a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Added,
    Modified,
    Renamed,
    Moved,
    Deleted,
    Unchanged,
    LeftAlone,
}

impl Change {
    fn label(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Modified => "modified",
            Change::Renamed => "renamed",
            Change::Moved => "moved",
            Change::Deleted => "deleted",
            Change::Unchanged => "unchanged",
            Change::LeftAlone => "left_alone",
        }
    }
}

/// Counts changes of a kind for a stream.
pub fn changes(stream: &str, change: Change, more: u64) {
    if let Some(meter) = meter() {
        meter.changes.with_label_values(&[meter.label(stream), change.label()]).inc_by(more);
    }
}

/// Counts rejected records of a stream.
pub fn rejected(stream: &str, more: u64) {
    if let Some(meter) = meter() {
        meter.rejects.with_label_values(&[meter.label(stream)]).inc_by(more);
    }
}

/// The reconciliation of a full read, in numbers of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    /// Entries in the directory.
    pub held: u64,
    /// Entries emitted.
    pub emitted: u64,
    /// Entries left out by a rule.
    pub left_out: u64,
    /// Entries in the directory that were neither emitted nor left out.
    pub differ: u64,
}

/// Records the reconciliation of a stream after a verified full read.
pub fn books(stream: &str, books: Books) {
    let Some(meter) = meter() else { return };
    let Books { held, emitted, left_out, differ } = books;
    for (kind, number) in [("held", held), ("emitted", emitted), ("left_out", left_out), ("differ", differ)] {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        meter.books.with_label_values(&[meter.label(stream), kind]).set(number);
    }
}

/// Sets the wait of the record that has waited longest for another one.
pub fn oldest_wait(wait: std::time::Duration) {
    if let Some(meter) = meter() {
        meter.oldest_wait.set(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX));
    }
}

/// Sets the number of records waiting to be written.
pub fn queue_depth(records: usize) {
    if let Some(meter) = meter() {
        meter.queue_depth.set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}

/// Adds to the time in which stdout was not read.
pub fn output_waited(time: Duration) {
    if let Some(meter) = meter() {
        meter.output_wait.inc_by(time.as_secs_f64());
    }
}

/// Counts a retry, by its error.
pub fn retried(error: &DirectoryError) {
    let operation = match error {
        DirectoryError::Operation { operation, .. }
        | DirectoryError::Lost { operation, .. }
        | DirectoryError::Timeout { operation, .. }
        | DirectoryError::TooLarge { operation, .. }
        | DirectoryError::Protocol { operation, .. }
        | DirectoryError::PoolExhausted { operation, .. }
        | DirectoryError::ReadOnly { operation, .. }
        | DirectoryError::Forbidden { operation, .. }
        | DirectoryError::Referral { operation, .. } => operation,
        DirectoryError::Config(_)
        | DirectoryError::Connect { .. }
        | DirectoryError::Bind { .. }
        | DirectoryError::File { .. }
        | DirectoryError::Ldif { .. } => "bind",
    };
    if let Some(meter) = meter() {
        meter.retries.with_label_values(&[operation]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_continue_from_an_earlier_file_of_this_program() {
        let meter = Meter::new("tap-ldap", &BTreeMap::new()).unwrap();
        meter.continue_from(
            "# HELP flext_ldap_last_run_success x\nflext_ldap_last_run_success{program=\"tap-ldap\"} 1\n\
             flext_ldap_last_success_timestamp_secondsx 7\nflext_ldap_last_success_timestamp_seconds{program=\"a b\"} 1.5e9\n",
        );
        let text = meter.text();
        assert!(text.contains("flext_ldap_last_run_success{program=\"tap-ldap\"} 1\n"), "{text}");
        assert!(
            text.contains("flext_ldap_last_success_timestamp_seconds{program=\"tap-ldap\"} 1500000000\n"),
            "{text}"
        );
        meter.ended(3);
        let text = meter.text();
        assert!(text.contains("flext_ldap_last_run_exit_code{program=\"tap-ldap\"} 3\n"), "{text}");
        assert!(
            text.contains("flext_ldap_last_success_timestamp_seconds{program=\"tap-ldap\"} 1500000000\n"),
            "{text}"
        );
    }

    #[test]
    fn metrics_bound_the_number_of_stream_labels() {
        let meter = Meter::new("tap-ldap", &BTreeMap::new()).unwrap();
        let names: Vec<String> = (0..=MOST_STREAMS).map(|n| format!("s{n}")).collect();
        let labels: HashSet<&str> = names.iter().map(|n| meter.label(n)).collect();
        assert_eq!(labels.len(), MOST_STREAMS + 1);
        assert!(labels.contains(OTHERS) && meter.label("s0") == "s0");
    }
}
