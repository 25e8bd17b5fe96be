//! The log of a run: as lines for people, and as the fields that assertions are about.

use std::fmt::{self, Write as _};
use std::ops::Deref;

use serde_json::Value;

/// What a run wrote on stderr. Dereferences to the text.
///
/// A run of the harness logs JSON (`--log-format json`), unless the test chooses another form or [`Run::text_log`]: the text
/// is then made from it, in the form that `--log-format text` has.
///
/// [`Run::text_log`]: super::Run::text_log
#[derive(Debug, Clone, Default)]
pub struct Log {
    text: String,
    raw: String,
    lines: Vec<Value>,
}

impl Log {
    /// A log that is kept as it is. Lines that are JSON are read all the same.
    pub fn verbatim(text: String) -> Log {
        let lines = text.lines().filter_map(line).collect();
        Log { raw: text.clone(), text, lines }
    }

    /// A log of lines in JSON, as lines of text. Other lines stay as they are.
    pub fn rendered(json: &str) -> Log {
        let mut log = Log { raw: json.to_owned(), ..Log::default() };
        for written in json.split_inclusive('\n') {
            if let Some(line) = line(written) {
                render(&line, &mut log.text);
                log.lines.push(line);
            } else {
                log.text.push_str(written);
            }
        }
        log
    }

    /// The octets as they were written, fields included.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// All lines that have fields, in their order.
    pub fn entries(&self) -> &[Value] {
        &self.lines
    }

    /// The lines of a level of `warning` and above, without the last one, which sums up.
    pub fn warnings(&self) -> Vec<&Value> {
        let is_grave =
            |line: &&Value| ["warning", "error"].contains(&line["level"].as_str().unwrap_or_default());
        self.lines.iter().filter(is_grave).filter(|line| line["status"].is_null()).collect()
    }

    /// The warnings and errors with all these fields.
    pub fn about(&self, fields: &Value) -> Vec<&Value> {
        self.warnings().into_iter().filter(|line| has(line, fields)).collect()
    }

    /// Panics unless a warning or an error has all these fields.
    #[track_caller]
    pub fn reports(&self, fields: &Value) {
        assert!(!self.about(fields).is_empty(), "no warning or error has {fields}:\n{}", self.raw);
    }

    /// Panics when a warning or an error has all these fields.
    #[track_caller]
    pub fn does_not_report(&self, fields: &Value) {
        assert!(self.about(fields).is_empty(), "a warning or an error has {fields}:\n{}", self.raw);
    }

    /// Panics unless a line of any level has all these fields.
    #[track_caller]
    pub fn has(&self, fields: &Value) {
        assert!(self.lines.iter().any(|line| has(line, fields)), "no line has {fields}:\n{}", self.raw);
    }

    /// The last line, which sums up the run.
    #[track_caller]
    pub fn summary(&self) -> &Value {
        let last = self.lines.iter().rfind(|line| !line["status"].is_null());
        last.unwrap_or_else(|| panic!("no line sums up the run:\n{}", self.text))
    }

    /// Panics unless the line that sums up the run has these numbers.
    #[track_caller]
    pub fn counts(&self, numbers: &[(&str, u64)]) {
        let summary = self.summary();
        for (name, number) in numbers {
            // A number that the run does not have is null there.
            let counted = summary[*name].as_u64().unwrap_or_default();
            assert_eq!(counted, *number, "{name} of the run:\n{}", self.text);
        }
    }

    /// Panics unless the line that sums up a stream of the target has these numbers.
    #[track_caller]
    pub fn stream_counts(&self, stream: &str, numbers: &[(&str, u64)]) {
        let line = self.lines.iter().rfind(|line| line["stream"] == stream && line["unchanged"].is_u64());
        let line = line.unwrap_or_else(|| panic!("no line sums up {stream}:\n{}", self.text));
        for (name, number) in numbers {
            assert_eq!(line[*name], *number, "{name} of {stream}:\n{}", self.text);
        }
    }
}

impl Deref for Log {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq<&str> for Log {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Log {
    fn from(text: String) -> Log {
        Log::verbatim(text)
    }
}

/// Whether a line has all these fields. A field with `null` must be missing.
fn has(line: &Value, fields: &Value) -> bool {
    fields.as_object().expect("fields").iter().all(|(name, value)| line[name.as_str()] == *value)
}

/// A line of the log in JSON.
fn line(text: &str) -> Option<Value> {
    serde_json::from_str(text)
        .ok()
        .filter(|line: &Value| line["level"].is_string() && line["message"].is_string())
}

/// A line in the form of `--log-format text`.
fn render(line: &Value, text: &mut String) {
    let of = |name: &str| line[name].as_str().unwrap_or_default();
    let level = of("level").to_ascii_uppercase();
    let time = of("timestamp").replace('T', " ").replace('.', ",").replace('Z', "");
    let _ = write!(text, "{time} | {level:<8} | {} | ", of("logger"));
    if ["DEBUG", "TRACE"].contains(&level.as_str()) {
        let _ = write!(text, "{}: ", of("module"));
    }
    for c in of("message").chars() {
        if c.is_control() {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text.push('\n');
}
