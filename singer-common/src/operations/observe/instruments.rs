//! The observer through which the LDAP library reports to metrics and traces. Without both, each call returns `None`.

use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};

use super::meter::{Meter, meter};
use super::traces::{self, Span};
use crate::operations::summary::{self, Count};
use ldap_directory::observer::{
    ConnectObserver, ConnectionObserver, Observer, OperationObserver, SearchObserver, Waiting,
};
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, ServerUrl};

/// The result of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server returned this result code.
    Code(u32),
    /// No answer arrived.
    Lost,
    /// No answer arrived in time.
    Timeout,
}

impl Outcome {
    fn of(error: &DirectoryError) -> Outcome {
        match error {
            DirectoryError::Timeout { .. } => Outcome::Timeout,
            other => other.code().map_or(Outcome::Lost, Outcome::Code),
        }
    }

    fn status(self) -> &'static str {
        match self {
            Outcome::Code(result_code::SUCCESS | 5 | 6) => "success",
            Outcome::Code(result_code::NO_SUCH_OBJECT) => "absent",
            Outcome::Code(3 | result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED) => {
                "limit"
            }
            Outcome::Code(_) | Outcome::Lost | Outcome::Timeout => "error",
        }
    }
}

/// Returns an error's code as a label: LDAP's registered numbers, or a word.
/// Unregistered numbers share one label: a server could send any number of them.
fn code_label(error: &DirectoryError) -> String {
    match error {
        DirectoryError::Connect { .. } => "connect".to_owned(),
        DirectoryError::Lost { .. } => "lost".to_owned(),
        DirectoryError::Timeout { .. } => "timeout".to_owned(),
        DirectoryError::TooLarge { .. } => "too_large".to_owned(),
        DirectoryError::Bind { code, .. } | DirectoryError::Operation { code, .. } => {
            if result_code::is_known(*code) { code.to_string() } else { "unknown".to_owned() }
        }
        _ => "protocol".to_owned(),
    }
}

/// Returns an error's text for a span: LDAP's name and number, or the kind of failure. Never the server's text.
pub(super) fn failure_text(error: &DirectoryError) -> String {
    error.code().map_or_else(|| code_label(error), result_code::name)
}

fn count_operation(meter: &Meter, operation: &str, server: &str, outcome: Outcome, took: Duration) {
    meter.operations.with_label_values(&[operation, server, outcome.status()]).inc();
    meter.response_time.with_label_values(&[operation, server]).observe(took.as_secs_f64());
}

fn count_error(operation: &str, error: &DirectoryError) {
    if let Some(meter) = meter() {
        meter.errors.with_label_values(&[operation, &code_label(error)]).inc();
    }
}

/// Reports a directory's activity to the metrics and traces of this run.
#[derive(Debug, Clone, Copy)]
pub struct RunObserver;

impl Observer for RunObserver {
    fn connecting(&self, server: &ServerUrl) -> Option<Box<dyn ConnectObserver>> {
        if !traces::is_on() && meter().is_none() {
            return None;
        }
        let server = server.to_text();
        let span = traces::client_span("ldap_connection", &server, "bind");
        Some(Box::new(Connecting { started: Instant::now(), server, span, _awaiting: Awaiting::begin() }))
    }

    fn connected(&self, server: &str) -> Option<Box<dyn ConnectionObserver>> {
        let meter = meter()?;
        let active = meter.active_connections.with_label_values(&[server]);
        active.inc();
        Some(Box::new(OpenConnection { active, received: meter.received.with_label_values(&[server]) }))
    }

    fn operation(&self, operation: &'static str) -> Option<Box<dyn OperationObserver>> {
        let meter = meter()?;
        let operation = if operation == "password modify" { "password_modify" } else { operation };
        let in_flight = meter.in_flight.with_label_values(&[operation]);
        in_flight.inc();
        let answering =
            Answering { meter, operation, started: Instant::now(), in_flight, _awaiting: Awaiting::begin() };
        Some(Box::new(answering))
    }

    fn search(&self, server: &str, base: &str, is_long: bool) -> Option<Box<dyn SearchObserver>> {
        // A search that reads one entry by its DN has no span of its own.
        let span = is_long.then(|| traces::client_span("ldap_search", server, "search")).flatten().map(
            |mut span| {
                span.text("ldap.base_dn", base);
                span
            },
        );
        if span.is_none() && meter().is_none() {
            return None;
        }
        Some(Box::new(SearchWatch {
            started: Instant::now(),
            server: server.to_owned(),
            entries: 0,
            pages: 0,
            waited: Duration::ZERO,
            span,
        }))
    }

    fn awaiting(&self) -> Option<Box<dyn Waiting>> {
        Awaiting::begin().map(|awaiting| Box::new(awaiting) as Box<dyn Waiting>)
    }

    fn retried(&self, error: &DirectoryError) {
        super::retried(error);
    }

    fn unreadable(&self, _dn: &str) {
        summary::add(Count::Unreadable, 1);
    }
}

