//! Instruments for the code that talks to servers: each is one line there, and nothing where neither metrics nor traces are
//! wanted.

use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};

use super::meter::{Meter, meter};
use super::traces::{self, Span};
use crate::directory::ldap::result_code;
use crate::directory::{DirectoryError, ServerUrl};

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server answered with this result code.
    Code(u32),
    /// There was no answer.
    Lost,
    /// There was no answer in time.
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

/// An error's code as a label: LDAP's own numbers, and a word for what has none. A number that nobody knows would be as good
/// as any text that a server makes up.
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

/// For a span: LDAP's name and number, or what kind of failure it was. Never the server's text.
pub(super) fn failure_text(error: &DirectoryError) -> String {
    error.code().map_or_else(|| code_label(error), result_code::name)
}

fn ended(meter: &Meter, operation: &str, server: &str, outcome: Outcome, took: Duration) {
    meter.operations.with_label_values(&[operation, server, outcome.status()]).inc();
    meter.response_time.with_label_values(&[operation, server]).observe(took.as_secs_f64());
}

fn failed(operation: &str, error: &DirectoryError) {
    if let Some(meter) = meter() {
        meter.errors.with_label_values(&[operation, &code_label(error)]).inc();
    }
}

/// Counts the time until it is dropped as time in which a server was waited for.
#[derive(Debug)]
pub(crate) struct Awaiting(&'static Meter);

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.wait_ends();
    }
}

/// A server's answer is waited for from now on.
pub(crate) fn awaiting() -> Option<Awaiting> {
    let meter = meter()?;
    meter.wait_begins();
    Some(Awaiting(meter))
}

/// A connection that comes about.
#[derive(Debug)]
pub(crate) struct Connecting {
    started: Instant,
    server: String,
    span: Option<Span>,
    _awaiting: Option<Awaiting>,
}

impl Connecting {
    pub(crate) fn begin(server: &ServerUrl) -> Option<Connecting> {
        if !traces::is_on() && meter().is_none() {
            return None;
        }
        let server = server.to_text();
        let span = traces::client_span("ldap_connection", &server, "bind");
        Some(Connecting { started: Instant::now(), server, span, _awaiting: awaiting() })
    }

    /// It came about, or not.
    pub(crate) fn done(self, result: Result<(), &DirectoryError>) {
        let took = self.started.elapsed();
        if let Some(meter) = meter() {
            let outcome = result.map_or_else(Outcome::of, |()| Outcome::Code(result_code::SUCCESS));
            ended(meter, "bind", &self.server, outcome, took);
            if result.is_ok() {
                meter.connections.inc();
            }
        }
        if let Err(error) = result {
            failed("bind", error);
        }
        if let Some(mut span) = self.span {
            span.milliseconds("ldap.connection_time_ms", took);
            span.end(result);
        }
    }
}

/// A connection that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    active: IntGauge,
    received: IntCounter,
}

impl OpenConnection {
    pub(crate) fn new(server: &str) -> Option<OpenConnection> {
        let meter = meter()?;
        let active = meter.active_connections.with_label_values(&[server]);
        active.inc();
        Some(OpenConnection { active, received: meter.received.with_label_values(&[server]) })
    }

    /// So many octets came.
    pub(crate) fn received(&self, octets: usize) {
        self.received.inc_by(octets as u64);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// An operation that is under way over a connection with others.
#[derive(Debug)]
pub(crate) struct Answering {
    meter: &'static Meter,
    operation: &'static str,
    started: Instant,
    in_flight: IntGauge,
    _awaiting: Option<Awaiting>,
}

/// An operation begins.
pub(crate) fn asking(operation: &'static str) -> Option<Answering> {
    let meter = meter()?;
    let operation = if operation == "password modify" { "password_modify" } else { operation };
    let in_flight = meter.in_flight.with_label_values(&[operation]);
    in_flight.inc();
    Some(Answering { meter, operation, started: Instant::now(), in_flight, _awaiting: awaiting() })
}

impl Answering {
    /// It ended.
    pub(crate) fn done(self, server: &str, outcome: Result<u32, &DirectoryError>) {
        let took = self.started.elapsed();
        let (meter, operation) = (self.meter, self.operation);
        // A search's failure is counted where it is known whether it is one.
        let is_search = operation == "search";
        match outcome {
            Ok(code) => {
                let outcome = Outcome::Code(code);
                ended(meter, operation, server, outcome, took);
                if !is_search && outcome.status() != "success" {
                    let code =
                        if result_code::is_known(code) { code.to_string() } else { "unknown".to_owned() };
                    meter.errors.with_label_values(&[operation, &code]).inc();
                }
            }
            Err(error) => {
                ended(meter, operation, server, Outcome::of(error), took);
                if !is_search {
                    failed(operation, error);
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
pub(crate) struct SearchWatch {
    started: Instant,
    server: String,
    entries: u64,
    pages: u64,
    /// What was waited for the page under way.
    waited: Duration,
    span: Option<Span>,
}

impl SearchWatch {
    /// `is_long` says that the search may have many entries: one that reads an entry by its name has no span of its own.
    pub(crate) fn begin(server: &str, base: &str, is_long: bool) -> Option<Box<SearchWatch>> {
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

    /// So much was waited for the page under way.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// A page's entries are all there. `code` is how it ended where it came over a connection of its own; over the one with
    /// others, that is counted already.
    pub(crate) fn page(&mut self, entries: u32, code: Option<u32>) {
        let waited = std::mem::take(&mut self.waited);
        if let (Some(meter), Some(code)) = (meter(), code) {
            ended(meter, "search", &self.server, Outcome::Code(code), waited);
        }
        self.pages += 1;
        self.entries += u64::from(entries);
        if let Some(meter) = meter() {
            meter.pages.with_label_values(&[&self.server]).inc();
            meter.entries.with_label_values(&[&self.server]).inc_by(u64::from(entries));
        }
    }

    /// So many more entries of a synchronisation (RFC 4533) came, which has no pages.
    pub(crate) fn synchronised(&mut self, entries: usize) {
        self.entries += entries as u64;
    }

    /// A synchronisation ended, and the server says how.
    pub(crate) fn synchronisation_ended(self: Box<Self>, code: u32) {
        let error = |code| DirectoryError::Operation {
            operation: "synchronisation",
            dn: String::new(),
            code,
            matched: String::new(),
            text: String::new(),
        };
        if let Some(meter) = meter() {
            ended(meter, "sync", &self.server, Outcome::Code(code), self.started.elapsed());
            meter.entries.with_label_values(&[&self.server]).inc_by(self.entries);
        }
        let result = if code == result_code::SUCCESS { Ok(()) } else { Err(error(code)) };
        match &result {
            Ok(()) => self.done(Ok(())),
            Err(error) => self.done(Err(error)),
        }
    }

    /// The search ended.
    pub(crate) fn done(mut self: Box<Self>, result: Result<(), &DirectoryError>) {
        if let Err(error) = result
            && !error.is_no_such_object()
        {
            failed("search", error);
        }
        self.end_span(result);
    }

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
    /// As much was read as was wanted.
    fn drop(&mut self) {
        self.end_span(Ok(()));
    }
}
