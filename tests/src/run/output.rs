//! The output of a run, and assertions about it.

use std::time::Duration;

use serde_json::{Value, json};

use super::log::Log;

/// What a run left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 and the signal's number when a signal ended it, as a shell has it.
    pub code: i32,
    /// stdout, byte for byte.
    pub stdout: Vec<u8>,
    /// stderr.
    pub stderr: Log,
    /// The lines of stdout that are JSON.
    pub messages: Vec<Value>,
    /// From start to end.
    pub took: Duration,
}

impl Output {
    /// Panics, with stderr, unless the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(
            self.code,
            code,
            "exit code; stderr:\n{}\nstdout (its end):\n{}",
            self.stderr,
            self.stdout_text()
                .chars()
                .rev()
                .take(2000)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
        );
        self
    }

    /// Panics unless the exit code is 0.
    #[track_caller]
    pub fn succeeds(self) -> Output {
        self.exits(0)
    }

    /// Panics unless stderr contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(self.stderr.contains(text), "stderr does not say {text:?}:\n{}", self.stderr);
        self
    }

    /// Panics unless a warning or an error of the log has all these fields; one with `null` must be missing.
    #[track_caller]
    pub fn reports(self, fields: &Value) -> Output {
        self.stderr.reports(fields);
        self
    }

    /// [`Output::reports`] with a setting or a flag.
    #[track_caller]
    pub fn reports_setting(self, setting: &str) -> Output {
        self.reports(&json!({ "setting": setting }))
    }

    /// [`Output::reports`] with an LDAP result code (RFC 4511 section 4.1.9).
    #[track_caller]
    pub fn reports_code(self, code: u32) -> Output {
        self.reports(&json!({ "code": code }))
    }

    /// [`Output::reports`] with a line of the input.
    #[track_caller]
    pub fn reports_line(self, line: u64) -> Output {
        self.reports(&json!({ "line": line }))
    }

    /// Panics unless a line of the log, of any level, has all these fields.
    #[track_caller]
    pub fn logs(self, fields: &Value) -> Output {
        self.stderr.has(fields);
        self
    }

    /// Panics unless the summary of the run has these numbers: see [`Log::counts`].
    #[track_caller]
    pub fn counts(self, numbers: &[(&str, u64)]) -> Output {
        self.stderr.counts(numbers);
        self
    }

    /// Panics unless the summary of a stream has these numbers: see [`Log::stream_counts`].
    #[track_caller]
    pub fn stream_counts(self, stream: &str, numbers: &[(&str, u64)]) -> Output {
        self.stderr.stream_counts(stream, numbers);
        self
    }

    /// stdout as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| {
            panic!("stdout is no JSON ({e}):\n{}\nstderr:\n{}", self.stdout_text(), self.stderr)
        })
    }

    /// The messages of one `type`.
    pub fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|m| m["type"] == kind).collect()
    }

    /// The records of one stream, or of all.
    pub fn records(&self, stream: Option<&str>) -> Vec<&Value> {
        self.of_type("RECORD")
            .into_iter()
            .filter(|m| stream.is_none_or(|s| m["stream"] == s))
            .map(|m| &m["record"])
            .collect()
    }

    /// The lines of stdout, each as JSON; panics when one is not.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout_text()
            .lines()
            .map(|l| {
                serde_json::from_str(l).unwrap_or_else(|e| panic!("a line of stdout is no JSON ({e}): {l}"))
            })
            .collect()
    }
}

/// An output of which stdout was read by the test itself.
pub fn output(code: i32, stdout: Vec<u8>, stderr: impl Into<Log>, took: Duration) -> Output {
    let messages = stdout
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect::<Vec<Value>>();
    Output { code, stdout, stderr: stderr.into(), messages, took }
}
