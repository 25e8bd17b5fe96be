//! Logs: on stderr, as text for people, or as one JSON object a line for machines.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::operations::progress;

mod format;
mod levels;

pub use levels::Levels;

/// The variable with which Meltano says how a plugin is to log: the path of a configuration of Python's `logging`.
const SDK_CONFIG: &str = "SINGER_SDK_LOG_CONFIG";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as Singer's Python plugins write it
    Text,
    /// One JSON object a line: timestamp, level, logger, module, run_id, message, stream, and fields
    Json,
    /// One JSON object a line, in the Singer SDK's form: what Meltano asks for with SINGER_SDK_LOG_CONFIG
    Singer,
}

/// What the command line says about the log.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// `--log-level`.
    pub level: Option<&'a str>,
    /// `--log-format`.
    pub format: Option<LogFormat>,
}

/// The id of this run: 16 hexadecimal digits, another one each time.
pub fn run_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect())
}

/// Starts logging for this process. `name` is the executable's, `source` the text of its `lib.rs`. Fails with what is wrong
/// with a level, and where it came from.
///
/// A level comes from the command line, else from the variables that the Singer SDK knows (`TAP_LDAP_LOGLEVEL`, `LOGLEVEL`),
/// else from the file that [`SDK_CONFIG`] names, else it is `info`.
pub fn init(
    name: &'static str,
    source: &str,
    wish: Wish<'_>,
    variables: &BTreeMap<String, String>,
) -> Result<(), String> {
    let sdk = variables.get(SDK_CONFIG).map(|path| SdkConfig::read(path)).unwrap_or_default();
    let own = format!("{}_LOGLEVEL", name.to_ascii_uppercase().replace('-', "_"));
    let variable = [own.as_str(), "LOGLEVEL"]
        .into_iter()
        .find_map(|n| Some((n, variables.get(n).filter(|v| !v.is_empty())?)));
    let levels = match (wish.level, variable, &sdk.level) {
        (Some(text), ..) => {
            Levels::parse(text, name, source).map_err(|e| format!("--log-level {text}: {e}"))?
        }
        (None, Some((n, text)), _) => {
            Levels::parse(text, name, source).map_err(|e| format!("{n}={text}: {e}"))?
        }
        // What Meltano writes there is its own level; one that nobody here knows is no reason not to run.
        (None, None, Some(text)) => Levels::parse(text, name, source).unwrap_or_default(),
        (None, None, None) => Levels::default(),
    };
    let by_sdk = if sdk.structured { LogFormat::Singer } else { LogFormat::Text };
    let format = wish.format.unwrap_or(by_sdk);
    let colour = std::io::stderr().is_terminal() && !variables.contains_key("NO_COLOR");
    // A second call (in tests) leaves the first subscriber in place.
    let _ = tracing_subscriber::fmt()
        // What cannot be written to stderr would be complained of on stderr.
        .log_internal_errors(false)
        .with_writer(progress::Stderr::new)
        .with_env_filter(EnvFilter::new(levels.directives(name)))
        .event_format(format::Formatter { name, format, colour })
        .try_init();
    Ok(())
}

/// What a configuration of Python's `logging` says to us.
#[derive(Debug, Default, PartialEq, Eq)]
struct SdkConfig {
    /// Whether lines are to be JSON, for Meltano to take apart.
    structured: bool,
    /// The level of the root logger.
    level: Option<String>,
}

impl SdkConfig {
    fn read(path: &str) -> Self {
        // It is the caller's file, and about nothing but the log: what cannot be read of it says nothing.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text)
    }

    /// Meltano writes JSON. Who writes YAML by hand writes it for Python.
    fn parse(text: &str) -> Self {
        let Ok(config) = serde_json::from_str::<Value>(text) else { return Self::default() };
        let formatters = config["formatters"].as_object();
        let structured = formatters.is_some_and(|all| {
            all.values().any(|f| {
                ["()", "class"]
                    .iter()
                    .any(|key| f[*key].as_str() == Some("singer_sdk.logging.StructuredFormatter"))
            })
        });
        Self { structured, level: config["root"]["level"].as_str().map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_meltano_writes_is_understood() {
        let structured = r#"{"version": 1, "formatters": {"default": {"()": "singer_sdk.logging.StructuredFormatter"}},
            "handlers": {}, "root": {"level": "DEBUG", "handlers": ["default"]}}"#;
        assert_eq!(SdkConfig::parse(structured), SdkConfig { structured: true, level: Some("DEBUG".into()) });
        let plain = r#"{"formatters": {"default": {"format": "%(message)s"}}, "root": {"level": "WARNING"}}"#;
        assert_eq!(SdkConfig::parse(plain), SdkConfig { structured: false, level: Some("WARNING".into()) });
        assert_eq!(SdkConfig::parse("version: 1\n"), SdkConfig::default());
    }
}
