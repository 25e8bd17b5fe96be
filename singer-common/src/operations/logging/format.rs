//! Formats of a log line.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::{LogFormat, run_id};
use crate::operations::facts;
use ldap_directory::text::{printable, printable_line};

/// The field with the point of a METRIC line, as JSON.
pub(crate) const METRIC: &str = "metric_info";
/// The prefix of the summary's fields. It is not part of a field's name in the output.
const SUMMARY: &str = "summary.";

pub(super) struct Formatter {
    pub name: &'static str,
    pub format: LogFormat,
    /// Whether a person reads the log.
    pub is_terminal: bool,
    pub color: bool,
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
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.insert(field.name(), Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.insert(field.name(), Value::from(value));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Fields {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        if let Some(point) = fields.others.get(METRIC).and_then(Value::as_str)
            && let Ok(point) = serde_json::from_str(point)
        {
            fields.others.insert(METRIC, point);
        }
        let text = |name: &str| fields.others.get(name).and_then(Value::as_str);
        if let Some(place) = text("setting").and_then(|setting| facts::reference(setting, text("nearest"))) {
            fields.others.insert("reference", place.into());
        }
        fields
    }

    /// Returns the fields that the message does not repeat, without the prefix that marks them.
    fn for_machines(&mut self) -> impl Iterator<Item = (String, Value)> {
        let others = std::mem::take(&mut self.others);
        others.into_iter().map(|(key, value)| (key.strip_prefix(SUMMARY).unwrap_or(key).to_owned(), value))
    }
}

impl<S, N> FormatEvent<S, N> for Formatter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let fields = Fields::of(event);
        let metadata = event.metadata();
        match self.format {
            // METRIC lines are for programs.
            LogFormat::Text if self.is_terminal && fields.others.contains_key(METRIC) => Ok(()),
            LogFormat::Text => self.text(&mut out, *metadata.level(), metadata.target(), &fields),
            LogFormat::Json => {
                let object = self.json(*metadata.level(), metadata.target(), fields);
                writeln!(out, "{}", printable(&Value::Object(object).to_string()))
            }
            LogFormat::Singer => {
                writeln!(out, "{}", printable(&self.singer(*metadata.level(), fields).to_string()))
            }
        }
    }
}

impl Formatter {
    fn text(&self, out: &mut Writer<'_>, level: Level, target: &str, fields: &Fields) -> fmt::Result {
        let mut text = fields.message.clone();
        // Fields are for programs; the message repeats them for people. At debug and trace they are shown to people, too.
        if level > Level::INFO {
            for (key, value) in &fields.others {
                let _ = write!(text, " {key}={value}");
            }
        }
        // A value from a directory or a record must not begin a new line or send control sequences to the terminal.
        let text = printable_line(&text);
        let time = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S,%3f");
        let (on, off) = if self.color { colors(level) } else { ("", "") };
        write!(out, "{time} | {on}{:<8}{off} | {} | ", level_name(level), self.name)?;
        // At debug and trace the module is shown.
        if level > Level::INFO {
            write!(out, "{target}: ")?;
        }
        writeln!(out, "{text}")
    }

    fn json(&self, level: Level, target: &str, mut fields: Fields) -> Map<String, Value> {
        let mut object = Map::new();
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        object.insert("timestamp".into(), time.into());
        object.insert("level".into(), level_name(level).to_ascii_lowercase().into());
        object.insert("logger".into(), self.name.into());
        object.insert("module".into(), target.into());
        object.insert("run_id".into(), run_id().into());
        object.insert("message".into(), std::mem::take(&mut fields.message).into());
        object.extend(fields.for_machines());
        object
    }

    /// Returns the line in the form that Meltano's parser for the Singer SDK requires.
    /// All keys are required except `stream_name`, `metric_info`, `exception` and `extra`; `extra` is shown beside the message.
    fn singer(&self, level: Level, mut fields: Fields) -> Value {
        let stream = fields.others.remove("stream");
        let point = fields.others.remove(METRIC);
        let level = if level == Level::TRACE { Level::DEBUG } else { level };
        let now = chrono::Utc::now().timestamp_micros();
        #[allow(clippy::cast_precision_loss, reason = "microseconds since 1970 fit for another 200 years")]
        let seconds = now as f64 / 1e6;
        let message = if point.is_some() { "METRIC".to_owned() } else { std::mem::take(&mut fields.message) };
        let mut extra: Map<String, Value> = fields.for_machines().collect();
        // Meltano's own events have a `run_id`, which must not be overwritten.
        extra.insert("ldap_run_id".into(), run_id().into());
        let mut object = json!({
            "level": level_name(level).to_ascii_lowercase(), "pid": std::process::id(), "logger_name": self.name,
            "ts": seconds, "thread_name": null, "app_name": self.name, "stream_name": stream, "message": message,
        });
        if let Some(object) = object.as_object_mut() {
            if let Some(point) = point {
                object.insert(METRIC.into(), point);
            }
            object.insert("extra".into(), Value::Object(extra));
        }
        object
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

fn colors(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("\x1b[31m", "\x1b[0m"),
        Level::WARN => ("\x1b[33m", "\x1b[0m"),
        Level::INFO => ("\x1b[32m", "\x1b[0m"),
        Level::DEBUG | Level::TRACE => ("\x1b[2m", "\x1b[0m"),
    }
}
