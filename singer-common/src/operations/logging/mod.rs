//! Logs on stderr, as text for people, or as one JSON object a line for machines.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::operations::{color, progress};

mod format;
mod levels;

pub use levels::{Levels, Modules, Moved};

/// The variable by which Meltano configures a plugin's log: the path of a configuration of Python's `logging`.
const SDK_CONFIG: &str = "SINGER_SDK_LOG_CONFIG";

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `2026-11-22 20:27:39,148 | INFO     | tap-ldap | message`, as in Singer's Python plugins
    Text,
    /// One JSON object per line: timestamp, level, logger, module, run_id, message, stream, and fields
    Json,
    /// One JSON object per line in the Singer SDK's form, which Meltano requests by SINGER_SDK_LOG_CONFIG
    Singer,
}

/// The log options of the command line.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions<'a> {
    /// `--log-level`.
    pub level: Option<&'a str>,
    /// `--log-format`.
    pub format: Option<LogFormat>,
}

/// Returns the id of this run: 16 hexadecimal digits, different in each run.
pub fn run_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect())
}

/// Starts logging for this process. `name` is the executable's.
///
/// The level is that of the command line, else of the Singer SDK's variables (`TAP_LDAP_LOGLEVEL`, `LOGLEVEL`),
/// else of the file that [`SDK_CONFIG`] names, else `info`.
/// The error names the invalid level and its source.
pub fn init(
    name: &'static str,
    modules: &Modules,
    options: LogOptions<'_>,
    variables: &BTreeMap<String, String>,
) -> Result<(), String> {
    let sdk = variables.get(SDK_CONFIG).map(|path| SdkConfig::read(path)).unwrap_or_default();
    let own = format!("{}_LOGLEVEL", name.to_ascii_uppercase().replace('-', "_"));
    let variable = [own.as_str(), "LOGLEVEL"]
        .into_iter()
        .find_map(|n| Some((n, variables.get(n).filter(|v| !v.is_empty())?)));
    let levels = match (options.level, variable, &sdk.level) {
        (Some(text), ..) => {
            Levels::parse(text, name, modules).map_err(|e| format!("--log-level {text}: {e}"))?
        }
        (None, Some((n, text)), _) => {
            Levels::parse(text, name, modules).map_err(|e| format!("{n}={text}: {e}"))?
        }
        // Meltano writes its own level there; an unknown one must not fail the run.
        (None, None, Some(text)) => Levels::parse(text, name, modules).unwrap_or_default(),
        (None, None, None) => Levels::default(),
    };
    let by_sdk = if sdk.structured { LogFormat::Singer } else { LogFormat::Text };
    let format = options.format.unwrap_or(by_sdk);
    let is_terminal = std::io::stderr().is_terminal();
    // A log that another program reads never has colors.
    let color = is_terminal && color::is_wanted(is_terminal);
    // A second call (in tests) leaves the first subscriber in place.
    let _ = tracing_subscriber::fmt()
        // A failed write to stderr would be reported on stderr.
        .log_internal_errors(false)
        .with_writer(progress::Stderr::new)
        .with_env_filter(EnvFilter::new(levels.directives(name)))
        .event_format(format::Formatter { name, format, is_terminal, color })
        .try_init();
    Ok(())
}

/// The relevant parts of a configuration of Python's `logging`.
#[derive(Debug, Default, PartialEq, Eq)]
struct SdkConfig {
    /// Whether lines are JSON, for Meltano to parse.
    structured: bool,
    /// The level of the root logger.
    level: Option<String>,
}

impl SdkConfig {
    fn read(path: &str) -> Self {
        // The file belongs to the caller and concerns only the log: an unreadable one is ignored.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text)
    }

    /// Meltano writes JSON. A YAML file is handwritten, for Python plugins.
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
    fn log_configuration_of_meltano_is_read() {
        let structured = r#"{"version": 1, "formatters": {"default": {"()": "singer_sdk.logging.StructuredFormatter"}},
            "handlers": {}, "root": {"level": "DEBUG", "handlers": ["default"]}}"#;
        assert_eq!(SdkConfig::parse(structured), SdkConfig { structured: true, level: Some("DEBUG".into()) });
        let plain = r#"{"formatters": {"default": {"format": "%(message)s"}}, "root": {"level": "WARNING"}}"#;
        assert_eq!(SdkConfig::parse(plain), SdkConfig { structured: false, level: Some("WARNING".into()) });
        assert_eq!(SdkConfig::parse("version: 1\n"), SdkConfig::default());
    }
}
