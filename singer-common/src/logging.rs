//! Logs: on stderr, as text for people or as one JSON object a line for machines.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as Singer's Python plugins write it.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    #[value(alias = "warning")]
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Starts logging for this process. `name` is the executable's.
pub fn init(name: &'static str, level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Our own modules only: what libraries trace (rustls: handshakes) was not written with secrets in mind.
    let filter = EnvFilter::new(format!(
        "off,singer_common={level},tap_ldap={level},target_ldap={level},tap-ldap={level},target-ldap={level}"
    ));
    let formatter = Formatter { name, format, colour: std::io::stderr().is_terminal() };
    // A second call (in tests) leaves the first subscriber in place.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .event_format(formatter)
        .try_init();
}

struct Formatter {
    name: &'static str,
    format: LogFormat,
    colour: bool,
}

#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<&'static str, Value>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.insert(field.name(), Value::from(value));
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name(), Value::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.insert(field.name(), Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.insert(field.name(), Value::from(value));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S, N> FormatEvent<S, N> for Formatter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = chrono::Utc::now();
        let level = *event.metadata().level();
        match self.format {
            LogFormat::Text => {
                let mut text = fields.message;
                // For people, the message itself says which stream it is about.
                for (key, value) in fields.others.iter().filter(|(key, _)| **key != "stream") {
                    let _ = write!(text, " {key}={value}");
                }
                // A value from a directory or a record starts no line of its own, and tells the terminal nothing.
                let text = text.replace(char::is_control, " ");
                let time = now.format("%Y-%m-%d %H:%M:%S,%3f");
                let (on, off) = if self.colour { colours(level) } else { ("", "") };
                writeln!(out, "{time} | {on}{:<8}{off} | {} | {text}", level_name(level), self.name)
            }
            LogFormat::Json => {
                let mut object = Map::new();
                object.insert(
                    "timestamp".into(),
                    now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into(),
                );
                object.insert("level".into(), level_name(level).to_ascii_lowercase().into());
                object.insert("logger".into(), self.name.into());
                object.insert("message".into(), fields.message.into());
                object.extend(fields.others.into_iter().map(|(k, v)| (k.to_owned(), v)));
                writeln!(out, "{}", Value::Object(object))
            }
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn colours(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("\x1b[31m", "\x1b[0m"),
        Level::WARN => ("\x1b[33m", "\x1b[0m"),
        Level::INFO => ("\x1b[32m", "\x1b[0m"),
        Level::DEBUG | Level::TRACE => ("\x1b[2m", "\x1b[0m"),
    }
}