/// Counts the time until it is dropped as time spent waiting for a server.
#[derive(Debug)]
struct Awaiting(&'static Meter);

impl Awaiting {
    fn begin() -> Option<Self> {
        let meter = meter()?;
        meter.wait_begins();
        Some(Self(meter))
    }
}

impl Waiting for Awaiting {}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.wait_ends();
    }
}

/// A connection that is being opened.
#[derive(Debug)]
struct Connecting {
    started: Instant,
    server: String,
    span: Option<Span>,
    _awaiting: Option<Awaiting>,
}

impl ConnectObserver for Connecting {
    fn done(self: Box<Self>, result: Result<(), &DirectoryError>) {
        let took = self.started.elapsed();
        if let Some(meter) = meter() {
            let outcome = result.map_or_else(Outcome::of, |()| Outcome::Code(result_code::SUCCESS));
            count_operation(meter, "bind", &self.server, outcome, took);
            if result.is_ok() {
                meter.connections.inc();
            }
        }
        if let Err(error) = result {
            count_error("bind", error);
        }
        if let Some(mut span) = self.span {
            span.milliseconds("ldap.connection_time_ms", took);
            span.end(result);
        }
    }
}

/// An open connection, until it is dropped.
#[derive(Debug)]
struct OpenConnection {
    active: IntGauge,
    received: IntCounter,
}

impl ConnectionObserver for OpenConnection {
    fn received(&self, octets: usize) {
        self.received.inc_by(octets as u64);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// An operation in progress on a shared connection.
#[derive(Debug)]
struct Answering {
    meter: &'static Meter,
    operation: &'static str,
    started: Instant,
    in_flight: IntGauge,
    _awaiting: Option<Awaiting>,
}

impl OperationObserver for Answering {
    fn done(self: Box<Self>, server: &str, outcome: Result<u32, &DirectoryError>) {
        let took = self.started.elapsed();
        let (meter, operation) = (self.meter, self.operation);
        // The caller counts a search's failure: it knows whether it is one.
        let is_search = operation == "search";
        match outcome {
            Ok(code) => {
                let outcome = Outcome::Code(code);
                count_operation(meter, operation, server, outcome, took);
                if !is_search && outcome.status() != "success" {
                    let code =
                        if result_code::is_known(code) { code.to_string() } else { "unknown".to_owned() };
                    meter.errors.with_label_values(&[operation, &code]).inc();
                }
            }
            Err(error) => {
                count_operation(meter, operation, server, Outcome::of(error), took);
                if !is_search {
                    count_error(operation, error);
                }
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

/// A search, from its first request to its end.
#[derive(Debug)]
struct SearchWatch {
    started: Instant,
    server: String,
    entries: u64,
    pages: u64,
    /// The time waited for the current page.
    waited: Duration,
    span: Option<Span>,
}

impl SearchObserver for SearchWatch {
    fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    fn page(&mut self, entries: u32, code: Option<u32>) {
        let waited = std::mem::take(&mut self.waited);
        if let (Some(meter), Some(code)) = (meter(), code) {
            count_operation(meter, "search", &self.server, Outcome::Code(code), waited);
        }
        self.pages += 1;
        self.entries += u64::from(entries);
        if let Some(meter) = meter() {
            meter.pages.with_label_values(&[&self.server]).inc();
            meter.entries.with_label_values(&[&self.server]).inc_by(u64::from(entries));
        }
    }

    fn synchronized(&mut self, entries: usize) {
        self.entries += entries as u64;
    }

    fn synchronization_ended(self: Box<Self>, code: u32) {
        let error = |code| DirectoryError::Operation {
            operation: "synchronisation",
            dn: String::new(),
            code,
            matched: String::new(),
            text: String::new(),
        };
        if let Some(meter) = meter() {
            count_operation(meter, "sync", &self.server, Outcome::Code(code), self.started.elapsed());
            meter.entries.with_label_values(&[&self.server]).inc_by(self.entries);
        }
        let result = if code == result_code::SUCCESS { Ok(()) } else { Err(error(code)) };
        match &result {
            Ok(()) => self.done(Ok(())),
            Err(error) => self.done(Err(error)),
        }
    }

    fn done(mut self: Box<Self>, result: Result<(), &DirectoryError>) {
        if let Err(error) = result
            && !error.is_no_such_object()
        {
            count_error("search", error);
        }
        self.end_span(result);
    }
}

impl SearchWatch {
    fn end_span(&mut self, result: Result<(), &DirectoryError>) {
        if let Some(mut span) = self.span.take() {
            span.number("ldap.results_count", self.entries);
            span.number("ldap.pages", self.pages);
            span.milliseconds("ldap.search_time_ms", self.started.elapsed());
            span.end(result);
        }
    }
}

impl Drop for SearchWatch {
    /// A dropped search was ended early by its caller: a success.
    fn drop(&mut self) {
        self.end_span(Ok(()));
    }
}
